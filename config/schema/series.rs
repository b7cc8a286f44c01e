//! The section `series`: which columns mean what, and on which grid their values lie.

use std::cell::RefCell;
use std::collections::HashSet;

use forecastd_models::{Frequency, GapPolicy};

use crate::error::Complaint;
use crate::field::{Field, Section};
use crate::yaml::{Node, quoted};
use crate::{Columns, Layout, OffGrid, unit};

/// What the section says.
pub(super) struct Series {
    pub(super) columns: Columns,
    pub(super) frequency: Option<Frequency>,
    pub(super) gaps: GapPolicy,
    pub(super) off_grid: OffGrid,
}

pub(super) fn series(field: &Field) -> Option<Series> {
    field.section(|keys| {
        let names = Names::default();
        let time = keys.required("time", "the column of times", |field| names.take(field));
        let layout = layout(keys, &names);
        let frequency = keys.optional("frequency", frequency);
        let gaps = keys.or("gaps", GapPolicy::default(), |field| {
            field.word(&[
                ("interpolate", GapPolicy::Interpolate),
                ("hold", GapPolicy::Hold),
                ("error", GapPolicy::Error),
            ])
        });
        let off_grid = keys.or("off_grid", OffGrid::Snap, |field| {
            field.word(&[("snap", OffGrid::Snap), ("drop", OffGrid::Drop)])
        });
        Some(Series {
            columns: Columns {
                time: time?,
                layout: layout?,
            },
            frequency: frequency?.flatten(),
            gaps: gaps?,
            off_grid: off_grid?,
        })
    })
}

fn layout(keys: &mut Section, names: &Names) -> Option<Layout> {
    let channel = keys.optional("channel", |field| {
        if matches!(field.node(), Node::List(_)) {
            field.some(|item, _| names.take(item))
        } else {
            names.take(field).map(|name| vec![name])
        }
    });
    let value = keys.optional("value", |field| names.take(field));
    let columns = keys.optional("columns", |field| field.some(|item, _| names.take(item)));
    match (channel?, value?, columns?) {
        (None, None, only) => Some(Layout::Wide { only }),
        (Some(channel), Some(value), None) => Some(Layout::Long { channel, value }),
        (Some(_), None, _) => {
            let complaint = Complaint::new("is required beside `channel`");
            keys.field("value").refuse(complaint.hint("the column of values"))
        }
        (None, Some(_), _) => {
            let complaint = Complaint::new("is required beside `value`");
            let hint = "the columns that name a row's channel; a wide file has neither";
            keys.field("channel").refuse(complaint.hint(hint))
        }
        (Some(_), Some(_), Some(_)) => {
            let complaint = Complaint::new("does not go with `channel` and `value`");
            keys.field("columns")
                .refuse(complaint.hint("in a long file every row names its channel"))
        }
    }
}

/// `auto` is `None`.
fn frequency(field: &Field) -> Option<Option<Frequency>> {
    match field.node() {
        Node::Text(text) if text == "auto" => Some(None),
        Node::Text(text) => field.judge(unit::frequency(text)).map(Some),
        _ => field.refuse(field.expected("a frequency").hint(unit::FREQUENCY_HINT)),
    }
}

/// The columns that have a meaning already.
#[derive(Default)]
pub(super) struct Names(RefCell<HashSet<String>>);

impl Names {
    pub(super) fn take(&self, field: &Field) -> Option<String> {
        let name = field.text()?;
        if self.0.borrow_mut().insert(name.to_owned()) {
            return Some(name.to_owned());
        }
        let complaint = Complaint::new(format!("the column `{}` is named twice", quoted(name)));
        field.refuse(complaint.hint("each column has one meaning"))
    }
}
