//! What the router does by the clock.

use std::sync::Arc;
use std::time::Duration;

use crate::desk::Desk;
use crate::office::entry;

/// How often uptime is written down.
const UPTIME_EVERY: Duration = Duration::from_secs(600);

/// Writes uptime down now and then.
pub(crate) async fn uptime(desk: Arc<Desk>) {
    let mut tick = tokio::time::interval(UPTIME_EVERY);
    tick.tick().await;
    loop {
        tick.tick().await;
        write_uptime(&desk).await;
    }
}

/// Writes down how long each node was up since the last time.
pub(crate) async fn write_uptime(desk: &Desk) {
    let entries: Vec<_> = {
        let now = desk.office.now();
        desk.registry.expire(now.seconds());
        desk.registry.meter().take(now).into_iter().map(entry).collect()
    };
    if entries.is_empty() {
        return;
    }
    if let Err(e) = desk.office.append(entries).await {
        tracing::error!(error = %e, "uptime could not be logged");
    }
}
