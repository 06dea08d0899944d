//! What the certificate of an issuing CA says, for whoever holds it against a root without using it.

use counterfoil_spec::ids::Serial;
use counterfoil_spec::time::Seconds;

use super::profile::{self, CaCert};
use super::verify::Refused;
use crate::key::VerifyKey;

/// An issuing CA as its certificate shows it, which the network's root has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssuedCa {
    /// The serial number of the certificate.
    pub serial: Serial,
    /// What signs its leaves.
    pub key: VerifyKey,
    /// The first second of its validity, 300 before its issue.
    pub not_before: Seconds,
    /// The last second of its validity.
    pub not_after: Seconds,
}

impl IssuedCa {
    /// Reads a certificate by the key of the root alone, as it stands in a log's first entry.
    ///
    /// # Errors
    /// [`Refused`] where it is not the certificate of an issuing CA, or another root's.
    pub fn read(der: &[u8], root: &VerifyKey) -> Result<Self, Refused> {
        profile::certified_by(der, root, None).map(|ca| Self::from(&ca))
    }
}

impl From<&CaCert> for IssuedCa {
    fn from(ca: &CaCert) -> Self {
        let (not_before, not_after) = (ca.validity.not_before, ca.validity.not_after);
        Self { serial: Serial::from_bytes(ca.serial), key: ca.key, not_before, not_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::tests::{NOW, Net};
    use counterfoil_spec::limits::{MAX_CA_CERT_LIFE_S, NOT_BEFORE_MARGIN_S};
    use counterfoil_spec::refusal::Refusal;

    #[test]
    fn certificate_of_the_ca_is_read_by_the_key_of_its_root_and_no_other() {
        let (net, other) = (Net::new(1), Net::new(5));
        let root = net.domain.root_key();
        let want = IssuedCa {
            serial: net.ca.serial(),
            key: net.ca.key().public(),
            not_before: Seconds(NOW.0 - NOT_BEFORE_MARGIN_S),
            not_after: NOW.plus(MAX_CA_CERT_LIFE_S),
        };
        assert_eq!(IssuedCa::read(net.ca.der(), root), Ok(want));
        let refusal = |der: &[u8]| IssuedCa::read(der, root).map_err(|refused| refused.refusal);
        assert_eq!(refusal(other.ca.der()), Err(Refusal::CertUntrusted));
        assert_eq!(refusal(net.domain.root_der()), Err(Refusal::CertProfile));
    }
}
