//! Holds the arrows of `docs/architecture.md`: imports run one way, rooms know only what they may
//! know, files stay readable. It reads the sources as text.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "in tests a panic is the report"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A room, the rooms that it may import, and what may not even be named in it.
struct Room {
    name: &'static str,
    imports: &'static [&'static str],
    never: &'static [&'static str],
}

/// For rooms that are functions of their arguments: no sockets, files, clock, database, luck.
const PURE: &[&str] = &[
    "tokio",
    "rusqlite",
    "lettre",
    "mailin_embedded",
    "native_tls",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "std::fs",
    "std::env",
    "std::process",
    "SystemTime::now",
    "Instant::now",
    "getrandom",
];

/// The same for the room that composes mails: lettre's builder is a function of its arguments.
const PURE_BUT_BUILDS_MAIL: &[&str] = &[
    "tokio",
    "rusqlite",
    "lettre::transport",
    "lettre::Transport",
    "mailin_embedded",
    "native_tls",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "std::fs",
    "std::env",
    "std::process",
    "SystemTime::now",
    "Instant::now",
    "getrandom",
];

const ROOMS: &[Room] = &[
    Room { name: "message", imports: &[], never: PURE },
    Room {
        name: "archive",
        imports: &[],
        never: &[
            "tokio",
            "rusqlite",
            "mail_parser",
            "lettre",
            "TcpStream",
            "UnixStream",
            "File::create",
            "fs::write",
        ],
    },
    Room { name: "distance", imports: &[], never: PURE },
    Room { name: "smtp", imports: &[], never: PURE },
    Room { name: "metrics", imports: &[], never: PURE },
    Room {
        name: "listen",
        imports: &[],
        never: &["rusqlite", "lettre", "hyper", "native_tls", "smtp_proto"],
    },
    Room {
        name: "dns",
        imports: &[],
        never: &["rusqlite", "lettre", "TcpStream", "TcpListener", "UdpSocket", "native_tls", "mail_auth"],
    },
    Room {
        name: "process",
        imports: &[],
        never: &["tokio", "rusqlite", "lettre", "TcpStream", "UnixStream"],
    },
    Room { name: "keys", imports: &["message"], never: PURE },
    Room { name: "mail", imports: &["message"], never: PURE_BUT_BUILDS_MAIL },
    Room { name: "wire", imports: &["message"], never: PURE },
    Room { name: "policy", imports: &["message"], never: PURE },
    Room {
        name: "authenticate",
        imports: &["dns", "message", "mail", "policy"],
        never: &["rusqlite", "lettre", "TcpStream", "TcpListener", "UdpSocket", "mailin", "native_tls"],
    },
    Room { name: "pool", imports: &["message", "distance", "policy"], never: PURE },
    Room { name: "router", imports: &["message", "distance", "pool", "policy"], never: PURE },
    Room { name: "filter", imports: &["message", "smtp", "mail"], never: PURE },
    Room {
        name: "evaluate",
        imports: &["message", "archive", "distance", "mail", "policy", "pool"],
        never: &[
            "tokio",
            "rusqlite",
            "mail_parser",
            "lettre",
            "TcpStream",
            "UnixStream",
            "std::process",
            "fs::write",
        ],
    },
    Room {
        name: "simulate",
        imports: &["message", "evaluate", "policy", "pool", "router"],
        never: &[
            "tokio",
            "rusqlite",
            "mail_parser",
            "lettre",
            "TcpStream",
            "UnixStream",
            "std::process",
            "std::fs",
        ],
    },
    Room {
        name: "store",
        imports: &["message", "keys", "policy", "mail"],
        never: &["TcpStream", "TcpListener", "lettre", "tokio::net", "native_tls", "mailin_embedded"],
    },
    Room {
        name: "config",
        imports: &["message", "keys", "distance", "policy", "router", "filter", "wire"],
        never: &["tokio", "rusqlite", "lettre", "TcpStream", "TcpListener", "mailin_embedded"],
    },
    Room {
        name: "send",
        imports: &["dns", "smtp", "mail", "message", "keys", "store", "config", "policy", "wire"],
        never: &["TcpListener", "mailin_embedded", "smtp_proto"],
    },
    Room {
        name: "receive",
        imports: &["listen", "smtp", "mail", "message", "config", "filter", "send", "wire"],
        never: &["rusqlite", "lettre", "mailin_embedded"],
    },
    Room {
        name: "gateway",
        imports: &[
            "message",
            "distance",
            "smtp",
            "keys",
            "mail",
            "policy",
            "pool",
            "router",
            "store",
            "config",
            "receive",
            "send",
            "authenticate",
            "filter",
            "metrics",
            "wire",
            "dns",
        ],
        never: &[
            "TcpStream",
            "TcpListener",
            "lettre",
            "mailin_embedded",
            "smtp_proto",
            "native_tls",
            "mail_auth",
        ],
    },
    Room { name: "report", imports: &["message", "distance", "policy", "pool"], never: PURE },
    Room {
        name: "web",
        imports: &["listen", "message", "distance", "metrics", "gateway"],
        never: &[
            "rusqlite",
            "lettre",
            "UnixStream",
            "std::fs",
            "SystemTime::now",
            "crate::store",
            "crate::pool",
        ],
    },
    Room {
        name: "export",
        imports: &["message", "mail", "policy", "store"],
        never: &["tokio", "rusqlite", "lettre", "UnixStream", "crate::pool"],
    },
    Room {
        name: "import",
        imports: &["message", "archive", "mail", "policy", "store", "config", "gateway"],
        never: &["tokio", "rusqlite", "lettre", "UnixStream", "indicatif", "File::create", "fs::write"],
    },
    Room {
        name: "cli",
        imports: &[
            "export",
            "import",
            "report",
            "message",
            "distance",
            "smtp",
            "keys",
            "mail",
            "policy",
            "pool",
            "router",
            "store",
            "config",
            "receive",
            "send",
            "gateway",
            "process",
            "authenticate",
            "archive",
            "evaluate",
            "simulate",
            "filter",
            "web",
            "wire",
            "listen",
        ],
        never: &[],
    },
];

/// A file over this wants to be two.
const LONGEST: usize = 600;

struct Source {
    path: PathBuf,
    room: String,
    /// Modules between the crate and this file: 1 for `src/room/mod.rs`, 2 for its children.
    depth: usize,
    text: String,
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![src()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let inside = path.strip_prefix(src()).unwrap().to_path_buf();
                let parts = inside.components().count();
                let is_mod = inside.ends_with("mod.rs");
                let room =
                    inside.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: inside, room, depth: parts - usize::from(is_mod), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

impl Source {
    /// Whether the file exists for the tests only.
    fn is_test(&self) -> bool {
        self.path
            .components()
            .any(|c| matches!(c.as_os_str().to_str(), Some("tests" | "tests.rs" | "property.rs")))
    }

    /// The code that ships: without comments, and without what stands below `#[cfg(test)]`.
    fn code(&self) -> String {
        let shipped = self.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        shipped.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
    }

    /// The rooms that the code names, by `crate::room` or by a chain of `super` that reaches the
    /// crate, single or in braces.
    fn imports(&self) -> BTreeSet<String> {
        let code = self.code();
        let mut found = BTreeSet::new();
        for root in ["crate::".to_owned(), "super::".repeat(self.depth)] {
            for (at, _) in code.match_indices(&root) {
                let before = code[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                found.extend(first_names(&code[at + root.len()..]));
            }
        }
        found
    }
}

/// `a::b` gives a; `{a::b, c}` gives a and c.
fn first_names(path: &str) -> Vec<String> {
    let name =
        |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(inside) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut names, mut depth, mut item) = (Vec::new(), 0, String::new());
    for c in inside.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&std::mem::take(&mut item))),
            _ => item.push(c),
        }
    }
    names.push(name(&item));
    names.retain(|name| !name.is_empty());
    names
}

fn room(name: &str) -> Option<&'static Room> {
    ROOMS.iter().find(|room| room.name == name)
}

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    for source in sources().iter().filter(|s| !s.is_test()) {
        for to in source.imports() {
            if room(&to).is_none() || to == source.room {
                continue;
            }
            *seen.entry((source.room.clone(), to.clone())).or_default() += 1;
            if room(&source.room).is_some_and(|from| !from.imports.contains(&to.as_str())) {
                wrong.push(format!("{} imports {to}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "against the arrows:\n{}", wrong.join("\n"));
    // That it saw something: imports in all, and a few arrows that the program cannot be without.
    let total: usize = seen.values().sum();
    assert!(total > 100, "only {total} imports were seen: {seen:?}");
    for (from, to) in [
        ("keys", "message"),
        ("router", "pool"),
        ("config", "policy"),
        ("receive", "smtp"),
        ("cli", "gateway"),
    ] {
        assert!(seen.contains_key(&(from.to_owned(), to.to_owned())), "{from} → {to} was not seen");
    }
}

#[test]
fn the_table_of_rooms_is_the_crate_and_has_no_circle() {
    let library = fs::read_to_string(src().join("lib.rs")).unwrap();
    let modules: BTreeSet<_> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(modules, ROOMS.iter().map(|room| room.name).collect());
    for (i, from) in ROOMS.iter().enumerate() {
        for to in from.imports {
            let below = ROOMS.iter().take(i).any(|room| room.name == *to);
            assert!(below, "{} → {to} points up: rooms stand in the table from the ground up", from.name);
        }
    }
}

#[test]
fn what_a_room_must_never_know_is_not_named_in_it() {
    let mut wrong = Vec::new();
    let mut read = 0;
    for source in sources().iter().filter(|s| !s.is_test()) {
        let Some(room) = room(&source.room) else { continue };
        read += 1;
        let code = source.code();
        for word in room.never.iter().filter(|word| code.contains(**word)) {
            wrong.push(format!("{} names {word}", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(read > 50, "only {read} files were read");
}

#[test]
fn files_stay_readable() {
    let long: Vec<_> = sources()
        .iter()
        .map(|source| (source.text.lines().count(), source.path.display().to_string()))
        .filter(|(lines, _)| *lines > LONGEST)
        .collect();
    assert!(long.is_empty(), "over {LONGEST} lines: {long:?}");
}

/// A file that no module names is not compiled, and nobody notices that it is dead.
#[test]
fn every_file_is_part_of_the_crate() {
    let mut orphans = Vec::new();
    for source in sources() {
        let Some(name) = source.path.file_stem().and_then(|name| name.to_str()) else { continue };
        let folder = src().join(source.path.parent().unwrap());
        let (name, folder) = match name {
            "lib" | "main" => continue,
            "mod" => (
                folder.file_name().unwrap().to_str().unwrap().to_owned(),
                folder.parent().unwrap().to_owned(),
            ),
            name => (name.to_owned(), folder),
        };
        let parents = [folder.join("mod.rs"), folder.with_extension("rs"), folder.join("lib.rs")];
        let declared = parents.iter().filter_map(|parent| std::fs::read_to_string(parent).ok()).any(|text| {
            text.lines().any(|line| {
                line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ")
                    == format!("mod {name};")
            })
        });
        if !declared {
            orphans.push(source.path.display().to_string());
        }
    }
    assert!(orphans.is_empty(), "no module names {orphans:?}");
}

#[test]
fn every_room_says_what_it_knows_and_what_it_must_never_know() {
    for room in ROOMS {
        let path = src().join(room.name).join("mod.rs");
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let head: Vec<_> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
        let words = head.join(" ").to_lowercase();
        assert!(head.len() >= 3, "{}: the head comment has {} lines", path.display(), head.len());
        assert!(
            words.contains("know") && words.contains("never"),
            "{}: what must it never know?",
            path.display()
        );
    }
}

/// The reading of the sources itself: a test that sees nothing finds nothing.
#[test]
fn imports_are_seen_in_every_form() {
    let source =
        |text: &str| Source { path: "pool/mod.rs".into(), room: "pool".into(), depth: 1, text: text.into() };
    for (text, expected) in [
        ("use crate::message::Address;", "message"),
        ("use crate::{message::{Address, Hop}, store};", "message store"),
        ("use crate::{\n    distance::Metric,\n    policy::{\n        Rate,\n    },\n};", "distance policy"),
        ("fn f() -> crate::keys::Key {}", "keys"),
        ("use super::router::decide;", "router"),
        ("// use crate::store;\n/// See [`crate::send`].", ""),
        ("use other_crate::store;", ""),
        ("fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::store;\n}", ""),
    ] {
        let seen: Vec<_> = source(text).imports().into_iter().collect();
        assert_eq!(seen.join(" "), expected, "{text}");
    }
    let child = Source { depth: 2, ..source("use super::Pool;\nuse super::super::store::open;") };
    assert_eq!(child.imports().into_iter().collect::<Vec<_>>(), ["store"]);
}
