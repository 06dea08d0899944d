//! An export of which one file was changed: whoever knows the log's key finds a fault.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use counterfoil_audit::export::{Checked, ExportError, Format, Header, Pins, check};
use counterfoil_audit_fuzz::{Files, Plain, log, log_and_export};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some(changed) = files().changed(input) else { return };
    if let Ok(report) = checked(changed.folder.path()) {
        assert!(!report.ok, "{} was changed and nobody says so: {report:?}", changed.file);
    }
});

fn checked(folder: &Path) -> Result<Checked, ExportError> {
    let pins = Pins { vkey: Some(counterfoil_audit::TrustedKeys::one(log().verifier().clone())), log: None };
    let make = &mut |header: &Header| {
        let plain: Box<dyn Format> = Box::new(Plain);
        (header.format == "plain").then_some(plain)
    };
    check(folder, &pins, make, &mut |_, _| {})
}

fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let (_, files) = log_and_export();
        let report = checked(files.whole().path()).expect("an export");
        assert!(report.ok, "{report:?}");
        files
    })
}
