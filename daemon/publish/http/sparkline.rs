//! A forecast as a picture of a line's height: the mean in its widest interval.

use std::fmt::{self, Write};

use forecastd_models::{Forecast, Interval};

const WIDTH: f64 = 160.0;
const HEIGHT: f64 = 28.0;

/// Steps drawn at most; a longer horizon is thinned out evenly.
const POINTS: usize = 80;

/// An inline SVG, coloured by the page's style sheet.
#[derive(Debug)]
pub(super) struct Sparkline<'f>(pub(super) &'f Forecast);

impl fmt::Display for Sparkline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forecast = self.0;
        let shown = indices(forecast.horizon());
        let widest = widest(forecast);
        let scale = Scale::of(forecast, widest);
        let horizon = forecast.horizon();
        write!(
            f,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" \
             aria-label=\"forecast of {horizon} steps\">"
        )?;
        if let Some(interval) = widest {
            let upper = shown.iter().map(|&i| scale.point(i, interval.upper[i]));
            let lower = shown.iter().rev().map(|&i| scale.point(i, interval.lower[i]));
            write!(f, "<polygon points=\"{}\"/>", points(upper.chain(lower))?)?;
        }
        let mean = shown.iter().map(|&i| scale.point(i, forecast.mean[i]));
        write!(f, "<polyline points=\"{}\"/></svg>", points(mean)?)
    }
}

/// The interval of the highest level.
pub(super) fn widest(forecast: &Forecast) -> Option<&Interval> {
    let share = |interval: &&Interval| interval.level.share();
    forecast.intervals.iter().max_by(|a, b| share(a).total_cmp(&share(b)))
}

struct Scale {
    low: f64,
    high: f64,
    last: usize,
}

impl Scale {
    fn of(forecast: &Forecast, widest: Option<&Interval>) -> Self {
        let bounds = widest
            .into_iter()
            .flat_map(|interval| interval.lower.iter().chain(&interval.upper));
        let values = || forecast.mean.iter().chain(bounds.clone()).copied();
        Self {
            low: values().fold(f64::INFINITY, f64::min),
            high: values().fold(f64::NEG_INFINITY, f64::max),
            last: forecast.horizon().saturating_sub(1).max(1),
        }
    }

    fn point(&self, index: usize, value: f64) -> (f64, f64) {
        // Halved first: the range of finite numbers may itself be infinite.
        let range = self.high / 2.0 - self.low / 2.0;
        let share = if range > 0.0 {
            (value / 2.0 - self.low / 2.0) / range
        } else {
            0.5
        };
        let x = 1.0 + (WIDTH - 2.0) * index as f64 / self.last as f64;
        (x, 1.0 + (HEIGHT - 2.0) * (1.0 - share))
    }
}

fn indices(horizon: usize) -> Vec<usize> {
    match horizon {
        0..=POINTS => (0..horizon).collect(),
        _ => (0..POINTS).map(|i| i * (horizon - 1) / (POINTS - 1)).collect(),
    }
}

fn points(points: impl Iterator<Item = (f64, f64)>) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for (x, y) in points {
        write!(text, "{x:.1},{y:.1} ")?;
    }
    text.truncate(text.trim_end().len());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use forecastd_models::{Frequency, Grid, Level, Timestamp};

    use super::*;

    fn forecast(mean: &[f64], spread: Option<f64>) -> Forecast {
        let interval = |spread: f64| Interval {
            level: Level::new(0.9).expect("a share"),
            lower: mean.iter().map(|m| m - spread).collect(),
            upper: mean.iter().map(|m| m + spread).collect(),
        };
        Forecast {
            channel: "a".into(),
            grid: Grid {
                origin: Timestamp(0),
                frequency: Frequency::fixed(1).expect("positive"),
            },
            cutoff_slot: 0,
            mean: mean.to_vec(),
            intervals: spread.map(interval).into_iter().collect(),
        }
    }

    #[test]
    fn the_line_spans_the_picture_and_the_interval_surrounds_it() {
        let drawn = Sparkline(&forecast(&[0.0, 10.0], Some(5.0))).to_string();
        assert!(drawn.contains("<polyline points=\"1.0,20.5 159.0,7.5\"/>"), "{drawn}");
        let polygon = "<polygon points=\"1.0,14.0 159.0,1.0 159.0,14.0 1.0,27.0\"/>";
        assert!(drawn.contains(polygon), "{drawn}");
    }

    #[test]
    fn odd_forecasts_are_drawn_with_finite_points_and_not_too_many() {
        let long: Vec<f64> = (0..5000).map(f64::from).collect();
        for (mean, points) in [
            (vec![], 0),
            (vec![7.0], 1),
            (vec![7.0; 3], 3),
            (vec![f64::MIN, f64::MAX], 2),
            (long, POINTS),
        ] {
            let drawn = Sparkline(&forecast(&mean, None)).to_string();
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
            assert_eq!(drawn.matches(',').count(), points, "{drawn}");
        }
    }
}
