//! Consent tokens that a node should not have presented, at a router that runs.

use counterfoil_consent::{Issuance, issue};
use counterfoil_model::Checkpoint;
use counterfoil_router::{Dealing, Hedging, clock};
use counterfoil_session::sandbox::open_policy;
use counterfoil_session::sandbox::rows::{Before, TOKENS};
use counterfoil_session::{NodeLane, RouterFrame};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::message::{NodeMessage, RouterMessage, Terms};
use counterfoil_spec::refusal::Refusal;

use crate::network::{Network, on_one_thread};
use crate::scripted::connected;

/// What the router says next, but for what it asks any node.
async fn said(lane: &mut NodeLane) -> RouterMessage {
    loop {
        let RouterFrame::Message(message) = lane.next().await.unwrap() else { panic!("a dispatch") };
        match *message {
            RouterMessage::Ping(nonce) => lane.send(&NodeMessage::Pong(nonce)).unwrap(),
            message => return message,
        }
    }
}

/// Presents a token; gives the router's answer.
async fn presented(lane: &mut NodeLane, token: Vec<u8>) -> Result<Serial, Refusal> {
    lane.send(&NodeMessage::Consent(token)).unwrap();
    loop {
        match said(lane).await {
            RouterMessage::Welcome(welcome) => return Ok(welcome.cti),
            RouterMessage::Refused(refusal, _) => return Err(refusal),
            _ => {}
        }
    }
}

//= spec/consent.md#order-of-checks
//= type=test
//# A router MUST make these checks in this order and MUST refuse at the first that fails:
#[test]
fn every_row_that_a_node_does_not_present_is_refused_with_the_same_code() {
    on_one_thread(async {
        let dealing = Dealing::Placed { replicas: 1, expect: None };
        let network = Network::new(Checkpoint::guide().unwrap(), dealing, Hedging::Off).await;
        let (identity, _) = network.enrolled().await;
        let (_endpoint, mut lane) = Box::pin(connected(&identity, network.router.nodes_addr())).await;
        let proposal = loop {
            if let RouterMessage::Propose(proposal) = said(&mut lane).await {
                break proposal;
            }
        };
        let honest = || {
            let issuance = Issuance::fresh(identity.domain.net_id(), clock::now().seconds(), 1);
            issue(&open_policy(&proposal.name), &proposal, &identity.key, &issuance).unwrap()
        };
        for row in &TOKENS {
            let (token, permit) = honest();
            let cti = permit.claims().cti;
            if row.before == Before::Withdrawn {
                assert_eq!(presented(&mut lane, token).await, Ok(cti));
                lane.activate(&permit).unwrap();
                lane.send(&NodeMessage::Revoke(cti)).unwrap();
            }
            let token = row.token(permit.claims(), &identity.key);
            assert_eq!(presented(&mut lane, token).await, Err(row.refusal), "{}", row.what);
        }
        // The proposal was answered by the one that was withdrawn.
        lane.send(&NodeMessage::Terms(Terms { min_epoch: 1, wants: None, concurrent: 1 })).unwrap();
        // That there was nothing to host may have been said before.
        while !matches!(said(&mut lane).await, RouterMessage::Propose(again) if !again.ranges.is_empty()) {}
        let (token, permit) = honest();
        assert_eq!(presented(&mut lane, token).await, Ok(permit.claims().cti));
    });
}
