//! The section `forecast`: what is asked of a fit, and what is shown of it.

use std::num::NonZeroUsize;
use std::time::Duration;

use forecastd_models::{Level, Method};

use super::CENTURY;
use crate::ModelName;
use crate::dataset::DASHA;
use crate::error::Complaint;
use crate::field::{Field, Section};
use crate::folders::Claims;

/// What the section says.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) network: Option<ModelName>,
    pub(super) horizon: NonZeroUsize,
    pub(super) steps: Vec<usize>,
    pub(super) levels: Vec<Level>,
    pub(super) max_lookback: usize,
    pub(super) refit_interval: Duration,
    pub(super) max_age: Option<Duration>,
    pub(super) keep_files: NonZeroUsize,
}

const LONGEST_HORIZON: usize = 100_000;

/// A fit's map from lags to forecasts has a number for each step and each lag, and every thread holds one: 512 MiB.
const LARGEST_MAP: usize = 64 << 20;

/// Reads the section; `window` is the dataset's `history.window`, if that was right.
pub(super) fn asked(field: &Field, window: Option<NonZeroUsize>, claims: &mut Claims) -> Option<Asked> {
    field.section(|keys| {
        let method = keys.or("method", Some(Method::default()), method);
        let network = network(keys, method, claims);
        let horizon = keys.required("horizon", "the number of steps to forecast", |field| {
            field.whole(1..=LONGEST_HORIZON)
        });
        let steps = keys.optional("steps", |field| {
            field.some(|item, earlier| step(item, earlier, horizon))
        });
        let levels = keys.optional("levels", levels);
        let max_lookback = max_lookback(keys, window);
        let refit_interval = keys.or("refit_interval", Duration::ZERO, |field| {
            field.duration(Duration::ZERO..=CENTURY)
        });
        let max_age = keys.optional("max_age", |field| field.duration(Duration::from_millis(1)..=CENTURY));
        let keep_files = keys.or("keep_files", 100, |field| field.whole(1..=1_000_000));
        let (horizon, max_lookback) = (horizon?, max_lookback?);
        check_map(&keys.field("horizon"), horizon, max_lookback)?;
        Some(Asked {
            method: method?.unwrap_or_default(),
            network: network?,
            horizon: NonZeroUsize::new(horizon)?,
            steps: steps?.unwrap_or_else(|| default_steps(horizon)),
            levels: levels?.unwrap_or_else(default_levels),
            max_lookback,
            refit_interval: refit_interval?,
            max_age: max_age?,
            keep_files: NonZeroUsize::new(keep_files?)?,
        })
    })
}

/// `None` for networks beside the default.
fn method(field: &Field) -> Option<Option<Method>> {
    let names = Method::all().map(|method| (method.name(), Some(method)));
    let names: Vec<(&str, Option<Method>)> = names.chain([(DASHA, None)]).collect();
    field.word(&names)
}

/// The model of the networks, which goes with that method and with no other.
fn network(keys: &mut Section, method: Option<Option<Method>>, claims: &mut Claims) -> Option<Option<ModelName>> {
    let field = keys.field("model");
    match (method?, field.is_null()) {
        (None, true) => {
            let complaint = Complaint::new("is required beside `method: dasha`");
            field.refuse(complaint.hint("one of the names under `models`"))
        }
        (None, false) => Some(Some(claims.want_model(&field, super::dataset::name(&field)?))),
        (Some(_), true) => Some(None),
        (Some(_), false) => {
            let complaint = Complaint::new("is only for `method: dasha`");
            field.refuse(complaint.hint("leave `model` out, or let its networks compete"))
        }
    }
}

/// Refuses a horizon that with this lookback would take too much memory.
fn check_map(field: &Field, horizon: usize, max_lookback: usize) -> Option<()> {
    let numbers = horizon * max_lookback;
    if numbers <= LARGEST_MAP {
        return Some(());
    }
    let message = format!("{horizon} steps by a lookback of {max_lookback} are {numbers} numbers in every running fit");
    let most = LARGEST_MAP / max_lookback;
    field.refuse(Complaint::new(message).hint(format!("at most {most} steps, or a shorter `max_lookback`")))
}

/// The next value and the farthest.
fn default_steps(horizon: usize) -> Vec<usize> {
    if horizon == 1 { vec![1] } else { vec![1, horizon] }
}

fn default_levels() -> Vec<Level> {
    [0.8, 0.95].into_iter().filter_map(Level::new).collect()
}

fn step(field: &Field, earlier: &[usize], horizon: Option<usize>) -> Option<usize> {
    let step = field.whole(1..=LONGEST_HORIZON)?;
    if let Some(horizon) = horizon.filter(|horizon| step > *horizon) {
        return field.refuse(Complaint::new(format!("{step} lies beyond the horizon of {horizon}")));
    }
    if let Some(last) = earlier.last().filter(|last| step <= **last) {
        let complaint = Complaint::new(format!("{step} comes after {last}"));
        return field.refuse(complaint.hint("steps ascend, each of them once"));
    }
    Some(step)
}

fn levels(field: &Field) -> Option<Vec<Level>> {
    // Each is two more samples a step and two more columns in every forecast file.
    const MOST: usize = 8;
    let levels = field.list(level)?;
    if levels.len() > MOST {
        return field.refuse(Complaint::new(format!("{} levels; at most {MOST}", levels.len())));
    }
    Some(levels)
}

fn level(field: &Field, earlier: &[Level]) -> Option<Level> {
    let share = field.number()?;
    let Some(level) = Level::new(share) else {
        let complaint = field.expected("a share between 0 and 1");
        return field.refuse(complaint.hint("80 % is 0.8"));
    };
    // As forecast files name them: two levels that read the same would be two columns of one name.
    if earlier.iter().any(|other| other.percent() == level.percent()) {
        return field.refuse(Complaint::new(format!("{} % is there already", level.percent())));
    }
    Some(level)
}

/// By default 512, or what the window allows.
fn max_lookback(keys: &mut Section, window: Option<NonZeroUsize>) -> Option<usize> {
    const DEFAULT: usize = 512;
    // No order above a quarter of the samples is tried (models/src/estimate.rs), so what goes beyond is never used.
    // Up to half of the window that is let pass; a longer lookback is a mistake in one of the two.
    let most = window.map(|window| window.get() / 2);
    let field = keys.field("max_lookback");
    if field.is_null() {
        return Some(most.map_or(DEFAULT, |most| most.min(DEFAULT)));
    }
    let max_lookback = field.whole(1..=4096)?;
    match most {
        Some(most) if max_lookback > most => {
            let complaint = Complaint::new(format!("{max_lookback} is more than half of `history.window`"));
            field.refuse(complaint.hint(format!("at most {most}, or a window of {}", 2 * max_lookback)))
        }
        _ => Some(max_lookback),
    }
}
