//! What is read is what gguf-py wrote; what cannot be is refused, and nothing large is allocated for it.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{Entry, Gguf, Outline, Setting, Stored, Value, WriteError, check_set, files_of_set};
use crate::dtype::ElementType;
use crate::error::LoadError;

/// Made by `fixtures/make_gguf.py`.
const JUDGED: &[u8] = include_bytes!("../../fixtures/kinds.gguf");

fn parse(bytes: &[u8]) -> Result<Gguf<'_>, LoadError> {
    Gguf::parse(Path::new("a.gguf"), bytes)
}

/// The message without the file and the advice.
fn refused(bytes: &[u8]) -> String {
    let text = parse(bytes).unwrap_err().to_string();
    text.trim_start_matches("a.gguf: ").to_owned()
}

/// A head written by hand.
#[derive(Clone)]
struct Head(Vec<u8>);

impl Head {
    fn new(version: u32, tensors: u64, settings: u64) -> Self {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(settings.to_le_bytes());
        Self(bytes)
    }

    fn text(mut self, text: &str) -> Self {
        self.0.extend(u64::try_from(text.len()).unwrap().to_le_bytes());
        self.0.extend(text.as_bytes());
        self
    }

    fn u32(mut self, v: u32) -> Self {
        self.0.extend(v.to_le_bytes());
        self
    }

    fn u64(mut self, v: u64) -> Self {
        self.0.extend(v.to_le_bytes());
        self
    }

    fn tensor(self, name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Self {
        let mut head = self.text(name).u32(u32::try_from(dimensions.len()).unwrap());
        for dimension in dimensions {
            head = head.u64(*dimension);
        }
        head.u32(kind).u64(offset)
    }

    /// Padding, and this many bytes of tensors.
    fn end(mut self, tensors: usize) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(32) + tensors, 0);
        self.0
    }
}

#[test]
fn what_gguf_py_wrote_is_read() {
    let file = parse(JUDGED).unwrap();
    assert_eq!(file.text("general.architecture").unwrap(), Some("llama"));
    assert_eq!(file.setting("k.u8"), Some(Value::Unsigned(200)));
    assert_eq!(file.setting("k.i8"), Some(Value::Signed(-3)));
    assert_eq!(file.setting("k.u16"), Some(Value::Unsigned(60_000)));
    assert_eq!(file.setting("k.i16"), Some(Value::Signed(-30_000)));
    assert_eq!(file.setting("k.u32"), Some(Value::Unsigned(4_000_000_000)));
    assert_eq!(file.setting("k.i32"), Some(Value::Signed(-2_000_000_000)));
    assert_eq!(file.setting("k.u64"), Some(Value::Unsigned(1 << 60)));
    assert_eq!(file.setting("k.i64"), Some(Value::Signed(-(1 << 60))));
    assert_eq!(file.float("k.f32").unwrap(), Some(0.0707));
    assert_eq!(file.float("k.f64").unwrap(), Some(0.1 + 0.2));
    assert_eq!(file.flag("k.bool").unwrap(), Some(true));
    assert_eq!(file.text("k.text").unwrap(), Some("naïve 🦀"));
    let texts: Vec<_> = file.array("k.texts").unwrap().unwrap().texts().unwrap().collect();
    assert_eq!(texts, [Ok("a"), Ok(""), Ok("Ġthe")]);
    let numbers: Vec<i64> = file.array("k.numbers").unwrap().unwrap().integers().unwrap().collect();
    assert_eq!(numbers, [1, -2, 3]);
    let singles: Vec<f32> = file.array("k.singles").unwrap().unwrap().singles().unwrap().collect();
    assert_eq!(singles, [0.5, -1e30]);
    assert!(file.array("k.nested").unwrap().unwrap().texts().is_none());
    assert_eq!(file.array("k.nested").unwrap().unwrap().len(), 2);
    let entry = |name: &str| file.tensors().iter().find(|entry| entry.name == name).unwrap();
    assert_eq!(entry("float").shape, [2, 3]);
    assert_eq!(entry("float").stored, Stored::As(ElementType::F32));
    let of = |entry: &Entry| &JUDGED[entry.offset..entry.offset + entry.bytes];
    let floats: Vec<f32> =
        of(entry("float")).as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    assert_eq!(floats, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(
        (entry("blocks").shape.as_slice(), entry("blocks").bytes),
        ([3, 2, 64].as_slice(), 3 * 2 * 68)
    );
    assert_eq!(entry("blocks").stored, Stored::As(ElementType::Q8_0));
    assert_eq!(of(entry("blocks")), [vec![7; 204], vec![9; 204]].concat());
}

#[test]
fn foreign_types_are_told_where_they_are_used() {
    let file = parse(JUDGED).unwrap();
    let entry = file.tensors().iter().find(|entry| entry.name == "foreign").unwrap();
    assert_eq!((entry.stored, entry.bytes), (Stored::Foreign(10), 84));
    let error = entry.element_type(file.path()).unwrap_err();
    assert!(
        matches!(error, LoadError::TensorType { tensor, found, .. } if tensor == "foreign" && found == "q2_k")
    );

    let bytes = Head::new(3, 2, 0).tensor("x", &[32], 99, 0).tensor("y", &[8], 0, 64).end(96);
    let file = parse(&bytes).unwrap();
    assert_eq!((file.tensors()[0].stored, file.tensors()[0].bytes), (Stored::Foreign(99), 64));
    let error = file.tensors()[0].element_type(file.path()).unwrap_err();
    assert!(matches!(error, LoadError::TensorType { found, .. } if found == "number 99"));
}

#[test]
fn what_is_written_is_read() {
    let mut outline = Outline::new("llama");
    outline.set("a", Setting::U32(7)).unwrap();
    outline.set("b", Setting::Single(0.1)).unwrap();
    outline.set("c", Setting::Flag(false)).unwrap();
    outline.set("d", Setting::Texts(vec!["x".to_owned(), "é".to_owned()])).unwrap();
    outline.set("e", Setting::Singles(vec![1.5])).unwrap();
    outline.set("f", Setting::Integers(vec![-1, 2])).unwrap();
    assert!(matches!(outline.set("a", Setting::U32(8)), Err(WriteError::Twice(key)) if key == "a"));
    assert_eq!(outline.tensor("t", &[2, 3], ElementType::F16).unwrap(), 12);
    assert_eq!(outline.tensor("u", &[2, 64], ElementType::Q5_0).unwrap(), 88);
    assert!(matches!(outline.tensor("t", &[1], ElementType::F32), Err(WriteError::Twice(_))));
    assert!(matches!(outline.tensor("v", &[33], ElementType::Q8_0), Err(WriteError::Shape { .. })));
    let mut writer = outline.begin(Vec::new()).unwrap();
    let bytes: Vec<u8> = (0..100).collect();
    writer.write(&bytes[..5]).unwrap();
    writer.write(&bytes[5..50]).unwrap();
    writer.write(&bytes[50..]).unwrap();
    assert!(matches!(writer.write(&[0]), Err(WriteError::TooMany)));
    let written = writer.finish().unwrap();
    let file = parse(&written).unwrap();
    assert_eq!(file.text("general.architecture").unwrap(), Some("llama"));
    assert_eq!(file.unsigned("a").unwrap(), Some(7));
    assert_eq!(file.float("b").unwrap(), Some(0.1));
    assert_eq!(file.flag("c").unwrap(), Some(false));
    assert_eq!(file.array("d").unwrap().unwrap().texts().unwrap().collect::<Vec<_>>(), [Ok("x"), Ok("é")]);
    assert_eq!(file.array("e").unwrap().unwrap().singles().unwrap().collect::<Vec<_>>(), [1.5]);
    assert_eq!(file.array("f").unwrap().unwrap().integers().unwrap().collect::<Vec<_>>(), [-1, 2]);
    let [t, u] = file.tensors() else { panic!("two tensors") };
    assert_eq!((t.shape.as_slice(), &written[t.offset..][..t.bytes]), ([2, 3].as_slice(), &bytes[..12]));
    assert_eq!((u.shape.as_slice(), &written[u.offset..][..u.bytes]), ([2, 64].as_slice(), &bytes[12..]));
}

#[test]
fn a_file_that_is_not_complete_is_not_finished() {
    let mut outline = Outline::new("llama");
    outline.tensor("t", &[2], ElementType::F32).unwrap();
    let mut writer = outline.begin(Vec::new()).unwrap();
    writer.write(&[0; 7]).unwrap();
    assert!(matches!(writer.finish(), Err(WriteError::TooFew(name)) if name == "t"));
}

#[test]
fn cut_off_anywhere_it_is_refused() {
    let last = parse(JUDGED).unwrap().tensors().iter().map(|entry| entry.offset + entry.bytes).max().unwrap();
    for end in 0..last {
        assert!(parse(&JUDGED[..end]).is_err(), "{end}");
    }
    assert!(parse(&JUDGED[..last]).is_ok());
}

proptest! {
    #[test]
    fn no_change_of_a_byte_panics(at in 0..JUDGED.len(), to in any::<u8>()) {
        let mut bytes = JUDGED.to_vec();
        bytes[at] = to;
        if let Ok(file) = parse(&bytes) {
            for entry in file.tensors() {
                prop_assert!(entry.offset + entry.bytes <= bytes.len());
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut all = b"GGUF\x03\0\0\0".to_vec();
        all.extend(bytes);
        let _ = parse(&all);
    }
}

#[test]
fn other_versions_are_named() {
    assert_eq!(refused(b"GGML\x03\0\0\0"), "the file does not begin with GGUF");
    let version = |version: u32| refused(&Head::new(version, 0, 0).0);
    assert!(version(1).starts_with("version is 1,"));
    assert!(version(4).starts_with("version is 4,"));
    assert!(version(3u32.swap_bytes()).starts_with("version is big-endian 3,"));
    assert!(parse(&Head::new(2, 0, 0).0).is_ok());
}

#[test]
fn counts_that_lie_are_refused_before_memory_is_taken() {
    assert_eq!(refused(&Head::new(3, 100_000, 0).0), "100000 tensors do not fit the 8 bytes left");
    assert_eq!(refused(&Head::new(3, 0, 60_000).0), "60000 settings do not fit the 0 bytes left");
    for (tensors, settings, what) in [(u64::MAX, 0, "tensors"), (0, u64::MAX, "settings")] {
        let error = parse(&Head::new(3, tensors, settings).0).map(|_| ()).unwrap_err();
        assert!(matches!(error, LoadError::TooLarge { what: w, found: u64::MAX, .. } if w == what));
    }
    let key = Head::new(3, 0, 1).u64(u64::MAX).u64(0).end(0);
    assert!(matches!(parse(&key), Err(LoadError::TooLarge { what: "bytes of a key", .. })));
    let array = |kind: u32, count: u64| Head::new(3, 0, 1).text("k").u32(9).u32(kind).u64(count).end(64);
    assert_eq!(refused(&array(8, 1 << 40)), "1099511627776 values in an array do not fit the 79 bytes left");
    assert_eq!(
        refused(&array(10, u64::MAX)),
        "18446744073709551615 values in an array do not fit the 79 bytes left"
    );
    let text = Head::new(3, 0, 1).text("k").u32(8).u64(u64::MAX - 3).end(64);
    assert!(refused(&text).ends_with("bytes of a text do not fit the 83 bytes left"), "{}", refused(&text));
}

#[test]
fn settings_that_are_wrong_are_refused() {
    let setting = |kind: u32| Head::new(3, 0, 1).text("k").u32(kind);
    assert_eq!(refused(&setting(13).end(32)), "k has the unknown type 13");
    assert_eq!(refused(&setting(7).u32(2).end(0)), "k is neither true nor false");
    assert_eq!(refused(&Head::new(3, 0, 1).text("").u32(0).end(32)), "\"\" is no name (bytes of a key)");
    let twice = Head::new(3, 0, 2).text("k").u32(4).u32(1).text("k").u32(4).u32(1);
    assert_eq!(refused(&twice.end(0)), "k is set twice");
    let mut deep = setting(9);
    for _ in 0..4 {
        deep = deep.u32(9).u64(1);
    }
    assert_eq!(refused(&deep.u32(4).u64(0).end(64)), "k is nested deeper than 4");
    let mut bad = setting(8).u64(1).0;
    bad.push(0xff);
    bad.extend([0; 16]);
    assert_eq!(refused(&bad), "k is not UTF-8");
    let bytes = setting(4).u32(7).end(0);
    let error = parse(&bytes).unwrap().text("k").unwrap_err().to_string();
    assert!(error.contains("k is not a text"), "{error}");
    for alignment in [0, 24, 1 << 20] {
        let head = Head::new(3, 0, 1).text("general.alignment").u32(4).u32(alignment).end(0);
        assert_eq!(
            refused(&head),
            format!("general.alignment {alignment} is not a power of two up to 65536")
        );
    }
}

#[test]
fn tensors_that_are_wrong_are_refused() {
    let one = |dimensions: &[u64], kind, offset| {
        refused(&Head::new(3, 1, 0).tensor("t", dimensions, kind, offset).end(64))
    };
    assert_eq!(one(&[17], 0, 0), "tensor t: ends at byte 132 of a file of 128");
    assert_eq!(one(&[16], 0, 32), "tensor t: ends at byte 160 of a file of 128");
    assert_eq!(one(&[16], 0, 1), "tensor t: offset 1 is no multiple of 32");
    assert_eq!(one(&[33], 8, 0), "tensor t: rows of 33 values are no whole blocks of 32");
    assert_eq!(one(&[0], 0, 0), "tensor t has a dimension of 0");
    assert_eq!(one(&[], 0, 0), "tensor t has 0 dimensions");
    assert_eq!(one(&[1, 1, 1, 1, 1], 0, 0), "tensor t has 5 dimensions");
    assert_eq!(
        one(&[1 << 40, 1 << 40], 0, 0),
        "tensor t: shape [1099511627776, 1099511627776] is too large to count"
    );
    assert_eq!(one(&[1 << 62], 0, 0), "tensor t: shape [4611686018427387904] is too large to count");
    assert_eq!(one(&[1], 0, u64::MAX - 31), "tensor t: offset 18446744073709551584 is too large to count");
    let two = |name: &str, offset| {
        refused(&Head::new(3, 2, 0).tensor("t", &[9], 0, 0).tensor(name, &[1], 0, offset).end(64))
    };
    assert_eq!(two("u", 32), "tensors t and u overlap");
    assert_eq!(two("u", 0), "tensors u and t overlap");
    assert_eq!(two("t", 64), "tensor t is there twice");
}

#[test]
fn a_head_larger_than_the_limit_is_refused() {
    let mut bytes = Head::new(3, 0, 1).text("k").u32(8).u64(33 * 1024 * 1024).0;
    bytes.resize(40 * 1024 * 1024, b' ');
    assert!(matches!(parse(&bytes), Err(LoadError::TooLarge { what: "bytes of header", .. })));
}

#[test]
fn sets_are_known_by_their_names() {
    let files = files_of_set(Path::new("m/a-00002-of-00003.gguf")).unwrap();
    let names = ["m/a-00001-of-00003.gguf", "m/a-00002-of-00003.gguf", "m/a-00003-of-00003.gguf"];
    assert_eq!(files, names.map(PathBuf::from));
    for alone in ["m/a.gguf", "m/a-1-of-3.gguf", "m/a-00001-of-00003.bin", "m/a-0000x-of-00003.gguf"] {
        assert_eq!(files_of_set(Path::new(alone)).unwrap(), [PathBuf::from(alone)]);
    }
    assert!(matches!(files_of_set(Path::new("a-00004-of-00003.gguf")), Err(LoadError::Malformed { .. })));
    assert!(matches!(files_of_set(Path::new("a-00000-of-00003.gguf")), Err(LoadError::Malformed { .. })));
    assert!(matches!(files_of_set(Path::new("a-00001-of-99999.gguf")), Err(LoadError::TooLarge { .. })));
}

/// File `number` of a set, with one tensor.
fn file_of_set(number: u32, count: u32, tensors: u32) -> Vec<u8> {
    let mut outline = Outline::new("llama");
    for (key, value) in [("split.no", number), ("split.count", count), ("split.tensors.count", tensors)] {
        outline.set(key, Setting::U32(value)).unwrap();
    }
    outline.tensor(&format!("t{number}"), &[1], ElementType::F32).unwrap();
    let mut writer = outline.begin(Vec::new()).unwrap();
    writer.write(&[0; 4]).unwrap();
    writer.finish().unwrap()
}

#[test]
fn sets_are_checked() {
    let checked = |files: &[Vec<u8>]| {
        let files: Vec<Gguf<'_>> = files.iter().map(|bytes| parse(bytes).unwrap()).collect();
        check_set(&files).map_err(|e| e.to_string())
    };
    assert_eq!(checked(&[file_of_set(0, 2, 2), file_of_set(1, 2, 2)]), Ok(()));
    assert_eq!(checked(&[Head::new(3, 0, 0).0]), Ok(()));
    let told = checked(&[file_of_set(1, 2, 2), file_of_set(0, 2, 2)]).unwrap_err();
    assert!(told.contains("it says that it is file 2 of 2, and it was opened as file 1 of 2"), "{told}");
    let told = checked(&[file_of_set(0, 2, 2)]).unwrap_err();
    assert!(told.contains("file 1 of 2, and it was opened as file 1 of 1"), "{told}");
    let told = checked(&[file_of_set(0, 2, 3), file_of_set(1, 2, 3)]).unwrap_err();
    assert!(told.contains("the set should have 3 tensors and has 2"), "{told}");
}
