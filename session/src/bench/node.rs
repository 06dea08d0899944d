//! The measured lane's two ends: a router that has ordered, and a node whose experts give back what they get.

use std::net::SocketAddr;

use counterfoil_consent::{ActiveGrant, Permit, Usage};
use counterfoil_spec::message::{NodeMessage, RouterMessage};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use super::parts::granted;
use super::{BenchError, MANIFEST, NAME, SLOT};
use crate::admission::RouterEndpoint;
use crate::end::LaneEnd;
use crate::endpoint::NodeEndpoint;
use crate::frame::{Activations, Combine, Dispatch, Outcome, RowVectors, Served};
use crate::lane::{ActiveToken, RouterLane};
use crate::node_lane::{NodeLane, RouterFrame};
use crate::sandbox::{Member, Sandbox, SandboxError, hello};

/// Brings the lane to where dispatches may flow.
pub(super) async fn ordered(
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

pub(super) async fn connect(
    net: &Sandbox,
    member: &Member,
    addr: SocketAddr,
) -> Result<NodeLane, BenchError> {
    let endpoint = NodeEndpoint::towards(addr).map_err(SandboxError::from)?;
    let target = net.target(addr);
    Ok(Box::pin(endpoint.connect(&target, net.tls(member)?, hello((net.now)()))).await?)
}

/// Answers until the lane ends.
pub(super) async fn serve(net: &Sandbox, member: &Member, mut lane: NodeLane) -> Result<(), LaneEnd> {
    let mut permit: Option<Permit> = None;
    let mut grant: Option<ActiveGrant> = None;
    let mut combine = Combine::default();
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
                let may = grant.as_ref().is_some_and(|g| granted(g, &dispatch, &net.now).is_ok());
                echoed(&mut dispatch, &mut combine, may);
                lane.answer(&asked, &combine)?;
                if let Activations::F32(values) = &mut dispatch.activations {
                    std::mem::swap(values, &mut combine.values);
                }
                lane.restore(dispatch);
            }
        }
    }
}

/// The rows themselves where they are floats, else as many floats.
fn echoed(dispatch: &mut Dispatch, combine: &mut Combine, allowed: bool) {
    let outcome = |rows| if allowed { Outcome::Served(rows) } else { Outcome::Refused(Refusal::Scope) };
    combine.hidden = dispatch.hidden;
    combine.segments.clear();
    let segments = dispatch.segments.iter().map(|s| Served { slot: s.slot, outcome: outcome(s.rows) });
    combine.segments.extend(segments);
    combine.rows.clear();
    if !allowed {
        combine.values.clear();
        return;
    }
    combine.rows.extend(dispatch.rows.iter().map(|row| RowVectors { vectors: 1, form: row.form }));
    if let Activations::F32(values) = &mut dispatch.activations {
        std::mem::swap(values, &mut combine.values);
    } else {
        let width = usize::try_from(dispatch.hidden).unwrap_or(0);
        combine.values.resize(dispatch.rows.len() * width, 0.5);
    }
}
