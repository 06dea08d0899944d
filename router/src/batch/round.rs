//! One round: the next rows of some members through all layers.

use std::sync::Arc;

use counterfoil_model::{ComputeError, Decoder, Feed, Rows, Sequence};

use super::Wants;
use super::budget::Budget;
use super::layer::Layer;
use super::member::Member;
use crate::engine::Engine;
use crate::http::metrics::Metrics;

/// What every round is made with.
pub(super) struct Means {
    pub(super) engine: Arc<Engine>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) budget: Budget,
}

/// A member that takes part in a round with some rows.
pub(super) struct Taking<'a> {
    pub(super) member: &'a mut Member,
    pub(super) count: usize,
}

impl<'a> Taking<'a> {
    pub(super) fn new(member: &'a mut Member, count: usize) -> Self {
        Self { member, count }
    }
}

/// Takes the rows through. A member that fails, by its nodes or by its own arithmetic, says so and drops out; the
/// others do not notice.
pub(super) async fn round(means: &mut Means, taking: &mut Vec<Taking<'_>>) {
    let Means { engine, metrics, budget } = means;
    let mut rows = Rows::default();
    for one in taking.iter_mut() {
        let embedded = engine.decoder().embed(one.member.next(one.count));
        if let Err(e) = embedded.and_then(|own| rows.append(&own)) {
            one.member.fail(e);
        }
    }
    taking.retain(|one| !one.member.has_failed());
    for layer in 0..engine.config().layers {
        if taking.is_empty() {
            return;
        }
        let Some(feed) = attend(engine.decoder(), layer, taking, &mut rows) else { return };
        if let Feed::Experts { normed, routing } = feed {
            let normed = Arc::new(normed);
            let rows_as = engine.rows_as(layer);
            let under_way = Layer::send((layer, rows_as), (metrics, budget), (&normed, &routing), taking);
            let beside = engine.shared(layer, &normed);
            let mut sums = under_way.sums(taking).await;
            let shared = match beside.take().await {
                Ok(shared) => shared,
                Err(_) => Some(each_shared(engine, layer, &normed, taking)),
            };
            let added = shared.map_or(Ok(()), |shared| sums.add(&shared)).and_then(|()| rows.add(&sums));
            if let Err(e) = added {
                fail_all(taking, &e);
            }
            drop_failed(taking, &mut rows);
        }
    }
    for one in taking.iter_mut() {
        engine.decoder().advance(&mut one.member.sequence, one.count);
        one.member.came_on(one.count);
    }
    logits(engine, taking, &rows);
}

/// Attention and gate of a layer; `None` where no member is left. Where the whole batch fails, whoever fails alone
/// drops out and the others go on: everything is computed again from the rows as they were.
fn attend(decoder: &Decoder, layer: u32, taking: &mut Vec<Taking<'_>>, rows: &mut Rows) -> Option<Feed> {
    while !taking.is_empty() {
        let before = rows.clone();
        let failed = match attend_all(decoder, layer, taking, rows) {
            Ok(feed) => return Some(feed),
            Err(e) => e,
        };
        *rows = before;
        let mut found = false;
        for (at, first) in firsts(taking).into_iter().enumerate() {
            let Some(one) = taking.get_mut(at..=at) else { continue };
            let count: usize = one.iter().map(|t| t.count).sum();
            let mut own = rows.slice(first, first + count);
            if let Err(e) = attend_all(decoder, layer, one, &mut own) {
                found = true;
                fail_all(one, &e);
            }
        }
        if !found {
            fail_all(taking, &failed);
        }
        drop_failed(taking, rows);
    }
    None
}

fn attend_all(
    decoder: &Decoder,
    layer: u32,
    taking: &mut [Taking<'_>],
    rows: &mut Rows,
) -> Result<Feed, ComputeError> {
    let mut sequences: Vec<(&mut Sequence, usize)> =
        taking.iter_mut().map(|one| (&mut one.member.sequence, one.count)).collect();
    decoder.attend_batch(&mut sequences, layer, rows)?;
    decoder.gate(layer, rows)
}

/// The shared experts' answers member by member, after they failed together: whose rows it was drops out, with zeros.
fn each_shared(engine: &Engine, layer: u32, normed: &Rows, taking: &mut [Taking<'_>]) -> Rows {
    let firsts = firsts(taking);
    let mut all = Rows::default();
    for (first, one) in firsts.into_iter().zip(taking.iter_mut()) {
        let own = normed.slice(first, first + one.count);
        let shared = engine.decoder().shared(layer, &own);
        let shared = shared.map_err(|e| one.member.fail(e)).ok().flatten();
        // All are of one width.
        let _ = all.append(&shared.unwrap_or_else(|| Rows::zeros(one.count, normed.width())));
    }
    all
}

/// The logits that members want, in one product.
fn logits(engine: &Engine, taking: &mut [Taking<'_>], rows: &Rows) {
    let mut wanted = Vec::new();
    let mut chosen = Vec::new();
    for ((at, first), one) in firsts(taking).into_iter().enumerate().zip(taking.iter()) {
        let end = first + one.count;
        let from = match one.member.wants {
            Wants::All => first,
            Wants::Last if one.member.left() == 0 => end - 1,
            Wants::Last => continue,
        };
        wanted.push((at, chosen.len(), end - from));
        chosen.extend(from..end);
    }
    if wanted.is_empty() {
        return;
    }
    let together = rows.gather(&chosen).and_then(|rows| engine.decoder().logits(&rows));
    for (at, first, count) in wanted {
        let Some(one) = taking.get_mut(at) else { continue };
        let own = match &together {
            Ok(logits) => Ok(logits.slice(first, first + count)),
            // It may be another's fault.
            Err(_) => chosen
                .get(first..first + count)
                .map_or(Ok(Rows::default()), |own| rows.gather(own))
                .and_then(|own| engine.decoder().logits(&own)),
        };
        match own {
            Ok(logits) => one.member.keep(&logits),
            Err(e) => one.member.fail(e),
        }
    }
}

/// The first row of each.
fn firsts(taking: &[Taking<'_>]) -> Vec<usize> {
    let starts = taking.iter().scan(0, |next, one| {
        let first = *next;
        *next += one.count;
        Some(first)
    });
    starts.collect()
}

fn fail_all(taking: &mut [Taking<'_>], why: &ComputeError) {
    taking.iter_mut().for_each(|one| one.member.fail(why.clone()));
}

/// Takes those that failed out of the round, and their rows with them.
fn drop_failed(taking: &mut Vec<Taking<'_>>, rows: &mut Rows) {
    if !taking.iter().any(|one| one.member.has_failed()) {
        return;
    }
    let mut kept = Vec::with_capacity(rows.len());
    for (first, one) in firsts(taking).into_iter().zip(taking.iter()) {
        if !one.member.has_failed() {
            kept.extend(first..first + one.count);
        }
    }
    if let Ok(left) = rows.gather(&kept) {
        *rows = left;
    }
    taking.retain(|one| !one.member.has_failed());
}
