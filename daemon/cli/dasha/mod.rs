//! `forecastd dasha`: from a file of labelled tiles or sequences to a small network that was designed for them.
//!
//! Here the file is read and checked, and the outcome put in its place; search and training are a child's
//! (`forecastd-torch --dasha`), which may be killed at any instant and goes on where it stood.

mod outcome;
mod pictures;
mod progress;
mod readme;
mod run_folder;

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use forecastd_models::dasha::card::Card;
use forecastd_models::dasha::{
    Augmentation, BackboneChoice, Budget, CellFormat, DashaJob, ScaleChoice, SearchSpace, Task, TrainingOptions,
    Variation,
};

use self::progress::Progress;
use self::run_folder::{Request, RunFolder};
use super::errand::ErrandArgs;
use super::interruption::interruption;
use super::reading::Reading;
use crate::intake::samples::{InputKind, SampleRequest, SeriesRequest, content_hash, prepare, prepare_series};
use crate::work::train::{RunEnd, Said, follow};

/// Design, train and test a small convolutional network for the labelled tiles or sequences of a parquet file.
///
/// Kernel sizes and dilations are searched for (DASH), hyper-parameters tuned (ASHA), and the network is trained anew
/// with both. Everything is chosen on the validation rows; the test rows are looked at once, at the end. What comes out
/// is a folder: the weights, their description, a card with every score, and a README with pictures.
///
/// Without --time-budget the paper's budget is spent: hours on a GPU, days without one. A run that was interrupted goes
/// on where it stood when the same command is given again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    forecastd dasha scenes.parquet --task classify --input image --shape 3,64,64 --time-budget 30m --out scenes/\n  \
    forecastd dasha splice.parquet --task classify --input sequence --time-budget 15m --out splice/\n  \
    forecastd dasha splice.parquet --task classify --input sequence --variations silu,squeeze_excitation,2x --out splice/\n  \
    forecastd dasha ETTh1.parquet --task regress --input series --time date --horizon 96 --time-budget 1h --out etth1/\n  \
    forecastd dasha roads.parquet --task segment --input image --shape 3,200,200 --mask-threshold 127 --out roads/")]
pub(super) struct Dasha {
    /// A parquet file, one row a sample. Tiles are raw pixels, PNG, JPEG or lists of numbers; sequences are text or
    /// lists of numbers.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What is asked of the network.
    #[arg(long, value_enum)]
    task: TaskChoice,
    /// What the samples are.
    #[arg(long, value_enum)]
    input: InputChoice,
    /// Bands, height and width of a tile; length of a text; bands and length of a series [default: the first row's, or
    /// the longest text's; raw pixels need it].
    #[arg(long, value_name = "C,H,W|L|C,L", value_delimiter = ',')]
    shape: Vec<u32>,
    #[command(flatten)]
    reading: Reading,
    /// The column that says train, validation (val, valid, dev) or test [default: the one called split, if there is one;
    /// else by a hash of --id; else drawn by the seed].
    #[arg(long, value_name = "COL")]
    split: Option<String>,
    /// The column of times of a file of series [default: the only column of a time type].
    #[arg(long, value_name = "COL")]
    time: Option<String>,
    /// Samples of a window of series [default: 512].
    #[arg(long, value_name = "L")]
    lookback: Option<NonZeroUsize>,
    /// Steps to forecast from each window of series; those of the dataset that it is for.
    #[arg(long, value_name = "H")]
    horizon: Option<NonZeroUsize>,
    /// The letters of texts, whatever the case; each is a band.
    #[arg(long, value_name = "LETTERS", default_value = "ACGTN")]
    alphabet: String,
    /// The frame that gets its kernels. auto tries those that can do the task and takes the better one on validation.
    #[arg(long, value_enum, default_value_t = FrameChoice::Auto)]
    backbone: FrameChoice,
    /// How wide the frames are: paper for the paper's, small for a quarter of that, auto for the paper's on a GPU alone.
    #[arg(long, value_enum, default_value_t = WidthChoice::Auto)]
    scale: WidthChoice,
    /// Frames that trials may take beyond the paper's, separated by commas: squeeze_excitation, antialias, silu, gelu, a
    /// width such as 2x, or several joined by +. Each is tried once with usual hyper-parameters, later trials draw from
    /// all; what is best on validation is taken [default: the paper's alone].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    variations: Vec<Variation>,
    /// Epochs of the search for kernels; 0 keeps the frame's own [default: 100].
    #[arg(long, value_name = "N")]
    search_epochs: Option<u32>,
    /// Trials of hyper-parameters; 0 takes the defaults [default: 120].
    #[arg(long, value_name = "N")]
    trials: Option<u32>,
    /// Epochs of the longest trial [default: 20].
    #[arg(long, value_name = "N")]
    max_epochs: Option<NonZeroUsize>,
    /// Epochs of the last training [default: 200].
    #[arg(long, value_name = "N")]
    retrain_epochs: Option<NonZeroUsize>,
    /// Wall time of everything, such as 30m: stages are cut to fit into it [default: as long as it takes].
    #[arg(long, value_name = "TIME", value_parser = forecastd_config::parse_duration)]
    time_budget: Option<Duration>,
    /// Samples of one step of training [default: 128 sequences, 16 tiles].
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroUsize>,
    /// How training samples are varied, with commas between: horizontal-flip, vertical-flip, quarter-turns, rotation,
    /// shift, brightness, reverse-complement, cut-mix, mix-up, none; =NUMBER after one says how much. With
    /// reverse-complement predictions are means over both strands [default: tiles are mirrored and rotated, sequences
    /// left as they are].
    #[arg(long, value_name = "LIST")]
    augment: Option<Augmentation>,
    /// Weigh rare classes as much as frequent ones.
    #[arg(long)]
    class_weights: bool,
    /// Everything random follows from it.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// The folder of the artifact. While the run lasts, it stands in .run below it.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Begin anew, whatever stands in the folder.
    #[arg(long)]
    restart: bool,
    /// Keep the folder of the run, with the samples and the checkpoints.
    #[arg(long)]
    keep: bool,
    /// Print the card as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    errand: ErrandArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum TaskChoice {
    /// One class a sample.
    Classify,
    /// Any number of classes a sample.
    Multilabel,
    /// A class for each pixel or position.
    Segment,
    /// Numbers.
    Regress,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum InputChoice {
    Image,
    Sequence,
    /// Numbers over time: a column a channel, as series datasets have them in wide files. Its windows are the samples,
    /// and what follows each is regressed.
    Series,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum FrameChoice {
    Auto,
    /// For sequences a ResNet.
    WideResnet,
    Unet,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum WidthChoice {
    Auto,
    Small,
    Paper,
}

impl Dasha {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let stop = interruption()?;
        let request = Request {
            hash: content_hash(&self.file)?,
            reading: self.reading(),
            series: self.series()?,
            job: self.job()?,
        };
        let folder = RunFolder::open(&self.out, &request, self.restart)?;
        let progress = Progress::new();
        let trained = self.prepare(&folder, &request, &stop, &progress);
        let trained = trained.and_then(|()| self.train(&folder, &stop, &progress));
        progress.clear();
        trained?;
        let card = outcome::publish(&folder, &self.out, &self.file)?;
        if !self.keep {
            folder.remove()?;
        }
        self.tell(&card)?;
        Ok(ExitCode::SUCCESS)
    }

    fn reading(&self) -> SampleRequest {
        SampleRequest {
            task: match self.task {
                TaskChoice::Classify => Task::Classify,
                TaskChoice::Multilabel => Task::Multilabel,
                TaskChoice::Segment => Task::Segment,
                TaskChoice::Regress => Task::Regress,
            },
            input: match self.input {
                InputChoice::Image => InputKind::Image,
                InputChoice::Sequence | InputChoice::Series => InputKind::Sequence,
            },
            shape: (!self.shape.is_empty()).then(|| self.shape.clone()),
            pixel: self.reading.pixel(),
            cells: self.reading.cells(CellFormat::default()),
            alphabet: self.alphabet.clone(),
            columns: self.reading.columns(self.split.as_deref()),
            seed: self.seed,
        }
    }

    /// How windows are made, if the file is one of series.
    fn series(&self) -> anyhow::Result<Option<SeriesRequest>> {
        const LOOKBACK: usize = 512;
        const LONGEST: usize = 4096;
        if !matches!(self.input, InputChoice::Series) {
            if self.time.is_some() || self.lookback.is_some() || self.horizon.is_some() {
                bail!("--time, --lookback and --horizon are for --input series");
            }
            return Ok(None);
        }
        if !matches!(self.task, TaskChoice::Regress) {
            bail!("--input series is for --task regress: the numbers are the samples that follow a window");
        }
        let horizon = self
            .horizon
            .context("--input series needs --horizon, the steps to forecast")?;
        let lookback = self.lookback.map_or(LOOKBACK, NonZeroUsize::get);
        if lookback.max(horizon.get()) > LONGEST {
            bail!("--lookback and --horizon are at most {LONGEST}");
        }
        Ok(Some(SeriesRequest {
            time: self.time.clone(),
            lookback,
            horizon: horizon.get(),
        }))
    }

    fn job(&self) -> anyhow::Result<DashaJob> {
        let fits = |count: NonZeroUsize| u32::try_from(count.get()).context("a count beyond 32 bits");
        let usual = Budget::default();
        let budget = Budget {
            search_epochs: self.search_epochs.unwrap_or(usual.search_epochs),
            trials: self.trials.unwrap_or(usual.trials),
            max_epochs: self.max_epochs.map_or(Ok(usual.max_epochs), fits)?,
            retrain_epochs: self.retrain_epochs.map_or(Ok(usual.retrain_epochs), fits)?,
            seconds: self.time_budget.map(|time| time.as_secs_f64()),
            ..usual
        };
        if budget.seconds.is_some_and(|seconds| seconds <= 0.0) {
            bail!("--time-budget is nothing");
        }
        if budget.trials == 0 && !self.variations.is_empty() {
            bail!("--variations needs --trials: they choose among them");
        }
        Ok(DashaJob {
            backbone: match self.backbone {
                FrameChoice::Auto => BackboneChoice::Auto,
                FrameChoice::WideResnet => BackboneChoice::WideResnet,
                FrameChoice::Unet => BackboneChoice::Unet,
            },
            scale: match self.scale {
                WidthChoice::Auto => ScaleChoice::Auto,
                WidthChoice::Small => ScaleChoice::Small,
                WidthChoice::Paper => ScaleChoice::Paper,
            },
            space: match self.input {
                InputChoice::Image => SearchSpace::images(),
                InputChoice::Sequence | InputChoice::Series => SearchSpace::sequences(),
            },
            budget,
            network: None,
            batch: self.batch.map(fits).transpose()?,
            training: TrainingOptions {
                class_weights: self.class_weights,
                variations: self.variations(),
                augmentation: self.augment,
                ..TrainingOptions::default()
            },
            seed: self.seed,
        })
    }

    /// The frame as it is first.
    fn variations(&self) -> Vec<Variation> {
        let asked = self.variations.iter().filter(|variation| !variation.is_plain());
        std::iter::once(Variation::default()).chain(asked.copied()).collect()
    }

    /// Reads and checks the file, unless an earlier process has.
    fn prepare(
        &self,
        folder: &RunFolder,
        request: &Request,
        stop: &AtomicBool,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        if folder.is_prepared() {
            progress.say("going on where an earlier run of the same command stood");
            return Ok(());
        }
        let mut watch = |rows| progress.rows(rows, stop);
        let prepared = match &request.series {
            Some(series) => prepare_series(&self.file, series, folder.path(), &mut watch),
            None => prepare(&self.file, &request.reading, folder.path(), &mut watch),
        };
        let prepared = prepared.inspect_err(|_| folder.forget())?;
        let [train, validation, test] = prepared.splits;
        let (count, outputs) = (prepared.set.count, prepared.set.labels.len());
        progress.say(&format!(
            "{count} samples: {train} for training, {validation} for validation, {test} for test; {outputs} outputs"
        ));
        for note in &prepared.notes {
            progress.say(note);
        }
        if test == 0 {
            progress.say("no row is for test: nothing will say how good the network is on data nobody chose by");
        }
        Ok(())
    }

    fn train(&self, folder: &RunFolder, stop: &AtomicBool, progress: &Progress) -> anyhow::Result<()> {
        let arguments = ["--dasha".as_ref(), folder.path().as_os_str()];
        let goes_on = || !stop.load(Ordering::Relaxed);
        let end = follow(self.errand.start(&arguments)?, goes_on, |said| match said {
            Said::Event(event) => progress.show(&event),
            Said::Line(line) => progress.say(&line),
        })?;
        match end {
            RunEnd::Finished => Ok(()),
            RunEnd::Failed(message) => bail!("forecastd-torch: {message}"),
            RunEnd::Died(how) => bail!("{how}; give the same command again to go on where it stood"),
            RunEnd::Stopped => bail!(
                "interrupted; give the same command again to go on, at most an epoch is done anew ({})",
                folder.path().display()
            ),
        }
    }

    fn tell(&self, card: &Card) -> anyhow::Result<()> {
        let text = if self.json {
            format!("{}\n", serde_json::to_string(card)?)
        } else {
            outcome::summary(card, &self.out)
        };
        std::io::stdout()
            .write_all(text.as_bytes())
            .context("print to the standard output")
    }
}
