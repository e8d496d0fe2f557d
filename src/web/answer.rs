//! A request and a reply as values.

use std::net::IpAddr;

/// What is wanted of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET and HEAD.
    Get,
    /// POST.
    Post,
    /// Anything else.
    Other,
}

/// A request, as far as the site looks at it.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What is wanted.
    pub method: Method,
    /// The path, percent signs undone.
    pub path: String,
    /// The parameters behind the question mark.
    pub query: Vec<(String, String)>,
    /// The fields of a form.
    pub form: Vec<(String, String)>,
    /// `Host`.
    pub host: Option<String>,
    /// `Cookie`.
    pub cookie: Option<String>,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// `Origin`.
    pub origin: Option<String>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<String>,
    /// `X-Forwarded-For`.
    pub forwarded_for: Option<String>,
    /// `X-Forwarded-Proto`.
    pub forwarded_proto: Option<String>,
    /// Who is at the other end of the connection.
    pub peer: IpAddr,
    /// The connection is encrypted by ourselves.
    pub tls: bool,
}

impl Ask {
    /// A GET without anything else, from this machine.
    #[must_use]
    pub fn get(path: &str) -> Ask {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Ask {
            method: Method::Get,
            path: path.to_owned(),
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            form: Vec::new(),
            host: Some("localhost".to_owned()),
            cookie: None,
            authorization: None,
            origin: None,
            fetch_site: None,
            forwarded_for: None,
            forwarded_proto: None,
            peer: IpAddr::from([127, 0, 0, 1]),
            tls: false,
        }
    }

    /// The first parameter of this name.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first field of this name.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The media type of the body.
    pub media_type: &'static str,
    /// Other header fields.
    pub fields: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The pages' policy: nothing but what this site itself serves, no frame around it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

impl Reply {
    /// A body of this type; nothing of it may be kept by a cache.
    pub(super) fn new(status: u16, media_type: &'static str, body: impl Into<Vec<u8>>) -> Reply {
        let fields = vec![
            ("content-security-policy", POLICY.to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
            // Not "no-referrer": browsers then call the origin of our own forms "null".
            ("referrer-policy", "same-origin".to_owned()),
            ("cross-origin-opener-policy", "same-origin".to_owned()),
            ("cross-origin-resource-policy", "same-origin".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ];
        Reply { status, media_type, fields, body: body.into() }
    }

    /// A page.
    pub(super) fn page(status: u16, html: String) -> Reply {
        Reply::new(status, "text/html; charset=utf-8", html)
    }

    /// A sentence.
    pub(super) fn text(status: u16, sentence: &str) -> Reply {
        Reply::new(status, "text/plain; charset=utf-8", format!("{sentence}\n"))
    }

    /// Go there, by GET.
    pub(super) fn see(place: &str) -> Reply {
        Reply::text(303, "see the other page").with("location", place)
    }

    /// With one more header field.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.fields.push((name, value.into()));
        self
    }

    /// A header field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }
}
