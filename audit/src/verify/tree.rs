//! Compares the tree over the segments' leaves with the published hash tiles and the signed root, and says which of
//! them is wrong.
//!
//! Two trees are grown where leaves and tiles disagree: A over the leaves that the segments hold, B over the leaf
//! hashes that the tiles hold. The signed root is A's, then the tiles are wrong; or B's, then the leaves are; or
//! neither's. Until the first disagreement there is only A.

use counterfoil_spec::ids::Hash;
use counterfoil_spec::rule::{Fault, FaultKind};

use super::findings::{Findings, MAX_FAULTS, fault};
use crate::error::LogError;
use crate::merkle::{Frontier, Head};
use crate::source::Files;
use crate::tile::{
    MAX_HASH_TILE_BYTES, MAX_TILE_LEVEL, TILE_WIDTH, TileId, TileKind, hash_at, nodes_at, tile_of,
};

/// The files of one tile: the whole one, or partial ones, or both.
#[derive(Default)]
struct Loaded {
    index: Option<u64>,
    files: Vec<(TileId, Vec<u8>)>,
}

/// A leaf that differs from its tile.
struct Suspect {
    index: u64,
    segment: usize,
}

#[derive(Default)]
struct Side {
    tree: Frontier,
    /// Tiles that differ from this tree.
    wrong: Vec<Fault>,
    at_checkpoint: Option<Hash>,
    at_state: Option<Hash>,
    at_remembered: Option<Hash>,
}

/// See the module.
pub(super) struct TreeCheck {
    files: Files,
    published: u64,
    checkpoint: Option<Head>,
    state: Option<Head>,
    /// One that was verified earlier.
    remembered: Option<Head>,
    levels: Vec<Loaded>,
    a: Side,
    b: Option<Side>,
    suspects: Vec<Suspect>,
    /// Some leaf is known neither from a segment nor from a tile: no root can be computed.
    broken: bool,
    commit_faults: Vec<Fault>,
}

impl TreeCheck {
    pub(super) fn new(files: Files, published: u64, heads: [Option<Head>; 3]) -> Self {
        let [checkpoint, state, remembered] = heads;
        let levels = (0..=MAX_TILE_LEVEL).map(|_| Loaded::default()).collect();
        let mut check = Self {
            files,
            published,
            checkpoint,
            state,
            remembered,
            levels,
            a: Side::default(),
            b: None,
            suspects: Vec::new(),
            broken: false,
            commit_faults: Vec::new(),
        };
        check.note_roots();
        check
    }

    /// The hash that the tiles hold for a leaf.
    pub(super) fn expected(&mut self, index: u64, findings: &mut Findings) -> Result<Option<Hash>, LogError> {
        self.load(0, index, findings)?;
        let place = index % TILE_WIDTH;
        let files = self.levels.first().map(|l| l.files.as_slice()).unwrap_or_default();
        Ok(files.iter().rev().find_map(|(_, bytes)| hash_at(bytes, place)))
    }

    /// The next leaf, as a segment holds it and as the tiles do.
    pub(super) fn push(
        &mut self,
        leaf: Hash,
        expected: Option<Hash>,
        segment: usize,
        findings: &mut Findings,
    ) -> Result<(), LogError> {
        if self.broken {
            return Ok(());
        }
        let index = self.a.tree.size();
        let theirs = expected.unwrap_or(leaf);
        if theirs != leaf {
            if self.suspects.len() < MAX_FAULTS {
                self.suspects.push(Suspect { index, segment });
            }
            if self.b.is_none() {
                let tree = self.a.tree.clone();
                // Up to here the two are one; what was found wrong with tiles is wrong for both.
                let wrong = self.a.wrong.clone();
                let Side { at_checkpoint, at_state, at_remembered, .. } = self.a;
                self.b = Some(Side { tree, wrong, at_checkpoint, at_state, at_remembered });
            }
        }
        // Tiles of higher levels are needed as soon as a node of theirs is complete.
        let done = index + 1;
        for level in 1..=MAX_TILE_LEVEL {
            let nodes = nodes_at(level, done);
            if nodes == 0 || nodes_at(level, index) == nodes {
                break;
            }
            self.load(level, nodes - 1, findings)?;
        }
        grow(&mut self.a, leaf, &self.levels);
        if let Some(b) = &mut self.b {
            grow(b, theirs, &self.levels);
        }
        self.note_roots();
        Ok(())
    }

    /// Leaves that no segment gives any more.
    pub(super) fn lose(&mut self, until: u64, findings: &mut Findings) -> Result<(), LogError> {
        while self.a.tree.size() < until && !self.broken {
            match self.expected(self.a.tree.size(), findings)? {
                Some(hash) => self.push(hash, Some(hash), 0, findings)?,
                None => self.broken = true,
            }
        }
        Ok(())
    }

    /// Whether no root can be computed any more.
    pub(super) const fn broken(&self) -> bool {
        self.broken
    }

    /// A commit frame's claim.
    pub(super) fn commit(&mut self, head: &Head, file: &str, offset: u64) {
        let known = |side: &Side| side.tree.size() == head.size && side.tree.root() == head.root;
        if self.broken || known(&self.a) || self.b.as_ref().is_some_and(known) {
            return;
        }
        if self.commit_faults.len() < MAX_FAULTS {
            let detail =
                format!("byte {offset}: the first {} entries do not give the commit's root", head.size);
            self.commit_faults.push(fault(FaultKind::InconsistentTree, None, file, detail));
        }
    }

    fn note_roots(&mut self) {
        let (checkpoint, state, remembered) = (self.checkpoint, self.state, self.remembered);
        for side in [Some(&mut self.a), self.b.as_mut()].into_iter().flatten() {
            let size = side.tree.size();
            if checkpoint.is_some_and(|h| h.size == size) {
                side.at_checkpoint = Some(side.tree.root());
            }
            if state.is_some_and(|h| h.size == size) {
                side.at_state = Some(side.tree.root());
            }
            if remembered.is_some_and(|h| h.size == size) {
                side.at_remembered = Some(side.tree.root());
            }
        }
    }

    /// Reads the files of the tile that a node of a level is in, once for each tile.
    fn load(&mut self, level: u8, node: u64, findings: &mut Findings) -> Result<(), LogError> {
        let index = node / TILE_WIDTH;
        let Some(loaded) = self.levels.get_mut(usize::from(level)) else { return Ok(()) };
        if loaded.index == Some(index) {
            return Ok(());
        }
        let kind = TileKind::Hashes(level);
        loaded.index = Some(index);
        let count = nodes_at(level, self.published);
        loaded.files = self.files.tile((kind, index), count, MAX_HASH_TILE_BYTES)?;
        let mut short = Vec::new();
        loaded.files.retain(|(id, bytes)| {
            let right = bytes.len() == usize::from(id.width) * 32;
            if !right {
                short.push(id.path());
            }
            right
        });
        for path in short {
            findings.file(FaultKind::TileMismatch, &path, "not as long as its name says");
        }
        if count > index * TILE_WIDTH {
            let wanted = tile_of(kind, index * TILE_WIDTH, count);
            if !loaded.files.iter().any(|(id, _)| id.width >= wanted.width) {
                findings.file(FaultKind::TileMissing, &wanted.path(), "no file has its hashes");
            }
        }
        Ok(())
    }

    /// Says which side was meant, and what is wrong on the other.
    pub(super) fn finish(
        self,
        arbiter: Option<Head>,
        committed: Head,
        name: impl Fn(usize) -> String,
    ) -> Verdict {
        let arbiter = arbiter.filter(|h| h.size <= self.a.tree.size()).unwrap_or(committed);
        let root_at = |side: &Side| {
            let checkpoint =
                side.at_checkpoint.filter(|_| self.checkpoint.is_some_and(|h| h.size == arbiter.size));
            let state = side.at_state.filter(|_| self.state.is_some_and(|h| h.size == arbiter.size));
            let end = Some(side.tree.root()).filter(|_| side.tree.size() == arbiter.size);
            checkpoint.or(state).or(end)
        };
        let a_right = root_at(&self.a) == Some(arbiter.root);
        let b_right = self.b.as_ref().is_some_and(|b| root_at(b) == Some(arbiter.root));
        let mut faults = self.commit_faults;
        let leaves = self.suspects.iter().map(|s| {
            let detail = "the leaf is not the one that the tree commits to";
            fault(FaultKind::LeafHashMismatch, Some(s.index), &name(s.segment), detail)
        });
        let mut chosen = self.a;
        match self.b {
            Some(b) if b_right && !a_right => {
                faults.extend(leaves);
                chosen = b;
            }
            _ if a_right || self.broken => {}
            _ => {
                let detail =
                    format!("the first {} entries do not give the root that was signed", arbiter.size);
                faults.push(fault(FaultKind::InconsistentTree, None, crate::checkpoint::FILE, detail));
                faults.extend(leaves);
            }
        }
        faults.append(&mut chosen.wrong);
        if let (Some(state), Some(root), false) = (self.state, chosen.at_state, self.broken)
            && state.root != root
        {
            let detail = format!("the first {} entries do not give its root", state.size);
            faults.push(fault(FaultKind::InconsistentTree, None, crate::state::FILE, detail));
        }
        if let (Some(remembered), Some(root), false) = (self.remembered, chosen.at_remembered, self.broken)
            && remembered.root != root
        {
            let detail = format!("the first {} entries had another root", remembered.size);
            faults.push(fault(FaultKind::Fork, None, crate::checkpoint::FILE, detail));
        }
        Verdict { faults, root: chosen.tree.root(), tree_size: chosen.tree.size() }
    }
}

/// What came of it.
pub(super) struct Verdict {
    pub(super) faults: Vec<Fault>,
    pub(super) root: Hash,
    pub(super) tree_size: u64,
}

/// Appends a leaf to one side and holds the tiles against every node that it completes.
fn grow(side: &mut Side, leaf: Hash, levels: &[Loaded]) {
    let Side { tree, wrong, .. } = side;
    tree.push(leaf, |level, node, hash| {
        if level % 8 != 0 {
            return;
        }
        let loaded = usize::try_from(level / 8).ok().and_then(|l| levels.get(l));
        let Some(loaded) = loaded.filter(|l| l.index == Some(node / TILE_WIDTH)) else { return };
        for (id, bytes) in &loaded.files {
            if hash_at(bytes, node % TILE_WIDTH).is_some_and(|h| h != *hash) && wrong.len() < MAX_FAULTS {
                let index = (level == 0).then_some(node);
                let detail = format!("hash {} is not that of the tree", node % TILE_WIDTH);
                wrong.push(fault(FaultKind::TileMismatch, index, &id.path(), detail));
            }
        }
    });
}
