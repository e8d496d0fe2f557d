//! Which hosts take the mail of a domain, in which order (RFC 5321, section 5.1; RFC 7505).
//!
//! Pure: records in, hosts out.

/// Hosts of a domain that are tried, at most.
const MOST: usize = 8;

/// Why there is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MxError {
    /// A null MX: the domain takes no mail.
    #[error("takes no mail (null MX, RFC 7505)")]
    TakesNoMail,
    /// We are the best host of the domain ourselves.
    #[error("names this host as the one that takes its mail, and its mail does not end here")]
    LoopsBack,
}

/// The hosts to try, the best first; those of the same preference by `lot`. Without MX records the domain
/// is its own host. `own`: our name, behind which nobody is tried, so that mail goes in no circle.
///
/// # Errors
/// There is none.
pub(super) fn hosts(
    domain: &str,
    records: &[(u16, String)],
    own: &str,
    mut lot: impl FnMut() -> u64,
) -> Result<Vec<String>, MxError> {
    if records.is_empty() {
        return Ok(vec![domain.to_owned()]);
    }
    let mut named: Vec<(u16, u64, &str)> = records
        .iter()
        .filter(|(_, host)| !host.is_empty())
        .map(|(preference, host)| (*preference, lot(), host.as_str()))
        .collect();
    if named.is_empty() {
        return Err(MxError::TakesNoMail);
    }
    let ours = named.iter().filter(|(_, _, host)| host.eq_ignore_ascii_case(own)).map(|it| it.0).min();
    named.retain(|(preference, ..)| ours.is_none_or(|ours| *preference < ours));
    if named.is_empty() {
        return Err(MxError::LoopsBack);
    }
    named.sort_unstable();
    let mut hosts: Vec<String> = Vec::new();
    for (_, _, host) in named {
        if !hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) {
            hosts.push(host.to_owned());
        }
    }
    hosts.truncate(MOST);
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts_of(records: &str, lots: &[u64]) -> String {
        let records: Vec<(u16, String)> = records
            .split_whitespace()
            .map(|record| {
                let (preference, host) = record.split_once(':').unwrap();
                (preference.parse().unwrap(), host.to_owned())
            })
            .collect();
        let mut lots = lots.iter().copied();
        let found = hosts("people.test", &records, "mx.home.test", || lots.next().unwrap_or_default());
        found.map_or_else(|error| error.to_string(), |hosts| hosts.join(" "))
    }

    #[test]
    fn the_order_of_hosts() {
        let table: [(&str, &[u64], &str); 12] = [
            ("", &[], "people.test"),
            ("10:a", &[], "a"),
            ("20:b 10:a 30:c", &[], "a b c"),
            ("10:a 10:b 10:c", &[3, 1, 2], "b c a"),
            ("10:a 10:b 5:c", &[1, 2, 9], "c a b"),
            ("10:a 20:A 30:b", &[], "a b"),
            ("0:", &[], "takes no mail (null MX, RFC 7505)"),
            // Beside others a null MX means nothing.
            ("0: 10:a", &[], "a"),
            ("10:a 20:MX.home.test 30:b", &[], "a"),
            ("10:a 20:mx.home.test 20:b", &[], "a"),
            (
                "10:mx.home.test 20:b",
                &[],
                "names this host as the one that takes its mail, and its mail does not end here",
            ),
            ("1:a 2:b 3:c 4:d 5:e 6:f 7:g 8:h 9:i", &[], "a b c d e f g h"),
        ];
        for (records, lots, expected) in table {
            assert_eq!(hosts_of(records, lots), expected, "{records}");
        }
    }
}
