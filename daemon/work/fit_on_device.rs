//! Fits many series: on the device of the libtorch child what it takes, on this thread the rest and whatever the child
//! leaves.
//!
//! Nothing depends on the child. While it computes, this thread fits what is not for it; what it is not sure of, and
//! everything if it fails, is fitted here afterwards. Then it is left alone for a while, or a child that hangs would
//! cost every round of fits its patience.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use forecastd_config::TorchFit;
use forecastd_models::device_fit::{DeviceBatch, DeviceFit, DeviceWindow};
use forecastd_models::torch_job::RequestBody;
use forecastd_models::{ChannelFit, FitFailure, FitSpec, Series};
use tracing::warn;

use super::fit::{Fitted, anchor_channel};
use super::torch_process::{Answer, TorchError, TorchProcess};
use crate::message::torch_status::TorchFits;

/// With fewer channels of one length, a device wins less than the way to it costs.
const LEAST_CHANNELS: usize = 64;

/// Bytes of samples in one request: it and its copies are memory of the daemon, and a GPU is busy with less.
const REQUEST_BYTES: usize = 64 << 20;

/// Time for a batch besides that of its channels: a child may have to start, or be busy with another thread's batch.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time for a channel; libtorch on one CPU thread takes a quarter of it for 10,000 samples and 512 lags.
const PATIENCE_A_CHANNEL: Duration = Duration::from_millis(50);

/// After a failure the child is not asked for so long.
const REST: Duration = Duration::from_secs(300);

/// There where the driver of an NVIDIA GPU is loaded.
const GPU_DRIVER: &str = "/dev/nvidiactl";

/// The libtorch child as a place for fits.
pub struct FitDevice {
    torch: TorchProcess,
    rule: TorchFit,
    tell: Box<dyn Fn(TorchFits) + Send + Sync>,
    patience: Duration,
    rests_until: Mutex<Option<Instant>>,
}

impl fmt::Debug for FitDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FitDevice")
            .field("torch", &self.torch)
            .field("rule", &self.rule)
            .finish_non_exhaustive()
    }
}

/// Windows of one length that the child was asked for.
struct Asked<'a> {
    batch: DeviceBatch,
    /// Each window, and the place of its series.
    windows: Vec<(usize, DeviceWindow<'a>)>,
    answer: Result<Answer, TorchError>,
}

impl FitDevice {
    /// `rule` says what goes to the child; `tell` learns what became of it.
    pub fn new(torch: TorchProcess, rule: TorchFit, tell: impl Fn(TorchFits) + Send + Sync + 'static) -> Self {
        Self {
            torch,
            rule,
            tell: Box::new(tell),
            patience: PATIENCE,
            rests_until: Mutex::new(None),
        }
    }

    /// Fits every series, in their order. One's failure, a panic too, is its own. A fit of the child leaves nothing for
    /// the next to roll on from.
    pub fn fit_all(&self, series: &[Series], spec: &FitSpec) -> Vec<Fitted> {
        let asked = self.ask(series, spec);
        let mut fits: Vec<Option<Fitted>> = vec![None; series.len()];
        let mut is_asked = vec![false; series.len()];
        for (place, _) in asked.iter().flat_map(|asked| &asked.windows) {
            is_asked[*place] = true;
        }
        for (place, series) in series.iter().enumerate().filter(|(place, _)| !is_asked[*place]) {
            fits[place] = Some(anchor_channel(series, spec));
        }
        for asked in asked {
            for (place, fit) in self.answered(asked, spec) {
                fits[place] = Some(fit.map(|fit| (fit, None)));
            }
        }
        let all = fits.into_iter().zip(series);
        all.map(|(fit, series)| fit.unwrap_or_else(|| anchor_channel(series, spec)))
            .collect()
    }

    fn ask<'a>(&self, series: &'a [Series], spec: &FitSpec) -> Vec<Asked<'a>> {
        let least = match self.rule {
            TorchFit::Never => return Vec::new(),
            TorchFit::Always => 1,
            TorchFit::Auto => LEAST_CHANNELS,
        };
        if series.len() < least || self.rests() || (self.rule == TorchFit::Auto && !self.has_gpu()) {
            return Vec::new();
        }
        let mut lengths: BTreeMap<usize, Vec<(usize, DeviceWindow<'a>)>> = BTreeMap::new();
        for (place, series) in series.iter().enumerate() {
            // What panics here panics again in `anchor_channel`, and is this channel's failure there.
            let window = catch_unwind(AssertUnwindSafe(|| DeviceWindow::new(series, spec)));
            if let Ok(Some(window)) = window {
                lengths.entry(window.filled().len()).or_default().push((place, window));
            }
        }
        let groups = lengths.into_values().filter(|windows| windows.len() >= least);
        let batches: Vec<_> = groups.flat_map(in_requests).collect();
        let channels: usize = batches.iter().map(Vec::len).sum();
        let within = self.patience + PATIENCE_A_CHANNEL * u32::try_from(channels).unwrap_or(u32::MAX);
        let asked = batches.into_iter().map(|windows| {
            let (batch, request) = DeviceBatch::request(windows.iter().map(|(_, window)| window), spec.max_lookback);
            let answer = self.torch.ask(request, within);
            Asked { batch, windows, answer }
        });
        asked.collect()
    }

    /// What the child found, by place; nothing if it failed.
    fn answered(&self, asked: Asked<'_>, spec: &FitSpec) -> Vec<(usize, Result<ChannelFit, FitFailure>)> {
        let Asked { batch, windows, answer } = asked;
        let reply = answer.and_then(Answer::wait);
        match reply.and_then(|reply| Ok(batch.read(&reply)?)) {
            Ok(found) => {
                let fitted = found.iter().flatten().count();
                (self.tell)(TorchFits {
                    fitted: fitted as u64,
                    unsure: (found.len() - fitted) as u64,
                    failed: 0,
                });
                let fits = windows
                    .iter()
                    .zip(found)
                    .filter_map(|((place, window), found)| Some((*place, conclude(window, found?, spec)?)));
                fits.collect()
            }
            Err(error) => {
                warn!(%error, channels = batch.channels, rest = ?REST, "libtorch failed a batch of fits; the CPU does them");
                (self.tell)(TorchFits {
                    failed: 1,
                    ..TorchFits::default()
                });
                self.rest();
                Vec::new()
            }
        }
    }

    /// Whether the child computes on CUDA. It is started to be asked only where there is a driver.
    fn has_gpu(&self) -> bool {
        if self.torch.device().is_none() && Path::new(GPU_DRIVER).exists() {
            let pong = self.torch.call(RequestBody::Ping, self.patience);
            pong.map_or_else(|_| self.rest(), drop); // the supervisor has said why there is none
        }
        self.torch.device().as_deref() == Some("cuda")
    }

    fn rests(&self) -> bool {
        let until = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn rest(&self) {
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + REST);
    }
}

/// `None` if it panics: then `anchor_channel` does it over.
fn conclude(window: &DeviceWindow<'_>, found: DeviceFit, spec: &FitSpec) -> Option<Result<ChannelFit, FitFailure>> {
    catch_unwind(AssertUnwindSafe(|| window.conclude(found, spec))).ok()
}

/// Windows of one length, about equally many in each part, and at most as many as a request may hold.
fn in_requests(windows: Vec<(usize, DeviceWindow<'_>)>) -> Vec<Vec<(usize, DeviceWindow<'_>)>> {
    let length = windows.first().map_or(1, |(_, window)| window.filled().len());
    let most = (REQUEST_BYTES / (length * size_of::<f64>())).max(1);
    let size = windows.len().div_ceil(windows.len().div_ceil(most));
    let mut windows = windows.into_iter();
    let parts = std::iter::from_fn(|| Some(windows.by_ref().take(size).collect::<Vec<_>>()));
    parts.take_while(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Arc;

    use forecastd_models::{Frequency, GapPolicy, Grid, Timestamp};

    use super::*;
    use crate::work::torch_process::tests::fake_child;

    const SPEC: FitSpec = FitSpec {
        horizon: NonZeroUsize::new(6).expect("not zero"),
        levels: Vec::new(),
        max_lookback: 20,
        gaps: GapPolicy::Error,
    };

    fn series(values: Vec<f64>) -> Series {
        Series {
            channel: "c".into(),
            grid: Grid {
                origin: Timestamp(0),
                frequency: Frequency::fixed(1).expect("positive"),
            },
            first_slot: 0,
            values,
        }
    }

    /// Some to regress, of two lengths; one too short, one with a gap, one of zeros, one of nothing.
    fn mixture() -> Vec<Series> {
        let wave = |n: i32, f: f64| {
            (0..n)
                .map(|t| (f64::from(t) * f).sin() + f64::from(t * t % 7))
                .collect()
        };
        let values: Vec<Vec<f64>> = vec![
            wave(200, 0.3),
            wave(5, 1.0),
            wave(120, 0.7),
            vec![1.0, f64::NAN, 2.0],
            wave(200, 0.9),
            vec![0.0; 50],
            vec![],
        ];
        values.into_iter().map(series).collect()
    }

    /// A device with a child of this manner, and what it tells.
    fn device(manner: &'static str, rule: TorchFit) -> (FitDevice, Arc<Mutex<TorchFits>>) {
        let told = Arc::new(Mutex::new(TorchFits::default()));
        let ear = Arc::clone(&told);
        let device = FitDevice::new(fake_child(manner), rule, move |fits| {
            let mut told = ear.lock().expect("no test panics with it");
            told.fitted += fits.fitted;
            told.unsure += fits.unsure;
            told.failed += fits.failed;
        });
        (device, told)
    }

    fn by_cpu(series: &[Series]) -> Vec<Fitted> {
        series.iter().map(|series| anchor_channel(series, &SPEC)).collect()
    }

    #[test]
    fn whatever_becomes_of_the_child_every_series_has_the_fit_of_the_cpu() {
        for manner in ["crash at once", "crash in a job", "fail", "sit on jobs", "lie"] {
            let (mut device, told) = device(manner, TorchFit::Always);
            device.patience = Duration::from_millis(300);
            let series = mixture();
            assert_eq!(device.fit_all(&series, &SPEC), by_cpu(&series), "{manner}");
            let told = *told.lock().expect("no test panics with it");
            // One batch a length.
            assert_eq!((told.fitted, told.unsure, told.failed), (0, 0, 2), "{manner}");
        }
    }

    #[test]
    fn a_child_that_failed_is_left_alone_for_a_while() {
        let (device, told) = device("fail", TorchFit::Always);
        let series = mixture();
        for _ in 0..3 {
            device.fit_all(&series, &SPEC);
        }
        assert_eq!(told.lock().expect("no test panics with it").failed, 2);
    }

    #[test]
    fn no_child_is_asked_for_few_channels_or_where_it_computes_on_the_cpu_or_never() {
        let many: Vec<Series> = mixture().into_iter().cycle().take(7 * LEAST_CHANNELS).collect();
        for (rule, series) in [
            (TorchFit::Never, &many[..]),
            (TorchFit::Auto, &many[..LEAST_CHANNELS - 1]),
            (TorchFit::Auto, &many[..]), // the fake says that it computes on the CPU
            (TorchFit::Always, &[]),
        ] {
            let (device, told) = device("fail", rule);
            assert_eq!(device.fit_all(series, &SPEC), by_cpu(series));
            assert_eq!(*told.lock().expect("no test panics with it"), TorchFits::default());
        }
    }

    #[test]
    fn a_request_is_cut_where_it_would_be_too_long() {
        let long = series((0..1 << 20).map(|t| f64::from(t % 5)).collect()); // 8 MiB: 8 fit
        let spec = FitSpec {
            gaps: GapPolicy::Hold,
            ..SPEC
        };
        let windows: Vec<_> = (0..17)
            .map(|place| (place, DeviceWindow::new(&long, &spec).expect("it can be regressed")))
            .collect();
        let parts = in_requests(windows);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [6, 6, 5]);
        let places: Vec<usize> = parts.iter().flatten().map(|(place, _)| *place).collect();
        assert_eq!(places, (0..17).collect::<Vec<_>>());
    }
}
