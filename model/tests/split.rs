//! A model cut into shards is the same model; what was changed in it is found out, and work that broke off goes on.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use counterfoil_model::reference::logits;
use counterfoil_model::{
    Checkpoint, Decoder, ElementType, Existing, ExpertBank, ExpertSource, LoadError, Quant, Rows,
    ShardFolder, SplitError, split,
};
use tempfile::TempDir;

const TOKENS: [u32; 7] = [1, 2, 3, 5, 8, 13, 21];

fn tiny() -> Checkpoint {
    Checkpoint::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-mixtral")).unwrap()
}

fn cut(from: &Checkpoint, quant: Quant) -> (TempDir, PathBuf) {
    let at = TempDir::new().unwrap();
    let folder = at.path().join("cut");
    split(from, quant, (&folder, Existing::Refuse), &|_, _| ()).unwrap();
    (at, folder)
}

fn computed(checkpoint: &Checkpoint, experts: &impl ExpertSource) -> Rows {
    let decoder = Decoder::load(checkpoint).unwrap();
    let bank = ExpertBank::load(experts, checkpoint.config().all_experts()).unwrap();
    logits(&decoder, &mut &bank, &TOKENS).unwrap()
}

fn bits(rows: &Rows) -> Vec<u32> {
    rows.iter().flatten().map(|value| value.to_bits()).collect()
}

#[test]
fn computes_the_same_bits() {
    let whole = tiny();
    let (_at, folder) = cut(&whole, Quant::Keep);
    let cut = Checkpoint::open(&folder).unwrap();
    assert_eq!(cut.config(), whole.config());
    assert_eq!(bits(&computed(&cut, &cut)), bits(&computed(&whole, &whole)));
    assert_ne!(cut.manifest_id(), whole.manifest_id());
    assert_eq!(cut.manifest().vocabulary(), whole.manifest().vocabulary());
    let hashes = |checkpoint: &Checkpoint| {
        checkpoint.manifest().experts().map(|(_, record)| record.hash).collect::<Vec<_>>()
    };
    assert_eq!(hashes(&cut), hashes(&whole), "a shard is the same bytes wherever it lies");
}

/// Every fixture of the four families: folders, and files of llama.cpp's formats, quantised ones too.
fn fixtures() -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let list = |folder: &str| std::fs::read_dir(fixtures.join(folder)).unwrap().map(|e| e.unwrap().path());
    let gguf = list("gguf").filter(|path| path.extension().is_some_and(|e| e == "gguf"));
    let mut all: Vec<PathBuf> = list("families").filter(|path| path.is_dir()).chain(gguf).collect();
    all.sort();
    all
}

#[test]
fn every_family_from_every_container_computes_the_same_bits_when_cut() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 16, "{fixtures:?}");
    for path in fixtures {
        let whole = Checkpoint::open(&path).unwrap();
        let (_at, folder) = cut(&whole, Quant::Keep);
        let cut = Checkpoint::open(&folder).unwrap();
        assert_eq!(cut.config(), whole.config(), "{}", path.display());
        assert_eq!(bits(&computed(&cut, &cut)), bits(&computed(&whole, &whole)), "{}", path.display());
        let vocabularies = [&cut, &whole].map(|checkpoint| checkpoint.vocabulary().is_ok());
        assert_eq!(vocabularies.first(), vocabularies.last(), "{}", path.display());
    }
}

#[test]
fn a_folder_of_shards_alone_is_a_source_of_experts() {
    let whole = tiny();
    let (_at, folder) = cut(&whole, Quant::Keep);
    let cut = Checkpoint::open(&folder).unwrap();
    let shards = ShardFolder::open(&folder.join("shards"), Arc::new(cut.manifest().clone())).unwrap();
    assert!(shards.has(2, 4) && !shards.has(2, 5));
    assert_eq!(bits(&computed(&whole, &shards)), bits(&computed(&whole, &whole)));
    let elsewhere = ShardFolder::open(&folder.join("nowhere"), Arc::clone(shards.manifest())).unwrap();
    assert!(!elsewhere.has(0, 0));
    let missing = ExpertBank::load(&elsewhere, [(0, 0)]).err();
    assert!(matches!(missing, Some(LoadError::TensorMissing { .. })), "{missing:?}");
}

#[test]
fn a_router_needs_no_shards() {
    let whole = tiny();
    let (_at, folder) = cut(&whole, Quant::Keep);
    std::fs::remove_dir_all(folder.join("shards")).unwrap();
    let dense = Checkpoint::open(&folder).unwrap();
    assert_eq!(bits(&computed(&dense, &whole)), bits(&computed(&whole, &whole)));
    assert!(ExpertBank::load(&dense, [(0, 0)]).is_err());
}

#[test]
fn a_changed_byte_is_found_in_a_shard_and_in_the_dense_part() {
    let (_at, folder) = cut(&tiny(), Quant::Keep);
    let spoil = |name: &str| {
        let path = folder.join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 40;
        *bytes.get_mut(last).unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let path = spoil("shards/1-3.shard");
    let cut = Checkpoint::open(&folder).unwrap();
    assert!(ExpertBank::load(&cut, [(1, 2)]).is_ok());
    let refused = ExpertBank::load(&cut, [(1, 2), (1, 3)]).err();
    assert!(matches!(&refused, Some(LoadError::WrongHash { file, .. }) if *file == path), "{refused:?}");
    assert!(Decoder::load(&cut).is_ok());
    let path = spoil("dense.gguf");
    let refused = Decoder::load(&Checkpoint::open(&folder).unwrap()).err();
    assert!(matches!(&refused, Some(LoadError::WrongHash { file, .. }) if *file == path), "{refused:?}");
}

#[test]
fn a_shard_that_is_too_short_is_not_there() {
    let (_at, folder) = cut(&tiny(), Quant::Keep);
    let path = folder.join("shards/1-3.shard");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, bytes.get(1..).unwrap()).unwrap();
    let cut = Checkpoint::open(&folder).unwrap();
    let missing = ExpertBank::load(&cut, [(1, 3)]).err();
    assert!(matches!(missing, Some(LoadError::TensorMissing { .. })), "{missing:?}");
}

#[test]
fn another_tokenizer_is_not_the_models() {
    let guide = Checkpoint::guide().unwrap();
    let (_at, folder) = cut(&guide, Quant::Keep);
    assert!(Checkpoint::open(&folder).unwrap().vocabulary().is_ok());
    let template = folder.join("chat_template.jinja");
    std::fs::write(&template, "{{ bos_token }}").unwrap();
    assert!(matches!(Checkpoint::open(&folder).err(), Some(LoadError::WrongHash { .. })));
}

#[test]
fn quantised_on_the_way_it_is_smaller_and_nearly_the_same() {
    let whole = tiny();
    let (_at, folder) = cut(&whole, Quant::Q8_0);
    let cut = Checkpoint::open(&folder).unwrap();
    let types: Vec<ElementType> =
        cut.manifest().experts().flat_map(|(_, record)| record.parts.map(|part| part.dtype)).collect();
    assert_eq!(types, [ElementType::Q8_0; 45]);
    assert!(cut.manifest().shard_bytes() * 3 < whole.manifest().shard_bytes());
    let (want, found) = (computed(&whole, &whole), computed(&cut, &cut));
    let pairs = || want.iter().flatten().zip(found.iter().flatten());
    let error: f32 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
    let power: f32 = want.iter().flatten().map(|a| a * a).sum();
    assert!(error / power < 1e-2, "{}", error / power);
}

#[test]
fn rows_that_only_smaller_blocks_divide_are_quantised_in_those() {
    let at = TempDir::new().unwrap();
    let (_, plan) = split(&tiny(), Quant::Q4K, (at.path(), Existing::Refuse), &|_, _| ()).unwrap();
    // 32 and 64 values in a row: no block of 256 divides them, and blocks of 32 do.
    assert_eq!(plan.expert_types, [(ElementType::Q5_0, 45)]);
    assert_eq!(plan.kept, Vec::<String>::new());
}

#[test]
fn rows_that_no_block_divides_stay_floats_and_are_named() {
    let at = TempDir::new().unwrap();
    let quantised = |from: &Checkpoint, name: &str| {
        let folder = at.path().join(name);
        let (_, plan) = split(from, Quant::Q8_0, (&folder, Existing::Refuse), &|_, _| ()).unwrap();
        (plan, Checkpoint::open(&folder).unwrap())
    };
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families");
    let whole = Checkpoint::open(&fixtures.join("deepseek-groups")).unwrap();
    let (plan, cut) = quantised(&whole, "once");
    // Rows of 24 latent values, of the 16 of a head that are not turned, and of two heads of 24: blocks of 32 divide
    // none of them, and every other row.
    let layer = |l: u32| ["query", "latent_key", "output"].map(|name| format!("layers.{l}.{name}"));
    assert_eq!(plan.kept, [layer(0), layer(1)].concat());
    assert_eq!(plan.expert_types, [(ElementType::Q8_0, 24)]);
    // Only floats are named, so they were not quantised the first time.
    assert_eq!(quantised(&cut, "twice").0.kept, plan.kept);
}

#[test]
fn a_folder_with_something_in_it_is_refused() {
    let at = TempDir::new().unwrap();
    std::fs::write(at.path().join("notes"), "mine").unwrap();
    let refused = split(&tiny(), Quant::Keep, (at.path(), Existing::Refuse), &|_, _| ());
    assert!(matches!(refused, Err(SplitError::NotEmpty { .. })));
    assert_eq!(std::fs::read_dir(at.path()).unwrap().count(), 1);
}

#[test]
fn progress_ends_at_the_total() {
    let at = TempDir::new().unwrap();
    let (most, total) = (AtomicU64::new(0), AtomicU64::new(0));
    let watch = |done, all| {
        most.fetch_max(done, Ordering::Relaxed);
        total.store(all, Ordering::Relaxed);
    };
    let (_, plan) = split(&tiny(), Quant::Keep, (at.path(), Existing::Refuse), &watch).unwrap();
    assert_eq!(most.into_inner(), plan.dense_bytes + plan.shard_bytes);
    assert_eq!(total.into_inner(), plan.dense_bytes + plan.shard_bytes);
}
