//! What a lane derives from a consent token that both sides accepted: its slot and its MAC key.

use std::sync::Arc;

use counterfoil_consent::{FrameMac, Permit};
use counterfoil_identity::{FRAME_EXPORTER_LABEL, RENEW_EXPORTER_LABEL};
use counterfoil_spec::refusal::Refusal;
use quinn::Connection;

use crate::end::LaneEnd;
use crate::frame::{FrameHeader, MAC_OFFSET};

/// The secret that only the two ends of one connection know.
#[derive(Clone)]
pub(crate) struct Exporter(pub(crate) [u8; 32]);

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exporter")
    }
}

impl Exporter {
    /// For two ends without a connection.
    pub(crate) const fn fixed() -> Self {
        Self([7; 32])
    }

    pub(crate) fn of(connection: &Connection) -> Result<Self, LaneEnd> {
        exported(connection, FRAME_EXPORTER_LABEL).map(Self)
    }
}

/// What binds a renewal to a connection.
pub(crate) fn for_renewal(connection: &Connection) -> Result<[u8; 32], LaneEnd> {
    exported(connection, RENEW_EXPORTER_LABEL)
}

fn exported(connection: &Connection, label: &[u8]) -> Result<[u8; 32], LaneEnd> {
    let mut key = [0; 32];
    connection
        .export_keying_material(&mut key, label, b"")
        .map_err(|_| LaneEnd::Lost("TLS gave no exporter".into()))?;
    Ok(key)
}

/// The MAC of the frames under one token.
pub(crate) struct Seal {
    slot: u16,
    mac: FrameMac,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seal({})", self.slot)
    }
}

impl Seal {
    pub(crate) fn new(exporter: &Exporter, permit: &Permit, slot: u16) -> Self {
        Self { slot, mac: FrameMac::new(&exporter.0, &permit.token_hash()) }
    }

    pub(crate) const fn slot(&self) -> u16 {
        self.slot
    }

    /// Numbers a frame and seals its header.
    pub(crate) fn apply(&self, header: &mut FrameHeader, counter: u64) {
        header.counter = counter;
        header.token_slot = self.slot;
        header.mac = self.mac(&header.authenticated());
    }

    pub(crate) fn mac(&self, covered: &[u8; MAC_OFFSET]) -> [u8; 16] {
        self.mac.mac(covered)
    }
}

/// The tokens that are active on a lane, by slot.
#[derive(Debug, Default)]
pub(crate) struct Seals(Vec<Arc<Seal>>);

impl Seals {
    /// Adds the token of the next `Welcome`; `None` after 65,536 of them, when the lane has to be opened anew.
    pub(crate) fn add(&mut self, exporter: &Exporter, permit: &Permit) -> Option<Arc<Seal>> {
        let slot = u16::try_from(self.0.len()).ok()?;
        let seal = Arc::new(Seal::new(exporter, permit, slot));
        self.0.push(Arc::clone(&seal));
        Some(seal)
    }

    /// Checks the MAC of a frame.
    pub(crate) fn check(&self, header: &FrameHeader) -> Result<&Arc<Seal>, Refusal> {
        let seal = self.0.get(usize::from(header.token_slot)).ok_or(Refusal::SessionOrder)?;
        if seal.mac.verify(&header.authenticated(), &header.mac) { Ok(seal) } else { Err(Refusal::Mac) }
    }
}
