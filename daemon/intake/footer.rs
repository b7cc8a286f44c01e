//! Parquet's outermost frame: `PAR1 … footer, its length, PAR1`. Enough to tell a whole file from one that is still
//! being written; what stands in the footer is for `decode`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::message::rejected::{RejectReason, Rejected};

/// What a file looks like from its two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A footer of this many bytes lies inside the file.
    Whole { footer: u32 },
    /// No byte.
    Empty,
    /// Begins like parquet, does not end like it.
    Truncated,
    /// Begins like something else.
    NotParquet,
    /// Parquet with an encrypted footer.
    Encrypted,
}

/// Bytes of the frame: two magic words and the footer's length.
const FRAME: u64 = 12;

impl Shape {
    /// Looks at both ends of a file of `size` bytes.
    pub(crate) fn of(file: &File, size: u64) -> io::Result<Self> {
        if size == 0 {
            return Ok(Self::Empty);
        }
        let mut head = [0; 4];
        let head = &mut head[..size.min(4) as usize];
        file.read_exact_at(head, 0)?;
        Ok(match &*head {
            b"PARE" => Self::Encrypted,
            head if !b"PAR1".starts_with(head) => Self::NotParquet,
            _ if size < FRAME => Self::Truncated,
            _ => Self::of_tail(file, size)?,
        })
    }

    fn of_tail(file: &File, size: u64) -> io::Result<Self> {
        let mut length = [0; 4];
        let mut magic = [0; 4];
        file.read_exact_at(&mut length, size - 8)?;
        file.read_exact_at(&mut magic, size - 4)?;
        let footer = u32::from_le_bytes(length);
        let whole = &magic == b"PAR1" && u64::from(footer) <= size - FRAME;
        Ok(if whole { Self::Whole { footer } } else { Self::Truncated })
    }

    /// Why a file of this shape cannot be taken, if so.
    pub(crate) fn verdict(self) -> Option<Rejected> {
        let (reason, detail) = match self {
            Self::Whole { .. } => return None,
            Self::Empty => (RejectReason::Empty, "the file has no byte"),
            Self::Truncated => (
                RejectReason::Truncated,
                "the file begins with PAR1 but has no whole footer: its writer died, or a copy broke off",
            ),
            Self::NotParquet => (RejectReason::NotParquet, "the file does not begin with PAR1"),
            Self::Encrypted => (
                RejectReason::Schema,
                "the footer is encrypted (PARE): write the file without parquet encryption",
            ),
        };
        Some(Rejected::new(reason, detail))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn shape_of(content: &[u8]) -> Shape {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(content).expect("written");
        Shape::of(&file, content.len() as u64).expect("readable")
    }

    #[test]
    fn the_two_ends_tell_whole_files_from_all_others() {
        let cases: [(&[u8], Shape); 10] = [
            (b"", Shape::Empty),
            (b"PA", Shape::Truncated),
            (b"PAR1", Shape::Truncated),
            (b"PAR1PAR1", Shape::Truncated),
            (b"PAR1\0\0\0\0PAR1", Shape::Whole { footer: 0 }),
            (b"PAR1\x01\0\0\0PAR1", Shape::Truncated),
            (b"PAR1x\x01\0\0\0PAR1", Shape::Whole { footer: 1 }),
            (b"PAR1\xff\xff\xff\xffPAR1", Shape::Truncated),
            (b"time,value\n1,2\n", Shape::NotParquet),
            (b"PAREx\x01\0\0\0PARE", Shape::Encrypted),
        ];
        for (content, shape) in cases {
            assert_eq!(shape_of(content), shape, "{content:?}");
            assert_eq!(shape.verdict().is_none(), matches!(shape, Shape::Whole { .. }));
        }
    }
}
