//! A throwaway network in memory: a root, a router and nodes with certificates, for benchmarks and tests.

pub mod rows;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use counterfoil_consent::{Expectation, Issuance, Permit, Policy, Refused, check_token, issue, sign_open};
use counterfoil_identity::enrol::{
    EnrolOffer, EnrolServer, Enrolled, Finish, MemoryTokens, NodeFacts, RenewAt, Standing, wanted,
};
use counterfoil_identity::{
    ALPN, CaFault, Credentials, Directory, IssuingCa, LeafRequest, PinnedRouter, Root, SecretKey, Signer,
    TlsFault, TlsKey, TrustDomain, VerifiedPeer, client_config, enrol_server_config, random, server_config,
    sign_deny_list,
};
use counterfoil_spec::claims::{Purposes, Range};
use counterfoil_spec::deny::{DenyNames, SignedDenyList};
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, ManifestId, NodeId};
use counterfoil_spec::message::{NodeHello, Proposal, Renew, Renewed, SESSION_VERSION, SignedOpen};
use counterfoil_spec::receipt::{Grant, Open};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::{Millis, Now, Seconds};

use crate::admission::{Admission, RouterEndpoint};
use crate::endpoint::{ConnectError, EndpointError, Target};
use crate::enrol::EnrolEndpoint;
use crate::gate::Limits;

/// A network with one router.
pub struct Sandbox {
    /// The present of everybody in it.
    pub now: Now,
    /// The network.
    pub domain: TrustDomain,
    /// The network root.
    pub root: Root,
    /// The router's identity key.
    pub router_key: SecretKey,
    /// The router's certificate.
    pub router: Credentials,
    ca: IssuingCa,
}

/// A node of it.
pub struct Member {
    /// Its identity key.
    pub key: SecretKey,
    /// Its certificate.
    pub credentials: Credentials,
}

/// Why a sandbox could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] CaFault),
    /// The network itself.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// A socket.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl Sandbox {
    /// A fresh network.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn new(now: Now) -> Result<Self, SandboxError> {
        let at = now().seconds();
        let root = Root::create(SecretKey::generate(), at, YEAR_S)?;
        let ca = root.issue_ca(SecretKey::generate(), at)?;
        let domain = TrustDomain::new(root.der())?;
        let router_key = SecretKey::generate();
        let router = credentials(&ca, (Role::Router, 1), &router_key, at)?;
        Ok(Self { now, domain, root, router_key, router, ca })
    }

    /// A node with a fresh key and a certificate.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn member(&self) -> Result<Member, SandboxError> {
        let key = SecretKey::generate();
        let credentials = credentials(&self.ca, (Role::Node, 1), &key, (self.now)().seconds())?;
        Ok(Member { key, credentials })
    }

    /// The same node with another certificate of some generation.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn renewed(&self, member: &Member, generation: u64) -> Result<Member, SandboxError> {
        let role = (Role::Node, generation);
        let credentials = credentials(&self.ca, role, &member.key, (self.now)().seconds())?;
        Ok(Member { key: member.key.clone(), credentials })
    }

    /// Gives a node, whose first certificate is in use, the next one that it asks for over the connection that `exporter`
    /// comes from.
    ///
    /// # Errors
    /// [`Refused`] as a router refuses it.
    pub fn renew(&self, member: &Member, asked: &Renew, exporter: &[u8; 32]) -> Result<Renewed, Refused> {
        let now = (self.now)().seconds();
        let (net_id, router_id) = (self.domain.net_id(), self.router_key.public().router_id());
        let key = member.key.public();
        let latest = self.ca.latest_leaf_end(now);
        let standing = Standing { used: 1, since: None, ended: latest, denied: false, issued: 0, latest };
        let at = RenewAt { net_id: &net_id, router_id: &router_id, exporter };
        wanted(asked, &at, Some(&key))?.allow(&standing, now)?.issue(&self.ca)
    }

    /// The router's endpoint on loopback, which lets these nodes in and nobody else.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn bind(&self, members: &[&Member]) -> Result<RouterEndpoint, SandboxError> {
        self.bind_within(members, Limits::default())
    }

    /// Another CA issues certificates from here on, and this endpoint of the router's shows one of it.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn roll_over(&mut self, endpoint: &RouterEndpoint, members: &[&Member]) -> Result<(), SandboxError> {
        let at = (self.now)().seconds();
        self.ca = self.root.issue_ca(SecretKey::generate(), at)?;
        self.router = credentials(&self.ca, (Role::Router, 1), &self.router_key, at)?;
        Ok(endpoint.renew(self.shown_to(known(members))?)?)
    }

    fn shown_to(&self, directory: Arc<dyn Directory>) -> Result<rustls::ServerConfig, TlsFault> {
        server_config(&self.router, &self.domain, directory, Arc::clone(&self.now), ALPN)
    }

    /// The same within other limits.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn bind_within(&self, members: &[&Member], limits: Limits) -> Result<RouterEndpoint, SandboxError> {
        let directory = known(members);
        let tls = self.shown_to(Arc::clone(&directory))?;
        let admission = Admission { domain: self.domain.clone(), directory, now: Arc::clone(&self.now) };
        Ok(RouterEndpoint::bind(LOOPBACK, tls, admission, limits)?)
    }

    /// The router's enrolment endpoint on loopback.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn enrolling(&self) -> Result<EnrolEndpoint, SandboxError> {
        let tls = enrol_server_config(&self.router, &self.domain)?;
        Ok(EnrolEndpoint::bind(LOOPBACK, tls, Limits::default())?)
    }

    /// Enrols the next node that knocks, as a router does, but for the log.
    ///
    /// # Errors
    /// [`ConnectError`], among them every refusal.
    pub async fn enrol(
        &self,
        endpoint: &EnrolEndpoint,
        tokens: &MemoryTokens,
    ) -> Result<Enrolled, ConnectError> {
        let gone = || ConnectError::Handshake("the endpoint is closed".to_owned());
        let applicant = endpoint.accept().await.ok_or_else(gone)?.hello().await?;
        let now = (self.now)().seconds();
        let offer = EnrolOffer {
            net_id: self.domain.net_id(),
            router_id: self.router_key.public().router_id(),
            not_after: self.ca.latest_leaf_end(now),
            generation: 1,
        };
        let decide = |server: EnrolServer, proof, exporter| async move {
            let (ca, collides, record) = (&self.ca, |_: &NodeFacts| false, |_: NodeFacts| Ok(()));
            let with = Finish { ca, tokens, collides: &collides, record: &record, min_epoch: 1, now };
            server.prove(&proof, &exporter, now)?.enrol(&with)
        };
        Box::pin(applicant.run(offer, tokens, now, decide)).await
    }

    /// How a node finds this router.
    #[must_use]
    pub fn target(&self, addr: SocketAddr) -> Target {
        Target { addr, domain: self.domain.clone(), router: self.pin(), now: Arc::clone(&self.now) }
    }

    /// A node's TLS configuration towards this router.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn tls(&self, member: &Member) -> Result<rustls::ClientConfig, SandboxError> {
        Ok(client_config(&member.credentials, &self.domain, self.pin(), Arc::clone(&self.now))?)
    }

    fn pin(&self) -> Arc<dyn Directory> {
        Arc::new(PinnedRouter(Some(self.router_key.public().router_id())))
    }

    /// The router's deny list, which names nothing and is signed now.
    #[must_use]
    pub fn nothing_denied(&self) -> SignedDenyList {
        self.denying(0, DenyNames::default())
    }

    /// The router's deny list, signed now.
    #[must_use]
    pub fn denying(&self, epoch: u64, names: DenyNames) -> SignedDenyList {
        let signed =
            sign_deny_list(epoch, names, (self.now)().seconds(), (&self.router_key, &self.domain.net_id()));
        #[expect(clippy::expect_used, reason = "the key is in memory")]
        signed.expect("a key in memory signs")
    }

    /// A proposal of all experts of a model.
    #[must_use]
    pub fn proposal(&self, manifest: ManifestId, name: &str) -> Proposal {
        Proposal {
            manifest,
            name: name.to_owned(),
            ranges: vec![Range::whole(manifest)],
            list_price_micro_per_1k: 10_000,
            currency: "USD".to_owned(),
            router: self.router_key.public().router_id(),
            min_epoch: 1,
        }
    }

    /// A consent token of a node for a proposal, by a policy that allows everything asked for.
    #[must_use]
    pub fn consent(&self, member: &Member, proposal: &Proposal) -> Option<(Vec<u8>, Permit)> {
        let issuance = Issuance::fresh(self.domain.net_id(), (self.now)().seconds(), 1);
        issue(&open_policy(&proposal.name), proposal, &member.key, &issuance).ok()
    }

    /// The router's check of a consent token.
    ///
    /// # Errors
    /// The refusal.
    pub fn check(&self, token: &[u8], member: &Member) -> Result<Permit, Refused> {
        let key = member.key.public();
        check_token(
            token,
            &Expectation {
                net_id: &self.domain.net_id(),
                peer: &key.node_id(),
                peer_key: &key,
                audience: &self.router_key.public().router_id(),
                now: (self.now)().seconds(),
                min_epoch: 1,
                deny_list_until: None,
                withdrawn: &|_| false,
                model_known: &|_| true,
            },
        )
    }

    /// An order for work under a permit, for all that it allows and for a minute.
    #[must_use]
    pub fn order(&self, permit: &Permit, slot: u32) -> SignedOpen {
        let claims = permit.claims();
        let now = (self.now)();
        let (request, purpose) = (random::serial(), Purposes::CHAT);
        let manifest = claims.ranges.first().map_or(ManifestId::from_bytes([0; 32]), |r| r.manifest);
        let grant = Grant {
            slot,
            seq: u64::from(slot),
            request,
            cti: claims.cti,
            manifest,
            ranges: claims.ranges.clone(),
            max_tokens: 1 << 20,
            deadline: now.plus(60_000),
            purpose,
            transcript_key: random::hash(),
        };
        self.signed(claims.issuer, grant, now)
    }

    /// Signs an order for a grant.
    #[must_use]
    pub fn signed(&self, node: NodeId, grant: Grant, issued: Millis) -> SignedOpen {
        let open = Open {
            serial: random::serial(),
            request: grant.request,
            node,
            router: self.router_key.public().router_id(),
            grant_hash: Hash::from_bytes([0; 32]),
            list_price_micro_per_1k: 10_000,
            caller_allowed: true,
            retention_s: 0,
            purpose: grant.purpose,
            origin: "sandbox.invalid/log".to_owned(),
            issued,
        };
        #[expect(clippy::expect_used, reason = "the key is in memory")]
        sign_open(open, grant, &self.router_key, &self.domain.net_id()).expect("a key in memory signs")
    }
}

/// These nodes, and nobody else.
fn known(members: &[&Member]) -> Arc<dyn Directory> {
    Arc::new(Known(members.iter().map(|m| m.key.public().node_id()).collect()))
}

/// A policy that consents to one model without limits.
#[must_use]
pub fn open_policy(name: &str) -> Policy {
    let mut policy = Policy { accepted_notice: true, models: vec![name.to_owned()], ..Policy::default() };
    policy.quota.concurrent = u32::MAX;
    policy
}

/// A Hello that offers everything.
#[must_use]
pub fn hello(now: Millis) -> NodeHello {
    let models = Vec::new();
    NodeHello {
        version: SESSION_VERSION,
        max_weight_bytes: u64::MAX,
        concurrent: u32::MAX,
        models,
        now,
        wants: None,
    }
}

/// The machine's clock.
#[must_use]
pub fn machine_clock() -> Now {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    })
}

fn credentials(
    ca: &IssuingCa,
    (role, generation): (Role, u64),
    identity: &dyn Signer,
    now: Seconds,
) -> Result<Credentials, SandboxError> {
    let tls = TlsKey::generate();
    let not_after = ca.latest_leaf_end(now);
    let request = LeafRequest::signed(role, identity, &tls, &ca.domain().net_id(), (generation, not_after))
        .map_err(CaFault::Sign)?;
    Ok(Credentials::new(ca.issue_leaf(&request, now)?, &tls))
}

struct Known(HashSet<NodeId>);

impl Directory for Known {
    fn check(&self, peer: &VerifiedPeer) -> Result<(), Refusal> {
        if self.0.contains(&peer.id()) { Ok(()) } else { Err(Refusal::CertUnknown) }
    }
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const YEAR_S: u64 = 365 * 86_400;
