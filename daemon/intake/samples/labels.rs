//! Labels as they stand in the file become classes or numbers, row by row.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use forecastd_models::dasha::{Split, Task};

use super::cells;
use super::columns::item;

/// Classes, at most: an artifact names them all.
const MAX_CLASSES: usize = 65_536;

/// A class as the file has it; numbers are in the order of numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Class {
    Number(i64),
    Text(String),
}

impl Class {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// The labels of all rows so far.
#[derive(Debug)]
pub(super) struct Labels {
    task: Task,
    column: String,
    /// Of each class the place where it was first seen.
    places: HashMap<Class, u32>,
    /// What each place is called, where a column says it.
    called: BTreeMap<u32, String>,
    /// Places of classes, row after row.
    values: Vec<u32>,
    /// Where each row's values end.
    ends: Vec<u64>,
    /// Numbers to regress, row after row.
    numbers: Vec<f32>,
    width: Option<usize>,
}

/// What is learnt: names of the outputs, and what each row's are.
#[derive(Debug, PartialEq)]
pub(super) struct Targets {
    pub(super) labels: Vec<String>,
    pub(super) rows: TargetRows,
}

#[derive(Debug, PartialEq)]
pub(super) enum TargetRows {
    /// One class a row.
    Classes(Vec<u32>),
    /// Classes, row after row, and where each row's end.
    Several(Vec<u32>, Vec<u64>),
    /// Numbers, row after row.
    Numbers(Vec<f32>),
}

/// A row, counted from 0 in the piece or in the file, and what is wrong with its label.
pub(super) type Fault = (u64, String);

impl Labels {
    pub(super) fn new(task: Task, column: &str) -> Self {
        Self {
            task,
            column: column.to_owned(),
            places: HashMap::new(),
            called: BTreeMap::new(),
            values: Vec::new(),
            ends: Vec::new(),
            numbers: Vec::new(),
            width: None,
        }
    }

    /// The labels of a piece, with what they are called if a column says it.
    pub(super) fn take(&mut self, column: &ArrayRef, names: Option<&ArrayRef>) -> Result<(), Fault> {
        let unreadable = |error: ArrowError| (0, error.to_string());
        match self.task {
            Task::Classify => self.take_classes(column, names),
            Task::Multilabel => {
                let of_items = item(column.data_type()).cloned().unwrap_or(DataType::Null);
                let read_as = if of_items.is_integer() {
                    DataType::Int64
                } else {
                    DataType::Utf8
                };
                let lists = cells::lists(column, read_as).map_err(unreadable)?;
                for row in 0..lists.len() {
                    let list = (!lists.is_null(row)).then(|| lists.value(row));
                    self.take_list(list).map_err(|detail| (row as u64, detail))?;
                }
                Ok(())
            }
            Task::Regress if item(column.data_type()).is_some() => {
                let lists = cells::lists(column, DataType::Float64).map_err(unreadable)?;
                for row in 0..lists.len() {
                    let list = (!lists.is_null(row)).then(|| lists.value(row));
                    let fault = |detail| (row as u64, detail);
                    let list = list.ok_or_else(|| fault("no numbers".to_owned()))?;
                    self.take_numbers(&cells::numbers(&list).map_err(unreadable)?)
                        .map_err(fault)?;
                }
                Ok(())
            }
            Task::Regress => {
                for (row, number) in cells::numbers(column).map_err(unreadable)?.into_iter().enumerate() {
                    self.take_numbers(&[number]).map_err(|detail| (row as u64, detail))?;
                }
                Ok(())
            }
            Task::Segment => Ok(()), // masks are read with the inputs
        }
    }

    fn take_classes(&mut self, column: &ArrayRef, names: Option<&ArrayRef>) -> Result<(), Fault> {
        let unreadable = |error: ArrowError| (0, error.to_string());
        let names = names.map(cells::texts).transpose().map_err(unreadable)?;
        let name = |row: usize| {
            names
                .as_ref()
                .map(|names| (!names.is_null(row)).then(|| names.value(row)))
        };
        let mut take = |row: usize, class: Result<Class, String>| {
            let taken = class.and_then(|class| self.take_class(class, name(row)));
            taken.map_err(|detail| (row as u64, detail))
        };
        if super::super::columns::plain(column.data_type()).is_integer() {
            for (row, number) in cells::integers(column).map_err(unreadable)?.into_iter().enumerate() {
                take(row, class_of_number(number))?;
            }
            return Ok(());
        }
        let texts = cells::texts(column).map_err(unreadable)?;
        for row in 0..texts.len() {
            take(row, class_of_text((!texts.is_null(row)).then(|| texts.value(row))))?;
        }
        Ok(())
    }

    fn take_class(&mut self, class: Class, called: Option<Option<&str>>) -> Result<(), String> {
        let label = class.name();
        let place = self.place(class)?;
        self.values.push(place);
        self.ends.push(self.values.len() as u64);
        let Some(called) = called else { return Ok(()) };
        let called = called.ok_or_else(|| format!("label {label} has no name"))?;
        let known = self.called.entry(place).or_insert_with(|| called.to_owned());
        if known != called {
            return Err(format!("label {label} is called {called:?} here and {known:?} before"));
        }
        Ok(())
    }

    fn take_list(&mut self, list: Option<ArrayRef>) -> Result<(), String> {
        let list = list.ok_or("no list; a row without any class is an empty one")?;
        let start = self.values.len();
        for place in 0..list.len() {
            let there = !list.is_null(place);
            let class = match list.data_type() {
                DataType::Int64 => class_of_number(there.then(|| list.as_primitive::<Int64Type>().value(place)))?,
                _ => class_of_text(there.then(|| list.as_string::<i32>().value(place)))?,
            };
            let place = self.place(class)?;
            if !self.values[start..].contains(&place) {
                self.values.push(place);
            }
        }
        self.ends.push(self.values.len() as u64);
        Ok(())
    }

    fn take_numbers(&mut self, numbers: &[Option<f64>]) -> Result<(), String> {
        let width = *self.width.get_or_insert(numbers.len());
        if width == 0 {
            return Err("no numbers".to_owned());
        }
        if width != numbers.len() {
            return Err(format!("{} numbers, where the first row has {width}", numbers.len()));
        }
        for number in numbers {
            let number = number.ok_or("no number")?;
            let single = number as f32;
            if !single.is_finite() {
                return Err(format!("{number} is no finite number in single precision"));
            }
            self.numbers.push(single);
        }
        Ok(())
    }

    fn place(&mut self, class: Class) -> Result<u32, String> {
        let next = self.places.len();
        let place = *self.places.entry(class).or_insert(next as u32);
        if next == MAX_CLASSES && place as usize == next {
            return Err(format!(
                "more than {MAX_CLASSES} classes; numbers to predict are --task regress"
            ));
        }
        Ok(place)
    }

    /// The place of each row's class, before [`settle`](Self::settle).
    pub(super) fn classes(&self) -> Option<&[u32]> {
        (self.task == Task::Classify).then_some(self.values.as_slice())
    }

    /// The classes of the training rows, in their order; every row must have none but these.
    pub(super) fn settle(self, splits: &[Split]) -> Result<Targets, Result<Fault, String>> {
        if self.task == Task::Regress {
            let width = self.width.unwrap_or(0);
            let labels = match width {
                1 => vec![self.column],
                _ => (0..width).map(|place| format!("{}[{place}]", self.column)).collect(),
            };
            let rows = TargetRows::Numbers(self.numbers);
            return Ok(Targets { labels, rows });
        }
        let mut trained = vec![false; self.places.len()];
        for (row, split) in splits.iter().enumerate() {
            if *split == Split::Train {
                self.of_row(row)
                    .iter()
                    .for_each(|place| trained[*place as usize] = true);
            }
        }
        let mut classes: Vec<(&Class, u32)> = self.places.iter().map(|(class, place)| (class, *place)).collect();
        classes.sort_unstable();
        let mut index = vec![None; classes.len()];
        let mut labels = Vec::new();
        for (class, place) in &classes {
            if trained[*place as usize] {
                index[*place as usize] = Some(labels.len() as u32);
                labels.push(self.called.get(place).cloned().unwrap_or_else(|| class.name()));
            }
        }
        self.check_classes(&labels).map_err(Err)?;
        let mut settled = Vec::with_capacity(self.values.len());
        for row in 0..self.ends.len() {
            for place in self.of_row(row) {
                let name = || {
                    classes
                        .iter()
                        .find(|(_, other)| other == place)
                        .map(|(class, _)| class.name())
                };
                settled.push(index[*place as usize].ok_or_else(|| {
                    let label = name().unwrap_or_default();
                    Ok((
                        row as u64,
                        format!("label {label:?} is in no training row, so nothing can learn it"),
                    ))
                })?);
            }
        }
        let rows = match self.task {
            Task::Classify => TargetRows::Classes(settled),
            _ => TargetRows::Several(settled, self.ends),
        };
        Ok(Targets { labels, rows })
    }

    fn check_classes(&self, labels: &[String]) -> Result<(), String> {
        let column = &self.column;
        match (self.task, labels) {
            (Task::Classify, [only]) => Err(format!(
                "column {column:?}: every training row has the class {only:?}; there is nothing to tell apart"
            )),
            (Task::Multilabel, []) => Err(format!("column {column:?}: no training row has any class")),
            _ => {
                let mut names: Vec<&String> = labels.iter().collect();
                names.sort_unstable();
                match names.windows(2).find(|pair| pair[0] == pair[1]) {
                    Some(pair) => Err(format!("two labels are called {:?}", pair[0])),
                    None => Ok(()),
                }
            }
        }
    }

    fn of_row(&self, row: usize) -> &[u32] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.values[start..self.ends[row] as usize]
    }

    /// The labels of all rows as classes that are known already; `None` of a row whose class is not.
    pub(super) fn among(self, known: &[String]) -> Result<Targets, Fault> {
        if self.task == Task::Regress {
            let width = self.width.unwrap_or(0);
            if width != known.len() {
                return Err((0, format!("{width} numbers, where the network gives {}", known.len())));
            }
            return Ok(Targets {
                labels: known.to_vec(),
                rows: TargetRows::Numbers(self.numbers),
            });
        }
        let mut index = vec![Err(String::new()); self.places.len()];
        for (class, place) in &self.places {
            let name = self.called.get(place).cloned().unwrap_or_else(|| class.name());
            let at = known.iter().position(|label| *label == name);
            index[*place as usize] = at.map(|at| at as u32).ok_or(name);
        }
        let mut settled = Vec::with_capacity(self.values.len());
        for row in 0..self.ends.len() {
            for place in self.of_row(row) {
                let class = index[*place as usize].clone();
                settled.push(class.map_err(|name| {
                    (
                        row as u64,
                        format!("label {name:?} is none of the network's: {}", known.join(", ")),
                    )
                })?);
            }
        }
        let rows = match self.task {
            Task::Classify => TargetRows::Classes(settled),
            _ => TargetRows::Several(settled, self.ends),
        };
        Ok(Targets {
            labels: known.to_vec(),
            rows,
        })
    }
}

pub(super) fn class_of_number(number: Option<i64>) -> Result<Class, String> {
    match number {
        None => Err("no label".to_owned()),
        Some(number) if number < 0 => Err(format!("label {number} is negative")),
        Some(number) => Ok(Class::Number(number)),
    }
}

pub(super) fn class_of_text(text: Option<&str>) -> Result<Class, String> {
    match text {
        None | Some("") => Err("no label".to_owned()),
        Some(text) => Ok(Class::Text(text.to_owned())),
    }
}

impl Targets {
    /// Writes every row's record.
    pub(super) fn write(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        match &self.rows {
            TargetRows::Classes(classes) => {
                for class in classes {
                    out.write_all(&class.to_le_bytes())?;
                }
            }
            TargetRows::Several(classes, ends) => {
                let mut start = 0;
                let mut record = vec![0; self.labels.len()];
                for end in ends {
                    record.fill(0);
                    classes[start..*end as usize]
                        .iter()
                        .for_each(|class| record[*class as usize] = 1);
                    start = *end as usize;
                    out.write_all(&record)?;
                }
            }
            TargetRows::Numbers(numbers) => {
                for number in numbers {
                    out.write_all(&number.to_le_bytes())?;
                }
            }
        }
        Ok(())
    }
}
