//! The keys that are remembered, on disk: no key is in it, and no text.
//!
//! ```text
//! repeats   magic[16] ‖ secret[32] ‖ { record[128] }
//! record    at[8] ‖ account[32] ‖ mark[32] ‖ body[32] ‖ request[16] ‖ check[8]
//! mark      BLAKE3 keyed with the secret of account ‖ key; body is as much of a body
//! check     the first bytes of as much of what stands before it in the record
//! ```
//!
//! Numbers are big-endian. Records are written in groups with a sync behind each, so of those in the last group alone any may be
//! torn; they were promised to nobody. What is older than a day is left out whenever the file is written anew: at each start, when
//! half of it is over, and after a write that failed, since nobody knows then what of the file is on the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use counterfoil_identity::random;
use counterfoil_spec::ids::{AccountId, Hash, Serial};
use counterfoil_spec::limits::{MAX_IDEMPOTENCY_KEYS, MAX_IDEMPOTENCY_KEYS_OF_ACCOUNT};
use counterfoil_spec::time::Seconds;

use super::Mark;

const MAGIC: &[u8; 16] = b"counterfoil rep2";
const HEAD_BYTES: usize = MAGIC.len() + 32;
const RECORD_BYTES: usize = 128;
const CHECKED_BYTES: usize = RECORD_BYTES - 8;
/// Records that are written with one sync.
pub(super) const MAX_GROUP: usize = 64;
/// Records beyond twice those that count before the file is written anew.
const SLACK: usize = MAX_IDEMPOTENCY_KEYS_OF_ACCOUNT;
/// The longest file, in bytes.
const MAX_FILE_BYTES: usize = HEAD_BYTES + RECORD_BYTES * (2 * MAX_IDEMPOTENCY_KEYS + SLACK + MAX_GROUP);

/// A key whose request was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) at: Seconds,
    pub(super) account: AccountId,
    pub(super) mark: Mark,
    /// Of its body.
    pub(super) body: Hash,
    pub(super) request: Serial,
}

/// The file.
#[derive(Debug)]
pub(super) struct Marks {
    path: PathBuf,
    secret: [u8; 32],
    /// None where nobody knows what of it is on the disk.
    file: Option<File>,
    /// Records in it.
    records: usize,
    /// From how many on it is written anew.
    most: usize,
}

impl Marks {
    /// Opens the file or makes it, without what came up to `from`; gives what is left, in order of time.
    pub(super) fn open(path: &Path, from: Seconds) -> io::Result<(Self, Vec<Record>)> {
        let (secret, records) = match read(path)? {
            Some(bytes) => parse(&bytes, from).map_err(|why| {
                let why = format!(
                    "{}: {why}; move it away, and the keys of a day are not known any more",
                    path.display()
                );
                io::Error::new(io::ErrorKind::InvalidData, why)
            })?,
            None => (random::bytes(), Vec::new()),
        };
        let mut marks = Self { path: path.to_owned(), secret, file: None, records: 0, most: 0 };
        marks.write_anew(&records)?;
        Ok((marks, records))
    }

    pub(super) fn secret(&self) -> [u8; 32] {
        self.secret
    }

    /// Has the next write go to another file than this one's, such as one without room.
    #[cfg(test)]
    pub(super) fn instead(&mut self, file: File) {
        self.file = Some(file);
    }

    /// Writes records as one group, durable when it returns. Where the file is written anew it has what `live` gives before them.
    ///
    /// # Errors
    /// What the system said. Some of them may be in the file then, until it is written anew.
    pub(super) fn write(&mut self, group: &[Record], live: impl FnOnce() -> Vec<Record>) -> io::Result<()> {
        // It is there again only after a write that went well.
        let Some(mut file) = self.file.take().filter(|_| self.records + group.len() <= self.most) else {
            return self.write_anew(&[&live(), group].concat());
        };
        file.write_all(&self.bytes(group))?;
        file.sync_data()?;
        (self.file, self.records) = (Some(file), self.records + group.len());
        Ok(())
    }

    fn write_anew(&mut self, records: &[Record]) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&[&MAGIC[..], &self.secret, &self.bytes(records)].concat())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        (self.file, self.records, self.most) = (Some(file), records.len(), 2 * records.len() + SLACK);
        Ok(())
    }

    fn bytes(&self, records: &[Record]) -> Vec<u8> {
        records.iter().flat_map(|record| bytes(&self.secret, record)).collect()
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
        Ok(known) if known.len() > MAX_FILE_BYTES as u64 => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is too long", path.display())))
        }
        Ok(_) => std::fs::read(path).map(Some),
    }
}

type Parsed = ([u8; 32], Vec<Record>);

fn parse(bytes: &[u8], from: Seconds) -> Result<Parsed, &'static str> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES).ok_or("it is cut off in its head")?;
    let secret = head.strip_prefix(MAGIC).and_then(|secret| secret.try_into().ok());
    let secret = secret.ok_or("it begins with other bytes")?;
    let (whole, torn) = rest.as_chunks::<RECORD_BYTES>();
    let last_group = (whole.len() + usize::from(!torn.is_empty())).saturating_sub(MAX_GROUP);
    // One key stands twice where it came again after its day, and after a write that failed.
    let mut taken = std::collections::BTreeMap::new();
    for (n, bytes) in whole.iter().enumerate() {
        match record(&secret, bytes) {
            Some(record) if record.at > from => drop(taken.insert(record.mark, record)),
            Some(_) => {}
            None if n >= last_group => {}
            None => return Err("a record in it is not what was written"),
        }
    }
    let mut taken: Vec<Record> = taken.into_values().collect();
    taken.sort_by_key(|record| record.at);
    // Nobody wrote more than that; the newest stand.
    let beyond = taken.len().saturating_sub(MAX_IDEMPOTENCY_KEYS);
    Ok((secret, taken.split_off(beyond)))
}

fn record(secret: &[u8; 32], bytes: &[u8; RECORD_BYTES]) -> Option<Record> {
    let (checked, sum) = bytes.split_first_chunk::<CHECKED_BYTES>()?;
    if check(secret, checked) != *sum {
        return None;
    }
    let (at, rest) = checked.split_first_chunk::<8>()?;
    let (account, rest) = rest.split_first_chunk::<32>()?;
    let (mark, rest) = rest.split_first_chunk::<32>()?;
    let (body, request) = rest.split_first_chunk::<32>()?;
    Some(Record {
        at: Seconds(u64::from_be_bytes(*at)),
        account: AccountId::from_bytes(*account),
        mark: Mark(Hash::from_bytes(*mark)),
        body: Hash::from_bytes(*body),
        request: Serial::from_bytes(request.try_into().ok()?),
    })
}

fn bytes(secret: &[u8; 32], record: &Record) -> Vec<u8> {
    let Record { at, account, mark, body, request } = record;
    let at = at.0.to_be_bytes();
    let checked =
        [&at[..], account.as_bytes(), mark.0.as_bytes(), body.as_bytes(), request.as_bytes()].concat();
    let sum = check(secret, &checked);
    [checked, sum.to_vec()].concat()
}

fn check(secret: &[u8; 32], bytes: &[u8]) -> [u8; 8] {
    let sum = blake3::keyed_hash(secret, bytes);
    sum.as_bytes().first_chunk().copied().unwrap_or_default()
}
