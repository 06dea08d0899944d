//! A disk for tests. Processes see the files of a real folder; beside it stands what a power cut would leave of them: what
//! was synced, and of all else any part in any order. Calls can be made to fail, and the process to die in one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, Existing, LocalDisk};

/// What goes wrong in the calls from some number on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies in the first of them, somewhere between nothing and all of what it asked for.
    Death,
    /// So many of them are refused with this error of the system; a write leaves a part of its bytes.
    Refusal(i32, u64),
    /// No `fdatasync` among them succeeds.
    Unconfirmed,
}

/// A small generator with a seed (SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators",
/// OOPSLA 2014).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Less than `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn part(&mut self, of: usize) -> usize {
        usize::try_from(self.below(of as u64 + 1)).unwrap()
    }
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Cut(u64),
}

/// A file's bytes on the platter, and what was asked of it since.
#[derive(Default)]
struct Node {
    kept: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Copy)]
enum Thing {
    Folder,
    File(usize),
}

#[derive(Clone)]
enum Naming {
    Add(PathBuf, Thing),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

impl Naming {
    fn folder(&self) -> &Path {
        let (Self::Add(path, _) | Self::Rename(path, ..) | Self::Remove(path)) = self;
        path.parent().unwrap()
    }
}

struct State {
    dice: Dice,
    nodes: Vec<Node>,
    by_inode: HashMap<u64, usize>,
    seen: BTreeMap<PathBuf, usize>,
    kept: BTreeMap<PathBuf, Thing>,
    pending: Vec<Naming>,
    calls: u64,
    syncs: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
}

/// See the module.
pub(crate) struct Journal {
    root: PathBuf,
    /// Guards what the platter holds; held for as long as one call takes.
    state: Mutex<State>,
}

const EIO: i32 = 5;

impl Journal {
    /// An empty folder as a disk.
    pub(crate) fn new(root: &Path, seed: u64) -> Arc<Self> {
        let state = State {
            dice: Dice(seed),
            nodes: Vec::new(),
            by_inode: HashMap::new(),
            seen: BTreeMap::new(),
            kept: BTreeMap::new(),
            pending: Vec::new(),
            calls: 0,
            syncs: 0,
            fault: None,
            dead: false,
        };
        Arc::new(Self { root: root.to_owned(), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a process begin on this disk, and something go wrong after so many calls.
    pub(crate) fn begin(&self, fault: Option<(u64, Fault)>) {
        let mut state = self.state();
        state.dead = false;
        state.fault = fault.map(|(after, fault)| (state.calls + after, fault));
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Takes the power away: the folder then holds what was kept, and of all else whatever the dice say.
    pub(crate) fn cut_power(&self) {
        let mut state = self.state();
        let State { dice, nodes, kept, pending, seen, by_inode, .. } = &mut *state;
        for naming in pending.drain(..) {
            if dice.below(2) == 0 {
                name(kept, &naming);
            }
        }
        let folders: BTreeSet<PathBuf> =
            kept.iter().filter(|(_, t)| matches!(t, Thing::Folder)).map(|(p, _)| p.clone()).collect();
        let root = self.root.clone();
        let held =
            |path: &Path| path.ancestors().skip(1).take_while(|a| *a != root).all(|a| folders.contains(a));
        kept.retain(|path, _| held(path));
        for left in std::fs::read_dir(&root).unwrap().map(|e| e.unwrap().path()) {
            std::fs::remove_dir_all(left).unwrap();
        }
        let mut after = Vec::new();
        (*seen, *by_inode) = (BTreeMap::new(), HashMap::new());
        for (path, thing) in kept.iter_mut() {
            let Thing::File(node) = thing else {
                std::fs::create_dir(path).unwrap();
                continue;
            };
            let old = nodes.get_mut(*node).unwrap();
            settle(dice, old);
            std::fs::write(path, &old.kept).unwrap();
            by_inode.insert(std::fs::metadata(path).unwrap().ino(), after.len());
            seen.insert(path.clone(), after.len());
            *node = after.len();
            after.push(Node { kept: old.kept.clone(), pending: Vec::new() });
        }
        *nodes = after;
    }

    /// Counts a call. `Err` where it is refused, with whether a part of it may be done.
    fn call(&self) -> Result<MutexGuard<'_, State>, (MutexGuard<'_, State>, io::Error, bool)> {
        let mut state = self.state();
        let at = state.calls;
        state.calls += 1;
        if state.dead {
            return Err((state, io::Error::from_raw_os_error(EIO), false));
        }
        match state.fault {
            Some((from, Fault::Death)) if at >= from => {
                state.dead = true;
                Err((state, io::Error::from_raw_os_error(EIO), true))
            }
            Some((from, Fault::Refusal(error, count))) if (from..from + count).contains(&at) => {
                Err((state, io::Error::from_raw_os_error(error), false))
            }
            _ => Ok(state),
        }
    }

    /// Does something that happens whole or not at all; a process that dies in it may have done it.
    fn whole<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        match self.call() {
            Ok(mut state) => act(&mut state),
            Err((mut state, e, maybe)) => {
                if maybe && state.dice.below(2) == 0 {
                    act(&mut state)?;
                }
                Err(e)
            }
        }
    }
}

fn name(kept: &mut BTreeMap<PathBuf, Thing>, naming: &Naming) {
    match naming {
        Naming::Add(path, thing) => drop(kept.insert(path.clone(), *thing)),
        Naming::Rename(from, to, node) => {
            kept.remove(from);
            kept.insert(to.clone(), Thing::File(*node));
        }
        Naming::Remove(path) => kept.retain(|p, _| !p.starts_with(path)),
    }
}

fn change(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, new) => {
            let at = usize::try_from(*at).unwrap();
            if bytes.len() < at + new.len() {
                bytes.resize(at + new.len(), 0);
            }
            bytes[at..at + new.len()].copy_from_slice(new);
        }
        Change::Cut(len) => bytes.resize(usize::try_from(*len).unwrap(), 0),
    }
}

/// What comes of changes that nobody made durable: each, a part of it, or nothing.
fn settle(dice: &mut Dice, node: &mut Node) {
    for pending in std::mem::take(&mut node.pending) {
        let Change::Write(at, mut bytes) = pending else {
            if dice.below(2) == 0 {
                change(&mut node.kept, &pending);
            }
            continue;
        };
        match dice.below(5) {
            0 => continue,
            1 => bytes.truncate(dice.part(bytes.len())),
            // The file has grown, and nothing was written into it; what it had before is still there.
            2 => {
                let old = node.kept.get(usize::try_from(at).unwrap()..).unwrap_or_default();
                for (at, byte) in bytes.iter_mut().enumerate() {
                    *byte = old.get(at).copied().unwrap_or(0);
                }
            }
            3 => {
                let old = node.kept.get(usize::try_from(at).unwrap()..).unwrap_or_default().to_vec();
                for (block, new) in bytes.chunks_mut(512).enumerate() {
                    if dice.below(2) == 0 {
                        let old = old.get(block * 512..).unwrap_or_default();
                        for (at, byte) in new.iter_mut().enumerate() {
                            *byte = old.get(at).copied().unwrap_or(0);
                        }
                    }
                }
            }
            _ => {}
        }
        change(&mut node.kept, &Change::Write(at, bytes));
    }
}

impl State {
    fn node(&mut self, file: &File) -> io::Result<&mut Node> {
        let at = self.by_inode[&file.metadata()?.ino()];
        Ok(&mut self.nodes[at])
    }
}

impl Disk for Journal {
    fn make_folders(&self, path: &Path) -> io::Result<()> {
        self.whole(|state| {
            let missing: Vec<_> = path.ancestors().take_while(|a| !a.exists()).collect();
            for folder in missing.into_iter().rev() {
                std::fs::create_dir(folder)?;
                state.pending.push(Naming::Add(folder.to_owned(), Thing::Folder));
            }
            Ok(())
        })
    }

    fn create(&self, path: &Path, existing: Existing) -> io::Result<File> {
        self.whole(|state| {
            let file = LocalDisk.create(path, existing)?;
            if let Some(at) = state.seen.get(path) {
                state.nodes[*at].pending.push(Change::Cut(0));
                return Ok(file);
            }
            let at = state.nodes.len();
            state.nodes.push(Node::default());
            state.by_inode.insert(file.metadata()?.ino(), at);
            state.seen.insert(path.to_owned(), at);
            state.pending.push(Naming::Add(path.to_owned(), Thing::File(at)));
            Ok(file)
        })
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.whole(|_| LocalDisk.open(path))
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut state, bytes, done) = match self.call() {
            Ok(state) => (state, bytes, Ok(())),
            Err((mut state, e, maybe)) => {
                // A full disk takes a part; so does one whose process dies meanwhile.
                let part =
                    if maybe || e.raw_os_error() == Some(28) { state.dice.part(bytes.len()) } else { 0 };
                (state, &bytes[..part], Err(e))
            }
        };
        if !bytes.is_empty() {
            LocalDisk.write_at(file, bytes, offset)?;
            state.node(file)?.pending.push(Change::Write(offset, bytes.to_vec()));
        }
        done
    }

    fn cut(&self, file: &File, len: u64) -> io::Result<()> {
        self.whole(|state| {
            LocalDisk.cut(file, len)?;
            state.node(file)?.pending.push(Change::Cut(len));
            Ok(())
        })
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let call = self.call().and_then(|state| match state.fault {
            Some((from, Fault::Unconfirmed)) if state.calls > from => {
                Err((state, io::Error::from_raw_os_error(EIO), false))
            }
            _ => Ok(state),
        });
        match call {
            Ok(mut state) => {
                state.syncs += 1;
                let Node { kept, pending } = state.node(file)?;
                pending.drain(..).for_each(|c| change(kept, &c));
                Ok(())
            }
            Err((mut state, e, maybe)) => {
                state.syncs += 1;
                if !maybe && !state.dead {
                    // What is not on the platter now will not get there: the system takes it for written.
                    let mut dice = Dice(state.dice.below(u64::MAX));
                    settle(&mut dice, state.node(file)?);
                }
                Err(e)
            }
        }
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.whole(|state| {
            let (mine, others) =
                std::mem::take(&mut state.pending).into_iter().partition(|n| n.folder() == path);
            state.pending = others;
            let mine: Vec<Naming> = mine;
            mine.iter().for_each(|n| name(&mut state.kept, n));
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.whole(|state| {
            LocalDisk.rename(from, to)?;
            let at = state.seen.remove(from).unwrap();
            state.seen.insert(to.to_owned(), at);
            state.pending.push(Naming::Rename(from.to_owned(), to.to_owned(), at));
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.whole(|state| {
            LocalDisk.remove_file(path)?;
            state.seen.remove(path);
            state.pending.push(Naming::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.whole(|state| {
            LocalDisk.remove_folder(path)?;
            state.seen.retain(|p, _| !p.starts_with(path));
            state.pending.push(Naming::Remove(path.to_owned()));
            Ok(())
        })
    }
}
