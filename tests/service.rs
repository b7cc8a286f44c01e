//! The process among processes.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Daemon, Environment, wait_for, wide};

/// What systemd would hear.
struct Systemd(UnixDatagram);

impl Systemd {
    fn listen(environment: &Environment) -> (Self, String) {
        let path = environment.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        (Self(socket), path.to_str().unwrap().to_owned())
    }

    /// Reads on until a message contains `text`; all that was heard.
    fn hear(&self, text: &str) -> String {
        let (mut heard, mut buffer) = (String::new(), [0; 4096]);
        loop {
            let length = self
                .0
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("{text}: {error}; heard {heard:?}"));
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            heard.push_str(&message);
            if message.contains(text) {
                return heard;
            }
        }
    }
}

#[test]
fn systemd_hears_of_readiness_reloads_the_watchdog_and_the_end() {
    let environment = Environment::with_series("{ time: time }");
    let (systemd, socket) = Systemd::listen(&environment);
    let daemon = Daemon::start(&environment, &[("NOTIFY_SOCKET", &socket), ("WATCHDOG_USEC", "600000")]);
    assert!(!systemd.hear("READY=1").contains("WATCHDOG=1") || daemon.get("/-/ready").0 == 200);
    systemd.hear("WATCHDOG=1");
    daemon.signal(Signal::HUP);
    let heard = systemd.hear("READY=1");
    assert!(
        heard.contains("RELOADING=1") && heard.contains("MONOTONIC_USEC="),
        "{heard}"
    );
    assert!(daemon.stop().success());
    systemd.hear("STOPPING=1");
}

#[test]
fn it_is_ready_after_recovery_and_the_first_scan() {
    let environment = Environment::with_series("{ time: time }");
    let daemon = environment.start();
    wait_for("readiness", || (daemon.get("/-/ready").0 == 200).then_some(()));
    assert_eq!(daemon.get("/-/healthy").0, 200);
    let (status, page) = daemon.get("/");
    assert!(status == 200 && page.contains("/metrics"), "{page}");
    assert_eq!(daemon.get("/nothing").0, 404);
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused() {
    let environment = Environment::with_series("{ time: time }");
    let daemon = environment.start();
    let output = environment.run(&["run"]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.contains(&environment.path("state").display().to_string()),
        "{message}"
    );
    assert!(message.contains(&daemon.pid().to_string()), "{message}");
}

#[test]
fn an_address_in_use_is_told_with_its_key() {
    let environment = Environment::with_series("{ time: time }");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let dataset = Environment::dataset("d", "{ time: time }", "forecast: { horizon: 3 }");
    environment.write_config(&format!(
        "state_dir: ./state\nhttp: {{ listen: \"{address}\" }}\ndatasets:\n{dataset}"
    ));
    let message = String::from_utf8_lossy(&environment.run(&["run"]).stderr).into_owned();
    assert!(
        message.contains("http.listen") && message.contains(&address.to_string()),
        "{message}"
    );
}

#[test]
fn a_stop_in_the_middle_of_work_loses_nothing() {
    let environment = Environment::with_series("{ time: time }");
    let daemon = environment.start();
    for drop in 0..20 {
        let value = |i: i64| (i * 7919 % 101) as f64;
        environment.drop_bytes(
            &format!("{drop:02}.parquet"),
            &wide(drop * 100..(drop + 1) * 100, &[("a", &value)]),
        );
    }
    daemon.after_drops(3);
    assert!(daemon.stop().success());
    environment.fsck();
    let daemon = environment.start();
    assert_eq!(daemon.after_drops(20).rows(), (2000, 2000, 0, 0));
}
