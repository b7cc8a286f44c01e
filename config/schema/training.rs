//! The section `train` of a model: when it is trained by itself, and with what.

use std::time::Duration;

use forecastd_models::dasha::{Augmentation, AugmentationError, BackboneChoice, ScaleChoice};

use super::CENTURY;
use crate::error::Complaint;
use crate::field::{Field, Section};
use crate::yaml::Node;
use crate::{Model, SampleDataset, Torch, TorchStart, Training};

/// Labelled samples below which nothing is worth a training.
const FEWEST: usize = 10;

const MOST: usize = 1_000_000_000;

const MINUTE: Duration = Duration::from_secs(60);

/// Left out, the model is trained by others only.
pub(super) fn training(field: &Field) -> Option<Option<Training>> {
    if field.is_null() {
        return Some(None);
    }
    field.section(|keys| {
        let first = keys.or("first", 500, |field| field.whole(FEWEST..=MOST));
        let again = or_never(keys, "again", Some(200), |field| field.whole(1..=MOST));
        let every = or_never(keys, "every", None, |field| field.duration(MINUTE..=CENTURY));
        let accuracy_drop = or_never(keys, "accuracy_drop", Some(0.05), part);
        let search_growth = keys.or("search_growth", 4.0, growth);
        let time_budget = keys.or("time_budget", MINUTE * 30, |field| {
            field.duration(Duration::from_secs(1)..=CENTURY)
        });
        let threads = keys.optional("threads", super::cpu_threads);
        let seed = keys.or("seed", 0, |field| field.whole(0..=i64::MAX as usize));
        let backbone = keys.or("backbone", BackboneChoice::Auto, |field| {
            field.word(&[
                ("auto", BackboneChoice::Auto),
                ("wide_resnet", BackboneChoice::WideResnet),
                ("unet", BackboneChoice::Unet),
            ])
        });
        let scale = keys.or("scale", ScaleChoice::Auto, |field| {
            field.word(&[
                ("auto", ScaleChoice::Auto),
                ("small", ScaleChoice::Small),
                ("paper", ScaleChoice::Paper),
            ])
        });
        let augmentation = keys.optional("augment", augmentation);
        let class_weights = keys.or("class_weights", false, Field::flag);
        Some(Some(Training {
            first: first? as u64,
            again: again?.map(|again| again as u64),
            every: every?,
            accuracy_drop: accuracy_drop?,
            search_growth: search_growth?,
            time_budget: time_budget?,
            threads: threads?.flatten(),
            seed: seed? as u64,
            backbone: backbone?,
            scale: scale?,
            augmentation: augmentation?,
            class_weights: class_weights?,
        }))
    })
}

/// `never` is `None`.
fn or_never<'a, T>(
    keys: &mut Section<'a, '_>,
    key: &'static str,
    default: Option<T>,
    read: impl FnOnce(&Field<'a>) -> Option<T>,
) -> Option<Option<T>> {
    let field = keys.field(key);
    match field.node() {
        Node::Null => Some(default),
        Node::Text(text) if text == "never" => Some(None),
        _ => read(&field).map(Some),
    }
}

fn part(field: &Field) -> Option<f64> {
    let part = field.number()?;
    if part > 0.0 && part < 1.0 {
        return Some(part);
    }
    let complaint = field.expected("a number between 0 and 1, or `never`");
    field.refuse(complaint.hint("0.05 is one sample in twenty"))
}

fn growth(field: &Field) -> Option<f64> {
    let growth = field.number()?;
    if growth >= 1.0 && growth.is_finite() {
        return Some(growth);
    }
    field.refuse(field.expected("a number from 1"))
}

fn augmentation(field: &Field) -> Option<Augmentation> {
    let parsed: Result<Augmentation, AugmentationError> = field.text()?.parse();
    field.judge(parsed.map_err(|error| Complaint::new(error.to_string())))
}

/// Holds the models that are trained against the datasets that name them: one each, with labels.
pub(super) fn check(file: &Field, torch: &Torch, models: &[Model], datasets: &[SampleDataset]) -> Option<()> {
    let mut sound = Some(());
    for (place, model) in models.iter().enumerate() {
        let Some(training) = &model.training else { continue };
        let path = format!("models[{place}].train");
        let named: Vec<&SampleDataset> = datasets
            .iter()
            .filter(|dataset| dataset.model.as_ref() == Some(&model.name))
            .collect();
        let complaint = match named.as_slice() {
            _ if torch.start == TorchStart::Never => {
                Complaint::new("there is no child to train anything: `torch.start` is `never`")
                    .hint("start it `on_demand`, or leave `train` out")
            }
            [] => Complaint::new("no dataset says `model` of this one")
                .hint("write it in the dataset of kind `tiles` or `sequences` whose samples it learns from"),
            [dataset] => match misfit(training, dataset) {
                Some(complaint) => complaint,
                None => continue,
            },
            [one, other, ..] => Complaint::new(format!(
                "datasets `{}` and `{}` both name this model",
                one.name, other.name
            ))
            .hint("a network learns from one dataset"),
        };
        sound = file.refuse_at(&path, complaint);
    }
    sound
}

/// Why nothing can be learnt from a dataset so.
fn misfit(training: &Training, dataset: &SampleDataset) -> Option<Complaint> {
    let form = &dataset.form;
    if form.columns.label.is_none() {
        let complaint = Complaint::new(format!("no sample of dataset `{}` has a label", dataset.name));
        return Some(complaint.hint("name their column there: `samples.label`"));
    }
    let augmentation = training.augmentation?;
    let error = augmentation.check(&form.shape, &form.element, form.task).err()?;
    Some(Complaint::new(format!("augment: {error}")))
}
