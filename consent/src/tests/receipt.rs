//! Both halves of a receipt.

use counterfoil_spec::encode::{DecodeError, to_canonical};
use counterfoil_spec::ids::Signature;
use counterfoil_spec::message::ReceiptAck;
use counterfoil_spec::receipt::Receipt;

use super::*;
use crate::{ReceiptFault, accept_ack, check_node_half, countersign, sign_receipt, verify_receipt};

fn receipt_of(body: &ReceiptBody) -> Result<Receipt, ReceiptFault> {
    let (bytes, sig) = sign_receipt(body, &node(), &net()).unwrap();
    countersign(&bytes, &sig, &node().public(), &router(), &net())
}

fn verdict(receipt: &Receipt) -> Result<ReceiptBody, ReceiptFault> {
    verify_receipt(receipt, &node().public(), &router().public(), &net()).map(|c| c.into_body())
}

#[test]
fn countersigned_receipt_verifies_and_promises_inclusion() {
    let receipt = receipt_of(&receipt_body()).unwrap();
    assert_eq!(verdict(&receipt), Ok(receipt_body()));
    assert_eq!(receipt.include_by, receipt_body().closed.plus(60_000));
}

#[test]
fn each_half_is_needed() {
    let good = receipt_of(&receipt_body()).unwrap();
    let forged: Signature = SecretKey::from_seed([99; 32]).sign(b"");
    let with = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = good.clone();
        change(&mut receipt);
        verdict(&receipt)
    };
    assert_eq!(with(&|r| r.node_sig = forged), Err(ReceiptFault::NodeHalf));
    assert_eq!(with(&|r| r.router_sig = forged), Err(ReceiptFault::RouterHalf));
    assert_eq!(with(&|r| r.router_sig = r.node_sig), Err(ReceiptFault::RouterHalf));
    assert_eq!(with(&|r| r.include_by = Millis(r.include_by.0 - 1)), Err(ReceiptFault::RouterHalf));
    let latest = good.include_by.0;
    assert_eq!(
        with(&|r| r.include_by = Millis(latest + 1)),
        Err(ReceiptFault::Promise { include_by: latest + 1, latest })
    );
    let mut more = receipt_body();
    more.forwards += 1;
    assert_eq!(with(&|r| r.body = to_canonical(&more)), Err(ReceiptFault::NodeHalf));
    assert_eq!(with(&|r| r.body.push(0)), Err(ReceiptFault::Body(DecodeError::NonCanonical)));
}

#[test]
fn receipt_names_the_keys_that_sign_it() {
    let mut body = receipt_body();
    body.node = NodeId::from_bytes([0; 32]);
    assert_eq!(receipt_of(&body), Err(ReceiptFault::Party));
    let mut body = receipt_body();
    body.router = RouterId::from_bytes([0; 32]);
    assert_eq!(receipt_of(&body), Err(ReceiptFault::Party));
    let receipt = receipt_of(&receipt_body()).unwrap();
    let other = verify_receipt(&receipt, &node().public(), &SecretKey::from_seed([9; 32]).public(), &net());
    assert_eq!(other, Err(ReceiptFault::Party));
    let elsewhere = SecretKey::from_seed([2; 32]).public().net_id();
    let other = verify_receipt(&receipt, &node().public(), &router().public(), &elsewhere);
    assert_eq!(other, Err(ReceiptFault::NodeHalf));
}

#[test]
fn receipt_must_not_contradict_itself() {
    let with = |change: fn(&mut ReceiptBody)| {
        let mut body = receipt_body();
        change(&mut body);
        receipt_of(&body).map(|_| ())
    };
    assert_eq!(with(|b| b.made = b.forwards), Ok(()));
    assert_eq!(
        with(|b| b.made = b.forwards - 1),
        Err(ReceiptFault::Contradiction("more forwards entered a sum than were made"))
    );
    assert_eq!(with(|b| b.closed = b.opened), Ok(()));
    assert_eq!(
        with(|b| b.closed = Millis(b.opened.0 - 1)),
        Err(ReceiptFault::Contradiction("it closed before it opened"))
    );
}

#[test]
fn node_keeps_only_the_routers_half_of_its_own_receipt() {
    let (bytes, sig) = sign_receipt(&receipt_body(), &node(), &net()).unwrap();
    let half = check_node_half(&bytes, &sig, &node().public(), &net()).unwrap();
    assert_eq!(*half, receipt_body());
    let receipt = receipt_of(&receipt_body()).unwrap();
    let ack =
        ReceiptAck { serial: serial(60), router_sig: receipt.router_sig, include_by: receipt.include_by };
    let keys = (&node().public(), &router().public());
    assert_eq!(accept_ack(&bytes, &sig, &ack, keys, &net()), Ok(receipt));
    let other = ReceiptAck { serial: serial(61), ..ack.clone() };
    assert_eq!(accept_ack(&bytes, &sig, &other, keys, &net()), Err(ReceiptFault::Serial));
    let mut later = receipt_body();
    later.forwards -= 1;
    let (bytes, sig) = sign_receipt(&later, &node(), &net()).unwrap();
    assert_eq!(accept_ack(&bytes, &sig, &ack, keys, &net()), Err(ReceiptFault::RouterHalf));
}
