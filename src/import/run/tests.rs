use super::super::find::{Budget, Job};
use super::*;
use crate::config::Config;
use crate::gateway::clock;
use crate::gateway::import::Ended;
use std::sync::mpsc::RecvTimeoutError;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(120);

/// Takes a mail at a time, and from the `fails`th on none.
struct Counting {
    taken: usize,
    fails: usize,
}

impl Sink for Counting {
    fn take(&mut self, batch: Batch) -> Result<Vec<Ended>, Failure> {
        self.taken += batch.mails.len();
        if self.taken >= self.fails {
            return Err(Failure { exit: 75, sentence: "no".to_owned() });
        }
        let ended = |mail: &Mail| {
            let (fate, reason) = match &mail.content {
                Content::Messages(_) => (Fate::Post, None),
                Content::Skipped(why) => (Fate::Skipped, Some(why.clone())),
                Content::Failed(why) => (Fate::Failed, Some(why.clone())),
            };
            Ended { fate, reason, stored: 0 }
        };
        Ok(batch.mails.iter().map(ended).collect())
    }

    fn end(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn mails(&self) -> usize {
        1
    }
}

fn house() -> House {
    let text = "[gateway]\naddress = \"mailto:cmr@example.org\"\nhostname = \"mx.example.org\"\n\
                operator = \"operator@example.org\"\n[send]\nsmarthost = \"smtp://127.0.0.1:1\"\n";
    House::new(&Config::parse(text, "cmr-mail.toml").unwrap(), clock::now()).unwrap()
}

fn mail(text: &str) -> String {
    format!("From: a@a.example\nSubject: x\nMessage-ID: <{}@a.example>\n\n{text}\n", text.len())
}

fn with_run<T>(root: &Path, threads: usize, act: impl FnOnce(&Run<'_>) -> T) -> T {
    let paths = [root.to_owned()];
    let (house, wish, restored, known) = (house(), Wish::default(), Restored::new(), HashMap::new());
    act(&Run { paths: &paths, house: &house, wish: &wish, restored: &restored, known: &known, threads })
}

/// Runs with a bound: what hangs is a failure.
fn ended(root: &Path, mut sink: Counting) -> Result<(Summary, Vec<String>), ImportError> {
    let (tell, told) = channel();
    let root = root.to_owned();
    thread::spawn(move || {
        let mut said = Vec::new();
        let mut watch = |event: &Event<'_>| {
            if let Event::Failed { reason, .. } = event {
                said.push((*reason).to_owned());
            }
        };
        let stop = AtomicBool::new(false);
        let summary = with_run(&root, 2, |run| run.run(&mut sink, &stop, &mut watch));
        tell.send(summary.map(|summary| (summary, said))).unwrap();
    });
    told.recv_timeout(LONG).unwrap()
}

#[test]
fn a_gateway_that_takes_nothing_any_more_ends_the_run() {
    let root = tempfile::tempdir().unwrap();
    // One mail that takes long to read; behind it one that is read at once and fills what may be
    // under way, and some for which there is no room.
    let slow = "<div><p>a<td>".repeat(5_000);
    let html = mail(&slow).replace("\n\n", "\nContent-Type: text/html\n\n");
    std::fs::write(root.path().join("0"), &html).unwrap();
    let large = std::fs::File::create(root.path().join("1")).unwrap();
    large.set_len((UNDER_WAY - html.len() - 5000) as u64).unwrap();
    for number in 2..9 {
        std::fs::File::create(root.path().join(number.to_string())).unwrap().set_len(5 << 20).unwrap();
    }
    let failed = ended(root.path(), Counting { taken: 0, fails: 1 });
    assert!(matches!(failed, Err(ImportError::Sink(_))), "{failed:?}");
}

#[test]
fn a_fault_of_this_program_is_one_mail_that_failed() {
    let root = tempfile::tempdir().unwrap();
    for number in 0..20 {
        std::fs::write(root.path().join(format!("{number:02}")), mail(&"x".repeat(number + 1))).unwrap();
    }
    std::fs::write(root.path().join("07"), "X-Fault: yes\n\nx\n").unwrap();
    let (summary, said) = ended(root.path(), Counting { taken: 0, fails: 100 }).unwrap();
    assert_eq!((summary.counts.mails, summary.counts.posts, summary.counts.failed), (20, 19, 1));
    assert_eq!(said, ["a fault of this program while reading it"]);
}

#[test]
fn what_is_unpacked_costs_what_it_is_and_not_what_its_file_is() {
    const TEXT: usize = 1 << 20;
    let root = tempfile::tempdir().unwrap();
    let text = mail(&"word ".repeat(TEXT / 5));
    let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
    assert!(packed.len() < 4096);
    for name in ["folder/a", "maildir/cur/a"] {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &packed).unwrap();
    }
    with_run(root.path(), 1, |run| {
        let (budget, never) = (Budget::default(), AtomicBool::new(false));
        let (jobs, found) = sync_channel::<Job>(9);
        let stop = [&never, &never];
        Finder { run, budget: &budget, jobs, stop, number: 0, passed: Counts::default() }.find();
        let mut all: Vec<Job> = found.iter().collect();
        assert_eq!(all.len(), 2);
        for job in &mut all {
            let source = std::mem::replace(&mut job.source, Source::Nothing);
            assert_eq!(job.cost >= TEXT, matches!(source, Source::Bytes(_)), "before it is opened");
            run.look(source, job, &budget);
            assert!(job.cost >= TEXT, "{}", job.cost);
        }
    });
}

#[test]
fn who_needs_more_room_waits_for_it_unless_all_wait_for_him() {
    let (budget, gone) = (Budget::default(), Duration::from_millis(50));
    budget.take(UNDER_WAY);
    budget.more(0, UNDER_WAY);
    thread::scope(|scope| {
        let ((tell, told), budget) = (channel(), &budget);
        for number in 1..=2 {
            let tell = tell.clone();
            scope.spawn(move || {
                budget.more(number, 1);
                tell.send(number).unwrap();
            });
        }
        assert_eq!(told.recv_timeout(gone), Err(RecvTimeoutError::Timeout));
        budget.reached(1);
        assert_eq!(told.recv_timeout(LONG), Ok(1));
        assert_eq!(told.recv_timeout(gone), Err(RecvTimeoutError::Timeout));
        budget.free(2 * UNDER_WAY);
        assert_eq!(told.recv_timeout(LONG), Ok(2));
        budget.take(UNDER_WAY - 2);
        scope.spawn(move || {
            budget.take(1);
            tell.send(3).unwrap();
        });
        assert_eq!(told.recv_timeout(gone), Err(RecvTimeoutError::Timeout));
        budget.end();
        assert_eq!(told.recv_timeout(LONG), Ok(3), "nobody waits at the end");
    });
}
