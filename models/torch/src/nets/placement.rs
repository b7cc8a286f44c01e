//! Where the taps of every candidate lie in the one kernel that they are mixed into.

use std::collections::BTreeMap;

use forecastd_models::dasha::Kernel;
use tch::{Device, Kind, Tensor};

use super::convolution::around;

/// How a row of all candidates' taps becomes a kernel.
///
/// A candidate's taps lie `dilation` apart, and its middle, as [`around`] has it, on the kernel's. Sequences take one
/// product with a matrix of zeros and ones. Tiles would have a large one, nearly all zeros; there the candidates of
/// one dilation are added up without their gaps first, by a small matrix, and the gaps put in afterwards.
#[derive(Debug)]
pub(super) struct Placement {
    axes: usize,
    extent: i64,
    taps: i64,
    groups: Vec<Group>,
    /// Of the coefficient of each tap.
    candidate_of_tap: Tensor,
}

/// Candidates that are added up before gaps are put in.
#[derive(Debug)]
struct Group {
    /// Its first tap in a row, and how many it has.
    taps: (i64, i64),
    /// From its taps to a kernel of `side` taps along each axis.
    matrix: Tensor,
    side: i64,
    dilation: i64,
}

impl Placement {
    pub(super) fn new(kernels: &[Kernel], axes: usize, device: Device) -> Self {
        let extent = kernels
            .iter()
            .map(|kernel| i64::from(kernel.extent()))
            .max()
            .unwrap_or(1);
        let mut candidate_of_tap = Vec::new();
        let mut groups = Vec::new();
        for members in grouped(kernels, axes) {
            let first = candidate_of_tap.len() as i64;
            for index in &members {
                let taps = kernels[*index].size.pow(axes as u32) as usize;
                candidate_of_tap.extend(std::iter::repeat_n(*index as i64, taps));
            }
            let members: Vec<Kernel> = members.into_iter().map(|index| kernels[index]).collect();
            let taps = (first, candidate_of_tap.len() as i64 - first);
            groups.push(Group::new(&members, taps, axes, extent, device));
        }
        Self {
            axes,
            extent,
            taps: candidate_of_tap.len() as i64,
            groups,
            candidate_of_tap: Tensor::from_slice(&candidate_of_tap).to_device(device),
        }
    }

    /// Taps of all candidates together.
    pub(super) fn taps(&self) -> i64 {
        self.taps
    }

    /// From `[outputs, inputs, taps]` and one coefficient for each candidate to the mixed kernel.
    pub(super) fn mix(&self, weight: &Tensor, coefficients: &Tensor) -> Tensor {
        let scaled = weight * coefficients.index_select(0, &self.candidate_of_tap);
        let parts = self.groups.iter().map(|group| self.placed(group, &scaled));
        parts
            .reduce(|sum, part| sum + part)
            .expect("there is a candidate, or there would be no layer to place it in")
    }

    fn placed(&self, group: &Group, scaled: &Tensor) -> Tensor {
        let (first, count) = group.taps;
        let dense = scaled.narrow(2, first, count).matmul(&group.matrix);
        let size = scaled.size();
        let mut dims = vec![size[0], size[1]];
        dims.resize(2 + self.axes, group.side);
        let mut kernel = dense.reshape(dims);
        if group.dilation > 1 {
            for axis in 2..2 + self.axes as i64 {
                kernel = spread(&kernel, axis, group.dilation);
            }
        }
        let extent = group.dilation * (group.side - 1) + 1;
        if extent == self.extent {
            return kernel;
        }
        let ((before, after), (own_before, own_after)) = (around(self.extent), around(extent));
        kernel.constant_pad_nd([before - own_before, after - own_after].repeat(self.axes))
    }
}

/// Puts `dilation - 1` zeros between any two taps along an axis.
fn spread(kernel: &Tensor, axis: i64, dilation: i64) -> Tensor {
    let taps = kernel.size()[axis as usize];
    let apart = kernel.unsqueeze(axis + 1);
    let zeros = apart
        .zeros_like()
        .repeat_interleave_self_int(dilation - 1, axis + 1, None);
    let spread = Tensor::cat(&[apart, zeros], axis + 1).flatten(axis, axis + 1);
    spread.narrow(axis, 0, dilation * (taps - 1) + 1)
}

/// Candidates that can be added up at once, by their index. Of one dilation, sizes must be all odd or all even, or
/// their middles would not lie on each other.
pub(super) fn grouped(kernels: &[Kernel], axes: usize) -> Vec<Vec<usize>> {
    if axes == 1 {
        return vec![(0..kernels.len()).collect()];
    }
    let mut groups: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
    for (index, kernel) in kernels.iter().enumerate() {
        groups
            .entry((kernel.dilation, kernel.size % 2))
            .or_default()
            .push(index);
    }
    groups.into_values().collect()
}

impl Group {
    fn new(members: &[Kernel], taps: (i64, i64), axes: usize, extent: i64, device: Device) -> Self {
        let largest = members.iter().map(|kernel| i64::from(kernel.size)).max().unwrap_or(1);
        let (side, dilation) = if axes == 1 {
            (extent, 1)
        } else {
            (largest, members.first().map_or(1, |kernel| i64::from(kernel.dilation)))
        };
        let columns = members.iter().flat_map(|kernel| columns(*kernel, dilation, side, axes));
        let columns: Vec<i64> = columns.collect();
        let matrix = Tensor::from_slice(&columns)
            .one_hot(side.pow(axes as u32))
            .to_kind(Kind::Float);
        Self {
            taps,
            matrix: matrix.to_device(device),
            side,
            dilation,
        }
    }
}

/// The place of each tap in a kernel of `side` positions along each axis that lie `dilation` apart.
fn columns(kernel: Kernel, dilation: i64, side: i64, axes: usize) -> Vec<i64> {
    let middle = around(dilation * (side - 1) + 1).0;
    let own_middle = around(i64::from(kernel.extent())).0;
    let first = (middle - own_middle) / dilation;
    let step = i64::from(kernel.dilation) / dilation;
    let along: Vec<i64> = (0..i64::from(kernel.size)).map(|tap| first + tap * step).collect();
    if axes == 1 {
        return along;
    }
    let rows = along
        .iter()
        .flat_map(|row| along.iter().map(move |column| row * side + column));
    rows.collect()
}
