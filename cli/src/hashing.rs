//! Hashing the weights of models before they are offered or hosted: once, off the async threads, and told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use counterfoil_model::{Checkpoint, KeptManifests};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::exit::{Failure, Outcome};
use crate::output;

/// Who is told how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watcher {
    /// Whoever sits at the terminal, by a bar.
    Terminal,
    /// The process that started this one, by lines of JSON.
    Parent,
}

impl Watcher {
    /// A supervised process is watched by the one that started it.
    pub(crate) const fn of(supervised: bool) -> Self {
        if supervised { Self::Parent } else { Self::Terminal }
    }
}

/// Where the manifests of a home's models are kept.
pub(crate) fn folder(home: &Path) -> PathBuf {
    home.join("manifests")
}

/// Hashes models, or finds what was hashed before. That a manifest cannot be kept costs time at the next start and no
/// more. The thread that hashes ends with the process, so that whoever drops this does not wait for it.
pub(crate) async fn describe(manifests: PathBuf, models: &[Arc<Checkpoint>], watcher: Watcher) -> Outcome {
    let kept = KeptManifests::in_folder(manifests);
    for model in models {
        let model = Arc::clone(model);
        let (done, over) = oneshot::channel();
        let kept = kept.clone();
        std::thread::Builder::new().name("hashing".to_owned()).spawn(move || {
            one(&kept, &model, watcher);
            // Nobody waits any more where the program is ending.
            let _ = done.send(());
        })?;
        over.await
            .map_err(|_| Failure::store(anyhow::anyhow!("the thread that hashes weights ended early")))?;
    }
    Ok(())
}

fn one(kept: &KeptManifests, model: &Checkpoint, watcher: Watcher) {
    let described = match watcher {
        Watcher::Terminal => {
            let bar = output::byte_progress("hashing");
            let described = kept.describe(model, &|done, all| {
                bar.set_length(all);
                bar.set_position(done);
            });
            bar.finish_and_clear();
            described
        }
        Watcher::Parent => {
            let told = AtomicU64::new(0);
            kept.describe(model, &|done, all| {
                let percent = percent(done, all);
                if told.fetch_max(percent, Ordering::Relaxed) < percent {
                    output::json(&progress(percent));
                }
            })
        }
    };
    if let Err(e) = described {
        tracing::warn!(error = %e, model = model.name(), "the model's manifest is not kept");
    }
}

/// What a supervised process says while it hashes: once for each hundredth, so that a pipe that nobody reads yet holds
/// all of it.
fn progress(percent: u64) -> Value {
    json!({ "hashing": percent })
}

/// Whether a line of a supervised process only says that it goes on.
pub(crate) fn is_progress(line: &Value) -> bool {
    line.get("hashing").is_some()
}

fn percent(done: u64, all: u64) -> u64 {
    u64::try_from(u128::from(done) * 100 / u128::from(all.max(1))).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundredth_is_told_as_progress_and_a_ready_line_is_none() {
        let all = [(0, 0), (0, 7), (6, 7), (7, 7), (u64::MAX, u64::MAX)];
        assert_eq!(all.map(|(done, all)| percent(done, all)), [0, 0, 85, 100, 100]);
        assert!(is_progress(&progress(85)));
        assert!(!is_progress(&json!({ "ready": "node" })));
    }
}
