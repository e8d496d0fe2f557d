//! `cmr-mail manual`: manual pages and completions, made from the description of the verbs that the
//! command line itself is read by. For packages, and for who installs by hand.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::exit::{CANT_CREATE, Outcome};
use super::{Cli, out};
use crate::gateway::api::Failure;

/// Write the manual pages and the completions for bash, zsh and fish into a directory
///
/// The pages go below man1, the completions below bash, zsh and fish.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail manual /tmp/cmr-mail && man -l /tmp/cmr-mail/man1/cmr-mail-serve.1
  cp /tmp/cmr-mail/bash/* /usr/share/bash-completion/completions/")]
pub(super) struct Args {
    /// The directory; it is made if it does not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn run(args: &Args) -> Outcome {
    let mut command = Cli::command();
    // Each verb gets its full name: cmr-mail queue retry.
    command.build();
    let pages = pages(&command, &args.dir.join("man1"))?;
    let written = pages + completions(&mut Cli::command(), &args.dir)?;
    out::text(&format!("{written} files written to {}\n", args.dir.display()))
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure { exit: CANT_CREATE, sentence: format!("{}: {error}", path.display()) }
}

fn make(dir: &Path) -> Outcome {
    fs::create_dir_all(dir).map_err(|error| failed(dir, &error))
}

/// The page of a verb and those of the verbs below it; how many.
fn pages(command: &Command, dir: &Path) -> Outcome<usize> {
    make(dir)?;
    let page = clap_mangen::Man::new(command.clone()).manual("cmr-mail");
    let path = dir.join(page.get_filename());
    let mut text = Vec::new();
    page.render(&mut text).map_err(|error| failed(&path, &error))?;
    fs::write(&path, text).map_err(|error| failed(&path, &error))?;
    let mut written = 1;
    for below in command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help") {
        written += pages(below, dir)?;
    }
    Ok(written)
}

fn completions(command: &mut Command, dir: &Path) -> Outcome<usize> {
    let shells = [
        (Shell::Bash, "bash/cmr-mail.bash"),
        (Shell::Zsh, "zsh/_cmr-mail"),
        (Shell::Fish, "fish/cmr-mail.fish"),
    ];
    for (shell, name) in shells {
        let path = dir.join(name);
        make(path.parent().unwrap_or(dir))?;
        let mut script = Vec::new();
        clap_complete::generate(shell, command, "cmr-mail", &mut script);
        let mut script = String::from_utf8_lossy(&script).into_owned();
        if shell == Shell::Bash {
            // clap_complete 4.6 takes the dash of a program's name for the border of a verb in one of
            // the two places where it makes names, so that no verb would be completed any further.
            script = script.replace("cmr__subcmd__mail", "cmr__mail");
        }
        fs::write(&path, script).map_err(|error| failed(&path, &error))?;
    }
    Ok(shells.len())
}
