//! The root's deny list: the routers and issuing CAs that a network trusts no more. An authority revocation list, in the words
//! of X.509 (RFC 5280 §5).
//!
//! ```text
//! sig = Ed25519("counterfoil/root-deny-list/v1\0" ‖ net_id ‖ canonical RootDenyList)      by the network root's key
//! ```

use minicbor::{Decode, Encode};

use crate::ids::{RouterId, Serial, Signature};
use crate::limits::{MAX_DENIED_AUTHORITIES, MAX_DENIED_ROUTERS};
use crate::time::Seconds;

/// What the root says. The root's key lies elsewhere and signs seldom, so a list holds until a later one.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RootDenyList {
    /// Rises with each list; 1 for the first.
    #[n(1)]
    pub epoch: u64,
    /// When it was signed.
    #[n(2)]
    pub issued: Seconds,
    /// Routers, whatever certificate they show, in strictly rising order.
    #[n(3)]
    pub routers: Vec<RouterId>,
    /// Issuing CAs, by the serial number of their certificate, in strictly rising order.
    #[n(4)]
    pub authorities: Vec<Serial>,
}

/// The root's list with its signature.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedRootDenyList {
    /// The list.
    #[n(1)]
    pub list: RootDenyList,
    /// By the network root's key, purpose `root-deny-list`, over the list's canonical bytes.
    #[n(2)]
    pub sig: Signature,
}

impl RootDenyList {
    /// What keeps this from being a list: no epoch, an order that is not strictly rising, or too many names.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        if self.epoch == 0 {
            return Some("epoch 0, and the first list has epoch 1");
        }
        if self.routers.len() > MAX_DENIED_ROUTERS || self.authorities.len() > MAX_DENIED_AUTHORITIES {
            return Some("more names than a list of the root holds");
        }
        let rising = self.routers.is_sorted_by(|a, b| a < b) && self.authorities.is_sorted_by(|a, b| a < b);
        if rising { None } else { Some("names that are not in strictly rising order") }
    }

    /// Whether a router is denied, by its id or by the CA that issued its certificate.
    #[must_use]
    pub fn denies(&self, router: &RouterId, authority: &Serial) -> bool {
        self.routers.binary_search(router).is_ok() || self.authorities.binary_search(authority).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(routers: &[u8], authorities: &[u8]) -> RootDenyList {
        let routers = routers.iter().map(|n| RouterId::from_bytes([*n; 32])).collect();
        let authorities = authorities.iter().map(|n| Serial::from_bytes([*n; 16])).collect();
        RootDenyList { epoch: 1, issued: Seconds(7), routers, authorities }
    }

    #[test]
    fn router_is_denied_by_its_id_or_by_its_ca() {
        let list = list(&[1, 3], &[4, 6]);
        let denied =
            |router, ca| list.denies(&RouterId::from_bytes([router; 32]), &Serial::from_bytes([ca; 16]));
        assert_eq!([1, 2, 3].map(|router| denied(router, 5)), [true, false, true]);
        assert_eq!([4, 5, 6].map(|ca| denied(2, ca)), [true, false, true]);
    }

    #[test]
    fn names_rise_and_are_no_more_than_they_may_be() {
        assert_eq!(list(&[1, 3], &[4, 6]).fault(), None);
        assert_eq!(list(&[], &[]).fault(), None);
        let unordered = Some("names that are not in strictly rising order");
        assert_eq!([list(&[3, 1], &[]).fault(), list(&[], &[4, 4]).fault()], [unordered, unordered]);
        let crowded = Some("more names than a list of the root holds");
        let all: Vec<u8> = (0..=255).collect();
        let most = list(&all, &all);
        assert_eq!(
            (most.routers.len(), most.authorities.len(), most.fault()),
            (MAX_DENIED_ROUTERS, MAX_DENIED_AUTHORITIES, None)
        );
        let twice = |n: usize| [all.clone(), all.clone()].concat().into_iter().take(n).collect::<Vec<_>>();
        assert_eq!(list(&twice(MAX_DENIED_ROUTERS + 1), &[]).fault(), crowded);
        assert_eq!(list(&[], &twice(MAX_DENIED_AUTHORITIES + 1)).fault(), crowded);
        assert_eq!(
            RootDenyList { epoch: 0, ..list(&[], &[]) }.fault(),
            Some("epoch 0, and the first list has epoch 1")
        );
    }
}
