//! The site without a socket: a request in, a reply out.
//!
//! It knows which path shows what. It must never know how a request came here.

use super::access::{Access, Rules, Users, Visitor};
use super::answer::{Ask, Method, Reply};
use super::{api, pages};
use crate::gateway::api::{Failure, QueueAction, Request, Response};
use crate::message::UnixTime;
use crate::metrics;

/// What the site asks of the gateway.
pub trait House: Send + Sync + 'static {
    /// Carries a request out, as for a verb. Blocks.
    ///
    /// # Errors
    /// The sentence for a person, and the exit code of the verb.
    fn ask(&self, request: Request) -> Response;

    /// The metrics as they are now.
    ///
    /// # Errors
    /// The database can't be read.
    fn scrape(&self) -> Result<String, Failure>;

    /// A request was answered with this status code.
    fn answered(&self, status: u16);

    /// The present.
    fn now(&self) -> UnixTime;
}

/// The longest text that is searched for, in bytes.
const LONGEST_QUERY: usize = 16 << 10;

const STYLE: &str = include_str!("templates/style.css");
const SCRIPT: &str = include_str!("templates/page.js");
const MARK: &str = include_str!("templates/mark.svg");

/// The pages of one gateway.
#[derive(Debug)]
pub struct Site<H> {
    pub(super) house: H,
    pub(super) access: Access,
    pages: pages::Pages,
}

impl<H: House> Site<H> {
    /// The site of this gateway.
    pub fn new(house: H, rules: Rules, users: Users) -> Site<H> {
        Site { house, access: Access::new(rules, users), pages: pages::Pages::new() }
    }

    /// Whether requests of many come from this address.
    pub(super) fn is_proxy(&self, ip: std::net::IpAddr) -> bool {
        self.access.is_proxy(ip)
    }

    /// From now on by these rules and for these users; the address that it listens on stays.
    pub fn change(&self, rules: Rules, users: Users) {
        self.access.change(rules, users);
    }

    /// Answers a request. Blocks as long as the gateway does.
    pub fn answer(&self, ask: &Ask) -> Reply {
        let reply = self.admitted(ask).unwrap_or_else(|refusal| refusal);
        self.house.answered(reply.status);
        reply
    }

    fn admitted(&self, ask: &Ask) -> Result<Reply, Reply> {
        let now = self.house.now();
        let encrypted = self.access.admit(ask)?;
        if ask.method == Method::Other {
            return Err(Reply::text(405, "GET and POST are understood here").with("allow", "GET, HEAD, POST"));
        }
        let steps: Vec<&str> = ask.path.split('/').filter(|step| !step.is_empty()).collect();
        if let (Method::Get, ["static", name]) = (ask.method, steps.as_slice()) {
            return fixed(name).ok_or_else(not_found);
        }
        let visitor = self.access.visitor(ask, encrypted, now)?;
        match (ask.method, steps.as_slice()) {
            (Method::Get, ["login"]) => return Ok(self.login_page(ask, &visitor, 200, "")),
            (Method::Post, ["login"]) => return self.log_in(ask, &visitor, now),
            (Method::Post, ["logout"]) => {
                self.access.may_change(ask, &visitor)?;
                return Ok(Reply::see("/").with("set-cookie", self.access.log_out(ask)));
            }
            _ => {}
        }
        let for_programs = matches!(steps.first(), Some(&("api" | "metrics")));
        if visitor.user.is_none() && !self.access.reads_openly() {
            return Err(if for_programs {
                Reply::text(401, "this needs a name and a password (HTTP Basic)")
            } else {
                Reply::see("/login")
            });
        }
        match (ask.method, steps.as_slice()) {
            (Method::Get, ["metrics"]) => match self.house.scrape() {
                Ok(text) => Ok(Reply::new(200, metrics::MEDIA_TYPE, text)),
                Err(failure) => Err(Reply::text(status(&failure), &failure.sentence)),
            },
            (_, ["api", rest @ ..]) => api::answer(self, ask, &visitor, rest),
            (Method::Post, ["queue", rest @ ..]) => self.change_queue(ask, &visitor, rest),
            (Method::Get, steps) => self.show(ask, &visitor, steps),
            _ => Err(not_found()),
        }
    }

    fn show(&self, ask: &Ask, visitor: &Visitor, steps: &[&str]) -> Result<Reply, Reply> {
        let page = match steps {
            [] | ["search"] => self.search(ask),
            ["now"] => pages::now(&self.house),
            ["m", id] => pages::message(&self.house, id),
            ["peers"] => pages::peers(&self.house),
            ["peer"] => pages::peer(&self.house, ask.parameter("address").unwrap_or_default()),
            ["queue"] => pages::queue(&self.house, ask.parameter("all").is_some(), ask.parameter("done")),
            ["queue", number] => pages::delivery(&self.house, number.parse().unwrap_or(-1)),
            ["asides"] => pages::asides(&self.house),
            ["asides", number] => pages::aside(&self.house, number.parse().unwrap_or(-1)),
            ["mailboxes"] => pages::mailboxes(&self.house),
            _ => return Err(self.failed(visitor, 404, "There is no such page.")),
        };
        let part = ask.parameter("part").is_some();
        match page {
            Ok(page) => {
                Ok(Reply::page(200, self.pages.render(&page, visitor, self.access.has_users(), part)))
            }
            Err(failure) => Err(self.failed(visitor, status(&failure), &failure.sentence)),
        }
    }

    fn search(&self, ask: &Ask) -> Result<pages::Page, Failure> {
        let text = ask.parameter("q").unwrap_or_default();
        if text.len() > LONGEST_QUERY {
            return Err(Failure {
                exit: 64,
                sentence: "The text is too long to be searched for.".to_owned(),
            });
        }
        pages::search(&self.house, text)
    }

    fn failed(&self, visitor: &Visitor, status: u16, sentence: &str) -> Reply {
        let page = pages::failed(status, sentence);
        Reply::page(status, self.pages.render(&page, visitor, self.access.has_users(), false))
    }

    fn login_page(&self, ask: &Ask, visitor: &Visitor, status: u16, wrong: &str) -> Reply {
        let page = pages::login(wrong, self.access.has_users(), ask.field("name").unwrap_or_default());
        Reply::page(status, self.pages.render(&page, visitor, self.access.has_users(), false))
    }

    fn log_in(&self, ask: &Ask, visitor: &Visitor, now: UnixTime) -> Result<Reply, Reply> {
        self.access.same_site(ask)?;
        let (name, password) =
            (ask.field("name").unwrap_or_default(), ask.field("password").unwrap_or_default());
        match self.access.log_in(ask, (name, password), visitor.encrypted, now) {
            Ok(cookie) => Ok(Reply::see("/now").with("set-cookie", cookie)),
            Err(refusal) => {
                let sentence = String::from_utf8_lossy(&refusal.body).trim().to_owned();
                let mut page = self.login_page(ask, visitor, refusal.status, &sentence);
                page.fields.extend(refusal.fields.into_iter().filter(|(name, _)| *name == "retry-after"));
                Err(page)
            }
        }
    }

    fn change_queue(&self, ask: &Ask, visitor: &Visitor, steps: &[&str]) -> Result<Reply, Reply> {
        self.access.may_change(ask, visitor)?;
        let (action, name) = queue_action(steps).ok_or_else(not_found)?;
        let user = visitor.user.as_deref().unwrap_or_default();
        tracing::info!(user, action = name, delivery = steps.first(), "changed by the pages");
        match self.house.ask(Request::Queue { action }) {
            Ok(_) => Ok(Reply::see(&format!("/queue?done={name}"))),
            Err(failure) => Err(self.failed(visitor, status(&failure), &failure.sentence)),
        }
    }
}

/// `NUMBER/ACTION`, or `ACTION` alone for all.
pub(super) fn queue_action(steps: &[&str]) -> Option<(QueueAction, &'static str)> {
    let (delivery, action) = match steps {
        [action] => (None, *action),
        [number, action] => (Some(number.parse().ok()?), *action),
        _ => return None,
    };
    Some(match (action, delivery) {
        ("retry", delivery) => (QueueAction::Retry { delivery }, "retry"),
        ("release", delivery) => (QueueAction::Release { delivery }, "release"),
        ("hold", Some(delivery)) => (QueueAction::Hold { delivery }, "hold"),
        ("drop", Some(delivery)) => (QueueAction::Drop { delivery }, "drop"),
        _ => return None,
    })
}

/// The status code for what a verb would end with.
pub(super) fn status(failure: &Failure) -> u16 {
    match failure.exit {
        64 | 65 => 400,
        69 => 404,
        75 => 503,
        _ => 500,
    }
}

pub(super) fn not_found() -> Reply {
    Reply::text(404, "there is nothing here")
}

/// What is the same for everybody.
fn fixed(name: &str) -> Option<Reply> {
    let (media_type, text) = match name {
        "style.css" => ("text/css; charset=utf-8", STYLE),
        "page.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "mark.svg" => ("image/svg+xml", MARK),
        _ => return None,
    };
    let mut reply = Reply::new(200, media_type, text);
    reply.fields.retain(|(name, _)| *name != "cache-control");
    Some(reply.with("cache-control", "max-age=3600"))
}
