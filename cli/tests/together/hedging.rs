//! Frames that are late are sent elsewhere too; what answers first counts, and nothing else is billed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use counterfoil_model::Checkpoint;
use counterfoil_router::{Continued, Hedging, Prompt};

use crate::network::{Network, REPLICAS, on_one_thread};
use crate::scripted::{Act, Script, Seen, willing};

/// Long enough that both nodes' latencies are known well before its end.
const MORE: u32 = 60;
/// From this frame on a node is late once: each has two layers of each round, less what was hedged.
const LATE: usize = 70;

/// Serves until it is asked for one of its own layers in its LATE-th frame or after, holds that one, and serves again;
/// `held` is then how many frames it had seen. Its own layers are those of the first round, before any frame is hedged.
fn late_once(held: &Arc<AtomicUsize>) -> Script {
    let (held, mut own) = (Arc::clone(held), Vec::new());
    Box::new(move |n, dispatch| {
        if n < 2 {
            own.push(dispatch.layer);
        }
        let late = n >= LATE && held.load(Ordering::Relaxed) == 0 && own.contains(&dispatch.layer);
        if late {
            held.store(n + 1, Ordering::Relaxed);
        }
        if late { Act::Hold } else { Act::Serve }
    })
}

/// How often a slow node computes what it is asked.
const SLOW: usize = 300;
/// Requests in which a node shows that it is fast again: several hundred answers outweigh those before.
const MAX_REQUESTS: u32 = 100;

/// Looks at what was said before a test gives up: it bounds a hang, not a speed.
const MAX_LOOKS: u32 = 10_000_000;

fn prompt() -> Prompt {
    Prompt { ids: (100..108).collect(), more: MORE }
}

/// The answer of a network in which nobody is late, and its forwards at all nodes.
async fn wanted() -> (Vec<u32>, u64) {
    let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::On).await;
    network.scripted(willing()).await;
    network.ready().await;
    came_to(network.alone(&[prompt()]).await.remove(0))
}

fn came_to(continued: Continued) -> (Vec<u32>, u64) {
    (continued.ids, continued.forwards.iter().sum())
}

async fn asked(network: &Network) -> (Vec<u32>, u64) {
    came_to(network.alone(&[prompt()]).await.remove(0))
}

#[test]
fn a_node_that_falls_silent_costs_one_hedge_and_is_not_asked_again_before_it_answers() {
    on_one_thread(async {
        let want = wanted().await;
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::On).await;
        let held = Arc::new(AtomicUsize::new(0));
        let late = network.scripted(late_once(&held)).await;
        network.scripted(willing()).await;
        network.ready().await;
        assert_eq!(asked(&network).await, want);
        // Nothing after the frame that it left unanswered, and another answered that before it was given up.
        let seen = late.frames().len();
        assert_eq!(seen, held.load(Ordering::Relaxed));
        assert!(network.counted("counterfoil_hedges_first_total") >= 1);
        // On a busy machine others of its frames may have been too late before.
        let before = late.unused();
        late.release(Act::Serve);
        while late.frames().len() == seen {
            assert_eq!(asked(&network).await, want);
        }
        // Its answer came too late for any sum, of one row for two experts.
        for _ in 0..MAX_LOOKS {
            if late.unused() >= before + 2 {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("nobody told it");
    });
}

#[test]
fn every_answer_that_lost_a_race_is_told_its_node() {
    on_one_thread(async {
        let want = wanted().await;
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::On).await;
        let held = Arc::new(AtomicUsize::new(0));
        let late = network.scripted(late_once(&held)).await;
        let other = network.scripted(willing()).await;
        network.ready().await;
        assert_eq!(asked(&network).await, want);
        late.release(Act::Serve);
        // Each hedge has one loser, with one row for two experts.
        for _ in 0..MAX_LOOKS {
            if late.unused() + other.unused() == 2 * network.counted("counterfoil_hedges_total") {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{} + {} forwards", late.unused(), other.unused());
    });
}

#[test]
fn who_is_slow_is_asked_less_and_less_and_is_asked_again_when_it_is_fast() {
    on_one_thread(async {
        let want = wanted().await;
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::Off).await;
        let slow = Arc::new(AtomicBool::new(true));
        let is_slow = Arc::clone(&slow);
        let slowly = move |_, _: &_| {
            if is_slow.load(Ordering::Relaxed) { Act::Slowly(SLOW) } else { Act::Serve }
        };
        let first = network.scripted(Box::new(slowly)).await;
        let second = network.scripted(willing()).await;
        network.ready().await;
        let frames = || [first.frames().len(), second.frames().len()];
        let costs = async || {
            let before = frames();
            assert_eq!(asked(&network).await, want);
            let after = frames();
            [after[0] - before[0], after[1] - before[1]]
        };
        // Nothing is known of either: each has two of the four layers.
        let all = costs().await;
        assert_eq!(all[0], all[1]);
        let all = all[0] + all[1];
        // One turn of nine, so a layer at most.
        let slowed = costs().await;
        assert_eq!(slowed[0] + slowed[1], all);
        assert!(slowed[0] <= all / 4, "{slowed:?}");
        slow.store(false, Ordering::Relaxed);
        for _ in 0..MAX_REQUESTS {
            let [first, second] = costs().await;
            if first == second {
                return;
            }
        }
        panic!("it is still asked less");
    });
}

#[test]
fn a_hedge_that_fails_leaves_the_frame_to_its_node() {
    on_one_thread(async {
        let want = wanted().await;
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::On).await;
        let (held, late) = (Arc::new(AtomicUsize::new(0)), Seen::default());
        network.scripted_as(late.clone(), late_once(&held)).await;
        let releases = late.clone();
        // What this one is sent while the other holds a frame are the same rows.
        let dies = move |_, _: &_| {
            if held.load(Ordering::Relaxed) == 0 {
                return Act::Serve;
            }
            releases.release(Act::Serve);
            Act::Die
        };
        network.scripted(Box::new(dies)).await;
        network.ready().await;
        assert_eq!(asked(&network).await, want);
    });
}

#[test]
fn a_node_that_dies_after_its_frame_was_hedged_leaves_it_to_the_hedge() {
    on_one_thread(async {
        let want = wanted().await;
        let mut network = Network::new(Checkpoint::guide().unwrap(), REPLICAS, Hedging::On).await;
        let (held, late) = (Arc::new(AtomicUsize::new(0)), Seen::default());
        network.scripted_as(late.clone(), late_once(&held)).await;
        let releases = late.clone();
        let mut killed = false;
        let kills = move |_, _: &_| {
            if killed || held.load(Ordering::Relaxed) == 0 {
                return Act::Serve;
            }
            killed = true;
            releases.release(Act::Die);
            Act::Hold
        };
        let other = Seen::default();
        network.scripted_as(other.clone(), Box::new(kills)).await;
        network.ready().await;
        let asking = asked(&network);
        let releasing = async {
            // The router has seen the first one's end before the other one answers.
            while network.router.hosting() == 2 {
                tokio::task::yield_now().await;
            }
            other.release(Act::Serve);
        };
        let (came, ()) = tokio::join!(asking, releasing);
        assert_eq!(came, want);
        assert_eq!(network.counted("counterfoil_redispatches_total"), 1);
    });
}
