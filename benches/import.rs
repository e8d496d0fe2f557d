//! How fast an archive is taken into the pool, beside two programs that index mail, on the same
//! maildir in the same run: `cargo bench --bench import`.
//!
//! `CMR_MAIL_BENCH_MBOX` names the mails: files or folders with a colon between; they are written
//! into a maildir first. `CMR_MAIL_BENCH_ROUNDS` says how often each is measured (3). Needs the
//! Debian packages `maildir-utils` (mu) and `notmuch`. Each begins with an empty index and a file
//! cache that holds the mails; ours ends durable, with the pool and the peers' model filled.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on has nothing better to do"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("import: measures only under `cargo bench`");
        return;
    }
    let Some(paths) = std::env::var_os("CMR_MAIL_BENCH_MBOX") else {
        println!(
            "import: nothing is measured, because CMR_MAIL_BENCH_MBOX is not set. It names mails, files or \
             folders with a colon between, such as mailing-list archives of 10,000 mails and more."
        );
        return;
    };
    let rounds = std::env::var("CMR_MAIL_BENCH_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    let scratch = tempfile::Builder::new().prefix("import-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let maildir = scratch.path().join("mail");
    let (mails, bytes) = write_maildir(&std::env::split_paths(&paths).collect::<Vec<_>>(), &maildir);
    println!(
        "{mails} mails, {} MB, {} processors",
        bytes / 1_000_000,
        std::thread::available_parallelism().unwrap()
    );
    let mut times: Vec<(&str, Vec<f64>)> = [
        "mu index",
        "notmuch new",
        "import",
        "import --publish",
        "import --view full",
        "import, nothing new",
    ]
    .map(|name| (name, Vec::new()))
    .into();
    let mut memory = 0;
    for round in 0..rounds {
        let place = |name: &str| {
            let place = scratch.path().join(format!("{name}-{round}"));
            fs::create_dir(&place).unwrap();
            fs::set_permissions(&place, fs::Permissions::from_mode(0o700)).unwrap();
            place
        };
        times[0].1.push(mu(&place("mu"), &maildir));
        times[1].1.push(notmuch(&place("notmuch"), &maildir));
        for (at, options) in [(2, ""), (3, "--publish"), (4, "--view full")] {
            let home = place(&format!("ours{at}"));
            let (seconds, most) = ours(&home, &maildir, options, Some(mails));
            times[at].1.push(seconds);
            memory = memory.max(most);
            if at == 2 {
                times[5].1.push(ours(&home, &maildir, options, None).0);
            }
            fs::remove_dir_all(home).unwrap();
        }
    }
    let median = |all: &[f64]| {
        let mut all = all.to_vec();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let (mu, notmuch) = (median(&times[0].1), median(&times[1].1));
    println!("{:22} {:>8} {:>10} {:>8} {:>8}  all rounds", "", "seconds", "mails/s", "× mu", "× notmuch");
    for (name, all) in &times {
        let seconds = median(all);
        println!(
            "{name:22} {seconds:8.2} {:10.0} {:8.1} {:8.1}   {all:.2?}",
            mails as f64 / seconds,
            mu / seconds,
            notmuch / seconds
        );
    }
    println!("memory of ours, at most: {} MiB", memory / 1024);
}

/// Writes the mails into a maildir, byte for byte as they were before they were stored.
fn write_maildir(paths: &[PathBuf], maildir: &Path) -> (usize, u64) {
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(maildir.join(part)).unwrap();
    }
    let (mut mails, mut bytes) = (0, 0);
    for path in paths {
        for mail in cmr_mail::archive::mails(path, 64 << 20).unwrap() {
            let mail = mail.unwrap();
            fs::write(maildir.join(format!("cur/{mails:07}.bench:2,S")), &mail.bytes).unwrap();
            mails += 1;
            bytes += mail.bytes.len() as u64;
        }
    }
    rustix::fs::sync();
    (mails, bytes)
}

fn timed(command: &mut Command) -> f64 {
    let begun = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
    begun.elapsed().as_secs_f64()
}

fn mu(home: &Path, maildir: &Path) -> f64 {
    let muhome = format!("--muhome={}", home.join("mu").display());
    timed(Command::new("mu").arg("init").arg(&muhome).arg(format!("--maildir={}", maildir.display())));
    timed(Command::new("mu").arg("index").arg(&muhome))
}

fn notmuch(home: &Path, maildir: &Path) -> f64 {
    // Its database lies beside the mails unless it is told otherwise.
    let config = home.join("config");
    let text = format!(
        "[database]\npath={}\nmail_root={}\n[user]\nname=x\nprimary_email=x@y.example\n[new]\ntags=new\n",
        home.join("db").display(),
        maildir.display()
    );
    fs::create_dir(home.join("db")).unwrap();
    fs::write(&config, text).unwrap();
    timed(Command::new("notmuch").env("NOTMUCH_CONFIG", &config).arg("new").arg("--no-hooks").arg("--quiet"))
}

/// Seconds, and the most memory in KiB.
fn ours(home: &Path, maildir: &Path, options: &str, mails: Option<usize>) -> (f64, u64) {
    let config = home.join("cmr-mail.toml");
    fs::write(
        &config,
        "[gateway]\naddress = \"mailto:cmr@example.org\"\nhostname = \"mx.example.org\"\n\
         operator = \"operator@example.org\"\n[smtp]\nlisten = [\"127.0.0.1:0\"]\n\
         [send]\nsmarthost = \"smtp://127.0.0.1:1\"\n",
    )
    .unwrap();
    let data = home.join("data");
    if !data.exists() {
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let said = home.join("said");
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_cmr-mail"))
        .args(["import", "--json", "--config"])
        .arg(&config)
        .args(options.split_whitespace())
        .arg(maildir)
        .stdout(fs::File::create(&said).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let peak = text
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        most = most.max(peak.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let seconds = begun.elapsed().as_secs_f64();
    let text = fs::read_to_string(&said).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    match mails {
        // What can't be read is counted, and has cost its time.
        Some(mails) => assert_eq!(last["mails"], mails, "{last}"),
        None => assert_eq!(last["mails"], 0, "{last}"),
    }
    (seconds, most)
}
