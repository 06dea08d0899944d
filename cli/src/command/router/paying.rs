//! The clients of payment services, made from flags, files and variables.

use std::net::SocketAddr;
use std::path::Path;

use counterfoil_payouts::Secret;
use counterfoil_payouts::paypal::PayPal;
use counterfoil_payouts::stripe::Stripe;
use counterfoil_router::payout::Services;

use crate::args::PayingArgs;
use crate::exit::Failure;

/// The services whose keys are there; `None` where no key is.
pub(super) fn services(args: &PayingArgs, listen: SocketAddr) -> Result<Option<Services>, Failure> {
    let key = secrets(args.stripe_key_file.as_deref(), "COUNTERFOIL_STRIPE_KEY")?.into_iter().next();
    let signing = secrets(args.stripe_webhook_secret_file.as_deref(), "COUNTERFOIL_STRIPE_WEBHOOK_SECRET")?;
    let secret = secrets(args.paypal_secret_file.as_deref(), "COUNTERFOIL_PAYPAL_SECRET")?.into_iter().next();
    let stripe = key.map(|key| Stripe::new(args.stripe_url.clone(), key, signing));
    let paypal = match (&args.paypal_client, secret) {
        (None, None) => None,
        (Some(client), Some(secret)) => {
            let webhook = args.paypal_webhook.clone().unwrap_or_default();
            Some(PayPal::new(args.paypal_url.clone(), client.clone(), secret, webhook))
        }
        _ => {
            return Err(Failure::wrong_use(
                "PayPal needs both --paypal-client and its secret (--paypal-secret-file)",
            ));
        }
    };
    if stripe.is_none() && paypal.is_none() {
        return Ok(None);
    }
    let back = args.public_url.clone().unwrap_or_else(|| format!("http://{listen}/"));
    Ok(Some(Services { stripe, paypal, back }))
}

/// The secrets of a file, or the one of a variable; none where neither is named.
fn secrets(file: Option<&Path>, variable: &str) -> Result<Vec<Secret>, Failure> {
    if let Some(path) = file {
        return Secret::lines_of(path).map_err(Failure::wrong_use);
    }
    match std::env::var(variable) {
        Ok(text) => {
            let secret = Secret::new(&text);
            let secret = secret.ok_or_else(|| Failure::wrong_use(format!("{variable} holds no key")))?;
            Ok(vec![secret])
        }
        Err(_) => Ok(Vec::new()),
    }
}
