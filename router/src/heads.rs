//! Heads of logs between router and nodes: the router's to each node that it acknowledged receipts to, and the node's own
//! back, so that each keeps what the other signed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use counterfoil_audit::peer::PeerLog;
use counterfoil_session::RouterLane;
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::limits::MAX_HURRIED_HEADS;
use counterfoil_spec::message::LogHead;
use counterfoil_spec::payload::PeerAnchor;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::text::shown;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::dealer::Visit;
use crate::desk::Desk;
use crate::office::entry;
use crate::tally::Taken;

/// How long after a receipt was acknowledged the head that covers it is sent.
const AFTER: Duration = Duration::from_secs(10);
/// The same for each lane: what many nodes add to the log stays a few entries a second.
const AFTER_EACH: Duration = Duration::from_millis(100);

/// How long nodes may take to answer the last head that they are given.
const LAST: Duration = Duration::from_secs(2);

/// What the lanes of a router share.
#[derive(Debug)]
pub(crate) struct Correspondence {
    lanes: AtomicUsize,
    leaving: watch::Sender<bool>,
    /// Nodes that were given a head and have not answered: one at a time, so that answers cannot pass each other.
    asked: watch::Sender<BTreeSet<NodeId>>,
    /// Lanes on which something is not covered by a head yet, or not answered.
    owing: watch::Sender<BTreeSet<Visit>>,
}

impl Default for Correspondence {
    fn default() -> Self {
        Self {
            lanes: AtomicUsize::new(0),
            leaving: watch::Sender::new(false),
            asked: watch::Sender::default(),
            owing: watch::Sender::default(),
        }
    }
}

impl Correspondence {
    /// Heads are sent at once from here on; resolves when all are answered, or nodes took too long.
    pub(crate) async fn leave(&self) {
        self.leaving.send_replace(true);
        let mut owing = self.owing.subscribe();
        let _ = tokio::time::timeout(LAST, owing.wait_for(BTreeSet::is_empty)).await;
    }

    fn no_longer_asked(&self, node: NodeId) {
        self.asked.send_if_modified(|asked| asked.remove(&node));
    }
}

/// Up to which of a lane's acknowledgements heads go.
#[derive(Debug, Default)]
struct Cover {
    /// Those that the last answered head covers.
    answered: u64,
    /// Those that the head covers which was sent and is not answered.
    sent: Option<u64>,
    /// When the first came that no head covers.
    since: Option<Instant>,
}

impl Cover {
    /// With `acks` so far: since when one of them is not covered by a head.
    fn owed(&mut self, acks: u64) -> Option<Instant> {
        let owed = acks > self.sent.unwrap_or(self.answered);
        self.since = owed.then(|| self.since.unwrap_or_else(Instant::now));
        self.since
    }

    const fn send(&mut self, acks: u64) {
        (self.sent, self.since) = (Some(acks), None);
    }

    const fn is_sent(&self) -> bool {
        self.sent.is_some()
    }

    /// Whether a head was waited for.
    fn answered(&mut self) -> bool {
        let sent = self.sent.take();
        self.answered = sent.unwrap_or(self.answered);
        sent.is_some()
    }

    /// No head could be sent: what it would have covered is owed again.
    const fn fell_through(&mut self) {
        self.sent = None;
    }
}

/// One lane's part in it.
#[derive(Debug)]
pub(crate) struct Heads {
    desk: Arc<Desk>,
    node: NodeId,
    visit: Visit,
    acks: watch::Receiver<u64>,
    leaving: watch::Receiver<bool>,
    asked: watch::Receiver<BTreeSet<NodeId>>,
    cover: Cover,
    /// The node leaves.
    hurries: bool,
    /// The next head of such a node is counted, and was not sent.
    counted: bool,
}

impl Heads {
    pub(crate) fn new(desk: &Arc<Desk>, lane: &RouterLane, visit: Visit) -> Self {
        let all = &desk.heads;
        all.lanes.fetch_add(1, Ordering::Relaxed);
        Self {
            desk: Arc::clone(desk),
            node: lane.node(),
            visit,
            acks: lane.acks(),
            leaving: all.leaving.subscribe(),
            asked: all.asked.subscribe(),
            cover: Cover::default(),
            hurries: false,
            counted: false,
        }
    }

    /// The node leaves: what it is owed it is given at once, as often as may be.
    pub(crate) const fn hurry(&mut self) {
        self.hurries = true;
    }

    /// Whether a head may be sent at once. Each is counted once, however often that is asked before it is sent.
    //= spec/session.md#heads
    //# A router MUST NOT send more than 64 heads at once, in the place of 10 seconds later, to one node within 600 seconds.
    fn may_hurry(&mut self) -> bool {
        if self.hurries && !self.counted {
            let now = self.desk.office.now().seconds();
            self.counted = self.desk.tallies.one(self.node, Taken::HurriedHead, now) <= MAX_HURRIED_HEADS;
        }
        self.counted
    }

    /// Waits until a head is to be sent. May be dropped and called again.
    pub(crate) async fn due(&mut self) {
        loop {
            let busy = self.asked.borrow_and_update().contains(&self.node);
            if !busy {
                self.cover.fell_through();
            }
            let since = self.cover.owed(*self.acks.borrow_and_update());
            self.owe(since.is_some() || self.cover.is_sent());
            let leaving = *self.leaving.borrow_and_update();
            let at_once = leaving || (since.is_some() && !busy && self.may_hurry());
            let wait = if at_once { Duration::ZERO } else { self.patience() };
            let at = since.filter(|_| !busy).map(|since| since + wait);
            if at.is_some_and(|at| at <= Instant::now()) {
                return;
            }
            tokio::select! {
                Ok(()) = self.acks.changed() => {}
                Ok(()) = self.leaving.changed() => {}
                Ok(()) = self.asked.changed() => {}
                () = until(at) => {}
            }
        }
    }

    /// Has the newest head published and sent.
    pub(crate) fn send(&mut self, lane: &RouterLane) {
        self.counted = false;
        self.cover.send(*self.acks.borrow_and_update());
        self.desk.heads.asked.send_if_modified(|asked| asked.insert(self.node));
        let (desk, lane) = (Arc::clone(&self.desk), lane.clone());
        tokio::spawn(async move {
            let office = Arc::clone(&desk.office);
            let published = tokio::task::spawn_blocking(move || office.own_head()).await;
            match published.map_err(|e| e.to_string()).and_then(|note| note.map_err(|e| e.to_string())) {
                Ok((note, vkey, succession)) => drop(lane.head(LogHead { note, vkey, succession })),
                Err(error) => {
                    tracing::error!(error, "no head could be given to a node");
                    desk.heads.no_longer_asked(lane.node());
                }
            }
        });
    }

    /// Keeps what the node answers, or ends the lane.
    pub(crate) async fn answered(&mut self, lane: &RouterLane, head: LogHead) {
        if !self.cover.is_sent() {
            return lane.shut(Refusal::SessionOrder, "a head that nobody asked for");
        }
        let took = take(&self.desk, self.node, head.note).await;
        self.done();
        if let Err((refusal, words)) = took {
            self.desk.metrics.peers_refused.one();
            tracing::error!(node = %self.node, words, "a head of a node's log is not taken");
            lane.shut(refusal, &words);
        }
    }

    fn done(&mut self) {
        if self.cover.answered() {
            self.desk.heads.no_longer_asked(self.node);
        }
    }

    fn patience(&self) -> Duration {
        let lanes = u32::try_from(self.desk.heads.lanes.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        AFTER.max(AFTER_EACH.saturating_mul(lanes))
    }

    fn owe(&self, owes: bool) {
        self.desk.heads.owing.send_if_modified(|owing| {
            if owes { owing.insert(self.visit) } else { owing.remove(&self.visit) }
        });
    }
}

impl Drop for Heads {
    fn drop(&mut self) {
        self.done();
        self.owe(false);
        self.desk.heads.lanes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Logs a head of a node's log.
async fn take(desk: &Desk, node: NodeId, note: String) -> Result<(), (Refusal, String)> {
    let known = desk.office.books().roster.log_of(&node);
    let Some((vkey, last)) = known else {
        return Err((Refusal::SessionHead, "nobody enrolled this node".to_owned()));
    };
    let no = |e: &dyn std::fmt::Display| (Refusal::SessionHead, shown(&e.to_string()));
    let key = vkey.parse().map_err(|e: counterfoil_audit::note::NoteError| no(&e))?;
    let taken = PeerLog::new(key, last).take(&note);
    //= spec/session.md#heads
    //# So is a head of fewer entries than one that was logged before, or of as many with another root; whoever got it MUST log it first, so
    //# that both notes are kept.
    if taken.as_ref().map_or_else(|fault| fault.is_signed(), |_| true) {
        let anchor = PeerAnchor { note, vkey: None, succession: None };
        // Where the log's disk is full the next one covers this, and the lane is as good as before.
        if let Err(error) = desk.office.append(vec![entry(anchor)]).await {
            tracing::error!(%node, %error, "a head of a node's log could not be logged");
        }
    }
    //= spec/session.md#heads
    //# A head that the log's key did not sign is refused (`S_HEAD`)
    taken.map(drop).map_err(|fault| no(&fault))
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use counterfoil_model::Checkpoint;
    use counterfoil_session::NodeEndpoint;
    use counterfoil_session::sandbox::{Sandbox, hello};
    use counterfoil_spec::limits::MEMBER_WINDOW_S;
    use counterfoil_spec::time::{Millis, Now};

    use super::*;

    //= spec/session.md#heads
    //= type=test
    //# A router MUST NOT send more than 64 heads at once, in the place of 10 seconds later, to one node within 600 seconds.
    #[tokio::test]
    async fn a_node_that_leaves_again_and_again_is_given_so_many_heads_at_once_and_no_more() {
        let (folder, now_s) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU64::new(1_800_000_000)));
        let clock = Arc::clone(&now_s);
        let now: Now = Arc::new(move || Millis(clock.load(Ordering::Relaxed) * 1000));
        let guide = Arc::new(Checkpoint::guide().unwrap());
        let desk = Arc::new(crate::fetch::tests::desk(folder.path(), &guide, Arc::clone(&now)));
        let net = Sandbox::new(now).unwrap();
        let member = net.member().unwrap();
        let endpoint = net.bind(&[&member]).unwrap();
        let target = net.target(endpoint.local_addr().unwrap());
        let ours = NodeEndpoint::towards(target.addr).unwrap();
        let admitting = async { endpoint.accept().await.unwrap().admit().await };
        let connecting = ours.connect(&target, net.tls(&member).unwrap(), hello((net.now)()));
        let (there, here) = tokio::join!(admitting, connecting);
        let (lane, _node) = (there.unwrap().lane, here.unwrap());
        let mut heads = Heads::new(&desk, &lane, 1);
        assert!(!heads.may_hurry(), "it does not leave");
        for _ in 0..MAX_HURRIED_HEADS {
            heads.hurry();
            assert_eq!((heads.may_hurry(), heads.may_hurry()), (true, true));
            heads.send(&lane);
        }
        assert!(!heads.may_hurry(), "one more than may be");
        // On another lane of the node it is the same.
        let mut heads = Heads::new(&desk, &lane, 2);
        heads.hurry();
        assert!(!heads.may_hurry());
        now_s.fetch_add(MEMBER_WINDOW_S, Ordering::Relaxed);
        assert!(heads.may_hurry());
    }

    #[test]
    fn acknowledgements_are_owed_until_a_head_covers_them() {
        let mut cover = Cover::default();
        assert_eq!(cover.owed(0), None);
        let since = cover.owed(2).unwrap();
        assert_eq!(cover.owed(3), Some(since));
        cover.send(3);
        assert_eq!((cover.owed(3), cover.is_sent()), (None, true));
        assert!(cover.owed(4).is_some());
        assert!(cover.answered());
        assert!(cover.owed(4).is_some());
        cover.send(4);
        assert!(cover.answered());
        assert_eq!((cover.owed(4), cover.answered()), (None, false));
    }

    #[test]
    fn what_a_head_would_have_covered_that_was_never_sent_is_owed_again() {
        let mut cover = Cover::default();
        cover.send(3);
        cover.fell_through();
        assert!(cover.owed(3).is_some());
        assert!(!cover.answered());
    }
}
