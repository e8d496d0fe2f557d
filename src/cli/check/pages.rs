//! The pages: whether their address can be had, and who may log in.

use super::{Line, net};
use crate::config::Config;
use crate::web::Users;

/// Nothing if there are to be no pages.
pub(super) fn pages(config: &Config, running: bool) -> Vec<Line> {
    const NAME: &str = "pages";
    let web = &config.web;
    let Some(listen) = web.listen else { return Vec::new() };
    let mut lines = vec![net::bind(listen, running)];
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        Users::parse(&text).map_err(|error| error.to_string())
    };
    lines.push(match &web.users {
        None => Line::ok(NAME, "anybody on this machine reads them, and nobody changes anything".to_owned()),
        Some(path) => match read(path) {
            Err(error) => Line::wrong(NAME, format!("{}: {error}", path.display()), "cmr-mail web-user NAME"),
            Ok(users) if users.is_empty() => {
                Line::warn(NAME, format!("{} names nobody", path.display()), "cmr-mail web-user NAME")
            }
            Ok(_) if web.reads_openly() => {
                Line::ok(NAME, "anybody on this machine reads them; changes need a login".to_owned())
            }
            Ok(_) => Line::ok(NAME, "they need a login".to_owned()),
        },
    });
    lines
}
