//! Each variation against an array that a person can check.

use forecastd_models::dasha::samples::NO_CLASS;
use forecastd_models::dasha::{Augmentation, ElementType, Random, Task};
use tch::{Device, Kind, Tensor};

use super::*;
use crate::samples::tests::described;

fn augmenter(augmentation: Augmentation, size: &[u32], task: Task) -> Augmenter {
    let set = described(1, 1, size, ElementType::U8, task, 3);
    Augmenter::new(&augmentation, &set, Device::Cpu)
}

fn nucleotides(augmentation: Augmentation, task: Task) -> Augmenter {
    let alphabet = "ACGT".to_owned();
    let set = described(1, 4, &[5], ElementType::Symbol { alphabet }, task, 3);
    Augmenter::new(&augmentation, &set, Device::Cpu)
}

/// Letters as the loader gives them, `-` for none.
fn one_hot(sequences: &[&str]) -> Tensor {
    let letters: Vec<f32> = sequences
        .iter()
        .flat_map(|sequence| {
            "ACGT"
                .chars()
                .flat_map(|band| sequence.chars().map(move |letter| f32::from(letter == band)))
        })
        .collect();
    Tensor::from_slice(&letters).view([sequences.len() as i64, 4, -1])
}

fn numbers(values: &[f32], shape: &[i64]) -> Tensor {
    Tensor::from_slice(values).view(shape)
}

/// A batch of equal tiles with the same numbers for masks.
fn tiles(count: i64) -> Batch {
    let tile = Tensor::arange(6, (Kind::Int64, Device::Cpu)).view([1, 2, 3]);
    let targets = tile.repeat([count, 1, 1]);
    Batch {
        inputs: targets.unsqueeze(1).to_kind(Kind::Float),
        targets,
    }
}

fn aligned(batch: &Batch) -> bool {
    let outside = batch.targets.eq(i64::from(NO_CLASS));
    let masks = batch.targets.masked_fill(&outside, 0).to_kind(Kind::Float);
    batch.inputs.squeeze_dim(1) == masks
}

/// The different first rows in a batch.
fn kinds(batch: &Batch) -> Vec<Vec<f32>> {
    let mut rows: Vec<Vec<f32>> = (0..batch.inputs.size()[0])
        .map(|sample| Vec::try_from(batch.inputs.get(sample).flatten(0, -1)).expect("numbers"))
        .collect();
    rows.sort_by(|one, other| one.partial_cmp(other).expect("no NaN"));
    rows.dedup();
    rows
}

#[test]
fn mirrored_tiles_are_one_of_four_and_masks_stay_with_them() {
    let flips = Augmentation {
        flip_horizontal: true,
        flip_vertical: true,
        ..Augmentation::default()
    };
    let batch = augmenter(flips, &[2, 3], Task::Segment).apply(tiles(64), Random::new(1));
    assert!(aligned(&batch));
    let expected = [
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        [2.0, 1.0, 0.0, 5.0, 4.0, 3.0],
        [3.0, 4.0, 5.0, 0.0, 1.0, 2.0],
        [5.0, 4.0, 3.0, 2.0, 1.0, 0.0],
    ];
    assert_eq!(kinds(&batch), expected);
}

#[test]
fn a_quarter_turn_is_counter_clockwise_and_four_are_none() {
    let tile = numbers(&[1.0, 2.0, 3.0, 4.0], &[1, 1, 2, 2]);
    let once = tiles::quarter_turn(&tile, 1);
    assert_eq!(once, numbers(&[2.0, 4.0, 1.0, 3.0], &[1, 1, 2, 2]));
    let four = (0..4).fold(tile.shallow_clone(), |tile, _| tiles::quarter_turn(&tile, 1));
    assert_eq!(four, tile);
}

#[test]
fn square_tiles_are_turned_all_four_ways() {
    let turns = Augmentation {
        quarter_turns: true,
        ..Augmentation::default()
    };
    let targets = numbers(&[0.0, 1.0, 2.0, 3.0], &[1, 2, 2])
        .repeat([64, 1, 1])
        .to_kind(Kind::Int64);
    let inputs = targets.unsqueeze(1).to_kind(Kind::Float);
    let batch = augmenter(turns, &[2, 2], Task::Segment).apply(Batch { inputs, targets }, Random::new(1));
    assert!(aligned(&batch));
    assert_eq!(kinds(&batch).len(), 4);
}

/// A tile turned by so many degrees and then moved, and the same as a mask.
fn turned(tile: &Tensor, degrees: f64, down: i64, right: i64) -> [Tensor; 2] {
    let angle = numbers(&[degrees.to_radians() as f32], &[1]);
    let whole = |number: i64| Tensor::from_slice(&[number]);
    let grid = tiles::source_grid(&tile.size(), &angle, &whole(down), &whole(right));
    let mut both = [tile.shallow_clone(), tile.shallow_clone()];
    tiles::resample(&mut both, &grid);
    both
}

#[test]
fn a_free_rotation_by_ninety_degrees_is_a_quarter_turn() {
    let tile = Tensor::arange(9, (Kind::Float, Device::Cpu)).view([1, 1, 3, 3]);
    let expected = tiles::quarter_turn(&tile, 1);
    for found in turned(&tile, 90.0, 0, 0) {
        assert!(found.allclose(&expected, 1e-5, 1e-5, false));
    }
}

#[test]
fn a_tile_that_is_not_square_is_turned_and_not_sheared() {
    let tile = numbers(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &[1, 1, 2, 4]);
    let [found, _] = turned(&tile, 90.0, 0, 0);
    let expected = numbers(&[0.0, 3.0, 7.0, 0.0, 0.0, 2.0, 6.0, 0.0], &[1, 1, 2, 4]);
    assert!(found.allclose(&expected, 1e-5, 1e-5, false));
}

#[test]
fn a_turned_tile_is_moved_down_and_to_the_right() {
    let tile = numbers(&[1.0, 2.0, 3.0, 4.0], &[1, 1, 2, 2]);
    let [found, mask] = turned(&tile, 90.0, 1, 0);
    assert!(found.allclose(&numbers(&[0.0, 0.0, 2.0, 4.0], &[1, 1, 2, 2]), 1e-5, 1e-5, false));
    assert!(mask.allclose(&numbers(&[255.0, 255.0, 2.0, 4.0], &[1, 1, 2, 2]), 1e-5, 1e-5, false));
}

#[test]
fn what_comes_in_from_outside_is_the_mean_and_has_no_class() {
    let shift = Augmentation {
        shift: 1,
        ..Augmentation::default()
    };
    let ones = tiles(200).targets.ones_like();
    let batch = Batch {
        inputs: ones.unsqueeze(1).to_kind(Kind::Float),
        targets: ones,
    };
    let batch = augmenter(shift, &[2, 3], Task::Segment).apply(batch, Random::new(3));
    let moved = kinds(&batch);
    assert_eq!(moved.len(), 9, "three by three ways");
    assert!(moved.contains(&vec![0.0, 0.0, 0.0, 0.0, 1.0, 1.0]), "{moved:?}"); // down and to the right
    let outside = batch.inputs.squeeze_dim(1).lt(0.5);
    assert_eq!(batch.targets.eq(i64::from(NO_CLASS)), outside);
}

#[test]
fn masks_turned_freely_hold_classes_only_and_stay_where_their_pixels_are() {
    let rotation = Augmentation {
        rotation: 180.0,
        ..Augmentation::default()
    };
    let half = Tensor::arange(16, (Kind::Int64, Device::Cpu))
        .ge(8)
        .to_kind(Kind::Int64);
    let targets = half.view([1, 1, 16]).repeat([32, 16, 1]);
    let inputs = targets.unsqueeze(1).to_kind(Kind::Float);
    let batch = augmenter(rotation, &[16, 16], Task::Segment).apply(Batch { inputs, targets }, Random::new(4));
    let inside = batch.targets.not_equal(i64::from(NO_CLASS));
    let classes = batch.targets.masked_fill(&inside.logical_not(), 0);
    assert_eq!(i64::try_from(classes.max()).expect("a number"), 1);
    let apart = (batch.inputs.squeeze_dim(1) - classes.to_kind(Kind::Float)).abs() * inside.to_kind(Kind::Float);
    // Interpolated pixels lie between the classes along the border and at the edge, and nowhere else.
    assert!(f64::try_from(apart.mean(Kind::Float)).expect("a number") < 0.05);
}

#[test]
fn the_other_strand_is_read_backwards_and_twice_is_once() {
    let always = Augmentation {
        reverse_complement: 1.0,
        ..Augmentation::default()
    };
    let augmenter = nucleotides(always, Task::Classify);
    let sequences = one_hot(&["AACGT", "ACC--", "A-G--"]);
    let apply = |inputs: &Tensor| {
        let batch = Batch {
            inputs: inputs.shallow_clone(),
            targets: Tensor::from_slice(&[0_i64, 1, 2]),
        };
        augmenter.apply(batch, Random::new(1)).inputs
    };
    let once = apply(&sequences);
    assert_eq!(once, one_hot(&["ACGTT", "GGT--", "C-T--"]));
    assert_eq!(apply(&once), sequences);
}

#[test]
fn a_mean_over_both_strands_is_the_same_for_either() {
    let element = ElementType::Symbol {
        alphabet: "ACGT".to_owned(),
    };
    let strands = Strands::of(&element, Device::Cpu).expect("they have partners");
    let weights = Tensor::arange(4 * 5, (Kind::Float, Device::Cpu))
        .square()
        .view([1, 4, 5]);
    let said = |sequences: &[&str]| {
        let says = |inputs: &Tensor| (inputs * &weights).sum_dim_intlist(&[1i64, 2][..], false, Kind::Float);
        strands.mean(&one_hot(sequences), says)
    };
    assert_eq!(said(&["AACGT", "ACC--"]), said(&["ACGTT", "GGT--"]));
    assert_ne!(
        said(&["AACGT"]),
        said(&["TTGCA"]),
        "not only the partners: from the other end too"
    );
    let amino_acids = ElementType::Symbol {
        alphabet: "ACDEFGHIKLMNPQRSTVWY".to_owned(),
    };
    assert!(Strands::of(&amino_acids, Device::Cpu).is_none());
}

#[test]
fn labels_of_positions_go_with_the_strand() {
    let always = Augmentation {
        reverse_complement: 1.0,
        ..Augmentation::default()
    };
    let batch = Batch {
        inputs: one_hot(&["AACG-"]),
        targets: Tensor::from_slice(&[0_i64, 1, 2, 2, 255]).view([1, 5]),
    };
    let batch = nucleotides(always, Task::Segment).apply(batch, Random::new(1));
    assert_eq!(batch.inputs, one_hot(&["CGTT-"]));
    assert_eq!(batch.targets, Tensor::from_slice(&[2_i64, 2, 1, 0, 255]).view([1, 5]));
}

#[test]
fn half_of_the_sequences_are_reversed_if_half_are_asked_for() {
    let half = Augmentation {
        reverse_complement: 0.5,
        ..Augmentation::default()
    };
    let batch = Batch {
        inputs: one_hot(&["AAAAA"; 400]),
        targets: Tensor::zeros([400], (Kind::Int64, Device::Cpu)),
    };
    let batch = nucleotides(half, Task::Classify).apply(batch, Random::new(1));
    let reversed = f64::try_from(batch.inputs.select(1, 3).select(1, 0).sum(Kind::Float)).expect("a number");
    assert!((150.0..250.0).contains(&reversed), "{reversed}");
}

#[test]
fn a_moved_sequence_has_nothing_where_it_was() {
    let augmenter = nucleotides(Augmentation::default(), Task::Segment);
    let batch = Batch {
        inputs: one_hot(&["ACGTA", "ACGTA"]),
        targets: Tensor::from_slice(&[0_i64, 1, 2, 0, 1]).view([1, 5]).repeat([2, 1]),
    };
    let order = Tensor::from_slice(&[-1_i64, 0, 1, 2, 3, 2, 3, 4, 5, 6]).view([2, 5]);
    let batch = augmenter.read_from(batch, &order);
    assert_eq!(batch.inputs, one_hot(&["-ACGT", "GTA--"]));
    let expected = [255_i64, 0, 1, 2, 0, 2, 0, 1, 255, 255];
    assert_eq!(batch.targets, Tensor::from_slice(&expected).view([2, 5]));
}

#[test]
fn a_cut_takes_its_share_of_the_label() {
    let augmenter = augmenter(Augmentation::default(), &[2, 3], Task::Classify);
    let batch = Batch {
        inputs: Tensor::cat(
            &[
                Tensor::zeros([1, 1, 2, 3], (Kind::Float, Device::Cpu)),
                tiles(1).inputs + 1,
            ],
            0,
        ),
        targets: Tensor::from_slice(&[0_i64, 2]),
    };
    let partners = Tensor::from_slice(&[1_i64, 0]);
    let batch = augmenter.cut(batch, &partners, &vec![(0, 1), (1, 2)]);
    let expected = [0.0, 2.0, 3.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 4.0, 5.0, 6.0];
    assert_eq!(batch.inputs, numbers(&expected, &[2, 1, 2, 3]));
    let third = 1.0 / 3.0;
    let shares = numbers(&[2.0 * third, 0.0, third, third, 0.0, 2.0 * third], &[2, 3]);
    assert!(batch.targets.allclose(&shares, 1e-6, 1e-6, false));
}

#[test]
fn a_cut_of_tiles_cuts_their_masks() {
    let cut_mix = Augmentation {
        cut_mix: 1.0,
        ..Augmentation::default()
    };
    let mut batch = tiles(8);
    batch.targets += Tensor::arange(8, (Kind::Int64, Device::Cpu)).view([8, 1, 1]) * 10;
    batch.inputs = batch.targets.unsqueeze(1).to_kind(Kind::Float);
    let mixed = augmenter(cut_mix, &[2, 3], Task::Segment).apply(batch, Random::new(5));
    assert!(aligned(&mixed));
}

#[test]
fn averages_of_samples_have_averages_of_labels_which_a_loss_takes() {
    let mix_up = Augmentation {
        mix_up: 0.8,
        ..Augmentation::default()
    };
    let labels = [0_i64, 1, 2, 1];
    let one_hot = Tensor::from_slice(&labels).one_hot(3).to_kind(Kind::Float);
    let batch = Batch {
        inputs: one_hot.unsqueeze(1),
        targets: Tensor::from_slice(&labels),
    };
    let mixed = augmenter(mix_up, &[3], Task::Classify).apply(batch, Random::new(6));
    assert_eq!(
        mixed.inputs.squeeze_dim(1),
        mixed.targets,
        "inputs were the labels themselves"
    );
    let sums = mixed.targets.sum_dim_intlist(&[1i64][..], false, Kind::Float);
    assert!(sums.allclose(&sums.ones_like(), 1e-6, 1e-6, false));
    let loss = crate::nets::loss(
        Task::Classify,
        &Tensor::zeros([4, 3], (Kind::Float, Device::Cpu)),
        &mixed.targets,
        &crate::nets::LossOptions::default(),
    );
    assert!((f64::try_from(loss).expect("a number") - 3.0_f64.ln()).abs() < 1e-6);
}

#[test]
fn brightness_moves_a_whole_sample() {
    let brightness = Augmentation {
        brightness: 0.5,
        ..Augmentation::default()
    };
    let before = tiles(4);
    let inputs = before.inputs.copy();
    let after = augmenter(brightness, &[2, 3], Task::Classify).apply(before, Random::new(7));
    let moved = (after.inputs - inputs).flatten(1, -1);
    let spread = moved.std_dim(&[1i64][..], false, false).max();
    assert!(f64::try_from(spread).expect("a number") < 1e-6);
    assert!(f64::try_from(moved.abs().max()).expect("a number") <= 0.5);
}

#[test]
fn the_same_stream_varies_a_batch_the_same() {
    let everything = Augmentation {
        shift: 1,
        brightness: 0.1,
        cut_mix: 1.0,
        mix_up: 0.8,
        ..Augmentation::paper(&described(1, 1, &[2, 3], ElementType::U8, Task::Regress, 1).input)
    };
    let augmenter = augmenter(everything, &[2, 3], Task::Regress);
    let apply = |seed| {
        let batch = Batch {
            targets: Tensor::arange(8, (Kind::Float, Device::Cpu)).view([8, 1]),
            ..tiles(8)
        };
        augmenter.apply(batch, Random::new(seed))
    };
    let (one, again, other) = (apply(1), apply(1), apply(2));
    assert_eq!((&one.inputs, &one.targets), (&again.inputs, &again.targets));
    assert_ne!(one.inputs, other.inputs);
}
