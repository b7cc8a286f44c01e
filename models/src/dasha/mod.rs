//! DASHA, as data and as rules: which kernels a network may have, which it got, how trials are cut short, what a
//! prediction is worth. Networks themselves are built by the libtorch child, from nothing but these types.
//!
//! The method is that of *Specialized Foundation Models Struggle to Beat Supervised Baselines* (arXiv 2411.02796):
//! DASH (arXiv 2204.07554) finds kernel sizes and dilations of a backbone by one weight-sharing search, ASHA
//! (arXiv 1810.05934) the hyper-parameters, and the network is trained again with both.

pub mod architecture;
pub mod artifact;
pub mod asha;
pub mod augmentation;
pub mod card;
pub mod challenge;
pub mod drift;
pub mod event;
pub mod frames;
pub mod job;
pub mod kernel_pattern;
pub mod live;
pub mod mask;
pub mod metrics;
pub mod normalisation;
pub mod plan;
pub mod random;
pub mod samples;
pub mod schedule;
pub mod sip_hash;
pub mod split;
pub mod training;
pub mod training_set;
pub mod trial;
pub mod variation;
pub mod windows;

pub use architecture::{Activation, Architecture, ArchitectureError, Backbone, Extras, InputShape, Task};
pub use artifact::{DescriptionError, ModelDescription};
pub use augmentation::{Augmentation, AugmentationError, complement_bands};
pub use card::Card;
pub use challenge::{Contender, FEWEST_LIVE, Verdict, challenge};
pub use drift::BandSums;
pub use event::{DashaEvent, PredictEvent};
pub use job::{BackboneChoice, Budget, DashaJob, ScaleChoice};
pub use kernel_pattern::{Kernel, KernelPattern, SearchSpace};
pub use live::{Agreement, ClassShares, LiveConfusion, LiveMetric, LiveOutcome, LiveScore};
pub use metrics::{Metric, Outcomes};
pub use normalisation::{Normalisation, RunningMoments, Scale, Scaling};
pub use random::Random;
pub use samples::{CellFormat, ElementType, PixelLayout, SampleSet, Split};
pub use schedule::{Schedule, Stage};
pub use split::{SPLIT_SEED, SplitError, SplitFractions, is_cut};
pub use training::TrainingOptions;
pub use training_set::{LabelKind, SplitCounts, TrainingSet};
pub use trial::{Distribution, HyperParameters, TrialSpace, TrialSpaceError};
pub use variation::{Variation, VariationError};
pub use windows::{ScaledWindow, SeriesWindows};
