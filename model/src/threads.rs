//! Threads that compute side by side, without spinning for long and without waiting for one that the system does not run.
//!
//! Work is cut into parts that are taken one by one, by the caller too. So on a machine that other programs use, a
//! thread that is not run takes nothing, and the others do what it would have done; a barrier at which all must meet
//! would wait for it. A part that itself wants to be cut is cut only while a thread is idle: with as many experts
//! as threads, each expert stays on one. Nothing that is computed depends on who computed it.
//!
//! Written by hand because what it needs of a library is small: candle's pool meets at a barrier and spins there, and
//! rayon's moves a caller that is none of its threads into the pool and lets it wait.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

/// A set of threads; copies are the same set. They end when the last copy is dropped.
#[derive(Clone)]
pub struct Threads {
    pool: Arc<Pool>,
}

struct Pool {
    count: NonZero<usize>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Guards the list of work and the count of those who wait for some.
    state: Mutex<State>,
    /// There is work, or the end.
    work: Condvar,
    /// How often work was offered, for those who look for a while before they sleep.
    offered: AtomicUsize,
}

#[derive(Default)]
struct State {
    offers: VecDeque<Arc<dyn Offer>>,
    idle: usize,
    ended: bool,
}

/// Work in parts that anybody may take.
trait Offer: Send + Sync {
    /// Takes a part and does it; false where none is left.
    fn take(&self) -> bool;
}

struct Parts<T, F> {
    count: usize,
    next: AtomicUsize,
    work: F,
    /// Guards what came of the parts.
    results: Mutex<Results<T>>,
    /// The last part is done.
    done: Condvar,
}

struct Results<T> {
    values: Vec<Option<T>>,
    finished: usize,
}

static SHARED: OnceLock<Threads> = OnceLock::new();

impl Threads {
    /// Starts threads, of which the caller of [`Self::map`] is one.
    #[must_use]
    pub fn new(count: NonZero<usize>) -> Self {
        let shared =
            Arc::new(Shared { state: Mutex::default(), work: Condvar::new(), offered: AtomicUsize::new(0) });
        for at in 1..count.get() {
            let theirs = Arc::clone(&shared);
            // A thread that the system does not give is done without: the caller takes all parts that nobody takes.
            let _ = thread::Builder::new().name(format!("model-{at}")).spawn(move || serve(&theirs));
        }
        Self { pool: Arc::new(Pool { count, shared }) }
    }

    /// Those of this process: as many as [`Self::choose`] said, or as the cores that it may use.
    #[must_use]
    pub fn of_process() -> Self {
        let cores = || thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        SHARED.get_or_init(|| Self::new(cores())).clone()
    }

    /// Says how many threads this process computes with; false where it computes already.
    pub fn choose(count: NonZero<usize>) -> bool {
        let mut chosen = false;
        SHARED.get_or_init(|| {
            chosen = true;
            Self::new(count)
        });
        chosen
    }

    /// How many compute side by side at most.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pool.count.get()
    }

    /// Whether one of them waits for work.
    pub(crate) fn any_idle(&self) -> bool {
        self.count() > 1 && self.pool.shared.lock().idle > 0
    }

    /// What `work` makes of 0, 1, … `count` − 1, in this order.
    pub(crate) fn map<T, F>(&self, count: usize, work: F) -> Vec<T>
    where
        T: Send + 'static,
        F: Fn(usize) -> T + Send + Sync + 'static,
    {
        if count <= 1 || self.count() == 1 {
            return (0..count).map(work).collect();
        }
        let values = (0..count).map(|_| None).collect();
        let parts = Arc::new(Parts {
            count,
            next: AtomicUsize::new(0),
            work,
            results: Mutex::new(Results { values, finished: 0 }),
            done: Condvar::new(),
        });
        let shared = &self.pool.shared;
        let offer: Arc<dyn Offer> = Arc::<Parts<T, F>>::clone(&parts);
        let idle = {
            let mut state = shared.lock();
            state.offers.push_back(Arc::clone(&offer));
            shared.offered.fetch_add(1, Ordering::Release);
            state.idle
        };
        for _ in 0..idle.min(count - 1) {
            shared.work.notify_one();
        }
        while parts.take() {}
        shared.lock().offers.retain(|other| !Arc::ptr_eq(other, &offer));
        parts.results()
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("count", &self.count()).finish()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.offered.fetch_add(1, Ordering::Release);
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread's life.
fn serve(shared: &Shared) {
    let mut state = shared.lock();
    loop {
        if state.ended {
            return;
        }
        if let Some(offer) = state.offers.front().map(Arc::clone) {
            drop(state);
            while offer.take() {}
            state = shared.lock();
            state.offers.retain(|other| !Arc::ptr_eq(other, &offer));
            continue;
        }
        state.idle += 1;
        let seen = shared.offered.load(Ordering::Acquire);
        drop(state);
        for _ in 0..LOOKS {
            if shared.offered.load(Ordering::Acquire) != seen {
                break;
            }
            std::hint::spin_loop();
        }
        state = shared.lock();
        while state.offers.is_empty() && !state.ended {
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle -= 1;
    }
}

impl<T: Send, F: Fn(usize) -> T + Send + Sync> Offer for Parts<T, F> {
    fn take(&self) -> bool {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        if at >= self.count {
            return false;
        }
        let finished = Finished(self);
        let value = (self.work)(at);
        if let Some(place) = self.lock().values.get_mut(at) {
            *place = Some(value);
        }
        drop(finished);
        true
    }
}

impl<T, F> Parts<T, F> {
    fn lock(&self) -> MutexGuard<'_, Results<T>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All results, once the parts that others took are done.
    fn results(&self) -> Vec<T> {
        let mut results = self.lock();
        while results.finished < self.count {
            results = self.done.wait(results).unwrap_or_else(PoisonError::into_inner);
        }
        let values: Vec<T> = results.values.iter_mut().filter_map(Option::take).collect();
        drop(results);
        assert_eq!(values.len(), self.count, "a part that another thread took panicked");
        values
    }
}

/// Counts a part as finished, also where it panics, so that nobody waits for it.
struct Finished<'a, T, F>(&'a Parts<T, F>);

impl<T, F> Drop for Finished<'_, T, F> {
    fn drop(&mut self) {
        let mut results = self.0.lock();
        results.finished += 1;
        if results.finished == self.0.count {
            self.0.done.notify_all();
        }
    }
}

/// How often a thread looks for new work before it sleeps: some ten microseconds, the time from one product of a layer
/// to the next, and less than waking it takes.
const LOOKS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(count: usize) -> Threads {
        Threads::new(NonZero::new(count).unwrap())
    }

    #[test]
    fn results_come_in_the_order_of_the_parts() {
        for count in 1..=4 {
            let threads = threads(count);
            for parts in [0, 1, 2, 7, 100] {
                let squares: Vec<usize> = (0..parts).map(|at| at * at).collect();
                assert_eq!(threads.map(parts, |at| at * at), squares, "{count} threads");
            }
        }
    }

    #[test]
    fn parts_may_be_cut_again() {
        let threads = threads(3);
        let within = threads.clone();
        let sums = threads.map(8, move |a| within.map(5, move |b| a * b).into_iter().sum::<usize>());
        assert_eq!(sums, [0, 10, 20, 30, 40, 50, 60, 70]);
    }

    #[test]
    fn several_callers_share_the_threads() {
        let threads = threads(2);
        thread::scope(|scope| {
            for caller in 0..4 {
                let threads = threads.clone();
                scope.spawn(move || assert_eq!(threads.map(50, move |at| at + caller)[49], 49 + caller));
            }
        });
    }

    #[test]
    fn a_part_that_panics_panics_at_the_caller() {
        let threads = threads(2);
        let panicking = threads.clone();
        let ended = thread::spawn(move || panicking.map(4, |at| assert!(at != 2, "two"))).join();
        assert!(ended.is_err());
        assert_eq!(threads.map(2, |at| at), [0, 1]);
    }

    #[test]
    fn one_thread_is_the_caller() {
        let here = thread::current().id();
        assert_eq!(threads(1).map(3, |_| thread::current().id()), [here; 3]);
        assert!(!threads(1).any_idle());
    }
}
