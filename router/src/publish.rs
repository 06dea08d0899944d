//! Publishing a model: what the log says of it follows from its manifest, which lies in the home.

use std::collections::BTreeSet;

use counterfoil_model::{ElementType, Manifest};
use counterfoil_spec::ids::ManifestId;
use counterfoil_spec::limits::MAX_MODEL_NAME_BYTES;
use counterfoil_spec::payload::{ModelPublished, ModelSize, ModelSource};
use serde_json::{Value, json};

use crate::admin::AdminError;
use crate::home::RouterHome;
use crate::office::{Office, entry};

/// The length of a commit's name, in hexadecimal digits.
const COMMIT_DIGITS: usize = 40;

/// Logs that a model may be asked for. Saying the same again logs nothing.
pub(crate) fn publish(
    office: &Office,
    home: &RouterHome,
    (id, name): (ManifestId, String),
    source: Option<&str>,
) -> Result<Value, AdminError> {
    let manifest = home.manifest(&id).map_err(AdminError::caller)?;
    let published = ModelPublished {
        source: source.map(parse_source).transpose()?,
        ..facts(&manifest, id, checked_name(name)?)
    };
    if let Some(other) = office.books().roster.model_named(&published.name).filter(|m| m.manifest != id) {
        return Err(AdminError::Caller(format!(
            "the name {:?} is that of model {} already; publish this one under another (--name)",
            published.name, other.manifest
        )));
    }
    let known = office.books().roster.model(&id).cloned();
    let logged = match known {
        Some(known) if known == published => None,
        _ => Some(office.append_blocking(vec![entry(published.clone())])?.first),
    };
    Ok(json!({ "model": published, "entry": logged }))
}

/// What is said of a model, without where its files are.
pub(crate) fn facts(manifest: &Manifest, id: ManifestId, name: String) -> ModelPublished {
    let config = manifest.config();
    let files = manifest.files().iter().map(|file| file.size).fold(0, u64::saturating_add);
    let types: BTreeSet<ElementType> =
        manifest.experts().flat_map(|(_, record)| record.parts.map(|part| part.dtype)).collect();
    ModelPublished {
        manifest: id,
        name,
        family: config.family.name().to_owned(),
        layers: config.layers,
        moe_layers: config.moe_layers().collect(),
        experts: config.experts,
        top_k: u32::try_from(config.top_k).unwrap_or(u32::MAX),
        source: None,
        size: Some(ModelSize {
            file_bytes: files,
            shard_bytes: manifest.shard_bytes(),
            expert_types: types.into_iter().map(|dtype| dtype.name().to_owned()).collect(),
        }),
    }
}

fn checked_name(name: String) -> Result<String, AdminError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':');
    let climbs = name.split('/').any(|part| matches!(part, "" | "." | ".."));
    if climbs || name.len() > MAX_MODEL_NAME_BYTES || !name.chars().all(plain) {
        return Err(AdminError::Caller(format!(
            "{name:?} cannot be a model's name: 1 to {MAX_MODEL_NAME_BYTES} letters, digits and . - _ / : are, without empty parts or .."
        )));
    }
    Ok(name)
}

/// Reads `OWNER/REPO@COMMIT`.
fn parse_source(text: &str) -> Result<ModelSource, AdminError> {
    //= spec/model.md#publishing
    //# The commit MUST be given by its full name, as a branch may change.
    let wrong = || {
        AdminError::Caller(format!(
            "{text:?} is not OWNER/REPO@COMMIT with the {COMMIT_DIGITS} hexadecimal digits of one commit"
        ))
    };
    let (repository, revision) = text.split_once('@').ok_or_else(wrong)?;
    let plain = |part: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        !part.is_empty()
            && part.len() <= MAX_MODEL_NAME_BYTES
            && part.chars().all(known)
            && !part.contains("..")
    };
    let two = repository.split_once('/').is_some_and(|(owner, repo)| plain(owner) && plain(repo));
    let commit = revision.len() == COMMIT_DIGITS && revision.chars().all(|c| c.is_ascii_hexdigit());
    if !two || !commit {
        return Err(wrong());
    }
    Ok(ModelSource { repository: repository.to_owned(), revision: revision.to_ascii_lowercase() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_pinned_to_a_commit() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let source = parse_source(&format!("Qwen/Qwen1.5-MoE-A2.7B@{commit}")).ok();
        let want = ModelSource { repository: "Qwen/Qwen1.5-MoE-A2.7B".into(), revision: commit.into() };
        assert_eq!(source, Some(want));
        for wrong in ["Qwen/x@main", "Qwen/x", "x@", "a/../b@", "/b@", "a/b/c@"] {
            let text = if wrong.ends_with('@') { format!("{wrong}{commit}") } else { wrong.to_owned() };
            assert!(matches!(parse_source(&text), Err(AdminError::Caller(_))), "{text}");
        }
    }

    #[test]
    fn a_name_fits_into_a_request() {
        assert_eq!(checked_name("mixtral-8x7b".to_owned()).ok().as_deref(), Some("mixtral-8x7b"));
        for wrong in ["", "two words", "new\nline", "../x", "a//b", "/a", "a/."] {
            assert!(matches!(checked_name(wrong.to_owned()), Err(AdminError::Caller(_))), "{wrong}");
        }
        assert!(checked_name("x".repeat(MAX_MODEL_NAME_BYTES + 1)).is_err());
    }
}
