//! Prompts that are continued for the operator's own measuring and checking, through the same batches and nodes as
//! requests: nothing is held, and no inference is logged. The receipts of the nodes are, so that they take more work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use counterfoil_identity::random;
use counterfoil_model::{Rows, Sequence, argmax};
use counterfoil_spec::claims::Purposes;
use counterfoil_spec::ids::Serial;
use futures_util::future::join_all;

use crate::account::settle_unbilled;
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
    desk: Arc<Desk>,
    request: Serial,
    seat: Seat,
    /// Away only while a step is under way, or after its batch ended.
    state: Option<(Sequence, Work)>,
    logits: Rows,
    ids: Vec<u32>,
}

/// The logits of every position.
pub(crate) async fn logits(desk: &Arc<Desk>, ids: &[u32]) -> Result<Rows, WorkError> {
    let mut run = Run::begin(desk, ids.len()).await?;
    let stepped = run.step(ids.to_vec(), Wants::All).await;
    run.close().await?;
    stepped?;
    Ok(run.logits)
}

pub(crate) async fn continue_all(desk: &Arc<Desk>, prompts: &[Prompt]) -> Trial {
    let begun = prompts.iter().map(|prompt| read(desk, prompt));
    let begun = join_all(begun).await;
    let started = Instant::now();
    let runs = begun.into_iter().zip(prompts).map(|(run, prompt)| async move {
        let mut run = run?;
        let added = run.add(prompt.more).await;
        // The others go on without this one.
        run.seat.pause();
        Ok((run, added))
    });
    let runs = join_all(runs).await;
    let took = started.elapsed();
    let done = join_all(runs.into_iter().map(ended)).await;
    let said = |done: Result<_, WorkError>| done.map_err(|e| e.to_string());
    Trial { continued: done.into_iter().map(said).collect(), took }
}

async fn read(desk: &Arc<Desk>, prompt: &Prompt) -> Result<Run, WorkError> {
    let room = prompt.ids.len().saturating_add(usize::try_from(prompt.more).unwrap_or(usize::MAX));
    let mut run = Run::begin(desk, room).await?;
    if let Err(why) = run.step(prompt.ids.clone(), Wants::Last).await {
        run.close().await?;
        return Err(why);
    }
    // The others may still have to read.
    run.seat.pause();
    Ok(run)
}

async fn ended(run: Result<(Run, Result<(), WorkError>), WorkError>) -> Result<Continued, WorkError> {
    let (mut run, added) = run?;
    let continued = run.continued();
    run.close().await?;
    added.map(|()| continued)
}

impl Run {
    async fn begin(desk: &Arc<Desk>, room: usize) -> Result<Self, WorkError> {
        let engine = desk.engines.first().ok_or(WorkError::Ended)?;
        let request = random::serial();
        let bounds =
            Bounds { request, max_tokens: count(room), purpose: Purposes::VERIFICATION, country: None };
        let work = Work::begin(desk, engine, bounds).await?;
        let sequence = engine.decoder().begin(room)?;
        let seat = desk.seat(engine).ok_or(WorkError::Ended)?;
        let (desk, state) = (Arc::clone(desk), Some((sequence, work)));
        Ok(Self { desk, request, seat, state, logits: Rows::default(), ids: Vec::new() })
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

    fn continued(&mut self) -> Continued {
        let parties = self.state.iter().flat_map(|(_, work)| &work.parties);
        let of = |p: &Party| p.order.as_ref().map(|order| order.used).or(p.gone.map(|gone| gone.used));
        let forwards = parties.filter_map(of).collect();
        Continued { ids: std::mem::take(&mut self.ids), forwards }
    }

    /// Closes the orders, or a node would soon have as many open as it takes.
    async fn close(&mut self) -> Result<(), WorkError> {
        // Rows of a paused seat would be waited for.
        self.seat.pause();
        let Some((_, work)) = self.state.take() else { return Ok(()) };
        let settled = settle_unbilled(&self.desk, self.request, work.parties).await;
        settled.map_err(|e| WorkError::Unlogged(e.to_string()))
    }
}
