//! Receipts that were not waited for to their end. One that comes later is checked against the order that was kept
//! here, countersigned and logged, so that its node is owed nothing; it earns nothing, because the credits of its request
//! are split without it.
//!
//! Whoever takes an order out of here, and nobody else, may log a receipt of it: the closing, for an interim one that
//! stands in, or whoever gets the late one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use counterfoil_spec::ids::Serial;
use counterfoil_spec::limits::MAX_OPEN_REQUESTS;

use crate::work::Order;

/// An order whose receipt is not waited for any more.
#[derive(Debug, Clone)]
pub(crate) struct Awaited {
    pub(crate) request: Serial,
    pub(crate) cti: Serial,
    pub(crate) order: Order,
}

/// The orders of one lane that were given up waiting for, as many as a lane has requests at most; beyond that the oldest
/// is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Overdue {
    /// Guards the list alone.
    orders: Mutex<VecDeque<Awaited>>,
}

impl Overdue {
    /// Nobody waits for the receipt of an order any more.
    pub(crate) fn keep(&self, awaited: Awaited) {
        let mut orders = self.orders();
        if orders.len() >= MAX_OPEN_REQUESTS {
            orders.pop_front();
        }
        orders.push_back(awaited);
    }

    /// The right to log a receipt of an order; once.
    pub(crate) fn take(&self, serial: &Serial) -> Option<Awaited> {
        let mut orders = self.orders();
        let at = orders.iter().position(|awaited| awaited.order.serial == *serial)?;
        orders.remove(at)
    }

    fn orders(&self) -> MutexGuard<'_, VecDeque<Awaited>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use counterfoil_spec::ids::{Hash, ManifestId};

    use super::*;

    fn serial(n: u16) -> Serial {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        Serial::from_bytes(bytes)
    }

    fn awaited(n: u16) -> Awaited {
        let order = Order {
            slot: u32::from(n),
            serial: serial(n),
            manifest: ManifestId::from_bytes([0; 32]),
            open_hash: Hash::from_bytes([0; 32]),
            used: 1,
        };
        Awaited { request: serial(7), cti: serial(8), order }
    }

    #[test]
    fn an_order_is_taken_once() {
        let overdue = Overdue::default();
        overdue.keep(awaited(1));
        assert!(overdue.take(&serial(2)).is_none());
        assert_eq!(overdue.take(&serial(1)).map(|a| a.order.slot), Some(1));
        assert!(overdue.take(&serial(1)).is_none());
    }

    #[test]
    fn a_lane_has_as_many_as_it_has_requests_at_most() {
        let overdue = Overdue::default();
        let most = u16::try_from(MAX_OPEN_REQUESTS).unwrap();
        (0..=most).for_each(|n| overdue.keep(awaited(n)));
        assert_eq!(overdue.orders().len(), MAX_OPEN_REQUESTS);
        assert!(overdue.take(&serial(0)).is_none());
        assert!(overdue.take(&serial(1)).is_some() && overdue.take(&serial(most)).is_some());
    }
}
