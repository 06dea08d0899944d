//! How long a node that consented may take until its experts are ready: as long as something keeps coming.

use std::collections::BTreeMap;
use std::time::Duration;

use counterfoil_spec::ids::ManifestId;
use tokio::time::Instant;

/// How long a node may fetch, or load, without getting any further.
const STALL: Duration = Duration::from_secs(120);

/// What a node was promised to be ready for, by model.
#[derive(Debug, Default)]
pub(super) struct Waits {
    open: BTreeMap<ManifestId, Wait>,
}

#[derive(Debug)]
struct Wait {
    /// Shards and bytes that were at hand when it was last heard of.
    had: (u64, u64),
    until: Instant,
}

impl Waits {
    /// It consented; from here on it is waited for.
    pub(super) fn begin(&mut self, manifest: ManifestId, now: Instant) {
        self.open.entry(manifest).or_insert(Wait { had: (0, 0), until: now + STALL });
    }

    /// It said how many shards and bytes it has. Saying the same again gains no time.
    pub(super) fn heard(&mut self, manifest: ManifestId, has: (u64, u64), now: Instant) {
        if let Some(wait) = self.open.get_mut(&manifest)
            && wait.had != has
        {
            *wait = Wait { had: has, until: now + STALL };
        }
    }

    /// It is ready, or hosts nothing of it after all.
    pub(super) fn end(&mut self, manifest: &ManifestId) {
        self.open.remove(manifest);
    }

    /// Whether it consented to a model and is not ready for it.
    pub(super) fn has(&self, manifest: &ManifestId) -> bool {
        self.open.contains_key(manifest)
    }

    /// When the first of them is over.
    pub(super) fn next(&self) -> Option<Instant> {
        self.open.values().map(|wait| wait.until).min()
    }

    /// The models that are not waited for any longer; each is given once.
    pub(super) fn over(&mut self, now: Instant) -> Vec<ManifestId> {
        let over = self.open.iter().filter(|(_, wait)| wait.until <= now).map(|(manifest, _)| *manifest);
        let over: Vec<ManifestId> = over.collect();
        over.iter().for_each(|manifest| self.end(manifest));
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ManifestId = ManifestId::from_bytes([1; 32]);
    const B: ManifestId = ManifestId::from_bytes([2; 32]);

    #[test]
    fn only_what_moves_gains_time() {
        let (start, mut waits) = (Instant::now(), Waits::default());
        waits.begin(A, start);
        waits.heard(A, (1, 10), start + Duration::from_secs(100));
        assert_eq!(waits.next(), Some(start + Duration::from_secs(220)));
        waits.heard(A, (1, 10), start + Duration::from_secs(200));
        assert_eq!(waits.over(start + Duration::from_secs(219)), []);
        assert_eq!(waits.over(start + Duration::from_secs(220)), [A]);
        assert_eq!((waits.next(), waits.over(start + Duration::from_secs(999))), (None, vec![]));
    }

    #[test]
    fn a_model_that_is_ready_is_not_waited_for_and_others_are() {
        let (start, mut waits) = (Instant::now(), Waits::default());
        waits.heard(A, (1, 10), start);
        assert_eq!(waits.next(), None);
        waits.begin(A, start);
        waits.begin(B, start + Duration::from_secs(1));
        waits.begin(A, start + Duration::from_secs(50));
        waits.end(&A);
        assert_eq!(waits.over(start + STALL), []);
        assert_eq!(waits.over(start + STALL + Duration::from_secs(1)), [B]);
    }
}
