//! The blocks of docs/imap.md are configurations that load.

use std::path::Path;

use cmr_mail::config::{After, Config, Secret, Security};

#[test]
fn every_block_of_the_page_loads_without_a_doubt() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/imap.md");
    let page = std::fs::read_to_string(path).unwrap();
    let blocks: Vec<&str> =
        page.split("```toml\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0).collect();
    let mut hosts = Vec::new();
    for block in &blocks {
        let head = "[gateway]\naddress = \"mailto:cmr@example.org\"\nhostname = \"mx.example.org\"\noperator = \"Op <op@example.org>\"\n";
        let text = if block.contains("[gateway]") { (*block).to_owned() } else { format!("{head}{block}") };
        let dir = tempfile::tempdir().unwrap();
        // What a block names, beside the configuration.
        std::fs::write(dir.path().join("ca.pem"), std::fs::read(super::dovecot::CERTIFICATE).unwrap())
            .unwrap();
        let config =
            Config::parse(&text, dir.path().join("cmr-mail.toml")).unwrap_or_else(|e| panic!("{e}\n{block}"));
        assert_eq!(config.warnings, [], "{block}");
        // Who reads with a token writes with one.
        for account in &config.imap {
            let token = |secret: &Secret| matches!(secret, Secret::Token(_));
            let login = config.send.login.as_ref();
            let sends = login.map(|login| (login.user.clone(), token(&login.secret)));
            let reads = Some((account.user.clone(), token(&account.secret)));
            assert!(sends == reads || !block.contains("[send]"), "{block}");
            assert!(sends.is_some() || !token(&account.secret), "nobody would get an answer: {block}");
            assert_ne!(account.security, Security::None, "{block}");
            hosts.push((
                account.host.clone(),
                matches!(account.secret, Secret::Token(_)),
                account.after.clone(),
            ));
        }
    }
    for host in ["imap.gmail.com", "outlook.office365.com", "imap.fastmail.com", "mail.example.org"] {
        assert!(hosts.iter().any(|(it, ..)| it == host), "{host} is not shown");
    }
    let office = hosts.iter().find(|(host, ..)| host == "outlook.office365.com").unwrap();
    assert!(office.1, "there is no other way any more than a token");
    assert!(hosts.iter().any(|(.., after)| matches!(after, After::Move(_))), "one of them moves");
}
