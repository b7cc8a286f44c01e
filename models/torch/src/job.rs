//! The jobs themselves: from a request's arrays to a reply's. A job that breaks is an answer, never the end.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use forecastd_models::device_fit::DeviceBatch;
use forecastd_models::frame::{Frame, slice_of};
use forecastd_models::torch_job::{Reply, ReplyBody, Request, RequestBody, smoke_system};
use tch::{Device, Kind, TchError, Tensor};

use crate::device::Placement;
use crate::fit::fit;

/// Unknowns of the largest smoke system: half a gigabyte of matrix.
const MAX_SMOKE: u32 = 8_192;

/// Does what is asked, and answers whatever happens.
pub fn run(request: Frame<Request>, placement: &Placement) -> Frame<Reply> {
    let Frame { header, slices } = request;
    let Request { id, body } = header;
    // A job shares nothing with the next one, so whatever a panic leaves half-done is gone with it.
    let outcome = catch_unwind(AssertUnwindSafe(|| answer(&body, &slices, placement)));
    let Frame { header: body, slices } = match outcome {
        Ok(Ok(frame)) => frame,
        Ok(Err(error)) => failed(first_line(&error)),
        Err(panic) => failed(format!("panicked: {}", panic_message(&*panic))),
    };
    let header = Reply { id, body };
    Frame { header, slices }
}

/// The answer to a request, but for its number.
pub fn answer(body: &RequestBody, slices: &[Vec<u8>], placement: &Placement) -> Result<Frame<ReplyBody>, TchError> {
    match *body {
        RequestBody::Ping => Ok(ReplyBody::Pong.into()),
        RequestBody::Smoke { size } if size <= MAX_SMOKE => smoke(size as usize, placement.device),
        RequestBody::Smoke { size } => Ok(failed(format!("{size} unknowns; at most {MAX_SMOKE} are solved"))),
        RequestBody::Fit { channels, max_lookback } => match DeviceBatch::of_request(channels, max_lookback, slices) {
            Ok((batch, samples)) => fit_batch(&batch, samples, placement),
            Err(nonsense) => Ok(failed(nonsense.to_string())),
        },
    }
}

fn fit_batch(batch: &DeviceBatch, samples: &[u8], placement: &Placement) -> Result<Frame<ReplyBody>, TchError> {
    let shape = [batch.channels as i64, batch.length as i64];
    // The frame's bytes are little-endian numbers, as are those of every machine that libtorch is built for.
    let samples = Tensor::f_from_data_size(samples, &shape, Kind::Double)?.f_to_device(placement.device)?;
    Ok(DeviceBatch::reply(&fit(&samples, batch, placement.memory)?))
}

/// A reply that says what broke.
pub fn failed(message: String) -> Frame<ReplyBody> {
    ReplyBody::Failed { message }.into()
}

fn smoke(size: usize, device: Device) -> Result<Frame<ReplyBody>, TchError> {
    let (matrix, right) = smoke_system(size);
    let side = size as i64;
    let matrix = tensor(&matrix, &[side, side], device)?;
    let right = tensor(&right, &[side], device)?;
    let solution = Tensor::f_linalg_solve(&matrix, &right, true)?;
    let values = Vec::<f64>::try_from(&solution.f_to_device(Device::Cpu)?)?;
    Ok(Frame {
        header: ReplyBody::Smoke,
        slices: vec![slice_of(&values)],
    })
}

fn tensor(values: &[f64], shape: &[i64], device: Device) -> Result<Tensor, TchError> {
    Tensor::f_from_slice(values)?.f_view(shape)?.f_to_device(device)
}

/// What libtorch says, without its stack.
fn first_line(error: &impl ToString) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// Does what may break, and tells in a line what broke.
pub(crate) fn guarded<T>(work: impl FnOnce() -> anyhow::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(|error| first_line(&format!("{error:#}"))),
        // `tch` panics where it has no call that fails, and quotes the lines of what libtorch says.
        Err(panic) => Err(panic_message(&*panic)
            .split("\\n")
            .next()
            .unwrap_or_default()
            .to_owned()),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use forecastd_models::frame::values_of;
    use forecastd_models::torch_job::smoke_residual;

    use super::*;

    fn run_smoke(size: u32) -> Frame<Reply> {
        let body = RequestBody::Smoke { size };
        run(Request { id: 3, body }.into(), &Placement::on_cpu())
    }

    #[test]
    fn libtorch_solves_what_plain_rust_can_check() {
        for size in [1, 2, 64, 513] {
            let reply = run_smoke(size);
            assert_eq!(
                reply.header,
                Reply {
                    id: 3,
                    body: ReplyBody::Smoke
                }
            );
            let solution = values_of(&reply.slices[0]).expect("whole values");
            assert_eq!(solution.len(), size as usize);
            assert!(
                smoke_residual(&solution) < 1e-14,
                "size {size}: {}",
                smoke_residual(&solution)
            );
        }
    }

    #[test]
    fn a_job_that_asks_too_much_is_refused_in_words() {
        let ReplyBody::Failed { message } = run_smoke(MAX_SMOKE + 1).header.body else {
            panic!("it was not refused");
        };
        assert!(message.contains("8193"), "{message}");
    }

    #[test]
    fn a_libtorch_error_and_a_panic_are_messages() {
        let error = tensor(&[1.0], &[2, 2], Device::Cpu).expect_err("one value is no 2 by 2 matrix");
        assert!(error.to_string().contains("shape"), "{error}");
        let panic = catch_unwind(|| panic!("lost {}", 1)).expect_err("it panicked");
        assert_eq!(panic_message(&*panic), "lost 1");
    }
}
