//! What becomes of batches over which children end.

use crate::work::inference::queue::{Batch, Queue};
use crate::work::inference::request::{Pending, Ticket, ticket};

use super::*;

fn queue(samples: &[f32]) -> (Queue, Vec<Ticket>) {
    let mut queue = Queue::default();
    let mut tickets = Vec::new();
    for sample in samples {
        let (pending, ticket) = ticket(request(&[*sample], LONG), Instant::now());
        queue.push(pending);
        tickets.push(ticket);
    }
    (queue, tickets)
}

fn names(batch: &Batch) -> Vec<f32> {
    let inputs = batch.parts.iter().flat_map(|part| part.inputs().as_chunks().0);
    inputs.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn next(queue: &mut Queue) -> Batch {
    queue.next_batch(64, 1 << 20, Instant::now()).expect("something waits")
}

/// Batches as they go to children of whom each ends over `poison`, and the request that is blamed.
fn tried(samples: &[f32], poison: f32) -> (Vec<Vec<f32>>, Option<Pending>) {
    let (mut queue, _tickets) = queue(samples);
    let (mut batches, mut blamed) = (Vec::new(), None);
    while !queue.is_empty() {
        let batch = next(&mut queue);
        batches.push(names(&batch));
        if names(&batch).contains(&poison) {
            let verdict = batch.after_death();
            queue.put_back(verdict.again);
            blamed = blamed.or(verdict.poison);
        }
    }
    (batches, blamed)
}

#[test]
fn a_batch_is_tried_again_then_halved_until_the_one_to_blame_is_alone() {
    let (batches, blamed) = tried(&[1.0, 2.0, 3.0, 4.0], 3.0);
    let all = vec![1.0, 2.0, 3.0, 4.0];
    assert_eq!(
        batches,
        [all.clone(), all, vec![1.0, 2.0], vec![3.0, 4.0], vec![3.0], vec![4.0]]
    );
    assert_eq!(blamed.map(|pending| pending.deaths), Some(4));
}

#[test]
fn a_request_that_was_alone_is_tried_twice() {
    let (batches, blamed) = tried(&[3.0], 3.0);
    assert_eq!((batches.len(), blamed.map(|pending| pending.deaths)), (2, Some(2)));
}

#[test]
fn suspects_go_first_and_are_joined_by_nobody() {
    let (mut queue, _tickets) = queue(&[1.0, 2.0]);
    let suspects = next(&mut queue).after_death().again;
    let (pending, _ticket) = ticket(request(&[3.0], LONG), Instant::now());
    queue.push(pending);
    queue.put_back(suspects);
    assert_eq!((queue.samples(), queue.bytes()), (3, 12));
    assert_eq!(names(&next(&mut queue)), [1.0, 2.0]);
    assert_eq!(names(&next(&mut queue)), [3.0]);
    assert_eq!((queue.samples(), queue.bytes(), queue.is_empty()), (0, 0, true));
}

#[test]
fn a_batch_ends_before_the_request_that_is_one_too_many() {
    let mut queue = Queue::default();
    let mut tickets = Vec::new();
    for samples in [2, 2, 2, 3, 1] {
        let (pending, ticket) = ticket(request(&vec![1.0; samples], LONG), Instant::now());
        queue.push(pending);
        tickets.push(ticket);
    }
    let mut sizes = |most, most_bytes| {
        let batch = queue.next_batch(most, most_bytes, Instant::now());
        batch.map(|batch| batch.samples())
    };
    assert_eq!(sizes(5, 1 << 20), Some(4));
    assert_eq!(sizes(5, 8), Some(2));
    assert_eq!(sizes(3, 1 << 20), Some(3));
    assert_eq!(sizes(5, 1), Some(1)); // more bytes than allowed, but one sample goes in any case
    assert_eq!(sizes(5, 1 << 20), None);
}

#[test]
fn a_request_too_large_for_a_batch_has_a_part_in_several_and_others_come_between() {
    let mut queue = Queue::default();
    let ask = |queue: &mut Queue, samples: &[f32]| {
        let (pending, ticket) = ticket(request(samples, LONG), Instant::now());
        queue.push(pending);
        ticket
    };
    let _large = ask(&mut queue, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let mut small = Vec::new();
    let mut seen = Vec::new();
    while let Some(batch) = queue.next_batch(3, 1 << 20, Instant::now()) {
        seen.push(names(&batch));
        if small.len() < 2 {
            small.push(ask(&mut queue, &[8.0 + small.len() as f32]));
        }
        for part in batch.parts {
            let records = part.inputs().to_vec();
            let pending = part.heard(records, Instant::now(), Duration::ZERO);
            if pending.samples() > 0 {
                queue.rejoin(pending, Instant::now());
            }
        }
    }
    assert_eq!(seen, [vec![1.0, 2.0, 3.0], vec![8.0, 4.0, 5.0], vec![9.0, 6.0, 7.0],]);
    assert_eq!((queue.samples(), queue.bytes()), (0, 0));
}

#[test]
fn a_part_over_which_a_child_ended_is_tried_again_as_it_was() {
    let mut queue = Queue::default();
    let (pending, _ticket) = ticket(request(&[1.0, 2.0, 3.0], LONG), Instant::now());
    queue.push(pending);
    let batch = queue.next_batch(2, 1 << 20, Instant::now()).expect("it waits");
    queue.put_back(batch.after_death().again);
    assert_eq!((queue.samples(), queue.bytes()), (3, 12));
    assert_eq!(names(&next(&mut queue)), [1.0, 2.0]);
}

#[test]
fn those_who_are_gone_or_late_leave_the_queue() {
    let (mut queue, mut tickets) = queue(&[1.0, 2.0, 3.0]);
    drop(tickets.remove(1));
    let (pending, late) = ticket(request(&[4.0], Duration::ZERO), Instant::now());
    queue.push(pending);
    queue.drop_moot(Instant::now());
    assert_eq!((queue.samples(), queue.bytes()), (2, 8));
    assert_eq!(names(&next(&mut queue)), [1.0, 3.0]);
    drop(late);
}

#[tokio::test]
async fn a_request_between_two_parts_waits_for_its_turn() {
    let now = Instant::now();
    let (pending, ticket) = ticket(request(&[1.0, 2.0], LONG), now);
    pending.set_sent(true);
    let mut queue = Queue::default();
    queue.rejoin(pending.part(1).heard(vec![0; 4], now, Duration::ZERO), now);
    let stage = Stage::Waiting;
    assert_eq!(ticket.wait(now).await, Err(InferenceError::Deadline { stage }));
}
