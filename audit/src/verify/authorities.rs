//! Issuing CAs: each is certified by the network's root, and takes another's place only after it was announced.

use counterfoil_identity::{CaFold, IssuedCa, IssuingCas, VerifyKey};
use counterfoil_spec::payload::{CaIssued, KeyRotation};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::rule::FaultKind;
use counterfoil_spec::time::Seconds;

/// The issuing CAs that the log told of so far.
#[derive(Default)]
pub(super) struct Authorities {
    root: Option<VerifyKey>,
    cas: IssuingCas,
}

type Fault = (FaultKind, String);

impl Authorities {
    /// Genesis names the root.
    pub(super) fn found(&mut self, root: VerifyKey) {
        self.root = Some(root);
    }

    /// An entry announces one.
    pub(super) fn issue(&mut self, issued: &CaIssued, at: Seconds) -> Result<(), Fault> {
        let Some(ca) = self.read(&issued.certificate)? else { return Ok(()) };
        if ca.not_after != issued.not_after {
            let (says, ends) = (issued.not_after.0, ca.not_after.0);
            return Err((FaultKind::Expired, format!("said to end at {says}, its certificate at {ends}")));
        }
        self.cas.announce(ca, at).map_err(fault)
    }

    /// An entry puts one to use. Where entries were lost, the one that announced it may be among them.
    pub(super) fn rotate(&mut self, rotation: &KeyRotation, at: Seconds, lost: bool) -> Result<(), Fault> {
        let Some(ca) = self.read(&rotation.successor)? else { return Ok(()) };
        if lost {
            let _ = self.cas.announce(ca, at);
        }
        self.cas.rotate(&ca.serial, at).map_err(fault)
    }

    /// Nothing where genesis was lost: then it cannot be said whose certificate it is.
    fn read(&self, der: &[u8]) -> Result<Option<IssuedCa>, Fault> {
        let Some(root) = &self.root else { return Ok(None) };
        IssuedCa::read(der, root).map(Some).map_err(|refused| {
            let kind = match refused.refusal {
                Refusal::CertUntrusted => FaultKind::WrongParty,
                Refusal::CertWeakKey => FaultKind::WeakKey,
                Refusal::CertLifetime => FaultKind::Expired,
                _ => FaultKind::NonCanonical,
            };
            (kind, format!("the issuing CA's certificate: {refused}"))
        })
    }
}

fn fault(fold: CaFold) -> Fault {
    let kind = match fold {
        CaFold::Again => FaultKind::DuplicateSerial,
        CaFold::Unknown => FaultKind::UnknownKey,
        CaFold::Used => FaultKind::NotMonotonic,
        CaFold::Ended => FaultKind::Expired,
    };
    (kind, fold.to_string())
}
