//! What a lane costs beyond the transport: dispatches through a real lane against a raw QUIC echo of the same bytes.
//!
//! Both run between the same two threads with a one-thread runtime each, over loopback, with the same certificates and
//! the same transport settings: two threads more would be placed on other cores, and a wake-up across cores can cost
//! more than all that is measured. The lane's node checks MAC, counter and grants as a node does and answers with the rows
//! it was sent, so that no arithmetic is measured. Rounds of all kinds alternate, so that all see the same machine.

mod echo;
pub mod flood;
mod node;
mod parts;
pub mod relay;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::refusal::Refusal;
use tokio::sync::oneshot;

use crate::end::LaneError;
use crate::endpoint::ConnectError;
use crate::frame::{
    Activations, BLOCK, Combine, Dispatch, Encoding, Form, Outcome, Routed, Row, RowVectors, Segment, Served,
};
use crate::sandbox::{Member, Sandbox, SandboxError, machine_clock};

use echo::Echo;
pub use parts::Parts;

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Rows in a dispatch of a token.
    pub rows: u16,
    /// Rows in a dispatch of a prompt.
    pub prefill_rows: u16,
    /// Floats in a row.
    pub hidden: u32,
    /// Dispatches of each kind that are timed, an eighth of them for prompts.
    pub count: usize,
}

impl Default for Plan {
    /// One token of a model with rows of 8 KiB, and part of a prompt.
    fn default() -> Self {
        Self { rows: 1, prefill_rows: 32, hidden: 2048, count: 4000 }
    }
}

/// One way of going there and back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Median, in microseconds.
    pub p50_us: f64,
    /// 99th percentile, in microseconds.
    pub p99_us: f64,
}

/// What was found for dispatches of one size and encoding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Rows in a dispatch.
    pub rows: u16,
    /// How they travel.
    pub encoding: Encoding,
    /// How many were timed.
    pub count: usize,
    /// Bytes of a dispatch frame.
    pub frame_bytes: usize,
    /// Bytes of its answer.
    pub answer_bytes: usize,
    /// Through the lane.
    pub lane: Timing,
    /// The raw echo of as many bytes, both ways.
    pub echo: Timing,
}

impl Measured {
    /// `lane.p50_us / echo.p50_us`
    #[must_use]
    pub fn ratio_p50(&self) -> f64 {
        self.lane.p50_us / self.echo.p50_us
    }

    /// `lane.p99_us / echo.p99_us`
    #[must_use]
    pub fn ratio_p99(&self) -> f64 {
        self.lane.p99_us / self.echo.p99_us
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What was measured.
    pub plan: Plan,
    /// A token's rows, int8 first where their width allows it, then a prompt's.
    pub kinds: Vec<Measured>,
    /// What MACs, counters and the grant take of one forward pass, both sides together, in microseconds.
    pub checks_us: f64,
}

impl Report {
    /// The part of a token's dispatch that goes into MACs, counters and the grant.
    #[must_use]
    pub fn checks_share(&self) -> f64 {
        self.kinds.first().map_or(f64::NAN, |kind| self.checks_us / kind.lane.p50_us)
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The throwaway network.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The lane.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// A thread or runtime.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The raw echo.
    #[error("the raw echo: {0}")]
    Echo(String),
    /// The other thread ended early.
    #[error("the other side is gone")]
    Gone,
    /// One end's checks refuse what the other made.
    #[error("a dispatch is refused with {0}")]
    Refused(Refusal),
}

/// Measures. Blocks for as long as that takes.
///
/// # Errors
/// [`BenchError`].
pub fn run(plan: Plan) -> Result<Report, BenchError> {
    let net = Arc::new(Sandbox::new(machine_clock())?);
    let member = Arc::new(net.member()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let kinds = runtime.block_on(Box::pin(measure(plan, net, member)))?;
    let dispatch = dispatch(plan.rows, plan.hidden, Encoding::F32);
    let mut parts = Parts::new()?;
    // The median of many short runs, because a run in which another process had the core says nothing.
    let checks: Result<Vec<Duration>, _> = (0..CHECK_RUNS).map(|_| parts.checks(&dispatch, CHECKS)).collect();
    let checks = timing(&mut checks.map_err(BenchError::Refused)?);
    Ok(Report { plan, kinds, checks_us: checks.p50_us })
}

/// One kind of dispatch and its times so far.
struct Kind {
    dispatch: Dispatch,
    encoding: Encoding,
    message: Bytes,
    answer_bytes: usize,
    round: usize,
    lanes: Vec<Duration>,
    echoes: Vec<Duration>,
}

async fn measure(plan: Plan, net: Arc<Sandbox>, member: Arc<Member>) -> Result<Vec<Measured>, BenchError> {
    let endpoint = net.bind(&[&member])?;
    let echoing = echo::endpoint(&net)?;
    let (lane_addr, echo_addr) = (endpoint.local_addr()?, echoing.local_addr()?);
    let (there, member_there) = (Arc::clone(&net), Arc::clone(&member));
    let (_stop, stopped) = oneshot::channel();
    on_thread(move || async move {
        let node = async {
            if let Ok(lane) = node::connect(&there, &member_there, lane_addr).await {
                let _ = node::serve(&there, &member_there, lane).await;
            }
        };
        let _ = tokio::join!(node, echo::reflect(&there, &member_there, echo_addr, stopped));
    })?;
    let (lane, token) = Box::pin(node::ordered(&net, &member, endpoint)).await?;
    let mut echo = Box::pin(Echo::accept(&echoing)).await?;
    let mut kinds = kinds(plan);
    let rounds = plan.count.div_ceil(ROUND);
    // The first round warms all of them up and is thrown away.
    for round in 0..=rounds {
        for kind in &mut kinds {
            for _ in 0..kind.round {
                let started = Instant::now();
                let combine = lane.dispatch(&token, &kind.dispatch)?.await?;
                let took = started.elapsed();
                if round > 0 {
                    kind.lanes.push(took);
                }
                lane.restore(combine);
            }
            for _ in 0..kind.round {
                let started = Instant::now();
                echo.there_and_back(&kind.message, kind.answer_bytes).await?;
                let took = started.elapsed();
                if round > 0 {
                    kind.echoes.push(took);
                }
            }
        }
    }
    lane.shut(Refusal::SessionDrain, "measured");
    Ok(kinds.into_iter().map(Kind::measured).collect())
}

fn kinds(plan: Plan) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for (rows, round) in [(plan.rows, ROUND), (plan.prefill_rows, ROUND / 8)] {
        for encoding in [Encoding::Int8, Encoding::F32] {
            let whole = usize::try_from(plan.hidden).is_ok_and(|hidden| hidden.is_multiple_of(BLOCK));
            if encoding == Encoding::F32 || whole {
                kinds.push(Kind::new(dispatch(rows, plan.hidden, encoding), round));
            }
        }
    }
    kinds
}

impl Kind {
    fn new(dispatch: Dispatch, round: usize) -> Self {
        let (there, back) = (dispatch.frame_bytes(), answer(&dispatch).frame_bytes());
        let message = echo::message(there, back);
        let encoding = dispatch.activations.encoding();
        Self { dispatch, encoding, message, answer_bytes: back, round, lanes: Vec::new(), echoes: Vec::new() }
    }

    fn measured(mut self) -> Measured {
        Measured {
            rows: u16::try_from(self.dispatch.rows.len()).unwrap_or(u16::MAX),
            encoding: self.encoding,
            count: self.lanes.len(),
            frame_bytes: self.dispatch.frame_bytes(),
            answer_bytes: self.answer_bytes,
            lane: timing(&mut self.lanes),
            echo: timing(&mut self.echoes),
        }
    }
}

fn timing(times: &mut [Duration]) -> Timing {
    times.sort_unstable();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(index).map_or(0.0, |t| t.as_secs_f64() * 1e6)
    };
    Timing { p50_us: at(50), p99_us: at(99) }
}

/// A dispatch of some rows, each to two experts.
#[must_use]
pub fn dispatch(rows: u16, hidden: u32, encoding: Encoding) -> Dispatch {
    let count = usize::from(rows);
    let values = count * usize::try_from(hidden).unwrap_or(0);
    Dispatch {
        layer: 0,
        hidden,
        segments: vec![Segment { slot: SLOT, rows }],
        rows: (0..u32::from(rows)).map(|position| Row { position, experts: 2, form: Form::Summed }).collect(),
        experts: [Routed { expert: 0, weight: 0.5 }, Routed { expert: 1, weight: 0.5 }].repeat(count),
        activations: match encoding {
            Encoding::F32 => Activations::F32(vec![0.5; values]),
            Encoding::Int8 => {
                Activations::Int8 { bytes: vec![64; values], scales: vec![0.5; values / BLOCK] }
            }
            Encoding::Bf16 => Activations::bf16(&vec![0.5; values]),
        },
    }
}

/// An answer to it.
#[must_use]
pub fn answer(dispatch: &Dispatch) -> Combine {
    let served = |s: &Segment| Served { slot: s.slot, outcome: Outcome::Served(s.rows) };
    Combine {
        compute_us: 1,
        hidden: dispatch.hidden,
        segments: dispatch.segments.iter().map(served).collect(),
        rows: dispatch.rows.iter().map(|row| RowVectors { vectors: 1, form: row.form }).collect(),
        values: vec![0.25; dispatch.rows.len() * usize::try_from(dispatch.hidden).unwrap_or(0)],
    }
}

/// Runs a task on a thread with a one-thread runtime of its own.
fn on_thread<T, F>(task: T) -> Result<(), BenchError>
where
    T: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new()
        .name("bench-peer".into())
        .spawn(move || runtime.block_on(Box::pin(task())))?;
    Ok(())
}

/// Dispatches between two changes of kind.
const ROUND: usize = 200;
/// Forward passes whose checks are timed in a row.
const CHECKS: u32 = 200;
/// How often that is repeated.
const CHECK_RUNS: usize = 101;
const SLOT: u32 = 1;
const NAME: &str = "echo";
const MANIFEST: ManifestId = ManifestId::from_bytes([1; 32]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_times_every_dispatch_of_every_kind() {
        let plan = Plan { rows: 2, prefill_rows: 5, hidden: 64, count: 10 };
        let report = run(plan).unwrap();
        assert_eq!(report.plan, plan);
        let seen: Vec<_> =
            report.kinds.iter().map(|k| (k.rows, k.encoding, k.count, k.frame_bytes)).collect();
        let bytes = |rows: usize, row: usize| 40 + 16 + 8 + rows * (8 + 2 * 8 + row);
        assert_eq!(
            seen,
            [
                (2, Encoding::Int8, 200, bytes(2, 72)),
                (2, Encoding::F32, 200, bytes(2, 256)),
                (5, Encoding::Int8, 25, bytes(5, 72)),
                (5, Encoding::F32, 25, bytes(5, 256)),
            ]
        );
        assert!(report.kinds.iter().all(|k| k.answer_bytes == 40 + 16 + 8 + usize::from(k.rows) * (4 + 256)));
        assert!(
            report.kinds.iter().all(|k| k.lane.p50_us <= k.lane.p99_us && k.echo.p50_us <= k.echo.p99_us)
        );
        assert!(report.kinds.iter().all(|k| k.lane.p50_us > 0.0 && k.echo.p50_us > 0.0));
    }

    #[test]
    fn rows_that_are_no_whole_blocks_are_measured_as_floats() {
        let plan = Plan { hidden: 48, ..Plan::default() };
        let encodings: Vec<_> = kinds(plan).iter().map(|k| k.encoding).collect();
        assert_eq!(encodings, [Encoding::F32, Encoding::F32]);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let mut times: Vec<Duration> = (1..=200).rev().map(Duration::from_micros).collect();
        let Timing { p50_us, p99_us } = timing(&mut times);
        assert!((p50_us - 101.0).abs() < 1e-6 && (p99_us - 199.0).abs() < 1e-6);
    }
}
