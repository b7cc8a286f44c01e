//! The first pass over a file: labels, splits and letters, which take a few bytes a row.

use arrow::array::RecordBatch;
use forecastd_models::dasha::Task;

use super::super::columns::is_text;
use super::super::parts::Watch;
use super::columns::Plan;
use super::labels::Labels;
use super::letters::{Letters, Seen};
use super::source::Source;
use super::splits::SplitRows;
use super::{SampleRequest, SamplesError, cells};

/// What the first pass finds.
pub(super) struct Survey {
    pub(super) labels: Labels,
    pub(super) splits: SplitRows,
    pub(super) seen: Seen,
}

impl Survey {
    pub(super) fn read(
        source: &Source,
        plan: &Plan,
        request: &SampleRequest,
        watch: &mut Watch<'_>,
    ) -> Result<Self, SamplesError> {
        let schema = source.schema();
        let of_masks = request.task == Task::Segment;
        let label = plan.label.filter(|_| !of_masks);
        let label_name = plan.label_name.filter(|_| !of_masks);
        let letters = is_text(schema.field(plan.input).data_type()).then(|| Letters::new(&request.alphabet));
        let letters = letters.transpose().map_err(|detail| source.refused(detail))?;
        let mut survey = Self {
            labels: Labels::new(request.task, plan.label.map_or("", |label| schema.field(label).name())),
            splits: SplitRows::new(request.seed),
            seen: Seen::default(),
        };
        let texts = letters.is_some().then_some(plan.input);
        let roots = Plan::roots([label, label_name, plan.split, plan.id, texts]);
        if roots.is_empty() {
            return Ok(survey);
        }
        let place = |root: usize| roots.partition_point(|other| *other < root);
        source.read(&roots, watch, |first, batch| {
            if let Some(label) = label {
                let names = label_name.map(|name| batch.column(place(name)));
                let taken = survey.labels.take(batch.column(place(label)), names);
                taken.map_err(|(row, detail)| source.cell(first + row, label, detail))?;
            }
            survey.take_splits(source, plan, (first, batch), &place)?;
            if let Some(letters) = &letters {
                let cell = |row: u64, detail: String| source.cell(row, plan.input, detail);
                let column = cells::texts(batch.column(place(plan.input)));
                let column = column.map_err(|error| cell(first, error.to_string()))?;
                for (row, text) in (first..).zip(column.iter()) {
                    letters
                        .see(row, text, &mut survey.seen)
                        .map_err(|detail| cell(row, detail))?;
                }
            }
            Ok(())
        })?;
        if let Some(letters) = letters {
            let checked = letters.check(&survey.seen);
            checked.map_err(|(row, detail)| source.cell(row, plan.input, detail))?;
        }
        Ok(survey)
    }

    fn take_splits(
        &mut self,
        source: &Source,
        plan: &Plan,
        (first, batch): (u64, &RecordBatch),
        place: &impl Fn(usize) -> usize,
    ) -> Result<(), SamplesError> {
        if let Some(split) = plan.split {
            let words = cells::texts(batch.column(place(split)));
            let words = words.map_err(|error| source.cell(first, split, error))?;
            for (row, word) in (first..).zip(words.iter()) {
                self.splits
                    .tell(word)
                    .map_err(|detail| source.cell(row, split, detail))?;
            }
        }
        match plan.id {
            Some(id) => {
                let ids = cells::texts(batch.column(place(id))).map_err(|error| source.cell(first, id, error))?;
                for (row, text) in (first..).zip(ids.iter()) {
                    let text = text.ok_or_else(|| source.cell(row, id, "no id"))?;
                    self.splits.identify(text.as_bytes());
                }
            }
            None => (first..)
                .take(batch.num_rows())
                .for_each(|row| self.splits.identify(row.to_string().as_bytes())),
        }
        Ok(())
    }

    /// What was odd about the letters.
    pub(super) fn letters_note(&self) -> Option<String> {
        let unknown = self.seen.unknown;
        (unknown > 0).then(|| format!("{unknown} letters are not in the alphabet and count as none"))
    }
}
