//! A node over real QUIC: what it consents to, what it computes, what it refuses, and what it signs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests stop at what they did not expect"
)]

mod consents;
mod denials;
mod dispatches;
mod enrolment;
mod fetching;
mod fixture;
mod heads;
mod orders;
mod placing;
mod receipts;
mod renewing;
mod taking_back;

use counterfoil_consent::check_node_half;
use counterfoil_session::frame::{Outcome, Served};
use counterfoil_spec::message::NodeReceipt;
use counterfoil_spec::receipt::ReceiptBody;
use counterfoil_spec::refusal::Refusal;
use fixture::Scene;

fn body(scene: &Scene, receipt: &NodeReceipt) -> ReceiptBody {
    let (key, net) = (scene.member.key.public(), scene.net.domain.net_id());
    check_node_half(&receipt.body, &receipt.node_sig, &key, &net).unwrap().into_body()
}

fn refused(slot: u32, refusal: Refusal) -> Vec<Served> {
    vec![Served { slot, outcome: Outcome::Refused(refusal) }]
}
