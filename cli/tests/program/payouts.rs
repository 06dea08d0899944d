//! Providers are paid as an operator does it: keys in files, commands, events over HTTP, and the services' own books.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use counterfoil_audit::NewEntry;
use counterfoil_identity::key_file::Keyring;
use counterfoil_ledger::calendar::billing_period;
use counterfoil_paysim::{Delivery, Fault, Faults, Simulator, Stripe, signature};
use counterfoil_router::home::RouterHome;
use counterfoil_router::{CURRENCY, Office, clock};
use counterfoil_spec::amount::{Cents, MicroUsd};
use counterfoil_spec::ids::{Hash, ProviderId, Serial};
use counterfoil_spec::payload::{Earnings, Payload, ProviderEarning, ProviderRegistered, Statement};
use serde_json::{Value, json};

use crate::harness::{Home, Program, text};
use crate::http;

/// A home in whose log a provider has earned 762.95 in a quarter that is closed.
fn earned() -> (Home, ProviderId) {
    let home = Home::new();
    let now = clock::now();
    let router = RouterHome::open_or_create(&home.path(), &Keyring::default(), now.seconds()).unwrap();
    let office = Office::open(&router, CURRENCY, Arc::new(move || now)).unwrap();
    let provider = ProviderId::from_bytes([0x17; 32]);
    let write = |n: u8, payload: Payload| {
        office.append_blocking(vec![NewEntry::new(Serial::from_bytes([n; 16]), payload)]).unwrap();
    };
    write(1, ProviderRegistered { provider, nodes: vec![], accounts: vec![], affiliated: false }.into());
    let (quarter, cents) = ("2026Q1".to_owned(), Cents(76_295));
    let statement = Statement {
        quarter: quarter.clone(),
        first: 0,
        end: 1,
        rules_hash: Hash::from_bytes([0; 32]),
        revenue: MicroUsd(0),
        pool: cents,
        carry_micro: 0,
        root: Hash::from_bytes([0; 32]),
        providers: 1,
    };
    write(2, statement.into());
    write(3, Earnings { quarter, providers: vec![ProviderEarning { provider, cents }] }.into());
    office.close().unwrap();
    (home, provider)
}

/// A key file that its owner alone may read.
fn key_file(home: &Home, name: &str, lines: &str) -> String {
    let path = home.beside(name);
    std::fs::write(&path, lines).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

fn router(home: &Home, sim: &Simulator) -> Program {
    let key = key_file(home, "stripe.key", Stripe::KEY);
    let hooks = key_file(home, "stripe.hooks", &format!("whsec_last\n{}\n", Stripe::SECRET));
    let fixed = ["router", "--json", "--listen", "127.0.0.1:0", "--stripe-url", &sim.base()];
    let keys = ["--stripe-key-file", &key, "--stripe-webhook-secret-file", &hooks];
    Program::start(&home.path(), &[&fixed[..], &keys[..]].concat())
}

fn post(program: &Program, event: &Delivery) -> u16 {
    let headers: Vec<(&str, &str)> = event.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    http::post(program.address(), "/webhooks/stripe", &headers, event.body.as_bytes()).status
}

fn post_all(program: &Program, sim: &Simulator) -> Vec<u16> {
    sim.stripe_events(clock::now().seconds().0).iter().map(|event| post(program, event)).collect()
}

fn simulator(tokio: &tokio::runtime::Runtime) -> Simulator {
    let sim = tokio.block_on(Simulator::start(([127, 0, 0, 1], 0).into(), 1, Faults::none())).unwrap();
    sim.stripe(|s| s.available = 100_000);
    sim
}

#[test]
fn a_provider_is_onboarded_paid_and_owed_what_comes_back() {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let sim = simulator(&tokio);
    let (home, provider) = earned();
    let id = provider.to_string();
    let program = router(&home, &sim);
    let payouts = |flags: &[&str]| home.json(&[&["provider", "payouts"], flags].concat());
    let shown = || home.json(&["provider", "status", &id]);
    assert_eq!(shown()["providers"][0]["owed_cents"], 76_295);
    assert_eq!(payouts(&[])["payouts"], json!([]));

    let begun = home.json(&["provider", "onboarding", &id]);
    assert!(text(&begun["link"]).starts_with("https://connect.stripe.com/setup/"), "{begun}");
    let account = sim.stripe(|s| s.accounts.keys().next().unwrap().clone());
    sim.stripe(|s| s.set_active(&account, true));
    assert!(post_all(&program, &sim).iter().all(|status| *status == 204));
    let would = payouts(&["--dry-run"]);
    assert_eq!(would["payable"], json!([{ "provider": id, "cents": 76_295 }]));

    // The answer is lost: the command says so, and said again finds what was carried out.
    sim.stripe(|s| s.set_faults(Faults::script(&[Some(Fault::LostAnswer)])));
    let broken = home.json_with(3, &["provider", "payouts"]);
    assert!(text(&broken["payouts"][0]["error"]).starts_with("no answer"), "{broken}");
    let paid = payouts(&[]);
    assert_eq!(
        (&paid["payouts"][0]["status"], &paid["payouts"][0]["cents"]),
        (&json!("paid"), &json!(76_295))
    );
    assert_eq!(sim.stripe(|s| (s.available, s.transfers.len())), (23_705, 1));

    let transfer = sim.stripe(|s| s.transfers.keys().next().unwrap().clone());
    assert_eq!(sim.stripe(|s| s.reverse(&transfer, 295)), 295);
    assert!(post_all(&program, &sim).iter().all(|status| *status == 204));
    let after = shown();
    assert_eq!(after["providers"][0]["owed_cents"], 295);
    assert_eq!(after["payouts"][0]["status"], json!({ "returned": 295 }));
    program.stop();
    let books = home.json(&["audit", "verify"]);
    assert_eq!(books["ok"], true, "{books}");
    // Neither keys nor the account stand in the log or in what was said.
    for secret in [Stripe::KEY, Stripe::SECRET, &account] {
        let errors = std::fs::read(home.path().with_extension("stderr")).unwrap();
        let log = std::fs::read(home.path().join("log/seg/00000000000000000000.log")).unwrap();
        for bytes in [errors, log] {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret}");
        }
    }
}

#[test]
fn an_invoice_that_was_paid_grants_its_month_and_one_that_is_wrong_is_counted() {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let sim = simulator(&tokio);
    let (home, _) = earned();
    let program = router(&home, &sim);
    let account = text(&home.json(&["account", "create"])["account"]).to_owned();
    let (starts, ends) = billing_period(clock::now().seconds(), 0);
    let id = sim.stripe(|s| s.invoice_paid(&account, "explorer", 500, (starts.0, ends.0)));
    let size = home.log_size();
    assert!(post_all(&program, &sim).iter().all(|status| *status == 204));
    assert_eq!(home.log_size(), size + 2);
    let shown = || home.json(&["account", "show", &account])["balance"]["available"].clone();
    assert_eq!(shown(), 550_000);
    // What is disputed rests; the free tokens do not.
    sim.stripe(|s| s.dispute(&id, 500)).unwrap();
    assert!(post_all(&program, &sim).iter().all(|status| *status == 204));
    assert_eq!(home.log_size(), size + 3);
    sim.stripe(|s| s.invoice_paid(&account, "explorer", 499, (starts.0, ends.0)));
    let refused = post_all(&program, &sim);
    assert!(!refused.is_empty() && refused.iter().all(|status| *status == 422), "{refused:?}");
    assert_eq!(home.log_size(), size + 3);
    let metrics = http::fetch(program.address(), "/metrics").lines();
    let counted = format!("counterfoil_payments_refused_total {}", refused.len());
    assert!(metrics.contains(&counted), "{metrics:?}");
    program.stop();
    assert_eq!(home.json(&["audit", "verify"])["ok"], true);
}

#[test]
fn an_event_that_is_not_signed_changes_nothing() {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let sim = simulator(&tokio);
    let (home, provider) = earned();
    let program = router(&home, &sim);
    home.json(&["provider", "onboarding", &provider.to_string()]);
    let account = sim.stripe(|s| s.accounts.keys().next().unwrap().clone());
    sim.stripe(|s| s.set_active(&account, true));
    let now = clock::now().seconds().0;
    let told = sim.stripe_events(now).remove(0);
    let signed_with = |secret: &str, seconds| {
        let header = signature(secret, seconds, told.body.as_bytes());
        Delivery { headers: vec![("stripe-signature".to_owned(), header)], ..told.clone() }
    };
    let size = home.log_size();
    assert_eq!(post(&program, &Delivery { headers: vec![], ..told.clone() }), 400);
    assert_eq!(post(&program, &signed_with("whsec_other", now)), 400);
    assert_eq!(post(&program, &signed_with(Stripe::SECRET, now - 400)), 400);
    let paypal = http::post(program.address(), "/webhooks/paypal", &[], told.body.as_bytes());
    assert_eq!(paypal.status, 404);
    assert_eq!(home.log_size(), size);
    // The secret before the last one still counts.
    assert_eq!(post(&program, &signed_with("whsec_last", now)), 204);
    assert_eq!(home.log_size(), size + 1);
    program.stop();
}

#[test]
fn what_cannot_be_paid_is_named() {
    let (home, provider) = earned();
    let id = provider.to_string();
    let away = home.ask(&["provider", "payouts"]);
    assert_eq!(
        (away.code, away.err.contains("a running router asks payment services")),
        (2, true),
        "{away:?}"
    );
    let program = home.router();
    let keyless = home.ask(&["provider", "onboarding", &id]);
    assert_eq!((keyless.code, keyless.err.contains("no key for Stripe")), (2, true), "{keyless:?}");
    let unknown = ProviderId::from_bytes([0x18; 32]).to_string();
    for command in ["status", "offboard"] {
        let refused = home.ask(&["provider", command, &unknown]);
        assert_eq!((refused.code, refused.err.contains("there is no provider")), (2, true), "{refused:?}");
    }
    let gone = home.json(&["provider", "offboard", &id]);
    assert_eq!(gone["offboarded"], true);
    let shown = home.json(&["provider", "status"]);
    assert_eq!(shown["providers"][0]["offboarded"], true, "{shown}");
    program.stop();
    let loose = key_file(&home, "loose.key", Stripe::KEY);
    std::fs::set_permissions(&loose, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = home.ask(&["router", "--listen", "127.0.0.1:0", "--stripe-key-file", &loose]);
    assert_eq!((refused.code, refused.err.contains("others may read it")), (2, true), "{refused:?}");
    let plain = home.ask(&["router", "--stripe-url", "http://api.stripe.com"]);
    assert_eq!(plain.code, 2, "{plain:?}");
    let shown: Value = home.json(&["audit", "verify"]);
    assert_eq!(shown["ok"], true);
}
