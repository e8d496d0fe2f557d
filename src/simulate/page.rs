//! What a run found, as a page: figures as a table, and pictures where people would rather look.
//!
//! One file without anything from elsewhere; it can be mailed.

use std::fmt::Write;

use minijinja::{AutoEscape, Environment, context};

use super::score::{Row, Way};
use super::{Outcome, Rule};

/// Colours that are told apart by everybody (Okabe, Ito 2008).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;

/// The page of one or more runs: several numbers of gateways are several runs.
///
/// # Errors
/// The template can't be filled in, which is a mistake in the program.
pub fn page(title: &str, runs: &[Outcome]) -> Result<String, minijinja::Error> {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    templates.add_template("page", include_str!("page.html"))?;
    let tables: Vec<_> = runs
        .iter()
        .map(|run| {
            let configured = Rule::Configured.to_string();
            let row = run.rows.iter().find(|row| row.policy == configured).or(run.rows.first());
            context! {
                head => format!("{} gateways, {} people, {} posts", run.gateways, run.clients, run.mails),
                conditions => run.conditions.clone(),
                rows => figures(&run.rows),
                cost => cost(&run.rows),
                time => tenths(&run.rows),
                load => load(&run.rows),
                way => row.map(|row| way(run.gateways, &row.way)).unwrap_or_default(),
                steps => row.map(|row| row.way.len()).unwrap_or(0),
                policy => row.map(|row| row.policy.clone()),
            }
        })
        .collect();
    templates.get_template("page")?.render(context! { title, runs => tables, growth => growth(runs) })
}

/// The table, as it is read.
fn figures(rows: &[Row]) -> Vec<Vec<String>> {
    let figures = |row: &Row| {
        vec![
            row.policy.clone(),
            format!("{:.3}", row.recall),
            format!("{:.3}", row.precision),
            format!("{:.2}", row.bodies_per_post),
            format!("{:.2}", row.offers_per_post),
            format!("{:.1}", row.hops_mean),
            format!("{:.1} %", row.load_max_share * 100.0),
            format!("{:.2}", row.load_max_over_mean),
            format!("{} KiB", row.pool_bytes_mean / 1024),
        ]
    };
    rows.iter().map(figures).collect()
}

/// A frame with axes: where values lie in it.
struct Frame {
    svg: String,
    across: (f64, f64),
    up: (f64, f64),
}

impl Frame {
    fn new(label: &str, across: (f64, f64), up: (f64, f64), names: (&str, &str)) -> Frame {
        let mut svg = String::new();
        let _ = writeln!(
            svg,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\" font-size=\"13\">\
             <rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{}\" height=\"{}\" class=\"frame\"/>",
            WIDTH - LEFT - RIGHT,
            HEIGHT - TOP - BOTTOM
        );
        let mut frame = Frame { svg, across, up };
        for step in 0..=4 {
            let part = f64::from(step) / 4.0;
            let (x, y) = (across.0 + part * (across.1 - across.0), up.0 + part * (up.1 - up.0));
            let (px, py) = (frame.x(x), frame.y(y));
            frame.line("grid", &[(px, HEIGHT - BOTTOM), (px, TOP)]);
            frame.line("grid", &[(LEFT, py), (WIDTH - RIGHT, py)]);
            frame.text(px, HEIGHT - BOTTOM + 18.0, "middle", &short(x));
            frame.text(LEFT - 8.0, py + 4.0, "end", &short(y));
        }
        frame.text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10.0, "middle", names.0);
        frame.text(LEFT + 6.0, TOP + 16.0, "start", names.1);
        frame
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + part(value, self.across) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - part(value, self.up) * (HEIGHT - TOP - BOTTOM)
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(self.svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
    }

    fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(self.svg, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
    }

    fn curve(&mut self, colour: &str, points: &[(f64, f64)]) {
        let placed: Vec<String> =
            points.iter().map(|(x, y)| format!("{:.1},{:.1}", self.x(*x), self.y(*y))).collect();
        let _ = writeln!(
            self.svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            placed.join(" ")
        );
    }

    fn dot(&mut self, colour: &str, x: f64, y: f64, name: &str) {
        let (x, y) = (self.x(x), self.y(y));
        let _ = writeln!(self.svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\" fill=\"{colour}\"/>");
        let (anchor, at) = if x > WIDTH * 0.75 { ("end", x - 10.0) } else { ("start", x + 10.0) };
        self.text(at, y + 4.0, anchor, name);
    }

    fn end(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }
}

fn part(value: f64, (low, high): (f64, f64)) -> f64 {
    if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 }
}

/// A number without more digits than it needs.
fn short(value: f64) -> String {
    if value.abs() >= 10.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn colours<T>(of: &[T]) -> impl Iterator<Item = (&T, &'static str)> {
    of.iter().zip(COLOURS.iter().copied().cycle())
}

/// Recall against cost: up and left is good.
fn cost(rows: &[Row]) -> String {
    let bodies = rows.iter().map(|row| row.bodies_per_post).fold(1.0, f64::max);
    let recall = rows.iter().map(|row| row.recall).fold(0.1, f64::max);
    let names = ("bodies per post", "recall");
    let mut frame = Frame::new(
        "recall against bodies per post",
        (0.0, bodies * 1.05),
        (0.0, (recall * 1.2).min(1.0)),
        names,
    );
    for (row, colour) in colours(rows) {
        frame.dot(colour, row.bodies_per_post, row.recall, &row.policy);
    }
    frame.end()
}

/// Recall over the run: does a rule lock in?
fn tenths(rows: &[Row]) -> String {
    let best = rows.iter().flat_map(|row| &row.recall_by_tenth).copied().fold(0.1, f64::max);
    let names = ("tenth of the traffic", "recall");
    let mut frame = Frame::new("recall over the run", (1.0, 10.0), (0.0, (best * 1.2).min(1.0)), names);
    for (row, colour) in colours(rows) {
        let points: Vec<(f64, f64)> = (1..).map(f64::from).zip(row.recall_by_tenth.iter().copied()).collect();
        frame.curve(colour, &points);
    }
    frame.end()
}

/// Posts at each gateway, the busiest first.
fn load(rows: &[Row]) -> String {
    let most = rows.iter().flat_map(|row| row.load.first()).copied().max().unwrap_or(1) as f64;
    let names = ("gateways, the busiest first (%)", "posts");
    let mut frame = Frame::new("posts at each gateway", (0.0, 100.0), (0.0, most), names);
    for (row, colour) in colours(rows).filter(|(row, _)| row.load.len() > 1) {
        let last = (row.load.len() - 1) as f64;
        let points: Vec<(f64, f64)> = row
            .load
            .iter()
            .enumerate()
            .map(|(at, posts)| (at as f64 * 100.0 / last, *posts as f64))
            .collect();
        frame.curve(colour, &points);
    }
    frame.end()
}

/// Bodies against the number of gateways, if there are several.
fn growth(runs: &[Outcome]) -> String {
    if runs.len() < 2 {
        return String::new();
    }
    let names: Vec<String> =
        runs.first().into_iter().flat_map(|run| &run.rows).map(|row| row.policy.clone()).collect();
    let log = |n: usize| (n.max(1) as f64).log10();
    let across = runs
        .iter()
        .map(|run| log(run.gateways))
        .fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    let found = |name: &str| -> Vec<(f64, f64)> {
        let point = |run: &Outcome| {
            let row = run.rows.iter().find(|row| row.policy == name)?;
            Some((log(run.gateways), row.bodies_per_post))
        };
        runs.iter().filter_map(point).collect()
    };
    let most = names.iter().flat_map(|name| found(name)).map(|(_, bodies)| bodies).fold(1.0, f64::max);
    let labels = ("gateways, as a power of ten", "bodies per post");
    let mut frame = Frame::new("bodies by number of gateways", across, (0.0, most * 1.05), labels);
    for (name, colour) in colours(&names) {
        frame.curve(colour, &found(name));
    }
    frame.end()
}

/// The way of one post through the network: gateways on a circle, those that it never saw as dots.
fn way(gateways: usize, steps: &[Way]) -> String {
    const SIDE: f64 = 640.0;
    /// More dots than these are no picture.
    const DOTS: usize = 400;
    if steps.is_empty() {
        return String::new();
    }
    let mut met: Vec<u32> = Vec::new();
    for gateway in steps.iter().flat_map(|step| [step.from, step.to]) {
        if !met.contains(&gateway) {
            met.push(gateway);
        }
    }
    // Those that were met stand apart evenly among the others, in the order in which it met them.
    let dots = gateways.clamp(met.len(), DOTS.max(met.len()));
    let gap = (dots / met.len()).max(1);
    let place = |at: usize| {
        let angle = at as f64 / dots as f64 * std::f64::consts::TAU - std::f64::consts::FRAC_PI_2;
        (SIDE / 2.0 + angle.cos() * 270.0, SIDE / 2.0 + angle.sin() * 270.0)
    };
    let of = |gateway: u32| place(met.iter().position(|other| *other == gateway).unwrap_or(0) * gap);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {SIDE} {SIDE}\" role=\"img\" aria-label=\"the way of one post\" font-size=\"13\">\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#0072b2\"/></marker></defs>\n"
    );
    for at in 0..dots {
        let (x, y) = place(at);
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\" class=\"dot\"/>");
    }
    for step in steps {
        let ((x1, y1), (x2, y2)) = (of(step.from), of(step.to));
        let (dash, colour) =
            if step.walk { ("", COLOURS[0]) } else { (" stroke-dasharray=\"4 4\"", COLOURS[1]) };
        // Short of the circle at its end, so that the tip is seen.
        let length = ((x2 - x1).powi(2) + (y2 - y1).powi(2)).sqrt().max(1.0);
        let (ex, ey) = (x2 - (x2 - x1) / length * 12.0, y2 - (y2 - y1) / length * 12.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{ex:.1}\" y2=\"{ey:.1}\" stroke=\"{colour}\" \
             stroke-width=\"1.6\" marker-end=\"url(#tip)\"{dash}/>"
        );
    }
    for (at, gateway) in met.iter().enumerate() {
        let (x, y) = place(at * gap);
        let first = steps.first().is_some_and(|step| step.from == *gateway);
        let colour = if first { COLOURS[2] } else { COLOURS[0] };
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"11\" fill=\"{colour}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#fff\" font-size=\"10\">{gateway}</text>",
            y + 3.5
        );
    }
    svg.push_str("</svg>");
    svg
}
