//! Tiles whose labels are masks, from the drop to the map: real aerial tiles with their roads train a network, others are
//! predicted position by position, and masks that come later say what that was worth, over a death of the daemon.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, FixedSizeBinaryArray, Float64Array, StringArray, TimestampSecondArray,
};
use arrow::datatypes::{Float32Type, Float64Type, TimestampNanosecondType};
use serde_json::Value;

use crate::support::artifact::sum_up;
use crate::support::network::{executable, write};
use crate::support::{Daemon, Environment, LANDING, crowding, data, forecastd, rows_of, wait_for, wait_idly_for};

/// The edge of a tile as the data set has it, that of a tile with every other pixel, and that of the pieces of it.
const WHOLE: usize = 200;
const HALF: usize = 100;
const EDGE: usize = 20;

/// Samples after which one counts half, as ARCHITECTURE.md has it.
const HALF_LIFE: f64 = 512.0;

/// Seconds that the training gets on a machine that does nothing else.
const BUDGET: f64 = 10.0;

/// Seconds of 2024-05-01T00:00:00Z.
const MAY: i64 = 1_714_521_600;

/// A piece of 20x20 pixels in three bands, and the greys of its mask: what is above 127 is road.
#[derive(Clone, Debug)]
struct Tile {
    name: String,
    image: Vec<u8>,
    greys: Vec<u8>,
    hour: i64,
}

impl Tile {
    fn mask(&self) -> impl Iterator<Item = u8> {
        self.greys.iter().map(|grey| u8::from(*grey > 127))
    }

    /// Every third was taken by somebody without a clock.
    fn time(&self) -> Option<i64> {
        (self.hour % 3 != 0).then_some(MAY + 3600 * self.hour)
    }

    fn place(&self) -> [f64; 2] {
        [46.5 + 0.001 * self.hour as f64, -0.002 * self.hour as f64]
    }
}

/// Pieces of the aerial tiles, in the order of the file.
fn roads() -> Option<Vec<Tile>> {
    let mut pieces = Vec::new();
    for rows in rows_of(data("satellite/aerial_roads_200.parquet")?) {
        let [images, masks] = ["image", "mask"].map(|name| rows.column_by_name(name).unwrap().as_fixed_size_binary());
        let names = rows.column_by_name("name").unwrap().as_string::<i32>();
        for row in 0..rows.num_rows() {
            let (image, mask) = (images.value(row), masks.value(row));
            for (top, left) in corners() {
                let lines = top..top + EDGE;
                let pixels = lines.flat_map(|y| (left..left + EDGE).map(move |x| 2 * (y * WHOLE + x)));
                pieces.push(Tile {
                    name: format!("{}-{top}-{left}", names.value(row)),
                    image: pixels
                        .clone()
                        .flat_map(|pixel| image[3 * pixel..3 * pixel + 3].to_vec())
                        .collect(),
                    greys: pixels.map(|pixel| mask[pixel]).collect(),
                    hour: pieces.len() as i64,
                });
            }
        }
    }
    Some(pieces)
}

/// Of the pieces of a tile.
fn corners() -> impl Iterator<Item = (usize, usize)> {
    let steps = || (0..HALF).step_by(EDGE);
    steps().flat_map(move |top| steps().map(move |left| (top, left)))
}

fn columns(tiles: &[Tile], with_masks: bool) -> Vec<(&'static str, ArrayRef)> {
    let places = tiles.iter().map(Tile::place);
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        (
            "name",
            Arc::new(StringArray::from_iter_values(tiles.iter().map(|tile| &tile.name))),
        ),
        (
            "image",
            Arc::new(FixedSizeBinaryArray::try_from_iter(tiles.iter().map(|tile| &tile.image)).unwrap()),
        ),
        (
            "taken",
            Arc::new(tiles.iter().map(Tile::time).collect::<TimestampSecondArray>()),
        ),
        (
            "lat",
            Arc::new(places.clone().map(|[north, _]| Some(north)).collect::<Float64Array>()),
        ),
        (
            "lon",
            Arc::new(places.map(|[_, east]| Some(east)).collect::<Float64Array>()),
        ),
    ];
    if with_masks {
        let masks = BinaryArray::from_iter_values(tiles.iter().map(|tile| &tile.greys));
        columns.push(("mask", Arc::new(masks)));
    }
    columns
}

/// What a file of predictions says of a tile.
#[derive(Debug)]
struct Said {
    mask: Vec<u8>,
    road: f32,
    time: Option<i64>,
    place: [f64; 2],
    version: String,
}

struct Story {
    environment: Environment,
    executable: String,
}

impl Story {
    fn new(executable: String, first: usize) -> Self {
        let environment = Environment::with_datasets("");
        let budget = (BUDGET * crowding()).ceil();
        environment.write_config(&format!(
            "state_dir: ./state
http: {{ listen: \"127.0.0.1:0\" }}
torch: {{ executable: {executable} }}
datasets:
  - name: d
    kind: tiles
    incoming: ./incoming/d
    outgoing: ./outgoing/d
    model: roads
    {LANDING}
    samples: {{ id: name, image: image, shape: [3, {EDGE}, {EDGE}], task: segment, label: mask, mask_threshold: 127,
                labels: [other, road], time: taken, latitude: lat, longitude: lon }}
models:
  - name: roads
    incoming: ./incoming/models
    {LANDING}
    promotion: {{ to: shadow }}
    train: {{ first: {first}, again: never, accuracy_drop: never, time_budget: {budget}s, threads: 1, scale: small,
              class_weights: true }}
"
        ));
        Self {
            environment,
            executable,
        }
    }

    /// The only version, once it is active, and its card.
    fn trained(&self, daemon: &Daemon) -> (String, Value) {
        let version = wait_idly_for(&format!("an active version; the log:\n{}", daemon.log()), || {
            let shown: Value = serde_json::from_str(&daemon.get("/api/v1/models/roads").1).ok()?;
            let version = shown["versions"].as_array()?.first()?.clone();
            (version["state"] == "active").then(|| version["version"].as_str().unwrap().to_owned())
        });
        let card = self.environment.path("state/models").join(&version).join("card.json");
        let card = serde_json::from_slice(&fs::read(card).unwrap()).unwrap();
        (version, card)
    }

    /// The same network again, whose card says that it is better: into the shadow it goes, and it says the same.
    fn shadow(&self, daemon: &Daemon, version: &str, mut card: Value) -> String {
        let (artifact, models) = (
            self.environment.path("state/models").join(version),
            self.environment.path("incoming/models"),
        );
        let hidden = models.join(".twin.tmp");
        fs::create_dir_all(&hidden).unwrap();
        for name in ["weights.safetensors", "model.json"] {
            fs::copy(artifact.join(name), hidden.join(name)).unwrap();
        }
        card["validation"]["scores"]["mean_iou"] = 0.9.into();
        fs::write(hidden.join("card.json"), card.to_string()).unwrap();
        let twin = sum_up(&hidden);
        fs::rename(hidden, models.join("twin")).unwrap();
        wait_for(&format!("the shadow to answer; the log:\n{}", daemon.log()), || {
            let (status, _) = daemon.get(&format!("/v2/models/roads/versions/{twin}/ready"));
            (status == 200).then_some(())
        });
        twin
    }

    fn said(&self) -> BTreeMap<String, Said> {
        let mut said = BTreeMap::new();
        for rows in self.environment.outgoing().iter().flat_map(rows_of) {
            let column = |name: &str| rows.column_by_name(name).unwrap_or_else(|| panic!("{name}"));
            let degrees = |name: &str, row: usize| column(name).as_primitive::<Float64Type>().value(row);
            let (masks, times) = (column("mask"), column("taken"));
            let times = times.as_primitive::<TimestampNanosecondType>();
            for row in 0..rows.num_rows() {
                let of_tile = Said {
                    mask: masks.as_fixed_size_binary().value(row).to_vec(),
                    road: column("share_road").as_primitive::<Float32Type>().value(row),
                    time: (!times.is_null(row)).then(|| times.value(row)),
                    place: [degrees("lat", row), degrees("lon", row)],
                    version: column("model_version").as_string::<i32>().value(row).to_owned(),
                };
                let name = column("name").as_string::<i32>().value(row).to_owned();
                assert!(
                    said.insert(name.clone(), of_tile).is_none(),
                    "{name} stands there twice"
                );
            }
        }
        said
    }

    /// The masks that `forecastd predict` writes of these tiles.
    fn by_command(&self, version: &str, tiles: &[Tile]) -> Vec<Vec<u8>> {
        let [file, out] = ["asked.parquet", "answered.parquet"].map(|name| self.environment.path(name));
        write(&file, columns(tiles, false)[..2].to_vec());
        let artifact = self.environment.path("state/models").join(version);
        let [artifact, file, to] = [&artifact, &file, &out].map(|path| path.to_str().unwrap());
        let arguments = ["predict", artifact, file, "--out", to, "--id", "name"];
        let output = forecastd(&[&arguments[..], &["--executable", &self.executable]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rows = rows_of(&out);
        let masks = rows.iter().flat_map(|rows| {
            let masks = rows.column_by_name("mask").unwrap().as_fixed_size_binary();
            masks.iter().map(|mask| mask.unwrap().to_vec())
        });
        masks.collect()
    }
}

/// The mean of the classes' intersection over union, all positions together; what came so many samples later counts less.
fn mean_iou<'a>(said: impl Fn(&Tile) -> &'a [u8], tiles: &[Tile]) -> f64 {
    let keep = (-1.0 / HALF_LIFE).exp2();
    let mut pairs = [[0.0; 2]; 2];
    for tile in tiles {
        pairs.as_flattened_mut().iter_mut().for_each(|weight| *weight *= keep);
        for (truth, said) in tile.mask().zip(said(tile)) {
            pairs[usize::from(truth)][usize::from(*said)] += 1.0;
        }
    }
    let iou = |class: usize| {
        let both = pairs[class][class];
        both / (pairs[class].iter().sum::<f64>() + pairs[0][class] + pairs[1][class] - both)
    };
    (iou(0) + iou(1)) / 2.0
}

#[test]
fn real_tiles_with_masks_train_a_network_whose_masks_are_scored_when_the_true_ones_come() {
    let Some(executable) = executable() else { return };
    let Some(tiles) = roads() else { return };
    // Whole tiles apart: what is predicted is no neighbour of what was learnt.
    let (labelled, others) = tiles[..40 * 25].split_at(30 * 25);
    let (first, second) = others.split_at(others.len() / 2);
    let story = Story::new(executable, labelled.len());
    let daemon = story.environment.start();
    for (number, drop) in labelled.chunks(300).enumerate() {
        story
            .environment
            .drop_columns(&format!("labelled-{number}.parquet"), columns(drop, true));
    }
    let mut refused = columns(&labelled[..2], true);
    let short: [&[u8]; 2] = [&labelled[0].greys, &labelled[1].greys[1..]];
    refused[5].1 = Arc::new(BinaryArray::from_iter_values(short));
    story.environment.drop_columns("refused.parquet", refused);
    daemon.after_drops(4);
    let page = daemon.scrape_until("the labelled tiles", |page| {
        page.sum("forecastd_samples") == labelled.len() as f64
    });
    assert_eq!(page.rows(), (752, 750, 1, 1));
    let told = "row 1, column \"mask\": a mask of 399 positions for an input of 400";
    assert!(daemon.log().replace('\\', "").contains(told), "{}", daemon.log());
    let with_road = labelled
        .iter()
        .filter(|tile| tile.mask().any(|class| class == 1))
        .count();
    let class = |class| page.get("forecastd_class_samples", &[("dataset", "d"), ("class", class)]);
    assert_eq!(class("road"), Some(with_road as f64));
    let newest = labelled.iter().filter_map(Tile::time).max().unwrap();
    let shown = page.get("forecastd_sample_newest_timestamp_seconds", &[("dataset", "d")]);
    assert_eq!(shown, Some(newest as f64));

    let (version, card) = story.trained(&daemon);
    let seen = ["train", "validation", "test"].map(|split| card["data"][split].as_u64().unwrap());
    assert_eq!(seen.iter().sum::<u64>(), labelled.len() as u64);
    assert_eq!(
        (&card["data"]["labels"][1], &card["metric"]),
        (&"road".into(), &"mean_iou".into())
    );

    story.environment.drop_columns("first.parquet", columns(first, false));
    wait_for("a file", || (story.environment.outgoing().len() == 1).then_some(()));
    let shadow = story.shadow(&daemon, &version, card.clone());
    story.environment.drop_columns("second.parquet", columns(second, false));
    wait_for(&format!("two files; the log:\n{}", daemon.log()), || {
        (story.environment.outgoing().len() == 2).then_some(())
    });
    let said = story.said();
    assert_eq!(said.len(), others.len());
    for tile in others {
        let of_tile = &said[&tile.name];
        let road = of_tile.mask.iter().filter(|class| **class == 1).count() as f32 / of_tile.mask.len() as f32;
        assert!((road - of_tile.road).abs() < 1e-6 && of_tile.mask.len() == EDGE * EDGE);
        let time = tile.time().map(|time| time * 1_000_000_000);
        assert_eq!(
            (of_tile.time, of_tile.place, &of_tile.version),
            (time, tile.place(), &version)
        );
    }
    let by_command = story.by_command(&version, first);
    let pairs = first
        .iter()
        .zip(&by_command)
        .flat_map(|(tile, mask)| said[&tile.name].mask.iter().zip(mask));
    let differ = pairs.filter(|(one, other)| one != other).count();
    assert!(
        differ < first.len(),
        "{differ} positions: batches of another size round otherwise"
    );

    // What was said is found again by the next process, and by masks that are late.
    let page = daemon.scrape_until("nothing that waits", |page| {
        page.sum("forecastd_prediction_waiting_samples") == 0.0
    });
    let keep = (-1.0 / HALF_LIFE).exp2();
    let mut share = (0.0, 0.0);
    for tile in others {
        share = (share.0 * keep + f64::from(said[&tile.name].road), share.1 * keep + 1.0);
    }
    assert_eq!(page.sum("forecastd_shadow_compared_samples"), second.len() as f64);
    assert_eq!(page.sum("forecastd_shadow_agreement"), 1.0, "it is the same network");
    let labels = [("dataset", "d"), ("model", "roads"), ("label", "road")];
    let shown = page.get("forecastd_prediction_share", &labels).unwrap();
    assert!((shown - share.0 / share.1).abs() < 1e-6, "{shown} {share:?}");
    let with_road = said.values().filter(|said| said.road > 0.0).count();
    assert_eq!(
        page.get("forecastd_prediction_samples", &labels),
        Some(with_road as f64)
    );
    daemon.kill();
    let daemon = story.environment.start();
    story.environment.drop_columns("late.parquet", columns(others, true));
    let all = (others.len() + second.len()) as f64;
    let page = daemon.scrape_until("late masks that are scored", |page| {
        page.sum("forecastd_prediction_scored_samples") == all
    });
    for (version, state, tiles) in [(&version, "active", others), (&shadow, "shadow", second)] {
        let labels = [
            ("dataset", "d"),
            ("model", "roads"),
            ("version", version.as_str()),
            ("state", state),
            ("measure", "mean_iou"),
        ];
        let shown = page.get("forecastd_prediction_score", &labels).unwrap();
        let truth = mean_iou(|tile| &said[&tile.name].mask, tiles);
        assert!(
            (shown - truth).abs() < 1e-6,
            "{state}: {shown} on the page, {truth} in truth"
        );
    }
    let nothing = [0; EDGE * EDGE];
    let truth = mean_iou(|tile| &said[&tile.name].mask, others);
    let guess = mean_iou(|_| &nothing, others);
    println!(
        "mean IoU {truth:.3}, of who sees no road {guess:.3}; {}",
        card["validation"]["scores"]
    );
    // Seen: 0.53 to 0.60, where who sees no road has 0.40.
    assert!(truth > guess + 0.04, "{truth} {guess}");
    assert_eq!(page.rows(), (1252, 1250, 1, 1));
    assert!(daemon.stop().success());
    story.environment.fsck();
}
