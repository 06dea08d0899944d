//! What stands on a fetch stream, as bytes, and why one came to nothing.

use std::time::Duration;

use counterfoil_spec::encode::{from_canonical, to_canonical};
use counterfoil_spec::limits::{FETCH_CHUNK_MS, FETCH_IDLE_MS, SHARD_CHUNK_BYTES};
use counterfoil_spec::refusal::Refusal;
use minicbor::{Decode, Encode};
use quinn::{ConnectionError, ReadError, ReadExactError, RecvStream, SendStream, WriteError};

use crate::end::{LaneEnd, code};

/// Why a fetch stream brought nothing, or not all. The lane is not touched by any of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The other side said no, before the first byte or by resetting the stream.
    #[error("refused with {refusal}: {detail}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// In words.
        detail: String,
    },
    /// The other side broke the rules of a fetch stream, or fell silent.
    #[error("broken off with {refusal}: {detail}")]
    Broken {
        /// Which rule.
        refusal: Refusal,
        /// In words.
        detail: String,
    },
    /// The connection is gone.
    #[error("the connection is gone: {0}")]
    Lost(String),
}

impl FetchError {
    pub(crate) fn broken(refusal: Refusal, detail: impl Into<String>) -> Self {
        Self::Broken { refusal, detail: detail.into() }
    }

    fn reset(code: quinn::VarInt) -> Self {
        let refusal = u16::try_from(code.into_inner()).ok().and_then(Refusal::from_number);
        let detail = "the other side reset the stream".to_owned();
        match refusal {
            Some(refusal) => Self::Refused { refusal, detail },
            None => Self::broken(Refusal::SessionOrder, detail),
        }
    }

    fn lost(error: &ConnectionError) -> Self {
        Self::Lost(LaneEnd::from_connection(error).to_string())
    }
}

impl From<ConnectionError> for FetchError {
    fn from(error: ConnectionError) -> Self {
        Self::lost(&error)
    }
}

impl From<ReadError> for FetchError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::reset(code),
            ReadError::ConnectionLost(error) => Self::lost(&error),
            other => Self::Lost(other.to_string()),
        }
    }
}

impl From<ReadExactError> for FetchError {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_) => {
                Self::broken(Refusal::SessionLength, "the stream ended before its bytes did")
            }
            ReadExactError::ReadError(error) => error.into(),
        }
    }
}

impl From<WriteError> for FetchError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::reset(code),
            WriteError::ConnectionLost(error) => Self::lost(&error),
            other => Self::Lost(other.to_string()),
        }
    }
}

/// A request or a header with its length before it.
pub(crate) fn framed<T: Encode<()>>(value: &T) -> Vec<u8> {
    let body = to_canonical(value);
    let mut out = Vec::with_capacity(LENGTH_BYTES + body.len());
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&body);
    out
}

/// Reads what [`framed`] makes, of at most `limit` bytes; no memory is taken for more.
pub(crate) async fn read_framed<T>(recv: &mut RecvStream, limit: usize) -> Result<T, FetchError>
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    let mut length = [0; LENGTH_BYTES];
    recv.read_exact(&mut length).await?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    //= spec/session.md#fetching
    //# A request and a header MUST NOT be longer than 1,024 bytes (`S_LENGTH`).
    if length > limit {
        let detail = format!("{length} bytes, more than {limit}");
        return Err(FetchError::broken(Refusal::SessionLength, detail));
    }
    let mut body = vec![0; length];
    recv.read_exact(&mut body).await?;
    from_canonical(&body, limit).map_err(|e| FetchError::broken(Refusal::SessionShape, e.to_string()))
}

/// Waits no longer than a side of a fetch stream may be silent.
pub(crate) async fn in_time<T, E: Into<FetchError>>(
    what: impl Future<Output = Result<T, E>>,
) -> Result<T, FetchError> {
    match tokio::time::timeout(IDLE, what).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => {
            let detail = format!("no byte for {FETCH_IDLE_MS} ms");
            Err(FetchError::broken(Refusal::SessionIdle, detail))
        }
    }
}

/// Waits no longer than a chunk may take until it was taken.
pub(crate) async fn in_chunk_time<T>(
    what: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    match tokio::time::timeout(CHUNK_TIME, what).await {
        Ok(done) => done,
        Err(_) => {
            let detail = format!("a chunk was not taken within {FETCH_CHUNK_MS} ms");
            Err(FetchError::broken(Refusal::SessionIdle, detail))
        }
    }
}

/// Tells the other side that a stream is given up, and why.
pub(crate) fn give_up(send: &mut SendStream, recv: &mut RecvStream, refusal: Refusal) {
    // An error means that the stream is closed already, which is what is wanted.
    let _ = send.reset(code(refusal));
    let _ = recv.stop(code(refusal));
}

/// Chunks in so many bytes.
pub(crate) const fn chunks(bytes: u64) -> u64 {
    bytes.div_ceil(CHUNK)
}

/// A chunk, as a length of streams.
pub(crate) const CHUNK: u64 = SHARD_CHUNK_BYTES as u64;
/// What the asker sends for each chunk that it has taken.
pub(crate) const TAKEN: u8 = 1;
/// Below the lane's, which is 0.
pub(crate) const PRIORITY: i32 = -1;
const IDLE: Duration = Duration::from_millis(FETCH_IDLE_MS);
const CHUNK_TIME: Duration = Duration::from_millis(FETCH_CHUNK_MS);
const LENGTH_BYTES: usize = 4;
