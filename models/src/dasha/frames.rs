//! Which frames a run searches, and how large they are.

use super::architecture::{Backbone, InputShape, Task};
use super::job::{BackboneChoice, ScaleChoice};

/// Positions along an axis that the coarsest level of a U-Net keeps at least; below, its kernels see only padding.
const COARSEST: u32 = 4;

/// The most levels of a U-Net, the paper's.
const MAX_LEVELS: u32 = 5;

/// The frames to choose from, the first one first where nothing is known of either.
///
/// | | paper | small |
/// |---|---|---|
/// | Wide ResNet of tiles | 22-8 | 16-1 |
/// | U-Net of tiles | 64, 128, 256, 512, 1024 | a quarter |
/// | ResNet of sequences | 128 | 32 |
/// | U-Net of sequences | 64, 128, 256, 512, 512 | a quarter |
///
/// A U-Net has as many levels as leave four positions at the coarsest, and two at least. Dense labels have a U-Net
/// whatever was asked for: no other frame has an output for each position.
pub fn frames(
    choice: BackboneChoice,
    scale: ScaleChoice,
    on_gpu: bool,
    input: &InputShape,
    task: Task,
) -> Vec<Backbone> {
    let is_small = match scale {
        ScaleChoice::Small => true,
        ScaleChoice::Paper => false,
        ScaleChoice::Auto => !on_gpu,
    };
    let resnet = match (input.is_sequence(), is_small) {
        (true, true) => Backbone::ResNet { width: 32 },
        (true, false) => Backbone::ResNet { width: 128 },
        (false, true) => Backbone::WideResNet { depth: 16, width: 1 },
        (false, false) => Backbone::WideResNet { depth: 22, width: 8 },
    };
    let unet = unet(input, is_small);
    match (task, choice) {
        (Task::Segment, _) | (_, BackboneChoice::Unet) => vec![unet],
        (_, BackboneChoice::WideResnet) => vec![resnet],
        (_, BackboneChoice::Auto) => vec![resnet, unet],
    }
}

fn unet(input: &InputShape, is_small: bool) -> Backbone {
    let shortest = input.size.iter().min().copied().unwrap_or(1);
    let halvings = (shortest / COARSEST).max(1).ilog2();
    let levels = (halvings + 1).clamp(2, MAX_LEVELS);
    let finest = if is_small { 16 } else { 64 };
    let widest = finest * if input.is_sequence() { 8 } else { 16 };
    let widths = (0..levels).map(|level| (finest << level).min(widest)).collect();
    Backbone::UNet { widths }
}

/// The same frame with `factor` times its channels, one at least.
pub fn widened(backbone: &Backbone, factor: f64) -> Backbone {
    let times = |width: u32| ((f64::from(width) * factor).round() as u32).max(1);
    match backbone {
        Backbone::WideResNet { depth, width } => Backbone::WideResNet {
            depth: *depth,
            width: times(*width),
        },
        Backbone::ResNet { width } => Backbone::ResNet { width: times(*width) },
        Backbone::UNet { widths } => Backbone::UNet {
            widths: widths.iter().copied().map(times).collect(),
        },
    }
}

/// Samples of one step of training: the paper's 128 sequences or 16 tiles; of tiles below 16 by 16 it takes 64, or a
/// step would be over before its operations have been called.
pub fn batch_size(input: &InputShape) -> u32 {
    if input.is_sequence() {
        128
    } else if input.positions() < 256 {
        64
    } else {
        16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(size: &[u32]) -> InputShape {
        InputShape {
            bands: 4,
            size: size.to_vec(),
        }
    }

    fn names(choice: BackboneChoice, scale: ScaleChoice, on_gpu: bool, size: &[u32], task: Task) -> Vec<String> {
        let found = frames(choice, scale, on_gpu, &input(size), task);
        found.iter().map(Backbone::name).collect()
    }

    #[test]
    fn a_gpu_gets_the_papers_frames_and_a_cpu_small_ones() {
        use BackboneChoice::Auto;
        let classify = Task::Classify;
        assert_eq!(
            names(Auto, ScaleChoice::Auto, true, &[200], classify),
            ["resnet_128", "unet_64"]
        );
        assert_eq!(
            names(Auto, ScaleChoice::Auto, false, &[200], classify),
            ["resnet_32", "unet_16"]
        );
        assert_eq!(
            names(Auto, ScaleChoice::Paper, false, &[64, 64], classify),
            ["wide_resnet_22_8", "unet_64"]
        );
        assert_eq!(
            names(
                BackboneChoice::WideResnet,
                ScaleChoice::Small,
                true,
                &[64, 64],
                classify
            ),
            ["wide_resnet_16_1"]
        );
    }

    #[test]
    fn dense_labels_get_a_unet_whatever_was_asked_for() {
        let found = names(
            BackboneChoice::WideResnet,
            ScaleChoice::Small,
            false,
            &[200, 200],
            Task::Segment,
        );
        assert_eq!(found, ["unet_16"]);
    }

    #[test]
    fn a_unet_is_as_deep_as_its_input_allows() {
        let widths = |size: &[u32], is_small| match unet(&input(size), is_small) {
            Backbone::UNet { widths } => widths,
            other => panic!("{other:?}"),
        };
        assert_eq!(widths(&[512], false), [64, 128, 256, 512, 512]);
        assert_eq!(widths(&[64, 64], false), [64, 128, 256, 512, 1024]);
        assert_eq!(widths(&[60], true), [16, 32, 64, 128]);
        assert_eq!(widths(&[3, 3], true), [16, 32]);
    }

    #[test]
    fn a_wider_frame_has_no_channel_fewer_than_one() {
        assert_eq!(
            widened(&Backbone::ResNet { width: 32 }, 2.0),
            Backbone::ResNet { width: 64 }
        );
        let narrow = widened(&Backbone::WideResNet { depth: 16, width: 1 }, 0.1);
        assert_eq!(narrow, Backbone::WideResNet { depth: 16, width: 1 });
    }
}
