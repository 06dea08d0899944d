//! What a node allows, on all its lanes together. It outlives a lane: what was begun on one that was cut may still count at
//! the node while it goes on on the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use counterfoil_spec::limits::MAX_UNSETTLED_RECEIPTS;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of one node.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// As many permits as there are free places.
    places: Arc<Semaphore>,
    /// Guards the two numbers alone.
    terms: Mutex<Terms>,
    /// As many permits as receipts that a router may owe a node.
    pub(crate) settling: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Terms {
    /// Requests that the node works on at one time.
    concurrent: u32,
    /// Places that are taken beyond those, since it allows less: they go as they become free.
    beyond: u32,
}

/// A place at a node for one request.
#[derive(Debug)]
pub(crate) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    of: Arc<Allowance>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut terms = self.of.terms();
        match self.permit.take() {
            Some(permit) if terms.beyond > 0 => {
                permit.forget();
                terms.beyond -= 1;
            }
            // While the numbers are held: a place that is neither taken nor free would be counted as one beyond them.
            permit => drop(permit),
        }
    }
}

impl Default for Allowance {
    /// One of a node that has not said yet what it allows.
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(0)),
            terms: Mutex::default(),
            settling: Arc::new(Semaphore::new(MAX_UNSETTLED_RECEIPTS)),
        }
    }
}

impl Allowance {
    /// The node allows so many requests at one time. Where that is less than before, those that are under way end first.
    pub(crate) fn allow(&self, concurrent: u32) {
        let concurrent = concurrent.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let mut terms = self.terms();
        let before = std::mem::replace(&mut terms.concurrent, concurrent);
        let more = concurrent.saturating_sub(before);
        let paid = more.min(terms.beyond);
        terms.beyond -= paid;
        self.places.add_permits(usize::try_from(more - paid).unwrap_or(0));
        let less = before.saturating_sub(concurrent);
        let free = self.places.forget_permits(usize::try_from(less).unwrap_or(usize::MAX));
        terms.beyond += less - u32::try_from(free).unwrap_or(less);
    }

    /// Waits for a place.
    pub(crate) async fn place(self: &Arc<Self>) -> Option<Place> {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        Some(Place { permit: Some(permit), of: Arc::clone(self) })
    }

    /// A place that is free now.
    pub(crate) fn free_place(self: &Arc<Self>) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { permit: Some(permit), of: Arc::clone(self) })
    }

    fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Wake, Waker};

    use super::*;

    /// Says, when it is woken, whether the numbers were held.
    struct Woken(Arc<Allowance>, Mutex<Vec<bool>>);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            let held = self.0.terms.try_lock().is_err();
            self.1.lock().unwrap().push(held);
        }
    }

    #[test]
    fn a_place_is_free_before_anybody_can_allow_less() {
        let allowed = Arc::new(Allowance::default());
        allowed.allow(1);
        let under_way = allowed.free_place().unwrap();
        let woken = Arc::new(Woken(Arc::clone(&allowed), Mutex::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let mut waiting = pin!(allowed.place());
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        // Whoever waits is woken when it becomes free.
        drop(under_way);
        assert_eq!(*woken.1.lock().unwrap(), [true]);
    }

    fn taken(allowed: &Arc<Allowance>) -> Vec<Place> {
        std::iter::from_fn(|| allowed.free_place()).take(100).collect()
    }

    #[test]
    fn places_follow_what_the_node_allows() {
        let allowed = Arc::new(Allowance::default());
        for concurrent in [0, 4, 4, 1, 6, 0, 2] {
            allowed.allow(concurrent);
            assert_eq!(taken(&allowed).len(), usize::try_from(concurrent).unwrap());
        }
    }

    #[test]
    fn where_it_allows_less_those_under_way_end_first() {
        let allowed = Arc::new(Allowance::default());
        allowed.allow(4);
        let mut under_way = taken(&allowed);
        allowed.allow(1);
        for want in [0, 0, 0, 1] {
            drop(under_way.pop());
            assert_eq!(taken(&allowed).len(), want);
        }
    }

    #[test]
    fn what_it_allows_again_is_what_there_is() {
        let allowed = Arc::new(Allowance::default());
        allowed.allow(4);
        let under_way = taken(&allowed);
        for concurrent in [1, 3, 0, 5] {
            allowed.allow(concurrent);
        }
        assert_eq!((under_way.len(), taken(&allowed).len()), (4, 1));
        drop(under_way);
        assert_eq!(taken(&allowed).len(), 5);
    }
}
