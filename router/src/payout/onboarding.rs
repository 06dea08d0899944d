//! Where a provider's money is to go, and whether it can.

use std::path::Path;
use std::sync::Arc;

use counterfoil_ledger::{Destination, NotPayable};
use counterfoil_spec::ids::ProviderId;
use counterfoil_spec::payload::{PayoutDestination, Rail};
use counterfoil_spec::time::Seconds;

use super::{PayError, Payday, decided, vault};
use crate::office::{Office, entry};

/// An e-mail address, in bytes.
const MAX_ADDRESS_BYTES: usize = 127;

/// What a provider's operator has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onboarding {
    /// Whether money can be sent there.
    pub ready: bool,
    /// From when on.
    pub from: Seconds,
    /// Stripe's page for the holder of the account, where it still asks something.
    pub link: Option<String>,
}

impl Payday {
    /// Has a provider paid through Stripe: makes a recipient account the first time, and asks from then on whether it
    /// is ready.
    ///
    /// # Errors
    /// [`PayError`].
    pub async fn onboard_stripe(
        &self,
        office: &Arc<Office>,
        home: &Path,
        provider: ProviderId,
    ) -> Result<Onboarding, PayError> {
        let _alone = self.alone.lock().await;
        let stripe = self.stripe()?;
        let known = destination(office, &provider)?.filter(|d| d.rail == Rail::Stripe);
        let (account, commitment) = match known {
            Some(known) => (vault::read(home, &known.commitment)?, known.commitment),
            None => {
                // The same key until the entry is there: an answer that was lost makes no second account.
                let turn = office.books().ledger.destination_turn(&provider);
                let account = stripe.create_recipient(&format!("counterfoil-{provider}-{turn}")).await?;
                let commitment = vault::keep(home, Rail::Stripe, &account)?;
                (account, commitment)
            }
        };
        let ready = stripe.is_ready(&account).await?;
        let named = PayoutDestination { provider, rail: Rail::Stripe, commitment, ready };
        let destination = name(office, named).await?;
        let back = self.services.get().map(|s| s.back.as_str()).unwrap_or_default();
        let link = if ready { None } else { Some(stripe.onboarding_link(&account, back).await?) };
        Ok(Onboarding { ready, from: destination.from, link })
    }

    /// Has a provider paid to the PayPal account of an e-mail address.
    ///
    /// # Errors
    /// [`PayError`].
    pub async fn onboard_paypal(
        &self,
        office: &Arc<Office>,
        home: &Path,
        provider: ProviderId,
        address: &str,
    ) -> Result<Onboarding, PayError> {
        let _alone = self.alone.lock().await;
        self.paypal()?;
        let right =
            address.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
        let plain = address.bytes().all(|b| b.is_ascii_graphic()) && address.len() <= MAX_ADDRESS_BYTES;
        if !right || !plain {
            return Err(PayError::Caller(format!("{address:?} is no e-mail address of a PayPal account")));
        }
        let known = destination(office, &provider)?.filter(|d| d.rail == Rail::Paypal);
        let same = known.filter(|d| vault::read(home, &d.commitment).is_ok_and(|kept| kept == address));
        let commitment = match same {
            Some(same) => same.commitment,
            None => vault::keep(home, Rail::Paypal, address)?,
        };
        let named = PayoutDestination { provider, rail: Rail::Paypal, commitment, ready: true };
        let destination = name(office, named).await?;
        Ok(Onboarding { ready: true, from: destination.from, link: None })
    }

    /// Asks whether the account of an event is ready, where it is a provider's.
    pub(super) async fn heed_account(
        &self,
        office: &Arc<Office>,
        home: &Path,
        account: &str,
    ) -> Result<(), PayError> {
        let all: Vec<(ProviderId, Destination)> = {
            let books = office.books();
            let named = books.ledger.providers().filter_map(|(id, p)| Some((*id, *p.destination()?)));
            named.filter(|(_, d)| d.rail == Rail::Stripe).collect()
        };
        let own = |d: &Destination| vault::read(home, &d.commitment).is_ok_and(|kept| kept == account);
        let Some((provider, known)) = all.into_iter().find(|(_, d)| own(d)) else { return Ok(()) };
        let ready = self.stripe()?.is_ready(account).await?;
        let (rail, commitment) = (known.rail, known.commitment);
        name(office, PayoutDestination { provider, rail, commitment, ready }).await.map(drop)
    }
}

fn destination(office: &Office, provider: &ProviderId) -> Result<Option<Destination>, PayError> {
    let books = office.books();
    let known = books.ledger.provider(provider).ok_or(NotPayable::Unknown(*provider))?;
    Ok(known.destination().copied())
}

/// Logs a destination where it is new, or is ready and was not, or the other way.
async fn name(office: &Arc<Office>, named: PayoutDestination) -> Result<Destination, PayError> {
    let provider = named.provider;
    decided(office, move |office| {
        let known = destination(office, &provider)?;
        let same =
            known.filter(|d| (d.rail, d.commitment, d.ready) == (named.rail, named.commitment, named.ready));
        if same.is_none() {
            office.append_blocking(vec![entry(named)])?;
        }
        destination(office, &provider)?.ok_or(PayError::NotPayable(NotPayable::NoDestination))
    })
    .await?
}
