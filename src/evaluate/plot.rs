//! A plot of lines on two logarithmic axes, as SVG.

use super::growth::Point;
use std::fmt::Write;

/// What is drawn.
#[derive(Clone, Debug, Default)]
pub struct Plot {
    /// Above it.
    pub title: String,
    /// Below the horizontal axis.
    pub across: String,
    /// Above the vertical axis.
    pub up: String,
    /// The lines, in the order of the legend.
    pub lines: Vec<Line>,
}

/// A line through points; those that are not positive are left out.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Across and up.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 430.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;

/// Colours that are told apart by everybody (Okabe, Ito 2008).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000"];

/// An axis of powers of ten.
#[derive(Clone, Copy)]
struct Axis {
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Axis {
        let (mut low, mut high) = (i32::MAX, i32::MIN);
        for value in values.filter(|value| value.is_finite() && *value > 0.0) {
            low = low.min(exponent(value.log10().floor()));
            high = high.max(exponent(value.log10().ceil()));
        }
        if low > high {
            (low, high) = (0, 1);
        }
        Axis { low, high: high.max(low + 1), from, to }
    }

    fn place(self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        self.from + share * (self.to - self.from)
    }
}

fn exponent(log: f64) -> i32 {
    #[allow(clippy::cast_possible_truncation, reason = "the logarithm of a finite positive number")]
    let exponent = log as i32;
    exponent
}

impl Plot {
    /// The growth of the router's time beside that of the deflate scan.
    #[must_use]
    pub fn of_growth(across: &str, points: &[Point]) -> Plot {
        let line = |name: &str, value: fn(&Point) -> f64| Line {
            name: name.to_owned(),
            points: points.iter().map(|point| (point.size as f64, value(point))).collect(),
        };
        Plot {
            title: format!("CPU time of a question by number of {across}"),
            across: across.to_owned(),
            up: "microseconds".to_owned(),
            lines: vec![
                line("router, mean", |point| point.mean),
                line("router, 99th percentile", |point| point.p99),
                line("deflate scan", |point| point.scan),
            ],
        }
    }

    /// The picture.
    #[must_use]
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let across = Axis::new(points().map(|(x, _)| x), LEFT, WIDTH - RIGHT);
        let up = Axis::new(points().map(|(_, y)| y), HEIGHT - BOTTOM, TOP);
        let mut out = String::new();
        let _ = writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>"
        );
        text(&mut out, LEFT, 20.0, "start", "font-size=\"15\"", &self.title);
        text(&mut out, LEFT, 40.0, "start", "fill=\"#555\"", &self.up);
        text(&mut out, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10.0, "middle", "fill=\"#555\"", &self.across);
        for power in across.low..=across.high {
            let x = across.place(10_f64.powi(power));
            grid(&mut out, [x, TOP, x, HEIGHT - BOTTOM]);
            text(&mut out, x, HEIGHT - BOTTOM + 18.0, "middle", "", &label(power));
        }
        for power in up.low..=up.high {
            let y = up.place(10_f64.powi(power));
            grid(&mut out, [LEFT, y, WIDTH - RIGHT, y]);
            text(&mut out, LEFT - 8.0, y + 4.0, "end", "", &label(power));
        }
        for (n, (line, colour)) in self.lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let places: Vec<(f64, f64)> = line
                .points
                .iter()
                .filter(|(x, y)| *x > 0.0 && *y > 0.0)
                .map(|(x, y)| (across.place(*x), up.place(*y)))
                .collect();
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            );
            for (x, y) in places {
                let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
            let y = TOP + 10.0 + 20.0 * n as f64;
            let x = WIDTH - RIGHT + 12.0;
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{}\" width=\"12\" height=\"4\" fill=\"{colour}\"/>",
                y - 6.0
            );
            text(&mut out, x + 18.0, y, "start", "", &line.name);
        }
        out.push_str("</svg>\n");
        out
    }
}

fn grid(out: &mut String, [x1, y1, x2, y2]: [f64; 4]) {
    let _ =
        writeln!(out, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>");
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, more: &str, words: &str) {
    let safe = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {more}>{safe}</text>");
}

/// `1,000` for 3, `0.01` for -2.
fn label(power: i32) -> String {
    match power {
        0.. => {
            let digits = 10_u64
                .checked_pow(power.unsigned_abs())
                .map_or_else(|| format!("1e{power}"), |n| n.to_string());
            let mut out = String::new();
            for (n, digit) in digits.chars().enumerate() {
                if n > 0 && (digits.len() - n).is_multiple_of(3) {
                    out.push(',');
                }
                out.push(digit);
            }
            out
        }
        _ => format!("{}", 10_f64.powi(power)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for (power, text) in [(0, "1"), (2, "100"), (3, "1,000"), (6, "1,000,000"), (-2, "0.01")] {
            assert_eq!(label(power), text);
        }
    }

    #[test]
    fn points_lie_inside_and_names_are_escaped() {
        let plot = Plot {
            title: "a < b & c".to_owned(),
            lines: vec![
                Line { name: "one".to_owned(), points: vec![(1000.0, 20.0), (1e6, 300.0), (0.0, 5.0)] },
                Line { name: "none".to_owned(), points: Vec::new() },
            ],
            ..Plot::default()
        };
        let svg = plot.svg();
        assert!(svg.contains("a &lt; b &amp; c"));
        assert_eq!(svg.matches("<circle").count(), 2, "zero has no logarithm");
        assert!(svg.contains("cx=\"70.0\"") && svg.contains("cx=\"550.0\""), "{svg}");
        assert!(Plot::default().svg().ends_with("</svg>\n"));
    }
}
