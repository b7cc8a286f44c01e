//! Auto-AR for windows of one length in tensor operations: the numbers of `forecastd_models::fit`, many channels at
//! once, on whatever device the samples are.
//!
//! In three passes, each over as many channels as memory holds at once, with one download at the end of each part and
//! none inside:
//!
//! 1. `kpss`: how often each channel is differenced. Channels with equally many go on together.
//! 2. `search`: lag products by FFT, the Gram of all lags by displacement, one factor, the residual and BIC of every
//!    order.
//! 3. `estimate`: the chosen order on its own longer sample. Channels whose orders need equally many blocks of the
//!    factor go together, the lower orders among them padded with the identity.
//!
//! **Not sure** is an answer. Sums in another order round otherwise than on the CPU, so wherever rounding could turn
//! a decision (a statistic at its critical value, two orders with nearly the same BIC) or has eaten digits (a pivot
//! or a residual near nothing) a channel comes back as `None`, and the CPU fits it: so the orders are the CPU's for
//! every channel.
//!
//! **What bounds it**, one channel of T = 10⁴ and P = 512 in f64. Pass 2: three Fourier transforms of T, 10⁶ flop;
//! the Gram, `P²` numbers (2 MB), written by the outer products, read and written by the second of them, by the
//! cumulative sum and by the elimination of the constant, 14 MB; the factor P³/3 = 4.5·10⁷ flop, of which all but
//! the diagonal blocks are batched matrix products, and some 7 MB. Pass 1: some 30 passes over 80 KB. Together some
//! 25 MB and 5.5·10⁷ flop: 5 µs at 4.8 TB/s, 1 to 2 µs at 34 to 67 TFLOP/s. Pass 3 repeats the Gram and the factor
//! at the chosen order. So memory traffic is expected to be the bound, not arithmetic, as long as the diagonal
//! blocks' factors, which have little to do in parallel, stay a small part.

mod correlation;
mod equations;
mod estimate;
mod factor;
mod kpss;
mod parts;
mod search;

use forecastd_models::device_fit::{DeviceBatch, DeviceFit};
use tch::{Device, Kind, TchError, Tensor};

use self::parts::Parts;

/// Fits each window of a batch; `samples` holds one a row. `memory` bytes of the device may be used for work.
///
/// `None` for a window of which the device is not sure, or that did not fit into its memory.
///
/// # Errors
///
/// What libtorch says, but for a lack of memory that smaller parts get around.
pub fn fit(samples: &Tensor, batch: &DeviceBatch, memory: usize) -> Result<Vec<Option<DeviceFit>>, TchError> {
    let parts = Parts { memory };
    let mut fits = vec![None; batch.channels];
    for (num_diff, channels) in kpss::by_num_diff(samples, &parts)?.into_iter().enumerate() {
        let order = batch.max_order(num_diff);
        if order == 0 {
            continue; // nothing to search
        }
        for found in search::search(samples, &channels, num_diff, order, &parts)? {
            for (channel, fit) in estimate::estimate(&found, num_diff, &parts)? {
                fits[channel] = Some(fit);
            }
        }
    }
    Ok(fits)
}

/// Rows of a tensor.
fn rows(tensor: &Tensor, numbers: &[usize]) -> Result<Tensor, TchError> {
    let numbers: Vec<i64> = numbers.iter().map(|number| *number as i64).collect();
    let index = Tensor::f_from_slice(&numbers)?.f_to_device(tensor.device())?;
    tensor.f_index_select(0, &index)
}

/// `0, 1, …, count − 1`.
fn counted(count: i64, device: Device) -> Result<Tensor, TchError> {
    Tensor::f_arange(count, (Kind::Double, device))
}

/// The sum of each row.
fn sum(x: &Tensor) -> Result<Tensor, TchError> {
    x.f_sum_dim_intlist(1, false, Kind::Double)
}

/// The mean of each row, as a column.
fn mean(x: &Tensor) -> Result<Tensor, TchError> {
    x.f_mean_dim(1, true, Kind::Double)
}

/// One number a channel and a column each, brought to the CPU in one go: an array a channel.
fn download<const N: usize>(columns: [&Tensor; N]) -> Result<Vec<[f64; N]>, TchError> {
    let columns: Vec<Tensor> = columns
        .into_iter()
        .map(|column| column.f_to_kind(Kind::Double))
        .collect::<Result<_, _>>()?;
    let values = values(&Tensor::f_stack(&columns, 1)?)?;
    Ok(values.as_chunks().0.to_vec())
}

/// All values of a tensor, on the CPU.
fn values(tensor: &Tensor) -> Result<Vec<f64>, TchError> {
    Vec::try_from(&tensor.f_reshape(-1)?.f_to_device(Device::Cpu)?)
}
