//! Refusals by who refused, what was refused, and the code.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use counterfoil_session::{ConnectError, LaneEnd, TurnedAway};
use counterfoil_spec::refusal::Refusal;

/// Who refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum By {
    /// This router.
    Router,
    /// A node.
    Node,
}

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// A connection, before its first message was taken.
    Connection,
    /// Somebody who wanted to join.
    Enrolment,
    /// Somebody who wanted a node to be denied by its recovery key.
    Recovery,
    /// A member that wanted its next certificate.
    Renewal,
    /// A consent token.
    Consent,
    /// A frame, and the lane with it.
    Frame,
    /// An order, or rows under it.
    Grant,
    /// A request for a manifest or for weights.
    Fetch,
}

type Key = (By, What, &'static str);

/// The count of each.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// The lock is held for one count. There are as many keys as codes, at most, for each `By` and `What`.
    counts: Mutex<BTreeMap<Key, u64>>,
    /// What the gates before lanes and enrolments count themselves.
    gates: OnceLock<[(What, Arc<TurnedAway>); 2]>,
}

impl Refusals {
    /// One more.
    pub(crate) fn one(&self, by: By, what: What, refusal: Refusal) {
        *self.counts().entry((by, what, refusal.code())).or_default() += 1;
    }

    /// A connection or an enrolment that did not come about, where one side said why.
    pub(crate) fn connection(&self, what: What, error: &ConnectError) {
        match error {
            ConnectError::Refused(refused) => self.one(By::Router, what, refused.refusal),
            ConnectError::RefusedByPeer { refusal, .. } => self.one(By::Node, what, *refusal),
            ConnectError::Alpn => self.one(By::Router, what, Refusal::SessionAlpn),
            _ => {}
        }
    }

    /// The end of a lane; to go away in good order is no refusal.
    pub(crate) fn end(&self, end: &LaneEnd) {
        match end {
            LaneEnd::RefusedHere(Refusal::SessionDrain, _)
            | LaneEnd::RefusedByPeer(Refusal::SessionDrain, _)
            | LaneEnd::Lost(_) => {}
            LaneEnd::RefusedHere(refusal, _) => self.one(By::Router, What::Frame, *refusal),
            LaneEnd::RefusedByPeer(refusal, _) => self.one(By::Node, What::Frame, *refusal),
        }
    }

    /// Takes what the gates count from here on into account; the first call counts.
    pub(crate) fn watch(&self, lanes: Arc<TurnedAway>, enrolments: Arc<TurnedAway>) {
        let _ = self.gates.set([(What::Connection, lanes), (What::Enrolment, enrolments)]);
    }

    /// The exposition text.
    pub(crate) fn render(&self, out: &mut String) {
        let mut all = self.counts().clone();
        let (mut asked, gates) = (0, self.gates.get().into_iter().flatten());
        for (what, gate) in gates {
            asked += gate.asked();
            for (refusal, n) in
                [(Refusal::SessionCrowded, gate.crowded()), (Refusal::SessionPrefix, gate.prefix())]
            {
                *all.entry((By::Router, *what, refusal.code())).or_default() += n;
            }
        }
        let help = "Connections, frames, orders and messages that one side refused, by code.";
        let _ = writeln!(out, "# HELP {REFUSALS} {help}\n# TYPE {REFUSALS} counter");
        for ((by, what, code), n) in &all {
            let _ = writeln!(
                out,
                "{REFUSALS}{{by=\"{}\",what=\"{}\",code=\"{code}\"}} {n}",
                by.label(),
                what.label()
            );
        }
        let help = "Connections that were asked to prove their address before their handshake.";
        let _ = writeln!(out, "# HELP {ASKED} {help}\n# TYPE {ASKED} counter\n{ASKED} {asked}");
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Key, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl By {
    const fn label(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Node => "node",
        }
    }
}

impl What {
    const fn label(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Enrolment => "enrolment",
            Self::Recovery => "recovery",
            Self::Renewal => "renewal",
            Self::Consent => "consent",
            Self::Frame => "frame",
            Self::Grant => "grant",
            Self::Fetch => "fetch",
        }
    }
}

const REFUSALS: &str = "counterfoil_refusals_total";
const ASKED: &str = "counterfoil_address_proofs_total";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_who_what_and_code() {
        let refusals = Refusals::default();
        refusals.one(By::Node, What::Grant, Refusal::Quota);
        refusals.connection(What::Connection, &ConnectError::Alpn);
        refusals.connection(What::Connection, &ConnectError::Crowded);
        refusals.end(&LaneEnd::RefusedHere(Refusal::Mac, String::new()));
        refusals.end(&LaneEnd::RefusedHere(Refusal::Mac, String::new()));
        refusals.end(&LaneEnd::RefusedByPeer(Refusal::SessionDrain, String::new()));
        refusals.watch(Arc::default(), Arc::default());
        let mut text = String::new();
        refusals.render(&mut text);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let sample =
            |by, what, code, n: u64| format!("{REFUSALS}{{by=\"{by}\",what=\"{what}\",code=\"{code}\"}} {n}");
        assert_eq!(
            samples,
            [
                sample("router", "connection", "S_ALPN", 1),
                sample("router", "connection", "S_CROWDED", 0),
                sample("router", "connection", "S_PREFIX", 0),
                sample("router", "enrolment", "S_CROWDED", 0),
                sample("router", "enrolment", "S_PREFIX", 0),
                sample("router", "frame", "R_MAC", 2),
                sample("node", "grant", "R_QUOTA", 1),
                format!("{ASKED} 0"),
            ]
        );
    }
}
