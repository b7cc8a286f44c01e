//! Programs of others that a story is held against.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::skip;

/// The path of a program, if this machine has it. In CI it must.
pub fn find(program: &str) -> Option<&str> {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if found {
        Some(program)
    } else {
        skip(&format!("{program} is not installed"))
    }
}

/// What `promtool check metrics` has to say about a page: nothing, if all is well.
pub fn promtool_check(page: &str) -> Option<String> {
    let mut child = Command::new(find("promtool")?)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() || !said.is_empty());
    Some(String::from_utf8(said).unwrap())
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
