//! What there is at the end: the database and the correspondents' mailboxes, in lines that two
//! runs of the same story have in common. What differs from run to run (our own T, and what is
//! drawn by lot) is left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use cmr_mail::message::{Limits, parse};
use rusqlite::Connection;

use crate::support::sink::Mail;

/// What the database says, a line for each fact.
const FACTS: &[&str] = &[
    "SELECT 'message ' || lower(hex(public_id)) || ' ' || kind || ' ' || scope || ' ' || state || ' by ' ||
            CAST(author AS TEXT) || ' from ' || CAST(neighbour AS TEXT) || ' verified ' || verified ||
            ' conflict ' || conflict || ' failures ' || attempts || ' raw ' || (raw IS NOT NULL) ||
            ' person ' || (person IS NOT NULL) || ' ' || authenticity FROM message",
    // The time of a post may be that of its receipt.
    "SELECT 'text ' || lower(hex(m.public_id)) || ' ' ||
            CASE m.kind WHEN 'post' THEN '' ELSE CAST(t.header AS TEXT) END || CAST(t.body AS TEXT)
       FROM text t JOIN message m ON m.seq = t.seq",
    // In tens of bits: how rare a word is depends a little on what the pool was filled with first.
    "SELECT 'match ' || lower(hex(m.public_id)) || ' ' || x.rank || ' ' || lower(hex(o.public_id)) || ' ' ||
            round(x.gain_bits / 10) || ' ' || round(x.one_sided_bits / 10) || ' ' || round(x.distance_raw / 10)
       FROM match x JOIN message m ON m.seq = x.seq JOIN message o ON o.seq = x.other",
    "SELECT 'decision on ' || lower(hex(m.public_id)) FROM decision d JOIN message m ON m.seq = d.seq",
    "SELECT 'delivery ' || d.kind || ' of ' || ifnull(lower(hex(m.public_id)), 'none') || ' to ' ||
            CAST(d.to_address AS TEXT) || ' ' || d.state || ' in thread ' || (d.thread IS NOT NULL)
       FROM delivery d LEFT JOIN message m ON m.seq = d.seq",
    "SELECT 'holder of ' || lower(hex(m.public_id)) || ' ' || CAST(h.address AS TEXT) FROM message m
       JOIN (SELECT seq, address FROM hop UNION SELECT seq, address FROM holder) h ON h.seq = m.seq",
    "SELECT 'person ' || address || ' ' || name || ' ' || (confirmed_at IS NOT NULL) || ' ' ||
            (stopped_at IS NOT NULL) FROM person",
    "SELECT 'thread of ' || p.address || ' on ' || ifnull(lower(hex(m.public_id)), 'none') || ' ' || t.subject ||
            ' ' || ifnull(t.message_id, '-') || ' ' || t.authenticated
       FROM thread t JOIN person p ON p.id = t.person LEFT JOIN message m ON m.seq = t.seq",
    "SELECT 'key of ' || CAST(p.address AS TEXT) || ' ' || k.state || ' ' || k.scheme || ' ' ||
            k.scheme_pinned || ' ' || hex(k.secret) || ' verified ' || (k.verified IS NOT NULL)
       FROM key k JOIN peer p ON p.id = k.peer",
    "SELECT 'peer ' || CAST(address AS TEXT) || ' ' || messages || ' messages ' || bytes || ' bytes pinned ' ||
            pinned || ' listed ' || listed || ' authenticated ' || (authenticated_at IS NOT NULL) FROM peer",
    "SELECT 'aside ' || place || ': ' || reason || ' ' || length(raw) FROM aside",
    "SELECT 'tally ' || kind || ' ' || count(*) FROM tally GROUP BY kind, who",
    "SELECT 'bounced ' || CAST(address AS TEXT) || ' ' || failures || ' ' || status || ' suppressed ' ||
            (suppressed IS NOT NULL) FROM bounce",
    "SELECT 'removed ' || count(*) FROM removed",
    "SELECT 'blocked ' || kind || ' ' || CAST(value AS TEXT) FROM block",
    "SELECT 'total ' || what || ' ' || items || ' ' || (what = 'delivery' OR bytes) FROM total",
];

/// Facts, with how often each is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct World(BTreeMap<String, usize>);

impl World {
    /// The whole world, with everything at rest.
    pub(crate) fn of(database: &Path, mails: &[Mail]) -> Result<World, String> {
        let conn = open(database)?;
        let mut facts = Vec::new();
        for query in FACTS {
            let mut select = conn.prepare(query).map_err(|e| format!("{query}: {e}"))?;
            let rows = select.query_map([], |row| row.get::<_, String>(0)).map_err(|e| e.to_string())?;
            for fact in rows {
                facts.push(fact.map_err(|e| format!("{query}: {e}"))?);
            }
        }
        facts.extend(departures(&conn, mails)?);
        let lots = lots(&conn).map_err(|e| e.to_string())?;
        let mut world = World::default();
        for mut fact in facts {
            for (lot, name) in &lots {
                fact = fact.replace(lot, name);
            }
            *world.0.entry(fact).or_default() += 1;
        }
        Ok(world)
    }

    /// How many facts begin like this.
    pub(crate) fn count(&self, beginning: &str) -> usize {
        self.0.iter().filter(|(fact, _)| fact.starts_with(beginning)).map(|(_, n)| n).sum()
    }

    /// What is different here, a line each; empty if nothing is.
    pub(crate) fn differs_from(&self, other: &World) -> Vec<String> {
        let all: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        all.into_iter()
            .filter_map(|fact| {
                let count = |world: &World| world.0.get(fact).copied().unwrap_or(0);
                let (here, there) = (count(self), count(other));
                let shown: String = fact.chars().take(240).collect();
                (here != there).then(|| format!("{here} times instead of {there}: {shown}"))
            })
            .collect()
    }
}

/// What is drawn by lot, with a name for it: the tokens of persons, and so the ids of their posts.
fn lots(conn: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut select = conn.prepare(
        "SELECT token, 'TOKEN-OF-' || address FROM person UNION ALL
         SELECT confirm_token, 'CONFIRM-TOKEN-OF-' || address FROM person UNION ALL
         SELECT lower(hex(public_id)), 'POST-OF-' || CAST(author AS TEXT) FROM message WHERE kind = 'post'",
    )?;
    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Opens a database that nobody works on, or that somebody does.
pub(crate) fn open(database: &Path) -> Result<Connection, String> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = Connection::open_with_flags(database, flags).map_err(|e| e.to_string())?;
    conn.busy_timeout(crate::support::daemon::PATIENCE).map_err(|e| e.to_string())?;
    Ok(conn)
}

/// What is wrong with a database in which these ids had been acknowledged. `removed`: an id that
/// may have been erased since.
pub(crate) fn faults(conn: &Connection, acked: &BTreeSet<String>, removed: &str) -> Vec<String> {
    // One moment for all questions: a daemon may be at work.
    let own = conn.is_autocommit();
    if own {
        conn.execute_batch("BEGIN").expect("a read transaction");
    }
    let mut faults = cmr_mail::store::verify(conn, true).unwrap_or_else(|e| vec![e.to_string()]);
    for id in acked {
        let there: bool = conn
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM message WHERE lower(hex(public_id)) = ?1)",
                [id],
                |row| row.get(0),
            )
            .expect("a count");
        let erased = id == removed
            && conn
                .query_row("SELECT EXISTS (SELECT 1 FROM removed)", [], |row| row.get::<_, bool>(0))
                .expect("a count");
        if !there && !erased {
            faults.push(format!("{id} was acknowledged and is lost"));
        }
    }
    if own {
        conn.execute_batch("COMMIT").expect("a read transaction");
    }
    faults
}

/// How a notice about a mail that was given up is told.
const GIVEN_UP: &str = "arrived: given-up";

/// What arrived at the correspondents, each mail once: a second one under a Message-ID has to be
/// the same, byte for byte, and two under different ones must not say the same.
fn departures(conn: &Connection, mails: &[Mail]) -> Result<Vec<String>, String> {
    let mut first: HashMap<String, &Mail> = HashMap::new();
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    let mut notices = Vec::new();
    for mail in mails {
        let id = mail.message_id();
        if let Some(other) = first.get(&id) {
            if other.raw != mail.raw || other.to != mail.to || other.from != mail.from {
                return Err(format!(
                    "{id} left twice and not alike:\n{}\n{}",
                    String::from_utf8_lossy(&other.raw),
                    String::from_utf8_lossy(&mail.raw)
                ));
            }
            continue;
        }
        first.insert(id.clone(), mail);
        let what = contents(mail)?;
        if what.starts_with(GIVEN_UP) {
            // One for each mail that was given up: they say the same, and the number of the delivery in
            // the Message-ID depends on the order of what is queued at once.
            notices.push(what);
            continue;
        }
        if let Some(other) = said.insert(what.clone(), id.clone()) {
            return Err(format!("{id} repeats {other}: {what}"));
        }
    }
    let mut sent =
        conn.prepare("SELECT message_id FROM delivery WHERE state = 'sent'").map_err(|e| e.to_string())?;
    let rows = sent.query_map([], |row| row.get::<_, String>(0)).map_err(|e| e.to_string())?;
    for id in rows {
        let id = id.map_err(|e| e.to_string())?;
        if !first.contains_key(&bare(&id)) {
            return Err(format!("{id} is recorded as sent and never arrived"));
        }
    }
    Ok(said.into_keys().chain(notices).collect())
}

/// A Message-ID without angle brackets.
pub(crate) fn bare(id: &str) -> String {
    id.trim_start_matches('<').trim_end_matches('>').to_owned()
}

/// What a mail of ours says, in a line.
fn contents(mail: &Mail) -> Result<String, String> {
    let id_of = |wire: &[u8]| {
        parse(wire, &Limits::default()).map(|m| m.id().to_string()).map_err(|e| format!("{e}: {wire:?}"))
    };
    let name = mail.message_id();
    let kind = ["answer", "later_match", "postmaster", "given-up", ".word-"]
        .into_iter()
        .find(|kind| name.contains(kind));
    let Some(kind) = kind else {
        let wire = mail.part(0).ok_or("a forward without a part")?;
        return Ok(format!("arrived: forward of {} at {:?}", id_of(&wire)?, mail.to));
    };
    if kind == "given-up" {
        let text = mail.flat();
        let about = text.split_once("the mail to ").and_then(|(_, rest)| rest.split_once(" was given up"));
        let about = about.ok_or_else(|| format!("a notice about nothing: {text}"))?.0;
        return Ok(format!("{GIVEN_UP}, {about}, at {:?}", mail.to));
    }
    let shown = mail.attachments().iter().map(|wire| id_of(wire)).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("arrived: {kind} to {:?} at {:?} with {shown:?}", mail.field("In-Reply-To"), mail.to))
}
