//! How many rows of each member go into the next round: a pure function, so that fairness can be shown.
//!
//! A member with one row left is one that decodes: somebody reads along, so it is in every round. What is left of the
//! round goes to prompts, in the order in which they wait; one that was served goes to the end, so that a long prompt
//! holds up another one by a round at most.

use counterfoil_model::ModelConfig;
use counterfoil_spec::limits::{MAX_FRAME_BYTES, MAX_FRAME_ROWS};

/// Rows of prompts in a round in which others decode. Every one of them makes those wait; this many take a few times
/// as long as a round without, while weights that are read for each round are used often enough to be worth it.
pub(super) const PROMPT_ROWS_BESIDE: usize = 64;
/// Bytes of a frame that do not depend on its rows, and more than that.
const FRAME_HEAD_BYTES: usize = 64;
/// Bytes of a row and of its segment beside its vector; and of each of its experts.
const ROW_HEAD_BYTES: usize = 16;
const EXPERT_BYTES: usize = 8;

/// The most rows in a round of this model: as many as fit a frame both ways, even where every expert's output comes
/// back for itself.
pub(super) fn most_rows(config: &ModelConfig) -> usize {
    let row = ROW_HEAD_BYTES + config.top_k.max(1) * (EXPERT_BYTES + config.hidden * size_of::<f32>());
    ((MAX_FRAME_BYTES - FRAME_HEAD_BYTES) / row).clamp(1, MAX_FRAME_ROWS)
}

/// For each member, by how many rows it has left, in the order in which they wait: how many it may bring.
pub(super) fn share_out(left: &[usize], most: usize) -> Vec<usize> {
    let prompts = left.iter().any(|rows| *rows > 1);
    let beside = PROMPT_ROWS_BESIDE.min(most / 2);
    let mut room = if prompts { most - beside } else { most };
    let mut shares: Vec<usize> = left
        .iter()
        .map(|rows| {
            let share = usize::from(*rows == 1 && room > 0);
            room -= share;
            share
        })
        .collect();
    let decoding: usize = shares.iter().sum();
    let mut room = match (prompts, decoding) {
        (false, _) => 0,
        (true, 0) => most,
        (true, _) => beside,
    };
    for (share, rows) in shares.iter_mut().zip(left).filter(|(_, rows)| **rows > 1) {
        *share = room.min(*rows);
        room -= *share;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alone_brings_all_that_fits_a_frame() {
        assert_eq!(share_out(&[2000], 512), [512]);
        assert_eq!(share_out(&[2], 512), [2]);
        assert_eq!(share_out(&[1], 512), [1]);
        assert_eq!(share_out(&[], 512), [0_usize; 0]);
    }

    #[test]
    fn all_that_decode_are_in_every_round() {
        assert_eq!(share_out(&[1; 8], 512), [1; 8]);
        assert_eq!(share_out(&[1, 2000, 1], 512), [1, PROMPT_ROWS_BESIDE, 1]);
    }

    #[test]
    fn prompts_share_what_is_left_in_their_order() {
        assert_eq!(share_out(&[40, 1, 40, 40], 512), [40, 1, 24, 0]);
        assert_eq!(share_out(&[500, 40], 512), [500, 12]);
    }

    #[test]
    fn more_that_decode_than_fit_leave_room_for_a_prompt() {
        assert_eq!(share_out(&[1, 1, 1, 9, 1], 4), [1, 1, 0, 2, 0]);
        assert_eq!(share_out(&[1, 1, 1], 2), [1, 1, 0]);
        assert_eq!(share_out(&[1, 5], 1), [1, 0]);
    }

    /// What rounds do with a queue: who was served and has rows left goes to its end.
    fn rounds_until_done(mut queue: Vec<(&'static str, usize)>, most: usize) -> Vec<(&'static str, usize)> {
        let mut done = Vec::new();
        for round in 1.. {
            let left: Vec<usize> = queue.iter().map(|(_, rows)| *rows).collect();
            let shares = share_out(&left, most);
            let (mut waiting, mut served) = (Vec::new(), Vec::new());
            for ((name, rows), share) in queue.into_iter().zip(shares) {
                match (rows - share, share) {
                    (0, _) => done.push((name, round)),
                    (rows, 0) => waiting.push((name, rows)),
                    (rows, _) => served.push((name, rows)),
                }
            }
            waiting.extend(served);
            queue = waiting;
            if queue.is_empty() {
                return done;
            }
        }
        done
    }

    #[test]
    fn a_short_prompt_waits_for_one_turn_of_each_long_one() {
        let queue = vec![("long", 2000), ("longer", 4000), ("short", 30)];
        assert_eq!(rounds_until_done(queue, 512), [("short", 3), ("long", 7), ("longer", 12)]);
    }
}
