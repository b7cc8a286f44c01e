//! A fit whose window moves: a few rows enter, a few leave, and the model follows in a time that does not depend on the
//! window's length.
//!
//! A full pass, the anchor, fixes how samples become stationary values and takes the sums that a fit needs: the lag
//! products and the moments of KPSS. From then on each row adds to them or takes its part off. The arithmetic is exact
//! but for rounding, so the fit is that of [`fit`](crate::fit()) on the same window; where rounding or a fixed
//! transformation could show, or a sum over the whole window is needed after all, it [declines](Decline), and the
//! caller anchors anew. The caller holds the window, and gives its ends with each move.

use std::fmt;

use crate::estimate::{Estimate, Extent};
use crate::fit::{ChannelFit, Cutoff, FitFailure, FitSpec, Window};
use crate::gaps::GapPolicy;
use crate::lag_products::{LagProducts, add_products};
use crate::rolling_kpss::RollingKpss;
use crate::series::{ChannelName, Series};
use crate::solution::ArSolution;
use crate::stationary::{Form, MAX_NUM_DIFF, Stationary, differences};
use crate::time::{Grid, Slot};
use crate::unit::Unit;

/// Least squares loses the digits by which the residuals are smaller than the values; with this share of squares left,
/// coefficients from sums that were rounded in another order still agree to 1e-9.
const LEAST_SHARE: f64 = 1e-4;

/// The values' mean was taken off at the anchor. It may wander until it makes up this share of their squares, a tenfold
/// of their variance.
const LARGEST_CENTRE: f64 = 0.9;

/// Powers of two by which the largest sample may leave the anchor's unit.
const UNITS_APART: u32 = 2;

/// One row in so many may move at once; a full pass costs little more then.
const LEAST_STAY: usize = 8;

/// What a fit needs to know of one channel's window to be made again when the window has moved.
#[derive(Clone, Debug, PartialEq)]
pub struct RollingFit {
    /// Of the anchor's samples.
    unit: Unit,
    form: Form,
    /// The window's length.
    slots: usize,
    /// Rows that entered since the anchor.
    rolled: usize,
    /// Products of the stationary values with their lags, as [`LagProducts`] has them.
    products: Vec<f64>,
    /// Sum of their targets.
    sum: f64,
    /// Of the samples, and of their differences if there are any.
    kpss: Vec<RollingKpss>,
}

/// A window that moved: what left it, what entered, and the samples around these. Gaps are `NaN`.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowMove {
    /// Whose.
    pub channel: ChannelName,
    /// The grid on which it lies.
    pub grid: Grid,
    /// The slot of the newest sample.
    pub cutoff_slot: Slot,
    /// The slots that left, and at least [`RollingFit::reach`] of those that are the oldest now. Begins and ends with a
    /// sample.
    pub oldest: Vec<f64>,
    /// How many left.
    pub left: usize,
    /// At least [`RollingFit::reach`] of the slots that were the newest before, and those that entered. Begins and ends
    /// with a sample.
    pub newest: Vec<f64>,
    /// How many entered.
    pub entered: usize,
    /// Slots of the window as it is now that have no sample.
    pub missing: usize,
    /// The lowest sample of the window as it is now.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
}

/// Why a fit could not roll, and the whole window is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decline {
    /// So many rows moved that a full pass costs little more.
    Far,
    /// As many rows have entered since the anchor as the window is long: rounding is wiped off by a full pass.
    Old,
    /// The window is short, and its length now bears another highest order.
    OrderCap,
    /// The gap policy has something to say: gaps where none may be, or too many.
    Gaps,
    /// The samples became much larger or smaller, or so large that no finite forecast exists.
    Magnitude,
    /// The samples' mean went far from where it was.
    Mean,
    /// KPSS asks for another number of differences.
    Differences,
    /// KPSS is so near to another outcome, or to testing what is not there, that rounding might decide.
    Borderline,
    /// The residuals are too small beside the samples for sums to tell them.
    Residuals,
    /// The regression runs away, and the variance of a random walk is wanted.
    Exploding,
}

impl Decline {
    /// Every reason, for counters that start at zero.
    pub const ALL: [Self; 10] = [
        Self::Far,
        Self::Old,
        Self::OrderCap,
        Self::Gaps,
        Self::Magnitude,
        Self::Mean,
        Self::Differences,
        Self::Borderline,
        Self::Residuals,
        Self::Exploding,
    ];
}

impl fmt::Display for Decline {
    /// The label value of this reason in metrics.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Far => "far",
            Self::Old => "old",
            Self::OrderCap => "order_cap",
            Self::Gaps => "gaps",
            Self::Magnitude => "magnitude",
            Self::Mean => "mean",
            Self::Differences => "differences",
            Self::Borderline => "borderline",
            Self::Residuals => "residuals",
            Self::Exploding => "exploding",
        })
    }
}

impl RollingFit {
    /// The fit of a whole window, as [`fit`](crate::fit()) makes it, and what is needed to roll it on: nothing where
    /// the next fit would be declined for what this one shows.
    ///
    /// # Errors
    ///
    /// Those of [`fit`](crate::fit()).
    pub fn anchor(series: &Series, spec: &FitSpec) -> Result<(ChannelFit, Option<Box<Self>>), FitFailure> {
        let window = Window::new(series, spec.gaps)?;
        if let Some(fallback) = window.fallback() {
            let fit = window.conclude(window.stand_in(fallback), spec)?;
            return Ok((fit, None));
        }
        let stationary = Stationary::new(&window.filled);
        let products = stationary.products(spec.max_lookback);
        let solution = stationary.solve(&products);
        let bears_rolling = bears_rolling(&solution);
        let fit = window.conclude(Estimate::auto_ar(stationary.form, solution), spec)?;
        let rolling = if bears_rolling && fit.model.fallback.is_none() {
            Self::of(&window, stationary.form, products)
        } else {
            None
        };
        Ok((fit, rolling.map(Box::new)))
    }

    fn of(window: &Window<'_>, form: Form, products: LagProducts) -> Option<Self> {
        let mut kpss = vec![RollingKpss::anchor(&window.filled)?];
        if form.num_diff > 0 {
            kpss.push(RollingKpss::anchor(&differences(&window.filled))?);
        }
        Some(Self {
            unit: window.unit,
            form,
            slots: window.filled.len(),
            rolled: 0,
            products: products.products,
            sum: products.sum,
            kpss,
        })
    }

    /// Slots that a move must come with, beside those that left or entered.
    pub fn reach(&self) -> usize {
        let of_kpss = self
            .kpss
            .iter()
            .zip(0..)
            .map(|(level, num_diff)| level.reach() + num_diff);
        of_kpss.fold(self.order() + self.form.num_diff, usize::max)
    }

    /// Rows that may leave or enter a window of so many slots at once, before a full pass is the better deal.
    pub fn most_moved(slots: usize) -> usize {
        slots / LEAST_STAY
    }

    /// Moves on, and fits the window as it is now. `spec` is that of the anchor.
    ///
    /// # Errors
    ///
    /// A reason to [anchor](Self::anchor) anew.
    ///
    /// # Panics
    ///
    /// If the move comes with fewer slots than [`reach`](Self::reach).
    pub fn roll(mut self: Box<Self>, moved: &WindowMove, spec: &FitSpec) -> Result<(ChannelFit, Box<Self>), Decline> {
        self.admit(moved, spec)?;
        let ends = Ends::new(moved, self.unit, spec.gaps, self.reach());
        self.slots = self.slots + moved.entered - moved.left;
        self.rolled += moved.entered;
        if self.roll_kpss(&ends)? != self.form.num_diff {
            return Err(Decline::Differences);
        }
        let products = self.roll_products(&ends);
        let energy = products.products[0];
        if products.sum * products.sum > LARGEST_CENTRE * energy * products.rows as f64 {
            return Err(Decline::Mean);
        }
        let residual_sum = |_: &_| f64::NAN; // is declined below
        let solution = ArSolution::new(&products, self.form.known_variance(), residual_sum);
        if !bears_rolling(&solution) {
            return Err(Decline::Residuals);
        }
        let estimate = Estimate::auto_ar(self.form, solution);
        let outlook = estimate.outlook(&ends.newest, spec.horizon);
        if !outlook.stays_near(self.extent(moved)) {
            return Err(Decline::Exploding);
        }
        let cutoff = Cutoff {
            channel: &moved.channel,
            grid: moved.grid,
            slot: moved.cutoff_slot,
            unit: self.unit,
            filled: moved.missing,
        };
        let fit = cutoff.channel_fit(estimate, &outlook, &spec.levels);
        Ok((fit.map_err(|_| Decline::Magnitude)?, self))
    }

    fn order(&self) -> usize {
        self.products.len() - 1
    }

    fn extent(&self, moved: &WindowMove) -> Extent {
        Extent {
            lowest: self.unit.strip(moved.lowest),
            highest: self.unit.strip(moved.highest),
            count: self.slots,
        }
    }

    /// What can be told before any arithmetic.
    fn admit(&self, moved: &WindowMove, spec: &FitSpec) -> Result<(), Decline> {
        let slots = self.slots + moved.entered - moved.left;
        let order = self.form.max_order(slots - self.form.num_diff, spec.max_lookback);
        let too_gappy = moved.missing > slots - moved.missing;
        let extremes = [moved.lowest, moved.highest];
        let is_near = |unit: Unit| unit.distance(self.unit) <= UNITS_APART;
        if moved.entered.max(moved.left) > Self::most_moved(self.slots) {
            Err(Decline::Far)
        } else if self.rolled + moved.entered > self.slots {
            Err(Decline::Old)
        } else if order != self.order() {
            Err(Decline::OrderCap)
        } else if too_gappy || (moved.missing > 0 && spec.gaps == GapPolicy::Error) {
            Err(Decline::Gaps)
        } else if !extremes.iter().all(|extreme| extreme.is_finite()) || !is_near(Unit::of(&extremes)) {
            Err(Decline::Magnitude)
        } else {
            Ok(())
        }
    }

    /// The number of differences that the window needs now; the most there may be, where no level that is kept passes.
    fn roll_kpss(&mut self, ends: &Ends) -> Result<usize, Decline> {
        let mut ends = ends.clone();
        let mut needed = MAX_NUM_DIFF;
        for (level, kpss) in self.kpss.iter_mut().enumerate() {
            let (oldest, newest) = ends.around(kpss.reach());
            let kpss = kpss
                .roll(oldest, ends.left, newest, ends.entered)
                .ok_or(Decline::Borderline)?;
            if kpss.passes() {
                needed = needed.min(level);
            }
            ends.oldest = differences(&ends.oldest);
            ends.newest = differences(&ends.newest);
        }
        Ok(needed)
    }

    fn roll_products(&mut self, ends: &Ends) -> LagProducts {
        let order = self.order();
        let values = Ends {
            oldest: self.form.values(&ends.oldest),
            newest: self.form.values(&ends.newest),
            ..*ends
        };
        let (oldest, newest) = values.around(order);
        let (leaving, entering) = (order..order + ends.left, order..order + ends.entered);
        self.sum += newest[entering.clone()].iter().sum::<f64>() - oldest[leaving.clone()].iter().sum::<f64>();
        add_products(&mut self.products, newest, entering, 1.0);
        add_products(&mut self.products, oldest, leaving, -1.0);
        LagProducts {
            rows: self.slots - self.form.num_diff - order,
            products: self.products.clone(),
            sum: self.sum,
            oldest: oldest[ends.left..].to_vec(),
            newest: newest[ends.entered..].to_vec(),
        }
    }
}

/// Whether the next fit can be expected to have its digits.
fn bears_rolling(solution: &ArSolution) -> bool {
    solution.residual_share.is_some_and(|share| share > LEAST_SHARE)
}

/// The window's ends without gaps, the unit off.
#[derive(Clone, Debug)]
struct Ends {
    /// Those that left, then the oldest.
    oldest: Vec<f64>,
    left: usize,
    /// The newest before, then those that entered.
    newest: Vec<f64>,
    entered: usize,
}

impl Ends {
    fn new(moved: &WindowMove, unit: Unit, gaps: GapPolicy, reach: usize) -> Self {
        let ready = |samples: &[f64]| {
            let mut samples: Vec<f64> = samples.iter().map(|value| unit.strip(*value)).collect();
            gaps.fill(&mut samples);
            samples
        };
        let (mut oldest, mut newest) = (ready(&moved.oldest), ready(&moved.newest));
        oldest.truncate(moved.left + reach);
        newest.drain(..newest.len() - moved.entered - reach);
        Self {
            oldest,
            left: moved.left,
            newest,
            entered: moved.entered,
        }
    }

    /// What left or entered, and so many beside.
    fn around(&self, reach: usize) -> (&[f64], &[f64]) {
        let newest = self.newest.len() - self.entered - reach;
        (&self.oldest[..self.left + reach], &self.newest[newest..])
    }
}
