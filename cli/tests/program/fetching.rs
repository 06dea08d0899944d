//! Nodes without weights: what they fetch, from whom, and what they keep.

use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::harness::{Home, Program, ask, text};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/guide/checkpoint");

/// A copy of the embedded model's folder under another name.
fn parrot(home: &Home) -> PathBuf {
    let folder = home.beside("parrot");
    std::fs::create_dir(&folder).unwrap();
    for file in std::fs::read_dir(GUIDE).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    folder
}

fn router(home: &Home, model: &Path) -> Program {
    let model = model.display().to_string();
    let flags = ["--listen", "127.0.0.1:0", "--replicas", "2", "--model", &model];
    Program::start(&home.path(), &[&["router", "--json"][..], &flags].concat())
}

fn flags<'a>(router: &'a str, enrol: &'a str, token: &'a str) -> Vec<&'a str> {
    let fixed = ["serve", "--json", "--accept-notice", "--hub", "off", "--model", "parrot"];
    [&fixed[..], &["--router", router, "--enrol", enrol, "--join-token", token]].concat()
}

/// A node with nothing but the model's name.
fn node(home: &Home, at: &Program, name: &str) -> Program {
    let token = text(&home.json(&["identity", "join-token"])["join_token"]);
    let (router, enrol) = (at.said("nodes"), at.said("enrol"));
    Program::start(&home.beside(name), &flags(&router, &enrol, &token))
}

/// The files of a node's store by name.
fn stored(home: &Home, name: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in std::fs::read_dir(home.beside(name).join("shards")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            found.insert(name, std::fs::read(file.path()).unwrap());
        }
    }
    found
}

/// Changes every weight in a model's file while it is open.
fn spoil(model: &Path) {
    let path = model.join("model.safetensors");
    let header = std::fs::read(&path).unwrap()[..8].try_into().map(u64::from_le_bytes).unwrap() + 8;
    let mut file = std::fs::File::options().write(true).open(&path).unwrap();
    let left = usize::try_from(file.metadata().unwrap().len() - header).unwrap();
    file.seek(SeekFrom::Start(header)).unwrap();
    file.write_all(&vec![0x3d; left]).unwrap();
}

#[test]
fn a_node_without_weights_fetches_them_and_passes_them_on_to_the_next() {
    let home = Home::new();
    let model = parrot(&home);
    let router = router(&home, &model);
    let first = node(&home, &router, "first");
    let experts = first.ready["experts"].as_u64().unwrap();
    let kept = stored(&home, "first");
    assert_eq!(u64::try_from(kept.len()).unwrap(), experts + 1);
    assert!(kept.keys().all(|name| name == "manifest.cbor" || name.ends_with(".shard")), "{:?}", kept.keys());
    // From here on what the router has itself is wrong, so the second node can have it from the first alone.
    spoil(&model);
    let second = node(&home, &router, "second");
    assert_eq!(second.ready["experts"].as_u64(), Some(experts));
    assert_eq!(stored(&home, "second"), kept);
    second.stop();
    // A node that starts again has everything and asks for nothing.
    first.stop();
    let token = text(&home.json(&["identity", "join-token"])["join_token"]);
    let (nodes, enrol) = (router.said("nodes"), router.said("enrol"));
    let again = Program::start(&home.beside("first"), &flags(&nodes, &enrol, &token));
    assert_eq!(again.ready["experts"].as_u64(), Some(experts));
    again.stop();
    router.stop();
}

#[test]
fn a_folder_that_is_not_there_is_wrong_use() {
    let home = Home::new();
    let home = home.path().display().to_string();
    let fixed = ["serve", "--accept-notice", "--router", "127.0.0.1:1", "--home", &home];
    let ended = ask(&[&fixed[..], &["--model", "models/parrot"]].concat());
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.contains("there is no checkpoint folder models/parrot"), "{ended:?}");
}
