//! Where entries come from: the segments of a log's folder, or the bundles that it published.

use counterfoil_spec::ids::Hash;

use super::decode::Batch;
use super::feed::Feed;
use super::findings::Findings;
use super::published::Bundles;
use crate::error::LogError;
use crate::merkle::Head;
use crate::segment;

pub(super) enum Supply {
    Segments(Feed),
    Bundles(Bundles),
}

impl Supply {
    /// Fills a batch; false where there is nothing left.
    pub(super) fn fill(&mut self, batch: &mut Batch, findings: &mut Findings) -> Result<bool, LogError> {
        match self {
            Self::Segments(feed) => feed.fill(batch, findings),
            Self::Bundles(bundles) => bundles.fill(batch, findings),
        }
    }

    /// What is committed, or what the checkpoint covers.
    pub(super) const fn head(&self) -> Head {
        match self {
            Self::Segments(feed) => feed.head,
            Self::Bundles(bundles) => bundles.head,
        }
    }

    /// The name of the file that an entry is in.
    pub(super) fn name(&self, segment: usize) -> String {
        match self {
            Self::Segments(feed) => {
                feed.segments.get(segment).map_or(segment::FOLDER, |s| s.name.as_str()).to_owned()
            }
            Self::Bundles(bundles) => bundles.name(segment),
        }
    }

    /// What the segments say of their origin.
    pub(super) const fn origin(&self) -> Option<Hash> {
        match self {
            Self::Segments(feed) => feed.origin,
            Self::Bundles(_) => None,
        }
    }

    /// Bytes after the last commit.
    pub(super) const fn torn_bytes(&self) -> u64 {
        match self {
            Self::Segments(feed) => feed.torn_bytes,
            Self::Bundles(_) => 0,
        }
    }

    /// The file that ends with them, and where they begin.
    pub(super) const fn torn(&self) -> Option<&(String, u64)> {
        match self {
            Self::Segments(feed) => feed.torn.as_ref(),
            Self::Bundles(_) => None,
        }
    }
}
