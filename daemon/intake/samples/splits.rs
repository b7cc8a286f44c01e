//! Which sample is for training, validation and test: told by a column, by a hash, or drawn.

use std::collections::BTreeMap;

use forecastd_models::dasha::{Random, Split, SplitFractions, is_cut};

use super::SamplesError;
use super::source::Source;

/// The split that a word of the column means, whatever the case.
pub(super) fn split_of_word(word: &str) -> Option<Split> {
    match word.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "validation" | "val" | "valid" | "dev" => Some(Split::Validation),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}

/// Splits as they come out of the file, row by row.
#[derive(Debug)]
pub(super) struct SplitRows {
    seed: u64,
    told: Vec<Split>,
    hashed: Vec<Split>,
    /// Whether the row would go to validation if validation were cut from training.
    cut: Vec<bool>,
}

impl SplitRows {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            told: Vec::new(),
            hashed: Vec::new(),
            cut: Vec::new(),
        }
    }

    /// What the split column says of the next row.
    pub(super) fn tell(&mut self, word: Option<&str>) -> Result<(), String> {
        let word = word.ok_or("no split")?;
        let split = split_of_word(word)
            .ok_or_else(|| format!("unknown split {word:?}; known are train, validation (val, valid, dev) and test"))?;
        self.told.push(split);
        Ok(())
    }

    /// What identifies the next row.
    pub(super) fn identify(&mut self, id: &[u8]) {
        self.hashed.push(SplitFractions::default().split_of(self.seed, id));
        self.cut.push(is_cut(self.seed, id));
    }

    /// The splits of all rows, and how they came about. `classes` are those of each row, where it has one.
    pub(super) fn settle(self, by: By, classes: Option<&[u32]>, rows: usize) -> (Vec<Split>, String) {
        match by {
            By::Column(name) => self.of_column(&name),
            By::Id(name) => (
                self.hashed,
                format!("by a hash of column {name:?} and the seed: 70 % train, 15 % validation, 15 % test"),
            ),
            By::Lot => draw(self.seed, classes, rows),
        }
    }

    fn of_column(self, name: &str) -> (Vec<Split>, String) {
        let mut splits = self.told;
        if splits.contains(&Split::Validation) {
            return (splits, format!("by column {name:?}"));
        }
        for (split, cut) in splits.iter_mut().zip(self.cut) {
            if *split == Split::Train && cut {
                *split = Split::Validation;
            }
        }
        let say = format!(
            "by column {name:?}, which has no validation: 15 % of its training rows, by a hash, are taken for it"
        );
        (splits, say)
    }
}

/// How splits come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// A column says it.
    Column(String),
    /// A hash of a column.
    Id(String),
    /// Drawn by the seed.
    Lot,
}

/// Of every class the same part, drawn by the seed.
fn draw(seed: u64, classes: Option<&[u32]>, rows: usize) -> (Vec<Split>, String) {
    let mut of_class: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for row in 0..rows {
        let class = classes.map_or(0, |classes| classes[row]);
        of_class.entry(class).or_default().push(row);
    }
    let mut random = Random::new(seed).derive("splits");
    let fractions = SplitFractions::default();
    let mut splits = vec![Split::Train; rows];
    for rows in of_class.values_mut() {
        random.shuffle(rows);
        // Of three or more every split gets one.
        let part = |fraction: f64| ((rows.len() as f64 * fraction).round() as usize).max(usize::from(rows.len() > 2));
        let (test, validation) = (part(fractions.test), part(fractions.validation));
        for (place, row) in rows.iter().enumerate() {
            splits[*row] = match place {
                place if place < test => Split::Test,
                place if place < test + validation => Split::Validation,
                _ => Split::Train,
            };
        }
    }
    let within = if classes.is_some() { " within each class" } else { "" };
    let say = format!("drawn by the seed{within}: 70 % train, 15 % validation, 15 % test");
    (splits, say)
}

/// Rows of training, validation and test.
pub(super) fn counts(splits: &[Split]) -> [u64; 3] {
    let mut counts = [0; 3];
    for split in splits {
        counts[*split as usize] += 1;
    }
    counts
}

/// Refuses splits that nothing can be trained or chosen on.
pub(super) fn check(source: &Source, splits: &[Split], say: &str) -> Result<[u64; 3], SamplesError> {
    let counts = counts(splits);
    for (split, name) in [(Split::Train, "training"), (Split::Validation, "validation")] {
        if counts[split as usize] == 0 {
            return Err(source.refused(format!("no row is for {name} (splits are {say})")));
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_words(words: &[&str]) -> (Vec<Split>, String) {
        let mut rows = SplitRows::new(0);
        for (row, word) in words.iter().enumerate() {
            rows.tell(Some(word)).expect("a known word");
            rows.identify(row.to_string().as_bytes());
        }
        rows.settle(By::Column("split".to_owned()), None, words.len())
    }

    #[test]
    fn words_of_others_are_understood_and_unknown_ones_told() {
        let (splits, say) = of_words(&["train", "Dev", "TEST", "val"]);
        let expected = [Split::Train, Split::Validation, Split::Test, Split::Validation];
        assert_eq!(
            (splits.as_slice(), say.as_str()),
            (&expected[..], "by column \"split\"")
        );
        let mut rows = SplitRows::new(0);
        assert!(rows.tell(Some("holdout")).expect_err("unknown").contains("\"holdout\""));
        assert_eq!(rows.tell(None), Err("no split".to_owned()));
    }

    #[test]
    fn a_missing_validation_is_cut_from_training_alone() {
        let words: Vec<&str> = (0..400)
            .map(|row| if row % 4 == 0 { "test" } else { "train" })
            .collect();
        let (splits, say) = of_words(&words);
        let found = counts(&splits);
        assert_eq!(found[2], 100);
        assert!((25..=70).contains(&found[1]), "{found:?}");
        assert!(say.contains("no validation"), "{say}");
    }

    #[test]
    fn lots_keep_the_shares_of_classes() {
        let classes: Vec<u32> = (0..100).map(|row| u32::from(row < 20)).collect();
        let (splits, _) = draw(1, Some(&classes), 100);
        let rare: Vec<Split> = splits[..20].to_vec();
        assert_eq!(counts(&rare), [14, 3, 3]);
        assert_eq!(counts(&splits), [70, 15, 15]);
        assert_ne!(draw(2, Some(&classes), 100).0, splits);
    }
}
