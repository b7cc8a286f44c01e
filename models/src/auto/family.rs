//! Members fitted to one channel's samples.

use std::num::NonZeroUsize;

use super::member::Member;
use super::pool::CommonMaps;
use super::training::AutoSpec;
use crate::direct::{Shape, direct};
use crate::estimate::Estimate;
use crate::linear_map::LinearMap;
use crate::moments::WindowMoments;
use crate::stationary::Stationary;

/// Penalty of a channel's own direct map, in units of its mean square deviation.
const PENALTY: f64 = 0.3;

/// Samples to which members are fitted.
pub(super) struct Family<'a> {
    pub(super) values: &'a [f64],
    pub(super) moments: WindowMoments,
    pub(super) common: Option<&'a CommonMaps>,
    pub(super) lookback: NonZeroUsize,
    pub(super) spec: &'a AutoSpec,
}

pub(super) type Candidate = (Member, LinearMap);

impl Family<'_> {
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let wants_own = self.spec.members.contains(&Member::AutoAr);
        let own = wants_own.then(|| self.own_auto_regression()).flatten();
        self.fitted(&self.spec.members, own.as_ref())
    }

    /// Those of the members that these samples bear.
    pub(super) fn fitted(&self, members: &[Member], own: Option<&Estimate>) -> Vec<Candidate> {
        let maps = members
            .iter()
            .filter_map(|member| Some((*member, self.map(*member, own)?)));
        maps.filter(|(_, map)| map.is_finite()).collect()
    }

    fn map(&self, member: Member, own: Option<&Estimate>) -> Option<LinearMap> {
        let (lookback, horizon) = (self.lookback, self.spec.horizon);
        let common = self.common;
        let pooled = common.and_then(|common| common.direct.as_ref());
        match member {
            Member::AutoAr => own.map(|own| {
                let intercept = own.plain_intercept();
                LinearMap::auto_regression(&own.coefficients, intercept, own.num_diff, lookback, horizon)
            }),
            Member::PooledAutoAr => common?.auto_ar.clone(),
            Member::Direct => direct(&self.moments, Shape::Deviations, PENALTY),
            Member::DirectLevel => direct(&self.moments, Shape::WithLevel, PENALTY),
            Member::PooledDirect => pooled.cloned(),
            Member::PooledDirectLevel => common?.direct_level.clone(),
            Member::ShrunkDirect => direct(&self.moments, Shape::Around(pooled?), PENALTY),
            Member::RandomWalk => Some(LinearMap::random_walk(lookback, horizon)),
            Member::SeasonalNaive => {
                let season = self.spec.season.filter(|season| *season <= lookback)?;
                Some(LinearMap::seasonal_naive(lookback, horizon, season))
            }
        }
    }

    pub(super) fn own_auto_regression(&self) -> Option<Estimate> {
        let moves = self.values.windows(2).any(|pair| pair[0] != pair[1]);
        moves.then(|| {
            let stationary = Stationary::new(self.values);
            let solution = stationary.solve(&stationary.products(self.lookback.get()));
            Estimate::auto_ar(stationary.form, solution)
        })
    }
}
