//! Finds serials that two entries of one kind share.

use std::hash::{BuildHasher, RandomState};

use counterfoil_spec::ids::Serial;
use counterfoil_spec::rule::{Fault, FaultKind};

/// Serials held at a time; a longer log is read again for each further part of this size.
pub const MAX_SERIALS_HELD: u64 = 4 << 20;

/// One part of the serials of a log.
pub(super) struct Serials {
    /// Serial, kind, index.
    seen: Vec<([u8; 16], u16, u64)>,
    parts: u64,
    part: u64,
    /// Says which part a serial is in; random, so that nobody can put all serials into one.
    spread: RandomState,
}

impl Serials {
    pub(super) fn new(size: u64, held: u64) -> Self {
        Self { seen: Vec::new(), parts: size.div_ceil(held).max(1), part: 0, spread: RandomState::new() }
    }

    pub(super) fn add(&mut self, kind: u16, serial: &Serial, index: u64) {
        let mine = self.parts == 1 || self.spread.hash_one(serial.as_bytes()) % self.parts == self.part;
        if mine {
            self.seen.push((*serial.as_bytes(), kind, index));
        }
    }

    /// The serials of this part that were there before; then it is the next part's turn, if there is one.
    pub(super) fn finish_part(&mut self) -> (Vec<Fault>, bool) {
        self.seen.sort_unstable();
        let mut faults = Vec::new();
        let mut first = None;
        for (serial, kind, index) in self.seen.drain(..) {
            match first {
                Some((s, k, at)) if (s, k) == (serial, kind) => {
                    let detail =
                        format!("entry {at} of the same kind has serial {}", Serial::from_bytes(serial));
                    faults.push(Fault::at(FaultKind::DuplicateSerial, index, detail));
                }
                _ => first = Some((serial, kind, index)),
            }
        }
        self.part += 1;
        (faults, self.part < self.parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(held: u64) -> Vec<(Option<u64>, String)> {
        let mut serials = Serials::new(10, held);
        let mut out = Vec::new();
        loop {
            for (index, n) in [(0, 1), (1, 2), (2, 1), (3, 3), (4, 1)] {
                serials.add(20, &Serial::from_bytes([n; 16]), index);
            }
            serials.add(21, &Serial::from_bytes([2; 16]), 5);
            let (faults, more) = serials.finish_part();
            out.extend(faults.into_iter().map(|f| (f.index, f.detail)));
            if !more {
                return out;
            }
        }
    }

    #[test]
    fn repetition_names_both_and_another_kind_does_not_count() {
        let detail = "entry 0 of the same kind has serial 01010101010101010101010101010101".to_owned();
        assert_eq!(found(10), [(Some(2), detail.clone()), (Some(4), detail)]);
    }

    #[test]
    fn parts_find_what_the_whole_finds() {
        assert_eq!(found(1), found(10));
    }
}
