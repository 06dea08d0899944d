//! What a node makes sure of before it presents a consent token: the router's own checks, with what the node knows.

use counterfoil_consent::{Expectation, Permit, Refused, check_token};
use counterfoil_identity::VerifyKey;
use counterfoil_spec::claims::{ALL, Range};
use counterfoil_spec::ids::{NetId, RouterId, Serial};
use counterfoil_spec::time::Seconds;

use crate::hosting::Shelf;

/// Who presents a token to whom, and how things stand here.
pub(crate) struct Presenting<'a> {
    pub(crate) net_id: NetId,
    pub(crate) router: RouterId,
    /// This node's identity key.
    pub(crate) own: VerifyKey,
    pub(crate) now: Seconds,
    /// The lowest epoch that is good: the operator's, and what the deny list says of this node.
    pub(crate) min_epoch: u64,
    /// Whether a consent id is denied.
    pub(crate) denied: &'a dyn Fn(&Serial) -> bool,
    /// Whether a range can be hosted here.
    pub(crate) hosts: &'a dyn Fn(&Range) -> bool,
}

impl Presenting<'_> {
    /// Makes the router's checks.
    pub(crate) fn check(&self, token: &[u8]) -> Result<Permit, Refused> {
        //= spec/consent.md#order-of-checks
        //# A node MUST make these checks as well, with what it knows, and MUST NOT present a token that fails.
        check_token(
            token,
            &Expectation {
                net_id: &self.net_id,
                peer: &self.own.node_id(),
                peer_key: &self.own,
                audience: &self.router,
                now: self.now,
                // Whether it is fresh is asked of each order; the router's own always is.
                deny_list_until: None,
                min_epoch: self.min_epoch,
                withdrawn: self.denied,
                model_known: self.hosts,
            },
        )
    }
}

/// Whether a range lies within a model that can be hosted here.
pub(crate) fn hosts(shelf: &Shelf, range: &Range) -> bool {
    let within = |end: u32, count: u32| end == ALL || end < count;
    shelf.model(&range.manifest).is_some_and(|model| {
        let config = model.config();
        within(range.layers.1, config.layers) && within(range.experts.1, config.experts)
    })
}

#[cfg(test)]
mod tests {
    use counterfoil_session::sandbox::rows::{Before, TOKENS, UNKNOWN, permit};
    use counterfoil_session::sandbox::{Sandbox, machine_clock};
    use counterfoil_spec::ids::ManifestId;

    use super::*;

    //= spec/consent.md#order-of-checks
    //= type=test
    //# A node MUST make these checks as well, with what it knows, and MUST NOT present a token that fails.
    #[test]
    fn every_row_that_a_router_refuses_is_not_presented_for_the_same_reason() {
        let net = Sandbox::new(machine_clock()).unwrap();
        let member = net.member().unwrap();
        let honest = permit(&net, &member, (ManifestId::from_bytes([1; 32]), "guide")).unwrap();
        let check = |token: &[u8], withdrawn: bool| {
            Presenting {
                net_id: net.domain.net_id(),
                router: net.router_key.public().router_id(),
                own: member.key.public(),
                now: (net.now)().seconds(),
                min_epoch: 1,
                denied: &|_| withdrawn,
                hosts: &|range| range.manifest != UNKNOWN,
            }
            .check(token)
            .map(drop)
            .map_err(|refused| refused.refusal)
        };
        assert_eq!(check(honest.token_bytes(), false), Ok(()));
        for row in &TOKENS {
            let token = row.token(honest.claims(), &member.key);
            assert_eq!(check(&token, row.before == Before::Withdrawn), Err(row.refusal), "{}", row.what);
        }
    }
}
