//! The files of vectors: those that are built in, or those of a folder.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::exit::Failure;

/// One file.
#[derive(Debug)]
pub(super) struct File {
    /// Without its ending.
    pub(super) name: String,
    groups: Vec<(Value, Vec<Value>)>,
}

/// One test with the group that it is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    /// The group's fields, without its tests.
    pub(super) group: &'a Value,
    /// The test.
    pub(super) test: &'a Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    number_of_tests: usize,
    test_groups: Vec<serde_json::Map<String, Value>>,
}

impl File {
    fn read(name: &str, text: &str) -> Result<Self, Failure> {
        let bad = |detail: String| Failure::wrong_use(format!("the vectors in {name}: {detail}"));
        let document: Document = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        let mut groups = Vec::new();
        for mut fields in document.test_groups {
            let Some(Value::Array(tests)) = fields.remove("tests") else {
                return Err(bad("a group without tests".to_owned()));
            };
            groups.push((Value::Object(fields), tests));
        }
        let file = Self { name: name.to_owned(), groups };
        let (have, said) = (file.len(), document.number_of_tests);
        if have == said { Ok(file) } else { Err(bad(format!("{have} tests, where {said} are announced"))) }
    }

    /// How many tests it has.
    pub(super) fn len(&self) -> usize {
        self.groups.iter().map(|(_, tests)| tests.len()).sum()
    }

    /// All of them.
    pub(super) fn cases(&self) -> impl Iterator<Item = Case<'_>> {
        self.groups.iter().flat_map(|(group, tests)| tests.iter().map(move |test| Case { group, test }))
    }
}

/// Those that this program was built with.
pub(super) fn built_in() -> Result<Vec<File>, Failure> {
    BUILT_IN.iter().map(|(name, text)| File::read(name, text)).collect()
}

/// Every `.json` file of a folder, by name.
pub(super) fn in_folder(folder: &Path) -> Result<Vec<File>, Failure> {
    let at = |e: std::io::Error| Failure::store(anyhow::anyhow!("{}: {e}", folder.display()));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        if path.extension().is_some_and(|e| e == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(Failure::wrong_use(format!("{} holds no vectors (*.json)", folder.display())));
    }
    let mut files = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Failure::store(anyhow::anyhow!("{}: {e}", path.display())))?;
        let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        files.push(File::read(&name, &text)?);
    }
    Ok(files)
}

const BUILT_IN: &[(&str, &str)] = &[
    ("keys", include_str!("../../../../conformance/vectors/keys.json")),
    ("certificates", include_str!("../../../../conformance/vectors/certificates.json")),
    ("enrolment", include_str!("../../../../conformance/vectors/enrolment.json")),
    ("consent", include_str!("../../../../conformance/vectors/consent.json")),
    ("denials", include_str!("../../../../conformance/vectors/denials.json")),
    ("grants", include_str!("../../../../conformance/vectors/grants.json")),
    ("frames", include_str!("../../../../conformance/vectors/frames.json")),
    ("receipts", include_str!("../../../../conformance/vectors/receipts.json")),
    ("tlog", include_str!("../../../../conformance/vectors/tlog.json")),
    ("renewals", include_str!("../../../../conformance/vectors/renewals.json")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_lacks_a_test_is_refused() {
        let text = |n| {
            format!("{{\"numberOfTests\": {n}, \"testGroups\": [{{\"type\": \"Root\", \"tests\": [{{}}]}}]}}")
        };
        assert_eq!(File::read("a", &text(1)).map(|f| f.len()).ok(), Some(1));
        let said = File::read("a", &text(2)).map(|f| f.len()).map_err(|e| (e.code(), e.to_string()));
        assert_eq!(said, Err((2, "the vectors in a: 1 tests, where 2 are announced".to_owned())));
    }

    #[test]
    fn what_is_built_in_is_what_the_folder_holds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/vectors");
        let names = |files: Vec<File>| {
            let mut names: Vec<(String, usize)> = files.iter().map(|f| (f.name.clone(), f.len())).collect();
            names.sort();
            names
        };
        let (here, there) = (built_in().map(names), in_folder(&folder).map(names));
        assert_eq!(here.ok(), there.ok());
    }
}
