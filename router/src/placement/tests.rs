//! Properties of placements, over networks that are made up at random and over even ones.

use std::collections::{BTreeMap, BTreeSet};

use counterfoil_spec::claims::Range;
use counterfoil_spec::ids::{ManifestId, NodeId};
use counterfoil_spec::limits::MAX_CONSENT_RANGES;
use proptest::prelude::*;

use super::{Assignment, Move, Needs, Offer, Shape, Standing, Standings, assign, moves};

type Current = BTreeMap<NodeId, Vec<Range>>;
type Shard = (ManifestId, u32, u32);

fn model(n: u8) -> ManifestId {
    ManifestId::from_bytes([n; 32])
}

fn node(n: u16) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    NodeId::from_bytes(bytes)
}

fn needs(n: u8, (layers, experts): (u32, u32), size: u64, replicas: u32) -> Needs {
    let shape = Shape { manifest: model(n), moe_layers: (1..=layers).collect(), experts };
    Needs { shape, bytes: vec![size; (layers * experts) as usize], demand: 1, replicas }
}

fn offer(n: u16, bytes: u64, models: &[u8]) -> Offer {
    let allowed = models.iter().map(|m| Range::whole(model(*m))).collect();
    Offer { node: node(n), bytes, allowed, speed: 1 }
}

fn shards(ranges: &[Range], models: &[Needs]) -> BTreeSet<Shard> {
    let mut out = BTreeSet::new();
    for needs in models {
        for layer in &needs.shape.moe_layers {
            for expert in 0..needs.shape.experts {
                if ranges.iter().any(|r| r.contains(&needs.shape.manifest, *layer, expert)) {
                    out.insert((needs.shape.manifest, *layer, expert));
                }
            }
        }
    }
    out
}

fn all(models: &[Needs]) -> BTreeSet<Shard> {
    shards(&models.iter().map(|m| Range::whole(m.shape.manifest)).collect::<Vec<_>>(), models)
}

fn size(models: &[Needs], shard: &Shard) -> u64 {
    let needs = models.iter().find(|m| m.shape.manifest == shard.0).unwrap();
    let at = needs.shape.moe_layers.iter().position(|l| *l == shard.1).unwrap();
    needs.bytes[at * needs.shape.experts as usize + shard.2 as usize]
}

fn held(found: &Assignment, n: NodeId, models: &[Needs]) -> BTreeSet<Shard> {
    shards(found.nodes.get(&n).map_or(&[], Vec::as_slice), models)
}

fn uncovered(found: &Assignment) -> BTreeSet<Shard> {
    let of = |(m, list): (&ManifestId, &Vec<super::Uncovered>)| {
        list.iter().map(|u| (*m, u.layer, u.expert)).collect::<Vec<_>>()
    };
    found.uncovered.iter().flat_map(of).collect()
}

/// What no placement may break.
fn assert_sound(models: &[Needs], offers: &[Offer], found: &Assignment) {
    let mut seen = BTreeSet::new();
    for (id, ranges) in &found.nodes {
        let offer = offers.iter().find(|o| o.node == *id).unwrap();
        let own = shards(ranges, models);
        assert!(own.iter().map(|s| size(models, s)).sum::<u64>() <= offer.bytes, "{id} holds too much");
        let allowed = shards(&offer.allowed, models);
        assert!(own.is_subset(&allowed), "{id} holds what it does not allow");
        assert!(ranges.is_sorted_by(|a, b| a < b));
        for (i, a) in ranges.iter().enumerate() {
            assert!(ranges[i + 1..].iter().all(|b| !a.overlaps(b)), "{ranges:?}");
        }
        for needs in models {
            let count = ranges.iter().filter(|r| r.manifest == needs.shape.manifest).count();
            assert!(count <= MAX_CONSENT_RANGES, "{count} ranges");
        }
        seen.extend(own);
    }
    let missing: BTreeSet<Shard> = all(models).difference(&seen).copied().collect();
    assert_eq!(uncovered(found), missing);
}

/// An uncovered expert fits nowhere, not even where every other copy of what is there were dropped.
fn assert_no_room(models: &[Needs], offers: &[Offer], found: &Assignment) {
    let missing = uncovered(found);
    let mut copies: BTreeMap<Shard, usize> = BTreeMap::new();
    for id in found.nodes.keys() {
        held(found, *id, models).into_iter().for_each(|s| *copies.entry(s).or_default() += 1);
    }
    for shard in &missing {
        for offer in offers {
            let own = held(found, offer.node, models);
            let needed: u64 = own.iter().filter(|s| copies[s] == 1).map(|s| size(models, s)).sum();
            let fits = needed + size(models, shard) <= offer.bytes;
            assert!(
                !fits || !shards(&offer.allowed, models).contains(shard),
                "{shard:?} fits {:?}",
                offer.node
            );
        }
    }
}

/// The most experts that nodes can hold where all are of one size: a bipartite matching by augmenting paths.
fn most_covered(models: &[Needs], offers: &[Offer], one: u64) -> usize {
    fn place(
        s: usize,
        can: &[Vec<usize>],
        in_seat: &mut [Vec<usize>],
        room: &[usize],
        seen: &mut [bool],
    ) -> bool {
        for n in &can[s] {
            if std::mem::replace(&mut seen[*n], true) {
                continue;
            }
            if in_seat[*n].len() < room[*n] {
                in_seat[*n].push(s);
                return true;
            }
            for at in 0..in_seat[*n].len() {
                if place(in_seat[*n][at], can, in_seat, room, seen) {
                    in_seat[*n][at] = s;
                    return true;
                }
            }
        }
        false
    }
    let allowed: Vec<_> = offers.iter().map(|o| shards(&o.allowed, models)).collect();
    let can: Vec<Vec<usize>> =
        all(models).iter().map(|s| (0..offers.len()).filter(|n| allowed[*n].contains(s)).collect()).collect();
    let room: Vec<usize> = offers.iter().map(|o| usize::try_from(o.bytes / one).unwrap()).collect();
    let mut seats = vec![Vec::new(); offers.len()];
    (0..can.len()).filter(|s| place(*s, &can, &mut seats, &room, &mut vec![false; offers.len()])).count()
}

fn any_models(sizes: impl Strategy<Value = u64> + Clone) -> impl Strategy<Value = Vec<Needs>> {
    let one = (1..4_u32, 1..6_u32, sizes, 1..4_u32, 1..5_u32);
    prop::collection::vec(one, 1..4).prop_map(|list| {
        (1_u8..)
            .zip(list)
            .map(|(n, (layers, experts, size, replicas, demand))| Needs {
                demand,
                ..needs(n, (layers, experts), size, replicas)
            })
            .collect()
    })
}

fn any_allowed() -> impl Strategy<Value = Vec<Range>> {
    let part = ((0..4_u32, 0..3_u32), (0..5_u32, 0..5_u32)).prop_map(|((l, dl), (e, de))| Range {
        manifest: model(1),
        layers: (l, l + dl),
        experts: (e, e + de),
    });
    let whole = prop::sample::subsequence(vec![1_u8, 2, 3], 0..=3);
    prop_oneof![
        whole.prop_map(|list| list.into_iter().map(|m| Range::whole(model(m))).collect()),
        prop::collection::vec(part, 1..3),
        Just((1..=3).map(|m| Range::whole(model(m))).collect()),
    ]
}

fn any_offers(most_bytes: u64) -> impl Strategy<Value = Vec<Offer>> {
    prop::collection::vec((0..most_bytes, any_allowed(), 1..5_u32), 0..7).prop_map(|list| {
        let one = |(n, (bytes, allowed, speed))| Offer { node: node(n), bytes, allowed, speed };
        (0_u16..).zip(list).map(one).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn covers_all_or_names_what_fits_nowhere(models in any_models(1..40_u64), offers in any_offers(400)) {
        let found = assign(&models, &offers, &Current::new());
        assert_sound(&models, &offers, &found);
        assert_no_room(&models, &offers, &found);
    }

    #[test]
    fn covers_as_many_experts_of_one_size_as_can_be_covered(models in any_models(Just(10)), offers in any_offers(200)) {
        let found = assign(&models, &offers, &Current::new());
        assert_sound(&models, &offers, &found);
        let covered = all(&models).len() - uncovered(&found).len();
        prop_assert_eq!(covered, most_covered(&models, &offers, 10));
    }

    #[test]
    fn does_not_depend_on_the_order_of_its_input(
        models in any_models(1..40_u64),
        offers in any_offers(300).prop_flat_map(|o| (Just(o.clone()), Just(o).prop_shuffle())),
    ) {
        let (offers, shuffled) = offers;
        let current = assign(&models, &offers[..offers.len() / 2], &Current::new()).nodes;
        let turned: Vec<Needs> = models.iter().rev().cloned().collect();
        prop_assert_eq!(assign(&models, &offers, &current), assign(&turned, &shuffled, &current));
    }

    #[test]
    fn an_assignment_is_kept_as_it_is(models in any_models(1..40_u64), offers in any_offers(400)) {
        let first = assign(&models, &offers, &Current::new());
        let again = assign(&models, &offers, &first.nodes);
        // Whoever held nothing the first time may take something over; a spare copy may still find a place, or make one.
        let idle = offers.iter().filter(|offer| held(&first, offer.node, &models).is_empty());
        let taken: BTreeSet<_> = idle.flat_map(|offer| held(&again, offer.node, &models)).collect();
        for offer in offers.iter().filter(|_| uncovered(&first).is_empty()) {
            let kept = &held(&again, offer.node, &models) | &taken;
            prop_assert!(kept.is_superset(&held(&first, offer.node, &models)));
        }
        prop_assert!(uncovered(&again).is_subset(&uncovered(&first)));
    }

    #[test]
    fn stays_sound_from_any_state(
        models in any_models(1..40_u64),
        before in any_offers(400),
        after in any_offers(400),
    ) {
        let current = assign(&models, &before, &Current::new()).nodes;
        let found = assign(&models, &after, &current);
        assert_sound(&models, &after, &found);
        assert_no_room(&models, &after, &found);
    }

    #[test]
    fn one_that_leaves_moves_only_what_it_held(n in 2..9_u16, layers in 1..24_u32, replicas in 1..3_u32, gone in 0..9_u16) {
        let models = [needs(1, (layers, 4), 10, replicas)];
        let offers: Vec<Offer> = (0..n).map(|i| offer(i, 40 * u64::from(layers), &[1])).collect();
        let first = assign(&models, &offers, &Current::new());
        prop_assert_eq!(uncovered(&first), BTreeSet::new());
        let gone = gone % n;
        let left: Vec<Offer> = offers.iter().filter(|o| o.node != node(gone)).cloned().collect();
        let second = assign(&models, &left, &first.nodes);
        prop_assert_eq!(uncovered(&second), BTreeSet::new());
        let lost = held(&first, node(gone), &models);
        for offer in &left {
            let (was, is) = (held(&first, offer.node, &models), held(&second, offer.node, &models));
            prop_assert!(is.is_superset(&was), "a node that stays gives nothing up");
            prop_assert!(is.difference(&was).all(|s| lost.contains(s)), "and takes only what was lost");
        }
    }

    #[test]
    fn one_that_joins_takes_over_its_share_and_no_more(n in 1..9_u16, layers in 1..24_u32, replicas in 1..3_u32) {
        let models = [needs(1, (layers, 4), 10, replicas)];
        let offers: Vec<Offer> = (0..=n).map(|i| offer(i, 40 * u64::from(layers), &[1])).collect();
        let replicas = replicas.min(u32::from(n));
        let first = assign(&models, &offers[..usize::from(n)], &Current::new());
        let second = assign(&models, &offers, &first.nodes);
        prop_assert_eq!(uncovered(&second), BTreeSet::new());
        let left: usize = (0..n)
            .map(|i| held(&first, node(i), &models).difference(&held(&second, node(i), &models)).count())
            .sum();
        let (all, one) = ((layers * replicas * 4) as usize, 4);
        prop_assert!(left <= all / usize::from(n + 1) + one, "{left} of {all} left the {n} nodes");
        for i in 0..n {
            let (was, is) = (held(&first, node(i), &models), held(&second, node(i), &models));
            prop_assert!(is.is_subset(&was), "a node that stays takes nothing over");
        }
    }

    #[test]
    fn moves_reach_an_assignment_and_leave_no_gap(
        models in any_models(1..40_u64),
        before in any_offers(400),
        after in any_offers(400),
    ) {
        // Those that stay offer what they offered.
        let after: Vec<Offer> = after.into_iter().enumerate().map(|(i, o)| before.get(i).cloned().unwrap_or(o)).collect();
        let current = assign(&models, &before, &Current::new()).nodes;
        let target = assign(&models, &after, &current).nodes;
        follow(&models, &after, &current, &target);
    }
}

/// Carries moves out one by one until there are none, and looks at what can be asked for in between.
fn follow(models: &[Needs], offers: &[Offer], current: &Current, target: &Current) {
    let mut standings: Standings = offers.iter().map(|o| (o.node, (o.bytes, BTreeMap::new()))).collect();
    for offer in offers {
        for needs in models {
            let all = current.get(&offer.node).map_or(&[][..], Vec::as_slice);
            let own: Vec<Range> =
                all.iter().filter(|r| r.manifest == needs.shape.manifest).copied().collect();
            let standing = Standing { proposed: own.clone(), ready: own };
            standings.get_mut(&offer.node).unwrap().1.insert(needs.shape.manifest, standing);
        }
    }
    let ready = |standings: &Standings| -> BTreeSet<Shard> {
        let all = standings.values().flat_map(|(_, own)| own.values());
        all.flat_map(|s| shards(&s.ready, models)).collect()
    };
    let kept: BTreeSet<Shard> = target.values().flat_map(|r| shards(r, models)).collect();
    for _ in 0..1000 {
        let todo = moves(models, &standings, target);
        if todo.is_empty() {
            for (id, (_, own)) in &standings {
                let has: BTreeSet<Shard> = own.values().flat_map(|s| shards(&s.ready, models)).collect();
                let want = shards(target.get(id).map_or(&[], Vec::as_slice), models);
                assert!(has == want, "{id} stops short");
            }
            return;
        }
        let before: BTreeSet<Shard> = ready(&standings).intersection(&kept).copied().collect();
        for Move { node, manifest, ranges } in &todo {
            standings.get_mut(node).unwrap().1.get_mut(manifest).unwrap().proposed.clone_from(ranges);
        }
        for (bytes, own) in standings.values_mut() {
            let proposed = own.values().flat_map(|s| shards(&s.proposed, models));
            let held: u64 = proposed.map(|s| size(models, &s)).sum();
            assert!(held <= *bytes, "moves exceed the node's bytes");
            own.values_mut().for_each(|s| s.ready.clone_from(&s.proposed));
        }
        let after = ready(&standings);
        assert!(before.is_subset(&after), "a move leaves a gap");
    }
    panic!("moves without end");
}

#[test]
fn layers_are_dealt_out_whole_and_neighbours_together() {
    let models = [needs(1, (8, 4), 10, 1)];
    let offers: Vec<Offer> = (0..2).map(|i| offer(i, 1000, &[1])).collect();
    let found = assign(&models, &offers, &Current::new());
    let range = |layers| vec![Range { manifest: model(1), layers, experts: (0, 3) }];
    assert_eq!(found.nodes, [(node(0), range((1, 4))), (node(1), range((5, 8)))].into());
}

#[test]
fn a_layer_that_fits_nowhere_whole_is_split() {
    let models = [needs(1, (1, 4), 10, 1)];
    let offers = [offer(0, 30, &[1]), offer(1, 19, &[1])];
    let found = assign(&models, &offers, &Current::new());
    let range = |experts| vec![Range { manifest: model(1), layers: (1, 1), experts }];
    assert_eq!(found.nodes, [(node(0), range((0, 2))), (node(1), range((3, 3)))].into());
    let short = assign(&models, &[offer(0, 29, &[1]), offer(1, 19, &[1])], &Current::new());
    let names = short.uncovered[&model(1)].iter().map(|u| (u.layer, u.expert)).collect::<Vec<_>>();
    assert_eq!(names, [(1, 3)]);
}

#[test]
fn replicas_go_to_the_model_that_is_asked_for_most() {
    let models = [needs(1, (2, 4), 10, 2), Needs { demand: 5, ..needs(2, (2, 4), 10, 2) }];
    // Room for both models once and for one of them twice.
    let offers: Vec<Offer> = (0..3).map(|i| offer(i, 80, &[1, 2])).collect();
    let found = assign(&models, &offers, &Current::new());
    let copies =
        |m| found.nodes.values().flat_map(|r| shards(r, &models)).filter(|s| s.0 == model(m)).count();
    assert_eq!((copies(1), copies(2)), (8, 16));
}

#[test]
fn faster_nodes_host_more() {
    let models = [needs(1, (8, 4), 10, 1)];
    let offers = [offer(0, 1000, &[1]), Offer { speed: 3, ..offer(1, 1000, &[1]) }];
    let found = assign(&models, &offers, &Current::new());
    assert_eq!([0, 1].map(|n| held(&found, node(n), &models).len()), [8, 24]);
}

#[test]
fn ten_thousand_nodes_and_four_models_are_covered_with_any_one_node_gone() {
    let models = [
        needs(1, (32, 8), 99_000_000, 4),
        needs(2, (26, 64), 4_900_000, 4),
        needs(3, (24, 60), 4_900_000, 4),
        needs(4, (40, 16), 111_000_000, 4),
    ];
    let offers: Vec<Offer> =
        (0..10_000).map(|i| offer(i, 60_000_000 + 90_000 * u64::from(i), &[1, 2, 3, 4])).collect();
    let first = assign(&models, &offers, &Current::new());
    assert_eq!(first.uncovered, BTreeMap::new());
    let left = assign(&models, &offers[1..], &first.nodes);
    assert_eq!(left.uncovered, BTreeMap::new());
}

#[test]
fn what_is_proposed_together_fits_together() {
    let models = [needs(1, (8, 1), 10, 1), needs(2, (6, 1), 10, 1)];
    let layers = |m, from, to| vec![Range { manifest: model(m), layers: (from, to), experts: (0, 0) }];
    let stands = |ranges: Vec<Range>| Standing { proposed: ranges.clone(), ready: ranges };
    let own = BTreeMap::from([(model(1), stands(layers(1, 1, 4))), (model(2), stands(layers(2, 1, 1)))]);
    let standings = BTreeMap::from([(node(0), (100, own))]);
    let target = BTreeMap::from([(node(0), [layers(1, 5, 8), layers(2, 1, 6)].concat())]);
    // Of the first model eight layers for a while, as nobody else has what it is to let go of.
    let only = Move { node: node(0), manifest: model(1), ranges: layers(1, 1, 8) };
    assert_eq!(moves(&models, &standings, &target), [only]);
}
