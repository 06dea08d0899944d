//! The answering side of fetch streams.

use counterfoil_spec::fetch::{FetchHeader, FetchOffer, FetchRequest};
use counterfoil_spec::ids::NodeId;
use counterfoil_spec::limits::{
    MAX_FETCH_CHUNKS_AHEAD, MAX_FETCH_HEADER_BYTES, MAX_FETCH_NOT_FROM, MAX_FETCH_REQUEST_BYTES,
    SHARD_CHUNK_BYTES,
};
use counterfoil_spec::refusal::Refusal;
use quinn::{Connection, RecvStream, SendStream};
use tokio::task::JoinSet;

use super::wire::{
    CHUNK, FetchError, PRIORITY, TAKEN, chunks, framed, give_up, in_chunk_time, in_time, read_framed,
};

/// Where the other side of a connection asks.
#[derive(Debug, Clone)]
pub struct FetchDoor {
    connection: Connection,
}

impl FetchDoor {
    pub(crate) const fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Answers until the connection ends. Each request is read and answered in a task of its own, so that none holds
    /// up another; QUIC lets the other side open no more streams than may be.
    pub async fn serve<A, F>(self, answer: A)
    where
        A: Fn(FetchRequest, Reply) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                opened = self.connection.accept_bi() => {
                    let Ok((send, recv)) = opened else { return };
                    let answer = answer.clone();
                    tasks.spawn(async move {
                        let mut reply = Reply { send, recv };
                        if let Some(request) = reply.read().await {
                            answer(request, reply).await;
                        }
                    });
                }
                Some(_) = tasks.join_next() => {}
            }
        }
    }
}

/// A request that is to be answered. Dropped, it is broken off.
#[derive(Debug)]
pub struct Reply {
    send: SendStream,
    recv: RecvStream,
}

impl Reply {
    /// The request, whole and within its limits; otherwise the stream has been reset.
    async fn read(&mut self) -> Option<FetchRequest> {
        // Only its own bytes wait behind those of the lane, so a stream that is closed already is no matter.
        let _ = self.send.set_priority(PRIORITY);
        let request = in_time(read_framed(&mut self.recv, MAX_FETCH_REQUEST_BYTES)).await;
        let refusal = match request {
            Ok(FetchRequest::Shard(shard)) if shard.not_from.len() > MAX_FETCH_NOT_FROM => {
                Refusal::SessionLength
            }
            Ok(request) => return Some(request),
            Err(FetchError::Broken { refusal, .. }) => refusal,
            Err(_) => Refusal::SessionOrder,
        };
        give_up(&mut self.send, &mut self.recv, refusal);
        None
    }

    /// Says no.
    pub async fn refuse(mut self, refusal: Refusal, detail: &str) {
        let room = MAX_FETCH_HEADER_BYTES / 2;
        let cut = detail.char_indices().map(|(at, _)| at).find(|at| *at > room).unwrap_or(detail.len());
        let detail = detail.get(..cut).unwrap_or_default().to_owned();
        // Whoever asked may be gone.
        let _ = in_time(self.send.write_all(&framed(&FetchHeader::Refused(refusal, detail.into())))).await;
        let _ = self.send.finish();
    }

    /// Offers so many bytes of a source; they are to be sent then.
    ///
    /// # Errors
    /// [`FetchError`] where the asker is gone or wants no more.
    pub async fn offer(mut self, from: NodeId, length: u64) -> Result<Body, FetchError> {
        let header = FetchHeader::Offer(FetchOffer { from, length });
        in_time(self.send.write_all(&framed(&header))).await?;
        Ok(Body { send: self.send, recv: self.recv, left: length, ahead: 0 })
    }

    /// Offers bytes that are at hand, and sends them.
    ///
    /// # Errors
    /// [`FetchError`] where the asker is gone or wants no more.
    pub async fn whole(self, from: NodeId, bytes: &[u8]) -> Result<(), FetchError> {
        let mut body = self.offer(from, u64::try_from(bytes.len()).unwrap_or(u64::MAX)).await?;
        for chunk in bytes.chunks(SHARD_CHUNK_BYTES) {
            body.chunk(chunk).await?;
        }
        body.finish().await
    }
}

/// An answer that is being sent. Dropped before it is finished, it is broken off.
#[derive(Debug)]
pub struct Body {
    send: SendStream,
    recv: RecvStream,
    left: u64,
    /// Chunks that were sent and not yet taken.
    ahead: usize,
}

impl Body {
    /// Sends the next chunk, once the asker has taken enough of those before. All but the last one are whole.
    ///
    /// # Errors
    /// [`FetchError`] where the asker is gone, silent, or wants no more.
    pub async fn chunk(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length != self.left.min(CHUNK) {
            let detail = format!("a chunk of {length} bytes with {} to send", self.left);
            return Err(self.fail(FetchError::broken(Refusal::SessionInternal, detail)));
        }
        //= spec/session.md#fetching
        //# An answerer MUST NOT have sent more than 4 chunks beyond those that were taken
        while self.ahead >= MAX_FETCH_CHUNKS_AHEAD {
            if let Err(error) = self.taken().await {
                return Err(self.fail(error));
            }
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match in_time(self.send.write(rest)).await {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(error) => return Err(self.fail(error)),
            }
        }
        self.ahead += 1;
        self.left -= length;
        Ok(())
    }

    /// How many chunks are still to be sent.
    #[must_use]
    pub const fn left(&self) -> u64 {
        chunks(self.left)
    }

    /// Ends the answer and waits until the asker has taken it.
    ///
    /// # Errors
    /// [`FetchError`] where bytes are missing, or the asker broke off.
    pub async fn finish(mut self) -> Result<(), FetchError> {
        if self.left > 0 {
            let detail = format!("{} bytes were offered and not sent", self.left);
            return Err(self.fail(FetchError::broken(Refusal::SessionInternal, detail)));
        }
        let _ = self.send.finish();
        self.taken_all().await
    }

    /// Waits until the asker has taken what was sent.
    ///
    /// # Errors
    /// [`FetchError`] where it is gone, silent, or wants no more.
    pub async fn taken_all(&mut self) -> Result<(), FetchError> {
        while self.ahead > 0 {
            if let Err(error) = self.taken().await {
                return Err(self.fail(error));
            }
        }
        Ok(())
    }

    /// Gives the answer up, and tells the asker why.
    pub fn give_up(mut self, refusal: Refusal) {
        give_up(&mut self.send, &mut self.recv, refusal);
    }

    /// Waits until more chunks were taken.
    async fn taken(&mut self) -> Result<(), FetchError> {
        let mut said = [0; MAX_FETCH_CHUNKS_AHEAD];
        //= spec/session.md#fetching
        //# An answerer that waits for a chunk to be taken waits for 120 seconds instead
        let Some(n) = in_chunk_time(async { Ok(self.recv.read(&mut said).await?) }).await? else {
            return Err(FetchError::broken(Refusal::SessionOrder, "the asker takes no more"));
        };
        let said = said.get(..n).unwrap_or_default();
        if n > self.ahead || said.iter().any(|byte| *byte != TAKEN) {
            return Err(FetchError::broken(Refusal::SessionShape, "chunks were taken that were not sent"));
        }
        self.ahead -= n;
        Ok(())
    }

    fn fail(&mut self, error: FetchError) -> FetchError {
        if let FetchError::Broken { refusal, .. } = &error {
            give_up(&mut self.send, &mut self.recv, *refusal);
        }
        error
    }
}
