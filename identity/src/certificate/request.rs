//! What a root is asked for where its key lies elsewhere: a certificate request for an issuing CA.
//!
//! It is PKCS#10 with an empty subject and no attributes, signed by the key that it is for, so that any other root of
//! the same rules could answer it.

use counterfoil_spec::ids::Signature;
use counterfoil_spec::limits::MAX_CERT_BYTES;
use rcgen::{CertificateParams, DistinguishedName};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::authority::{CaFault, certificate};
use crate::key::{KeyFault, VerifyKey};
use crate::signer::Signer;

/// Why a certificate request is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// Longer than a certificate may be.
    #[error("longer than a certificate may be")]
    TooLong,
    /// Not PKCS#10.
    #[error("not a PKCS#10 request")]
    NotPkcs10,
    /// Something follows it.
    #[error("bytes after the request")]
    Trailing,
    /// Its key cannot be used.
    #[error("the key of the request: {0}")]
    Key(#[from] KeyFault),
    /// Whoever made it does not hold its key.
    #[error("the request is not signed by its own key")]
    Unsigned,
}

/// A request that this key signs.
///
/// # Errors
/// [`CaFault::Sign`] where the key does not sign.
pub fn certificate_request(key: &dyn Signer) -> Result<Vec<u8>, CaFault> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    certificate(key, |signer| Ok(params.serialize_request(signer)?.der().to_vec()))
}

/// The key that a request is for; nothing else in it matters.
///
/// # Errors
/// [`RequestFault`].
pub fn requested_key(der: &[u8]) -> Result<VerifyKey, RequestFault> {
    if der.len() > MAX_CERT_BYTES {
        return Err(RequestFault::TooLong);
    }
    let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| RequestFault::NotPkcs10)?;
    if !rest.is_empty() {
        return Err(RequestFault::Trailing);
    }
    let key = VerifyKey::from_spki_der(request.certification_request_info.subject_pki.raw)?;
    Signature::from_slice(request.signature_value.data.as_ref())
        .and_then(|sig| key.verify(request.certification_request_info.raw, &sig).ok())
        .ok_or(RequestFault::Unsigned)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SecretKey;

    #[test]
    fn request_is_for_the_key_that_signed_it() {
        let key = SecretKey::from_seed([4; 32]);
        let der = certificate_request(&key).unwrap();
        assert_eq!(requested_key(&der), Ok(key.public()));
    }

    #[test]
    fn request_of_which_anything_is_changed_is_none() {
        let der = certificate_request(&SecretKey::from_seed([4; 32])).unwrap();
        assert_eq!(requested_key(&[&der[..], b"\0"].concat()), Err(RequestFault::Trailing));
        assert_eq!(requested_key(&der[..der.len() - 1]), Err(RequestFault::NotPkcs10));
        assert_eq!(requested_key(&vec![0; MAX_CERT_BYTES + 1]), Err(RequestFault::TooLong));
        let mut signed_by_nobody = der.clone();
        *signed_by_nobody.last_mut().unwrap() ^= 1;
        assert_eq!(requested_key(&signed_by_nobody), Err(RequestFault::Unsigned));
        let other = SecretKey::from_seed([5; 32]).public();
        let own = SecretKey::from_seed([4; 32]).public();
        let at = der.windows(32).position(|w| w == own.as_bytes()).unwrap();
        let mut for_another = der;
        for_another[at..at + 32].copy_from_slice(other.as_bytes());
        assert_eq!(requested_key(&for_another), Err(RequestFault::Unsigned));
    }
}
