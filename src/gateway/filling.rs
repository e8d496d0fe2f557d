//! How the pool comes to be when the gateway is opened: from its index on disk, or from the texts.
//!
//! It knows the database. It must never know what happens to messages afterwards.

use std::time::{Duration, Instant};

use tracing::info;

use super::{clock, snapshot};
use crate::config::Config;
use crate::pool::{Entry, Limits, Pool};
use crate::store::messages::{self, Cached, State};
use crate::store::{Store, StoreError};

/// Fills the pool with what the router has decided on. What waits for it comes in when it does.
pub(super) fn load(
    store: &Store,
    config: &Config,
    limits: Limits,
    snapshot: &snapshot::Snapshot,
) -> Result<Pool, StoreError> {
    let (pool, evicted) = match snapshot.load(store, limits)? {
        Some(loaded) => loaded,
        None => fill(store, limits)?,
    };
    if !evicted.is_empty() {
        let (now, keep) = (clock::now(), config.pool.remember_ids);
        store.write(move |tx| {
            for seq in evicted {
                messages::evict(tx, seq, now, now.saturating_add(keep))?;
            }
            Ok(())
        })?;
    }
    Ok(pool)
}

/// Reads every text.
fn fill(store: &Store, limits: Limits) -> Result<(Pool, Vec<i64>), StoreError> {
    let (mut pool, mut evicted) = (Pool::new(limits), Vec::new());
    let (started, mut told) = (Instant::now(), Instant::now());
    store.read(|conn| {
        messages::each_cached(conn, |mut cached| {
            if told.elapsed() > Duration::from_secs(1) {
                told = Instant::now();
                info!(messages = pool.len(), "filling the pool from the database");
            }
            if matches!(cached.state, State::Routed) {
                let body = std::mem::take(&mut cached.body);
                evicted.extend(pool.restore(&entry(cached), &body));
            }
            Ok(())
        })
    })?;
    info!(
        messages = pool.len(),
        memory_bytes = pool.memory_bytes(),
        milliseconds = started.elapsed().as_millis(),
        "the pool is filled"
    );
    Ok((pool, evicted))
}

pub(super) fn entry(cached: Cached) -> Entry {
    Entry {
        seq: cached.seq,
        id: cached.id,
        sender: cached.neighbour,
        hops: cached.hops,
        author: cached.author,
        scope: cached.scope,
    }
}
