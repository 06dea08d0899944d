//! The simulator over its socket: what each provider does when nothing goes wrong, and with every fault.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod ask;

use counterfoil_paysim::{Fault, Faults, ItemStatus, PayPal, Simulator, Stripe, signature};
use serde_json::{Value, json};

use self::ask::{Answer, ask};

/// A simulator with money on both sides and one account that may be sent transfers.
async fn simulator(faults: &[Option<Fault>]) -> (Simulator, String) {
    let simulator = Simulator::start(([127, 0, 0, 1], 0).into(), 7, Faults::none()).await.unwrap();
    let bearer = format!("Bearer {}", Stripe::KEY);
    let wanted = json!({ "configuration": { "recipient": { "capabilities": { "stripe_balance": {
        "stripe_transfers": { "requested": true } } } } } });
    let headers = [("authorization", bearer.as_str())];
    let account =
        ask(&simulator, "POST", "/v2/core/accounts", &headers, &wanted.to_string()).await.text("/id");
    simulator.stripe(|stripe| {
        stripe.available = 10_000;
        stripe.set_active(&account, true);
        stripe.set_faults(Faults::script(faults));
    });
    simulator.paypal(|paypal| {
        paypal.available = 10_000;
        paypal.set_faults(Faults::script(faults));
    });
    (simulator, account)
}

async fn transfer(simulator: &Simulator, account: &str, key: &str, cents: u64) -> Answer {
    let bearer = format!("Bearer {}", Stripe::KEY);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    let body = format!(
        "amount={cents}&currency=usd&destination={account}&transfer_group=g&metadata%5Bpayout%5D={key}"
    );
    ask(simulator, "POST", "/v1/transfers", &headers, &body).await
}

fn moved(simulator: &Simulator, account: &str) -> (u64, u64) {
    simulator.stripe(|s| (s.available, s.accounts.get(account).unwrap().balance))
}

#[tokio::test]
async fn a_key_moves_money_once() {
    let (simulator, account) = simulator(&[]).await;
    let first = transfer(&simulator, &account, "k", 2_500).await;
    let again = transfer(&simulator, &account, "k", 2_500).await;
    assert_eq!((first.status, first.replayed), (200, false));
    assert_eq!((again.status, again.replayed), (200, true));
    assert_eq!(first.body, again.body);
    assert_eq!(moved(&simulator, &account), (7_500, 2_500));
}

#[tokio::test]
async fn a_key_with_another_body_is_an_idempotency_error() {
    let (simulator, account) = simulator(&[]).await;
    transfer(&simulator, &account, "k", 2_500).await;
    let other = transfer(&simulator, &account, "k", 2_501).await;
    assert_eq!((other.status, other.text("/error/type")), (400, "idempotency_error".to_owned()));
    assert_eq!(moved(&simulator, &account), (7_500, 2_500));
}

#[tokio::test]
async fn every_fault_does_what_it_says() {
    // What is seen, what is seen again with the same key, and what moved in the end.
    let cases = [
        (Fault::LostRequest, 0, 200, 2_500),
        (Fault::LostAnswer, 0, 200, 2_500),
        (Fault::ErrorBefore, 500, 500, 0),
        (Fault::ErrorAfter, 500, 500, 2_500),
        (Fault::TooMany, 429, 200, 2_500),
        (Fault::KeyInUse, 409, 200, 2_500),
    ];
    for (fault, seen, again, balance) in cases {
        let (simulator, account) = simulator(&[Some(fault)]).await;
        let first = transfer(&simulator, &account, "k", 2_500).await.status;
        let second = transfer(&simulator, &account, "k", 2_500).await.status;
        assert_eq!((first, second, moved(&simulator, &account).1), (seen, again, balance), "{fault:?}");
    }
}

#[tokio::test]
async fn too_little_money_is_refused_and_the_refusal_saved() {
    let (simulator, account) = simulator(&[]).await;
    let short = transfer(&simulator, &account, "k", 10_001).await;
    assert_eq!((short.status, short.text("/error/code")), (400, "balance_insufficient".to_owned()));
    simulator.stripe(|stripe| stripe.available = 20_000);
    let again = transfer(&simulator, &account, "k", 10_001).await;
    assert_eq!((again.status, again.replayed), (400, true));
    assert_eq!(moved(&simulator, &account), (20_000, 0));
}

#[tokio::test]
async fn an_unknown_destination_saves_nothing() {
    let (simulator, account) = simulator(&[]).await;
    assert_eq!(transfer(&simulator, "acct_none", "k", 100).await.status, 404);
    assert_eq!(transfer(&simulator, &account, "k", 100).await.status, 200);
}

#[tokio::test]
async fn a_wrong_key_of_the_api_is_turned_away() {
    let (simulator, _) = simulator(&[]).await;
    let answer = ask(&simulator, "GET", "/v1/balance", &[("authorization", "Bearer sk_other")], "").await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn reversals_come_back_and_no_more_than_was_sent() {
    let (simulator, account) = simulator(&[]).await;
    let id = transfer(&simulator, &account, "k", 2_500).await.text("/id");
    let bearer = format!("Bearer {}", Stripe::KEY);
    let path = format!("/v1/transfers/{id}/reversals");
    let back = |cents: u64| {
        let (path, bearer, simulator) = (path.clone(), bearer.clone(), &simulator);
        async move {
            let headers = [("authorization", bearer.as_str())];
            ask(simulator, "POST", &path, &headers, &format!("amount={cents}")).await.status
        }
    };
    assert_eq!((back(1_000).await, back(1_501).await, back(1_500).await), (200, 400, 200));
    assert_eq!(moved(&simulator, &account), (10_000, 0));
}

#[tokio::test]
async fn events_are_signed_with_every_secret() {
    let (simulator, account) = simulator(&[]).await;
    simulator.stripe(|stripe| stripe.secrets.push("whsec_next".to_owned()));
    let _ = simulator.stripe_events(0);
    transfer(&simulator, &account, "k", 2_500).await;
    let events = simulator.stripe_events(1_800_000_000);
    let event = events.first().unwrap();
    let header = event.headers.iter().find(|(name, _)| name == "stripe-signature").unwrap();
    let body = event.body.as_bytes();
    let next = signature("whsec_next", 1_800_000_000, body);
    let both =
        format!("{},{}", signature(Stripe::SECRET, 1_800_000_000, body), next.split_once(',').unwrap().1);
    assert_eq!(header.1, both);
    let told: Value = serde_json::from_str(&event.body).unwrap();
    assert_eq!(told.get("type"), Some(&json!("transfer.created")));
    assert_eq!(simulator.stripe_events(0), []);
}

async fn bearer(simulator: &Simulator) -> String {
    let pair = format!("{}:{}", PayPal::CLIENT, PayPal::SECRET);
    let basic = format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()));
    let headers = [("authorization", basic.as_str())];
    let token = ask(simulator, "POST", "/v1/oauth2/token", &headers, "grant_type=client_credentials").await;
    format!("Bearer {}", token.text("/access_token"))
}

async fn batch(simulator: &Simulator, bearer: &str, sender: &str, value: &str) -> Answer {
    let body = json!({
        "sender_batch_header": { "sender_batch_id": sender },
        "items": [{ "recipient_type": "EMAIL", "receiver": "node@example.com", "sender_item_id": sender,
            "amount": { "currency": "USD", "value": value } }],
    });
    let headers = [("authorization", bearer)];
    ask(simulator, "POST", "/v1/payments/payouts", &headers, &body.to_string()).await
}

#[tokio::test]
async fn a_batch_that_comes_again_leads_to_the_first() {
    for fault in [None, Some(Fault::LostAnswer), Some(Fault::ErrorAfter)] {
        let (simulator, _) = simulator(&[fault]).await;
        let bearer = bearer(&simulator).await;
        batch(&simulator, &bearer, "s", "25.00").await;
        let again = batch(&simulator, &bearer, "s", "25.00").await;
        assert_eq!((again.status, again.text("/name")), (400, "USER_BUSINESS_ERROR".to_owned()));
        let link = again.text("/details/0/link/0/href");
        let path = link.strip_prefix(&simulator.base()).unwrap();
        let shown = ask(&simulator, "GET", path, &[("authorization", &bearer)], "").await;
        assert_eq!(shown.text("/items/0/payout_item/amount/value"), "25.00");
        assert_eq!(simulator.paypal(|p| p.available), 7_500);
    }
}

#[tokio::test]
async fn items_that_fail_or_are_cancelled_bring_their_money_back() {
    let (simulator, _) = simulator(&[]).await;
    let bearer = bearer(&simulator).await;
    assert_eq!(batch(&simulator, &bearer, "short", "100.01").await.status, 422);
    batch(&simulator, &bearer, "one", "25.00").await;
    batch(&simulator, &bearer, "two", "30.00").await;
    let of = |sender: &str| {
        simulator.paypal(|p| p.items.iter().find(|(_, i)| i.sender_item_id == sender).unwrap().0.clone())
    };
    let (one, two) = (of("one"), of("two"));
    simulator.paypal(|p| p.become_of(&one, ItemStatus::Failed));
    simulator.paypal(|p| p.become_of(&two, ItemStatus::Unclaimed));
    let cancel = |id: &str| format!("/v1/payments/payouts-item/{id}/cancel");
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(
        ask(&simulator, "POST", &cancel(&one), &headers, "").await.text("/name"),
        "ITEM_INCORRECT_STATUS"
    );
    let back = ask(&simulator, "POST", &cancel(&two), &headers, "").await;
    assert_eq!(back.text("/transaction_status"), "RETURNED");
    assert_eq!(simulator.paypal(|p| (p.available, p.paid().len())), (10_000, 0));
}

#[tokio::test]
async fn only_its_own_events_are_genuine() {
    let (simulator, _) = simulator(&[]).await;
    let bearer = bearer(&simulator).await;
    batch(&simulator, &bearer, "one", "25.00").await;
    simulator.paypal(PayPal::go_on);
    let event = simulator.paypal_events().remove(0);
    let header =
        |name: &str| event.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap();
    let told: Value = serde_json::from_str(&event.body).unwrap();
    let mut asked = json!({
        "auth_algo": header("paypal-auth-algo"), "cert_url": header("paypal-cert-url"),
        "transmission_id": header("paypal-transmission-id"), "transmission_sig": header("paypal-transmission-sig"),
        "transmission_time": header("paypal-transmission-time"), "webhook_id": PayPal::WEBHOOK, "webhook_event": told,
    });
    let path = "/v1/notifications/verify-webhook-signature";
    let headers = [("authorization", bearer.as_str())];
    let genuine = ask(&simulator, "POST", path, &headers, &asked.to_string()).await;
    assert_eq!(genuine.text("/verification_status"), "SUCCESS");
    asked["webhook_event"]["event_type"] = json!("PAYMENT.PAYOUTS-ITEM.RETURNED");
    let forged = ask(&simulator, "POST", path, &headers, &asked.to_string()).await;
    assert_eq!(forged.text("/verification_status"), "FAILURE");
    simulator.paypal(PayPal::end_tokens);
    assert_eq!(ask(&simulator, "POST", path, &headers, &asked.to_string()).await.status, 401);
}
