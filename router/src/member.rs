//! One node's session as the router sees it: propose, check its consent token, log it, let it be asked.

use std::sync::Arc;
use std::time::Duration;

use counterfoil_consent::{Expectation, Permit, Refused, check_token};
use counterfoil_identity::Directory;
use counterfoil_session::{Incoming, LaneError, RouterEndpoint, RouterLane};
use counterfoil_spec::claims::{ALL, Range};
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::message::{NodeMessage, Proposal, SESSION_VERSION};
use counterfoil_spec::payload::{ConsentGranted, ConsentRevoked, RefusalSeen};
use counterfoil_spec::refusal::Refusal;
use tokio::sync::Semaphore;

use crate::desk::Desk;
use crate::office::{Office, entry};
use crate::placement::dealt::{propose, propose_experts};
use crate::registry::{Host, LaneCounters};

/// Handshakes under way at one time.
const MAX_ARRIVING: usize = 64;
/// How long a node has to answer a proposal.
const CONSENT_TIMEOUT: Duration = Duration::from_secs(120);

/// The epoch of every consent token that this version's nodes sign.
const FIRST_EPOCH: u64 = 1;

/// How experts are dealt out to nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dealing {
    pub(crate) nodes: u32,
    pub(crate) replicas: u32,
    pub(crate) by_expert: bool,
}

/// Who is enrolled, as the log says.
#[derive(Debug)]
pub(crate) struct Members(pub(crate) Arc<Office>);

impl Directory for Members {
    fn check(&self, role: Role, id: &NodeId, _cert_serial: &[u8]) -> Result<(), Refusal> {
        let known = role == Role::Node && self.0.books().roster.member(id).is_some();
        if known { Ok(()) } else { Err(Refusal::CertUnknown) }
    }
}

/// Admits nodes until the endpoint closes.
pub(crate) async fn serve(desk: Arc<Desk>, endpoint: RouterEndpoint, dealing: Dealing) {
    let places = Arc::new(Semaphore::new(MAX_ARRIVING));
    while let Some(arriving) = endpoint.accept().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            let from = arriving.remote_addr();
            let admitted = arriving.admit().await;
            drop(place);
            match admitted {
                Ok(incoming) => {
                    let member =
                        Member { lane: incoming.lane.clone(), counters: Arc::default(), desk, dealing };
                    member.run(incoming).await;
                }
                Err(e) => {
                    desk.metrics.peers_refused.one();
                    tracing::warn!(%from, error = %e, "a node was not admitted");
                }
            }
        });
    }
}

struct Member {
    desk: Arc<Desk>,
    lane: RouterLane,
    counters: Arc<LaneCounters>,
    dealing: Dealing,
}

impl Member {
    async fn run(self, mut incoming: Incoming) {
        let node = self.lane.node();
        if incoming.hello.version != SESSION_VERSION {
            self.lane
                .shut(Refusal::SessionVersion, &format!("session version {SESSION_VERSION} is spoken here"));
            return;
        }
        if let Some(old) = self.desk.registry.host(&node) {
            // It is back, so its old lane is dead, whatever QUIC's timers say; what waits there goes elsewhere now.
            old.lane.shut(Refusal::SessionStream, "the node connected again");
        }
        if let Err(e) = self.propose() {
            tracing::warn!(%node, error = %e, "the node left before a proposal");
            return;
        }
        // Permits that were welcomed and whose experts are being loaded.
        let mut loading: Vec<Host> = Vec::new();
        let mut active: Option<Serial> = None;
        loop {
            let patience =
                if active.is_none() && loading.is_empty() { CONSENT_TIMEOUT } else { Duration::MAX };
            let message = match tokio::time::timeout(patience, incoming.events.recv()).await {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(_) => {
                    self.lane.shut(Refusal::SessionIdle, "no consent token came for the proposal");
                    break;
                }
            };
            match message {
                NodeMessage::Consent(token) => loading.extend(self.consent(&token).await),
                NodeMessage::Ready(cti) => {
                    let Some(at) = loading.iter().position(|h| h.cti() == cti) else { continue };
                    let host = loading.swap_remove(at);
                    active = Some(cti);
                    self.desk.registry.enter(Arc::new(host), self.desk.office.now());
                    tracing::info!(%node, %cti, "a node may be asked");
                }
                NodeMessage::Revoke(cti) => self.revoke(cti).await,
                NodeMessage::Drain => self.leave(active),
                NodeMessage::Decline(manifest, why) => {
                    tracing::warn!(%node, %manifest, %why, "the node declined");
                }
                NodeMessage::Receipt(half) => crate::account::late_receipt(&self.desk, &self.lane, &half),
                NodeMessage::Hello(_) => {
                    self.lane.shut(Refusal::SessionOrder, "Hello is said once");
                    break;
                }
                NodeMessage::Refuse(_) | NodeMessage::Pong(_) => {}
            }
        }
        self.leave(active);
        self.desk.registry.unseat(node);
        let end = self.lane.closed().await;
        tracing::info!(%node, %end, "a node is gone");
    }

    fn leave(&self, active: Option<Serial>) {
        if let Some(cti) = active {
            self.desk.registry.leave(&self.lane.node(), &cti, self.desk.office.now());
        }
    }

    fn propose(&self) -> Result<(), LaneError> {
        let engine = &self.desk.engine;
        let seat = self.desk.registry.seat(self.lane.node(), self.dealing.nodes);
        let (rules, min_epoch) = {
            let books = self.desk.office.books();
            let min_epoch = books.roster.member(&self.lane.node()).map_or(1, |m| m.min_epoch.max(1));
            (books.ledger.rules().clone(), min_epoch)
        };
        let Dealing { nodes, replicas, by_expert } = self.dealing;
        let ranges = match by_expert {
            true => propose_experts(engine.shape(), seat, nodes),
            false => propose(engine.shape(), seat, nodes, replicas),
        };
        self.lane.propose(Proposal {
            manifest: engine.manifest(),
            name: engine.name().to_owned(),
            ranges,
            list_price_micro_per_1k: rules.list_price_micro_per_1k,
            currency: crate::CURRENCY.to_owned(),
            router: self.desk.home.router_id(),
            min_epoch,
        })
    }

    /// Checks a consent token, logs it and welcomes it; tells the node what was wrong otherwise.
    async fn consent(&self, token: &[u8]) -> Option<Host> {
        let permit = match self.check(token) {
            Ok(permit) => permit,
            Err(refused) => {
                self.refuse(&refused).await;
                return None;
            }
        };
        let (node, cti) = (self.lane.node(), permit.claims().cti);
        if self.desk.office.books().roster.has_consent(&cti) {
            self.refuse(&Refused {
                refusal: Refusal::TokenValue,
                detail: "this consent id was used before".into(),
            })
            .await;
            return None;
        }
        let granted = ConsentGranted { node, cti, token: token.to_vec() };
        let at = match self.desk.office.append(vec![entry(granted)]).await {
            Ok(at) => at,
            Err(e) => {
                tracing::error!(%node, error = %e, "a consent token could not be logged");
                let _ = self.lane.refuse(Refusal::SessionInternal, "the router cannot write its log now");
                return None;
            }
        };
        let claims = permit.claims();
        let renew_after = claims.not_before.plus(claims.expires.0.saturating_sub(claims.not_before.0) / 2);
        match self.lane.welcome(&permit, at.first, renew_after) {
            Ok(active) => Some(Host::new(self.lane.clone(), active, permit, Arc::clone(&self.counters))),
            Err(e) => {
                tracing::warn!(%node, error = %e, "the node left before its welcome");
                None
            }
        }
    }

    fn check(&self, token: &[u8]) -> Result<Permit, Refused> {
        let desk = &self.desk;
        let books = desk.office.books();
        let node = self.lane.node();
        let min_epoch = books.roster.member(&node).map_or(1, |m| m.min_epoch);
        check_token(
            token,
            &Expectation {
                net_id: &desk.home.net_id(),
                peer: &node,
                peer_key: self.lane.peer().key(),
                audience: &desk.home.router_id(),
                now: desk.office.now().seconds(),
                deny_list_until: None,
                min_epoch,
                withdrawn: &|cti| books.roster.is_withdrawn(cti),
                model_known: &|range| is_published(desk, range),
            },
        )
    }

    async fn refuse(&self, refused: &Refused) {
        let node = self.lane.node();
        self.desk.metrics.peers_refused.one();
        tracing::warn!(%node, refusal = %refused.refusal, detail = %refused.detail, "a consent token was refused");
        let seen = RefusalSeen { refusal: refused.refusal, node: Some(node), by: self.desk.home.router_id() };
        if let Err(e) = self.desk.office.append(vec![entry(seen)]).await {
            tracing::error!(error = %e, "a refusal could not be logged");
        }
        let _ = self.lane.refuse(refused.refusal, refused.detail.clone());
    }

    async fn revoke(&self, cti: Serial) {
        let node = self.lane.node();
        self.desk.registry.leave(&node, &cti, self.desk.office.now());
        let (known, min_epoch) = {
            let books = self.desk.office.books();
            let epoch = books.roster.member(&node).map_or(0, |m| m.min_epoch);
            (books.roster.may_withdraw(&node, &cti), epoch.max(FIRST_EPOCH))
        };
        if !known {
            tracing::warn!(%node, %cti, "a node withdrew a consent that is not its own, or was withdrawn before");
            return;
        }
        let revoked = ConsentRevoked { node, cti, min_epoch };
        if let Err(e) = self.desk.office.append(vec![entry(revoked)]).await {
            tracing::error!(%node, error = %e, "a withdrawal could not be logged");
        }
    }
}

/// Whether a range names layers and experts of the model that is published here.
fn is_published(desk: &Desk, range: &Range) -> bool {
    let config = desk.engine.config();
    let within = |end: u32, count: u32| end == ALL || end < count;
    range.manifest == desk.engine.manifest()
        && within(range.layers.1, config.layers)
        && within(range.experts.1, config.experts)
}
