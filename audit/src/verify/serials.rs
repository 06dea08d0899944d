//! Finds serials that two entries of one kind share.

use counterfoil_spec::ids::Serial;
use counterfoil_spec::rule::{Fault, FaultKind};

use super::findings::Findings;
use crate::error::LogError;
use crate::sorted::Sorted;

/// Serial, kind, index: in this order they are sorted.
const RECORD_BYTES: usize = 16 + 2 + 8;

/// The serials of a log.
pub(super) struct Serials(Sorted<RECORD_BYTES>);

impl Serials {
    /// Holds so many bytes of them at most; what is more lies in a file.
    pub(super) const fn new(held_bytes: usize) -> Self {
        Self(Sorted::new(held_bytes))
    }

    pub(super) fn add(&mut self, kind: u16, serial: &Serial, index: u64) -> Result<(), LogError> {
        let mut record = [0; RECORD_BYTES];
        let (at, rest) = record.split_at_mut(16);
        at.copy_from_slice(serial.as_bytes());
        let (at, rest) = rest.split_at_mut(2);
        at.copy_from_slice(&kind.to_be_bytes());
        rest.copy_from_slice(&index.to_be_bytes());
        self.0.add(record)
    }

    /// Names the entries whose serial one of their kind had before.
    pub(super) fn finish(self, findings: &mut Findings) -> Result<(), LogError> {
        let mut first = None;
        self.0.each(|record| {
            let Some((serial, kind, index)) = parse(&record) else { return Ok(()) };
            match first {
                Some((s, k, at)) if (s, k) == (serial, kind) => {
                    let detail =
                        format!("entry {at} of the same kind has serial {}", Serial::from_bytes(serial));
                    findings.push(Fault::at(FaultKind::DuplicateSerial, index, detail));
                }
                _ => first = Some((serial, kind, index)),
            }
            Ok(())
        })
    }
}

fn parse(record: &[u8]) -> Option<([u8; 16], u16, u64)> {
    let (serial, rest) = record.split_first_chunk::<16>()?;
    let (kind, rest) = rest.split_first_chunk::<2>()?;
    Some((*serial, u16::from_be_bytes(*kind), u64::from_be_bytes(*rest.first_chunk()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(held_bytes: usize) -> Vec<(Option<u64>, String)> {
        let mut serials = Serials::new(held_bytes);
        for (index, n) in [(0, 1), (1, 2), (2, 1), (3, 3), (4, 1)] {
            serials.add(20, &Serial::from_bytes([n; 16]), index).unwrap();
        }
        serials.add(21, &Serial::from_bytes([2; 16]), 5).unwrap();
        let mut findings = Findings::default();
        serials.finish(&mut findings).unwrap();
        findings.faults.into_iter().map(|f| (f.index, f.detail)).collect()
    }

    #[test]
    fn repetition_names_both_and_another_kind_does_not_count() {
        let detail = "entry 0 of the same kind has serial 01010101010101010101010101010101".to_owned();
        assert_eq!(found(1 << 20), [(Some(2), detail.clone()), (Some(4), detail)]);
    }

    #[test]
    fn runs_in_a_file_find_what_memory_finds() {
        for held in 1..=7 {
            assert_eq!(found(held * RECORD_BYTES), found(1 << 20), "{held} at a time");
        }
    }

    #[test]
    fn repetitions_beyond_what_a_report_lists_are_counted() {
        let mut serials = Serials::new(100 * RECORD_BYTES);
        for index in 0..1_500 {
            serials.add(20, &Serial::from_bytes([1; 16]), index).unwrap();
        }
        let mut findings = Findings::default();
        serials.finish(&mut findings).unwrap();
        assert_eq!((findings.faults.len(), findings.left_out), (1_000, 499));
    }
}
