//! What came out.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::judge::Verdict;
use super::vectors::Case;
use crate::exit::{Failure, Outcome};
use crate::output;

/// All cases so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    passed: u64,
    skipped: u64,
    accepts: u64,
    refusals: u64,
    codes: BTreeSet<String>,
    failures: Vec<Missed>,
}

#[derive(Debug)]
struct Missed {
    file: String,
    number: u64,
    comment: String,
    expected: String,
    got: String,
    detail: String,
}

impl Report {
    /// Compares a verdict with what the vector says.
    pub(super) fn add(&mut self, file: &str, case: &Case<'_>, verdict: Verdict) {
        let text = |field: &str| case.test.get(field).and_then(Value::as_str).unwrap_or_default();
        let refusal = case.test.get("refusal").and_then(Value::as_str);
        let expected = spoken(text("result"), refusal);
        let (as_expected, got, detail) = match verdict {
            Verdict::Skipped(_) => {
                self.skipped += 1;
                return;
            }
            Verdict::Valid => (text("result") == "valid", "valid".to_owned(), String::new()),
            Verdict::Invalid { refusal: code, detail } => {
                let right = refusal.is_none_or(|wanted| code.as_deref() == Some(wanted));
                (text("result") == "invalid" && right, spoken("invalid", code.as_deref()), detail)
            }
        };
        if as_expected {
            self.passed += 1;
            if text("result") == "valid" {
                self.accepts += 1
            } else {
                self.refusals += 1
            }
            self.codes.extend(refusal.map(str::to_owned));
        } else {
            let number = case.test.get("tcId").and_then(Value::as_u64).unwrap_or(0);
            let comment = text("comment").to_owned();
            self.failures.push(Missed { file: file.to_owned(), number, comment, expected, got, detail });
        }
    }

    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        let failures: Vec<Value> = self.failures.iter().map(Missed::to_json).collect();
        json!({
            "passed": self.passed, "failed": self.failures.len(), "skipped": self.skipped,
            "accepts": self.accepts, "refusals": self.refusals, "codes": self.codes, "failures": failures,
        })
    }

    /// For people.
    pub(super) fn tell(&self) {
        for missed in &self.failures {
            let Missed { file, number, comment, expected, got, detail } = missed;
            let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
            output::line(&format!("FAIL {file} {number}: {comment}: expected {expected}, got {got}{detail}"));
        }
        output::line(&format!(
            "{} passed, {} failed, {} skipped; {} accepts and {} refusals as they must be, {} codes among them",
            self.passed,
            self.failures.len(),
            self.skipped,
            self.accepts,
            self.refusals,
            self.codes.len()
        ));
    }

    /// Whether every case that was looked at came out as it must.
    pub(super) fn outcome(&self) -> Outcome {
        match self.failures.len() {
            0 if self.passed == 0 => Err(Failure::check("no case was looked at")),
            0 => Ok(()),
            n => Err(Failure::check(format!("{n} cases came out otherwise than the specification says"))),
        }
    }
}

impl Missed {
    fn to_json(&self) -> Value {
        json!({
            "file": self.file, "tcId": self.number, "comment": self.comment, "expected": self.expected,
            "got": self.got, "detail": self.detail,
        })
    }
}

fn spoken(result: &str, refusal: Option<&str>) -> String {
    refusal.map_or_else(|| result.to_owned(), |code| format!("{result} {code}"))
}
