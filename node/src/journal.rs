//! What orders took of a day's quota, on disk, so that no restart gives it a second time and no order is taken twice.
//!
//! ```text
//! usage  = record*
//! record = kind(1) ‖ order serial(16) ‖ u64be(ms since 1970) ‖ u64be(tokens)        33 bytes
//! kind 1   an order is open; its tokens are reserved, all leases together
//! kind 2   an order is over; its tokens were used
//! kind 3   all orders of a UTC day that no other record names; serial 0, ms within the day
//! ```
//!
//! The last record of an order holds. A record is written in one call before the work that it allows is answered; it
//! is not synced, so it survives the end of the process, not of the machine's power. What a failing machine loses, the
//! `quota-lease` entries of the node's log bring back, which are synced. An order that was open when the process ended
//! counts with all that it had reserved. What is cut short at the end is left out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use counterfoil_consent::{Booking, REMEMBER_MS, Usage};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::limits::MAX_REMEMBERED_OPENS;
use counterfoil_spec::time::Millis;

use crate::config::NodeError;

const RECORD_BYTES: usize = 33;
const OPEN: u8 = 1;
const OVER: u8 = 2;
const DAY: u8 = 3;
/// Beyond this the file is written anew with what still matters.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// The file and what it says.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    said: Said,
}

/// What records say, folded.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// Tokens of orders that are over, by UTC day.
    days: BTreeMap<u64, u64>,
    open: BTreeMap<Serial, (Millis, u64)>,
    /// Orders that could still come again, by arrival.
    recent: VecDeque<(Millis, Serial)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    kind: u8,
    order: Serial,
    at: Millis,
    tokens: u64,
}

impl Journal {
    /// Reads what earlier processes wrote, brings it back into `usage`, and goes on. `logged` are the tokens of each
    /// UTC day that the node's log knows of.
    pub(crate) fn open(
        home: &Path,
        now: Millis,
        logged: &BTreeMap<u64, u64>,
        usage: &mut Usage,
    ) -> Result<Self, NodeError> {
        let path = home.join("usage");
        let fault = |source| NodeError::Io { path: path.clone(), source };
        let mut said = Said::read(&path).map_err(fault)?;
        for (at, order) in &said.recent {
            usage.remember(*order, *at);
        }
        // Nobody works on them any more.
        for (at, leased) in std::mem::take(&mut said.open).into_values() {
            said.count(at, leased);
        }
        for (day, tokens) in logged {
            let known = said.days.entry(*day).or_default();
            *known = (*known).max(*tokens);
        }
        for (day, tokens) in &said.days {
            usage.restore(*day, *tokens);
        }
        let (file, bytes) = said.write(&path, now).map_err(fault)?;
        Ok(Self { path, file, bytes, said })
    }

    /// Writes what was booked.
    pub(crate) fn keep(&mut self, booked: &[Booking], now: Millis) -> io::Result<()> {
        let mut out = Vec::with_capacity(booked.len() * RECORD_BYTES);
        for booking in booked {
            let (kind, tokens) = booking.used.map_or((OPEN, booking.leased), |used| (OVER, used));
            let record = Record { kind, order: booking.order, at: booking.opened, tokens };
            self.said.take(record);
            out.extend_from_slice(&record.to_bytes());
        }
        self.file.write_all(&out)?;
        self.bytes = self.bytes.saturating_add(u64::try_from(out.len()).unwrap_or(u64::MAX));
        if self.bytes > MAX_FILE_BYTES {
            (self.file, self.bytes) = self.said.write(&self.path, now)?;
        }
        Ok(())
    }
}

impl Said {
    fn read(path: &Path) -> io::Result<Self> {
        let mut said = Self::default();
        let mut file = match File::open(path) {
            Ok(file) => io::BufReader::new(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(said),
            Err(e) => return Err(e),
        };
        let mut bytes = [0; RECORD_BYTES];
        loop {
            match file.read_exact(&mut bytes) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(said),
                Err(e) => return Err(e),
            }
            if let Some(record) = Record::read(&bytes) {
                said.take(record);
            }
        }
    }

    fn take(&mut self, record: Record) {
        let Record { kind, order, at, tokens } = record;
        match kind {
            OPEN => {
                if self.open.insert(order, (at, tokens)).is_none() {
                    self.remember(at, order);
                }
            }
            OVER => {
                if self.open.remove(&order).is_none() {
                    self.remember(at, order);
                }
                self.count(at, tokens);
            }
            _ => self.count(at, tokens),
        }
    }

    fn count(&mut self, at: Millis, tokens: u64) {
        let day = self.days.entry(day_of(at)).or_default();
        *day = day.saturating_add(tokens);
    }

    fn remember(&mut self, at: Millis, order: Serial) {
        while self.recent.len() >= MAX_REMEMBERED_OPENS
            || self.recent.front().is_some_and(|(old, _)| old.plus(REMEMBER_MS) < at)
        {
            self.recent.pop_front();
        }
        self.recent.push_back((at, order));
    }

    /// Writes the file anew, with what still matters.
    fn write(&mut self, path: &Path, now: Millis) -> io::Result<(File, u64)> {
        self.days.retain(|day, _| day.saturating_add(2) >= day_of(now));
        while self.recent.front().is_some_and(|(old, _)| old.plus(REMEMBER_MS) < now) {
            self.recent.pop_front();
        }
        let day = |(day, tokens): (&u64, &u64)| Record {
            kind: DAY,
            order: Serial::from_bytes([0; 16]),
            at: Millis(day.saturating_mul(DAY_MS)),
            tokens: *tokens,
        };
        let recent = |(at, order): &(Millis, Serial)| match self.open.get(order) {
            Some((at, tokens)) => Record { kind: OPEN, order: *order, at: *at, tokens: *tokens },
            // Its tokens are among those of its day.
            None => Record { kind: OVER, order: *order, at: *at, tokens: 0 },
        };
        let named: BTreeSet<Serial> = self.recent.iter().map(|(_, order)| *order).collect();
        let old = self.open.iter().filter(|(order, _)| !named.contains(order));
        let old =
            old.map(|(order, (at, tokens))| Record { kind: OPEN, order: *order, at: *at, tokens: *tokens });
        let records = self.days.iter().map(day).chain(old).chain(self.recent.iter().map(recent));
        let out: Vec<u8> = records.flat_map(Record::to_bytes).collect();
        let part = path.with_extension("part");
        fs::write(&part, &out)?;
        File::open(&part)?.sync_all()?;
        fs::rename(&part, path)?;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok((file, u64::try_from(out.len()).unwrap_or(u64::MAX)))
    }
}

impl Record {
    fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let parts = std::iter::once(self.kind)
            .chain(*self.order.as_bytes())
            .chain(self.at.0.to_be_bytes())
            .chain(self.tokens.to_be_bytes());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    /// `None` for what no version wrote, such as the zeros that a failing machine leaves.
    fn read(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (order, rest) = rest.split_first_chunk::<16>()?;
        let (at, tokens) = rest.split_first_chunk::<8>()?;
        let tokens = tokens.first_chunk::<8>()?;
        (OPEN..=DAY).contains(kind).then_some(Self {
            kind: *kind,
            order: Serial::from_bytes(*order),
            at: Millis(u64::from_be_bytes(*at)),
            tokens: u64::from_be_bytes(*tokens),
        })
    }
}

const DAY_MS: u64 = 86_400_000;

const fn day_of(at: Millis) -> u64 {
    at.0 / DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(20_000 * DAY_MS + 5000);

    fn booking(n: u8, opened: Millis, leased: u64, used: Option<u64>) -> Booking {
        let order = Serial::from_bytes([n; 16]);
        Booking { order, cti: Serial::from_bytes([99; 16]), opened, leased, used, limited: true }
    }

    fn reopened(home: &Path, now: Millis) -> (Journal, Usage) {
        let mut usage = Usage::new();
        let journal = Journal::open(home, now, &BTreeMap::new(), &mut usage).unwrap();
        (journal, usage)
    }

    #[test]
    fn what_was_open_counts_with_its_lease_and_what_was_over_with_what_it_used() {
        let home = tempfile::tempdir().unwrap();
        let (mut journal, usage) = reopened(home.path(), NOW);
        assert_eq!(usage.tokens_in_day(NOW), 0);
        let booked = [
            booking(1, NOW, 256, None),
            booking(2, NOW, 256, None),
            booking(1, NOW, 256, Some(7)),
            booking(2, NOW, 512, None),
        ];
        journal.keep(&booked, NOW).unwrap();
        // As after kill -9: nothing was closed.
        for _ in 0..2 {
            let (_, usage) = reopened(home.path(), NOW);
            assert_eq!(usage.tokens_in_day(NOW), 7 + 512);
            assert_eq!(usage.tokens_in_day(Millis(NOW.0 - DAY_MS)), 0);
        }
    }

    #[test]
    fn orders_are_remembered_as_long_as_they_could_come_again() {
        let home = tempfile::tempdir().unwrap();
        let (mut journal, _) = reopened(home.path(), NOW);
        journal.keep(&[booking(1, NOW, 256, None), booking(1, NOW, 256, Some(0))], NOW).unwrap();
        journal.keep(&[booking(2, NOW, 256, None)], NOW).unwrap();
        let recent = |now| reopened(home.path(), now).0.said.recent.len();
        assert_eq!(recent(NOW.plus(REMEMBER_MS)), 2);
        assert_eq!(recent(NOW.plus(REMEMBER_MS + 1)), 0);
        assert_eq!(reopened(home.path(), NOW).1.tokens_in_day(NOW), 256, "only its name is forgotten");
    }

    #[test]
    fn what_was_cut_short_is_left_out_and_what_the_log_knows_holds_as_well() {
        let home = tempfile::tempdir().unwrap();
        let (mut journal, _) = reopened(home.path(), NOW);
        journal.keep(&[booking(1, NOW, 256, None), booking(2, NOW, 100, None)], NOW).unwrap();
        let path = home.path().join("usage");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        for (logged, want) in [(0, 256), (256, 256), (356, 356)] {
            let mut usage = Usage::new();
            let logged = BTreeMap::from([(day_of(NOW), logged)]);
            Journal::open(home.path(), NOW, &logged, &mut usage).unwrap();
            assert_eq!(usage.tokens_in_day(NOW), want);
        }
    }

    #[test]
    fn a_file_that_grew_is_written_anew_and_says_the_same() {
        let home = tempfile::tempdir().unwrap();
        let (mut journal, _) = reopened(home.path(), NOW);
        journal.keep(&[booking(1, NOW, 512, None)], NOW).unwrap();
        journal.bytes = MAX_FILE_BYTES;
        journal.keep(&[booking(2, NOW, 256, Some(9))], NOW).unwrap();
        assert_eq!(fs::metadata(home.path().join("usage")).unwrap().len(), 3 * 33);
        journal.keep(&[booking(1, NOW, 512, Some(300))], NOW).unwrap();
        assert_eq!(reopened(home.path(), NOW).1.tokens_in_day(NOW), 309);
    }
}
