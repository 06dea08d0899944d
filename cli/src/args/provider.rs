//! The commands below `provider`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum ProviderCommand {
    /// Record which nodes and accounts belong to one payout identity
    Register {
        /// Its nodes
        #[arg(long = "node", required = true)]
        nodes: Vec<String>,
        /// Accounts of the same owner
        #[arg(long = "account")]
        accounts: Vec<String>,
        /// The router's operator owns it too
        #[arg(long)]
        affiliated: bool,
    },
    /// List the nodes that ever enrolled, with the keys of their own logs
    Nodes,
    /// Print what is owed to providers, where it goes, and what was paid
    Status {
        /// One of them [default: all]
        provider: Option<String>,
    },
    /// Say where a provider's money goes, or ask whether it can
    #[command(
        after_help = "A first destination is in force at once, another one after seven days.\n\n  counterfoil provider onboarding ID                     prints Stripe's page for the provider's operator, until all is answered\n  counterfoil provider onboarding ID --paypal ADDRESS    the PayPal account of that e-mail address"
    )]
    Onboarding {
        /// Whose
        provider: String,
        /// The e-mail address of a PayPal account, in the place of Stripe
        #[arg(long, value_name = "ADDRESS")]
        paypal: Option<String>,
    },
    /// Ask what became of payouts that are under way, and pay all that is payable
    Payouts {
        /// Print what would be paid, ask and log nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Let a provider go: what is owed to it is payable, however little it is
    Offboard {
        /// Who
        provider: String,
    },
}
