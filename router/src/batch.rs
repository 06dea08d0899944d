//! Continuous batching: the requests of a model go through its layers together, and each node gets one frame for a
//! layer, however many requests there are.
//!
//! A request's own task owns its [`Sequence`] and its [`Work`]. To come on by some rows it hands both, in a [`Step`],
//! to the model's conductor and gets them back with the logits; nothing is shared and nothing is locked. The
//! conductor goes from round to round: every member with one row left takes part with that, and members with a
//! prompt take turns for the rows that are left ([`share`]). Who comes joins at the next round, who is done leaves at
//! the end of one, and who is gone leaves between two. A row's bits are those that it would get alone.

mod budget;
mod conductor;
mod frame;
mod late;
mod layer;
mod member;
mod round;
mod share;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use counterfoil_model::{Rows, Sequence};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use self::budget::Budget;
use self::round::Means;
use crate::engine::Engine;
use crate::http::metrics::Metrics;
use crate::work::{Work, WorkError};

/// Steps that may wait at the door. Each request has one at most, so that none ever waits to knock.
const MAX_AT_DOOR: usize = 512;

/// The door of a model's conductor, which ends when the last handle is gone.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    door: mpsc::Sender<Entrant>,
    own: Option<Arc<OwnThread>>,
}

/// The thread of a conductor that has one.
#[derive(Debug)]
struct OwnThread {
    stop: watch::Sender<bool>,
    /// Taken by whoever ends it. The lock is held for that.
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A request's place in its model's batch.
#[derive(Debug)]
pub(crate) struct Seat {
    door: mpsc::Sender<Entrant>,
    turn: Option<Turn>,
}

/// Whether frames that are late are sent to other nodes too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hedging {
    /// One in 32 at most, and what is far too late.
    On,
    /// Never: a node is waited for until it counts as gone.
    Off,
}

/// How a request is to come on.
pub(crate) struct Step {
    pub(crate) sequence: Sequence,
    pub(crate) work: Work,
    /// What comes next; at least one.
    pub(crate) ids: Vec<u32>,
    pub(crate) wants: Wants,
    /// Whether nobody waits for the answer any more; asked between rounds.
    pub(crate) gone: Box<dyn Fn() -> bool + Send>,
}

/// Which logits a step is to end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Those of its last row.
    Last,
    /// Those of every row.
    All,
}

/// What a step came to.
pub(crate) struct Stepped {
    pub(crate) sequence: Sequence,
    pub(crate) work: Work,
    pub(crate) end: End,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// All its rows are part of the sequence.
    Logits(Rows),
    /// Nobody waited any more; the rows up to the sequence's position were computed.
    Gone,
    /// It cannot go on.
    Failed(WorkError),
}

/// A step on its way to the conductor.
struct Entrant {
    step: Step,
    reply: oneshot::Sender<Reply>,
}

/// A step on its way back.
struct Reply {
    stepped: Stepped,
    turn: Turn,
}

/// Held by whoever has a result and will soon come with the next step. The conductor waits for those, because a
/// round without them costs as much as one with them; so none may be held over anything that takes time.
#[derive(Debug, Clone)]
struct Turn {
    _held: mpsc::Sender<Infallible>,
}

impl Batch {
    /// Starts a model's conductor: among the router's other tasks, or on a thread of its own where its arithmetic would
    /// hold those up.
    ///
    /// # Errors
    /// What the system says where it gives no thread.
    pub(crate) fn start(
        engine: Arc<Engine>,
        metrics: Arc<Metrics>,
        hedging: Hedging,
    ) -> std::io::Result<Self> {
        let (door, entrants) = mpsc::channel(MAX_AT_DOOR);
        let heavy = engine.is_heavy();
        let means = Means { engine, metrics, budget: Budget::new(hedging) };
        if !heavy {
            tokio::spawn(conductor::conduct(means, entrants));
            return Ok(Self { door, own: None });
        }
        let (stop, mut stopped) = watch::channel(false);
        let runtime = Handle::current();
        let conduct = move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = conductor::conduct(means, entrants) => {}
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("rounds".to_owned()).spawn(conduct)?;
        Ok(Self { door, own: Some(Arc::new(OwnThread { stop, thread: Mutex::new(Some(thread)) })) })
    }

    /// Ends the thread that the conductor has, if it has one: it must not outlive the runtime whose clock it uses. What it
    /// has under way ends with it.
    pub(crate) async fn end(&self) {
        let Some(own) = &self.own else { return };
        own.stop.send_replace(true);
        let thread = own.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // One that panicked has said so.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    /// A place for one request.
    pub(crate) fn seat(&self) -> Seat {
        Seat { door: self.door.clone(), turn: None }
    }
}

impl Seat {
    /// Goes through the model's layers with whoever else does; `None` where the conductor is gone, and the work
    /// with it.
    pub(crate) async fn step(&mut self, step: Step) -> Option<Stepped> {
        let (reply, answer) = oneshot::channel();
        self.door.send(Entrant { step, reply }).await.ok()?;
        // Only now, when the step stands at the door.
        self.turn = None;
        let Reply { stepped, turn } = answer.await.ok()?;
        self.turn = Some(turn);
        Some(stepped)
    }

    /// Something else is waited for before the next step: the others go on meanwhile.
    pub(crate) fn pause(&mut self) {
        self.turn = None;
    }
}
