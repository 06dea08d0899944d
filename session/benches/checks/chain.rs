//! All that is checked of a peer's chain, beside webpki's check of the same chain, by what was met of it before.

use std::hint::black_box;
use std::time::Duration;

use counterfoil_identity::{TrustDomain, verify_chain};
use counterfoil_session::sandbox::{Member, Sandbox};
use counterfoil_spec::entry::Role;
use counterfoil_spec::limits::{MAX_MET_KEYS, MAX_MET_LEAVES};
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::KeyUsage;

use super::Anybody;
use super::path::Path;
use super::turns::{CALLS, Measured, measure};

/// How often each is done in a turn.
const TIMES: usize = 100;

type Chain = Vec<CertificateDer<'static>>;

/// One for each thing that can have been met before.
pub(crate) fn all(network: &Sandbox, member: &Member) -> Vec<Measured> {
    let root = network.domain.root_der();
    let domains = |count: usize| (0..count).map(|_| TrustDomain::new(root).unwrap()).collect::<Vec<_>>();
    let own = || vec![member.credentials.chain().certificates()];
    vec![
        compared("a chain of which nothing was met", network, &domains(TIMES * CALLS), &own()),
        compared("a node that was never met", network, &domains(1), &strangers(network)),
        compared("a new certificate of a node", network, &domains(1), &renewed(network, member)),
        compared("a certificate that was met", network, &domains(1), &own()),
    ]
}

/// Chains of more nodes than anybody remembers: when the first one comes again it was forgotten.
fn strangers(network: &Sandbox) -> Vec<Chain> {
    let one = |_| network.member().unwrap().credentials.chain().certificates();
    (0..=MAX_MET_KEYS).map(one).collect()
}

/// More certificates of one node than anybody remembers.
pub(crate) fn renewals(network: &Sandbox, member: &Member) -> Vec<Member> {
    (0..=MAX_MET_LEAVES).map(|_| network.renewed(member, 1).unwrap()).collect()
}

fn renewed(network: &Sandbox, member: &Member) -> Vec<Chain> {
    renewals(network, member).iter().map(|m| m.credentials.chain().certificates()).collect()
}

/// Each call takes the next domain and the next chain.
fn compared(name: &'static str, network: &Sandbox, domains: &[TrustDomain], chains: &[Chain]) -> Measured {
    let (path, now) = (Path::of(network), (network.now)().seconds());
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now.0));
    let mut theirs = chains.iter().cycle();
    let webpki_alone = || {
        let Some([leaf, rest @ ..]) = black_box(theirs.next().map(Vec::as_slice)) else { return };
        assert!(path.check((leaf, rest), at, KeyUsage::client_auth()).is_ok());
    };
    let (mut domains, mut chains) = (domains.iter().cycle(), chains.iter().cycle());
    let ours = || {
        let (Some(domain), Some(chain)) = (domains.next(), chains.next()) else { return };
        let peer = verify_chain(black_box(chain), domain, Role::Node, now, &Anybody);
        assert!(black_box(peer).is_ok());
    };
    measure((name, TIMES), ours, webpki_alone)
}
