//! What the daemon and its decoding child say to each other, on one socket: a descriptor and a request one way, rows
//! and a verdict the other way.
//!
//! Frames are postcard behind their length. Rows come in small frames, so that neither side holds a second copy of
//! them all, and a child that was taken over cannot make the daemon reserve memory by claiming a length.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use forecastd_config::{Columns, Layout, Limits, SampleForm, SampleLimits};
use forecastd_models::{ChannelName, Timestamp};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::decode::Decoded;
use crate::message::account::RowAccount;
use crate::message::rejected::Rejected;
use crate::message::sample::Sample;

/// What is asked of the child, about the descriptor that came before.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Rows of series, none later than `latest`.
    Series {
        #[serde(with = "ColumnsMirror")]
        columns: Columns,
        #[serde(with = "LimitsMirror")]
        limits: Limits,
        latest: Timestamp,
    },
    /// Samples of this form, none taken later than `latest`.
    Samples {
        form: SampleForm,
        limits: SampleLimits,
        latest: Timestamp,
    },
}

impl Request {
    /// What decoding may take, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        match self {
            Self::Series { limits, .. } => limits.decode_memory,
            Self::Samples { limits, .. } => limits.decode_memory,
        }
    }
}

/// What the child answers about samples: each of them, then one of the others.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SampleReply {
    Sample(Sample),
    Done(RowAccount, Vec<String>),
    Rejected(Rejected),
}

/// What the child answers: rows, any number of times, then one of the others.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Rows(ChannelName, Vec<(Timestamp, f64)>),
    Done(RowAccount),
    Rejected(Rejected),
}

/// The configuration's types as they cross the socket; the compiler checks that they stay the same.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Columns")]
struct ColumnsMirror {
    time: String,
    #[serde(with = "LayoutMirror")]
    layout: Layout,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Layout")]
enum LayoutMirror {
    Wide { only: Option<Vec<String>> },
    Long { channel: Vec<String>, value: String },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Limits")]
struct LimitsMirror {
    file_bytes: u64,
    file_values: u64,
    channels: usize,
    decode_memory: u64,
}

/// The largest frame, in bytes. A request may name many columns.
const FRAME: u32 = 64 << 20;

/// Rows in a frame, at most.
const ROWS: usize = 16_384;

/// Sends a descriptor, with the one byte that it needs to travel on a stream.
pub(crate) fn send_descriptor(socket: impl AsFd, descriptor: impl AsFd) -> io::Result<()> {
    let descriptors = [descriptor.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
    debug_assert!(fits, "the space is for one descriptor");
    rustix::net::sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a descriptor.
pub(crate) fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptor = descriptors.next().and_then(|mut descriptors| descriptors.next());
    descriptor.ok_or_else(|| invalid("a message without a descriptor"))
}

/// Sends one frame.
pub(crate) fn send(writer: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let frame = postcard::to_stdvec(message).map_err(invalid)?;
    let length = u32::try_from(frame.len()).ok().filter(|length| *length <= FRAME);
    let length = length.ok_or_else(|| invalid("a message beyond the size of a frame"))?;
    writer.write_all(&length.to_le_bytes())?;
    writer.write_all(&frame)
}

/// Receives one frame. Memory grows with what arrives, not with what is announced.
pub(crate) fn receive<T: DeserializeOwned>(reader: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > FRAME {
        return Err(invalid("a frame beyond the allowed size"));
    }
    let mut frame = Vec::new();
    reader.take(u64::from(length)).read_to_end(&mut frame)?;
    if frame.len() < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    postcard::from_bytes(&frame).map_err(invalid)
}

/// Sends what decoding gave.
pub(crate) fn send_result(writer: &mut impl Write, result: Result<Decoded, Rejected>) -> io::Result<()> {
    match result {
        Ok(decoded) => {
            for (channel, rows) in decoded.rows.channels {
                for piece in rows.chunks(ROWS) {
                    send(writer, &Reply::Rows(ChannelName::clone(&channel), piece.to_vec()))?;
                }
            }
            send(writer, &Reply::Done(decoded.account))
        }
        Err(rejected) => send(writer, &Reply::Rejected(rejected)),
    }
}

/// Receives what decoding gave, holding the child to the promises of the types and to the limit on values.
pub(crate) fn receive_result(reader: &mut impl Read, limits: &Limits) -> io::Result<Result<Decoded, Rejected>> {
    let mut decoded = Decoded::default();
    let mut values = 0;
    loop {
        match receive(reader)? {
            Reply::Rows(channel, rows) => {
                values += rows.len() as u64;
                if values > limits.file_values || rows.iter().any(|(_, value)| !value.is_finite()) {
                    return Err(invalid("rows that no file can have"));
                }
                decoded.rows.channels.entry(channel).or_default().extend(rows);
            }
            Reply::Done(account) if fits(&account, values) => {
                decoded.account = account;
                return Ok(Ok(decoded));
            }
            Reply::Done(_) => return Err(invalid("an account that does not fit its rows")),
            Reply::Rejected(rejected) => return Ok(Err(rejected)),
        }
    }
}

/// Whether a child's account is one that decoding gives: nothing is committed or known to be a duplicate yet, and
/// every row that was not refused has come. A child that was taken over may have written any numbers.
pub(crate) fn fits(account: &RowAccount, values: u64) -> bool {
    let mut refused = account.rejected.values();
    let refused = refused.try_fold(0u64, |sum, rows| sum.checked_add(*rows));
    let taken = refused.and_then(|refused| account.seen.checked_sub(refused));
    (account.committed, account.duplicate, taken) == (0, 0, Some(values))
}

pub(crate) fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::fixture::LIMITS;
    use super::*;
    use crate::message::account::RowReason;

    #[test]
    fn an_account_that_decoding_cannot_give_is_no_answer() {
        let account = |seen, committed, duplicate, rejected: &[(RowReason, u64)]| RowAccount {
            seen,
            committed,
            duplicate,
            rejected: BTreeMap::from_iter(rejected.iter().copied()),
            missing: 1,
        };
        let (future, no_time) = (RowReason::Future, RowReason::NoTime);
        let cases = [
            (account(1, 0, 0, &[]), true),
            (account(3, 0, 0, &[(future, 2)]), true),
            (account(1, 1, 0, &[]), false),
            (account(2, 0, 1, &[]), false),
            (account(2, 0, 0, &[]), false),
            (account(0, 0, 0, &[]), false),
            (account(0, 0, 0, &[(future, 1)]), false),
            (account(0, 0, 0, &[(future, u64::MAX), (no_time, 1)]), false),
        ];
        for (account, sound) in cases {
            let told = format!("{account:?}");
            let mut frames = Vec::new();
            send(&mut frames, &Reply::Rows("x".into(), vec![(Timestamp(1), 1.0)])).expect("sent");
            send(&mut frames, &Reply::Done(account)).expect("sent");
            let result = receive_result(&mut frames.as_slice(), &LIMITS);
            match result {
                Ok(Ok(_)) => assert!(sound, "believed: {told}"),
                Ok(Err(rejected)) => panic!("{rejected:?}"),
                Err(error) => assert!(!sound && error.kind() == io::ErrorKind::InvalidData, "{told}: {error}"),
            }
        }
    }
}
