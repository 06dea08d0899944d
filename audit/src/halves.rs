//! Holds a router's log and a node's against each other: every receipt stands in both, and neither contradicts the heads that the
//! other kept of it.
//!
//! Both logs are taken as their folders are; whether each is whole, and whose it is, is [`crate::verify`]'s to judge first.
//! Memory does not grow with the logs.

mod evidence;
mod heads;
mod receipts;

use std::path::{Path, PathBuf};

use counterfoil_identity::VerifyKey;
use counterfoil_spec::entry::{Leaf, Role};
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::payload::{Genesis, NodeEnrolled, Payload};
use counterfoil_spec::rule::{Fault, FaultKind};
use counterfoil_spec::time::Millis;
use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::error::LogError;
use crate::glance::glance;
use crate::log_keys::LogKeys;
use crate::merkle::Head;
use crate::note::{Note, NoteError, NoteVerifier};
use crate::reader::LogReader;
use crate::sorted::MAX_HELD_BYTES;
use crate::trust::TrustedKeys;
use crate::verify::MAX_FAULTS;

pub use evidence::{Evidence, MAX_EVIDENCE_BYTES, NoEvidence, Parting, Proven};

use heads::Kept;
use receipts::{Receipts, Side, Times};

/// One of two logs.
#[derive(Debug, Clone)]
pub struct Half {
    dir: PathBuf,
    key: NoteVerifier,
    /// All keys that its entries name, where the verifier told.
    keys: Option<LogKeys>,
    genesis: Genesis,
}

/// A fault of one of the two logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The log that has the entry of the fault's index.
    pub log: String,
    /// What is wrong.
    #[serde(flatten)]
    pub fault: Fault,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Compared {
    /// Whether there is no fault.
    pub ok: bool,
    /// The router's log.
    pub router: String,
    /// The node's.
    pub node: String,
    /// Receipts that stand in both, the same in each.
    pub matched: u64,
    /// Receipts of the node's log that may have stood among entries which the router's removed; whether they did nobody can see.
    pub removed: u64,
    /// Heads of the router's log that the node's keeps, and that it does not contradict.
    pub router_heads: u64,
    /// The same of the node's log.
    pub node_heads: u64,
    /// In the order of the checks.
    pub faults: Vec<Named>,
    /// Faults beyond [`MAX_FAULTS`].
    pub faults_left_out: u64,
    /// What can be shown to others.
    #[serde(skip)]
    pub evidence: Vec<Evidence>,
}

/// Why two logs cannot be held against each other.
#[derive(Debug, thiserror::Error)]
pub enum HalvesError {
    /// A log that does not begin with genesis.
    #[error("{0} does not begin with a genesis entry")]
    NoGenesis(String),
    /// The key in genesis, or the one that was pinned.
    #[error("the verifier key of {0}: {1}")]
    Key(String, NoteError),
    /// Two routers' or two nodes' logs.
    #[error("receipts have a half in a router's log and one in a node's; {0} and {1} are of one kind")]
    OneKind(String, String),
    /// A log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Half {
    /// A log by its folder; `vkey` is its key where that was pinned.
    ///
    /// # Errors
    /// [`HalvesError`].
    pub fn open(dir: &Path, vkey: Option<&str>) -> Result<Self, HalvesError> {
        let shown = || dir.display().to_string();
        let reader = LogReader::open(dir)?;
        let first = if reader.size() == 0 { None } else { Some(reader.entry(0)?.1.payload) };
        let Some(Payload::Genesis(genesis)) = first else { return Err(HalvesError::NoGenesis(shown())) };
        let vkey = vkey.unwrap_or(&genesis.log_vkey);
        let key = vkey.parse().map_err(|e| HalvesError::Key(shown(), e))?;
        Ok(Self { dir: dir.to_owned(), key, keys: None, genesis })
    }

    /// The same with the keys that the verifier found in it.
    #[must_use]
    pub fn with_keys(self, keys: Option<LogKeys>) -> Self {
        Self { keys, ..self }
    }

    /// All its keys: a head may have been signed by any of them, each in its time.
    #[must_use]
    pub fn trusted(&self) -> TrustedKeys {
        let all = self.keys.iter().flat_map(LogKeys::all).map(|key| key.vkey.clone());
        TrustedKeys::of(std::iter::once(self.key.clone()).chain(all))
            .unwrap_or_else(|| TrustedKeys::one(self.key.clone()))
    }

    /// The head in a note that the keys of its size signed.
    fn signed(&self, note: &str) -> Option<Head> {
        let Some(keys) = self.keys.as_ref().filter(|keys| keys.find(&self.key).is_some()) else {
            return Checkpoint::open(note.as_bytes(), &self.key).ok().map(|seen| seen.head);
        };
        let note = Note::parse(note.as_bytes()).ok()?;
        let seen = Checkpoint::parse(&note.text).ok().filter(|seen| seen.origin == self.origin())?;
        keys.check(&note, seen.head.size).ok().map(|()| seen.head)
    }

    /// The log's origin.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.key.name()
    }

    /// Its verifier key.
    #[must_use]
    pub const fn key(&self) -> &NoteVerifier {
        &self.key
    }

    /// Whether it is a router's.
    #[must_use]
    pub fn is_routers(&self) -> bool {
        self.genesis.author_role == Role::Router.number()
    }

    /// The key of whoever writes it.
    #[must_use]
    pub fn author(&self) -> Option<VerifyKey> {
        VerifyKey::from_wire(self.genesis.author_key).ok()
    }
}

/// Holds two logs against each other, in any order. A receipt of the router's log that is not due by `now` is waited for in the
/// node's for some seconds, because it may be on its way.
///
/// # Errors
/// [`HalvesError`]: only where nothing could be judged.
pub fn compare(one: &Half, other: &Half, now: Millis) -> Result<Compared, HalvesError> {
    let (router, node) = match (one.is_routers(), other.is_routers()) {
        (true, false) => (one, other),
        (false, true) => (other, one),
        _ => {
            let name = |half: &Half| half.dir.display().to_string();
            return Err(HalvesError::OneKind(name(one), name(other)));
        }
    };
    let mut pass = Pass {
        router,
        node,
        node_id: node.genesis.author_id,
        receipts: Receipts::new(MAX_HELD_BYTES),
        of_router: Kept::new(MAX_HELD_BYTES),
        of_node: Kept::new(MAX_HELD_BYTES),
        out: Compared { router: router.origin().into(), node: node.origin().into(), ..Compared::default() },
        enrolled: None,
        routers_time: 0,
        removed_to: None,
    };
    pass.read()?;
    pass.parties();
    let Pass { receipts, of_router, of_node, mut out, routers_time, removed_to, .. } = pass;
    let times = Times {
        now,
        router: routers_time,
        removed_to: removed_to.map_or(Ok(None), |end| removed(router, end))?,
    };
    receipts.finish((router, node), times, &mut out)?;
    out.router_heads = of_router.finish((router, node), &mut out)?;
    out.node_heads = of_node.finish((node, router), &mut out)?;
    out.ok = out.faults.is_empty();
    Ok(out)
}

struct Pass<'a> {
    router: &'a Half,
    node: &'a Half,
    node_id: NodeId,
    receipts: Receipts,
    /// Heads of the router's log that the node's keeps.
    of_router: Kept,
    of_node: Kept,
    out: Compared,
    /// The key under which the node enrolled its log last.
    enrolled: Option<(u64, NodeEnrolled)>,
    /// The time of the router's last entry.
    routers_time: u64,
    /// Up to which entry the router's log names old ones that it removes.
    removed_to: Option<u64>,
}

/// Until when receipts were made that the router may have removed: the time of the first entry that its last prune spares.
fn removed(router: &Half, end: u64) -> Result<Option<Millis>, LogError> {
    Ok(LogReader::open(&router.dir)?.kept_from(end)?.map(|(_, body)| body.time))
}

impl Pass<'_> {
    /// Reads the router's log, the node's, and then what came to each meanwhile: an entry that both were being given is not taken for
    /// missing in the one that was read first.
    fn read(&mut self) -> Result<(), LogError> {
        let mut routers = LogReader::open(&self.router.dir)?;
        let first = routers.size();
        self.routers(&routers, 0, Side::Router)?;
        let mut nodes = LogReader::open(&self.node.dir)?;
        let second = nodes.size();
        self.nodes(&nodes, 0, Side::Node)?;
        routers.refresh()?;
        self.routers(&routers, first, Side::RouterLater)?;
        nodes.refresh()?;
        self.nodes(&nodes, second, Side::NodeLater)
    }

    fn routers(&mut self, reader: &LogReader, from: u64, side: Side) -> Result<(), LogError> {
        reader.stream(from, reader.size(), |index, leaf| {
            let Some(seen) = glance(leaf) else { return Ok(()) };
            self.routers_time = self.routers_time.max(seen.time.0);
            match payload(seen.kind, leaf) {
                Some(Payload::NodeEnrolled(e)) if e.node == self.node_id => {
                    self.enrolled = Some((index, e));
                    Ok(())
                }
                Some(Payload::Work(work)) => {
                    self.receipts.add(side, index, &work.receipt, Some(&self.node_id))
                }
                Some(Payload::Prune(prune)) => {
                    self.removed_to = Some(prune.end);
                    Ok(())
                }
                Some(Payload::PeerAnchor(anchor)) if !side.is_later() => {
                    self.of_node.add(index, &anchor, self.node)
                }
                _ => Ok(()),
            }
        })
    }

    fn nodes(&mut self, reader: &LogReader, from: u64, side: Side) -> Result<(), LogError> {
        reader.stream(from, reader.size(), |index, leaf| {
            let Some(seen) = glance(leaf) else { return Ok(()) };
            match payload(seen.kind, leaf) {
                Some(Payload::Work(work)) => self.receipts.add(side, index, &work.receipt, None),
                Some(Payload::PeerAnchor(anchor)) if !side.is_later() => {
                    self.of_router.add(index, &anchor, self.router)
                }
                _ => Ok(()),
            }
        })
    }

    /// Whether the two are each other's at all.
    fn parties(&mut self) {
        let (node, router) = (self.node, self.router);
        if node.genesis.root_spki != router.genesis.root_spki {
            let detail = "the two logs are of two networks";
            self.out.name(node.origin(), Fault::at(FaultKind::WrongParty, 0, detail));
        }
        match self.enrolled.take() {
            None => {
                let detail = format!("{} does not enrol node {}", router.origin(), self.node_id);
                self.out.name(node.origin(), Fault::at(FaultKind::UnknownKey, 0, detail));
            }
            Some((index, e)) if e.log_vkey != node.key.to_string() => {
                let detail = format!("the node enrolled its log as {}, not as {}", e.log_vkey, node.key);
                self.out.name(router.origin(), Fault::at(FaultKind::OriginNotPinned, index, detail));
            }
            Some(_) => {}
        }
    }
}

impl Compared {
    fn name(&mut self, log: &str, fault: Fault) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Named { log: log.to_owned(), fault });
        } else {
            self.faults_left_out += 1;
        }
    }
}

/// What an entry says, where it is of a kind that is looked at here. One that cannot be read was named before.
fn payload(kind: u16, leaf: &[u8]) -> Option<Payload> {
    const LOOKED_AT: [u16; 4] = [NODE_ENROLLED, WORK, PEER_ANCHOR, PRUNE];
    if !LOOKED_AT.contains(&kind) {
        return None;
    }
    Leaf::read(leaf).ok().map(|(_, body)| body.payload)
}

/// Kinds, as `spec/registry.json` numbers them.
const NODE_ENROLLED: u16 = 5;
const WORK: u16 = 21;
const PEER_ANCHOR: u16 = 24;
const PRUNE: u16 = 30;
