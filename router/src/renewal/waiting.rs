//! What a node asked for on its lane and was not answered yet: one after the other, in the order in which it came, and
//! beside everything else that the lane brings.

use std::collections::VecDeque;
use std::sync::Arc;

use counterfoil_session::RouterLane;
use counterfoil_spec::limits::MAX_RENEWALS;
use counterfoil_spec::message::{Renew, Renewal};
use counterfoil_spec::refusal::Refusal;
use tokio::task::JoinHandle;

use super::{begin, ended, no};
use crate::desk::Desk;

/// Of one lane.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    asked: VecDeque<Renew>,
    /// The answer to what came before those.
    deciding: Option<JoinHandle<Renewal>>,
}

impl Waiting {
    /// Takes one more; false where as many wait as may.
    //= spec/session.md#renewal
    //# A router MUST refuse a request beyond those (`S_ORDER`).
    pub(crate) fn push(&mut self, asked: Renew) -> bool {
        let waiting = self.asked.len() + usize::from(self.deciding.is_some());
        let has_room = u32::try_from(waiting).is_ok_and(|waiting| waiting < MAX_RENEWALS);
        if has_room {
            self.asked.push_back(asked);
        }
        has_room
    }

    /// Waits for the next answer. May be dropped and called again.
    //= spec/session.md#renewal
    //# A router MUST answer the requests of a lane in the order in which they came; the first certificate is the node's.
    pub(crate) async fn answer(&mut self, desk: &Arc<Desk>, lane: &RouterLane) -> Renewal {
        if self.deciding.is_none() {
            let Some(asked) = self.asked.pop_front() else { return std::future::pending().await };
            match lane.renewal_exporter() {
                Ok(exporter) => self.deciding = Some(begin(desk, lane.node(), asked, exporter)),
                Err(end) => return no(desk, (Refusal::SessionInternal, end.to_string())),
            }
        }
        let Some(deciding) = &mut self.deciding else { return std::future::pending().await };
        let decided = deciding.await;
        self.deciding = None;
        ended(desk, decided)
    }
}
