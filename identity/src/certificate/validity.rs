//! When a certificate ends and how it is numbered, for whoever shows it.

use counterfoil_spec::ids::Serial;
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

/// The first and the last second of a certificate's validity. Nothing else of it is checked.
///
/// # Errors
/// [`CaFault::Unreadable`] for bytes that are no certificate.
pub fn certificate_validity(der: &[u8]) -> Result<(Seconds, Seconds), CaFault> {
    let (_, certificate) = parse_x509_certificate(der).map_err(|_| CaFault::Unreadable)?;
    let begin = u64::try_from(certificate.validity().not_before.timestamp());
    Ok((begin.map(Seconds).map_err(|_| CaFault::Unreadable)?, certificate_end(der)?))
}

/// SPKI DER of the key that a certificate is for. Nothing else of it is checked.
///
/// # Errors
/// [`CaFault::Unreadable`] for bytes that are no certificate.
pub fn certificate_key(der: &[u8]) -> Result<Vec<u8>, CaFault> {
    let (_, certificate) = parse_x509_certificate(der).map_err(|_| CaFault::Unreadable)?;
    Ok(certificate.public_key().raw.to_vec())
}

/// The serial number of a certificate, as a deny list names it. Nothing else of it is checked.
///
/// # Errors
/// [`CaFault::Unreadable`] for bytes that are no certificate, or none with a serial number of 16 bytes.
pub fn certificate_serial(der: &[u8]) -> Result<Serial, CaFault> {
    let (_, certificate) = parse_x509_certificate(der).map_err(|_| CaFault::Unreadable)?;
    Serial::from_slice(certificate.raw_serial()).ok_or(CaFault::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_certificate_are_unreadable() {
        assert!(matches!(certificate_end(&[0x30, 0x03, 1, 2, 3]), Err(CaFault::Unreadable)));
        assert!(matches!(certificate_serial(&[0x30, 0x03, 1, 2, 3]), Err(CaFault::Unreadable)));
        assert!(matches!(certificate_validity(&[0x30, 0x03, 1, 2, 3]), Err(CaFault::Unreadable)));
        assert!(matches!(certificate_key(&[0x30, 0x03, 1, 2, 3]), Err(CaFault::Unreadable)));
    }
}
