//! What stands between a router's rows and a node's experts: frames, MACs, transcripts, and the signatures before and after.
//! `cargo bench -p counterfoil-session`. `counterfoil bench dispatch` puts a raw QUIC echo beside a whole lane.
#![allow(clippy::unwrap_used, reason = "a bench stops at the unexpected")]

use counterfoil_consent::Usage;
use counterfoil_identity::SecretKey;
use counterfoil_session::Transcript;
use counterfoil_session::bench::{Parts, answer, dispatch};
use counterfoil_session::frame::Encoding;
use counterfoil_session::sandbox::{Member, Sandbox, machine_clock};
use counterfoil_spec::ids::{Hash, ManifestId};
use divan::{Bencher, black_box};

/// Values in a row of Qwen1.5-MoE-A2.7B.
const HIDDEN: u32 = 2048;

fn main() {
    divan::main();
}

/// Encode, seal, take in, check and decode a dispatch and its combine.
#[divan::bench(args = [1, 32])]
fn round(bencher: Bencher<'_, '_>, rows: u16) {
    let mut parts = Parts::new().unwrap();
    let dispatch = dispatch(rows, HIDDEN, Encoding::Int8);
    let answer = answer(&dispatch);
    bencher.bench_local(|| {
        let combine = parts.round(&dispatch, &answer).unwrap();
        parts.restore(combine);
    });
}

/// One record for each row.
#[divan::bench(args = [1, 32])]
fn transcript(bencher: Bencher<'_, '_>, rows: u16) {
    let dispatch = dispatch(rows, HIDDEN, Encoding::Int8);
    let answer = answer(&dispatch);
    let mut transcript = Transcript::new(&Hash::from_bytes([7; 32]));
    bencher.bench_local(|| transcript.add(&dispatch, &answer, 0));
}

fn network() -> (Sandbox, Member) {
    let network = Sandbox::new(machine_clock()).unwrap();
    let member = network.member().unwrap();
    (network, member)
}

/// The floor under the next ones.
#[divan::bench]
fn bare_verify_strict(bencher: Bencher<'_, '_>) {
    let key = SecretKey::generate();
    let message = [7; 256];
    let (signature, public) = (key.sign(&message), key.public());
    bencher.bench(|| public.verify(black_box(&message), &signature).unwrap());
}

/// The router's whole check of a consent token.
#[divan::bench]
fn consent_token(bencher: Bencher<'_, '_>) {
    let (network, member) = network();
    let proposal = network.proposal(ManifestId::from_bytes([1; 32]), "bench");
    let (token, _) = network.consent(&member, &proposal).unwrap();
    bencher.bench(|| network.check(black_box(&token), &member).unwrap());
}

/// The node's whole check of an order.
#[divan::bench]
fn order(bencher: Bencher<'_, '_>) {
    let (network, member) = network();
    let proposal = network.proposal(ManifestId::from_bytes([1; 32]), "bench");
    let (_, permit) = network.consent(&member, &proposal).unwrap();
    let order = network.order(&permit, 1);
    let (key, net_id, now) = (network.router_key.public(), network.domain.net_id(), (network.now)());
    bencher.bench(|| permit.check_open(black_box(&order), &key, &net_id, now, &Usage::new()).unwrap());
}
