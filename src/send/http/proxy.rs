//! Proxies by the usual variables: `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::net::IpAddr;
use zeroize::Zeroizing;

use crate::message::Address;
use crate::wire::HttpTarget;

/// A proxy.
#[derive(Clone)]
pub struct Proxy {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The value of Proxy-Authorization.
    pub login: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

/// Which proxy is for which target.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    except: Vec<String>,
}

/// Why a variable names no proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is not of the form http://[USER:PASSWORD@]HOST:PORT")]
pub struct ProxyError {
    /// Which one.
    pub variable: &'static str,
}

impl Proxies {
    /// Reads the variables by `variable`. In capitals they count, too, but for HTTP_PROXY, which a
    /// client of a web server could set (CVE-2016-5385).
    ///
    /// # Errors
    /// One names no proxy.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ProxyError> {
        let either = |small: &'static str, capital: &str| {
            variable(small).or_else(|| variable(capital)).filter(|text| !text.is_empty())
        };
        let all = either("all_proxy", "ALL_PROXY").map(|text| proxy(&text, "all_proxy")).transpose()?;
        let http = variable("http_proxy").filter(|text| !text.is_empty());
        let http = http.map(|text| proxy(&text, "http_proxy")).transpose()?;
        let https =
            either("https_proxy", "HTTPS_PROXY").map(|text| proxy(&text, "https_proxy")).transpose()?;
        let except = either("no_proxy", "NO_PROXY").unwrap_or_default();
        let except =
            except.split(',').map(|one| one.trim().to_ascii_lowercase()).filter(|one| !one.is_empty());
        Ok(Proxies { http: http.or(all.clone()), https: https.or(all), except: except.collect() })
    }

    /// The proxy for a target, if it has one.
    #[must_use]
    pub fn of(&self, target: &HttpTarget) -> Option<&Proxy> {
        let proxy = if target.secure { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !self.except.iter().any(|one| is_excepted(one, &target.host)))
    }
}

fn is_excepted(one: &str, host: &str) -> bool {
    if let (Ok(network), Ok(ip)) = (one.parse::<ipnet::IpNet>(), host.parse::<IpAddr>()) {
        return network.contains(&ip);
    }
    let one = one.strip_prefix("*.").or_else(|| one.strip_prefix('.')).unwrap_or(one);
    one == "*" || host.strip_suffix(one).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

fn proxy(text: &str, variable: &'static str) -> Result<Proxy, ProxyError> {
    let wrong = || ProxyError { variable };
    let rest = text.strip_prefix("http://").unwrap_or(text);
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
    let address = Address::new(format!("http://{place}")).map_err(|_| wrong())?;
    let target = HttpTarget::parse(&address).map_err(|_| wrong())?;
    // curl's usual port.
    let port = if place.rsplit_once(']').map_or(place, |it| it.1).contains(':') { target.port } else { 1080 };
    let login = login.map(|login| Zeroizing::new(format!("Basic {}", STANDARD.encode(login))));
    (target.path == "/").then_some(Proxy { host: target.host, port, login }).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let read =
            |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
        let proxies = Proxies::read(read).unwrap();
        let target = HttpTarget::parse(&Address::try_from(url).unwrap()).unwrap();
        proxies.of(&target).map(|proxy| {
            let login = proxy.login.as_ref().map(|login| format!(" {}", login.as_str())).unwrap_or_default();
            format!("{}:{}{login}", proxy.host, proxy.port)
        })
    }

    #[test]
    fn the_usual_variables() {
        let both = [("http_proxy", "http://p.example:3128/"), ("HTTPS_PROXY", "q.example")];
        assert_eq!(of(&both, "http://a.example/").as_deref(), Some("p.example:3128"));
        assert_eq!(of(&both, "https://a.example/").as_deref(), Some("q.example:1080"));
        assert_eq!(of(&[("HTTP_PROXY", "http://p.example:3128")], "http://a.example/"), None);
        assert_eq!(of(&[("http_proxy", "")], "http://a.example/"), None);
        let all = [
            ("all_proxy", "http://u:p@[::1]:8080"),
            ("no_proxy", "b.example, .c.example,10.0.0.0/8,*.d.example"),
        ];
        assert_eq!(of(&all, "https://a.example/").as_deref(), Some("::1:8080 Basic dTpw"));
        for excepted in ["b.example", "x.b.example", "C.example", "10.1.2.3", "x.d.example"] {
            assert_eq!(of(&all, &format!("http://{excepted}/")), None, "{excepted}");
        }
        for other in ["ab.example", "11.1.2.3", "b.example.net"] {
            assert!(of(&all, &format!("http://{other}/")).is_some(), "{other}");
        }
        assert_eq!(of(&[("all_proxy", "p.example:1"), ("no_proxy", "*")], "http://a.example/"), None);
    }

    #[test]
    fn what_is_no_proxy() {
        for text in
            ["socks5://p.example:1080", "https://p.example:1", "http://p.example:0", "http://p.example:1/x"]
        {
            let read = |name: &str| (name == "https_proxy").then(|| text.to_owned());
            assert_eq!(Proxies::read(read).unwrap_err(), ProxyError { variable: "https_proxy" }, "{text}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let read = |name: &str| (name == "http_proxy").then(|| "http://u:sesame@p.example:1".to_owned());
        let shown = format!("{:?}", Proxies::read(read).unwrap());
        assert!(!shown.contains("sesame") && !shown.contains("Basic"), "{shown}");
    }
}
