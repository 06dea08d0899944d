//! Deny lists, as a node takes them one after the other.

use counterfoil_identity::{Denials, Refused, VerifyKey};
use counterfoil_spec::deny::SignedDenyList;
use counterfoil_spec::encode::from_canonical;
use counterfoil_spec::ids::{NetId, PublicKey};
use counterfoil_spec::limits::MAX_CONTROL_BYTES;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use serde::Deserialize;
use serde_json::Value;

use super::judge::{Hex, Judged, Verdict, read};
use super::keys::strong;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    net_id: NetId,
    router_key: PublicKey,
}

#[derive(Deserialize)]
struct Told {
    lists: Vec<Hex>,
    now: Seconds,
}

/// Lists of which the last one is judged.
pub(super) fn lists(group: &Value, test: &Value) -> Judged {
    let (group, test): (Group, Told) = (read(group)?, read(test)?);
    let key = match strong(group.router_key) {
        Ok(key) => key,
        Err(refused) => return Ok(Verdict::Skipped(refused.to_string())),
    };
    let Some((last, before)) = test.lists.split_last() else {
        return Ok(Verdict::Skipped("no list".to_owned()));
    };
    let mut known = Denials::default();
    for list in before {
        if let Err(refused) = take(&mut known, list, (&key, &group.net_id), test.now) {
            return Ok(Verdict::Skipped(format!("a list before the last was refused: {refused}")));
        }
    }
    Ok(Verdict::of(take(&mut known, last, (&key, &group.net_id), test.now)))
}

fn take(known: &mut Denials, list: &Hex, keys: (&VerifyKey, &NetId), now: Seconds) -> Result<(), Refused> {
    let signed: SignedDenyList = from_canonical(&list.0, MAX_CONTROL_BYTES)
        .map_err(|e| Refused { refusal: Refusal::SessionShape, detail: e.to_string() })?;
    known.take(signed, keys, now).map(drop)
}
