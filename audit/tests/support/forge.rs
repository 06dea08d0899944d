//! A log as somebody writes it who does not use our writer: well made, or wrong in one thing.

use std::path::PathBuf;

use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::merkle::{Head, leaf_hash, root_of};
use counterfoil_audit::segment::{self, SegmentFile};
use counterfoil_audit::verify::{Report, VerifyOptions, verify_plain};
use counterfoil_audit::{NoteSigner, chain_hash, state, tile};
use counterfoil_identity::SecretKey;
use counterfoil_spec::encode::to_canonical;
use counterfoil_spec::entry::{Body, ENTRY_VERSION, EntrySignature, Leaf, Role, entry_signing_input};
use counterfoil_spec::ids::{Hash, NetId};
use counterfoil_spec::payload::{Genesis, JoinToken, KeyRevoked, NodeEnrolled, Payload};
use counterfoil_spec::rule::FaultKind;
use counterfoil_spec::time::{Millis, Seconds};
use tempfile::TempDir;

use super::{ORIGIN, key, serial, signer};

/// Writes what a writer never would.
pub struct Forge {
    pub folder: TempDir,
    pub net: NetId,
    pub bodies: Vec<Body>,
    pub leaves: Vec<Vec<u8>>,
}

pub const ROUTER: &[(Role, u8)] = &[(Role::Router, 2)];

pub fn genesis() -> Genesis {
    Genesis {
        root_spki: key(1).public().spki_der(),
        next_root_hash: None,
        origin: ORIGIN.to_owned(),
        log_vkey: signer().vkey(),
        currency: "USD".to_owned(),
        author_key: key(2).public().wire(),
        author_id: key(2).public().node_id(),
        author_role: Role::Router.number(),
    }
}

pub fn revoked(n: u64) -> Payload {
    KeyRevoked { key_id: serial(n) }.into()
}

impl Forge {
    pub fn new() -> Self {
        let net = key(1).public().net_id();
        let folder = tempfile::tempdir().unwrap();
        Self { folder, net, bodies: Vec::new(), leaves: Vec::new() }
    }

    /// A good genesis and `count` good entries.
    pub fn good(count: u64) -> Self {
        let mut forge = Self::new();
        forge.push(genesis().into(), &[(Role::Router, 2), (Role::Root, 1)], |_| {});
        for n in 0..count {
            forge.push(revoked(n), ROUTER, |_| {});
        }
        forge
    }

    /// Appends an entry that continues the router's chain, changed by `change` before it is signed.
    pub fn push(&mut self, payload: Payload, signers: &[(Role, u8)], change: impl FnOnce(&mut Body)) {
        let n = self.leaves.len() as u64;
        let prev = self.bodies.last().map_or(Hash::from_bytes([0; 32]), |b| chain_hash(&to_canonical(b)));
        let mut body = Body {
            version: ENTRY_VERSION,
            author: key(2).public().kid(),
            seq: n,
            prev,
            time: Millis(1000 + n),
            serial: serial(n),
            payload,
            anchor: None,
        };
        change(&mut body);
        let bytes = to_canonical(&body);
        let sign = |(role, seed): &(Role, u8)| {
            let key = SecretKey::from_seed([*seed; 32]);
            let kid = key.public().kid();
            let sig = key.sign(&entry_signing_input(&self.net, ORIGIN, *role, &kid, &bytes));
            EntrySignature { role: *role, kid, sig }
        };
        let signatures = signers.iter().map(sign).collect();
        self.leaves.push(to_canonical(&Leaf { body: bytes, signatures }));
        self.bodies.push(body);
    }

    pub fn head(&self) -> Head {
        let hashes: Vec<_> = self.leaves.iter().map(|l| leaf_hash(l)).collect();
        Head { size: hashes.len() as u64, root: root_of(&hashes) }
    }

    /// Writes a folder in which everything but the entries is right.
    pub fn write(&self) -> PathBuf {
        let dir = self.folder.path().join("log");
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let mut segment = segment::header(&segment::origin_hash(ORIGIN), 0);
        let (mut hashes, mut entries) = (Vec::new(), Vec::new());
        for leaf in &self.leaves {
            segment::push_entry(&mut segment, leaf);
            tile::push_leaf(&mut entries, leaf);
            hashes.extend_from_slice(leaf_hash(leaf).as_bytes());
        }
        segment.extend_from_slice(&segment::commit(&self.head()));
        put(&SegmentFile::new(&dir, 0).name, &segment);
        for id in tile::partial_tiles(self.head().size) {
            put(&id.path(), if id.kind == tile::TileKind::Entries { &entries } else { &hashes });
        }
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), head: self.head() };
        put(state::FILE, state::render(&checkpoint).as_bytes());
        put("checkpoint", checkpoint.sign(&signer()).unwrap().as_bytes());
        put("lock", b"");
        dir
    }

    pub fn faults(&self) -> Vec<(FaultKind, Option<u64>)> {
        named(&verify_plain(&self.options()).unwrap())
    }

    pub fn options(&self) -> VerifyOptions {
        let mut options = VerifyOptions::new(self.write());
        options.vkey = Some(signer().vkey());
        options.net_id = Some(self.net);
        options
    }
}

pub fn named(report: &Report) -> Vec<(FaultKind, Option<u64>)> {
    report.faults.iter().map(|f| (f.kind, f.index)).collect()
}

/// A node's enrolment.
pub fn enrolled(seed: u8) -> NodeEnrolled {
    let public = key(seed).public();
    NodeEnrolled {
        node: public.node_id(),
        identity_key: public.wire(),
        log_vkey: NoteSigner::new("node.example/log", key(seed + 100)).unwrap().vkey(),
        token_id: serial(1),
        generation: 1,
        recovery_hash: Hash::from_bytes([0; 32]),
    }
}

/// The join token of [`enrolled`].
pub fn join_token() -> JoinToken {
    JoinToken { token_id: serial(1), public_key: key(60).public().wire(), expires: Seconds(10) }
}
