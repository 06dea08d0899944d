//! Orders under a consent token, after what was ordered before.

use std::collections::HashMap;

use counterfoil_consent::{ActiveGrant, Permit, Usage};
use counterfoil_identity::{Refused, VerifyKey};
use counterfoil_spec::encode::from_canonical;
use counterfoil_spec::ids::{NetId, PublicKey, Serial};
use counterfoil_spec::limits::MAX_CONTROL_BYTES;
use counterfoil_spec::message::SignedOpen;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::{Millis, Seconds};
use serde::Deserialize;
use serde_json::Value;

use super::consent::{Parties, Presented};
use super::judge::{Hex, Judged, Verdict, read};
use super::keys::strong;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(flatten)]
    parties: Parties,
    router_key: PublicKey,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Story {
    token: Hex,
    checked_at: Seconds,
    used_today: u64,
    steps: Vec<Step>,
}

/// What happens at the node.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Step {
    /// An order comes.
    Open { order: Hex, now: Millis },
    /// It ends.
    End { serial: Serial },
    /// A last receipt was sent and is not countersigned.
    Owe { serial: Serial, now: Millis },
    /// It was countersigned.
    Settle { serial: Serial },
    /// An expert is to be run; the order has come to so many tokens then.
    Expert { serial: Serial, layer: u32, expert: u32, now: Millis, tokens: u64, bytes: u64 },
}

struct Node {
    permit: Permit,
    router: VerifyKey,
    net_id: NetId,
    usage: Usage,
    open: HashMap<Serial, ActiveGrant>,
}

/// Steps, of which the last one is judged.
pub(super) fn order(group: &Value, test: &Value) -> Judged {
    let (group, test): (Group, Story) = (read(group)?, read(test)?);
    let permit = group.parties.check(&Presented::fresh(test.token, test.checked_at));
    let (permit, router) = match (permit, strong(group.router_key)) {
        (Ok(permit), Ok(router)) => (permit, router),
        (Err(refused), _) | (_, Err(refused)) => return Ok(Verdict::Skipped(refused.to_string())),
    };
    let mut usage = Usage::new();
    usage.restore(test.checked_at.0 / DAY_S, test.used_today);
    let mut node = Node { permit, router, net_id: group.parties.net_id, usage, open: HashMap::new() };
    let last = test.steps.len().saturating_sub(1);
    for (i, step) in test.steps.iter().enumerate() {
        let done = node.take(step);
        match done {
            Err(refused) if i < last => {
                return Ok(Verdict::Skipped(format!("step {i} of {last} was refused: {refused}")));
            }
            done if i == last => return Ok(Verdict::of(done)),
            _ => {}
        }
    }
    Ok(Verdict::Skipped("no step".to_owned()))
}

impl Node {
    fn take(&mut self, step: &Step) -> Result<(), Refused> {
        match step {
            Step::Open { order, now } => {
                let order: SignedOpen = from_canonical(&order.0, MAX_CONTROL_BYTES)
                    .map_err(|e| no(Refusal::SessionShape, &e.to_string()))?;
                let grant = self.permit.check_open(&order, &self.router, &self.net_id, *now, &self.usage)?;
                self.usage.begin(&grant, *now);
                self.open.insert(grant.serial(), grant);
            }
            Step::End { serial } => {
                self.usage.end(serial);
                self.open.remove(serial);
            }
            Step::Owe { serial, now } => self.usage.receipt_sent(*serial, *now),
            Step::Settle { serial } => self.usage.receipt_settled(serial),
            Step::Expert { serial, layer, expert, now, tokens, bytes } => {
                let grant = self.open.get(serial).ok_or_else(|| no(Refusal::Grant, "no such open order"))?;
                if !grant.in_time(*now) {
                    return Err(no(Refusal::Deadline, "past the deadline"));
                }
                if !grant.allows(*layer, *expert) {
                    return Err(no(Refusal::Scope, "an expert outside the grant"));
                }
                let quota = &self.permit.claims().quota;
                self.usage.computed(serial, *tokens, quota)?;
                self.usage.moved(*bytes, quota, *now)?;
            }
        }
        Ok(())
    }
}

fn no(refusal: Refusal, detail: &str) -> Refused {
    Refused { refusal, detail: detail.to_owned() }
}

const DAY_S: u64 = 86_400;
