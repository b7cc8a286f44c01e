//! Random lives of a store against a map in memory: the same rows, the same accounts, the law at every turn.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const RETENTION: i64 = 60;
const CHANNELS: [&str; 3] = ["x", "y", "z"];

#[derive(Clone, Debug)]
enum Turn {
    /// A drop of rows: channel, time relative to the drop's own, value.
    Drop(Vec<(usize, i64, u8)>),
    Maintain,
    Restart,
}

/// The history as it must be.
#[derive(Default)]
struct Model {
    rows: History,
    newest: Option<i64>,
}

impl Model {
    /// Takes a drop's rows, one for a time; says how many were committed, duplicate, too old.
    fn take(&mut self, rows: &History) -> (u64, u64, u64) {
        let cutoff = self.cutoff();
        let mut counts = (0, 0, 0);
        for (key, value) in rows {
            if key.1 < cutoff {
                counts.2 += 1;
            } else if self.rows.get(key) == Some(value) {
                counts.1 += 1;
            } else {
                self.rows.insert(key.clone(), *value);
                self.newest = self.newest.max(Some(key.1));
                counts.0 += 1;
            }
        }
        counts
    }

    fn cutoff(&self) -> i64 {
        self.newest.map_or(i64::MIN, |newest| newest - RETENTION)
    }
}

fn turn() -> impl Strategy<Value = Turn> {
    let row = (0..CHANNELS.len(), -30..10_i64, 0..3_u8);
    prop_oneof![
        12 => vec(row, 0..6).prop_map(Turn::Drop),
        3 => Just(Turn::Maintain),
        1 => Just(Turn::Restart),
    ]
}

fn kept(history: History, cutoff: i64) -> History {
    history.into_iter().filter(|((_, time), _)| *time >= cutoff).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_life_of_a_store_equals_a_map(turns in vec(turn(), 1..120)) {
        let mut scene = Scene::with_retention(RETENTION as u64);
        let mut model = Model::default();
        for (now, turn) in turns.into_iter().enumerate() {
            match turn {
                Turn::Maintain => { scene.maintain(); }
                Turn::Restart => scene.reopen(),
                Turn::Drop(rows) => {
                    let now = 2 * now as i64;
                    let rows: Vec<Cell> =
                        rows.iter().map(|(channel, time, value)| (CHANNELS[*channel], now + time, f64::from(*value))).collect();
                    let meta = scene.file(&rows);
                    if scene.lookup(&meta) != Lookup::New {
                        continue; // the same rows by chance
                    }
                    let done = scene.try_commit(&meta, &rows).expect("committed");
                    let within_file = rows.len() as u64 - history_of(&rows).len() as u64;
                    let (committed, duplicate, too_old) = model.take(&history_of(&rows));
                    prop_assert_eq!(done.account.committed, committed);
                    prop_assert_eq!(done.account.duplicate, duplicate + within_file);
                    prop_assert_eq!(done.account.rejected_total(), too_old);
                }
            }
        }
        let cutoff = model.cutoff();
        prop_assert_eq!(kept(scene.history(), cutoff), kept(model.rows.clone(), cutoff));
        scene.audit();
        scene.maintain();
        scene.reopen();
        prop_assert_eq!(kept(scene.history(), cutoff), kept(model.rows, cutoff));
        scene.audit();
    }
}
