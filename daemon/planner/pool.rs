//! When the channels of a dataset are pooled: before the first choice, and again as the histories grow.

use std::sync::Arc;

use forecastd_models::Pool;

/// Channels in a pool at most: a map of many is told well enough by some, and their windows are
/// copied.
pub const POOL_CHANNELS: usize = 64;

/// With fewer channels there is nothing in common.
const LEAST_CHANNELS: usize = 2;

/// A pool is renewed when a share of one in so many of the rows that it was made of has come on top,
const RENEWED_AFTER: u64 = 4;
/// or of all windows, once these are full.
const RENEWED_AFTER_OF_WINDOWS: u64 = 8;

/// A dataset's pool, and whether it is time for another.
#[derive(Clone, Debug, Default)]
pub struct PoolKeeper {
    pool: Option<Arc<Pool>>,
    is_out: bool,
    /// Rows taken into histories.
    rows: u64,
    /// The same when the pool was asked for.
    rows_pooled: u64,
}

impl PoolKeeper {
    /// Counts rows that went into histories.
    pub fn took(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// What the channels have in common, if that is known.
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        self.pool.as_ref()
    }

    /// Whether fits wait for the first pool.
    pub fn is_awaited(&self, channels: usize) -> bool {
        self.pool.is_none() && channels >= LEAST_CHANNELS
    }

    /// Whether to pool now.
    pub fn is_due(&self, channels: usize, window: usize) -> bool {
        let more = self.rows - self.rows_pooled;
        let renewed = more >= (self.rows_pooled / RENEWED_AFTER).max(1)
            || more >= (channels as u64 * window as u64 / RENEWED_AFTER_OF_WINDOWS).max(1);
        !self.is_out && channels >= LEAST_CHANNELS && (self.pool.is_none() || renewed)
    }

    /// The channels are on their way to be pooled.
    pub fn sent(&mut self) {
        self.is_out = true;
        self.rows_pooled = self.rows;
    }

    /// They are pooled.
    pub fn came(&mut self, pool: Arc<Pool>) {
        self.is_out = false;
        self.pool = Some(pool);
    }

    /// Another question: what is known is of no use. What is out is of the question before, and replaced when it comes.
    pub fn forget(&mut self) {
        self.pool = None;
        self.rows_pooled = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_wait_for_the_first_pool_and_for_no_other() {
        let mut keeper = PoolKeeper::default();
        keeper.took(100);
        assert!(!keeper.is_awaited(1) && !keeper.is_due(1, 50));
        assert!(keeper.is_awaited(2) && keeper.is_due(2, 50));
        keeper.sent();
        assert!(keeper.is_awaited(2) && !keeper.is_due(2, 50));
        keeper.came(Arc::default());
        keeper.took(1_000);
        assert!(!keeper.is_awaited(2) && keeper.is_due(2, 50));
    }

    #[test]
    fn a_pool_is_renewed_by_a_quarter_more_rows_or_an_eighth_of_all_windows() {
        for (before, more, window, due) in [
            (100, 24, 1_000, false),
            (100, 25, 1_000, true),
            (100_000, 249, 1_000, false),
            (100_000, 250, 1_000, true),
        ] {
            let mut keeper = PoolKeeper::default();
            keeper.took(before);
            keeper.sent();
            keeper.came(Arc::default());
            keeper.took(more);
            assert_eq!(keeper.is_due(2, window), due, "{before} {more}");
        }
    }

    #[test]
    fn another_question_wants_another_pool() {
        let mut keeper = PoolKeeper::default();
        keeper.took(10);
        keeper.sent();
        keeper.came(Arc::default());
        keeper.forget();
        assert!(keeper.is_awaited(2) && keeper.is_due(2, 50));
    }
}
