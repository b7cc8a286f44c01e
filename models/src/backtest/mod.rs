//! How a method did where it was not fitted: the parts of a series, its scale, and errors by step.
//!
//! The protocol is that of long-horizon forecasting (Zhou et al., *Informer*, AAAI 2021, and what came after it): rows
//! are cut in three, each channel is standardised by the first part, and every window whose targets lie in the last
//! part is forecast, one row after the other.

mod errors;
mod naive;
mod split;
mod standard;

pub use errors::{Score, StepErrors, StepIntervals, half_widths};
pub use naive::seasonal_naive;
pub use split::{BadSplit, Split, SplitRule};
pub use standard::Standard;
