//! Receipts that were not waited for to their end. One that comes later is checked against the order that was kept
//! here, countersigned and logged, so that its node is owed nothing; it earns nothing, because its request's entry
//! stands already.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use counterfoil_spec::ids::Serial;

use crate::work::Order;

/// An order that is being closed.
#[derive(Debug, Clone)]
pub(crate) struct Awaited {
    pub(crate) request: Serial,
    pub(crate) cti: Serial,
    pub(crate) order: Order,
}

/// The orders of one lane whose last receipt has not come. There are as many as its open slots at most: a slot stays
/// taken until its node has answered.
#[derive(Debug, Default)]
pub(crate) struct Overdue {
    /// Guards the map alone.
    by_serial: Mutex<BTreeMap<Serial, Awaited>>,
}

impl Overdue {
    /// The receipt of an order is waited for from here on.
    pub(crate) fn keep(&self, awaited: Awaited) {
        self.orders().insert(awaited.order.serial, awaited);
    }

    /// It came, or another stands in for it.
    pub(crate) fn take(&self, serial: &Serial) -> Option<Awaited> {
        self.orders().remove(serial)
    }

    fn orders(&self) -> MutexGuard<'_, BTreeMap<Serial, Awaited>> {
        self.by_serial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
