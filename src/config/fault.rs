//! What can be wrong with a configuration, as the sentence that the operator reads.
//!
//! The sentences stand here and nowhere else; `tests/configurations/` has a folder for each
//! mistake with the exact line that it produces.

use super::keys::Key;
use std::fmt;
use std::path::PathBuf;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No file was named and none lies where one is looked for.
    #[error("no configuration found: looked for {}. Write one with: cmr-mail init", list(.tried))]
    NotFound {
        /// The paths that were tried, in order.
        tried: Vec<PathBuf>,
    },
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file was read and is wrong; one line for each mistake.
    #[error("{}", lines(.0))]
    Wrong(Vec<Problem>),
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// One mistake (or, as a warning, one doubt) and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The configuration file.
    pub path: PathBuf,
    /// The line, counted from 1; none when nothing stands in the file.
    pub line: Option<usize>,
    /// The key that it is about, if it is about one.
    pub key: Option<&'static Key>,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    /// `FILE:LINE: [section] key: sentence`, the form that editors can jump to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if let Some(key) = self.key {
            write!(f, " {}:", key.title())?;
        }
        write!(f, " {}", self.fault)
    }
}

/// The mistakes, by cause.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    /// The TOML itself cannot be read.
    #[error("this is not TOML: {0}")]
    NotToml(String),
    /// The file is not UTF-8.
    #[error("the byte at {0} is not UTF-8 text")]
    NotText(usize),
    /// A key that does not exist.
    #[error("there is no key {name} in {}; {hint}", super::keys::brackets(.section))]
    UnknownKey {
        /// The section it stands in.
        section: String,
        /// What was written.
        name: String,
        /// What may have been meant.
        hint: String,
    },
    /// A section that does not exist.
    #[error("there is no section [{name}]; {hint}")]
    UnknownSection {
        /// What was written.
        name: String,
        /// What may have been meant.
        hint: String,
    },
    /// A key above the first section.
    #[error("{name} stands outside of any section; {hint}")]
    OutsideSection {
        /// What was written.
        name: String,
        /// Where it belongs.
        hint: String,
    },
    /// `smtp = 1` where `[smtp]` should stand.
    #[error("{name} is a section: write [{name}] on a line of its own, once, and its keys below it")]
    NotASection {
        /// The section.
        name: String,
    },
    /// `[imap]` where `[[imap]]` should stand.
    #[error("{name} stands in double brackets, because there can be several: write [[{name}]]")]
    NotRepeated {
        /// The section.
        name: String,
    },
    /// A name that another section of the kind has.
    #[error("\"{0}\" is the name of another account: each needs one of its own")]
    NameTaken(String),
    /// Two sections that read the same folder.
    #[error("this folder is read by \"{0}\" already")]
    FolderTaken(String),
    /// A text that is none of the ways.
    #[error("\"{0}\" is none of: seen, move:FOLDER, delete, keep")]
    NotAfter(String),
    /// Moving to where the mail is.
    #[error("{0} is the folder that is read")]
    MovesNowhere(String),
    /// Not a date.
    #[error("\"{0}\" is no date: write it as YEAR-MONTH-DAY, like \"2026-11-01\"")]
    NotDate(String),
    /// Not a host.
    #[error("\"{0}\" is neither a host name nor an IP address")]
    NotHost(String),
    /// A key that has to be there.
    #[error("missing; write for example: {name} = {example}")]
    Missing {
        /// Its name.
        name: &'static str,
        /// A value.
        example: &'static str,
    },
    /// A value of another type.
    #[error("should be {wanted}, like {example}, and is {found}")]
    WrongType {
        /// What it should be, with the article.
        wanted: String,
        /// A value.
        example: &'static str,
        /// What it is, with the article.
        found: &'static str,
    },
    /// A number, size or duration out of its range.
    #[error("{value} is out of range: {min} to {max} is possible")]
    OutOfRange {
        /// What was written.
        value: String,
        /// The smallest.
        min: String,
        /// The largest.
        max: String,
    },
    /// A duration, size or rate that cannot be read; the sentence of `policy::human`.
    #[error("{0}")]
    Unreadable(String),
    /// A word that is not one of the choices.
    #[error("\"{value}\" is none of the possible words: {choices}")]
    NoSuchChoice {
        /// What was written.
        value: String,
        /// The choices with their meanings.
        choices: String,
    },
    /// An empty list or text where something has to stand.
    #[error("empty: {0}")]
    Empty(&'static str),
    /// A line break or the like, which would end up in a header or a dialogue.
    #[error("there is a control character in it (a line break, for example)")]
    ControlCharacter,
    /// The same value twice in a list.
    #[error("\"{0}\" stands there twice")]
    Twice(String),
    /// Not a CMR address that this version can be or reach.
    #[error("\"{value}\" is no CMR address of the kind mailto:NAME@DOMAIN{hint}")]
    NotCmrAddress {
        /// What was written.
        value: String,
        /// `; did you mean …`, or nothing.
        hint: String,
    },
    /// Not an address of this transport.
    #[error("\"{value}\" is no address for this: {why}")]
    NotAddressOf {
        /// What was written.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// Everybody is believed about who he is.
    #[error("{0} is everybody: only web servers of the house may say who a client is")]
    EverybodyIsBelieved(String),
    /// A handshake without somebody to answer it.
    #[error("a handshake needs [http] listen and [http] address: the peer fetches the message from there")]
    NobodyCanFetch,
    /// Not a tag of datagrams.
    #[error("\"{0}\" is no tag: letters, digits and most signs may stand in it, but no blank, # or ?")]
    NotTag(String),
    /// Our address has another tag than our listener.
    #[error("it has the tag \"{tag}\", but service is \"{service}\": datagrams to it are dropped here")]
    OtherTag {
        /// That of the address.
        tag: String,
        /// That of the listener.
        service: String,
    },
    /// Not what ssh connects to.
    #[error("\"{0}\" is nothing that ssh connects to: write HOST or USER@HOST")]
    NotSshDestination(String),
    /// Not a path of a URL.
    #[error("\"{0}\" is no path: it begins with / and has no blank, # or ?")]
    NotPath(String),
    /// Not one plain mail address.
    #[error("\"{0}\" is no mail address: one plain NAME@DOMAIN is wanted")]
    NotMailAddress(String),
    /// A posting address with a tag.
    #[error("\"{value}\" has a tag; write \"{plain}\", everything after a + belongs to it anyway")]
    Tagged {
        /// What was written.
        value: String,
        /// Without the tag.
        plain: String,
    },
    /// Not a host name.
    #[error("\"{value}\" is no host name: {why}")]
    NotHostName {
        /// What was written.
        value: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// Not an address to listen on.
    #[error(
        "\"{value}\" cannot be listened on: {why}; write IP:PORT, like \"127.0.0.1:2525\" or \"[::]:25\""
    )]
    NotListen {
        /// What was written.
        value: String,
        /// Which half is wrong.
        why: String,
    },
    /// Not a network.
    #[error(
        "\"{0}\" is no network: write an IP address or a network like \"192.0.2.0/24\" or \"2001:db8::/32\""
    )]
    NotNetwork(String),
    /// A network with host bits.
    #[error("\"{value}\" has bits set beyond its prefix; did you mean \"{network}\"?")]
    HostBits {
        /// What was written.
        value: String,
        /// The network it lies in.
        network: String,
    },
    /// Not the URL of a mail server.
    #[error(
        "\"{value}\" is no mail server: {why}; write smtp://HOST:PORT, smtp+starttls://HOST:PORT or smtps://HOST:PORT"
    )]
    NotSmarthost {
        /// What was written.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// Mail would be sent to ourselves.
    #[error("{0} is where [smtp] listen is: every mail would come straight back")]
    SendsToItself(String),
    /// Two ways for outgoing mail.
    #[error(
        "mail goes to the recipients' own mail hosts then, and smarthost stands there as well; keep one of them"
    )]
    DirectBySmarthost,
    /// The filter would hand every mail to this program.
    #[error("{0} is where this program listens itself: every mail would go round in a circle")]
    PassesToItself(String),
    /// Not a List-Id.
    #[error("\"{0}\" is no List-Id: write what stands between its angle brackets")]
    NotListId(String),
    /// A login that is not complete.
    #[error("{0}")]
    Login(&'static str),
    /// The password would travel in the clear.
    #[error("with user set, {0} would get the password unencrypted; use smtp+starttls:// or smtps://")]
    PasswordInClear(String),
    /// The access token would travel in the clear.
    #[error("{0} would get the access token unencrypted; use smtp+starttls:// or smtps://")]
    TokenInClear(String),
    /// The password of a mailbox would travel in the clear.
    #[error("{0} would get the password unencrypted; use \"tls\" or \"starttls\"")]
    MailboxInClear(String),
    /// A file that cannot be used.
    #[error("{}: {why}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The directory of the database cannot be one.
    #[error("{} is a file, not a directory", .0.display())]
    NotDirectory(PathBuf),
    /// The path leaves no room for the name of the socket.
    #[error("{} is {length} bytes long; because of the Unix socket at most {most} are possible", .path.display())]
    PathTooLong {
        /// The directory.
        path: PathBuf,
        /// Its length.
        length: usize,
        /// The longest that works.
        most: usize,
    },
    /// A socket for other users where they cannot go.
    #[error("{} lies in data_dir, which other users may not enter", .0.display())]
    IntakeInDataDir(PathBuf),
    /// Notices to the operator would come back as posts.
    #[error("{0} is one of the posting addresses: notices to the operator would come back as posts")]
    OperatorPosts(String),
    /// A pinned contact that is this gateway.
    #[error("{0} is this gateway itself")]
    PinsItself(String),
    /// Pages that anybody could read on the way.
    #[error("{0} is no address of this machine alone: write tls, or list proxies that speak TLS")]
    WebInTheOpen(String),
    /// Pages that nobody could read.
    #[error(
        "nobody could read the pages: these need a login, so write users (`cmr-mail web-user NAME` makes that file)"
    )]
    WebWithoutUsers,
    // From here on: doubts, told as warnings.
    /// Two values that do not go together.
    #[error("{value} is {relation} {other} ({limit})")]
    Contradicts {
        /// The value here.
        value: String,
        /// "shorter than", "more than".
        relation: &'static str,
        /// The other key.
        other: String,
        /// The value there.
        limit: String,
    },
    /// Nobody could post.
    #[error("nobody may post: [policy] who_may_post is \"listed\" and the list is empty")]
    NobodyMayPost,
    /// Learning in a mode that changes nothing.
    #[error("nothing is learned with mode = \"shadow\", which changes nothing")]
    LearnsInShadow,
    /// Everybody could send mail through us.
    #[error("{0} is everybody: any client could send mail to anybody through the filter")]
    OpenFilter(String),
    /// A list that is not looked at.
    #[error("not looked at, because who_may_post is \"{0}\"")]
    ListUnused(String),
    /// A mail from another domain.
    #[error(
        "{from} is not in the domain of [gateway] address ({domain}): receivers may take our mail for forged"
    )]
    OtherDomain {
        /// The From.
        from: String,
        /// The domain of the gateway.
        domain: String,
    },
    /// Trust in the network that the relay speaks from.
    #[error(
        "{network} holds the relay {relay}: behind a relay everything comes from there, so a relay is never believed about the author, and this entry only lets in who can connect from {network} directly"
    )]
    RelayTrusted {
        /// The trusted network.
        network: String,
        /// The relay in it.
        relay: String,
    },
    /// Trust in the whole Internet.
    #[error("{0} is everybody: any client is believed about who wrote a mail")]
    EverybodyTrusted(String),
    /// Strangers write in public, unasked.
    #[error("together with who_may_post = \"anyone\" everything that anybody sends becomes public at once")]
    AnyonePublishes,
    /// A file with a secret that others can read.
    #[error("{} can be read by others (mode {mode:04o}); chmod 600 it", .path.display())]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A host name that is known nowhere else.
    #[error("\"{0}\" has no dot: other mail servers may refuse a greeting with it")]
    ShortHostName(String),
    /// A database among the configuration.
    #[error("{} lies under /etc; a database belongs under /var/lib", .0.display())]
    DataInEtc(PathBuf),
    /// A default that does not fit its own key.
    #[error("the default of this program cannot be read; this is our mistake, please report it")]
    OurMistake,
}
