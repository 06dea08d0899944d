//! What a lane costs beyond the transport: dispatches through a real lane against a raw QUIC echo of the same bytes.
//!
//! Both run between the same two threads with a one-thread runtime each, over loopback, with the same certificates and
//! the same transport settings: two threads more would be placed on other cores, and a wake-up across cores can cost
//! more than all that is measured. The lane's node checks MAC, counter and grants as a node does and answers with the rows
//! it was sent, so that no arithmetic is measured. Rounds of both alternate, so that both see the same machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use counterfoil_consent::{Permit, Usage};
use counterfoil_identity::{ALPN, Directory, PinnedRouter, server_config};
use counterfoil_spec::ids::{ManifestId, NodeId};
use counterfoil_spec::message::{NodeMessage, RouterMessage};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use tokio::sync::oneshot;

use crate::end::{LaneEnd, LaneError};
use crate::endpoint::{ConnectError, NodeEndpoint, RouterEndpoint, SERVER_NAME, open};
use crate::frame::{Activations, Combine, Dispatch, Form, Outcome, Routed, Row, RowVectors, Segment, Served};
use crate::lane::{ActiveToken, RouterLane};
use crate::node_lane::{NodeLane, RouterFrame};
use crate::sandbox::{Member, Sandbox, SandboxError, hello, machine_clock};
use crate::transport::{Distance, Side, transport};

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Rows in a dispatch.
    pub rows: u16,
    /// Floats in a row.
    pub hidden: u32,
    /// Dispatches of each kind that are timed.
    pub count: usize,
}

impl Default for Plan {
    /// One token of a model with rows of 8 KiB.
    fn default() -> Self {
        Self { rows: 1, hidden: 2048, count: 4000 }
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

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// What was measured.
    pub plan: Plan,
    /// Bytes of a dispatch frame; the answer is as long but for a few.
    pub frame_bytes: usize,
    /// Through the lane.
    pub lane: Timing,
    /// The raw echo.
    pub echo: Timing,
    /// `lane.p50_us / echo.p50_us`
    pub ratio_p50: f64,
    /// `lane.p99_us / echo.p99_us`
    pub ratio_p99: f64,
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
}

/// Measures. Blocks for as long as that takes.
///
/// # Errors
/// [`BenchError`].
pub fn run(plan: Plan) -> Result<Report, BenchError> {
    let net = Arc::new(Sandbox::new(machine_clock())?);
    let member = Arc::new(net.member()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Box::pin(measure(plan, net, member)))
}

async fn measure(plan: Plan, net: Arc<Sandbox>, member: Arc<Member>) -> Result<Report, BenchError> {
    let dispatch = rows(plan);
    let frame_bytes = dispatch.frame_bytes();
    let endpoint = net.bind(&[&member])?;
    let echoing = echo_endpoint(&net)?;
    let (lane_addr, echo_addr) = (endpoint.local_addr()?, echoing.local_addr()?);
    let (there, member_there) = (Arc::clone(&net), Arc::clone(&member));
    let (_stop, stopped) = oneshot::channel();
    on_thread(move || async move {
        let node = async {
            if let Ok(lane) = connect(&there, &member_there, lane_addr).await {
                let _ = serve(&there, &member_there, lane).await;
            }
        };
        let _ = tokio::join!(node, reflect(&there, &member_there, echo_addr, stopped));
    })?;
    let (lane, token) = Box::pin(lane(&net, &member, endpoint)).await?;
    let mut echo = Box::pin(Echo::accept(&echoing)).await?;
    let frame = Bytes::from(vec![7; frame_bytes]);
    let (mut lanes, mut echoes) = (Vec::with_capacity(plan.count), Vec::with_capacity(plan.count));
    let rounds = plan.count.div_ceil(ROUND);
    // The first round warms both up and is thrown away.
    for round in 0..=rounds {
        for _ in 0..ROUND {
            let asked = dispatch.clone();
            let started = Instant::now();
            let combine = lane.dispatch(&token, asked)?.await?;
            let took = started.elapsed();
            if round > 0 {
                lanes.push(took);
            }
            drop(combine);
        }
        for _ in 0..ROUND {
            let started = Instant::now();
            echo.there_and_back(&frame).await?;
            let took = started.elapsed();
            if round > 0 {
                echoes.push(took);
            }
        }
    }
    lane.shut(Refusal::SessionDrain, "measured");
    let (lane, echo) = (timing(&mut lanes), timing(&mut echoes));
    let (ratio_p50, ratio_p99) = (lane.p50_us / echo.p50_us, lane.p99_us / echo.p99_us);
    Ok(Report { plan, frame_bytes, lane, echo, ratio_p50, ratio_p99 })
}

fn timing(times: &mut [Duration]) -> Timing {
    times.sort_unstable();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(index).map_or(0.0, |t| t.as_secs_f64() * 1e6)
    };
    Timing { p50_us: at(50), p99_us: at(99) }
}

fn rows(plan: Plan) -> Dispatch {
    let rows = usize::from(plan.rows);
    Dispatch {
        layer: 0,
        hidden: plan.hidden,
        segments: vec![Segment { slot: SLOT, rows: plan.rows }],
        rows: (0..u32::from(plan.rows))
            .map(|position| Row { position, experts: 2, form: Form::Summed })
            .collect(),
        experts: [Routed { expert: 0, weight: 0.5 }, Routed { expert: 1, weight: 0.5 }].repeat(rows),
        activations: Activations::F32(vec![0.5; rows * usize::try_from(plan.hidden).unwrap_or(0)]),
    }
}

/// Brings the lane to where dispatches may flow.
async fn lane(
    net: &Sandbox,
    member: &Member,
    endpoint: RouterEndpoint,
) -> Result<(RouterLane, ActiveToken), BenchError> {
    let arriving = endpoint.accept().await.ok_or(BenchError::Gone)?;
    let mut incoming = Box::pin(arriving.admit()).await?;
    incoming.lane.propose(net.proposal(MANIFEST, NAME))?;
    let Some(NodeMessage::Consent(token)) = incoming.events.recv().await else {
        return Err(BenchError::Gone);
    };
    let permit = net.check(&token, member).map_err(|r| BenchError::Echo(r.to_string()))?;
    let active = incoming.lane.welcome(&permit, 0, Seconds(u64::MAX))?;
    let Some(NodeMessage::Ready(_)) = incoming.events.recv().await else { return Err(BenchError::Gone) };
    incoming.lane.open(net.order(&permit, SLOT))?;
    Ok((incoming.lane, active))
}

async fn connect(net: &Sandbox, member: &Member, addr: SocketAddr) -> Result<NodeLane, BenchError> {
    let endpoint = NodeEndpoint::towards(addr).map_err(SandboxError::from)?;
    let target = net.target(addr);
    Ok(Box::pin(endpoint.connect(&target, net.tls(member)?, hello((net.now)()))).await?)
}

/// A node whose experts give back what they get.
async fn serve(net: &Sandbox, member: &Member, mut lane: NodeLane) -> Result<(), LaneEnd> {
    let mut permit: Option<Permit> = None;
    let mut grant = None;
    let usage = Usage::new();
    loop {
        match lane.next().await? {
            RouterFrame::Message(message) => match *message {
                RouterMessage::Propose(proposal) => {
                    let (token, own) = net.consent(member, &proposal).unzip();
                    permit = own;
                    lane.send(&NodeMessage::Consent(token.unwrap_or_default()))?;
                }
                RouterMessage::Welcome(welcome) => {
                    if let Some(permit) = &permit {
                        lane.activate(permit)?;
                    }
                    lane.send(&NodeMessage::Ready(welcome.cti))?;
                }
                RouterMessage::Open(order) => {
                    let (router, now) = (lane.router(), (net.now)());
                    let checked = permit
                        .as_ref()
                        .and_then(|p| p.check_open(&order, router.key(), &router.net_id(), now, &usage).ok());
                    grant = checked;
                }
                _ => {}
            },
            RouterFrame::Dispatch(asked) => {
                let mut dispatch = lane.take_dispatch();
                let now = (net.now)();
                let allowed = grant.as_ref().is_some_and(|grant| {
                    grant.in_time(now)
                        && dispatch.experts.iter().all(|e| grant.allows(dispatch.layer, u32::from(e.expert)))
                });
                let combine = echoed(&mut dispatch, allowed);
                lane.answer(&asked, &combine)?;
                dispatch.activations = Activations::F32(combine.values);
                lane.restore(dispatch);
            }
        }
    }
}

fn echoed(dispatch: &mut Dispatch, allowed: bool) -> Combine {
    let outcome = |rows| if allowed { Outcome::Served(rows) } else { Outcome::Refused(Refusal::Scope) };
    let segments = dispatch.segments.iter().map(|s| Served { slot: s.slot, outcome: outcome(s.rows) });
    let segments = segments.collect();
    let rows = dispatch.rows.iter().filter(|_| allowed);
    let rows = rows.map(|row| RowVectors { vectors: 1, form: row.form }).collect();
    let values = if allowed { dispatch.activations.to_floats() } else { Vec::new() };
    Combine { compute_us: 0, hidden: dispatch.hidden, segments, rows, values }
}

/// Where the raw echo is taken: as a lane is, but for what is above TLS.
fn echo_endpoint(net: &Sandbox) -> Result<quinn::Endpoint, BenchError> {
    let known: Arc<dyn Directory> = Arc::new(Anyone);
    let tls = server_config(&net.router, &net.domain, known, Arc::clone(&net.now), ALPN);
    let crypto = QuicServerConfig::try_from(tls.map_err(SandboxError::from)?);
    let crypto = crypto.map_err(|e| BenchError::Echo(e.to_string()))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport(Side::Router, Distance::Loopback));
    Ok(open(ANY, Some(config)).map_err(SandboxError::from)?)
}

/// A QUIC stream whose other end sends back what it gets, message by message.
struct Echo {
    connection: quinn::Connection,
    send: quinn::SendStream,
    recv: quinn::RecvStream,
    buffer: Vec<u8>,
}

impl Echo {
    async fn accept(endpoint: &quinn::Endpoint) -> Result<Self, BenchError> {
        let failed = |e: &dyn std::fmt::Display| BenchError::Echo(e.to_string());
        let incoming = endpoint.accept().await.ok_or(BenchError::Gone)?;
        let connection = incoming.await.map_err(|e| failed(&e))?;
        let (send, mut recv) = connection.accept_bi().await.map_err(|e| failed(&e))?;
        let mut first = [0; 1];
        recv.read_exact(&mut first).await.map_err(|e| failed(&e))?;
        Ok(Self { connection, send, recv, buffer: Vec::new() })
    }

    async fn there_and_back(&mut self, message: &Bytes) -> Result<(), BenchError> {
        self.buffer.resize(message.len(), 0);
        let sent = self.send.write_chunk(message.clone()).await;
        sent.map_err(|e| BenchError::Echo(e.to_string()))?;
        self.recv.read_exact(&mut self.buffer).await.map_err(|e| BenchError::Echo(e.to_string()))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.connection.close(quinn::VarInt::from(0_u8), b"");
    }
}

/// The far end of the raw echo: whatever arrives goes back at once.
async fn reflect(
    net: &Sandbox,
    member: &Member,
    addr: SocketAddr,
    stopped: oneshot::Receiver<()>,
) -> Result<(), BenchError> {
    let failed = |e: &dyn std::fmt::Display| BenchError::Echo(e.to_string());
    let crypto = QuicClientConfig::try_from(net.tls(member)?).map_err(|e| failed(&e))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport(Side::Node, Distance::Loopback));
    let endpoint = open(ANY, None).map_err(SandboxError::from)?;
    let connecting = endpoint.connect_with(config, addr, SERVER_NAME).map_err(|e| failed(&e))?;
    let connection = connecting.await.map_err(|e| failed(&e))?;
    let (mut send, mut recv) = connection.open_bi().await.map_err(|e| failed(&e))?;
    send.write_all(&[1]).await.map_err(|e| failed(&e))?;
    let echoing = async {
        while let Ok(Some(chunk)) = recv.read_chunk(usize::MAX, true).await {
            if send.write_chunk(chunk.bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::select! { () = echoing => {} _ = stopped => {} }
    Ok(())
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

struct Anyone;

impl Directory for Anyone {
    fn check(&self, role: counterfoil_spec::entry::Role, id: &NodeId, serial: &[u8]) -> Result<(), Refusal> {
        match role {
            counterfoil_spec::entry::Role::Node => Ok(()),
            other => PinnedRouter(None).check(other, id, serial),
        }
    }
}

/// Dispatches between two changes of kind.
const ROUND: usize = 200;
const SLOT: u32 = 1;
const NAME: &str = "echo";
const MANIFEST: ManifestId = ManifestId::from_bytes([1; 32]);
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_times_every_dispatch_of_both_kinds() {
        let plan = Plan { rows: 2, hidden: 64, count: 10 };
        let report = run(plan).unwrap();
        assert_eq!(report.plan, plan);
        assert_eq!(report.frame_bytes, 40 + 16 + 8 + 2 * 8 + 4 * 8 + 2 * 64 * 4);
        assert!(report.lane.p50_us > 0.0 && report.echo.p50_us > 0.0);
        assert!(report.lane.p50_us <= report.lane.p99_us && report.echo.p50_us <= report.echo.p99_us);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let mut times: Vec<Duration> = (1..=200).rev().map(Duration::from_micros).collect();
        let Timing { p50_us, p99_us } = timing(&mut times);
        assert!((p50_us - 101.0).abs() < 1e-6 && (p99_us - 199.0).abs() < 1e-6);
    }
}
