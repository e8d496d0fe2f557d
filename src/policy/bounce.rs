//! What it means for an address that a mail came back from it.

/// So many mails in a row that say that nobody is there end all mail to an address.
pub const SUPPRESS_AFTER: u32 = 3;

/// What a status (RFC 3463: class, subject, detail) says about the address itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nobody is there, or nobody who takes mail.
    Dead,
    /// This mail, or its sender, is not wanted there. Another may be.
    Refused,
    /// Something that passes.
    Passing,
}

/// What a failure's status means.
#[must_use]
pub fn meaning(class: u8, subject: u16, detail: u16) -> Meaning {
    match (class, subject, detail) {
        // Our sender's address; too long a message; our side of the protocol; content; policy.
        (5, 1, 7 | 8) | (5, 2, 3) | (5, 3, 4) | (5, 5..=7, _) => Meaning::Refused,
        (5, _, _) => Meaning::Dead,
        _ => Meaning::Passing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_address_itself_counts_against_it() {
        let table = [
            ((5, 1, 1), Meaning::Dead),
            ((5, 1, 2), Meaning::Dead),
            ((5, 2, 1), Meaning::Dead),
            ((5, 2, 2), Meaning::Dead),
            ((5, 0, 0), Meaning::Dead),
            ((5, 4, 4), Meaning::Dead),
            ((5, 1, 8), Meaning::Refused),
            ((5, 2, 3), Meaning::Refused),
            ((5, 3, 4), Meaning::Refused),
            ((5, 6, 0), Meaning::Refused),
            ((5, 7, 1), Meaning::Refused),
            ((5, 7, 26), Meaning::Refused),
            ((4, 2, 2), Meaning::Passing),
            ((4, 4, 7), Meaning::Passing),
            ((2, 0, 0), Meaning::Passing),
        ];
        for ((class, subject, detail), wanted) in table {
            assert_eq!(meaning(class, subject, detail), wanted, "{class}.{subject}.{detail}");
        }
    }
}
