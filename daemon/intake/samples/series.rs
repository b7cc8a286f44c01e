//! A parquet file of series becomes windows that a network learns to forecast from: each column a channel, each window
//! in units of itself, with the samples that follow it as the numbers to regress.
//!
//! Rows are split by time, as a backtest splits them: what is for test comes after what is for validation, and that after
//! what is for training. No target stands in two parts.

use std::path::Path;

use forecastd_models::backtest::{self, SplitRule};
use forecastd_models::dasha::windows::part;
use forecastd_models::dasha::{
    CellFormat, ElementType, InputShape, SampleSet, ScaledWindow, SeriesWindows, Split, Task,
};
use forecastd_models::{GapPolicy, Timestamp};
use serde::{Deserialize, Serialize};

use super::folder::{self, RecordFile};
use super::{Prepared, SamplesError, content_hash};
use crate::intake::panel::Panel;
use crate::intake::parts::{PartError, Watch};

/// Windows at most: where there are more, every second one is left out, or more of them.
const MOST_WINDOWS: usize = 1 << 16;

/// How series become windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesRequest {
    /// The column of times, which is no channel; else the only one of a time type.
    pub time: Option<String>,
    /// Samples of a window.
    pub lookback: usize,
    /// Samples that follow it, to be forecast.
    pub horizon: usize,
}

/// Reads windows of series into a run's folder.
///
/// # Errors
/// The first thing that is wrong, with its file; nothing is trained then.
pub fn prepare_series(
    path: &Path,
    request: &SeriesRequest,
    folder: &Path,
    watch: &mut Watch<'_>,
) -> Result<Prepared, SamplesError> {
    let panel = Panel::read(path, request.time.as_deref(), watch).map_err(part_error)?;
    let hash = content_hash(path)?;
    let split = checked(path, &panel, request)?;
    let mut notes = vec![format!(
        "{} channels of {} rows: {} are for training, {} for validation, {} for test, one after the other",
        panel.channels.len(),
        panel.rows,
        split.train,
        split.validation,
        split.test
    )];
    let all = (split.end() + 1 - request.horizon - request.lookback) * panel.channels.len();
    let every = all.div_ceil(MOST_WINDOWS);
    if every > 1 {
        notes.push(format!("of the windows of a channel one in {every} is taken"));
    }
    folder::begin(folder)?;
    let splits = write_windows(
        folder,
        panel.channels.iter().map(|c| &c.values[..]),
        request,
        &split,
        every,
    )?;
    folder::write_splits(folder, &splits)?;
    let of = |split| splits.iter().filter(|found| **found == split).count() as u64;
    let counts = [Split::Train, Split::Validation, Split::Test].map(of);
    if counts[0] == 0 || counts[1] == 0 {
        return Err(SamplesError::refused(
            path,
            "no window moves in the rows for training, or none in those for validation",
        ));
    }
    let set = SampleSet {
        count: splits.len() as u64,
        input: InputShape {
            bands: 1,
            size: vec![request.lookback as u32],
        },
        element: ElementType::F32,
        task: Task::Regress,
        labels: (1..=request.horizon).map(|step| format!("step_{step}")).collect(),
        hash,
        cells: CellFormat::default(),
        series: Some(SeriesWindows {
            seen_until: seen_until(&panel.times[..split.cutoff()]),
        }),
    };
    folder::describe(folder, &set)?;
    Ok(Prepared {
        set,
        splits: counts,
        notes,
        labelled: true,
    })
}

fn seen_until(times: &[Timestamp]) -> Timestamp {
    times.iter().copied().max().unwrap_or(Timestamp(i64::MIN))
}

/// How the rows are split, if the file is one of series long enough.
fn checked(path: &Path, panel: &Panel, request: &SeriesRequest) -> Result<backtest::Split, SamplesError> {
    let refused = |detail: String| Err(SamplesError::refused(path, detail));
    if panel.times.len() != panel.rows {
        return refused(
            "no column of times, or several: name it with --time. What a network has seen is known by its time"
                .to_owned(),
        );
    }
    if let Some(row) = panel.times.windows(2).position(|pair| pair[1] <= pair[0]) {
        return refused(format!(
            "row {} is of {}, and the row before it of {}: rows of series ascend, one a time",
            row + 1,
            panel.times[row + 1],
            panel.times[row]
        ));
    }
    let rule = SplitRule::USUAL;
    let window = request.lookback.saturating_add(request.horizon);
    let split = rule.of(panel.rows).filter(|split| {
        let fits = split.train >= window && split.validation >= request.horizon;
        fits && split.test >= request.horizon
    });
    split.map_or_else(
        || {
            refused(format!(
                "{} rows: too few for --lookback {} and --horizon {}. Of {rule} of the rows the first part must hold \
                 a window of {window}, each other part a horizon",
                panel.rows, request.lookback, request.horizon
            ))
        },
        Ok,
    )
}

/// Writes inputs and targets, channel after channel; the part of each.
fn write_windows<'a>(
    folder: &Path,
    channels: impl Iterator<Item = &'a [f64]>,
    request: &SeriesRequest,
    split: &backtest::Split,
    every: usize,
) -> Result<Vec<Split>, SamplesError> {
    let mut inputs = RecordFile::create(folder, "inputs.bin")?;
    let mut targets = RecordFile::create(folder, "targets.bin")?;
    let mut splits = Vec::new();
    for channel in channels {
        let mut samples = channel.to_vec();
        GapPolicy::Interpolate.fill(&mut samples);
        for origin in (request.lookback..=split.end() - request.horizon).step_by(every) {
            // One that does not move, or has no number, teaches nothing.
            if let Some(part) = part(split, origin, request.horizon)
                && let Some(window) = ScaledWindow::of(&samples[origin - request.lookback..origin])
                && let Some(ahead) = window.targets(&samples[origin..origin + request.horizon])
            {
                inputs.append(&bytes(&window.values))?;
                targets.append(&bytes(&ahead))?;
                splits.push(part);
            }
        }
    }
    inputs.finish()?;
    targets.finish()?;
    Ok(splits)
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn part_error(error: PartError) -> SamplesError {
    match error {
        PartError::Open { path, source } => SamplesError::Open { path, source },
        PartError::Rejected { path, rejected } => SamplesError::refused(&path, rejected.detail),
        PartError::Interrupted => SamplesError::Interrupted,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::intake::panel::Column;

    fn request() -> SeriesRequest {
        SeriesRequest {
            time: None,
            lookback: 4,
            horizon: 2,
        }
    }

    fn panel(rows: usize, times: impl Fn(i64) -> i64) -> Panel {
        Panel {
            rows,
            times: (0..rows as i64).map(|row| Timestamp(times(row))).collect(),
            channels: vec![Column {
                name: "c".to_owned(),
                values: vec![0.0; rows],
            }],
        }
    }

    #[test]
    fn windows_and_what_follows_them_lie_in_their_own_units_part_after_part() {
        let dir = tempfile::tempdir().expect("a folder");
        let channel: Vec<f64> = (0..20).map(|row| 100.0 + 10.0 * f64::from(row % 3)).collect();
        let still = [7.0; 20];
        let split = SplitRule::USUAL.of(20).expect("parts"); // 14, 2 and 4 rows
        let channels = [&channel[..], &still[..]];
        let parts = write_windows(dir.path(), channels.into_iter(), &request(), &split, 1).expect("written");
        let count = |part| parts.iter().filter(|found| **found == part).count();
        // Origins 4 to 12; 14; 16 to 18. The channel that stands still has none.
        assert_eq!([Split::Train, Split::Validation, Split::Test].map(count), [9, 1, 3]);
        let read = |name| {
            let bytes = fs::read(dir.path().join(name)).expect("it is there");
            let numbers = bytes.as_chunks().0.iter();
            numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<_>>()
        };
        let (inputs, targets) = (read("inputs.bin"), read("targets.bin"));
        assert_eq!((inputs.len(), targets.len()), (13 * 4, 13 * 2));
        // 100, 110, 120, 100 have the mean 107.5 and the deviation √68.75; 110 and 120 follow.
        let scaled = |value: f64| ((value - 107.5) / 68.75_f64.sqrt()) as f32;
        for (found, expected) in inputs[..4].iter().zip([100.0, 110.0, 120.0, 100.0]) {
            assert!((found - scaled(expected)).abs() < 1e-6);
        }
        for (found, expected) in targets[..2].iter().zip([110.0, 120.0]) {
            assert!((found - scaled(expected)).abs() < 1e-6);
        }
    }

    #[test]
    fn a_file_that_is_no_file_of_series_is_told_why() {
        let told = |panel: &Panel| {
            let checked = checked(Path::new("a.parquet"), panel, &request());
            checked.map_err(|error| error.to_string())
        };
        assert!(told(&panel(60, |row| row)).is_ok());
        let mut timeless = panel(60, |row| row);
        timeless.times.clear();
        for (panel, words) in [
            (timeless, "no column of times"),
            (panel(60, |row| row / 2), "row 1 is of"),
            (panel(7, |row| row), "a.parquet: 7 rows: too few for --lookback 4"),
        ] {
            let error = told(&panel).expect_err("refused");
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_is_for_validation_was_seen_and_what_is_for_test_was_not() {
        let panel = panel(60, |row| 10 * row);
        let split = checked(Path::new("a.parquet"), &panel, &request()).expect("parts");
        assert_eq!((split.cutoff(), split.test), (48, 12));
        assert_eq!(seen_until(&panel.times[..split.cutoff()]), Timestamp(470));
    }
}
