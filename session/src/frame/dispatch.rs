//! The body of a dispatch: rows of activations, and which experts of one layer are to see them.
//!
//! ```text
//! body    = { 0: u32 layer, 4: u32 hidden, 8: u16 segments, 10: u16 rows, 12: u16 experts, 14: u8 encoding, 15: u8 zero }
//!         ‖ segments × { u32 grant slot, u16 rows, u16 zero }
//!         ‖ rows     × { u32 position, u16 experts, u8 form (0 separate, 1 summed), u8 zero }
//!         ‖ experts  × { u16 expert, u16 zero, f32 weight }
//!         ‖ rows × hidden values, in the encoding
//! ```

use bytes::BufMut;
use counterfoil_spec::limits::{MAX_FRAME_ROWS, MAX_ROW_EXPERTS};

use super::activations::{Activations, BLOCK, Encoding};
use super::combine::Form;
use super::header::{FrameError, HEADER_BYTES, Kind};
use super::words::{count16, u16_at, u32_at};

/// The rows of one grant in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The grant's slot.
    pub slot: u32,
    /// How many of the frame's rows, in order, are its own.
    pub rows: u16,
}

/// One row: a position of a request, and how many experts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Rising within a segment.
    pub position: u32,
    /// How many of the frame's experts, in order, are its own; 1 to 64.
    pub experts: u16,
    /// Whether the node adds their outputs. It may only where it is sent all experts that the gate chose.
    pub form: Form,
}

/// One expert of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routed {
    /// Which; rising within a row.
    pub expert: u16,
    /// The gate's weight.
    pub weight: f32,
}

/// A dispatch. Flat, so that a lane that decodes one after another allocates nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dispatch {
    /// The layer.
    pub layer: u32,
    /// Floats in a row.
    pub hidden: u32,
    /// Whose rows these are.
    pub segments: Vec<Segment>,
    /// The rows of the first segment, then those of the second, and so on.
    pub rows: Vec<Row>,
    /// The experts of the first row, then those of the second, and so on.
    pub experts: Vec<Routed>,
    /// (rows, hidden)
    pub activations: Activations,
}

const FIXED: usize = 16;
const SEGMENT: usize = 8;
const ROW: usize = 8;
const EXPERT: usize = 8;

impl Dispatch {
    /// Appends the body to `out`.
    ///
    /// # Errors
    /// [`FrameError`] where a receiver would refuse it.
    pub fn encode(&self, out: &mut impl BufMut) -> Result<(), FrameError> {
        self.check()?;
        let encoding = self.activations.encoding();
        check_blocks(encoding, self.hidden)?;
        let counts = (self.segments.len(), self.rows.len(), self.experts.len());
        let want = body_bytes(counts, encoding, self.hidden);
        let have = self.head_bytes() + self.activations.wire_bytes();
        if u64::try_from(have) != Ok(want) {
            return Err(FrameError::Length { want, have });
        }
        if have > Kind::Dispatch.max_body_bytes() {
            return Err(FrameError::TooLong { len: want, limit: Kind::Dispatch.max_body_bytes() });
        }
        self.activations.check(self.hidden)?;
        out.put_u32_le(self.layer);
        out.put_u32_le(self.hidden);
        out.put_u16_le(count16(self.segments.len()));
        out.put_u16_le(count16(self.rows.len()));
        out.put_u16_le(count16(self.experts.len()));
        out.put_slice(&[encoding.number(), 0]);
        for s in &self.segments {
            out.put_u32_le(s.slot);
            out.put_u16_le(s.rows);
            out.put_u16_le(0);
        }
        for r in &self.rows {
            out.put_u32_le(r.position);
            out.put_u16_le(r.experts);
            out.put_slice(&[r.form.number(), 0]);
        }
        for e in &self.experts {
            out.put_u16_le(e.expert);
            out.put_u16_le(0);
            out.put_f32_le(e.weight);
        }
        self.activations.put(out);
        Ok(())
    }

    /// Replaces this dispatch with the one in `body`; its buffers are used again. After an error its content is
    /// unspecified.
    ///
    /// # Errors
    /// [`FrameError`] names the first thing that was wrong.
    pub fn decode(&mut self, body: &[u8]) -> Result<(), FrameError> {
        let short = FrameError::Length { want: 16, have: body.len() };
        let (head, rest) = body.split_at_checked(FIXED).ok_or(short)?;
        self.layer = u32_at(head, 0);
        self.hidden = u32_at(head, 4);
        let (segments, rows) = (usize::from(u16_at(head, 8)), usize::from(u16_at(head, 10)));
        let experts = usize::from(u16_at(head, 12));
        let [encoding, zero] = u16_at(head, 14).to_le_bytes();
        let encoding = Encoding::from_number(encoding).ok_or(FrameError::Encoding(encoding))?;
        check_counts(segments, rows)?;
        if experts < rows || experts > rows * MAX_ROW_EXPERTS {
            return Err(FrameError::Sum);
        }
        check_blocks(encoding, self.hidden)?;
        let want = body_bytes((segments, rows, experts), encoding, self.hidden);
        let parts =
            if u64::try_from(body.len()) == Ok(want) { split(rest, segments, rows, experts) } else { None };
        let (s, r, e, values) = parts.ok_or(FrameError::Length { want, have: body.len() })?;
        let mut zeros = u16::from(zero);
        self.segments.clear();
        self.segments.extend(s.as_chunks::<SEGMENT>().0.iter().map(|b| {
            zeros |= u16_at(b, 6);
            Segment { slot: u32_at(b, 0), rows: u16_at(b, 4) }
        }));
        self.experts.clear();
        self.experts.extend(e.as_chunks::<EXPERT>().0.iter().map(|b| {
            zeros |= u16_at(b, 2);
            Routed { expert: u16_at(b, 0), weight: f32::from_bits(u32_at(b, 4)) }
        }));
        self.rows.clear();
        for (i, b) in r.as_chunks::<ROW>().0.iter().enumerate() {
            let [form, zero] = u16_at(b, 6).to_le_bytes();
            zeros |= u16::from(zero);
            let form = Form::from_number(form).ok_or(FrameError::Form(i))?;
            self.rows.push(Row { position: u32_at(b, 0), experts: u16_at(b, 4), form });
        }
        if zeros != 0 {
            return Err(FrameError::Reserved);
        }
        self.check()?;
        self.activations.read(encoding, values, self.hidden)
    }

    /// The bytes of one row as it travels.
    #[must_use]
    pub fn row_bytes(&self) -> u64 {
        self.activations.encoding().row_bytes(self.hidden)
    }

    /// How many vectors of `hidden` floats the answer holds where nothing is refused.
    #[must_use]
    pub fn answer_vectors(&self) -> usize {
        self.rows.iter().map(Row::answer_vectors).sum()
    }

    /// Everything but the length: counts, sums, orders, and that the answer fits into a frame.
    fn check(&self) -> Result<(), FrameError> {
        check_counts(self.segments.len(), self.rows.len())?;
        let mut rows = self.rows.iter().enumerate();
        let mut experts = self.experts.iter();
        for segment in &self.segments {
            let mut last = None;
            for _ in 0..segment.rows {
                let (i, row) = rows.next().ok_or(FrameError::Sum)?;
                if last.is_some_and(|last| last >= row.position) {
                    return Err(FrameError::Position(i));
                }
                last = Some(row.position);
                check_experts(i, row, &mut experts)?;
            }
            if segment.rows == 0 {
                return Err(FrameError::Sum);
            }
        }
        if rows.next().is_some() || experts.next().is_some() {
            return Err(FrameError::Sum);
        }
        let answer = super::combine::body_bytes(
            self.segments.len(),
            self.rows.len(),
            self.answer_vectors(),
            self.hidden,
        );
        if usize::try_from(answer).is_ok_and(|n| n <= Kind::Combine.max_body_bytes()) {
            Ok(())
        } else {
            Err(FrameError::Answer(answer))
        }
    }

    fn head_bytes(&self) -> usize {
        FIXED + self.segments.len() * SEGMENT + self.rows.len() * ROW + self.experts.len() * EXPERT
    }

    /// An upper bound for the whole frame, to allocate once.
    pub(crate) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.head_bytes() + self.activations.wire_bytes()
    }
}

impl Row {
    /// How many vectors answer this row.
    #[must_use]
    pub fn answer_vectors(&self) -> usize {
        match self.form {
            Form::Summed => 1,
            Form::Separate => usize::from(self.experts),
        }
    }
}

pub(super) fn check_counts(segments: usize, rows: usize) -> Result<(), FrameError> {
    if segments == 0 || rows > MAX_FRAME_ROWS || segments > MAX_FRAME_ROWS || rows < segments {
        return Err(FrameError::Rows { segments, rows });
    }
    Ok(())
}

fn check_experts<'a>(
    i: usize,
    row: &Row,
    experts: &mut impl Iterator<Item = &'a Routed>,
) -> Result<(), FrameError> {
    if row.experts == 0 || usize::from(row.experts) > MAX_ROW_EXPERTS {
        return Err(FrameError::Experts(i));
    }
    let mut last = None;
    for _ in 0..row.experts {
        let expert = experts.next().ok_or(FrameError::Sum)?.expert;
        if last.is_some_and(|last| last >= expert) {
            return Err(FrameError::Experts(i));
        }
        last = Some(expert);
    }
    Ok(())
}

/// A scale belongs to 32 values of one row.
fn check_blocks(encoding: Encoding, hidden: u32) -> Result<(), FrameError> {
    let whole = usize::try_from(hidden).is_ok_and(|hidden| hidden.is_multiple_of(BLOCK));
    if encoding == Encoding::Int8 && !whole { Err(FrameError::Blocks(hidden)) } else { Ok(()) }
}

fn body_bytes((segments, rows, experts): (usize, usize, usize), encoding: Encoding, hidden: u32) -> u64 {
    let head = FIXED + segments * SEGMENT + rows * ROW + experts * EXPERT;
    // Counts are within their limits, so neither product can pass 2^64.
    u64::try_from(head).unwrap_or(u64::MAX)
        + u64::try_from(rows).unwrap_or(u64::MAX) * encoding.row_bytes(hidden)
}

type Parts<'a> = (&'a [u8], &'a [u8], &'a [u8], &'a [u8]);

fn split(rest: &[u8], segments: usize, rows: usize, experts: usize) -> Option<Parts<'_>> {
    let (s, rest) = rest.split_at_checked(segments * SEGMENT)?;
    let (r, rest) = rest.split_at_checked(rows * ROW)?;
    let (e, floats) = rest.split_at_checked(experts * EXPERT)?;
    Some((s, r, e, floats))
}
