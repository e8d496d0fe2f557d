//! `cmr-mail filter`: one mail on standard input, from Postfix's pipe, decided about and handed on.
//!
//! Exits 0 or 75 and nothing else, whatever happens: of any other code Postfix would make a bounce.
//! (`super::main` holds that for command lines that can't be read and for panics.)

use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use tokio::runtime;

use super::deliver::{address, later};
use super::exit::{Outcome, TRY_LATER, fail};
use super::{Context, out};
use crate::filter::{OnError, Trace};
use crate::gateway::api::{Failure, Filtered, Request};
use crate::receive::filter::Spool;
use crate::send::hop::{Hop, HopError, Patience, takes};
use crate::smtp::path_of;

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// How the mail is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// By the sendmail command of the mail server
    Sendmail,
    /// By SMTP to [filter] next_hop
    Smtp,
}

/// Pass one mail from standard input on, for Postfix's pipe
///
/// Does with it what [filter] mode says, and hands it on to the recipients whose copies do not end
/// here. Exit code 0: it is handed on. 75: keep it and try again later. Never anything else.
///
/// The listener ([filter] listen) is many times faster and passes everything of the envelope.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cmr-mail filter --by smtp -f anna@example.org -- bob@example.org < mail.eml
Lines in Postfix's master.cf; docs/postfix.md has the rest:
  cmrpipe unix - n n - 10 pipe
    flags=Rq user=cmr-mail null_sender=
    argv=/usr/bin/cmr-mail filter -f ${sender} -- ${recipient}")]
pub(super) struct Args {
    /// Envelope sender; empty, <> or MAILER-DAEMON for the null sender
    #[arg(short = 'f', value_name = "SENDER", allow_hyphen_values = true)]
    sender: Option<OsString>,
    /// How it is handed on
    #[arg(long, value_enum, default_value = "sendmail")]
    by: By,
    /// The sendmail command
    #[arg(long, value_name = "PATH", default_value = "/usr/sbin/sendmail")]
    sendmail: PathBuf,
    /// Envelope recipients
    #[arg(value_name = "RECIPIENT", required = true, last = true)]
    recipients: Vec<String>,
}

pub(super) fn run(context: &Context, args: Args) -> Outcome {
    later(filter(context, args))
}

fn filter(context: &Context, args: Args) -> Outcome {
    let config = context.config()?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_else(|error| fail(TRY_LATER, format!("cannot start: {error}")))?;
    let sender = address(args.sender).filter(|sender| !sender.eq_ignore_ascii_case("MAILER-DAEMON"));
    // A file of our own user: this may not be the daemon's.
    let mut spool = Spool::new(&std::env::temp_dir());
    let mut trace = Trace::default();
    let spooled = spool_input(&runtime, io::stdin().lock(), &mut spool, &mut trace);
    spooled.or_else(|error| fail(TRY_LATER, format!("the mail can't be read and kept: {error}")))?;
    if spool.length() == 0 {
        return fail(TRY_LATER, "there is no mail on standard input");
    }
    if trace.is_loop() {
        return fail(TRY_LATER, "a loop: the mail has passed more than 50 mail servers (5.4.6)");
    }
    let read =
        |error: io::Error| Failure { exit: TRY_LATER, sentence: format!("the mail can't be read: {error}") };
    let fits = usize::try_from(spool.length()).is_ok_and(|length| length <= config.smtp.max_message);
    let whole =
        if fits { Some(STANDARD.encode(runtime.block_on(spool.whole()).map_err(read)?)) } else { None };
    let asked = Request::Filter { sender: sender.clone(), recipients: args.recipients.clone(), mail: whole };
    let told: Filtered = match (context.ask(asked), config.filter.on_error) {
        (Ok(told), _) => told,
        (Err(failure), OnError::Pass) => {
            out::note(&format!("passed on without being processed: {}", failure.sentence));
            Filtered { code: 250, text: String::new(), stamp: None, pass: args.recipients }
        }
        (Err(failure), OnError::Defer) => return Err(failure),
    };
    if !(200..=299).contains(&told.code) {
        return fail(TRY_LATER, format!("not passed on: {} {}", told.code, told.text));
    }
    if told.pass.is_empty() {
        out::note(&format!("{} {}", told.code, told.text));
        return Ok(());
    }
    let passing = Passing { sender, told, spool };
    match args.by {
        By::Sendmail => passing.by_sendmail(&runtime, &args.sendmail),
        By::Smtp => runtime.block_on(passing.by_smtp(&config.gateway.hostname, config.filter.next_hop)),
    }
}

fn spool_input(
    runtime: &runtime::Runtime,
    mut input: impl Read,
    spool: &mut Spool,
    trace: &mut Trace,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match input.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                let bytes = chunk.get(..length).unwrap_or_default();
                trace.push(bytes);
                runtime.block_on(spool.push(bytes))?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A mail that is to be handed on.
struct Passing {
    sender: Option<String>,
    told: Filtered,
    spool: Spool,
}

impl Passing {
    /// Lines end as they came, with LF as a rule: that is what `sendmail` wants.
    fn by_sendmail(&self, runtime: &runtime::Runtime, sendmail: &Path) -> Outcome {
        let trouble = |error: io::Error| Failure {
            exit: TRY_LATER,
            sentence: format!("{} can't hand the mail on: {error}", sendmail.display()),
        };
        let mut child = Command::new(sendmail)
            .args(["-G", "-i", "-f", self.sender.as_deref().unwrap_or_default(), "--"])
            .args(&self.told.pass)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(trouble)?;
        let fed = child.stdin.take().map_or(Ok(()), |mut stdin| {
            if let Some(stamp) = &self.told.stamp {
                stdin.write_all(format!("{stamp}\n").as_bytes())?;
            }
            let mut at = 0;
            while at < self.spool.length() {
                let bytes = runtime.block_on(self.spool.read(at))?;
                at = at.saturating_add(bytes.len() as u64);
                stdin.write_all(&bytes)?;
            }
            Ok(())
        });
        if fed.is_err() {
            // Half a mail must not leave: sendmail sends what it has when its input ends.
            let _ = child.kill();
        }
        let ended = child.wait().map_err(trouble)?;
        fed.map_err(trouble)?;
        if ended.success() { Ok(()) } else { fail(TRY_LATER, format!("{}: {ended}", sendmail.display())) }
    }

    async fn by_smtp(&self, hostname: &str, next_hop: SocketAddr) -> Outcome {
        match self.hand_over(hostname, next_hop).await {
            Ok(outcome) => outcome,
            Err(error) => fail(TRY_LATER, error.to_string()),
        }
    }

    async fn hand_over(&self, hostname: &str, next_hop: SocketAddr) -> Result<Outcome, HopError> {
        let not_passed = |said: String| Ok(fail(TRY_LATER, format!("not passed on: {next_hop} says {said}")));
        let mut hop = Hop::open(next_hop, hostname, 0, Patience::default()).await?;
        let head = self.spool.read(0).await.unwrap_or_default();
        let mut mail = format!("MAIL FROM:<{}>", self.sender.as_deref().map(path_of).unwrap_or_default());
        let addresses = || self.told.pass.iter().chain(&self.sender);
        // Not for 8-bit bytes in a header alone: whoever gets the mail next and knows no SMTPUTF8 would
        // have to return what came without it.
        if hop.offered().get("SMTPUTF8").is_some() && !addresses().all(|address| address.is_ascii()) {
            mail.push_str(" SMTPUTF8");
        }
        if hop.offered().get("8BITMIME").is_some() {
            mail.push_str(" BODY=8BITMIME");
        }
        let heard = hop.command(mail.as_bytes()).await?;
        if heard.code >= 300 {
            return not_passed(heard.text());
        }
        for recipient in &self.told.pass {
            // There is one exit code for all: nobody gets it before all can.
            let heard = hop.command(format!("RCPT TO:<{}>", path_of(recipient)).as_bytes()).await?;
            if heard.code >= 300 {
                return not_passed(heard.text());
            }
        }
        let mut text = match hop.text().await? {
            Ok(text) => text,
            Err((_, heard)) => return not_passed(heard.text()),
        };
        if let Some(stamp) = &self.told.stamp {
            text.push(format!("{stamp}\r\n").as_bytes()).await?;
        }
        let mut lines = ToCrlf::of(&head);
        let mut at = 0;
        while at < self.spool.length() {
            let Ok(bytes) = self.spool.read(at).await else {
                return Ok(fail(TRY_LATER, "the mail can't be read again"));
            };
            at = at.saturating_add(bytes.len() as u64);
            text.push(&lines.push(&bytes)).await?;
        }
        let (hop, heard) = text.end(|_| {}).await?;
        hop.quit().await;
        if takes(&heard) { Ok(Ok(())) } else { not_passed(heard.text()) }
    }
}

/// Brings line ends to CRLF, unless the first one is that already: then all are.
struct ToCrlf {
    is_crlf: bool,
}

impl ToCrlf {
    fn of(head: &[u8]) -> ToCrlf {
        let first = head.iter().position(|&byte| byte == b'\n');
        let before = first.and_then(|at| head.get(..at)).unwrap_or_default();
        ToCrlf { is_crlf: before.ends_with(b"\r") }
    }

    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.is_crlf {
            return bytes.to_vec();
        }
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 32 + 2);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(text) => {
                    out.extend_from_slice(text);
                    out.extend_from_slice(b"\r\n");
                }
                None => out.extend_from_slice(line),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_crlf_once() {
        for (input, output) in [
            (&b"a\nb\n"[..], &b"a\r\nb\r\n"[..]),
            (b"a\r\nb\r\n", b"a\r\nb\r\n"),
            (b"a\nb\r\nc", b"a\r\nb\r\r\nc"),
            (b"", b""),
            (b"\n\n", b"\r\n\r\n"),
        ] {
            assert_eq!(ToCrlf::of(input).push(input), output, "{input:?}");
        }
    }
}
