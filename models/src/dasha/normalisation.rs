//! Bands brought to mean zero and deviation one, by what the training samples alone show.

use serde::{Deserialize, Serialize};

/// Where the values of one band, or of one number to regress, lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Taken off first.
    pub mean: f64,
    /// Divided by then; above zero.
    pub deviation: f64,
}

impl Scale {
    /// Changes nothing.
    pub const IDENTITY: Self = Self {
        mean: 0.0,
        deviation: 1.0,
    };

    /// Whether it can be applied, and undone.
    pub fn is_sound(self) -> bool {
        self.mean.is_finite() && self.deviation.is_finite() && self.deviation > 0.0
    }
}

/// One [`Scale`] for each band, or for each number to regress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Normalisation(pub Vec<Scale>);

impl Normalisation {
    /// Changes nothing: what one-hot letters get.
    pub fn identity(bands: usize) -> Self {
        Self(vec![Scale::IDENTITY; bands])
    }

    /// Whether it changes nothing.
    pub fn is_identity(&self) -> bool {
        self.0.iter().all(|scale| *scale == Scale::IDENTITY)
    }

    /// Whether it has a sound scale for each of so many bands.
    pub fn fits(&self, bands: usize) -> bool {
        self.0.len() == bands && self.0.iter().all(|scale| scale.is_sound())
    }
}

/// What a network's inputs went through, and its targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// One scale a band.
    pub inputs: Normalisation,
    /// One scale a number to regress; none for classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Normalisation>,
}

/// Mean and sum of squared deviations of values that come piece by piece (Chan, Golub and LeVeque 1983).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunningMoments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl RunningMoments {
    /// Adds finite values. Differences from the first are summed, so that equal values have exactly no deviation.
    pub fn add(&mut self, values: impl Iterator<Item = f64>) {
        let mut values = values.peekable();
        let Some(first) = values.peek().copied() else {
            return;
        };
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        for value in values {
            let difference = value - first;
            count += 1.0;
            sum += difference;
            squares += difference * difference;
        }
        self.merge(Self {
            count,
            mean: first + sum / count,
            squares: (squares - sum * sum / count).max(0.0),
        });
    }

    fn merge(&mut self, other: Self) {
        let count = self.count + other.count;
        let apart = other.mean - self.mean;
        self.squares += other.squares + apart * apart * self.count * other.count / count;
        self.mean += apart * other.count / count;
        self.count = count;
    }

    /// What brings these values to mean zero and deviation one. Equal values are only moved.
    pub fn scale(self) -> Scale {
        let deviation = (self.squares / self.count).sqrt();
        Scale {
            mean: self.mean,
            deviation: if deviation > 0.0 { deviation } else { 1.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale_of(pieces: &[&[f64]]) -> Scale {
        let mut moments = RunningMoments::default();
        for piece in pieces {
            moments.add(piece.iter().copied());
        }
        moments.scale()
    }

    #[test]
    fn pieces_have_the_moments_of_the_whole() {
        let expected = scale_of(&[&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]]);
        assert_eq!((expected.mean, expected.deviation), (5.0, 2.0));
        let pieces = scale_of(&[&[2.0, 4.0, 4.0], &[], &[4.0], &[5.0, 5.0, 7.0, 9.0]]);
        assert!((pieces.mean - 5.0).abs() < 1e-12 && (pieces.deviation - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_constant_is_only_moved_and_a_large_offset_costs_no_digits() {
        let constant = scale_of(&[&[0.1; 1000], &[0.1; 7]]);
        assert_eq!((constant.mean, constant.deviation), (0.1, 1.0));
        let far = scale_of(&[&[1e9 - 1.0, 1e9 + 1.0], &[1e9 - 1.0, 1e9 + 1.0]]);
        assert_eq!((far.mean, far.deviation), (1e9, 1.0));
    }

    #[test]
    fn only_a_sound_scale_for_every_band_fits() {
        assert!(Normalisation::identity(3).fits(3));
        assert!(!Normalisation::identity(3).fits(2));
        for deviation in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(!Normalisation(vec![Scale { mean: 0.0, deviation }]).fits(1));
        }
    }
}
