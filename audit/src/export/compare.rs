//! Holds a file of records against the records that it should have, and tells added, dropped and edited ones apart.
//!
//! A record that should be there is known again by its key, which stands in it: the leaf hash of its entry. Where the
//! next record has another key, the one that was expected is looked for a little further on; what was passed over was
//! added, and what is not found was dropped.

use std::collections::VecDeque;
use std::io::{self, BufRead};

use crate::export::Records;

/// How far ahead a record is looked for.
const MAX_AHEAD_RECORDS: usize = 64;
/// The same in bytes; one record more may be held.
const MAX_AHEAD_BYTES: usize = 4 << 20;

/// How a file differs from what it should say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Difference {
    /// A record at this byte that was not expected here.
    Added(u64),
    /// The expected record is not there.
    Dropped,
    /// The expected record has other bytes.
    Edited,
}

/// Why no more of a file can be compared.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// A record at this byte is longer than any that is expected.
    TooLong(u64),
    /// The system.
    Io(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// A file that is compared from its first byte to its last.
pub(crate) struct Compared<R> {
    input: R,
    records: Records,
    limit: usize,
    offset: u64,
    ahead: VecDeque<(u64, Vec<u8>)>,
    ahead_bytes: usize,
}

impl<R: BufRead> Compared<R> {
    /// A file whose records are at most `limit` bytes long.
    pub(crate) fn new(input: R, records: Records, limit: usize) -> Self {
        Self { input, records, limit, offset: 0, ahead: VecDeque::new(), ahead_bytes: 0 }
    }

    /// Expects one record, which `key` stands in.
    pub(crate) fn record(
        &mut self,
        key: &[u8],
        want: &[u8],
        differs: &mut dyn FnMut(Difference),
    ) -> Result<(), Stopped> {
        if self.records == Records::Opaque {
            return self.exact(want, differs);
        }
        let mut passed = 0;
        loop {
            let Some((_, found)) = self.look(passed)? else {
                differs(Difference::Dropped);
                return Ok(());
            };
            if found == want || holds(found, key) {
                let edited = found != want;
                for _ in 0..passed {
                    let offset = self.take();
                    differs(Difference::Added(offset));
                }
                self.take();
                if edited {
                    differs(Difference::Edited);
                }
                return Ok(());
            }
            passed += 1;
        }
    }

    /// Expects what is no record of an entry: it may be several records long, and has no key.
    pub(crate) fn frame(&mut self, want: &[u8], differs: &mut dyn FnMut(Difference)) -> Result<(), Stopped> {
        if self.records == Records::Opaque {
            return self.exact(want, differs);
        }
        let mut parts = Compared::new(want, self.records, want.len());
        while let Some(part) = parts.read()? {
            let there = self.look(0)?.is_some_and(|(_, found)| found == part);
            if self.look(0)?.is_some() {
                self.take();
            }
            if !there {
                differs(Difference::Edited);
            }
        }
        Ok(())
    }

    /// Expects the end.
    pub(crate) fn end(&mut self, differs: &mut dyn FnMut(Difference)) -> Result<(), Stopped> {
        if self.records == Records::Opaque {
            if !self.input.fill_buf()?.is_empty() {
                differs(Difference::Added(self.offset));
            }
            return Ok(());
        }
        while self.look(0)?.is_some() {
            let offset = self.take();
            differs(Difference::Added(offset));
        }
        Ok(())
    }

    fn exact(&mut self, want: &[u8], differs: &mut dyn FnMut(Difference)) -> Result<(), Stopped> {
        let mut rest = want;
        let mut same = true;
        while !rest.is_empty() {
            let found = self.input.fill_buf()?;
            if found.is_empty() {
                differs(Difference::Dropped);
                return Ok(());
            }
            let len = found.len().min(rest.len());
            let (now, later) = rest.split_at(len);
            same &= found.starts_with(now);
            rest = later;
            self.input.consume(len);
            self.offset += len as u64;
        }
        if !same {
            differs(Difference::Edited);
        }
        Ok(())
    }

    /// The record that is `at` records ahead; none at the end of the file, or where that is too far to look.
    fn look(&mut self, at: usize) -> Result<Option<(u64, &[u8])>, Stopped> {
        while self.ahead.len() <= at {
            if self.ahead.len() > MAX_AHEAD_RECORDS || self.ahead_bytes > MAX_AHEAD_BYTES {
                return Ok(None);
            }
            let offset = self.offset;
            let Some(record) = self.read()? else { return Ok(None) };
            self.ahead_bytes += record.len();
            self.ahead.push_back((offset, record));
        }
        Ok(self.ahead.get(at).map(|(offset, record)| (*offset, record.as_slice())))
    }

    /// Lets the next record go; gives where it began.
    fn take(&mut self) -> u64 {
        let Some((offset, record)) = self.ahead.pop_front() else { return self.offset };
        self.ahead_bytes -= record.len();
        offset
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, Stopped> {
        let mut record = Vec::new();
        loop {
            let before = record.len();
            let left = u64::try_from(self.limit - before).unwrap_or(u64::MAX).saturating_add(1);
            io::Read::take(&mut self.input, left).read_until(b'\n', &mut record)?;
            if record.len() > self.limit {
                return Err(Stopped::TooLong(self.offset));
            }
            let line = record.len() - before;
            let whole = match self.records {
                Records::Lines => true,
                Records::Paragraphs => line == 0 || record.ends_with(b"\n\n") || record == b"\n",
                Records::Opaque => true,
            };
            if whole || line == 0 {
                self.offset += record.len() as u64;
                return Ok((!record.is_empty()).then_some(record));
            }
        }
    }
}

/// Whether `key` stands somewhere in `record`.
fn holds(record: &[u8], key: &[u8]) -> bool {
    !key.is_empty() && record.windows(key.len()).any(|part| part == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a file that should have been `a1 b2 c3 d4`, one on a line.
    fn told(file: &str) -> Vec<(char, Difference)> {
        let mut found = Vec::new();
        let mut compared = Compared::new(file.as_bytes(), Records::Lines, 16);
        for want in ["a1\n", "b2\n", "c3\n", "d4\n"] {
            let (key, name) = (&want.as_bytes()[..1], want.chars().next().unwrap());
            compared.record(key, want.as_bytes(), &mut |d| found.push((name, d))).unwrap();
        }
        compared.end(&mut |d| found.push(('$', d))).unwrap();
        found
    }

    #[test]
    fn what_was_added_dropped_and_edited_is_told_apart() {
        use Difference::{Added, Dropped, Edited};
        assert_eq!(told("a1\nb2\nc3\nd4\n"), []);
        assert_eq!(told("a1\nb9\nc3\nd4\n"), [('b', Edited)]);
        assert_eq!(told("a1\nc3\nd4\n"), [('b', Dropped)]);
        assert_eq!(told("a1\nd4\n"), [('b', Dropped), ('c', Dropped)]);
        assert_eq!(told("a1\nx\ny\nb2\nc3\nd4\n"), [('b', Added(3)), ('b', Added(5))]);
        assert_eq!(told("a1\na1\nb2\nc3\nd4\n"), [('b', Added(3))]);
        assert_eq!(told("a1\nb2\nc3\nd4\nd4\n"), [('$', Added(12))]);
        assert_eq!(told("a1\nb2\nc3\nd4"), [('d', Edited)]);
        assert_eq!(told("b2\na1\nc3\nd4\n"), [('a', Added(0)), ('b', Dropped)]);
        assert_eq!(told("").len(), 4);
    }

    #[test]
    fn what_is_too_long_or_too_far_ahead_takes_no_memory() {
        let long = "x".repeat(17);
        let mut compared = Compared::new(long.as_bytes(), Records::Lines, 16);
        let stopped = compared.record(b"a", b"a1\n", &mut |_| {});
        assert!(matches!(stopped, Err(Stopped::TooLong(0))), "{stopped:?}");
        let far = format!("{}a1\n", "x\n".repeat(MAX_AHEAD_RECORDS + 2));
        let mut compared = Compared::new(far.as_bytes(), Records::Lines, 16);
        let mut found = Vec::new();
        compared.record(b"a", b"a1\n", &mut |d| found.push(d)).unwrap();
        assert_eq!((found.as_slice(), compared.ahead.len()), (&[Difference::Dropped][..], 65));
    }

    #[test]
    fn paragraphs_end_with_an_empty_line() {
        let text = b"; head\n\n1 one\n  a\n\n2 two\n  b\n\n";
        let mut compared = Compared::new(&text[..], Records::Paragraphs, 64);
        let mut found = Vec::new();
        compared.frame(b"; head\n\n", &mut |d| found.push(d)).unwrap();
        compared.record(b"one", b"1 one\n  a\n\n", &mut |d| found.push(d)).unwrap();
        compared.record(b"two", b"2 two\n  c\n\n", &mut |d| found.push(d)).unwrap();
        compared.end(&mut |d| found.push(d)).unwrap();
        assert_eq!(found, [Difference::Edited]);
    }

    #[test]
    fn bytes_are_compared_by_place() {
        let mut compared = Compared::new(&b"abXdef"[..], Records::Opaque, 0);
        let mut found = Vec::new();
        for want in ["ab", "cd", "ef", "gh"] {
            compared.record(b"", want.as_bytes(), &mut |d| found.push((want, d))).unwrap();
        }
        compared.end(&mut |d| found.push(("$", d))).unwrap();
        assert_eq!(found, [("cd", Difference::Edited), ("gh", Difference::Dropped)]);
    }
}
