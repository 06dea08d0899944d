//! `counterfoil conform`: the vectors of the specification against this program, or against any other command.
//!
//! ```text
//! stdin   {"group": {"type", …}, "test": {"tcId", "comment", inputs…}}          one line a case
//! stdout  {"result": "valid" | "invalid" | "skipped", "refusal": "T_SIG"?, "detail": "…"?}    one line each, in order
//! ```
//!
//! `conformance/README.md` describes the vectors.

mod certificates;
mod consent;
mod denials;
mod enrolment;
mod frames;
mod grants;
mod judge;
mod keys;
mod other;
mod receipts;
mod renewals;
mod report;
mod tlog;
mod vectors;

use serde_json::{Value, json};

use self::judge::{Verdict, judge};
use self::other::Other;
use self::report::Report;
use self::vectors::{Case, File};
use crate::args::ConformArgs;
use crate::exit::{Failure, Outcome};
use crate::output;

/// Runs them, or answers them.
pub(crate) async fn run(args: ConformArgs, json: bool) -> Outcome {
    if args.answer {
        return answer();
    }
    let files = match &args.vectors {
        Some(folder) => vectors::in_folder(folder)?,
        None => vectors::built_in()?,
    };
    let mut other = match args.command.split_first() {
        Some((program, rest)) => Some(Other::start(program, rest)?),
        None => None,
    };
    let mut report = Report::default();
    let total = files.iter().map(File::len).sum::<usize>();
    let bar = output::progress("checking");
    bar.set_length(u64::try_from(total).unwrap_or(u64::MAX));
    for file in &files {
        for case in file.cases() {
            let verdict = match &mut other {
                Some(other) => other.judge(&case).await?,
                None => judge(case.group, case.test),
            };
            report.add(&file.name, &case, verdict);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    if json {
        output::json(&report.to_json());
    } else {
        report.tell();
    }
    report.outcome()
}

/// This program's side of the line protocol: a case a line in, a verdict a line out.
fn answer() -> Outcome {
    for line in std::io::stdin().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let asked: Value = serde_json::from_str(&line).map_err(|e| {
            Failure::wrong_use(format!(
                "a line that is no case: {e}; send {{\"group\": …, \"test\": …}} on one line"
            ))
        })?;
        let verdict = match (asked.get("group"), asked.get("test")) {
            (Some(group), Some(test)) => judge(group, test),
            _ => return Err(Failure::wrong_use("a case has a \"group\" and a \"test\"")),
        };
        output::json(&answered(&verdict));
    }
    Ok(())
}

fn answered(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Valid => json!({ "result": "valid" }),
        Verdict::Invalid { refusal, detail } => {
            json!({ "result": "invalid", "refusal": refusal, "detail": detail })
        }
        Verdict::Skipped(detail) => json!({ "result": "skipped", "detail": detail }),
    }
}

/// What is asked about a case: its group without the other cases, and its inputs without the answer.
fn asked(case: &Case<'_>) -> Value {
    let mut test = case.test.clone();
    if let Some(test) = test.as_object_mut() {
        for answer in ["result", "refusal", "flags"] {
            test.remove(answer);
        }
    }
    json!({ "group": case.group, "test": test })
}
