//! The second pass over a file: inputs and masks, written as they come.

use std::path::Path;

use forecastd_models::dasha::{ElementType, InputShape, Split};

use super::super::parts::Watch;
use super::SamplesError;
use super::columns::Plan;
use super::folder::RecordFile;
use super::inputs::Inputs;
use super::masks::Masks;
use super::source::Source;

/// The second pass.
pub(super) struct Writer<'a> {
    pub(super) source: &'a Source,
    pub(super) plan: &'a Plan,
    pub(super) inputs: Inputs,
    pub(super) masks: Option<Masks>,
    pub(super) splits: &'a [Split],
}

impl Writer<'_> {
    /// Writes `inputs.bin`, and masks into the file of that name.
    pub(super) fn write(
        &mut self,
        folder: &Path,
        masks_name: &str,
        watch: &mut Watch<'_>,
    ) -> Result<(InputShape, ElementType), SamplesError> {
        let (source, input) = (self.source, self.plan.input);
        let label = self.plan.label.filter(|_| self.masks.is_some());
        let roots = Plan::roots([Some(input), label]);
        let place = |root: usize| roots.partition_point(|other| *other < root);
        let mut inputs_file = RecordFile::create(folder, "inputs.bin")?;
        let mut masks_file = label.map(|_| RecordFile::create(folder, masks_name)).transpose()?;
        let (mut record, mut mask) = (Vec::new(), Vec::new());
        source.read(&roots, watch, |first, batch| {
            let piece = self.inputs.piece(batch.column(place(input)));
            let piece = piece.map_err(|error| source.cell(first, input, error))?;
            let mask_piece = label.map(|label| Masks::piece(batch.column(place(label)))).transpose();
            let mask_piece = mask_piece.map_err(|error| source.cell(first, label.unwrap_or(input), error))?;
            for row in 0..batch.num_rows() {
                let number = first + row as u64;
                record.clear();
                let filled = self.inputs.write(&piece, row, &mut record);
                let filled = filled.map_err(|detail| source.cell(number, input, detail))?;
                inputs_file.append(&record)?;
                let (Some(masks), Some(cells), Some(file), Some(label)) =
                    (&mut self.masks, &mask_piece, &mut masks_file, label)
                else {
                    continue;
                };
                mask.clear();
                let (shape, _) = self.inputs.shape().map_err(|detail| source.refused(detail))?;
                let split = self.splits[number as usize];
                masks
                    .write((cells, row), (number, split), (&shape.size, filled), &mut mask)
                    .map_err(|detail| source.cell(number, label, detail))?;
                file.append(&mask)?;
            }
            Ok(())
        })?;
        inputs_file.finish()?;
        if let Some(file) = masks_file {
            file.finish()?;
        }
        self.inputs.shape().map_err(|detail| source.refused(detail))
    }
}
