//! The three ranges of an expert as one stream of chunks, begun again where it broke.

use std::sync::Arc;
use std::time::Duration;

use counterfoil_https::Address;
use counterfoil_spec::limits::SHARD_CHUNK_BYTES;

use super::ask::RangeBody;
use super::{Hub, HubError};
use crate::backoff::Backoff;

/// Attempts that bring no byte, one after the other.
const MAX_ATTEMPTS: usize = 5;
/// How long a chunk may take, all attempts together: a slower repository is of no use.
const CHUNK_TIME: Duration = Duration::from_secs(60);

/// The shard of one expert out of a repository.
pub(crate) struct HubShard {
    hub: Arc<Hub>,
    /// File, first byte and length of gate, up and down.
    parts: Vec<(Address, u64, u64)>,
    /// Bytes of the shard that were read.
    position: u64,
    size: u64,
    body: Option<RangeBody>,
    chunk: Vec<u8>,
}

impl HubShard {
    pub(super) fn new(hub: Arc<Hub>, parts: Vec<(Address, u64, u64)>, position: u64) -> Self {
        let size = parts.iter().map(|(_, _, length)| length).sum();
        Self { hub, parts, position, size, body: None, chunk: Vec::new() }
    }

    /// The next chunk, whole.
    ///
    /// # Errors
    /// [`HubError`], once trying again did not help.
    pub(crate) async fn chunk(&mut self) -> Result<Vec<u8>, HubError> {
        match tokio::time::timeout(CHUNK_TIME, self.whole_chunk()).await {
            Ok(done) => done,
            Err(_) => {
                self.body = None;
                let url = self.hub.endpoint.to_string();
                Err(HubError::Answer {
                    url,
                    why: format!("no whole chunk within {} s", CHUNK_TIME.as_secs()),
                })
            }
        }
    }

    async fn whole_chunk(&mut self) -> Result<Vec<u8>, HubError> {
        let whole = u64::try_from(SHARD_CHUNK_BYTES).unwrap_or(u64::MAX);
        let begun = u64::try_from(self.chunk.len()).unwrap_or(0);
        let length = (self.size - (self.position - begun)).min(whole);
        let length = usize::try_from(length).unwrap_or(SHARD_CHUNK_BYTES);
        let mut backoff = Backoff::default();
        let mut attempts = 0;
        while self.chunk.len() < length {
            let before = self.position;
            let Err(error) = self.more(length).await else { continue };
            let HubError::Broken { after_s, .. } = &error else { return Err(error) };
            self.body = None;
            attempts = if self.position > before { 1 } else { attempts + 1 };
            if attempts >= MAX_ATTEMPTS {
                return Err(error);
            }
            let wait = after_s.map_or_else(|| backoff.next(), Duration::from_secs);
            tracing::debug!(%error, wait_ms = wait.as_millis(), "a range broke off; asking again");
            tokio::time::sleep(wait).await;
        }
        Ok(std::mem::take(&mut self.chunk))
    }

    /// Reads on, in the range where the shard stands, until the chunk or the range is full.
    async fn more(&mut self, length: usize) -> Result<(), HubError> {
        if self.body.is_none() {
            let mut begins = 0;
            for (file, first, bytes) in &self.parts {
                if self.position < begins + bytes {
                    let into = self.position - begins;
                    self.body = Some(self.hub.range(file, first + into, bytes - into).await?);
                    break;
                }
                begins += bytes;
            }
        }
        let Some(body) = &mut self.body else {
            let (url, why) = (self.hub.endpoint.to_string(), "no part is left".to_owned());
            return Err(HubError::Answer { url, why });
        };
        while self.chunk.len() < length {
            let Some(piece) = body.piece(length - self.chunk.len()).await? else {
                self.body = None;
                return Ok(());
            };
            self.position += u64::try_from(piece.len()).unwrap_or(0);
            self.chunk.extend_from_slice(&piece);
        }
        Ok(())
    }
}
