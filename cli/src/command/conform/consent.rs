//! Consent tokens.

use counterfoil_consent::{Expectation, Permit, check_token};
use counterfoil_identity::Refused;
use counterfoil_spec::ids::{ManifestId, NetId, PublicKey, RouterId, Serial};
use counterfoil_spec::time::Seconds;
use serde::Deserialize;
use serde_json::Value;

use super::judge::{Hex, Judged, Verdict, read};
use super::keys::strong;

/// Who checks a token, and of whom.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Parties {
    /// The network.
    pub(super) net_id: NetId,
    peer_key: PublicKey,
    audience: RouterId,
    models: Vec<ManifestId>,
}

/// A token and what was decided about tokens before.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Presented {
    token: Hex,
    now: Seconds,
    deny_list_until: Option<Seconds>,
    min_epoch: u64,
    withdrawn: Vec<Serial>,
}

impl Presented {
    /// A token about which nothing was decided.
    pub(super) const fn fresh(token: Hex, now: Seconds) -> Self {
        Self { token, now, deny_list_until: None, min_epoch: 0, withdrawn: Vec::new() }
    }
}

impl Parties {
    /// The router's check.
    pub(super) fn check(&self, presented: &Presented) -> Result<Permit, Refused> {
        let key = strong(self.peer_key)?;
        check_token(
            &presented.token.0,
            &Expectation {
                net_id: &self.net_id,
                peer: &key.node_id(),
                peer_key: &key,
                audience: &self.audience,
                now: presented.now,
                deny_list_until: presented.deny_list_until,
                min_epoch: presented.min_epoch,
                withdrawn: &|cti| presented.withdrawn.contains(cti),
                model_known: &|range| self.models.contains(&range.manifest),
            },
        )
    }
}

/// What a node signed.
pub(super) fn token(group: &Value, test: &Value) -> Judged {
    let (group, test): (Parties, Presented) = (read(group)?, read(test)?);
    Ok(Verdict::of(group.check(&test)))
}
