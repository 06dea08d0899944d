//! Whose turn it is, and who is left out.

use counterfoil_spec::ids::ManifestId;

use super::*;

fn shape() -> Shape {
    Shape { manifest: ManifestId::from_bytes([1; 32]), moe_layers: vec![0, 1, 2, 3], experts: 4 }
}

fn range(layers: (u32, u32), experts: (u32, u32)) -> Range {
    Range { manifest: ManifestId::from_bytes([1; 32]), layers, experts }
}

fn alike<const N: usize>(hosts: [Vec<Range>; N]) -> Vec<(Vec<Range>, u32)> {
    hosts.into_iter().map(|ranges| (ranges, 8)).collect()
}

#[test]
fn replicas_take_layers_in_turn() {
    let whole = vec![range((0, 3), (0, 3))];
    let plan = Plan::new(&shape(), &alike([whole.clone(), whole]), &mut Turns::default()).unwrap();
    assert_eq!(plan.hosts(0, 2), [0, 1]);
    assert_eq!(plan.hosts(1, 2), [1, 0]);
    assert_eq!(plan.hosts(2, 0), [0, 1]);
    assert_eq!(plan.first_choices(), [0, 1]);
}

/// How many of 12 layers each has its turn in.
fn turns(weights: &[u32]) -> Vec<usize> {
    let shape = Shape { moe_layers: (0..12).collect(), ..shape() };
    let hosts: Vec<_> = weights.iter().map(|w| (vec![range((0, 11), (0, 3))], *w)).collect();
    let plan = Plan::new(&shape, &hosts, &mut Turns::default()).unwrap();
    let first = |host| (0..12).filter(|layer| plan.hosts(*layer, 0).first() == Some(&host)).count();
    (0..).take(weights.len()).map(first).collect()
}

#[test]
fn who_is_slow_has_its_turn_less_often() {
    assert_eq!(turns(&[8, 8, 8]), [4, 4, 4]);
    assert_eq!(turns(&[8, 4]), [8, 4]);
    assert_eq!(turns(&[8, 7]), [6, 6]);
    assert_eq!(turns(&[1, 8]), [1, 11]);
    assert_eq!(turns(&[0, 8]), [0, 12]);
    assert_eq!(turns(&[0]), [12]);
    assert_eq!(turns(&[u32::MAX, u32::MAX]), [6, 6]);
}

#[test]
fn turns_are_spread_and_not_taken_in_a_row() {
    let hosts = [(vec![range((0, 3), (0, 3))], 2), (vec![range((0, 3), (0, 3))], 2)];
    let plan = Plan::new(&shape(), &hosts, &mut Turns::default()).unwrap();
    let firsts: Vec<u16> = (0..4).map(|layer| plan.hosts(layer, 1)[0]).collect();
    assert_eq!(firsts, [0, 1, 0, 1]);
    let hosts = [(vec![range((0, 3), (0, 3))], 1), (vec![range((0, 3), (0, 3))], 3)];
    let plan = Plan::new(&shape(), &hosts, &mut Turns::default()).unwrap();
    let orders: Vec<&[u16]> = (0..4).map(|layer| plan.hosts(layer, 1)).collect();
    assert_eq!(orders, [[1, 0], [0, 1], [1, 0], [1, 0]]);
}

#[test]
fn turns_go_on_from_plan_to_plan() {
    let hosts = [(vec![range((0, 3), (0, 3))], 1), (vec![range((0, 3), (0, 3))], 8)];
    let mut turns = Turns::default();
    let mut slow = 0;
    for _ in 0..9 {
        let plan = Plan::new(&shape(), &hosts, &mut turns).unwrap();
        slow += (0..4).filter(|layer| plan.hosts(*layer, 1) == [0, 1]).count();
    }
    assert_eq!((slow, turns), (4, Turns { layers: Ring { saved: vec![0, 0] }, ..Turns::default() }));
}

#[test]
fn experts_of_a_layer_that_nobody_holds_whole_are_shared_by_weight() {
    let parts = [(vec![range((0, 3), (0, 2))], 8), (vec![range((0, 3), (1, 3))], 4)];
    let plan = Plan::new(&shape(), &parts, &mut Turns::default()).unwrap();
    let shared: Vec<u16> = (0..4).flat_map(|l| [plan.hosts(l, 1)[0], plan.hosts(l, 2)[0]]).collect();
    assert_eq!(shared.iter().filter(|h| **h == 0).count(), 5);
    assert!((0..4).all(|layer| plan.hosts(layer, 0) == [0] && plan.hosts(layer, 3) == [1]));
}

#[test]
fn an_expert_nobody_hosts_is_named() {
    let hosts = [vec![range((0, 3), (0, 2))], vec![range((0, 2), (3, 3))]];
    assert_eq!(
        Plan::new(&shape(), &alike(hosts), &mut Turns::default()),
        Err(Uncovered { layer: 3, expert: 3 })
    );
}

#[test]
fn another_models_range_covers_nothing() {
    let other = Range::whole(ManifestId::from_bytes([2; 32]));
    assert_eq!(
        Plan::new(&shape(), &alike([vec![other]]), &mut Turns::default()),
        Err(Uncovered { layer: 0, expert: 0 })
    );
}

#[test]
fn whole_layer_host_comes_before_a_part() {
    let hosts = [vec![range((0, 3), (0, 1))], vec![range((0, 3), (0, 3))]];
    let plan = Plan::new(&shape(), &alike(hosts), &mut Turns::default()).unwrap();
    assert_eq!(plan.hosts(0, 0), [1, 0]);
    assert_eq!(plan.hosts(0, 3), [1]);
}

#[test]
fn experts_outside_the_model_have_no_host() {
    let plan = Plan::new(&shape(), &alike([vec![range((0, 3), (0, 3))]]), &mut Turns::default()).unwrap();
    assert_eq!(plan.hosts(0, 4), [0_u16; 0]);
    assert_eq!(plan.hosts(4, 0), [0_u16; 0]);
}
