//! A router's answers to nodes that want their next certificate.

use counterfoil_identity::enrol::{ClientMessage, RenewAt, Standing, wanted};
use counterfoil_spec::ids::{NetId, PublicKey, RouterId};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;
use serde::Deserialize;
use serde_json::Value;

use super::enrolment::{authority, is_issued, message, no};
use super::judge::{Hex, Judged, Verdict, exactly, read};
use super::keys::strong;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    net_id: NetId,
    router_id: RouterId,
    root: Hex,
    ca: Hex,
    ca_seed: Hex,
    exporter: Hex,
}

#[derive(Deserialize)]
struct Asked {
    message: Hex,
    now: Seconds,
    standing: Known,
}

/// What the router knows of the node.
#[derive(Deserialize)]
struct Known {
    key: Option<PublicKey>,
    used: u64,
    /// When the certificate of that generation was used first.
    since: Option<Seconds>,
    ended: Seconds,
    denied: bool,
    issued: u32,
    latest: Seconds,
}

/// A certificate that is asked for; one that is given is what a peer accepts.
pub(super) fn renewal(group: &Value, test: &Value) -> Judged {
    let (group, test): (Group, Asked) = (read(group)?, read(test)?);
    let exporter = exactly(&group.exporter)?;
    let ca = match authority(&group.root, &group.ca, &group.ca_seed) {
        Ok(ca) => ca,
        Err(detail) => return Ok(Verdict::Skipped(detail)),
    };
    let Known { key, used, since, ended, denied, issued, latest } = test.standing;
    let key = match key.map(strong).transpose() {
        Ok(key) => key,
        Err(weak) => return Ok(Verdict::Skipped(weak.to_string())),
    };
    let standing = Standing { used, since, ended, denied, issued, latest };
    let at = RenewAt { net_id: &group.net_id, router_id: &group.router_id, exporter: &exporter };
    Ok(Verdict::of(message(&test.message).and_then(|said| match said {
        ClientMessage::Renew(_, asked) => {
            let wanted = wanted(&asked, &at, key.as_ref())?;
            let renewed = wanted.allow(&standing, test.now)?.issue(&ca)?;
            is_issued((renewed.leaf, renewed.ca), &ca, test.now)
        }
        _ => Err(no(Refusal::SessionOrder, "no renewal")),
    })))
}
