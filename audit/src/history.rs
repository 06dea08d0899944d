//! The committed entries of a log that opens: read and checked from the first on, or, in a long log, from the right edge of
//! what its last checkpoint covers, with the rest checked behind the start.
//!
//! What is read at first hangs on the checkpoint alone: its signature, the hash tiles at its right edge that give its root,
//! and the entries from the last whole tile on. Where any of that is missing or wrong, everything is read at once.

use std::path::Path;
use std::sync::Arc;

use counterfoil_spec::entry::Leaf;
use counterfoil_spec::ids::{Hash, Kid};
use counterfoil_spec::payload::{Genesis, Payload};

use crate::chain::ChainTip;
use crate::checkpoint::{self, Checkpoint};
use crate::disk::Disk;
use crate::error::LogError;
use crate::glance::{chain_hash, glance};
use crate::gone::Gone;
use crate::kinds::{KEY_ROTATION, LOG_KEY_RETIRED};
use crate::log_keys::LogKeys;
use crate::merkle::{Frontier, Head};
use crate::note::{MAX_NOTE_BYTES, Note, NoteSigner, NoteVerifier};
use crate::scan::{self, FrameReader, Position, Tail, Visit, wide};
use crate::segment::{self, Frame, HEADER_BYTES, SegmentFile};
use crate::stage::{Mode, TileStage};
use crate::state;
use crate::succession::{Lines, rotates};
use crate::tile::{TILE_WIDTH, read_limited};
use crate::writer::LogConfig;

/// What is known of a log before it is read.
pub(crate) struct Known<'a> {
    pub(crate) config: &'a LogConfig,
    pub(crate) author: Kid,
    pub(crate) genesis: Genesis,
    pub(crate) disk: &'a Arc<dyn Disk>,
}

impl Known<'_> {
    fn dir(&self) -> &Path {
        &self.config.dir
    }

    fn origin(&self) -> Hash {
        segment::origin_hash(self.config.note.verifier().name())
    }
}

/// The heads that were handed to the signing key, as far as the folder knows.
pub(crate) struct Signed {
    state: Option<Head>,
    /// The published checkpoint and its note; its signature is the log's own.
    pub(crate) checkpoint: Option<(Head, String)>,
    /// The configured key alone signed that.
    by_one: bool,
}

impl Signed {
    pub(crate) fn read(config: &LogConfig, at_hand: &[NoteSigner]) -> Result<Self, LogError> {
        let read = |name: &str, limit| {
            let path = config.dir.join(name);
            read_limited(&path, limit).map_err(LogError::store("read", &path))
        };
        let state = match read(state::FILE, state::MAX_STATE_BYTES)? {
            Some(bytes) => {
                let signed = state::parse(&bytes).filter(|s| s.origin == config.note.verifier().name());
                let signed = signed
                    .ok_or_else(|| LogError::corrupt(state::FILE, 0, "not a signed state of this log"))?;
                Some(signed.head)
            }
            None => None,
        };
        let checkpoint = match read(checkpoint::FILE, MAX_NOTE_BYTES)? {
            Some(note) => {
                let mut opened = Checkpoint::open(&note, config.note.verifier());
                for signer in at_hand {
                    opened = opened.or_else(|_| Checkpoint::open(&note, signer.verifier()));
                }
                match opened {
                    Ok(checkpoint) => Some((checkpoint.head, String::from_utf8_lossy(&note).into_owned())),
                    // It is written again; what it must not be behind is in the state.
                    Err(_) if state.is_some() => None,
                    Err(e) => return Err(LogError::corrupt(checkpoint::FILE, 0, e.to_string())),
                }
            }
            None => None,
        };
        let by_one = checkpoint.as_ref().is_some_and(|(_, note)| by_one(note, config.note.verifier()));
        Ok(Self { state, checkpoint, by_one })
    }

    pub(crate) fn heads(&self) -> impl Iterator<Item = Head> {
        self.state.into_iter().chain(self.checkpoint.as_ref().map(|(head, _)| *head))
    }
}

/// Whether a note bears the line of one key and no other of its name.
fn by_one(note: &str, key: &NoteVerifier) -> bool {
    let Ok(note) = Note::parse(note.as_bytes()) else { return false };
    let of_log = note.signatures.iter().filter(|s| s.name == key.name()).count();
    of_log == 1 && key.verify(&note).is_ok()
}

/// What is gathered while the committed entries are read for the first time.
pub(crate) struct History {
    pub(crate) stage: TileStage,
    pub(crate) tip: ChainTip,
    /// The log's own keys, and the entries that tell how they followed each other.
    pub(crate) keys: Arc<LogKeys>,
    pub(crate) lines: Lines,
    /// Where reading ended.
    pub(crate) at: Position,
    /// What is still to be checked.
    pub(crate) behind: Option<Behind>,
    /// Entries before this one are passed over.
    from: u64,
    /// The author has written one of those that were read.
    tip_found: bool,
    /// Heads that were signed and whose tree was not met yet.
    expected: Vec<Head>,
    /// What was removed.
    pub(crate) gone: Gone,
}

/// Reads the committed entries, all of them or the last ones. Tiles are written again only once everything that is read was
/// found sound: until then they may be the better copy.
pub(crate) fn read(log: &Known<'_>, tail: &Tail, signed: &Signed) -> Result<History, LogError> {
    // Of a log whose key was ever changed all entries are read, as some of them say who signs. That it was not, the checkpoint says
    // that genesis' own key alone has signed.
    if let Some((checkpoint, _)) = &signed.checkpoint
        && signed.by_one
        && checkpoint.size > log.config.options.checked_at_open.max(TILE_WIDTH)
        && let Some(history) = read_edge(log, tail, signed, (checkpoint, Mode::Compare))
    {
        if !history.stage.differs {
            return Ok(history);
        }
        if let Some(history) = read_edge(log, tail, signed, (checkpoint, Mode::Repair)) {
            return Ok(history);
        }
    }
    let history = read_all(log, tail, signed, Mode::Compare)?;
    if history.stage.differs { read_all(log, tail, signed, Mode::Repair) } else { Ok(history) }
}

fn read_all(log: &Known<'_>, tail: &Tail, signed: &Signed, mode: Mode) -> Result<History, LogError> {
    let stage = TileStage::new(log.dir(), log.disk.clone(), mode);
    let mut history = History::new(signed, log.config.note.verifier(), (stage, 0));
    history.walk(log, tail, Position::default())?;
    match history.expected.iter().max_by_key(|h| h.size) {
        Some(missed) => Err(LogError::SignedStateDiffers { size: missed.size }),
        None => history.gone.check().map(|()| history),
    }
}

/// Reads from the last whole tile before the checkpoint's end on. `None` for whatever reason that does not lead to every
/// head that was signed.
fn read_edge(
    log: &Known<'_>,
    tail: &Tail,
    signed: &Signed,
    (checkpoint, mode): (&Head, Mode),
) -> Option<History> {
    let from = (checkpoint.size - 1) / TILE_WIDTH * TILE_WIDTH;
    let mut lines = Lines::default();
    check_first(log, tail.segments.first()?, &mut lines).ok()?;
    let stage = TileStage::at(TileStage::new(log.dir(), log.disk.clone(), mode), from).ok()?;
    let (tree, committed) = (stage.tree.clone(), tail.head.size);
    let behind = Behind { tree, segments: tail.segments.clone(), committed };
    let mut history = History::new(signed, log.config.note.verifier(), (stage, from));
    history.lines = lines;
    let segment = tail.segments.iter().rev().find(|s| s.first <= from)?;
    history.walk(log, tail, Position { index: segment.first, segment: segment.first, offset: 0 }).ok()?;
    history.behind = Some(behind);
    //= spec/audit-log.md#removal
    //# A writer that finds a `prune` among the entries that it reads at its start MUST read all others too before it appends, since what it names may
    //# be among them.
    let whole = history.tip_found && history.expected.is_empty() && history.gone.prunes.is_empty();
    whole.then_some(history)
}

/// Checks that the first entry is the genesis that the configuration makes, with the configured key as the log's.
fn check_first(log: &Known<'_>, segment: &SegmentFile, lines: &mut Lines) -> Result<(), LogError> {
    let file = scan::open(segment)?;
    scan::check_header(&file, segment, Some(&log.origin()))?;
    let mut frames = FrameReader::new(file, wide(HEADER_BYTES), scan::STREAM_CHUNK_BYTES);
    match frames.next().map_err(LogError::store("read", &segment.path))? {
        Some((_, Frame::Entry { leaf, intact: true })) => {
            lines.see(0, leaf);
            let first = check_genesis(leaf, &log.genesis)?;
            let own = first == *log.config.note.verifier();
            if own { Ok(()) } else { Err(LogError::GenesisDiffers { what: "log key" }) }
        }
        _ => Err(LogError::corrupt(&segment.name, wide(HEADER_BYTES), "no entry")),
    }
}

/// The key that genesis names. Which of the keys at hand sign is known once all entries are read.
fn check_genesis(leaf: &[u8], want: &Genesis) -> Result<NoteVerifier, LogError> {
    let (_, body) = Leaf::read(leaf).map_err(|source| LogError::BadEntry { index: 0, source })?;
    let Payload::Genesis(found) = body.payload else {
        return Err(LogError::GenesisDiffers { what: "kind of first entry" });
    };
    let differs = [
        (found.root_spki != want.root_spki, "root key"),
        (found.origin != want.origin, "origin"),
        (found.author_key != want.author_key, "identity key"),
        (found.author_role != want.author_role, "author's role"),
    ];
    match differs.into_iter().find(|(differs, _)| *differs) {
        Some((_, what)) => Err(LogError::GenesisDiffers { what }),
        None => found.log_vkey.parse().map_err(|_| LogError::GenesisDiffers { what: "log key" }),
    }
}

impl History {
    fn new(signed: &Signed, own: &NoteVerifier, (stage, from): (TileStage, u64)) -> Self {
        let empty = Head { size: 0, root: Frontier::default().root() };
        let expected = signed.heads().filter(|head| *head != empty).collect();
        let (tip, at) = (ChainTip::new(), Position::default());
        let (keys, lines) = (Arc::new(LogKeys::found(own.clone())), Lines::default());
        Self {
            stage,
            tip,
            keys,
            lines,
            at,
            behind: None,
            from,
            tip_found: false,
            expected,
            gone: Gone::default(),
        }
    }

    /// What an entry says of the log's keys.
    fn keyed(&mut self, index: u64, kind: u16, leaf: &[u8]) -> Result<(), LogError> {
        if index == 0 || kind == KEY_ROTATION {
            self.lines.see(index, leaf);
        }
        if !matches!(kind, KEY_ROTATION | LOG_KEY_RETIRED) {
            return Ok(());
        }
        let (_, body) = Leaf::read(leaf).map_err(|source| LogError::BadEntry { index, source })?;
        Ok(Arc::make_mut(&mut self.keys).apply(index, &body.payload)?)
    }

    /// Notes that the tree has grown by a leaf.
    fn grown(&mut self) {
        let Self { stage, expected, .. } = self;
        expected.retain(|head| head.size != stage.tree.size() || head.root != stage.tree.root());
    }

    fn walk(&mut self, log: &Known<'_>, tail: &Tail, mut at: Position) -> Result<(), LogError> {
        let mut pass = Pass { history: self, log };
        scan::walk(&tail.segments, &log.origin(), &mut at, tail.head.size, &mut pass)?;
        self.at = at;
        Ok(())
    }
}

struct Pass<'a, 'b> {
    history: &'a mut History,
    log: &'a Known<'b>,
}

impl Visit for Pass<'_, '_> {
    fn leaf(&mut self, index: u64, leaf: &[u8]) -> Result<(), LogError> {
        let history = &mut *self.history;
        if index < history.from {
            return Ok(());
        }
        if index == 0 {
            history.keys = Arc::new(LogKeys::found(check_genesis(leaf, &self.log.genesis)?));
        }
        let glance = glance(leaf).ok_or_else(|| no_entry(index))?;
        history.keyed(index, glance.kind, leaf)?;
        if glance.author == self.log.author {
            history.tip.seq = glance.seq + 1;
            history.tip.prev = chain_hash(glance.body);
            history.tip_found = true;
        }
        history.tip.time = history.tip.time.max(glance.time);
        history.gone.leaf(index, glance.kind, leaf)?;
        history.stage.leaf(index, leaf)?;
        history.grown();
        Ok(())
    }

    fn removed(&mut self, index: u64, hash: Hash) -> Result<(), LogError> {
        let history = &mut *self.history;
        if index < history.from {
            return Ok(());
        }
        if index == 0 {
            return Err(LogError::GenesisDiffers { what: "first entry, which is gone," });
        }
        history.gone.removed += 1;
        history.stage.removed(index, hash)?;
        history.grown();
        Ok(())
    }

    fn commit(&mut self, head: &Head) -> bool {
        head.size < self.history.from || self.history.stage.commit(head)
    }
}

/// Entries that a log has under a signed root and that were not read when it opened.
pub(crate) struct Behind {
    /// The tree over them.
    tree: Frontier,
    segments: Vec<SegmentFile>,
    /// Entries that the segments had: the last of those here need not be the last of their group.
    committed: u64,
}

impl Behind {
    pub(crate) const fn entries(&self) -> u64 {
        self.tree.size()
    }

    /// Reads them and compares them and their tiles with the tree; writes again what differs.
    ///
    /// # Errors
    /// `Corrupt` for what is damaged, `Store`.
    pub(crate) fn check(&self, dir: &Path, origin: &Hash, disk: &Arc<dyn Disk>) -> Result<(), LogError> {
        let compared = self.compare(dir, origin, disk, Mode::Compare)?;
        if compared.differs {
            let tiles = self.compare(dir, origin, disk, Mode::Repair)?.repaired;
            tracing::warn!(tiles, "published tiles were missing or wrong and were written again");
        }
        Ok(())
    }

    fn compare(
        &self,
        dir: &Path,
        origin: &Hash,
        disk: &Arc<dyn Disk>,
        mode: Mode,
    ) -> Result<TileStage, LogError> {
        let stage = TileStage::new(dir, disk.clone(), mode);
        let mut found = Compared { stage, until: self.entries(), gone: Gone::default() };
        scan::walk(&self.segments, origin, &mut Position::default(), self.committed, &mut found)?;
        if found.stage.tree != self.tree {
            return Err(LogError::SignedStateDiffers { size: self.entries() });
        }
        found.gone.check()?;
        Ok(found.stage)
    }
}

struct Compared {
    stage: TileStage,
    until: u64,
    gone: Gone,
}

impl Visit for Compared {
    fn leaf(&mut self, index: u64, leaf: &[u8]) -> Result<(), LogError> {
        if index >= self.until {
            return Ok(());
        }
        let kind = glance(leaf).ok_or_else(|| no_entry(index))?.kind;
        if kind == LOG_KEY_RETIRED || (kind == KEY_ROTATION && rotates(leaf)) {
            let reason = format!(
                "entry {index} changes the log's key, and this head is not signed so; remove it, and it is made anew"
            );
            return Err(LogError::corrupt(checkpoint::FILE, 0, reason));
        }
        self.gone.leaf(index, kind, leaf)?;
        self.stage.leaf(index, leaf)
    }

    fn removed(&mut self, index: u64, hash: Hash) -> Result<(), LogError> {
        if index >= self.until {
            return Ok(());
        }
        self.gone.removed += 1;
        self.stage.removed(index, hash)
    }

    fn commit(&mut self, head: &Head) -> bool {
        head.size > self.until || self.stage.commit(head)
    }
}

fn no_entry(index: u64) -> LogError {
    LogError::corrupt(segment::FOLDER, 0, format!("entry {index} is not one"))
}
