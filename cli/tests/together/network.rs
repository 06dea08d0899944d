//! A router on the test's own thread, so that whatever is ready at one time is in one round, and nodes on theirs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use counterfoil_audit::LogReader;
use counterfoil_identity::enrol::JoinToken;
use counterfoil_identity::key_file::Keyring;
use counterfoil_model::Checkpoint;
use counterfoil_node::{Node, NodeConfig, NodeError, NodeIdentity, enrol, fdatasync};
use counterfoil_router::admin::AdminCommand;
use counterfoil_router::home::RouterHome;
use counterfoil_router::{
    CURRENCY, Continued, Dealing, Hedging, Prompt, RouterConfig, RowsAs, RunningRouter, Trial, clock,
};
use counterfoil_session::sandbox::open_policy;
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::entry::Body;
use counterfoil_spec::ids::{NodeId, Serial};
use counterfoil_spec::limits::MAX_LEAF_CERT_LIFE_S;
use counterfoil_spec::payload::Payload;
use counterfoil_spec::time::{Millis, Now};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::scripted::{Script, Seen, serve};

/// Looks at whether the nodes are there before a test gives up: it bounds a hang, not a speed.
const MAX_LOOKS: u32 = 100_000_000;

/// A network that is gone with this value.
pub(crate) struct Network {
    pub(crate) router: RunningRouter,
    pub(crate) model: Arc<Checkpoint>,
    /// All of them.
    pub(crate) models: Vec<Arc<Checkpoint>>,
    folder: TempDir,
    clock: Now,
    nodes: AtomicU32,
    stops: Vec<oneshot::Sender<()>>,
}

/// Runs a test on one thread.
pub(crate) fn on_one_thread(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(Box::pin(test));
}

/// Two nodes that are dealt every expert each.
pub(crate) const REPLICAS: Dealing = Dealing::Placed { replicas: 2, expect: None };
/// Two nodes that are dealt half the experts of every layer each.
pub(crate) const HALVES: Dealing = Dealing::Fixed { nodes: 2, by_expert: true };

impl Network {
    /// A router without nodes.
    pub(crate) async fn new(model: Checkpoint, dealing: Dealing, hedging: Hedging) -> Self {
        Self::sending(RowsAs::Exact, model, dealing, hedging).await
    }

    /// A router without nodes that sends rows in some way.
    pub(crate) async fn sending(
        rows_as: RowsAs,
        model: Checkpoint,
        dealing: Dealing,
        hedging: Hedging,
    ) -> Self {
        let clock = clock::system();
        Self::start(vec![model], (dealing, hedging), rows_as, (MAX_LEAF_CERT_LIFE_S, clock)).await
    }

    /// A router of several models without nodes, each of which is dealt all.
    pub(crate) async fn of_models(models: Vec<Checkpoint>) -> Self {
        let dealing = Dealing::Fixed { nodes: 1, by_expert: false };
        let until = (MAX_LEAF_CERT_LIFE_S, clock::system());
        Self::start(models, (dealing, Hedging::Off), RowsAs::Exact, until).await
    }

    /// A router without nodes whose certificates hold for some seconds of a clock.
    pub(crate) async fn lasting(life_s: u64, clock: Now, model: Checkpoint) -> Self {
        Self::start(vec![model], (REPLICAS, Hedging::Off), RowsAs::Exact, (life_s, clock)).await
    }

    async fn start(
        models: Vec<Checkpoint>,
        (dealing, hedging): (Dealing, Hedging),
        rows_as: RowsAs,
        (certificate_life_s, now): (u64, Now),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home =
            RouterHome::open_or_create(&folder.path().join("router"), &Keyring::default(), now().seconds())
                .unwrap();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = RouterConfig {
            http: loopback,
            nodes: loopback,
            enrol: loopback,
            dealing,
            hedging,
            keyless: true,
            repositories: Vec::new(),
            rows_as,
            certificate_life_s,
            salt_days: 400,
            now: Arc::clone(&now),
        };
        let models: Vec<_> = models.into_iter().map(Arc::new).collect();
        let router = Box::pin(RunningRouter::start(home, &models, config)).await.unwrap();
        let model = Arc::clone(&models[0]);
        Self { router, model, models, folder, clock: now, nodes: AtomicU32::new(0), stops: Vec::new() }
    }

    /// A node as it is.
    pub(crate) async fn node(&mut self) {
        drop(self.watched_node().await);
    }

    /// The same, with its id and how it ends.
    pub(crate) async fn watched_node(&mut self) -> (NodeId, oneshot::Receiver<Result<(), NodeError>>) {
        let (identity, home) = self.enrolled().await;
        (identity.key.public().node_id(), self.node_of(identity, home))
    }

    /// A node with a home that was made before; gives how it ends.
    pub(crate) fn node_of(
        &mut self,
        identity: NodeIdentity,
        home: PathBuf,
    ) -> oneshot::Receiver<Result<(), NodeError>> {
        let (router, models) = (self.router.nodes_addr(), self.models.clone());
        let mut policy = open_policy("");
        policy.models = models.iter().map(|model| model.name().to_owned()).collect();
        policy.quota.concurrent = 64;
        let config = NodeConfig {
            home,
            identity,
            keys: Keyring::default(),
            router,
            enrol: Some(self.router.enrol_addr()),
            policy,
            epoch: 1,
            models,
            max_weight_bytes: 1 << 40,
            max_disk_bytes: 1 << 40,
            share_weights: false,
            hub: None,
            currency: CURRENCY.to_owned(),
            now: Arc::clone(&self.clock),
            sync: fdatasync(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        self.stops.push(stop);
        on_thread(async move {
            let (node, _handle) = Node::open(config).unwrap();
            let ran = Box::pin(node.run(async move {
                let _ = stopped.await;
            }))
            .await;
            let _ = end.send(ran);
        });
        ended
    }

    /// Puts a node on the deny list.
    pub(crate) fn deny(&self, node: NodeId) {
        let names = DenyNames { nodes: vec![node], ..DenyNames::default() };
        self.operate(AdminCommand::Deny { names, reason: "for a test".to_owned() });
    }

    /// What the router's operator does, on a thread that may wait for the log.
    pub(crate) fn operate(&self, command: AdminCommand) -> Value {
        thread::scope(|scope| scope.spawn(|| self.router.operate(command).unwrap()).join().unwrap())
    }

    /// A node that does what a script says; gives what it sees.
    pub(crate) async fn scripted(&mut self, script: Script) -> Seen {
        let seen = Seen::default();
        self.scripted_as(seen.clone(), script).await;
        seen
    }

    /// The same where something else has to know what it sees.
    pub(crate) async fn scripted_as(&mut self, sees: Seen, script: Script) {
        let (identity, _) = self.enrolled().await;
        self.scripted_of(identity, sees, script);
    }

    /// The same of a node that is let in; one of the same identity that was there before ends.
    pub(crate) fn scripted_again(&mut self, identity: NodeIdentity, sees: Seen, script: Script) {
        self.stops.pop();
        self.scripted_of(identity, sees, script);
    }

    fn scripted_of(&mut self, identity: NodeIdentity, sees: Seen, script: Script) {
        let (router, model) = (self.router.nodes_addr(), Arc::clone(&self.model));
        let (stop, stopped) = oneshot::channel();
        self.stops.push(stop);
        on_thread(async move {
            tokio::select! {
                () = Box::pin(serve(identity, router, model, script, sees)) => {}
                _ = stopped => {}
            }
        });
    }

    /// Waits until every expert is hosted, and by every node where all are dealt all.
    pub(crate) async fn ready(&self) {
        for _ in 0..MAX_LOOKS {
            if self.router.covered().is_ok() && self.router.hosting() == self.stops.len() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("the nodes did not come");
    }

    /// A node that is let in, and its home.
    pub(crate) async fn enrolled(&self) -> (NodeIdentity, PathBuf) {
        let reply = self.operate(AdminCommand::JoinToken { expires_s: 600 });
        let token: JoinToken = reply.get("join_token").and_then(Value::as_str).unwrap().parse().unwrap();
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        let own = self.folder.path().join(format!("node-{number}"));
        std::fs::create_dir_all(&own).unwrap();
        let identity =
            Box::pin(enrol(&own, &Keyring::default(), token, self.router.enrol_addr(), &self.clock)).await;
        (identity.unwrap(), own)
    }

    /// The serials of the work in the router's log.
    pub(crate) fn works(&self) -> Vec<Serial> {
        self.logged(|body| matches!(body.payload, Payload::Work(_)).then_some(body.serial))
    }

    /// What is to be learnt of the entries of the router's log.
    pub(crate) fn logged<T>(&self, mut of: impl FnMut(&Body) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        let log = LogReader::open(&self.folder.path().join("router/log")).unwrap();
        log.for_each(0, |_, _, body| found.extend(of(body))).unwrap();
        found
    }

    /// The clock.
    pub(crate) fn clock(&self) -> Now {
        Arc::clone(&self.clock)
    }

    /// The present.
    pub(crate) fn now(&self) -> Millis {
        (self.clock)()
    }

    /// A counter of the router.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let text = self.router.metrics();
        let line = text.lines().find(|l| l.strip_prefix(name).is_some_and(|l| l.starts_with(' '))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// (rounds, their rows, frames) of something.
    pub(crate) async fn costs<T>(&self, of: impl Future<Output = T>) -> (T, [u64; 3]) {
        let names =
            ["counterfoil_rounds_total", "counterfoil_round_rows_total", "counterfoil_dispatches_total"];
        let before = names.map(|name| self.counted(name));
        let done = of.await;
        let mut costs = names.map(|name| self.counted(name));
        costs.iter_mut().zip(before).for_each(|(now, before)| *now -= before);
        (done, costs)
    }

    /// What each prompt becomes where nobody else asks.
    pub(crate) async fn alone(&self, prompts: &[Prompt]) -> Vec<Continued> {
        let mut out = Vec::new();
        for prompt in prompts {
            let Trial { continued, .. } = self.router.continue_all(std::slice::from_ref(prompt)).await;
            out.push(continued.into_iter().next().unwrap().unwrap());
        }
        out
    }

    /// What all become together.
    pub(crate) async fn together(&self, prompts: &[Prompt]) -> Vec<Result<Continued, String>> {
        self.router.continue_all(prompts).await.continued
    }
}

/// Waits until something is seen.
pub(crate) async fn until(mut seen: impl FnMut() -> bool) {
    for _ in 0..MAX_LOOKS {
        if seen() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came");
}

fn on_thread(task: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::spawn(move || runtime.block_on(task));
}
