//! Decoding in a process of its own, one for each file: a file that takes all memory, or makes the reader abort, ends
//! that process and gets its verdict; the daemon goes on.
//!
//! What happens inside the child is for `decode_worker`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use forecastd_config::{Columns, Limits, SampleForm, SampleLimits};
use forecastd_models::Timestamp;
use rustix::process::Signal;
use thiserror::Error;

use super::decode::Decoded;
use super::decode_worker::CPU_SECONDS;
use super::protocol::{self, Request};
use super::spooled::DecodedSamples;
use crate::message::rejected::{RejectReason, Rejected};

/// Decodes files, each in a child process.
#[derive(Clone, Debug)]
pub struct Decoder {
    executable: PathBuf,
    arguments: Vec<OsString>,
}

/// Why a file was not decoded.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The file is at fault, and stays so.
    #[error("{}: {}", .0.reason.label(), .0.detail)]
    Rejected(Rejected),
    /// The machine is at fault, or the child was told to stop: a later attempt may succeed.
    #[error("the decoder: {0}")]
    Io(#[from] io::Error),
}

/// How an attempt can fail.
enum Failure {
    /// As the caller will hear it.
    Final(DecodeError),
    /// SIGKILL from outside: an operator, a stopping service, or the kernel for want of memory.
    Killed,
}

/// Time for a child to answer. Its processor time is limited far below; what takes longer waits for the machine.
const DEADLINE: Duration = Duration::from_secs(600);

impl Decoder {
    /// Children are started as `executable decode`. `/proc/self/exe` names the running program even after its file
    /// was replaced by an upgrade, so that both ends always speak the same protocol.
    pub fn new(executable: PathBuf) -> Self {
        Self {
            executable,
            arguments: vec!["decode".into()],
        }
    }

    /// Reads the rows of a file; those later than `latest` are refused.
    pub fn decode(
        &self,
        file: File,
        columns: &Columns,
        limits: &Limits,
        latest: Timestamp,
    ) -> Result<Decoded, DecodeError> {
        let request = Request::Series {
            columns: columns.clone(),
            limits: *limits,
            latest,
        };
        self.twice(&file, &request, |answer| protocol::receive_result(answer, limits))
    }

    /// Reads the samples of a file into a nameless one in the folder `spool`; none taken after `latest` is believed.
    pub fn decode_samples(
        &self,
        file: File,
        form: &SampleForm,
        limits: &SampleLimits,
        latest: Timestamp,
        spool: &Path,
    ) -> Result<DecodedSamples, DecodeError> {
        let request = Request::Samples {
            form: form.clone(),
            limits: *limits,
            latest,
        };
        self.twice(&file, &request, |answer| {
            DecodedSamples::receive(answer, form, limits, latest, spool)
        })
    }

    fn twice<T>(
        &self,
        file: &File,
        request: &Request,
        receive: impl Fn(&mut BufReader<Deadlined<'_>>) -> io::Result<Result<T, Rejected>>,
    ) -> Result<T, DecodeError> {
        // A child may be killed for no fault of its file, so a second one tries; a file that kills both is the cause.
        for _ in 0..2 {
            match self.attempt(file, request, &receive) {
                Ok(decoded) => return Ok(decoded),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Killed) => {}
            }
        }
        let detail = "the decoder was killed twice, as the kernel does for want of memory: lower limits.decode_memory \
                      to have a limit before that";
        Err(DecodeError::Rejected(Rejected::new(RejectReason::TooLarge, detail)))
    }

    fn attempt<T>(
        &self,
        file: &File,
        request: &Request,
        receive: impl Fn(&mut BufReader<Deadlined<'_>>) -> io::Result<Result<T, Rejected>>,
    ) -> Result<T, Failure> {
        let mut worker = self.spawn()?;
        match worker.converse(file, request, receive) {
            Ok(result) => Ok(result.map_err(DecodeError::Rejected)?),
            // A broken connection is how a death looks from here; only the status says which.
            Err(error) if is_hangup(&error) => Err(ending(worker.end()?, request.memory())),
            Err(error) => Err(error.into()),
        }
    }

    fn spawn(&self) -> io::Result<Worker> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&self.executable);
        command
            .args(&self.arguments)
            .env_clear()
            .current_dir("/")
            .process_group(0) // Ctrl-C is for the daemon, which lets the file at hand be finished
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn()?;
        Ok(Worker { child, socket: ours })
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Final(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Final(error.into())
    }
}

/// A running child; it does not outlive this.
struct Worker {
    child: Child,
    socket: UnixStream,
}

impl Worker {
    fn converse<T>(
        &self,
        file: &File,
        request: &Request,
        receive: impl Fn(&mut BufReader<Deadlined<'_>>) -> io::Result<Result<T, Rejected>>,
    ) -> io::Result<Result<T, Rejected>> {
        self.socket.set_write_timeout(Some(DEADLINE))?;
        protocol::send_descriptor(&self.socket, file)?;
        protocol::send(&mut &self.socket, request)?;
        let answer = Deadlined {
            socket: &self.socket,
            deadline: Instant::now() + DEADLINE,
        };
        receive(&mut BufReader::new(answer))
    }

    /// Waits for the end of a child that has hung up; ends one that has not.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?; // no effect on one that ended by itself: its status stays what it is
        self.child.wait()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.end(); // nobody is left to hear of an error; a child that has ended gives none
    }
}

/// A socket that is read until an instant, however slowly the bytes trickle.
struct Deadlined<'a> {
    socket: &'a UnixStream,
    deadline: Instant,
}

impl Read for Deadlined<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        self.socket.set_read_timeout(Some(left))?;
        self.socket.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
            _ => error,
        })
    }
}

fn is_hangup(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// What the end of a child says about its file.
fn ending(status: ExitStatus, memory: u64) -> Failure {
    let rejected = |reason, detail| Failure::Final(DecodeError::Rejected(Rejected::new(reason, detail)));
    let Some(signal) = status.signal().and_then(Signal::from_named_raw) else {
        return io::Error::other(format!("the child ended without an answer: {status}")).into();
    };
    match signal {
        // Rust aborts where memory is refused.
        Signal::ABORT => rejected(
            RejectReason::TooLarge,
            format!("decoding takes more than the {memory} bytes of limits.decode_memory"),
        ),
        Signal::XCPU => {
            let detail = format!("decoding takes more than {CPU_SECONDS} s of processor time");
            rejected(RejectReason::TooLarge, detail)
        }
        Signal::SEGV | Signal::BUS | Signal::ILL | Signal::FPE | Signal::SYS => {
            rejected(RejectReason::Corrupt, format!("the decoder crashed: {status}"))
        }
        Signal::KILL => Failure::Killed,
        // A stopping service ends all its processes: that says nothing about the file.
        _ => io::Error::new(
            io::ErrorKind::Interrupted,
            format!("the child was told to stop: {status}"),
        )
        .into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Float64Array, Int8Array, StringArray, TimestampSecondArray};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_writer::ArrowWriterOptions;
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::properties::{EnabledStatistics, WriterProperties};

    use super::super::decode::decode;
    use super::super::decode_worker::decode_worker_main;
    use super::super::fixture::{LIMITS, batch, column, long, parquet, wide};
    use super::*;

    const END: Timestamp = Timestamp(i64::MAX);

    /// A decoder whose children are this test program, running only the test below.
    fn decoder() -> Decoder {
        let arguments = [
            "--exact",
            "intake::decoder::tests::the_child_of_the_other_tests",
            "--ignored",
            "--nocapture",
        ];
        Decoder {
            executable: "/proc/self/exe".into(),
            arguments: arguments.map(OsString::from).to_vec(),
        }
    }

    #[test]
    #[ignore = "what the other tests start as their child"]
    fn the_child_of_the_other_tests() {
        decode_worker_main();
    }

    /// A decoder whose children are a shell script.
    fn scripted(script: &str) -> Decoder {
        Decoder {
            executable: "/bin/sh".into(),
            arguments: ["-c", script].map(OsString::from).to_vec(),
        }
    }

    fn small() -> File {
        let times = TimestampSecondArray::from_iter_values(0..40_000);
        let values = Float64Array::from_iter((0..40_000).map(|i| (i % 5 > 0).then_some(f64::from(i))));
        parquet(vec![("t", column(times)), ("v", column(values))])
    }

    /// A few kilobytes that unfold to 512 MiB of text: 64 rows, each with the one time of 8 MiB in the dictionary.
    fn bomb() -> File {
        let entry = StringArray::from(vec!["0".repeat(8 << 20)]);
        let times = DictionaryArray::new(Int8Array::from(vec![0; 64]), Arc::new(entry));
        let names = StringArray::from(vec!["a"; 64]);
        let values = Float64Array::from(vec![1.0; 64]);
        let properties = WriterProperties::builder()
            .set_dictionary_page_size_limit(usize::MAX)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        let batch = batch(vec![("t", column(times)), ("c", column(names)), ("v", column(values))]);
        // Without arrow's own schema the reader knows of no dictionary, and writes the text out for each row.
        let options = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_skip_arrow_metadata(true);
        let file = tempfile::tempfile().expect("a temporary file");
        let handle = file.try_clone().expect("a second handle");
        let mut writer = ArrowWriter::try_new_with_options(handle, batch.schema(), options).expect("a writer");
        writer.write(&batch).expect("written");
        writer.close().expect("closed");
        file
    }

    fn verdict(result: Result<Decoded, DecodeError>) -> Rejected {
        match result {
            Err(DecodeError::Rejected(rejected)) => rejected,
            other => panic!("not rejected: {other:?}"),
        }
    }

    /// The most memory that this process ever held, in KiB.
    fn peak_memory() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a line");
        line.split_whitespace()
            .nth(1)
            .expect("a number")
            .parse()
            .expect("a number")
    }

    #[test]
    fn a_child_decodes_as_we_would_ourselves() {
        let columns = wide("t", None);
        let ours = decode(small(), &columns, &LIMITS, Timestamp(30_000_000_000_000)).expect("decoded");
        let theirs = decoder().decode(small(), &columns, &LIMITS, Timestamp(30_000_000_000_000));
        assert_eq!(theirs.expect("decoded"), ours);
        let verdict_of_ours = decode(small(), &wide("time", None), &LIMITS, END).expect_err("no such column");
        let theirs = decoder().decode(small(), &wide("time", None), &LIMITS, END);
        assert_eq!(verdict(theirs), verdict_of_ours);
    }

    #[test]
    fn a_bomb_ends_its_child_and_leaves_us_small() {
        let file = bomb();
        let bytes = file.metadata().expect("a file").len();
        assert!(bytes < 64 << 10, "{bytes} bytes");
        let limits = Limits {
            decode_memory: 192 << 20,
            ..LIMITS
        };
        let before = peak_memory();
        let rejected = verdict(decoder().decode(file, &long("t", &["c"], "v"), &limits, END));
        assert_eq!(rejected.reason, RejectReason::TooLarge, "{}", rejected.detail);
        assert!(rejected.detail.contains("limits.decode_memory"), "{}", rejected.detail);
        let grown = peak_memory() - before; // other tests run beside this one: a margin for them
        assert!(grown < 400 << 10, "{grown} KiB");
    }

    #[test]
    fn a_child_that_cannot_be_started_or_is_told_to_stop_is_no_fault_of_the_file() {
        for decoder in [
            Decoder::new("/nowhere".into()),
            scripted("kill -TERM $$"),
            scripted("exit 70"),
        ] {
            let result = decoder.decode(small(), &wide("t", None), &LIMITS, END);
            assert!(matches!(result, Err(DecodeError::Io(_))), "{result:?}");
        }
    }

    #[test]
    fn the_way_a_child_dies_is_the_verdict() {
        for (script, reason, part) in [
            ("kill -ABRT $$", RejectReason::TooLarge, "limits.decode_memory"),
            ("kill -XCPU $$", RejectReason::TooLarge, "processor time"),
            ("kill -SEGV $$", RejectReason::Corrupt, "crashed"),
            ("kill -KILL $$", RejectReason::TooLarge, "killed twice"),
        ] {
            let rejected = verdict(scripted(script).decode(small(), &wide("t", None), &LIMITS, END));
            assert_eq!(rejected.reason, reason, "{script}");
            assert!(rejected.detail.contains(part), "{}", rejected.detail);
        }
    }

    #[test]
    fn a_child_that_was_killed_once_gets_a_second_chance() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("killed-once");
        let program = std::env::current_exe().expect("this program");
        let mut decoder = decoder();
        let script = format!(
            "if mkdir {} 2>/dev/null; then kill -KILL $$; fi; exec {} {}",
            mark.display(),
            program.display(),
            decoder.arguments.join(&OsString::from(" ")).to_string_lossy()
        );
        decoder = scripted(&script);
        assert!(decoder.decode(small(), &wide("t", None), &LIMITS, END).is_ok());
        assert!(mark.exists());
    }

    #[test]
    fn an_answer_that_no_decoder_gives_is_not_believed() {
        // A frame that announces 4 GiB; rows without an account.
        for script in [
            r"printf '\377\377\377\377' >&0; sleep 60",
            r"printf '\3\0\0\0\1\5\0' >&0; sleep 60",
        ] {
            let result = scripted(script).decode(small(), &wide("t", None), &LIMITS, END);
            match result {
                Err(DecodeError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::InvalidData),
                other => panic!("believed: {other:?}"),
            }
        }
    }
}
