//! Weights copied out of their files into memory that the system can give in large pages.
//!
//! A product of one row reads each weight once, so it is as fast as memory, and with pages of 4 KiB much of that time goes
//! into finding out where the next page lies. Files are mapped in such pages; anonymous memory may have pages of 2 MiB
//! (Linux: `madvise(2)`, `MADV_HUGEPAGE`). What is copied is let go of in the mapping, so a process has it once; the
//! system may keep the file in its cache, which it gives up when memory is wanted. A budget bounds what is copied: beyond
//! it weights stay where they are, and compute the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use memmap2::{Advice, Mmap, MmapMut};

use crate::mapping::{Mapping, Span};

/// A large page.
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Where matrices begin: at lines of the processor's caches.
const ALIGN_BYTES: usize = 64;

/// So many bytes may be copied.
#[derive(Debug)]
pub struct Residence {
    left: AtomicU64,
}

impl Residence {
    /// For so many bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self { left: AtomicU64::new(bytes) }
    }

    /// The one of this process: for none before [`Self::choose`].
    pub(crate) fn of_process() -> &'static Arc<Self> {
        CHOSEN.get_or_init(|| Arc::new(Self::new(0)))
    }

    /// Allows this process to copy so many bytes; says whether this was the first choice, and weights were not loaded
    /// before it.
    pub fn choose(bytes: u64) -> bool {
        CHOSEN.set(Arc::new(Self::new(bytes))).is_ok()
    }

    fn take(self: &Arc<Self>, bytes: u64) -> Option<Taken> {
        let taken =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.is_ok().then(|| Taken { of: Arc::clone(self), bytes })
    }

    /// The same bytes in memory of large pages, side by side, where that is worth it and allowed.
    pub(crate) fn settle<const N: usize>(self: &Arc<Self>, spans: [Span; N]) -> [Span; N] {
        self.copied(&spans).unwrap_or(spans)
    }

    fn copied<const N: usize>(self: &Arc<Self>, spans: &[Span; N]) -> Option<[Span; N]> {
        if cfg!(not(target_os = "linux")) || !spans.iter().all(Span::is_of_file) {
            return None;
        }
        let mut end = 0;
        let starts: [usize; N] = std::array::from_fn(|at| {
            let start = end;
            end = (start + spans.get(at).map_or(0, |span| span.bytes().len())).next_multiple_of(ALIGN_BYTES);
            start
        });
        if end < PAGE_BYTES {
            return None;
        }
        let taken = self.take(u64::try_from(end).ok()?)?;
        // Linux lays a mapping of whole large pages where they can begin, and others anywhere (since 6.12).
        let mut map = MmapMut::map_anon(end.next_multiple_of(PAGE_BYTES)).ok()?;
        #[cfg(target_os = "linux")]
        {
            let whole = end / PAGE_BYTES * PAGE_BYTES;
            // Without large pages it is as it was; the last one is not taken for a part of it.
            let _ = map.advise_range(Advice::HugePage, 0, whole);
            let _ = map.advise_range(Advice::NoHugePage, whole, map.len() - whole);
        }
        for (span, start) in spans.iter().zip(starts) {
            span.warm();
            let bytes = span.bytes();
            map.get_mut(start..start + bytes.len())?.copy_from_slice(bytes);
            span.let_go();
        }
        let mapping =
            Mapping::Resident(Arc::new(Resident { map: map.make_read_only().ok()?, _taken: taken }));
        let ranges =
            spans.iter().zip(starts).map(|(span, start)| mapping.span(start..start + span.bytes().len()));
        let copied: Vec<Span> = ranges.collect::<Option<_>>()?;
        copied.try_into().ok()
    }
}

static CHOSEN: OnceLock<Arc<Residence>> = OnceLock::new();

/// A part of a budget; given back when it is dropped.
#[derive(Debug)]
struct Taken {
    of: Arc<Residence>,
    bytes: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.of.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes that were copied.
#[derive(Debug)]
pub(crate) struct Resident {
    map: Mmap,
    _taken: Taken,
}

impl Resident {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Three spans of a file, all of it together more than a large page, and not at its beginning.
    fn spans(folder: &Path) -> ([Span; 3], Vec<u8>) {
        let file = folder.join("weights");
        let bytes: Vec<u8> =
            (0..3 * 1024 * 1024_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        std::fs::write(&file, &bytes).unwrap();
        let mapping = Mapping::open(file).unwrap();
        let spans = [5..1_000_001, 1_000_001..1_000_002, 1_000_002..3_100_000];
        (spans.map(|range| mapping.span(range).unwrap()), bytes)
    }

    /// How much of the file in a folder this process holds.
    #[cfg(target_os = "linux")]
    fn mapped_kib(folder: &Path) -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let own = maps.split_once(&folder.join("weights").display().to_string()).unwrap().1;
        let rss = own.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        rss.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
    }

    fn left(residence: &Residence) -> u64 {
        residence.left.load(Ordering::Relaxed)
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_copied_has_the_same_bytes_and_gives_its_budget_back() {
        let folder = tempfile::tempdir().unwrap();
        let (spans, bytes) = spans(folder.path());
        spans.iter().for_each(Span::warm);
        assert!(mapped_kib(folder.path()) >= 3_000);
        let residence = Arc::new(Residence::new(4_000_000));
        let settled = residence.settle(spans.clone());
        // The rest of the file was not asked for; the system may have brought some of it along.
        assert!(mapped_kib(folder.path()) <= 100, "{}", mapped_kib(folder.path()));
        assert_eq!(settled.each_ref().map(Span::is_of_file), [false; 3]);
        let want = [&bytes[5..1_000_001], &bytes[1_000_001..1_000_002], &bytes[1_000_002..3_100_000]];
        assert_eq!(settled.each_ref().map(Span::bytes), want);
        // The file's own pages come back when they are asked for.
        assert_eq!(spans.each_ref().map(Span::bytes), want);
        assert!(
            settled.each_ref().iter().all(|span| span.bytes().as_ptr().addr().is_multiple_of(ALIGN_BYTES))
        );
        // 1,000,000, 64 and 2,099,998 bytes in lines of 64.
        assert_eq!(left(&residence), 4_000_000 - (1_000_000 + 64 + 2_100_032));
        let mut settled = Vec::from(settled);
        settled.truncate(1);
        assert_eq!(left(&residence), 4_000_000 - (1_000_000 + 64 + 2_100_032));
        settled.clear();
        assert_eq!(left(&residence), 4_000_000);
    }

    #[test]
    fn beyond_the_budget_or_below_a_page_all_stays_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (spans, bytes) = spans(folder.path());
        let residence = Arc::new(Residence::new(3_000_000));
        let stayed = residence.settle(spans);
        assert_eq!(stayed.each_ref().map(Span::is_of_file), [true; 3]);
        assert_eq!(stayed[2].bytes(), &bytes[1_000_002..3_100_000]);
        let [small, ..] = stayed;
        assert!(residence.settle([small])[0].is_of_file());
        assert_eq!(left(&residence), 3_000_000);
    }
}
