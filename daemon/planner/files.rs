//! Which files wait, and in what order they are taken.

use std::collections::{HashSet, VecDeque};

use crate::message::landed_file::{LandedFile, Listing};

/// A dataset's landed files. The last listing is the truth; this only remembers what was dealt with since.
#[derive(Clone, Debug, Default)]
pub struct Files {
    landed: VecDeque<LandedFile>,
    /// Dealt with, but still in the folder: left there on purpose, or not yet gone when the folder was listed.
    settled: HashSet<LandedFile>,
    /// Files that are still being written, or may be.
    unripe: usize,
    listed: bool,
}

impl Files {
    /// Takes over what a listing saw, but for what was dealt with already.
    pub fn list(&mut self, listing: Listing) {
        let seen: HashSet<LandedFile> = listing.landed.iter().cloned().collect();
        self.settled.retain(|file| seen.contains(file));
        self.unripe = listing.waiting;
        self.landed = listing
            .landed
            .into_iter()
            .filter(|file| !self.settled.contains(file))
            .collect();
        self.listed = true;
    }

    /// The folder was looked at in vain: nothing waits there as far as we know.
    pub fn unreadable(&mut self) {
        self.landed.clear();
        self.unripe = 0;
        self.listed = true;
    }

    /// Whether the folder was looked at since the start.
    pub fn listed(&self) -> bool {
        self.listed
    }

    /// The oldest file that waits.
    pub fn take(&mut self) -> Option<LandedFile> {
        self.landed.pop_front()
    }

    /// Puts a file back to the head of the line.
    pub fn put_back(&mut self, file: LandedFile) {
        if !self.landed.contains(&file) {
            self.landed.push_front(file);
        }
    }

    /// This file is dealt with for good: not to be taken again, even if a listing still shows it.
    pub fn settle(&mut self, file: LandedFile) {
        self.landed.retain(|other| *other != file);
        self.settled.insert(file);
    }

    /// Files that can be taken.
    pub fn ready(&self) -> usize {
        self.landed.len()
    }

    /// Files that wait, those that are not ripe yet included.
    pub fn waiting(&self) -> usize {
        self.landed.len() + self.unripe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_ripe_wait_too_but_cannot_be_taken() {
        let mut files = Files::default();
        files.list(Listing {
            dataset: "a".into(),
            landed: Vec::new(),
            waiting: 2,
            ignored: 0,
        });
        assert_eq!((files.waiting(), files.ready(), files.take()), (2, 0, None));
        files.unreadable();
        assert_eq!(files.waiting(), 0);
    }
}
