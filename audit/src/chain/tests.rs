use super::*;
use crate::glance::glance;
use crate::segment::Frame;
use counterfoil_spec::entry::Leaf;
use counterfoil_spec::payload::KeyRevoked;

fn author() -> Author {
    let key: Arc<dyn Signer> = counterfoil_identity::SecretKey::from_seed([1; 32]).into();
    let public = key.public();
    let origin = "a.example/log".to_owned();
    Author { kid: public.kid(), net_id: public.net_id(), key, role: Role::Router, origin, threads: 3 }
}

/// The leaves of drafts, as they stand in their frames.
fn leaves(author: &Author, drafts: &Drafts) -> Vec<Vec<u8>> {
    let mut framed = Framed::default();
    author.frame(drafts, &mut framed).unwrap();
    let mut rest = framed.frames.as_slice();
    let mut leaves = Vec::new();
    while let Frame::Entry { leaf, intact: true } = segment::parse(rest) {
        leaves.push(leaf.to_vec());
        rest = &rest[segment::ENTRY_HEAD_BYTES + leaf.len()..];
    }
    assert_eq!(rest, b"");
    let hashes: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    assert_eq!(framed.leaves, hashes);
    leaves
}

fn drafts(author: &Author, entries: impl IntoIterator<Item = (NewEntry, u64)>) -> Drafts {
    let (mut tip, mut drafts) = (ChainTip::new(), Drafts::default());
    for (entry, at) in entries {
        author.draft(&mut tip, entry, Millis(at), &mut drafts).unwrap();
    }
    drafts
}

fn entry(n: u8) -> NewEntry {
    let serial = Serial::from_bytes([n; 16]);
    NewEntry::new(serial, KeyRevoked { key_id: serial })
}

#[test]
fn leaf_length_is_known_before_signing() {
    let author = author();
    for signers in 0..4 {
        let mut new = entry(1);
        new.co_signers = vec![(Role::Root, author.key.clone()); signers];
        let drafts = drafts(&author, [(new, 5)]);
        assert_eq!(leaves(&author, &drafts).pop().unwrap().len(), drafts.leaf_bytes());
    }
}

#[test]
fn fifth_signer_is_refused() {
    let author = author();
    let mut new = entry(1);
    new.co_signers = vec![(Role::Root, author.key.clone()); 4];
    let refused = author.draft(&mut ChainTip::new(), new, Millis(5), &mut Drafts::default()).err();
    assert!(matches!(refused, Some(LogError::TooManySigners { count: 5, limit: 4 })));
}

#[test]
fn chain_and_time_only_go_forward() {
    let author = author();
    let leaves = leaves(&author, &drafts(&author, [(entry(1), 50), (entry(2), 40)]));
    let (_, first_body) = Leaf::read(&leaves[0]).unwrap();
    let (leaf, body) = Leaf::read(&leaves[1]).unwrap();
    assert_eq!(first_body.prev, Hash::from_bytes([0; 32]));
    assert_eq!((body.seq, body.time), (1, Millis(50)));
    assert_eq!(body.prev, chain_hash(&Leaf::read(&leaves[0]).unwrap().0.body));
    let glance = glance(&leaves[1]).unwrap();
    assert_eq!((glance.author, glance.seq, glance.time), (author.kid, 1, Millis(50)));
    assert_eq!(glance.body, leaf.body);
}

#[test]
fn many_threads_keep_the_order() {
    let author = author();
    for count in [PARALLEL_SIGNATURES - 1, PARALLEL_SIGNATURES, 200] {
        let count = u8::try_from(count).unwrap();
        let drafts = drafts(&author, (0..count).map(|n| (entry(n), 1)));
        let seqs: Vec<_> = leaves(&author, &drafts).iter().map(|l| glance(l).unwrap().seq).collect();
        assert_eq!(seqs, (0..u64::from(count)).collect::<Vec<_>>());
    }
}

#[test]
fn signature_that_is_refused_on_any_thread_refuses_the_group() {
    let author = author();
    let away: Arc<dyn Signer> = Arc::new(Away(counterfoil_identity::SecretKey::from_seed([2; 32])));
    for at in [0, 99, 199] {
        let signed = (0..200).map(|n| {
            let mut new = entry(n);
            new.co_signers = if n == at { vec![(Role::Root, away.clone())] } else { Vec::new() };
            (new, 1)
        });
        let refused = author.frame(&drafts(&author, signed), &mut Framed::default());
        assert_eq!(refused, Err(SignFault::Wrong { socket: "away".to_owned() }), "{at}");
    }
}

#[test]
fn what_was_drafted_since_a_mark_is_forgotten() {
    let author = author();
    let (mut tip, mut drafts) = (ChainTip::new(), Drafts::default());
    author.draft(&mut tip, entry(1), Millis(1), &mut drafts).unwrap();
    let (kept, mark) = (drafts.leaf_bytes(), drafts.mark());
    author.draft(&mut tip, entry(2), Millis(1), &mut drafts).unwrap();
    drafts.back_to(mark);
    assert_eq!((drafts.len(), drafts.leaf_bytes()), (1, kept));
    assert_eq!(leaves(&author, &drafts).len(), 1);
    drafts.clear(0);
    assert_eq!((drafts.len(), drafts.leaf_bytes()), (0, 0));
}

/// A key whose holder is away.
#[derive(Debug)]
struct Away(counterfoil_identity::SecretKey);

impl Signer for Away {
    fn public(&self) -> counterfoil_identity::VerifyKey {
        self.0.public()
    }

    fn sign(&self, _: &[u8]) -> Result<counterfoil_spec::ids::Signature, SignFault> {
        Err(SignFault::Wrong { socket: "away".to_owned() })
    }
}
