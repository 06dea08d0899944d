//! The fixed header, and everything that can be wrong with a frame.

use counterfoil_spec::encode::DecodeError;
use counterfoil_spec::limits::{MAX_CONTROL_BYTES, MAX_FRAME_BYTES};
use counterfoil_spec::refusal::Refusal;

use super::words::{u16_at, u32_at, u64_at};

/// The length of every header.
pub const HEADER_BYTES: usize = 40;
/// Where the MAC begins; it covers the bytes before it.
pub const MAC_OFFSET: usize = 24;

/// What a frame's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A control message.
    Control,
    /// Rows for experts.
    Dispatch,
    /// What the experts made of them.
    Combine,
}

impl Kind {
    /// The number that travels.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Control => 1,
            Self::Dispatch => 2,
            Self::Combine => 3,
        }
    }

    /// Reads a number; `None` for one that is not assigned.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Control),
            2 => Some(Self::Dispatch),
            3 => Some(Self::Combine),
            _ => None,
        }
    }

    /// The most bytes that its body may have.
    #[must_use]
    pub const fn max_body_bytes(self) -> usize {
        match self {
            Self::Control => MAX_CONTROL_BYTES,
            Self::Dispatch | Self::Combine => MAX_FRAME_BYTES - HEADER_BYTES,
        }
    }
}

/// The first 40 bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes after the header.
    pub len: u32,
    /// What they are.
    pub kind: Kind,
    /// Under which consent token of this lane: its k-th `Welcome`, counted from zero. Zero in control frames.
    pub token_slot: u16,
    /// Rising by one with every frame that carries a MAC, per direction. Zero in control frames.
    pub counter: u64,
    /// The router's number for a dispatch, repeated by its combine. Zero in control frames.
    pub seq: u32,
    /// Over the 24 bytes before it. Zero in control frames.
    pub mac: [u8; 16],
}

impl FrameHeader {
    /// The header of a control frame.
    #[must_use]
    pub const fn control(len: u32) -> Self {
        Self { len, kind: Kind::Control, token_slot: 0, counter: 0, seq: 0, mac: [0; 16] }
    }

    /// The 24 bytes that the MAC covers.
    #[must_use]
    pub fn authenticated(&self) -> [u8; MAC_OFFSET] {
        let mut out = [0; MAC_OFFSET];
        let fields: [&[u8]; 6] = [
            &self.len.to_le_bytes(),
            &[self.kind.number(), 0],
            &self.token_slot.to_le_bytes(),
            &self.counter.to_le_bytes(),
            &self.seq.to_le_bytes(),
            &[0; 4],
        ];
        for (to, from) in out.iter_mut().zip(fields.iter().copied().flatten()) {
            *to = *from;
        }
        out
    }

    /// All 40 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let covered = self.authenticated();
        for (to, from) in out.iter_mut().zip(covered.iter().chain(self.mac.iter())) {
            *to = *from;
        }
        out
    }

    /// Reads a header and checks its length against the limit of its kind.
    ///
    /// # Errors
    /// [`FrameError`] names the first thing that was wrong.
    pub fn read(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let (len, kind, zero, reserved) =
            (u32_at(bytes, 0), u16_at(bytes, 4).to_le_bytes(), 0_u8, u32_at(bytes, 20));
        let [number, flags] = kind;
        let kind = Kind::from_number(number).ok_or(FrameError::Kind(number))?;
        let limit = kind.max_body_bytes();
        if usize::try_from(len).is_ok_and(|len| len > limit) {
            return Err(FrameError::TooLong { len: u64::from(len), limit });
        }
        if flags != zero || reserved != 0 {
            return Err(FrameError::Reserved);
        }
        let mut mac = [0; 16];
        for (to, from) in mac.iter_mut().zip(bytes.iter().skip(MAC_OFFSET)) {
            *to = *from;
        }
        let header = Self {
            len,
            kind,
            token_slot: u16_at(bytes, 6),
            counter: u64_at(bytes, 8),
            seq: u32_at(bytes, 16),
            mac,
        };
        if kind == Kind::Control && header != Self::control(len) {
            return Err(FrameError::Reserved);
        }
        Ok(header)
    }

    /// The length of the body.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }
}

/// What is wrong with a frame; always its sender's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More bytes than its kind allows.
    #[error("a body of {len} bytes, more than the limit of {limit}")]
    TooLong {
        /// What was announced.
        len: u64,
        /// What is allowed.
        limit: usize,
    },
    /// A kind without a meaning, or one that this side does not take.
    #[error("frame kind {0} is not taken here")]
    Kind(u8),
    /// A reserved field is not zero.
    #[error("a reserved field is not zero")]
    Reserved,
    /// The body is shorter or longer than its counts say.
    #[error("a body of {have} bytes where its counts ask for {want}")]
    Length {
        /// What the counts ask for.
        want: u64,
        /// What is there.
        have: usize,
    },
    /// No rows, no segments, or more than a frame may hold.
    #[error("{segments} segments and {rows} rows; a frame has 1 to 512 rows and no more segments than rows")]
    Rows {
        /// Segments.
        segments: usize,
        /// Rows.
        rows: usize,
    },
    /// The counts of the parts do not add up to the count of the whole.
    #[error("the counts of the parts do not add up")]
    Sum,
    /// A row names no expert, too many, or not in rising order.
    #[error("row {0} must name 1 to 64 experts in rising order")]
    Experts(usize),
    /// A row's form is neither separate nor summed.
    #[error("row {0} has a form that is not assigned")]
    Form(usize),
    /// An encoding without a meaning.
    #[error("encoding {0} of rows is not assigned")]
    Encoding(u8),
    /// Rows whose length is no multiple of 32 travel in blocks of 32.
    #[error("rows of {0} values cannot travel as int8: that is no multiple of 32")]
    Blocks(u32),
    /// A byte that no quantisation gives.
    #[error("row {0} holds a byte of -128")]
    Byte(usize),
    /// A scale that is negative or not finite.
    #[error("row {0} holds a scale that is negative or not finite")]
    Scale(usize),
    /// The positions of a segment do not rise.
    #[error("the position of row {0} does not rise")]
    Position(usize),
    /// A refusal number that is not assigned, or rows under a refusal.
    #[error("segment {0} has an outcome that is not assigned")]
    Outcome(usize),
    /// The answer to this dispatch would not fit into a frame.
    #[error("its answer would take {0} bytes; send fewer rows, or rows to be summed")]
    Answer(u64),
    /// A control message that cannot be read.
    #[error("a control message is {0}")]
    Control(#[from] DecodeError),
}

impl FrameError {
    /// The refusal that answers it.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::TooLong { .. } | Self::Control(DecodeError::TooLong { .. }) => Refusal::SessionLength,
            _ => Refusal::SessionShape,
        }
    }
}
