//! The pointers of names.

use crate::work::inference::order::Order;
use crate::work::inference::roster::{Key, Roster};

use super::*;

type Told = tokio::sync::oneshot::Receiver<crate::work::inference::order::Loaded>;

fn order(roster: &mut Roster, version: &str, activate: bool) -> Told {
    let (order, told) = Order::new("m", version, PathBuf::from(version), activate);
    roster.order(order);
    roster.tell_news();
    told
}

/// Loads whatever is wanted next.
fn load_next(roster: &mut Roster) -> Key {
    let key = roster.next_to_load().expect("something is wanted");
    roster.loaded(key, fake::described(&["product"]), 512);
    roster.tell_news();
    key
}

fn active(roster: &Roster) -> Option<String> {
    roster.served()[0].active.as_deref().map(str::to_owned)
}

#[test]
fn the_pointer_moves_when_the_new_version_is_warm_and_not_before() {
    let mut roster = Roster::default();
    let mut told = order(&mut roster, "1", true);
    let first = load_next(&mut roster);
    assert!(told.try_recv().expect("it is told").is_ok());
    order(&mut roster, "2", true);
    assert_eq!(active(&roster).as_deref(), Some("1"));
    assert_eq!(roster.leaving(), [] as [Key; 0]);
    load_next(&mut roster);
    assert_eq!(active(&roster).as_deref(), Some("2"));
    assert_eq!(roster.leaving(), [first]);
}

#[test]
fn a_version_that_is_there_becomes_active_at_once_and_keeps_its_key() {
    let mut roster = Roster::default();
    order(&mut roster, "1", true);
    load_next(&mut roster);
    order(&mut roster, "2", false);
    load_next(&mut roster);
    assert_eq!(active(&roster).as_deref(), Some("1"));
    let mut told = order(&mut roster, "2", true);
    assert!(told.try_recv().expect("it is told").is_ok());
    assert_eq!(active(&roster).as_deref(), Some("2"));
    assert_eq!(roster.next_to_load(), None);
}

#[test]
fn after_a_child_has_ended_the_active_versions_are_loaded_first() {
    let mut roster = Roster::default();
    order(&mut roster, "1", false);
    load_next(&mut roster);
    order(&mut roster, "2", true);
    let second = load_next(&mut roster);
    roster.child_ended(None, "ended");
    assert_eq!(roster.next_to_load(), Some(second));
    assert_eq!(roster.resolve(&request(&[1.0], LONG)), Ok(second)); // which waits for it
}

#[test]
fn one_that_has_served_is_loaded_again_however_many_children_end_over_it() {
    let mut roster = Roster::default();
    order(&mut roster, "1", true);
    let key = load_next(&mut roster);
    for _ in 0..5 {
        roster.child_ended(Some(key), "ended");
    }
    assert_eq!(roster.next_to_load(), Some(key));
    roster.refused(key, "its folder is gone".to_owned());
    let told = roster
        .resolve(&request(&[1.0], LONG))
        .expect_err("it is refused")
        .to_string();
    assert!(told.contains("its folder is gone"), "{told}");
    assert!(!roster.wants_child());
}

#[test]
fn a_refused_version_is_tried_again_when_it_is_wanted_again() {
    let mut roster = Roster::default();
    let mut told = order(&mut roster, "1", true);
    let key = roster.next_to_load().expect("it is wanted");
    roster.refused(key, "truncated".to_owned());
    roster.tell_news();
    assert!(matches!(
        told.try_recv().expect("it is told"),
        Err(LoadError::Refused { .. })
    ));
    assert!(roster.served().is_empty());
    order(&mut roster, "1", true);
    assert!(load_next(&mut roster) > key);
    assert_eq!(active(&roster).as_deref(), Some("1"));
}
