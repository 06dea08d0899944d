//! The deny list on its way to the nodes: signed again and again, pushed to every lane, and lanes of whom it names
//! closed.
//!
//! What is denied stands in the log. The herald signs it as soon as it changes and long before the last list is too
//! old; each lane's guard passes that on, and closes the lane of a node that is denied whether it could be signed or
//! not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use counterfoil_identity::{Refused, sign_deny_list};
use counterfoil_session::RouterLane;
use counterfoil_spec::deny::SignedDenyList;
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::limits::MAX_DENY_LIFE_S;
use counterfoil_spec::refusal::Refusal;
use tokio::sync::watch;

use crate::dealer::Visit;
use crate::desk::Desk;
use crate::roster::{Denied, names_peer};

/// How often the list is signed anew.
const SIGN_EVERY: Duration = Duration::from_secs(MAX_DENY_LIFE_S / 3);
/// How soon it is tried again where the key did not sign.
const SIGN_AGAIN: Duration = Duration::from_secs(1);
/// What a node is told whose lane is closed.
const DENIED: &str = "this node, or its certificate, is on the deny list";

/// The list that was signed last, and who has taken which.
#[derive(Debug)]
pub(crate) struct Herald {
    list: watch::Sender<Option<Arc<SignedDenyList>>>,
    taken: watch::Sender<BTreeMap<Visit, u64>>,
}

impl Default for Herald {
    fn default() -> Self {
        Self { list: watch::Sender::new(None), taken: watch::Sender::new(BTreeMap::new()) }
    }
}

impl Herald {
    /// A node has taken the list of this epoch.
    pub(crate) fn took(&self, visit: Visit, epoch: u64) {
        self.taken.send_modify(|taken| {
            taken.insert(visit, epoch);
        });
    }

    /// A node is gone.
    pub(crate) fn forget(&self, visit: Visit) {
        self.taken.send_modify(|taken| {
            taken.remove(&visit);
        });
    }

    /// The epochs that nodes have taken, by lane, now and from now on.
    pub(crate) fn taken(&self) -> watch::Receiver<BTreeMap<Visit, u64>> {
        self.taken.subscribe()
    }
}

/// Signs the list for as long as the router runs.
pub(crate) async fn herald(desk: Arc<Desk>) {
    let mut denied = desk.office.denied();
    loop {
        let now = denied.borrow_and_update().clone();
        let pause = match sign(&desk, now).await {
            Ok(signed) => {
                desk.herald.list.send_replace(Some(Arc::new(signed)));
                SIGN_EVERY
            }
            Err(error) => {
                tracing::error!(
                    error,
                    "the deny list is not signed, and without a fresh one nodes stop serving"
                );
                SIGN_AGAIN
            }
        };
        tokio::select! {
            _ = denied.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Signs on a thread of its own, because an agent may take its time.
async fn sign(desk: &Desk, denied: Arc<Denied>) -> Result<SignedDenyList, String> {
    let (key, net_id) = (Arc::clone(desk.office.identity()), desk.home.net_id());
    let now = desk.office.now().seconds();
    let sign = move || sign_deny_list(denied.epoch, denied.names.clone(), now, (&key, &net_id));
    let signed = tokio::task::spawn_blocking(sign).await.map_err(|e| e.to_string())?;
    signed.map_err(|e| e.to_string())
}

/// Refuses a node that is denied.
///
/// # Errors
/// [`Refused`] with `CertDenied`.
pub(crate) fn check(desk: &Desk, node: &NodeId) -> Result<(), Refused> {
    if !desk.office.books().roster.denied().names.denies_node(node) {
        return Ok(());
    }
    Err(Refused { refusal: Refusal::CertDenied, detail: "this node is on the deny list".to_owned() })
}

/// Keeps one lane's node told from here on. Returns once the node has been sent its first list, before which it gets
/// no work; false where it is denied, and its lane closed.
pub(crate) async fn guard(desk: &Desk, lane: &RouterLane) -> bool {
    let mut guard =
        Guard { denied: desk.office.denied(), lists: desk.herald.list.subscribe(), lane: lane.clone() };
    tokio::select! {
        signed = guard.lists.wait_for(Option::is_some) => drop(signed),
        _ = lane.closed() => return false,
    }
    guard.push();
    if guard.close() {
        return false;
    }
    tokio::spawn(guard.run());
    true
}

struct Guard {
    denied: watch::Receiver<Arc<Denied>>,
    lists: watch::Receiver<Option<Arc<SignedDenyList>>>,
    lane: RouterLane,
}

impl Guard {
    async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                _ = self.denied.changed() => if self.close() { break },
                _ = self.lists.changed() => self.push(),
                _ = self.lane.closed() => break,
            }
        }
    }

    fn push(&mut self) {
        let list = self.lists.borrow_and_update().clone();
        if let Some(list) = list
            && let Err(error) = self.lane.deny(&list)
        {
            tracing::debug!(%error, "a deny list was not sent");
        }
    }

    /// Closes the lane where its node, or the certificate that it showed, is denied.
    fn close(&mut self) -> bool {
        let peer = self.lane.peer();
        let denied = names_peer(&self.denied.borrow_and_update().names, peer);
        if denied {
            self.lane.shut(Refusal::CertDenied, DENIED);
            tracing::info!(node = %peer.id(), "a denied node's lane is closed");
        }
        denied
    }
}
