//! The one task of a model that goes from round to round.

use std::collections::VecDeque;
use std::convert::Infallible;

use tokio::sync::mpsc;

use super::member::Member;
use super::round::{Means, Taking, round};
use super::share::{most_rows, share_out};
use super::{Entrant, Turn};

/// Goes on until nobody holds the door any more.
pub(super) async fn conduct(mut means: Means, mut entrants: mpsc::Receiver<Entrant>) {
    let most = most_rows(means.engine.config());
    let mut queue: VecDeque<Member> = VecDeque::new();
    loop {
        if queue.is_empty() {
            match entrants.recv().await {
                Some(entrant) => queue.push_back(Member::new(entrant)),
                None => return,
            }
        }
        while let Ok(entrant) = entrants.try_recv() {
            queue.push_back(Member::new(entrant));
        }
        let (held, turns) = mpsc::channel(1);
        let turn = Turn { _held: held };
        // Who was gone before the round began does not take part in it.
        leave(&mut queue, &turn);
        let left: Vec<usize> = queue.iter().map(Member::left).collect();
        let shares = share_out(&left, most);
        let mut taking: Vec<Taking<'_>> = queue
            .iter_mut()
            .zip(&shares)
            .filter(|(_, share)| **share > 0)
            .map(|(member, share)| Taking::new(member, *share))
            .collect();
        if !taking.is_empty() {
            means.metrics.rounds.one();
            means.metrics.round_rows.more(shares.iter().map(|s| crate::generate::count(*s)).sum());
            round(&mut means, &mut taking).await;
            to_the_end(&mut queue, &shares);
            leave(&mut queue, &turn);
        }
        drop(turn);
        gather(&mut queue, &mut entrants, turns).await;
    }
}

/// Members that were served stand behind those that were not; both keep their order.
fn to_the_end(queue: &mut VecDeque<Member>, shares: &[usize]) {
    let mut served = Vec::new();
    for share in shares {
        if let Some(member) = queue.pop_front() {
            if *share == 0 { queue.push_back(member) } else { served.push(member) }
        }
    }
    queue.extend(served);
}

/// Lets go of whoever is done, has failed or is gone.
fn leave(queue: &mut VecDeque<Member>, turn: &Turn) {
    for _ in 0..queue.len() {
        let Some(mut member) = queue.pop_front() else { return };
        match member.end() {
            Some(end) => member.leave(end, turn.clone()),
            None => queue.push_back(member),
        }
    }
}

/// Waits until everybody who got a result has come with the next step or said otherwise.
async fn gather(
    queue: &mut VecDeque<Member>,
    entrants: &mut mpsc::Receiver<Entrant>,
    mut turns: mpsc::Receiver<Infallible>,
) {
    loop {
        tokio::select! {
            biased;
            Some(entrant) = entrants.recv() => queue.push_back(Member::new(entrant)),
            none = turns.recv() => match none {
                None => return,
                Some(never) => match never {},
            },
        }
    }
}
