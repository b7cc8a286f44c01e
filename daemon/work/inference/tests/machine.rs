//! What the machine decides by a clock that the test moves.

use forecastd_models::frame::{Frame, PREFIX};
use forecastd_models::inference::{PROTOCOL, Reply, Request};

use super::*;
use crate::work::inference::machine::Action;
use crate::work::inference::order::Order;
use crate::work::inference::request::{Ticket, ticket};

/// A machine, the time as it knows it, and those who wait.
struct Scene {
    machine: Machine,
    board: Arc<Board>,
    now: Instant,
    tickets: Vec<Ticket>,
}

impl Scene {
    /// With a child that serves `m` in batches of at most so many.
    fn serving(batch: u32) -> Self {
        let board = Arc::new(Board::default());
        let limits = Limits {
            batch,
            ..Limits::default()
        };
        let mut scene = Self {
            machine: Machine::new(limits, quick(), Arc::clone(&board)),
            board,
            now: Instant::now(),
            tickets: Vec::new(),
        };
        let (order, _loaded) = Order::new("m", "1", "/nowhere".into(), true);
        scene.machine.order(order, scene.now);
        assert_eq!(scene.decide(), [Action::Start]);
        scene.machine.greeted(fake::hello(PROTOCOL), scene.now);
        let Request::Load { key, .. } = scene.sent() else {
            panic!("there is a version to load")
        };
        let description = serde_json::to_vec(&fake::described(&["score"])).expect("it is JSON");
        scene.hear(Reply::Loaded { key, most: 64 }, vec![description]);
        scene
    }

    fn decide(&mut self) -> Vec<Action> {
        self.machine.decide(self.now)
    }

    /// What is sent to the child now, and nothing else is done.
    fn sent(&mut self) -> Request {
        match &self.decide()[..] {
            [Action::Send(frame)] => Frame::decode(&frame[PREFIX..]).expect("it is a frame").header,
            other => panic!("{other:?}"),
        }
    }

    fn hear(&mut self, header: Reply, slices: Vec<Vec<u8>>) {
        self.machine.heard(Frame { header, slices }, self.now);
    }

    fn ask(&mut self) {
        self.ask_for(&[1.0]);
    }

    fn ask_for(&mut self, samples: &[f32]) {
        let (pending, ticket) = ticket(request(samples, LONG), self.now);
        self.machine.request(pending, self.now);
        self.tickets.push(ticket);
    }

    /// Sends the next batch, which is of so many requests of a sample, and has it answered after so long.
    fn compute(&mut self, requests: usize, after: Duration) {
        self.compute_parts(&vec![1; requests], after);
    }

    fn compute_parts(&mut self, parts: &[u32], after: Duration) {
        let Request::Infer { id, counts, .. } = self.sent() else {
            panic!("somebody waits")
        };
        assert_eq!(counts, parts);
        self.now += after;
        let answer = Reply::Answer {
            id,
            faults: Vec::new(),
            microseconds: after.as_micros() as u64,
        };
        let records = parts.iter().map(|samples| vec![0; 4 * *samples as usize]);
        self.hear(answer, records.collect());
    }

    fn waiting(&self) -> usize {
        self.board.counts().models["m"].waiting
    }
}

/// A batch takes so long; an eighth of it is waited for callers.
const COMPUTE: Duration = Duration::from_millis(8);

#[test]
fn a_batch_with_room_waits_for_callers_of_the_last_and_one_without_waits_for_nobody() {
    let mut scene = Scene::serving(2);
    scene.ask();
    scene.compute(1, COMPUTE); // of a new version's first batch nobody knows how long it takes
    (0..4).for_each(|_| scene.ask());
    scene.compute(2, COMPUTE);
    scene.compute(2, COMPUTE);
    scene.ask();
    assert_eq!(scene.decide(), [], "another of the two may come");
    scene.now += COMPUTE / 8;
    scene.compute(1, COMPUTE);
}

#[test]
fn what_is_left_of_a_large_request_waits_for_nobody() {
    let mut scene = Scene::serving(2);
    scene.ask();
    scene.compute(1, COMPUTE);
    scene.ask_for(&[1.0; 3]);
    scene.compute_parts(&[2], COMPUTE);
    scene.compute_parts(&[1], COMPUTE);
}

#[test]
fn nothing_waits_any_more_once_children_that_never_greet_are_given_up() {
    let mut scene = Scene::serving(2);
    scene.machine.broke_off("ended".to_owned(), scene.now);
    assert!(matches!(scene.decide()[..], [Action::Kill(_)]));
    scene.machine.ended("ended", scene.now);
    scene.ask();
    for child in 0..3 {
        assert_eq!(scene.waiting(), 1, "after {child} children");
        scene.now += LONG;
        assert_eq!(scene.decide(), [Action::Start]);
        scene.machine.broke_off("ended".to_owned(), scene.now);
        assert!(matches!(scene.decide()[..], [Action::Kill(_)]));
        scene.machine.ended("ended", scene.now);
    }
    assert_eq!(scene.waiting(), 0);
}
