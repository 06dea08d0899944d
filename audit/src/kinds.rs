//! Which role may author which kind of entry: the `authors` column of `spec/registry.json`.

use counterfoil_spec::entry::Role;

/// Kinds that a node writes: genesis, consent-granted, consent-revoked, work, uptime, peer-anchor, refusal, quota-lease.
const NODE_KINDS: [u16; 8] = [1, 11, 12, 21, 22, 24, 31, 34];

/// The only kind that a node alone writes.
const QUOTA_LEASE: u16 = 34;

/// `key-rotation`.
pub(crate) const KEY_ROTATION: u16 = 3;
/// `log-key-retired`.
pub(crate) const LOG_KEY_RETIRED: u16 = 35;

/// Whether an entry of this kind may be authored in this role. The root and a log's own key sign beside an
/// author and are none.
#[must_use]
pub fn may_author(kind: u16, role: Role) -> bool {
    match role {
        Role::Root | Role::Log => false,
        Role::Router => kind != QUOTA_LEASE,
        Role::Node => NODE_KINDS.contains(&kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_registry() {
        let registry = include_str!("../../spec/registry.json");
        let registry: serde_json::Value = serde_json::from_str(registry).unwrap();
        let mut compared = 0;
        for kind in registry["kinds"].as_array().unwrap().iter().filter(|k| !k["type"].is_null()) {
            let number = u16::try_from(kind["number"].as_u64().unwrap()).unwrap();
            let authors = kind["authors"].as_array().unwrap();
            for (role, name) in [(Role::Router, "router"), (Role::Node, "node")] {
                assert_eq!(may_author(number, role), authors.iter().any(|a| a == name), "{kind}");
            }
            let removable = kind["removable"].as_bool().unwrap_or(false);
            assert_eq!(crate::prune::is_removable(number), removable, "{kind}");
            compared += 1;
        }
        assert_eq!(compared, counterfoil_spec::payload::Payload::KINDS.len());
    }
}
