//! Threads as mail programs make them: the algorithm that J. Zawinski published for Netscape Mail
//! and Grendel ("message threading", steps 1 to 4; the grouping by subject of step 5 is left out
//! on purpose: what hangs together here hangs by its ids).

use std::collections::HashMap;

/// What threading looks at.
pub(crate) struct Entry {
    pub(crate) id: String,
    /// Oldest first; the last is the parent.
    pub(crate) references: Vec<String>,
}

impl Entry {
    /// Of a mail as it was sent: References, and In-Reply-To if there are none.
    pub(crate) fn of(raw: &[u8]) -> Entry {
        let mail = mail_parser::MessageParser::default().parse(raw).unwrap();
        let ids = |value: &mail_parser::HeaderValue<'_>| -> Vec<String> {
            value
                .as_text_list()
                .map(|list| list.iter().map(ToString::to_string).collect())
                .unwrap_or_default()
        };
        let references = ids(mail.references());
        let references = if references.is_empty() { ids(mail.in_reply_to()) } else { references };
        Entry { id: mail.message_id().unwrap().to_owned(), references }
    }
}

#[derive(Default)]
struct Container {
    is_there: bool,
    parent: Option<String>,
}

/// The parent of each mail, the nearest that is really there; `None` for the root of a thread.
pub(crate) fn parents(entries: &[Entry]) -> HashMap<String, Option<String>> {
    let mut table: HashMap<String, Container> = HashMap::new();
    for entry in entries {
        table.entry(entry.id.clone()).or_default().is_there = true;
        // 1.B: the references are linked in their order, where no link is yet and none would loop.
        for pair in entry.references.windows(2) {
            table.entry(pair[0].clone()).or_default();
            table.entry(pair[1].clone()).or_default();
            if table[&pair[1]].parent.is_none() && !reaches(&table, &pair[0], &pair[1]) {
                table.get_mut(&pair[1]).unwrap().parent = Some(pair[0].clone());
            }
        }
        // 1.C: the parent of this mail is the last reference, whatever was thought before.
        if let Some(last) = entry.references.last() {
            table.entry(last.clone()).or_default();
            if !reaches(&table, last, &entry.id) {
                table.get_mut(&entry.id).unwrap().parent = Some(last.clone());
            }
        }
    }
    // 4: containers without a mail are passed over.
    let there = |id: &String| -> Option<String> {
        let mut at = table[id].parent.clone();
        while let Some(parent) = &at {
            if table[parent].is_there {
                return at;
            }
            at = table[parent].parent.clone();
        }
        None
    };
    entries.iter().map(|entry| (entry.id.clone(), there(&entry.id))).collect()
}

/// Whether `from` is `to`, or lies below it.
fn reaches(table: &HashMap<String, Container>, from: &str, to: &str) -> bool {
    let mut at = Some(from.to_owned());
    while let Some(id) = at {
        if id == to {
            return true;
        }
        at = table[&id].parent.clone();
    }
    false
}
