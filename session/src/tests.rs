//! Lanes over real QUIC on loopback: who is let in, what a frame must carry, and what everybody learns at the end.

mod admission;
mod fetch;
mod frames;
mod limits;
mod requests;
mod words;

use counterfoil_consent::Permit;
use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::message::{NodeMessage, RouterMessage};
use counterfoil_spec::time::Seconds;

use crate::frame::{Activations, Combine, Dispatch, Form, Outcome, Routed, Row, RowVectors, Segment, Served};
use crate::sandbox::{Member, Sandbox, hello, machine_clock};
use crate::{
    ActiveToken, Asked, Events, LaneEnd, LaneError, NodeEndpoint, NodeLane, RouterEndpoint, RouterFrame,
    RouterLane,
};

struct Pair {
    net: Sandbox,
    member: Member,
    /// Kept open for as long as the lane.
    _ends: (RouterEndpoint, NodeEndpoint),
    router: RouterLane,
    events: Events,
    node: NodeLane,
}

async fn connected() -> Pair {
    connected_in(Sandbox::new(machine_clock()).unwrap()).await
}

async fn connected_in(net: Sandbox) -> Pair {
    let member = net.member().unwrap();
    let endpoint = net.bind(&[&member]).unwrap();
    let target = net.target(endpoint.local_addr().unwrap());
    let tls = net.tls(&member).unwrap();
    let ours = NodeEndpoint::towards(target.addr).unwrap();
    let admitting = async { endpoint.accept().await.unwrap().admit().await };
    let (incoming, node) = tokio::join!(admitting, ours.connect(&target, tls, hello((net.now)())));
    let incoming = incoming.unwrap();
    Pair {
        net,
        member,
        _ends: (endpoint, ours),
        router: incoming.lane,
        events: incoming.events,
        node: node.unwrap(),
    }
}

/// A permit that both sides hold without having exchanged it on the lane.
fn permit(pair: &Pair) -> Permit {
    let proposal = pair.net.proposal(ManifestId::from_bytes([1; 32]), "guide");
    let (token, _) = pair.net.consent(&pair.member, &proposal).unwrap();
    pair.net.check(&token, &pair.member).unwrap()
}

/// Brings the lane to where dispatches may flow.
async fn consented(pair: &mut Pair) -> ActiveToken {
    let proposal = pair.net.proposal(ManifestId::from_bytes([1; 32]), "guide");
    let (token, own) = pair.net.consent(&pair.member, &proposal).unwrap();
    pair.node.send(&NodeMessage::Consent(token)).unwrap();
    let Some(NodeMessage::Consent(token)) = pair.events.recv().await else { panic!("no consent") };
    let permit = pair.net.check(&token, &pair.member).unwrap();
    let active = pair.router.welcome(&permit, 7, Seconds(0)).unwrap();
    let RouterMessage::Welcome(welcome) = message(&mut pair.node).await else { panic!("no welcome") };
    assert_eq!(welcome.cti, own.claims().cti);
    assert_eq!(pair.node.activate(&own).unwrap(), 0);
    active
}

async fn message(node: &mut NodeLane) -> RouterMessage {
    match node.next().await.unwrap() {
        RouterFrame::Message(message) => *message,
        RouterFrame::Dispatch(_) => panic!("a dispatch where a message was expected"),
    }
}

async fn asked(node: &mut NodeLane) -> Asked {
    match node.next().await.unwrap() {
        RouterFrame::Dispatch(asked) => asked,
        RouterFrame::Message(message) => panic!("{message:?} where a dispatch was expected"),
    }
}

fn one_row(value: f32) -> Dispatch {
    Dispatch {
        layer: 3,
        hidden: 2,
        segments: vec![Segment { slot: 5, rows: 1 }],
        rows: vec![Row { position: 0, experts: 1, form: Form::Summed }],
        experts: vec![Routed { expert: 2, weight: 0.5 }],
        activations: Activations::F32(vec![value, -value]),
    }
}

fn echo(dispatch: &Dispatch) -> Combine {
    Combine {
        compute_us: 1,
        hidden: dispatch.hidden,
        segments: vec![Served { slot: 5, outcome: Outcome::Served(1) }],
        rows: vec![RowVectors { vectors: 1, form: Form::Summed }],
        values: dispatch.activations.to_floats(),
    }
}

fn closed(error: LaneError) -> LaneEnd {
    match error {
        LaneError::Closed { end, .. } => end,
        other => panic!("{other}"),
    }
}
