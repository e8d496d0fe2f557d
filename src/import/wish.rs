//! What of an archive is wanted.

use super::View;
use super::take::hexadecimal;
use crate::archive::Unit;
use crate::mail::Header;
use crate::message::UnixTime;

/// What of an archive is wanted, and as what.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// What of a mail becomes its message.
    pub view: View,
    /// CMR messages only.
    pub no_posts: bool,
    /// For everybody.
    pub publish: bool,
    /// The router may send it on.
    pub forward: bool,
    /// From this time on.
    pub since: Option<UnixTime>,
    /// Before this time.
    pub until: Option<UnixTime>,
    /// From folders of these names only; from all if there are none.
    pub folders: Vec<String>,
    /// By or to these addresses (`@domain` for all of a domain) only; all if there are none.
    pub addresses: Vec<String>,
}

/// Not a date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no date: write YYYY-MM-DD")]
pub struct WrongDate(String);

/// The first moment of a day, UTC.
///
/// # Errors
/// It is not written as YYYY-MM-DD.
pub fn day(text: &str) -> Result<UnixTime, WrongDate> {
    let wrong = || WrongDate(text.to_owned());
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return Err(wrong()) };
    if year.len() != 4 || month.len() != 2 || day.len() != 2 || !parts.iter().all(|part| digits(part)) {
        return Err(wrong());
    }
    let stamp = crate::message::Timestamp::parse(format!("{year}/{month}/{day} 00:00:00").as_bytes());
    stamp.map(|stamp| stamp.to_unix()).map_err(|_| wrong())
}

impl Wish {
    /// What is wanted, as a text that changes with it: a file is read again for another wish. It is
    /// kept, and names nobody.
    #[must_use]
    pub fn options(&self) -> String {
        let Wish { view, no_posts, publish, forward, since, until, folders: _, addresses } = self;
        let mut addresses = addresses.clone();
        addresses.sort();
        let time = |time: &Option<UnixTime>| time.map_or_else(String::new, |time| time.as_secs().to_string());
        format!(
            "1 {} {} {} {} {}-{} {}",
            view.name(),
            if *no_posts { "messages" } else { "all" },
            if *publish { "public" } else { "local" },
            if *forward { "forward" } else { "keep" },
            time(since),
            time(until),
            if addresses.is_empty() { String::new() } else { hexadecimal(addresses.join("\n").as_bytes()) },
        )
    }

    /// Whether a file lies in a folder that is wanted.
    #[must_use]
    pub fn wants_file(&self, unit: &Unit) -> bool {
        let name = unit.folder.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_prefix('.').unwrap_or(&name);
        self.folders.is_empty() || self.folders.iter().any(|folder| folder == name)
    }

    /// Why a mail of this header is not wanted.
    #[must_use]
    pub fn unwanted(&self, header: &Header) -> Option<String> {
        if !self.is_time(header.date) {
            return Some("its date is not among those that were asked for".to_owned());
        }
        let senders = [&header.from, &header.sender].into_iter().flatten().map(|from| &from.address);
        let mut all = senders.chain(&header.to).chain(&header.cc);
        (!self.addresses.is_empty() && !all.any(|address| self.is_address(address)))
            .then(|| "it is neither by nor to an address that was asked for".to_owned())
    }

    /// Whether a time is wanted; what has none is not, once times are asked for.
    #[must_use]
    pub fn is_time(&self, time: Option<UnixTime>) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        time.is_some_and(|time| {
            self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
        })
    }

    /// Whether an address is wanted.
    #[must_use]
    pub fn is_address(&self, address: &str) -> bool {
        let address = address.to_lowercase();
        self.addresses.is_empty()
            || self
                .addresses
                .iter()
                .map(|wanted| wanted.to_lowercase())
                .any(|wanted| address == wanted || (wanted.starts_with('@') && address.ends_with(&wanted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Mailbox;

    #[test]
    fn days() {
        assert_eq!(day("1970-01-02"), Ok(UnixTime(86_400_000_000)));
        for wrong in ["", "2026-1-1", "2026-13-01", "2026-02-30", "2026/01/01", "today", "2026-01-01x"] {
            assert_eq!(day(wrong), Err(WrongDate(wrong.to_owned())), "{wrong}");
        }
    }

    #[test]
    fn what_is_wanted_by_date_and_address() {
        let header = |date: Option<&str>| Header {
            from: Some(Mailbox { name: None, address: "Ann@a.example".to_owned() }),
            to: vec!["list@b.example".to_owned()],
            date: date.map(|date| day(date).unwrap()),
            ..Header::default()
        };
        for (since, until, addresses, date, wanted) in [
            (None, None, "", None, true),
            (Some("2026-01-02"), None, "", Some("2026-01-02"), true),
            (Some("2026-01-02"), None, "", Some("2026-01-01"), false),
            (Some("2026-01-02"), None, "", None, false),
            (None, Some("2026-01-02"), "", Some("2026-01-02"), false),
            (None, Some("2026-01-02"), "", Some("2026-01-01"), true),
            (None, None, "ann@A.example", None, true),
            (None, None, "@b.example", None, true),
            (None, None, "@example", None, false),
            (None, None, "bob@a.example", None, false),
        ] {
            let wish = Wish {
                since: since.map(|it| day(it).unwrap()),
                until: until.map(|it| day(it).unwrap()),
                addresses: addresses.split_whitespace().map(str::to_owned).collect(),
                ..Wish::default()
            };
            assert_eq!(wish.unwanted(&header(date)).is_none(), wanted, "{wish:?} {date:?}");
        }
    }

    #[test]
    fn another_wish_is_another_text() {
        let base = Wish::default();
        let others = [
            Wish { view: View::Full, ..base.clone() },
            Wish { no_posts: true, ..base.clone() },
            Wish { publish: true, ..base.clone() },
            Wish { forward: true, ..base.clone() },
            Wish { since: Some(UnixTime(0)), ..base.clone() },
            Wish { until: Some(UnixTime(0)), ..base.clone() },
            Wish { addresses: vec!["a".to_owned()], ..base.clone() },
        ];
        let texts: std::collections::HashSet<String> =
            others.iter().chain([&base]).map(Wish::options).collect();
        assert_eq!(texts.len(), others.len() + 1);
        let wish = Wish { addresses: vec!["ann@a.example".to_owned()], ..base };
        assert!(!wish.options().contains("ann"), "{}", wish.options());
    }
}
