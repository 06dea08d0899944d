//! A file that shows how a log's keys follow each other, as it comes, and with a bit of it changed: where each signature in
//! it is one that counts, no bit of it may be another.
#![no_main]

use counterfoil_audit::succession::Succession;
use counterfoil_audit_fuzz::changed;
use counterfoil_spec::entry::Leaf;
use data_encoding::BASE64;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(read) = Succession::parse(input) else { return };
    let text = read.to_string();
    assert_eq!(text.as_bytes(), input);
    let (first, last) =
        (read.keys().first().expect("genesis names one"), read.keys().last().expect("as before"));
    assert_eq!((read.newest_after(first), read.after(last)), (Some(last), Some(&[][..])));
    // The author's and the root's in genesis; further on the author's, and those of the key before and of the next one.
    let counts = text.lines().zip(std::iter::once(2).chain(std::iter::repeat(3))).all(|(line, wanted)| {
        let leaf = BASE64.decode(line.as_bytes()).expect("it was read");
        Leaf::read(&leaf).expect("it was read").0.signatures.len() == wanted
    });
    if counts {
        assert!(Succession::parse(&changed(input)).is_err(), "a bit was changed");
    }
});
