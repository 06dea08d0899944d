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
//! The last record of an order holds. A record of kind 1 is durable before the work that it allows is answered: it is
//! synced while that work is computed, one `fdatasync` for all records until then. Records of kind 2 go with the next
//! such sync: without them an order counts with all that it had reserved, as one does that was open when the process
//! ended. What is cut short at the end is left out. After an error of a sync nothing more is kept, and the node stops.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_consent::{Booking, REMEMBER_MS, Usage};
use counterfoil_spec::ids::Serial;
use counterfoil_spec::limits::MAX_REMEMBERED_OPENS;
use counterfoil_spec::time::Millis;
use tokio::task::JoinHandle;

use crate::config::{NodeError, SyncFile};
use crate::orders::write_whole;

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
    file: Arc<File>,
    bytes: u64,
    said: Said,
    disk: Disk,
}

/// What of the file is on its disk.
struct Disk {
    sync: SyncFile,
    /// Whether records were written, since the last sync began, that work waits for.
    behind: bool,
    running: Option<JoinHandle<io::Result<()>>>,
    /// In words, why nothing more is kept.
    lost: Option<String>,
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
        sync: SyncFile,
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
        let disk = Disk { sync, behind: false, running: None, lost: None };
        Ok(Self { path, file: Arc::new(file), bytes, said, disk })
    }

    /// Writes what was booked; whoever answers for it waits until it is [durable](Self::durable).
    pub(crate) fn keep(&mut self, booked: &[Booking], now: Millis) -> io::Result<()> {
        self.disk.stands()?;
        let mut out = Vec::with_capacity(booked.len() * RECORD_BYTES);
        for booking in booked {
            let (kind, tokens) = booking.used.map_or((OPEN, booking.leased), |used| (OVER, used));
            let record = Record { kind, order: booking.order, at: booking.opened, tokens };
            self.said.take(record);
            out.extend_from_slice(&record.to_bytes());
        }
        (&*self.file).write_all(&out)?;
        self.disk.behind |= booked.iter().any(|booking| booking.used.is_none());
        self.bytes = self.bytes.saturating_add(u64::try_from(out.len()).unwrap_or(u64::MAX));
        if self.bytes > MAX_FILE_BYTES {
            let (file, bytes) = self.said.write(&self.path, now)?;
            (self.file, self.bytes) = (Arc::new(file), bytes);
            // The whole file is durable as it was written.
            (self.disk.behind, self.disk.running) = (false, None);
        }
        Ok(())
    }

    /// Begins to make durable what work waits for, on a thread of its own.
    pub(crate) fn begin_sync(&mut self) {
        if self.disk.behind && self.disk.running.is_none() && self.disk.lost.is_none() {
            let (sync, file) = (Arc::clone(&self.disk.sync), Arc::clone(&self.file));
            self.disk.behind = false;
            self.disk.running = Some(tokio::task::spawn_blocking(move || sync(&file)));
        }
    }

    /// Resolves when what work waits for is on the disk. May be given up and asked again.
    pub(crate) async fn durable(&mut self) -> io::Result<()> {
        loop {
            self.disk.stands()?;
            if let Some(running) = &mut self.disk.running {
                let synced = running.await.unwrap_or_else(|e| Err(io::Error::other(e)));
                self.disk.running = None;
                if let Err(error) = synced {
                    // What the system thinks of the file is not known any more, so a second try would prove nothing.
                    self.disk.lost = Some(error.to_string());
                }
            } else if self.disk.behind {
                self.begin_sync();
            } else {
                return Ok(());
            }
        }
    }

    /// Why nothing more is kept, if that is so.
    pub(crate) fn lost(&self) -> Option<NodeError> {
        self.disk.stands().err().map(|source| NodeError::Io { path: self.path.clone(), source })
    }
}

impl Disk {
    fn stands(&self) -> io::Result<()> {
        match &self.lost {
            None => Ok(()),
            Some(why) => Err(io::Error::other(format!("what orders took could not be made durable: {why}"))),
        }
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("behind", &self.behind).field("lost", &self.lost).finish_non_exhaustive()
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
        write_whole(path, &out)?;
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
mod tests;
