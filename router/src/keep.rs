//! What the router does at its start and by the clock.

use std::sync::Arc;
use std::time::Duration;

use crate::admin::{AdminCommand, execute};
use crate::desk::Desk;
use crate::office::{Office, entry};
use crate::vault::erasure::{self, Whose};

/// How often uptime is written down.
const UPTIME_EVERY: Duration = Duration::from_secs(600);
/// For how many days salts are kept where nothing is said: as long as an auditor's key may live.
pub const DEFAULT_SALT_DAYS: u64 = 400;
/// How often salts are looked for that are older.
const SALTS_EVERY: Duration = Duration::from_secs(3600);
/// How often payouts are asked after that are not settled.
const PAYOUTS_EVERY: Duration = Duration::from_secs(3600);

/// Begins all of it.
pub(crate) fn begin(desk: &Arc<Desk>, salt_days: u64) {
    tokio::spawn(crate::deny::herald(Arc::clone(desk)));
    tokio::spawn(crate::authority::keep(Arc::clone(desk)));
    tokio::spawn(uptime(Arc::clone(desk)));
    tokio::spawn(salts(Arc::clone(desk), salt_days));
    tokio::spawn(payouts(Arc::clone(desk)));
}

/// Says what the log's recovery cut off, where it did.
pub(crate) fn tell_torn_tail(office: &Office) {
    let bytes = office.opened().torn_bytes;
    if bytes > 0 {
        tracing::warn!(bytes, "TornTail: the end of the log was not committed and is cut off");
    }
}

/// Writes uptime down now and then.
async fn uptime(desk: Arc<Desk>) {
    let mut tick = tokio::time::interval(UPTIME_EVERY);
    tick.tick().await;
    loop {
        tick.tick().await;
        write_uptime(&desk).await;
    }
}

/// Asks what became of payouts: an event that says so may have been lost.
async fn payouts(desk: Arc<Desk>) {
    let mut tick = tokio::time::interval(PAYOUTS_EVERY);
    tick.tick().await;
    loop {
        tick.tick().await;
        desk.payday.look_at_all(&desk.office, desk.home.path()).await;
    }
}

/// Erases salts that were kept for long enough, at the start and now and then.
async fn salts(desk: Arc<Desk>, days: u64) {
    let mut tick = tokio::time::interval(SALTS_EVERY);
    let brought_back = Arc::clone(&desk);
    let again = tokio::task::spawn_blocking(move || {
        let _alone = brought_back.office.decide();
        let said = brought_back.office.books().tombstones.clone();
        erasure::again(&brought_back.home.path().join("vault"), &said)
    });
    match again.await {
        Ok(Ok(0)) => {}
        Ok(Ok(salts)) => {
            tracing::warn!(salts, "the vault is an older copy; what the log says is erased was erased again")
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "what the log says is erased could not be looked for in the vault")
        }
        Err(error) => {
            tracing::error!(%error, "what the log says is erased could not be looked for in the vault")
        }
    }
    loop {
        tick.tick().await;
        let desk = Arc::clone(&desk);
        let swept = tokio::task::spawn_blocking(move || {
            let whose = Whose::OlderThanDays(days);
            execute(&desk.office, &desk.home, AdminCommand::VaultErase { whose })
        });
        //= spec/audit-log.md#erasure
        //# A router MUST erase by itself the salts of requests that started on earlier days of UTC, with one `tombstone` for each sweep
        //# that found any.
        match swept.await {
            Ok(Ok(erased)) => tracing::debug!(%erased, "salts that were kept for long enough"),
            Ok(Err(e)) => {
                tracing::error!(error = %e, "salts that were kept for long enough could not be erased")
            }
            Err(e) => tracing::error!(error = %e, "salts that were kept for long enough could not be erased"),
        }
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
