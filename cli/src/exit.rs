//! How a command ends: the exit codes that scripts rely on, and the error line that people read.
//!
//! 0 done; 1 a check failed; 2 wrong use; 3 refused by a peer; 4 input, output or storage failed; 130 interrupted before
//! it was done.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    cause: anyhow::Error,
}

/// The error line stands there already.
#[derive(Debug)]
struct Told;

impl Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the process that was started for it failed")
    }
}

impl std::error::Error for Told {}

/// What every command returns.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    /// A check came out negative, such as a log that does not verify.
    pub(crate) fn check(message: impl Display) -> Self {
        Self { code: 1, cause: anyhow::anyhow!("{message}") }
    }

    /// The caller asked for something that makes no sense.
    pub(crate) fn wrong_use(message: impl Display) -> Self {
        Self { code: 2, cause: anyhow::anyhow!("{message}") }
    }

    /// A router or node said no.
    pub(crate) fn refused(message: impl Display) -> Self {
        Self { code: 3, cause: anyhow::anyhow!("{message}") }
    }

    /// A file, socket or store failed.
    pub(crate) fn store(cause: impl Into<anyhow::Error>) -> Self {
        Self { code: 4, cause: cause.into() }
    }

    /// What went wrong, for a command that goes on all the same.
    pub(crate) fn said(&self) -> String {
        format!("{:#}", self.cause)
    }

    /// A process of ours ended before its time, with the last thing that it said.
    pub(crate) fn ended(name: &str, code: u8, last_words: &str) -> Self {
        let last_words = last_words.strip_prefix("counterfoil: ").unwrap_or(last_words);
        Self { code, cause: anyhow::anyhow!("{name} ended: {last_words}") }
    }

    /// A signal came before the work was done.
    pub(crate) fn interrupted(message: impl Display) -> Self {
        Self { code: 130, cause: anyhow::anyhow!("{message}") }
    }

    /// A process that shares our standard error failed and has said why.
    pub(crate) fn told(code: u8) -> Self {
        Self { code, cause: anyhow::Error::new(Told) }
    }

    /// The same, with what else went wrong behind it.
    pub(crate) fn and(self, other: &Self) -> Self {
        Self { code: self.code, cause: anyhow::anyhow!("{self}; {other}") }
    }

    /// The exit code.
    pub(crate) const fn code(&self) -> u8 {
        self.code
    }

    /// Prints the error line and gives the exit code. Standard error may be a file on a full disk: then nothing can be
    /// printed, and the code still tells.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        if self.cause.is::<Told>() {
            return ExitCode::from(self.code);
        }
        let mut text = printable(&self.to_string());
        if self.is_disk_full() {
            text.push_str("; free space on that disk and try again");
        }
        let line = if json {
            serde_json::json!({ "error": text, "exit_code": self.code }).to_string()
        } else {
            format!("counterfoil: {text}")
        };
        let _ = writeln!(std::io::stderr().lock(), "{line}");
        ExitCode::from(self.code)
    }

    fn is_disk_full(&self) -> bool {
        let full = |e: &std::io::Error| e.kind() == std::io::ErrorKind::StorageFull;
        self.cause.chain().any(|e| e.downcast_ref::<std::io::Error>().is_some_and(full))
    }
}

/// What a file or a peer said may hold control characters, which a terminal would obey, and may be long.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        if at == MAX_ERROR_CHARS {
            out.push('…');
            break;
        }
        if c.is_control() && c != '\n' { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// The longest error that is printed.
const MAX_ERROR_CHARS: usize = 4000;

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self::store(e)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_said_does_not_command_the_terminal() {
        assert_eq!(printable("type \u{1b}[31m\nnext\t\u{7}é"), "type \\u{1b}[31m\nnext\\t\\u{7}é");
        let long = printable(&"x".repeat(MAX_ERROR_CHARS + 1));
        assert_eq!((long.chars().count(), long.chars().last()), (MAX_ERROR_CHARS + 1, Some('…')));
        assert_eq!(printable(&"x".repeat(MAX_ERROR_CHARS)).chars().last(), Some('x'));
    }
}
