//! The commands below `consent`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use counterfoil_spec::ids::{NetId, RouterId};

#[derive(Debug, Subcommand)]
pub(crate) enum ConsentCommand {
    /// Write `consent.toml`, which says what this node allows, with every key explained
    Init,
    /// List the consent tokens in a log
    List {
        /// Those proposals that wait for the operator's yes instead
        #[arg(long)]
        pending: bool,
    },
    /// Say yes to a model that waits or was taken back, so that the node signs for it what its policy allows
    Issue {
        /// The model's name, as `list --pending` prints it or as it was signed for before, or its manifest
        manifest: String,
    },
    /// Take a consent token back: no new work at once, none at all within a second, until `issue` allows it again
    #[command(
        after_help = "Works while the node runs, and when it does not: then it is carried out before anything else at the next start. To allow less, but not nothing, edit consent.toml.\n\nExamples:\n  counterfoil --home nodes/1 consent list\n  counterfoil --home nodes/1 consent revoke --all"
    )]
    Revoke {
        /// Its id, as `list` prints it
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        cti: Option<String>,
        /// All of them, and raise the node's consent epoch
        #[arg(long)]
        all: bool,
    },
    /// Say in plain words what a consent token allows
    Show {
        /// Its id, as `list` prints it
        cti: String,
    },
    /// Check a consent token: one in the log by its id, or any other by its node's certificate or key, offline
    #[command(
        after_help = "Says what holds, what nobody here can decide, and the code of the first check that fails.\n\nExamples:\n  counterfoil consent verify ID                             one in this home's log\n  counterfoil consent verify token.cbor --certificate nodes/1/identity/chain.pem\n  counterfoil consent verify - --key HEX --router ID --at 1800000000 < token.hex"
    )]
    Verify {
        /// Its id, as `list` prints it; or the token itself: a file, its hexadecimal digits, or `-` for standard input
        token: String,
        #[command(flatten)]
        held: HeldArgs,
    },
    /// Print the notice that an operator accepts
    Notice,
}

/// What a consent token is held against.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct HeldArgs {
    /// The node's certificate with its issuing CA, such as `identity/chain.pem` of its home
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub(crate) certificate: Option<PathBuf>,
    /// The root certificate of the network [default: `root.der` beside the node's certificate]
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) root: Option<PathBuf>,
    /// The node's public identity key instead: its 64 hexadecimal digits, or a file with it (PEM or DER)
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// The network, where no certificate names it
    #[arg(long, value_name = "ID", requires = "key")]
    pub(crate) network: Option<NetId>,
    /// The router that the token is to be for
    #[arg(long, value_name = "ID")]
    pub(crate) router: Option<RouterId>,
    /// The instant at which it is judged, in seconds since 1970 [default: now]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) at: Option<u64>,
}

impl HeldArgs {
    /// Whether it says whose token it is to be, so that no log is needed.
    pub(crate) const fn names_a_key(&self) -> bool {
        self.certificate.is_some() || self.key.is_some()
    }
}
