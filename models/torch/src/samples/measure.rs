//! One pass over the inputs: are they sound, and where do their values lie.

use forecastd_models::dasha::{ElementType, Normalisation, RunningMoments, Scaling, Split, Task};

use super::{Samples, SamplesError, record};

impl Samples {
    /// Reads every input and checks it; what is for training alone says how bands, and numbers to regress, are
    /// scaled. Letters are not scaled.
    ///
    /// # Errors
    ///
    /// The sample and band whose value is not finite, or a letter that is not in the alphabet; no training samples.
    pub fn scaling(&self) -> Result<Scaling, SamplesError> {
        (0..self.set.count as u32).try_for_each(|index| self.check_input(index))?;
        if self.of(Split::Train).is_empty() {
            return Err(SamplesError::NoTraining(self.folder.join("splits.bin")));
        }
        let bands = self.set.input.bands as usize;
        let inputs = match self.set.element {
            ElementType::Symbol { .. } => Normalisation::identity(bands),
            _ => self.scale_of_bands(bands),
        };
        let targets = (self.set.task == Task::Regress).then(|| self.scale_of_targets());
        Ok(Scaling { inputs, targets })
    }

    fn scale_of_bands(&self, bands: usize) -> Normalisation {
        let band_bytes = self.set.input_bytes() / bands;
        let mut moments = vec![RunningMoments::default(); bands];
        for index in self.of(Split::Train) {
            let values = self.input(*index).chunks_exact(band_bytes);
            for (band, moments) in values.zip(&mut moments) {
                moments.add(record::numbers(&self.set.element, band));
            }
        }
        Normalisation(moments.into_iter().map(RunningMoments::scale).collect())
    }

    fn scale_of_targets(&self) -> Normalisation {
        let mut moments = vec![RunningMoments::default(); self.set.labels.len()];
        for index in self.of(Split::Train) {
            let values = record::floats(self.target(*index));
            for (value, moments) in values.zip(&mut moments) {
                moments.add(std::iter::once(f64::from(value)));
            }
        }
        Normalisation(moments.into_iter().map(RunningMoments::scale).collect())
    }
}
