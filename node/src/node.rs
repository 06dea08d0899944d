//! A node from start to end: connect, serve, and come back when the lane breaks.

use std::collections::BTreeSet;
use std::sync::Arc;

use counterfoil_audit::peer::PeerLog;
use counterfoil_consent::{Policy, Usage};
use counterfoil_identity::{PinnedRouter, TrustedRouter, client_config, key_file};
use counterfoil_session::{ConnectError, LaneEnd, NodeEndpoint, NodeLane, Target};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::message::{NodeHello, SESSION_VERSION};
use counterfoil_spec::refusal::Refusal;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::config::{NodeConfig, NodeError};
use crate::denials::KeptDenials;
use crate::hosting::Shelf;
use crate::hub::Hub;
use crate::journal::Journal;
use crate::log::{self, OwnLog};
use crate::orders::{self, Withheld};
use crate::outstanding::Outstanding;
use crate::root_denials::KeptRootDenials;
use crate::service::{LOOK, Left, Service};
use crate::status::{Stage, Status};
use crate::store::Store;
use crate::unsettled::Unsettled;
use crate::work::Work;

/// Withdrawals that may wait.
const MAX_REVOKED: usize = 64;

/// A node that is set up and not connected yet.
pub struct Node {
    pub(crate) config: NodeConfig,
    pub(crate) log: OwnLog,
    pub(crate) unsettled: Unsettled,
    pub(crate) shelf: Shelf,
    pub(crate) work: Work,
    pub(crate) journal: Journal,
    pub(crate) withheld: Withheld,
    pub(crate) outstanding: Outstanding,
    pub(crate) denials: KeptDenials,
    pub(crate) root_denials: KeptRootDenials,
    /// The router's log, from its first head on.
    pub(crate) router_log: Option<PeerLog>,
    /// The certificate with which the router let this process in last.
    pub(crate) let_in_with: Option<Serial>,
    pub(crate) store: Arc<Store>,
    pub(crate) hub: Option<Arc<Hub>>,
    pub(crate) status: watch::Sender<Status>,
    /// What the operator allows by now; the configuration has what is in force.
    pub(crate) policy: watch::Receiver<Policy>,
    /// Consent tokens that the operator takes back.
    pub(crate) revoked: mpsc::Receiver<Serial>,
}

/// The operator's handle on a running node.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    policy: watch::Sender<Policy>,
    revoked: mpsc::Sender<Serial>,
    status: watch::Receiver<Status>,
}

impl NodeHandle {
    /// Withdraws a consent token: logged, told to the router, and effective for the next frame. Gives false where the
    /// node has stopped.
    pub async fn revoke(&self, cti: Serial) -> bool {
        self.revoked.send(cti).await.is_ok()
    }

    /// Puts another policy into force, on a lane or while there is none: consent tokens that it does not allow are
    /// withdrawn, and what it allows is signed anew. Gives false where the node has stopped.
    #[must_use]
    pub fn change_policy(&self, policy: Policy) -> bool {
        self.policy.send(policy).is_ok()
    }

    /// What the node is doing, now and from now on.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }
}

/// Opens a node and runs it until `shutdown` resolves.
///
/// # Errors
/// [`NodeError`] where it cannot start or its log can no longer be written.
pub async fn serve(config: NodeConfig, shutdown: impl Future<Output = ()>) -> Result<(), NodeError> {
    let (node, _handle) = Node::open(config)?;
    node.run(shutdown).await
}

impl Node {
    /// Opens the node's log and reads what an earlier process left. Blocks while the log is checked, and while models
    /// are hashed that nobody has described yet.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn open(mut config: NodeConfig) -> Result<(Self, NodeHandle), NodeError> {
        let kept = |name: &'static str| {
            let path = config.home.join(name);
            move |source| NodeError::Io { path, source }
        };
        let withheld = Withheld::open(&config.home).map_err(kept("withheld"))?;
        let epoch = orders::epoch(&config.home).map_err(kept("epoch"))?;
        let denials = KeptDenials::open(&config.home)
            .map_err(|source| NodeError::Io { path: config.home.join("deny"), source })?;
        let root_denials = KeptRootDenials::open(&config.home, config.identity.domain.root_key())?;
        config.epoch = config.epoch.max(epoch);
        let log = log::open(&config)?;
        // Whoever has the log's lock works alone here.
        key_file::sweep(&config.home.join("identity")).map_err(|e| NodeError::Keys(e.to_string()))?;
        let mut unsettled = Unsettled::open(&config.home)?;
        for serial in log::logged_work(&config.home, &unsettled.serials())? {
            if let Some(file) = unsettled.settle(&serial) {
                crate::unsettled::remove(&file);
            }
        }
        for model in &config.models {
            model.describe(&|_, _| ());
        }
        let shelf = Shelf::new(config.models.clone(), config.max_weight_bytes, config.max_disk_bytes);
        let store = Store::open(&config.home, config.max_disk_bytes);
        let store = Arc::new(store.map_err(|e| NodeError::Store(e.to_string()))?);
        let hub = config.hub.as_ref().map(Hub::new).transpose()?.map(Arc::new);
        let now = (config.now)();
        let mut usage = Usage::new();
        let journal = Journal::open(
            &config.home,
            now,
            &log::leased(&config.home, now)?,
            &mut usage,
            Arc::clone(&config.sync),
        )?;
        let work = Work::new(config.identity.key.public().node_id(), usage, denials.fresh());
        let (status, watching) = watch::channel(Status::default());
        let (taking_back, revoked) = mpsc::channel(MAX_REVOKED);
        let (changing, policy) = watch::channel(config.policy.clone());
        let handle = NodeHandle { policy: changing, revoked: taking_back, status: watching };
        let router_log = log::peer(&config.home)?;
        let outstanding = log::outstanding(&config.home, now.seconds())?;
        let mut node = Self {
            config,
            log,
            unsettled,
            shelf,
            work,
            journal,
            withheld,
            outstanding,
            denials,
            root_denials,
            router_log,
            let_in_with: None,
            store,
            hub,
            status,
            policy,
            revoked,
        };
        // Before anything else: what was taken back while it did not run, and what a policy that was changed meanwhile
        // does not allow. The router hears of it when it is there.
        node.obey(&BTreeSet::new())?;
        node.withdraw_not_allowed()?;
        Ok((node, handle))
    }

    /// Serves until `shutdown` resolves; then finishes what is open and leaves in good order.
    ///
    /// # Errors
    /// [`NodeError`] where it cannot connect at all, its log can no longer be written, or its router denies it.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), NodeError> {
        let mut shutdown = Box::pin(shutdown);
        let endpoint = NodeEndpoint::towards(self.config.router)?;
        let mut backoff = Backoff::default();
        loop {
            self.follow()?;
            if let Some(denied) = self.router_is_denied()? {
                return self.give_up(&endpoint, denied).await;
            }
            let left = tokio::select! {
                biased;
                () = &mut shutdown => break,
                connected = Box::pin(self.connect(&endpoint)) => match connected? {
                    Ok(lane) => {
                        backoff.reset();
                        let service = Service::new(&mut self, lane, endpoint.clone());
                        Box::pin(service.run(shutdown.as_mut())).await?
                    }
                    Err(left) => left,
                },
            };
            //= spec/consent.md#quotas
            //# A node that cannot MUST answer nothing more and stop.
            if let Some(error) = self.journal.lost() {
                self.log.close()?;
                return Err(error);
            }
            let reason = match left {
                Left::Done => break,
                Left::Broken(reason) => reason,
                Left::Denied(reason) => return self.give_up(&endpoint, NodeError::Denied(reason)).await,
                Left::Superseded(reason) => {
                    return self.give_up(&endpoint, NodeError::Superseded(reason)).await;
                }
                Left::Contradicted(fault) => {
                    self.withdraw_all()?;
                    return self.give_up(&endpoint, NodeError::RouterContradicts(fault)).await;
                }
            };
            let wait = backoff.next();
            tracing::warn!(reason, wait_ms = wait.as_millis(), "not connected; trying again");
            self.status.send_modify(|status| {
                status.stage = Stage::Connecting(reason);
                status.consents.clear();
                status.fetches.clear();
            });
            let again = Instant::now() + wait;
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                idle = self.idle(again) => idle?,
            }
        }
        endpoint.wait_idle().await;
        Ok(self.log.close()?)
    }

    /// Waits without a lane, and carries out what the operator asks meanwhile.
    async fn idle(&mut self, until: Instant) -> Result<(), NodeError> {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                Ok(()) = self.policy.changed() => self.follow()?,
                Some(cti) = self.revoked.recv() => drop(self.log_withdrawals(vec![cti])?),
                () = tokio::time::sleep(LOOK) => if self.heed_alone()? {
                    return Ok(());
                },
            }
        }
    }

    /// Stops for good.
    async fn give_up(&mut self, endpoint: &NodeEndpoint, why: NodeError) -> Result<(), NodeError> {
        endpoint.wait_idle().await;
        self.log.close()?;
        Err(why)
    }

    /// Connects; gets another certificate first where the last one has ended.
    async fn connect(&mut self, endpoint: &NodeEndpoint) -> Result<Result<NodeLane, Left>, NodeError> {
        if let Err(left) = self.renew_late().await? {
            return Ok(Err(left));
        }
        let mut connecting = Box::pin(self.connecting(endpoint)?);
        loop {
            tokio::select! {
                connected = &mut connecting => return Ok(connected.map_err(Left::from)),
                () = tokio::time::sleep(LOOK) => if self.heed_alone()? {
                    return Ok(Err(Left::Broken("the network's root denies the router".to_owned())));
                },
            }
        }
    }

    /// Heeds the operator and the root's list while there is no lane; whether that denies the router.
    fn heed_alone(&mut self) -> Result<bool, NodeError> {
        self.obey_alone()?;
        self.follow_root();
        Ok(self.root_denials.denies_router(&self.config.identity.router))
    }

    /// Opens a lane with the newest certificate.
    pub(crate) fn connecting(
        &self,
        endpoint: &NodeEndpoint,
    ) -> Result<impl Future<Output = Result<NodeLane, ConnectError>> + Send + use<>, NodeError> {
        let NodeConfig { identity, router, now, .. } = &self.config;
        let (pin, denied) = (PinnedRouter(Some(identity.router)), self.root_denials.known().clone());
        let trusted = Arc::new(TrustedRouter { pin, denied });
        let tls = client_config(&identity.credentials, &identity.domain, trusted.clone(), Arc::clone(now))?;
        let domain = identity.domain.clone();
        let target = Target { addr: *router, domain, router: trusted, now: Arc::clone(now) };
        let hello = NodeHello {
            version: SESSION_VERSION,
            max_weight_bytes: self.shelf.offered(),
            concurrent: self.config.policy.quota.concurrent,
            models: self.shelf.manifests(),
            now: now(),
            wants: self.config.policy.wants(),
        };
        let endpoint = endpoint.clone();
        Ok(async move { Box::pin(endpoint.connect(&target, tls, hello)).await })
    }
}

impl From<LaneEnd> for Left {
    fn from(end: LaneEnd) -> Self {
        match &end {
            LaneEnd::RefusedByPeer(Refusal::CertDenied, words)
            | LaneEnd::RefusedHere(Refusal::CertDenied, words) => Self::Denied(words.clone()),
            LaneEnd::RefusedByPeer(Refusal::CertSuperseded, words) => Self::Superseded(words.clone()),
            _ => Self::Broken(end.to_string()),
        }
    }
}

impl From<ConnectError> for Left {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::RefusedByPeer { refusal: Refusal::CertDenied, detail } => Self::Denied(detail),
            ConnectError::RefusedByPeer { refusal: Refusal::CertSuperseded, detail } => {
                Self::Superseded(detail)
            }
            error => Self::Broken(error.to_string()),
        }
    }
}
