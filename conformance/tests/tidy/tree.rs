//! The project's text as the checks see it, read from disk or made up for a self-test.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold no text of ours. Folders whose name starts with a dot are left out too, `.ci` apart.
const SKIPPED: &[&str] = &["target", "__pycache__", "node_modules", "shared"];
/// Kinds of files that are read.
const TEXT: &[&str] =
    &["rs", "toml", "md", "json", "cddl", "py", "sh", "html", "css", "js", "txt", "lock", "yml", "yaml"];

/// One text file; the path is relative to the root and uses `/`.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Whether the name ends in `.` and this.
    pub(crate) fn is(&self, extension: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, e)| e == extension)
    }

    /// The first folder: the crate, for a source file.
    pub(crate) fn top(&self) -> &str {
        self.path.split_once('/').map_or("", |(top, _)| top)
    }
}

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// From 1; 0 where the whole file is meant.
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// All files that a check may look at.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
    /// Whether these are the project's own files, and not a self-test's.
    on_disk: bool,
}

impl Tree {
    /// A tree that exists only in a self-test.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let files =
            files.iter().map(|(p, t)| File { path: (*p).to_owned(), text: (*t).to_owned() }).collect();
        Self { files, on_disk: false }
    }

    /// The project.
    pub(crate) fn read() -> Self {
        let root = root();
        let mut files = Vec::new();
        walk(&root, &root, &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(
            files.len() > 30,
            "only {} files under {}: this is not the project",
            files.len(),
            root.display()
        );
        Self { files, on_disk: true }
    }

    /// One file's text, or the empty string, so that a table that is missing differs from one that is not.
    pub(crate) fn text(&self, path: &str) -> &str {
        self.files.iter().find(|f| f.path == path).map_or("", |f| f.text.as_str())
    }

    /// Whether there is a file or a folder of this path, text or not.
    pub(crate) fn has(&self, path: &str) -> bool {
        let inside =
            |f: &File| f.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.files.iter().any(inside) || (self.on_disk && root().join(path).exists())
    }

    /// Files with this extension.
    pub(crate) fn with(&self, extension: &'static str) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |f| f.is(extension))
    }
}

/// Fails with every finding on a line of its own.
pub(crate) fn assert_clean(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "\n{}\n", lines.join("\n"));
}

/// The findings as text, for the exact comparison of a self-test.
pub(crate) fn lines(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.to_path_buf(), Path::to_path_buf)
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<File>) {
    let entries = fs::read_dir(folder).expect("every folder of the project can be listed");
    for entry in entries {
        let path = entry.expect("a listing goes through to its end").path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() {
            let hidden = name.starts_with('.') && name != ".ci";
            if !hidden && !SKIPPED.contains(&name.as_str()) {
                walk(root, &path, files);
            }
        } else if name == "run" || name.rsplit_once('.').is_some_and(|(_, e)| TEXT.contains(&e)) {
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            // A file that is not UTF-8 is not text of ours, whatever its name says.
            if let Ok(text) = fs::read_to_string(&path) {
                files.push(File { path: relative, text });
            }
        }
    }
}
