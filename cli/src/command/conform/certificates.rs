//! Chains of certificates.

use counterfoil_identity::{Directory, PinnedRouter, TrustDomain, verify_chain};
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
    },
    Router {
        pin: Option<RouterId>,
    },
}

impl Directory for Known {
    fn check(&self, role: Role, id: &NodeId, cert_serial: &[u8]) -> Result<(), Refusal> {
        match self {
            Self::Nodes { enrolled, .. } if !enrolled.contains(id) => Err(Refusal::CertUnknown),
            Self::Nodes { denied, denied_serials, .. } => {
                let serials = denied_serials.iter().filter_map(|serial| Serial::from_slice(&serial.0));
                let (mut nodes, mut serials) = (denied.clone(), serials.collect::<Vec<_>>());
                nodes.sort_unstable();
                serials.sort_unstable();
                let names = DenyNames { nodes, serials, ..DenyNames::default() };
                if names.denies(id, cert_serial) { Err(Refusal::CertDenied) } else { Ok(()) }
            }
            Self::Router { pin } => PinnedRouter(*pin).check(role, id, cert_serial),
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
    Ok(Verdict::of(verify_chain(&chain, &domain, role, test.now, &test.directory)))
}
