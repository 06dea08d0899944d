//! How long each node was connected with a consent in force, hour by hour: a pure meter.

use std::collections::BTreeMap;

use counterfoil_spec::ids::NodeId;
use counterfoil_spec::limits::MAX_UPTIME_NODES;
use counterfoil_spec::payload::{NodeUptime, Uptime};
use counterfoil_spec::time::{Millis, Seconds};

const HOUR_MS: u64 = 3_600_000;

/// Milliseconds of uptime by hour and node, and who is up now.
#[derive(Debug, Default)]
pub(crate) struct UptimeMeter {
    up: BTreeMap<NodeId, Millis>,
    counted: BTreeMap<(u64, NodeId), u64>,
}

impl UptimeMeter {
    /// A node is up from here on.
    pub(crate) fn up(&mut self, node: NodeId, now: Millis) {
        self.count(node, now);
        self.up.insert(node, now);
    }

    /// A node is no longer up.
    pub(crate) fn down(&mut self, node: NodeId, now: Millis) {
        self.count(node, now);
        self.up.remove(&node);
    }

    fn count(&mut self, node: NodeId, now: Millis) {
        let Some(since) = self.up.get_mut(&node) else { return };
        let mut from = since.0;
        // A clock that went backwards counts nothing.
        while from < now.0 {
            let hour = from / HOUR_MS;
            let end = ((hour + 1) * HOUR_MS).min(now.0);
            *self.counted.entry((hour, node)).or_default() += end - from;
            from = end;
        }
        since.0 = since.0.max(now.0);
    }

    /// Takes the whole seconds counted so far, as entries; what is left of a second stays for the next time.
    pub(crate) fn take(&mut self, now: Millis) -> Vec<Uptime> {
        for node in self.up.keys().copied().collect::<Vec<_>>() {
            self.count(node, now);
        }
        let current = now.0 / HOUR_MS;
        let mut hours: BTreeMap<u64, Vec<NodeUptime>> = BTreeMap::new();
        for ((hour, node), ms) in &mut self.counted {
            let seconds = u32::try_from(*ms / 1000).unwrap_or(u32::MAX);
            *ms %= 1000;
            if seconds > 0 && *hour <= current {
                hours.entry(*hour).or_default().push(NodeUptime { node: *node, seconds });
            }
        }
        self.counted.retain(|(hour, _), ms| *hour >= current && *ms > 0);
        hours
            .into_iter()
            .flat_map(|(hour, nodes)| {
                let hour = Seconds(hour * HOUR_MS / 1000);
                nodes.chunks(MAX_UPTIME_NODES).map(|c| Uptime { hour, nodes: c.to_vec() }).collect::<Vec<_>>()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use counterfoil_spec::encode::to_canonical;
    use counterfoil_spec::limits::MAX_LEAF_BYTES;

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    #[test]
    fn an_interval_across_an_hour_is_split() {
        let mut meter = UptimeMeter::default();
        meter.up(node(1), Millis(HOUR_MS - 2_500));
        meter.down(node(1), Millis(HOUR_MS + 1_000));
        let taken = meter.take(Millis(HOUR_MS + 1_000));
        let of = |hour, seconds| Uptime {
            hour: Seconds(hour),
            nodes: vec![NodeUptime { node: node(1), seconds }],
        };
        assert_eq!(taken, [of(0, 2), of(3600, 1)]);
    }

    #[test]
    fn parts_of_a_second_are_kept_for_the_next_time() {
        let mut meter = UptimeMeter::default();
        meter.up(node(1), Millis(0));
        assert_eq!(meter.take(Millis(1_700))[0].nodes[0].seconds, 1);
        assert_eq!(meter.take(Millis(2_300))[0].nodes[0].seconds, 1);
        assert_eq!(meter.take(Millis(2_400)), []);
    }

    #[test]
    fn hour_of_many_nodes_is_several_entries_that_fit() {
        let mut meter = UptimeMeter::default();
        for n in 0..3_200_u16 {
            let mut id = [0xff; 32];
            id[..2].copy_from_slice(&n.to_be_bytes());
            meter.up(NodeId::from_bytes(id), Millis(0));
        }
        let taken = meter.take(Millis(HOUR_MS - 1));
        assert_eq!(taken.iter().map(|uptime| uptime.nodes.len()).collect::<Vec<_>>(), [1500, 1500, 200]);
        // A body's other members and two signatures take less than a kilobyte.
        let longest = to_canonical(&taken[0]).len();
        assert!(longest + 1024 <= MAX_LEAF_BYTES, "{longest}");
    }

    #[test]
    fn a_clock_that_goes_back_counts_nothing() {
        let mut meter = UptimeMeter::default();
        meter.up(node(1), Millis(10_000));
        meter.down(node(1), Millis(4_000));
        assert_eq!(meter.take(Millis(4_000)), []);
    }

    #[test]
    fn connecting_twice_counts_once() {
        let mut meter = UptimeMeter::default();
        meter.up(node(1), Millis(0));
        meter.up(node(1), Millis(5_000));
        meter.down(node(1), Millis(9_000));
        assert_eq!(meter.take(Millis(9_000))[0].nodes[0].seconds, 9);
    }
}
