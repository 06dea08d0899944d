//! Puts many short records in order in little memory: what does not fit lies as sorted runs in a file without a name, which is
//! gone with the process, and is merged at the end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::error::LogError;
use crate::scan::wide;

/// Bytes of records that are held in memory; more are sorted by so many at a time.
pub(crate) const MAX_HELD_BYTES: usize = 12 << 20;
/// Bytes that are read of a run at a time: all runs together stay below what is held, up to some hundred of them.
const READ_BYTES: usize = 64 << 10;

/// Records of `N` bytes, in the order of their bytes.
pub(crate) struct Sorted<const N: usize> {
    held: usize,
    records: Vec<[u8; N]>,
    runs: Vec<Run<N>>,
    file: Option<File>,
    /// Records in the file.
    written: u64,
}

/// A sorted run, as far as it was not read.
struct Run<const N: usize> {
    next: u64,
    end: u64,
    read: std::vec::IntoIter<[u8; N]>,
}

impl<const N: usize> Sorted<N> {
    /// Holds so many bytes of records at most.
    pub(crate) const fn new(held_bytes: usize) -> Self {
        let held = if held_bytes < N { 1 } else { held_bytes / N };
        Self { held, records: Vec::new(), runs: Vec::new(), file: None, written: 0 }
    }

    /// Takes one more.
    ///
    /// # Errors
    /// `Store` where the file cannot be written.
    pub(crate) fn add(&mut self, record: [u8; N]) -> Result<(), LogError> {
        self.records.push(record);
        if self.records.len() < self.held { Ok(()) } else { self.spill().map_err(refused) }
    }

    /// How many runs lie in the file.
    #[cfg(test)]
    pub(crate) const fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Moves what is held into the file.
    fn spill(&mut self) -> io::Result<()> {
        self.records.sort_unstable();
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(unnamed(&std::env::temp_dir())?),
        };
        let start = self.written;
        for part in self.records.chunks(per_read(N)) {
            file.write_all_at(part.as_flattened(), self.written * wide(N))?;
            self.written += wide(part.len());
        }
        self.runs.push(Run { next: start, end: self.written, read: Vec::new().into_iter() });
        self.records.clear();
        Ok(())
    }

    /// Gives all of them in order.
    ///
    /// # Errors
    /// `Store` where the file cannot be read or written, and what `each` says.
    pub(crate) fn each(
        mut self,
        mut each: impl FnMut([u8; N]) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        if self.file.is_none() {
            self.records.sort_unstable();
            return self.records.into_iter().try_for_each(each);
        }
        self.spill().map_err(refused)?;
        // Given back before the runs are read.
        self.records = Vec::new();
        let Self { file: Some(file), mut runs, .. } = self else { return Ok(()) };
        let mut heads = BinaryHeap::new();
        for (number, run) in runs.iter_mut().enumerate() {
            heads.extend(run.next(&file).map_err(refused)?.map(|record| Reverse((record, number))));
        }
        while let Some(Reverse((record, number))) = heads.pop() {
            if let Some(run) = runs.get_mut(number) {
                heads.extend(run.next(&file).map_err(refused)?.map(|next| Reverse((next, number))));
            }
            each(record)?;
        }
        Ok(())
    }
}

/// Records of a run that are read or written at a time.
const fn per_read(record_bytes: usize) -> usize {
    READ_BYTES / record_bytes
}

impl<const N: usize> Run<N> {
    fn next(&mut self, file: &File) -> io::Result<Option<[u8; N]>> {
        if let Some(record) = self.read.next() {
            return Ok(Some(record));
        }
        let count = (self.end - self.next).min(wide(per_read(N)));
        if count == 0 {
            return Ok(None);
        }
        let mut records = vec![[0; N]; usize::try_from(count).unwrap_or_default()];
        file.read_exact_at(records.as_flattened_mut(), self.next * wide(N))?;
        self.next += count;
        self.read = records.into_iter();
        Ok(self.read.next())
    }
}

/// A file that nobody else finds.
fn unnamed(folder: &Path) -> io::Result<File> {
    let process = std::process::id();
    for number in 0..u32::MAX {
        let path = folder.join(format!("counterfoil-sorted-{process}-{number}"));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn refused(e: io::Error) -> LogError {
    LogError::store("sort records in a file in", &std::env::temp_dir())(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that no run has in order by itself, with repetitions.
    fn row(count: u64) -> impl Iterator<Item = [u8; 8]> {
        (0..count).map(move |n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (count / 2)).to_be_bytes())
    }

    #[test]
    fn records_in_a_file_come_in_the_same_order_as_from_memory() {
        let count = 50_000;
        let mut want: Vec<_> = row(count).collect();
        want.sort_unstable();
        for held in [1 << 20, 3 * READ_BYTES + 8, 9_000 * 8, 400_000] {
            let mut sorted = Sorted::<8>::new(held);
            row(count).for_each(|record| sorted.add(record).unwrap());
            assert_eq!(sorted.runs() > 0, held < 400_008, "{held}");
            let mut got = Vec::new();
            sorted
                .each(|record| {
                    got.push(record);
                    Ok(())
                })
                .unwrap();
            assert_eq!(got, want, "{held} bytes held");
        }
    }

    #[test]
    fn what_each_says_ends_it() {
        let mut sorted = Sorted::<1>::new(1);
        (0..9).for_each(|n| sorted.add([8 - n]).unwrap());
        assert_eq!(sorted.runs(), 9);
        let mut seen = Vec::new();
        let ended = sorted.each(|[n]| {
            seen.push(n);
            if n == 3 { Err(LogError::Closed) } else { Ok(()) }
        });
        assert!(matches!(ended, Err(LogError::Closed)));
        assert_eq!(seen, [0, 1, 2, 3]);
    }
}
