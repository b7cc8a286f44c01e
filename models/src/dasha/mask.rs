//! Masks: a class for each position of a sample, one byte each, [`NO_CLASS`] where none is known.

use super::samples::NO_CLASS;

/// Classes that masks may have: what has more is a grey picture.
pub const MAX_CLASSES: usize = 64;

/// What the two classes of grey pictures are called unless somebody says.
pub fn classes_of_greys(threshold: u8) -> [String; 2] {
    [format!("up to {threshold}"), format!("above {threshold}")]
}

/// Of each class the positions that have it; those without one stand under [`NO_CLASS`].
pub fn positions(mask: &[u8]) -> [u64; 256] {
    let mut positions = [0; 256];
    mask.iter().for_each(|class| positions[usize::from(*class)] += 1);
    positions
}

/// Of each class that is there for each that was said the positions that have both. Positions without a known class tell
/// nothing.
pub fn compare(truth: &[u8], said: &[u8]) -> Vec<(u8, u8, u64)> {
    let mut pairs = vec![0_u64; 1 << 16];
    for (truth, said) in truth.iter().zip(said).filter(|(truth, _)| **truth != NO_CLASS) {
        pairs[usize::from(*truth) << 8 | usize::from(*said)] += 1;
    }
    let counted = pairs.into_iter().enumerate().filter(|(_, count)| *count > 0);
    counted
        .map(|(pair, count)| ((pair >> 8) as u8, pair as u8, count))
        .collect()
}

/// The share of positions at which two masks of one sample say the same, of those of which either says something.
pub fn agreement(one: &[u8], other: &[u8]) -> f64 {
    let pairs = one.iter().zip(other);
    let said = pairs.filter(|(one, other)| **one != NO_CLASS || **other != NO_CLASS);
    let same = said.clone().filter(|(one, other)| one == other).count();
    same as f64 / said.count().max(1) as f64
}

/// A mask as it is kept: runs of one class, each its class and its length in groups of seven bits, the lowest first.
pub fn pack(mask: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    for run in mask.chunk_by(|one, next| one == next) {
        packed.push(run[0]);
        let mut length = run.len();
        while length >= 0x80 {
            packed.push(length as u8 | 0x80);
            length >>= 7;
        }
        packed.push(length as u8);
    }
    packed
}

/// The mask of so many positions that was kept; nothing where these bytes are none.
pub fn unpack(packed: &[u8], positions: usize) -> Option<Vec<u8>> {
    let mut mask = Vec::new();
    let mut bytes = packed.iter();
    while let Some(class) = bytes.next() {
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = *bytes.next()?;
            length |= usize::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        if length > positions - mask.len() {
            return None;
        }
        mask.resize(mask.len() + length, *class);
    }
    (mask.len() == positions).then_some(mask)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_of_classes_are_counted_where_the_truth_is_known() {
        let truth = [0, 0, 1, 1, NO_CLASS, 2];
        let said = [0, 1, 1, 1, 1, 0];
        assert_eq!(compare(&truth, &said), [(0, 0, 1), (0, 1, 1), (1, 1, 2), (2, 0, 1)]);
        assert_eq!(positions(&truth)[usize::from(NO_CLASS)], 1);
        assert_eq!(agreement(&truth, &said), 0.5);
    }

    #[test]
    fn what_fills_a_sequence_up_agrees_with_nothing() {
        let masks = [[0, 1, NO_CLASS, NO_CLASS], [0, 0, NO_CLASS, NO_CLASS]];
        assert_eq!(agreement(&masks[0], &masks[1]), 0.5);
    }

    #[test]
    fn what_is_no_mask_is_none() {
        let packed = pack(&[[3; 200].as_slice(), &[255; 3]].concat());
        assert_eq!(packed, [3, 0xc8, 1, 255, 3]);
        assert_eq!(
            unpack(&packed, 203).map(|mask| mask[199..201].to_vec()),
            Some(vec![3, 255])
        );
        for (bytes, positions) in [
            (&packed[..], 202),
            (&packed, 204),
            (&packed[..2], 203),
            (&[0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], 3),
        ] {
            assert_eq!(unpack(bytes, positions), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn every_mask_comes_back_as_it_went(runs in proptest::collection::vec((any::<u8>(), 1_usize..40_000), 0..12)) {
            let mask: Vec<u8> = runs.iter().flat_map(|(class, length)| std::iter::repeat_n(*class, *length)).collect();
            prop_assert_eq!(unpack(&pack(&mask), mask.len()), Some(mask));
        }
    }
}
