//! What can be told from an address, and what must not be.

use super::address;
use crate::message::{Address, AddressError};

#[test]
fn only_one_plain_addr_spec_is_a_mail_address() {
    let good = [
        ("mailto:cmr@example.org", "cmr@example.org"),
        ("MailTo:Cmr@Example.ORG", "Cmr@Example.ORG"),
        ("mailto:cmr+ann.k3f9@a-b.example", "cmr+ann.k3f9@a-b.example"),
        ("mailto:o'neil_#$&*/=^`{|}~@example.org", "o'neil_#$&*/=^`{|}~@example.org"),
        ("mailto:bob@localhost", "bob@localhost"),
        ("mailto:a@1.2.3.4.example", "a@1.2.3.4.example"),
        ("mailto:a@xn--bcher-kva.example", "a@xn--bcher-kva.example"),
    ];
    for (text, mail) in good {
        assert_eq!(address(text).mail_address(), Some(mail), "{text}");
    }
    let long_local = format!("mailto:{}@example.org", "a".repeat(65));
    let long_label = format!("mailto:a@{}.org", "a".repeat(64));
    let long_domain = format!("mailto:a@{}org", "a.".repeat(126));
    let bad = [
        "mailto:",
        "mailto:@",
        "mailto:bob",
        "mailto:@example.org",
        "mailto:bob@",
        "mailto:bob@example.org?subject=x",
        "mailto:bob?cc=eve@example.org",
        "mailto:bob@example.org,eve@example.org",
        "mailto:bob@example.org;eve@example.org",
        "mailto:bob@example.org eve@example.org",
        "mailto:bob@eve@example.org",
        "mailto:bob%40example.org",
        "mailto:bob%eve@example.org",
        "mailto:host!bob@example.org",
        "mailto:@a.example:bob@b.example",
        "mailto:bob:eve@example.org",
        "mailto:Bob <bob@example.org>",
        "mailto:bob(comment)@example.org",
        "mailto:\"bob\"@example.org",
        "mailto:bob\\@example.org",
        "mailto:-bob@example.org",
        "mailto:.bob@example.org",
        "mailto:bob.@example.org",
        "mailto:bo..b@example.org",
        "mailto:bob@.example.org",
        "mailto:bob@example.org.",
        "mailto:bob@example..org",
        "mailto:bob@-example.org",
        "mailto:bob@example-.org",
        "mailto:bob@exa_mple.org",
        "mailto:bob@[127.0.0.1]",
        "mailto:bob@127.0.0.1",
        "mailto:bob@2130706433",
        "mailto:bob@example.org\0",
        "mailto:bob@example.org\t",
        "mailto:b\u{f6}b@example.org",
        "mailto:bob@ex\u{e4}mple.org",
        "mailto://bob@example.org/",
        "mailto :bob@example.org",
        " mailto:bob@example.org",
        "bob@example.org",
        "http://bob@example.org",
        long_local.as_str(),
        long_label.as_str(),
        long_domain.as_str(),
    ];
    for text in bad {
        assert_eq!(address(text).mail_address(), None, "{text}");
    }
    let not_text = Address::new(*b"mailto:b\xf6b@example.org").unwrap();
    assert_eq!(not_text.mail_address(), None);
}

#[test]
fn scheme_and_host_are_found_where_all_readers_agree() {
    let rows = [
        ("http://alice.com/cmr", Some("http"), Some("alice.com")),
        ("HTTPS://Alice.com:8443", Some("HTTPS"), Some("Alice.com")),
        ("http://alice.com?x", Some("http"), Some("alice.com")),
        ("http://alice.com#x", Some("http"), Some("alice.com")),
        ("http://alice.com:/", Some("http"), Some("alice.com")),
        ("udp://192.168.0.102:53/dns-tunnel", Some("udp"), Some("192.168.0.102")),
        ("udp://[2001:db8::1]:53/x", Some("udp"), Some("2001:db8::1")),
        ("http://[::1]/", Some("http"), Some("::1")),
        ("ssh://cmr@host.example:22/run", Some("ssh"), Some("host.example")),
        ("mailto:bob@b.example", Some("mailto"), Some("b.example")),
        ("mailto:bob@b.example?x=y", Some("mailto"), None),
        ("svn+ssh://h/", Some("svn+ssh"), Some("h")),
        // No host, or more than one reading of it.
        ("http:/alice.com", Some("http"), None),
        ("http:///cmr", Some("http"), None),
        ("http://", Some("http"), None),
        ("http://a\\@b/", Some("http"), None),
        ("http://a@b@c/", Some("http"), None),
        ("http://a b/", Some("http"), None),
        ("http://a\tb/", Some("http"), None),
        ("http://a:b/", Some("http"), None),
        ("http://a:1:2/", Some("http"), None),
        ("http://[::1/", Some("http"), None),
        ("http://[::1]x/", Some("http"), None),
        ("http://[alice]/", Some("http"), None),
        ("http://b\u{fc}cher.example/", Some("http"), None),
        ("//alice.com/", None, None),
        ("1http://alice.com/", None, None),
        (":x", None, None),
        ("box 12, third floor", None, None),
    ];
    for (text, scheme, host) in rows {
        assert_eq!(address(text).scheme(), scheme, "{text}");
        assert_eq!(address(text).host(), host, "{text}");
    }
}

#[test]
fn one_domain() {
    let shared = [
        ("mailto:cmr+ann.3fa9@example.org", "https://cmr.example.org/cmr"),
        ("mailto:cmr+ann.3fa9@cmr.example.org", "https://EXAMPLE.org:8443/cmr"),
        ("http://a.example/x", "udp://a.example:4000"),
        ("http://localhost:1/", "http://localhost:2/"),
        ("http://192.0.2.1/", "udp://192.0.2.1:99"),
    ];
    let apart = [
        ("http://a.example.org/", "http://b.example.org/"),
        ("http://example.org/", "http://badexample.org/"),
        ("http://example.org.evil.example/", "http://example.org/"),
        ("http://org/", "http://example.org/"),
        ("http://2.1/", "http://192.0.2.1/"),
        ("http://[::1]/", "http://[::2]/"),
        ("box 12", "box 12"),
    ];
    for (pairs, wanted) in [(&shared[..], true), (&apart[..], false)] {
        for (one, two) in pairs {
            assert_eq!(address(one).shares_domain(&address(two)), wanted, "{one} {two}");
            assert_eq!(address(two).shares_domain(&address(one)), wanted, "{two} {one}");
        }
    }
}

#[test]
fn spellings_of_one_place_are_recognised_and_nothing_else() {
    let same = [
        ("mailto:cmr@example.org", "MAILTO:CMR@Example.Org"),
        ("http://a.example/cmr", "HTTP://A.Example/cmr///"),
        ("http://a.example", "http://a.example/"),
        ("box 12", "box 12"),
    ];
    for (one, two) in same {
        assert!(address(one).same_place(&address(two)), "{one} {two}");
        assert!(address(two).same_place(&address(one)), "{two} {one}");
    }
    let different = [
        ("mailto:cmr@example.org", "mailto:cmr+x@example.org"),
        ("mailto:cmr@example.org", "http://cmr@example.org"),
        ("http://a.example/cmr", "http://a.example/CMR"),
        ("http://a.example/cmr", "https://a.example/cmr"),
        ("http://a.example/", "http://a.example:8080/"),
        ("http://a.example/?x", "http://a.example/"),
        ("box 12", "BOX 12"),
        ("box 12", "box 12/"),
    ];
    for (one, two) in different {
        assert!(!address(one).same_place(&address(two)), "{one} {two}");
        assert!(!address(two).same_place(&address(one)), "{two} {one}");
    }
}

#[test]
fn line_ends_and_nothing_are_no_addresses() {
    assert_eq!(Address::new(*b""), Err(AddressError::Empty));
    assert_eq!(Address::new(*b"ab\rc"), Err(AddressError::LineEnd(2)));
    assert_eq!(Address::new(*b"ab\nc"), Err(AddressError::LineEnd(2)));
    assert_eq!(Address::new(*b"\r\n"), Err(AddressError::LineEnd(0)));
    assert!(serde_json::from_str::<Address>("\"\"").is_err());
}

#[test]
fn what_is_shown_cannot_move_a_terminal() {
    let shown = |bytes: &[u8]| Address::new(bytes).unwrap().to_string();
    assert_eq!(shown(b"http://a/"), "http://a/");
    assert_eq!(shown("b\u{fc}cher".as_bytes()), "b\u{fc}cher");
    assert_eq!(shown(b"a\x1b[31m\0"), "a\\u{1b}[31m\\u{0}");
    assert_eq!(
        shown("a\u{9b}31m\u{202e}b\u{2028}\u{200b}".as_bytes()),
        "a\\u{9b}31m\\u{202e}b\\u{2028}\\u{200b}"
    );
    assert_eq!(shown(b"a\xff\xc3"), "a\\xff\\xc3");
    assert_eq!(serde_json::to_string(&address("a\x1b\"")).unwrap(), r#""a\\u{1b}\"""#);
}
