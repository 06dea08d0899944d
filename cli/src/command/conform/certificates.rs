//! Chains of certificates.

use counterfoil_identity::{
    Directory, IssuedCa, IssuingCas, PinnedRouter, TrustDomain, VerifiedPeer, VerifyKey, verify_chain,
};
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::entry::Role;
use counterfoil_spec::ids::{NodeId, RouterId, Serial};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use serde::Deserialize;
use serde_json::Value;

use super::judge::{Hex, Judged, Verdict, read};

#[derive(Deserialize)]
struct Root {
    root: Hex,
}

#[derive(Deserialize)]
struct Chain {
    chain: Vec<Hex>,
    role: Wanted,
    now: Seconds,
    directory: Known,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    Router,
    Node,
}

/// Whom the side that checks knows: a router its nodes, a node its router.
#[derive(Deserialize)]
#[serde(untagged)]
enum Known {
    #[serde(rename_all = "camelCase")]
    Nodes {
        enrolled: Vec<NodeId>,
        denied: Vec<NodeId>,
        denied_serials: Vec<Hex>,
        issuing_cas: Option<Vec<Logged>>,
    },
    Router {
        pin: Option<RouterId>,
    },
}

/// An issuing CA as a log tells of it.
#[derive(Deserialize)]
struct Logged {
    certificate: Hex,
    announced: Seconds,
    used: Option<Seconds>,
}

/// The side that checks, at one instant.
struct Side<'a> {
    knows: &'a Known,
    /// Nothing where the test says nothing of them: then any will do.
    cas: Option<IssuingCas>,
    now: Seconds,
}

impl Directory for Side<'_> {
    fn check(&self, peer: &VerifiedPeer) -> Result<(), Refusal> {
        if let Known::Nodes { enrolled, .. } = self.knows
            && !enrolled.contains(&peer.id())
        {
            return Err(Refusal::CertUnknown);
        }
        self.cas.as_ref().map_or(Ok(()), |cas| cas.check(peer.ca_serial(), self.now))?;
        self.knows.check(peer)
    }
}

impl Directory for Known {
    fn check(&self, peer: &VerifiedPeer) -> Result<(), Refusal> {
        match self {
            Self::Nodes { enrolled, .. } if !enrolled.contains(&peer.id()) => Err(Refusal::CertUnknown),
            Self::Nodes { denied, denied_serials, .. } => {
                let serials = denied_serials.iter().filter_map(|serial| Serial::from_slice(&serial.0));
                let (mut nodes, mut serials) = (denied.clone(), serials.collect::<Vec<_>>());
                nodes.sort_unstable();
                serials.sort_unstable();
                let names = DenyNames { nodes, serials, ..DenyNames::default() };
                if names.denies(&peer.id(), peer.cert_serial()) || names.denies_serial(peer.ca_serial()) {
                    Err(Refusal::CertDenied)
                } else {
                    Ok(())
                }
            }
            Self::Router { pin } => PinnedRouter(*pin).check(peer),
        }
    }
}

/// The certificate of a network's root.
pub(super) fn root(test: &Value) -> Judged {
    let test: Root = read(test)?;
    Ok(Verdict::of(TrustDomain::new(&test.root.0)))
}

/// What a peer shows.
pub(super) fn chain(group: &Value, test: &Value) -> Judged {
    let (group, test): (Root, Chain) = (read(group)?, read(test)?);
    let domain = match TrustDomain::new(&group.root.0) {
        Ok(domain) => domain,
        Err(refused) => return Ok(Verdict::Skipped(format!("the group's root: {refused}"))),
    };
    let chain: Vec<_> = test.chain.iter().map(|der| der.0.clone().into()).collect();
    let role = match test.role {
        Wanted::Router => Role::Router,
        Wanted::Node => Role::Node,
    };
    let cas = match &test.directory {
        Known::Nodes { issuing_cas: Some(logged), .. } => match folded(logged, domain.root_key()) {
            Ok(cas) => Some(cas),
            Err(fault) => return Ok(Verdict::Skipped(format!("the issuing CAs: {fault}"))),
        },
        _ => None,
    };
    let side = Side { knows: &test.directory, cas, now: test.now };
    Ok(Verdict::of(verify_chain(&chain, &domain, role, test.now, &side)))
}

/// The first is in use once it is announced, each later one when an entry says so.
fn folded(logged: &[Logged], root: &VerifyKey) -> Result<IssuingCas, String> {
    let mut cas = IssuingCas::default();
    for entry in logged {
        let ca = IssuedCa::read(&entry.certificate.0, root).map_err(|e| e.to_string())?;
        cas.announce(ca, entry.announced).map_err(|e| e.to_string())?;
        if let Some(at) = entry.used.filter(|_| cas.in_use().is_none_or(|known| known.ca != ca)) {
            cas.rotate(&ca.serial, at).map_err(|e| e.to_string())?;
        }
    }
    Ok(cas)
}
