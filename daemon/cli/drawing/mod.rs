//! Plain pictures by hand: axes, lines, names beside their colours, as SVG.
//!
//! A picture is a `<figure>` of a page, whose head has [`STYLE`]; [`alone`] makes a file of it.

mod axis;

use std::fmt::{self, Formatter, Write};

pub(super) use self::axis::Axis;
use crate::publish::html::Escaped;

/// Width of every picture.
pub(super) const WIDTH: f64 = 560.0;
/// Height of most.
pub(super) const HEIGHT: f64 = 280.0;
/// Edges of what is drawn within the axes.
pub(super) const LEFT: f64 = 62.0;
pub(super) const RIGHT: f64 = WIDTH - 12.0;
pub(super) const TOP: f64 = 34.0;
pub(super) const BOTTOM: f64 = HEIGHT - 44.0;

/// Points of a line, at most; a longer one is thinned out evenly.
const POINTS: usize = 400;

/// What texts and lines look like, for the head of a page or of a picture.
pub(super) const STYLE: &str = r#"svg text { fill: #1a1a1a; font: 13px system-ui, "Liberation Sans", "DejaVu Sans", sans-serif; }
svg text.soft { fill: #4d4d4d; } svg text.small { font-size: 10px; }
.grid { stroke: #e6e6e6; stroke-width: 1; } .axis { stroke: #8c8c8c; stroke-width: 1; }
.line { fill: none; stroke-linejoin: round; stroke-width: 1.8; }
"#;

/// Lines over whole numbers from 1 on, such as the steps of a horizon.
pub(super) struct Curves {
    pub(super) title: String,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    /// Where the scale begins, unless a value is below it; none where it begins at the least value.
    pub(super) base: Option<f64>,
    pub(super) lines: Vec<Line>,
}

/// One of them, step by step.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) values: Vec<f64>,
    pub(super) colour: &'static str,
    /// As SVG has it; empty for a line without gaps.
    pub(super) dashes: &'static str,
}

impl fmt::Display for Curves {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let values = self.lines.iter().flat_map(|line| &line.values);
        let finite = values.copied().filter(|value| value.is_finite());
        let (least, most) = finite.fold(
            (
                self.base.unwrap_or(f64::INFINITY),
                self.base.unwrap_or(f64::NEG_INFINITY),
            ),
            |(least, most), value| (value.min(least), value.max(most)),
        );
        let steps = self.lines.iter().map(|line| line.values.len()).max().unwrap_or(1);
        let x = Axis::new(1.0, steps.max(2) as f64, LEFT, RIGHT, 6).whole();
        let y = Axis::new(least, most, BOTTOM, TOP, 5).widened();
        open(f, &self.title, HEIGHT)?;
        frame(f, &x, &y, self.x, self.y)?;
        for line in self.lines.iter().rev() {
            let points = line.values.iter().zip(1_u32..);
            let points = points.map(|(value, step)| (x.at(f64::from(step)), y.at(*value)));
            polyline(f, line.colour, line.dashes, points.collect())?;
        }
        let mut legend = Legend::new(LEFT);
        for line in &self.lines {
            legend.line(f, line.colour, line.dashes, &line.name)?;
        }
        close(f, &self.title, "")
    }
}

/// The picture of a figure as a file of its own: with the style of a page, without what stands below it.
pub(super) fn alone(figure: &impl fmt::Display) -> String {
    let figure = figure.to_string();
    let start = figure.find("<svg").unwrap_or(0);
    let end = figure.rfind("</svg>").unwrap_or(figure.len());
    let ground = "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"; // some pages are dark
    let picture = figure[start..end].replacen("<svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"", 1);
    let picture = picture.replacen('>', &format!(">\n<style>\n{STYLE}</style>\n{ground}"), 1);
    format!("{picture}</svg>\n")
}

pub(super) fn open(f: &mut Formatter<'_>, title: &str, height: f64) -> fmt::Result {
    let title = Escaped(title);
    writeln!(
        f,
        "<figure><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">"
    )
}

pub(super) fn close(f: &mut Formatter<'_>, title: &str, say: &str) -> fmt::Result {
    let title = Escaped(title);
    write!(f, "</svg><figcaption><b>{title}.</b> {say}</figcaption></figure>")
}

/// Grid, ticks and names of both axes.
pub(super) fn frame(f: &mut Formatter<'_>, x: &Axis, y: &Axis, x_name: &str, y_name: &str) -> fmt::Result {
    rules(f, y)?;
    let end = BOTTOM + 4.0;
    for (tick, name) in x.ticks() {
        let place = x.at(tick);
        writeln!(
            f,
            "<line class=\"axis\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{BOTTOM}\" y2=\"{end}\"/>"
        )?;
        text(f, (place, BOTTOM + 18.0), Anchor::Middle, "soft", &name)?;
    }
    text(f, ((LEFT + RIGHT) / 2.0, HEIGHT - 8.0), Anchor::Middle, "soft", &x_name)?;
    let middle = (TOP + BOTTOM) / 2.0;
    writeln!(
        f,
        "<text class=\"soft\" x=\"14\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {middle})\">\
         {y_name}</text>"
    )
}

/// A line across the picture for each tick.
pub(super) fn rules(f: &mut Formatter<'_>, y: &Axis) -> fmt::Result {
    for (tick, name) in y.ticks() {
        let place = y.at(tick);
        writeln!(
            f,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{place:.1}\" y2=\"{place:.1}\"/>"
        )?;
        text(f, (LEFT - 6.0, place + 4.5), Anchor::End, "soft", &name)?;
    }
    writeln!(
        f,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>"
    )
}

/// Which part of a text is at its place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

pub(super) fn text(
    f: &mut Formatter<'_>,
    (x, y): (f64, f64),
    anchor: Anchor,
    class: &str,
    text: &impl fmt::Display,
) -> fmt::Result {
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let text = text.to_string();
    let text = Escaped(&text);
    writeln!(
        f,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    )
}

/// A line through these points; where one is not finite, the line is broken.
pub(super) fn polyline(f: &mut Formatter<'_>, colour: &str, dashes: &str, line: Vec<(f64, f64)>) -> fmt::Result {
    let line = thinned(line);
    for part in line.split(|(x, y)| !x.is_finite() || !y.is_finite()) {
        if part.len() > 1 {
            let points = points(part);
            writeln!(
                f,
                "<polyline class=\"line\" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\" points=\"{points}\"/>"
            )?;
        }
    }
    Ok(())
}

fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if points.len() <= POINTS {
        return points;
    }
    let last = points.len() - 1;
    (0..POINTS).map(|i| points[i * last / (POINTS - 1)]).collect()
}

pub(super) fn points(points: &[(f64, f64)]) -> String {
    let mut text = String::new();
    for (x, y) in points {
        write!(text, "{x:.1},{y:.1} ").expect("a String takes everything");
    }
    text.truncate(text.trim_end().len());
    text
}

/// Names beside their colours, along the top.
pub(super) struct Legend {
    left: f64,
    x: f64,
    y: f64,
}

impl Legend {
    pub(super) fn new(left: f64) -> Self {
        Self { left, x: left, y: 16.0 }
    }

    pub(super) fn line(&mut self, f: &mut Formatter<'_>, colour: &str, dashes: &str, name: &str) -> fmt::Result {
        let (x, y) = self.place(name);
        let (end, middle) = (x + 22.0, y - 4.0);
        writeln!(
            f,
            "<line x1=\"{x:.1}\" x2=\"{end:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"{colour}\" \
             stroke-width=\"2.4\" stroke-dasharray=\"{dashes}\"/>"
        )?;
        text(f, (x + 27.0, y), Anchor::Start, "", &name)
    }

    pub(super) fn area(&mut self, f: &mut Formatter<'_>, colour: &str, name: &str) -> fmt::Result {
        let (x, y) = self.place(name);
        let (left, top) = (x + 6.0, y - 10.0);
        writeln!(
            f,
            "<rect x=\"{left:.1}\" y=\"{top}\" width=\"14\" height=\"12\" fill=\"{colour}\"/>"
        )?;
        text(f, (x + 27.0, y), Anchor::Start, "", &name)
    }

    /// Where there is room below these names.
    pub(super) fn below(mut self, names: &[&str]) -> f64 {
        names.iter().for_each(|name| {
            self.place(name);
        });
        self.y + 14.0
    }

    /// The next free place for a name, on the next line if this one is full.
    fn place(&mut self, name: &str) -> (f64, f64) {
        let width = 42.0 + 7.4 * name.chars().count() as f64;
        if self.x > self.left && self.x + width > WIDTH + 14.0 {
            (self.x, self.y) = (self.left, self.y + 20.0);
        }
        let place = (self.x, self.y);
        self.x += width;
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_alone_has_its_style_and_nothing_below_it() {
        let curves = Curves {
            title: "a < b".to_owned(),
            x: "epoch",
            y: "loss",
            base: None,
            lines: Vec::new(),
        };
        let drawn = alone(&curves);
        assert!(drawn.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && drawn.ends_with("</svg>\n"));
        assert!(
            drawn.contains("<style>") && !drawn.contains("figure") && !drawn.contains("NaN"),
            "{drawn}"
        );
    }
}
