//! Policies, proposals and the words that an operator sees.

use counterfoil_spec::claims::ALL;
use counterfoil_spec::message::Proposal;

use super::*;
use crate::{Declined, Hours, Issuance, Part, Policy, issue, notice, notice_hash};

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

#[test]
fn a_policy_narrows_a_proposal_to_its_parts_and_declines_what_lies_outside() {
    let parts = vec![Part { layers: (1, 2), experts: (2, 9) }];
    let policy = Policy { parts, ..policy() };
    let narrowed = policy.narrow(proposal());
    assert_eq!(narrowed.ranges, [range((1, 2), (2, 3))]);
    assert_eq!(issued(&policy, &narrowed).unwrap().claims().ranges, [range((1, 2), (2, 3))]);
    let elsewhere = policy.narrow(Proposal { ranges: vec![range((3, 3), (0, ALL))], ..proposal() });
    assert_eq!(issued(&policy, &elsewhere), Err(Declined::Parts));
}

#[test]
fn any_model_is_signed_for_where_the_policy_says_so() {
    let policy = Policy { any_model: true, models: Vec::new(), ..policy() };
    assert_eq!((issued(&policy, &proposal()).map(|_| ()), policy.wants()), (Ok(()), None));
}

#[test]
fn a_token_ends_with_the_policys_hours_and_none_is_signed_outside_them() {
    // NOW is 08:00 UTC.
    let with = |window: &str| {
        let hours = Hours::parse(&[window.to_owned()], "UTC").unwrap();
        issued(&Policy { hours, ..policy() }, &proposal()).map(|permit| permit.claims().expires)
    };
    assert_eq!(NOW.0 % DAY, 8 * 3600);
    assert_eq!(with("07:00-09:30"), Ok(NOW.plus(90 * 60)));
    assert_eq!(with("08:00-09:30"), Ok(NOW.plus(90 * 60)));
    assert_eq!(with("08:01-09:30"), Err(Declined::Hours(NOW.0 + 60)));
    assert_eq!(with("08:00-07:59"), Ok(NOW.plus(DAY - 60)));
}

#[test]
fn a_changed_policy_still_allows_what_is_no_wider() {
    let old = issued(&policy(), &proposal()).unwrap();
    let allows = |change: &dyn Fn(&mut Policy)| {
        let mut policy = policy();
        change(&mut policy);
        policy.still_allows(old.claims())
    };
    assert!(allows(&|_| ()));
    assert!(allows(&|p| p.quota.concurrent = 3));
    assert!(!allows(&|p| p.quota.concurrent = 1));
    assert!(!allows(&|p| p.quota.tokens_per_day = TokenCount(5)));
    assert!(!allows(&|p| p.models = vec!["other".to_owned()]));
    assert!(allows(&|p| p.models = vec!["other".to_owned(), "guide".to_owned()]));
    assert!(allows(&|p| (p.any_model, p.models) = (true, Vec::new())));
    assert!(!allows(&|p| p.price_floor_micro_per_1k = 1));
    assert!(!allows(&|p| p.purposes = Purposes::CHAT));
    assert!(!allows(&|p| p.countries = vec!["DE".to_owned()]));
    assert!(!allows(&|p| p.parts = vec![Part { layers: (0, ALL), experts: (0, 2) }]));
    assert!(allows(&|p| p.parts = vec![Part { layers: (0, ALL), experts: (0, 3) }]));
    assert!(!allows(&|p| p.hours = Hours::parse(&["07:00-09:00".to_owned()], "UTC").unwrap()));
    assert!(!allows(&|p| p.accepted_notice = false));
}
