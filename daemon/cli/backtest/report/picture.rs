//! The pictures of a report, as SVG figures that a page's style sheet dresses.

use std::fmt::{self, Formatter};

use forecastd_models::Member;

use super::super::long_horizon::{BandWeights, Example};
use crate::cli::drawing::{
    Anchor, Axis, BOTTOM, HEIGHT, LEFT, Legend, RIGHT, TOP, close, frame, open, points, polyline, rules, text,
};

/// The highest order that searches for one usually try, such as `max_p` of R's `auto.arima`.
const USUAL_MOST: usize = 5;

/// A forecast in its intervals, over what came true.
pub(super) struct Fan<'a> {
    pub(super) title: &'a str,
    pub(super) example: &'a Example,
}

/// How many have how much, in bins that double.
pub(super) struct Histogram<'a> {
    pub(super) title: &'a str,
    pub(super) values: &'a [usize],
}

/// Shares of the members, a bar for each band of steps.
pub(super) struct WeightBars {
    pub(super) title: String,
    pub(super) bands: Vec<BandWeights>,
}

impl fmt::Display for Fan<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Example {
            before,
            truth,
            mean,
            half_widths,
        } = self.example;
        let (x, y) = self.axes();
        open(f, self.title, HEIGHT)?;
        frame(f, &x, &y, "steps after the cutoff", "")?;
        let place = |(step, value): (usize, f64)| (x.at(step as f64 + 1.0), y.at(value));
        for half in half_widths {
            let upper = mean.iter().zip(half).map(|(mean, half)| mean + half).enumerate();
            let lower = mean.iter().zip(half).map(|(mean, half)| mean - half).enumerate();
            let outline: Vec<_> = upper.map(place).chain(lower.rev().map(place)).collect();
            let points = points(&outline);
            writeln!(
                f,
                "<polygon fill=\"#0b57a4\" fill-opacity=\".16\" points=\"{points}\"/>"
            )?;
        }
        let cutoff = x.at(0.0);
        writeln!(
            f,
            "<line class=\"axis\" x1=\"{cutoff:.1}\" x2=\"{cutoff:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>"
        )?;
        let past = before.iter().rev().enumerate();
        let past = past.map(|(back, value)| (x.at(-(back as f64)), y.at(*value)));
        let newest = before.last().map(|value| (x.at(0.0), y.at(*value)));
        let came = truth.iter().copied().enumerate().map(place);
        polyline(f, "#1a1a1a", "", past.collect())?;
        polyline(f, "#1a1a1a", "", newest.into_iter().chain(came).collect())?;
        polyline(f, "#0b57a4", "", mean.iter().copied().enumerate().map(place).collect())?;
        let mut legend = Legend::new(LEFT);
        legend.line(f, "#1a1a1a", "", "what came true")?;
        legend.line(f, "#0b57a4", "", "forecast")?;
        if !half_widths.is_empty() {
            legend.area(f, "#b9cfe5", "intervals")?;
        }
        close(f, self.title, "")
    }
}

impl Fan<'_> {
    fn axes(&self) -> (Axis, Axis) {
        let example = self.example;
        let intervals = example
            .half_widths
            .iter()
            .flat_map(|half| example.mean.iter().zip(half));
        let bounds = intervals.flat_map(|(mean, half)| [mean - half, mean + half]);
        let drawn = example
            .before
            .iter()
            .chain(&example.truth)
            .chain(&example.mean)
            .copied();
        let drawn: Vec<f64> = drawn.chain(bounds).filter(|value| value.is_finite()).collect();
        let (low, high) = drawn
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (value.min(low), value.max(high))
            });
        let first = 1.0 - example.before.len().max(1) as f64;
        let x = Axis::new(first, example.mean.len().max(1) as f64, LEFT, RIGHT, 7).whole();
        (x, Axis::new(low, high, BOTTOM, TOP, 5).widened())
    }
}

impl fmt::Display for Histogram<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        /// What the text beside the line takes.
        const SAY: f64 = 240.0;
        let most = self.values.iter().copied().max().unwrap_or(0);
        let bins = bins(most.max(4 * USUAL_MOST));
        let mut counts = vec![0_usize; bins.len()];
        for value in self.values {
            counts[bins.partition_point(|last| last < value)] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        let y = Axis::new(0.0, most as f64, BOTTOM, TOP + 20.0, 4).whole().widened();
        let width = (RIGHT - LEFT) / bins.len() as f64;
        open(f, self.title, HEIGHT)?;
        rules(f, &y)?;
        for (number, (last, count)) in bins.iter().zip(&counts).enumerate() {
            let left = LEFT + width * number as f64;
            let middle = left + width / 2.0;
            if *count > 0 {
                let (top, within) = (y.at(*count as f64), width - 6.0);
                let (x, height) = (left + 3.0, BOTTOM - top);
                writeln!(
                    f,
                    "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{within:.1}\" height=\"{height:.1}\" fill=\"#7aa6d6\"/>"
                )?;
                text(f, (middle, top - 4.0), Anchor::Middle, "", count)?;
            }
            let first = number.checked_sub(1).map_or(0, |before| bins[before] + 1);
            let name = if first == *last {
                last.to_string()
            } else {
                format!("{first}–{last}")
            };
            text(f, (middle, BOTTOM + 16.0), Anchor::Middle, "soft small", &name)?;
        }
        let limit = bins
            .iter()
            .position(|last| *last == USUAL_MOST)
            .expect("a bin ends there");
        let line = LEFT + width * (limit + 1) as f64;
        let above = TOP - 18.0;
        writeln!(
            f,
            "<line x1=\"{line:.1}\" x2=\"{line:.1}\" y1=\"{above}\" y2=\"{BOTTOM}\" stroke=\"#b00020\" \
             stroke-width=\"1.8\"/>"
        )?;
        let say = format!("{USUAL_MOST}: default limit of order searches");
        let fits = line + SAY < RIGHT;
        let (side, anchor) = if fits {
            (6.0, Anchor::Start)
        } else {
            (-6.0, Anchor::End)
        };
        text(f, (line + side, above + 10.0), anchor, "", &say)?;
        text(
            f,
            ((LEFT + RIGHT) / 2.0, HEIGHT - 8.0),
            Anchor::Middle,
            "soft",
            &"samples",
        )?;
        let beyond = self.values.iter().filter(|value| **value > USUAL_MOST).count();
        close(
            f,
            self.title,
            &format!("{beyond} of {} beyond {USUAL_MOST}.", self.values.len()),
        )
    }
}

/// The last value of each bin: doubling from the usual most, which so lies between two.
fn bins(most: usize) -> Vec<usize> {
    let mut bins = vec![0, 1, 3, USUAL_MOST];
    let mut last = USUAL_MOST;
    while last < most {
        last *= 2;
        bins.push(last);
    }
    bins
}

impl fmt::Display for WeightBars {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const BAR: f64 = 26.0;
        const ROW: f64 = BAR + 6.0;
        const LEGEND: f64 = 4.0;
        // What has no pixel needs no name.
        let shows = |member: &Member| self.bands.iter().any(|band| band.of(*member) > 0.005);
        let shown: Vec<Member> = Member::ALL.into_iter().filter(shows).collect();
        let names: Vec<&str> = shown.iter().map(|member| member.name()).collect();
        let (left, top) = (LEFT + 10.0, Legend::new(LEGEND).below(&names));
        let height = top + ROW * self.bands.len() as f64 + 40.0;
        let share = Axis::new(0.0, 100.0, left, RIGHT, 5);
        open(f, &self.title, height)?;
        let mut legend = Legend::new(LEGEND);
        for member in shown {
            legend.area(f, colour(member), member.name())?;
        }
        for (number, band) in self.bands.iter().enumerate() {
            let y = top + ROW * number as f64;
            let steps = format!("{}–{}", band.first, band.last);
            text(f, (left - 8.0, y + 18.0), Anchor::End, "", &steps)?;
            let mut done = 0.0;
            for member in Member::ALL {
                let percent = 100.0 * band.of(member);
                let (from, to) = (share.at(done), share.at(done + percent));
                done += percent;
                let (width, colour) = (to - from, colour(member));
                if percent > 0.0 {
                    writeln!(
                        f,
                        "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\">\
                         <title>{member}: {percent:.1} %</title></rect>"
                    )?;
                }
                if percent >= 6.0 {
                    let place = ((from + to) / 2.0, y + 18.0);
                    text(f, place, Anchor::Middle, "", &format!("{percent:.0}"))?;
                }
            }
        }
        for (tick, name) in share.ticks() {
            text(f, (share.at(tick), height - 26.0), Anchor::Middle, "soft", &name)?;
        }
        let place = ((left + RIGHT) / 2.0, height - 8.0);
        text(f, place, Anchor::Middle, "soft", &"weight in percent, by steps")?;
        close(f, &self.title, "")
    }
}

/// A colour for each member, light enough for dark text.
fn colour(member: Member) -> &'static str {
    match member {
        Member::AutoAr => "#7fb2e5",
        Member::PooledAutoAr => "#c1dcf5",
        Member::Direct => "#f0a860",
        Member::DirectLevel => "#f9d9b0",
        Member::PooledDirect => "#86c995",
        Member::PooledDirectLevel => "#cdebd3",
        Member::ShrunkDirect => "#e6e08a",
        Member::RandomWalk => "#bfbfbf",
        Member::SeasonalNaive => "#e0a9cf",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_at_the_usual_most_parts_the_bins() {
        assert_eq!(bins(512), [0, 1, 3, 5, 10, 20, 40, 80, 160, 320, 640]);
        let histogram = Histogram {
            title: "orders",
            values: &[0, 5, 6, 512, 512],
        };
        let drawn = histogram.to_string();
        assert!(
            drawn.contains("3 of 5 beyond 5.") && drawn.contains("321–640"),
            "{drawn}"
        );
        assert!(drawn.contains("text-anchor=\"middle\">2</text>"), "{drawn}");
    }

    #[test]
    fn odd_numbers_leave_no_trace_in_a_picture() {
        let example = Example {
            before: vec![1.0],
            truth: vec![f64::NAN, 2.0],
            mean: vec![1.0, 1.0],
            half_widths: vec![vec![0.5, 1.0], vec![1.0, 2.0]],
        };
        let fan = |title, example| Fan { title, example }.to_string();
        let (drawn, empty) = (fan("<a>", &example), fan("b", &Example::default()));
        for drawn in [&drawn, &empty] {
            assert!(!drawn.contains("NaN") && !drawn.contains("inf\""), "{drawn}");
        }
        assert!(drawn.contains("&lt;a&gt;") && !drawn.contains("<a>"));
        assert_eq!(drawn.matches("<polygon").count(), 2);
    }
}
