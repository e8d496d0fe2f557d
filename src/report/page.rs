//! The page: one file that needs nothing else, for any browser, from the disk.
//!
//! Everything that comes out of a mail is text: the template escapes it, and in the data for the
//! map no `<` is left. The policy of the page allows its own script and style, by their hashes, and
//! nothing from outside.

use super::{Figures, Totals};
use crate::message::UnixTime;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::Environment;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// The page is smaller, in bytes.
pub const PAGE: usize = 8_000_000;

/// What is left of it for everything but the map's mails.
const REST: usize = 1_000_000;
/// How many characters of subject and text are shown for each mail: as many as there is room for.
const SHOWN: [(usize, usize); 6] = [(80, 160), (70, 100), (50, 60), (40, 30), (20, 0), (0, 0)];
/// Of each mail so many nearest ones are listed.
const NEAREST: usize = 5;
/// Colours for so many folders, and so many authors; the others are grey.
const COLOURS: usize = 12;
/// So many rows of a table.
const ROWS: usize = 40;
/// So many characters in a cell.
const CELL: usize = 100;
/// More bars than this are years and not months.
const BARS: usize = 120;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page can't be written.
#[derive(Debug, thiserror::Error)]
#[error("the page can't be written: {0}")]
pub struct PageError(String);

/// A text of at most so many characters, as one line without what is no text.
fn short(text: &str, most: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() || is_turn(c) { ' ' } else { c }).collect();
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    let mut cut: String = line.chars().take(most.saturating_sub(1)).collect();
    if most > 0 {
        cut.push('…');
    }
    cut
}

/// Characters that turn the direction of writing: they could forge what a reader sees.
fn is_turn(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{2028}' | '\u{2029}')
}

fn day(time: Option<UnixTime>) -> String {
    time.map_or_else(|| "no date".to_owned(), |time| time.rfc3339().chars().take(10).collect())
}

/// `1.2 MB`
fn size(bytes: u64) -> String {
    match bytes as f64 {
        b if b >= 1e9 => format!("{:.1} GB", b / 1e9),
        b if b >= 1e6 => format!("{:.1} MB", b / 1e6),
        b if b >= 1e3 => format!("{:.0} kB", b / 1e3),
        _ => format!("{bytes} bytes"),
    }
}

/// `12,345`
fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A mail in a table.
#[derive(Debug, Serialize)]
struct Row {
    at: u32,
    id: String,
    subject: String,
    author: String,
    folder: String,
    day: String,
}

fn row(figures: &Figures, at: u32) -> Option<Row> {
    let mail = figures.mails.get(at as usize)?;
    Some(Row {
        at,
        id: mail.id.to_string(),
        subject: named(&mail.subject, CELL),
        author: short(&mail.author, CELL / 2),
        folder: short(&mail.folder, CELL / 2),
        day: day(mail.time),
    })
}

fn named(subject: &str, most: usize) -> String {
    let subject = short(subject, most);
    if subject.is_empty() { "(no subject)".to_owned() } else { subject }
}

/// The mails of the map as JSON: smaller than the room that there is.
fn data(figures: &Figures) -> Result<String, PageError> {
    let mut text = String::new();
    for (subject, excerpt) in SHOWN {
        text = map_data(figures, subject, excerpt)?;
        if text.len() <= PAGE - REST {
            break;
        }
    }
    Ok(text)
}

fn map_data(figures: &Figures, subject: usize, excerpt: usize) -> Result<String, PageError> {
    let first = |all: &mut dyn Iterator<Item = &String>| -> Vec<String> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        all.for_each(|name| *counts.entry(name).or_default() += 1);
        let mut order: Vec<(&str, usize)> = counts.into_iter().collect();
        order.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        order.into_iter().take(COLOURS).map(|(name, _)| name.to_owned()).collect()
    };
    let folders = first(&mut figures.mails.iter().map(|mail| &mail.folder));
    let authors = first(&mut figures.mails.iter().map(|mail| &mail.author));
    let place = |all: &[String], name: &str| all.iter().position(|it| it == name).unwrap_or(COLOURS);
    let mails: Vec<Value> = figures
        .mails
        .iter()
        .zip(&figures.map)
        .zip(figures.graph.iter().zip(&figures.cluster))
        .map(|((mail, at), (near, cluster))| {
            let [x, y] = at.map(|value| (value * 9999.0).round());
            let text = String::from_utf8_lossy(mail.text.get(..2000).unwrap_or(&mail.text)).into_owned();
            let text = text.strip_prefix(mail.subject.as_str()).unwrap_or(&text);
            let near: Vec<u32> = near.iter().take(NEAREST).map(|it| it.mail).collect();
            json!([
                x,
                y,
                place(&folders, &mail.folder),
                place(&authors, &mail.author),
                cluster,
                day(mail.time),
                mail.id.to_string(),
                short(&mail.subject, subject),
                short(&mail.author, subject.min(40)),
                short(text, excerpt),
                near
            ])
        })
        .collect();
    let shown = |all: &[String]| all.iter().map(|name| short(name, 40)).collect::<Vec<_>>();
    let data = json!({ "folders": shown(&folders), "authors": shown(&authors), "mails": mails });
    let text = serde_json::to_string(&data).map_err(|error| PageError(error.to_string()))?;
    // Whatever a text holds, it can't end the element that it stands in.
    Ok(text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}

/// The bars of the timeline: label, count, height in percent. A time without mails has a bar, too.
fn bars(months: &[(String, u64)]) -> Vec<(String, u64, f64)> {
    let month = |label: &str| -> Option<i32> {
        let (year, month) = label.split_once('-')?;
        Some(year.parse::<i32>().ok()? * 12 + month.parse::<i32>().ok()? - 1)
    };
    let dated: BTreeMap<i32, u64> =
        months.iter().filter_map(|(label, count)| Some((month(label)?, *count))).collect();
    let (Some((first, _)), Some((last, _))) = (dated.first_key_value(), dated.last_key_value()) else {
        return Vec::new();
    };
    let many = usize::try_from(last - first).unwrap_or(0) >= BARS;
    let place = |month: i32| if many { month.div_euclid(12) } else { month };
    let mut bars: BTreeMap<i32, u64> =
        (place(*first)..=place(*last)).rev().take(BARS).map(|at| (at, 0)).collect();
    for (month, count) in &dated {
        if let Some(bar) = bars.get_mut(&place(*month)) {
            *bar += count;
        }
    }
    let most = bars.values().copied().max().unwrap_or(1).max(1);
    let label = |at: i32| {
        if many { at.to_string() } else { format!("{}-{:02}", at.div_euclid(12), at.rem_euclid(12) + 1) }
    };
    bars.into_iter().map(|(at, count)| (label(at), count, count as f64 * 100.0 / most as f64)).collect()
}

/// Writes the page.
///
/// # Errors
/// The template is wrong, which a test shows.
pub fn page(totals: &Totals, figures: &Figures) -> Result<String, PageError> {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let row = |at: u32| row(figures, at);
    let clusters: Vec<Value> = figures
        .clusters
        .iter()
        .take(ROWS)
        .map(|it| {
            json!({ "number": it.number, "mails": number(it.mails as u64), "typical": row(it.typical),
                          "words": it.words.iter().map(|word| short(word, 40)).collect::<Vec<_>>() })
        })
        .collect();
    let doubles: Vec<Value> = figures
        .doubles
        .iter()
        .take(ROWS)
        .map(|it| json!({ "count": it.mails.len(), "saves": size(it.saves), "first": it.mails.first().and_then(|at| row(*at)),
                          "others": it.mails.iter().skip(1).take(3).filter_map(|at| row(*at)).collect::<Vec<_>>() }))
        .collect();
    let junk: Vec<Value> = figures
        .junk
        .iter()
        .take(ROWS)
        .map(|it| {
            json!({ "mail": row(it.mail), "density": percent(it.density),
                          "why": if it.density > 0.5 { "has hardly any words" } else { "repeats itself" } })
        })
        .collect();
    let people: Vec<Value> = figures
        .people
        .iter()
        .map(|it| json!({ "author": short(&it.author, CELL / 2), "mails": it.mails,
                          "like": it.like.iter().map(|(other, share)| (short(other, CELL / 2), percent(*share))).collect::<Vec<_>>() }))
        .collect();
    let open: Vec<Value> = figures
        .open
        .iter()
        .map(|it| json!({ "question": row(it.question), "answer": row(it.answer), "share": percent(it.share) }))
        .collect();
    let doubled: u64 = figures.doubles.iter().map(|it| it.saves).sum();
    let near_copies: usize = figures.doubles.iter().map(|it| it.mails.len() - 1).sum();
    let folders: Vec<(String, String)> =
        totals.folders.iter().take(ROWS).map(|(name, count)| (short(name, CELL), number(*count))).collect();
    let undated = totals.months.iter().find(|(month, _)| month == "-").map_or(0, |(_, count)| *count);
    let mut environment = Environment::new();
    // The name's ending is what makes it escape.
    environment.add_template("page.html", TEMPLATE).map_err(|error| PageError(format!("{error:#}")))?;
    let template = environment.get_template("page.html").map_err(|error| PageError(format!("{error:#}")))?;
    let values = json!({
        "style": STYLE,
        "script": SCRIPT,
        "style_hash": hash(STYLE),
        "script_hash": hash(SCRIPT),
        "data": data(figures)?,
        "paths": totals.paths.iter().take(ROWS).map(|path| short(path, CELL)).collect::<Vec<_>>(),
        "made": short(&totals.made, CELL),
        "mails": number(totals.mails),
        "bytes": size(totals.bytes),
        "copies": number(totals.copies),
        "copied": size(totals.copied_bytes),
        "failed": number(totals.failed),
        "shown": number(figures.mails.len() as u64),
        "sampled": (figures.mails.len() as u64) < totals.mails,
        "bars": bars(&totals.months),
        "undated": number(undated),
        "folders": folders,
        "clusters": clusters,
        "cluster_count": number(figures.cluster.iter().max().map_or(0, |most| u64::from(*most) + 1)),
        "doubles": doubles,
        "near_copies": number(near_copies as u64),
        "doubled": size(doubled),
        "junk": junk,
        "junk_count": number(figures.junk.len() as u64),
        "people": people,
        "open": open,
    });
    template.render(minijinja::value::Serde(&values)).map_err(|error| PageError(format!("{error:#}")))
}
