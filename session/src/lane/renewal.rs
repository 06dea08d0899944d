//! Certificates of the node at the other end of a lane.

use counterfoil_spec::message::{Renewal, RouterMessage};

use super::RouterLane;
use crate::end::{LaneEnd, LaneError};
use crate::token::for_renewal;

impl RouterLane {
    /// What binds a renewal to this lane's connection.
    ///
    /// # Errors
    /// [`LaneEnd`] where TLS has nothing to give.
    pub fn renewal_exporter(&self) -> Result<[u8; 32], LaneEnd> {
        for_renewal(&self.shared.connection)
    }

    /// Says what came of the node's wish for its next certificate.
    ///
    /// # Errors
    /// [`LaneError::Closed`] and [`LaneError::Congested`].
    pub fn renewal(&self, renewal: &Renewal) -> Result<(), LaneError> {
        self.tell(&RouterMessage::Renewal(renewal.clone()))
    }
}
