//! Paying providers: the intent goes into the log, then the payment service is asked, then what it says goes into the log.
//!
//! ```text
//! decide what is payable -> append `payout` -> durable -> ask under its key -> append `psp-report`
//! ```
//!
//! Whatever breaks off is taken up again by [`Payday::look`], which asks for the same payout under the same key. Webhooks
//! only say what to look at.

pub(crate) mod billing;
pub(crate) mod command;
mod onboarding;
mod vault;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use counterfoil_audit::NewEntry;
use counterfoil_identity::random;
use counterfoil_ledger::invoice::NotBooked;
use counterfoil_ledger::{NotPayable, Payable, PayoutState, PayoutStatus, payout_key, payout_of_key};
use counterfoil_payouts::paypal::PayPal;
use counterfoil_payouts::stripe::Stripe;
use counterfoil_payouts::{Asked, Event, HookError, Order, Payouts as _, Said, Unclear};
use counterfoil_spec::amount::Cents;
use counterfoil_spec::ids::{ProviderId, Serial};
use counterfoil_spec::payload::{Payout, PayoutOutcome, PspReport, Rail};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

use crate::office::{CURRENCY, Office, OfficeError, entry};
use crate::settlement::dispute::MARGIN_S;
pub use billing::NotTaken;
pub use vault::DestinationError;

/// Money that went out may come back: a PayPal item that nobody claims does after 30 days.
const WATCHED_S: u64 = 35 * 86_400;

/// The payment services that a router may ask.
#[derive(Debug, Default)]
pub struct Services {
    /// Stripe, where the router has a key.
    pub stripe: Option<Stripe>,
    /// PayPal, where the router has a client and its secret.
    pub paypal: Option<PayPal>,
    /// Where Stripe's pages send the holder of an account afterwards.
    pub back: String,
}

/// Why nothing was paid, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum PayError {
    /// The router has no key of the service.
    #[error(
        "this router has no key for {0}; name one with --stripe-key-file, or --paypal-client and --paypal-secret-file"
    )]
    NoService(&'static str),
    /// The provider's money cannot be paid out.
    #[error(transparent)]
    NotPayable(#[from] NotPayable),
    /// No entry intended it.
    #[error("there is no payout {0}")]
    UnknownPayout(Serial),
    /// The destination.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// Nobody knows whether money moved; it is asked for again.
    #[error(transparent)]
    Unclear(#[from] Unclear),
    /// Stripe and PayPal are told apart by what a destination needs.
    #[error("{0}")]
    Caller(String),
    /// An invoice that was paid.
    #[error("an invoice is not booked: {0}")]
    NotBooked(#[from] NotBooked),
    /// What was given back or is disputed.
    #[error("what was taken back is not booked: {0}; look at Stripe's page")]
    NotTaken(#[from] NotTaken),
    /// What is payable would be another sum in a moment.
    #[error("what is held back of the provider's earnings changes within a minute; try again then")]
    Releasing,
    /// The record failed.
    #[error(transparent)]
    Office(#[from] OfficeError),
    /// A task of the program ended early.
    #[error("the program is stopping")]
    Stopping,
}

/// Where a payout stands after it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Which.
    pub payout: Serial,
    /// As the log has it now.
    pub state: PayoutState,
}

/// Events that are looked at or checked at one time.
const MAX_EVENTS: usize = 16;

/// One round of paying at a time.
#[derive(Debug)]
pub struct Payday {
    services: OnceLock<Services>,
    /// Held by whoever asks a service, so that one payout is asked for once at a time.
    alone: Mutex<()>,
    events: Semaphore,
}

impl Default for Payday {
    fn default() -> Self {
        Self { services: OnceLock::new(), alone: Mutex::new(()), events: Semaphore::new(MAX_EVENTS) }
    }
}

impl Payday {
    /// With the services that may be asked, from now on.
    #[must_use]
    pub fn through(services: Services) -> Self {
        let payday = Self::default();
        payday.begin(services);
        payday
    }

    /// Names the services, once.
    pub fn begin(&self, services: Services) {
        // A second time is a fault of the program; the first holds.
        let _ = self.services.set(services);
    }

    /// Leave to look at one more event; `None` where too many are looked at.
    pub(crate) fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.events.try_acquire().ok()
    }

    /// Looks at everything that is not settled, where a service can be asked at all.
    pub(crate) async fn look_at_all(&self, office: &Arc<Office>, home: &Path) {
        if self.services.get().is_none() {
            return;
        }
        for payout in Self::unsettled(office) {
            if let Err(error) = self.look(office, home, payout).await {
                tracing::warn!(%payout, %error, "what became of a payout is not known yet");
            }
        }
    }

    fn stripe(&self) -> Result<&Stripe, PayError> {
        self.services.get().and_then(|s| s.stripe.as_ref()).ok_or(PayError::NoService("Stripe"))
    }

    fn paypal(&self) -> Result<&PayPal, PayError> {
        self.services.get().and_then(|s| s.paypal.as_ref()).ok_or(PayError::NoService("PayPal"))
    }

    /// Pays a provider all that is payable to it now.
    ///
    /// # Errors
    /// [`PayError`]. After [`PayError::Unclear`] the payout is in the log and is looked at again.
    pub async fn pay(
        &self,
        office: &Arc<Office>,
        home: &Path,
        provider: ProviderId,
    ) -> Result<Looked, PayError> {
        let _alone = self.alone.lock().await;
        let payable = office.books().ledger.payable(&provider, office.now().seconds())?;
        // Nothing is written down that could not be asked for.
        let destination = vault::read(home, &payable.destination.commitment)?;
        let balance = match payable.destination.rail {
            Rail::Stripe => self.stripe()?.balance(CURRENCY).await?,
            Rail::Paypal => self.paypal()?.balance(CURRENCY).await?,
        };
        if let Some(balance) = balance.filter(|b| i128::from(*b) < i128::from(payable.cents.0)) {
            let short =
                format!("the payment service holds {balance} cents and {} are to be paid", payable.cents);
            return Err(PayError::Caller(short));
        }
        let serial = random::serial();
        let intended = decided(office, move |office| {
            let payable = steady(office, &provider)?;
            let (rail, destination) = (payable.destination.rail, payable.destination.commitment);
            let payout = Payout { provider, cents: payable.cents, rail, destination };
            office.append_blocking(vec![NewEntry::new(serial, payout)])?;
            office.books().ledger.payout(&serial).cloned().ok_or(PayError::UnknownPayout(serial))
        });
        let state = intended.await??;
        let order = order(&serial, &state, destination, Asked::Never)?;
        self.ask(office, serial, &state, &order).await
    }

    /// Asks again for a payout, under the same key, and logs what is new.
    ///
    /// # Errors
    /// [`PayError`].
    pub async fn look(&self, office: &Arc<Office>, home: &Path, payout: Serial) -> Result<Looked, PayError> {
        let _alone = self.alone.lock().await;
        let state = office.books().ledger.payout(&payout).cloned();
        let state = state.ok_or(PayError::UnknownPayout(payout))?;
        let destination = vault::read(home, &state.destination)?;
        let age_s = office.now().seconds().0.saturating_sub(state.since.0);
        let order = order(&payout, &state, destination, Asked::Perhaps { age_s })?;
        self.ask(office, payout, &state, &order).await
    }

    /// The payouts that are to be looked at: those that are under way, and those whose money may still come back.
    #[must_use]
    pub fn unsettled(office: &Office) -> Vec<Serial> {
        let now = office.now().seconds();
        let watched = |state: &PayoutState| match state.status {
            PayoutStatus::Submitted => true,
            PayoutStatus::Returned(all) if all == state.cents => false,
            PayoutStatus::Paid | PayoutStatus::Returned(_) => now.0.saturating_sub(state.since.0) < WATCHED_S,
            PayoutStatus::Failed => false,
        };
        let books = office.books();
        books.ledger.payouts().filter(|(_, state)| watched(state)).map(|(serial, _)| *serial).collect()
    }

    /// The providers that can be paid now.
    #[must_use]
    pub fn payable(office: &Office) -> Vec<(ProviderId, Cents)> {
        let now = office.now().seconds();
        let books = office.books();
        let ledger = &books.ledger;
        let cents = |id: &ProviderId| ledger.payable(id, now).ok().map(|p| (*id, p.cents));
        ledger.providers().filter_map(|(id, _)| cents(id)).collect()
    }

    /// Checks a webhook of Stripe.
    ///
    /// # Errors
    /// [`HookError`], inside [`PayError::NoService`] where the router has no key.
    pub fn stripe_event(
        &self,
        header: &str,
        body: &[u8],
        now_s: u64,
    ) -> Result<Result<Event, HookError>, PayError> {
        Ok(self.stripe()?.hook(header, body, now_s))
    }

    /// Checks a webhook of PayPal.
    ///
    /// # Errors
    /// [`HookError`], inside [`PayError::NoService`] where the router has no key.
    pub async fn paypal_event(
        &self,
        header: impl Fn(&str) -> Option<String>,
        body: &[u8],
    ) -> Result<Result<Event, HookError>, PayError> {
        Ok(self.paypal()?.hook(header, body).await)
    }

    /// Looks at what an event is about; nothing where it is about nothing of ours.
    ///
    /// # Errors
    /// [`PayError`]; the service should send the event again.
    pub async fn heed(&self, office: &Arc<Office>, home: &Path, event: &Event) -> Result<(), PayError> {
        if let Some(billed) = &event.billed {
            return self.heed_billed(office, billed).await;
        }
        if let Some(payout) = event.payout.as_deref().and_then(payout_of_key) {
            let known = office.books().ledger.payout(&payout).is_some();
            return if known { self.look(office, home, payout).await.map(drop) } else { Ok(()) };
        }
        match &event.account {
            Some(account) => self.heed_account(office, home, account).await,
            None => Ok(()),
        }
    }

    async fn ask(
        &self,
        office: &Arc<Office>,
        payout: Serial,
        state: &PayoutState,
        order: &Order,
    ) -> Result<Looked, PayError> {
        let said = match state.rail {
            Rail::Stripe => self.stripe()?.advance(order).await?,
            Rail::Paypal => self.paypal()?.advance(order).await?,
        };
        let booked = decided(office, move |office| {
            let known = office.books().ledger.payout(&payout).cloned();
            let known = known.ok_or(PayError::UnknownPayout(payout))?;
            if let Some(report) = report(payout, &known, said) {
                if office.books().ledger.takes(&report) {
                    office.append_blocking(vec![entry(report)])?;
                } else {
                    tracing::warn!(%payout, ?report, "a payment service contradicts what it said; look at its page");
                }
            }
            office.books().ledger.payout(&payout).cloned().ok_or(PayError::UnknownPayout(payout))
        });
        Ok(Looked { payout, state: booked.await?? })
    }
}

/// Decides something from the books and appends it, on a thread that may wait for the log.
async fn decided<T: Send + 'static>(
    office: &Arc<Office>,
    act: impl FnOnce(&Office) -> T + Send + 'static,
) -> Result<T, PayError> {
    let office = Arc::clone(office);
    let done = tokio::task::spawn_blocking(move || {
        let _alone = office.decide();
        act(&office)
    });
    done.await.map_err(|_| PayError::Stopping)
}

/// What is payable now and also when the entry is dated, which is a little later; another sum would stop the router's books.
fn steady(office: &Office, provider: &ProviderId) -> Result<Payable, PayError> {
    let now = office.now().seconds();
    let books = office.books();
    let payable = books.ledger.payable(provider, now)?;
    if books.ledger.payable(provider, now.plus(MARGIN_S)) == Ok(payable) {
        Ok(payable)
    } else {
        Err(PayError::Releasing)
    }
}

fn order(payout: &Serial, state: &PayoutState, destination: String, asked: Asked) -> Result<Order, PayError> {
    let cents = u64::try_from(state.cents.0).map_err(|_| PayError::UnknownPayout(*payout))?;
    let (key, reference) = (payout_key(payout), state.reference.clone());
    Ok(Order { key, cents, currency: CURRENCY.to_owned(), destination, reference, asked })
}

/// What is new in what a service says; nothing where the log says it already.
fn report(payout: Serial, known: &PayoutState, said: Said) -> Option<PspReport> {
    let (outcome, returned, reference) = match said {
        Said::Pending { reference } => (PayoutOutcome::Accepted, 0, reference),
        Said::Paid { reference, returned: 0 } => (PayoutOutcome::Paid, 0, reference),
        Said::Paid { reference, returned } => (PayoutOutcome::Returned, returned, reference),
        Said::Failed { reason } => (PayoutOutcome::Failed, 0, reason),
    };
    let returned = Cents(i64::try_from(returned).ok()?);
    let old = match (outcome, known.status) {
        (PayoutOutcome::Accepted, PayoutStatus::Submitted) => known.reference.as_ref() == Some(&reference),
        // What was decided is not undone by an answer that is older, or that waits.
        (PayoutOutcome::Accepted, _) | (PayoutOutcome::Paid, PayoutStatus::Paid) => true,
        (PayoutOutcome::Failed, PayoutStatus::Failed) => true,
        (PayoutOutcome::Returned, PayoutStatus::Returned(before)) => before == returned,
        _ => false,
    };
    (!old).then_some(PspReport { payout, outcome, returned, reference })
}

/// Where a router keeps destinations, in its home.
pub(crate) fn folder(home: &Path) -> PathBuf {
    home.join("vault/payouts")
}
