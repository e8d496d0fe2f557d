//! `cmr-mail simulate`: a network of routers with this configuration, on real mail.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::exit::{BAD_DATA, CANT_CREATE, Outcome, TRY_LATER, USAGE, fail};
use super::layout::{count, paragraph};
use super::{Context, escape, evaluate, out};
use crate::archive::ArchiveError;
use crate::evaluate::{Skipped, View, conversations};
use crate::simulate::{self, Rule, Scenario, Trace, Traffic, page, replay, simulate};

/// Replay mail in a network of routers with this configuration
///
/// Every author is at home with a gateway drawn by lot and posts what the mails say, in the order
/// of their dates; each gateway decides as this program does, with the same code. Printed is which
/// share of the threads reached the people in them, and what that cost, beside one index of
/// everything and other ways to spread messages. Nothing is stored, and nothing is sent.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Rules: configured (this configuration), central (one index of everything),
literal (section 3.2 to the letter), flooding-HOPS, random-STEPS. What one part
of the configured rule contributes shows the rule without it: no-steps,
no-strong-match, no-matches, no-introductions, no-competition, no-learning,
no-offers.

Examples:
  cmr-mail simulate archive.mbox --gateways 30
  cmr-mail simulate archive.mbox --gateways 100,1000 --mails 20000 --report network.html
  cmr-mail simulate archive.mbox --scenario deaths.toml --rules configured,central
  cmr-mail simulate --trace network.trace --rules configured,central")]
pub(super) struct Args {
    /// Mail with threads: mboxes, maildirs, or folders of them
    #[arg(value_name = "MBOX", required_unless_present = "trace")]
    paths: Vec<PathBuf>,
    /// Instead: what a network of real gateways did, to compare with
    #[arg(long, value_name = "FILE", conflicts_with_all = ["paths", "gateways", "scenario", "mails", "view"])]
    trace: Option<PathBuf>,
    /// Routers in the network; several numbers with commas are several runs
    #[arg(long, value_name = "N", value_delimiter = ',')]
    gateways: Vec<usize>,
    /// What the network is like, and what happens to it (TOML)
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Only so many mails, the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    mails: Option<u32>,
    /// Which rules, with commas between
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    rules: Vec<Rule>,
    /// What of a mail is posted: new (what is new in it), noq, nosig, strip or mail (all of it)
    #[arg(long, value_name = "VIEW", default_value = "new")]
    view: View,
    /// The luck of all that is drawn
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Rules that run at the same time; each needs the memory of a whole network
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Write a page with pictures
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    format: super::Format,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let policy = evaluate::policy(context)?;
    let mut scenario = args.scenario.as_deref().map_or_else(|| Ok(Scenario::default()), read)?;
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    let gateways = if args.gateways.is_empty() { vec![scenario.gateways] } else { args.gateways.clone() };
    for number in &gateways {
        let asked = Scenario { gateways: *number, ..scenario.clone() };
        asked.check().or_else(|error| fail(USAGE, error.to_string()))?;
    }
    let mut rules = args.rules.clone();
    if rules.is_empty() {
        rules.push(Rule::Configured);
        rules.extend(Rule::BESIDE);
    }
    // Before hours of work: whether there is a place for the page.
    if let Some(path) = &args.report {
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .or_else(|e| fail(CANT_CREATE, format!("cannot write {}: {e}", path.display())))?;
    }
    let bars = Bars::new();
    let mut runs = Vec::new();
    let threads = usize::from(args.threads);
    if let Some(path) = &args.trace {
        let trace = read_trace(path)?;
        let show = |rule: Rule, done, all| bars.show(trace.gateways.len(), rule, done, all);
        runs.push(replay(&trace, scenario.seed, &policy, &rules, threads, &show));
    } else {
        let traffic = traffic(args, &bars)?;
        let traffic = traffic.with_spam(scenario.spam.share, scenario.spam.copies, scenario.seed);
        for number in gateways {
            let scenario = Scenario { gateways: number, ..scenario.clone() };
            let show = |rule: Rule, done, all| bars.show(number, rule, done, all);
            runs.push(simulate(&traffic, &scenario, &policy, &rules, threads, &show));
        }
    }
    bars.end();
    let file_name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let configured = evaluate::configuration(context);
    for run in &mut runs {
        let scenario = args.scenario.as_deref().map_or_else(|| "none".to_owned(), file_name);
        run.conditions = format!("configuration: {configured}; scenario: {scenario}; {}", run.conditions);
    }
    if let Some(path) = &args.report {
        let name = args.paths.iter().chain(&args.trace).find_map(|path| path.file_name()).unwrap_or_default();
        let title = format!("A network on {}", name.to_string_lossy());
        let html = page(&title, &runs).or_else(|error| fail(super::exit::SOFTWARE, error.to_string()))?;
        std::fs::write(path, html)
            .or_else(|e| fail(CANT_CREATE, format!("cannot write {}: {e}", path.display())))?;
        out::note(&format!("The page is in {}", path.display()));
    }
    if !args.format.json {
        return out::text(&runs.iter().map(render).collect::<Vec<_>>().join("\n"));
    }
    match runs.as_slice() {
        [one] => out::json(one),
        all => out::json(&all),
    }
}

/// A trace.
fn read_trace(path: &Path) -> Outcome<Trace> {
    let text = std::fs::read_to_string(path)
        .or_else(|e| fail(BAD_DATA, format!("cannot read {}: {e}", path.display())))?;
    Trace::parse(&text).or_else(|error| fail(BAD_DATA, format!("{}: {error}", path.display())))
}

/// A scenario file.
fn read(path: &Path) -> Outcome<Scenario> {
    let text = std::fs::read_to_string(path)
        .or_else(|e| fail(BAD_DATA, format!("cannot read {}: {e}", path.display())))?;
    Scenario::parse(&text).or_else(|error| fail(BAD_DATA, format!("{}: {error}", path.display())))
}

fn traffic(args: &Args, bars: &Bars) -> Outcome<Traffic> {
    let mut skipped = Vec::new();
    let (mut mails, mut threads) = conversations(&args.paths, args.view, &mut skipped, &mut || bars.read())
        .or_else(|error| {
        let exit = if matches!(error, ArchiveError::Unreadable { .. }) { TRY_LATER } else { BAD_DATA };
        fail(exit, error.to_string())
    })?;
    bars.say(&skipped);
    if let Some(most) = args.mails {
        let older = mails.len().saturating_sub(most as usize);
        mails.drain(..older);
        threads.drain(..older);
    }
    let traffic = Traffic::new(&mails, &threads);
    if traffic.posts.is_empty() {
        return fail(BAD_DATA, "there is no mail with a text in what was named");
    }
    Ok(traffic)
}

/// How far each rule is: bars on a terminal, elsewhere a line at each rule's beginning and end.
struct Bars {
    all: MultiProgress,
    reading: ProgressBar,
    rules: Mutex<Vec<(usize, Rule, ProgressBar)>>,
}

impl Bars {
    fn new() -> Bars {
        let all = MultiProgress::new();
        if !std::io::stderr().is_terminal() {
            all.set_draw_target(ProgressDrawTarget::hidden());
        }
        let reading = all.add(ProgressBar::new_spinner());
        reading.set_message("reading mails");
        if let Ok(style) = ProgressStyle::with_template("{msg:28} {pos}") {
            reading.set_style(style);
        }
        Bars { all, reading, rules: Mutex::default() }
    }

    fn read(&self) {
        self.reading.inc(1);
    }

    /// Names what could not be read: the first ones, and how many more.
    fn say(&self, skipped: &[Skipped]) {
        const NAMED: usize = 10;
        self.all.suspend(|| {
            for one in skipped.iter().take(NAMED) {
                out::note(&format!("cmr-mail: skipped: {}", one.reason));
            }
            if skipped.len() > NAMED {
                out::note(&format!("cmr-mail: and {} more", skipped.len() - NAMED));
            }
        });
        self.reading.finish_and_clear();
    }

    fn show(&self, gateways: usize, rule: Rule, done: usize, posts: usize) {
        let mut rules = self.rules.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = rules.iter().find(|(number, other, _)| (*number, *other) == (gateways, rule));
        let bar = match known {
            Some((_, _, bar)) => bar.clone(),
            None => {
                let bar = self.all.add(ProgressBar::new(u64::try_from(posts).unwrap_or(0)));
                if let Ok(style) = ProgressStyle::with_template("{msg:28} {wide_bar} {pos}/{len} {eta:>4}") {
                    bar.set_style(style);
                }
                bar.set_message(format!("{gateways} gateways, {rule}"));
                self.note(&format!("{gateways} gateways, {rule}: {posts} posts"));
                rules.push((gateways, rule, bar.clone()));
                bar
            }
        };
        bar.set_position(u64::try_from(done).unwrap_or(0));
        if done == posts {
            bar.finish_and_clear();
            let seconds = bar.elapsed().as_secs();
            self.note(&format!("{gateways} gateways, {rule}: done in {seconds} s"));
        }
    }

    /// Who sees no bars still sees that something happens.
    fn note(&self, text: &str) {
        if self.all.is_hidden() {
            out::note(&format!("cmr-mail: {text}"));
        }
    }

    fn end(&self) {
        // What can't be cleared was not drawn.
        drop(self.all.clear());
    }
}

fn render(run: &simulate::Outcome) -> String {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let mut text = paragraph(
        &format!(
            "{}, {}, {}.",
            count(number(run.gateways), "gateway"),
            count(number(run.clients), "author"),
            count(number(run.mails), "post"),
        ),
        0,
    );
    text.push_str(&paragraph(&escape::line(&run.conditions), 0));
    text.push_str(&format!(
        "\n{:14}{:>8}{:>10}{:>8}{:>8}{:>6}{:>9}{:>8}{:>8}\n",
        "rule", "recall", "precision", "bodies", "offers", "hops", "busiest", "× mean", "seconds"
    ));
    for row in &run.rows {
        text.push_str(&format!(
            "{:14}{:>8.3}{:>10.3}{:>8.2}{:>8.2}{:>6.1}{:>7.1} %{:>8.2}{:>8.1}\n",
            escape::line(&row.policy),
            row.recall,
            row.precision,
            row.bodies_per_post,
            row.offers_per_post,
            row.hops_mean,
            row.load_max_share * 100.0,
            row.load_max_over_mean,
            row.seconds,
        ));
    }
    for row in run.rows.iter().filter(|row| row.bodies_per_post > 0.0) {
        text.push_str(&format!(
            "\n{:14} bodies: {:.2} steps of walks, {:.2} posts to where a match comes from, {:.2} matches to where the \
             post comes from",
            escape::line(&row.policy),
            row.steps_per_post,
            row.bodies_per_post - row.steps_per_post - row.matches_per_post,
            row.matches_per_post,
        ));
    }
    text.push_str("\n\n");
    text.push_str(&paragraph(
        "recall: of all pairs of an author and a message of somebody else in a thread that the author wrote in, the \
         share that reached the author. precision: of all that reached authors, the share from such threads. bodies, \
         offers: whole messages, and transfers that ended with a question before the body, for each post. \
         hops: of a body at its arrival. busiest: the share of all posts that visited the busiest gateway; × mean: of \
         what visits the average one.",
        0,
    ));
    if run.rows.iter().any(|row| row.spam_share > 0.0 || row.named_bodies_share > 0.0) {
        for row in &run.rows {
            text.push_str(&format!(
                "{:14} spam: {:.1} % of what people got; who is named by forged lines: {:.1} % of the entries in \
                 contact tables, {:.1} % of the bodies go there\n",
                escape::line(&row.policy),
                row.spam_share * 100.0,
                row.named_contacts_share * 100.0,
                row.named_bodies_share * 100.0,
            ));
        }
    }
    text
}
