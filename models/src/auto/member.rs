//! The members of the family, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A method of the family: each is fitted to samples and becomes a [`LinearMap`](crate::LinearMap).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Member {
    /// The channel's own auto-regression, its order by BIC.
    AutoAr,
    /// One auto-regression of first differences for all channels, with all lags.
    PooledAutoAr,
    /// The channel's own ridge from its lookback to every step.
    Direct,
    /// The same with the channel's level, so that it may go back to a mean.
    DirectLevel,
    /// One ridge for all channels.
    PooledDirect,
    /// The same with the level of each channel: what one channel seldom shows, many do.
    PooledDirectLevel,
    /// The channel's own ridge, pulled towards that of all channels.
    ShrunkDirect,
    /// The newest sample.
    RandomWalk,
    /// The sample of a season before.
    SeasonalNaive,
}

impl Member {
    /// Every member.
    pub const ALL: [Self; 9] = [
        Self::AutoAr,
        Self::PooledAutoAr,
        Self::Direct,
        Self::DirectLevel,
        Self::PooledDirect,
        Self::PooledDirectLevel,
        Self::ShrunkDirect,
        Self::RandomWalk,
        Self::SeasonalNaive,
    ];

    /// Those that `auto` chooses from. A ridge that is shrunk towards the pool's is a combination of the two already.
    pub const AUTO: [Self; 8] = [
        Self::AutoAr,
        Self::PooledAutoAr,
        Self::Direct,
        Self::DirectLevel,
        Self::PooledDirect,
        Self::PooledDirectLevel,
        Self::RandomWalk,
        Self::SeasonalNaive,
    ];

    /// The name in configuration, metrics and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::AutoAr => "auto_ar",
            Self::PooledAutoAr => "pooled_auto_ar",
            Self::Direct => "direct",
            Self::DirectLevel => "direct_level",
            Self::PooledDirect => "pooled_direct",
            Self::PooledDirectLevel => "pooled_direct_level",
            Self::ShrunkDirect => "shrunk_direct",
            Self::RandomWalk => "random_walk",
            Self::SeasonalNaive => "seasonal_naive",
        }
    }

    /// Whether it is fitted to all channels together.
    pub fn needs_pool(self) -> bool {
        matches!(
            self,
            Self::PooledAutoAr | Self::PooledDirect | Self::PooledDirectLevel | Self::ShrunkDirect
        )
    }
}

impl Member {
    /// The part that it has before any error was seen, up to a common factor. Long lookbacks have been found to win,
    /// and what many channels say of the way back to a level; what looks back little has to show that it does.
    pub(super) fn prior(self) -> f64 {
        match self {
            Self::PooledDirectLevel => 2.0,
            Self::Direct | Self::DirectLevel | Self::ShrunkDirect => 1.0,
            Self::PooledDirect | Self::PooledAutoAr => 1.0,
            Self::AutoAr => 0.2,
            Self::SeasonalNaive | Self::RandomWalk => 0.1,
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Member {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let member = Self::ALL.into_iter().find(|member| member.name() == name);
        member.ok_or_else(|| format!("{name} is no method of the family"))
    }
}
