//! The router's check of an order before it sends it: the node's, but for what only the node's books show.

use counterfoil_consent::{ActiveGrant, Permit, Refused, Usage};
use counterfoil_identity::VerifyKey;
use counterfoil_spec::ids::NetId;
use counterfoil_spec::message::SignedOpen;
use counterfoil_spec::time::Millis;

/// Checks an order that this router signed.
pub(crate) fn check(
    permit: &Permit,
    order: &SignedOpen,
    own: &VerifyKey,
    net_id: &NetId,
    now: Millis,
) -> Result<ActiveGrant, Refused> {
    //= spec/consent.md#orders-and-grants
    //# A router MUST make the same before it dispatches, but for those that the node's books decide: the day's rest in 7, 8, 10 and 11.
    permit.check_open(order, own, net_id, now, &Usage::new())
}

#[cfg(test)]
mod tests {
    use counterfoil_session::sandbox::rows::{Before, LIFE_S, ORDERS, order, permit, serial};
    use counterfoil_session::sandbox::{Sandbox, machine_clock};
    use counterfoil_spec::ids::ManifestId;

    use super::*;

    //= spec/consent.md#orders-and-grants
    //= type=test
    //# A router MUST make the same before it dispatches, but for those that the node's books decide: the day's rest in 7, 8, 10 and 11.
    #[test]
    fn every_row_that_a_node_refuses_is_not_sent_for_the_same_reason() {
        let net = Sandbox::new(machine_clock()).unwrap();
        let member = net.member().unwrap();
        let permit = permit(&net, &member, (ManifestId::from_bytes([1; 32]), "guide")).unwrap();
        let judged = |order: &SignedOpen, now| {
            let own = net.router_key.public();
            check(&permit, order, &own, &net.domain.net_id(), now)
                .map(drop)
                .map_err(|refused| refused.refusal)
        };
        assert_eq!(judged(&order(&net, &permit, (1, serial())), (net.now)()), Ok(()));
        for row in &ORDERS {
            let now = (net.now)();
            let order = row.order(&net, &permit, (1, serial()));
            let now = if row.before == Before::Over { now.plus((LIFE_S + 61) * 1000) } else { now };
            let want = if row.is_in_the_books() { Ok(()) } else { Err(row.refusal) };
            assert_eq!(judged(&order, now), want, "{}", row.what);
        }
    }
}
