//! Opening a log: lock it, find where it ends, check what was committed, cut off a torn tail, and start the threads.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use counterfoil_identity::VerifyKey;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, Serial};
use counterfoil_spec::payload::{Genesis, Prune};
use counterfoil_spec::time::Now;

use crate::chain::{Author, NewEntry};
use crate::disk::Disk;
use crate::error::LogError;
use crate::history::{self, Behind, History, Known, Signed};
use crate::merkle::{Head, empty_root};
use crate::note::NoteSigner;
use crate::owner::{Buffers, Desk, Owner};
use crate::prune::Pruned;
use crate::publish::{Board, Publisher, Shared, Signing};
use crate::scan::{self, Tail};
use crate::segment::{self, HeaderError, SegmentFile};
use crate::stage::Mode;
use crate::store::{SegmentWriter, make_durable_folder, sync_folder};
use crate::writer::{Inner, LogConfig, MAX_QUEUED_APPENDS, Opened, Running};

/// The lock file's name, relative to the log's folder. It is always empty.
pub const LOCK_FILE: &str = "lock";

/// Opens a log and starts its threads.
pub(crate) fn open(
    (config, more): (LogConfig, Vec<NoteSigner>),
    now: Now,
    disk: Arc<dyn Disk>,
) -> Result<(Inner, Opened), LogError> {
    let at_hand: Vec<NoteSigner> = std::iter::once(config.note.clone()).chain(more).collect();
    let origin_hash = segment::origin_hash(config.note.verifier().name());
    let lock = lock(&*disk, &config.dir)?;
    check_origin(&config.dir, &origin_hash)?;
    let mut ready = prepare((&config, &at_hand), origin_hash, &now, &disk)?;
    if !ready.unfinished.is_empty() {
        let Ready { opened, unfinished, .. } = ready;
        let removed =
            Pruned { dir: &config.dir, origin: &origin_hash, disk: &disk }.carry_out(&unfinished)?;
        ready = prepare((&config, &at_hand), origin_hash, &now, &disk)?;
        ready.opened = Opened { removed, ..opened };
    }
    let Ready { owner, publisher, opened, .. } = ready;
    let shared = owner.shared.clone();
    let desk = Desk::new(owner);
    let running = start(&shared, &desk, publisher, config.options.publish_every, lock)?;
    Ok((Inner { shared, desk, running: Mutex::new(Some(running)) }, opened))
}

/// A log that was read, before its threads run.
struct Ready {
    owner: Owner,
    publisher: Publisher,
    opened: Opened,
    /// The prunes of the log, where what they name was not all removed.
    unfinished: Vec<(u64, Prune)>,
}

fn prepare(
    (config, at_hand): (&LogConfig, &[NoteSigner]),
    origin_hash: Hash,
    now: &Now,
    disk: &Arc<dyn Disk>,
) -> Result<Ready, LogError> {
    let dir = config.dir.clone();
    let origin = config.note.verifier().name().to_owned();
    let tail = scan::tail(&dir, &origin_hash)?;
    let signed = Signed::read(config, at_hand)?;
    //= spec/audit-log.md#recovery
    //# A writer MUST refuse a log with fewer entries than `state/signed` or the checkpoint says (`SignedStateAhead`).
    if let Some(want) = signed.heads().map(|s| s.size).max().filter(|want| *want > tail.head.size) {
        return Err(LogError::SignedStateAhead { have: tail.head.size, want });
    }
    let author = Author {
        kid: config.author.public().kid(),
        key: config.author.clone(),
        role: config.role,
        origin: origin.clone(),
        net_id: config.net_id,
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    };
    let log = Known { config, author: author.kid, genesis: genesis(config)?, disk };
    let mut history = history::read(&log, &tail, &signed)?;
    let unfinished = history.gone.unfinished();
    let History { mut stage, tip, at, behind, keys, lines, .. } = history;
    let genesis = log.genesis;
    let signing = can_sign(Signing { keys, at_hand: at_hand.to_vec() }, stage.tree.size())?;

    let segments = writer_at(config, origin_hash, &tail, disk.clone())?;
    stage.mode = Mode::Extend;
    let repaired_tiles = stage.repaired;
    let head = Head { size: stage.tree.size(), root: stage.tree.root() };
    let shared = Shared::new(board(head, signing.clone()));
    let tree = stage.tree.clone();
    let buffers = Buffers::default();
    let mut owner = Owner { author, tip, tree, segments, now: now.clone(), shared: shared.clone(), buffers };
    let fresh = head.size == 0;
    if fresh {
        owner.append_now(vec![first_entry(config, genesis)?])?;
    }
    let unchecked = behind.as_ref().map_or(0, Behind::entries);
    let disk = disk.clone();
    let mut publisher =
        Publisher { dir, origin: origin_hash, name: origin, disk, stage, at, behind, lines, told: 0 };
    let head = shared.lock().head;
    let (published, note) = match (&publisher.behind, signed.checkpoint) {
        //= spec/audit-log.md#removal
        //# A router MUST append a `prune`, and sign and publish a checkpoint that covers it, before it removes the first entry.
        // What the folder has stays until the rest is checked.
        (Some(_), Some((checkpoint, note))) => (checkpoint, note),
        _ => (head, publisher.publish(&head, &signing)?),
    };
    shared.change(|board| {
        board.published = published;
        board.note = note;
    });
    let torn_bytes = tail.torn_bytes;
    let opened = Opened { size: head.size, torn_bytes, fresh, repaired_tiles, unchecked, removed: 0 };
    Ok(Ready { owner, publisher, opened, unfinished })
}

/// Whether the keys that sign a log's next heads are at hand.
fn can_sign(signing: Signing, size: u64) -> Result<Signing, LogError> {
    match signing.signers(size) {
        // It never had another.
        Err(LogError::LogKeyMissing { .. }) if signing.keys.all().len() == 1 => {
            Err(LogError::GenesisDiffers { what: "log key" })
        }
        signers => signers.map(|_| signing),
    }
}

fn board(head: Head, signing: Signing) -> Board {
    Board {
        head,
        published: Head { size: 0, root: empty_root() },
        note: String::new(),
        signing,
        lost: None,
        publish_failed: None,
        attempts: 0,
        wanted: 0,
        awaits_commit: false,
        closing: false,
        closed: false,
    }
}

fn start(
    shared: &Arc<Shared>,
    desk: &Arc<Desk>,
    publisher: Publisher,
    every: std::time::Duration,
    lock: File,
) -> Result<Running, LogError> {
    let (commands, receiver) = sync_channel(MAX_QUEUED_APPENDS);
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .map_err(LogError::store("start a thread for", Path::new(name)))
    };
    let (shared, desk) = (shared.clone(), desk.clone());
    let publisher = spawn("log-publisher", Box::new(move || publisher.run(&shared, every)))?;
    let owner = spawn("log-owner", Box::new(move || desk.run(&receiver)))?;
    Ok(Running { commands, owner, publisher, lock })
}

/// Takes the log's lock. The file stays where it is when the lock is let go.
fn lock(disk: &dyn Disk, dir: &Path) -> Result<File, LogError> {
    for folder in [dir, &dir.join(segment::FOLDER), &dir.join("state")] {
        make_durable_folder(disk, folder)?;
    }
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(LogError::store("open", &path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(LogError::Locked { path: path.display().to_string() }),
        Err(e) => Err(LogError::store("lock", &path)(e.into())),
    }
}

/// Refuses a folder that holds another log, before anything in it is called damaged.
fn check_origin(dir: &Path, origin: &Hash) -> Result<(), LogError> {
    let segments = segment::list(dir).map_err(LogError::store("list", dir))?;
    let Some(first) = segments.first() else { return Ok(()) };
    let file = scan::open(first)?;
    let head = scan::read_head(&file).map_err(LogError::store("read", &first.path))?;
    match segment::check_header(&head, Some(origin), first.first) {
        Err(HeaderError::OtherOrigin) => Err(LogError::GenesisDiffers { what: "origin" }),
        _ => Ok(()),
    }
}

/// The genesis entry that this configuration makes.
fn genesis(config: &LogConfig) -> Result<Genesis, LogError> {
    let public = config.author.public();
    let facts = &config.genesis;
    let root = VerifyKey::from_spki_der(&facts.root_spki);
    let root = root.map_err(|_| LogError::GenesisDiffers { what: "root key" })?;
    if root.net_id() != config.net_id {
        return Err(LogError::GenesisDiffers { what: "network id" });
    }
    Ok(Genesis {
        root_spki: facts.root_spki.clone(),
        next_root_hash: facts.next_root_hash,
        origin: config.note.verifier().name().to_owned(),
        log_vkey: config.note.vkey(),
        currency: facts.currency.clone(),
        author_key: public.wire(),
        author_id: public.node_id(),
        author_role: config.role.number(),
    })
}

fn first_entry(config: &LogConfig, genesis: Genesis) -> Result<NewEntry, LogError> {
    let mut entry = NewEntry::new(Serial::from_bytes([0; 16]), genesis);
    match (&config.genesis.root, config.role) {
        (Some(root), Role::Router) => entry.co_signers.push((Role::Root, root.clone())),
        (None, Role::Router) => return Err(LogError::RootKeyNeeded),
        _ => {}
    }
    Ok(entry)
}

/// Cuts off what was never committed.
fn writer_at(
    config: &LogConfig,
    origin: Hash,
    tail: &Tail,
    disk: Arc<dyn Disk>,
) -> Result<SegmentWriter, LogError> {
    if let Some(SegmentFile { path, .. }) = &tail.dropped {
        disk.remove_file(path).map_err(LogError::store("delete", path))?;
        sync_folder(&*disk, &config.dir.join(segment::FOLDER))?;
    }
    let mut writer = SegmentWriter::new(&config.dir, origin, config.options.segment_bytes, disk);
    if let Some(last) = tail.segments.last() {
        writer.resume(last, tail.last)?;
    }
    Ok(writer)
}
