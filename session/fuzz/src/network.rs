//! The network of the conformance vectors, with all its secret keys.

use std::sync::OnceLock;

use counterfoil_consent::{Expectation, Permit, check_token};
use counterfoil_identity::{Directory, IssuingCa, Refused, Root, SecretKey, TrustDomain, VerifiedPeer};
use counterfoil_spec::ids::{ManifestId, NetId, Serial};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use crate::vectors::{self, ENROLMENT, FRAMES};

/// An hour after the vectors' beginning.
pub const PRESENT: Seconds = Seconds(1_800_003_600);

/// Who is who; the seeds are those of `conformance/generator`.
pub struct Network {
    /// The root.
    pub root: SecretKey,
    /// The issuing CA.
    pub ca: SecretKey,
    /// A router.
    pub router: SecretKey,
    /// A node.
    pub node: SecretKey,
    /// The TLS key of the node's certificate.
    pub tls: SecretKey,
    /// The key of the join token that was handed out.
    pub join: SecretKey,
    /// The network as its root certificate defines it.
    pub domain: TrustDomain,
    /// Another network.
    pub elsewhere: TrustDomain,
    /// The node's consent, as a lane of the vectors has it in slot 0.
    pub permit: Permit,
    /// What both ends of that lane export from TLS.
    pub exporter: [u8; 32],
    ca_der: Vec<u8>,
}

/// The network, made once.
pub fn network() -> &'static Network {
    static NETWORK: OnceLock<Network> = OnceLock::new();
    NETWORK.get_or_init(Network::new)
}

impl Network {
    fn new() -> Self {
        let [root, ca, router, node, tls, join] =
            [1, 2, 0x14, 7, 8, 0x22].map(|seed| SecretKey::from_seed([seed; 32]));
        let domain = TrustDomain::new(&vectors::bytes(ENROLMENT, "root")).expect("the vectors' root");
        let other = Root::create(SecretKey::from_seed([99; 32]), PRESENT, 86_400).expect("a root");
        let elsewhere = TrustDomain::new(other.der()).expect("its certificate");
        let token = vectors::bytes(FRAMES, "token");
        let permit = check(&token, (&domain.net_id(), &node, &router), PRESENT).expect("the lane's token");
        let exporter = vectors::bytes(FRAMES, "exporter").try_into().expect("32 bytes");
        let ca_der = vectors::bytes(ENROLMENT, "ca");
        Self { root, ca, router, node, tls, join, domain, elsewhere, permit, exporter, ca_der }
    }

    /// The id of the network.
    #[must_use]
    pub fn net_id(&self) -> NetId {
        self.domain.net_id()
    }

    /// The issuing CA with its key.
    #[must_use]
    pub fn issuing_ca(&self) -> IssuingCa {
        IssuingCa::from_parts(self.ca.clone(), self.ca_der.clone(), &self.domain).expect("the vectors' CA")
    }

    /// The router's check of a consent token that this node presents.
    ///
    /// # Errors
    /// The refusal.
    pub fn check(&self, token: &[u8], now: Seconds) -> Result<Permit, Refused> {
        check(token, (&self.net_id(), &self.node, &self.router), now)
    }

    /// The same check by another network, of another node's token, or for another router.
    #[must_use]
    pub fn accepted_by_others(&self, token: &[u8], now: Seconds) -> bool {
        let (net, elsewhere) = (self.net_id(), self.elsewhere.net_id());
        let others = [
            (&elsewhere, &self.node, &self.router),
            (&net, &self.router, &self.router),
            (&net, &self.node, &self.node),
        ];
        others.into_iter().any(|parties| check(token, parties, now).is_ok())
    }

    /// The model that is published.
    pub const MODEL: ManifestId = ManifestId::from_bytes([0xaa; 32]);
    /// The lowest epoch that is accepted.
    pub const MIN_EPOCH: u64 = 4;
    /// A consent id that was withdrawn.
    pub const WITHDRAWN: Serial = Serial::from_bytes([0x77; 16]);
}

fn check(
    token: &[u8],
    (net_id, node, router): (&NetId, &SecretKey, &SecretKey),
    now: Seconds,
) -> Result<Permit, Refused> {
    let expect = Expectation {
        net_id,
        peer: &node.public().node_id(),
        peer_key: &node.public(),
        audience: &router.public().router_id(),
        now,
        deny_list_until: None,
        min_epoch: Network::MIN_EPOCH,
        withdrawn: &|cti| *cti == Network::WITHDRAWN,
        model_known: &|range| range.manifest == Network::MODEL,
    };
    check_token(token, &expect)
}

/// A directory that knows everybody.
pub struct Anybody;

impl Directory for Anybody {
    fn check(&self, _: &VerifiedPeer) -> Result<(), Refusal> {
        Ok(())
    }
}

/// A directory that denies everybody.
pub struct Nobody;

impl Directory for Nobody {
    fn check(&self, _: &VerifiedPeer) -> Result<(), Refusal> {
        Err(Refusal::CertDenied)
    }
}
