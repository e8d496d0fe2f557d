//! How the demo looks: values in, text of at most 80 columns out.
//!
//! Whatever came by mail is escaped here, and nowhere else in the demo. Nothing is decided here.

use std::fmt::Write as _;

use super::letter::Letter;
use crate::cli::escape;
use crate::cli::layout::{Paint, WIDTH, columns, paragraph};

/// Columns before what belongs to a numbered line.
const INDENT: usize = 7;

/// Columns before a mail as its reader sees it: its text has up to 78 by itself.
const PAGE: usize = 2;

/// One mail on its way.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) number: usize,
    /// `Alice`
    pub(super) from: String,
    /// `Bob's gateway`
    pub(super) to: String,
    /// What is in it, in a few words.
    pub(super) what: String,
    /// A remark on its arrival.
    pub(super) remark: Option<String>,
    /// Why it was sent.
    pub(super) why: Option<String>,
    /// Who else could have got it; empty if there was no choice.
    pub(super) choice: Vec<Candidate>,
}

/// A gateway that could have got a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) name: String,
    /// What the message costs when everything that this gateway has sent is known.
    pub(super) bits: f64,
    pub(super) chosen: bool,
    pub(super) why: String,
}

/// Who is who.
pub(super) fn cast(paint: Paint) -> String {
    let people = "  people       Alice     Bob               Charlie               Dave";
    let gateways = "  gateways         cmr@bob.example   cmr@charlie.example   cmr@dave.example";
    [
        paint.bold(people),
        "                   \\       |                   |                    |".to_owned(),
        "           mail     \\      |  mail             |  mail              |  mail".to_owned(),
        "                     v     v                   v                    v".to_owned(),
        paint.bold(gateways),
        "                          ^ ^                ^   ^                ^  ^".to_owned(),
        "                          | '------ mail ----'   '----- mail -----'  |".to_owned(),
        "                          '------------------ mail ------------------'".to_owned(),
        String::new(),
    ]
    .join("\n")
}

/// A heading, with an empty line before it.
pub(super) fn heading(text: &str, paint: Paint) -> String {
    format!("\n{}\n", paint.bold(&escape::line(text)))
}

/// Words of the demo itself.
pub(super) fn words(text: &str) -> String {
    paragraph(&escape::flat(text), PAGE)
}

/// A mail on its way.
pub(super) fn told(told: &Told, paint: Paint) -> String {
    let (from, to) = (escape::flat(&told.from), escape::flat(&told.to));
    let way = format!("{from} -> {to}");
    let mut text = format!("{:>4}.  {}", told.number, paint.bold(&way));
    let remark = told.remark.as_ref().map(|remark| format!("({})", escape::flat(remark)));
    let fits = |remark: &&String| INDENT + columns(&way) + 2 + columns(remark) <= WIDTH;
    let beside = remark.as_ref().filter(fits);
    if let Some(remark) = beside {
        let _ = write!(text, "  {}", paint.dim(remark));
    }
    text.push('\n');
    if let (Some(remark), None) = (&remark, beside) {
        text.push_str(&paragraph(remark, INDENT));
    }
    text.push_str(&paragraph(&escape::flat(&told.what), INDENT));
    if let Some(why) = &told.why {
        let why = paragraph(&format!("Why: {}", escape::flat(why)), INDENT);
        text.extend(why.lines().map(|line| format!("{}\n", paint.dim(line))));
    }
    for candidate in &told.choice {
        text.push_str(&row(candidate, paint));
    }
    text
}

fn row(candidate: &Candidate, paint: Paint) -> String {
    let name = escape::flat(&candidate.name);
    let start = format!("{:>width$.0} bits  ", candidate.bits, width = INDENT + 6);
    if candidate.chosen {
        return format!("{start}{}\n", paint.green(&format!("-> {name}")));
    }
    let indent = columns(&start) + 3;
    let rest = paragraph(&format!("{name}: {}", escape::flat(&candidate.why)), indent);
    format!("{start}{}", rest.get(columns(&start)..).unwrap_or("\n"))
}

/// A mail as its reader's mail client shows it. `thread` are the mails before it, oldest first.
pub(super) fn opened(letter: &Letter, thread: &[Letter], paint: Paint) -> String {
    let rule = format!("  {}\n", "-".repeat(WIDTH - PAGE));
    let mut text = rule.clone();
    let answers = thread.iter().rev().find(|earlier| letter.in_reply_to.contains(&earlier.message_id));
    let ids: Vec<String> = letter.in_reply_to.iter().map(|id| format!("<{id}>")).collect();
    let in_thread = match answers {
        Some(earlier) => {
            format!("in reply to {}: \"{}\" of {}", ids.join(" "), earlier.subject, earlier.date)
        }
        None => format!("in reply to {}, which is not here", ids.join(" ")),
    };
    let fields = [
        ("From", letter.from.as_str()),
        ("To", &letter.to),
        ("Subject", &letter.subject),
        ("Date", &letter.date),
        ("Thread", &in_thread),
    ];
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.trim().is_empty()) {
        let value = paragraph(&escape::flat(value), PAGE + 10);
        let value = value.get(PAGE + 10..).unwrap_or("\n");
        let _ = write!(text, "  {}{value}", paint.dim(&format!("{name:<10}")));
    }
    text.push('\n');
    for line in escape::text(letter.text.trim_end()).lines() {
        let _ = writeln!(text, "{}", format!("  {line}").trim_end());
    }
    if !letter.attachments.is_empty() {
        text.push('\n');
    }
    for attachment in &letter.attachments {
        let line = format!("{} ({}, {} bytes)", attachment.name, attachment.kind, attachment.bytes);
        let _ = writeln!(text, "  {}{}", paint.dim("Attached  "), escape::flat(&line));
    }
    text.push_str(&rule);
    text
}

/// What was looked at, and whether it is as it has to be.
pub(super) fn checks(checks: &[(String, bool)], paint: Paint) -> String {
    let line = |(what, good): &(String, bool)| {
        let mark = if *good { paint.green("yes") } else { paint.red("NO ") };
        let what = paragraph(&escape::flat(what), PAGE + 5);
        format!("  {mark}  {}", what.get(PAGE + 5..).unwrap_or("\n"))
    };
    checks.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::letter::Attachment;

    #[test]
    fn everything_fits_and_nothing_reaches_the_terminal_as_it_came() {
        let long = "many words of somebody \u{1b}[31m ".repeat(8);
        let candidate =
            |chosen| Candidate { name: "Dave's gateway".into(), bits: 144.4, chosen, why: long.clone() };
        let told = Told {
            number: 12,
            from: "Alice".into(),
            to: "Bob's gateway".into(),
            what: long.clone(),
            remark: Some("it is known there".into()),
            why: Some(long.clone()),
            choice: vec![candidate(true), candidate(false)],
        };
        let letter = Letter {
            from: long.clone(),
            subject: long.clone(),
            in_reply_to: vec!["q@x".into()],
            text: format!("{}\r\n\u{1b}[2Jend\r\n", "x".repeat(78)),
            attachments: vec![Attachment {
                name: "a\nb".into(),
                kind: "x/y".into(),
                bytes: 5,
                message: None,
            }],
            ..Letter::default()
        };
        let asked = Letter { message_id: "q@x".into(), subject: "asked".into(), ..Letter::default() };
        let all = [
            super::told(&told, Paint::default()),
            super::told(&Told { remark: Some(long.clone()), ..told.clone() }, Paint::default()),
            opened(&letter, &[asked], Paint::default()),
            opened(&letter, &[], Paint::default()),
            checks(&[(long.clone(), true), (long.clone(), false)], Paint::default()),
            cast(Paint::default()),
            words(&long),
        ]
        .concat();
        for line in all.lines() {
            assert!(columns(line) <= WIDTH, "{} columns: {line}", columns(line));
            assert!(line == line.trim_end() && !line.contains('\u{1b}'), "{line:?}");
        }
        for part in [
            "  12.  Alice -> Bob's gateway  (it is known there)\n       many words",
            "  12.  Alice -> Bob's gateway\n       (many words",
            "\n       Why: many words",
            "          144 bits  -> Dave's gateway\n          144 bits     Dave's gateway: many",
            "Thread    in reply to <q@x>: \"asked\" of",
            "Thread    in reply to <q@x>, which is not here",
            "\n  Attached  a b (x/y, 5 bytes)\n",
            "  yes  many words",
            "  NO   many words",
        ] {
            assert!(all.contains(part), "{part:?} in\n{all}");
        }
    }
}
