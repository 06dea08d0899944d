//! What the router's operator commands about payouts. These ask payment services, so a running router carries them out.

use std::path::Path;
use std::sync::Arc;

use counterfoil_ledger::{Ledger, Provider};
use counterfoil_spec::ids::{ProviderId, Serial};
use counterfoil_spec::payload::{ProviderOffboarded, Rail};
use counterfoil_spec::time::Seconds;
use serde_json::{Value, json};

use super::{Looked, PayError, Payday};
use crate::admin::{AdminCommand, AdminError};
use crate::office::{Office, entry};

impl AdminCommand {
    /// Whether a payment service is to be asked, which only a running router does.
    #[must_use]
    pub const fn asks_services(&self) -> bool {
        matches!(self, Self::ProviderOnboarding { .. } | Self::ProviderPayouts { .. })
    }
}

/// Carries out a command that asks payment services.
///
/// # Errors
/// [`AdminError`].
pub(crate) async fn carry_out(
    payday: &Payday,
    office: &Arc<Office>,
    home: &Path,
    command: AdminCommand,
) -> Result<Value, AdminError> {
    match command {
        AdminCommand::ProviderOnboarding { provider, rail, address } => {
            let done = match (rail, address) {
                (Rail::Stripe, None) => payday.onboard_stripe(office, home, provider).await?,
                (Rail::Paypal, Some(address)) => {
                    payday.onboard_paypal(office, home, provider, &address).await?
                }
                _ => return Err(AdminError::caller("PayPal takes an e-mail address and Stripe none")),
            };
            Ok(json!({
                "provider": provider, "rail": rail, "ready": done.ready, "from": done.from, "link": done.link,
            }))
        }
        AdminCommand::ProviderPayouts { dry_run } => payouts(payday, office, home, dry_run).await,
        _ => Err(AdminError::caller("this command asks no payment service")),
    }
}

/// Looks at what is under way, then pays what is payable.
async fn payouts(
    payday: &Payday,
    office: &Arc<Office>,
    home: &Path,
    dry_run: bool,
) -> Result<Value, AdminError> {
    let mut done = Vec::new();
    if !dry_run {
        for payout in Payday::unsettled(office) {
            done.push(told(json!({ "payout": payout }), payday.look(office, home, payout).await));
        }
    }
    let payable = Payday::payable(office);
    if dry_run {
        let would: Vec<Value> =
            payable.iter().map(|(id, cents)| json!({ "provider": id, "cents": cents })).collect();
        return Ok(json!({ "dry_run": true, "payable": would }));
    }
    for (provider, cents) in payable {
        let facts = json!({ "provider": provider, "cents": cents });
        done.push(told(facts, payday.pay(office, home, provider).await));
    }
    Ok(json!({ "dry_run": false, "payouts": done }))
}

fn told(facts: Value, looked: Result<Looked, PayError>) -> Value {
    match looked {
        Ok(looked) => payout(&looked.payout, &json!(looked.state)),
        Err(error) => with(facts, "error", error.to_string().into()),
    }
}

fn payout(serial: &Serial, state: &Value) -> Value {
    with(state.clone(), "payout", json!(serial))
}

fn with(mut facts: Value, name: &str, value: Value) -> Value {
    if let Some(facts) = facts.as_object_mut() {
        facts.insert(name.to_owned(), value);
    }
    facts
}

/// What is owed to providers, where it goes, and what was paid.
pub(crate) fn status(office: &Office, only: Option<ProviderId>) -> Result<Value, AdminError> {
    let now = office.now().seconds();
    let books = office.books();
    let ledger = &books.ledger;
    if let Some(provider) = only.filter(|id| ledger.provider(id).is_none()) {
        return Err(unknown(provider));
    }
    let named = ledger.providers().filter(|(id, _)| only.is_none_or(|only| only == **id));
    let providers: Vec<Value> = named.map(|(id, known)| one(ledger, now, id, known)).collect();
    let own = ledger.payouts().filter(|(_, state)| only.is_none_or(|only| only == state.provider));
    let payouts: Vec<Value> = own.map(|(serial, state)| payout(serial, &json!(state))).collect();
    Ok(json!({ "providers": providers, "payouts": payouts }))
}

fn one(ledger: &Ledger, now: Seconds, id: &ProviderId, known: &Provider) -> Value {
    let payable = ledger.payable(id, now);
    json!({
        "provider": id, "owed_cents": ledger.owed(id), "reserved_cents": ledger.reserved(id, now), "destination": known.destination(),
        "offboarded": known.offboarded(), "payable": payable.is_ok(),
        "why_not": payable.err().map(|why| why.to_string()),
    })
}

/// Lets a provider go: what is owed to it can be paid out, however little it is.
pub(crate) fn offboard(office: &Office, provider: ProviderId) -> Result<Value, AdminError> {
    if office.books().ledger.provider(&provider).is_none() {
        return Err(unknown(provider));
    }
    let at = office.append_blocking(vec![entry(ProviderOffboarded { provider })])?;
    Ok(json!({ "provider": provider, "offboarded": true, "entry": at.first }))
}

fn unknown(provider: ProviderId) -> AdminError {
    AdminError::Caller(format!("there is no provider {provider}; `counterfoil provider status` lists them"))
}

impl From<PayError> for AdminError {
    fn from(error: PayError) -> Self {
        match error {
            PayError::Office(e) => Self::Office(e),
            PayError::Unclear(e) => Self::Service(e.to_string()),
            PayError::Stopping => Self::Service(error.to_string()),
            PayError::Destination(_)
            | PayError::NoService(_)
            | PayError::NotPayable(_)
            | PayError::UnknownPayout(_)
            | PayError::NotBooked(_)
            | PayError::NotTaken(_)
            | PayError::Releasing
            | PayError::Caller(_) => Self::Caller(error.to_string()),
        }
    }
}
