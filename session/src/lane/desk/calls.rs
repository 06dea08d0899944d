//! The dispatches of a lane that wait for their combine. A place is used again and again, with its memory, so that a
//! call allocates nothing.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::frame::{Combine, Dispatch};
use crate::lane::MAX_IN_FLIGHT;

/// Bits of a dispatch's number that say its place; the others count the uses of that place.
const PLACE_BITS: u32 = 12;
/// Combines that are kept for reuse at most, and the floats that one may hold.
const MAX_SPARE: usize = 8;
const MAX_SPARE_FLOATS: usize = 256 * 1024;

const _: () = assert!(MAX_IN_FLIGHT == 1 << PLACE_BITS);

/// Who waits for which combine.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    places: Vec<Place>,
    free: Vec<u32>,
    spare: Vec<Combine>,
    over: bool,
}

#[derive(Debug, Default)]
struct Place {
    /// The number of the dispatch that has this place, or had it last.
    seq: u32,
    state: State,
    /// What was asked, without its experts and rows' values.
    asked: Dispatch,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Free,
    /// Its caller waits.
    Waiting,
    /// Its caller has left; the combine may still come and is thrown away.
    Left,
    /// Not yet taken by its caller; with when it came.
    Answered(Combine, Instant),
    /// The lane is over; its caller has not been told yet.
    Over,
}

impl Calls {
    /// Numbers a dispatch; the error is how many wait already.
    pub(crate) fn ask(&mut self, dispatch: &Dispatch) -> Result<u32, usize> {
        let at = match self.free.pop() {
            Some(at) => at,
            None if self.places.len() >= MAX_IN_FLIGHT => return Err(self.places.len()),
            None => {
                let at = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
                self.places.push(Place { seq: at, ..Place::default() });
                // So that a place can always be given back without allocating.
                self.free.reserve(self.places.len());
                at
            }
        };
        let Some(place) = self.places.get_mut(usize::try_from(at).unwrap_or(usize::MAX)) else {
            return Err(self.places.len());
        };
        place.state = if self.over { State::Over } else { State::Waiting };
        place.asked.hidden = dispatch.hidden;
        place.asked.segments.clone_from(&dispatch.segments);
        place.asked.rows.clone_from(&dispatch.rows);
        Ok(place.seq)
    }

    /// Takes a combine that arrived, and leaves another one, whose buffers may be used. `Err` where it answers nothing
    /// that was asked; else whom to wake.
    pub(crate) fn answer(&mut self, seq: u32, combine: &mut Combine) -> Result<Option<Waker>, ()> {
        let place = self.places.get_mut(place_of(seq)).filter(|p| p.seq == seq).ok_or(())?;
        match place.state {
            State::Waiting if combine.answers(&place.asked) => {
                let next = self.spare.pop().unwrap_or_default();
                place.state = State::Answered(std::mem::replace(combine, next), Instant::now());
                Ok(place.waker.take())
            }
            State::Left if combine.answers(&place.asked) => {
                self.leave_place(seq);
                Ok(None)
            }
            _ => Err(()),
        }
    }

    /// What has become of a dispatch: its combine with when it came, or `None` once the lane is over.
    pub(crate) fn poll(&mut self, seq: u32, cx: &Context<'_>) -> Poll<Option<(Combine, Instant)>> {
        let Some(place) = self.places.get_mut(place_of(seq)).filter(|p| p.seq == seq) else {
            return Poll::Ready(None);
        };
        match std::mem::take(&mut place.state) {
            State::Waiting => {
                place.state = State::Waiting;
                if !place.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    place.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            State::Answered(combine, came) => {
                self.leave_place(seq);
                Poll::Ready(Some((combine, came)))
            }
            State::Over => {
                self.leave_place(seq);
                Poll::Ready(None)
            }
            other => {
                place.state = other;
                Poll::Ready(None)
            }
        }
    }

    /// The caller does not wait any longer; nothing happens where it has its answer.
    pub(crate) fn leave(&mut self, seq: u32) {
        let Some(place) = self.places.get_mut(place_of(seq)).filter(|p| p.seq == seq) else { return };
        match std::mem::take(&mut place.state) {
            State::Waiting => {
                place.state = State::Left;
                place.waker = None;
            }
            State::Answered(combine, _) => {
                self.leave_place(seq);
                self.restore(combine);
            }
            State::Over => self.leave_place(seq),
            other => place.state = other,
        }
    }

    /// The dispatch never left, so nothing will answer it.
    pub(crate) fn forget(&mut self, seq: u32) {
        self.leave_place(seq);
    }

    /// Keeps a combine that was read, for its buffers.
    pub(crate) fn restore(&mut self, combine: Combine) {
        if self.spare.len() < MAX_SPARE && combine.values.capacity() <= MAX_SPARE_FLOATS {
            self.spare.push(combine);
        }
    }

    /// Nothing will come, now and later; gives whom to wake.
    pub(crate) fn fail_all(&mut self) -> Vec<Waker> {
        self.over = true;
        let mut wakers = Vec::new();
        for at in 0..self.places.len() {
            let Some(place) = self.places.get_mut(at) else { break };
            match place.state {
                State::Waiting => {
                    place.state = State::Over;
                    wakers.extend(place.waker.take());
                }
                State::Left => {
                    let seq = place.seq;
                    self.leave_place(seq);
                }
                State::Free | State::Answered(..) | State::Over => {}
            }
        }
        wakers
    }

    /// Frees a place. Its next dispatch has another number, so that a late combine cannot be taken for its answer.
    fn leave_place(&mut self, seq: u32) {
        let Some(place) = self.places.get_mut(place_of(seq)).filter(|p| p.seq == seq) else { return };
        place.state = State::Free;
        place.waker = None;
        place.seq = seq.wrapping_add(1 << PLACE_BITS);
        self.free.push(seq & PLACE_MASK);
    }
}

const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;

fn place_of(seq: u32) -> usize {
    usize::try_from(seq & PLACE_MASK).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{answer, dispatch};
    use crate::frame::Encoding;

    fn asked() -> (Dispatch, Combine) {
        let asked = dispatch(1, 2, Encoding::F32);
        let answer = answer(&asked);
        (asked, answer)
    }

    fn poll(calls: &mut Calls, seq: u32) -> Poll<Option<Combine>> {
        calls.poll(seq, &Context::from_waker(Waker::noop())).map(|answer| answer.map(|(combine, _)| combine))
    }

    #[test]
    fn a_place_is_used_again_under_another_number() {
        let (d, c) = asked();
        let mut calls = Calls::default();
        let first = calls.ask(&d).unwrap();
        let second = calls.ask(&d).unwrap();
        assert_eq!((first, second), (0, 1));
        assert_eq!(poll(&mut calls, first), Poll::Pending);
        assert!(calls.answer(first, &mut c.clone()).unwrap().is_some());
        assert_eq!(poll(&mut calls, first), Poll::Ready(Some(c.clone())));
        assert_eq!(calls.ask(&d), Ok(1 << PLACE_BITS));
        assert!(calls.answer(first, &mut c.clone()).is_err());
        assert_eq!(poll(&mut calls, 1 << PLACE_BITS), Poll::Pending);
    }

    #[test]
    fn a_second_answer_is_refused_before_and_after_the_first_is_taken() {
        let (d, c) = asked();
        let mut calls = Calls::default();
        let seq = calls.ask(&d).unwrap();
        assert!(calls.answer(seq, &mut c.clone()).unwrap().is_none());
        assert!(calls.answer(seq, &mut c.clone()).is_err());
        assert_eq!(poll(&mut calls, seq), Poll::Ready(Some(c.clone())));
        assert!(calls.answer(seq, &mut c.clone()).is_err());
        assert!(calls.answer(7, &mut c.clone()).is_err());
    }

    #[test]
    fn who_leaves_keeps_the_place_until_the_answer_comes() {
        let (d, c) = asked();
        let mut calls = Calls::default();
        let seq = calls.ask(&d).unwrap();
        calls.leave(seq);
        assert_eq!(calls.ask(&d), Ok(1));
        assert!(calls.answer(seq, &mut c.clone()).unwrap().is_none());
        assert_eq!(calls.ask(&d), Ok(1 << PLACE_BITS));
    }

    #[test]
    fn only_so_many_wait_at_a_time() {
        let (d, c) = asked();
        let mut calls = Calls::default();
        for seq in 0..u32::try_from(MAX_IN_FLIGHT).unwrap() {
            assert_eq!(calls.ask(&d), Ok(seq));
        }
        assert_eq!(calls.ask(&d), Err(MAX_IN_FLIGHT));
        assert!(calls.answer(5, &mut c.clone()).is_ok());
        assert_eq!(calls.ask(&d), Err(MAX_IN_FLIGHT));
        calls.leave(5);
        assert_eq!(calls.ask(&d), Ok((1 << PLACE_BITS) + 5));
    }

    #[test]
    fn what_was_answered_before_the_end_is_still_taken() {
        let (d, c) = asked();
        let mut calls = Calls::default();
        let (answered, waiting) = (calls.ask(&d).unwrap(), calls.ask(&d).unwrap());
        assert_eq!(poll(&mut calls, waiting), Poll::Pending);
        assert!(calls.answer(answered, &mut c.clone()).is_ok());
        assert_eq!(calls.fail_all().len(), 1);
        let later = calls.ask(&d).unwrap();
        assert_eq!(poll(&mut calls, answered), Poll::Ready(Some(c)));
        assert_eq!(poll(&mut calls, waiting), Poll::Ready(None));
        assert_eq!(poll(&mut calls, later), Poll::Ready(None));
    }

    #[test]
    fn buffers_come_back_and_the_largest_do_not() {
        let mut calls = Calls::default();
        let with = |floats| Combine { values: Vec::with_capacity(floats), ..Combine::default() };
        calls.restore(with(MAX_SPARE_FLOATS + 1));
        assert_eq!(calls.spare.len(), 0);
        (0..2 * MAX_SPARE).for_each(|_| calls.restore(with(1)));
        assert_eq!(calls.spare.len(), MAX_SPARE);
    }
}
