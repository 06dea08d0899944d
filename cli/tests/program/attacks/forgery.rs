//! The log of a real run, and how somebody writes it again who has all keys.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::merkle::{Head, leaf_hash, root_of};
use counterfoil_audit::segment::{self, SegmentFile};
use counterfoil_audit::{LogReader, NoteSigner, chain_hash, state, tile};
use counterfoil_consent::{countersign, sign_receipt};
use counterfoil_identity::{SecretKey, key_file};
use counterfoil_spec::encode::{from_canonical, to_canonical};
use counterfoil_spec::entry::{Body, EntrySignature, Leaf, Role, entry_signing_input};
use counterfoil_spec::ids::{Hash, NetId, Serial};
use counterfoil_spec::limits::MAX_LEAF_BYTES;
use counterfoil_spec::payload::{Inference, Payload};
use counterfoil_spec::receipt::ReceiptBody;
use serde_json::{Value, json};

use super::{Home, ask};
use crate::http::{ask as post, question};

/// A run that is over, and every key of its network.
pub(super) struct Real {
    pub(super) home: Home,
    pub(super) vkey: String,
    pub(super) net: NetId,
    root: SecretKey,
    router: SecretKey,
    log_key: Arc<SecretKey>,
    nodes: Vec<SecretKey>,
}

impl Real {
    /// Two nodes answer two questions of an account that paid.
    pub(super) fn run() -> Self {
        let home = Home::new();
        let program = home.run(&[]);
        let account = home.account();
        home.json(&["account", "subscribe", &account.id, "explorer", "--paid"]);
        for _ in 0..2 {
            assert_eq!(post(program.address(), Some(&account.key), &question(&json!({}))).status, 200);
        }
        let vkey = program.said("log_vkey");
        program.stop();
        let key = |name: &str| key_file::load(&home.path().join(name)).unwrap();
        let root = key("identity/root.key");
        let nodes = std::fs::read_dir(home.path().join("nodes")).unwrap();
        let nodes = nodes.map(|n| key_file::load(&n.unwrap().path().join("identity/node.key")).unwrap());
        Self {
            vkey,
            net: root.public().net_id(),
            router: key("identity/router.key"),
            log_key: Arc::new(key("identity/log.key")),
            nodes: nodes.collect(),
            root,
            home,
        }
    }

    pub(super) fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// The log as it is, for changes of its files.
    pub(super) fn copy(&self) -> PathBuf {
        let to = self.home.beside("attacked");
        let _ = std::fs::remove_dir_all(&to);
        copy(&self.log(), &to);
        to
    }

    /// The log as it is, for changes of its entries.
    pub(super) fn forge(&self) -> Forgery<'_> {
        let reader = LogReader::open(&self.log()).unwrap();
        let mut entries = Vec::new();
        reader
            .for_each(0, |_, leaf, body| {
                let signers = leaf.signatures.iter().map(|s| (s.role, self.key(s))).collect();
                entries.push(Entry { body: body.clone(), signers });
            })
            .unwrap();
        assert!((20..=256).contains(&entries.len()), "{} entries", entries.len());
        let (strangers, flipped, trailing) = (Vec::new(), Vec::new(), Vec::new());
        Forgery { real: self, entries, change: None, strangers, flipped, trailing }
    }

    fn key(&self, signature: &EntrySignature) -> SecretKey {
        [&self.root, &self.router]
            .into_iter()
            .find(|key| key.public().kid() == signature.kid)
            .unwrap_or_else(|| panic!("nobody's signature {}", signature.kid))
            .clone()
    }

    pub(super) fn origin(&self) -> &str {
        self.vkey.split('+').next().unwrap()
    }

    pub(super) fn signer(&self) -> NoteSigner {
        NoteSigner::new(self.origin(), Arc::<SecretKey>::clone(&self.log_key)).unwrap()
    }

    /// What the program says of a log with everything pinned.
    pub(super) fn judge(&self, log: &Path, more: &[String]) -> Value {
        let (log, net) = (log.display().to_string(), self.net.to_string());
        let mut args =
            vec!["audit", "verify", "--json", "--log", &log, "--vkey", &self.vkey, "--net-id", &net];
        args.extend(more.iter().map(String::as_str));
        let ended = ask(&args);
        let report: Value = serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:?}"));
        assert_eq!(ended.code, i32::from(report["ok"] != true), "{ended:?}");
        report
    }
}

/// An entry and whose signatures it has.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) body: Body,
    pub(super) signers: Vec<(Role, SecretKey)>,
}

/// A log that is being rewritten.
pub(super) struct Forgery<'a> {
    real: &'a Real,
    pub(super) entries: Vec<Entry>,
    /// What is changed of the last entry once everything fits.
    change: Option<fn(&mut Body)>,
    /// Entries that somebody else signs.
    pub(super) strangers: Vec<usize>,
    /// Entries of which a signature is changed.
    pub(super) flipped: Vec<usize>,
    /// Entries with a byte behind them.
    pub(super) trailing: Vec<usize>,
}

impl Forgery<'_> {
    pub(super) fn find(&self, is: impl Fn(&Payload) -> bool) -> usize {
        self.entries.iter().position(|e| is(&e.body.payload)).unwrap()
    }

    /// Changes the last entry after it was put into its author's chain.
    pub(super) fn last(&mut self, change: fn(&mut Body)) -> usize {
        self.change = Some(change);
        self.entries.len() - 1
    }

    /// Changes the first answered request.
    pub(super) fn inference(&mut self, change: fn(&mut Inference)) -> usize {
        let at = self.find(|p| matches!(p, Payload::Inference(_)));
        let Payload::Inference(inference) = &mut self.entries[at].body.payload else { unreachable!() };
        change(inference);
        at
    }

    /// Changes the first work; node and router sign it again.
    pub(super) fn work(&mut self, change: fn(&mut ReceiptBody)) -> usize {
        let at = self.find(|p| matches!(p, Payload::Work(_)));
        let Payload::Work(work) = &mut self.entries[at].body.payload else { unreachable!() };
        let mut body: ReceiptBody = from_canonical(&work.receipt.body, MAX_LEAF_BYTES).unwrap();
        let node = self.real.nodes.iter().find(|key| key.public().node_id() == body.node).unwrap();
        let router = body.router;
        change(&mut body);
        let (bytes, sig) = sign_receipt(&body, node, &self.real.net).unwrap();
        if body.router == router {
            let made = countersign(&bytes, &sig, &node.public(), &self.real.router, &self.real.net);
            // A receipt that no router would sign keeps the half that it had.
            match made {
                Ok(receipt) => work.receipt = receipt,
                Err(_) => (work.receipt.body, work.receipt.node_sig) = (bytes, sig),
            }
        } else {
            (work.receipt.body, work.receipt.node_sig) = (bytes, sig);
        }
        at
    }

    pub(super) fn append(&mut self, mut entry: Entry) -> usize {
        entry.body.time = self.entries.last().unwrap().body.time;
        self.entries.push(entry);
        self.entries.len() - 1
    }

    /// Appends an entry of the router's.
    pub(super) fn add(&mut self, payload: Payload) -> usize {
        let mut entry = self.entries.last().unwrap().clone();
        entry.signers = vec![(Role::Router, self.real.router.clone())];
        entry.body.author = self.real.router.public().kid();
        entry.body.payload = payload;
        entry.body.serial = Serial::from_bytes([0x77; 16]);
        self.append(entry)
    }

    fn leaves(&self) -> Vec<Vec<u8>> {
        let origin = self.real.origin();
        let mut chains = HashMap::new();
        let end = self.entries.len() - 1;
        let each = self.entries.iter().enumerate().map(|(at, entry)| {
            let mut body = entry.body.clone();
            let (seq, prev) = chains.get(&body.author).copied().unwrap_or((0, Hash::from_bytes([0; 32])));
            (body.seq, body.prev) = (seq, prev);
            if let Some(change) = self.change.filter(|_| at == end) {
                change(&mut body);
            }
            let bytes = to_canonical(&body);
            chains.insert(body.author, (seq + 1, chain_hash(&bytes)));
            let sign = |(role, key): &(Role, SecretKey)| {
                let stranger = SecretKey::from_seed([0x51; 32]);
                let key = if self.strangers.contains(&at) { &stranger } else { key };
                let kid = key.public().kid();
                let signed = entry_signing_input(&self.real.net, origin, *role, &kid, &bytes);
                EntrySignature { role: *role, kid, sig: key.sign(&signed) }
            };
            let mut leaf = to_canonical(&Leaf {
                body: bytes.clone(),
                signatures: entry.signers.iter().map(sign).collect(),
            });
            if self.flipped.contains(&at) {
                let middle = leaf.len() - 30;
                leaf[middle] ^= 1;
            }
            if self.trailing.contains(&at) {
                leaf.push(0);
            }
            leaf
        });
        each.collect()
    }

    /// The log that it makes, in which everything else fits.
    pub(super) fn write(&self) -> PathBuf {
        let dir = self.real.home.beside("forged");
        let _ = std::fs::remove_dir_all(&dir);
        write(&dir, &self.leaves(), self.real);
        dir
    }

    pub(super) fn judge(&self) -> Value {
        self.real.judge(&self.write(), &[])
    }
}

/// Writes at most 256 leaves as a log.
fn write(dir: &Path, leaves: &[Vec<u8>], real: &Real) {
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let mut segment = segment::header(&segment::origin_hash(real.origin()), 0);
    let (mut hashes, mut entries) = (Vec::new(), Vec::new());
    for leaf in leaves {
        segment::push_entry(&mut segment, leaf);
        tile::push_leaf(&mut entries, leaf);
        hashes.push(leaf_hash(leaf));
    }
    let head = Head { size: hashes.len() as u64, root: root_of(&hashes) };
    segment.extend_from_slice(&segment::commit(&head));
    put(&SegmentFile::new(dir, 0).name, &segment);
    let hashes: Vec<u8> = hashes.iter().flat_map(|h| *h.as_bytes()).collect();
    for id in tile::partial_tiles(head.size) {
        put(&id.path(), if id.kind == tile::TileKind::Entries { &entries } else { &hashes });
    }
    let checkpoint = Checkpoint { origin: real.origin().to_owned(), head };
    put(state::FILE, state::render(&checkpoint).as_bytes());
    put("checkpoint", checkpoint.sign(&real.signer()).unwrap().as_bytes());
    put("lock", b"");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
