//! Manual pages and completions: one description of the verbs, for the command line, for man and for
//! the shells.

use std::process::Command;

use super::support::daemon::{Config, House};

#[test]
fn every_verb_has_its_page_and_is_completed() {
    let house = House::new(&Config::new());
    house.verb(&["manual", "made"]);
    let dir = house.dir().join("made");
    let help = String::from_utf8(house.verb(&["help"])).unwrap();
    let verbs: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.strip_prefix("  ")?.split_whitespace().next().filter(|_| !line.starts_with("   "))
        })
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() > 20 && verbs.contains(&"web-user") && !verbs.contains(&"manual"), "{verbs:?}");
    let bash = std::fs::read_to_string(dir.join("bash/cmr-mail.bash")).unwrap();
    let zsh = std::fs::read_to_string(dir.join("zsh/_cmr-mail")).unwrap();
    let fish = std::fs::read_to_string(dir.join("fish/cmr-mail.fish")).unwrap();
    for verb in &verbs {
        let page = std::fs::read_to_string(dir.join(format!("man1/cmr-mail-{verb}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS") && page.contains("Examples:"), "{verb}: {page}");
        for (shell, text) in [("bash", &bash), ("zsh", &zsh), ("fish", &fish)] {
            assert!(text.contains(verb), "{shell}: {verb}");
        }
    }
    for page in ["cmr-mail", "cmr-mail-queue-retry", "cmr-mail-keys-exchange", "cmr-mail-peers-pin"] {
        assert!(dir.join(format!("man1/{page}.1")).exists(), "{page}");
    }
    // The shell can read it, and knows the verbs of a verb.
    let script = format!(
        "source {}; COMP_WORDS=(cmr-mail queue re); COMP_CWORD=2; _cmr__mail cmr-mail re queue; echo ${{COMPREPLY[@]}}",
        dir.join("bash/cmr-mail.bash").display()
    );
    let done = Command::new("bash").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(said.contains("retry") && said.contains("release"), "{said} {done:?}");
}
