//! Work receipts with both halves.

use counterfoil_consent::verify_receipt;
use counterfoil_spec::ids::{NetId, PublicKey, Signature};
use counterfoil_spec::receipt::Receipt;
use counterfoil_spec::time::Millis;
use serde::Deserialize;
use serde_json::Value;

use super::judge::{Hex, Judged, Verdict, read};
use super::keys::strong;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    net_id: NetId,
    node_key: PublicKey,
    router_key: PublicKey,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Halves {
    body: Hex,
    node_sig: Signature,
    router_sig: Signature,
    include_by: Millis,
}

/// A verifier's check.
pub(super) fn receipt(group: &Value, test: &Value) -> Judged {
    let (group, test): (Group, Halves) = (read(group)?, read(test)?);
    let Halves { body, node_sig, router_sig, include_by } = test;
    let receipt = Receipt { body: body.0, node_sig, router_sig, include_by };
    Ok(match (strong(group.node_key), strong(group.router_key)) {
        (Ok(node), Ok(router)) => Verdict::uncoded(verify_receipt(&receipt, &node, &router, &group.net_id)),
        (Err(refused), _) | (_, Err(refused)) => Verdict::Skipped(refused.to_string()),
    })
}
