//! Fits whose regression is found by the libtorch child: what goes there, what comes back, and what that becomes.
//!
//! A device is given windows without gaps and finds what [`fit`](crate::fit()) finds in the middle: differences,
//! order, coefficients. Before that, gaps are filled and the unit is taken off, here; after it, the same forecast is
//! made of the same numbers. A window of which the device is not sure comes back as `None`, and is for
//! [`fit`](crate::fit()): so the orders are the same wherever they were found.
//!
//! An answer is believed as far as it can be checked: the wrong number of values, one that is not finite, an order
//! beyond the highest are a [`Nonsense`], never a forecast.

use std::num::NonZeroUsize;

use thiserror::Error;

use crate::estimate::Estimate;
use crate::fit::{ChannelFit, FitFailure, FitSpec, Window};
use crate::frame::{Frame, FrameError, put_values, slice_of, values_of};
use crate::series::Series;
use crate::solution::ArSolution;
use crate::stationary::{Form, MAX_NUM_DIFF};
use crate::torch_job::{Found, ReplyBody, RequestBody};
use crate::unit::Unit;

/// Values of one window in the reply's first slice: centre, intercept, variance, BIC.
const NUMBERS: usize = 4;

/// The largest power of two that `f64` can have as a unit, either way.
const MAX_EXPONENT: i32 = 1074;

/// The samples of one series, made ready for a device.
#[derive(Debug)]
pub struct DeviceWindow<'a> {
    window: Window<'a>,
}

/// What a device finds for one window: the auto-regression of its stationary values, and how they were made.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceFit {
    /// Differences until KPSS passes, at most two.
    pub num_diff: usize,
    /// The mean of the differenced samples.
    pub centre: f64,
    /// The power of two that brings the largest centred value near one.
    pub exponent: i32,
    /// Lag 1 first, in the unit of the stationary values, as all that follows.
    pub coefficients: Vec<f64>,
    /// The constant term.
    pub intercept: f64,
    /// Of the residuals, degrees of freedom taken off.
    pub variance: f64,
    /// At the chosen order, on the common sample of all orders.
    pub bic: f64,
}

/// Windows of one length, as a device is asked for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceBatch {
    /// How many windows.
    pub channels: usize,
    /// Samples of each.
    pub length: usize,
    /// As in [`FitSpec`].
    pub max_lookback: usize,
}

/// Why an answer about a batch, or a batch itself, cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Nonsense {
    /// Not about fits at all.
    #[error("an answer to another question")]
    OtherAnswer,
    /// A slice too many or too few, or one that is no array.
    #[error("slices that are not what the header says: {0}")]
    Slices(String),
    /// Another number of windows than was asked for.
    #[error("{answered} windows answered of {asked}")]
    Windows {
        /// In the answer.
        answered: usize,
        /// In the batch.
        asked: usize,
    },
    /// A number that no fit has.
    #[error("window {window}: {what}")]
    Impossible {
        /// Its place in the batch.
        window: usize,
        /// What no fit has.
        what: &'static str,
    },
}

impl From<FrameError> for Nonsense {
    fn from(error: FrameError) -> Self {
        Self::Slices(error.to_string())
    }
}

impl<'a> DeviceWindow<'a> {
    /// Fills gaps and takes the unit off; `None` for a series without a regression in it, which is for
    /// [`fit`](crate::fit()): it tells the failure or the fallback.
    pub fn new(series: &'a Series, spec: &FitSpec) -> Option<Self> {
        let window = Window::new(series, spec.gaps).ok()?;
        window.fallback().is_none().then_some(Self { window })
    }

    /// The samples that a device is given, without gaps.
    pub fn filled(&self) -> &[f64] {
        &self.window.filled
    }

    /// The model and its forecast, from what a device has found.
    pub fn conclude(&self, found: DeviceFit, spec: &FitSpec) -> Result<ChannelFit, FitFailure> {
        let form = Form {
            num_diff: found.num_diff,
            centre: found.centre,
            unit: Unit::power_of_two(found.exponent),
        };
        let values = self.window.filled.len() - found.num_diff;
        let max_order = form.max_order(values, spec.max_lookback);
        let solution = ArSolution {
            coefficients: found.coefficients,
            intercept: found.intercept,
            variance: Some(found.variance),
            bic: found.bic,
            rows: values - max_order,
            max_order,
            residual_share: None, // asked for by windows that move, which stay here
        };
        self.window.conclude(Estimate::auto_ar(form, solution), spec)
    }
}

impl DeviceBatch {
    /// The batch of these windows, which are all of one length, and the request for it.
    pub fn request<'w, 'a: 'w>(
        windows: impl IntoIterator<Item = &'w DeviceWindow<'a>>,
        max_lookback: usize,
    ) -> (Self, Frame<RequestBody>) {
        let windows: Vec<&[f64]> = windows.into_iter().map(DeviceWindow::filled).collect();
        let length = windows.first().map_or(0, |samples| samples.len());
        let bytes = length * size_of::<f64>();
        let mut samples = vec![0; windows.len() * bytes];
        for (row, window) in samples.chunks_mut(bytes.max(1)).zip(&windows) {
            put_values(window, row);
        }
        let batch = Self {
            channels: windows.len(),
            length,
            max_lookback: max_lookback.min(length),
        };
        let header = RequestBody::Fit {
            channels: batch.channels as u32,
            max_lookback: batch.max_lookback as u32,
        };
        let slices = vec![samples];
        (batch, Frame { header, slices })
    }

    /// The batch that a request asks for, and the bytes of its samples.
    ///
    /// # Errors
    ///
    /// If the slices are not what the header says.
    pub fn of_request(channels: u32, max_lookback: u32, slices: &[Vec<u8>]) -> Result<(Self, &[u8]), Nonsense> {
        let [samples] = slices else {
            return Err(Nonsense::Slices(format!("{} instead of 1", slices.len())));
        };
        let uneven = || Nonsense::Slices(format!("{} bytes of samples for {channels} windows", samples.len()));
        let channels = NonZeroUsize::new(channels as usize).ok_or_else(uneven)?;
        let length = samples.len() / size_of::<f64>() / channels;
        if length == 0 || length * channels.get() * size_of::<f64>() != samples.len() {
            return Err(uneven());
        }
        let batch = Self {
            channels: channels.get(),
            length,
            max_lookback: max_lookback as usize,
        };
        Ok((batch, samples))
    }

    /// The highest order for so many differences: as [`fit`](crate::fit()) has it.
    pub fn max_order(&self, num_diff: usize) -> usize {
        let form = Form {
            num_diff,
            centre: 0.0,
            unit: Unit::power_of_two(0),
        };
        form.max_order(self.length.saturating_sub(num_diff), self.max_lookback)
    }

    /// The reply that says what was found.
    pub fn reply(found: &[Option<DeviceFit>]) -> Frame<ReplyBody> {
        let header = |fit: &DeviceFit| Found {
            num_diff: fit.num_diff as u8,
            order: fit.coefficients.len() as u32,
            exponent: fit.exponent,
        };
        let sure = || found.iter().flatten();
        let numbers: Vec<f64> = sure()
            .flat_map(|fit| [fit.centre, fit.intercept, fit.variance, fit.bic])
            .collect();
        let coefficients: Vec<f64> = sure().flat_map(|fit| &fit.coefficients).copied().collect();
        let found = found.iter().map(|fit| fit.as_ref().map(header)).collect();
        Frame {
            header: ReplyBody::Fit { found },
            slices: vec![slice_of(&numbers), slice_of(&coefficients)],
        }
    }

    /// What a reply to this batch says.
    ///
    /// # Errors
    ///
    /// If it cannot be true.
    pub fn read(&self, reply: &Frame<ReplyBody>) -> Result<Vec<Option<DeviceFit>>, Nonsense> {
        let ReplyBody::Fit { found } = &reply.header else {
            return Err(Nonsense::OtherAnswer);
        };
        let [numbers, coefficients] = reply.slices.as_slice() else {
            return Err(Nonsense::Slices(format!("{} instead of 2", reply.slices.len())));
        };
        if found.len() != self.channels {
            return Err(Nonsense::Windows {
                answered: found.len(),
                asked: self.channels,
            });
        }
        let (numbers, coefficients) = (values_of(numbers)?, values_of(coefficients)?);
        self.check(found)?;
        check_lengths(found, &numbers, &coefficients)?;
        let mut numbers = numbers.into_iter();
        let mut coefficients = coefficients.into_iter();
        let fits = found.iter().enumerate().map(|(window, found)| {
            found
                .map(|found| take_fit(found, &mut numbers, &mut coefficients))
                .map(|fit| plausible(window, fit))
                .transpose()
        });
        fits.collect()
    }

    fn check(&self, found: &[Option<Found>]) -> Result<(), Nonsense> {
        for (window, found) in found.iter().enumerate() {
            let Some(found) = found else { continue };
            let num_diff = usize::from(found.num_diff);
            let what = if num_diff > MAX_NUM_DIFF {
                "more differences than are ever taken"
            } else if found.order as usize > self.max_order(num_diff) {
                "an order beyond the highest"
            } else if found.exponent.abs() > MAX_EXPONENT {
                "a unit beyond f64"
            } else {
                continue;
            };
            return Err(Nonsense::Impossible { window, what });
        }
        Ok(())
    }
}

fn check_lengths(found: &[Option<Found>], numbers: &[f64], coefficients: &[f64]) -> Result<(), Nonsense> {
    let sure = found.iter().flatten();
    let orders: usize = sure.clone().map(|found| found.order as usize).sum();
    let counted = (sure.count() * NUMBERS, orders);
    if counted == (numbers.len(), coefficients.len()) {
        return Ok(());
    }
    let sent = (numbers.len(), coefficients.len());
    Err(Nonsense::Slices(format!("{sent:?} values instead of {counted:?}")))
}

/// The next fit of the two arrays, whose lengths have been checked.
fn take_fit(found: Found, numbers: &mut impl Iterator<Item = f64>, rest: &mut impl Iterator<Item = f64>) -> DeviceFit {
    let [centre, intercept, variance, bic] =
        std::array::from_fn(|_| numbers.next().expect("four for each that was found"));
    DeviceFit {
        num_diff: usize::from(found.num_diff),
        centre,
        exponent: found.exponent,
        coefficients: rest.take(found.order as usize).collect(),
        intercept,
        variance,
        bic,
    }
}

fn plausible(window: usize, fit: DeviceFit) -> Result<DeviceFit, Nonsense> {
    let numbers = fit.coefficients.iter().chain([&fit.centre, &fit.intercept, &fit.bic]);
    let what = if !numbers.copied().all(f64::is_finite) {
        "a number that is not finite"
    } else if !(fit.variance.is_finite() && fit.variance >= 0.0) {
        "a variance that is none"
    } else {
        return Ok(fit);
    };
    Err(Nonsense::Impossible { window, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: DeviceBatch = DeviceBatch {
        channels: 3,
        length: 100,
        max_lookback: 20,
    };

    fn found() -> Vec<Option<DeviceFit>> {
        let fit = |order: usize| DeviceFit {
            num_diff: 1,
            centre: 0.25,
            exponent: -3,
            coefficients: (1..=order).map(|lag| 1.0 / lag as f64).collect(),
            intercept: 0.5,
            variance: 0.75,
            bic: -12.5,
        };
        vec![Some(fit(2)), None, Some(fit(19))]
    }

    fn changed(change: impl FnOnce(&mut Vec<Option<DeviceFit>>)) -> Frame<ReplyBody> {
        let mut found = found();
        change(&mut found);
        DeviceBatch::reply(&found)
    }

    fn first(found: &mut [Option<DeviceFit>]) -> &mut DeviceFit {
        found[0].as_mut().expect("the device was sure of it")
    }

    #[test]
    fn what_was_found_comes_back_as_it_was() {
        assert_eq!(BATCH.read(&DeviceBatch::reply(&found())), Ok(found()));
    }

    #[test]
    fn an_answer_that_cannot_be_true_is_refused() {
        let mut short = DeviceBatch::reply(&found());
        short.slices[1].truncate(160);
        let mut torn = DeviceBatch::reply(&found());
        torn.slices[0].truncate(63);
        let mut alone = DeviceBatch::reply(&found());
        alone.slices.pop();
        for (reply, complaint) in [
            (ReplyBody::Smoke.into(), "another question"),
            (short, "(8, 20) values instead of (8, 21)"),
            (torn, "63 bytes"),
            (alone, "1 instead of 2"),
            (changed(|found| drop(found.pop())), "2 windows answered of 3"),
            (changed(|found| first(found).num_diff = 3), "window 0: more differences"),
            (changed(|found| first(found).exponent = i32::MAX), "a unit beyond"),
            (
                changed(|found| first(found).coefficients = vec![0.0; 20]),
                "window 0: an order beyond",
            ),
            (changed(|found| first(found).coefficients[1] = f64::NAN), "not finite"),
            (changed(|found| first(found).bic = f64::INFINITY), "not finite"),
            (changed(|found| first(found).variance = -1.0), "a variance that is none"),
            (
                changed(|found| first(found).variance = f64::NAN),
                "a variance that is none",
            ),
        ] {
            let refused = BATCH.read(&reply).expect_err(complaint).to_string();
            assert!(refused.contains(complaint), "{complaint}: {refused}");
        }
    }

    #[test]
    fn a_request_whose_samples_are_no_whole_windows_is_refused() {
        let samples = slice_of(&[0.0; 30]);
        for (channels, slices) in [
            (0, vec![samples.clone()]),
            (4, vec![samples.clone()]),
            (3, vec![]),
            (3, vec![samples.clone(), samples.clone()]),
            (31, vec![samples.clone()]),
            (1, vec![vec![0; 9]]),
            (1, vec![vec![]]),
        ] {
            assert!(DeviceBatch::of_request(channels, 5, &slices).is_err(), "{channels}");
        }
        let slices = [samples];
        let (batch, _) = DeviceBatch::of_request(3, 5, &slices).expect("three windows of ten");
        assert_eq!((batch.length, batch.max_order(0), batch.max_order(1)), (10, 2, 2));
    }
}
