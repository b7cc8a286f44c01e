//! Tiles without a label are predicted as they land, by the real child and on real tiles: what stands in the files, what
//! it was worth once the labels came, and that nothing is lost or said twice whatever ends in the middle.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, FixedSizeBinaryArray, StringArray};
use arrow::datatypes::Float32Type;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::network::{executable, write};
use crate::support::{Daemon, Environment, LANDING, Page, child_of, data, forecastd, rows_of, wait_for};

/// Samples after which one counts half, as ARCHITECTURE.md has it.
const HALF_LIFE: f64 = 512.0;

/// Samples of one drop.
const DROP: usize = 200;

/// A tile of 3x3 pixels in four bands, and what grows there.
#[derive(Clone, Debug)]
struct Tile {
    name: String,
    image: Vec<u8>,
    label: String,
}

/// Real tiles, those of the training first.
fn landsat() -> Option<Vec<Tile>> {
    let path = data("satellite/landsat_statlog_3x3x4.parquet")?;
    let mut tiles = Vec::new();
    for rows in rows_of(&path) {
        let images = rows.column_by_name("image").unwrap().as_fixed_size_binary();
        let labels = rows.column_by_name("label_name").unwrap().as_string::<i32>();
        for row in 0..rows.num_rows() {
            tiles.push(Tile {
                name: format!("tile-{}", tiles.len()),
                image: images.value(row).to_vec(),
                label: labels.value(row).to_owned(),
            });
        }
    }
    Some(tiles)
}

fn columns(tiles: &[Tile], labelled: bool) -> Vec<(&'static str, ArrayRef)> {
    let images = FixedSizeBinaryArray::try_from_iter(tiles.iter().map(|tile| &tile.image)).unwrap();
    let labels = tiles.iter().map(|tile| labelled.then_some(tile.label.as_str()));
    vec![
        (
            "name",
            Arc::new(StringArray::from_iter_values(tiles.iter().map(|tile| &tile.name))),
        ),
        ("image", Arc::new(images)),
        ("label_name", Arc::new(labels.collect::<StringArray>())),
    ]
}

/// A network that has learnt from some tiles, in as little time as it takes.
fn artifact(folder: &Path, executable: &str, tiles: &[Tile]) -> PathBuf {
    let (file, out) = (folder.join("train.parquet"), folder.join("landsat"));
    let mut columns = columns(tiles, true);
    let split = |row: usize| if row.is_multiple_of(4) { "dev" } else { "train" };
    let splits: ArrayRef = Arc::new(StringArray::from_iter_values((0..tiles.len()).map(split)));
    columns.push(("split", splits));
    write(&file, columns);
    let words = "--task classify --input image --shape 4,3,3 --label label_name --id name --backbone wide_resnet \
                 --scale small --search-epochs 1 --trials 1 --max-epochs 1 --retrain-epochs 3 --threads 1 --batch 64";
    let mut arguments = vec!["dasha", text(&file), "--out", text(&out), "--executable", executable];
    arguments.extend(words.split_whitespace());
    let output = forecastd(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A service with the dataset `d` of such tiles, and the model `landsat` that predicts them.
struct Story {
    environment: Environment,
    executable: String,
    artifact: PathBuf,
}

impl Story {
    fn new(tiles: &[Tile]) -> Option<Self> {
        let executable = executable()?;
        let environment = Environment::with_datasets("");
        environment.write_config(&format!(
            "state_dir: ./state
http: {{ listen: \"127.0.0.1:0\" }}
torch: {{ executable: {executable} }}
datasets:
  - name: d
    kind: tiles
    incoming: ./incoming/d
    outgoing: ./outgoing/d
    model: landsat
    {LANDING}
    samples: {{ id: name, image: image, label: label_name, shape: [4, 3, 3] }}
models:
  - {{ name: landsat, incoming: ./incoming/models, {LANDING} }}
"
        ));
        let artifact = artifact(&environment.path("."), &executable, tiles);
        Some(Self {
            environment,
            executable,
            artifact,
        })
    }

    fn drop_tiles(&self, name: &str, tiles: &[Tile], labelled: bool) {
        self.environment.drop_columns(name, columns(tiles, labelled));
    }

    /// Drops the artifact; its version once that answers.
    fn promote(&self, daemon: &Daemon) -> String {
        let version = self.environment.drop_artifact(&self.artifact);
        daemon.scrape_until("an active version", |page| {
            page.count("forecastd_model_version_info") == 1
        });
        version
    }

    /// What `forecastd predict` says of these tiles.
    fn by_command(&self, tiles: &[Tile]) -> BTreeMap<String, Row> {
        let [file, out] = ["asked.parquet", "answered.parquet"].map(|name| self.environment.path(name));
        write(&file, columns(tiles, false)[..2].to_vec());
        let (artifact, executable) = (text(&self.artifact), self.executable.as_str());
        let arguments = [
            "predict",
            artifact,
            text(&file),
            "--out",
            text(&out),
            "--id",
            "name",
            "--executable",
            executable,
        ];
        let output = forecastd(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        read(&[out])
    }
}

/// What a file says of a tile.
#[derive(Clone, Debug)]
struct Row {
    label: String,
    probability: f32,
    scores: Vec<f32>,
    version: Option<String>,
}

/// All rows of files, by the names of their tiles, each of which stands there once.
fn read(files: &[PathBuf]) -> BTreeMap<String, Row> {
    let mut found = BTreeMap::new();
    for rows in files.iter().flat_map(rows_of) {
        let column = |name: &str| rows.column_by_name(name);
        let text = |name: &str, row: usize| column(name).map(|text| text.as_string::<i32>().value(row).to_owned());
        let schema = rows.schema();
        let scores: Vec<usize> = (0..rows.num_columns())
            .filter(|place| schema.field(*place).name().starts_with("score_"))
            .collect();
        let number = |place: usize, row: usize| rows.column(place).as_primitive::<Float32Type>().value(row);
        let probability = schema.index_of("probability").unwrap();
        for row in 0..rows.num_rows() {
            let said = Row {
                label: text("label", row).unwrap(),
                probability: number(probability, row),
                scores: scores.iter().map(|place| number(*place, row)).collect(),
                version: text("model_version", row),
            };
            let name = text("name", row).unwrap();
            assert!(found.insert(name.clone(), said).is_none(), "{name} stands there twice");
        }
    }
    found
}

/// The share of labels that were right, each half of what came so many samples after it.
fn accuracy<'a>(said: &BTreeMap<String, Row>, truths: impl Iterator<Item = &'a Tile>) -> f64 {
    let keep = (-1.0 / HALF_LIFE).exp2();
    let (mut right, mut all) = (0.0, 0.0);
    for tile in truths {
        right = right * keep + f64::from(u8::from(said[&tile.name].label == tile.label));
        all = all * keep + 1.0;
    }
    right / all
}

/// How far drops lie from what was for training: of the band that is farthest, by how many deviations its mean has moved, or
/// the logarithm of how much wider or narrower it lies; what came 1,024 tiles ago counts half.
fn drift(training: &[Tile], drops: &[&[Tile]]) -> f64 {
    let values = |tile: &Tile, band: usize| -> Vec<f64> {
        let of_band = tile.image.iter().skip(band).step_by(4);
        of_band.map(|value| f64::from(*value)).collect()
    };
    let moments = |weighted: &[(f64, f64)]| {
        let all: f64 = weighted.iter().map(|(_, weight)| weight).sum();
        let mean = weighted.iter().map(|(value, weight)| value * weight).sum::<f64>() / all;
        let square = weighted.iter().map(|(value, weight)| weight * (value - mean).powi(2));
        (mean, (square.sum::<f64>() / all).sqrt())
    };
    let of_band = |band: usize| {
        let train = training.iter().enumerate().filter(|(row, _)| row % 4 != 0);
        let train = train.flat_map(|(_, tile)| values(tile, band)).map(|value| (value, 1.0));
        let (mean, deviation) = moments(&train.collect::<Vec<_>>());
        let mut later = drops.iter().map(|drop| drop.len()).sum::<usize>() as f64;
        let mut arrived = Vec::new();
        for drop in drops {
            later -= drop.len() as f64;
            let weight = (-later / 1024.0).exp2();
            arrived.extend(
                drop.iter()
                    .flat_map(|tile| values(tile, band))
                    .map(|value| (value, weight)),
            );
        }
        let (moved, wide) = moments(&arrived);
        ((moved - mean) / deviation).abs().max((wide / deviation).ln().abs())
    };
    (0..4).map(of_band).fold(0.0, f64::max)
}

fn waiting(page: &Page) -> f64 {
    page.sum("forecastd_prediction_waiting_samples")
}

fn scored(page: &Page) -> f64 {
    page.sum("forecastd_prediction_scored_samples")
}

#[test]
fn tiles_are_predicted_as_they_land_once_each_and_labels_tell_what_it_was_worth() {
    let Some(tiles) = landsat() else { return };
    // They come in the order of a scene: every twelfth has all classes.
    let (training, later): (Vec<_>, Vec<_>) = tiles.into_iter().enumerate().partition(|(place, _)| place % 12 == 0);
    let [training, later] = [training, later].map(|tiles| tiles.into_iter().map(|(_, tile)| tile).collect::<Vec<_>>());
    let Some(story) = Story::new(&training) else { return };
    let drops: Vec<&[Tile]> = later.chunks(DROP).take(10).collect();
    let daemon = story.environment.start();
    story.drop_tiles("first.parquet", drops[0], false);
    story.drop_tiles("known.parquet", &training[..50], true);
    daemon.scrape_until("samples that wait", |page| waiting(page) == DROP as f64);
    assert!(story.environment.outgoing().is_empty(), "nobody can say anything yet");

    let version = story.promote(&daemon);
    story.drop_tiles("second.parquet", drops[1], false);
    daemon.scrape_until("two drops predicted", |page| {
        page.sum("forecastd_predictions_total") == 2.0 * DROP as f64 && waiting(page) == 0.0
    });
    let files = story.environment.outgoing();
    let ends = |place: usize, end: &str| files[place].to_str().unwrap().ends_with(end);
    assert!(ends(0, "-first.parquet") && ends(1, "-second.parquet"), "{files:?}");
    let said = read(&files);
    let expected = story.by_command(&[drops[0], drops[1]].concat());
    assert_eq!(said.len(), expected.len());
    for (name, row) in &said {
        let expected = &expected[name];
        assert_eq!(
            (&row.label, row.version.as_ref()),
            (&expected.label, Some(&version)),
            "{name}"
        );
        let pairs = row.scores.iter().zip(&expected.scores);
        let near = pairs
            .chain([(&row.probability, &expected.probability)])
            .all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(near && row.scores.len() == 6, "{name}: {row:?} {expected:?}");
    }

    story.drop_tiles("labels.parquet", drops[0], true);
    let page = daemon.scrape_until("labels held against predictions", |page| scored(page) == DROP as f64);
    let labels = [
        ("dataset", "d"),
        ("model", "landsat"),
        ("version", version.as_str()),
        ("state", "active"),
        ("measure", "accuracy"),
    ];
    let live = page.get("forecastd_prediction_score", &labels).unwrap();
    let truth = accuracy(&said, drops[0].iter());
    assert!((live - truth).abs() < 1e-9, "{live} on the page, {truth} in truth");
    let of_class: f64 = page.sum("forecastd_prediction_samples");
    assert_eq!(of_class, DROP as f64, "those that have no label yet");
    let (shown, truth) = (page.sum("forecastd_prediction_drift"), drift(&training, &drops[..2]));
    assert!((shown - truth).abs() < 1e-6, "{shown} on the page, {truth} in truth");
    let (_, html) = daemon.get("/");
    assert!(html.contains("landsat") && html.contains("accuracy"), "{html}");

    kill_in_the_middle(&story, daemon, &drops, &version);
}

/// The child is killed, then the daemon, while drops are predicted; a label finds what was said before all that.
fn kill_in_the_middle(story: &Story, daemon: Daemon, drops: &[&[Tile]], version: &str) {
    for (number, drop) in drops.iter().enumerate().skip(2) {
        story.drop_tiles(&format!("{number}.parquet"), drop, false);
    }
    wait_for("a third file", || {
        (story.environment.outgoing().len() > 2).then_some(())
    });
    let child = child_of(daemon.pid(), "forecastd-torch")
        .and_then(Pid::from_raw)
        .unwrap();
    kill_process(child, Signal::KILL).unwrap();
    let before_all = story.environment.outgoing().len();
    wait_for("another file", || {
        (story.environment.outgoing().len() > before_all).then_some(())
    });
    daemon.kill();

    let daemon = story.environment.start();
    wait_for("all files", || {
        (story.environment.outgoing().len() == drops.len()).then_some(())
    });
    daemon.scrape_until("nothing that waits", |page| {
        waiting(page) == 0.0 && page.sum("forecastd_samples") > 0.0 && page.sum("forecastd_files_waiting") == 0.0
    });
    let said = read(&story.environment.outgoing());
    let all = || drops.iter().flat_map(|drop| drop.iter());
    assert_eq!(said.len(), all().count());
    assert!(all().all(|tile| said[&tile.name].version.as_deref() == Some(version)));

    story.drop_tiles("late.parquet", drops[1], true);
    let page = daemon.scrape_until("a label after a restart", |page| scored(page) == DROP as f64);
    let live = page.sum("forecastd_prediction_score");
    let truth = accuracy(&said, drops[1].iter());
    assert!((live - truth).abs() < 1e-9, "{live} on the page, {truth} in truth");
    let written = |files: Vec<PathBuf>| -> Vec<_> {
        let times = files.iter().map(|file| fs::metadata(file).unwrap().modified().unwrap());
        times.collect()
    };
    let before = written(story.environment.outgoing());
    assert!(daemon.stop().success());
    let daemon = story.environment.start();
    daemon.scrape_until("nothing that waits", |page| {
        page.sum("forecastd_samples") > 0.0 && waiting(page) == 0.0 && page.count("forecastd_model_version_info") == 1
    });
    assert!(daemon.stop().success());
    assert_eq!(
        written(story.environment.outgoing()),
        before,
        "nothing is predicted again"
    );
    story.environment.fsck();
}
