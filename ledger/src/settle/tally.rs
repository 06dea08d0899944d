//! What each node did in the quarter: credits for paid tokens, weighted by tier, and uptime by the hour.

use std::collections::{BTreeMap, HashMap};

use counterfoil_spec::ids::NodeId;
use counterfoil_spec::payload::CapacityAttested;
use counterfoil_spec::time::{Millis, Seconds};

use crate::calendar::DAY_S;
use crate::fold::HOUR_S;

/// One node's work in the quarter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) micro_tokens: u64,
    pub(crate) weighted: u128,
}

/// Seconds of uptime in each hour of each day, at most 3,600 in an hour.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hours {
    by_day: BTreeMap<u64, [u16; 24]>,
}

impl Hours {
    /// Adds to an hour what fits in it, with what `counted` earlier seconds have taken of it already.
    pub(crate) fn add(&mut self, hour: Seconds, seconds: u32, counted: u16) {
        let slot = usize::try_from(hour.0 % DAY_S / HOUR_S)
            .ok()
            .and_then(|h| self.by_day.entry(hour.0 / DAY_S).or_default().get_mut(h));
        if let Some(slot) = slot {
            let room = u32::from(FULL_HOUR).saturating_sub(u32::from(*slot) + u32::from(counted));
            // At most 3,600, so it fits.
            *slot += u16::try_from(seconds.min(room)).unwrap_or(0);
        }
    }

    /// Takes the larger figure in every hour: the least that the union of both can be.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (day, hours) in &other.by_day {
            let own = self.by_day.entry(*day).or_default();
            for (own, other) in own.iter_mut().zip(hours) {
                *own = (*own).max(*other);
            }
        }
    }

    pub(crate) fn seconds(&self) -> u64 {
        self.by_day.values().flatten().map(|s| u64::from(*s)).sum()
    }
}

/// The last hour that a node was up in before the quarter's first entry, and for how long.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastHours {
    by_node: HashMap<NodeId, (Seconds, u16)>,
}

impl LastHours {
    pub(crate) fn add(&mut self, node: NodeId, hour: Seconds, seconds: u32) {
        let before = self.counted(&node, hour);
        let sum = u32::from(before).saturating_add(seconds).min(u32::from(FULL_HOUR));
        self.by_node.insert(node, (hour, u16::try_from(sum).unwrap_or(FULL_HOUR)));
    }

    pub(crate) fn counted(&self, node: &NodeId, hour: Seconds) -> u16 {
        self.by_node.get(node).filter(|(h, _)| *h == hour).map_or(0, |(_, seconds)| *seconds)
    }
}

/// Measured capacities of nodes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tiers {
    by_node: HashMap<NodeId, Vec<Attested>>,
}

#[derive(Debug, Clone, Copy)]
struct Attested {
    since: Millis,
    expires: Seconds,
    tier: u8,
}

impl Tiers {
    pub(crate) fn attest(&mut self, since: Millis, entry: &CapacityAttested) {
        let expires = entry.expires.min(since.seconds().plus(MAX_TIER_LIFE_S));
        let attested = Attested { since, expires, tier: entry.tier };
        self.by_node.entry(entry.node).or_default().push(attested);
    }

    /// The tier of the latest measurement made before an instant, where that is still valid then; else 1.
    pub(crate) fn at(&self, node: &NodeId, when: Millis) -> u8 {
        let measured = self.by_node.get(node).map(Vec::as_slice).unwrap_or_default();
        let latest = measured.iter().rev().find(|a| a.since <= when);
        latest.filter(|a| when.seconds() < a.expires).map_or(1, |a| a.tier)
    }
}

const FULL_HOUR: u16 = 3_600;
/// A measured capacity counts for seven days at most.
const MAX_TIER_LIFE_S: u64 = 7 * DAY_S;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_holds_3600_seconds() {
        let mut hours = Hours::default();
        hours.add(Seconds(7_200), 3_000, 0);
        hours.add(Seconds(7_200), 3_000, 0);
        hours.add(Seconds(10_800), 3_000, 1_000);
        assert_eq!(hours.seconds(), 3_600 + 2_600);
    }

    #[test]
    fn nodes_of_one_provider_share_an_hour() {
        let (mut one, mut two) = (Hours::default(), Hours::default());
        one.add(Seconds(0), 1_000, 0);
        two.add(Seconds(0), 600, 0);
        two.add(Seconds(86_400), 600, 0);
        one.merge(&two);
        assert_eq!(one.seconds(), 1_600);
    }

    #[test]
    fn tier_counts_from_its_measurement_to_its_expiry() {
        let node = NodeId::from_bytes([1; 32]);
        let mut tiers = Tiers::default();
        tiers.attest(Millis(5_000), &CapacityAttested { node, bytes: 24, tier: 4, expires: Seconds(10) });
        assert_eq!(tiers.at(&node, Millis(4_999)), 1);
        assert_eq!(tiers.at(&node, Millis(5_000)), 4);
        assert_eq!(tiers.at(&node, Millis(9_999)), 4);
        assert_eq!(tiers.at(&node, Millis(10_000)), 1);
    }

    #[test]
    fn a_measurement_counts_for_seven_days_at_most() {
        let node = NodeId::from_bytes([1; 32]);
        let mut tiers = Tiers::default();
        tiers.attest(Millis(0), &CapacityAttested { node, bytes: 24, tier: 4, expires: Seconds(u64::MAX) });
        assert_eq!(tiers.at(&node, Millis(604_799_999)), 4);
        assert_eq!(tiers.at(&node, Millis(604_800_000)), 1);
    }

    #[test]
    fn a_later_lower_measurement_replaces_a_higher_one() {
        let node = NodeId::from_bytes([1; 32]);
        let mut tiers = Tiers::default();
        let attested = |tier| CapacityAttested { node, bytes: 0, tier, expires: Seconds(10) };
        tiers.attest(Millis(1_000), &attested(4));
        tiers.attest(Millis(2_000), &attested(2));
        assert_eq!((tiers.at(&node, Millis(1_999)), tiers.at(&node, Millis(2_000))), (4, 2));
    }
}
