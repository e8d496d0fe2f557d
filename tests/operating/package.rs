//! The Debian package: the unit, what the scripts know, and, at full scale, the package itself in a
//! scratch root.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cmr_mail::store::schema_version;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

#[test]
fn the_unit_leaves_little_to_the_daemon() {
    let unit = root().join("deploy/systemd/cmr-mail.service");
    let done = Command::new("systemd-analyze").args(["security", "--offline=true"]).arg(&unit).output();
    let done = done.expect("systemd-analyze is there: Debian package systemd");
    let said = said(&done);
    let line =
        said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{said}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let level = words.iter().find_map(|word| word.parse::<f64>().ok()).unwrap();
    assert!(level < 2.0, "{line}");
    let unit = read("deploy/systemd/cmr-mail.service");
    for line in ["Type=notify", "WatchdogSec=10min", "RestartPreventExitStatus=78", "User=cmr-mail"] {
        assert!(unit.lines().any(|it| it == line), "{line}");
    }
}

#[test]
fn the_scripts_know_the_schema_and_the_list_of_files_is_right() {
    let preinst = read("deploy/debian/preinst");
    assert!(preinst.contains(&format!("\nknown={}\n", schema_version())), "deploy/debian/preinst: known=");
    for script in ["preinst", "postinst", "prerm", "postrm", "build"] {
        let path = root().join("deploy/debian").join(script);
        let done = Command::new("sh").arg("-n").arg(&path).output().unwrap();
        assert!(done.status.success(), "{script}: {}", said(&done));
        assert!(
            script == "build" || read(&format!("deploy/debian/{script}")).contains("\n#DEBHELPER#\n"),
            "{script}"
        );
    }
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    for asset in deb["assets"].as_array().unwrap() {
        let from = asset[0].as_str().unwrap();
        let folder = Path::new(from).parent().unwrap();
        if !from.starts_with("target/") {
            assert!(
                root().join(from).exists() || (from.contains('*') && root().join(folder).is_dir()),
                "{from}"
            );
        }
    }
    let version = manifest["package"]["version"].as_str().unwrap();
    let changelog = read("deploy/debian/changelog");
    assert!(changelog.starts_with(&format!("cmr-mail ({version}-1) ")), "deploy/debian/changelog: {version}");
}

/// What older versions do with a database of this one's successor, without a package.
#[test]
fn the_script_refuses_a_database_of_a_newer_version() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cmr-mail.db");
    let database = file.to_str().unwrap();
    let script = read("deploy/debian/preinst").replace("/var/lib/cmr-mail/cmr-mail.db", database);
    let run =
        |action: &str| Command::new("sh").args(["-c", &script, "preinst", action, "9"]).output().unwrap();
    assert!(run("upgrade").status.success(), "no database");
    for (version, refused) in
        [(0, false), (schema_version(), false), (schema_version() + 1, true), (66_000, true)]
    {
        let conn = rusqlite::Connection::open(&file).unwrap();
        conn.pragma_update(None, "user_version", version).unwrap();
        conn.execute_batch("CREATE TABLE IF NOT EXISTS t (x)").unwrap();
        drop(conn);
        let done = run("upgrade");
        assert_eq!(done.status.success(), !refused, "{version}: {}", said(&done));
        assert_eq!(
            said(&done).contains(&format!("newer version (schema {version})")),
            refused,
            "{}",
            said(&done)
        );
        assert!(run("install").status.success(), "what was purged and comes again has no older version");
    }
}

/// Builds the package with this version out of what `cargo test` has built.
fn package(into: &Path, version: &str) -> PathBuf {
    let tool = std::env::var_os("CMR_MAIL_CARGO_DEB").unwrap_or_else(|| "cargo-deb".into());
    let path = into.join(format!("cmr-mail-{version}.deb"));
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let done = Command::new(tool)
        .args([
            "--no-build",
            "--locked",
            "--quiet",
            "--fast",
            "--profile",
            profile,
            "--deb-version",
            version,
            "--output",
        ])
        .arg(&path)
        .current_dir(root())
        .output()
        .expect("cargo-deb is there: ./test full builds it, CMR_MAIL_CARGO_DEB names it");
    assert!(done.status.success(), "{}", said(&done));
    path
}

#[test]
fn the_package_installs_upgrades_refuses_to_go_back_and_leaves_nothing() {
    if std::env::var_os("CMR_MAIL_FULL").is_none() {
        println!("not packaged: that is for ./test full");
        return;
    }
    let manual = root().join("target/manual");
    let made = Command::new(super::support::daemon::PROGRAM).arg("manual").arg(&manual).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let dir = tempfile::tempdir().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let new = package(dir.path(), &format!("{version}-1"));
    let older = package(dir.path(), &format!("{version}~before-1"));

    let lint = Command::new("lintian").args(["--fail-on", "error,warning"]).arg(&new).output();
    let lint = lint.expect("lintian is there: Debian package lintian");
    assert!(lint.status.success(), "{}", said(&lint));

    if !rustix::process::geteuid().is_root() {
        println!("not root: the package is not installed in a scratch root");
        return;
    }
    let script = root().join("tests/operating/package.sh");
    let dumps = root().join("src/store/migrations/dumps");
    let done =
        Command::new("unshare").args(["-m", "-n", "sh"]).arg(script).args([&new, &older, &dumps]).output();
    let done = done.unwrap();
    assert!(done.status.success() && said(&done).contains("== all is well"), "{}", said(&done));
    println!("{}", said(&done));
}
