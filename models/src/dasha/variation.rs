//! What trials may change about a frame beyond its kernels, as data: width, squeeze and excitation, activation,
//! anti-aliased strides.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::architecture::{Activation, Extras};
use super::card::Candidate;
use super::frames::widened;

/// A frame's own form, varied. The default changes nothing.
///
/// As text it is what differs, joined by `+`: `plain`, `2x`, `silu+antialias`, `0.5x+squeeze_excitation`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Variation {
    /// Beyond the frame's paper.
    pub extras: Extras,
    /// Times the frame's channels.
    pub width: f64,
}

/// A word that is no part of a variation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no variation: plain, or of squeeze_excitation, antialias, silu, gelu and a width such as 2x or 0.5x one \
     or several, joined by +"
)]
pub struct VariationError(String);

const SQUEEZE_EXCITATION: &str = "squeeze_excitation";
const ANTIALIAS: &str = "antialias";
const PLAIN: &str = "plain";

impl Default for Variation {
    fn default() -> Self {
        Self {
            extras: Extras::default(),
            width: 1.0,
        }
    }
}

impl Variation {
    /// Whether it leaves frames as they are.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Whether its width is one that frames are built with.
    pub fn is_sound(&self) -> bool {
        self.width > 0.0 && self.width <= 16.0
    }

    /// The network with this changed: as it will be built, so that what makes no difference to its frame is left out.
    pub fn of(&self, candidate: &Candidate) -> Candidate {
        let backbone = widened(&candidate.backbone, self.width);
        let antialias = self.extras.antialias && backbone.has_strides();
        Candidate {
            backbone,
            extras: Extras {
                antialias,
                ..self.extras
            },
            ..candidate.clone()
        }
    }
}

/// The networks of the first trials, which get hyper-parameters that are known to train: each candidate as it is, then
/// each variation, of one candidate after the other. What makes no difference to its candidate is left out.
pub fn first_networks(candidates: &[Candidate], variations: &[Variation]) -> Vec<Candidate> {
    let mut networks = candidates.to_vec();
    let varied = variations.iter().zip(candidates.iter().cycle());
    for network in varied.map(|(variation, candidate)| variation.of(candidate)) {
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    networks
}

impl Activation {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Silu => "silu",
            Self::Gelu => "gelu",
        }
    }
}

impl fmt::Display for Extras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let activation = (self.activation != Activation::default()).then(|| self.activation.name());
        let words = [
            self.squeeze_excitation.then_some(SQUEEZE_EXCITATION),
            activation,
            self.antialias.then_some(ANTIALIAS),
        ];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        f.write_str(if words.is_empty() { PLAIN } else { "" })?;
        f.write_str(&words.join("+"))
    }
}

impl FromStr for Variation {
    type Err = VariationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut variation = Self::default();
        for word in text.split('+').filter(|_| text != PLAIN) {
            let width = || word.strip_suffix('x')?.parse().ok();
            match word {
                SQUEEZE_EXCITATION => variation.extras.squeeze_excitation = true,
                ANTIALIAS => variation.extras.antialias = true,
                "relu" => variation.extras.activation = Activation::Relu,
                "silu" => variation.extras.activation = Activation::Silu,
                "gelu" => variation.extras.activation = Activation::Gelu,
                _ => variation.width = width().ok_or_else(|| VariationError(word.to_owned()))?,
            }
        }
        Ok(variation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dasha::Backbone;

    fn variation(text: &str) -> Variation {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn plain(backbone: Backbone) -> Candidate {
        Candidate {
            pattern: backbone.plain_pattern(),
            backbone,
            searched: false,
            extras: Extras::default(),
        }
    }

    #[test]
    fn a_variation_is_read_from_the_words_that_differ() {
        assert!(variation("plain").is_plain() && variation("1x").is_plain());
        let all = variation("squeeze_excitation+silu+antialias+0.5x");
        assert_eq!(all.width, 0.5);
        assert_eq!(all.extras.to_string(), "squeeze_excitation+silu+antialias");
        assert_eq!(variation("gelu").extras.to_string(), "gelu");
        assert_eq!(variation("2x").extras.to_string(), "plain");
        for (text, word) in [
            ("swish", "\"swish\""),
            ("silu+", "\"\""),
            ("ax", "\"ax\""),
            ("", "\"\""),
        ] {
            let told = text.parse::<Variation>().expect_err("it is none").to_string();
            assert!(told.starts_with(word), "{told}");
        }
        assert!(!variation("nanx").is_sound() && !variation("-1x").is_sound() && !variation("17x").is_sound());
    }

    #[test]
    fn every_candidate_is_tried_as_it_is_and_every_variation_once() {
        let candidates = [
            plain(Backbone::ResNet { width: 32 }),
            plain(Backbone::UNet { widths: vec![16, 32] }),
        ];
        let texts = ["plain", "squeeze_excitation", "2x", "antialias", "silu", "antialias"];
        let networks = first_networks(&candidates, &texts.map(variation));
        let told = networks
            .iter()
            .map(|network| format!("{} {}", network.backbone.name(), network.extras));
        let told: Vec<String> = told.collect();
        // A ResNet of sequences has no stride to blur before, a U-Net pools.
        assert_eq!(
            told,
            [
                "resnet_32 plain",
                "unet_16 plain",
                "unet_16 squeeze_excitation",
                "resnet_64 plain",
                "unet_16 antialias",
                "resnet_32 silu"
            ]
        );
        assert_eq!(
            first_networks(&candidates, &[]),
            candidates,
            "nothing varied, nothing more to try"
        );
    }
}
