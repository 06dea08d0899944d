//! The joining node's side.

use std::sync::Arc;

use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{Hash, NodeId, RouterId};
use counterfoil_spec::limits::{MAX_CLOCK_SKEW_S, MAX_LEAF_CERT_LIFE_S};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use rustls::pki_types::CertificateDer;

use super::message::{Challenge, ENROL_VERSION, Enrolled, Hello, Proof};
use super::proof::{Purpose, Transcript};
use super::token::JoinToken;
use crate::certificate::binding::binding_input;
use crate::certificate::credentials::{Chain, Credentials, TlsKey};
use crate::certificate::verify::{Directory, Refused, TrustDomain, VerifiedPeer, refused, verify_chain};
use crate::key::VerifyKey;
use crate::random;
use crate::signer::{SignFault, Signer};

/// A node that wants to join; holds its secrets until the answer is there.
pub struct EnrolClient {
    token: JoinToken,
    identity: Arc<dyn Signer>,
    tls_key: TlsKey,
    hello: Hello,
}

impl EnrolClient {
    /// Prepares the hello with a fresh nonce.
    #[must_use]
    pub fn new(
        token: JoinToken,
        identity: impl Into<Arc<dyn Signer>>,
        tls_key: TlsKey,
        recovery_hash: Hash,
        log_vkey: String,
    ) -> Self {
        let identity = identity.into();
        let hello = Hello {
            version: ENROL_VERSION,
            token_id: token.token_id(),
            identity_key: identity.public().wire(),
            tls_key: tls_key.public().wire(),
            recovery_hash,
            log_vkey,
            nonce: random::hash(),
        };
        Self { token, identity, tls_key, hello }
    }

    /// The join token, for the pin of the TLS configuration.
    #[must_use]
    pub const fn token(&self) -> &JoinToken {
        &self.token
    }

    /// The first message.
    #[must_use]
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Answers a challenge of the router that TLS has shown, over the connection that `exporter` comes from.
    ///
    /// # Errors
    /// [`Refused`] where the challenge is not that router's or asks for a certificate outside the rules.
    pub fn on_challenge(
        self,
        challenge: &Challenge,
        exporter: &[u8; 32],
        router: &VerifiedPeer,
        now: Seconds,
    ) -> Result<(Proving, Proof), Refused> {
        if router.net_id() != self.token.net_id() {
            return Err(refused(Refusal::EnrolProof, "the router is of another network than the join token"));
        }
        if router.role() != Role::Router || router.id().as_router() != challenge.router_id {
            return Err(refused(
                Refusal::EnrolProof,
                "the challenge names another router than the certificate",
            ));
        }
        let latest = now.plus(MAX_LEAF_CERT_LIFE_S + MAX_CLOCK_SKEW_S);
        if challenge.not_after <= now || challenge.not_after > latest {
            let detail = format!(
                "a certificate until {}, while it is {} here; check this machine's clock",
                challenge.not_after.0, now.0
            );
            return Err(refused(Refusal::EnrolShape, detail));
        }
        let csr = self.tls_key.csr().map_err(|e| refused(Refusal::EnrolCsr, e.to_string()))?;
        let net_id = self.token.net_id();
        let transcript = Transcript { net_id: &net_id, hello: &self.hello, challenge, exporter, csr: &csr };
        let node_sig = transcript.sign(Purpose::Node, &*self.identity).map_err(unsigned)?;
        let token_sig = transcript.sign(Purpose::Token, self.token.key()).map_err(unsigned)?;
        let binding = binding_input(
            &net_id,
            Role::Node,
            &self.tls_key.spki_der(),
            challenge.generation,
            challenge.not_after,
        );
        let binding_sig = self.identity.sign(&binding).map_err(unsigned)?;
        let router = challenge.router_id;
        Ok((Proving { client: self, router }, Proof { csr, node_sig, token_sig, binding_sig }))
    }
}

/// Of this side's own key; nothing was sent.
fn unsigned(fault: SignFault) -> Refused {
    refused(Refusal::SessionInternal, fault.to_string())
}

/// A node that has sent its proof.
pub struct Proving {
    client: EnrolClient,
    router: RouterId,
}

/// A node of the network.
#[derive(Debug, Clone)]
pub struct Joined {
    /// To connect with.
    pub credentials: Credentials,
    /// The network.
    pub domain: TrustDomain,
    /// The router that enrolled it, to be pinned.
    pub router: RouterId,
    /// Its own id.
    pub node: NodeId,
    /// The lowest consent epoch that the router will accept.
    pub min_epoch: u64,
    /// When to ask for the next certificate.
    pub renew_after: Seconds,
}

impl Proving {
    /// Takes the certificate, after checking that it is one for this node under the pinned root.
    ///
    /// # Errors
    /// [`Refused`] with the first thing that is wrong.
    pub fn on_enrolled(self, enrolled: &Enrolled, now: Seconds) -> Result<Joined, Refused> {
        let Self { client, router } = self;
        let domain = TrustDomain::new(&enrolled.root)?;
        if domain.net_id() != client.token.net_id() {
            return Err(refused(Refusal::CertUntrusted, "the root is not the one that the join token pins"));
        }
        let chain = Chain { leaf: enrolled.leaf.clone(), ca: enrolled.ca.clone() };
        let me = own_certificate(&chain, &domain, &client.identity.public(), now)?;
        if me.tls_spki_hash() != crate::certificate::binding::tls_spki_hash(&client.tls_key.spki_der()) {
            return Err(refused(Refusal::CertBinding, "the certificate is for another TLS key"));
        }
        Ok(Joined {
            credentials: Credentials::new(chain, &client.tls_key),
            domain,
            router,
            node: me.id(),
            min_epoch: enrolled.min_epoch,
            renew_after: enrolled.renew_after,
        })
    }
}

/// Checks a certificate as that of a peer, and that it is for the node with this identity key.
pub(super) fn own_certificate(
    chain: &Chain,
    domain: &TrustDomain,
    identity: &VerifyKey,
    now: Seconds,
) -> Result<VerifiedPeer, Refused> {
    let certificates: Vec<CertificateDer<'_>> = chain.certificates();
    let me = verify_chain(&certificates, domain, Role::Node, now, &Oneself)?;
    if me.key() == identity {
        return Ok(me);
    }
    Err(refused(Refusal::CertId, "the certificate is for another node"))
}

/// A node's own certificate needs no entry in any directory.
struct Oneself;

impl Directory for Oneself {
    fn check(&self, _peer: &VerifiedPeer) -> Result<(), Refusal> {
        Ok(())
    }
}
