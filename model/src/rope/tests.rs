//! Frequencies, pairings and YaRN against numbers worked out apart.
