//! The processes under `run`: started, watched, told to stop, and ended with the program whatever happens to it.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use counterfoil_model::Threads;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::exit::Failure;
use crate::hashing::is_progress;
use crate::keys::passphrase_file;

/// How long a process has to say that it is ready, or that it goes on.
const READY: Duration = Duration::from_secs(120);
/// How long the last line of an ended process may take to be read.
const WORDS: Duration = Duration::from_millis(50);
/// How long a process has to finish what it is doing.
const DRAIN: Duration = Duration::from_secs(30);

/// A process of ours that says when it is ready.
#[derive(Debug)]
pub(crate) struct Process {
    /// What it is, for messages.
    name: String,
    last_words: Arc<Mutex<String>>,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts this same program with other arguments. What it says about itself goes to `log_file`.
    ///
    /// A secret goes by `env`, because everybody on the machine can read a process's arguments.
    pub(crate) fn start(
        name: &str,
        args: &[String],
        env: &[(&str, String)],
        log_file: PathBuf,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        let mut child = Command::new(program)
            .args(args)
            .env("COUNTERFOIL_THREADS", Threads::of_process().count().to_string())
            .envs(env.iter().map(|(k, v)| (*k, v)))
            .envs(passphrase_file().map(|file| ("COUNTERFOIL_PASSPHRASE_FILE", file)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C on a terminal reaches the whole group; the order of stopping is ours to keep.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Failure::store(anyhow::anyhow!("cannot start {name}: {e}")))?;
        let stdout =
            child.stdout.take().ok_or_else(|| Failure::store(anyhow::anyhow!("{name} has no output")))?;
        let last_words = Arc::<Mutex<String>>::default();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(keep_words(BufReader::new(stderr).lines(), log_file, Arc::clone(&last_words)));
        }
        Ok(Self { name: name.to_owned(), last_words, child, lines: BufReader::new(stdout).lines() })
    }

    /// Waits for its ready line and reads it as JSON. A process that hashes weights says how far it is and has more
    /// time after each such line.
    pub(crate) async fn ready(&mut self) -> Result<Value, Failure> {
        loop {
            let line = self.line().await?;
            if !is_progress(&line) {
                return Ok(line);
            }
            tracing::info!(process = self.name, line = %line, "a process is getting ready");
        }
    }

    async fn line(&mut self) -> Result<Value, Failure> {
        let line = tokio::time::timeout(READY, self.lines.next_line()).await.map_err(|_| {
            Failure::store(anyhow::anyhow!("{} did not become ready within {READY:?}", self.name))
        })??;
        let Some(line) = line else {
            let status = self.child.wait().await?;
            // Its last words may still be on their way through the pipe.
            tokio::time::sleep(WORDS).await;
            let code = status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(4);
            return Err(Failure::ended(&self.name, code, &self.last_words()));
        };
        serde_json::from_str(&line).map_err(|e| {
            Failure::store(anyhow::anyhow!("{} said {line:?}, which is not JSON: {e}", self.name))
        })
    }

    fn last_words(&self) -> String {
        let last = self.last_words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = if last.is_empty() { "it said nothing" } else { last.as_str() };
        let said: Option<Value> = serde_json::from_str(last).ok();
        said.as_ref().and_then(|v| v.get("error")?.as_str()).unwrap_or(last).to_owned()
    }

    /// Its process id; 0 once it has ended.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// What it is.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> std::io::Result<std::process::ExitStatus> {
        self.child.wait().await
    }

    /// Ends it at once.
    pub(crate) async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Asks it to finish, waits, and ends it if it does not.
    pub(crate) async fn stop(&mut self) {
        if let Some(pid) =
            self.child.id().and_then(|p| i32::try_from(p).ok()).and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(DRAIN, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Writes what a process says of itself into its file and remembers the last line, which is all there is on a full
/// disk.
async fn keep_words(mut lines: Lines<BufReader<ChildStderr>>, file: PathBuf, last: Arc<Mutex<String>>) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&file).ok();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(file) = &mut file {
            let _ = writeln!(file, "{line}");
        }
        *last.lock().unwrap_or_else(PoisonError::into_inner) = line;
    }
}

/// Ends this process when the one that started it ends, so that nothing is left behind.
pub(crate) fn follow_parent() -> Result<(), Failure> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(|e| Failure::store(anyhow::anyhow!("cannot follow the parent process: {e}")))?;
    Ok(())
}

/// Resolves at the first SIGINT, SIGTERM or SIGHUP. From the call on these no longer end the process by themselves.
pub(crate) fn interrupted() -> impl Future<Output = ()> + Send {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    async move {
        let [Ok(mut int), Ok(mut term), Ok(mut hup)] = kinds else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
        }
    }
}
