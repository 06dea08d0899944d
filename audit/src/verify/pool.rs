//! A few threads that decode batches and check their signatures, and the order in which batches come back.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use counterfoil_spec::ids::NetId;

use super::decode::Batch;

/// What signatures are made for.
#[derive(Clone)]
pub(super) struct Domain {
    pub(super) net_id: NetId,
    pub(super) origin: Arc<str>,
}

enum Job {
    Decode(Box<Batch>),
    Check(Box<Batch>, Domain),
}

/// A batch that a thread is done with.
pub(super) enum Done {
    Decoded(Box<Batch>),
    Checked(Box<Batch>),
}

pub(super) struct Pool {
    jobs: Sender<Job>,
    done: Receiver<Done>,
}

impl Pool {
    pub(super) fn start<'scope>(scope: &'scope Scope<'scope, '_>, threads: usize) -> Self {
        let (jobs, queue) = channel();
        let (send, done) = channel();
        // Guards the receiving end of the queue; held while a thread waits for its next job.
        let queue: Arc<Mutex<Receiver<Job>>> = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let (queue, send) = (queue.clone(), send.clone());
            scope.spawn(move || {
                let mut scratch = Vec::new();
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let done = match job {
                        Ok(Job::Decode(mut batch)) => {
                            batch.decode(&mut scratch);
                            Done::Decoded(batch)
                        }
                        Ok(Job::Check(mut batch, domain)) => {
                            batch.check(&domain.net_id, &domain.origin);
                            Done::Checked(batch)
                        }
                        Err(_) => return,
                    };
                    if send.send(done).is_err() {
                        return;
                    }
                }
            });
        }
        Self { jobs, done }
    }

    pub(super) fn decode(&self, batch: Box<Batch>) {
        // Threads end only after this sender does.
        let _ = self.jobs.send(Job::Decode(batch));
    }

    pub(super) fn check(&self, batch: Box<Batch>, domain: Domain) {
        let _ = self.jobs.send(Job::Check(batch, domain));
    }

    /// The next batch that is done, in any order; `None` only where all threads ended.
    pub(super) fn next(&self) -> Option<Done> {
        self.done.recv().ok()
    }
}

/// Gives batches out by number.
#[derive(Default)]
pub(super) struct InOrder {
    waiting: BTreeMap<u64, Box<Batch>>,
    next: u64,
}

impl InOrder {
    pub(super) fn put(&mut self, batch: Box<Batch>) {
        self.waiting.insert(batch.number, batch);
    }

    pub(super) fn take(&mut self) -> Option<Box<Batch>> {
        let batch = self.waiting.remove(&self.next)?;
        self.next += 1;
        Some(batch)
    }
}
