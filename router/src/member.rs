//! One node's session as the router sees it: check its consent tokens, log them, let it be asked. What is proposed
//! to it is the dealer's to decide.

mod consents;
mod pace;

use std::sync::Arc;

use counterfoil_identity::{Directory, VerifiedPeer};
use counterfoil_session::{ConnectError, Incoming, RouterEndpoint, RouterLane};
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::message::{NodeMessage, SESSION_VERSION};
use counterfoil_spec::refusal::Refusal;
use tokio::time::Instant;

use crate::dealer::{Dealer, Dealing, Event, Leave, Visit};
use crate::desk::Desk;
use crate::fetch::Entitled;
use crate::heads::Heads;
use crate::http::refusals::What;
use crate::office::Office;
use crate::registry::{Host, LaneState};
use crate::renewal::Waiting;
use crate::roster::names_peer;
use crate::succession::Succeeded;

use pace::Pace;

/// The epoch of a node's consent tokens until its operator raises it.
const FIRST_EPOCH: u64 = 1;

/// Who is enrolled, as the log says.
#[derive(Debug)]
pub(crate) struct Members(pub(crate) Arc<Office>);

impl Directory for Members {
    fn check(&self, peer: &VerifiedPeer) -> Result<(), Refusal> {
        self.0.books().roster.lets_in(peer, self.0.now().seconds())
    }
}

/// Admits nodes until the endpoint closes. How many arrive at one time is the endpoint's to bound.
pub(crate) async fn serve(desk: Arc<Desk>, endpoint: RouterEndpoint, dealing: Dealing) {
    let dealer = Arc::new(Dealer::start(Arc::clone(&desk), dealing));
    while let Some(arriving) = endpoint.accept().await {
        let (desk, dealer) = (Arc::clone(&desk), Arc::clone(&dealer));
        tokio::spawn(async move {
            let from = arriving.remote_addr();
            match arriving.admit().await {
                Ok(incoming) => {
                    let visit = dealer.visit();
                    let lane = incoming.lane.clone();
                    Member {
                        desk,
                        dealer,
                        lane,
                        visit,
                        entitled: Arc::default(),
                        shared: None,
                        before: None,
                        loading: Vec::new(),
                        active: Vec::new(),
                        renewals: Waiting::default(),
                        epoch: FIRST_EPOCH,
                        leaves: false,
                    }
                    .run(incoming)
                    .await;
                }
                Err(e) => {
                    desk.metrics.peers_refused.one();
                    desk.metrics.refusals.connection(What::Connection, &e);
                    // Anybody can break off a handshake, and often: that is counted, and fills no log.
                    if matches!(e, ConnectError::Unreachable { .. }) {
                        tracing::debug!(%from, error = %e, "a connection came to nothing");
                    } else {
                        tracing::warn!(%from, error = %e, "a node was not admitted");
                    }
                }
            }
        });
    }
}

pub(crate) struct Member {
    pub(crate) desk: Arc<Desk>,
    dealer: Arc<Dealer>,
    pub(crate) lane: RouterLane,
    pub(crate) visit: Visit,
    entitled: Arc<Entitled>,
    /// What its tokens share; from the first one on.
    pub(crate) shared: Option<Arc<LaneState>>,
    /// The same, where the node goes on from another lane.
    pub(crate) before: Option<LaneState>,
    /// Permits that were welcomed and whose experts are being loaded.
    pub(crate) loading: Vec<Host>,
    pub(crate) active: Vec<Arc<Host>>,
    renewals: Waiting,
    /// The lowest epoch that the node's operator accepts.
    epoch: u64,
    /// Whether it said `Drain`: it takes no new order.
    leaves: bool,
}

impl Member {
    async fn run(mut self, mut incoming: Incoming) {
        if incoming.hello.version != SESSION_VERSION {
            self.lane
                .shut(Refusal::SessionVersion, &format!("session version {SESSION_VERSION} is spoken here"));
            return;
        }
        let Some(arrival) = self.takes_over().await else { return };
        let mut denied = self.desk.office.denied();
        //= spec/session.md#control-messages
        //# A router MUST send `Deny` before it proposes or orders anything
        if !crate::deny::guard(&self.desk, &self.lane).await {
            return;
        }
        crate::fetch::serve(&self.desk, &self.lane, &self.entitled);
        let joined = Box::new((self.lane.clone(), incoming.hello.clone()));
        self.dealer.tell(Event::Joined(joined, self.visit)).await;
        let mut succeeded = Succeeded::default();
        let mut heads = Heads::new(&self.desk, &self.lane, self.visit);
        let ends = crate::succession::end_of(&self.desk, &self.lane);
        let mut pace = Pace::new(Instant::now());
        loop {
            let message = tokio::select! {
                biased;
                Ok(()) = denied.changed() => {
                    let denied = denied.borrow_and_update().clone();
                    self.heed(&denied.names).await;
                    continue;
                }
                () = heads.due(), if !succeeded.is_so() => {
                    heads.send(&self.lane);
                    continue;
                }
                () = succeeded.next(self.shared.as_ref()) => {
                    self.retire(&mut succeeded);
                    continue;
                }
                () = tokio::time::sleep_until(ends) => {
                    //= spec/identity.md#tls
                    //# A side MUST close a connection when the peer's leaf ends.
                    self.lane.shut(Refusal::CertExpired, "the node's certificate has ended");
                    break;
                }
                answer = self.renewals.answer(&self.desk, &self.lane) => {
                    crate::renewal::tell(&self.lane, &arrival, &answer);
                    continue;
                }
                message = incoming.events.recv() => message,
            };
            let Some(message) = message else { break };
            if matches!(message, NodeMessage::Hello(_)) {
                self.lane.shut(Refusal::SessionOrder, "Hello is said once");
                break;
            }
            if !pace.take(&message, Instant::now()) {
                self.lane.shut(Refusal::SessionOrder, "more messages than the router takes");
                break;
            }
            if matches!(message, NodeMessage::Drain) && !self.leaves {
                heads.hurry();
            }
            match message {
                NodeMessage::Head(head) => heads.answered(&self.lane, head).await,
                other => self.told(other).await,
            }
        }
        drop(heads);
        // Whoever is denied does not come back, so its part is free at once.
        let is_denied = names_peer(&denied.borrow().names, self.lane.peer());
        self.gone(if is_denied { Leave::InOrder } else { Leave::Lost }).await;
    }

    /// Its lane is over.
    async fn gone(&self, how: Leave) {
        let node = self.lane.node();
        self.leave();
        self.desk.herald.forget(self.visit);
        self.dealer.tell(Event::Left(node, self.visit, how)).await;
        let end = self.lane.closed().await;
        self.desk.metrics.refusals.end(&end);
        tracing::info!(%node, %end, "a node is gone");
    }

    async fn told(&mut self, message: NodeMessage) {
        let (node, visit) = (self.lane.node(), self.visit);
        match message {
            // Nothing is granted on a lane that is over, or by a node that leaves.
            NodeMessage::Consent(_) if self.leaves || self.lane.end().is_some() => {}
            NodeMessage::Ready(_) if self.leaves => {}
            NodeMessage::Consent(token) => {
                let host = self.consent(&token).await;
                let event = match &host {
                    Ok(_) => Event::Answered(node, visit),
                    Err(unfit) => Event::Refused(node, visit, unfit.clone()),
                };
                self.dealer.tell(event).await;
                self.loading.extend(host);
            }
            NodeMessage::Ready(cti) => {
                let Some(at) = self.loading.iter().position(|h| h.cti() == cti) else { return };
                let host = Arc::new(self.loading.remove(at));
                // Those of the same model that came before it are not loaded any more.
                let mut earlier = at;
                self.loading.retain(|old| {
                    let is_earlier = earlier > 0;
                    earlier = earlier.saturating_sub(1);
                    !(is_earlier && old.models.is_subset(&host.models))
                });
                self.active.retain(|old| !old.models.is_subset(&host.models));
                self.active.push(Arc::clone(&host));
                self.ready(host).await;
            }
            NodeMessage::Revoke(cti) => self.withdrawn(cti).await,
            NodeMessage::Drain => {
                self.leaves = true;
                self.leave();
                self.dealer.tell(Event::Left(node, visit, Leave::InOrder)).await;
            }
            NodeMessage::Decline(manifest, why) => {
                tracing::warn!(%node, %manifest, %why, "the node declined");
                if self.lane.declines(&manifest) {
                    self.dealer.tell(Event::Declined(node, visit, manifest)).await;
                }
            }
            NodeMessage::Receipt(half) => {
                let overdue = self.shared.as_ref().map(|shared| &shared.overdue);
                crate::account::late_receipt(&self.desk, &self.lane, overdue, &half).await;
            }
            NodeMessage::Progress(progress) => {
                tracing::info!(
                    %node, manifest = %progress.manifest, shards = progress.shards,
                    wanted = progress.wanted_shards, "a node is fetching"
                );
                self.dealer.tell(Event::Fetching(node, visit, progress)).await;
            }
            NodeMessage::Terms(terms) => {
                self.epoch = self.epoch.max(terms.min_epoch);
                self.desk.registry.allowance(&node).allow(terms.concurrent);
                self.dealer.tell(Event::Changed(node, visit, terms.wants)).await;
            }
            NodeMessage::Renew(asked) => {
                if !self.renewals.push(asked) {
                    self.lane.shut(Refusal::SessionOrder, "more requests for certificates than may wait");
                }
            }
            NodeMessage::DenyTaken(epoch) => self.desk.herald.took(visit, epoch),
            NodeMessage::Hello(_) | NodeMessage::Head(_) | NodeMessage::Refuse(_) | NodeMessage::Pong(_) => {}
        }
    }

    /// Nothing is ordered any more under consent tokens that are denied.
    async fn heed(&mut self, names: &DenyNames) {
        let held = self.loading.iter().chain(self.active.iter().map(|h| &**h));
        let void: Vec<Serial> = held.filter(|h| names.voids(h.permit.claims())).map(Host::cti).collect();
        for cti in void {
            self.withdrawn(cti).await;
        }
    }

    async fn ready(&self, host: Arc<Host>) {
        let (node, cti) = (host.node(), host.cti());
        let ranges = host.permit.claims().ranges.clone();
        self.desk.registry.enter(host, self.desk.office.now());
        tracing::info!(%node, %cti, "a node may be asked");
        self.dealer.tell(Event::Ready(node, self.visit, ranges)).await;
    }

    fn leave(&self) {
        for host in &self.active {
            self.desk.registry.leave(&self.lane.node(), &host.cti(), self.desk.office.now());
        }
    }
}
