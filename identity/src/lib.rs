//! Keys, certificates, enrolment, TLS configs, and the proof of who connected or signed.
//!
//! No network and no clock: the present is an argument, and the TLS configurations are handed to whoever opens
//! sockets. An agent's socket on this machine is the one exception. `spec/identity.md` is the normative text.

#[cfg(unix)]
pub mod agent;
pub mod certificate;
pub mod deny;
pub mod digest;
pub mod enrol;
mod home_format;
pub mod key;
pub mod key_file;
pub mod pem;
pub mod random;
pub mod signer;
pub mod tls;

pub use certificate::authority::{CaFault, IssuingCa, LeafRequest, Root};
pub use certificate::binding::binding_input;
pub use certificate::credentials::{Chain, Credentials, TlsKey};
pub use certificate::issued::IssuedCa;
pub use certificate::request::{RequestFault, certificate_request, requested_key};
pub use certificate::rollover::{CaFold, CaPhase, IssuingCas, KnownCa};
pub use certificate::validity::{certificate_end, certificate_key, certificate_serial, certificate_validity};
pub use certificate::verify::{
    Directory, PinnedRouter, Refused, TrustDomain, TrustedRouter, VerifiedPeer, verify_chain,
};
pub use deny::root::{RootDenials, sign_root_deny_list};
pub use deny::{Denials, Taken, sign_deny_list};
pub use home_format::{HOME_FORMAT, HomeFormatFault, check_home_format, keep_home_format};
pub use key::{BadSignature, KeyFault, SecretKey, VerifyKey, WeakKey};
pub use signer::{SignFault, Signer};
pub use tls::{
    ALPN, ENROL_ALPN, ENROL_EXPORTER_LABEL, FRAME_EXPORTER_LABEL, RENEW_EXPORTER_LABEL, TlsFault,
    client_config, enrol_client_config, enrol_server_config, refusal_in, server_config,
};
