//! What is measured beside each other must be the same thing.

use forecastd_models::dasha::SearchSpace;
use tch::Device;

use super::assert_close;
use crate::nets::ways::{Bench, Layer, WAYS};

#[test]
fn all_four_ways_of_a_layer_come_to_the_same() {
    let space = SearchSpace {
        kernel_sizes: vec![3, 4, 5],
        dilations: vec![1, 3],
    };
    for (outputs, size) in [(3, vec![21]), (4, vec![21]), (3, vec![9, 11]), (4, vec![9, 11])] {
        let layer = Layer {
            inputs: 3,
            outputs,
            size,
            samples: 2,
        };
        let bench = Bench::new(&layer, &space, Device::Cpu);
        let [first, others @ ..] =
            WAYS.map(|(sum, form)| (format!("{layer:?}, {sum:?}, {form:?}"), bench.output(sum, form)));
        for (name, output) in &others {
            assert_close(name, output, &first.1);
        }
    }
}
