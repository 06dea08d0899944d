//! A log of which one file was changed: whoever knows its key finds a fault, and reading it never panics.
#![no_main]

use std::sync::OnceLock;

use counterfoil_audit::LogReader;
use counterfoil_audit::verify::{VerifyOptions, verify_plain};
use counterfoil_audit_fuzz::{Files, log, log_and_export};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some(changed) = files().changed(input) else { return };
    let dir = changed.folder.path();
    if let Ok(reader) = LogReader::open(dir) {
        let _ = reader.for_each(0, |_, _, _| {});
    }
    if let Ok(report) = verify_plain(&options(dir)) {
        // What follows the last commit of the last segment was never acknowledged, and is told apart from faults.
        let is_torn = changed.is_longer && changed.file.starts_with("seg/") && report.torn_bytes > 0;
        assert!(!report.ok || is_torn, "{} was changed and nobody says so: {report:?}", changed.file);
    }
});

fn options(dir: &std::path::Path) -> VerifyOptions {
    VerifyOptions { vkey: Some(log().vkey()), threads: 1, ..VerifyOptions::new(dir) }
}

fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let (files, _) = log_and_export();
        let whole = files.whole();
        let report = verify_plain(&options(whole.path())).expect("a log");
        assert!(report.ok, "{report:?}");
        files
    })
}
