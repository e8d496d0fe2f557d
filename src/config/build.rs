//! From the keys to the typed configuration: what each value has to be, and which values
//! exclude or contradict each other.

use super::fault::Fault;
use super::keys;
use super::reader::{Found, Reader};
use super::sections::{
    Authentication, Direct, Filter, Gateway, Log, LogFormat, LogLevel, People, Policy, Pool, Routing,
    Security, Send, Smarthost, Smtp, TlsFiles,
};
use super::{files, imap, login, names, transports, web};
use crate::distance::Metric;
use crate::filter::{Learn, Mode, OnError};
use crate::message::Address;
use crate::policy::human::{show_duration, show_size};
use crate::policy::{FirstPost, Origin, WhoMayPost};
use crate::router::{NoSignal, RoutingPolicy, Strategy};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a file holds; none of a section that has a mistake without which nothing can be made.
pub(super) struct Sections {
    pub(super) gateway: Option<Gateway>,
    pub(super) smtp: Option<Smtp>,
    pub(super) filter: Option<Filter>,
    pub(super) authentication: Option<Authentication>,
    pub(super) imap: Option<Vec<imap::Imap>>,
    pub(super) send: Option<Send>,
    pub(super) http: Option<transports::Http>,
    pub(super) udp: Option<transports::Udp>,
    pub(super) ssh: Option<transports::Ssh>,
    pub(super) policy: Option<Policy>,
    pub(super) people: Option<People>,
    pub(super) routing: Option<Routing>,
    pub(super) pool: Option<Pool>,
    pub(super) web: Option<web::Web>,
    pub(super) log: Option<Log>,
}

/// The longest path of a Unix socket: its address has 108 bytes with a zero at the end (unix(7)).
const LONGEST_SOCKET: usize = 107;

/// The longest path of a data directory: it holds a socket.
const LONGEST_DATA_DIR: usize = LONGEST_SOCKET - "/control.sock".len();

/// Reads all sections; mistakes and doubts are in the reader afterwards.
pub(super) fn build(r: &mut Reader<'_>) -> Sections {
    let gateway = gateway(r);
    let smtp = smtp(r, gateway.as_ref());
    let filter = filter(r, smtp.as_ref());
    let authentication = authentication(r);
    let imap = imap::imap(r);
    let send = send(r, gateway.as_ref(), smtp.as_ref());
    let (http, udp, ssh) = (transports::http(r), transports::udp(r), transports::ssh(r));
    let policy = policy(r);
    let people = people(r, policy.as_ref());
    let own = [
        gateway.as_ref().map(|it| &it.address),
        http.as_ref().and_then(|it| it.address.as_ref()),
        udp.as_ref().and_then(|it| it.address.as_ref()),
        ssh.as_ref().and_then(|it| it.address.as_ref()),
    ];
    let routing = routing(r, &own);
    let pool = pool(r, smtp.as_ref());
    let web = web::web(r, gateway.as_ref());
    let log = log(r);
    if let (Some(gateway), Some(smtp)) = (&gateway, &smtp)
        && let Some(address) =
            smtp.recipients.iter().find(|a| a.eq_ignore_ascii_case(&gateway.operator.address))
    {
        let line = r.line(&keys::GATEWAY_OPERATOR);
        r.error(&keys::GATEWAY_OPERATOR, line, Fault::OperatorPosts(address.clone()));
    }
    #[rustfmt::skip]
    let all = Sections {
        gateway, smtp, filter, authentication, imap, send, http, udp, ssh, policy, people, routing, pool, web, log,
    };
    all
}

fn gateway(r: &mut Reader<'_>) -> Option<Gateway> {
    let address = r.text(&keys::GATEWAY_ADDRESS);
    let address = r.check(&keys::GATEWAY_ADDRESS, address, |text| names::cmr_address(text));
    let hostname = r.text(&keys::GATEWAY_HOSTNAME);
    let hostname = r.check(&keys::GATEWAY_HOSTNAME, hostname, |text| names::host_name(text));
    if let Some(found) = &hostname
        && !found.value.contains('.')
    {
        r.warn(&keys::GATEWAY_HOSTNAME, found.line, Fault::ShortHostName(found.value.clone()));
    }
    let operator = r.text(&keys::GATEWAY_OPERATOR);
    let operator = r.check(&keys::GATEWAY_OPERATOR, operator, |text| names::operator(text));
    let data_dir = data_dir(r);
    let intake_socket = intake_socket(r, data_dir.as_deref());
    let writable = r.list(&keys::GATEWAY_WRITABLE).map(|found| found.value).unwrap_or_default();
    let writable = writable.iter().map(|found| writable_dir(r, found)).collect();
    let (address, mail_address) = address?.value;
    Some(Gateway {
        address,
        mail_address,
        hostname: hostname?.value,
        operator: operator?.value,
        data_dir: data_dir?,
        intake_socket,
        writable,
    })
}

fn writable_dir(r: &mut Reader<'_>, text: &Found<String>) -> PathBuf {
    let path = r.beside(&text.value);
    if !path.is_dir() {
        let why = "is no directory, and nothing can be written there".to_owned();
        r.warn(&keys::GATEWAY_WRITABLE, text.line, Fault::File { path: path.clone(), why });
    }
    path
}

fn intake_socket(r: &mut Reader<'_>, data_dir: Option<&Path>) -> Option<PathBuf> {
    let text = r.text(&keys::GATEWAY_INTAKE)?;
    let path = r.beside(&text.value);
    let length = path.as_os_str().len();
    if data_dir.is_some_and(|dir| path.starts_with(dir)) {
        r.error(&keys::GATEWAY_INTAKE, text.line, Fault::IntakeInDataDir(path.clone()));
    } else if length > LONGEST_SOCKET {
        let fault = Fault::PathTooLong { path: path.clone(), length, most: LONGEST_SOCKET };
        r.error(&keys::GATEWAY_INTAKE, text.line, fault);
    } else if path.is_dir() {
        let why = "is a directory; write the name of a socket in it".to_owned();
        r.error(&keys::GATEWAY_INTAKE, text.line, Fault::File { path: path.clone(), why });
    }
    Some(path)
}

fn data_dir(r: &mut Reader<'_>) -> Option<PathBuf> {
    let text = r.text(&keys::GATEWAY_DATA_DIR)?;
    let path = r.beside(&text.value);
    let length = path.as_os_str().len();
    if path.exists() && !path.is_dir() {
        r.error(&keys::GATEWAY_DATA_DIR, text.line, Fault::NotDirectory(path.clone()));
    } else if length > LONGEST_DATA_DIR {
        let fault = Fault::PathTooLong { path: path.clone(), length, most: LONGEST_DATA_DIR };
        r.error(&keys::GATEWAY_DATA_DIR, text.line, fault);
    } else if path.starts_with("/etc") {
        r.warn(&keys::GATEWAY_DATA_DIR, text.line, Fault::DataInEtc(path.clone()));
    }
    Some(path)
}

fn smtp(r: &mut Reader<'_>, gateway: Option<&Gateway>) -> Option<Smtp> {
    let listen = r.list(&keys::SMTP_LISTEN);
    let listen = r.check_each(&keys::SMTP_LISTEN, listen, names::mail_listen);
    let recipients = match r.list(&keys::SMTP_RECIPIENTS) {
        Some(list) if list.value.is_empty() => {
            let fault =
                Fault::Empty("nobody could post; write the addresses that people mail to, or remove the key");
            r.error(&keys::SMTP_RECIPIENTS, list.line, fault);
            None
        }
        Some(list) => r.check_each(&keys::SMTP_RECIPIENTS, Some(list), names::posting_address),
        None => gateway.map(|g| Found { value: vec![g.mail_address.clone()], line: None }),
    };
    let trusted = r.list(&keys::SMTP_TRUSTED);
    let trusted = r.check_each(&keys::SMTP_TRUSTED, trusted, names::network);
    let relays = r.list(&keys::SMTP_RELAYS);
    let relays = r.check_each(&keys::SMTP_RELAYS, relays, names::network);
    if let (Some(trusted), Some(relays)) = (&trusted, &relays) {
        for network in &trusted.value {
            let name = names::network_text(network);
            if network.prefix_len() == 0 {
                r.warn(&keys::SMTP_TRUSTED, trusted.line, Fault::EverybodyTrusted(name));
            } else if let Some(relay) =
                relays.value.iter().find(|relay| network.contains(*relay) || relay.contains(network))
            {
                let fault = Fault::RelayTrusted { network: name, relay: names::network_text(relay) };
                r.warn(&keys::SMTP_TRUSTED, trusted.line, fault);
            }
        }
    }
    let authserv_id = r.text(&keys::SMTP_AUTHSERV_ID);
    let authserv_id = r.check(&keys::SMTP_AUTHSERV_ID, authserv_id, |text| names::host_name(text));
    let max_message = r.size(&keys::SMTP_MAX_MESSAGE);
    let max_connections = r.integer(&keys::SMTP_MAX_CONNECTIONS);
    let max_connections_per_ip = r.integer(&keys::SMTP_MAX_PER_IP);
    let tls = r.tls(&keys::SMTP_TLS).map(|found| self::tls(r, &keys::SMTP_TLS, &found));
    let (lmtp, listen): (Vec<_>, Vec<_>) = listen?.value.into_iter().partition(|(lmtp, _)| *lmtp);
    let addresses = |these: Vec<(bool, SocketAddr)>| these.into_iter().map(|(_, address)| address).collect();
    Some(Smtp {
        listen: addresses(listen),
        lmtp: addresses(lmtp),
        recipients: recipients?.value,
        trusted_networks: trusted?.value,
        relays: relays?.value,
        authserv_id: authserv_id.map(|id| id.value).or_else(|| gateway.map(|g| g.hostname.clone()))?,
        max_message: whole(max_message?.value),
        max_connections: whole(max_connections?.value),
        max_connections_per_ip: whole(max_connections_per_ip?.value),
        tls,
    })
}

fn filter(r: &mut Reader<'_>, smtp: Option<&Smtp>) -> Option<Filter> {
    let listen = r.text(&keys::FILTER_LISTEN);
    let listen = r.check(&keys::FILTER_LISTEN, listen, |text| names::listen(text));
    let next_hop = r.text(&keys::FILTER_NEXT_HOP);
    let next_hop = r.check(&keys::FILTER_NEXT_HOP, next_hop, |text| names::next_hop(text));
    if let (Some(listen), Some(next_hop), Some(smtp)) = (&listen, &next_hop, smtp) {
        let to = Smarthost {
            security: Security::None,
            host: next_hop.value.ip().to_string(),
            port: next_hop.value.port(),
        };
        let ours = smtp.listen.iter().chain(&smtp.lmtp).chain([&listen.value]);
        if ours.into_iter().any(|ours| is_reached_by(ours, &to)) {
            let line = next_hop.line.or(listen.line);
            r.error(&keys::FILTER_NEXT_HOP, line, Fault::PassesToItself(next_hop.value.to_string()));
        }
    }
    let clients = r.list(&keys::FILTER_CLIENTS);
    let clients = r.check_each(&keys::FILTER_CLIENTS, clients, names::network);
    if let Some(clients) = &clients
        && let Some(all) = clients.value.iter().find(|network| network.prefix_len() == 0)
    {
        r.error(&keys::FILTER_CLIENTS, clients.line, Fault::OpenFilter(names::network_text(all)));
    }
    let mode =
        r.choice(&keys::FILTER_MODE, &[("shadow", Mode::Shadow), ("copy", Mode::Copy), ("take", Mode::Take)]);
    let on_error = r.choice(&keys::FILTER_ON_ERROR, &[("defer", OnError::Defer), ("pass", OnError::Pass)]);
    let refusals = r.choice(&keys::FILTER_REFUSALS, &[("defer", false), ("pass", true)]);
    let learn = r.word_or_list(&keys::FILTER_LEARN, &[("none", Learn::Nothing), ("all", Learn::All)])?;
    let line = learn.line;
    let learn = match learn.value {
        Ok(word) => word,
        Err(list) => {
            let list = Some(Found { value: list, line });
            Learn::Lists(r.check_each(&keys::FILTER_LEARN, list, names::list_id)?.value)
        }
    };
    if learn != Learn::Nothing && mode.as_ref().is_some_and(|mode| mode.value == Mode::Shadow) {
        r.warn(&keys::FILTER_LEARN, line, Fault::LearnsInShadow);
    }
    Some(Filter {
        listen: listen.map(|found| found.value),
        next_hop: next_hop?.value,
        clients: clients?.value,
        mode: mode?.value,
        on_error: on_error?.value,
        pass_refusals: refusals?.value,
        learn,
    })
}

fn authentication(r: &mut Reader<'_>) -> Option<Authentication> {
    let verify = r.truth(&keys::AUTH_VERIFY);
    let dns = r.list(&keys::AUTH_DNS);
    let dns = r.check_each(&keys::AUTH_DNS, dns, names::name_server);
    let deadline = r.duration(&keys::AUTH_DEADLINE);
    let sealers = r.list(&keys::AUTH_SEALERS);
    let sealers = r.check_each(&keys::AUTH_SEALERS, sealers, names::host_name);
    Some(Authentication {
        verify: verify?.value,
        dns: dns?.value,
        deadline: deadline?.value,
        arc_sealers: sealers?.value,
    })
}

/// Two files that are tried as what TLS sessions are accepted with.
pub(super) fn tls(r: &mut Reader<'_>, of: &'static keys::Key, found: &Found<(PathBuf, PathBuf)>) -> TlsFiles {
    let (certificate, key) = &found.value;
    let files = TlsFiles { certificate: r.beside(certificate), key: r.beside(key) };
    match files.acceptor() {
        Ok(_) => warn_if_readable(r, of, found.line, &files.key),
        Err(error) => r.error(of, found.line, error.into()),
    }
    files
}

pub(super) fn warn_if_readable(
    r: &mut Reader<'_>,
    key: &'static keys::Key,
    line: Option<usize>,
    path: &Path,
) {
    if let Some(mode) = files::readable_by_others(path) {
        r.warn(key, line, Fault::ReadableByOthers { path: path.to_path_buf(), mode });
    }
}

fn send(r: &mut Reader<'_>, gateway: Option<&Gateway>, smtp: Option<&Smtp>) -> Option<Send> {
    let smarthost = r.text(&keys::SEND_SMARTHOST);
    let smarthost = r.check(&keys::SEND_SMARTHOST, smarthost, |text| names::smarthost(text));
    let direct = direct(r, smarthost.as_ref().and_then(|found| found.line))?;
    if let (Some(found), Some(smtp), None) = (&smarthost, smtp, &direct)
        && smtp.listen.iter().any(|listen| is_reached_by(listen, &found.value))
    {
        let at = format!("{}:{}", found.value.host, found.value.port);
        r.error(&keys::SEND_SMARTHOST, found.line, Fault::SendsToItself(at));
    }
    let from = r.text(&keys::SEND_FROM);
    let from = r.check(&keys::SEND_FROM, from, |text| names::mail_address(text));
    let from = from.or_else(|| gateway.map(|g| Found { value: g.mail_address.clone(), line: None }));
    if let (Some(from), Some(gateway)) = (&from, gateway)
        && domain_of(&from.value) != domain_of(&gateway.mail_address)
    {
        let domain = domain_of(&gateway.mail_address).to_owned();
        r.warn(&keys::SEND_FROM, from.line, Fault::OtherDomain { from: from.value.clone(), domain });
    }
    let ca_file = r.text(&keys::SEND_CA_FILE).map(|found| found.with(r.beside(&found.value)));
    if let Some(found) = &ca_file
        && let Err(error) = files::check_certificates(&found.value)
    {
        r.error(&keys::SEND_CA_FILE, found.line, error.into());
    }
    let login = login::login(r, smarthost.as_ref().map(|found| &found.value));
    let first = r.duration(&keys::SEND_RETRY_FIRST);
    let max = r.duration(&keys::SEND_RETRY_MAX);
    let give_up = r.duration(&keys::SEND_GIVE_UP);
    let longer = "longer than";
    r.doubt_if_more((&keys::SEND_RETRY_FIRST, &first), (&keys::SEND_RETRY_MAX, &max), longer, time);
    r.doubt_if_more((&keys::SEND_RETRY_MAX, &max), (&keys::SEND_GIVE_UP, &give_up), longer, time);
    if let (Some(_), Some(_)) = (&direct, &login) {
        let line = r.line(&keys::SEND_USER);
        r.error(&keys::SEND_USER, line, Fault::Login("of no use with direct = true"));
    }
    Some(Send {
        smarthost: smarthost?.value,
        direct,
        from: from?.value,
        ca_file: ca_file.map(|found| found.value),
        login,
        retry_first: first?.value,
        retry_max: max?.value,
        give_up: give_up?.value,
    })
}

/// `[send] direct` and what belongs to it. The outer none: something is wrong with it.
fn direct(r: &mut Reader<'_>, smarthost: Option<usize>) -> Option<Option<Direct>> {
    let wanted = r.truth(&keys::SEND_DIRECT);
    let port = r.integer(&keys::SEND_DIRECT_PORT);
    let networks = r.list(&keys::SEND_DIRECT_NETWORKS);
    let networks = r.check_each(&keys::SEND_DIRECT_NETWORKS, networks, names::network);
    let wanted = wanted?;
    if wanted.value && smarthost.is_some() {
        r.error(&keys::SEND_DIRECT, wanted.line, Fault::DirectBySmarthost);
    }
    let direct = Direct { port: u16::try_from(port?.value).unwrap_or(25), networks: networks?.value };
    Some(wanted.value.then_some(direct))
}

/// Whether mail to `to` arrives at a listener on `listen`, as far as the two texts tell.
fn is_reached_by(listen: &SocketAddr, to: &Smarthost) -> bool {
    let local = to.host.eq_ignore_ascii_case("localhost");
    let ip = to.host.parse::<std::net::IpAddr>().ok();
    let here = ip.map_or(local, |ip| ip == listen.ip() || (listen.ip().is_unspecified() && ip.is_loopback()));
    let here = here || (local && (listen.ip().is_loopback() || listen.ip().is_unspecified()));
    listen.port() == to.port && listen.port() != 0 && here
}

fn policy(r: &mut Reader<'_>) -> Option<Policy> {
    let who = r.choice(
        &keys::POLICY_WHO_MAY_POST,
        &[
            ("anyone", WhoMayPost::Anyone),
            ("authenticated", WhoMayPost::Authenticated),
            ("listed", WhoMayPost::Listed),
        ],
    );
    let listed = r.list(&keys::POLICY_LISTED);
    let listed = r.check_each(&keys::POLICY_LISTED, listed, names::author);
    if let (Some(who), Some(listed)) = (&who, &listed) {
        match (who.value, listed.value.is_empty()) {
            (WhoMayPost::Listed, true) => {
                r.warn(&keys::POLICY_LISTED, listed.line.or(who.line), Fault::NobodyMayPost)
            }
            (WhoMayPost::Anyone, false) => {
                r.warn(&keys::POLICY_LISTED, listed.line, Fault::ListUnused("anyone".to_owned()))
            }
            (WhoMayPost::Authenticated, false) => {
                r.warn(&keys::POLICY_LISTED, listed.line, Fault::ListUnused("authenticated".to_owned()));
            }
            _ => (),
        }
    }
    let answer = r.rate(&keys::POLICY_ANSWER_AT_MOST);
    let post = r.rate(&keys::POLICY_POST_AT_MOST);
    let unproven = r.rate(&keys::POLICY_UNPROVEN_AT_MOST);
    let peer = r.rate(&keys::POLICY_PEER_AT_MOST);
    let forwarded = r.choice(&keys::POLICY_FORWARDED, &[("read", true), ("ignore", false)]);
    let skew = r.duration(&keys::POLICY_CLOCK_SKEW);
    Some(Policy {
        who_may_post: who?.value,
        listed: listed?.value,
        answer_at_most: answer?.value,
        post_at_most: post?.value,
        unproven_at_most: unproven?.value,
        peer_at_most: peer?.value,
        read_forwarded: forwarded?.value,
        clock_skew: skew?.value,
    })
}

fn people(r: &mut Reader<'_>, policy: Option<&Policy>) -> Option<People> {
    let first =
        r.choice(&keys::PEOPLE_FIRST_POST, &[("ask", FirstPost::Ask), ("publish", FirstPost::Publish)]);
    if let (Some(first), Some(policy)) = (&first, policy)
        && first.value == FirstPost::Publish
        && policy.who_may_post == WhoMayPost::Anyone
    {
        r.warn(&keys::PEOPLE_FIRST_POST, first.line, Fault::AnyonePublishes);
    }
    let origin = r.choice(&keys::PEOPLE_ORIGIN, &[("alias", Origin::Alias), ("address", Origin::Address)]);
    let later = r.duration(&keys::PEOPLE_LATER_MATCHES);
    let digest = r.duration(&keys::PEOPLE_DIGEST);
    Some(People {
        first_post: first?.value,
        origin: origin?.value,
        later_matches: later?.value,
        digest: digest?.value,
    })
}

fn routing(r: &mut Reader<'_>, own: &[Option<&Address>]) -> Option<Routing> {
    let pinned = r.list(&keys::ROUTING_PINNED);
    let pinned = r.check_each(&keys::ROUTING_PINNED, pinned, |text| {
        let address = transports::peer_address(text)?;
        match own.iter().flatten().any(|ours| ours.same_place(&address)) {
            true => Err(Fault::PinsItself(text.to_owned())),
            false => Ok(address),
        }
    });
    let metric = r.choice(
        &keys::ROUTING_METRIC,
        &[
            ("gain", Metric::Gain),
            ("one-sided", Metric::OneSided),
            ("normalised", Metric::Normalised),
            ("raw", Metric::Raw),
        ],
    );
    let matches = r.integer(&keys::ROUTING_MATCHES);
    let answers = r.integer(&keys::ROUTING_ANSWERS);
    let age = r.number(&keys::ROUTING_AGE);
    let first_walks = r.integer(&keys::ROUTING_FIRST_WALKS);
    let max_hops = r.integer(&keys::ROUTING_MAX_HOPS);
    let walk_age = r.duration(&keys::ROUTING_WALK_AGE);
    let no_signal =
        r.choice(&keys::ROUTING_NO_SIGNAL, &[("random", NoSignal::Random), ("discard", NoSignal::Discard)]);
    let alternatives = r.integer(&keys::ROUTING_ALTERNATIVES);
    let strong_match = r.number(&keys::ROUTING_STRONG_MATCH);
    let contacts = r.integer(&keys::ROUTING_CONTACTS);
    let policy = r.choice(&keys::ROUTING_POLICY, &[("walk", Strategy::Walk), ("literal", Strategy::Literal)]);
    let max_forwards = r.integer(&keys::ROUTING_MAX_FORWARDS);
    let compensation = r.truth(&keys::ROUTING_COMPENSATION);
    let close_margin = r.number(&keys::ROUTING_CLOSE_MARGIN);
    let close_peers = r.integer(&keys::ROUTING_CLOSE_PEERS);
    let most = (&keys::ROUTING_MAX_FORWARDS, &max_forwards);
    r.doubt_if_more((&keys::ROUTING_FIRST_WALKS, &first_walks), most, "more than", u64::to_string);
    Some(Routing {
        policy: RoutingPolicy {
            metric: metric?.value,
            matches: whole(matches?.value),
            answers: whole(answers?.value),
            age: age?.value,
            first_walks: whole(first_walks?.value),
            max_hops: whole(max_hops?.value),
            walk_age: walk_age?.value,
            no_signal: no_signal?.value,
            alternatives: whole(alternatives?.value),
            strong_match: strong_match?.value,
            contacts: whole(contacts?.value),
            policy: policy?.value,
            max_forwards: whole(max_forwards?.value),
            compensation: compensation.map(|found| found.value),
            close_margin: close_margin?.value,
            close_peers: whole(close_peers?.value),
        },
        pinned: pinned?.value,
    })
}

fn pool(r: &mut Reader<'_>, smtp: Option<&Smtp>) -> Option<Pool> {
    let max_messages = r.integer(&keys::POOL_MAX_MESSAGES);
    let max_bytes = r.size(&keys::POOL_MAX_BYTES);
    if let (Some(bytes), Some(smtp)) = (&max_bytes, smtp)
        && bytes.value < u64::try_from(smtp.max_message).unwrap_or(u64::MAX)
        && bytes.line.is_some()
        && r.line(&keys::SMTP_MAX_MESSAGE).is_some()
    {
        let limit = show_size(u64::try_from(smtp.max_message).unwrap_or(u64::MAX));
        let value = show_size(bytes.value);
        let other = keys::SMTP_MAX_MESSAGE.title();
        r.warn(
            &keys::POOL_MAX_BYTES,
            bytes.line,
            Fault::Contradicts { value, relation: "less than", other, limit },
        );
    }
    let remember_ids = r.duration(&keys::POOL_REMEMBER_IDS);
    let keep_raw = r.duration(&keys::POOL_KEEP_RAW);
    Some(Pool {
        max_messages: whole(max_messages?.value),
        max_bytes: max_bytes?.value,
        remember_ids: remember_ids?.value,
        keep_raw: keep_raw?.value,
    })
}

fn log(r: &mut Reader<'_>) -> Option<Log> {
    let format = r.choice(&keys::LOG_FORMAT, &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    let level = r.choice(
        &keys::LOG_LEVEL,
        &[
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ],
    );
    Some(Log { format: format?.value, level: level?.value })
}

fn time(duration: &Duration) -> String {
    show_duration(*duration)
}

fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// The ranges of the keys are far below what a word holds on any machine this runs on.
fn whole(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
