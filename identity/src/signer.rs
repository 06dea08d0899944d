//! Who signs with a long-lived key: the key itself, or a program that holds it and never gives it away.
//!
//! Root, issuing CA, identity and log keys are used through [`Signer`]; a [`SecretKey`] in memory is one. TLS keys are
//! made anew for each certificate and stay in memory.

use std::fmt;
use std::sync::{Arc, OnceLock};

use counterfoil_spec::ids::Signature;

use crate::key::{SecretKey, VerifyKey};

/// Why a signature was not made. The message was never altered, and nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignFault {
    /// The agent was not reached or did not answer in time.
    #[error("the agent at {socket} does not answer: {reason}; is it running?")]
    Unreachable {
        /// Its socket.
        socket: String,
        /// What the system said.
        reason: String,
    },
    /// The agent does not hold the key, or its owner said no.
    #[error("the agent at {socket} does not sign with {key}; add the key to it, or unlock it")]
    Declined {
        /// Its socket.
        socket: String,
        /// The key that was asked for, in hexadecimal.
        key: String,
    },
    /// The agent answered with something that its protocol does not have.
    #[error("the agent at {socket} answers against its protocol: {what}")]
    Protocol {
        /// Its socket.
        socket: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The signature that came back does not verify.
    #[error("the agent at {socket} gave a signature that does not verify")]
    Wrong {
        /// Its socket.
        socket: String,
    },
}

/// Signs with one Ed25519 key.
///
/// `public` and `sign` are of one key for as long as the signer lives. A signature that `sign` returns verifies under
/// `public`: an implementation that does not make it by itself has to check it.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The public half.
    fn public(&self) -> VerifyKey;

    /// Signs a message as it is; the caller has put a domain in front of it.
    ///
    /// # Errors
    /// [`SignFault`] where the key is held elsewhere and cannot be had now.
    fn sign(&self, message: &[u8]) -> Result<Signature, SignFault>;
}

impl Signer for SecretKey {
    fn public(&self) -> VerifyKey {
        Self::public(self)
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignFault> {
        Ok(Self::sign(self, message))
    }
}

impl<S: Signer + ?Sized> Signer for Arc<S> {
    fn public(&self) -> VerifyKey {
        (**self).public()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignFault> {
        (**self).sign(message)
    }
}

impl From<SecretKey> for Arc<dyn Signer> {
    fn from(key: SecretKey) -> Self {
        Arc::<SecretKey>::new(key)
    }
}

/// A signer as the certificate library wants it.
pub(crate) struct CertificateSigner<'a> {
    signer: &'a dyn Signer,
    key: VerifyKey,
    fault: OnceLock<SignFault>,
}

impl<'a> CertificateSigner<'a> {
    pub(crate) fn new(signer: &'a dyn Signer) -> Self {
        Self { signer, key: signer.public(), fault: OnceLock::new() }
    }

    /// Why no signature was made, where that is why the library failed; its own error carries no words.
    pub(crate) fn fault(self) -> Option<SignFault> {
        self.fault.into_inner()
    }
}

impl rcgen::PublicKeyData for CertificateSigner<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key.as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for CertificateSigner<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match self.signer.sign(message) {
            Ok(signature) => Ok(signature.as_bytes().to_vec()),
            Err(fault) => {
                self.fault.get_or_init(|| fault);
                Err(rcgen::Error::RemoteKeyError)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::authority::{CaFault, Root};
    use counterfoil_spec::time::Seconds;

    /// A key whose holder is away.
    #[derive(Debug)]
    struct Away(VerifyKey);

    impl Signer for Away {
        fn public(&self) -> VerifyKey {
            self.0
        }

        fn sign(&self, _: &[u8]) -> Result<Signature, SignFault> {
            Err(SignFault::Wrong { socket: "nowhere".to_owned() })
        }
    }

    #[test]
    fn key_in_memory_signs_as_itself() {
        let key = SecretKey::from_seed([1; 32]);
        let signer: Arc<dyn Signer> = key.clone().into();
        assert_eq!(signer.public(), key.public());
        assert_eq!(signer.sign(b"words"), Ok(key.sign(b"words")));
    }

    #[test]
    fn certificate_that_is_not_signed_says_why() {
        let key: Arc<dyn Signer> = Arc::new(Away(SecretKey::from_seed([1; 32]).public()));
        let fault = Root::create(key, Seconds(1_800_000_000), 86_400).map(|_| ()).unwrap_err();
        assert!(matches!(fault, CaFault::Sign(SignFault::Wrong { socket }) if socket == "nowhere"));
    }
}
