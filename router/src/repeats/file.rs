//! The keys that are remembered, on disk: no key is in it, and no text.
//!
//! ```text
//! repeats   magic[16] ‖ secret[32] ‖ { record[112] }
//! record    kind[8] ‖ at[8] ‖ account[32] ‖ mark[32] ‖ value[32]
//! mark      BLAKE3 keyed with the secret of account ‖ key; value is as much of a body, the request's id, or zero
//! ```
//!
//! Numbers are big-endian. A torn last record is cut off; what is older than a day is left out at each start.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use counterfoil_identity::random;
use counterfoil_spec::ids::{AccountId, Hash, Serial};
use counterfoil_spec::time::Seconds;

use super::Mark;

const MAGIC: &[u8; 16] = b"counterfoil rep1";
const HEAD_BYTES: usize = MAGIC.len() + 32;
const RECORD_BYTES: usize = 112;
/// The longest file, in bytes: what a day can bring, several times.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// It was taken for a request with this body.
    Claimed { at: Seconds, account: AccountId, mark: Mark, body: Hash },
    /// Its request has this name.
    Admitted { mark: Mark, request: Serial },
    /// It may be taken again.
    Freed { mark: Mark },
}

/// The open file.
#[derive(Debug)]
pub(super) struct Marks {
    file: File,
    secret: [u8; 32],
}

impl Marks {
    /// Opens the file or makes it, without what came before `from`; gives what is left.
    pub(super) fn open(path: &Path, from: Seconds) -> io::Result<(Self, Vec<Record>)> {
        let (secret, records) = match read(path) {
            Ok(Some(bytes)) => parse(&bytes, from).map_err(|why| {
                let why = format!(
                    "{}: {why}; move it away, and the keys of a day are not known any more",
                    path.display()
                );
                io::Error::new(io::ErrorKind::InvalidData, why)
            })?,
            Ok(None) => (random::bytes(), Vec::new()),
            Err(e) => return Err(e),
        };
        let whole: Vec<u8> =
            MAGIC.iter().chain(&secret).copied().chain(records.iter().flat_map(bytes)).collect();
        let new = beside(path);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&whole)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        let file = OpenOptions::new().append(true).open(path)?;
        Ok((Self { file, secret }, records))
    }

    /// What only this file can tell of these bytes.
    pub(super) fn hash(&self, parts: &[&[u8]]) -> Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        for part in parts {
            hasher.update(part);
        }
        Hash::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Writes a record; it is durable once what this gives was synced.
    pub(super) fn claim(&mut self, record: &Record) -> io::Result<File> {
        if self.file.metadata()?.len() > MAX_FILE_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "start the router anew"));
        }
        self.note(record)?;
        self.file.try_clone()
    }

    /// Writes a record, which may be lost with the machine's power.
    pub(super) fn note(&mut self, record: &Record) -> io::Result<()> {
        let start = self.file.metadata()?.len();
        let written = self.file.write_all(&bytes(record));
        if written.is_err() {
            // A part of a record would shift every later one.
            self.file.set_len(start)?;
        }
        written
    }
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
        Ok(known) if known.len() > MAX_FILE_BYTES + (1 << 20) => {
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
    let (whole, _torn) = rest.as_chunks::<RECORD_BYTES>();
    // What was freed leaves nothing behind, so that a start makes the file short again.
    let mut taken = std::collections::BTreeMap::new();
    for bytes in whole {
        let record = record(bytes).ok_or("it holds a record of no kind")?;
        match record {
            Record::Claimed { at, mark, .. } if at >= from => {
                taken.insert(mark, (at, record, None));
            }
            Record::Claimed { .. } => {}
            Record::Admitted { mark, .. } => {
                if let Some((_, _, admitted)) = taken.get_mut(&mark) {
                    *admitted = Some(record);
                }
            }
            Record::Freed { mark } => drop(taken.remove(&mark)),
        }
    }
    let mut taken: Vec<_> = taken.into_values().collect();
    taken.sort_by_key(|(at, ..)| *at);
    let records = taken.into_iter().flat_map(|(_, claimed, admitted)| [Some(claimed), admitted]).flatten();
    Ok((secret, records.collect()))
}

fn record(bytes: &[u8; RECORD_BYTES]) -> Option<Record> {
    let (kind, rest) = bytes.split_first_chunk::<8>()?;
    let (at, rest) = rest.split_first_chunk::<8>()?;
    let (account, rest) = rest.split_first_chunk::<32>()?;
    let (mark, value) = rest.split_first_chunk::<32>()?;
    let value: &[u8; 32] = value.try_into().ok()?;
    let mark = Mark(Hash::from_bytes(*mark));
    match u64::from_be_bytes(*kind) {
        1 => Some(Record::Claimed {
            at: Seconds(u64::from_be_bytes(*at)),
            account: AccountId::from_bytes(*account),
            mark,
            body: Hash::from_bytes(*value),
        }),
        2 => Some(Record::Admitted { mark, request: Serial::from_bytes(*value.first_chunk()?) }),
        3 => Some(Record::Freed { mark }),
        _ => None,
    }
}

fn bytes(record: &Record) -> Vec<u8> {
    let (kind, at, account, mark, value) = match record {
        Record::Claimed { at, account, mark, body } => {
            (1_u64, at.0, *account.as_bytes(), mark, *body.as_bytes())
        }
        Record::Admitted { mark, request } => {
            let mut value = [0; 32];
            for (to, from) in value.iter_mut().zip(request.as_bytes()) {
                *to = *from;
            }
            (2, 0, [0; 32], mark, value)
        }
        Record::Freed { mark } => (3, 0, [0; 32], mark, [0; 32]),
    };
    [&kind.to_be_bytes()[..], &at.to_be_bytes(), &account, mark.0.as_bytes(), &value].concat()
}
