//! Why a lane ended, and what a caller is told then.

use counterfoil_spec::ids::NodeId;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::text::shown;
use quinn::{ConnectionError, TransportErrorCode, VarInt};

use crate::endpoint::is_revoked;
use crate::frame::FrameError;

/// Who ended a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneEnd {
    /// The other side closed it with a refusal.
    RefusedByPeer(Refusal, String),
    /// This side closed it with a refusal.
    RefusedHere(Refusal, String),
    /// It broke: no answer for too long, or a transport fault.
    Lost(String),
}

impl std::fmt::Display for LaneEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RefusedByPeer(refusal, detail) => write!(f, "the other side closed it: {refusal} {detail}"),
            Self::RefusedHere(refusal, detail) => write!(f, "closed here: {refusal} {detail}"),
            Self::Lost(detail) => write!(f, "lost: {detail}"),
        }
    }
}

impl LaneEnd {
    /// Reads quinn's account of a closed connection.
    #[must_use]
    pub fn from_connection(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let refusal =
                    u16::try_from(close.error_code.into_inner()).ok().and_then(Refusal::from_number);
                let detail = shown(&String::from_utf8_lossy(&close.reason));
                refusal
                    .map_or_else(|| Self::Lost(shown(&error.to_string())), |r| Self::RefusedByPeer(r, detail))
            }
            ConnectionError::ConnectionClosed(close) if is_revoked(close.error_code) => {
                let words = "this node, or its certificate, is on the deny list";
                Self::RefusedByPeer(Refusal::CertDenied, words.to_owned())
            }
            ConnectionError::TransportError(fault) => match broken(fault.code) {
                Some(refusal) => Self::RefusedHere(refusal, fault.to_string()),
                None => Self::Lost(shown(&error.to_string())),
            },
            ConnectionError::TimedOut => Self::Lost(format!("nothing heard for {IDLE} ms")),
            other => Self::Lost(shown(&other.to_string())),
        }
    }
}

/// What of this protocol a peer broke where this side's QUIC ended the connection for it.
fn broken(code: TransportErrorCode) -> Option<Refusal> {
    //= spec/session.md#the-connection
    //# QUIC itself ends the connection of a peer that opens a stream beyond these, with its error STREAM_LIMIT_ERROR, and of one that sends a datagram, with PROTOCOL_VIOLATION
    match code {
        TransportErrorCode::STREAM_LIMIT_ERROR => Some(Refusal::SessionStream),
        TransportErrorCode::PROTOCOL_VIOLATION | TransportErrorCode::FRAME_ENCODING_ERROR => {
            Some(Refusal::SessionShape)
        }
        _ => None,
    }
}

/// A refusal as QUIC's application error code.
pub(crate) fn code(refusal: Refusal) -> VarInt {
    VarInt::from(refusal.number())
}

const IDLE: u32 = crate::transport::IDLE_TIMEOUT_MS;

/// Why a call on a lane did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// The lane is gone; send the work to another node.
    #[error("the lane to node {node} is closed ({end})")]
    Closed {
        /// Whose lane.
        node: NodeId,
        /// Why.
        end: LaneEnd,
    },
    /// The node refused this request.
    #[error("node {node} refused with {refusal}: {detail}")]
    Refused {
        /// Who.
        node: NodeId,
        /// Why.
        refusal: Refusal,
        /// In words.
        detail: String,
    },
    /// More is waiting for this node than a lane holds; send the work to another node or later.
    #[error("node {node} does not keep up: {waiting} are waiting")]
    Congested {
        /// Who.
        node: NodeId,
        /// Dispatches or bytes that wait.
        waiting: usize,
    },
    /// The caller made a frame that nobody may send.
    #[error("a frame that cannot be sent: {0}")]
    Frame(#[from] FrameError),
    /// The caller named a grant slot that is not open on this lane.
    #[error("grant slot {0} is not open on this lane")]
    NotOpen(u32),
    /// The caller named a grant slot that is in use.
    #[error("grant slot {0} is in use on this lane")]
    InUse(u32),
}
