use super::*;

const NEVER: Millis = Millis(u64::MAX);

/// A certificate for 160 seconds that is shown from its beginning on.
fn life() -> Life {
    let (begin, end) = (Millis(1_000_000), Millis(1_160_000));
    Life { begin, end, renew_after: None, first: false, now: begin, router_ends: NEVER }
}

fn between(life: Life) -> [u64; 2] {
    [0, 255].map(|chance| due(life, chance).0)
}

//= spec/session.md#renewal
//= type=test
//# A node SHOULD ask for its next certificate at the *renew after* that came with the last one, or where it does not know that any more when the half of the last one's life is over, one sixteenth of that life earlier or later by chance; not before a third of it is over, and not after nine tenths.
#[test]
fn the_next_certificate_is_due_when_the_router_said_or_around_the_half() {
    assert_eq!(between(life()), [1_070_000, 1_090_000]);
    let middle = due(life(), 128);
    assert!(middle > Millis(1_079_000) && middle < Millis(1_081_000));
    let said = |at| between(Life { renew_after: Some(Millis(at)), ..life() });
    assert_eq!(said(1_100_000), [1_090_000, 1_110_000]);
    // A third is 53,333 ms, nine tenths are 144,000.
    assert_eq!((said(1_000_000), said(0)), ([1_053_333, 1_073_333], [1_053_333, 1_073_333]));
    assert_eq!((said(1_150_000), said(u64::MAX)), ([1_124_000, 1_144_000], [1_124_000, 1_144_000]));
}

#[test]
fn it_is_due_before_the_routers_own_certificate_ends() {
    let at = |router_ends| due(Life { router_ends: Millis(router_ends), ..life() }, 255);
    assert_eq!((at(1_040_000), at(1_200_000)), (Millis(1_030_000), Millis(1_090_000)));
}

#[test]
fn one_that_is_shown_for_the_first_time_is_followed_by_none_before_an_eighth_of_its_use() {
    let at = |now, first| due(Life { now: Millis(now), first, ..life() }, 0);
    assert_eq!((at(1_000_000, true), at(1_080_000, true)), (Millis(1_070_000), Millis(1_091_000)));
    assert_eq!(at(1_080_000, false), Millis(1_070_000));
}

#[test]
fn a_life_of_nothing_is_no_fault() {
    for ms in 0..100 {
        let end = Millis(1_000_000 + ms);
        let late = Life { end, first: true, now: NEVER, ..life() };
        assert!(due(late, 255) == NEVER && due(Life { end, ..life() }, 255) <= end);
    }
}
