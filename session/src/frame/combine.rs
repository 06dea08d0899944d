//! The body of a combine: what a node's experts made of a dispatch, segment by segment.
//!
//! ```text
//! body = { 0: u32 compute µs, 4: u32 hidden, 8: u16 segments, 10: u16 rows, 12: u32 vectors }
//!      ‖ segments × { u32 grant slot, u16 refusal (0 served), u16 rows }
//!      ‖ rows     × { u16 vectors, u8 form (0 separate, 1 summed), u8 zero }
//!      ‖ vectors × hidden × f32
//! ```
//!
//! A segment that is refused has no rows here, and the others are served all the same.

use bytes::BufMut;
use counterfoil_spec::limits::MAX_ROW_EXPERTS;
use counterfoil_spec::refusal::Refusal;

use super::dispatch::{Dispatch, check_counts};
use super::header::{FrameError, HEADER_BYTES, Kind};
use super::words::{count16, count32, f32_from, put_floats, take, u16_at, u32_at};

/// Whether the outputs of a row's experts are added at the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One weighted vector per expert, in expert order; the router adds.
    Separate,
    /// One vector: the weighted outputs added in expert order.
    Summed,
}

impl Form {
    /// The number that travels.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Separate => 0,
            Self::Summed => 1,
        }
    }

    /// Reads a number; `None` for one that is not assigned.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Separate),
            1 => Some(Self::Summed),
            _ => None,
        }
    }
}

/// What became of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// That many rows follow.
    Served(u16),
    /// Nothing was computed.
    Refused(Refusal),
}

/// One segment of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// The grant's slot.
    pub slot: u32,
    /// What became of it.
    pub outcome: Outcome,
}

/// How many vectors answer one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowVectors {
    /// One where summed, else one per expert.
    pub vectors: u16,
    /// Whether they were added.
    pub form: Form,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Combine {
    /// The node's compute time for the whole frame, in microseconds.
    pub compute_us: u32,
    /// Floats in a vector.
    pub hidden: u32,
    /// The segments of the dispatch, in its order.
    pub segments: Vec<Served>,
    /// The rows of the served segments.
    pub rows: Vec<RowVectors>,
    /// (vectors, hidden)
    pub values: Vec<f32>,
}

const FIXED: usize = 16;
const SEGMENT: usize = 8;
const ROW: usize = 4;

impl Combine {
    /// Appends the body to `out`.
    ///
    /// # Errors
    /// [`FrameError`] where a receiver would refuse it.
    pub fn encode(&self, out: &mut impl BufMut) -> Result<(), FrameError> {
        let vectors = self.check()?;
        let len = body_bytes(self.segments.len(), self.rows.len(), vectors, self.hidden);
        let have = FIXED + self.segments.len() * SEGMENT + self.rows.len() * ROW + self.values.len() * 4;
        if u64::try_from(have) != Ok(len) {
            return Err(FrameError::Length { want: len, have });
        }
        if have > Kind::Combine.max_body_bytes() {
            return Err(FrameError::TooLong { len, limit: Kind::Combine.max_body_bytes() });
        }
        out.put_u32_le(self.compute_us);
        out.put_u32_le(self.hidden);
        out.put_u16_le(count16(self.segments.len()));
        out.put_u16_le(count16(self.rows.len()));
        out.put_u32_le(count32(vectors));
        for s in &self.segments {
            let (refusal, rows) = match s.outcome {
                Outcome::Served(rows) => (0, rows),
                Outcome::Refused(refusal) => (refusal.number(), 0),
            };
            out.put_u32_le(s.slot);
            out.put_u16_le(refusal);
            out.put_u16_le(rows);
        }
        for r in &self.rows {
            out.put_u16_le(r.vectors);
            out.put_slice(&[r.form.number(), 0]);
        }
        put_floats(out, &self.values);
        Ok(())
    }

    /// Replaces this combine with the one in `body`; its buffers are used again. After an error its content is
    /// unspecified.
    ///
    /// # Errors
    /// [`FrameError`] names the first thing that was wrong.
    pub fn decode(&mut self, body: &[u8]) -> Result<(), FrameError> {
        let short = FrameError::Length { want: 16, have: body.len() };
        let (head, rest) = body.split_at_checked(FIXED).ok_or(short)?;
        let (segments, rows) = (usize::from(u16_at(head, 8)), usize::from(u16_at(head, 10)));
        let vectors = usize::try_from(u32_at(head, 12)).unwrap_or(usize::MAX);
        check_counts(segments, rows.max(segments))?;
        if vectors < rows || vectors > rows * MAX_ROW_EXPERTS {
            return Err(FrameError::Sum);
        }
        self.compute_us = u32_at(head, 0);
        self.hidden = u32_at(head, 4);
        let want = body_bytes(segments, rows, vectors, self.hidden);
        let fits = u64::try_from(body.len()) == Ok(want);
        let parts = rest.split_at_checked(segments * SEGMENT).filter(|_| fits);
        let parts = parts.and_then(|(s, rest)| rest.split_at_checked(rows * ROW).map(|(r, f)| (s, r, f)));
        let (s, r, floats) = parts.ok_or(FrameError::Length { want, have: body.len() })?;
        self.segments.clear();
        for (i, b) in s.as_chunks::<SEGMENT>().0.iter().enumerate() {
            let outcome = match (u16_at(b, 4), u16_at(b, 6)) {
                (0, rows) => Outcome::Served(rows),
                (n, 0) => Outcome::Refused(Refusal::from_number(n).ok_or(FrameError::Outcome(i))?),
                _ => return Err(FrameError::Outcome(i)),
            };
            self.segments.push(Served { slot: u32_at(b, 0), outcome });
        }
        self.rows.clear();
        for (i, b) in r.as_chunks::<ROW>().0.iter().enumerate() {
            let [form, zero] = u16_at(b, 2).to_le_bytes();
            if zero != 0 {
                return Err(FrameError::Reserved);
            }
            let form = Form::from_number(form).ok_or(FrameError::Form(i))?;
            self.rows.push(RowVectors { vectors: u16_at(b, 0), form });
        }
        if self.check()? != vectors {
            return Err(FrameError::Sum);
        }
        take(&mut self.values, floats, f32_from);
        Ok(())
    }

    /// Whether this answers that dispatch: the same segments in order, each refused or with the rows and forms
    /// that were asked for.
    #[must_use]
    pub fn answers(&self, dispatch: &Dispatch) -> bool {
        let mut asked = dispatch.rows.iter();
        let mut rows = self.rows.iter();
        self.hidden == dispatch.hidden
            && self.segments.len() == dispatch.segments.len()
            && self.segments.iter().zip(&dispatch.segments).all(|(served, segment)| {
                let mut asked = asked.by_ref().take(usize::from(segment.rows));
                let fits = match served.outcome {
                    Outcome::Refused(_) => true,
                    Outcome::Served(n) => {
                        n == segment.rows
                            && asked.by_ref().all(|want| {
                                rows.next().is_some_and(|row| {
                                    row.form == want.form && usize::from(row.vectors) == want.answer_vectors()
                                })
                            })
                    }
                };
                asked.for_each(drop);
                served.slot == segment.slot && fits
            })
    }

    /// Counts, sums and forms; the number of vectors.
    fn check(&self) -> Result<usize, FrameError> {
        check_counts(self.segments.len(), self.rows.len().max(self.segments.len()))?;
        let mut served = 0;
        for s in &self.segments {
            if let Outcome::Served(rows) = s.outcome {
                if rows == 0 {
                    return Err(FrameError::Sum);
                }
                served += usize::from(rows);
            }
        }
        if served != self.rows.len() {
            return Err(FrameError::Sum);
        }
        let mut vectors = 0;
        for (i, row) in self.rows.iter().enumerate() {
            let n = usize::from(row.vectors);
            if n == 0 || n > MAX_ROW_EXPERTS || (row.form == Form::Summed && n != 1) {
                return Err(FrameError::Form(i));
            }
            vectors += n;
        }
        Ok(vectors)
    }

    /// An upper bound for the whole frame, to allocate once.
    pub(crate) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + FIXED + self.segments.len() * SEGMENT + self.rows.len() * ROW + self.values.len() * 4
    }
}

pub(super) fn body_bytes(segments: usize, rows: usize, vectors: usize, hidden: u32) -> u64 {
    let head = FIXED + segments * SEGMENT + rows * ROW;
    // Counts are within their limits, so neither product can pass 2^64.
    u64::try_from(head).unwrap_or(u64::MAX)
        + u64::try_from(vectors).unwrap_or(u64::MAX) * u64::from(hidden) * 4
}
