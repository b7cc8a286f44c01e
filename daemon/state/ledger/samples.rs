//! What the ledger knows of samples: for each id the row that counts.

use forecastd_models::Timestamp;
use forecastd_models::dasha::Split;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::Ledger;
use super::predictions::forget_mask;
use crate::message::sample::{Label, Place, SampleEntry, SamplePlace, Taken};
use crate::state::error::StateError;
use crate::state::samples::Known;

impl Ledger {
    /// What counts for an id.
    pub(in crate::state) fn sample(&self, dataset: i64, id: &str) -> Result<Option<Known>, StateError> {
        let sql = "SELECT sequence, row, split, label, content, time, latitude, longitude FROM samples
                   WHERE dataset = ?1 AND id = ?2";
        let mut query = self.connection.prepare_cached(sql)?;
        let known = query.query_row(params![dataset, id], |row| {
            Ok((
                row.get::<_, u8>(2)?,
                Known {
                    place: SamplePlace {
                        sequence: row.get(0)?,
                        row: row.get(1)?,
                    },
                    split: Split::Train,
                    label: row.get(3)?,
                    content: row.get(4)?,
                    taken: taken(row, 5)?,
                },
            ))
        });
        let Some((split, known)) = known.optional()? else {
            return Ok(None);
        };
        let split = split_of(split)?;
        Ok(Some(Known { split, ..known }))
    }

    /// The number of a dataset, without a look at what else is known of it.
    pub(in crate::state) fn dataset(&self, name: &str) -> Result<Option<i64>, StateError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT id FROM datasets WHERE name = ?1")?;
        Ok(query.query_row([name], |row| row.get(0)).optional()?)
    }

    /// Everything that counts, in the order in which it was committed.
    pub(in crate::state) fn samples(&self, dataset: i64) -> Result<Vec<SampleEntry>, StateError> {
        let sql = "SELECT id, sequence, row, split, label, time, latitude, longitude FROM samples WHERE dataset = ?1
                   ORDER BY sequence, row";
        let mut query = self.connection.prepare_cached(sql)?;
        let mut rows = query.query([dataset])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let label = row.get::<_, Option<String>>(4)?;
            entries.push(SampleEntry {
                id: row.get::<_, String>(0)?.into(),
                place: SamplePlace {
                    sequence: row.get(1)?,
                    row: row.get(2)?,
                },
                split: split_of(row.get(3)?)?,
                label: label.as_deref().map(label_of).transpose()?,
                taken: taken(row, 5)?,
                same_elements: false,
                compared: Vec::new(),
            });
        }
        Ok(entries)
    }
}

/// Enters what counts from now on. Where that is a mask, what was said of its positions has been compared with it.
pub(super) fn upsert(
    transaction: &Transaction<'_>,
    dataset: i64,
    samples: &[(String, Known)],
) -> Result<(), StateError> {
    let sql = "INSERT INTO samples VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO UPDATE SET
               sequence = excluded.sequence, row = excluded.row, split = excluded.split, label = excluded.label,
               content = excluded.content, time = excluded.time, latitude = excluded.latitude,
               longitude = excluded.longitude";
    let mut upsert = transaction.prepare_cached(sql)?;
    for (id, known) in samples {
        let Known {
            place,
            split,
            label,
            content,
            taken: Taken { time, place: at },
        } = known;
        upsert.execute(params![
            dataset,
            id,
            place.sequence,
            place.row,
            *split as u8,
            label,
            &content[..],
            time.map(|time| time.0),
            at.map(|at| at.latitude),
            at.map(|at| at.longitude),
        ])?;
        if known.has_mask() {
            forget_mask(transaction, dataset, id)?;
        }
    }
    Ok(())
}

/// The columns time, latitude, longitude, from `first` on.
fn taken(row: &Row<'_>, first: usize) -> rusqlite::Result<Taken> {
    let degrees = row.get::<_, Option<f64>>(first + 1)?.zip(row.get(first + 2)?);
    Ok(Taken {
        time: row.get::<_, Option<i64>>(first)?.map(Timestamp),
        place: degrees.map(|(latitude, longitude)| Place { latitude, longitude }),
    })
}

fn split_of(byte: u8) -> Result<Split, StateError> {
    let detail = || format!("table samples: unknown split {byte}");
    Split::from_byte(byte).ok_or_else(|| StateError::BadLedger { detail: detail() })
}

pub(super) fn label_of(text: &str) -> Result<Label, StateError> {
    let detail = || format!("table samples: unknown label {text:?}");
    Label::from_json(text).ok_or_else(|| StateError::BadLedger { detail: detail() })
}
