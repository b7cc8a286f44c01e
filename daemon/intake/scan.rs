//! One folder, looked at again and again: which of its files have landed.
//!
//! A listing is the truth; what wakes us to take one is for `watch`. Ripeness is judged by our own clock, from the
//! moment when we first saw a version of a file: a writer's clock, or ours set back, must not hold a file up.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use forecastd_config::{DatasetName, Landing};

use super::artifact::look as artifact;
use super::footer::Shape;
use super::landed;
use super::request::is_request;
use crate::message::landed_file::{Fingerprint, LandedFile, Listing};

/// What lands in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Landings {
    /// Parquet files.
    Drops,
    /// Artifacts, each a folder; but not these folders, where artifacts go afterwards.
    Artifacts {
        /// Where they go.
        aside: Vec<PathBuf>,
    },
    /// What somebody asks of the daemon: whole as soon as it is there.
    Requests,
}

/// What is known of one folder.
#[derive(Debug)]
pub struct Scanner {
    dataset: DatasetName,
    incoming: PathBuf,
    landings: Landings,
    landing: Landing,
    candidates: HashMap<OsString, Candidate>,
}

/// One version of a file.
#[derive(Debug)]
struct Candidate {
    fingerprint: Fingerprint,
    /// What tells a folder's content from another; of a file its fingerprint does.
    inside: u64,
    /// When this version was first seen.
    since: Instant,
    /// What it looks like inside, once it was worth a look.
    look: Option<Look>,
    /// When it was found to have landed.
    landed: Option<Instant>,
    /// Whether a listing has shown it: from then on each one does, for as long as it lies there.
    listed: bool,
}

/// What a file looks like to someone who waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A whole footer, or all files of an artifact.
    Whole,
    /// No writer will make a drop of it any more.
    Hopeless,
    /// Empty, without a footer, not all there, or not readable: its writer may be at it yet.
    Unfinished,
}

impl Scanner {
    /// A scanner that has seen nothing yet.
    pub fn new(dataset: DatasetName, incoming: PathBuf, landings: Landings, landing: Landing) -> Self {
        Self {
            dataset,
            incoming,
            landings,
            landing,
            candidates: HashMap::new(),
        }
    }

    /// Changes the rules, keeping what was seen.
    pub fn set_landing(&mut self, landings: Landings, landing: Landing) {
        self.landings = landings;
        self.landing = landing;
    }

    /// Looks at the folder. `renamed_in` are paths known to have been renamed into it since the last look: a rename
    /// is how a careful writer says that a file is complete.
    pub fn scan(&mut self, now: Instant, renamed_in: &HashSet<PathBuf>) -> io::Result<Listing> {
        let landings = &self.landings;
        let (drops, ignored) = landings.list(&self.incoming)?;
        let mut known = mem::take(&mut self.candidates);
        for (name, metadata) in drops {
            let path = self.incoming.join(&name);
            let fingerprint = landed::fingerprint(&metadata);
            let inside = landings.inside(&path);
            let mut candidate = known
                .remove(&name)
                .filter(|known| (known.fingerprint, known.inside) == (fingerprint, inside))
                .unwrap_or_else(|| Candidate::new(fingerprint, inside, now));
            let renamed = renamed_in.contains(&path);
            candidate.ripen(&self.landing, now, renamed, || landings.look(&path, &metadata));
            self.candidates.insert(name, candidate);
        }
        Ok(self.listing(ignored, now))
    }

    /// When a file that waits now may be ripe, if nothing touches it until then.
    pub fn ripe_at(&self, now: Instant) -> Option<Instant> {
        let waiting = self.candidates.values().filter(|candidate| !candidate.listed);
        waiting
            .filter_map(|candidate| candidate.ripe_at(&self.landing))
            // What should be ripe and is not could not be read: the next regular scan tries again.
            .filter(|ripe| *ripe > now)
            .min()
    }

    fn listing(&mut self, ignored: usize, now: Instant) -> Listing {
        let held_up_by = self.oldest_settling(now);
        let settle = self.landing.settle;
        let mut landed = Vec::new();
        for (name, candidate) in &mut self.candidates {
            let Some(since) = candidate.landed else { continue };
            let file = LandedFile {
                dataset: DatasetName::clone(&self.dataset),
                path: self.incoming.join(name),
                fingerprint: candidate.fingerprint,
            };
            candidate.listed |= now.saturating_duration_since(since) >= settle
                || held_up_by.as_ref().is_none_or(|older| age(&file) < (older.0, &older.1));
            if candidate.listed {
                landed.push(file);
            }
        }
        landed.sort_by(|a, b| age(a).cmp(&age(b)));
        Listing {
            dataset: DatasetName::clone(&self.dataset),
            waiting: self.candidates.len() - landed.len(),
            landed,
            ignored,
        }
    }

    /// The oldest file that may turn out whole as soon as it has settled. Newer ones wait for it: where two drops
    /// hold the same row the later one counts, so a rename must not overtake a copy. None waits longer than `settle`
    /// after it has landed, however many older copies begin; a file that has settled and is not whole holds nothing
    /// up.
    fn oldest_settling(&self, now: Instant) -> Option<(i64, PathBuf)> {
        let settling = |candidate: &Candidate| {
            let held_still = now.saturating_duration_since(candidate.since);
            candidate.landed.is_none() && candidate.look.is_none() && held_still < self.landing.settle
        };
        let settling = self.candidates.iter().filter(|(_, candidate)| settling(candidate));
        settling
            .map(|(name, candidate)| (candidate.fingerprint.modified, self.incoming.join(name)))
            .min()
    }
}

/// Files are taken in this order: by their last change, then by their name.
fn age(file: &LandedFile) -> (i64, &PathBuf) {
    (file.fingerprint.modified, &file.path)
}

impl Candidate {
    fn new(fingerprint: Fingerprint, inside: u64, since: Instant) -> Self {
        Self {
            fingerprint,
            inside,
            since,
            look: None,
            landed: None,
            listed: false,
        }
    }

    /// Sees whether this version has landed. It is looked into at most once.
    fn ripen(&mut self, landing: &Landing, now: Instant, renamed: bool, look: impl FnOnce() -> Option<Look>) {
        let held_still = now.saturating_duration_since(self.since);
        let settled = held_still >= landing.settle;
        if self.look.is_none() && (settled || renamed) {
            self.look = look();
        }
        let landed = match self.look {
            Some(Look::Whole) => true, // it was looked into because it had settled, or was renamed in
            Some(Look::Hopeless) => settled,
            Some(Look::Unfinished) => settled && held_still >= landing.patience,
            None => false,
        };
        if landed {
            self.landed.get_or_insert(now);
        }
    }

    fn ripe_at(&self, landing: &Landing) -> Option<Instant> {
        if let Some(landed) = self.landed {
            return landed.checked_add(landing.settle); // held up until then at the latest
        }
        self.since.checked_add(match self.look {
            Some(Look::Unfinished) => landing.patience.max(landing.settle),
            _ => landing.settle,
        })
    }
}

impl Landings {
    /// What may have landed in the folder, and how many entries are a mistake of somebody's.
    fn list(&self, folder: &Path) -> io::Result<(Vec<(OsString, Metadata)>, usize)> {
        match self {
            Self::Drops => list(folder),
            Self::Artifacts { aside } => artifact::list(folder, aside),
            Self::Requests => requests(folder),
        }
    }

    fn inside(&self, path: &Path) -> u64 {
        match self {
            Self::Artifacts { .. } => artifact::inside(path),
            Self::Drops | Self::Requests => 0,
        }
    }

    fn look(&self, path: &Path, metadata: &Metadata) -> Option<Look> {
        match self {
            Self::Drops => look(path, metadata),
            Self::Artifacts { .. } => artifact::look(path, metadata),
            Self::Requests => Some(Look::Whole),
        }
    }
}

/// The folder's requests; whatever else lies there is nobody's mistake.
fn requests(folder: &Path) -> io::Result<(Vec<(OsString, Metadata)>, usize)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_request(&entry.file_name())
            && let Ok(metadata) = entry.metadata()
        {
            found.push((entry.file_name(), metadata));
        }
    }
    Ok((found, 0))
}

/// The folder's drops by their names, and how many entries are none.
fn list(folder: &Path) -> io::Result<(Vec<(OsString, Metadata)>, usize)> {
    let (mut drops, mut ignored) = (Vec::new(), 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if !is_drop(&name) {
            // Hidden names are files on their way in, folders are where drops go afterwards: neither is a mistake.
            let misplaced = !is_hidden(&name) && !entry.file_type().is_ok_and(|kind| kind.is_dir());
            ignored += usize::from(misplaced);
            continue;
        }
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => ignored += 1,
            Ok(metadata) => drops.push((name, metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // gone since readdir
            Err(error) => return Err(error),
        }
    }
    Ok((drops, ignored))
}

fn is_drop(name: &OsStr) -> bool {
    ends(name, &[".parquet", ".parq", ".pq"]) && !is_hidden(name)
}

/// Writers hide unfinished files behind a leading `.` or `_`, or behind a last suffix.
pub(crate) fn is_hidden(name: &OsStr) -> bool {
    let unfinished = [
        ".tmp",
        ".temp",
        ".part",
        ".partial",
        ".inprogress",
        ".crdownload",
        ".filepart",
    ];
    name.as_bytes().starts_with(b".") || name.as_bytes().starts_with(b"_") || ends(name, &unfinished)
}

fn ends(name: &OsStr, suffixes: &[&str]) -> bool {
    let name = name.as_bytes().to_ascii_lowercase();
    suffixes.iter().any(|suffix| name.ends_with(suffix.as_bytes()))
}

/// `None` when the file cannot be looked at just now.
fn look(path: &Path, metadata: &Metadata) -> Option<Look> {
    if landed::irregularity(metadata).is_some() {
        return Some(Look::Hopeless);
    }
    match landed::open(path).and_then(|file| Shape::of(&file, metadata.len())) {
        Ok(Shape::Whole { .. }) => Some(Look::Whole),
        Ok(Shape::NotParquet | Shape::Encrypted) => Some(Look::Hopeless),
        Ok(Shape::Empty | Shape::Truncated) => Some(Look::Unfinished),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(Look::Unfinished),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::time::{Duration, SystemTime};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    const WHOLE: &[u8] = b"PAR1\0\0\0\0PAR1";
    const SETTLE: Duration = Duration::from_secs(2);
    const PATIENCE: Duration = Duration::from_secs(60);
    const MOMENT: Duration = Duration::from_millis(1);

    /// A folder, a scanner on it, and a clock that the test turns.
    struct Bench {
        folder: tempfile::TempDir,
        scanner: Scanner,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self::of(Landings::Drops)
        }

        fn of(landings: Landings) -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let landing = Landing {
                scan_interval: Duration::from_secs(5),
                settle: SETTLE,
                patience: PATIENCE,
            };
            Self {
                scanner: Scanner::new("lab".into(), folder.path().to_owned(), landings, landing),
                folder,
                now: Instant::now(),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, content: &[u8]) {
            fs::write(self.path(name), content).expect("written");
        }

        /// A whole file that is a day older than what a test writes otherwise.
        fn write_old(&self, name: &str) {
            self.write(name, WHOLE);
            let file = File::options().write(true).open(self.path(name)).expect("opened");
            file.set_modified(SystemTime::now() - Duration::from_secs(86_400))
                .expect("dated");
        }

        fn scan_renamed(&mut self, renamed_in: &[&str]) -> Listing {
            let renamed_in = renamed_in.iter().map(|name| self.path(name)).collect();
            self.scanner.scan(self.now, &renamed_in).expect("readable")
        }

        fn names_after(&mut self, wait: Duration) -> Vec<String> {
            self.now += wait;
            let landed = self.scan_renamed(&[]).landed;
            let name = |file: &LandedFile| file.path.file_name().map(|name| name.to_string_lossy().into_owned());
            landed.iter().filter_map(name).collect()
        }
    }

    #[test]
    fn a_whole_file_lands_once_it_has_held_still_for_the_settle_time() {
        let mut bench = Bench::new();
        bench.write("a.parquet", WHOLE);
        assert!(bench.names_after(Duration::ZERO).is_empty());
        assert_eq!(bench.scanner.ripe_at(bench.now), Some(bench.now + SETTLE));
        assert!(bench.names_after(SETTLE - MOMENT).is_empty());
        assert_eq!(bench.names_after(MOMENT), ["a.parquet"]);
        assert_eq!(bench.scanner.ripe_at(bench.now), None);
        assert_eq!(bench.names_after(SETTLE), ["a.parquet"], "for as long as it lies there");
        fs::remove_file(bench.path("a.parquet")).expect("removed");
        assert!(bench.names_after(SETTLE).is_empty());
    }

    #[test]
    fn a_file_that_keeps_changing_does_not_land_however_long_it_takes() {
        let mut bench = Bench::new();
        let mut content = WHOLE.to_vec();
        for _ in 0..20 {
            content.splice(4..4, *b"page");
            bench.write("a.parquet", &content);
            assert!(bench.names_after(SETTLE).is_empty());
        }
        assert_eq!(bench.names_after(SETTLE), ["a.parquet"]);
    }

    #[test]
    fn a_file_that_was_renamed_in_lands_at_once_if_its_footer_is_whole() {
        let mut bench = Bench::new();
        bench.write("a.parquet", WHOLE);
        bench.write("b.parquet", b"PAR1 half of it");
        let listing = bench.scan_renamed(&["a.parquet", "b.parquet"]);
        assert_eq!(listing.landed.len(), 1);
        assert_eq!(listing.landed[0].path, bench.path("a.parquet"));
        assert_eq!(listing.waiting, 1);
    }

    #[test]
    fn a_file_without_a_footer_is_given_up_when_patience_ends() {
        let mut bench = Bench::new();
        bench.write("empty.parquet", b"");
        bench.write("half.parquet", b"PAR1 half of it");
        assert!(bench.names_after(Duration::ZERO).is_empty());
        assert!(bench.names_after(SETTLE).is_empty());
        let given_up = bench.now - SETTLE + PATIENCE;
        assert_eq!(bench.scanner.ripe_at(bench.now), Some(given_up));
        assert!(bench.names_after(PATIENCE - SETTLE - MOMENT).is_empty());
        assert_eq!(bench.names_after(MOMENT).len(), 2);
    }

    #[test]
    fn a_half_file_that_is_completed_in_place_lands_as_a_whole_one() {
        let mut bench = Bench::new();
        bench.write("a.parquet", &WHOLE[..7]);
        bench.names_after(Duration::ZERO);
        bench.names_after(PATIENCE - MOMENT);
        bench.write("a.parquet", WHOLE);
        assert!(bench.names_after(MOMENT).is_empty(), "a new version starts anew");
        assert_eq!(bench.names_after(SETTLE), ["a.parquet"]);
    }

    #[test]
    fn what_can_never_be_a_drop_lands_when_settled_so_that_the_claim_rejects_it() {
        let mut bench = Bench::new();
        bench.write("text.parquet", b"time,value\n");
        bench.write("twice.parquet", WHOLE);
        fs::hard_link(bench.path("twice.parquet"), bench.path("twice.keep")).expect("linked");
        symlink("/nowhere", bench.path("link.parquet")).expect("linked");
        mknodat(CWD, bench.path("fifo.parquet"), FileType::Fifo, Mode::RUSR, 0).expect("a fifo");
        let _listener = UnixListener::bind(bench.path("socket.parquet")).expect("a socket");
        assert!(bench.names_after(Duration::ZERO).is_empty());
        assert_eq!(bench.names_after(SETTLE).len(), 5);
    }

    #[test]
    fn what_is_misnamed_is_counted_and_what_is_on_its_way_or_a_folder_of_ours_is_not() {
        let mut bench = Bench::new();
        let on_their_way = [".a.parquet", "_a.parquet", "a.parquet.tmp", "a.PART", "a.pq.crdownload"];
        let mistakes = ["a.csv", "parquet", "a.parquet.gz"];
        for name in on_their_way.iter().chain(&mistakes) {
            bench.write(name, WHOLE);
        }
        fs::create_dir(bench.path("done")).expect("a folder");
        fs::create_dir(bench.path("folder.parquet")).expect("a folder");
        for name in ["a.parquet", "A.PARQUET", "a.parq", "a.pq"] {
            bench.write(name, WHOLE);
        }
        let listing = bench.scan_renamed(&[]);
        assert_eq!((listing.waiting, listing.ignored), (4, mistakes.len() + 1));
    }

    #[test]
    fn a_rename_does_not_overtake_an_older_file_that_is_about_to_settle() {
        let mut bench = Bench::new();
        bench.write("copied.parquet", WHOLE);
        bench.write("renamed.parquet", WHOLE);
        assert!(bench.scan_renamed(&["renamed.parquet"]).landed.is_empty());
        assert_eq!(bench.names_after(SETTLE), ["copied.parquet", "renamed.parquet"]);
    }

    #[test]
    fn a_file_that_was_listed_stays_listed_when_an_older_one_begins_to_settle() {
        let mut bench = Bench::new();
        bench.write("listed.parquet", WHOLE);
        assert_eq!(bench.scan_renamed(&["listed.parquet"]).landed.len(), 1);
        bench.write_old("copied.parquet");
        assert_eq!(bench.names_after(MOMENT), ["listed.parquet"]);
        assert_eq!(bench.names_after(SETTLE), ["copied.parquet", "listed.parquet"]);
    }

    #[test]
    fn a_stream_of_older_copies_holds_a_landed_file_up_for_no_longer_than_the_settle_time() {
        let mut bench = Bench::new();
        bench.write("renamed.parquet", WHOLE);
        bench.write_old("0.parquet");
        assert!(bench.scan_renamed(&["renamed.parquet"]).landed.is_empty());
        let landed = bench.now;
        bench.now += SETTLE / 2;
        bench.write_old("1.parquet");
        assert!(bench.names_after(Duration::ZERO).is_empty());
        assert_eq!(bench.scanner.ripe_at(bench.now), Some(landed + SETTLE));
        assert_eq!(bench.names_after(SETTLE / 2), ["0.parquet", "renamed.parquet"]);
    }

    #[test]
    fn a_file_that_has_settled_and_is_not_whole_holds_nothing_up() {
        let mut bench = Bench::new();
        bench.write("broken.parquet", &WHOLE[..WHOLE.len() - 1]);
        assert!(bench.names_after(Duration::ZERO).is_empty());
        assert!(bench.names_after(SETTLE).is_empty());
        bench.write("renamed.parquet", WHOLE);
        assert_eq!(bench.scan_renamed(&["renamed.parquet"]).landed.len(), 1);
    }

    #[test]
    fn drops_are_listed_oldest_first_and_a_time_in_the_future_holds_nothing_up() {
        let mut bench = Bench::new();
        let now = SystemTime::now();
        let day = Duration::from_secs(86_400);
        for (name, modified) in [("c", now - day), ("b", now - day), ("a", now), ("d", now + 365 * day)] {
            let file = File::create(bench.path(&format!("{name}.pq"))).expect("created");
            io::Write::write_all(&mut &file, WHOLE).expect("written");
            file.set_modified(modified).expect("dated");
        }
        bench.names_after(Duration::ZERO);
        assert_eq!(bench.names_after(SETTLE), ["b.pq", "c.pq", "a.pq", "d.pq"]);
    }

    #[test]
    fn a_missing_folder_is_an_error_and_what_was_seen_before_is_kept() {
        let mut bench = Bench::new();
        bench.write("a.parquet", WHOLE);
        bench.names_after(Duration::ZERO);
        let aside = tempfile::tempdir().expect("a temporary folder");
        let moved = aside.path().join("moved");
        fs::rename(bench.folder.path(), &moved).expect("renamed");
        assert!(bench.scanner.scan(bench.now, &HashSet::new()).is_err());
        fs::rename(&moved, bench.folder.path()).expect("renamed back");
        assert_eq!(bench.names_after(SETTLE), ["a.parquet"]);
    }
}
