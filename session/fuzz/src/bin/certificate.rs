//! A leaf and its issuing CA, or a root, signed again with the keys of the vectors.
//!
//! ```text
//! input = role(1): 0 node, 1 router ‖ u16be length ‖ leaf ‖ issuing CA
//!       | 2 ‖ root
//! ```
#![no_main]

use counterfoil_identity::{Directory, Refused, TrustDomain, VerifiedPeer, verify_chain};
use counterfoil_session_fuzz::{Anybody, Network, Nobody, PRESENT, flipped, mark, network, signed_again};
use counterfoil_spec::entry::Role;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let net = network();
    match input {
        [2, root @ ..] => {
            hold_root(root);
            signed_again(root, &net.root).iter().for_each(|root| hold_root(root));
        }
        [role @ (0 | 1), high, low, rest @ ..] => {
            let role = if *role == 0 { Role::Node } else { Role::Router };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some((leaf, ca)) = rest.split_at_checked(length) else { return };
            hold(role, leaf, ca);
            let (again, ca_again) = (signed_again(leaf, &net.ca), signed_again(ca, &net.root));
            hold(role, again.as_deref().unwrap_or(leaf), ca_again.as_deref().unwrap_or(ca));
        }
        _ => {}
    }
});

fn hold(role: Role, leaf: &[u8], ca: &[u8]) {
    let net = network();
    let show = |chain: &[&[u8]]| show(net, chain, (role, PRESENT), &Anybody);
    let Ok(peer) = show(&[leaf, ca]) else { return };
    assert_eq!((peer.role(), peer.net_id()), (role, net.net_id()));
    assert_eq!(peer.id(), peer.key().node_id());
    assert!(PRESENT <= peer.not_after());
    assert_eq!(show(&[leaf, ca, net.domain.root_der()]).as_ref(), Ok(&peer));
    assert!(show(&[leaf]).is_err() && show(&[ca, leaf]).is_err() && show(&[leaf, ca, ca]).is_err());

    let bit = mark(leaf) % (leaf.len() * 8);
    assert!(show(&[&flipped(leaf, bit), ca]).is_err(), "bit {bit} of the leaf");
    let bit = mark(ca) % (ca.len() * 8);
    assert!(show(&[leaf, &flipped(ca, bit)]).is_err(), "bit {bit} of the issuing CA");
    assert!(show(&[&[leaf, b"\0"].concat(), ca]).is_err() && show(&[leaf, &[ca, b"\0"].concat()]).is_err());

    // A stolen issuing CA alone impersonates nobody: it lacks the identity key.
    let head = [&[0x04, 105, 1], peer.key().wire().as_bytes().as_slice()].concat();
    let at = leaf.windows(head.len()).position(|window| window == head).expect("a node binding");
    let bit = (at + 2) * 8 + mark(leaf) % (105 * 8);
    let forged = signed_again(&flipped(leaf, bit), &net.ca).expect("as long as before");
    assert!(show(&[&forged, ca]).is_err(), "bit {bit} of the leaf, signed by the issuing CA");

    let refusal = |judged: Result<VerifiedPeer, Refused>| judged.map_err(|refused| refused.refusal).err();
    let other = if role == Role::Node { Role::Router } else { Role::Node };
    let late = peer.not_after().plus(1);
    assert_eq!(refusal(self::show(net, &[leaf, ca], (other, PRESENT), &Anybody)), Some(Refusal::CertRole));
    assert_eq!(refusal(self::show(net, &[leaf, ca], (role, late), &Anybody)), Some(Refusal::CertExpired));
    assert_eq!(refusal(self::show(net, &[leaf, ca], (role, PRESENT), &Nobody)), Some(Refusal::CertDenied));
    let chain = [leaf.to_vec().into(), ca.to_vec().into()];
    let elsewhere = verify_chain(&chain, &net.elsewhere, role, PRESENT, &Anybody);
    assert_eq!(refusal(elsewhere), Some(Refusal::CertUntrusted));
}

fn show(
    net: &Network,
    chain: &[&[u8]],
    (role, now): (Role, Seconds),
    directory: &dyn Directory,
) -> Result<VerifiedPeer, Refused> {
    let chain: Vec<_> = chain.iter().map(|der| der.to_vec().into()).collect();
    verify_chain(&chain, &net.domain, role, now, directory)
}

fn hold_root(root: &[u8]) {
    let Ok(domain) = TrustDomain::new(root) else { return };
    assert_eq!(domain.root_der(), root);
    assert_eq!(domain.net_id(), domain.root_key().net_id());
    let bit = mark(root) % (root.len() * 8);
    assert!(TrustDomain::new(&flipped(root, bit)).is_err(), "bit {bit}");
    assert!(TrustDomain::new(&[root, b"\0"].concat()).is_err());
    assert!(TrustDomain::new(&root[..root.len() - 1]).is_err());
}
