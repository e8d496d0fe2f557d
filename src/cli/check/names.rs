//! What the DNS says of our own names, and the records to publish: our host (address, PTR), the domains
//! of the posting addresses (MX), the domain that our mail is from (SPF, DKIM, DMARC).

use std::net::IpAddr;
use std::time::Duration;

use super::Line;
use crate::authenticate::{Answer, Authenticator, SpfWord, reverse};
use crate::config::Config;
use crate::policy::is_globally_routable;

/// How long one question may take; they are asked at the same time.
const DEADLINE: Duration = Duration::from_secs(5);

/// Names that nobody can have records for (RFC 2606, RFC 6761, RFC 6762).
const NOBODYS: [&str; 5] = ["test", "example", "invalid", "localhost", "local"];

/// Our names, as the configuration has them.
#[derive(Debug)]
struct Names {
    host: String,
    /// The domains of the posting addresses.
    domains: Vec<String>,
    /// The address that our mail is from.
    from: String,
    operator: String,
    /// Whether our mail leaves from this host, as far as the name of the smarthost says.
    from_here: bool,
    smarthost: String,
    selector: Option<String>,
}

/// The names of an address, each with its addresses.
type Back = Answer<(String, Answer<IpAddr>)>;

/// What the DNS answered.
#[derive(Debug)]
struct Found {
    /// The addresses of the host.
    addresses: Answer<(IpAddr, Back)>,
    exchangers: Vec<(String, Answer<(u16, String)>)>,
    /// Those domains that have an address of their own.
    with_address: Vec<String>,
    /// The TXT records of the domain that our mail is from.
    texts: Answer<String>,
    /// What SPF says of each public address of the host.
    spf: Vec<(IpAddr, SpfWord)>,
    dkim: Option<Answer<String>>,
    /// The first of `_dmarc` of the domain and of those above it.
    dmarc: Answer<String>,
}

/// The lines about our names; none of them when the name servers do not answer.
pub(super) fn names(config: &Config, selector: Option<&str>, answered: bool) -> Vec<Line> {
    const NAME: &str = "dns";
    let names = Names::of(config, selector);
    if !answered {
        return Vec::new();
    }
    if is_nobodys(&names.host) {
        let says = format!("{} is a name that is in no DNS: its records are not looked for", names.host);
        return vec![Line::ok(NAME, says)];
    }
    let Ok(authenticator) = Authenticator::new(&config.authentication.dns, DEADLINE) else {
        return Vec::new();
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return vec![Line::warn(NAME, "not looked at: no more descriptors", "")];
    };
    let found = runtime.block_on(look(&authenticator, &names));
    runtime.shutdown_background();
    judge(&names, &found)
}

fn domain_of(address: &str) -> String {
    address.rsplit_once('@').map_or(address, |(_, domain)| domain).to_ascii_lowercase()
}

fn is_nobodys(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    !name.contains('.') || NOBODYS.contains(&last)
}

impl Names {
    fn of(config: &Config, selector: Option<&str>) -> Names {
        let mut domains: Vec<String> = config.smtp.recipients.iter().map(|it| domain_of(it)).collect();
        domains.sort();
        domains.dedup();
        let smarthost = config.send.smarthost.host.to_ascii_lowercase();
        let ip = smarthost.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let host = config.gateway.hostname.clone();
        Names {
            domains,
            from: config.send.from.clone(),
            operator: config.gateway.operator.address.clone(),
            from_here: ip.is_some_and(|ip| ip.is_loopback()) || smarthost == "localhost" || smarthost == host,
            smarthost,
            selector: selector.map(str::to_owned),
            host,
        }
    }
}

async fn look(dns: &Authenticator, names: &Names) -> Found {
    let from = domain_of(&names.from);
    let addresses = async {
        let mut all = Vec::new();
        for address in dns.addresses(&names.host, DEADLINE).await? {
            all.push((address, back(dns, address).await));
        }
        Ok(all)
    };
    let exchangers = async {
        let mut all = Vec::new();
        for domain in names.domains.iter().filter(|domain| !is_nobodys(domain)) {
            all.push((domain.clone(), dns.exchangers(domain, DEADLINE).await));
        }
        all
    };
    let with_address = async {
        let mut all = Vec::new();
        for domain in names.domains.iter().filter(|domain| !is_nobodys(domain)) {
            if dns.addresses(domain, DEADLINE).await.is_ok_and(|found| !found.is_empty()) {
                all.push(domain.clone());
            }
        }
        all
    };
    let dkim = async {
        let selector = names.selector.as_ref()?;
        Some(dns.texts(&format!("{selector}._domainkey.{from}"), DEADLINE).await)
    };
    let (addresses, exchangers, with_address, texts, dkim, dmarc) = tokio::join!(
        addresses,
        exchangers,
        with_address,
        dns.texts(&from, DEADLINE),
        dkim,
        dmarc(dns, &from)
    );
    let mut spf = Vec::new();
    for (address, _) in addresses.iter().flatten().filter(|(it, _)| is_globally_routable(*it)) {
        spf.push((*address, dns.spf_word(*address, &names.host, &names.from, DEADLINE).await));
    }
    Found { addresses, exchangers, with_address, texts, spf, dkim, dmarc }
}

/// The names of an address, with their addresses.
async fn back(dns: &Authenticator, address: IpAddr) -> Back {
    let mut all = Vec::new();
    if is_globally_routable(address) {
        for name in dns.names_of(address, DEADLINE).await? {
            let addresses = dns.addresses(&name, DEADLINE).await;
            all.push((name, addresses));
        }
    }
    Ok(all)
}

/// The policy of the domain, or of the nearest one above it that has one: RFC 7489 asks the
/// organisation's domain, which is among them.
async fn dmarc(dns: &Authenticator, domain: &str) -> Answer<String> {
    let mut at = domain;
    loop {
        let mut found = dns.texts(&format!("_dmarc.{at}"), DEADLINE).await?;
        found.retain(|text| text.to_ascii_lowercase().starts_with("v=dmarc1"));
        match at.split_once('.') {
            Some((_, above)) if found.is_empty() && above.contains('.') => at = above,
            _ => return Ok(found),
        }
    }
}

fn judge(names: &Names, found: &Found) -> Vec<Line> {
    let mut lines = host(names, found);
    for (domain, exchangers) in &found.exchangers {
        lines.push(mx(names, domain, exchangers, found.with_address.contains(domain)));
    }
    if !is_nobodys(&domain_of(&names.from)) {
        lines.push(spf(names, found));
        lines.push(dkim(names, found.dkim.as_ref()));
        lines.push(dmarc_line(names, &found.dmarc));
    }
    lines
}

fn silent(name: &'static str, about: &str, why: &str) -> Line {
    Line::warn(name, format!("no answer about {about}: {why}"), "see [authentication] dns")
}

fn host(names: &Names, found: &Found) -> Vec<Line> {
    let host = &names.host;
    let addresses = match &found.addresses {
        Err(why) => return vec![silent("dns", host, why)],
        Ok(none) if none.is_empty() => {
            let mend = format!("publish: {host}. IN A <address>; mail servers distrust a host without one");
            return vec![Line::warn("dns", format!("{host} has no address"), mend)];
        }
        Ok(addresses) => addresses,
    };
    let shown: Vec<String> = addresses.iter().map(|(address, _)| address.to_string()).collect();
    let mut lines = vec![Line::ok("dns", format!("{host} is {}", shown.join(", ")))];
    for (address, back) in addresses.iter().filter(|(address, _)| is_globally_routable(*address)) {
        let mend = format!(
            "ask the owner of the address (your provider) to publish: {}. IN PTR {host}.",
            reverse(*address)
        );
        lines.push(match back {
            Err(why) => silent("ptr", &address.to_string(), why),
            Ok(none) if none.is_empty() => Line::warn("ptr", format!("{address} has no name"), mend),
            Ok(named) => {
                let confirmed = named
                    .iter()
                    .find(|(_, addresses)| addresses.as_ref().is_ok_and(|all| all.contains(address)));
                match confirmed {
                    Some((name, _)) => Line::ok("ptr", format!("{address} is {name}, there and back")),
                    None => {
                        let all: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
                        let says = format!("{address} is {}, which is not {address}", all.join(", "));
                        Line::warn("ptr", says, mend)
                    }
                }
            }
        });
    }
    lines
}

fn mx(names: &Names, domain: &str, exchangers: &Answer<(u16, String)>, has_address: bool) -> Line {
    const NAME: &str = "mx";
    let publish = || format!("publish: {domain}. IN MX 10 {}.", names.host);
    match exchangers.as_deref() {
        Err(why) => silent(NAME, domain, why),
        Ok([]) if has_address => {
            let says = format!("{domain} has no MX record: mail for it goes to its own address");
            Line::warn(NAME, says, publish())
        }
        Ok([]) => Line::warn(NAME, format!("{domain} has no MX record: nobody can write to it"), publish()),
        Ok(all) if all.iter().any(|(_, host)| host.is_empty()) => {
            Line::warn(NAME, format!("{domain} says that it takes no mail (a null MX)"), publish())
        }
        Ok(all) => {
            let shown: Vec<String> = all.iter().map(|(number, host)| format!("{host} ({number})")).collect();
            Line::ok(NAME, format!("mail for {domain} goes to {}", shown.join(", ")))
        }
    }
}

fn spf(names: &Names, found: &Found) -> Line {
    const NAME: &str = "spf";
    let domain = domain_of(&names.from);
    let texts = match &found.texts {
        Err(why) => return silent(NAME, &domain, why),
        Ok(texts) => texts,
    };
    let is_spf = |text: &&String| {
        let text = text.to_ascii_lowercase();
        text == "v=spf1" || text.starts_with("v=spf1 ")
    };
    let records: Vec<&String> = texts.iter().filter(is_spf).collect();
    let sender = if names.from_here { &names.host } else { &names.smarthost };
    match records.as_slice() {
        [] => {
            let says = format!("{domain} does not say who may send its mail (SPF)");
            let mend = format!("publish: {domain}. IN TXT \"v=spf1 mx a:{sender} -all\"");
            let mend = match names.from_here {
                true => mend,
                false => format!("{mend}; or with the include: that the provider of the smarthost names"),
            };
            Line::warn(NAME, says, mend)
        }
        [record] => {
            let word = |word| found.spf.iter().find(|(_, it)| *it == word).map(|(address, _)| address);
            if word(SpfWord::Broken).is_some() {
                let says = format!("the SPF record of {domain} can't be used: {record}");
                return Line::warn(NAME, says, "see RFC 7208: ten look-ups at most, and no unknown words");
            }
            match word(SpfWord::Fail).filter(|_| names.from_here) {
                Some(address) => {
                    let says = format!("the SPF record of {domain} does not let {address} send: {record}");
                    let kind = if address.is_ipv4() { "ip4" } else { "ip6" };
                    Line::warn(NAME, says, format!("put {kind}:{address} into it, before its \"all\""))
                }
                None => Line::ok(NAME, format!("{domain}: {record}")),
            }
        }
        several => {
            let says = format!("{domain} has {} SPF records, which counts as none", several.len());
            Line::warn(NAME, says, "publish one of them only (RFC 7208, section 4.5)")
        }
    }
}

fn dkim(names: &Names, found: Option<&Answer<String>>) -> Line {
    const NAME: &str = "dkim";
    let domain = domain_of(&names.from);
    let (Some(selector), Some(found)) = (&names.selector, found) else {
        let says = format!("whether mail of {domain} is signed is up to {}", names.smarthost);
        return Line::ok(NAME, format!("{says}; cmr-mail check --dkim SELECTOR looks at its key"));
    };
    let at = format!("{selector}._domainkey.{domain}");
    let publish =
        format!("publish: {at}. IN TXT \"v=DKIM1; k=rsa; p=<the public key of the signer, in base64>\"");
    let key = |text: &String| {
        text.split(';')
            .filter_map(|part| part.split_once('='))
            .any(|(tag, value)| tag.trim().eq_ignore_ascii_case("p") && !value.trim().is_empty())
    };
    match found {
        Err(why) => silent(NAME, &at, why),
        Ok(none) if none.is_empty() => Line::warn(NAME, format!("{at} does not exist"), publish),
        Ok(texts) if texts.iter().any(key) => Line::ok(NAME, format!("{at} holds a key")),
        Ok(_) => {
            Line::warn(NAME, format!("{at} holds no key: what is signed with it is not believed"), publish)
        }
    }
}

fn dmarc_line(names: &Names, found: &Answer<String>) -> Line {
    const NAME: &str = "dmarc";
    let domain = domain_of(&names.from);
    match found.as_deref() {
        Err(why) => silent(NAME, &format!("_dmarc.{domain}"), why),
        Ok([record]) => Line::ok(NAME, format!("{domain}: {record}")),
        Ok(none) => {
            let says = match none.len() {
                0 => format!("{domain} does not say what becomes of mail that is not from it (DMARC)"),
                several => format!("{domain} has {several} DMARC records, which counts as none"),
            };
            let record =
                format!("_dmarc.{domain}. IN TXT \"v=DMARC1; p=none; rua=mailto:{}\"", names.operator);
            Line::warn(NAME, says, format!("publish: {record}, and p=reject once the reports are clean"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn names() -> Names {
        Names {
            host: "mx.home.org".into(),
            domains: vec!["home.org".into()],
            from: "cmr@home.org".into(),
            operator: "olga@home.org".into(),
            from_here: true,
            smarthost: "127.0.0.1".into(),
            selector: None,
        }
    }

    fn good() -> Found {
        let ip: IpAddr = "8.8.8.8".parse().unwrap();
        Found {
            addresses: Ok(vec![(ip, Ok(vec![("mx.home.org".into(), Ok(vec![ip]))]))]),
            exchangers: vec![("home.org".into(), Ok(vec![(10, "mx.home.org".into())]))],
            with_address: Vec::new(),
            texts: Ok(vec!["anything".into(), "v=spf1 mx -all".into()]),
            spf: vec![(ip, SpfWord::Pass)],
            dkim: None,
            dmarc: Ok(vec!["v=DMARC1; p=reject".into()]),
        }
    }

    #[test]
    fn records_as_they_should_be_are_a_line_each() {
        let lines = judge(&names(), &good());
        let seen: Vec<_> = lines.iter().map(|line| (line.name, line.state)).collect();
        let all = ["dns", "ptr", "mx", "spf", "dkim", "dmarc"].map(|name| (name, State::Ok));
        assert_eq!(seen, all, "{lines:?}");
    }

    #[test]
    fn what_is_missing_comes_with_the_record_to_publish() {
        type Change = fn(&mut Names, &mut Found);
        let table: [(Change, &str, &str, &str); 19] = [
            (|_, f| f.addresses = Ok(vec![]), "dns", "has no address", "mx.home.org. IN A"),
            (
                |_, f| f.addresses = Err("SERVFAIL".into()),
                "dns",
                "no answer about mx.home.org: SERVFAIL",
                "dns",
            ),
            (
                |_, f| f.addresses = Ok(vec![("8.8.8.8".parse().unwrap(), Ok(vec![]))]),
                "ptr",
                "8.8.8.8 has no name",
                "8.8.8.8.in-addr.arpa. IN PTR mx.home.org.",
            ),
            (
                |_, f| {
                    let wrong = ("host8.pool.net".to_owned(), Ok(vec!["9.9.9.9".parse().unwrap()]));
                    f.addresses = Ok(vec![("8.8.8.8".parse().unwrap(), Ok(vec![wrong]))]);
                },
                "ptr",
                "is host8.pool.net, which is not 8.8.8.8",
                "IN PTR mx.home.org.",
            ),
            (
                |_, f| f.addresses = Ok(vec![("8.8.8.8".parse().unwrap(), Err("timeout".into()))]),
                "ptr",
                "no answer about 8.8.8.8",
                "",
            ),
            (
                |_, f| f.exchangers[0].1 = Ok(vec![]),
                "mx",
                "nobody can write",
                "home.org. IN MX 10 mx.home.org.",
            ),
            (
                |_, f| {
                    f.exchangers[0].1 = Ok(vec![]);
                    f.with_address = vec!["home.org".into()];
                },
                "mx",
                "its own address",
                "home.org. IN MX 10",
            ),
            (|_, f| f.exchangers[0].1 = Ok(vec![(0, String::new())]), "mx", "null MX", "IN MX 10"),
            (|_, f| f.exchangers[0].1 = Err("timeout".into()), "mx", "no answer about home.org", ""),
            (
                |_, f| f.texts = Ok(vec!["v=spf10".into()]),
                "spf",
                "does not say who may send",
                "home.org. IN TXT \"v=spf1 mx a:mx.home.org -all\"",
            ),
            (
                |n, f| {
                    (n.from_here, n.smarthost) = (false, "smtp.provider.org".into());
                    f.texts = Ok(vec![]);
                },
                "spf",
                "does not say who may send",
                "a:smtp.provider.org -all\"; or with the include:",
            ),
            (
                |_, f| f.texts = Ok(vec!["v=spf1 -all".into(), "V=SPF1 mx -all".into()]),
                "spf",
                "has 2 SPF records",
                "one of them only",
            ),
            (
                |_, f| f.spf[0].1 = SpfWord::Fail,
                "spf",
                "does not let 8.8.8.8 send",
                "put ip4:8.8.8.8 into it",
            ),
            (|_, f| f.spf[0].1 = SpfWord::Broken, "spf", "can't be used: v=spf1 mx -all", "RFC 7208"),
            (
                |n, f| (n.selector, f.dkim) = (Some("s1".into()), Some(Ok(vec![]))),
                "dkim",
                "s1._domainkey.home.org does not exist",
                "s1._domainkey.home.org. IN TXT \"v=DKIM1; k=rsa; p=",
            ),
            (
                |n, f| (n.selector, f.dkim) = (Some("s1".into()), Some(Ok(vec!["v=DKIM1; p=".into()]))),
                "dkim",
                "holds no key",
                "publish:",
            ),
            (
                |_, f| f.dmarc = Ok(vec![]),
                "dmarc",
                "does not say what becomes of mail",
                "_dmarc.home.org. IN TXT \"v=DMARC1; p=none; rua=mailto:olga@home.org\"",
            ),
            (
                |_, f| f.dmarc = Ok(vec!["v=DMARC1; p=none".into(), "v=DMARC1; p=reject".into()]),
                "dmarc",
                "2 DMARC records",
                "publish:",
            ),
            (|_, f| f.dmarc = Err("timeout".into()), "dmarc", "no answer", ""),
        ];
        for (change, name, says, mend) in table {
            let (mut names, mut found) = (names(), good());
            change(&mut names, &mut found);
            let lines = judge(&names, &found);
            let bad: Vec<&Line> = lines.iter().filter(|line| line.state != State::Ok).collect();
            assert_eq!(bad.len(), 1, "{lines:?}");
            assert!(
                bad[0].name == name && bad[0].says.contains(says) && bad[0].mend.contains(mend),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn what_is_right_in_another_way_is_no_warning() {
        type Change = fn(&mut Names, &mut Found);
        let table: [(Change, usize); 4] = [
            // A private address has no name that others could ask for.
            (|_, f| f.addresses = Ok(vec![("10.0.0.7".parse().unwrap(), Ok(vec![]))]), 5),
            // Another host's record is no matter of ours when the smarthost sends.
            (|n, f| (n.from_here, f.spf[0].1) = (false, SpfWord::Fail), 6),
            (
                |n, f| {
                    (n.selector, f.dkim) =
                        (Some("s1".into()), Some(Ok(vec!["v=DKIM1; k=rsa; p=MIIB".into()])))
                },
                6,
            ),
            (|n, f| (n.from, f.exchangers) = ("cmr@home.test".into(), Vec::new()), 2),
        ];
        for (change, number) in table {
            let (mut names, mut found) = (names(), good());
            change(&mut names, &mut found);
            let lines = judge(&names, &found);
            assert!(lines.len() == number && lines.iter().all(|line| line.state == State::Ok), "{lines:?}");
        }
    }

    #[test]
    fn names_that_nobody_has_are_not_asked_for() {
        for (name, nobodys) in
            [("mx.home.test", true), ("localhost", true), ("a.local", true), ("mx.home.org", false)]
        {
            assert_eq!(is_nobodys(name), nobodys, "{name}");
        }
    }
}
