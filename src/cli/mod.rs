//! The command line: one file per verb. A verb reads its arguments, asks the gateway by
//! [`Request`] and shows what came back; how a request reaches the gateway stands in `ask` alone.
//!
//! This room knows people, terminals and exit codes. It must never know how a request is
//! carried out, and no other room may know it.
//!
//! Results go to standard output, everything else to standard error.

mod ask;
mod backup;
mod block;
mod bound;
mod change;
mod check;
mod daemon;
mod deliver;
pub mod demo;
mod demo_verb;
mod escape;
mod evaluate;
mod exit;
mod explain;
mod export;
mod filter;
mod import;
mod init;
mod keys;
mod layout;
mod logging;
mod manual;
mod matches;
mod out;
mod pages;
mod peers;
mod poll;
mod post;
mod pulse;
mod queue;
mod receive;
mod remove;
mod report;
mod search;
mod serve;
mod settings;
mod show;
mod simulate;
mod status;
mod trace;
mod web_user;
mod witness;
mod words;

use std::ffi::{OsStr, OsString};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::gateway::api::{Failure, Request};
use change::change;
use exit::Outcome;

/// A peer of the Competitive Message Routing network that speaks mail.
///
/// People write to it with any mail client; what they write is matched with what it holds and
/// sent on to the gateways whose messages it resembles.
#[derive(Debug, Parser)]
#[command(
    name = "cmr-mail",
    version,
    term_width = 80,
    after_help = "\
Getting started:
  cmr-mail demo       see it work, on this machine alone and in a few seconds
  cmr-mail init       write a configuration, cmr-mail.toml
  cmr-mail check      say what is wrong with it and how to mend that
  cmr-mail serve      run it

The configuration is looked for in ./cmr-mail.toml,
$XDG_CONFIG_HOME/cmr-mail/cmr-mail.toml and /etc/cmr-mail/cmr-mail.toml.

Exit codes: 0 done, 64 wrong usage, 65 bad data, 69 something is unavailable,
73 cannot create, 75 try again later, 78 wrong configuration."
)]
struct Cli {
    /// The configuration to use
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(demo_verb::Args),
    Init(init::Args),
    Check(check::Args),
    Serve(serve::Args),
    Poll(poll::Args),
    Post(post::Args),
    Search(search::Args),
    Show(show::Args),
    Explain(explain::Args),
    Trace(trace::Args),
    Evaluate(evaluate::Args),
    Simulate(simulate::Args),
    Import(import::Args),
    Export(export::Args),
    Backup(backup::BackupArgs),
    Verify(backup::VerifyArgs),
    Restore(backup::RestoreArgs),
    Status(status::Args),
    Queue(queue::Args),
    Peers(peers::Args),
    Keys(keys::Args),
    Block(block::Args),
    Remove(remove::Args),
    Deliver(deliver::Args),
    Filter(filter::Args),
    Receive(receive::Args),
    WebUser(web_user::Args),
    #[command(hide = true)]
    Manual(manual::Args),
    #[command(hide = true)]
    Witness(witness::Args),
}

/// How a result is printed.
#[derive(Debug, clap::Args)]
struct Format {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the program with these arguments (the first is its name) and says how it ended.
///
/// A fault of the program itself ends in 70, except for the verbs whose callers would make a
/// bounce of that: `deliver` and `filter` never end in anything but 0 and 75, `receive` 0, 65 and 75.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let verb = verb(&args).and_then(OsStr::to_str).unwrap_or_default().to_owned();
    ExitCode::from(guarded(&verb, || run(args)))
}

/// The exit code of some work, with what is promised for its verb.
fn guarded(verb: &str, work: impl FnOnce() -> u8) -> u8 {
    // A panic has been reported on standard error by the time it arrives here.
    let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or(exit::SOFTWARE);
    match (verb, code) {
        (_, 0) => 0,
        ("deliver" | "filter", _) => exit::TRY_LATER,
        ("receive", exit::BAD_DATA) => exit::BAD_DATA,
        ("receive", _) => exit::TRY_LATER,
        (_, code) => code,
    }
}

fn run(args: Vec<OsString>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, but come here as well.
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE } else { 0 };
        }
    };
    match dispatch(cli) {
        Ok(()) => 0,
        Err(failure) => {
            out::note(&format!("cmr-mail: {}", failure.sentence));
            failure.exit
        }
    }
}

fn dispatch(cli: Cli) -> Outcome {
    let context = Context::new(cli.config);
    match cli.verb {
        Verb::Demo(args) => demo_verb::run(&args),
        Verb::Init(args) => init::run(&context, args),
        Verb::Check(args) => check::run(&context, &args),
        Verb::Serve(args) => serve::run(&context, &args),
        Verb::Poll(args) => poll::run(&context, &args),
        Verb::Post(args) => post::run(&context, args),
        Verb::Search(args) => search::run(&context, args),
        Verb::Show(args) => show::run(&context, args),
        Verb::Explain(args) => explain::run(&context, args),
        Verb::Trace(args) => trace::run(&context, args),
        Verb::Evaluate(args) => evaluate::run(&context, &args),
        Verb::Simulate(args) => simulate::run(&context, &args),
        Verb::Import(args) => import::run(&context, &args),
        Verb::Export(args) => export::run(&context, &args),
        Verb::Backup(args) => backup::backup(&context, &args),
        Verb::Verify(args) => backup::verify(&context, &args),
        Verb::Restore(args) => backup::restore(&context, &args),
        Verb::Status(args) => status::run(&context, args),
        Verb::Queue(args) => queue::run(&context, args),
        Verb::Peers(args) => peers::run(&context, args),
        Verb::Keys(args) => keys::run(&context, args),
        Verb::Block(args) => block::run(&context, args),
        Verb::Remove(args) => remove::run(&context, args),
        Verb::Deliver(args) => deliver::run(&context, args),
        Verb::Filter(args) => filter::run(&context, args),
        Verb::Receive(args) => receive::run(&context, args),
        Verb::WebUser(args) => web_user::run(&args),
        Verb::Manual(args) => manual::run(&args),
        Verb::Witness(args) => witness::run(&args),
    }
}

/// The verb of a command line, found without understanding it: the promise about exit codes holds
/// for a command line that can't be understood, too.
fn verb(args: &[OsString]) -> Option<&OsStr> {
    let mut args = args.iter().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--config" {
            args.next();
        } else if !arg.to_string_lossy().starts_with('-') {
            return Some(arg);
        }
    }
    None
}

/// What every verb needs: the configuration, read when it is first asked for.
struct Context {
    named: Option<PathBuf>,
    config: std::cell::OnceCell<Config>,
}

impl Context {
    fn new(named: Option<PathBuf>) -> Context {
        Context { named, config: std::cell::OnceCell::new() }
    }

    /// The configuration.
    fn config(&self) -> Outcome<&Config> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = settings::load(self.named.as_deref())?;
        Ok(self.config.get_or_init(|| config))
    }

    /// Asks the gateway, wherever it is.
    fn ask<T: DeserializeOwned>(&self, request: Request) -> Outcome<T> {
        let answer = match self.config() {
            Ok(config) => ask::ask(config, &request)?,
            Err(failure) => ask::without_configuration(self.named.as_deref(), &request, failure)?,
        };
        serde_json::from_value(answer).or_else(|_| {
            exit::fail(exit::TRY_LATER, "the daemon's answer is not understood: is it of another version?")
        })
    }

    /// The largest mail that is taken from standard input.
    fn max_message(&self) -> usize {
        self.config().map_or(settings::MAX_MESSAGE, |config| config.smtp.max_message)
    }
}

/// A list, or the only element of one.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            OneOrMany::Many(all) => all,
            OneOrMany::One(one) => vec![one],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_panic_does_not_break_the_promises() {
        for (verb, code) in [("deliver", 75), ("filter", 75), ("receive", 75), ("post", 70)] {
            assert_eq!(guarded(verb, || panic!("on purpose")), code, "{verb}");
        }
        for code in [64, 65, 69, 70, 73, 78, 255] {
            assert_eq!(guarded("deliver", || code), 75);
            assert_eq!(guarded("filter", || code), 75);
            assert_eq!(guarded("receive", || code), if code == 65 { 65 } else { 75 });
            assert_eq!(guarded("post", || code), code);
        }
        assert_eq!(guarded("deliver", || 0), 0);
    }

    #[test]
    fn the_verb_is_found_without_parsing() {
        for (line, found) in [
            ("cmr-mail deliver --nonsense", Some("deliver")),
            ("cmr-mail --config deliver post x", Some("post")),
            ("cmr-mail --config=x deliver", Some("deliver")),
            ("cmr-mail --config x deliver", Some("deliver")),
            ("cmr-mail --nonsense deliver", Some("deliver")),
            ("cmr-mail post deliver", Some("post")),
            ("cmr-mail", None),
        ] {
            let args: Vec<OsString> = line.split(' ').map(Into::into).collect();
            assert_eq!(verb(&args), found.map(OsStr::new), "{line}");
        }
    }
}
