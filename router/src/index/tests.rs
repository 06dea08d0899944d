use std::sync::Arc;

use counterfoil_audit::{GenesisFacts, LogConfig, LogOptions, LogWriter, NewEntry, NoteSigner};
use counterfoil_identity::SecretKey;
use counterfoil_spec::amount::MicroUsd;
use counterfoil_spec::entry::Role;
use counterfoil_spec::payload::{
    AccountOpened, DenyListIssued, KeyCreated, KeyRevoked, NodeUptime, Payment, Refund, Uptime,
};
use counterfoil_spec::time::{Millis, Seconds};

use super::*;

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn log(&self, seed: u8) -> PathBuf {
        self.0.path().join(format!("log-{seed}"))
    }

    fn at(&self) -> PathBuf {
        self.0.path().join("projections/entries")
    }

    /// A log whose writer has this seed.
    fn write(&self, seed: u8, entries: Vec<NewEntry>) -> LogReader {
        let (root, author) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([seed; 32]));
        let config = LogConfig {
            dir: self.log(seed),
            net_id: root.public().net_id(),
            author: Arc::new(author),
            role: Role::Router,
            note: NoteSigner::new("a/log", Arc::new(SecretKey::from_seed([3; 32]))).unwrap(),
            genesis: GenesisFacts {
                root_spki: root.public().spki_der(),
                next_root_hash: None,
                currency: "USD".to_owned(),
                root: Some(Arc::new(root)),
            },
            options: LogOptions::default(),
        };
        let (log, _) = LogWriter::open(config, Arc::new(|| Millis(1_790_000_000_000))).unwrap();
        log.append(entries).unwrap();
        log.close().unwrap();
        LogReader::open(&self.log(seed)).unwrap()
    }

    fn open(&self, log: &LogReader) -> Index {
        Index::open(&self.at(), log, &mut |_, _| {}).unwrap()
    }
}

fn serial(n: u8) -> Serial {
    Serial::from_bytes([n; 16])
}

fn account(n: u8) -> AccountId {
    AccountId::from_bytes([n; 32])
}

fn opened(n: u8) -> NewEntry {
    NewEntry::new(serial(n), AccountOpened { account: account(n), metered: true, country: None })
}

fn key(n: u8, of: u8) -> NewEntry {
    let key_hash = counterfoil_spec::ids::Hash::from_bytes([n; 32]);
    NewEntry::new(
        serial(n),
        KeyCreated {
            key_id: serial(n),
            account: account(of),
            key_hash,
            expires: None,
            country: None,
            scope: None,
        },
    )
}

fn up(n: u8, nodes: &[u8]) -> NewEntry {
    let nodes = nodes.iter().map(|n| NodeUptime { node: NodeId::from_bytes([*n; 32]), seconds: 60 });
    NewEntry::new(serial(n), Uptime { hour: Seconds(1_789_999_200), nodes: nodes.collect() })
}

/// Entries 1 to 6: two accounts, a key of the first, two of the second, and two nodes that were up.
fn some() -> Vec<NewEntry> {
    vec![opened(1), opened(2), key(3, 1), key(4, 2), key(5, 2), up(6, &[8, 9])]
}

fn about(index: &Index, subjects: &[Subject]) -> Vec<u64> {
    index.about(subjects, 0..u64::MAX, usize::MAX).unwrap()
}

/// What is found of accounts 1, 2 and 3, of node 9, of nodes 8 and 9, and of node 8 and account 1.
fn answers(index: &Index) -> [Vec<u64>; 6] {
    let account = |n| Subject::Account(account(n));
    let node = |n| Subject::Node(NodeId::from_bytes([n; 32]));
    let asked: [&[Subject]; 6] = [
        &[account(1)],
        &[account(2)],
        &[account(3)],
        &[node(9)],
        &[node(8), node(9)],
        &[node(8), account(1)],
    ];
    asked.map(|subjects| about(index, subjects))
}

fn right() -> [Vec<u64>; 6] {
    [vec![1, 3], vec![2, 4, 5], vec![], vec![6], vec![6], vec![]]
}

fn assert_right(index: &Index) {
    assert_eq!(answers(index), right());
}

#[test]
fn entries_are_found_by_whom_they_are_about_within_a_range_and_a_limit() {
    let home = Home::new();
    let log = home.write(2, some());
    let index = home.open(&log);
    assert_eq!((index.applied(), index.found()), (7, Found::Fresh));
    assert_right(&index);
    let second = [Subject::Account(account(2))];
    assert_eq!(index.about(&second, 3..5, 9).unwrap(), [4]);
    assert_eq!(index.about(&second, 0..9, 2).unwrap(), [2, 4]);
    assert_eq!(index.about(&[], 2..7, 3).unwrap(), [2, 3, 4]);
}

#[test]
fn an_index_goes_on_where_it_stopped() {
    let home = Home::new();
    drop(home.open(&home.write(2, some())));
    let log = home.write(2, vec![key(7, 1)]);
    let index = home.open(&log);
    assert_eq!((index.applied(), index.found()), (8, Found::Whole));
    assert_eq!(about(&index, &[Subject::Account(account(1))]), [1, 3, 7]);
}

#[test]
fn what_names_a_key_or_a_payment_is_about_its_account_and_a_denial_about_its_nodes() {
    let home = Home::new();
    let paid = Payment {
        account: account(1),
        amount: MicroUsd(5_000_000),
        plan: "explorer".to_owned(),
        period_start: Seconds(1),
        period_end: Seconds(2),
    };
    let names =
        counterfoil_spec::deny::DenyNames { nodes: vec![NodeId::from_bytes([9; 32])], ..Default::default() };
    let log = home.write(
        2,
        vec![
            key(3, 1),
            key(4, 2),
            NewEntry::new(serial(5), paid),
            NewEntry::new(serial(6), KeyRevoked { key_id: serial(4) }),
            NewEntry::new(serial(7), Refund { payment: serial(5), amount: MicroUsd(1) }),
            NewEntry::new(serial(8), KeyRevoked { key_id: serial(77) }),
            NewEntry::new(serial(9), DenyListIssued { epoch: 1, names, reason: "lost".to_owned() }),
        ],
    );
    let index = home.open(&log);
    assert_eq!(about(&index, &[Subject::Account(account(1))]), [1, 3, 5]);
    assert_eq!(about(&index, &[Subject::Account(account(2))]), [2, 4]);
    assert_eq!(about(&index, &[Subject::Node(NodeId::from_bytes([9; 32]))]), [7]);
}

/// Opens the index and says how it was found; it must be right and leave nothing half done.
fn assert_made_anew(home: &Home, log: &LogReader) {
    let index = home.open(log);
    assert_eq!((index.applied(), index.found()), (7, Found::Aside));
    assert_right(&index);
    assert!(home.at().with_extension("aside").exists());
    drop(index);
    assert_eq!(home.open(log).found(), Found::Whole);
}

fn meta(home: &Home, key: &[u8], value: &[u8]) {
    let db = sled::open(home.at()).unwrap();
    db.open_tree("meta").unwrap().insert(key, value).unwrap();
    db.flush().unwrap();
}

#[test]
fn what_does_not_open_or_was_left_open_or_is_of_another_version_is_moved_aside_and_made_anew() {
    let home = Home::new();
    let log = home.write(2, some());
    drop(home.open(&log));
    std::fs::remove_dir_all(home.at()).unwrap();
    std::fs::write(home.at(), b"no folder").unwrap();
    assert_made_anew(&home, &log);
    std::fs::write(home.at().with_extension("open"), b"").unwrap();
    assert_made_anew(&home, &log);
    meta(&home, b"version", &9_u64.to_be_bytes());
    assert_made_anew(&home, &log);
    meta(&home, b"applied", &[&8_u64.to_be_bytes()[..], serial(6).as_bytes()].concat());
    assert_made_anew(&home, &log);
    meta(&home, b"applied", b"x");
    assert_made_anew(&home, &log);
}

/// A home whose log was brought back from an older copy and went on from there.
#[test]
fn an_index_of_another_log_is_moved_aside_though_that_is_as_long() {
    let home = Home::new();
    drop(home.open(&home.write(2, some())));
    let mut other = some();
    other.pop();
    other.push(key(9, 3));
    let log = home.write(4, other);
    let index = home.open(&log);
    assert_eq!((index.applied(), index.found()), (7, Found::Aside));
    assert_eq!(about(&index, &[Subject::Account(account(3))]), [6]);
    assert_eq!(about(&index, &[Subject::Node(NodeId::from_bytes([8; 32]))]), [0_u64; 0]);
}

/// sled may end a process over what it reads; the next one must not read it again.
#[test]
fn whatever_bytes_change_the_second_look_at_the_latest_is_right() {
    let home = Home::new();
    let log = home.write(2, some());
    let mut seed = 1_u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut anew = 0;
    for round in 0..24 {
        drop(home.open(&log));
        for file in std::fs::read_dir(home.at()).unwrap().map(|f| f.unwrap().path()).filter(|p| p.is_file()) {
            let mut bytes = std::fs::read(&file).unwrap();
            let len = bytes.len() as u64;
            match round % 3 {
                _ if len == 0 => {}
                0 => bytes.truncate(usize::try_from(next(len)).unwrap()),
                1 => (0..8).for_each(|_| bytes[usize::try_from(next(len)).unwrap()] ^= 0xa5),
                _ => bytes.iter_mut().take(4096).for_each(|b| *b = 0xa5),
            }
            std::fs::write(&file, bytes).unwrap();
        }
        let looked = std::panic::catch_unwind(|| {
            let index = home.open(&log);
            (index.found(), answers(&index))
        });
        if let Ok((_, answers)) = &looked {
            assert_eq!(*answers, right(), "round {round}");
        }
        anew += u32::from(!matches!(looked, Ok((Found::Whole, _))));
        assert_right(&home.open(&log));
    }
    assert!(anew >= 8, "{anew} of 24");
}

#[test]
fn deleting_it_loses_nothing() {
    let home = Home::new();
    let log = home.write(2, some());
    drop(home.open(&log));
    std::fs::remove_dir_all(home.at()).unwrap();
    let index = home.open(&log);
    assert_eq!(index.found(), Found::Fresh);
    assert_right(&index);
    drop(index);
    assert!(Index::discard(&home.at()).unwrap());
    assert!(!Index::discard(&home.at()).unwrap());
    assert_right(&home.open(&log));
}
