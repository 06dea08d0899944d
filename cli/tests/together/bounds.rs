//! What one enrolled node can have the router's log hold, and what it is told when it goes beyond that.

use counterfoil_consent::{Issuance, Permit, issue};
use counterfoil_model::Checkpoint;
use counterfoil_node::NodeIdentity;
use counterfoil_router::{Dealing, Hedging};
use counterfoil_session::sandbox::open_policy;
use counterfoil_session::{LaneEnd, NodeEndpoint, NodeLane, RouterFrame};
use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::{ManifestId, NodeId};
use counterfoil_spec::limits::{
    MAX_CONSENT_REFUSALS, MAX_CONSENT_REFUSALS_LOGGED, MAX_CONSENTS_LOADING, MESSAGE_BURST,
};
use counterfoil_spec::message::{NodeMessage, Proposal, RouterMessage, Terms};
use counterfoil_spec::payload::Payload;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Now;

use crate::network::{Network, on_one_thread, until};
use crate::rotation::refusals;
use crate::scripted::connected;

const REFUSED: &str = "counterfoil_refusals_total{by=\"router\",what=\"consent\",code=\"T_CANON\"}";

/// A node that is a script, and what was proposed to it last.
pub(crate) struct Script {
    identity: NodeIdentity,
    endpoint: NodeEndpoint,
    pub(crate) lane: NodeLane,
    pub(crate) proposal: Proposal,
    clock: Now,
}

impl Script {
    pub(crate) async fn new(network: &Network) -> Self {
        let (identity, _) = network.enrolled().await;
        Self::of(network, identity).await
    }

    async fn of(network: &Network, identity: NodeIdentity) -> Self {
        let (endpoint, mut lane) = Box::pin(connected(&identity, network.router.nodes_addr())).await;
        let proposal = proposed(&mut lane).await;
        Self { identity, endpoint, lane, proposal, clock: network.clock() }
    }

    /// The same node on another lane.
    pub(crate) async fn again(self, network: &Network) -> Self {
        self.lane.shut(Refusal::SessionDrain, "it connects again");
        self.endpoint.wait_idle().await;
        Self::of(network, self.identity).await
    }

    fn node(&self) -> NodeId {
        self.identity.key.public().node_id()
    }

    /// A token for these ranges of what was proposed.
    pub(crate) fn token(&self, ranges: &[Range]) -> (Vec<u8>, Permit) {
        let (manifest, ranges) = (ranges[0].manifest, ranges.to_vec());
        let proposal = Proposal { manifest, ranges, ..self.proposal.clone() };
        let issuance = Issuance::fresh(self.identity.domain.net_id(), (self.clock)().seconds(), 1);
        issue(&open_policy(&proposal.name), &proposal, &self.identity.key, &issuance).unwrap()
    }

    /// Presents a token for these ranges; gives what the router says of it.
    pub(crate) async fn presents(&mut self, ranges: &[Range]) -> Result<Permit, Refusal> {
        let (token, permit) = self.token(ranges);
        self.lane.send(&NodeMessage::Consent(token)).unwrap();
        match answered(&mut self.lane).await.unwrap() {
            RouterMessage::Welcome(welcome) => {
                assert_eq!(welcome.cti, permit.claims().cti);
                self.lane.activate(&permit).unwrap();
                Ok(permit)
            }
            RouterMessage::Refused(refusal, _) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn said(lane: &mut NodeLane) -> Result<RouterMessage, LaneEnd> {
    match lane.next().await? {
        RouterFrame::Message(message) => Ok(*message),
        RouterFrame::Dispatch(_) => panic!("nothing was asked"),
    }
}

async fn proposed(lane: &mut NodeLane) -> Proposal {
    loop {
        match said(lane).await.unwrap() {
            RouterMessage::Propose(proposal) if !proposal.ranges.is_empty() => return proposal,
            _ => {}
        }
    }
}

async fn answered(lane: &mut NodeLane) -> Result<RouterMessage, LaneEnd> {
    loop {
        let said = said(lane).await?;
        if matches!(said, RouterMessage::Welcome(_) | RouterMessage::Refused(..)) {
            return Ok(said);
        }
    }
}

/// How a lane ends on which nothing more is said.
async fn ended(lane: &mut NodeLane) -> LaneEnd {
    loop {
        if let Err(end) = said(lane).await {
            return end;
        }
    }
}

fn granted(network: &Network) -> usize {
    network.logged(|body| matches!(body.payload, Payload::ConsentGranted(_)).then_some(())).len()
}

/// A router that deals each layer's experts out in halves, so that no node is proposed all.
async fn in_halves() -> Network {
    let dealing = Dealing::Fixed { nodes: 2, by_expert: true };
    Network::new(Checkpoint::guide().unwrap(), dealing, Hedging::Off).await
}

//= spec/session.md#what-a-node-may-say
//= type=test
//# A router MUST refuse a consent token that answers no proposal of this lane and goes on from none of this lane's
//# (`T_UNASKED`).
#[test]
fn a_token_answers_a_proposal_once_or_goes_on_from_another_of_its_lane() {
    on_one_thread(async {
        let network = in_halves().await;
        let mut node = Script::new(&network).await;
        let own = node.proposal.ranges.clone();
        let all = [Range::whole(node.proposal.manifest)];
        assert_eq!(node.presents(&all).await.map(drop), Err(Refusal::TokenUnasked));
        let first = node.presents(&own).await.unwrap();
        // It is renewed, all of it or a part.
        let second = node.presents(&own).await.unwrap();
        let third = node.presents(&own[..1]).await.unwrap();
        assert_eq!(node.presents(&all).await.map(drop), Err(Refusal::TokenUnasked));
        for gone in [&first, &second, &third] {
            node.lane.send(&NodeMessage::Revoke(gone.claims().cti)).unwrap();
        }
        assert_eq!(node.presents(&own).await.map(drop), Err(Refusal::TokenUnasked));
        assert_eq!(granted(&network), 3);
        assert_eq!(refusals(&network), [(Refusal::TokenUnasked, Some(node.node())); 3]);
        // On another lane it is proposed anew.
        let mut node = node.again(&network).await;
        assert_eq!(node.proposal.ranges, own);
        assert_eq!(node.presents(&own).await.map(drop), Ok(()));
    });
}

#[test]
fn a_router_that_may_propose_does_so_again_once_the_operator_allows_more() {
    on_one_thread(async {
        let dealing = Dealing::Placed { replicas: 1, expect: None };
        let network = Network::new(Checkpoint::guide().unwrap(), dealing, Hedging::Off).await;
        let mut node = Script::new(&network).await;
        let own = node.proposal.ranges.clone();
        let first = node.presents(&own).await.unwrap();
        node.lane.send(&NodeMessage::Revoke(first.claims().cti)).unwrap();
        assert_eq!(node.presents(&own).await.map(drop), Err(Refusal::TokenUnasked));
        node.lane.send(&NodeMessage::Terms(Terms { min_epoch: 1, wants: None, concurrent: 1 })).unwrap();
        assert_eq!(proposed(&mut node.lane).await.ranges, own);
        assert_eq!(node.presents(&own).await.map(drop), Ok(()));
    });
}

//= spec/session.md#what-a-node-may-say
//= type=test
//# A router MUST count every consent token that it refuses, MUST log the refusals of at least 16 of a node within 600 seconds and of
//# no more than 16, and MUST end the lane on which one comes after the 64th (`T_RATE`).
#[test]
fn refused_tokens_are_counted_and_fill_no_log_on_whatever_lanes_they_come() {
    on_one_thread(async {
        let network = in_halves().await;
        let mut node = Script::new(&network).await;
        let id = node.node();
        for _ in 0..MAX_CONSENT_REFUSALS / 2 {
            node.lane.send(&NodeMessage::Consent(vec![0])).unwrap();
            let said = answered(&mut node.lane).await.unwrap();
            assert!(matches!(said, RouterMessage::Refused(Refusal::TokenCanon, _)), "{said:?}");
        }
        let mut node = node.again(&network).await;
        for _ in 0..MAX_CONSENT_REFUSALS / 2 {
            node.lane.send(&NodeMessage::Consent(vec![0])).unwrap();
            let said = answered(&mut node.lane).await.unwrap();
            assert!(matches!(said, RouterMessage::Refused(Refusal::TokenCanon, _)), "{said:?}");
        }
        // One that is as it must be is granted all the same.
        let own = node.proposal.ranges.clone();
        assert_eq!(node.presents(&own).await.map(drop), Ok(()));
        for _ in 0..2 {
            // Those that wait behind it are not looked at any more.
            (0..10).for_each(|_| node.lane.send(&NodeMessage::Consent(vec![0])).unwrap());
            let end = ended(&mut node.lane).await;
            assert!(matches!(end, LaneEnd::RefusedByPeer(Refusal::TokenRate, _)), "{end}");
            node = node.again(&network).await;
        }
        until(|| network.counted(REFUSED) == u64::from(MAX_CONSENT_REFUSALS) + 2).await;
        let logged = usize::try_from(MAX_CONSENT_REFUSALS_LOGGED).unwrap();
        assert_eq!(refusals(&network), vec![(Refusal::TokenCanon, Some(id)); logged]);
    });
}

#[test]
fn no_more_tokens_wait_for_their_experts_than_may() {
    on_one_thread(async {
        let network = in_halves().await;
        let mut node = Script::new(&network).await;
        let own = node.proposal.ranges.clone();
        let mut last = None;
        for _ in 0..MAX_CONSENTS_LOADING {
            last = Some(node.presents(&own).await.unwrap());
        }
        assert_eq!(node.presents(&own).await.map(drop), Err(Refusal::TokenRate));
        // What is ready takes the place of all that came before it.
        node.lane.send(&NodeMessage::Ready(last.unwrap().claims().cti)).unwrap();
        for _ in 0..MAX_CONSENTS_LOADING {
            assert_eq!(node.presents(&own).await.map(drop), Ok(()));
        }
        assert_eq!(node.presents(&own).await.map(drop), Err(Refusal::TokenRate));
    });
}

//= spec/session.md#what-a-node-may-say
//= type=test
//# A router MUST end the lane of a node that says more (`S_ORDER`).
#[test]
fn a_node_that_talks_without_end_is_cut_off() {
    on_one_thread(async {
        let network = in_halves().await;
        let mut node = Script::new(&network).await;
        let no = NodeMessage::Decline(ManifestId::from_bytes([7; 32]), "no".into());
        for _ in 0..8 {
            // As many as wait for each other at one time, and then what is answered.
            (0..MESSAGE_BURST / 4).for_each(|_| node.lane.send(&no).unwrap());
            node.lane.send(&NodeMessage::Consent(vec![0])).unwrap();
            match answered(&mut node.lane).await {
                Ok(said) => assert!(matches!(said, RouterMessage::Refused(..)), "{said:?}"),
                Err(end) => {
                    assert!(matches!(end, LaneEnd::RefusedByPeer(Refusal::SessionOrder, _)), "{end}");
                    return;
                }
            }
        }
        panic!("it was heard to its end");
    });
}
