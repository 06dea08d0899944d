//! Paying through the router's own record and the simulated services, over a socket: under seeds, with everything that
//! can go wrong, ledger, log and the services' books agree to the cent.
//!
//! `COUNTERFOIL_PAYOUT_SEEDS=10000 cargo test --workspace --test payouts` runs more seeds; a seed that fails is printed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests stop at the unexpected"
)]

mod payday;
mod subscriptions;

use counterfoil_audit::LogReader;
use counterfoil_ledger::{Ledger, LedgerRule, NotPayable, PayoutStatus};
use counterfoil_paysim::{Fault, Faults, PayPal as SimPayPal};
use counterfoil_router::payout::{PayError, Payday};
use counterfoil_spec::amount::Cents;
use counterfoil_spec::rule::{Rule as _, Seen};

use self::payday::{Network, Run};

const DAY_S: u64 = 86_400;

/// How many seeds are run where nothing is said.
const SEEDS: u64 = 200;
/// How many of them share a log.
const SEEDS_OF_A_LOG: usize = 50;

#[tokio::test]
async fn no_money_is_paid_twice_and_none_is_lost() {
    let seeds = std::env::var("COUNTERFOIL_PAYOUT_SEEDS").ok();
    let seeds = seeds.map_or(SEEDS, |n| n.parse().unwrap());
    let all: Vec<u64> = (0..seeds).collect();
    for some in all.chunks(SEEDS_OF_A_LOG) {
        let network = Network::new();
        for seed in some {
            let run = Run::begin(&network, *seed, 3).await;
            for _ in 0..4 {
                run.round().await;
            }
            run.finish().await;
            run.check();
        }
        replayed(&network);
    }
}

/// The log alone gives the same books, and its rules find no fault in it.
fn replayed(network: &Network) {
    let reader = LogReader::open(network.office.log_folder()).unwrap();
    let (mut again, mut rule, mut faults) = (Ledger::default(), LedgerRule::default(), Vec::new());
    reader
        .for_each(0, |index, _, body| {
            again.apply(index, body).unwrap();
            rule.entry(&Seen { index, body }, &mut faults);
        })
        .unwrap();
    rule.finish(&mut faults);
    assert_eq!(faults, []);
    assert_eq!(again.money_book().trial_balance(), Some(0));
    network.ledger(|ledger| assert_eq!(*ledger, again));
}

#[tokio::test]
async fn an_answer_that_was_lost_is_found_again_by_another_process() {
    let network = Network::new();
    let run = Run::begin(&network, 1, 1).await;
    let provider = run.stripe_provider();
    run.sim.stripe(|s| s.set_faults(Faults::script(&[Some(Fault::LostAnswer)])));
    let broken = run.payday.pay(&network.office, network.home(), provider).await;
    assert!(matches!(broken, Err(PayError::Unclear(_))), "{broken:?}");
    // What a process that starts anew knows is the log and the vault.
    let anew = run.another_payday();
    let again = anew.pay(&network.office, network.home(), provider).await;
    let open = Payday::unsettled(&network.office);
    assert!(matches!(again, Err(PayError::NotPayable(NotPayable::Open(id))) if open == [id]), "{again:?}");
    let looked = anew.look(&network.office, network.home(), open[0]).await.unwrap();
    assert_eq!(looked.state.status, PayoutStatus::Paid);
    assert_eq!(run.sim.stripe(|s| s.transfers.len()), 1);
    // Looking again writes nothing.
    let size = network.office.log_size();
    anew.look(&network.office, network.home(), open[0]).await.unwrap();
    assert_eq!(network.office.log_size(), size);
}

#[tokio::test]
async fn a_failure_is_owed_again_and_paid_under_another_key() {
    let network = Network::new();
    let run = Run::begin(&network, 2, 1).await;
    let provider = run.stripe_provider();
    let owed = network.ledger(|l| l.owed(&provider));
    run.set_active(provider, false);
    let failed = run.payday.pay(&network.office, network.home(), provider).await.unwrap();
    assert_eq!(failed.state.status, PayoutStatus::Failed);
    assert_eq!(network.ledger(|l| l.owed(&provider)), owed);
    run.set_active(provider, true);
    let paid = run.payday.pay(&network.office, network.home(), provider).await.unwrap();
    assert_eq!((paid.state.status, paid.state.cents), (PayoutStatus::Paid, owed));
    assert_ne!(paid.payout, failed.payout);
    assert_eq!(network.ledger(|l| l.owed(&provider)), Cents(0));
}

#[tokio::test]
async fn nothing_is_intended_that_the_service_could_not_pay() {
    let network = Network::new();
    let run = Run::begin(&network, 3, 1).await;
    let provider = run.stripe_provider();
    run.sim.stripe(|s| s.available = 1);
    let size = network.office.log_size();
    let short = run.payday.pay(&network.office, network.home(), provider).await.unwrap_err();
    assert!(
        matches!(&short, PayError::Caller(words) if words.starts_with("the payment service holds 1 cents"))
    );
    let keyless = Payday::default().pay(&network.office, network.home(), provider).await.unwrap_err();
    assert!(matches!(keyless, PayError::NoService("Stripe")), "{keyless}");
    assert_eq!(network.office.log_size(), size);
}

#[tokio::test]
async fn nothing_is_paid_while_a_reserve_is_about_to_end() {
    let network = Network::new();
    let run = Run::begin(&network, 5, 1).await;
    let provider = run.stripe_provider();
    let before = network.ledger(|l| l.owed(&provider));
    network.reserve(1_000);
    network.earn(&[(provider, 10_000)]);
    network.wait(180 * DAY_S - 60);
    let size = network.office.log_size();
    let soon = run.payday.pay(&network.office, network.home(), provider).await;
    assert!(matches!(soon, Err(PayError::Releasing)), "{soon:?}");
    assert_eq!(network.office.log_size(), size);
    network.wait(60);
    let paid = run.payday.pay(&network.office, network.home(), provider).await.unwrap();
    assert_eq!((paid.state.status, paid.state.cents), (PayoutStatus::Paid, Cents(before.0 + 10_000)));
}

#[tokio::test]
async fn a_recipient_is_paid_once_its_holder_has_answered() {
    let network = Network::new();
    let run = Run::begin(&network, 4, 0).await;
    let provider = network.provider();
    network.earn(&[(provider, 2_500)]);
    let begun = run.payday.onboard_stripe(&network.office, network.home(), provider).await.unwrap();
    assert!(!begun.ready && begun.link.is_some());
    let early = run.payday.pay(&network.office, network.home(), provider).await;
    assert!(matches!(early, Err(PayError::NotPayable(NotPayable::NotReady))), "{early:?}");
    run.set_active(provider, true);
    run.heed_all().await;
    assert_eq!(Payday::payable(&network.office), [(provider, Cents(2_500))]);
    // Another destination waits for seven days.
    let address = "node@example.com";
    run.payday.onboard_paypal(&network.office, network.home(), provider, address).await.unwrap();
    network.wait(7 * DAY_S - 1);
    assert_eq!(Payday::payable(&network.office), []);
    network.wait(1);
    let paid = run.payday.pay(&network.office, network.home(), provider).await.unwrap();
    assert_eq!(paid.state.status, PayoutStatus::Submitted);
    assert_eq!(
        run.sim.paypal(|p| p.items.values().map(|i| i.receiver.clone()).collect::<Vec<_>>()),
        [address]
    );
    run.sim.paypal(SimPayPal::go_on);
}
