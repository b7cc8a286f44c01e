//! The process of a child: started with a socket as its standard input, and surely ended.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Time that the kernel may take to end a killed process. One that hangs inside a GPU driver takes for ever.
const REAP_WITHIN: Duration = Duration::from_secs(1);

/// Rest between two looks whether a killed process has ended.
const REAP_EVERY: Duration = Duration::from_millis(5);

/// A child that runs. Dropping it ends it.
#[derive(Debug)]
pub(in crate::work) struct ChildProcess(Child);

impl ChildProcess {
    /// Starts a child with one end of a socket pair as its standard input. Our end is its lifeline: it is closed by
    /// the kernel however this process ends, and the child ends with it.
    pub(in crate::work) fn spawn(mut command: Command) -> io::Result<(Self, UnixStream)> {
        let (socket, theirs) = UnixStream::pair()?;
        let process = command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).spawn()?;
        drop(command); // it holds their end, which would keep the socket open after the child's death
        Ok((Self(process), socket))
    }

    /// Asks it to end.
    pub(in crate::work) fn terminate(&self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM); // fails only if it has ended
        }
    }

    /// Ends it, if it has not ended by itself, and says how it ended. Waits for the kernel, a moment at most.
    pub(in crate::work) fn kill(mut self) -> String {
        let _ = self.0.kill(); // fails only if it has ended
        let patience = Instant::now() + REAP_WITHIN;
        while Instant::now() < patience {
            match self.0.try_wait() {
                Ok(None) => thread::sleep(REAP_EVERY),
                Ok(Some(status)) => return status.to_string(),
                Err(error) => return error.to_string(),
            }
        }
        let _ = thread::Builder::new()
            .name("torch-reaper".to_owned())
            .spawn(move || self.0.wait());
        "the kernel does not let it end".to_owned()
    }
}

impl Drop for ChildProcess {
    /// No child is left behind, whichever way this value goes; after [`kill`](Self::kill) this does nothing.
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}
