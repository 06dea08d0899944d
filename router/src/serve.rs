//! A whole router: opened, bound, running, and closed in good order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use counterfoil_identity::key_file;
use counterfoil_model::{Checkpoint, LoadError};
use counterfoil_session::enrol::EnrolEndpoint;
use counterfoil_session::{Admission, EndpointError, Limits, RouterEndpoint};
use counterfoil_spec::fetch::Repository;
use counterfoil_spec::ids::{NetId, RouterId};
use counterfoil_spec::limits::{MAX_LEAF_CERT_LIFE_S, MIN_LEAF_CERT_LIFE_S};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Now;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::admin::{AdminCommand, AdminError, execute, key_hash, local_account};
use crate::batch::{Batch, Hedging};
use crate::certificate::{keep_certificate, tls};
use crate::dealer::Dealing;
use crate::deny::Herald;
use crate::desk::{Desk, MAX_RUNNING};
use crate::engine::{Engine, load_all};
use crate::fetch::Library;
use crate::home::{HomeError, RouterHome, admin_key};
use crate::http;
use crate::http::metrics::Metrics;
use crate::member::Members;
use crate::office::{Office, OfficeError, entry};
use crate::own_keys::Shown;
use crate::payout::{Payday, Services};
use crate::plans::Plans;
use crate::registry::Registry;
use crate::renewal::Renewals;
use crate::repeats::Repeats;
use crate::rows_as::RowsAs;
use crate::tally::Tallies;
use crate::trial::{Prompt, Trial};
use crate::vault::{Vault, VaultError};
use crate::witnesses::{Following, Witnessing};

/// How long running requests may go on after the router was told to stop.
const DRAIN: Duration = Duration::from_secs(20);

/// What a router is to be.
#[derive(Clone)]
pub struct RouterConfig {
    /// Where clients connect.
    pub http: SocketAddr,
    /// Where nodes connect.
    pub nodes: SocketAddr,
    /// Where nodes enrol.
    pub enrol: SocketAddr,
    /// How experts are dealt out to nodes.
    pub dealing: Dealing,
    /// Whether frames that are late are sent to other nodes too.
    pub hedging: Hedging,
    /// Whether callers without a key are served as the unmetered account `local`; loopback only.
    pub keyless: bool,
    /// The repositories that the models' files lie in, in the order of the models, for nodes that fetch from there.
    pub repositories: Vec<Repository>,
    /// How rows travel to nodes.
    pub rows_as: RowsAs,
    /// The life of a node's certificate, in seconds; between `MIN_LEAF_CERT_LIFE_S` and `MAX_LEAF_CERT_LIFE_S`.
    pub certificate_life_s: u64,
    /// For how many days salts are kept.
    pub salt_days: u64,
    /// The present.
    pub now: Now,
}

/// Why a router did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The home.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The record.
    #[error(transparent)]
    Office(#[from] OfficeError),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// An erasure of salts that was broken off cannot be finished.
    #[error("an erasure of salts that was begun cannot be finished: {0}")]
    Erasure(String),
    /// The keys of requests that may come again.
    #[error("the Idempotency-Keys of the last day: {0}")]
    Repeats(#[source] std::io::Error),
    /// The model.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// Two models of one name.
    #[error(
        "there are two models named {0:?}, and clients ask by name: publish one under another name first (counterfoil model publish --name), or serve one of them"
    )]
    SameName(String),
    /// No thread for a model's rounds.
    #[error("no thread for the rounds of a model: {0}; end other programs, or raise the limit of processes")]
    Thread(#[source] std::io::Error),
    /// No model at all.
    #[error("a router without a model has nothing to answer with")]
    NoModel,
    /// The router's own certificate.
    #[error("the router's own certificate: {0}")]
    Certificate(String),
    /// A port for nodes.
    #[error("{addr}: {source}; choose another address")]
    Endpoint {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: EndpointError,
    },
    /// The port for clients.
    #[error("cannot listen on {addr}: {source}; is another program there? choose another with --listen")]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Keyless use beyond this machine.
    #[error(
        "{0} can be reached from other machines, so callers need keys; leave out --keyless or listen on 127.0.0.1"
    )]
    KeylessBeyondLoopback(SocketAddr),
}

/// A router that runs.
pub struct RunningRouter {
    desk: Arc<Desk>,
    http_addr: SocketAddr,
    nodes: RouterEndpoint,
    nodes_addr: SocketAddr,
    enrol: EnrolEndpoint,
    enrol_addr: SocketAddr,
    stop: watch::Sender<bool>,
    http: JoinHandle<std::io::Result<()>>,
    following: Option<Following>,
}

impl RunningRouter {
    /// Opens the home's record, loads the models and answers from then on.
    ///
    /// # Errors
    /// [`StartError`] says what to change.
    pub async fn start(
        home: RouterHome,
        checkpoints: &[Arc<Checkpoint>],
        config: RouterConfig,
    ) -> Result<Self, StartError> {
        if config.keyless && !config.http.ip().is_loopback() {
            return Err(StartError::KeylessBeyondLoopback(config.http));
        }
        let listener = TcpListener::bind(config.http)
            .await
            .map_err(|source| StartError::Listen { addr: config.http, source })?;
        let http_addr =
            listener.local_addr().map_err(|source| StartError::Listen { addr: config.http, source })?;
        let desk = Arc::new(open(home, checkpoints, &config)?);
        let (nodes, enrol) = bind(&desk, &config)?;
        tokio::spawn(crate::member::serve(Arc::clone(&desk), nodes.clone(), config.dealing));
        tokio::spawn(crate::enrolment::serve(Arc::clone(&desk), enrol.clone()));
        crate::keep::begin(&desk, config.salt_days);
        tokio::spawn(keep_certificate(Arc::clone(&desk), nodes.clone(), enrol.clone()));
        let (stop, stopped) = watch::channel(false);
        let http = tokio::spawn(serve_http(listener, Arc::clone(&desk), stopped));
        let listen = |addr| move |source| StartError::Listen { addr, source };
        let nodes_addr = nodes.local_addr().map_err(listen(config.nodes))?;
        let enrol_addr = enrol.local_addr().map_err(listen(config.enrol))?;
        Ok(Self { desk, http_addr, nodes, nodes_addr, enrol, enrol_addr, stop, http, following: None })
    }

    /// Where clients connect.
    #[must_use]
    pub const fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where nodes connect.
    #[must_use]
    pub const fn nodes_addr(&self) -> SocketAddr {
        self.nodes_addr
    }

    /// Where nodes enrol.
    #[must_use]
    pub const fn enrol_addr(&self) -> SocketAddr {
        self.enrol_addr
    }

    /// The network.
    #[must_use]
    pub fn net_id(&self) -> NetId {
        self.desk.home.net_id()
    }

    /// The router.
    #[must_use]
    pub fn router_id(&self) -> RouterId {
        self.desk.home.router_id()
    }

    /// The record.
    #[must_use]
    pub fn office(&self) -> &Office {
        &self.desk.office
    }

    /// The logits of every position for some token ids, of the first model, computed through the nodes that are connected.
    ///
    /// # Errors
    /// In words, what failed.
    pub async fn logits(&self, ids: &[u32]) -> Result<counterfoil_model::Rows, String> {
        crate::trial::logits(&self.desk, ids).await.map_err(|e| e.to_string())
    }

    /// Continues prompts with the first model through the nodes, all at one time.
    pub async fn continue_all(&self, prompts: &[Prompt]) -> Trial {
        crate::trial::continue_all(&self.desk, prompts).await
    }

    /// Has the log's checkpoints cosigned from now on, where it is said by whom.
    pub fn have_witnessed(&mut self, witnessing: Option<Witnessing>) {
        self.following = witnessing.map(|who| Following::begin(Arc::clone(&self.desk.office), who));
    }

    /// Asks these payment services from now on.
    pub fn pay_through(&self, services: Services) {
        self.desk.payday.begin(services);
    }

    /// What was counted since the start, as `GET /metrics` says it.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.desk.metrics.render()
    }

    /// Whether every expert of every model is hosted; what is missing otherwise.
    ///
    /// # Errors
    /// [`crate::placement::Uncovered`].
    pub fn covered(&self) -> Result<(), crate::placement::Uncovered> {
        let mut engines = self.desk.engines();
        let missing = engines.find_map(|e| self.desk.coverage(e).missing(e.shape()).first().copied());
        missing.map_or(Ok(()), Err)
    }

    /// How many nodes host something.
    #[must_use]
    pub fn hosting(&self) -> usize {
        self.desk.registry.all().len()
    }

    /// Carries out what the router's operator commands, on a thread that may wait for the log.
    ///
    /// # Errors
    /// [`AdminError`]; then nothing was logged.
    pub fn operate(&self, command: AdminCommand) -> Result<serde_json::Value, AdminError> {
        execute(&self.desk.office, &self.desk.home, command)
    }

    /// The epochs of the deny list that nodes have taken, one for each lane, now and from now on.
    #[must_use]
    pub fn denials_taken(&self) -> watch::Receiver<BTreeMap<u64, u64>> {
        self.desk.herald.taken()
    }

    /// Lets running requests end, tells nodes, writes what is left and closes the log.
    ///
    /// # Errors
    /// What the log says.
    pub async fn stop(self) -> Result<(), OfficeError> {
        let _ = self.stop.send(true);
        self.enrol.close();
        let all = u32::try_from(MAX_RUNNING).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(DRAIN, self.desk.running.acquire_many(all)).await;
        for host in self.desk.registry.all().iter().filter_map(|own| own.last()) {
            let _ = host.lane.drain();
        }
        self.desk.heads.leave().await;
        crate::keep::write_uptime(&self.desk).await;
        for batch in self.desk.batches.values() {
            batch.end().await;
        }
        self.nodes.close(Refusal::SessionDrain, "the router is going away");
        let _ = tokio::time::timeout(Duration::from_secs(1), self.nodes.wait_idle()).await;
        let _ = tokio::time::timeout(Duration::from_secs(2), self.http).await;
        self.desk.office.close()?;
        if let Some(following) = self.following {
            following.end().await;
        }
        Ok(())
    }
}

pub(crate) fn open(
    home: RouterHome,
    checkpoints: &[Arc<Checkpoint>],
    config: &RouterConfig,
) -> Result<Desk, StartError> {
    let office = Arc::new(Office::open(&home, crate::CURRENCY, Arc::clone(&config.now))?);
    // Whoever has the log's lock works alone here.
    key_file::sweep(&home.path().join("identity")).map_err(HomeError::from)?;
    crate::keep::tell_torn_tail(&office);
    crate::authority::begin(&office, &home).map_err(StartError::Certificate)?;
    let (engines, fresh) = load_all(&office, checkpoints, config.rows_as)?;
    let library = {
        let roster = &office.books().roster;
        Library::of(checkpoints, &config.repositories, |id| roster.model(id)?.source.clone())
    };
    if !fresh.is_empty() {
        office.append_blocking(fresh.into_iter().map(entry).collect())?;
    }
    let keyless = if config.keyless { Some(local_account(&office)?) } else { None };
    let vault = Vault::open(&home.path().join("vault"))?;
    vault.finish_erasing(&office).map_err(|e| StartError::Erasure(e.to_string()))?;
    let admin_key_hash = key_hash(&admin_key(home.path(), home.keys())?);
    let started = office.now();
    let left = vault.left_running()?;
    let repeats = home.path().join("vault").join("repeats");
    let repeats = Repeats::open(&repeats, Arc::clone(&config.now)).map_err(StartError::Repeats)?;
    let metrics = Arc::new(Metrics::default());
    let begin = |e: &Arc<Engine>| {
        Ok((e.manifest(), Batch::start(Arc::clone(e), Arc::clone(&metrics), config.hedging)?))
    };
    let batches = engines.iter().map(begin).collect::<std::io::Result<_>>().map_err(StartError::Thread)?;
    let desk = Desk {
        office,
        engines,
        batches,
        library,
        registry: Registry::default(),
        herald: Herald::default(),
        heads: Default::default(),
        plans: Plans::default(),
        vault,
        payday: Payday::default(),
        metrics,
        keyless,
        admin_key_hash,
        running: Arc::new(Semaphore::new(MAX_RUNNING)),
        repeats: Arc::new(repeats),
        renewals: Renewals::default(),
        tallies: Tallies::default(),
        shown: Shown::default(),
        certificate_life_s: config.certificate_life_s.clamp(MIN_LEAF_CERT_LIFE_S, MAX_LEAF_CERT_LIFE_S),
        started,
        home,
    };
    crate::account::log_crashed(&desk, left)?;
    Ok(desk)
}

fn bind(desk: &Desk, config: &RouterConfig) -> Result<(RouterEndpoint, EnrolEndpoint), StartError> {
    let (nodes, enrol) = tls(desk)?;
    let admission = Admission {
        domain: desk.home.domain().clone(),
        directory: Arc::new(Members(Arc::clone(&desk.office))),
        now: desk.office.clock(),
    };
    let nodes = RouterEndpoint::bind(config.nodes, nodes, admission, Limits::default())
        .map_err(|source| StartError::Endpoint { addr: config.nodes, source })?;
    let enrol = EnrolEndpoint::bind(config.enrol, enrol, Limits::default())
        .map_err(|source| StartError::Endpoint { addr: config.enrol, source })?;
    desk.metrics.refusals.watch(nodes.turned_away(), enrol.turned_away());
    Ok((nodes, enrol))
}

async fn serve_http(
    listener: TcpListener,
    desk: Arc<Desk>,
    mut stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    // Without this a stream's small chunks wait for the client's delayed acknowledgements.
    let listener = listener.tap_io(|stream| {
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!(error = %e, "a connection keeps its delay");
        }
    });
    axum::serve(listener, http::api(desk))
        .with_graceful_shutdown(async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        })
        .await
}
