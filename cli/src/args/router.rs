//! What a router's operator denies.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand, Clone)]
pub(crate) enum RouterCommand {
    /// Put nodes, certificates or consent tokens on the deny list, or print the list
    #[command(
        after_help = "Every node is told within 5 seconds, connections of what is named are closed within 1 second, and the log says why. A node that is denied stops; others take over what it hosted.\n\nExamples:\n  counterfoil router deny ea4a…3fa --reason \"its owner reported the machine stolen\"\n  counterfoil router deny --list"
    )]
    Deny(DenyArgs),
    /// Take nodes or certificates off the deny list; what was void of consent stays void
    Allow {
        #[command(flatten)]
        names: NamesArgs,
        /// Why; it stands in the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, Args, Clone)]
pub(crate) struct DenyArgs {
    #[command(flatten)]
    pub(crate) names: NamesArgs,
    /// A consent token, by the id that `consent list` prints
    #[arg(long, value_name = "ID")]
    pub(crate) consent: Vec<String>,
    /// Consent tokens of a node below an epoch
    #[arg(long, value_name = "NODE=EPOCH")]
    pub(crate) below_epoch: Vec<String>,
    /// Why; it stands in the log
    #[arg(long, value_name = "TEXT", required_unless_present = "list")]
    pub(crate) reason: Option<String>,
    /// Print what is denied
    #[arg(long, conflicts_with_all = ["nodes", "certificate", "consent", "below_epoch", "reason"])]
    pub(crate) list: bool,
}

#[derive(Debug, Args, Clone)]
pub(crate) struct NamesArgs {
    /// Nodes, by the ids that `provider nodes` prints
    #[arg(value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
    /// One certificate of a node, by its serial number in hexadecimal
    #[arg(long, value_name = "SERIAL")]
    pub(crate) certificate: Vec<String>,
}
