//! What members tell the dealer.

use std::collections::BTreeSet;

use counterfoil_session::RouterLane;
use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::{ManifestId, NodeId};
use counterfoil_spec::message::{NodeHello, Progress};

/// One stay of a node: it tells a lane from the one after it.
pub(crate) type Visit = u64;

/// What members tell.
#[derive(Debug)]
pub(crate) enum Event {
    /// A node said Hello.
    Joined(Box<(RouterLane, NodeHello)>, Visit),
    /// A node sent a consent token.
    Answered(NodeId, Visit),
    /// A node is fetching: so much it has by now.
    Fetching(NodeId, Visit, Progress),
    /// A node may be asked for this, under a consent token that is in force.
    Ready(NodeId, Visit, Vec<Range>),
    /// A node does not take what was proposed to it of a model; what it hosts of it already stays.
    Declined(NodeId, Visit, ManifestId),
    /// A node sent a consent token that was refused, and for what.
    Refused(NodeId, Visit, Unfit),
    /// A node hosts nothing of a model any more: it withdrew its consent.
    Withdrew(NodeId, Visit, ManifestId),
    /// What a node's operator allows has changed: it may be asked again, for models of these names.
    Changed(NodeId, Visit, Option<Vec<String>>),
    /// A node takes no more orders, and whether it said so.
    Left(NodeId, Visit, Leave),
}

/// For what a refused consent token was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It says for these models.
    Models(BTreeSet<ManifestId>),
    /// It does not say, or one for any other model would be refused as well.
    All,
}

/// How a node leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It said so.
    InOrder,
    /// Its lane broke; it may come back.
    Lost,
}
