//! What one side of a connection shows and proves: a chain, and a TLS key that is made anew for each certificate.

use rcgen::{CertificateParams, DistinguishedName};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::authority::CaFault;
use crate::key::{SecretKey, VerifyKey};
use crate::pem;

/// A leaf and its issuing CA, both DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The leaf.
    pub leaf: Vec<u8>,
    /// The issuing CA.
    pub ca: Vec<u8>,
}

impl Chain {
    /// The two in the order in which TLS sends them.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from(self.leaf.clone()), CertificateDer::from(self.ca.clone())]
    }

    /// The two as a PEM file.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let leaf = pem::encode(CERTIFICATE, &self.leaf);
        let ca = pem::encode(CERTIFICATE, &self.ca);
        format!("{}{}", leaf.as_str(), ca.as_str())
    }

    /// Reads the two from a PEM file; what they say is checked when they are used.
    ///
    /// # Errors
    /// [`CaFault::Pem`] or [`CaFault::ChainLength`].
    pub fn from_pem(text: &str) -> Result<Self, CaFault> {
        let blocks = pem::decode(CERTIFICATE, text)?;
        match blocks.as_slice() {
            [leaf, ca] => Ok(Self { leaf: leaf.to_vec(), ca: ca.to_vec() }),
            other => Err(CaFault::ChainLength(other.len())),
        }
    }
}

/// A TLS key: made anew for each certificate, never an identity.
#[derive(Debug, Clone)]
pub struct TlsKey(SecretKey);

impl TlsKey {
    /// A fresh key.
    #[must_use]
    pub fn generate() -> Self {
        Self(SecretKey::generate())
    }

    /// The key of a stored one.
    #[must_use]
    pub const fn from_secret(key: SecretKey) -> Self {
        Self(key)
    }

    /// The key itself, to be stored.
    #[must_use]
    pub const fn secret(&self) -> &SecretKey {
        &self.0
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> VerifyKey {
        self.0.public()
    }

    /// SPKI DER of the public half.
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        self.0.public().spki_der()
    }

    /// A certificate request: empty subject, no attributes, signed by this key.
    ///
    /// # Errors
    /// What the certificate library says.
    pub fn csr(&self) -> Result<Vec<u8>, CaFault> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(&self.0)?.der().to_vec())
    }
}

/// What one side of a connection shows and proves.
#[derive(Debug, Clone)]
pub struct Credentials {
    chain: Chain,
    tls_key_pkcs8: Zeroizing<Vec<u8>>,
}

impl Credentials {
    /// Puts them together.
    #[must_use]
    pub fn new(chain: Chain, tls_key: &TlsKey) -> Self {
        Self { chain, tls_key_pkcs8: tls_key.0.to_pkcs8_der() }
    }

    /// The certificates.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The TLS key, PKCS#8 v1.
    #[must_use]
    pub fn tls_key_pkcs8(&self) -> &[u8] {
        &self.tls_key_pkcs8
    }
}

const CERTIFICATE: &str = "CERTIFICATE";
