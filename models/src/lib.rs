//! Forecasting methods and the plain types that carry series in and forecasts out.
//!
//! Pure Rust: no IO, no clock, no threads. The same input gives the same output on every machine, and any other
//! program may use it. The methods are those of *Specialized Foundation Models Struggle to Beat Supervised
//! Baselines* (arXiv 2411.02796); where a formula comes from elsewhere, its item says so.

pub mod accuracy;
pub mod anomaly;
pub mod auto;
pub mod auto_ar;
pub mod backtest;
pub mod channel_map;
pub mod cholesky;
mod conformal;
pub mod dasha;
pub mod dense;
pub mod device_fit;
pub mod direct;
mod dot;
mod estimate;
pub mod fit;
pub mod forecast;
pub mod forecast_map;
pub mod frame;
pub mod gaps;
pub mod gram;
pub mod inference;
pub mod kpss;
pub mod lag_products;
pub mod linear_map;
pub mod moments;
pub mod network;
pub mod normal;
pub mod order;
pub mod reference;
pub mod regression;
pub mod rolling;
mod rolling_kpss;
mod schur;
pub mod scores;
pub mod season;
mod selection;
pub mod series;
mod simd;
mod solution;
mod stationary;
pub mod time;
pub mod torch_job;
pub mod triangle;
mod unit;

pub use accuracy::{MeanChange, RollingScore, StepForecast};
pub use anomaly::AnomalyScorer;
pub use auto::{AutoSpec, Band, ChannelModel, Choice, Member, Pool, PoolBuilder, Training};
pub use auto_ar::{Fallback, FittedAr};
pub use channel_map::{ChannelMap, Method, SeriesPool};
pub use fit::{ChannelFit, FitFailure, FitSpec, fit};
pub use forecast::{Forecast, Interval, Level};
pub use forecast_map::ForecastMap;
pub use gaps::GapPolicy;
pub use linear_map::LinearMap;
pub use network::NetworkTrial;
pub use reference::{Reference, ReferenceFit};
pub use rolling::{Decline, RollingFit, WindowMove};
pub use series::{ChannelName, Series};
pub use time::{Frequency, Grid, Slot, Timestamp};
