//! What the daemon and its serving child say to each other: headers of [frames](crate::frame).
//!
//! The child speaks first, a [`Hello`](crate::torch_job::Hello) with this module's [`PROTOCOL`]. It holds the networks
//! that it was told to load, under keys that the daemon chooses, and nothing that the daemon could not send again. It
//! computes one batch at a time and answers in the order in which it was asked, except that a [`Request::Load`] takes
//! its time: batches of other networks are answered meanwhile.
//!
//! Samples travel as records of `inputs.bin` (see [`samples`](crate::dasha::samples)), end to end, and answers as
//! records of `scores.bin` and `classes.bin`:
//!
//! | task | one record a sample |
//! |---|---|
//! | classify, multilabel | an `f32` for each class, its probability |
//! | regress | an `f32` for each output, in its own units |
//! | segment | a byte for each position, the likeliest class |

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What both sides must agree on. It grows with every change of a type in this module.
pub const PROTOCOL: u32 = 2;

/// What the daemon asks of the serving child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Whether it lives. Answered between two batches.
    Ping {
        /// Comes back with the answer.
        id: u64,
    },
    /// To read an artifact, check all of it, build its network and warm it up. Answered once it can be used at full
    /// speed, or is known to be of no use.
    Load {
        /// The network's key from now on, never used before.
        key: u64,
        /// The artifact.
        folder: PathBuf,
    },
    /// To forget a network. Not answered.
    Unload {
        /// The network.
        key: u64,
    },
    /// To apply a network to samples. One slice for each request of the batch: its samples' records.
    Infer {
        /// Comes back with the answer.
        id: u64,
        /// The network.
        key: u64,
        /// How many samples each request has.
        counts: Vec<u32>,
    },
}

/// What the serving child answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It lives.
    Pong {
        /// The ping's.
        id: u64,
    },
    /// The network is loaded and warm. The frame's only slice is its `model.json`.
    Loaded {
        /// The network.
        key: u64,
        /// Samples that memory allows at once; more are computed one part after the other.
        most: u32,
    },
    /// The artifact is of no use.
    Refused {
        /// The network that it would have been.
        key: u64,
        /// The file, and what is wrong with it.
        reason: String,
    },
    /// One slice for each request of the batch: its samples' records, or nothing where the request has failed.
    Answer {
        /// The batch's.
        id: u64,
        /// Requests that failed alone.
        faults: Vec<Fault>,
        /// Time from the batch's last byte to the answer's first.
        microseconds: u64,
    },
    /// The whole batch broke, the child did not.
    Failed {
        /// The batch's.
        id: u64,
        /// What libtorch or a panic said.
        message: String,
    },
}

/// Why one request of a batch has no answer, where the others have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which of the batch.
    pub request: u32,
    /// Which of its samples.
    pub sample: u32,
    /// What is wrong with it, or with what the network made of it.
    pub reason: String,
}
