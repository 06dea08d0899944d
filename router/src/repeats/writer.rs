//! The one thread that writes the file of keys: what came meanwhile is written as one group, with one sync.

use std::sync::mpsc;

use tokio::sync::oneshot;

use super::Shared;
use super::file::{MAX_GROUP, Marks, Record};

/// The way to the thread; it ends once this is gone. As many may wait as requests may run.
#[derive(Debug)]
pub(super) struct Writer {
    asks: mpsc::Sender<Ask>,
}

#[derive(Debug)]
struct Ask {
    record: Record,
    tell: oneshot::Sender<Result<(), String>>,
}

impl Writer {
    /// Writes to this file from now on.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub(super) fn begin(marks: Marks, state: Shared) -> std::io::Result<Self> {
        let (asks, asked) = mpsc::channel();
        std::thread::Builder::new()
            .name("idempotency-keys".to_owned())
            .spawn(move || serve(marks, &state, &asked))?;
        Ok(Self { asks })
    }

    /// Writes a record; durable, and known to the state, when it returns.
    pub(super) async fn write(&self, record: Record) -> Result<(), String> {
        let ended = || "the router is going away".to_owned();
        let (tell, told) = oneshot::channel();
        self.asks.send(Ask { record, tell }).map_err(|_| ended())?;
        told.await.map_err(|_| ended())?
    }
}

fn serve(mut marks: Marks, state: &Shared, asked: &mpsc::Receiver<Ask>) {
    while let Ok(first) = asked.recv() {
        let group: Vec<Ask> = std::iter::once(first).chain(asked.try_iter().take(MAX_GROUP - 1)).collect();
        let records: Vec<Record> = group.iter().map(|ask| ask.record).collect();
        let written = marks.write(&records, || state.lock().records()).map_err(|e| e.to_string());
        if let Err(e) = &written {
            tracing::error!(error = %e, "Idempotency-Keys cannot be written; requests with one are refused");
        }
        for ask in group {
            // Before it is told, so that a file that is written anew has it.
            if written.is_ok() {
                state.lock().recorded(&ask.record);
            }
            let _ = ask.tell.send(written.clone());
        }
    }
}
