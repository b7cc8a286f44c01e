//! A shell script in the place of the child: what becomes of a training, whatever becomes of its children.

use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, channel};

use forecastd_config::Config;
use forecastd_models::dasha::{BackboneChoice, Budget, DashaJob, ScaleChoice, SearchSpace, TrainingOptions};
use tempfile::TempDir;

use super::*;
use crate::message::training::TrainingStage;

const LONG: Duration = Duration::from_secs(120);

/// An epoch of the last training.
const EPOCH: &str = r#"echo '{"event":"retrain_epoch","epoch":1,"epochs":4,"loss":0.5,"score":0.75,"best":0.75}'"#;

/// A trainer whose children run this script, with the folder of the run as `$4`.
struct Scene {
    dir: TempDir,
    trainer: Option<Trainer>,
    told: Receiver<Told>,
}

impl Scene {
    fn new(script: &str) -> Self {
        Self::preparing(script, |_, folder, _| {
            let written = fs::write(folder.join("samples.json"), "{}");
            written.map_err(|error| failure(TrainingFault::Disk, error.to_string()))
        })
    }

    fn preparing(
        script: &str,
        prepare: impl FnMut(&TrainJob, &Path, &dyn Fn() -> bool) -> Result<(), TrainingFailure> + Send + 'static,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let executable = dir.path().join("child");
        fs::write(&executable, format!("#!/bin/sh\ncd \"$4\"\n{script}\n")).expect("written");
        fs::set_permissions(&executable, PermissionsExt::from_mode(0o755)).expect("permitted");
        let setting = Setting {
            executable: Some(executable),
            threads: NonZeroUsize::MIN,
        };
        let runs = dir.path().to_owned();
        let (tell, told) = channel();
        let tell = move |said| {
            let _ = tell.send(said);
        };
        let folder = move |id: i64| runs.join(id.to_string());
        let trainer = Trainer::start(
            setting,
            folder,
            Box::new(prepare),
            tell,
            |_, _| {},
            |_, panic| panic!("{panic}"),
        );
        Self {
            dir,
            trainer: Some(trainer.expect("a thread")),
            told,
        }
    }

    fn trainer(&self) -> &Trainer {
        self.trainer.as_ref().expect("it stands")
    }

    fn send(&self, id: i64) {
        assert!(self.trainer().send(job(id)));
    }

    fn run(&self, file: &str) -> PathBuf {
        self.dir.path().join("1").join(file)
    }

    /// What came of the training, and the progress before.
    fn over(&self) -> (Result<PathBuf, TrainingFailure>, Vec<TrainingProgress>) {
        let mut progress = Vec::new();
        loop {
            match self.told.recv_timeout(LONG).expect("it is told") {
                Told::Progress(so_far) => progress.push(so_far),
                Told::Over(report) => return (report.result, progress),
            }
        }
    }

    fn fault(&self) -> (TrainingFault, String) {
        let failure = self.over().0.expect_err("nothing comes of it");
        (failure.fault, failure.detail)
    }
}

fn job(id: i64) -> TrainJob {
    let text = "state_dir: /s\ndatasets: [{ name: a, kind: tiles, incoming: /in, samples: { id: i, image: x, label: y, \
                shape: [1, 8, 8] } }]\n";
    let config = Config::parse(text, Path::new("/")).expect("a good file");
    TrainJob {
        id,
        model: "m".into(),
        dataset: Arc::new(config.samples[0].clone()),
        through: 3,
        job: DashaJob {
            backbone: BackboneChoice::Auto,
            scale: ScaleChoice::Small,
            space: SearchSpace::images(),
            budget: Budget {
                seconds: Some(60.0),
                ..Budget::default()
            },
            network: None,
            batch: None,
            training: TrainingOptions::default(),
            seed: 0,
        },
        threads: NonZeroUsize::new(2),
    }
}

/// Waits until a file is there, and reads it.
fn read(path: &Path) -> String {
    let until = Instant::now() + LONG;
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ if Instant::now() < until => sleep(Duration::from_millis(5)),
            found => panic!("{}: {found:?}", path.display()),
        }
    }
}

#[test]
fn a_run_finds_its_job_and_ends_with_its_artifact() {
    let scene = Scene::new(&format!(
        "test -f job.json || exit 9\necho \"$2\" > threads\n{EPOCH}\nmkdir artifact"
    ));
    scene.send(1);
    let (result, progress) = scene.over();
    assert_eq!(result, Ok(scene.run("artifact")));
    let stages: Vec<TrainingStage> = progress.iter().map(|so_far| so_far.stage).collect();
    assert_eq!(stages, [TrainingStage::Samples, TrainingStage::Retrain]);
    let last = &progress[1];
    assert_eq!((last.done, last.of, last.best), (1, 4, Some(0.75)));
    assert!(last.seconds_left > 0.0 && last.seconds_left <= 60.0);
    assert_eq!(read(&scene.run("threads")), "2\n");
    let written: DashaJob = serde_json::from_slice(&fs::read(scene.run(folder::JOB)).expect("written")).expect("JSON");
    assert_eq!(written, job(1).job);
}

#[test]
fn a_child_that_dies_is_followed_by_another_and_one_that_got_farther_is_no_loss() {
    let script =
        format!("echo x >> lives\ntest $(wc -l < lives) -lt 6 || {{ mkdir artifact; exit 0; }}\n{EPOCH}\nkill -9 $$");
    let scene = Scene::new(&script);
    scene.send(1);
    assert!(scene.over().0.is_ok(), "each had an epoch more to show");
    assert_eq!(read(&scene.run("lives")).lines().count(), 6);
}

#[test]
fn children_that_die_in_vain_are_given_up_with_their_last_words() {
    let scene = Scene::new("echo x >> lives\necho 'out of memory' >&2\nexit 3");
    scene.send(1);
    let (fault, detail) = scene.fault();
    assert_eq!(fault, TrainingFault::Died);
    assert!(
        detail.contains("3 children") && detail.contains("exit status: 3; its last words: out of memory"),
        "{detail}"
    );
    assert_eq!(read(&scene.run("lives")).lines().count(), 3);
}

#[test]
fn what_the_child_says_cannot_be_is_not_tried_again() {
    let scene = Scene::new(r#"echo x >> lives; echo '{"event":"failed","message":"all of one class"}'; exit 2"#);
    scene.send(1);
    assert_eq!(scene.fault(), (TrainingFault::Failed, "all of one class".to_owned()));
    assert_eq!(read(&scene.run("lives")), "x\n");
}

#[test]
fn samples_that_cannot_be_laid_out_and_a_child_that_is_not_there_are_told_apart() {
    let told = (TrainingFault::Configuration, "none has such a label".to_owned());
    let (fault, detail) = told.clone();
    let scene = Scene::preparing("exit 0", move |_, _, _| Err(failure(fault, detail.clone())));
    scene.send(1);
    assert_eq!(scene.fault(), told);
    let scene = Scene::new("exit 0");
    fs::remove_file(scene.dir.path().join("child")).expect("removed");
    scene.send(1);
    let (fault, detail) = scene.fault();
    assert_eq!(fault, TrainingFault::NoChild);
    assert!(detail.contains("child not found"), "{detail}");
}

#[test]
fn a_training_that_is_not_wanted_any_more_has_its_child_ended() {
    let scene = Scene::new("echo $$ > pid\nexec sleep 100");
    scene.send(1);
    let pid = read(&scene.run("pid"));
    scene.trainer().cancel(1);
    assert_eq!(scene.fault().0, TrainingFault::Cancelled);
    assert!(is_over(&pid));
    scene.send(2);
    let other = read(&scene.dir.path().join("2/pid"));
    assert!(!is_over(&other), "only the one was meant");
}

#[test]
fn a_shutdown_ends_the_child_and_the_next_start_goes_on_with_what_was_prepared() {
    let mut scene = Scene::new("echo $$ > pid\nexec sleep 100");
    scene.send(1);
    let pid = read(&scene.run("pid"));
    fs::write(scene.run("job.json"), "as it was asked for").expect("written");
    scene.trainer = None;
    assert!(is_over(&pid));
    let over = scene.told.iter().any(|told| matches!(told, Told::Over(_)));
    assert!(!over, "it is not over");

    let mut again = Scene::preparing("mkdir artifact", |_, _, _| panic!("the samples are there"));
    fs::rename(scene.dir.path().join("1"), again.dir.path().join("1")).expect("renamed");
    again.send(1);
    assert!(again.over().0.is_ok());
    assert_eq!(
        fs::read_to_string(again.run("job.json")).expect("read"),
        "as it was asked for"
    );
    again.trainer = None;
}

#[test]
fn a_child_has_the_lowest_priority_with_all_its_threads() {
    let scene = Scene::new(
        "(sleep 100 & echo $! > inner)\ncut -d' ' -f19 /proc/$$/stat /proc/$(cat inner)/stat > nice\nkill $(cat inner)\nmkdir artifact",
    );
    scene.send(1);
    assert!(scene.over().0.is_ok());
    assert_eq!(read(&scene.run("nice")), "19\n19\n");
}

/// Ticks of CPU that a process, or a thread, has used, as the kernel counts them.
fn cpu(whose: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{whose}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields[11..13]
        .iter()
        .map(|ticks| ticks.parse::<u64>().expect("ticks"))
        .sum()
}

#[test]
fn where_processors_are_short_a_training_gets_what_others_leave() {
    let processors = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    let burners = format!(
        "ulimit -t 60; i=0; while [ $i -lt {processors} ]; do (while :; do :; done) & echo $! >> burners; i=$((i+1)); done\necho done > ready\nwait"
    );
    let scene = Scene::new(&burners);
    scene.send(1);
    read(&scene.run("ready"));
    let burners: Vec<String> = read(&scene.run("burners")).lines().map(str::to_owned).collect();
    assert_eq!(burners.len(), processors);
    let used = || burners.iter().map(|pid| cpu(pid)).sum::<u64>();
    // As many threads of this process at work as there are processors, each for a second of its own.
    let before = used();
    let ours: u64 = std::thread::scope(|scope| {
        let work = || scope.spawn(burn);
        let threads: Vec<_> = (0..processors).map(|_| work()).collect();
        threads.into_iter().map(|thread| thread.join().expect("it burns")).sum()
    });
    let theirs = used() - before;
    for pid in &burners {
        let pid = rustix::process::Pid::from_raw(pid.parse().expect("a number")).expect("above zero");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    assert!(theirs * 4 < ours, "{theirs} ticks of theirs beside {ours} of ours");
}

/// Computes until this thread has used a second of CPU; says how many ticks that was.
fn burn() -> u64 {
    let start = cpu("thread-self");
    loop {
        let mut sum = 0_u64;
        for step in 0..1_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_add(step));
        }
        let ticks = cpu("thread-self") - start;
        if ticks >= 100 {
            return ticks;
        }
    }
}

fn is_over(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.map_or(true, |stat| stat.contains(") Z "))
}
