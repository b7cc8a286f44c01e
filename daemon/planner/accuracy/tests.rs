//! When a forecast counts, and for what: the rules as a table and short stories on one channel.

use std::collections::BTreeMap;
use std::path::Path;

use forecastd_config::{Config, Dataset};
use forecastd_models::normal::normal_half_width;
use forecastd_models::{FittedAr, Forecast, Frequency, Interval};

use super::*;
use crate::message::series_drop::{RawRows, SeriesDrop};
use crate::planner::history::HistoryRules;

const SECOND: i64 = 1_000_000_000;

fn dataset(steps: &str, series: &str) -> Dataset {
    let text = format!(
        "state_dir: ./s\ndatasets:\n  - {{ name: d, kind: series, incoming: ./i, series: {{ time: t, frequency: 1s{series} }}, \
         history: {{ window: 400 }}, forecast: {{ horizon: 200, steps: {steps}, levels: [0.95], max_lookback: 8 }} }}\n"
    );
    let config = Config::parse(&text, Path::new("/")).expect("a good configuration");
    config.datasets.into_iter().next().expect("one")
}

/// One channel, as its dataset holds it.
struct Story {
    accuracy: DatasetAccuracy,
    channel: ChannelAccuracy,
    history: ChannelHistory,
    fit: Option<Arc<ChannelFit>>,
}

impl Story {
    fn with(steps: &str, series: &str) -> Self {
        let config = dataset(steps, series);
        Self {
            accuracy: DatasetAccuracy::new(&config),
            channel: ChannelAccuracy::default(),
            history: ChannelHistory::new(HistoryRules::from(&config)),
            fit: None,
        }
    }

    /// A hundred rows at the seconds 0 to 99: 0, 1, 0, 1, … They change by 1 each time, so the scale is 1.
    fn begun(steps: &str) -> Self {
        let mut story = Self::with(steps, "");
        story.rows((0..100).map(|slot| (slot, (slot % 2) as f64)));
        story
    }

    /// Rows come in one drop, as (second, value).
    fn rows(&mut self, rows: impl IntoIterator<Item = (i64, f64)>) {
        self.rows_at(rows.into_iter().map(|(slot, value)| (slot * SECOND, value)));
    }

    fn rows_at(&mut self, rows: impl IntoIterator<Item = (i64, f64)>) {
        let rows = rows.into_iter().map(|(time, value)| (Timestamp(time), value)).collect();
        let (drop, _) = SeriesDrop::from_rows(RawRows {
            channels: BTreeMap::from([("c".into(), rows)]),
        });
        let rows = drop.channels().next().expect("a channel").1;
        let after = self.history.newest();
        if self.history.extend(rows)
            && let Some(fit) = &self.fit
        {
            let arrived = Arrived { rows, after, fit };
            self.accuracy.judge(&mut self.channel, arrived, &self.history, 1);
        }
    }

    /// A forecast from this cutoff comes back: it expects `mean` for ever, with a deviation of 1.
    fn fitted(&mut self, cutoff: i64, mean: f64) {
        let half_width = normal_half_width(0.95);
        let fit = Arc::new(ChannelFit {
            model: FittedAr {
                order: 2,
                num_diff: 0,
                coefficients: vec![0.0; 2],
                intercept: 0.0,
                variance: Some(1.0),
                bic: None,
                max_order: 2,
                fallback: None,
            },
            choice: None,
            network: None,
            forecast: Forecast {
                channel: "c".into(),
                grid: Grid {
                    origin: Timestamp(0),
                    frequency: Frequency::fixed(SECOND).expect("positive"),
                },
                cutoff_slot: cutoff,
                mean: vec![mean; 200],
                intervals: vec![Interval {
                    level: Level::new(0.95).expect("a share"),
                    lower: vec![mean - half_width; 200],
                    upper: vec![mean + half_width; 200],
                }],
            },
            filled: 0,
        });
        self.accuracy.remember(&mut self.channel, &fit, &self.history);
        self.fit = Some(fit);
    }

    /// By step: how many were scored.
    fn scored(&self) -> Vec<u64> {
        self.accuracy.view().iter().map(|step| step.scored).collect()
    }

    fn has(&self, slot: Slot) -> bool {
        let fit = self.fit.as_ref();
        let samples = fit.and_then(|fit| self.history.samples(&fit.forecast.grid));
        samples.is_some_and(|samples| samples.at(slot).is_some())
    }

    fn waiting(&self) -> Vec<usize> {
        self.channel.pending.iter().map(VecDeque::len).collect()
    }
}

fn close(found: Option<f64>, expected: f64) {
    let found = found.expect("a score");
    assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
}

#[test]
fn a_forecast_is_scored_at_each_published_step_when_its_truth_arrives() {
    let mut story = Story::begun("[1, 3]");
    story.fitted(99, 2.5); // row 99 is 1
    assert_eq!(story.scored(), [0, 0]);
    story.rows([(100, 4.5)]);
    assert_eq!(story.scored(), [1, 0]);
    let first = &story.accuracy.view()[0];
    close(first.mae, 2.0);
    close(first.rmse, 2.0);
    close(first.skill, 1.0 - (2.0_f64 / 3.5).powi(2));
    assert_eq!(first.coverage[0].1, 0.0); // 2 is more than 1.96
    // Rows 100 to 102 in the history, one of them the third step's truth; the second was not published.
    story.rows([(101, 0.0), (102, 2.0)]);
    assert_eq!(story.scored(), [1, 1]);
    let third = &story.accuracy.view()[1];
    // The scale is the mean of |change| by now: 99 of 1, then 3.5, 4.5 and, since the truth itself does not count yet, no more.
    let keep = 0.5_f64.powf(1.0 / 1024.0);
    let mut changes: Vec<f64> = vec![1.0; 99];
    changes.extend([3.5, 4.5]);
    let weights = (0..changes.len()).rev().map(|age| keep.powi(age as i32));
    let (sum, weight) = weights
        .zip(&changes)
        .fold((0.0, 0.0), |(sum, weight), (w, change)| (sum + w * change, weight + w));
    close(third.mae, 0.5 / (sum / weight));
    assert_eq!(third.coverage[0].1, 1.0);
}

#[test]
fn a_forecast_made_after_the_truth_was_there_does_not_count() {
    let mut story = Story::begun("[1, 3]");
    // The fit of cutoff 99 took its time: 100 and 101 are there already.
    story.rows([(100, 0.0), (101, 1.0)]);
    story.fitted(99, 0.0);
    story.rows([(102, 0.0)]);
    story.rows([(100, 5.0)]); // a revision of what the forecast did not foresee
    assert_eq!(story.scored(), [0, 1]);
    // A backfill of what was never ahead of anybody.
    let mut story = Story::begun("[1, 3]");
    story.fitted(99, 0.0);
    story.rows((-50..0).map(|slot| (slot, 3.0)));
    assert_eq!(story.scored(), [0, 0]);
    assert_eq!(story.channel.anomaly(), None);
}

#[test]
fn a_gap_is_not_scored_a_late_row_is_and_a_revision_is_not() {
    let mut story = Story::begun("[1, 3]");
    story.fitted(99, 0.0);
    story.rows([(102, 0.0)]); // 100 and 101 are missing, and filled for the next fit
    assert_eq!(story.scored(), [0, 1]);
    story.fitted(102, 0.0);
    let odd = story.channel.anomaly();
    story.rows([(100, 90.0)]); // late: what was said of it stands, for the newest row it says nothing
    assert_eq!((story.scored(), story.channel.anomaly()), (vec![1, 1], odd));
    for revised in [100, 102] {
        story.rows([(revised, 50.0)]);
        assert_eq!(story.scored(), [1, 1]);
    }
    close(story.accuracy.view()[0].mae, 90.0);
}

#[test]
fn a_row_that_the_history_does_not_take_is_no_truth() {
    let mut story = Story::with("[1, 3]", ", off_grid: drop");
    story.rows((0..100).map(|slot| (slot, (slot % 2) as f64)));
    story.fitted(99, 0.0);
    story.rows_at([(100 * SECOND + 1, 7.0)]);
    assert_eq!((story.scored(), story.channel.anomaly()), (vec![0, 0], None));
    story.rows_at([(100 * SECOND, 7.0)]);
    assert_eq!(story.scored(), [1, 0]);
    // Snapped, of several rows for a slot the last counts: it is what the history holds.
    let mut story = Story::begun("[1]");
    story.fitted(99, 0.0);
    story.rows_at([(100 * SECOND - 3, 7.0), (100 * SECOND + 3, 2.0)]);
    assert_eq!(story.scored(), [1]);
    close(story.accuracy.view()[0].mae, 2.0);
}

#[test]
fn of_two_forecasts_from_one_cutoff_the_later_is_scored() {
    let mut story = Story::begun("[1]");
    story.fitted(99, 9.0);
    story.fitted(99, 0.5);
    story.rows([(100, 0.0)]);
    assert_eq!(story.scored(), [1]);
    close(story.accuracy.view()[0].mae, 0.5);
}

#[test]
fn what_is_remembered_is_bounded_and_far_steps_are_thinned() {
    for (steps, waiting, scored) in [
        ("[1, 96]", [1, 96], [304, 209]),
        // 127 may look ahead of step 200: every second cutoff does.
        ("[1, 200]", [1, 100], [304, 53]),
    ] {
        let mut story = Story::begun(steps);
        story.fitted(99, 0.0);
        for slot in 100..404 {
            story.rows([(slot, 0.0)]);
            story.fitted(slot, 0.0);
        }
        assert_eq!(
            (story.waiting(), story.scored()),
            (waiting.to_vec(), scored.to_vec()),
            "{steps}"
        );
    }
    // Truths that never come do not pile up.
    let mut story = Story::begun("[1, 2]");
    for slot in 50..150 {
        story.rows([(2 * slot, 0.0)]);
        story.fitted(2 * slot, 0.0);
    }
    assert!(story.waiting()[0] <= 1 + LATE, "{:?}", story.waiting());
}

#[test]
fn the_share_of_a_step_keeps_the_whole_within_its_bound() {
    for (steps, expected) in [
        (vec![1], PENDING),
        (vec![1, 96], PENDING),
        (vec![1, 24, 96], PENDING),
        (vec![1, 672], 127),
        (vec![50, 100, 200], 42),
        ((1..=96).collect(), 1),
        ((1..=1000).collect(), 1),
    ] {
        let found = share(&steps);
        assert_eq!(found, expected, "{steps:?}");
        let ahead: usize = steps.iter().map(|step| found.min(*step)).sum();
        assert!(ahead <= PENDING.max(steps.len()));
    }
}

#[test]
fn the_score_is_the_highest_of_the_rows_that_came_last() {
    let mut story = Story::begun("[1]");
    story.fitted(99, 0.0);
    // A deviation of 1 at every step: 3.92 away is a score of 1.
    story.rows([(100, 0.0), (101, 7.84), (102, 0.0)]);
    let score = story.channel.anomaly().expect("a score");
    assert!((score - 2.0).abs() < 0.01, "{score}");
    assert_eq!(story.accuracy.anomalies(), 1);
    story.fitted(102, 0.0);
    story.rows([(103, 0.1)]);
    assert!(story.channel.anomaly().expect("a score") < 0.1);
    // No forecast reaches so far: no score, rather than that of another row.
    story.rows([(310, 0.1)]);
    assert_eq!(story.channel.anomaly(), None);
}

#[test]
fn levels_asked_for_before_a_reload_promise_nothing() {
    let mut story = Story::begun("[1]");
    story.accuracy.levels = vec![Level::new(0.5).expect("a share")];
    story.fitted(99, 0.0);
    story.rows([(100, 0.0)]);
    let view = story.accuracy.view();
    assert_eq!((view[0].scored, view[0].coverage.len()), (1, 0));
}

proptest::proptest! {
    #[test]
    fn whatever_comes_in_whatever_order_each_cutoff_and_step_counts_once(
        happenings in proptest::collection::vec((0..3_u8, 0..5_i64), 1..60),
    ) {
        let steps = [1, 3];
        let mut story = Story::begun("[1, 3]");
        let (mut newest, mut cutoff) = (99, 99);
        // By step, the slots of which something was said while they were ahead, and nothing has come since.
        let mut open = [(); 2].map(|()| std::collections::BTreeSet::new());
        let mut scored = vec![0; 2];
        for (happening, by) in happenings {
            if happening == 2 {
                // A fit of the newest row, or one that took its time.
                let late = Some(newest - by).filter(|slot| *slot >= cutoff && story.has(*slot));
                cutoff = late.unwrap_or(newest);
                story.fitted(cutoff, 0.0);
                for (step, open) in steps.iter().zip(&mut open) {
                    if cutoff + step > newest && open.insert(cutoff + step) && open.len() > *step as usize + LATE {
                        open.pop_first();
                    }
                }
                continue;
            }
            // The next row, perhaps behind a gap; or a late one, or a revision.
            let slot = if happening == 0 { newest + 1 + by / 3 } else { newest - by };
            newest = newest.max(slot);
            story.rows([(slot, 0.0)]);
            for (open, scored) in open.iter_mut().zip(&mut scored) {
                *scored += u64::from(open.remove(&slot));
            }
        }
        proptest::prop_assert_eq!(story.scored(), scored);
    }
}
