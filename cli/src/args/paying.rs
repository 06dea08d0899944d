//! Which payment services a router asks. Their keys come from files or variables, never from the command line, where
//! every process of the machine can read them.

use std::path::PathBuf;

use clap::Args;
use counterfoil_payouts::{Base, paypal, stripe};

#[derive(Debug, Args, Clone)]
#[command(next_help_heading = "Payouts")]
pub(crate) struct PayingArgs {
    /// Where Stripe's API key lies, in a file of mode 0600; or the key itself in the variable COUNTERFOIL_STRIPE_KEY
    #[arg(long, env = "COUNTERFOIL_STRIPE_KEY_FILE", value_name = "FILE")]
    pub(crate) stripe_key_file: Option<PathBuf>,
    /// Where the secrets lie that sign Stripe's webhooks, one in a line, the next one before it is used; or one in the
    /// variable COUNTERFOIL_STRIPE_WEBHOOK_SECRET
    #[arg(long, env = "COUNTERFOIL_STRIPE_WEBHOOK_SECRET_FILE", value_name = "FILE")]
    pub(crate) stripe_webhook_secret_file: Option<PathBuf>,
    /// Where Stripe is
    #[arg(long, env = "COUNTERFOIL_STRIPE_URL", value_name = "URL", default_value = stripe::BASE)]
    pub(crate) stripe_url: Base,
    /// The id of the client that asks PayPal
    #[arg(long, env = "COUNTERFOIL_PAYPAL_CLIENT", value_name = "ID")]
    pub(crate) paypal_client: Option<String>,
    /// Where its secret lies, in a file of mode 0600; or the secret itself in the variable COUNTERFOIL_PAYPAL_SECRET
    #[arg(long, env = "COUNTERFOIL_PAYPAL_SECRET_FILE", value_name = "FILE")]
    pub(crate) paypal_secret_file: Option<PathBuf>,
    /// The id of the webhook at PayPal whose events come here
    #[arg(long, env = "COUNTERFOIL_PAYPAL_WEBHOOK", value_name = "ID")]
    pub(crate) paypal_webhook: Option<String>,
    /// Where PayPal is
    #[arg(long, env = "COUNTERFOIL_PAYPAL_URL", value_name = "URL", default_value = paypal::BASE)]
    pub(crate) paypal_url: Base,
    /// The page to which Stripe sends a provider's operator back [default: the router's own]
    #[arg(long, env = "COUNTERFOIL_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,
}
