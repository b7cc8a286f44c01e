//! What the daemon and its libtorch child say to each other: headers of [frames](crate::frame).
//!
//! The child speaks first, a [`Hello`]; then every [`Request`] gets one [`Reply`] under its number. The child holds
//! nothing that the daemon could not send again, so either may vanish between any two frames.

use serde::{Deserialize, Serialize};

/// What both sides must agree on. It grows with every change of a type in this module.
pub const PROTOCOL: u32 = 3;

/// The child's first words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The child's [`PROTOCOL`]. The first field for ever, so that any two builds can tell that they differ.
    pub protocol: u32,
    /// The libtorch that it has loaded, such as `2.11.0`.
    pub libtorch: String,
    /// Where it computes.
    pub device: TorchDevice,
    /// CPU threads that libtorch may use.
    pub threads: u32,
    /// Whether oneDNN computes what networks need on a processor. Not where memory that was written may not be executed:
    /// then libtorch's own kernels do, which takes about twice as long.
    pub onednn: bool,
}

/// Where a child computes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TorchDevice {
    /// On the processor.
    Cpu,
    /// On the first GPU that it sees.
    Cuda {
        /// As the driver calls it.
        name: String,
        /// Bytes of device memory.
        memory: u64,
    },
}

impl TorchDevice {
    /// `cpu` or `cuda`, as labels have it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda { .. } => "cuda",
        }
    }
}

/// What the daemon asks, under a number that it never uses twice for one child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back with the reply.
    pub id: u64,
    /// What is asked.
    pub body: RequestBody,
}

/// What can be asked of a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestBody {
    /// Whether it lives. Answered at once, also while a job runs.
    Ping,
    /// To solve the [smoke system](smoke_system) of this size on its device.
    Smoke {
        /// Unknowns.
        size: u32,
    },
    /// To fit windows of one length, the frame's only slice: one window after the other, without gaps. See
    /// [`device_fit`](crate::device_fit).
    Fit {
        /// How many windows.
        channels: u32,
        /// As in [`FitSpec`](crate::FitSpec).
        max_lookback: u32,
    },
}

/// The answer to the request of the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's.
    pub id: u64,
    /// What came of it.
    pub body: ReplyBody,
}

/// What a child can answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplyBody {
    /// It lives.
    Pong,
    /// The smoke system's solution, as the frame's only slice.
    Smoke,
    /// What was found for each window, in their order; `None` where the device is not sure. The frame's slices: for
    /// each that was found centre, intercept, variance and BIC; and the coefficients of all, one after the other.
    Fit {
        /// The whole numbers of it.
        found: Vec<Option<Found>>,
    },
    /// The job broke, the child did not.
    Failed {
        /// What libtorch or a panic said.
        message: String,
    },
}

/// The whole numbers of one window's auto-regression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Differences until KPSS passes.
    pub num_diff: u8,
    /// The order with the least BIC: so many coefficients.
    pub order: u32,
    /// The stationary values are measured in this power of two.
    pub exponent: i32,
}

/// A linear system `A x = b` that is well-conditioned at every size: `A[i][j] = 1 / (1 + |i - j|)`, on the diagonal
/// `size` more, and `b[i] = i + 1`. Returns `A` by rows, and `b`.
pub fn smoke_system(size: usize) -> (Vec<f64>, Vec<f64>) {
    let matrix = (0..size).flat_map(|row| (0..size).map(move |column| smoke_entry(size, row, column)));
    (matrix.collect(), (1..=size).map(|value| value as f64).collect())
}

/// How far `solution` is from solving the smoke system of its size: the mean `|A x - b|` over the largest `|b|`.
///
/// Some 1e-16 for a sound libtorch; not a number where the solution is not.
pub fn smoke_residual(solution: &[f64]) -> f64 {
    let size = solution.len();
    let (matrix, right) = smoke_system(size);
    let rows = matrix.chunks(size.max(1)).zip(&right);
    let residuals = rows.map(|(row, b)| (row.iter().zip(solution).map(|(a, x)| a * x).sum::<f64>() - b).abs());
    residuals.sum::<f64>() / size as f64 / size as f64
}

fn smoke_entry(size: usize, row: usize, column: usize) -> f64 {
    let decay = 1.0 / (1.0 + row.abs_diff(column) as f64);
    if row == column { decay + size as f64 } else { decay }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smoke_system_of_two_unknowns_has_the_solution_found_by_hand() {
        // [[3, 1/2], [1/2, 3]] x = [1, 2]: by Cramer's rule x = [2, 5.5] / 8.75.
        assert_eq!(smoke_system(2), (vec![3.0, 0.5, 0.5, 3.0], vec![1.0, 2.0]));
        assert!(smoke_residual(&[2.0 / 8.75, 5.5 / 8.75]) < 1e-15);
        assert!(smoke_residual(&[2.0 / 8.75, 5.6 / 8.75]) > 1e-3);
    }

    #[test]
    fn a_solution_that_is_not_a_number_is_never_small() {
        for wrong in [[f64::NAN, 0.0], [0.0, f64::NAN], [f64::INFINITY, 0.0]] {
            let residual = smoke_residual(&wrong);
            assert!(residual.is_nan() || residual > 1e-9, "{wrong:?}: {residual}");
        }
    }
}
