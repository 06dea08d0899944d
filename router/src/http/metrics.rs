//! Counters in Prometheus' text format at `GET /metrics`.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use super::refusals::Refusals;

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident, $name:literal, $help:literal;)+) => {
        /// What the router has counted since it started.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics {
            $($(#[$doc])* pub(crate) $field: Counter,)+
            /// What was refused, by code.
            pub(crate) refusals: Refusals,
        }

        impl Metrics {
            /// The exposition text.
            #[must_use]
            pub(crate) fn render(&self) -> String {
                let mut out = String::new();
                $(
                    let _ = writeln!(out, "# HELP {} {}\n# TYPE {} counter\n{} {}",
                        $name, $help, $name, $name, self.$field.value());
                )+
                self.refusals.render(&mut out);
                out
            }
        }
    };
}

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(crate) fn one(&self) {
        self.more(1);
    }

    /// `n` more.
    pub(crate) fn more(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

counters! {
    /// Requests for an answer.
    requests, "counterfoil_requests_total", "Chat requests that were admitted.";
    /// Those that ended in an answer.
    answers, "counterfoil_answers_total", "Chat requests that ended with an answer.";
    /// Those that failed.
    failures, "counterfoil_failures_total", "Chat requests that failed after admission.";
    /// Those that were refused.
    refused, "counterfoil_refused_total", "Chat requests that were refused before any work.";
    /// Prompt tokens.
    prompt_tokens, "counterfoil_prompt_tokens_total", "Prompt tokens of answered requests.";
    /// Completion tokens.
    completion_tokens, "counterfoil_completion_tokens_total", "Completion tokens of answered requests.";
    /// Dispatch frames.
    dispatches, "counterfoil_dispatches_total", "Dispatch frames sent to nodes.";
    /// Dispatches sent again because a node failed.
    redispatches, "counterfoil_redispatches_total", "Dispatches repeated at a replica after a node failed.";
    /// Frames sent a second time, elsewhere.
    hedges, "counterfoil_hedges_total", "Dispatches whose rows were sent to other nodes too, because an answer was late.";
    /// Those that were answered elsewhere first.
    hedges_first, "counterfoil_hedges_first_total", "Hedges that were answered before what they stood in for.";
    /// Rounds of batches.
    rounds, "counterfoil_rounds_total", "Passes of a batch of requests through all layers of a model.";
    /// Rows in them.
    round_rows, "counterfoil_round_rows_total", "Rows in those passes; with the passes, how full they are.";
    /// Invoices that were not booked.
    payments_refused, "counterfoil_payments_refused_total", "Events about payments of customers of which nothing was booked; the program's output names why.";
    /// Peers refused.
    peers_refused, "counterfoil_peers_refused_total", "Connections, enrolments and consent tokens that were refused.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_rendered_with_its_type() {
        let metrics = Metrics::default();
        metrics.requests.more(3);
        let text = metrics.render();
        assert!(
            text.contains("# TYPE counterfoil_requests_total counter\ncounterfoil_requests_total 3\n"),
            "{text}"
        );
    }
}
