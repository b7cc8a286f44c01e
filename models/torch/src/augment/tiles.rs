//! Tiles mirrored, turned and moved, masks with them.

use std::f64::consts::PI;

use forecastd_models::dasha::samples::NO_CLASS;
use tch::Tensor;

use super::{Augmenter, Draw, choose, with_band, without_band};
use crate::samples::Batch;

const HEIGHT: i64 = 2;
const WIDTH: i64 = 3;

/// As libtorch numbers them.
const BILINEAR: i64 = 0;
const NEAREST: i64 = 1;
const ZEROS: i64 = 0;

impl Augmenter {
    pub(super) fn vary_tiles(&self, batch: Batch, draw: &mut Draw) -> Batch {
        let masks = self.has_masks(&batch).then(|| with_band(&batch.targets));
        let mut tensors: Vec<Tensor> = [Some(batch.inputs), masks].into_iter().flatten().collect();
        if self.augmentation.flip_horizontal {
            mirror(&mut tensors, WIDTH, draw);
        }
        if self.augmentation.flip_vertical {
            mirror(&mut tensors, HEIGHT, draw);
        }
        if self.augmentation.quarter_turns {
            turn(&mut tensors, draw);
        }
        if self.augmentation.rotation > 0.0 || self.augmentation.shift > 0 {
            let grid = self.grid(&tensors[0], draw);
            resample(&mut tensors, &grid);
        }
        let masks = tensors.get(1).map(without_band);
        Batch {
            inputs: tensors.swap_remove(0),
            targets: masks.unwrap_or(batch.targets),
        }
    }

    fn grid(&self, tiles: &Tensor, draw: &mut Draw) -> Tensor {
        let most = self.augmentation.rotation * PI / 180.0;
        let angles = draw.uniform(-most, most);
        let down = draw.whole(self.augmentation.shift);
        let right = draw.whole(self.augmentation.shift);
        source_grid(&tiles.size(), &angles, &down, &right)
    }
}

/// Where each pixel comes from, in libtorch's coordinates (-1 and 1 are the outer edges of the tile), if it is turned
/// counter-clockwise and then moved by so many pixels.
pub(super) fn source_grid(size: &[i64], angles: &Tensor, down: &Tensor, right: &Tensor) -> Tensor {
    let (height, width) = (size[2] as f64, size[3] as f64);
    let (sine, cosine) = (angles.sin(), angles.cos());
    // Coordinates are stretched to the sides of the tile; the turn must be one of pixels, and so must the move.
    let (x, y) = (right * (-2.0 / width), down * (-2.0 / height));
    let (x_of_y, y_of_x) = (&sine * (-height / width), &sine * (width / height));
    let x_moved = &cosine * &x + &x_of_y * &y;
    let y_moved = &y_of_x * &x + &cosine * &y;
    let rows = [[&cosine, &x_of_y, &x_moved], [&y_of_x, &cosine, &y_moved]].map(|row| Tensor::stack(&row, 1));
    Tensor::affine_grid_generator(&Tensor::stack(&rows, 1), size, false)
}

/// Every other sample, in each of the tensors.
fn mirror(tensors: &mut [Tensor], axis: i64, draw: &mut Draw) {
    let chosen = draw.chance(0.5);
    for tensor in tensors {
        *tensor = choose(&chosen, &tensor.flip([axis]), tensor);
    }
}

/// By none to three quarters.
fn turn(tensors: &mut [Tensor], draw: &mut Draw) {
    let once = draw.chance(0.5);
    let twice = draw.chance(0.5);
    for tensor in tensors {
        *tensor = choose(&once, &quarter_turn(tensor, 1), tensor);
        *tensor = choose(&twice, &quarter_turn(tensor, 2), tensor);
    }
}

/// Counter-clockwise.
pub(super) fn quarter_turn(tiles: &Tensor, turns: i64) -> Tensor {
    tiles.rot90(turns, [HEIGHT, WIDTH])
}

/// Tiles are interpolated, and zero outside, which is the mean; masks take the nearest class, and none outside.
pub(super) fn resample(tensors: &mut [Tensor], grid: &Tensor) {
    if let Some(tiles) = tensors.first_mut() {
        *tiles = tiles.grid_sampler(grid, BILINEAR, ZEROS, false);
    }
    if let Some(masks) = tensors.get_mut(1) {
        let none = f64::from(NO_CLASS);
        *masks = (&*masks - none).grid_sampler(grid, NEAREST, ZEROS, false) + none;
    }
}
