//! TLS configurations whose certificate checks are this crate's: TLS 1.3 only, no resumption, no tickets, no 0-RTT.
//!
//! Resumption would let a revoked peer come back without a call to a verifier, so it does not exist here. The crypto
//! provider is passed explicitly; nothing depends on a process-wide default.

use std::fmt;
use std::sync::Arc;

use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::NetId;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Now;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    ServerConfig, SignatureScheme,
};

use crate::certificate::credentials::Credentials;
use crate::certificate::verify::{Directory, PinnedRouter, Refused, TrustDomain, refused, verify_chain};

/// The protocol of sessions between router and node.
pub const ALPN: &[u8] = b"counterfoil/1";
/// The protocol of enrolment.
pub const ENROL_ALPN: &[u8] = b"counterfoil-enroll/1";
/// The label under which both sides of an enrolment export 32 bytes from TLS, with an empty context.
pub const ENROL_EXPORTER_LABEL: &[u8] = b"EXPORTER-counterfoil-enroll-v1";
/// The label under which both sides of a session export 32 bytes for frame MACs, with an empty context.
pub const FRAME_EXPORTER_LABEL: &[u8] = b"EXPORTER-counterfoil-frames-v1";
/// The label under which both sides of a session export 32 bytes for a renewal, with an empty context.
pub const RENEW_EXPORTER_LABEL: &[u8] = b"EXPORTER-counterfoil-renew-v1";

/// Why a TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
#[error("TLS credentials: {0}")]
pub struct TlsFault(#[from] Error);

/// A router's side of a session: every client must prove to be a node that the directory knows.
///
/// # Errors
/// [`TlsFault`] where key and certificate do not fit.
pub fn server_config(
    credentials: &Credentials,
    domain: &TrustDomain,
    directory: Arc<dyn Directory>,
    now: Now,
    alpn: &[u8],
) -> Result<ServerConfig, TlsFault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let check =
        Check { domain: domain.clone(), want: Role::Node, directory, now, provider: provider.clone() };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(check))
        .with_single_cert(credentials.chain().certificates(), private_key(credentials))?;
    harden_server(&mut config, alpn);
    Ok(config)
}

/// A node's side of a session: the server must prove to be the router that the directory knows.
///
/// # Errors
/// [`TlsFault`] where key and certificate do not fit.
pub fn client_config(
    credentials: &Credentials,
    domain: &TrustDomain,
    directory: Arc<dyn Directory>,
    now: Now,
) -> Result<ClientConfig, TlsFault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let check =
        Check { domain: domain.clone(), want: Role::Router, directory, now, provider: provider.clone() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(check))
        .with_client_auth_cert(credentials.chain().certificates(), private_key(credentials))?;
    harden_client(&mut config, ALPN);
    Ok(config)
}

/// A router's side of enrolment: it proves itself, and sends the root along; the client proves itself by its token.
///
/// # Errors
/// [`TlsFault`] where key and certificate do not fit.
pub fn enrol_server_config(
    credentials: &Credentials,
    domain: &TrustDomain,
) -> Result<ServerConfig, TlsFault> {
    let mut chain = credentials.chain().certificates();
    chain.push(CertificateDer::from(domain.root_der().to_vec()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, private_key(credentials))?;
    harden_server(&mut config, ENROL_ALPN);
    Ok(config)
}

/// A joining node's side of enrolment: the server must be a router under the root that the join token pins.
///
/// # Errors
/// [`TlsFault`] where the provider does not speak TLS 1.3.
pub fn enrol_client_config(pin: NetId, now: Now) -> Result<ClientConfig, TlsFault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let check = RootPin { pin, now, provider: provider.clone() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(check))
        .with_no_client_auth();
    harden_client(&mut config, ENROL_ALPN);
    Ok(config)
}

/// The refusal inside a TLS error of this side, where a certificate was refused.
#[must_use]
pub fn refusal_in(error: &Error) -> Option<Refused> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            inner.downcast_ref().cloned()
        }
        Error::InvalidCertificate(CertificateError::Revoked) => {
            Some(refused(Refusal::CertDenied, "the peer is on the deny list"))
        }
        _ => None,
    }
}

/// The trust domain that an enrolment server's chain ends in, if it is the pinned one.
///
/// # Errors
/// `CertUntrusted` where the chain does not end in the pinned root.
pub fn pinned_domain(chain: &[CertificateDer<'_>], pin: &NetId) -> Result<TrustDomain, Refused> {
    let [_, _, root] = chain else {
        return Err(refused(Refusal::CertUntrusted, "expected a leaf, its issuing CA and the root"));
    };
    let domain = TrustDomain::new(root)?;
    if domain.net_id() == *pin {
        Ok(domain)
    } else {
        let found = domain.net_id();
        Err(refused(Refusal::CertUntrusted, format!("the root of {found}; the join token is for {pin}")))
    }
}

fn harden_server(config: &mut ServerConfig, alpn: &[u8]) {
    //= spec/identity.md#tls
    //# A side MUST NOT resume a session, issue or accept a ticket, or send or accept early data.
    config.alpn_protocols = vec![alpn.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
}

fn harden_client(config: &mut ClientConfig, alpn: &[u8]) {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // The peer is named by its certificate; a host name in the clear would tell nobody anything but an eavesdropper.
    config.enable_sni = false;
}

fn private_key(credentials: &Credentials) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credentials.tls_key_pkcs8().to_vec()))
}

/// What TLS tells the peer has no words; who is denied is told that by the alert of a revoked certificate.
fn tls_error(refused: Refused) -> Error {
    if refused.refusal == Refusal::CertDenied {
        return Error::InvalidCertificate(CertificateError::Revoked);
    }
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
}

fn checked_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    provider: &CryptoProvider,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature(message, cert, dss, &provider.signature_verification_algorithms)
}

fn no_tls12() -> Error {
    Error::General("only TLS 1.3 is spoken here".to_owned())
}

/// The check of a session's peer.
struct Check {
    domain: TrustDomain,
    want: Role,
    directory: Arc<dyn Directory>,
    now: Now,
    provider: Arc<CryptoProvider>,
}

impl Check {
    fn chain(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<(), Error> {
        let chain = joined(leaf, rest);
        let now = (self.now)().seconds();
        verify_chain(&chain, &self.domain, self.want, now, self.directory.as_ref())
            .map(|_| ())
            .map_err(tls_error)
    }
}

fn joined<'a>(leaf: &CertificateDer<'a>, rest: &[CertificateDer<'a>]) -> Vec<CertificateDer<'a>> {
    std::iter::once(leaf).chain(rest).cloned().collect()
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check({:?} of {:?})", self.want, self.domain)
    }
}

impl ServerCertVerifier for Check {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.chain(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        checked_signature(message, cert, dss, &self.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Check {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.chain(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        checked_signature(message, cert, dss, &self.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// The check of an enrolment server by a node that knows its network by the pin alone.
struct RootPin {
    pin: NetId,
    now: Now,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for RootPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootPin({})", self.pin)
    }
}

impl ServerCertVerifier for RootPin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = joined(end_entity, intermediates);
        let domain = pinned_domain(&chain, &self.pin).map_err(tls_error)?;
        verify_chain(&chain, &domain, Role::Router, (self.now)().seconds(), &PinnedRouter(None))
            .map(|_| ServerCertVerified::assertion())
            .map_err(tls_error)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        checked_signature(message, cert, dss, &self.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests;
