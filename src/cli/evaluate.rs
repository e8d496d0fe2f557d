//! `cmr-mail evaluate`: how well and how fast this configuration routes mail whose right answer
//! is known.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::exit::{BAD_DATA, CANT_CREATE, CONFIG, Outcome, TRY_LATER, USAGE, fail};
use super::layout::{WIDTH, count, paragraph};
use super::{Context, out, settings};
use crate::archive::ArchiveError;
use crate::config::{Config, ConfigError};
use crate::distance::Metric;
use crate::evaluate::{
    Corpus, Doc, EvaluateError, Method, Options, Report, Row, Settings, Skipped, Task, Threshold, View, Wish,
    evaluate, growth, labelled, plot::Plot, threads, thresholds,
};
use crate::router::RoutingPolicy;

/// Measure how well this configuration routes mail whose right answer is known
///
/// With --train and --test: which label does a mail belong to? Each label is a peer that has sent
/// the training mails of its folder. With --threads: which earlier mail is of the same thread?
/// Nothing is stored; a running daemon is not disturbed. Times are CPU time of one thread.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Methods: default (the configured router), deflate, zstd, bytes (a byte context
model), bm25, bm25-squared, knn, bayes and svm; the last two for labels only.
The default is always there.

Examples:
  cmr-mail evaluate --train news/train --test news/test --view strip
  cmr-mail evaluate --threads archive.mbox --pool 10000 --method all
  cmr-mail evaluate --threads ~/Maildir --pool 5000 --view noq --json")]
pub(super) struct Args {
    /// Labelled mail to learn from: a folder for each label, a mail in each file
    #[arg(long, value_name = "DIR", requires = "test", required_unless_present = "threads")]
    train: Option<PathBuf>,
    /// Labelled mail to ask about
    #[arg(long, value_name = "DIR", requires = "train")]
    test: Option<PathBuf>,
    /// Mail with its threads: a maildir, an mbox, or a folder of them
    #[arg(long, value_name = "PATH", requires = "pool", conflicts_with_all = ["train", "test"])]
    threads: Option<PathBuf>,
    /// How many mails are in the pool before the first question
    #[arg(long, value_name = "N", requires = "threads", value_parser = clap::value_parser!(u32).range(1..))]
    pool: Option<u32>,
    /// Take the newest mails as they follow each other, rather than threads from everywhere
    #[arg(long, requires = "threads")]
    newest: bool,
    /// What of a mail is compared: mail, new, noq (no quotes), nosig (nor a signature) or strip
    /// (no header, quotes, footer)
    #[arg(long, value_name = "VIEW", default_value = "mail")]
    view: View,
    /// Which methods: default, all, or a list with commas between
    #[arg(long, value_name = "LIST", default_value = "default")]
    method: Methods,
    /// Metrics of the router and of compressors, with commas between (default: the configured one)
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    metric: Vec<Metric>,
    /// Cost of pointing back, in bits per doubling of mails ago (default: the configured one)
    #[arg(long, value_name = "BITS")]
    age: Option<f64>,
    /// Ask at most so many questions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// The luck that draws threads and questions
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// CPU seconds for the questions of one method; a slower one is asked fewer
    #[arg(long, value_name = "SECONDS", default_value_t = 120,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    time: u64,
    /// Keep away from the test: ask about the last fifth of the training mail, or earlier threads
    #[arg(long)]
    tune: bool,
    /// Mix in messages that were made to attract, in percent of the pool
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    attract: Option<f64>,
    /// Try thresholds of a match: precision and recall of the answers from so many bits on
    #[arg(long, requires = "threads")]
    thresholds: bool,
    /// Draw how the time of the default grows: with the pool, or (labels) with the authors as peers
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    format: super::Format,
}

/// The methods of a command line.
#[derive(Clone, Debug)]
struct Methods {
    list: Vec<Method>,
    all: bool,
}

impl std::str::FromStr for Methods {
    type Err = crate::evaluate::UnknownMethod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Methods { list: Method::ALL.to_vec(), all: true });
        }
        let mut list = vec![Method::Default];
        for name in text.split(',') {
            let method = name.trim().parse()?;
            if !list.contains(&method) {
                list.push(method);
            }
        }
        Ok(Methods { list, all: false })
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 100.0 => Ok(share),
        _ => Err(format!("{text:?} is no percentage above 0 and up to 100")),
    }
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let policy = policy(context)?;
    let age = args.age.unwrap_or(policy.age);
    if !(0.0..=1000.0).contains(&age) {
        return fail(USAGE, format!("--age {age}: a number of bits from 0 to 1000 is needed"));
    }
    let bar = Bar::new();
    let corpus = corpus(args, &bar)?;
    let options = Options {
        methods: rows(args, policy.metric),
        settings: Settings { metric: policy.metric, age },
        sample: args.sample.map(|n| n as usize),
        seed: args.seed,
        time: Duration::from_secs(args.time),
        attract: args.attract,
    };
    let mut show = |task, done, all| bar.show(task, done, all);
    let mut report = evaluate(&corpus, &options, &mut show);
    if let (true, Corpus::Threads(all)) = (args.thresholds, &corpus) {
        let (answers, luck) = ((policy.matches, policy.strong_match), (options.sample, options.seed));
        report.thresholds = Some(thresholds(all, options.settings, answers, luck, &mut show));
    }
    if let Some(path) = &args.plot {
        let svg = drawn(&corpus, options.settings, &bar).svg();
        std::fs::write(path, svg)
            .or_else(|e| fail(CANT_CREATE, format!("cannot write {}: {e}", path.display())))?;
    }
    bar.end();
    if args.format.json { out::json(&report) } else { out::text(&render(&report, &corpus)) }
}

/// The `[routing]` section, or its defaults where there is no configuration.
pub(super) fn policy(context: &Context) -> Outcome<RoutingPolicy> {
    match Config::find(context.named.as_deref()) {
        Err(ConfigError::NotFound { .. }) if context.named.is_none() => Ok(RoutingPolicy::default()),
        Err(error) => fail(CONFIG, settings::sentence(&error)),
        Ok(_) => Ok(context.config()?.routing.policy.clone()),
    }
}

/// Where [`policy`] is from, in words.
pub(super) fn configuration(context: &Context) -> String {
    match Config::find(context.named.as_deref()) {
        Ok(path) => path.display().to_string(),
        Err(_) => "the defaults".to_owned(),
    }
}

fn corpus(args: &Args, bar: &Bar) -> Outcome<Corpus> {
    let mut saw = || bar.read();
    let found = match (&args.train, &args.test, &args.threads, args.pool) {
        (Some(train), Some(test), _, _) => {
            labelled(train, test, args.view, args.tune, &mut saw).map(Corpus::Labels)
        }
        (_, _, Some(path), Some(pool)) => {
            let wish = Wish {
                pool: pool as usize,
                view: args.view,
                newest: args.newest,
                tune: args.tune,
                seed: args.seed,
            };
            threads(path, wish, &mut saw).map(Corpus::Threads)
        }
        _ => return fail(USAGE, "--train and --test are needed, or --threads and --pool"),
    };
    let found = found.or_else(|error| {
        let exit = match &error {
            EvaluateError::Archive(ArchiveError::Unreadable { .. }) => TRY_LATER,
            _ => BAD_DATA,
        };
        fail(exit, error.to_string())
    })?;
    let skipped = match &found {
        Corpus::Labels(all) => &all.skipped,
        Corpus::Threads(all) => &all.skipped,
    };
    bar.say(skipped);
    Ok(found)
}

/// How the time of a question grows.
fn drawn(corpus: &Corpus, settings: Settings, bar: &Bar) -> Plot {
    const QUESTIONS: usize = 200;
    let mut at = |size: usize| bar.show(Task::Ask(Method::Default), size, size);
    let docs: Vec<Doc> = match corpus {
        Corpus::Labels(all) => all.train.iter().map(|(_, doc)| doc.clone()).collect(),
        Corpus::Threads(all) => all.mails.clone(),
    };
    let asked: Vec<_> = match corpus {
        Corpus::Labels(all) => all.test.iter().map(|(_, doc)| doc.text.clone()).collect(),
        Corpus::Threads(all) => {
            all.questions.iter().filter_map(|n| Some(all.mails.get(*n)?.text.clone())).collect()
        }
    };
    let spread: Vec<_> = asked.iter().step_by(asked.len() / QUESTIONS + 1).cloned().collect();
    let (across, points) = match corpus {
        Corpus::Labels(_) => {
            ("peers", growth::by_peers(&docs, &growth::sizes(10, docs.len()), &spread, settings, &mut at))
        }
        Corpus::Threads(_) => (
            "messages",
            growth::by_messages(&docs, &growth::sizes(100, docs.len()), &spread, settings, &mut at),
        ),
    };
    Plot::of_growth(across, &points)
}

/// Methods and metrics, the configured default first.
fn rows(args: &Args, configured: Metric) -> Vec<(Method, Metric)> {
    let mut metrics = args.metric.clone();
    if metrics.is_empty() {
        metrics.push(configured);
    }
    let mut rows = vec![(Method::Default, configured)];
    for method in &args.method.list {
        for metric in &metrics {
            if !rows.contains(&(*method, *metric)) && (method.has_metric() || metrics.first() == Some(metric))
            {
                rows.push((*method, *metric));
            }
        }
        // What the specification's formula does, beside what is done instead.
        if args.method.all && *method == Method::Deflate && !metrics.contains(&Metric::Raw) {
            rows.push((*method, Metric::Raw));
        }
    }
    rows
}

/// How far it is, on a terminal only.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Bar {
        let bar = ProgressBar::new_spinner();
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{msg:28} {wide_bar} {pos}/{len}") {
            bar.set_style(style);
        }
        Bar(bar)
    }

    fn read(&self) {
        self.0.set_message("reading mails");
        self.0.inc(1);
    }

    fn show(&self, task: Task, done: usize, all: usize) {
        self.0.set_message(match task {
            Task::Learn(method) => format!("{method}: learning"),
            Task::Ask(method) => format!("{method}: asking"),
            Task::Scan => "deflate scan".to_owned(),
        });
        self.0.set_length(u64::try_from(all).unwrap_or(0));
        self.0.set_position(u64::try_from(done.min(all)).unwrap_or(0));
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }

    /// Names what could not be read: the first ones, and how many more.
    fn say(&self, skipped: &[Skipped]) {
        const NAMED: usize = 10;
        self.0.suspend(|| {
            for one in skipped.iter().take(NAMED) {
                out::note(&format!("cmr-mail: skipped: {}", one.reason));
            }
            if skipped.len() > NAMED {
                out::note(&format!("cmr-mail: and {} more", skipped.len() - NAMED));
            }
        });
    }
}

fn render(report: &Report, corpus: &Corpus) -> String {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let (what, where_from) = match corpus {
        Corpus::Labels(_) => ("the right label", "label"),
        Corpus::Threads(_) => ("a mail of the same thread", "thread"),
    };
    let mut text = paragraph(
        &format!(
            "{} of {} learned, {} to ask about. Share of questions with {what} in the first 1, 10 and 32 answers:",
            count(number(report.train), "mail"),
            count(number(report.labels), where_from),
            number(report.test),
        ),
        0,
    );
    text.push('\n');
    text.push_str(&format!(
        "{:17}{:>15}{:>21}{:>7}{:>6}{:>6}  asked\n",
        "", "────share────", "───µs a question───", "learn", "mem", "×"
    ));
    text.push_str(&format!(
        "{:17}{:>5}{:>5}{:>5}{:>7}{:>7}{:>7}{:>7}{:>6}{:>6}\n",
        "method", "1", "10", "32", "mean", "p50", "p99", "µs/KB", "B/msg", "scan"
    ));
    for row in &report.rows {
        text.push_str(&line(row));
    }
    text.push('\n');
    let mut foot = format!(
        "× scan: how many times faster than comparing with everything by deflate 6, which takes {} ms a question \
         (extrapolated from {}).",
        figure(report.deflate_scan_micros / 1000.0),
        count(number(report.deflate_scan_pairs), "pair"),
    );
    if report.rows.iter().any(|row| row.sampled) {
        foot.push_str(" ~: not all questions were asked (--sample, --time).");
    }
    if report.as_they_lie > 0 {
        foot.push_str(&format!(
            " {} could not be taken apart for certain and counted as they lie.",
            count(number(report.as_they_lie), "mail")
        ));
    }
    text.push_str(&paragraph(&foot, 0));
    for row in report.rows.iter().filter(|row| row.attracted.is_some()) {
        text.push_str(&format!(
            "{:17} messages made to attract take {:.1} % of first, {:.1} % of ten answers\n",
            name(row),
            100.0 * row.attracted.unwrap_or(0.0),
            100.0 * row.attracted_top10.unwrap_or(0.0)
        ));
    }
    if let Some(found) = &report.thresholds {
        text.push_str("\nA match, by bits saved beyond the cost of pointing back:\n");
        text.push_str(&tried(&found.bits));
        text.push_str("\nThe strongest match, by the share of the message that it saves:\n");
        text.push_str(&tried(&found.strong));
    }
    text
}

fn tried(rows: &[Threshold]) -> String {
    let mut text = format!(
        "{:>7}{:>9}{:>11}{:>8}{:>6}{:>10}\n",
        "from", "answers", "precision", "recall", "F1", "answered"
    );
    for row in rows {
        text.push_str(&format!(
            "{:>7}{:>9}{:>11}{:>8}{:>6}{:>10}{}\n",
            row.from,
            row.answers,
            share(row.precision),
            share(row.recall),
            share(row.f1),
            share(row.answered),
            if row.in_use { "  in use" } else { "" }
        ));
    }
    text
}

fn name(row: &Row) -> String {
    match &row.metric {
        Some(metric) => format!("{} {metric}", row.method),
        None => row.method.clone(),
    }
}

fn line(row: &Row) -> String {
    format!(
        "{:17}{:>5}{:>5}{:>5}{:>7}{:>7}{:>7}{:>7}{:>6}{:>6}  {}{}\n",
        name(row),
        share(row.accuracy),
        share(row.top10),
        share(row.top32),
        figure(row.micros_mean),
        figure(row.micros_p50),
        figure(row.micros_p99),
        figure(row.insert_micros_per_kb),
        row.bytes_per_message.map_or_else(|| "-".to_owned(), figure),
        figure(row.ratio_to_deflate_scan),
        if row.sampled { "~" } else { "" },
        row.questions,
    )
}

/// `.855`, `1.00`.
fn share(share: f64) -> String {
    if share >= 0.9995 {
        format!("{share:.2}")
    } else {
        format!("{share:.3}").trim_start_matches('0').to_owned()
    }
}

/// Three digits, and k or M.
fn figure(number: f64) -> String {
    match number {
        n if n >= 99_950_000.0 => format!("{:.0}M", n / 1e6),
        n if n >= 999_500.0 => format!("{:.1}M", n / 1e6),
        n if n >= 99_950.0 => format!("{:.0}k", n / 1e3),
        n if n >= 9_995.0 => format!("{:.1}k", n / 1e3),
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

const _: () = assert!(WIDTH == 80, "the table is laid out for it");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (number, text) in [
            (0.0, "0.00"),
            (9.876, "9.88"),
            (45.67, "45.7"),
            (456.7, "457"),
            (9_876.0, "9876"),
            (12_345.0, "12.3k"),
            (123_456.0, "123k"),
            (8_050_000.0, "8.1M"),
            (123_456_789.0, "123M"),
        ] {
            assert_eq!(figure(number), text);
        }
        assert_eq!((share(0.8549).as_str(), share(1.0).as_str()), (".855", "1.00"));
    }

    #[test]
    fn methods_are_listed_with_the_default_first() {
        let list = |text: &str| text.parse::<Methods>().map(|m| m.list);
        assert_eq!(list("svm,default,svm"), Ok(vec![Method::Default, Method::Svm]));
        assert_eq!(list("all").unwrap().len(), Method::ALL.len());
        assert!(list("svm,x").is_err());
        assert!(percent("0").is_err() && percent("101").is_err() && percent("x").is_err());
        assert_eq!(percent("2.5"), Ok(2.5));
    }
}
