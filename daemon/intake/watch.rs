//! The thread that looks at the folders: when something wakes it, when a file may be ripe, and every now and then.
//!
//! inotify is a hint that saves waiting, never a source of truth: queues overflow, network folders say nothing. With
//! no hint at all every drop is found by the regular scan. What a listing means is for `scan` and the listener.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use forecastd_config::{DatasetName, Landing};
use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::scan::{Landings, Scanner};
use crate::message::landed_file::Listing;

/// A folder to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSpec {
    /// Whose folder: a dataset's or a model's.
    pub dataset: DatasetName,
    /// The folder, as an absolute path.
    pub incoming: PathBuf,
    /// What lands in it.
    pub landings: Landings,
    /// When a file in it counts as complete.
    pub landing: Landing,
}

/// What the watch has to say. Each look at a folder gives one `Listing` or one `Unreadable`.
#[derive(Debug)]
pub enum WatchEvent {
    /// A folder was listed in which these land.
    Listing(Landings, Listing),
    /// A folder could not be listed; the next scan tries again.
    Unreadable {
        /// What lands in it.
        landings: Landings,
        /// Whose folder.
        dataset: DatasetName,
        /// What failed, on which path.
        error: io::Error,
    },
    /// Wake-ups were lost or are not to be had: drops are found by the regular scan. Said once until hints are back.
    HintsLost {
        /// Whose folder; `None`: any.
        dataset: Option<DatasetName>,
        /// Why.
        error: String,
    },
}

/// A running watch. Dropping it stops the thread and waits for it, so the listener must not wait for the dropper.
#[derive(Debug)]
pub struct Watch {
    signals: SyncSender<Signal>,
    wanted: Wanted,
    thread: Option<JoinHandle<()>>,
}

/// The folders of a new configuration, until the thread takes them. A later one replaces an earlier one.
type Wanted = Arc<Mutex<Option<Vec<WatchSpec>>>>;

/// What wakes the thread.
#[derive(Debug)]
enum Signal {
    Touched(PathBuf),
    RenamedIn(PathBuf),
    /// The path went away; it matters if it is a folder of ours.
    Gone(PathBuf),
    HintsLost(String),
    /// There may be new folders to take.
    Reconfigured,
    Stop,
}

/// Hints come in bursts; one look serves all of a burst.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// After a look the folder is left alone for this many times as long as the look took: a folder of a million files
/// under a storm of hints must not cost a core.
const REST: u32 = 4;

/// The longest time between two looks: a clock has an end, and a configuration need not know it.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Hints that may wait for the thread. More are dropped; the thread is awake already and looks everywhere.
const BACKLOG: usize = 1024;

impl Watch {
    /// Starts the thread; it looks at every folder at once and tells `sink` what it sees.
    pub fn spawn(specs: Vec<WatchSpec>, sink: impl FnMut(WatchEvent) + Send + 'static) -> io::Result<Self> {
        let (signals, inbox) = sync_channel(BACKLOG);
        let mut watcher = Lookout {
            folders: Vec::new(),
            hints: Hints::new(signals.clone()),
            wanted: Wanted::default(),
            sink,
        };
        let wanted = Arc::clone(&watcher.wanted);
        watcher.reconfigure(specs);
        let thread = thread::Builder::new()
            .name("watch".into())
            .spawn(move || watcher.run(&inbox))?;
        Ok(Self {
            signals,
            wanted,
            thread: Some(thread),
        })
    }

    /// Watches these folders from now on, and looks at them soon. What is known of a folder that stays is kept.
    ///
    /// Never waits: the thread may be waiting for the caller to take what it has seen.
    pub fn reconfigure(&self, specs: Vec<WatchSpec>) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(specs);
        // A full backlog wakes the thread just as well, and it asks for new folders before each look.
        let _ = self.signals.try_send(Signal::Reconfigured);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The thread ends only at our word, or with a panic of the sink: then there is nobody left to tell.
        let _ = self.signals.send(Signal::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there was reported by the panic hook
        }
    }
}

/// The thread's own state.
struct Lookout<S> {
    folders: Vec<Folder>,
    hints: Hints,
    wanted: Wanted,
    sink: S,
}

/// One folder, and when to look at it next.
struct Folder {
    spec: WatchSpec,
    scanner: Scanner,
    renamed_in: HashSet<PathBuf>,
    due: Instant,
    /// No look before this instant, whatever the hints say.
    rested: Instant,
    /// Device and inode of the folder that hints come from.
    hinted: Option<(u64, u64)>,
    /// Whether the lack of hints was said.
    complained: bool,
}

impl<S: FnMut(WatchEvent)> Lookout<S> {
    fn run(mut self, inbox: &Receiver<Signal>) {
        loop {
            let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(specs) = wanted {
                self.reconfigure(specs);
            }
            self.look_where_due();
            let signal = match self.folders.iter().map(|folder| folder.due).min() {
                Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => inbox.recv().map_err(RecvTimeoutError::from),
            };
            match signal {
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(signal) => self.take(signal),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn take(&mut self, signal: Signal) {
        match signal {
            Signal::Touched(path) => {
                self.holder(&path).into_iter().for_each(Folder::hint);
            }
            Signal::RenamedIn(path) => {
                if let Some(folder) = self.holder(&path) {
                    folder.renamed_in.insert(path);
                    folder.hint();
                }
            }
            Signal::Gone(path) => {
                for folder in self.folders.iter_mut().filter(|folder| folder.spec.incoming == path) {
                    folder.hinted = None; // a new folder of this name may even have the same inode
                    folder.hint();
                }
            }
            Signal::HintsLost(error) => {
                self.folders.iter_mut().for_each(Folder::hint);
                (self.sink)(WatchEvent::HintsLost { dataset: None, error });
            }
            Signal::Reconfigured | Signal::Stop => {} // both are for the loop
        }
    }

    fn holder(&mut self, path: &Path) -> Option<&mut Folder> {
        let parent = path.parent()?;
        self.folders.iter_mut().find(|folder| folder.spec.incoming == parent)
    }

    fn reconfigure(&mut self, specs: Vec<WatchSpec>) {
        let mut old = std::mem::take(&mut self.folders);
        for spec in specs {
            let same = |folder: &Folder| {
                let whose = |spec: &WatchSpec| (Arc::clone(&spec.dataset), mem::discriminant(&spec.landings));
                folder.spec.incoming == spec.incoming && whose(&folder.spec) == whose(&spec)
            };
            self.folders.push(match old.iter().position(same) {
                Some(index) => old.swap_remove(index).with_landing(spec),
                None => Folder::new(spec),
            });
        }
        for folder in old {
            self.hints.detach(&folder.spec.incoming);
        }
    }

    fn look_where_due(&mut self) {
        let Self {
            folders, hints, sink, ..
        } = self;
        for folder in folders.iter_mut().filter(|folder| folder.due <= Instant::now()) {
            // Hints first, then the look: nothing can come in between unseen.
            if let Err(error) = hints.attach(folder)
                && !std::mem::replace(&mut folder.complained, true)
            {
                let dataset = Some(DatasetName::clone(&folder.spec.dataset));
                sink(WatchEvent::HintsLost { dataset, error });
            }
            let event = folder.look();
            sink(event);
        }
    }
}

impl Folder {
    fn new(spec: WatchSpec) -> Self {
        let now = Instant::now();
        Self {
            scanner: Scanner::new(
                DatasetName::clone(&spec.dataset),
                spec.incoming.clone(),
                spec.landings.clone(),
                spec.landing,
            ),
            spec,
            renamed_in: HashSet::new(),
            due: now,
            rested: now,
            hinted: None,
            complained: false,
        }
    }

    fn with_landing(mut self, spec: WatchSpec) -> Self {
        self.scanner.set_landing(spec.landings.clone(), spec.landing);
        self.spec = spec;
        self.hint();
        self
    }

    fn hint(&mut self) {
        self.due = self.due.min(self.rested.max(Instant::now() + DEBOUNCE));
    }

    fn look(&mut self) -> WatchEvent {
        let started = Instant::now();
        let result = self.scanner.scan(started, &self.renamed_in);
        let took = started.elapsed();
        self.rested = started + took + DEBOUNCE.max(took * REST);
        let regular = started + self.spec.landing.scan_interval.min(LONGEST);
        let ripe = self.scanner.ripe_at(started).filter(|_| result.is_ok());
        self.due = ripe.map_or(regular, |ripe| regular.min(ripe)).max(self.rested);
        let dataset = DatasetName::clone(&self.spec.dataset);
        match result {
            Ok(listing) => {
                self.renamed_in.clear();
                WatchEvent::Listing(self.spec.landings.clone(), listing)
            }
            Err(error) => {
                let text = format!("{}: {error}", self.spec.incoming.display());
                WatchEvent::Unreadable {
                    landings: self.spec.landings.clone(),
                    dataset,
                    error: io::Error::new(error.kind(), text),
                }
            }
        }
    }
}

/// The one inotify instance, as long as there is one.
struct Hints {
    signals: SyncSender<Signal>,
    notifier: Option<RecommendedWatcher>,
}

impl Hints {
    fn new(signals: SyncSender<Signal>) -> Self {
        Self {
            signals,
            notifier: None,
        }
    }

    /// Sees to it that hints come from the folder that has this name now. A missing folder has no hints to lose.
    fn attach(&mut self, folder: &mut Folder) -> Result<(), String> {
        let path = &folder.spec.incoming;
        let identity = fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        if identity == folder.hinted {
            return Ok(());
        }
        self.detach(path);
        folder.hinted = None;
        if identity.is_some() {
            self.watch(path)
                .map_err(|error| format!("{}: no wake-ups from this folder: {error}", path.display()))?;
            (folder.hinted, folder.complained) = (identity, false);
        }
        Ok(())
    }

    fn watch(&mut self, path: &Path) -> notify::Result<()> {
        let notifier = match &mut self.notifier {
            Some(notifier) => notifier,
            none => none.insert(notify::recommended_watcher(forward(self.signals.clone()))?),
        };
        notifier.watch(path, RecursiveMode::NonRecursive)
    }

    fn detach(&mut self, path: &Path) {
        if let Some(notifier) = &mut self.notifier {
            let _ = notifier.unwatch(path); // an error says that it was not watched any more
        }
    }
}

/// Passes on what may mean a new drop. Never waits: the notifier's thread also serves our own calls to it.
fn forward(signals: SyncSender<Signal>) -> impl FnMut(notify::Result<notify::Event>) {
    move |event| {
        if let Some(signal) = meaning(event) {
            // A full backlog says that hints come faster than looks: the thread is awake and looks at the folder of
            // each hint before it; a rename lost here lands by the settle rule, by the regular scan at the latest.
            let _ = signals.try_send(signal);
        }
    }
}

/// What a hint means to us. Opening and reading, our own included, means nothing; nor does each single write, or a
/// slow writer would wake us all the time.
fn meaning(event: notify::Result<notify::Event>) -> Option<Signal> {
    let event = match event {
        Ok(event) if event.need_rescan() => {
            return Some(Signal::HintsLost("the kernel's event queue overflowed".into()));
        }
        Ok(event) => event,
        Err(error) => return Some(Signal::HintsLost(error.to_string())),
    };
    let signal = match event.kind {
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Signal::RenamedIn,
        EventKind::Create(_) | EventKind::Access(AccessKind::Close(AccessMode::Write)) => Signal::Touched,
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => Signal::Gone,
        _ => return None,
    };
    event.paths.into_iter().next().map(signal)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc::{self, Receiver};

    use notify::Event;
    use notify::event::{DataChange, Flag};

    use super::*;

    const WHOLE: &[u8] = b"PAR1\0\0\0\0PAR1";

    /// So far away that nothing in a test waits for it: what happens happens by a hint.
    const NEVER: Duration = Duration::from_secs(3600);

    fn spec(folder: &Path, scan_interval: Duration, settle: Duration) -> WatchSpec {
        WatchSpec {
            dataset: "lab".into(),
            incoming: folder.to_owned(),
            landings: Landings::Drops,
            landing: Landing {
                scan_interval,
                settle,
                patience: NEVER,
            },
        }
    }

    fn watch(specs: Vec<WatchSpec>) -> (Watch, Receiver<WatchEvent>) {
        let (sink, events) = mpsc::channel();
        let watch = Watch::spawn(specs, move |event| {
            let _ = sink.send(event);
        });
        (watch.expect("a thread"), events)
    }

    /// The first event for which `wanted` has an answer.
    fn await_event<T>(events: &Receiver<WatchEvent>, wanted: impl Fn(WatchEvent) -> Option<T>) -> T {
        loop {
            let event = events.recv_timeout(Duration::from_secs(20)).expect("an event in time");
            if let Some(answer) = wanted(event) {
                return answer;
            }
        }
    }

    fn listing(event: WatchEvent) -> Option<Listing> {
        match event {
            WatchEvent::Listing(_, listing) => Some(listing),
            _ => None,
        }
    }

    fn with_landed(event: WatchEvent) -> Option<Listing> {
        listing(event).filter(|listing| !listing.landed.is_empty())
    }

    fn unreadable(event: WatchEvent) -> Option<io::Error> {
        match event {
            WatchEvent::Unreadable { error, .. } => Some(error),
            _ => None,
        }
    }

    #[test]
    fn a_renamed_file_lands_without_waiting_for_a_scan_or_for_settling() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_watch, events) = watch(vec![spec(folder.path(), NEVER, NEVER)]);
        assert_eq!(await_event(&events, listing).landed, []);
        fs::write(folder.path().join(".a.tmp"), WHOLE).expect("written");
        fs::rename(folder.path().join(".a.tmp"), folder.path().join("a.parquet")).expect("renamed");
        let landed = await_event(&events, with_landed).landed;
        assert_eq!(landed[0].path, folder.path().join("a.parquet"));
    }

    #[test]
    fn a_copied_file_lands_when_it_has_settled_without_waiting_for_a_scan() {
        let folder = tempfile::tempdir().expect("a folder");
        let settle = Duration::from_millis(200);
        let (_watch, events) = watch(vec![spec(folder.path(), NEVER, settle)]);
        await_event(&events, listing);
        let mut file = fs::File::create(folder.path().join("a.parquet")).expect("created");
        file.write_all(&WHOLE[..6]).expect("written");
        assert_eq!(await_event(&events, listing).waiting, 1);
        file.write_all(&WHOLE[6..]).expect("written");
        drop(file);
        assert_eq!(await_event(&events, with_landed).landed.len(), 1);
    }

    #[test]
    fn polling_alone_finds_every_drop() {
        let folder = tempfile::tempdir().expect("a folder");
        let interval = Duration::from_millis(60);
        let (sink, events) = mpsc::channel();
        let mut lookout = Lookout {
            folders: vec![Folder::new(spec(folder.path(), interval, interval))],
            hints: Hints::new(sync_channel(1).0),
            wanted: Wanted::default(),
            sink: move |event| {
                let _ = sink.send(event);
            },
        };
        lookout.folders[0].hinted = fs::metadata(folder.path()).ok().map(|m| (m.dev(), m.ino())); // so it says
        let (stop, inbox) = sync_channel(1);
        let thread = thread::spawn(move || lookout.run(&inbox));
        await_event(&events, listing);
        fs::write(folder.path().join("a.parquet"), WHOLE).expect("written");
        assert_eq!(await_event(&events, with_landed).landed.len(), 1);
        stop.send(Signal::Stop).expect("running");
        thread.join().expect("no panic");
    }

    #[test]
    fn a_missing_folder_is_said_and_found_once_it_is_there() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("incoming");
        let (_watch, events) = watch(vec![spec(&folder, Duration::from_millis(60), NEVER)]);
        let error = await_event(&events, unreadable);
        assert!(error.to_string().contains("incoming"), "{error}");
        fs::create_dir(&folder).expect("created");
        assert_eq!(await_event(&events, listing).landed, []);
    }

    #[test]
    fn hints_come_again_after_the_folder_was_deleted_and_made_anew() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("incoming");
        fs::create_dir(&folder).expect("created");
        let (watch, events) = watch(vec![spec(&folder, NEVER, NEVER)]);
        await_event(&events, listing);
        fs::remove_dir(&folder).expect("removed");
        await_event(&events, unreadable);
        fs::create_dir(&folder).expect("created");
        watch.reconfigure(vec![spec(&folder, NEVER, NEVER)]);
        await_event(&events, listing);
        fs::write(parent.path().join("a"), WHOLE).expect("written");
        fs::rename(parent.path().join("a"), folder.join("a.parquet")).expect("renamed");
        assert_eq!(await_event(&events, with_landed).landed.len(), 1);
    }

    #[test]
    fn a_reconfigured_watch_looks_at_the_new_folders_and_forgets_the_others() {
        let (first, second) = (
            tempfile::tempdir().expect("a folder"),
            tempfile::tempdir().expect("a folder"),
        );
        let (watch, events) = watch(vec![spec(first.path(), NEVER, NEVER)]);
        await_event(&events, listing);
        let other = WatchSpec {
            dataset: "other".into(),
            ..spec(second.path(), NEVER, NEVER)
        };
        watch.reconfigure(vec![other.clone()]);
        assert_eq!(&*await_event(&events, listing).dataset, "other");
        watch.reconfigure(vec![other]);
        assert_eq!(&*await_event(&events, listing).dataset, "other");
        drop(watch);
        assert!(
            events
                .iter()
                .filter_map(listing)
                .all(|listing| &*listing.dataset == "other")
        );
    }

    #[test]
    fn a_reload_does_not_wait_for_a_thread_that_waits_for_the_caller() {
        let folder = tempfile::tempdir().expect("a folder");
        let (sink, events) = sync_channel(0);
        let first = spec(folder.path(), NEVER, NEVER);
        let watch = Watch::spawn(vec![first.clone()], move |event| {
            let _ = sink.send(event);
        });
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            let watch = watch.expect("a thread");
            for turn in 0..2 * BACKLOG {
                let dataset = if turn + 1 < 2 * BACKLOG { "lab" } else { "last" };
                watch.reconfigure(vec![WatchSpec {
                    dataset: dataset.into(),
                    ..first.clone()
                }]);
            }
            let _ = done.send(watch);
        });
        let watch = is_done.recv_timeout(Duration::from_secs(20)).expect("never waits");
        await_event(&events, |event| {
            listing(event).filter(|listing| &*listing.dataset == "last")
        });
        drop(events);
        drop(watch);
    }

    #[test]
    fn a_folder_that_changes_hands_keeps_its_hints() {
        let folder = tempfile::tempdir().expect("a folder");
        let (watch, events) = watch(vec![spec(folder.path(), NEVER, NEVER)]);
        await_event(&events, listing);
        let renamed = WatchSpec {
            dataset: "renamed".into(),
            ..spec(folder.path(), NEVER, NEVER)
        };
        watch.reconfigure(vec![renamed]);
        await_event(&events, listing);
        fs::write(folder.path().join(".a"), WHOLE).expect("written");
        fs::rename(folder.path().join(".a"), folder.path().join("a.parquet")).expect("renamed");
        assert_eq!(await_event(&events, with_landed).landed.len(), 1);
    }

    #[test]
    fn only_what_may_complete_a_drop_wakes_the_thread() {
        let event = |kind| meaning(Ok(Event::new(kind).add_path("/in/a.parquet".into())));
        assert!(event(EventKind::Access(AccessKind::Open(AccessMode::Any))).is_none());
        assert!(event(EventKind::Modify(ModifyKind::Data(DataChange::Any))).is_none());
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(matches!(event(closed), Some(Signal::Touched(_))));
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(matches!(meaning(Ok(overflow)), Some(Signal::HintsLost(_))));
    }
}
