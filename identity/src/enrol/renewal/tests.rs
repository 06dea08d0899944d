//! A renewal with each thing changed where a check must notice.

use counterfoil_spec::entry::Role;

use super::*;
use crate::certificate::tests::{Anyone, NOW, Net};
use crate::certificate::verify::verify_chain;
use crate::key::SecretKey;

const EXPORTER: [u8; 32] = [77; 32];
const LIFE: u64 = 1000;

struct Stage {
    net: Net,
    identity: SecretKey,
    router: RouterId,
    last: Credentials,
}

impl Stage {
    fn new() -> Self {
        let (net, identity) = (Net::new(1), SecretKey::from_seed([40; 32]));
        let tls = TlsKey::generate();
        let facts = (4, NOW.plus(LIFE));
        let request = LeafRequest::signed(Role::Node, &identity, &tls, &net.root.net_id(), facts).unwrap();
        let last = Credentials::new(net.ca.issue_leaf(&request, NOW).unwrap(), &tls);
        Self { net, identity, router: SecretKey::from_seed([20; 32]).public().router_id(), last }
    }

    /// For as long a life as the last certificate had.
    fn renewing(&self, now: Seconds) -> Renewing {
        self.longest(now).ending(now.plus(LIFE)).unwrap()
    }

    fn longest(&self, now: Seconds) -> Renewing {
        let identity = Arc::new(self.identity.clone());
        Renewing::after(&self.last, identity, &self.net.domain, self.router, now).unwrap()
    }

    fn standing(&self) -> Standing {
        let (ended, latest) = (NOW.plus(LIFE), NOW.plus(2 * LIFE));
        Standing { used: 4, since: None, ended, denied: false, issued: 0, latest }
    }

    fn answer(&self, asked: &Renew, standing: &Standing, now: Seconds) -> Result<Renewed, Refusal> {
        self.answer_under(Some(&self.identity.public()), asked, standing, now)
    }

    fn answer_under(
        &self,
        key: Option<&VerifyKey>,
        asked: &Renew,
        standing: &Standing,
        now: Seconds,
    ) -> Result<Renewed, Refusal> {
        let net_id = self.net.root.net_id();
        let at = RenewAt { net_id: &net_id, router_id: &self.router, exporter: &EXPORTER };
        let allowed = wanted(asked, &at, key).and_then(|wanted| wanted.allow(standing, now));
        allowed.and_then(|allowed| allowed.issue(&self.net.ca)).map_err(|refused| refused.refusal)
    }
}

//= spec/identity.md#renewal
//= type=test
//# A router MUST make these checks in this order and MUST refuse at the first that fails:
#[test]
fn a_node_is_given_the_next_generation_for_as_long_a_life() {
    let stage = Stage::new();
    let (key, half) = (stage.identity.public(), NOW.plus(LIFE / 2));
    let renewing = stage.renewing(half);
    let asked = renewing.ask(&EXPORTER).unwrap();
    let renewed = stage.answer(&asked, &stage.standing(), half).unwrap();
    assert_eq!(renewed.renew_after, half.plus(LIFE / 2));
    let next = renewing.on_renewed(&renewed, half).unwrap();
    let chain = next.chain().certificates();
    let peer = verify_chain(&chain, &stage.net.domain, Role::Node, half, &Anyone).unwrap();
    assert_eq!((peer.generation(), peer.not_after(), *peer.key()), (5, half.plus(LIFE), key));
    assert_ne!(next.tls_key_pkcs8(), stage.last.tls_key_pkcs8());
}

#[test]
fn what_a_node_may_not_have_is_refused_with_its_reason() {
    let stage = Stage::new();
    let other = SecretKey::from_seed([41; 32]).public();
    let asked = stage.renewing(NOW).ask(&EXPORTER).unwrap();
    let good = stage.standing();
    let refusal = |standing: Standing| stage.answer(&asked, &standing, NOW).map(drop);
    assert_eq!(refusal(good), Ok(()));
    for key in [None, Some(&other)] {
        assert_eq!(stage.answer_under(key, &asked, &good, NOW), Err(Refusal::EnrolProof));
    }
    assert_eq!(refusal(Standing { denied: true, ..good }), Err(Refusal::CertDenied));
    assert_eq!(refusal(Standing { used: 3, ..good }), Err(Refusal::EnrolGeneration));
    assert_eq!(refusal(Standing { used: 5, ..good }), Err(Refusal::EnrolGeneration));
    assert_eq!(refusal(Standing { issued: 3, ..good }), Ok(()));
    assert_eq!(refusal(Standing { issued: 4, ..good }), Err(Refusal::EnrolRate));
    assert_eq!(refusal(Standing { latest: NOW.plus(LIFE), ..good }), Ok(()));
    assert_eq!(refusal(Standing { latest: NOW.plus(LIFE - 1), ..good }), Err(Refusal::CertLifetime));
    // The next one is given once an eighth of its use is over.
    let since =
        |before, after| Standing { since: Some(Seconds(NOW.0 - before)), ended: NOW.plus(after), ..good };
    assert_eq!((refusal(since(100, 700)), refusal(since(0, 0))), (Ok(()), Ok(())));
    assert_eq!(refusal(since(100, 708)), Err(Refusal::EnrolRate));
    // It is for half of the longest life there is, or for more.
    assert_eq!(refusal(Standing { latest: NOW.plus(2 * LIFE + 1), ..good }), Ok(()));
    assert_eq!(refusal(Standing { latest: NOW.plus(2 * LIFE + 2), ..good }), Err(Refusal::CertLifetime));
    let elsewhere = stage.renewing(NOW).ask(&[78; 32]).unwrap();
    assert_eq!(stage.answer(&elsewhere, &good, NOW), Err(Refusal::EnrolProof));
    // Nobody learns whether a node is denied who does not hold its key.
    assert_eq!(stage.answer(&elsewhere, &Standing { denied: true, ..good }, NOW), Err(Refusal::EnrolProof));
    let over = Renew { not_after: NOW, ..asked.clone() };
    assert_eq!(stage.answer(&over, &good, NOW), Err(Refusal::EnrolProof));
}

//= spec/identity.md#renewal
//= type=test
//# A node MAY renew its certificate until 30 days after its end
#[test]
fn late_is_thirty_days_after_the_end() {
    let stage = Stage::new();
    let last = NOW.plus(LIFE + MAX_LATE_RENEWAL_S);
    let at = |now: Seconds| {
        let asked = stage.renewing(now).ask(&EXPORTER).unwrap();
        let standing = Standing { latest: now.plus(LIFE), ..stage.standing() };
        stage.answer(&asked, &standing, now).map(drop)
    };
    assert_eq!((at(last), at(last.plus(1))), (Ok(()), Err(Refusal::EnrolLate)));
}

#[test]
fn a_life_is_as_long_as_the_router_allows_now_and_not_as_the_last_one_was() {
    let stage = Stage::new();
    assert_eq!(stage.longest(NOW).ask(&EXPORTER).unwrap().not_after, NOW.plus(MAX_LEAF_CERT_LIFE_S));
    assert!(stage.longest(NOW).ending(NOW.plus(MAX_LEAF_CERT_LIFE_S)).is_none());
}

#[test]
fn a_certificate_that_was_never_used_is_asked_for_again() {
    let stage = Stage::new();
    let never = Standing { used: 3, ..stage.standing() };
    let generation = |renewing: Renewing| {
        let asked = renewing.ask(&EXPORTER).unwrap();
        stage.answer(&asked, &never, NOW).map(|_| asked.generation)
    };
    assert_eq!(generation(stage.renewing(NOW)), Err(Refusal::EnrolGeneration));
    assert_eq!(generation(stage.renewing(NOW).unused()), Ok(4));
}

#[test]
fn an_end_is_only_ever_brought_forward() {
    let stage = Stage::new();
    let latest = NOW.plus(LIFE - 400);
    assert!(stage.renewing(NOW).ending(NOW.plus(LIFE)).is_none());
    let shorter = stage.renewing(NOW).ending(latest).unwrap();
    let standing = Standing { latest, ..stage.standing() };
    let renewed = stage.answer(&shorter.ask(&EXPORTER).unwrap(), &standing, NOW).unwrap();
    assert_eq!(renewed.renew_after, NOW.plus(300));
}

#[test]
fn a_node_takes_the_certificate_that_it_asked_for_and_no_other() {
    let stage = Stage::new();
    let renewing = stage.renewing(NOW);
    let other = stage.renewing(NOW).ask(&EXPORTER).unwrap();
    let renewed = stage.answer(&other, &stage.standing(), NOW).unwrap();
    let taken = renewing.on_renewed(&renewed, NOW).map(drop).map_err(|refused| refused.refusal);
    assert_eq!(taken, Err(Refusal::CertBinding));
}

//= spec/identity.md#renewal
//= type=test
//# A router MUST refuse a node's certificate of another generation than the one that was used last and the one that follows it, and another certificate of the one that was used last (`C_SUPERSEDED`).
#[test]
fn a_copy_is_told_by_its_generation_or_by_its_certificate() {
    let stage = Stage::new();
    let chain = stage.last.chain().certificates();
    let peer = verify_chain(&chain, &stage.net.domain, Role::Node, NOW, &Anyone).unwrap();
    let own = Serial::from_bytes(*peer.cert_serial());
    let judged = |used, certificate| shown(&peer, used, certificate).map_err(|refused| refused.refusal);
    // An enrolment logged its generation, and no use of it.
    assert_eq!(judged(4, None), Ok(Shown::First));
    assert_eq!(judged(4, Some(own)), Ok(Shown::Again));
    assert_eq!(judged(3, Some(own)), Ok(Shown::First));
    let no = Err(Refusal::CertSuperseded);
    assert_eq!(judged(4, Some(Serial::from_bytes([1; 16]))), no);
    assert_eq!((judged(5, None), judged(5, Some(own))), (no, no));
    assert_eq!((judged(2, None), judged(u64::MAX, None)), (no, no));
}
