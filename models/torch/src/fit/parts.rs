//! How many channels are worked on at once: what memory holds, and half of it whenever memory says no.

use tch::TchError;

/// More at once wins nothing, since a device is busy long before, and keeps tensors below 2³¹ elements, beyond which
/// libtorch splits its kernels.
const LARGEST_PART: usize = 8 << 30;

/// The room for work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    /// Bytes of the device that a part may take.
    pub(super) memory: usize,
}

impl Parts {
    /// Does `work` on all items, so many at once as fit into memory at `each` bytes an item.
    ///
    /// Items of a part that memory does not hold are halved; one that it does not hold alone is left out.
    pub(super) fn each<I, T>(
        &self,
        items: &[I],
        each: usize,
        mut work: impl FnMut(&[I]) -> Result<T, TchError>,
    ) -> Result<Vec<T>, TchError> {
        let mut size = (self.memory.min(LARGEST_PART) / each.max(1)).max(1);
        let mut done = Vec::new();
        let mut rest = items;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(size.min(rest.len()));
            match work(part) {
                Ok(result) => done.push(result),
                Err(error) if is_out_of_memory(&error) && part.len() > 1 => {
                    size = part.len() / 2;
                    continue;
                }
                Err(error) if is_out_of_memory(&error) => eprintln!("one channel is too large for the device: {error}"),
                Err(error) => return Err(error),
            }
            rest = after;
        }
        Ok(done)
    }
}

/// Whether libtorch lacks memory; it says so in words only, on CUDA and on the CPU in different ones.
fn is_out_of_memory(error: &TchError) -> bool {
    let TchError::Torch(message) = error else { return false };
    [
        "out of memory",
        "not enough memory",
        "can't allocate memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUFFT_ALLOC_FAILED",
    ]
    .iter()
    .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    fn lacking() -> TchError {
        let beyond_any_machine = 1_i64 << 52;
        Tensor::f_empty([beyond_any_machine], (Kind::Double, Device::Cpu)).expect_err("32 petabytes")
    }

    #[test]
    fn what_libtorch_says_of_a_lack_of_memory_is_understood() {
        assert!(is_out_of_memory(&lacking()), "{}", lacking());
        assert!(!is_out_of_memory(
            &Tensor::f_eye(-1, (Kind::Double, Device::Cpu)).expect_err("no size")
        ));
    }

    #[test]
    fn parts_are_as_large_as_memory_says_and_halved_when_it_was_wrong() {
        let memory = 80;
        for (holds, expected) in [
            (100, vec![8, 8, 4]),
            (8, vec![8, 8, 4]),
            (7, vec![4, 4, 4, 4, 4]),
            (1, vec![1; 20]),
        ] {
            let work = |part: &[u8]| {
                if part.len() > holds {
                    Err(lacking())
                } else {
                    Ok(part.len())
                }
            };
            assert_eq!(
                Parts { memory }.each(&[0; 20], 10, work).expect("it is halved"),
                expected,
                "{holds}"
            );
        }
    }

    #[test]
    fn an_item_that_memory_does_not_hold_alone_is_left_out_and_the_others_are_not() {
        let work = |part: &[u8]| {
            if part.contains(&3) {
                Err(lacking())
            } else {
                Ok(part.to_vec())
            }
        };
        let done = Parts { memory: 100 }
            .each(&[0, 1, 2, 3, 4, 5], 10, work)
            .expect("the others fit");
        assert_eq!(done.concat(), [0, 1, 2, 4, 5]);
    }

    #[test]
    fn another_error_is_not_tried_again() {
        let mut tries = 0;
        let broken = |_: &[u8]| {
            tries += 1;
            Err::<(), _>(TchError::Shape("odd".to_owned()))
        };
        assert!(Parts { memory: 100 }.each(&[0; 20], 10, broken).is_err());
        assert_eq!(tries, 1);
    }
}
