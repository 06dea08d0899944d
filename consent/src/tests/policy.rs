//! Policies, proposals and the words that an operator sees.

use counterfoil_spec::claims::ALL;
use counterfoil_spec::message::Proposal;

use super::*;
use crate::{Declined, Issuance, Policy, issue, notice, notice_hash};

fn proposal() -> Proposal {
    Proposal {
        manifest: MODEL,
        name: "guide".to_owned(),
        ranges: vec![range((0, ALL), (0, 3))],
        list_price_micro_per_1k: 10_000,
        currency: "USD".to_owned(),
        router: router().public().router_id(),
        min_epoch: 4,
    }
}

fn policy() -> Policy {
    Policy { accepted_notice: true, models: vec!["guide".to_owned()], ..Policy::default() }
}

const WHEN: Issuance =
    Issuance { net_id: NetId::from_bytes([0; 32]), now: NOW, epoch: 4, cti: Serial::from_bytes([1; 16]) };

fn issued(policy: &Policy, proposal: &Proposal) -> Result<Permit, Declined> {
    let (token, permit) = issue(policy, proposal, &node(), &Issuance { net_id: net(), ..WHEN })?;
    assert_eq!(token, permit.token_bytes());
    Ok(permit)
}

#[test]
fn token_of_a_policy_passes_the_routers_check() {
    let permit = issued(&policy(), &proposal()).unwrap();
    assert_eq!(World::new().check(permit.token_bytes()), Ok(permit.clone()));
    let claims = permit.claims();
    assert_eq!((claims.not_before, claims.expires), (NOW, NOW.plus(DAY)));
    assert_eq!((claims.quota.concurrent, claims.callers.retention_s), (2, 0));
    assert_eq!(claims.purposes.names(), ["chat", "code", "verification"]);
    assert_eq!(claims.notice_hash, notice_hash(&notice(claims, "guide")));
}

#[test]
fn default_policy_allows_nothing() {
    assert_eq!(issued(&Policy::default(), &proposal()), Err(Declined::NoticeNotAccepted));
    let accepted = Policy { accepted_notice: true, ..Policy::default() };
    assert_eq!(issued(&accepted, &proposal()), Err(Declined::ModelNotNamed("guide".to_owned())));
}

#[test]
fn proposal_outside_the_policy_is_declined() {
    let with = |change: &dyn Fn(&mut Policy, &mut Proposal)| {
        let (mut policy, mut proposal) = (policy(), proposal());
        change(&mut policy, &mut proposal);
        issued(&policy, &proposal).map(|_| ())
    };
    assert_eq!(with(&|p, _| p.price_floor_micro_per_1k = 10_000), Ok(()));
    assert_eq!(
        with(&|p, _| p.price_floor_micro_per_1k = 10_001),
        Err(Declined::PriceBelowFloor { offered: 10_000, floor: 10_001 })
    );
    assert_eq!(with(&|_, r| r.min_epoch = 5), Err(Declined::Epoch { wanted: 5, have: 4 }));
    assert_eq!(with(&|_, r| r.ranges.clear()), Err(Declined::Ranges("no range at all")));
    assert_eq!(
        with(&|_, r| r.manifest = ManifestId::from_bytes([0; 32])),
        Err(Declined::Ranges("a range of another model than the proposal names"))
    );
    let life = Declined::Policy("a consent token lives from one second to 30 days");
    assert_eq!(with(&|p, _| p.life_s = 30 * DAY), Ok(()));
    assert_eq!(with(&|p, _| p.life_s = 30 * DAY + 1), Err(life.clone()));
    assert_eq!(with(&|p, _| p.life_s = 0), Err(life));
    assert_eq!(
        with(&|p, _| p.purposes = Purposes::default()),
        Err(Declined::Policy("no purpose, or one without meaning"))
    );
    assert_eq!(
        with(&|_, r| r.currency = "dollars".to_owned()),
        Err(Declined::Policy("the currency is not an ISO 4217 code"))
    );
}

#[test]
fn words_say_what_the_token_says() {
    let permit = issued(&policy(), &proposal()).unwrap();
    let router = router().public().router_id();
    let want = format!(
        "This machine will run parts of the model \"guide\" for the router {router}.\n\
         It computes experts 0 to 3 of all layers of the model with manifest {MODEL}.\n\
         It serves: expert. Requests are for: chat, code, verification.\n\
         At most any number of tokens a day, any number of tokens a request, 2 requests at a time, any number of \
         new requests and any number of bytes a second.\n\
         The router must charge at least 0 micro-USD per 1,000 tokens.\n\
         Callers may be from any country. What is computed is kept for 0 seconds.\n\
         This consent lasts 86400 seconds, is renewed while this program runs, and can be withdrawn at any time.\n"
    );
    assert_eq!(notice(permit.claims(), "guide"), want);
}

#[test]
fn renewed_token_says_the_same_words() {
    let first = issued(&policy(), &proposal()).unwrap();
    let later = Issuance { now: NOW.plus(40_000), cti: serial(2), net_id: net(), ..WHEN };
    let (_, second) = issue(&policy(), &proposal(), &node(), &later).unwrap();
    assert_ne!(first.token_hash(), second.token_hash());
    assert_eq!(first.claims().notice_hash, second.claims().notice_hash);
}
