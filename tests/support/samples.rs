//! Drops of tiles and sequences made on the spot.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, FixedSizeBinaryArray, RecordBatch, StringArray};

use super::drops::parquet;

/// A tile of 2x2 grey pixels, or whatever bytes, with its id and label.
pub type Tile<'a> = (&'a str, Vec<u8>, Option<&'a str>);

/// `name`, `image`, `label`.
pub fn tiles(rows: &[Tile<'_>]) -> Vec<u8> {
    let images: ArrayRef = Arc::new(BinaryArray::from_iter_values(rows.iter().map(|row| &row.1)));
    with_images(rows, images)
}

/// The same, every image of one length.
pub fn fixed_tiles(rows: &[Tile<'_>]) -> Vec<u8> {
    let images = FixedSizeBinaryArray::try_from_iter(rows.iter().map(|row| &row.1)).unwrap();
    with_images(rows, Arc::new(images))
}

fn with_images(rows: &[Tile<'_>], images: ArrayRef) -> Vec<u8> {
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)));
    let labels: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|row| row.2)));
    let columns = [("name", names, true), ("image", images, true), ("label", labels, true)];
    parquet(&RecordBatch::try_from_iter_with_nullable(columns).unwrap())
}

/// `name`, `sequence`, `label`.
pub fn sequences(rows: &[(&str, &str, Option<&str>)]) -> Vec<u8> {
    let text = |column: Vec<Option<&str>>| -> ArrayRef { Arc::new(StringArray::from(column)) };
    let columns = [
        ("name", text(rows.iter().map(|row| Some(row.0)).collect()), true),
        ("sequence", text(rows.iter().map(|row| Some(row.1)).collect()), true),
        ("label", text(rows.iter().map(|row| row.2).collect()), true),
    ];
    parquet(&RecordBatch::try_from_iter_with_nullable(columns).unwrap())
}
