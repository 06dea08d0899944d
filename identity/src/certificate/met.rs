//! What was met before: the outcome of checks that depend on bytes alone, so that the same bytes are not checked again.
//!
//! It only ever says yes. Bytes are compared, not hashes of them; what depends on the present or on a directory is no
//! part of it; and what it does not know goes through every check, so that each refusal comes from there.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counterfoil_spec::ids::PublicKey;
use counterfoil_spec::limits::{MAX_MET_CAS, MAX_MET_KEYS, MAX_MET_LEAVES};
use counterfoil_spec::time::Seconds;
use rustls::pki_types::TrustAnchor;

use super::profile::{CaCert, Validity};
use super::verify::VerifiedPeer;
use crate::key::VerifyKey;

/// An issuing CA to which a path led from the root of its domain, and which has its profile and life.
pub(crate) struct MetCa {
    der: Box<[u8]>,
    /// Its name and key, for paths that begin at it.
    pub(crate) anchor: TrustAnchor<'static>,
    pub(crate) cert: CaCert,
}

impl MetCa {
    pub(crate) fn new(der: &[u8], anchor: TrustAnchor<'static>, cert: CaCert) -> Self {
        Self { der: der.into(), anchor, cert }
    }
}

/// A leaf that passed, under the issuing CA that it came with.
struct MetLeaf {
    ca: Arc<MetCa>,
    validity: Validity,
    peer: VerifiedPeer,
}

/// What one trust domain has met; its clones share it.
#[derive(Default)]
pub(crate) struct Met {
    /// Guards what is remembered; held for a look or an entry, never while anything is checked.
    remembered: Mutex<Remembered>,
}

struct Remembered {
    cas: Recent<Box<[u8]>, Arc<MetCa>>,
    leaves: Recent<Box<[u8]>, Arc<MetLeaf>>,
    keys: Recent<PublicKey, VerifyKey>,
}

impl Default for Remembered {
    fn default() -> Self {
        Self {
            cas: Recent::within(MAX_MET_CAS),
            leaves: Recent::within(MAX_MET_LEAVES),
            keys: Recent::within(MAX_MET_KEYS),
        }
    }
}

impl Met {
    /// Whose chain this is, if these bytes passed before and both certificates are in time.
    pub(crate) fn peer(&self, leaf: &[u8], ca: &[u8], now: Seconds) -> Option<VerifiedPeer> {
        let met = self.remembered().leaves.find(leaf).map(Arc::clone)?;
        let in_time = met.validity.holds(now) && met.ca.cert.validity.holds(now);
        (*met.ca.der == *ca && in_time).then(|| met.peer.clone())
    }

    /// An issuing CA, if these bytes passed before and it is in time.
    pub(crate) fn ca(&self, der: &[u8], now: Seconds) -> Option<Arc<MetCa>> {
        let met = self.remembered().cas.find(der).map(Arc::clone)?;
        met.cert.validity.holds(now).then_some(met)
    }

    /// A key, if it was met before and found not to be weak.
    pub(crate) fn key(&self, key: &PublicKey) -> Option<VerifyKey> {
        self.remembered().keys.find(key).copied()
    }

    /// An issuing CA passed.
    pub(crate) fn enter_ca(&self, ca: &Arc<MetCa>) {
        self.remembered().cas.enter(ca.der.clone(), Arc::clone(ca));
    }

    /// A chain passed, and the directory let its peer in: strangers do not fill this.
    pub(crate) fn enter_leaf(&self, leaf: &[u8], validity: Validity, ca: Arc<MetCa>, peer: &VerifiedPeer) {
        let met = Arc::new(MetLeaf { ca, validity, peer: peer.clone() });
        let mut remembered = self.remembered();
        remembered.keys.enter(peer.key().wire(), *peer.key());
        remembered.leaves.enter(leaf.into(), met);
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many issuing CAs, leaves and keys it remembers.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> [usize; 3] {
        let remembered = self.remembered();
        [remembered.cas.by_key.len(), remembered.leaves.by_key.len(), remembered.keys.by_key.len()]
    }
}

/// A map of bounded size; what came first goes first.
struct Recent<K, V> {
    most: usize,
    by_key: HashMap<K, V>,
    in_order: VecDeque<K>,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    fn within(most: usize) -> Self {
        Self { most, by_key: HashMap::new(), in_order: VecDeque::new() }
    }

    fn find<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.by_key.get(key)
    }

    fn enter(&mut self, key: K, value: V) {
        if self.by_key.insert(key.clone(), value).is_some() {
            return;
        }
        self.in_order.push_back(key);
        while self.in_order.len() > self.most {
            if let Some(first) = self.in_order.pop_front() {
                self.by_key.remove(&first);
            }
        }
    }
}
