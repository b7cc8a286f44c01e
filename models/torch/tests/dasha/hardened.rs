//! Runs of a process that may not execute what it has written, as the unit of systemd has it.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use forecastd_models::dasha::{DashaEvent, Task};
use forecastd_models::torch_job::Hello;

use crate::child::Run;
use crate::folder::{job, squares};

/// `PR_SET_MDWE`, `PR_GET_MDWE` and `PR_MDWE_REFUSE_EXEC_GAIN` of linux/prctl.h, since Linux 6.3.
const SET_MDWE: i32 = 65;
const GET_MDWE: i32 = 66;
const REFUSE_EXEC_GAIN: u64 = 1;

/// Has a command start so.
#[expect(unsafe_code, reason = "asks the kernel for something between fork and exec")]
fn hardened(command: &mut Command) -> &mut Command {
    // SAFETY: prctl is a system call, which is allowed between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        })
    }
}

#[expect(unsafe_code, reason = "asks the kernel what it knows")]
fn kernel_is_too_old() -> bool {
    // SAFETY: it takes no pointer.
    unsafe { libc::prctl(GET_MDWE, 0, 0, 0, 0) < 0 }
}

/// What the network of a run says of its samples.
fn scores(folder: &Path, prepare: impl FnOnce(&mut Command) -> &mut Command) -> Vec<f32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forecastd-torch"));
    command.args(["--threads", "1", "--predict"]);
    command.args([folder.join("artifact").as_path(), folder]);
    let output = prepare(&mut command).output().expect("the executable starts");
    assert!(output.status.success(), "{output:?}");
    let bytes = fs::read(folder.join("scores.bin")).expect("it is written");
    let numbers = bytes.as_chunks().0.iter();
    numbers.map(|number| f32::from_le_bytes(*number)).collect()
}

/// Whether a child says that it computes by oneDNN.
fn has_onednn(prepare: impl FnOnce(&mut Command) -> &mut Command) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forecastd-torch"));
    let output = prepare(command.arg("--probe")).output().expect("the executable starts");
    let hello: Hello = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    hello.onednn
}

#[test]
fn where_nothing_written_may_be_executed_networks_are_trained_and_asked_all_the_same() {
    if kernel_is_too_old() {
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
        eprintln!("skipped: the kernel is older than 6.3");
        return;
    }
    assert!(has_onednn(|command| command) && !has_onednn(hardened));
    let mut job = job(&[3], 1);
    (job.budget.search_epochs, job.budget.trials, job.budget.retrain_epochs) = (1, 2, 2);
    let folder = squares(Task::Regress, 60).folder(&job); // both frames are tried, of which one has transposed convolutions
    let (events, is_good) = Run::prepared(folder.path(), |command| hardened(command)).end();
    assert!(is_good, "{events:?}");
    let Some(DashaEvent::Started { advice, .. }) = events.first() else {
        panic!("{events:?}");
    };
    let advice = advice.as_deref().expect("it is slow");
    assert!(
        advice.contains("MemoryDenyWriteExecute=yes") && advice.contains("libtorch.conf.example"),
        "{advice}"
    );
    let frames = |event: &DashaEvent| matches!(event, DashaEvent::SearchEpoch { .. });
    assert_eq!(events.iter().filter(|event| frames(event)).count(), 2);

    let (found, expected) = (
        scores(folder.path(), hardened),
        scores(folder.path(), |command| command),
    );
    assert_eq!(found.len(), 2 * 60);
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
}
