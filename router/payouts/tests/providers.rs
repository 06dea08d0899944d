//! Both clients before the simulator, over its socket: with every fault, under seeds, and what their webhooks say.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod world;

use counterfoil_payouts::{Asked, Event, HookError, Payouts, Said, Unclear};
use counterfoil_paysim::{Fault, Faults, ItemStatus, PayPal as SimPayPal, Stripe as SimStripe, signature};

use self::world::{World, order};

const HOUR_S: u64 = 3_600;

fn age(age_s: u64) -> Asked {
    Asked::Perhaps { age_s }
}

#[tokio::test]
async fn stripe_pays_once_whatever_goes_wrong() {
    let reason = |reason: &str| Ok(Said::Failed { reason: reason.to_owned() });
    for (fault, kept) in [
        (Fault::LostRequest, true),
        (Fault::LostAnswer, true),
        (Fault::ErrorBefore, false),
        (Fault::ErrorAfter, true),
        (Fault::TooMany, true),
        (Fault::KeyInUse, true),
    ] {
        let world = World::new(0, 10_000).await;
        world.sim.stripe(|s| s.set_faults(Faults::script(&[Some(fault)])));
        let mut order = order("k", 2_500, &world.account);
        assert!(world.stripe.advance(&order).await.is_err(), "{fault:?}");
        order.asked = age(10);
        let soon = world.stripe.advance(&order).await;
        order.asked = age(HOUR_S);
        let later = world.stripe.advance(&order).await;
        let paid = world.sim.stripe(|s| s.paid()).get("k").copied();
        if kept {
            assert!(matches!(later, Ok(Said::Paid { returned: 0, .. })), "{fault:?}: {later:?}");
            assert_eq!(paid, Some(2_500), "{fault:?}");
        } else {
            // A saved error with nothing behind it is a failure once an hour has passed, and not before.
            assert!(matches!(soon, Err(Unclear::Later { status: 500, .. })), "{soon:?}");
            assert_eq!((later, paid), (reason("api_error"), None), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_key_that_stripe_may_have_forgotten_is_not_used_again() {
    let world = World::new(0, 10_000).await;
    world.sim.stripe(|s| s.set_faults(Faults::script(&[Some(Fault::LostAnswer), Some(Fault::LostRequest)])));
    let mut first = order("first", 2_500, &world.account);
    let mut second = order("second", 2_500, &world.account);
    assert!(world.stripe.advance(&first).await.is_err());
    assert!(world.stripe.advance(&second).await.is_err());
    world.sim.stripe(SimStripe::forget_keys);
    (first.asked, second.asked) = (age(25 * HOUR_S), age(25 * HOUR_S));
    assert!(matches!(world.stripe.advance(&first).await, Ok(Said::Paid { returned: 0, .. })));
    let never = Said::Failed { reason: "never_carried_out".to_owned() };
    assert_eq!(world.stripe.advance(&second).await, Ok(never));
    assert_eq!(world.sim.stripe(|s| (s.available, s.transfers.len())), (7_500, 1));
}

#[tokio::test]
async fn too_little_money_fails_and_another_order_under_the_key_is_a_contradiction() {
    let world = World::new(0, 2_600).await;
    assert_eq!(world.stripe.balance("USD").await, Ok(Some(2_600)));
    let short = order("short", 2_601, &world.account);
    assert_eq!(
        world.stripe.advance(&short).await,
        Ok(Said::Failed { reason: "balance_insufficient".to_owned() })
    );
    let first = order("k", 2_500, &world.account);
    assert!(matches!(world.stripe.advance(&first).await, Ok(Said::Paid { .. })));
    let mut other = order("k", 2_501, &world.account);
    assert!(matches!(world.stripe.advance(&other).await, Err(Unclear::Contradiction(_))));
    other.asked = age(1);
    assert!(matches!(world.stripe.advance(&other).await, Err(Unclear::Contradiction(_))));
}

#[tokio::test]
async fn what_comes_back_is_said_to_the_cent() {
    let world = World::new(0, 10_000).await;
    let mut order = order("k", 2_500, &world.account);
    let Ok(Said::Paid { reference, .. }) = world.stripe.advance(&order).await else { panic!("not paid") };
    assert_eq!(world.sim.stripe(|s| s.reverse(&reference, 900)), 900);
    order.reference = Some(reference.clone());
    order.asked = age(1);
    assert_eq!(world.stripe.advance(&order).await, Ok(Said::Paid { reference, returned: 900 }));
}

#[tokio::test]
async fn a_recipient_is_ready_when_stripe_says_so() {
    let world = World::new(0, 0).await;
    let fresh = world.stripe.create_recipient("one").await.unwrap();
    assert_eq!(world.stripe.create_recipient("one").await, Ok(fresh.clone()));
    assert_eq!(world.stripe.is_ready(&fresh).await, Ok(false));
    let link = world.stripe.onboarding_link(&fresh, "https://router.example/").await.unwrap();
    assert!(link.starts_with("https://connect.stripe.com/setup/"), "{link}");
    world.sim.stripe(|s| s.set_active(&fresh, true));
    assert_eq!(world.stripe.is_ready(&fresh).await, Ok(true));
    let short = order("k", 100, &world.account);
    world.sim.stripe(|s| s.set_active(&world.account, false));
    let reason = "insufficient_capabilities_for_transfer".to_owned();
    assert_eq!(world.stripe.advance(&short).await, Ok(Said::Failed { reason }));
}

#[tokio::test]
async fn stripes_webhooks_are_checked() {
    let world = World::new(0, 10_000).await;
    let _ = world.sim.stripe_events(0);
    world.stripe.advance(&order("k", 2_500, &world.account)).await.unwrap();
    let now = 1_800_000_000;
    let sent = world.sim.stripe_events(now).remove(0);
    let header = |delivery: &counterfoil_paysim::Delivery| {
        delivery.headers.iter().find(|(name, _)| name == "stripe-signature").unwrap().1.clone()
    };
    let hook = |header: &str, body: &str, now| world.stripe.hook(header, body.as_bytes(), now);
    let event = hook(&header(&sent), &sent.body, now + 300).unwrap();
    assert_eq!((event.kind.as_str(), event.payout.as_deref()), ("transfer.created", Some("k")));
    assert_eq!(hook(&header(&sent), &sent.body, now + 301), Err(HookError::OutOfTime(301)));
    assert_eq!(hook(&header(&sent), &sent.body, now - 301), Err(HookError::OutOfTime(301)));
    let changed = sent.body.replace("2500", "2501");
    assert_eq!(hook(&header(&sent), &changed, now), Err(HookError::WrongSignature));
    let other = signature("whsec_other", now, sent.body.as_bytes());
    assert_eq!(hook(&other, &sent.body, now), Err(HookError::WrongSignature));
    let shifted = header(&sent).replace("t=1800000000", "t=1800000001");
    assert_eq!(hook(&shifted, &sent.body, now), Err(HookError::WrongSignature));
    for none in ["", "t=1", "v1=00", "t=x,v1=00", "t=1,t=2,v1=00", "t=1,v1=zz"] {
        let refused = hook(none, &sent.body, now);
        let want = if none == "t=1" { HookError::WrongSignature } else { HookError::Unsigned };
        assert_eq!(refused, Err(want), "{none}");
    }
    // The next secret is known here before Stripe signs with it, and the last one after.
    let next = signature("whsec_next", now, sent.body.as_bytes());
    assert_eq!(hook(&next, &sent.body, now), Ok(event));
    let text = "no event";
    assert_eq!(
        hook(&signature(SimStripe::SECRET, now, text.as_bytes()), text, now),
        Err(HookError::Unreadable)
    );
}

#[tokio::test]
async fn a_signature_of_another_program_is_understood() {
    // hmac.new(b"whsec_paysim", b'1800000000.{"id":"evt_1","type":"x"}', hashlib.sha256) of Python 3.
    let world = World::new(0, 0).await;
    let header = "t=1800000000,v1=b9c35f2fc5e1e5afb5ef88a1c289d6302eaba302f3b7cec72c57ab80c10701e9";
    let told = world.stripe.hook(header, br#"{"id":"evt_1","type":"x"}"#, 1_800_000_000);
    let event =
        Event { id: "evt_1".to_owned(), kind: "x".to_owned(), payout: None, account: None, billed: None };
    assert_eq!(told, Ok(event));
}

#[tokio::test]
async fn paypal_pays_once_whatever_goes_wrong() {
    for fault in [
        Fault::LostRequest,
        Fault::LostAnswer,
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::TooMany,
        Fault::KeyInUse,
    ] {
        let world = World::new(0, 10_000).await;
        world.sim.paypal(|p| p.set_faults(Faults::script(&[Some(fault)])));
        let mut order = order("k", 2_500, "node@example.com");
        assert!(world.paypal.advance(&order).await.is_err(), "{fault:?}");
        order.asked = age(10);
        // A token that ended in between is asked for anew.
        world.sim.paypal(SimPayPal::end_tokens);
        let Ok(Said::Pending { reference }) = world.paypal.advance(&order).await else { panic!("{fault:?}") };
        world.finish("k", ItemStatus::Success);
        let paid = Said::Paid { reference: reference.clone(), returned: 0 };
        assert_eq!(world.paypal.advance(&order).await, Ok(paid.clone()), "{fault:?}");
        order.reference = Some(reference);
        assert_eq!(world.paypal.advance(&order).await, Ok(paid), "{fault:?}");
        assert_eq!(world.sim.paypal(|p| (p.available, p.items.len())), (7_500, 1), "{fault:?}");
    }
}

#[tokio::test]
async fn paypals_states_are_told_apart() {
    let world = World::new(0, 10_000).await;
    let mut order = order("k", 2_500, "node@example.com");
    let Ok(Said::Pending { reference }) = world.paypal.advance(&order).await else { panic!("not pending") };
    order.reference = Some(reference.clone());
    order.asked = age(1);
    world.finish("k", ItemStatus::Unclaimed);
    assert_eq!(world.paypal.advance(&order).await, Ok(Said::Pending { reference: reference.clone() }));
    world.finish("k", ItemStatus::Returned);
    assert_eq!(world.paypal.advance(&order).await, Ok(Said::Paid { reference, returned: 2_500 }));
    world.finish("k", ItemStatus::Failed);
    assert_eq!(world.paypal.advance(&order).await, Ok(Said::Failed { reason: "FAILED".to_owned() }));
    order.cents = 2_501;
    assert!(matches!(world.paypal.advance(&order).await, Err(Unclear::Contradiction(_))));
}

#[tokio::test]
async fn money_that_is_short_fails_only_where_nobody_asked_before() {
    let world = World::new(0, 2_400).await;
    let mut order = order("k", 2_500, "node@example.com");
    let failed = Said::Failed { reason: "INSUFFICIENT_FUNDS".to_owned() };
    assert_eq!(world.paypal.advance(&order).await, Ok(failed));
    order.asked = age(1);
    assert!(matches!(world.paypal.advance(&order).await, Err(Unclear::Later { status: 422, .. })));
    order.asked = age(29 * 24 * HOUR_S);
    assert_eq!(world.paypal.advance(&order).await, Err(Unclear::TooOld(29)));
}

#[tokio::test]
async fn paypals_webhooks_are_checked_by_paypal() {
    let world = World::new(0, 10_000).await;
    world.paypal.advance(&order("k", 2_500, "node@example.com")).await.unwrap();
    world.finish("k", ItemStatus::Success);
    let sent = world.sim.paypal_events().remove(0);
    let header = |name: &str| sent.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let event = world.paypal.hook(header, sent.body.as_bytes()).await.unwrap();
    assert_eq!((event.kind.as_str(), event.payout.as_deref()), ("PAYMENT.PAYOUTS-ITEM.SUCCEEDED", Some("k")));
    let forged = sent.body.replace("SUCCEEDED", "RETURNED");
    assert_eq!(world.paypal.hook(header, forged.as_bytes()).await, Err(HookError::WrongSignature));
    assert_eq!(world.paypal.hook(|_| None, sent.body.as_bytes()).await, Err(HookError::Unsigned));
    assert_eq!(world.paypal.hook(header, b"{}").await, Err(HookError::Unreadable));
}
