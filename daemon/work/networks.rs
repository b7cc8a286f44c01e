//! Networks asked about windows of series, for fits: beside each channel's map, and for no longer than a job may take.
//!
//! A network that was not held against the channel's map yet is asked about windows that are new to both; one that did
//! better forecasts from the newest window. Whatever keeps it from answering, the map's forecast stands.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use forecastd_models::dasha::ScaledWindow;
use forecastd_models::network::{TrialWindows, forecast_by, newest_window};
use forecastd_models::{ChannelFit, ChannelMap, FitSpec, NetworkTrial, Series};
use tokio::runtime::Handle;
use tracing::{debug, info};

use crate::message::inference::{Infer, InferenceError, InferenceRequest, Outputs};
use crate::message::model::ModelVersion;

/// Time that all questions of one job may take together: refits of other channels wait for its thread.
const PATIENCE: Duration = Duration::from_secs(5);

/// Windows of one request: half of what the child computes at once, so that others find room.
const WINDOWS: usize = 32;

/// Asks, on a thread that may wait.
#[derive(Clone, Debug)]
pub struct Networks {
    infer: Arc<dyn Infer>,
    runtime: Handle,
    patience: Duration,
}

/// A channel's fit and map, and whether the network is still to be asked about it.
#[derive(Debug)]
pub struct Heard {
    /// By the better of the two.
    pub fit: ChannelFit,
    /// It knows how the network did beside it.
    pub map: Arc<ChannelMap>,
    /// The network could not be asked just now.
    pub owed: bool,
}

/// The network of one job.
#[derive(Debug)]
pub struct JobNetwork<'a> {
    networks: &'a Networks,
    version: Arc<ModelVersion>,
    name: Arc<str>,
    until: Instant,
    /// It did not answer: the rest of the job does without it.
    gone: bool,
}

/// Why there is no answer.
enum Unanswered {
    /// Because of the windows.
    Never,
    /// The time is not right.
    Later,
}

impl Networks {
    /// Asks `infer`, whose tasks run on this runtime.
    pub fn new(infer: Arc<dyn Infer>, runtime: Handle) -> Self {
        Self {
            infer,
            runtime,
            patience: PATIENCE,
        }
    }

    /// Begins the questions of one job.
    pub fn for_job(&self, version: Arc<ModelVersion>) -> JobNetwork<'_> {
        JobNetwork {
            networks: self,
            name: version.version.to_string().into(),
            version,
            until: Instant::now() + self.patience,
            gone: false,
        }
    }
}

impl JobNetwork<'_> {
    /// What the network says of a channel beside its map.
    pub fn beside(&mut self, series: &Series, spec: &FitSpec, fit: ChannelFit, mut map: Arc<ChannelMap>) -> Heard {
        let heard = self
            .try_out(series, spec, &mut map)
            .and_then(|trial| self.forecast(trial, &map, &fit, series, spec));
        let owed = matches!(heard, Err(Unanswered::Later));
        let fit = heard.ok().flatten().unwrap_or(fit);
        Heard { fit, map, owed }
    }

    /// How the network did beside the map; none while there is nothing to tell it by.
    fn try_out(
        &mut self,
        series: &Series,
        spec: &FitSpec,
        map: &mut Arc<ChannelMap>,
    ) -> Result<Option<Arc<NetworkTrial>>, Unanswered> {
        if let Some(trial) = map.trial().filter(|trial| trial.version == self.name) {
            return Ok(Some(Arc::clone(trial)));
        }
        let description = &self.version.facts.description;
        let Some(windows) = description.series else {
            return Ok(None);
        };
        let lookback = description.architecture.input.positions() as usize;
        let Some(trial) = TrialWindows::of(map, series, spec, lookback, windows.seen_until) else {
            return Ok(None);
        };
        let answers = self.ask(trial.windows(), spec)?;
        let trial = Arc::new(trial.judge(Arc::clone(&self.name), &answers, spec));
        let (channel, model, version) = (&*series.channel, &*self.version.model, self.version.version.short());
        let (mse, map_mse, windows) = (trial.mse, trial.map_mse, trial.windows);
        info!(channel, model, %version, mse, map_mse, windows, leads = trial.leads(), "network held against the map");
        // Nobody else holds the map of a channel whose fit is under way.
        Arc::make_mut(map).set_trial(Arc::clone(&trial));
        Ok(Some(trial))
    }

    /// The network's forecast, if it leads.
    fn forecast(
        &mut self,
        trial: Option<Arc<NetworkTrial>>,
        map: &ChannelMap,
        fit: &ChannelFit,
        series: &Series,
        spec: &FitSpec,
    ) -> Result<Option<ChannelFit>, Unanswered> {
        let Some(trial) = trial.filter(|trial| trial.leads()) else {
            return Ok(None);
        };
        let Some(window) = newest_window(series, spec, trial.lookback) else {
            return Ok(None);
        };
        let answers = self.ask(std::slice::from_ref(&window), spec)?;
        let answer = answers.first().map(Vec::as_slice).unwrap_or_default();
        Ok(forecast_by(&trial, map, fit, series, spec, (&window, answer)))
    }

    /// One answer a window, a number a step.
    fn ask(&mut self, windows: &[ScaledWindow], spec: &FitSpec) -> Result<Vec<Vec<f32>>, Unanswered> {
        let mut answers = Vec::with_capacity(windows.len());
        for windows in windows.chunks(WINDOWS) {
            if self.gone {
                return Err(Unanswered::Later);
            }
            let scores = self.ask_once(windows)?;
            let steps = spec.horizon.get();
            if scores.len() != windows.len() * steps {
                return Err(Unanswered::Never);
            }
            answers.extend(scores.chunks(steps).map(<[f32]>::to_vec));
        }
        Ok(answers)
    }

    fn ask_once(&mut self, windows: &[ScaledWindow]) -> Result<Vec<f32>, Unanswered> {
        let numbers = windows.iter().flat_map(|window| &window.values);
        let asked = self.networks.infer.infer(InferenceRequest {
            model: Arc::clone(&self.version.model),
            version: Some(Arc::clone(&self.name)),
            count: windows.len() as u32,
            inputs: numbers.flat_map(|number| number.to_le_bytes()).collect(),
            deadline: self.until,
        });
        match self.networks.runtime.block_on(asked) {
            Ok(answer) => match answer.outputs {
                Outputs::Scores(scores) => Ok(scores),
                Outputs::Classes(_) => Err(Unanswered::Never),
            },
            Err(
                error @ (InferenceError::Input { .. } | InferenceError::Poison { .. } | InferenceError::Failed { .. }),
            ) => {
                debug!(model = &*self.version.model, %error, "the network has nothing to say of a channel");
                Err(Unanswered::Never)
            }
            Err(error) => {
                debug!(model = &*self.version.model, %error, "the network cannot be asked; maps forecast instead");
                self.gone = true;
                Err(Unanswered::Later)
            }
        }
    }
}
