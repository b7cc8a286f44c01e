//! The executable as the daemon meets it: a process with a socket for its standard input.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use forecastd_models::frame::{Frame, values_of};
use forecastd_models::torch_job::{Hello, PROTOCOL, Reply, ReplyBody, Request, RequestBody, smoke_residual};
use forecastd_torch::wire;

fn forecastd_torch() -> Command {
    Command::new(env!("CARGO_BIN_EXE_forecastd-torch"))
}

fn start() -> (Child, UnixStream, Hello) {
    let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
    let child = forecastd_torch()
        .args(["--threads", "1"])
        .stdin(OwnedFd::from(theirs))
        .spawn()
        .expect("the executable starts");
    let hello = wire::read::<Hello>(&mut ours).expect("a frame").expect("not closed");
    (child, ours, hello.header)
}

fn send(socket: &mut UnixStream, id: u64, body: RequestBody) {
    wire::write(socket, &Frame::from(Request { id, body })).expect("the child reads");
}

fn receive(socket: &mut UnixStream) -> Frame<Reply> {
    wire::read(socket).expect("a frame").expect("not closed")
}

#[test]
fn a_child_says_hello_solves_a_system_and_leaves_with_its_socket() {
    let (mut child, mut socket, hello) = start();
    assert_eq!(
        (hello.protocol, hello.libtorch.as_str(), hello.threads),
        (PROTOCOL, "2.11.0", 1)
    );

    send(&mut socket, 1, RequestBody::Smoke { size: 100 });
    let reply = receive(&mut socket);
    assert_eq!(
        reply.header,
        Reply {
            id: 1,
            body: ReplyBody::Smoke
        }
    );
    assert!(smoke_residual(&values_of(&reply.slices[0]).expect("whole values")) < 1e-14);

    drop(socket);
    assert!(child.wait().expect("it can be waited for").success());
}

#[test]
fn a_ping_is_answered_before_a_long_job_and_a_third_job_is_refused() {
    let (mut child, mut socket, _) = start();
    let long = RequestBody::Smoke { size: 3_000 }; // 18 billion operations
    for id in 1..=4 {
        send(&mut socket, id, long.clone()); // one may run, one may wait
    }
    send(&mut socket, 5, RequestBody::Ping);
    let mut replies = std::iter::from_fn(|| Some(receive(&mut socket).header.body));
    let before: Vec<_> = replies.by_ref().take_while(|body| *body != ReplyBody::Pong).collect();
    let busy = |body: &ReplyBody| matches!(body, ReplyBody::Failed { message } if message.contains("busy"));
    assert!(before.len() >= 2 && before.iter().all(busy), "{before:?}");

    drop(socket); // in the middle of a job
    child.wait().expect("it ends although it was computing");
}

#[test]
fn what_is_no_frame_ends_the_child() {
    let (mut child, mut socket, _) = start();
    std::io::Write::write_all(&mut socket, &[0xff; 64]).expect("the child reads");
    child.wait().expect("it ends although the socket is open");
}

#[test]
fn people_can_ask_what_it_runs_on() {
    let output = forecastd_torch().arg("--probe").output().expect("it runs");
    let hello: Hello = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert_eq!(hello.libtorch, "2.11.0");
}

#[test]
fn started_by_hand_it_says_what_to_do() {
    for (arguments, advice) in [
        (&[][..], "--probe"),
        (&["--threads"], "count"),
        (&["--what"], "unknown argument"),
    ] {
        let output = forecastd_torch()
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(advice), "{said}");
    }
}
