//! What each check costs beside the one that nobody can leave out: ratios of CPU time in one thread.
//!
//! ```text
//! cargo bench -p counterfoil-session --bench checks                    a table
//! cargo bench -p counterfoil-session --bench checks -- --json          {"name", "ours_ns", "floor_ns", "ratio", …} a line
//! ```
//!
//! Ours and its floor take turns, so that both see the same machine; the clock is the thread's CPU time, which stands
//! still while another process has the core. A ratio is that of the two medians; beside it stand the least and the
//! largest ratio of one turn.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench stops at the unexpected and prints")]

#[path = "checks/chain.rs"]
mod chain;
#[path = "checks/handshake.rs"]
mod handshake;
#[path = "checks/path.rs"]
mod path;
#[path = "checks/turns.rs"]
mod turns;

use std::hint::black_box;

use counterfoil_consent::{Expectation, FrameMac, ReplayWindow, Usage, check_token};
use counterfoil_identity::{Directory, SecretKey, VerifiedPeer, VerifyKey};
use counterfoil_session::sandbox::{Member, Sandbox, machine_clock};
use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::refusal::Refusal;
use turns::{Measured, measure};

fn main() {
    let json = std::env::args().any(|argument| argument == "--json");
    let (network, member) = network();
    let all = [
        consent_token(&network, &member),
        forward_check(&network, &member),
        frame_mac(&network, &member),
        weak_key(),
    ]
    .into_iter()
    .chain(chain::all(&network, &member))
    .chain(handshake::all(&network, &member));
    if !json {
        println!("{:<34} {:>12} {:>12} {:>9}   of one turn", "", "ours, ns", "floor, ns", "ratio");
    }
    for measured in all {
        println!("{}", if json { measured.to_json() } else { measured.to_line() });
    }
}

fn network() -> (Sandbox, Member) {
    let network = Sandbox::new(machine_clock()).unwrap();
    let member = network.member().unwrap();
    (network, member)
}

/// The router's whole check of a consent token, beside `verify_strict` of as many bytes.
fn consent_token(network: &Sandbox, member: &Member) -> Measured {
    let (token, _) = network.consent(member, &network.proposal(MODEL, "bench")).unwrap();
    let (key, now) = (member.key.public(), (network.now)().seconds());
    let expect = Expectation {
        net_id: &network.domain.net_id(),
        peer: &key.node_id(),
        peer_key: &key,
        audience: &network.router_key.public().router_id(),
        now,
        deny_list_until: None,
        min_epoch: 1,
        withdrawn: &|_| false,
        model_known: &|range| range.manifest == MODEL,
    };
    let (message, signature) = (vec![7; token.len()], member.key.sign(&vec![7; token.len()]));
    measure(
        ("consent token / verify_strict", 500),
        || assert!(black_box(check_token(black_box(&token), &expect)).is_ok()),
        || key.verify(black_box(&message), &signature).unwrap(),
    )
}

/// What a node decides of one forward pass under a grant: in time, a new counter, and both of its experts allowed.
fn forward_check(network: &Sandbox, member: &Member) -> Measured {
    let (_, permit) = network.consent(member, &network.proposal(MODEL, "bench")).unwrap();
    let (order, key) = (network.order(&permit, 1), network.router_key.public());
    let now = (network.now)();
    let grant = permit.check_open(&order, &key, &network.domain.net_id(), now, &Usage::new()).unwrap();
    let (mut window, mut counter) = (ReplayWindow::new(), 0_u64);
    let check = || {
        counter += 1;
        let allowed = black_box(&grant).in_time(black_box(now))
            && window.accept(black_box(counter))
            && [3, 9].into_iter().all(|expert| grant.allows(black_box(7), black_box(expert)));
        assert!(allowed);
    };
    let (key, message, signature) = signed(HEADER);
    measure(("forward check / verify_strict", 200), repeated(1000, check), || {
        key.verify(black_box(&message), &signature).unwrap();
    })
    .each(1000)
}

/// The MAC of one frame's header, beside `verify_strict` of as many bytes.
fn frame_mac(network: &Sandbox, member: &Member) -> Measured {
    let (_, permit) = network.consent(member, &network.proposal(MODEL, "bench")).unwrap();
    let mac = FrameMac::new(&[7; 32], &permit.token_hash());
    let (key, header, signature) = signed(HEADER);
    let right = mac.mac(&header);
    let check = || assert!(mac.verify(black_box(&header), black_box(&right)));
    measure(("MAC of a frame / verify_strict", 200), repeated(100, check), || {
        key.verify(black_box(&header), &signature).unwrap();
    })
    .each(100)
}

/// Whether a key that is met for the first time is weak, which a certificate asks of each key in it.
fn weak_key() -> Measured {
    let (key, message, signature) = signed(HEADER);
    let wire = key.wire();
    measure(
        ("weak-key check / verify_strict", 500),
        || assert!(VerifyKey::from_wire(black_box(wire)).is_ok()),
        || key.verify(black_box(&message), &signature).unwrap(),
    )
}

fn signed(length: usize) -> (VerifyKey, Vec<u8>, counterfoil_spec::ids::Signature) {
    let (key, message) = (SecretKey::generate(), vec![7; length]);
    let signature = key.sign(&message);
    (key.public(), message, signature)
}

fn repeated(times: usize, mut act: impl FnMut()) -> impl FnMut() {
    move || (0..times).for_each(|_| act())
}

/// A directory that knows everybody, so that none is measured.
struct Anybody;

impl Directory for Anybody {
    fn check(&self, _: &VerifiedPeer) -> Result<(), Refusal> {
        Ok(())
    }
}

const MODEL: ManifestId = ManifestId::from_bytes([1; 32]);
/// The bytes of a header under its MAC.
const HEADER: usize = 24;
