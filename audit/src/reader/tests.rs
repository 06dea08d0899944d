use std::fs::File;
use std::io::Write;

use counterfoil_spec::ids::Hash;

use super::*;
use crate::segment;

/// Entries of a log that is written byte by byte; each is a group.
const ENTRIES: u64 = 300;

fn header() -> Vec<u8> {
    segment::header(&segment::origin_hash("router.example/log"), 0)
}

fn group(index: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    segment::push_entry(&mut bytes, &index.to_be_bytes());
    bytes.extend(segment::commit(&Head { size: index + 1, root: Hash::from_bytes([7; 32]) }));
    bytes
}

fn segment_of(folder: &Path) -> File {
    std::fs::create_dir(folder.join(segment::FOLDER)).unwrap();
    let mut file = File::create(SegmentFile::new(folder, 0).path).unwrap();
    file.write_all(&header()).unwrap();
    file
}

#[test]
fn group_that_is_being_written_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = segment_of(folder.path());
    let mut reader = LogReader::open(folder.path()).unwrap();
    let writing = std::thread::spawn(move || {
        for byte in (0..ENTRIES).flat_map(group) {
            file.write_all(&[byte]).unwrap();
        }
    });
    while reader.size() < ENTRIES {
        reader.refresh().unwrap();
    }
    writing.join().unwrap();
    let mut leaves = Vec::new();
    let mut keep = |_, leaf: &[u8]| {
        leaves.push(leaf.to_vec());
        Ok::<_, LogError>(())
    };
    reader.stream(0, ENTRIES, &mut keep).unwrap();
    assert_eq!(leaves, (0..ENTRIES).map(|index| index.to_be_bytes().to_vec()).collect::<Vec<_>>());
}

#[test]
fn length_that_reaches_behind_the_end_is_damage_where_a_commit_follows() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = segment_of(folder.path());
    file.write_all(&group(0)).unwrap();
    let mut reader = LogReader::open(folder.path()).unwrap();
    let mut damaged = group(1);
    damaged[2] = 1;
    file.write_all(&damaged).unwrap();
    assert!(
        matches!(reader.refresh(), Err(LogError::Corrupt { offset, .. }) if offset == wide(header().len() + group(0).len()))
    );
    assert_eq!(reader.size(), 1);
}
