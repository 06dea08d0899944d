//! Bytes on a fresh lane.

use counterfoil_session::Rehearsal;
use counterfoil_spec::time::Seconds;
use serde::Deserialize;
use serde_json::Value;

use super::consent::{Parties, Presented};
use super::judge::{Hex, Judged, Verdict, exactly, read};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(flatten)]
    parties: Parties,
    token: Hex,
    checked_at: Seconds,
    exporter: Hex,
}

#[derive(Deserialize)]
struct Stream {
    to: To,
    stream: Hex,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum To {
    Router,
    Node,
}

/// Whole frames, of which none ends the lane.
pub(super) fn stream(group: &Value, test: &Value) -> Judged {
    let (group, test): (Group, Stream) = (read(group)?, read(test)?);
    let exporter = exactly(&group.exporter)?;
    let permit = match group.parties.check(&Presented::fresh(group.token, group.checked_at)) {
        Ok(permit) => permit,
        Err(refused) => return Ok(Verdict::Skipped(format!("the group's token: {refused}"))),
    };
    let lane = match test.to {
        To::Router => Rehearsal::router(exporter, &[permit]),
        To::Node => Rehearsal::node(exporter, &[permit]),
    };
    Ok(match lane.and_then(|mut lane| lane.arrive(&test.stream.0).map(|()| lane.is_within_frame())) {
        Ok(true) => Verdict::Skipped("the bytes end within a frame".to_owned()),
        judged => Verdict::of(judged),
    })
}
