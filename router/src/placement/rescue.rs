//! Room for experts that found none: another expert's spare copy is dropped, or a chain of experts moves on by one
//! node each, as in a bipartite matching.
//!
//! Where all experts have one size, this finds room for as many experts as there can be room for. With several sizes
//! that question is as hard as packing bins; then it finds the room that single moves make.

use std::collections::{BTreeMap, VecDeque};

use super::bits::Bits;
use super::table::Table;

/// Looks at (expert, node) pairs, over all experts of one placement: enough for thousands of nodes that are short of
/// a little room, and an end where there is simply too little of it.
const MAX_LOOKS: u64 = 4_000_000;

/// One expert: model, layer's place, number.
type Shard = (usize, usize, u32);

/// Finds room for what nobody holds yet; whether it found some.
pub(super) fn rescue(table: &mut Table<'_>) -> bool {
    let mut search = Search { looks: 0, dead: BTreeMap::new() };
    let mut found = false;
    for m in 0..table.models.len() {
        let layers = table.models.get(m).map_or(0, |needs| needs.shape.moe_layers.len());
        for layer in 0..layers {
            for expert in table.short(m, layer, 1).iter() {
                if search.looks > MAX_LOOKS {
                    return false;
                }
                search.one(table, (m, layer, expert));
                found |= table.copies(m, layer, expert) > 0;
            }
        }
    }
    found
}

struct Search {
    looks: u64,
    /// Nodes from which no chain leads to free room for an expert of this size or a larger one.
    dead: BTreeMap<usize, u64>,
}

/// What comes to a node that is reached, and from where, if it is held anywhere.
type Reached = BTreeMap<usize, (Shard, Option<usize>)>;

impl Search {
    fn one(&mut self, table: &mut Table<'_>, shard: Shard) {
        let size = table.size(shard.0, shard.1, shard.2);
        let mut reached = Reached::new();
        let mut queue: VecDeque<usize> = VecDeque::new();
        let first: Vec<usize> = table.idlest(shard.0).collect();
        for r in first {
            if self.enter(table, (r, shard, None), &mut reached, &mut queue) {
                return shift(table, r, &reached);
            }
        }
        while let Some(from) = queue.pop_front() {
            let Some((wanted, _)) = reached.get(&from).copied() else { continue };
            for moved in movable(table, from, wanted) {
                let next: Vec<usize> = table.idlest(moved.0).collect();
                for to in next {
                    if self.looks > MAX_LOOKS {
                        return;
                    }
                    if self.enter(table, (to, moved, Some(from)), &mut reached, &mut queue) {
                        return shift(table, to, &reached);
                    }
                }
            }
        }
        for r in reached.keys() {
            let least = self.dead.entry(*r).or_insert(size);
            *least = size.min(*least);
        }
    }

    /// Comes to a node with an expert; true where it has room for it.
    fn enter(
        &mut self,
        table: &mut Table<'_>,
        (r, shard, from): (usize, Shard, Option<usize>),
        reached: &mut Reached,
        queue: &mut VecDeque<usize>,
    ) -> bool {
        self.looks += 1;
        let (m, layer, expert) = shard;
        let size = table.size(m, layer, expert);
        if reached.contains_key(&r) || self.dead.get(&r).is_some_and(|least| *least <= size) {
            return false;
        }
        if !table.may_hold(r, m, layer, &single(expert)) {
            return false;
        }
        reached.insert(r, (shard, from));
        if make_room(table, r, size) {
            return true;
        }
        queue.push_back(r);
        false
    }
}

/// Moves every expert of a chain on by one node, from its free end back to the expert that nobody held.
fn shift(table: &mut Table<'_>, end: usize, reached: &Reached) {
    let mut to = end;
    while let Some(((m, layer, expert), from)) = reached.get(&to).copied() {
        let one = single(expert);
        let given = from.is_none_or(|from| table.may_give(from, m, layer, &one));
        if !given || !table.can_take(to, m, layer, &one) {
            return;
        }
        if let Some(from) = from {
            table.remove(from, m, layer, &one);
        }
        table.add(to, m, layer, &one);
        match from {
            Some(from) => to = from,
            None => return,
        }
    }
}

/// The experts of a node whose going would make room for another one.
fn movable(table: &Table<'_>, r: usize, wanted: Shard) -> Vec<Shard> {
    let Some(room) = table.rooms.get(r) else { return Vec::new() };
    let size = table.size(wanted.0, wanted.1, wanted.2);
    let held = room.held.iter().enumerate();
    let all = held.flat_map(|(m, held)| held.iter().map(move |(layer, expert)| (m, layer, expert)));
    all.filter(|(m, layer, expert)| table.size(*m, *layer, *expert).saturating_add(room.free) >= size)
        .collect()
}

/// Drops spare copies until some bytes are free; drops none where that cannot suffice.
fn make_room(table: &mut Table<'_>, r: usize, size: u64) -> bool {
    let Some(room) = table.rooms.get(r) else { return false };
    let (mut spare, mut free): (Vec<Shard>, u64) = (Vec::new(), room.free);
    for (m, held) in room.held.iter().enumerate() {
        for (layer, expert) in held.iter() {
            if free < size && table.copies(m, layer, expert) > 1 {
                free = free.saturating_add(table.size(m, layer, expert));
                spare.push((m, layer, expert));
            }
        }
    }
    if free < size {
        return false;
    }
    for (m, layer, expert) in spare {
        if table.may_give(r, m, layer, &single(expert)) {
            table.remove(r, m, layer, &single(expert));
        }
    }
    table.rooms.get(r).is_some_and(|room| room.free >= size)
}

fn single(expert: u32) -> Bits {
    [expert].into_iter().collect()
}
