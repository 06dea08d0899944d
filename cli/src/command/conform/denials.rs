//! Deny lists of a router and of a root, as a node takes them one after the other.

use counterfoil_identity::{Denials, Refused, RootDenials, VerifyKey};
use counterfoil_spec::deny::SignedDenyList;
use counterfoil_spec::deny::root::SignedRootDenyList;
use counterfoil_spec::encode::{DecodeError, from_canonical};
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
#[serde(rename_all = "camelCase")]
struct Root {
    root_key: PublicKey,
}

#[derive(Deserialize)]
struct Told {
    lists: Vec<Hex>,
    now: Seconds,
}

/// Lists of which the last one is judged.
pub(super) fn lists(group: &Value, test: &Value) -> Judged {
    let (group, test): (Group, Told) = (read(group)?, read(test)?);
    let mut known = Denials::default();
    Ok(in_a_row(group.router_key, &test, |list, key| take(&mut known, list, (key, &group.net_id), test.now)))
}

/// The same, of lists of the root.
pub(super) fn root_lists(group: &Value, test: &Value) -> Judged {
    let (group, test): (Root, Told) = (read(group)?, read(test)?);
    let mut known = RootDenials::default();
    Ok(in_a_row(group.root_key, &test, |list, key| {
        let signed: SignedRootDenyList = from_canonical(&list.0, MAX_CONTROL_BYTES).map_err(shapeless)?;
        known.take(signed, key, test.now).map(drop)
    }))
}

fn in_a_row(
    key: PublicKey,
    test: &Told,
    mut take: impl FnMut(&Hex, &VerifyKey) -> Result<(), Refused>,
) -> Verdict {
    let key = match strong(key) {
        Ok(key) => key,
        Err(refused) => return Verdict::Skipped(refused.to_string()),
    };
    let Some((last, before)) = test.lists.split_last() else {
        return Verdict::Skipped("no list".to_owned());
    };
    for list in before {
        if let Err(refused) = take(list, &key) {
            return Verdict::Skipped(format!("a list before the last was refused: {refused}"));
        }
    }
    Verdict::of(take(last, &key))
}

fn take(known: &mut Denials, list: &Hex, keys: (&VerifyKey, &NetId), now: Seconds) -> Result<(), Refused> {
    let signed: SignedDenyList = from_canonical(&list.0, MAX_CONTROL_BYTES).map_err(shapeless)?;
    known.take(signed, keys, now).map(drop)
}

fn shapeless(fault: DecodeError) -> Refused {
    Refused { refusal: Refusal::SessionShape, detail: fault.to_string() }
}
