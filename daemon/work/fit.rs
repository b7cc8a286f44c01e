//! Fits a batch of channels; one channel's failure is that channel's alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use forecastd_models::{
    ChannelFit, ChannelMap, ChannelName, Decline, FitFailure, FitSpec, Method, Pool, RollingFit, Series, SeriesPool,
    WindowMove,
};

use tracing::warn;

use super::fit_on_device::FitDevice;
use super::networks::{Heard, Networks};
use super::worker::panic_message;
use crate::message::fit_job::{ChannelJob, FitJob, FitOutcome, FitReport, FitWay, JobWindow, PoolJob, PoolReport};

/// A fit, and what the next one may roll on from.
pub type Fitted = Result<(ChannelFit, Option<Box<RollingFit>>), FitFailure>;

/// A fit by a map, and the map.
pub type Mapped = (ChannelFit, Arc<ChannelMap>);

/// Finds out what channels have in common. One that breaks is left out.
pub fn pool(job: PoolJob) -> PoolReport {
    let started = Instant::now();
    let pool = pool_of(&job.series, &job.spec, job.method);
    PoolReport {
        dataset: job.dataset,
        epoch: job.epoch,
        spec: job.spec,
        method: job.method,
        pool: Arc::new(pool),
        elapsed: started.elapsed(),
    }
}

/// What these series have in common.
pub fn pool_of(series: &[Series], spec: &FitSpec, method: Method) -> Pool {
    let Some(mut pool) = SeriesPool::new(spec, method) else {
        return Pool::default();
    };
    for series in series {
        // It breaks before it adds, if it does.
        let _ = contained(|| pool.add(series));
    }
    contained(|| pool.finish()).unwrap_or_default()
}

/// Fits every channel of a job: here those that only moved and those that are mapped, on `device` what it takes of the
/// others. Those that are mapped are held against the job's network.
pub fn fit(job: FitJob, device: &FitDevice, networks: &Networks) -> FitReport {
    let started = Instant::now();
    let mut network = job.network.map(|version| networks.for_job(version));
    let mut mapped = |channel, version, series: &Series, (fit, map): Mapped, way| {
        let heard = match &mut network {
            Some(network) => network.beside(series, &job.spec, fit, map),
            None => Heard { fit, map, owed: false },
        };
        mapped(channel, version, heard, way)
    };
    let (mut outcomes, mut declined) = (Vec::new(), Vec::new());
    let (mut others, mut asked, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for ChannelJob {
        channel,
        version,
        window,
    } in job.channels
    {
        match window {
            JobWindow::Moved(rolling, moved) => match roll(rolling, &moved, &job.spec) {
                Ok(fitted) => outcomes.push(outcome(channel, version, fitted, FitWay::Rolled)),
                Err(decline) => declined.push((channel, decline)),
            },
            JobWindow::Mapped(map, series) => match applied(&map, &series, &job.spec) {
                Some(fit) => outcomes.push(mapped(channel, version, &series, (fit, map), FitWay::Applied)),
                None => others.push((channel, version, series)),
            },
            JobWindow::Whole(series) => others.push((channel, version, series)),
        }
    }
    for (channel, version, series) in others {
        match map_channel(&series, &job.spec, job.method, job.pool.as_deref()) {
            Some(found) => outcomes.push(mapped(channel, version, &series, found, FitWay::Whole)),
            None => {
                asked.push((channel, version));
                whole.push(series);
            }
        }
    }
    let fits = device.fit_all(&whole, &job.spec);
    let anchored = asked.into_iter().zip(fits);
    outcomes.extend(anchored.map(|((channel, version), fitted)| outcome(channel, version, fitted, FitWay::Whole)));
    FitReport {
        dataset: job.dataset,
        epoch: job.epoch,
        outcomes,
        declined,
        elapsed: started.elapsed(),
    }
}

fn outcome(channel: ChannelName, version: u64, fitted: Fitted, way: FitWay) -> FitOutcome {
    let (result, rolling) = match fitted {
        Ok((fit, rolling)) => (Ok(Arc::new(fit)), rolling),
        Err(failure) => (Err(failure), None),
    };
    FitOutcome {
        channel,
        version,
        result,
        way,
        rolling,
        map: None,
        owed: false,
    }
}

fn mapped(channel: ChannelName, version: u64, heard: Heard, way: FitWay) -> FitOutcome {
    FitOutcome {
        channel,
        version,
        result: Ok(Arc::new(heard.fit)),
        way,
        rolling: None,
        map: Some(heard.map),
        owed: heard.owed,
    }
}

/// A forecast by a map that is there; `None` if it cannot serve any more.
fn applied(map: &ChannelMap, series: &Series, spec: &FitSpec) -> Option<ChannelFit> {
    contained(|| map.forecast(series, spec.gaps)).and_then(|fit| fit).ok()
}

/// Chooses a map; `None` where Auto-AR by itself is to serve, or to say why nothing can.
pub fn map_channel(series: &Series, spec: &FitSpec, method: Method, pool: Option<&Pool>) -> Option<Mapped> {
    if !method.is_mapped() {
        return None;
    }
    let chosen = contained(|| ChannelMap::fit(series, spec, method, pool)).and_then(|chosen| chosen);
    if let Err(FitFailure::Panicked { message }) = &chosen {
        warn!(
            channel = &*series.channel,
            message, "choosing a method panicked; Auto-AR serves instead"
        );
    }
    chosen.ok().flatten().map(|(fit, map)| (fit, Arc::new(map)))
}

fn roll(rolling: Box<RollingFit>, moved: &WindowMove, spec: &FitSpec) -> Result<Fitted, Decline> {
    match contained(|| rolling.roll(moved, spec)) {
        Ok(rolled) => rolled.map(|(fit, rolling)| Ok((fit, Some(rolling)))),
        Err(panicked) => Ok(Err(panicked)),
    }
}

/// Fits a whole window, for others to roll on from.
pub fn anchor_channel(series: &Series, spec: &FitSpec) -> Fitted {
    contained(|| RollingFit::anchor(series, spec)).and_then(|fitted| fitted)
}

/// Fits a whole window, and no other after it.
pub fn fit_channel(series: &Series, spec: &FitSpec) -> Result<ChannelFit, FitFailure> {
    contained(|| forecastd_models::fit(series, spec)).and_then(|fit| fit)
}

/// A panic is that channel's failure.
fn contained<T>(fit: impl FnOnce() -> T) -> Result<T, FitFailure> {
    catch_unwind(AssertUnwindSafe(fit)).map_err(|panic| FitFailure::Panicked {
        message: panic_message(panic.as_ref()),
    })
}
