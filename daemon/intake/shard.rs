//! One of several runs that share the channels of a data set: each channel is of exactly one shard.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// Shard `number` of `count`, counted from 1.
///
/// A channel is of shard `1 + h mod count`, where `h` are the first eight bytes of the BLAKE3 hash of its name, as a
/// little-endian number. That stands for ever: others may compute it, and runs of different versions must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    number: NonZeroU32,
    count: NonZeroU32,
}

impl Shard {
    /// Whether a channel is of this shard.
    pub fn holds(self, channel: &str) -> bool {
        let hash = blake3::hash(channel.as_bytes());
        let head = hash.as_bytes().first_chunk().expect("a hash of 32 bytes");
        u64::from_le_bytes(*head) % u64::from(self.count.get()) == u64::from(self.number.get() - 1)
    }
}

impl FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shard = text.split_once('/').and_then(|(number, count)| {
            let (number, count) = (number.parse().ok()?, count.parse().ok()?);
            (number <= count).then_some(Self { number, count })
        });
        shard.ok_or("expected i/n with i from 1 to n, like 3/10")
    }
}

impl fmt::Display for Shard {
    /// As file names have it: `3-of-10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-of-{}", self.number, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_of_the_shard_that_its_published_hash_says() {
        // `printf '' | b3sum` begins af1349b9f5f9a1a6 and `printf abc | b3sum` 6437b3ac38465133 (the BLAKE3 paper's
        // test vectors have the first): little-endian, modulo 10.
        for (name, remainder) in [
            ("", 0xa6a1_f9f5_b949_13af_u64 % 10),
            ("abc", 0x3351_4638_acb3_3764_u64 % 10),
        ] {
            for number in 1..=10 {
                let shard: Shard = format!("{number}/10").parse().expect("a shard");
                assert_eq!(shard.holds(name), number - 1 == remainder, "{name:?} {number}");
            }
        }
    }

    #[test]
    fn a_shard_is_one_of_those_that_there_are() {
        for text in ["0/3", "4/3", "3", "1/0", "-1/3", "a/b", "1/3/5", ""] {
            assert!(text.parse::<Shard>().is_err(), "{text:?}");
        }
        assert_eq!("3/10".parse::<Shard>().expect("a shard").to_string(), "3-of-10");
    }
}
