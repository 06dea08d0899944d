//! When a certificate ends, for whoever has to renew it.

use counterfoil_spec::time::Seconds;
use x509_parser::parse_x509_certificate;

use crate::certificate::authority::CaFault;

/// The last second of a certificate's validity. Nothing else of it is checked.
///
/// # Errors
/// [`CaFault::Unreadable`] for bytes that are no certificate.
pub fn certificate_end(der: &[u8]) -> Result<Seconds, CaFault> {
    let (_, certificate) = parse_x509_certificate(der).map_err(|_| CaFault::Unreadable)?;
    u64::try_from(certificate.validity().not_after.timestamp()).map(Seconds).map_err(|_| CaFault::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_certificate_are_unreadable() {
        assert!(matches!(certificate_end(&[0x30, 0x03, 1, 2, 3]), Err(CaFault::Unreadable)));
    }
}
