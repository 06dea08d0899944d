//! Every claim of a manifest has its nearest lie.

use counterfoil_spec::encode::DecodeError;

use super::{Manifest, settings::Settings};
use crate::checkpoint::Checkpoint;
use crate::config::Groups;
use crate::dtype::ElementType;
use crate::synth::Like;

fn guide() -> Manifest {
    Checkpoint::guide().unwrap().manifest().clone()
}

fn refused(change: impl FnOnce(&mut Manifest)) -> String {
    let mut manifest = guide();
    change(&mut manifest);
    match Manifest::from_bytes(&manifest.to_bytes()) {
        Err(DecodeError::Malformed(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_is_read() {
    let manifest = guide();
    let bytes = manifest.to_bytes();
    assert_eq!(Manifest::from_bytes(&bytes).as_ref(), Ok(&manifest));
    assert_eq!(manifest.files().iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["model.safetensors"]);
    assert_eq!(manifest.experts().count(), 32);
    assert_eq!(manifest.expert(3, 7), manifest.experts.last());
    assert_eq!((manifest.expert(3, 8), manifest.expert(4, 0)), (None, None));
    let cut = Manifest::from_bytes(&bytes[..bytes.len() - 1]);
    assert!(matches!(cut, Err(DecodeError::Malformed(_))), "{cut:?}");
}

#[test]
fn the_configuration_of_every_family_comes_back() {
    for like in Like::ALL {
        let mut config = like.config();
        config.gate.groups = Some(Groups { groups: 2, kept: 2 });
        let bytes = minicbor::to_vec(Settings::of(&config)).unwrap();
        let settings: Settings = minicbor::decode(&bytes).unwrap();
        assert_eq!(settings.into_config(config.family), Ok(config), "{}", like.name());
    }
}

#[test]
fn a_configuration_is_held_to_the_limits_of_one_from_a_file() {
    assert!(refused(|m| m.config.top_k = 9).contains("top_k"));
    assert!(refused(|m| m.config.hidden = 1 << 40).contains("hidden"));
    assert!(refused(|m| m.config.norm_eps = f32::NAN).contains("eps"));
}

#[test]
fn there_is_one_expert_for_each() {
    assert_eq!(
        refused(|m| {
            m.experts.pop();
        }),
        "31 expert records, not 4 times 8"
    );
    assert_eq!(refused(|m| m.experts.extend(m.experts.last().cloned())), "33 expert records, not 4 times 8");
}

#[test]
fn files_are_plain_and_ascend() {
    for name in ["../model", "a/../b", "/etc/passwd", "a//b", "a\\b", "c:b", "", ".", "a\nb"] {
        let reason = refused(|m| name.clone_into(&mut m.files[0].name));
        assert_eq!(reason, format!("{name:?} is not a plain relative file name"));
    }
    let twice = refused(|m| m.files.push(m.files[0].clone()));
    assert_eq!(twice, "file \"model.safetensors\" stands before \"model.safetensors\"");
}

#[test]
fn ranges_lie_in_their_files() {
    let reason = refused(|m| m.files[0].size = 1);
    assert!(reason.starts_with("expert 0 of layer 0: bytes "), "{reason}");
    let reason = refused(|m| m.experts[9].parts[1].file = 1);
    assert_eq!(reason, "expert 1 of layer 1: there is no file 1");
    let reason = refused(|m| m.experts[9].parts[1].offset = u64::MAX);
    assert!(reason.contains("do not lie within model.safetensors"), "{reason}");
}

#[test]
fn sizes_follow_from_shapes() {
    let reason = refused(|m| m.experts[0].parts[0].length += 1);
    assert!(reason.contains("bytes for"), "{reason}");
    let reason = refused(|m| m.experts[0].size += 1);
    assert!(reason.starts_with("expert 0 of layer 0: its size is "), "{reason}");
    let reason = refused(|m| {
        m.experts[0].chunks.pop();
    });
    assert!(reason.starts_with("expert 0 of layer 0: 0 chunk hashes for "), "{reason}");
    let reason = refused(|m| {
        m.experts[0].parts[2].dtype = ElementType::Q8_0;
        m.experts[0].parts[2].transposed = true;
    });
    assert_eq!(reason, "expert 0 of layer 0: a transposed matrix of q8_0");
}
