//! Frame MACs and replay windows.

use std::collections::HashSet;

use counterfoil_identity::digest::{self, context};
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

use super::*;
use crate::{FrameMac, ReplayWindow};

#[test]
fn mac_is_bound_to_connection_token_and_header() {
    let mac = FrameMac::new(&[1; 32], &Hash::from_bytes([2; 32]));
    let tag = mac.mac(b"header");
    assert!(mac.verify(b"header", &tag));
    assert!(!mac.verify(b"headex", &tag));
    assert!(!FrameMac::new(&[9; 32], &Hash::from_bytes([2; 32])).verify(b"header", &tag));
    assert!(!FrameMac::new(&[1; 32], &Hash::from_bytes([9; 32])).verify(b"header", &tag));
    for i in 0..16 {
        let mut changed = tag;
        changed[i] ^= 1;
        assert!(!mac.verify(b"header", &changed));
    }
}

#[test]
fn mac_is_the_first_half_of_keyed_blake3() {
    let mac = FrameMac::new(&[1; 32], &Hash::from_bytes([2; 32]));
    let key = digest::derive(context::FRAME_MAC, &[&[1; 32], &[2; 32]]);
    assert_eq!(mac.mac(b"header"), digest::keyed(&key, &[b"header"]).as_bytes()[..16]);
    assert_eq!(format!("{mac:?}"), "FrameMac(..)");
}

#[test]
fn counter_is_accepted_once_and_never_from_below_the_window() {
    let mut window = ReplayWindow::new();
    assert_eq!([window.accept(0), window.accept(0)], [true, false]);
    assert_eq!(
        [window.accept(5), window.accept(3), window.accept(5), window.accept(3)],
        [true, true, false, false]
    );
    assert!(window.accept(5 + 1023));
    assert_eq!([window.accept(4), window.accept(5)], [false, false]);
    assert_eq!([window.accept(6), window.accept(6)], [true, false]);
    assert!(!window.accept(u64::MAX));
    assert_eq!([window.accept(u64::MAX - 1), window.accept(u64::MAX - 1)], [true, false]);
    assert_eq!([window.accept(u64::MAX - 1024), window.accept(u64::MAX - 1025)], [true, false]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn window_agrees_with_a_set_of_all_counters(steps in proptest::collection::vec((any::<bool>(), 0u64..1500), 1..400)) {
        let (mut window, mut seen, mut highest) = (ReplayWindow::new(), HashSet::new(), None::<u64>);
        for (up, by) in steps {
            let base = highest.unwrap_or(0);
            let counter = if up { base + by } else { base.saturating_sub(by) };
            let old = highest.is_some_and(|h| counter + 1024 <= h);
            let want = !old && seen.insert(counter);
            prop_assert_eq!(window.accept(counter), want, "{} after {:?}", counter, highest);
            if want {
                highest = Some(base.max(counter));
            }
        }
    }
}
