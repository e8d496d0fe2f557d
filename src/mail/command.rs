//! What a person tells the robot to do, in words: a command is the whole subject, or the whole
//! first line of what is new in the mail, and never a word in passing.

use super::Post;
use super::post::base_subject;

/// What a mail asks for, beside being posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// How this works.
    Help,
    /// Compare the text with the pool and don't store it.
    Search,
    /// Store the text, whatever its subject says.
    Post,
    /// What is known here of the person.
    Status,
    /// No more mail.
    Stop,
}

impl Command {
    /// The command that this word is. `subscribe` is answered by what there is instead.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "help" | "subscribe" => Command::Help,
            "search" => Command::Search,
            "post" => Command::Post,
            "status" => Command::Status,
            "stop" | "unsubscribe" => Command::Stop,
            _ => return None,
        })
    }

    fn of_line(line: &str) -> Option<Self> {
        let line = line.trim();
        // Who is angry writes "stop!"; who writes "help!" has a question.
        let shouted = Self::of_word(line.trim_end_matches(['.', '!'])).filter(|it| *it == Command::Stop);
        Self::of_word(line).or(shouted)
    }
}

/// The command in a mail with this subject and this text, and the text without the command.
/// Marks like `Re:` before the command are tolerated: it may be written into an answer.
#[must_use]
pub fn command(subject: Option<&str>, post: Option<&Post>) -> Option<(Command, Post)> {
    let empty = Post { subject: String::new(), text: String::new(), language: None };
    if let Some(command) = Command::of_line(base_subject(subject.unwrap_or_default()).0) {
        // A mail with nothing but a subject is a post of the subject.
        let text = post.filter(|post| !post.text.is_empty()).cloned().unwrap_or(empty);
        return Some((command, Post { subject: String::new(), ..text }));
    }
    let post = post?;
    let (first, rest) = post.text.split_once('\n').unwrap_or((&post.text, ""));
    let command = Command::of_line(first)?;
    Some((command, Post { text: rest.trim_matches('\n').to_owned(), ..post.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_whole_subject_or_a_whole_first_line() {
        let post = |subject: &str, text: &str| Post {
            subject: subject.to_owned(),
            text: text.to_owned(),
            language: None,
        };
        let none = |_: &str| None::<(Command, &str)>;
        for (subject, text, wanted) in [
            ("help", "", Some((Command::Help, ""))),
            ("  HELP ", "I am lost", Some((Command::Help, "I am lost"))),
            ("Re: AW: search", "planets\nand moons", Some((Command::Search, "planets\nand moons"))),
            ("Status", "", Some((Command::Status, ""))),
            ("subscribe", "", Some((Command::Help, ""))),
            (
                "Planets",
                "search\n\nWhich is largest?",
                Some((Command::Search, "Planets\n\nWhich is largest?")),
            ),
            ("Re: Planets", "Stop!", Some((Command::Stop, "Planets"))),
            ("Unsubscribe.", "please", Some((Command::Stop, "please"))),
            ("post", "search\nis a word", Some((Command::Post, "search\nis a word"))),
            ("Help!", "My sunflower withers", none("a cry and no command")),
            ("help me", "", none("")),
            ("search engines", "which is best?", none("")),
            ("The status", "of whales", none("")),
            ("Planets", "please stop", none("")),
            ("Planets", "Why?\nstop", none("")),
            ("", "", none("")),
        ] {
            let base = base_subject(subject).0;
            let found = command(Some(subject), Some(&post(base, text)));
            let found = found.map(|(command, rest)| (command, String::from_utf8(rest.body()).unwrap()));
            let wanted = wanted.map(|(command, rest)| (command, rest.to_owned()));
            assert_eq!(found, wanted, "{subject:?} {text:?}");
        }
        assert_eq!(command(Some("Re: stop"), None).map(|it| it.0), Some(Command::Stop));
        assert_eq!(command(None, None), None);
    }
}
