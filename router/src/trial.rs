//! Prompts that are continued for the operator's own measuring and checking, through the same batches and nodes as
//! requests: nothing is held, and no inference is logged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use counterfoil_identity::random;
use counterfoil_model::{Rows, Sequence, argmax};
use counterfoil_spec::claims::Purposes;
use futures_util::future::join_all;

use crate::batch::{End, Seat, Step, Stepped, Wants};
use crate::desk::Desk;
use crate::generate::count;
use crate::work::{Bounds, Party, Work, WorkError};

/// What is to be continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// At least one token id.
    pub ids: Vec<u32>,
    /// How many ids to add, each the most likely one.
    pub more: u32,
}

/// One continuation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continued {
    /// What was added.
    pub ids: Vec<u32>,
    /// For each node that was asked, its forwards that entered a sum, in the order of node ids.
    pub forwards: Vec<u64>,
}

/// What came of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// One for each prompt; the error says in words what failed.
    pub continued: Vec<Result<Continued, String>>,
    /// From when all prompts had been read to when all were done.
    pub took: Duration,
}

/// A continuation under way.
struct Run {
    seat: Seat,
    /// Away only while a step is under way, or after it failed.
    state: Option<(Sequence, Work)>,
    logits: Rows,
    ids: Vec<u32>,
}

/// The logits of every position.
pub(crate) async fn logits(desk: &Arc<Desk>, ids: &[u32]) -> Result<Rows, WorkError> {
    let mut run = Run::begin(desk, ids.len()).await?;
    run.step(ids.to_vec(), Wants::All).await?;
    Ok(run.logits)
}

pub(crate) async fn continue_all(desk: &Arc<Desk>, prompts: &[Prompt]) -> Trial {
    let begun = prompts.iter().map(|prompt| read(desk, prompt));
    let begun = join_all(begun).await;
    let started = Instant::now();
    let runs = begun.into_iter().zip(prompts).map(|(run, prompt)| async move {
        let mut run = run?;
        run.add(prompt.more).await?;
        Ok(run.continued())
    });
    let done = join_all(runs).await;
    let took = started.elapsed();
    let said = |done: Result<_, WorkError>| done.map_err(|e| e.to_string());
    Trial { continued: done.into_iter().map(said).collect(), took }
}

async fn read(desk: &Arc<Desk>, prompt: &Prompt) -> Result<Run, WorkError> {
    let room = prompt.ids.len().saturating_add(usize::try_from(prompt.more).unwrap_or(usize::MAX));
    let mut run = Run::begin(desk, room).await?;
    run.step(prompt.ids.clone(), Wants::Last).await?;
    // The others may still have to read.
    run.seat.pause();
    Ok(run)
}

impl Run {
    async fn begin(desk: &Arc<Desk>, room: usize) -> Result<Self, WorkError> {
        let engine = desk.engines.first().ok_or(WorkError::Ended)?;
        let bounds =
            Bounds { request: random::serial(), max_tokens: count(room), purpose: Purposes::VERIFICATION };
        let work = Work::begin(desk, engine, bounds).await?;
        let sequence = engine.decoder().begin(room)?;
        let seat = desk.seat(engine).ok_or(WorkError::Ended)?;
        Ok(Self { seat, state: Some((sequence, work)), logits: Rows::default(), ids: Vec::new() })
    }

    async fn step(&mut self, ids: Vec<u32>, wants: Wants) -> Result<(), WorkError> {
        let (sequence, work) = self.state.take().ok_or(WorkError::Ended)?;
        let step = Step { sequence, work, ids, wants, gone: Box::new(|| false) };
        let Stepped { sequence, work, end } = self.seat.step(step).await.ok_or(WorkError::Ended)?;
        self.state = Some((sequence, work));
        match end {
            End::Logits(logits) => {
                self.logits = logits;
                Ok(())
            }
            End::Gone => Err(WorkError::Ended),
            End::Failed(why) => Err(why),
        }
    }

    async fn add(&mut self, more: u32) -> Result<(), WorkError> {
        for _ in 0..more {
            let id = u32::try_from(argmax(self.logits.values())).unwrap_or(u32::MAX);
            self.ids.push(id);
            self.step(vec![id], Wants::Last).await?;
        }
        Ok(())
    }

    fn continued(self) -> Continued {
        let parties = self.state.map(|(_, work)| work.parties).unwrap_or_default();
        let of = |p: &Party| p.order.as_ref().map(|order| order.used).or(p.gone.map(|gone| gone.used));
        let forwards = parties.iter().filter_map(of);
        Continued { ids: self.ids, forwards: forwards.collect() }
    }
}
