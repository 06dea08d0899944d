//! How far fetching is, told to whoever watches the node.

use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::message::Progress;
use tokio::sync::watch;

use crate::status::{FetchStatus, Status};

/// Tells how far the shards of one model are.
#[derive(Debug, Clone)]
pub(crate) struct Gauge {
    manifest: ManifestId,
    status: watch::Sender<Status>,
}

impl Gauge {
    pub(crate) const fn new(manifest: ManifestId, status: watch::Sender<Status>) -> Self {
        Self { manifest, status }
    }

    /// So many shards of so many, and bytes of so many, are here.
    pub(crate) fn begin(&self, (shards, wanted_shards): (usize, usize), (bytes, wanted_bytes): (u64, u64)) {
        self.change(true, |own| {
            *own = FetchStatus {
                manifest: self.manifest,
                shards,
                wanted_shards,
                bytes,
                wanted_bytes,
                trouble: own.trouble.take(),
            };
        });
    }

    /// A shard is whole.
    pub(crate) fn shard(&self) {
        self.change(true, |own| {
            own.shards += 1;
            own.trouble = None;
        });
    }

    /// So many bytes came. Whoever watches is not woken for them.
    pub(crate) fn bytes(&self, bytes: u64) {
        self.change(false, |own| own.bytes += bytes);
    }

    /// What had begun to come was found to be less.
    pub(crate) fn corrected(&self, before: u64, after: u64) {
        self.change(false, |own| own.bytes = (own.bytes + after).saturating_sub(before));
    }

    /// What is in the way.
    pub(crate) fn trouble(&self, why: &str) {
        tracing::warn!(manifest = %self.manifest, why, "fetching is held up");
        self.change(true, |own| own.trouble = Some(why.to_owned()));
    }

    /// Nothing more is to come.
    pub(crate) fn done(&self) {
        self.change(true, |own| own.trouble = None);
    }

    fn change(&self, tell: bool, with: impl FnOnce(&mut FetchStatus)) {
        self.status.send_if_modified(|status| {
            let at = status.fetches.iter().position(|own| own.manifest == self.manifest);
            let at = at.unwrap_or_else(|| {
                status.fetches.push(FetchStatus::of(self.manifest));
                status.fetches.len() - 1
            });
            if let Some(own) = status.fetches.get_mut(at) {
                with(own);
            }
            tell
        });
    }
}

impl FetchStatus {
    /// The same as the router is told it.
    pub(crate) fn progress(&self) -> Progress {
        let wide = |n| u64::try_from(n).unwrap_or(u64::MAX);
        Progress {
            manifest: self.manifest,
            shards: wide(self.shards),
            wanted_shards: wide(self.wanted_shards),
            bytes: self.bytes,
            wanted_bytes: self.wanted_bytes,
        }
    }
}
