//! The flags of `identity ca` and `identity log-key`: what follows a key that the network relies on.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// List the issuing CAs with their phases
    List,
    /// Make the next issuing CA and announce it in the log; where the root's key is elsewhere, make a request for it
    Next {
        /// Where the request is written [default: standard output]
        #[arg(long, value_name = "FILE")]
        request: Option<PathBuf>,
    },
    /// Certify an issuing CA, in a home with identity/root.key and root.der
    Sign {
        /// What `next` wrote
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// Where the certificate is written [default: standard output]
        #[arg(long, value_name = "FILE")]
        certificate: Option<PathBuf>,
    },
    /// Announce the next issuing CA with the certificate that the root gave it
    Announce {
        /// What `sign` wrote
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
    },
    /// Let the next issuing CA take the place of the one in use: new certificates come from it at once
    Activate,
    /// Refuse the certificates of an issuing CA that is not in use any more at once, instead of when the last has ended
    Retire {
        /// Its serial number, as `list` prints it
        serial: String,
        /// Why; it stands in the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum LogKeyCommand {
    /// List the log's keys with their phases and the sizes of the heads that each signs
    List,
    /// Make the key that is to follow, or print it again; it signs nothing yet
    Next,
    /// Let it sign the log's heads beside the key in use; the log says so, signed by both
    Activate,
    /// Let the newer key sign alone; the older one's file is destroyed
    Retire,
}
