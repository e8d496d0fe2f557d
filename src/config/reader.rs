//! Reads values out of the TOML by their key, and collects everything that is wrong.
//!
//! A mistake never stops the reading: the default is taken in its place and the next key is
//! read, so that the operator sees all mistakes at once. Whoever reads asks at the end
//! whether there were any.

use super::fault::{Fault, Problem};
use super::keys::{self, Absent, Key, Kind};
use crate::policy::{Rate, human};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// A value of the file or of a default, freed from the parser.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Integer(Option<u64>, String),
    Number(f64, String),
    List(Vec<Item>),
    Table(Vec<(String, Item)>),
    Truth(bool),
    Other(&'static str),
}

/// A value and the line it starts on.
#[derive(Debug, Clone, PartialEq)]
struct Item {
    line: usize,
    value: Value,
}

/// A value that was read, and where it stands; `line` is none for a default.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) line: Option<usize>,
}

impl<T> Found<T> {
    /// The same place with another value.
    pub(super) fn with<U>(&self, value: U) -> Found<U> {
        Found { value, line: self.line }
    }
}

impl Value {
    /// What it is, for a sentence.
    fn name(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Integer(..) => "a number",
            Value::Number(..) => "a number with decimals",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Truth(true) => "true",
            Value::Truth(false) => "false",
            Value::Other(name) => name,
        }
    }

    fn new(value: &DeValue<'_>, line_of: &dyn Fn(usize) -> usize) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(i) => {
                Value::Integer(u64::from_str_radix(i.as_str(), i.radix()).ok(), i.to_string())
            }
            DeValue::Float(f) => match f.as_str().parse() {
                Ok(number) => Value::Number(number, f.to_string()),
                Err(_) => Value::Other("no number"),
            },
            DeValue::Boolean(truth) => Value::Truth(*truth),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .map(|i| Item { line: line_of(i.span().start), value: Value::new(i.get_ref(), line_of) })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(entries(table, line_of)),
        }
    }
}

/// The keys of a table in the order of the file, each with the line that it stands on.
fn entries(table: &DeTable<'_>, line_of: &dyn Fn(usize) -> usize) -> Vec<(String, Item)> {
    let mut found: Vec<_> = table
        .iter()
        .map(|(key, value)| {
            let item = Item { line: line_of(key.span().start), value: Value::new(value.get_ref(), line_of) };
            (key.span().start, key.get_ref().to_string(), item)
        })
        .collect();
    found.sort_by_key(|(at, ..)| *at);
    found.into_iter().map(|(_, name, item)| (name, item)).collect()
}

/// The line, counted from 1, that the byte `at` stands on.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|b| *b == b'\n').count()
}

/// Reads one file.
pub(super) struct Reader<'a> {
    path: &'a Path,
    sections: Vec<(String, Item)>,
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// The keys that were asked for: a test compares them with the table.
    pub(super) asked: Vec<&'static Key>,
    /// Whether the text could be parsed at all.
    pub(super) is_toml: bool,
    /// Which one of the sections in double brackets is being read.
    nth: usize,
}

impl<'a> Reader<'a> {
    /// Parses `text`; whatever is unknown in it is in `errors` afterwards.
    pub(super) fn new(path: &'a Path, text: &str) -> Self {
        let mut reader = Reader {
            path,
            sections: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
            asked: Vec::new(),
            is_toml: true,
            nth: 0,
        };
        match DeTable::parse(text) {
            Ok(table) => {
                reader.sections = entries(table.get_ref(), &|at| line_of(text, at));
                reader.look_for_unknown();
            }
            Err(error) => {
                let line = error.span().map(|span| line_of(text, span.start));
                reader.errors.push(reader.problem(None, line, Fault::NotToml(one_line(error.message()))));
                reader.is_toml = false;
            }
        }
        reader
    }

    fn problem(&self, key: Option<&'static Key>, line: Option<usize>, fault: Fault) -> Problem {
        Problem { path: self.path.to_path_buf(), line, key, fault }
    }

    /// Something wrong with `key`, at `line`.
    pub(super) fn error(&mut self, key: &'static Key, line: Option<usize>, fault: Fault) {
        self.errors.push(self.problem(Some(key), line, fault));
    }

    /// Something doubtful with `key`, at `line`.
    pub(super) fn warn(&mut self, key: &'static Key, line: Option<usize>, fault: Fault) {
        self.warnings.push(self.problem(Some(key), line, fault));
    }

    fn look_for_unknown(&mut self) {
        let mut errors = Vec::new();
        for (section, item) in &self.sections {
            let known = keys::SECTIONS.iter().any(|s| s.name == section);
            if keys::REPEATED.contains(&section.as_str()) {
                let all = match &item.value {
                    Value::List(all) => all.as_slice(),
                    _ => &[],
                };
                let tables = all.iter().filter_map(|one| match &one.value {
                    Value::Table(entries) => Some(entries),
                    _ => None,
                });
                if all.is_empty() || tables.clone().count() != all.len() {
                    let fault = Fault::NotRepeated { name: section.clone() };
                    errors.push(self.problem(None, Some(item.line), fault));
                }
                for entries in tables {
                    errors.extend(self.unknown_keys(section, entries));
                }
            } else if let Value::Table(entries) = &item.value {
                if !known {
                    let fault = Fault::UnknownSection { name: section.clone(), hint: section_hint(section) };
                    errors.push(self.problem(None, Some(item.line), fault));
                    continue;
                }
                errors.extend(self.unknown_keys(section, entries));
            } else if known {
                errors.push(self.problem(
                    None,
                    Some(item.line),
                    Fault::NotASection { name: section.clone() },
                ));
            } else {
                let fault = Fault::OutsideSection { name: section.clone(), hint: key_hint("", section) };
                errors.push(self.problem(None, Some(item.line), fault));
            }
        }
        self.errors.append(&mut errors);
    }

    fn unknown_keys(&self, section: &str, entries: &[(String, Item)]) -> Vec<Problem> {
        let unknown = |name: &String| !keys::ALL.iter().any(|k| k.section == section && k.name == name);
        let found = entries.iter().filter(|(name, _)| unknown(name));
        found
            .map(|(name, item)| {
                let hint = key_hint(section, name);
                let fault = Fault::UnknownKey { section: section.to_owned(), name: name.clone(), hint };
                self.problem(None, Some(item.line), fault)
            })
            .collect()
    }

    /// How often a section in double brackets stands there.
    pub(super) fn repeated(&self, section: &str) -> usize {
        match self.sections.iter().find(|(name, _)| name == section).map(|(_, item)| &item.value) {
            Some(Value::List(all)) => all.len(),
            _ => 0,
        }
    }

    /// From now on the keys of sections in double brackets are those of the `nth`, counted from 0.
    pub(super) fn turn_to(&mut self, nth: usize) {
        self.nth = nth;
    }

    /// The line on which the section begins whose keys are being read.
    fn section_line(&self, section: &str) -> Option<usize> {
        let (_, found) = self.sections.iter().find(|(name, _)| name == section)?;
        match &found.value {
            Value::List(all) => all.get(self.nth).map(|item| item.line),
            _ => Some(found.line),
        }
    }

    fn item(&mut self, key: &'static Key) -> Option<Item> {
        self.asked.push(key);
        let (_, section) = self.sections.iter().find(|(name, _)| name == key.section)?;
        let section = match &section.value {
            Value::List(all) if keys::REPEATED.contains(&key.section) => all.get(self.nth)?,
            _ => section,
        };
        let Value::Table(entries) = &section.value else {
            return None;
        };
        entries.iter().find(|(name, _)| name == key.name).map(|(_, item)| item.clone())
    }

    /// The value in the file, else the default; none when there is neither, or the file's is
    /// wrong and there is no default.
    fn read<T>(&mut self, key: &'static Key, take: impl Fn(&Value) -> Result<T, Fault>) -> Option<Found<T>> {
        if let Some(item) = self.item(key) {
            match take(&item.value) {
                Ok(value) => {
                    return Some(Found { value, line: Some(item.line) });
                }
                Err(fault) => self.error(key, Some(item.line), fault),
            }
        } else if key.absent == Absent::Required {
            // Of sections that stand there several times the line says which one it is.
            let line = self.section_line(key.section).filter(|_| keys::REPEATED.contains(&key.section));
            self.error(key, line, Fault::Missing { name: key.name, example: key.example });
        }
        let Absent::Default(text) = key.absent else {
            return None;
        };
        let value = DeValue::parse(text).map(|v| Value::new(v.get_ref(), &|_| 0));
        match value.as_ref().map(take) {
            Ok(Ok(value)) => Some(Found { value, line: None }),
            _ => {
                self.error(key, None, Fault::OurMistake);
                None
            }
        }
    }

    pub(super) fn text(&mut self, key: &'static Key) -> Option<Found<String>> {
        self.read(key, |value| match value {
            Value::Text(text) if text.trim().is_empty() => {
                Err(Fault::Empty("write a value or remove the key"))
            }
            Value::Text(text) if text.contains(char::is_control) => Err(Fault::ControlCharacter),
            Value::Text(text) => Ok(text.clone()),
            other => Err(wrong(key, "a text in quotes", other)),
        })
    }

    /// A list of texts, each with its own line.
    pub(super) fn list(&mut self, key: &'static Key) -> Option<Found<Vec<Found<String>>>> {
        let list: Found<Vec<Found<String>>> = self.read(key, |value| {
            let Value::List(items) = value else {
                return Err(wrong(key, "a list of texts", value));
            };
            items
                .iter()
                .map(|item| match &item.value {
                    Value::Text(text) if text.contains(char::is_control) => Err(Fault::ControlCharacter),
                    Value::Text(text) => Ok(Found { value: text.clone(), line: Some(item.line) }),
                    _ => Err(wrong(key, "a list of texts", value)),
                })
                .collect()
        })?;
        for (i, item) in list.value.iter().enumerate() {
            if list.value.iter().take(i).any(|earlier| earlier.value.eq_ignore_ascii_case(&item.value)) {
                self.error(key, item.line, Fault::Twice(item.value.clone()));
            }
        }
        Some(list)
    }

    /// One of the words of the key, by what `choices` make of them.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static Key, choices: &[(&str, T)]) -> Option<Found<T>> {
        self.read(key, |value| {
            let Value::Text(text) = value else {
                return Err(wrong(key, "one word in quotes", value));
            };
            choices.iter().find(|(word, _)| word == text).map(|(_, choice)| *choice).ok_or_else(|| {
                let Kind::Choice(words) = key.kind else {
                    return Fault::OurMistake;
                };
                let choices: Vec<_> =
                    words.iter().map(|(word, help)| format!("\"{word}\" ({help})")).collect();
                Fault::NoSuchChoice { value: text.clone(), choices: choices.join(", ") }
            })
        })
    }

    /// One of the words of the key, by what `choices` make of them, or a list of texts.
    pub(super) fn word_or_list<T: Clone>(
        &mut self,
        key: &'static Key,
        choices: &[(&str, T)],
    ) -> Option<Found<Result<T, Vec<Found<String>>>>> {
        self.read(key, |value| match value {
            Value::Text(text) => {
                let choice =
                    choices.iter().find(|(word, _)| word == text).map(|(_, choice)| Ok(choice.clone()));
                choice.ok_or_else(|| {
                    let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                    let choices = format!("{}, or a list like {}", words.join(", "), key.example);
                    Fault::NoSuchChoice { value: text.clone(), choices }
                })
            }
            Value::List(items) => {
                let texts = items.iter().map(|item| match &item.value {
                    Value::Text(text) if text.contains(char::is_control) => Err(Fault::ControlCharacter),
                    Value::Text(text) => Ok(Found { value: text.clone(), line: Some(item.line) }),
                    _ => Err(wrong(key, "a list of texts", value)),
                });
                texts.collect::<Result<Vec<_>, _>>().map(Err)
            }
            other => Err(wrong(key, "a word in quotes or a list", other)),
        })
    }

    pub(super) fn integer(&mut self, key: &'static Key) -> Option<Found<u64>> {
        self.read(key, |value| {
            let Value::Integer(number, text) = value else {
                return Err(wrong(key, "a whole number", value));
            };
            let Kind::Integer { min, max } = key.kind else {
                return Err(Fault::OurMistake);
            };
            number.filter(|n| (min..=max).contains(n)).ok_or_else(|| Fault::OutOfRange {
                value: text.clone(),
                min: min.to_string(),
                max: max.to_string(),
            })
        })
    }

    pub(super) fn number(&mut self, key: &'static Key) -> Option<Found<f64>> {
        self.read(key, |value| {
            let (number, text) = match value {
                Value::Number(number, text) => (*number, text),
                Value::Integer(_, text) => (text.parse().unwrap_or(f64::NAN), text),
                _ => return Err(wrong(key, "a number", value)),
            };
            let Kind::Number { min, max } = key.kind else {
                return Err(Fault::OurMistake);
            };
            if (min..=max).contains(&number) {
                Ok(number)
            } else {
                Err(Fault::OutOfRange { value: text.clone(), min: min.to_string(), max: max.to_string() })
            }
        })
    }

    pub(super) fn duration(&mut self, key: &'static Key) -> Option<Found<Duration>> {
        self.read(key, |value| {
            let Value::Text(text) = value else {
                return Err(wrong(key, "a length of time in quotes", value));
            };
            let Kind::Duration { min, max } = key.kind else {
                return Err(Fault::OurMistake);
            };
            let duration = human::duration(text).map_err(|e| Fault::Unreadable(e.to_string()))?;
            if (Duration::from_millis(min)..=Duration::from_millis(max)).contains(&duration) {
                Ok(duration)
            } else {
                Err(Fault::OutOfRange {
                    value: text.clone(),
                    min: human::show_duration(Duration::from_millis(min)),
                    max: human::show_duration(Duration::from_millis(max)),
                })
            }
        })
    }

    /// Bytes: a text like "10 MiB", or a number of bytes.
    pub(super) fn size(&mut self, key: &'static Key) -> Option<Found<u64>> {
        self.read(key, |value| {
            let (size, text) = match value {
                Value::Text(text) => (human::size(text).map_err(|e| Fault::Unreadable(e.to_string()))?, text),
                Value::Integer(Some(bytes), text) => (*bytes, text),
                _ => return Err(wrong(key, "an amount of bytes in quotes", value)),
            };
            let Kind::Size { min, max } = key.kind else {
                return Err(Fault::OurMistake);
            };
            if (min..=max).contains(&size) {
                Ok(size)
            } else {
                Err(Fault::OutOfRange {
                    value: text.clone(),
                    min: human::show_size(min),
                    max: human::show_size(max),
                })
            }
        })
    }

    pub(super) fn rate(&mut self, key: &'static Key) -> Option<Found<Rate>> {
        self.read(key, |value| {
            let Value::Text(text) = value else {
                return Err(wrong(key, "a rate in quotes", value));
            };
            human::rate(text).map_err(|e| Fault::Unreadable(e.to_string()))
        })
    }

    pub(super) fn truth(&mut self, key: &'static Key) -> Option<Found<bool>> {
        self.read(key, |value| match value {
            Value::Truth(truth) => Ok(*truth),
            other => Err(wrong(key, "true or false", other)),
        })
    }

    /// `{ certificate, key }`, as paths beside the configuration.
    pub(super) fn tls(&mut self, key: &'static Key) -> Option<Found<(PathBuf, PathBuf)>> {
        self.read(key, |value| {
            let wrong = || wrong(key, "two file names", value);
            let Value::Table(entries) = value else {
                return Err(wrong());
            };
            let text = |name: &str| match entries.iter().find(|(n, _)| n == name) {
                Some((_, Item { value: Value::Text(text), .. })) if !text.trim().is_empty() => {
                    Ok(PathBuf::from(text))
                }
                _ => Err(wrong()),
            };
            if let Some((name, _)) = entries.iter().find(|(name, _)| name != "certificate" && name != "key") {
                let hint = nearest(name, &["certificate", "key"]);
                return Err(Fault::UnknownKey {
                    section: format!("{}.tls", key.section),
                    name: name.clone(),
                    hint,
                });
            }
            Ok((text("certificate")?, text("key")?))
        })
    }

    /// The line that a key stands on, if it does.
    pub(super) fn line(&mut self, key: &'static Key) -> Option<usize> {
        self.item(key).map(|item| item.line)
    }

    /// What `check` makes of a value that was read; its fault is noted.
    pub(super) fn check<T, U>(
        &mut self,
        key: &'static Key,
        found: Option<Found<T>>,
        check: impl FnOnce(&T) -> Result<U, Fault>,
    ) -> Option<Found<U>> {
        let found = found?;
        match check(&found.value) {
            Ok(value) => Some(found.with(value)),
            Err(fault) => {
                self.error(key, found.line, fault);
                None
            }
        }
    }

    /// What `check` makes of each element; their faults are noted, those elements left out.
    pub(super) fn check_each<U>(
        &mut self,
        key: &'static Key,
        found: Option<Found<Vec<Found<String>>>>,
        check: impl Fn(&str) -> Result<U, Fault>,
    ) -> Option<Found<Vec<U>>> {
        let Found { value: items, line } = found?;
        let mut good = Vec::with_capacity(items.len());
        for item in items {
            match check(&item.value) {
                Ok(value) => good.push(value),
                Err(fault) => self.error(key, item.line, fault),
            }
        }
        Some(Found { value: good, line })
    }

    /// A doubt if the value of `key` is more than that of `limit_key` and the operator wrote
    /// both: beside a default a value may be anything, it says what is wanted.
    pub(super) fn doubt_if_more<T: PartialOrd>(
        &mut self,
        (key, found): (&'static Key, &Option<Found<T>>),
        (limit_key, limit): (&'static Key, &Option<Found<T>>),
        relation: &'static str,
        show: impl Fn(&T) -> String,
    ) {
        let (Some(found), Some(limit)) = (found, limit) else {
            return;
        };
        if found.value > limit.value && found.line.is_some() && limit.line.is_some() {
            let (value, limit) = (show(&found.value), show(&limit.value));
            self.warn(
                key,
                found.line,
                Fault::Contradicts { value, relation, other: limit_key.title(), limit },
            );
        }
    }

    /// `path` seen from the directory of the configuration.
    pub(super) fn beside(&self, path: impl AsRef<Path>) -> PathBuf {
        let joined = self.path.parent().unwrap_or(Path::new("")).join(path);
        std::path::absolute(&joined).unwrap_or(joined)
    }
}

fn wrong(key: &'static Key, wanted: &str, found: &Value) -> Fault {
    Fault::WrongType { wanted: wanted.to_owned(), example: key.model(), found: found.name() }
}

/// Parser messages may have several lines; ours have one.
fn one_line(text: &str) -> String {
    match text {
        "duplicate key" => "this section or key stands there twice".to_owned(),
        text => text.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// Likeness from which on a name is offered as the one that was meant.
const LIKE: f64 = 0.75;

fn nearest(name: &str, known: &[&str]) -> String {
    let best = known.iter().map(|k| (strsim::jaro_winkler(name, k), k)).max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((like, meant)) if like >= LIKE => format!("did you mean {meant}?"),
        _ => format!("possible are: {}", known.join(", ")),
    }
}

fn section_hint(name: &str) -> String {
    nearest(name, &keys::SECTIONS.iter().map(|s| s.name).collect::<Vec<_>>())
}

/// The same key in another section, else the nearest name here.
fn key_hint(section: &str, name: &str) -> String {
    let elsewhere: Vec<_> =
        keys::ALL.iter().filter(|k| k.name == name).map(|k| keys::brackets(k.section)).collect();
    if !elsewhere.is_empty() {
        return format!("it belongs to {}", elsewhere.join(" or "));
    }
    if section.is_empty() {
        return "every key belongs to a section, like [gateway]".to_owned();
    }
    nearest(name, &keys::ALL.iter().filter(|k| k.section == section).map(|k| k.name).collect::<Vec<_>>())
}
