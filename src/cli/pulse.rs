//! Whether the daemon really works: what a service manager's watchdog is told.
//!
//! A process that only runs is not enough. A pulse is felt when a write went through the one writer of the
//! database, a read through its readers, and the routing thread has come round. A full disk is trouble and
//! no death: the writer answers that it can't.

use std::time::Duration;

use tokio::time::{Instant, interval_at, timeout};

use super::exit::Outcome;
use crate::gateway::Gateway;

/// The routing thread rests a minute at most, and a batch of decisions takes seconds.
const ROUND: Duration = Duration::from_secs(180);

/// One daemon's pulse.
#[derive(Clone)]
pub(super) struct Pulse {
    gateway: Gateway,
    round: Duration,
}

impl Pulse {
    pub(super) fn of(gateway: Gateway) -> Pulse {
        Pulse { gateway, round: ROUND }
    }

    /// Waits for a sign of life.
    ///
    /// # Errors
    /// What does not move.
    pub(super) async fn feel(&self, within: Duration) -> Result<(), &'static str> {
        let written = timeout(within, self.gateway.store().write_async(|_| Ok(())));
        written.await.map_err(|_| "nothing is written to the database any more").map(drop)?;
        let store = self.gateway.store().clone();
        let read = tokio::task::spawn_blocking(move || store.read(|_| Ok(())));
        timeout(within, read).await.map_err(|_| "nothing is read from the database any more").map(drop)?;
        match self.gateway.router_rests() {
            Some(since) if since > self.round => Err("the routing thread does not come round"),
            _ => Ok(()),
        }
    }

    /// Calls `beat` again and again, each time that the pulse is felt: at least once in `every` as long
    /// as all is well. Never ends.
    pub(super) async fn watch(self, every: Duration, beat: impl Fn()) -> Outcome {
        // Twice in the time, so that one beat may come late.
        let step = (every / 2).max(Duration::from_millis(1));
        let mut ticks = interval_at(Instant::now() + step, step);
        loop {
            ticks.tick().await;
            match self.feel(step).await {
                Ok(()) => beat(),
                Err(what) => tracing::error!(what, "the watchdog is not told that all is well"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::config::Config;

    const SOON: Duration = Duration::from_millis(100);

    fn gateway(dir: &std::path::Path) -> Gateway {
        let text = "[gateway]\naddress = \"mailto:cmr@example.org\"\nhostname = \"mx.example.org\"\n\
                    operator = \"operator@example.org\"\ndata_dir = \"data\"\n";
        let config = Config::parse(text, dir.join("cmr-mail.toml")).unwrap();
        crate::store::prepare_dir(&config.gateway.data_dir).unwrap();
        Gateway::start(&config).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_beats_while_the_daemon_works_and_stops_when_something_hangs() {
        let dir = tempfile::tempdir().unwrap();
        let gateway = gateway(dir.path());
        let pulse = Pulse::of(gateway.clone());
        pulse.feel(Duration::from_secs(60)).await.unwrap();
        let beats = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&beats);
        let watch = tokio::spawn(pulse.clone().watch(SOON, move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }));
        let start = Instant::now();
        while beats.load(Ordering::SeqCst) < 3 {
            assert!(start.elapsed() < Duration::from_secs(60), "no beats");
            tokio::time::sleep(SOON).await;
        }
        // The writer is busy for ever.
        let (release, held) = mpsc::channel::<()>();
        let stuck = gateway.store().clone();
        let stuck = std::thread::spawn(move || {
            stuck.write(move |_| {
                let _ = held.recv();
                Ok(())
            })
        });
        let error = loop {
            // It may not have been there yet.
            if let Err(error) = pulse.feel(SOON).await {
                break error;
            }
        };
        assert!(error.contains("written"), "{error}");
        let before = beats.load(Ordering::SeqCst);
        assert!(pulse.feel(Duration::from_millis(500)).await.is_err());
        assert_eq!(beats.load(Ordering::SeqCst), before, "no beat while it hangs");
        drop(release);
        stuck.join().unwrap().unwrap();
        pulse.feel(Duration::from_secs(60)).await.unwrap();
        watch.abort();
        // The routing thread is asleep for longer than is allowed here.
        let asleep = Pulse { gateway: gateway.clone(), round: Duration::ZERO };
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(asleep.feel(Duration::from_secs(60)).await.unwrap_err().contains("routing thread"));
        gateway.close();
    }
}
