//! The deny list: what the network refuses from here on, as a router signs it for its nodes.
//!
//! ```text
//! sig = Ed25519("counterfoil/deny-list/v1\0" ‖ net_id ‖ canonical DenyList)      by the router's identity key
//! ```

pub mod root;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::claims::Claims;
use crate::ids::{NodeId, Serial, Signature};
use crate::limits::{MAX_DENIED_CONSENTS, MAX_DENIED_EPOCHS, MAX_DENIED_NODES, MAX_DENIED_SERIALS};
use crate::time::Seconds;

/// What is refused. Each list is in strictly rising order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct DenyNames {
    /// Nodes, whatever certificate they show.
    #[n(1)]
    pub nodes: Vec<NodeId>,
    /// Certificates of nodes, by serial number.
    #[n(2)]
    pub serials: Vec<Serial>,
    /// Consent tokens, by consent id.
    #[n(3)]
    pub consents: Vec<Serial>,
    /// Nodes whose consent tokens below an epoch are void.
    #[n(4)]
    pub epochs: Vec<MinEpoch>,
}

/// The lowest epoch at which a node's consent tokens are not void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
pub struct MinEpoch {
    /// Whose.
    #[n(0)]
    pub node: NodeId,
    /// The lowest.
    #[n(1)]
    pub epoch: u64,
}

/// The list as it stands, and how long that can be relied on.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DenyList {
    /// Rises by one with each change of the names; 0 before the first.
    #[n(1)]
    pub epoch: u64,
    /// When it was signed.
    #[n(2)]
    pub issued: Seconds,
    /// When the next one is signed at the latest.
    #[n(3)]
    pub next_update: Seconds,
    /// What is refused.
    #[n(4)]
    pub names: DenyNames,
}

/// A deny list with its signature.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedDenyList {
    /// The list.
    #[n(1)]
    pub list: DenyList,
    /// By the router's identity key, purpose `deny-list`, over the list's canonical bytes.
    #[n(2)]
    pub sig: Signature,
}

impl DenyNames {
    /// Whether nothing is refused.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.serials.is_empty() && self.consents.is_empty() && self.epochs.is_empty()
    }

    /// What keeps these names out of a list: an order that is not strictly rising, or too many.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let too_many = self.nodes.len() > MAX_DENIED_NODES
            || self.serials.len() > MAX_DENIED_SERIALS
            || self.consents.len() > MAX_DENIED_CONSENTS
            || self.epochs.len() > MAX_DENIED_EPOCHS;
        if too_many {
            return Some("more names than a list holds");
        }
        let rising = self.nodes.is_sorted_by(|a, b| a < b)
            && self.serials.is_sorted_by(|a, b| a < b)
            && self.consents.is_sorted_by(|a, b| a < b)
            && self.epochs.is_sorted_by(|a, b| a.node < b.node);
        if rising { None } else { Some("names that are not in strictly rising order") }
    }

    /// Whether a node, or the certificate that it shows, is refused.
    #[must_use]
    pub fn denies(&self, node: &NodeId, cert_serial: &[u8]) -> bool {
        self.denies_node(node) || self.denies_serial(cert_serial)
    }

    /// Whether a certificate is refused, be it a node's or an issuing CA's.
    #[must_use]
    pub fn denies_serial(&self, cert_serial: &[u8]) -> bool {
        let by_serial = |own: &Serial| own.as_bytes().as_slice().cmp(cert_serial);
        self.serials.binary_search_by(by_serial).is_ok()
    }

    /// Whether a node is refused, whatever certificate it shows.
    #[must_use]
    pub fn denies_node(&self, node: &NodeId) -> bool {
        self.nodes.binary_search(node).is_ok()
    }

    /// Whether a consent token is void by its id.
    #[must_use]
    pub fn denies_consent(&self, cti: &Serial) -> bool {
        self.consents.binary_search(cti).is_ok()
    }

    /// The lowest epoch at which a node's consent tokens are not void; 0 where the list says nothing of it.
    #[must_use]
    pub fn min_epoch(&self, node: &NodeId) -> u64 {
        let at = self.epochs.binary_search_by(|own| own.node.cmp(node)).ok();
        at.and_then(|at| self.epochs.get(at)).map_or(0, |own| own.epoch)
    }

    /// Whether a consent token is void, by its id, its epoch or its issuer.
    #[must_use]
    pub fn voids(&self, claims: &Claims) -> bool {
        self.denies_consent(&claims.cti)
            || claims.epoch < self.min_epoch(&claims.issuer)
            || self.denies_node(&claims.issuer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::to_canonical;
    use crate::limits::{MAX_CONTROL_BYTES, MAX_LEAF_BYTES};

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn serial(n: u8) -> Serial {
        Serial::from_bytes([n; 16])
    }

    fn some() -> DenyNames {
        DenyNames {
            nodes: vec![node(1), node(3)],
            serials: vec![serial(4), serial(6)],
            consents: vec![serial(7)],
            epochs: vec![MinEpoch { node: node(2), epoch: 5 }],
        }
    }

    #[test]
    fn names_are_found_and_others_are_not() {
        let names = some();
        assert_eq!([1, 2, 3].map(|n| names.denies_node(&node(n))), [true, false, true]);
        assert_eq!([4, 5, 6].map(|n| names.denies(&node(2), &[n; 16])), [true, false, true]);
        assert!(names.denies(&node(3), &[5; 16]));
        assert!(!names.denies(&node(2), &[4; 15]));
        assert_eq!([7, 4].map(|n| names.denies_consent(&serial(n))), [true, false]);
        assert_eq!([2, 3].map(|n| names.min_epoch(&node(n))), [5, 0]);
    }

    #[test]
    fn an_order_that_does_not_rise_and_one_name_too_many_are_faults() {
        assert_eq!(some().fault(), None);
        let twice = DenyNames { nodes: vec![node(1), node(1)], ..some() };
        assert_eq!(twice.fault(), Some("names that are not in strictly rising order"));
        let epochs = [5, 6].map(|epoch| MinEpoch { node: node(2), epoch });
        let twice = DenyNames { epochs: epochs.to_vec(), ..some() };
        assert_eq!(twice.fault(), Some("names that are not in strictly rising order"));
        let many = |n: usize| DenyNames { serials: (0..n).map(numbered).collect(), ..some() };
        assert_eq!(many(MAX_DENIED_SERIALS).fault(), None);
        assert_eq!(many(MAX_DENIED_SERIALS + 1).fault(), Some("more names than a list holds"));
    }

    fn numbered(n: usize) -> Serial {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(n.to_be_bytes()) {
            *to = from;
        }
        Serial::from_bytes(bytes)
    }

    #[test]
    fn the_longest_list_fits_into_a_message_and_into_a_log_entry() {
        let full = DenyNames {
            nodes: vec![node(255); MAX_DENIED_NODES],
            serials: vec![serial(255); MAX_DENIED_SERIALS],
            consents: vec![serial(255); MAX_DENIED_CONSENTS],
            epochs: vec![MinEpoch { node: node(255), epoch: u64::MAX }; MAX_DENIED_EPOCHS],
        };
        let bytes = to_canonical(&full).len();
        // Beside it a message has its times and signature, an entry its chain, its reason and its signature.
        assert!(bytes + 1024 <= MAX_CONTROL_BYTES.min(MAX_LEAF_BYTES), "{bytes}");
    }
}
