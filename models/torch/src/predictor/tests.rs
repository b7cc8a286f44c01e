//! Answers to requests are those to a file; one that is not finite is its own request's alone.

use tch::Device;

use super::*;
use crate::artifact::save;
use crate::artifact::tests::{described, network};

/// A predictor of random weights, with room for so many samples at once.
fn predictor(most: usize) -> Predictor {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = network(&described());
    let artifact = folder.path().join("a");
    save(&artifact, &described(), &store.variables(), b"").expect("it is saved");
    let artifact = Artifact::open(&artifact).expect("it was just saved");
    let mut predictor = Predictor::new(&artifact, &Placement::on_cpu()).expect("it fits");
    predictor.most = most;
    predictor
}

/// Records of sixteen singles each, and the same as a tensor.
fn samples(count: i64) -> (Vec<u8>, Tensor) {
    let inputs = Tensor::randn([count, 1, 16], (Kind::Float, Device::Cpu));
    let values: Vec<f32> = Vec::try_from(inputs.flatten(0, -1)).expect("numbers");
    (values.into_iter().flat_map(f32::to_le_bytes).collect(), inputs)
}

#[test]
fn records_are_answered_as_tensors_are_in_parts_or_not() {
    let (records, inputs) = samples(5);
    for most in [512, 2] {
        let predictor = predictor(most);
        let expected = predictor.network.forward_t(&inputs, false).softmax(1, Kind::Float);
        let outputs = predictor.answer(&records).expect("it computes");
        let found = Tensor::from_data_size(&outputs.records, &[5, 2], Kind::Float);
        assert!(found.allclose(&expected, 1e-5, 1e-6, false), "{most}");
        assert_eq!(outputs.not_finite, []);
    }
}

#[test]
fn a_sample_without_finite_scores_is_told_and_the_others_are_answered() {
    let (mut records, _) = samples(5);
    records[3 * 64..3 * 64 + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    for most in [512, 2] {
        let predictor = predictor(most);
        let outputs = predictor.answer(&records).expect("it computes");
        assert_eq!(outputs.not_finite, [(3, "output 0 is NaN".to_owned())]);
        let alone = predictor.answer(&records[..64]).expect("it computes");
        let first = |records: &[u8]| Tensor::from_data_size(&records[..8], &[2], Kind::Float);
        assert!(first(&outputs.records).allclose(&first(&alone.records), 1e-5, 1e-6, false));
    }
}

#[test]
fn pixels_without_finite_scores_are_told_by_sample() {
    let finite = Tensor::zeros([3, 2, 4], (Kind::Float, Device::Cpu));
    assert_eq!(not_finite(&finite).expect("it computes"), []);
    let _ = finite.get(1).get(0).get(2).fill_(f64::INFINITY);
    let found = not_finite(&finite).expect("it computes");
    assert_eq!(found, [(1, "an output is not finite".to_owned())]);
}

#[test]
fn bytes_that_are_no_whole_records_are_refused() {
    let told = predictor(512).answer(&[0; 65]).expect_err("65 bytes").to_string();
    assert!(told.contains("65 bytes are no whole number of records of 64"), "{told}");
}

#[test]
fn a_batch_is_as_large_as_memory_allows() {
    let architecture = described().architecture;
    assert_eq!(prediction_batch(&architecture, 0), 1);
    assert_eq!(prediction_batch(&architecture, usize::MAX), MAX_BATCH as usize);
    let one = 4 * COPIES as usize * 4 * 16;
    assert_eq!(prediction_batch(&architecture, 10 * one), 10);
}
