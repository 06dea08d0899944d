//! What a log's entries say of consent and work, checked as the verifier reads them.

mod denials;
mod origins;
mod requests;

use std::collections::HashMap;

use counterfoil_identity::VerifyKey;
use counterfoil_spec::claims::{Claims, Range};
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::encode::from_canonical;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{ManifestId, NetId, NodeId, RouterId, Serial};
use counterfoil_spec::limits::{MAX_CLOCK_SKEW_S, MAX_CONTROL_BYTES};
use counterfoil_spec::payload::{
    ConsentGranted, ConsentRevoked, Genesis, ModelPublished, NodeEnrolled, Payload, QuotaLease, Work,
};
use counterfoil_spec::receipt::ReceiptBody;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::rule::{Fault, FaultKind, Rule, Seen};
use counterfoil_spec::time::{Millis, Seconds};

use crate::receipt::{ReceiptFault, verify_receipt};
use crate::token::{Expectation, check_token};

use origins::Origins;
use requests::{Asked, Worked};

/// Consents are signed and in force, work stays within them, and receipts have both halves.
#[derive(Debug, Default)]
pub struct ConsentRule {
    router_key: Option<VerifyKey>,
    net_id: Option<NetId>,
    author: Option<Role>,
    nodes: HashMap<NodeId, VerifyKey>,
    models: HashMap<ManifestId, ModelPublished>,
    consents: HashMap<Serial, Consent>,
    epochs: HashMap<NodeId, u64>,
    /// The deny list that was logged last, with its epoch.
    denied: (u64, DenyNames),
    /// Lower bounds of the tokens that a node worked on, by UTC day.
    tokens: HashMap<(NodeId, u64), u64>,
    /// Work entries that no inference entry has named yet.
    works: HashMap<Serial, Worked>,
    /// Work entries that an inference entry names before they came.
    awaited: HashMap<Serial, Asked>,
    origins: Origins,
}

#[derive(Debug)]
struct Consent {
    claims: Claims,
    revoked: Option<Millis>,
}

impl ConsentRule {
    /// A rule for a router's log, which introduces every key itself.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A rule for a node's own log, which does not introduce the router's key; without it the router's half of
    /// receipts stays unchecked there.
    #[must_use]
    pub fn with_router(router_key: VerifyKey) -> Self {
        Self { router_key: Some(router_key), ..Self::default() }
    }

    fn genesis(&mut self, at: u64, genesis: &Genesis, faults: &mut Vec<Fault>) {
        match VerifyKey::from_spki_der(&genesis.root_spki) {
            Ok(root) => self.net_id = Some(root.net_id()),
            Err(e) => faults.push(Fault::at(FaultKind::WeakKey, at, format!("network root: {e}"))),
        }
        self.author = Role::from_number(genesis.author_role);
        let key = match VerifyKey::from_wire(genesis.author_key) {
            Ok(key) => key,
            Err(e) => return faults.push(Fault::at(FaultKind::WeakKey, at, e.to_string())),
        };
        if key.node_id() != genesis.author_id {
            faults.push(Fault::at(FaultKind::WrongParty, at, "the author's id is not the hash of its key"));
        }
        match self.author {
            Some(Role::Router) => self.router_key = Some(key),
            Some(Role::Node) => {
                self.nodes.insert(key.node_id(), key);
            }
            _ => faults.push(Fault::at(FaultKind::WrongParty, at, "a log is written by a router or a node")),
        }
    }

    fn enrolled(&mut self, at: u64, entry: &NodeEnrolled, faults: &mut Vec<Fault>) {
        match VerifyKey::from_wire(entry.identity_key) {
            Ok(key) if key.node_id() == entry.node => {
                self.nodes.insert(entry.node, key);
            }
            Ok(_) => faults.push(Fault::at(FaultKind::WrongParty, at, "the id is not the hash of the key")),
            Err(e) => faults.push(Fault::at(FaultKind::WeakKey, at, e.to_string())),
        }
    }

    fn granted(&mut self, seen: &Seen<'_>, entry: &ConsentGranted, faults: &mut Vec<Fault>) {
        let mut fault = |kind, detail: String| faults.push(Fault::at(kind, seen.index, detail));
        let (Some(net_id), Some(key)) = (self.net_id, self.nodes.get(&entry.node)) else {
            return fault(FaultKind::UnknownKey, format!("no entry introduced the node {}", entry.node));
        };
        let audience = match self.audience(&entry.token) {
            Some(audience) => audience,
            None => return fault(FaultKind::NoConsent, "the consent token cannot be read".to_owned()),
        };
        let checked = check_token(
            &entry.token,
            &Expectation {
                net_id: &net_id,
                peer: &entry.node,
                peer_key: key,
                audience: &audience,
                now: seen.body.time.seconds(),
                deny_list_until: None,
                min_epoch: self.epochs.get(&entry.node).copied().unwrap_or(0),
                withdrawn: &|cti| self.consents.get(cti).is_some_and(|c| c.revoked.is_some()),
                model_known: &|range| self.published(range),
            },
        );
        let permit = match checked {
            Ok(permit) => permit,
            Err(refused) => return fault(fault_of(refused.refusal), refused.to_string()),
        };
        if permit.claims().cti != entry.cti {
            return fault(FaultKind::WrongParty, "the entry names another consent id".to_owned());
        }
        let epoch = self.epochs.entry(entry.node).or_default();
        *epoch = (*epoch).max(permit.claims().epoch);
        let claims = permit.claims().clone();
        // The list may have come while the router looked at the token.
        let revoked = self.denied.1.voids(&claims).then_some(seen.body.time);
        self.consents.entry(entry.cti).or_insert(Consent { claims, revoked });
    }

    /// The router of this log; in a node's own log that was given none, the one that the token itself names.
    fn audience(&self, token: &[u8]) -> Option<RouterId> {
        match &self.router_key {
            Some(key) => Some(key.router_id()),
            None => crate::cose::Sign1::read(token)
                .ok()
                .and_then(|(sign1, _)| from_canonical::<Claims>(&sign1.payload, MAX_CONTROL_BYTES).ok())
                .map(|claims| claims.audience),
        }
    }

    /// Whether a model was published; a node's own log publishes none.
    fn published(&self, range: &Range) -> bool {
        self.author == Some(Role::Node) || self.models.contains_key(&range.manifest)
    }

    fn revoked(&mut self, seen: &Seen<'_>, entry: &ConsentRevoked, faults: &mut Vec<Fault>) {
        let mut fault = |kind, detail: &str| faults.push(Fault::at(kind, seen.index, detail));
        match self.consents.get_mut(&entry.cti) {
            Some(consent) if consent.claims.issuer != entry.node => {
                fault(FaultKind::WrongParty, "the consent is another node's");
            }
            Some(consent) => consent.revoked = consent.revoked.or(Some(seen.body.time)),
            None => {}
        }
        let epoch = self.epochs.entry(entry.node).or_default();
        if entry.min_epoch < *epoch {
            fault(FaultKind::NotMonotonic, "the lowest epoch has fallen");
        }
        *epoch = (*epoch).max(entry.min_epoch);
        let void = |c: &&mut Consent| c.claims.issuer == entry.node && c.claims.epoch < entry.min_epoch;
        for consent in self.consents.values_mut().filter(void) {
            consent.revoked = consent.revoked.or(Some(seen.body.time));
        }
    }

    fn worked(&mut self, seen: &Seen<'_>, work: &Work, faults: &mut Vec<Fault>) {
        let mut fault = |kind, detail: String| faults.push(Fault::at(kind, seen.index, detail));
        let body: ReceiptBody = match from_canonical(&work.receipt.body, MAX_CONTROL_BYTES) {
            Ok(body) => body,
            Err(e) => return fault(FaultKind::NonCanonical, format!("receipt body: {e}")),
        };
        if body.serial != seen.body.serial {
            fault(FaultKind::WrongParty, "the receipt carries another serial than its entry".to_owned());
        }
        if let Some((kind, detail)) = self.halves(work, &body) {
            fault(kind, detail);
        }
        if self.author == Some(Role::Router) && seen.body.time > work.receipt.include_by {
            let detail = format!("promised by {}, logged at {}", work.receipt.include_by.0, seen.body.time.0);
            fault(FaultKind::BrokenPromise, detail);
        }
        if let Some((kind, detail)) = self.outside_consent(&body) {
            fault(kind, detail);
        }
        if self.author == Some(Role::Router) {
            self.note_work(seen, work, &body, faults);
        }
    }

    fn leased(&self, seen: &Seen<'_>, entry: &QuotaLease, faults: &mut Vec<Fault>) {
        if !self.consents.contains_key(&entry.cti) {
            let detail = format!("tokens of the consent {}, which was not granted before", entry.cti);
            faults.push(Fault::at(FaultKind::NoConsent, seen.index, detail));
        }
        if let Some(used) = entry.used.filter(|used| *used > entry.leased) {
            let detail = format!("{} tokens used, {} reserved", used.0, entry.leased.0);
            faults.push(Fault::at(FaultKind::OverGrant, seen.index, detail));
        }
    }

    /// Both signatures of a receipt; the router's where its key is known.
    fn halves(&self, work: &Work, body: &ReceiptBody) -> Option<(FaultKind, String)> {
        let Some(net_id) = self.net_id else {
            return Some((FaultKind::UnknownKey, "no genesis entry before this one".to_owned()));
        };
        let Some(node_key) = self.nodes.get(&body.node) else {
            let kind =
                if self.author == Some(Role::Node) { FaultKind::WrongParty } else { FaultKind::UnknownKey };
            return Some((kind, format!("no entry introduced the node {}", body.node)));
        };
        let checked = match &self.router_key {
            Some(router_key) => verify_receipt(&work.receipt, node_key, router_key, &net_id),
            None => {
                let receipt = &work.receipt;
                crate::receipt::check_node_half(&receipt.body, &receipt.node_sig, node_key, &net_id)
            }
        };
        let fault = checked.err()?;
        let kind = match &fault {
            ReceiptFault::Party => FaultKind::WrongParty,
            ReceiptFault::Contradiction(_) => FaultKind::OverGrant,
            _ => FaultKind::UncounteredReceipt,
        };
        Some((kind, fault.to_string()))
    }

    /// What a receipt has beyond its consent.
    fn outside_consent(&mut self, body: &ReceiptBody) -> Option<(FaultKind, String)> {
        let Some(consent) = self.consents.get(&body.cti) else {
            return Some((FaultKind::NoConsent, format!("no consent {} was granted before", body.cti)));
        };
        let claims = &consent.claims;
        if claims.issuer != body.node || claims.audience != body.router {
            return Some((
                FaultKind::WrongParty,
                "the consent is another node's or for another router".to_owned(),
            ));
        }
        // A router's log dates the revocation, the node's clock the opening; one clock wrote both in a node's log.
        let skew_ms = if self.author == Some(Role::Node) { 0 } else { MAX_CLOCK_SKEW_S * 1000 };
        if consent.revoked.is_some_and(|at| body.opened > at.plus(skew_ms)) {
            return Some((FaultKind::NoConsent, format!("consent {} was withdrawn before", body.cti)));
        }
        let opened = body.opened.seconds();
        if opened.plus(MAX_CLOCK_SKEW_S) < claims.not_before
            || opened >= claims.expires.plus(MAX_CLOCK_SKEW_S)
        {
            let Seconds(end) = claims.expires;
            return Some((FaultKind::Expired, format!("opened at {}, consent ends at {end}", opened.0)));
        }
        let ranges: Vec<Range> =
            claims.ranges.iter().filter(|r| r.manifest == body.manifest).copied().collect();
        if ranges.is_empty() {
            return Some((
                FaultKind::OverGrant,
                format!("the consent does not name model {}", body.manifest),
            ));
        }
        let quota = claims.quota;
        // Each token costs at most so many forwards, so the receipt proves at least this many tokens.
        let per_token = self.models.get(&body.manifest).map(|model| forwards_per_token(model, &ranges))?;
        let tokens = match per_token {
            0 if body.forwards > 0 => {
                return Some((FaultKind::OverGrant, "forwards of experts outside the consent".to_owned()));
            }
            0 => 0,
            per_token => body.forwards.div_ceil(per_token),
        };
        if tokens > quota.tokens_per_request.0 {
            let detail = format!("at least {tokens} tokens, {} per request", quota.tokens_per_request.0);
            return Some((FaultKind::OverGrant, detail));
        }
        let total = self.tokens.entry((body.node, opened.0 / 86_400)).or_default();
        *total = total.saturating_add(tokens);
        if *total > quota.tokens_per_day.0 {
            let detail = format!("at least {total} tokens in a day, {} consented to", quota.tokens_per_day.0);
            return Some((FaultKind::OverGrant, detail));
        }
        None
    }
}

impl Rule for ConsentRule {
    fn entry(&mut self, seen: &Seen<'_>, faults: &mut Vec<Fault>) {
        match &seen.body.payload {
            Payload::Genesis(genesis) => self.genesis(seen.index, genesis, faults),
            Payload::NodeEnrolled(entry) => self.enrolled(seen.index, entry, faults),
            Payload::ModelPublished(model) => {
                self.models.insert(model.manifest, model.clone());
            }
            Payload::ConsentGranted(entry) => self.granted(seen, entry, faults),
            Payload::DenyListIssued(entry) => self.denied(seen, entry, faults),
            Payload::ConsentRevoked(entry) => self.revoked(seen, entry, faults),
            Payload::AccountOpened(entry) => self.origins.opened(entry),
            Payload::KeyCreated(entry) => self.origins.made(entry),
            Payload::Work(work) => self.worked(seen, work, faults),
            Payload::Inference(entry) => self.inferred(seen, entry, faults),
            Payload::QuotaLease(entry) => self.leased(seen, entry, faults),
            _ => {}
        }
    }

    fn finish(&mut self, faults: &mut Vec<Fault>) {
        let mut missing: Vec<_> = self.awaited.drain().collect();
        missing.sort_unstable_by_key(|(serial, asked)| (asked.index, *serial));
        for (serial, asked) in missing {
            let detail = format!("names the work {serial}, which is not in the log");
            faults.push(Fault::at(FaultKind::UncounteredReceipt, asked.index, detail));
        }
    }
}

/// The most forwards that one token can cost within some ranges of a model.
fn forwards_per_token(model: &ModelPublished, ranges: &[Range]) -> u64 {
    let covered = |layer: u32| -> u64 {
        ranges
            .iter()
            .filter(|r| (r.layers.0..=r.layers.1).contains(&layer))
            .map(|r| {
                let end = r.experts.1.min(model.experts.saturating_sub(1));
                u64::from(end).saturating_add(1).saturating_sub(u64::from(r.experts.0))
            })
            .fold(0, u64::saturating_add)
    };
    model.moe_layers.iter().map(|l| covered(*l).min(u64::from(model.top_k))).fold(0, u64::saturating_add)
}

/// What the verifier calls a consent token that would have been refused.
fn fault_of(refusal: Refusal) -> FaultKind {
    match refusal {
        Refusal::TokenIssuer | Refusal::TokenNet | Refusal::TokenAud => FaultKind::WrongParty,
        Refusal::TokenExpired | Refusal::TokenNotYet | Refusal::TokenLifetime => FaultKind::Expired,
        Refusal::TokenEpoch => FaultKind::NotMonotonic,
        Refusal::TokenCanon => FaultKind::NonCanonical,
        _ => FaultKind::NoConsent,
    }
}
