//! A network's record without nodes, providers with earnings, and services that fail by seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use counterfoil_audit::NewEntry;
use counterfoil_identity::key_file::Keyring;
use counterfoil_identity::random;
use counterfoil_ledger::settle::Quarter;
use counterfoil_ledger::{Ledger, MoneyAccount, PayoutStatus, founding_rules, payout_key};
use counterfoil_payouts::Secret;
use counterfoil_payouts::paypal::PayPal;
use counterfoil_payouts::stripe::Stripe;
use counterfoil_paysim::{Chance, Faults, PayPal as SimPayPal, Simulator, Stripe as SimStripe};
use counterfoil_router::home::RouterHome;
use counterfoil_router::payout::{Payday, Services};
use counterfoil_router::{CURRENCY, Office};
use counterfoil_spec::amount::{Cents, MicroUsd};
use counterfoil_spec::ids::{AccountId, Hash, ProviderId, Serial};
use counterfoil_spec::payload::{
    AccountOpened, Earnings, Payload, ProviderEarning, ProviderOffboarded, ProviderRegistered, Rail, Rules,
    Statement,
};
use counterfoil_spec::time::{Millis, Seconds};

/// 2027-01-01T00:00:00Z.
const NEW_YEAR: u64 = 1_798_761_600;
const DAY_S: u64 = 86_400;
/// What the services hold, in cents.
const FUNDS: u64 = 100_000_000;

pub(crate) struct Network {
    pub(crate) office: Arc<Office>,
    folder: tempfile::TempDir,
    now: Arc<AtomicU64>,
}

impl Network {
    pub(crate) fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap(), Arc::new(AtomicU64::new(NEW_YEAR)))
    }

    fn of(folder: tempfile::TempDir, now: Arc<AtomicU64>) -> Self {
        let home = RouterHome::open_or_create(folder.path(), &Keyring::default(), Seconds(NEW_YEAR)).unwrap();
        let clock = Arc::clone(&now);
        let clock = Arc::new(move || Millis(clock.load(Ordering::SeqCst) * 1_000));
        let office = Arc::new(Office::open(&home, CURRENCY, clock).unwrap());
        Self { office, folder, now }
    }

    pub(crate) fn home(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        self.office.read(look)
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    fn write(&self, payload: impl Into<Payload>) {
        self.office.append_blocking(vec![NewEntry::new(random::serial(), payload)]).unwrap();
    }

    /// A metered account.
    pub(crate) fn account(&self) -> AccountId {
        let account = AccountId::from_bytes(random::bytes());
        self.write(AccountOpened { account, metered: true, country: None });
        account
    }

    /// From now on such a part of what is earned is held back.
    pub(crate) fn reserve(&self, bps: u32) {
        let version = self.ledger(|l| l.rules().version) + 1;
        self.write(Rules { reserve_bps: Some(bps), ..founding_rules(version) });
    }

    /// What a process that starts anew knows: the log and the home.
    pub(crate) fn restart(self) -> Self {
        let Self { office, folder, now } = self;
        office.close().unwrap();
        drop(office);
        Self::of(folder, now)
    }

    pub(crate) fn now_s(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    /// A registered provider.
    pub(crate) fn provider(&self) -> ProviderId {
        let provider = ProviderId::from_bytes(random::bytes());
        self.write(ProviderRegistered { provider, nodes: vec![], accounts: vec![], affiliated: false });
        provider
    }

    /// Closes the next quarter with these earnings.
    pub(crate) fn earn(&self, of: &[(ProviderId, i64)]) {
        let last = self.ledger(|l| l.statements().last().cloned());
        let first = last.as_ref().map_or(0, |s| s.end);
        let quarter =
            last.map_or("2026Q4".to_owned(), |s| s.quarter.parse::<Quarter>().unwrap().next().to_string());
        let pool = Cents(of.iter().map(|(_, cents)| cents).sum());
        let mut providers: Vec<_> = of
            .iter()
            .map(|(provider, cents)| ProviderEarning { provider: *provider, cents: Cents(*cents) })
            .collect();
        providers.sort_by_key(|p| p.provider);
        self.write(Statement {
            quarter: quarter.clone(),
            first,
            end: self.office.log_size(),
            rules_hash: Hash::from_bytes([0; 32]),
            revenue: MicroUsd(0),
            pool,
            carry_micro: 0,
            root: Hash::from_bytes([0; 32]),
            providers: 0,
        });
        self.write(Earnings { quarter, providers });
    }
}

/// One seed: its providers, and services of its own.
pub(crate) struct Run<'a> {
    network: &'a Network,
    pub(crate) sim: Simulator,
    pub(crate) payday: Payday,
    seed: u64,
    chance: std::sync::Mutex<Chance>,
    providers: Vec<(ProviderId, Rail)>,
    earned: i64,
}

impl<'a> Run<'a> {
    /// With so many providers, by turns of Stripe and PayPal, each of which has earned something.
    pub(crate) async fn begin(network: &'a Network, seed: u64, count: usize) -> Self {
        let sim = Simulator::start(([127, 0, 0, 1], 0).into(), seed, Faults::none()).await.unwrap();
        sim.stripe(|s| s.available = FUNDS);
        sim.paypal(|p| p.available = FUNDS);
        let payday = Payday::through(services(&sim));
        let mut chance = Chance::new(seed);
        let mut run = Self {
            network,
            sim,
            payday,
            seed,
            chance: Chance::new(!seed).into(),
            providers: vec![],
            earned: 0,
        };
        let mut shares = Vec::new();
        for n in 0..count {
            let provider = network.provider();
            let rail = if n % 2 == 0 { Rail::Stripe } else { Rail::Paypal };
            run.onboard(provider, rail).await;
            run.providers.push((provider, rail));
            shares.push((provider, 2_500 + i64::try_from(chance.below(50_000)).unwrap()));
        }
        if count > 0 {
            network.earn(&shares);
            run.earned = shares.iter().map(|(_, cents)| cents).sum();
            let _ = (run.sim.stripe_events(0), run.sim.paypal_events());
        }
        run
    }

    async fn onboard(&self, provider: ProviderId, rail: Rail) {
        let (office, home) = (&self.network.office, self.network.home());
        match rail {
            Rail::Stripe => {
                self.payday.onboard_stripe(office, home, provider).await.unwrap();
                self.set_active(provider, true);
                assert!(self.payday.onboard_stripe(office, home, provider).await.unwrap().ready);
            }
            Rail::Paypal => {
                let address = format!("{}@example.com", &provider.to_string()[..8]);
                self.payday.onboard_paypal(office, home, provider, &address).await.unwrap();
            }
        }
    }

    pub(crate) fn another_payday(&self) -> Payday {
        Payday::through(services(&self.sim))
    }

    pub(crate) fn stripe_provider(&self) -> ProviderId {
        self.providers[0].0
    }

    /// Lets the account that was made last, which is this provider's, be sent transfers, or not.
    pub(crate) fn set_active(&self, provider: ProviderId, active: bool) {
        assert!(self.network.ledger(|l| l.provider(&provider).is_some()));
        self.sim.stripe(|s| {
            let account = s.accounts.keys().next_back().unwrap().clone();
            s.set_active(&account, active);
        });
    }

    /// Pays, looks, is told, and time goes on; everything may break off.
    pub(crate) async fn round(&self) {
        let often = 600;
        let seed = self.chance.lock().unwrap().next();
        self.sim.stripe(|s| s.set_faults(Faults::seeded(seed, often)));
        self.sim.paypal(|p| p.set_faults(Faults::seeded(!seed, often)));
        let (office, home) = (&self.network.office, self.network.home());
        for (provider, _) in &self.providers {
            // What breaks off, or is not payable, is what the rounds are about.
            let _ = self.payday.pay(office, home, *provider).await;
        }
        self.sim.paypal(SimPayPal::go_on);
        let takes_back = self.chance.lock().unwrap().per_mille(300);
        if takes_back {
            let id = self.sim.stripe(|s| s.transfers.keys().next().cloned());
            let cents = 1 + self.chance.lock().unwrap().below(5_000);
            id.map(|id| self.sim.stripe(|s| s.reverse(&id, cents)));
        }
        self.heed_all().await;
        let waits = [30, 3_600, DAY_S, 2 * DAY_S];
        let wait = *self.chance.lock().unwrap().one_of(&waits).unwrap();
        self.network.wait(wait);
        if wait >= DAY_S {
            self.sim.stripe(SimStripe::forget_keys);
        }
        for payout in self.own_unsettled() {
            let _ = self.payday.look(office, home, payout).await;
        }
    }

    /// All events that were sent, once more or less, in any order; none with a wrong signature.
    pub(crate) async fn heed_all(&self) {
        let (office, home) = (&self.network.office, self.network.home());
        let now = self.network.now.load(Ordering::SeqCst);
        let mut events = Vec::new();
        for sent in self.sim.stripe_events(now) {
            let header = sent.headers.iter().find(|(name, _)| name == "stripe-signature").unwrap();
            events.push(self.payday.stripe_event(&header.1, sent.body.as_bytes(), now).unwrap().unwrap());
        }
        for sent in self.sim.paypal_events() {
            let header = |name: &str| sent.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
            events.push(self.payday.paypal_event(header, sent.body.as_bytes()).await.unwrap().unwrap());
        }
        for event in events {
            let _ = self.payday.heed(office, home, &event).await;
        }
    }

    fn own_unsettled(&self) -> Vec<Serial> {
        let own = |payout: &Serial| {
            let of = self.network.ledger(|l| l.payout(payout).unwrap().provider);
            self.providers.iter().any(|(provider, _)| *provider == of)
        };
        Payday::unsettled(&self.network.office).into_iter().filter(own).collect()
    }

    /// Nothing goes wrong any more; all that is under way is decided and looked at. Then everybody leaves and is paid.
    pub(crate) async fn finish(&self) {
        self.sim.stripe(|s| s.set_faults(Faults::none()));
        self.sim.paypal(|p| p.set_faults(Faults::none()));
        for (provider, _) in &self.providers {
            self.network.write(ProviderOffboarded { provider: *provider });
        }
        let (office, home) = (&self.network.office, self.network.home());
        for turn in 0..5 {
            self.network.wait(3_600);
            self.look_at_own().await;
            // In the last turns what waits is decided, and nobody is paid any more.
            for (provider, _) in self.providers.iter().filter(|_| turn < 3) {
                let _ = self.payday.pay(office, home, *provider).await;
            }
            self.sim.paypal(SimPayPal::go_on);
        }
        self.heed_all().await;
        self.look_at_own().await;
    }

    /// Where nothing goes wrong an answer is never unclear, but for a saved error that is not an hour old.
    async fn look_at_own(&self) {
        for payout in self.own_unsettled() {
            let looked = self.payday.look(&self.network.office, self.network.home(), payout).await;
            looked.unwrap_or_else(|e| panic!("seed {}: {payout}: {e}", self.seed));
        }
    }

    /// To the cent, for each payout and for each provider.
    pub(crate) fn check(&self) {
        self.network.ledger(|ledger| self.check_against(ledger));
    }

    fn check_against(&self, ledger: &Ledger) {
        let seed = self.seed;
        let mut sent: BTreeMap<String, u64> = self.sim.stripe(|s| s.paid());
        sent.extend(self.sim.paypal(|p| p.paid()));
        let own = |of: &ProviderId| self.providers.iter().any(|(provider, _)| provider == of);
        let mut booked = BTreeMap::new();
        for (serial, state) in ledger.payouts().filter(|(_, state)| own(&state.provider)) {
            let gone = match state.status {
                PayoutStatus::Paid => state.cents.0,
                PayoutStatus::Returned(back) => state.cents.0 - back.0,
                PayoutStatus::Failed => 0,
                PayoutStatus::Submitted => panic!("seed {seed}: {serial} is still under way"),
            };
            booked.insert(payout_key(serial), u64::try_from(gone).unwrap());
        }
        sent.retain(|_, cents| *cents > 0);
        booked.retain(|_, cents| *cents > 0);
        assert_eq!(sent, booked, "seed {seed}: the services' books and the ledger's");
        let owed: i64 = self.providers.iter().map(|(provider, _)| ledger.owed(provider).0).sum();
        let gone: u64 = booked.values().sum();
        assert_eq!(i64::try_from(gone).unwrap() + owed, self.earned, "seed {seed}: what was earned");
        let left = self.sim.stripe(|s| s.available) + self.sim.paypal(|p| p.available);
        assert_eq!(left + gone, 2 * FUNDS, "seed {seed}: what the services hold");
        assert_eq!(ledger.money_book().balance(&MoneyAccount::InTransit), 0, "seed {seed}");
    }
}

pub(crate) fn services(sim: &Simulator) -> Services {
    let secret = |text: &str| Secret::new(text).unwrap();
    let base = || sim.base().parse().unwrap();
    let (client, webhook) = (SimPayPal::CLIENT.to_owned(), SimPayPal::WEBHOOK.to_owned());
    Services {
        stripe: Some(Stripe::new(base(), secret(SimStripe::KEY), vec![secret(SimStripe::SECRET)])),
        paypal: Some(PayPal::new(base(), client, secret(SimPayPal::SECRET), webhook)),
        back: "https://router.example/".to_owned(),
    }
}
