//! The HTTP client against servers that are played: what it does with redirects, with connections that
//! are kept, and with proxies; and what a name may lead to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::gate::request;
use cmr_mail::message::Address;
use cmr_mail::send::http::{Client, Deadlines, Offers, Options, Parcel, Proxies};
use cmr_mail::send::outcome::Outcome;
use cmr_mail::send::resolve::{Found, Resolve};

/// What a server does with one request.
#[derive(Clone)]
pub(crate) enum Act {
    /// Says this.
    Say(&'static str),
    /// Closes without a word.
    Close,
    /// Reads, and says nothing as long as the client waits.
    Silence,
}

/// A server with this part to play: for each connection, what it does with each request. Gives what it
/// was asked, with the number of the connection.
pub(crate) fn server(plays: Vec<Vec<Act>>) -> (SocketAddr, Receiver<(usize, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (send, asked) = channel();
    std::thread::spawn(move || {
        for (number, play) in plays.into_iter().enumerate() {
            let Ok((mut stream, _)) = listener.accept() else { return };
            for act in play {
                let Some((head, body)) = request(&mut stream) else { break };
                let request = head + &String::from_utf8_lossy(&body);
                let _ = send.send((number, request));
                match act {
                    Act::Say(text) => stream.write_all(text.as_bytes()).unwrap(),
                    Act::Close => break,
                    Act::Silence => drop(stream.read(&mut [0; 1])),
                }
            }
        }
    });
    (at, asked)
}

/// A resolver to which each name is at one place, and which writes down what it was asked.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<Mutex<Vec<String>>>, Option<SocketAddr>);

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str, _: u16) -> Found<'a> {
        self.0.lock().unwrap().push(host.to_owned());
        let place = self.1;
        Box::pin(async move { Ok(place.into_iter().collect()) })
    }
}

pub(crate) fn client(names: &Names, proxies: Proxies) -> Client {
    let deadlines = Deadlines { answer: Duration::from_millis(300), ..Deadlines::default() };
    let options = Options { proxies, deadlines, ..Options::default() };
    Client::with(options, Offers::default(), Arc::new(names.clone())).unwrap()
}

async fn upload(client: &Client, to: &str, configured: bool) -> String {
    let to = Address::try_from(to).unwrap();
    match client.upload(&Parcel { to: &to, configured, message: b"0\r\nmessage" }).await {
        Outcome::Done(reply) => format!("done {}", reply.text),
        Outcome::Fail { reason, .. } | Outcome::Unrelated { reason } => format!("never: {reason}"),
        Outcome::Retry { reason, .. } => format!("later: {reason}"),
    }
}

pub(crate) const OK: Act = Act::Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again_and_redirects_are_not_followed() {
    let redirect = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let (at, asked) = server(vec![
        vec![OK, OK, Act::Say(redirect), Act::Close],
        // The kept connection was stale: the same once more.
        vec![OK, Act::Say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")],
        vec![Act::Say("HTTP/1.1 503 Full\r\nContent-Length: 4\r\n\r\nfull"), Act::Silence],
    ]);
    let client = client(&Names::default(), Proxies::default());
    let to = format!("http://{at}/cmr?x=1");
    assert_eq!(upload(&client, &to, true).await, "done ok");
    assert_eq!(upload(&client, &to, true).await, "done ok");
    assert_eq!(upload(&client, &to, true).await, "never: HTTP 302 (redirects are not followed)");
    assert_eq!(upload(&client, &to, true).await, "done ok");
    assert_eq!(upload(&client, &to, true).await, "done ");
    assert_eq!(upload(&client, &to, true).await, "later: HTTP 503: full");
    assert_eq!(upload(&client, &to, true).await, "later: the answer took longer than 0 s");
    // Nothing listens there any more, or no longer in a moment: it is tried again later in either case.
    assert!(upload(&client, &to, true).await.starts_with("later: "));
    let asked: Vec<(usize, String)> = asked.iter().collect();
    let numbers: Vec<usize> = asked.iter().map(|it| it.0).collect();
    assert_eq!(numbers, [0, 0, 0, 0, 1, 1, 2, 2]);
    let (_, first) = &asked[0];
    assert!(first.starts_with("POST /cmr?x=1 HTTP/1.1\r\n"), "{first}");
    let head = first.to_ascii_lowercase();
    assert!(head.contains(&format!("host: {at}\r\n")), "{first}");
    assert!(head.contains("content-type: multipart/form-data; boundary=cmr-"), "{first}");
    assert!(
        first.contains(
            "name=\"file\"; filename=\"cmr.msg\"\r\nContent-Type: text/plain\r\n\r\n0\r\nmessage\r\n--"
        ),
        "{first}"
    );
}

/// A name out of a header is looked up once, and what it leads to is judged; a connection that was made
/// for an address that the operator named serves no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_leads_nowhere_inside() {
    let (at, asked) = server(vec![vec![OK, OK]]);
    let names = Names(Arc::default(), Some(at));
    let client = client(&names, Proxies::default());
    let to = format!("http://peer.example:{}/", at.port());
    for _ in 0..2 {
        let refused = upload(&client, &to, false).await;
        assert!(
            refused.starts_with("never: ") && refused.contains("not reachable from everywhere"),
            "{refused}"
        );
        assert_eq!(upload(&client, &to, true).await, "done ok");
    }
    assert_eq!(*names.0.lock().unwrap(), ["peer.example", "peer.example", "peer.example"]);
    assert_eq!(asked.try_iter().count(), 2);
    let direct = upload(&client, &format!("http://{at}/"), false).await;
    assert!(direct.contains("not reachable from everywhere"), "{direct}");
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_by_the_usual_variables() {
    let tunnel = Act::Say("HTTP/1.1 200 Connected\r\n\r\n");
    let (at, asked) = server(vec![
        vec![OK],
        vec![tunnel, OK],
        vec![Act::Say("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")],
    ]);
    let proxy = format!("http://user:secret@{at}");
    let proxies = Proxies::read(|name| (name == "all_proxy").then(|| proxy.clone())).unwrap();
    let names = Names(Arc::default(), Some("93.184.216.34:80".parse().unwrap()));
    let client = client(&names, proxies);
    // Whom the operator named the proxy looks up.
    assert_eq!(upload(&client, "http://listed.example/cmr", true).await, "done ok");
    assert!(names.0.lock().unwrap().is_empty());
    // Of others the proxy gets the IP address that was judged.
    assert_eq!(upload(&client, "http://learned.example/cmr", false).await, "done ok");
    assert_eq!(upload(&client, "https://listed.example/cmr", true).await, "later: the proxy answered 407");
    let asked: Vec<String> = asked.iter().map(|it| it.1).collect();
    let lines: Vec<&str> = asked.iter().map(|it| it.lines().next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "POST http://listed.example/cmr HTTP/1.1",
            "CONNECT 93.184.216.34:80 HTTP/1.1",
            "POST /cmr HTTP/1.1",
            "CONNECT listed.example:443 HTTP/1.1",
        ]
    );
    let login = "proxy-authorization: basic dxnlcjpzzwnyzxq=";
    let has: Vec<bool> = asked.iter().map(|it| it.to_ascii_lowercase().contains(login)).collect();
    assert_eq!(
        has,
        [true, true, false, true],
        "what goes through a tunnel does not hold the proxy's password"
    );
    assert!(asked[2].to_ascii_lowercase().contains("host: learned.example\r\n"));
}

/// What is fetched comes from where the question came, wherever the name leads by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_fetched_from_the_address_that_was_judged() {
    let (at, asked) = server(vec![vec![OK]]);
    let names = Names(Arc::default(), Some("93.184.216.34:80".parse().unwrap()));
    let client = client(&names, Proxies::default());
    let sender = Address::try_from(format!("http://peer.example:{}/cmr", at.port()).as_str()).unwrap();
    assert!(!client.leads_to(&sender, at.ip()).await);
    assert!(client.leads_to(&sender, "93.184.216.34".parse().unwrap()).await);
    let answer = client.fetch(&sender, (at.ip(), true), "key", 100).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"ok".as_slice()));
    assert!(asked.recv().unwrap().1.starts_with("GET /cmr?reply=key HTTP/1.1\r\n"));
    assert_eq!(names.0.lock().unwrap().len(), 2, "not looked up once more");
    let inside = client.fetch(&sender, (at.ip(), false), "key", 100).await.unwrap_err().to_string();
    assert!(inside.contains("not reachable from everywhere"), "{inside}");
}
