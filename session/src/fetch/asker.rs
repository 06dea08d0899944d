//! The asking side of fetch streams.

use std::sync::Arc;

use counterfoil_spec::fetch::{FetchHeader, FetchOffer, FetchRequest};
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::limits::{MAX_FETCH_HEADER_BYTES, MAX_FETCH_STREAMS, SHARD_CHUNK_BYTES};
use counterfoil_spec::refusal::Refusal;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::wire::{CHUNK, FetchError, PRIORITY, TAKEN, framed, give_up, in_chunk_time, in_time, read_framed};

/// Asks the other side of a connection; clones share its few streams.
#[derive(Debug, Clone)]
pub struct Fetcher {
    pub(crate) connection: Connection,
    streams: Arc<Semaphore>,
}

impl Fetcher {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, streams: Arc::new(Semaphore::new(MAX_FETCH_STREAMS)) }
    }

    /// Whether a request would leave at once, or wait for another one's end.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.streams.available_permits() > 0
    }

    /// Asks, and waits for the header. Waits first where as many requests as may be are under way.
    ///
    /// # Errors
    /// [`FetchError`]; what was refused leaves nothing behind.
    pub async fn ask(&self, request: &FetchRequest) -> Result<Answer, FetchError> {
        let gone = |_| FetchError::Lost("nobody asks any more".to_owned());
        //= spec/session.md#the-connection
        //# Neither side MUST let the other have more than 4 fetch streams open at a time, or open a unidirectional stream.
        let place = Arc::clone(&self.streams).acquire_owned().await.map_err(gone)?;
        let (mut send, mut recv) = in_time(self.connection.open_bi()).await?;
        // A stream that was just opened is not closed.
        let _ = send.set_priority(PRIORITY);
        in_time(send.write_all(&framed(request))).await?;
        match in_time(read_framed(&mut recv, MAX_FETCH_HEADER_BYTES)).await {
            Ok(FetchHeader::Offer(offer)) => {
                Ok(Answer { offer, left: offer.length, untaken: false, send, recv, _place: place })
            }
            Ok(FetchHeader::Refused(refusal, words)) => {
                Err(FetchError::Refused { refusal, detail: words.to_string() })
            }
            Err(error) => {
                if let FetchError::Broken { refusal, .. } = &error {
                    give_up(&mut send, &mut recv, *refusal);
                }
                Err(error)
            }
        }
    }

    /// Asks for something small and reads it whole; an offer of more than `limit` bytes is not read.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn whole(&self, request: &FetchRequest, limit: usize) -> Result<(NodeId, Vec<u8>), FetchError> {
        let mut answer = self.ask(request).await?;
        if answer.length() > u64::try_from(limit).unwrap_or(u64::MAX) {
            let detail = format!("an offer of {} bytes, more than {limit}", answer.length());
            answer.give_up(Refusal::SessionLength);
            return Err(FetchError::broken(Refusal::SessionLength, detail));
        }
        let mut out = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            out.extend_from_slice(&chunk);
        }
        Ok((answer.from(), out))
    }
}

/// An answer whose bytes are still to be read.
#[derive(Debug)]
pub struct Answer {
    offer: FetchOffer,
    left: u64,
    /// Whether the chunk that was given last is not yet said to be taken.
    untaken: bool,
    send: SendStream,
    recv: RecvStream,
    _place: OwnedSemaphorePermit,
}

impl Answer {
    /// Whose bytes these are, where a router relays them as well.
    #[must_use]
    pub const fn from(&self) -> NodeId {
        self.offer.from
    }

    /// How many bytes the whole answer has.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.offer.length
    }

    /// The next chunk, whole; nothing after the last one. Asking for it says that the one before was taken.
    ///
    /// # Errors
    /// [`FetchError`]; then there is nothing more to come.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, FetchError> {
        let next = self.read().await;
        if let Err(FetchError::Broken { refusal, .. }) = &next {
            give_up(&mut self.send, &mut self.recv, *refusal);
        }
        next
    }

    async fn read(&mut self) -> Result<Option<Vec<u8>>, FetchError> {
        if std::mem::take(&mut self.untaken) {
            let said = in_time(self.send.write_all(&[TAKEN])).await;
            if self.left > 0 {
                said?;
            }
        }
        if self.left == 0 {
            // It does not matter whether the other side still waits for this.
            let _ = self.send.finish();
            let mut beyond = [0];
            return match in_time(self.recv.read(&mut beyond)).await? {
                None => Ok(None),
                Some(_) => Err(FetchError::broken(Refusal::SessionLength, "more bytes than were offered")),
            };
        }
        let length = usize::try_from(self.left.min(CHUNK)).unwrap_or(SHARD_CHUNK_BYTES);
        //= spec/session.md#fetching
        //# An asker that was not brought a whole chunk within 120 seconds resets the stream in the same way.
        let chunk = in_chunk_time(fill(&mut self.recv, length)).await?;
        self.left -= u64::try_from(length).unwrap_or(self.left);
        self.untaken = true;
        Ok(Some(chunk))
    }

    /// Wants no more of it, and tells the other side why.
    pub fn give_up(mut self, refusal: Refusal) {
        give_up(&mut self.send, &mut self.recv, refusal);
    }
}

/// Reads so many bytes.
async fn fill(recv: &mut RecvStream, length: usize) -> Result<Vec<u8>, FetchError> {
    let mut chunk = vec![0; length];
    let mut rest = chunk.as_mut_slice();
    while !rest.is_empty() {
        let Some(n) = in_time(recv.read(rest)).await? else {
            let detail = "the stream ended before its bytes did";
            return Err(FetchError::broken(Refusal::SessionLength, detail));
        };
        rest = rest.get_mut(n..).unwrap_or_default();
    }
    Ok(chunk)
}
