//! Records of inputs become numbers where a network takes them.

use forecastd_models::dasha::samples::NO_SYMBOL;
use forecastd_models::dasha::{ElementType, InputShape, Normalisation};
use tch::{Device, Kind, Tensor};

/// Makes numbers of bytes, on the device.
#[derive(Debug)]
pub(crate) struct InputDecoder {
    element: ElementType,
    bands: i64,
    size: Vec<i64>,
    device: Device,
    scales: Scales,
}

impl InputDecoder {
    /// # Panics
    ///
    /// If the scaling has not a scale for each band.
    pub(crate) fn new(input: &InputShape, element: &ElementType, scaling: &Normalisation, device: Device) -> Self {
        assert!(
            scaling.fits(input.bands as usize),
            "a scale for each band, as the caller has checked"
        );
        Self {
            element: element.clone(),
            bands: i64::from(input.bands),
            size: input.size.iter().copied().map(i64::from).collect(),
            device,
            scales: Scales::new(scaling, input.size.len(), device),
        }
    }

    /// So many records, end to end, as `f32 [n, bands, *size]`, scaled.
    ///
    /// # Panics
    ///
    /// If the bytes are not so many records.
    pub(crate) fn decode(&self, count: usize, records: &[u8]) -> Tensor {
        let shape = |bands: &[i64]| [&[count as i64], bands, &self.size[..]].concat();
        let raw = |kind| Tensor::from_data_size(records, &shape(&[self.bands]), kind).to_device(self.device);
        let numbers = match &self.element {
            ElementType::U8 => raw(Kind::Uint8).to_kind(Kind::Float),
            ElementType::I16 => raw(Kind::Int16).to_kind(Kind::Float),
            // libtorch does little with unsigned shorts: they come as signed ones, the upper half below zero.
            ElementType::U16 => raw(Kind::Int16)
                .to_kind(Kind::Int)
                .bitwise_and(0xffff)
                .to_kind(Kind::Float),
            ElementType::F32 => raw(Kind::Float),
            ElementType::Symbol { .. } => {
                let letters = Tensor::from_data_size(records, &shape(&[1]), Kind::Uint8).to_device(self.device);
                return self.one_hot(&letters);
            }
        };
        self.scales.apply(&numbers)
    }

    /// One band a letter; [`NO_SYMBOL`] is above all of them, and so in none.
    fn one_hot(&self, letters: &Tensor) -> Tensor {
        debug_assert!(self.bands < i64::from(NO_SYMBOL));
        let shape = [vec![1, self.bands], vec![1; self.size.len()]].concat();
        let bands = Tensor::arange(self.bands, (Kind::Uint8, self.device)).view(&shape[..]);
        letters.eq_tensor(&bands).to_kind(Kind::Float)
    }
}

/// A [`Normalisation`] where tensors are.
#[derive(Debug)]
pub(crate) struct Scales {
    mean: Tensor,
    deviation: Tensor,
}

impl Scales {
    /// For tensors whose second axis is that of the scales, with so many axes after it.
    pub(crate) fn new(normalisation: &Normalisation, axes: usize, device: Device) -> Self {
        let tensor = |values: Vec<f32>| {
            let shape = [vec![1, values.len() as i64], vec![1; axes]].concat();
            Tensor::from_slice(&values).view(&shape[..]).to_device(device)
        };
        let scales = || normalisation.0.iter();
        Self {
            mean: tensor(scales().map(|scale| scale.mean as f32).collect()),
            deviation: tensor(scales().map(|scale| scale.deviation as f32).collect()),
        }
    }

    /// To mean zero and deviation one.
    pub(crate) fn apply(&self, values: &Tensor) -> Tensor {
        (values - &self.mean) / &self.deviation
    }

    /// And back.
    pub(crate) fn undo(&self, values: &Tensor) -> Tensor {
        values * &self.deviation + &self.mean
    }
}
