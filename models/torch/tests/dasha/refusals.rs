//! Jobs and data with which no training begins.

use forecastd_models::dasha::card::Candidate;
use forecastd_models::dasha::{
    Backbone, DashaEvent, DashaJob, Extras, Kernel, KernelPattern, ScaleChoice, Split, Task,
};

use crate::child::Run;
use crate::folder::{Data, job, squares, variation};

fn refused(data: &Data, job: &DashaJob) -> String {
    let folder = data.folder(job);
    let (events, is_good) = Run::start(folder.path()).end();
    assert!(!is_good);
    assert!(!folder.path().join("checkpoint").exists(), "nothing has begun");
    match &events[..] {
        [DashaEvent::Failed { message }] => message.clone(),
        other => panic!("{other:?}"),
    }
}

fn refused_data(change: fn(&mut Data)) -> String {
    let mut data = squares(Task::Classify, 40);
    change(&mut data);
    refused(&data, &job(&[3], 1))
}

fn refused_job(change: fn(&mut DashaJob)) -> String {
    let mut job = job(&[3], 1);
    change(&mut job);
    refused(&squares(Task::Classify, 40), &job)
}

#[test]
fn data_that_teach_nothing_are_refused_in_words() {
    let told = refused_data(|data| data.splits.fill(Split::Train as u8));
    assert!(told.contains("no sample is for validation"), "{told}");
    let told = refused_data(|data| data.splits.fill(Split::Validation as u8));
    assert!(told.contains("0 samples are for training"), "{told}");
    let told = refused_data(|data| data.targets.fill(0));
    assert!(
        told.contains("all training samples are of one class, \"left\""),
        "{told}"
    );
    let told = refused_data(|data| data.targets[0] = 9);
    assert!(told.contains("sample 0"), "{told}");
    let told = refused_data(|data| data.inputs[4 * 128 * 7..][..4].copy_from_slice(&f32::NAN.to_le_bytes()));
    assert!(told.contains("sample 7"), "{told}");
    let told = refused_data(|data| data.inputs.truncate(100));
    assert!(told.contains("100 bytes"), "{told}");
}

#[test]
fn jobs_that_ask_for_nothing_possible_are_refused_with_their_key() {
    let told = refused_job(|job| job.budget.retrain_epochs = 0);
    assert!(told.contains("budget.retrain_epochs is 0"), "{told}");
    let told = refused_job(|job| {
        let backbone = Backbone::WideResNet { depth: 10, width: 1 };
        job.network = Some(Candidate {
            pattern: KernelPattern(vec![Kernel::new(3, 1)]),
            backbone,
            searched: true,
            extras: Extras::default(),
        });
    });
    assert!(
        told.contains("7 searched convolutions, the pattern 1 kernels"),
        "{told}"
    );
    let told = refused_job(|job| job.budget.search_part = 0.0);
    assert!(told.contains("budget.search_part is 0"), "{told}");
    let told = refused_job(|job| job.budget.seconds = Some(-1.0));
    assert!(told.contains("budget.seconds is -1"), "{told}");
    let told = refused_job(|job| {
        job.budget.trials = 0;
        job.training.variations = vec![variation("plain"), variation("silu")];
    });
    assert!(told.contains("budget.trials is 0"), "{told}");
    let told = refused_job(|job| job.training.variations = vec![variation("17x")]);
    assert!(told.contains("training.variations must name one"), "{told}");
    let told = refused_job(|job| {
        job.scale = ScaleChoice::Paper;
        job.training.variations = vec![variation("5x")];
    });
    assert!(told.contains("the widening factor is 40"), "{told}");
    let told = refused_job(|job| job.batch = Some(0));
    assert!(told.contains("batch is 0"), "{told}");
    let told = refused_job(|job| job.training.ema = 2.0);
    assert!(told.contains("training.ema is 2"), "{told}");
    let told = refused_job(|job| job.space.kernel_sizes = vec![0]);
    assert!(told.contains("a kernel size is 0"), "{told}");
    let told = refused_job(|job| job.space.dilations.clear());
    assert!(told.contains("kernels to choose from is 0"), "{told}");
}
