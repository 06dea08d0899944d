//! Another implementation, as a command that answers a line with a line.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::asked;
use super::judge::Verdict;
use super::vectors::Case;
use crate::exit::Failure;

/// It runs until this is dropped.
pub(super) struct Other {
    name: String,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    _child: Child,
}

#[derive(Deserialize)]
struct Answer {
    result: String,
    refusal: Option<String>,
    #[serde(default)]
    detail: String,
}

impl Other {
    pub(super) fn start(program: &str, arguments: &[String]) -> Result<Self, Failure> {
        let fault = |detail: &str| Failure::store(anyhow::anyhow!("{program}: {detail}"));
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| fault(&format!("cannot be started: {e}")))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => {
                Ok(Self { name: program.to_owned(), to, from: BufReader::new(from), _child: child })
            }
            _ => Err(fault("has no input and output")),
        }
    }

    /// Asks about one case.
    pub(super) async fn judge(&mut self, case: &Case<'_>) -> Result<Verdict, Failure> {
        match tokio::time::timeout(PATIENCE, self.ask(case)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.fault(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    async fn ask(&mut self, case: &Case<'_>) -> Result<Verdict, Failure> {
        let question = format!("{}\n", asked(case));
        let sent = async {
            self.to.write_all(question.as_bytes()).await?;
            self.to.flush().await
        };
        let sent = sent.await;
        sent.map_err(|e| self.fault(format!("takes no more cases: {e}")))?;
        let mut line = Vec::new();
        let mut limited = (&mut self.from).take(MAX_ANSWER_BYTES);
        let read = limited.read_until(b'\n', &mut line).await;
        read.map_err(|e| self.fault(e.to_string()))?;
        if line.is_empty() {
            return Err(self.fault("ended before it had answered every case".to_owned()));
        }
        let answer: Answer =
            serde_json::from_slice(&line).map_err(|e| self.fault(format!("an answer that is none: {e}")))?;
        match answer.result.as_str() {
            "valid" => Ok(Verdict::Valid),
            "invalid" => Ok(Verdict::Invalid { refusal: answer.refusal, detail: answer.detail }),
            "skipped" => Ok(Verdict::Skipped(answer.detail)),
            other => Err(self.fault(format!("the result {other:?}; there is valid, invalid and skipped"))),
        }
    }

    fn fault(&self, detail: String) -> Failure {
        Failure::store(anyhow::anyhow!("{}: {detail}", self.name))
    }
}

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// One answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
