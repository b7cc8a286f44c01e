//! Which keys a model has, what they default to, and what holds between them.

use std::path::Path;
use std::time::Duration;

use super::CENTURY;
use super::dataset::{folder, landing, name};
use super::training::training;
use crate::field::Field;
use crate::folders::Claims;
use crate::{Model, PromoteTo, Promotion, Retention};

/// Reads one model; what it takes, no other may take.
pub(super) fn model(field: &Field, base: &Path, claims: &mut Claims) -> Option<Model> {
    field.section(|keys| {
        let name = keys.required("name", "a word for its metrics and addresses", |field| {
            claims.model(field, name(field)?)
        });
        let incoming = keys.required("incoming", "the folder that artifacts are dropped into", |field| {
            claims.incoming(field, field.file(base)?)
        });
        let within = |name| Some(incoming.as_ref()?.join(name));
        let done = folder(keys, "done", base, within("done"), claims);
        let quarantine = folder(keys, "quarantine", base, within("quarantine"), claims);
        let landing = landing(&keys.field("landing"));
        let promotion = promotion(&keys.field("promotion"));
        let retention = retention(&keys.field("retention"));
        let training = training(&keys.field("train"));
        Some(Model {
            name: name?,
            incoming: incoming?,
            done: done?,
            quarantine: quarantine?,
            landing: landing?,
            promotion: promotion?,
            retention: retention?,
            training: training?,
        })
    })
}

fn promotion(field: &Field) -> Option<Promotion> {
    field.section(|keys| {
        let to = keys.or("to", PromoteTo::Active, |field| {
            field.word(&[
                ("active", PromoteTo::Active),
                ("shadow", PromoteTo::Shadow),
                ("candidate", PromoteTo::Candidate),
            ])
        });
        let margin = keys.or("margin", 0.0, margin);
        Some(Promotion {
            to: to?,
            margin: margin?,
        })
    })
}

/// Scores have no common bound: a root mean squared error is in the units of its numbers.
fn margin(field: &Field) -> Option<f64> {
    let margin = field.number()?;
    if margin.is_finite() && margin >= 0.0 {
        return Some(margin);
    }
    let complaint = field.expected("a number from 0");
    field.refuse(complaint.hint("in units of the score: 0.01 of accuracy is one sample in a hundred"))
}

fn retention(field: &Field) -> Option<Retention> {
    const HOUR: Duration = Duration::from_secs(3600);
    field.section(|keys| {
        let versions = keys.or("versions", 10, |field| field.whole(0..=10_000));
        let age = keys.optional("age", |field| field.duration(HOUR..=CENTURY));
        Some(Retention {
            versions: versions?,
            age: age?,
        })
    })
}
