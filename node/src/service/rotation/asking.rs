//! When a node asks for its next certificate, and what becomes of the answer.

use std::collections::VecDeque;
use std::time::Duration;

use counterfoil_identity::certificate_validity;
use counterfoil_identity::enrol::Renewing;
use counterfoil_identity::random;
use counterfoil_session::{LaneEnd, NodeLane};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::limits::{MAX_RENEWALS, NOT_BEFORE_MARGIN_S, RENEWAL_EARLIEST};
use counterfoil_spec::message::{NodeMessage, Renewal, Renewed};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::text::PeerText;
use counterfoil_spec::time::{Millis, Seconds};
use tokio::time::Instant;

use super::{AGAIN, newest};
use crate::node::Node;
use crate::orders::{self, NoRenewal};
use crate::pair;
use crate::service::{Service, Step};

/// How long an answer is waited for before it is asked again.
const ANSWER: Duration = Duration::from_secs(30);

/// What was asked for on a lane and not answered yet. A router answers in the order of the requests.
#[derive(Default)]
pub(super) struct Asked {
    waiting: VecDeque<Wish>,
    /// Answers that are still to come, and that nobody needs any more.
    needless: u32,
}

/// A request, and the operator's orders that it was made for.
struct Wish {
    renewing: Renewing,
    orders: Vec<Serial>,
}

impl Asked {
    /// The operator's orders that wait for an answer.
    pub(super) fn orders(&self) -> impl Iterator<Item = &Serial> {
        self.waiting.iter().flat_map(|wish| &wish.orders)
    }

    /// Whether as many requests wait as may.
    fn is_full(&self) -> bool {
        u32::try_from(self.waiting.len()).map_or(true, |waiting| waiting >= MAX_RENEWALS)
    }

    /// A certificate was taken: what else was asked for is not needed.
    fn settle(&mut self) {
        let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        self.needless = self.needless.saturating_add(waiting);
        self.waiting.clear();
    }

    /// Takes an answer that nobody needs; false where none is to come.
    pub(super) fn pass_over(&mut self) -> bool {
        let comes = self.needless > 0;
        self.needless = self.needless.saturating_sub(1);
        comes
    }
}

impl Service<'_> {
    /// Asks, for the first time or again.
    pub(super) fn ask_for_the_next(&mut self) -> Step {
        self.rotation.ask_at = None;
        let waiting = self.rotation.asked.waiting.len();
        if waiting > 0 {
            let words = format!("the router has not answered {waiting} requests for the next certificate");
            tracing::warn!(words);
            self.node.status.send_modify(|status| status.refused = Some(words));
            // A certificate that ends is renewed at the enrolment endpoint.
            if self.rotation.asked.is_full() {
                return Ok(());
            }
        }
        // Loading goes on over the lane on which it was begun, so it is waited for as long as there is time.
        let busy = !self.loading.is_empty() || !self.pending.is_empty() || !self.arriving.is_empty();
        let left = self.left_of_it();
        if busy && left > Duration::from_secs(3) && !self.is_pressing(left) {
            self.rotation.ask_at = Some(Instant::now() + AGAIN.min(left / 16));
            return Ok(());
        }
        let identity = &self.node.config.identity;
        let renewing = Renewing::after(
            &identity.credentials,
            std::sync::Arc::clone(&identity.key),
            &identity.domain,
            identity.router,
            (self.node.config.now)().seconds(),
        );
        match renewing {
            Ok(renewing) => {
                let orders = std::mem::take(&mut self.rotation.ordered);
                self.ask_with(Wish { renewing, orders })
            }
            Err(error) => {
                tracing::error!(%error, "this node's own certificate cannot be followed by another");
                Ok(())
            }
        }
    }

    /// Whether three quarters of the certificate's life are over.
    fn is_pressing(&self, left: Duration) -> bool {
        let leaf = &self.node.config.identity.credentials.chain().leaf;
        let life = certificate_validity(leaf)
            .map_or(0, |(begin, end)| end.0.saturating_sub(begin.plus(NOT_BEFORE_MARGIN_S).0));
        left < Duration::from_secs(life) / 4
    }

    /// How long the newest certificate holds.
    fn left_of_it(&self) -> Duration {
        let leaf = &self.node.config.identity.credentials.chain().leaf;
        let end = certificate_validity(leaf).map_or(Seconds(0), |(_, end)| end).millis();
        Duration::from_millis(end.0.saturating_sub((self.node.config.now)().0))
    }

    fn ask_with(&mut self, wish: Wish) -> Step {
        let exporter = self.lane.renewal_exporter()?;
        match wish.renewing.ask(&exporter) {
            Ok(asked) => {
                //= spec/session.md#renewal
                //# A node that was not answered within 30 seconds, or within an eighth of what is left of its certificate's life where that is less, but at least a second, MAY ask again, and MUST NOT let more than 4 requests wait for an answer.
                self.rotation.asked.waiting.push_back(wish);
                let patience = (self.left_of_it() / 8).min(ANSWER).max(AGAIN);
                self.rotation.ask_at = Some(Instant::now() + patience);
                self.lane.send(&NodeMessage::Renew(asked))
            }
            Err(error) => {
                tracing::error!(%error, "the next certificate cannot be asked for; trying again");
                self.rotation.ordered.extend(wish.orders);
                self.ask_later();
                Ok(())
            }
        }
    }

    fn ask_later(&mut self) {
        self.rotation.ask_at = Some(Instant::now() + (self.left_of_it() / 8).max(AGAIN));
    }

    /// The router's answer.
    pub(in crate::service) fn renewed(&mut self, renewal: Renewal) -> Step {
        let Some(wish) = self.rotation.asked.waiting.pop_front() else {
            if self.rotation.asked.pass_over() {
                return Ok(());
            }
            //= spec/session.md#renewal
            //# A `Renewal` beyond those that it asked for is refused (`S_ORDER`).
            return Err(self.lane.shut(Refusal::SessionOrder, "a renewal that nobody asked for"));
        };
        match renewal {
            Renewal::Renewed(renewed) => self.given(wish, &renewed),
            Renewal::Refused(Refusal::CertLifetime, detail, latest) => match wish.renewing.ending(latest) {
                Some(renewing) => self.ask_with(Wish { renewing, ..wish }),
                None => self.not_renewed(wish.orders, Refusal::CertLifetime, detail),
            },
            Renewal::Refused(refusal, detail, _) => self.not_renewed(wish.orders, refusal, detail),
        }
    }

    fn given(&mut self, Wish { renewing, orders }: Wish, renewed: &Renewed) -> Step {
        let config = &mut self.node.config;
        let credentials = match renewing.on_renewed(renewed, (config.now)().seconds()) {
            Ok(credentials) => credentials,
            Err(refused) => return Err(self.lane.shut(refused.refusal, &refused.detail)),
        };
        let kept = (renewing.tls_key(), credentials.chain());
        //= spec/session.md#renewal
        //# A node MUST have a certificate and its TLS key on its disk before it shows the certificate.
        if let Err(error) = pair::keep_next(&config.home.join("identity"), &config.keys, kept) {
            tracing::error!(%error, "the next certificate cannot be kept; trying again");
            self.rotation.ordered.extend(orders);
            self.ask_later();
            return Ok(());
        }
        config.identity.credentials = credentials;
        config.identity.renew_after = Some(renewed.renew_after);
        // Whoever ordered one has it, whichever request brought it.
        let home = &self.node.config.home;
        orders.iter().chain(&self.rotation.orders()).for_each(|order| orders::renewal_answered(home, order));
        self.rotation.ordered.clear();
        self.rotation.asked.settle();
        self.rotation.ask_at = None;
        self.rotation.backoff.reset();
        self.connect_again()
    }

    fn not_renewed(&mut self, orders: Vec<Serial>, refusal: Refusal, detail: PeerText) -> Step {
        tracing::error!(%refusal, %detail, "the router gives no further certificate");
        self.tell_operator(orders, refusal, &detail);
        let words = format!("{refusal}: {detail}");
        self.node.status.send_modify(|status| status.refused = Some(words));
        if refusal == Refusal::EnrolGeneration {
            // Somebody else has used the generation that was to come next.
            self.lane.shut(Refusal::SessionDrain, "another has this node's keys");
            return Err(LaneEnd::RefusedByPeer(Refusal::CertSuperseded, detail.to_string()));
        }
        self.ask_later();
        Ok(())
    }
}

impl Service<'_> {
    /// Whoever ordered it hears at once that nothing comes of it.
    fn tell_operator(&self, orders: Vec<Serial>, refusal: Refusal, words: &PeerText) {
        if orders.is_empty() {
            return;
        }
        let home = &self.node.config.home;
        let said = NoRenewal { orders, refusal, words: words.to_string() };
        if let Err(error) = orders::tell_no_renewal(home, &said) {
            tracing::error!(%error, "the operator cannot be told what the router said");
        }
        said.orders.iter().for_each(|order| orders::renewal_answered(home, order));
    }
}

/// A certificate that is shown on a lane from some moment on.
#[derive(Debug, Clone, Copy)]
struct Life {
    begin: Millis,
    end: Millis,
    /// When to ask for the next one, as the router said.
    renew_after: Option<Millis>,
    /// Whether this may be its first use.
    first: bool,
    now: Millis,
    /// When the certificate ends that the router shows on the lane.
    router_ends: Millis,
}

/// When to ask for the certificate after the one that is shown on a lane.
pub(super) fn ask_at(node: &Node, lane: &NodeLane) -> Instant {
    let (identity, now) = (&node.config.identity, (node.config.now)());
    let [chance] = random::bytes::<1>();
    let at = certificate_validity(&identity.credentials.chain().leaf).map_or(now, |(begin, end)| {
        let life = Life {
            begin: begin.plus(NOT_BEFORE_MARGIN_S).millis(),
            end: end.millis(),
            renew_after: identity.renew_after.map(Seconds::millis),
            first: node.let_in_with != newest(node),
            now,
            router_ends: lane.router().not_after().millis(),
        };
        due(life, chance)
    });
    Instant::now() + Duration::from_millis(at.0.saturating_sub(now.0))
}

/// When the router said, or at the half, by chance one sixteenth of the life earlier or later; and before the certificate
/// that the router has shown on this lane ends, because the lane ends with that as well.
//= spec/session.md#renewal
//# A node SHOULD ask for its next certificate at the *renew after* that came with the last one, or where it does not know that any more when the half of the last one's life is over, one sixteenth of that life earlier or later by chance; not before a third of it is over, and not after nine tenths.
fn due(life: Life, chance: u8) -> Millis {
    let Life { begin, end, renew_after, first, now, router_ends } = life;
    let whole = end.0.saturating_sub(begin.0);
    let about = renew_after.unwrap_or(begin.plus(whole / 2)).max(begin.plus(whole / 3 + whole / 16));
    let about = about.min(begin.plus((whole / 10 * 9).saturating_sub(whole / 16)));
    let at = Millis(about.0.saturating_sub(whole / 16)).plus(whole / 8 * u64::from(chance) / 255);
    let at = at.min(now.plus(router_ends.0.saturating_sub(now.0) / 4 * 3));
    if !first {
        return at;
    }
    //= spec/session.md#renewal
    //# A node that may be showing its certificate for the first time SHOULD NOT ask before an eighth of what is left of its life is over.
    // Its clock counts in seconds and begins when it has read Hello.
    at.max(now.plus(end.0.saturating_sub(now.0) / RENEWAL_EARLIEST + 1000))
}

#[cfg(test)]
mod tests;
