//! A child does not outlive whoever started it.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use std::{process, thread};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat};

/// Time that a job may still take once nobody waits for it.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

/// From now on this process ends when its standard input closes, if that is a pipe or a socket. Where it is a
/// terminal, a file or nothing, a person has started it.
///
/// # Errors
///
/// No thread can be started.
pub fn end_with_parent() -> io::Result<()> {
    let input = io::stdin();
    let kind = fstat(input.as_fd()).map(|found| FileType::from_raw_mode(found.st_mode));
    if !matches!(kind, Ok(FileType::Fifo | FileType::Socket)) {
        return Ok(());
    }
    let watch = thread::Builder::new().name("parent".to_owned());
    watch.spawn(move || {
        let mut said = [0; 64];
        let mut input = input.lock();
        while input.read(&mut said).is_ok_and(|bytes| bytes > 0) {}
        end()
    })?;
    Ok(())
}

/// From now on this process ends when the other end of `socket` closes, which others read meanwhile. Whoever computes
/// has a moment to notice by itself.
///
/// # Errors
///
/// No thread can be started.
pub fn end_with(socket: &UnixStream) -> io::Result<()> {
    let socket = socket.try_clone()?;
    let watch = thread::Builder::new().name("parent".to_owned());
    watch.spawn(move || {
        let mut hangup = [PollFd::new(&socket, PollFlags::empty())]; // which is always told
        while !hangup[0].revents().contains(PollFlags::HUP) {
            let _ = poll(&mut hangup, None); // fails only for a signal
        }
        thread::sleep(LAST_WORDS);
        end()
    })?;
    Ok(())
}

/// Not `exit`: libtorch's destructors would race with what is computing. Files are whole or not there.
pub(crate) fn end() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    process::abort()
}
