//! The words by which a client shows an OAuth 2 access token (RFC 6750): those of OAUTHBEARER
//! (RFC 7628) and of XOAUTH2, its forerunner that the large providers speak. IMAP has the same.

use zeroize::Zeroizing;

/// A mechanism that takes access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// RFC 7628.
    OauthBearer,
    /// Without an RFC.
    Xoauth2,
}

impl Bearer {
    /// Its name in AUTH.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Bearer::OauthBearer => "OAUTHBEARER",
            Bearer::Xoauth2 => "XOAUTH2",
        }
    }

    /// What a client says first: who it is, and the token. None where there is a character in them that
    /// can't stand there.
    #[must_use]
    pub fn first(self, user: &str, (host, port): (&str, u16), token: &str) -> Option<Zeroizing<String>> {
        if user.contains(char::is_control) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        Some(Zeroizing::new(match self {
            Bearer::Xoauth2 => format!("user={user}\u{1}auth=Bearer {token}\u{1}\u{1}"),
            Bearer::OauthBearer => {
                // A comma or an equals sign in a SASL name is escaped (RFC 5801, section 4).
                let name = user.replace('=', "=3D").replace(',', "=2C");
                format!("n,a={name},\u{1}host={host}\u{1}port={port}\u{1}auth=Bearer {token}\u{1}\u{1}")
            }
        }))
    }

    /// What a client says when the server has told by a challenge why it refuses the token; the server
    /// ends the exchange then (RFC 7628, section 3.2.3).
    #[must_use]
    pub fn resigned(self) -> &'static str {
        match self {
            Bearer::OauthBearer => "\u{1}",
            Bearer::Xoauth2 => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_first() {
        let at = ("mx.example", 587);
        for (bearer, user, token, said) in [
            (
                Bearer::Xoauth2,
                "ann@example.net",
                "ya29.a-b_c~d+e/f=",
                Some("user=ann@example.net\x01auth=Bearer ya29.a-b_c~d+e/f=\x01\x01"),
            ),
            (
                Bearer::OauthBearer,
                "a=b,c",
                "t",
                Some("n,a=a=3Db=2Cc,\x01host=mx.example\x01port=587\x01auth=Bearer t\x01\x01"),
            ),
            (Bearer::Xoauth2, "ann", "two words", None),
            (Bearer::Xoauth2, "ann", "t\x01auth=Bearer u", None),
            (Bearer::OauthBearer, "ann\x01host=x", "t", None),
        ] {
            let first = bearer.first(user, at, token);
            assert_eq!(first.as_deref().map(String::as_str), said, "{bearer:?} {user:?} {token:?}");
        }
    }
}
