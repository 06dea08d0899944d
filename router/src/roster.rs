//! Who belongs to the network, as the log says it: a pure fold over entries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use counterfoil_audit::Head;
use counterfoil_audit::peer::named_in;
use counterfoil_consent::claimed;
use counterfoil_identity::{IssuedCa, IssuingCas, VerifiedPeer, VerifyKey};
use counterfoil_spec::claims::Range;
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::entry::{Body, Role};
use counterfoil_spec::ids::{Hash, ManifestId, NodeId, PublicKey, Serial};
use counterfoil_spec::limits::MAX_LEAF_CERT_LIFE_S;
use counterfoil_spec::payload::{CapacityAttested, ConsentGranted, ModelPublished, Payload, RotatedKey};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

/// A node that some entry enrolled.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Its identity key.
    pub(crate) key: VerifyKey,
    /// The verifier key of its own log.
    pub(crate) log_vkey: String,
    /// The generation that counts for it now.
    pub(crate) generation: u64,
    /// The first use of its certificate; `None` where one was given by an enrolment and not shown yet.
    pub(crate) used: Option<FirstUse>,
    /// When that ends, at the latest.
    pub(crate) ends: Seconds,
    /// Consent tokens below this epoch are void.
    pub(crate) min_epoch: u64,
    /// The commitment to its recovery key, of its first enrolment: whoever has its other keys cannot change it.
    pub(crate) recovery_hash: Hash,
}

/// That a certificate was shown for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FirstUse {
    /// Its serial number.
    pub(crate) certificate: Serial,
    /// When that was.
    pub(crate) since: Seconds,
}

/// A join token as the router keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenState {
    /// The public key of its one-time seed.
    pub(crate) public_key: PublicKey,
    /// Its end.
    pub(crate) expires: Seconds,
    /// Who used it.
    pub(crate) used_by: Option<NodeId>,
}

/// What is denied, and why that changed last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Denied {
    /// The number of changes so far.
    pub(crate) epoch: u64,
    /// What is refused.
    pub(crate) names: DenyNames,
    /// As the operator said.
    pub(crate) reason: String,
}

/// What a consent token allows of one model.
#[derive(Debug, Clone)]
struct Hosted {
    cti: Serial,
    expires: Seconds,
    ranges: Vec<Range>,
}

/// The network's members, join tokens, withdrawn consents and published models.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    members: BTreeMap<NodeId, Member>,
    tokens: BTreeMap<Serial, TokenState>,
    withdrawn: BTreeMap<Serial, NodeId>,
    consents: BTreeMap<Serial, NodeId>,
    models: BTreeMap<ManifestId, ModelPublished>,
    /// What each node's last consent token of each model allows.
    hosted: BTreeMap<NodeId, BTreeMap<ManifestId, Hosted>>,
    attested: BTreeMap<NodeId, CapacityAttested>,
    /// The network root's key, by which certificates of CAs are read.
    root: Option<VerifyKey>,
    cas: IssuingCas,
    denied: Arc<Denied>,
    /// The newest head of each node's own log, by origin.
    heads: BTreeMap<String, Head>,
}

impl Roster {
    /// Takes the next entry. A key that cannot be used is passed over: the verifier names it, and nobody can
    /// connect with it.
    pub(crate) fn apply(&mut self, body: &Body) {
        match &body.payload {
            Payload::NodeEnrolled(e) => {
                if let Some(token) = self.tokens.get_mut(&e.token_id) {
                    token.used_by = Some(e.node);
                }
                let Ok(key) = VerifyKey::from_wire(e.identity_key) else { return };
                let before = self.members.get(&e.node);
                let min_epoch = before.map_or(0, |m| m.min_epoch);
                let recovery_hash = before.map_or(e.recovery_hash, |m| m.recovery_hash);
                let (log_vkey, generation) = (e.log_vkey.clone(), e.generation);
                let (used, ends) = (None, body.time.seconds().plus(MAX_LEAF_CERT_LIFE_S));
                let member = Member { key, log_vkey, generation, used, ends, min_epoch, recovery_hash };
                self.members.insert(e.node, member);
            }
            Payload::NodeRenewed(e) => {
                if let Some(member) = self.members.get_mut(&e.node) {
                    member.generation = e.generation;
                    member.used = Some(FirstUse { certificate: e.certificate, since: body.time.seconds() });
                    member.ends = e.not_after;
                }
            }
            Payload::JoinToken(t) => {
                let state = TokenState { public_key: t.public_key, expires: t.expires, used_by: None };
                self.tokens.insert(t.token_id, state);
            }
            Payload::ConsentGranted(c) => {
                self.consents.insert(c.cti, c.node);
                self.host(c);
            }
            Payload::ConsentRevoked(c) => {
                self.withdrawn.insert(c.cti, c.node);
                self.hosted.entry(c.node).or_default().retain(|_, hosted| hosted.cti != c.cti);
                if let Some(member) = self.members.get_mut(&c.node) {
                    member.min_epoch = member.min_epoch.max(c.min_epoch);
                }
            }
            Payload::CapacityAttested(c) => {
                self.attested.insert(c.node, c.clone());
            }
            Payload::DenyListIssued(d) => {
                let (names, reason) = (d.names.clone(), d.reason.clone());
                self.denied = Arc::new(Denied { epoch: d.epoch, names, reason });
            }
            Payload::Genesis(g) => self.root = VerifyKey::from_spki_der(&g.root_spki).ok(),
            Payload::CaIssued(c) => {
                // One that does not follow counts for nothing, and the verifier names it.
                let _ = self.read_ca(&c.certificate).map(|ca| self.cas.announce(ca, body.time.seconds()));
            }
            Payload::KeyRotation(r) => match r.of {
                RotatedKey::IssuingCa => {
                    let ca = self.read_ca(&r.successor);
                    let _ = ca.map(|ca| self.cas.rotate(&ca.serial, body.time.seconds()));
                }
                // The log follows its own key.
                RotatedKey::Log => {}
            },
            Payload::ModelPublished(m) => {
                self.models.insert(m.manifest, m.clone());
            }
            Payload::PeerAnchor(a) => {
                let Ok(seen) = named_in(&a.note) else { return };
                let newest = self.heads.entry(seen.origin).or_insert(seen.head);
                if seen.head.size > newest.size {
                    *newest = seen.head;
                }
            }
            _ => {}
        }
    }

    fn read_ca(&self, der: &[u8]) -> Option<IssuedCa> {
        IssuedCa::read(der, self.root.as_ref()?).ok()
    }

    /// Whether a peer whose certificates are in order may come in.
    ///
    /// # Errors
    /// The first that speaks against it: nobody enrolled it, its CA is not in use, something of it is denied.
    pub(crate) fn lets_in(&self, peer: &VerifiedPeer, now: Seconds) -> Result<(), Refusal> {
        if peer.role() != Role::Node || self.member(&peer.id()).is_none() {
            return Err(Refusal::CertUnknown);
        }
        //= spec/identity.md#rolling-over-an-issuing-ca
        //# A router MUST refuse the leaf of an issuing CA that is not in use and never was (`C_CA_UNKNOWN`), or that is retired
        self.cas.check(peer.ca_serial(), now)?;
        if names_peer(&self.denied.names, peer) { Err(Refusal::CertDenied) } else { Ok(()) }
    }

    /// Reads a token that stands in this network's own log, where its check preceded it.
    fn host(&mut self, granted: &ConsentGranted) {
        let Some(claims) = claimed(&granted.token) else { return };
        let own = self.hosted.entry(granted.node).or_default();
        let models: BTreeSet<ManifestId> = claims.ranges.iter().map(|r| r.manifest).collect();
        for manifest in models {
            let ranges = claims.ranges.iter().filter(|r| r.manifest == manifest).copied().collect();
            own.insert(manifest, Hosted { cti: granted.cti, expires: claims.expires, ranges });
        }
    }

    /// What a node consented last to host, under tokens in force.
    #[must_use]
    pub(crate) fn hosted(&self, node: &NodeId, now: Seconds) -> Vec<Range> {
        let all = self.hosted.get(node).filter(|_| !self.denied.names.denies_node(node));
        let all = all.into_iter().flat_map(BTreeMap::values);
        all.filter(|h| now < h.expires).flat_map(|h| h.ranges.iter().copied()).collect()
    }

    /// The nodes that consented to host something, under tokens in force.
    pub(crate) fn hosting(&self, now: Seconds) -> impl Iterator<Item = NodeId> {
        let denied = &self.denied.names;
        let live = move |node: &NodeId, own: &BTreeMap<ManifestId, Hosted>| {
            !denied.denies_node(node) && own.values().any(|h| now < h.expires)
        };
        self.hosted.iter().filter(move |(node, own)| live(node, own)).map(|(node, _)| *node)
    }

    /// Bytes that a node was measured to hold, where that was done and holds still.
    #[must_use]
    pub(crate) fn attested(&self, node: &NodeId, now: Seconds) -> Option<u64> {
        self.attested.get(node).filter(|a| now < a.expires).map(|a| a.bytes)
    }

    /// What is denied.
    pub(crate) const fn denied(&self) -> &Arc<Denied> {
        &self.denied
    }

    /// A member by its id.
    #[must_use]
    pub(crate) fn member(&self, node: &NodeId) -> Option<&Member> {
        self.members.get(node)
    }

    /// The verifier key of a member's own log, and the newest head of it that was logged.
    #[must_use]
    pub(crate) fn log_of(&self, node: &NodeId) -> Option<(String, Option<Head>)> {
        let vkey = &self.members.get(node)?.log_vkey;
        let origin = vkey.split_once('+').map_or(vkey.as_str(), |(origin, _)| origin);
        Some((vkey.clone(), self.heads.get(origin).copied()))
    }

    /// All members, by id.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&NodeId, &Member)> {
        self.members.iter()
    }

    /// A join token by its id.
    #[must_use]
    pub(crate) fn token(&self, token: &Serial) -> Option<&TokenState> {
        self.tokens.get(token)
    }

    /// Whether a consent token was withdrawn.
    #[must_use]
    pub(crate) fn is_withdrawn(&self, cti: &Serial) -> bool {
        self.withdrawn.contains_key(cti)
    }

    /// Whether a consent token is already in the log.
    #[must_use]
    pub(crate) fn has_consent(&self, cti: &Serial) -> bool {
        self.consents.contains_key(cti)
    }

    /// Whether a node granted this consent and has not withdrawn it.
    #[must_use]
    pub(crate) fn may_withdraw(&self, node: &NodeId, cti: &Serial) -> bool {
        self.consents.get(cti) == Some(node) && !self.is_withdrawn(cti)
    }

    /// The issuing CAs.
    pub(crate) const fn cas(&self) -> &IssuingCas {
        &self.cas
    }

    /// A published model.
    #[must_use]
    pub(crate) fn model(&self, manifest: &ManifestId) -> Option<&ModelPublished> {
        self.models.get(manifest)
    }

    /// The model that was published under a name.
    pub(crate) fn model_named(&self, name: &str) -> Option<&ModelPublished> {
        self.models.values().find(|model| model.name == name)
    }
}

/// Whether a deny list names a node, the certificate that it shows, or the CA of that.
pub(crate) fn names_peer(names: &DenyNames, peer: &VerifiedPeer) -> bool {
    names.denies(&peer.id(), peer.cert_serial()) || names.denies_serial(peer.ca_serial())
}
