//! `forecastd predict`: a network that `forecastd dasha` made, on samples that it has not seen.

mod scores;

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use forecastd_models::dasha::{ElementType, ModelDescription, PredictEvent, Task};
use indicatif::ProgressBar;

use super::artifact;
use super::bar::{bar, style};
use super::errand::ErrandArgs;
use super::interruption::interruption;
use super::reading::Reading;
use crate::intake::samples::{
    InputKind, PixelType, Prepared, SampleRequest, SamplesError, TRUTH, Trained, prepare_for, read_ids,
};
use crate::publish::prediction_file::{PredictionFile, PredictionLayout, Rows};

/// Have a network that dasha made predict the tiles or sequences of a parquet file.
///
/// Writes one row a sample: the class and the probability of each class, the classes that are there, the mask, or the
/// numbers. If the file has labels, what the predictions are worth is printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  forecastd predict scenes/ new.parquet --id name --out predictions.parquet")]
pub(super) struct Predict {
    /// The folder that `forecastd dasha` wrote.
    #[arg(value_name = "ARTIFACT")]
    artifact: PathBuf,
    /// A parquet file, one row a sample, as the network was trained on.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    reading: Reading,
    /// The parquet file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print the scores as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    errand: ErrandArgs,
}

/// The samples, in the folder of the errand.
const INPUTS: &str = "inputs.bin";

/// Bytes of results that are read at once, about.
const PIECE: usize = 4 << 20;

impl Predict {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let stop = interruption()?;
        let description = artifact::open(&self.artifact)?.description;
        let beside = self.out.parent().filter(|folder| !folder.as_os_str().is_empty());
        // Samples may be large, so they stand where there must be room for the results anyway.
        let folder = tempfile::Builder::new()
            .prefix(".forecastd-predict-")
            .tempdir_in(beside.unwrap_or(Path::new(".")))
            .with_context(|| format!("--out {}", self.out.display()))?;
        let bar = bar("{spinner} {human_pos} rows read");
        let prepared = self.prepare(&description, folder.path(), &stop, &bar)?;
        let file = self.ask(folder.path(), &stop, &bar);
        bar.finish_and_clear();
        let file = folder.path().join(file?);
        self.write(&description, &prepared, &file)?;
        eprintln!("{} samples predicted: {}", prepared.set.count, self.out.display());
        for note in &prepared.notes {
            eprintln!("{note}");
        }
        if prepared.labelled {
            let scores = scores::scores(&prepared.set, &folder.path().join(TRUTH), &file)?;
            let text = if self.json { scores.json() } else { scores.table() };
            std::io::stdout()
                .write_all(text.as_bytes())
                .context("print to the standard output")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn prepare(
        &self,
        description: &ModelDescription,
        folder: &Path,
        stop: &AtomicBool,
        bar: &ProgressBar,
    ) -> Result<Prepared, SamplesError> {
        let architecture = &description.architecture;
        let input = &architecture.input;
        let alphabet = match &description.element {
            ElementType::Symbol { alphabet } => Some(alphabet.clone()),
            _ => None,
        };
        let bands = alphabet.is_none().then_some(input.bands); // of texts the letters say it
        let request = SampleRequest {
            task: architecture.task,
            input: if input.is_sequence() {
                InputKind::Sequence
            } else {
                InputKind::Image
            },
            shape: Some(bands.into_iter().chain(input.size.iter().copied()).collect()),
            pixel: self.reading.pixel().or(pixel_of(description, input.is_sequence())),
            cells: self.reading.cells(description.cells),
            alphabet: alphabet.unwrap_or_else(|| "ACGTN".to_owned()),
            columns: self.reading.columns(None),
            seed: 0,
        };
        let trained = Trained {
            input: input.clone(),
            element: description.element.clone(),
            task: architecture.task,
            labels: description.labels.clone(),
        };
        prepare_for(&trained, &self.file, &request, folder, &mut |rows| {
            if stop.load(Ordering::Relaxed) {
                return std::ops::ControlFlow::Break(());
            }
            bar.inc(rows);
            std::ops::ControlFlow::Continue(())
        })
    }

    /// Has the child predict; the name of the file that it wrote.
    fn ask(&self, folder: &Path, stop: &AtomicBool, bar: &ProgressBar) -> anyhow::Result<String> {
        bar.set_style(style("{bar:40} {human_pos}/{human_len} predicted  {eta} left"));
        bar.reset();
        let arguments = ["--predict".as_ref(), self.artifact.as_os_str(), folder.as_os_str()];
        let mut written = None;
        let ended = self
            .errand
            .run(&arguments, stop, |line| match serde_json::from_str(line) {
                Ok(PredictEvent::Progress { done, count }) => {
                    bar.set_length(count);
                    bar.set_position(done);
                }
                Ok(PredictEvent::Finished { file, .. }) => written = Some(file),
                Err(_) => bar.suspend(|| eprintln!("{line}")),
            })?;
        let Some((status, complaint)) = ended else {
            bail!("interrupted");
        };
        match written {
            Some(file) if status.success() => Ok(file),
            _ if complaint.is_empty() => bail!("forecastd-torch: {status}"),
            _ => bail!("{complaint}"),
        }
    }

    fn write(&self, description: &ModelDescription, prepared: &Prepared, results: &Path) -> anyhow::Result<()> {
        let ids = self.reading.id().map(|id| read_ids(&self.file, id)).transpose()?;
        let task = description.architecture.task;
        let positions = prepared.set.input.positions() as usize;
        let layout = PredictionLayout {
            task,
            labels: description.labels.clone(),
            positions,
            id: self.reading.id().map(str::to_owned),
            time: None,
            place: None,
            scores: true,
            version: None,
        };
        let mut file = PredictionFile::create(&self.out, layout)?;
        let record = match task {
            Task::Segment => positions,
            _ => 4 * description.labels.len(),
        };
        let mut ids = ids.as_deref();
        // Of letters a record has as many bytes as a mask.
        let mut letters = match (task, &description.element) {
            (Task::Segment, ElementType::Symbol { .. }) => Some(Letters::open(&results.with_file_name(INPUTS))?),
            _ => None,
        };
        each_piece(results, record, |bytes| {
            let of_piece = ids.map(|all| all.split_at(bytes.len() / record.max(1)));
            ids = of_piece.map(|(_, later)| later);
            let mut rows = Rows {
                ids: of_piece.map_or_else(Vec::new, |(of_piece, _)| of_piece.to_vec()),
                ..Rows::default()
            };
            match task {
                Task::Segment => {
                    rows.masks.extend(bytes);
                    if let Some(letters) = &mut letters {
                        letters.unsay_fill(description, &mut rows.masks)?;
                    }
                }
                _ => rows.scores = singles(bytes),
            }
            Ok(file.append(&rows)?)
        })?;
        Ok(file.finish()?)
    }
}

/// The records of sequences of letters, beside their masks.
struct Letters {
    path: PathBuf,
    file: BufReader<File>,
}

impl Letters {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::new(file),
        })
    }

    /// Takes the classes away from the positions of the next masks that only fill shorter sequences up.
    fn unsay_fill(&mut self, description: &ModelDescription, masks: &mut [u8]) -> anyhow::Result<()> {
        let mut records = vec![0; masks.len()];
        let read = self.file.read_exact(&mut records);
        read.with_context(|| self.path.display().to_string())?;
        description.unsay_fill(&records, masks);
        Ok(())
    }
}

/// What raw pixels must be; bytes need not be said, and other lists have a type of their own.
fn pixel_of(description: &ModelDescription, is_sequence: bool) -> Option<PixelType> {
    if is_sequence {
        return None;
    }
    match description.element {
        ElementType::U16 => Some(PixelType::U16),
        ElementType::I16 => Some(PixelType::I16),
        ElementType::F32 => Some(PixelType::F32),
        _ => None,
    }
}

/// The records of a file, many at a time.
fn each_piece(path: &Path, record: usize, mut take: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let unreadable = || path.display().to_string();
    let mut file = BufReader::new(File::open(path).with_context(unreadable)?);
    let records = (PIECE / record.max(1)).max(1) * record;
    let mut bytes = Vec::with_capacity(records);
    loop {
        bytes.clear();
        (&mut file)
            .take(records as u64)
            .read_to_end(&mut bytes)
            .with_context(unreadable)?;
        if bytes.is_empty() {
            return Ok(());
        }
        take(&bytes)?;
    }
}

fn singles(bytes: &[u8]) -> Vec<f32> {
    let values = bytes.as_chunks().0.iter();
    values.map(|value| f32::from_le_bytes(*value)).collect()
}

#[cfg(test)]
mod tests {
    use forecastd_models::dasha::samples::{NO_CLASS, NO_SYMBOL};

    use super::*;
    use crate::artifact_fixture::Artifact;

    #[test]
    fn masks_of_shorter_sequences_say_nothing_of_what_fills_them_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(INPUTS);
        std::fs::write(&path, [0, NO_SYMBOL, NO_SYMBOL, 0, NO_SYMBOL, 1]).expect("written");
        let mut letters = Letters::open(&path).expect("there");
        let mut description = Artifact::scoring(0.5).description;
        description.architecture.task = Task::Segment;
        description.architecture.input.size = vec![3];
        description.element = ElementType::Symbol {
            alphabet: "AC".to_owned(),
        };
        for expected in [[1, NO_CLASS, NO_CLASS], [1; 3]] {
            let mut masks = [1; 3];
            letters.unsay_fill(&description, &mut masks).expect("read");
            assert_eq!(masks, expected);
        }
        let beyond = letters
            .unsay_fill(&description, &mut [1; 3])
            .expect_err("there are no more");
        assert!(beyond.to_string().contains(INPUTS), "{beyond}");
    }
}
