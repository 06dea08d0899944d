use super::*;

#[test]
fn the_next_certificate_is_due_around_the_half_of_the_last_ones_life() {
    let shown = (Millis(1_000_000), Millis(1_160_000));
    let never = Millis(u64::MAX);
    let at = |chance| due(shown, never, Millis(1_000_000), chance);
    assert_eq!([at(0), at(255)], [Millis(1_070_000), Millis(1_090_000)]);
    assert!(at(128) > Millis(1_079_000) && at(128) < Millis(1_081_000));
}

#[test]
fn it_is_due_before_the_routers_own_certificate_ends() {
    let shown = (Millis(1_000_000), Millis(1_160_000));
    let at = |router_ends| due(shown, router_ends, Millis(1_000_000), 255);
    assert_eq!(at(Millis(1_040_000)), Millis(1_030_000));
    assert_eq!(at(Millis(1_200_000)), Millis(1_090_000));
}
