//! Both halves of a work receipt.
//!
//! ```text
//! node_sig   = Ed25519("counterfoil/receipt/v1\0" ‖ net_id ‖ body)
//! router_sig = Ed25519("counterfoil/receipt-ack/v1\0" ‖ net_id ‖ BLAKE3(body ‖ node_sig) ‖ u64be(include_by))
//! ```

use std::ops::Deref;

use counterfoil_identity::{SignFault, Signer, VerifyKey, digest};
use counterfoil_spec::encode::{DecodeError, from_canonical, signing_input, to_canonical};
use counterfoil_spec::ids::{NetId, Signature};
use counterfoil_spec::limits::{MAX_CONTROL_BYTES, RECEIPT_INCLUDE_MS};
use counterfoil_spec::message::ReceiptAck;
use counterfoil_spec::receipt::{Receipt, ReceiptBody};
use counterfoil_spec::time::Millis;

/// Why a receipt is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptFault {
    /// The body cannot be read.
    #[error("receipt body: {0}")]
    Body(#[from] DecodeError),
    /// The node's half does not verify.
    #[error("the node's half does not verify under its identity key")]
    NodeHalf,
    /// The router's half does not verify.
    #[error("the router's half does not verify under its identity key")]
    RouterHalf,
    /// This side's own key did not sign.
    #[error(transparent)]
    Sign(#[from] SignFault),
    /// The body names another node or router than the keys belong to.
    #[error("the receipt names another node or router")]
    Party,
    /// More forwards are claimed than were made, or the end lies before the beginning.
    #[error("the receipt contradicts itself: {0}")]
    Contradiction(&'static str),
    /// The router promises inclusion later than it may.
    #[error("inclusion is promised by {include_by}, later than {latest}")]
    Promise {
        /// Milliseconds since the epoch.
        include_by: u64,
        /// Milliseconds since the epoch.
        latest: u64,
    },
    /// An acknowledgement of another receipt.
    #[error("the acknowledgement is for another receipt")]
    Serial,
}

/// A receipt body whose signatures were checked; only a check makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedReceipt(ReceiptBody);

impl CheckedReceipt {
    /// What it says.
    #[must_use]
    pub fn into_body(self) -> ReceiptBody {
        self.0
    }
}

impl Deref for CheckedReceipt {
    type Target = ReceiptBody;

    fn deref(&self) -> &ReceiptBody {
        &self.0
    }
}

/// The node's half: the body's canonical bytes and the signature over them.
///
/// # Errors
/// [`SignFault`] where the key does not sign.
pub fn sign_receipt(
    body: &ReceiptBody,
    key: &dyn Signer,
    net_id: &NetId,
) -> Result<(Vec<u8>, Signature), SignFault> {
    let bytes = to_canonical(body);
    let sig = key.sign(&signing_input("receipt", net_id, &[&bytes]))?;
    Ok((bytes, sig))
}

/// Checks the node's half.
///
/// # Errors
/// [`ReceiptFault`] with the first thing that is wrong.
pub fn check_node_half(
    body: &[u8],
    node_sig: &Signature,
    node_key: &VerifyKey,
    net_id: &NetId,
) -> Result<CheckedReceipt, ReceiptFault> {
    let read: ReceiptBody = from_canonical(body, MAX_CONTROL_BYTES)?;
    if read.node != node_key.node_id() {
        return Err(ReceiptFault::Party);
    }
    node_key
        .verify(&signing_input("receipt", net_id, &[body]), node_sig)
        .map_err(|_| ReceiptFault::NodeHalf)?;
    if read.forwards > read.made {
        return Err(ReceiptFault::Contradiction("more forwards entered a sum than were made"));
    }
    if read.closed < read.opened {
        return Err(ReceiptFault::Contradiction("it closed before it opened"));
    }
    Ok(CheckedReceipt(read))
}

/// The router's half, after checking the node's; promises inclusion within `RECEIPT_INCLUDE_MS` of its close.
///
/// # Errors
/// [`ReceiptFault`] with the first thing that is wrong with the node's half, or why this key does not sign.
pub fn countersign(
    body: &[u8],
    node_sig: &Signature,
    node_key: &VerifyKey,
    router: &dyn Signer,
    net_id: &NetId,
) -> Result<Receipt, ReceiptFault> {
    let checked = check_node_half(body, node_sig, node_key, net_id)?;
    if checked.router != router.public().router_id() {
        return Err(ReceiptFault::Party);
    }
    let include_by = checked.closed.plus(RECEIPT_INCLUDE_MS);
    let router_sig = router.sign(&ack_input(body, node_sig, include_by, net_id))?;
    Ok(Receipt { body: body.to_vec(), node_sig: *node_sig, router_sig, include_by })
}

/// Puts the router's half to the node's own.
///
/// # Errors
/// [`ReceiptFault`] where the acknowledgement is not a countersignature of this receipt by this router.
pub fn accept_ack(
    body: &[u8],
    node_sig: &Signature,
    ack: &ReceiptAck,
    (node_key, router_key): (&VerifyKey, &VerifyKey),
    net_id: &NetId,
) -> Result<Receipt, ReceiptFault> {
    let receipt = Receipt {
        body: body.to_vec(),
        node_sig: *node_sig,
        router_sig: ack.router_sig,
        include_by: ack.include_by,
    };
    let checked = verify_receipt(&receipt, node_key, router_key, net_id)?;
    if checked.serial == ack.serial { Ok(receipt) } else { Err(ReceiptFault::Serial) }
}

/// Checks both halves.
///
/// # Errors
/// [`ReceiptFault`] with the first thing that is wrong.
pub fn verify_receipt(
    receipt: &Receipt,
    node_key: &VerifyKey,
    router_key: &VerifyKey,
    net_id: &NetId,
) -> Result<CheckedReceipt, ReceiptFault> {
    let checked = check_node_half(&receipt.body, &receipt.node_sig, node_key, net_id)?;
    if checked.router != router_key.router_id() {
        return Err(ReceiptFault::Party);
    }
    let latest = checked.closed.plus(RECEIPT_INCLUDE_MS);
    if receipt.include_by > latest {
        return Err(ReceiptFault::Promise { include_by: receipt.include_by.0, latest: latest.0 });
    }
    router_key
        .verify(&ack_input(&receipt.body, &receipt.node_sig, receipt.include_by, net_id), &receipt.router_sig)
        .map_err(|_| ReceiptFault::RouterHalf)?;
    Ok(checked)
}

fn ack_input(body: &[u8], node_sig: &Signature, include_by: Millis, net_id: &NetId) -> Vec<u8> {
    let hash = digest::plain(&[body, node_sig.as_bytes()]);
    signing_input("receipt-ack", net_id, &[hash.as_bytes(), &include_by.0.to_be_bytes()])
}
