use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use counterfoil_spec::ids::{Serial, Signature};
use counterfoil_spec::payload::KeyRevoked;
use counterfoil_spec::time::Millis;

use super::*;
use crate::disk::journal::{Fault, Journal};
use crate::verify::{Report, VerifyOptions, verify_plain};
use counterfoil_identity::{SecretKey, SignFault, VerifyKey};

mod crashes;
mod removal;

/// A log on a disk that fails when told to.
struct Place {
    folder: tempfile::TempDir,
    disk: Arc<Journal>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Journal::new(folder.path(), 1);
        Self { folder, disk }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("home/log")
    }

    fn open(&self) -> Result<(LogWriter, Opened), LogError> {
        self.open_as(SecretKey::from_seed([2; 32]).into())
    }

    fn open_as(&self, author: Arc<dyn Signer>) -> Result<(LogWriter, Opened), LogError> {
        let options = LogOptions { publish_every: Duration::from_secs(3600), ..LogOptions::default() };
        let disk = self.disk.clone();
        LogWriter::open_on(config(self.dir(), author, options), Arc::new(|| Millis(1_790_000_000_000)), disk)
    }

    fn confirm_no_more(&self) {
        self.disk.begin(Some((0, Fault::Unconfirmed)));
    }

    fn verify(&self) -> Report {
        verify_plain(&VerifyOptions::new(self.dir())).unwrap()
    }
}

fn config(dir: PathBuf, author: Arc<dyn Signer>, options: LogOptions) -> LogConfig {
    let root = SecretKey::from_seed([1; 32]);
    LogConfig {
        dir,
        net_id: root.public().net_id(),
        author,
        role: Role::Router,
        note: NoteSigner::new("node.example/log", Arc::new(SecretKey::from_seed([3; 32]))).unwrap(),
        genesis: GenesisFacts {
            root_spki: root.public().spki_der(),
            next_root_hash: None,
            currency: "USD".to_owned(),
            root: Some(Arc::new(root)),
        },
        options,
    }
}

fn entry(n: u8) -> NewEntry {
    let serial = Serial::from_bytes([n; 16]);
    NewEntry::new(serial, KeyRevoked { key_id: serial })
}

#[test]
fn one_append_is_one_sync() {
    let place = Place::new();
    let (log, _) = place.open().unwrap();
    log.publish().unwrap();
    let before = place.disk.syncs();
    log.append((1..50).map(entry).collect()).unwrap();
    assert_eq!(place.disk.syncs() - before, 1);
}

/// A key that says which threads sign with it, and waits for leave where there is a gate.
#[derive(Debug)]
struct Watched {
    key: SecretKey,
    threads: Mutex<Vec<std::thread::ThreadId>>,
    /// Each signature takes one message of the first and sends one to the second before that.
    gate: Option<(Mutex<Receiver<()>>, SyncSender<()>)>,
}

impl Watched {
    fn new(gate: Option<(Receiver<()>, SyncSender<()>)>) -> Arc<Self> {
        let gate = gate.map(|(leave, begun)| (Mutex::new(leave), begun));
        Arc::new(Self { key: SecretKey::from_seed([2; 32]), threads: Mutex::default(), gate })
    }
}

impl Signer for Watched {
    fn public(&self) -> VerifyKey {
        self.key.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignFault> {
        self.threads.lock().unwrap().push(std::thread::current().id());
        if let Some((leave, begun)) = &self.gate {
            begun.send(()).unwrap();
            leave.lock().unwrap().recv().unwrap();
        }
        Ok(self.key.sign(message))
    }
}

#[test]
fn caller_who_waits_appends_on_its_own_thread_where_nobody_else_does() {
    let place = Place::new();
    let author = Watched::new(None);
    let (log, _) = place.open_as(author.clone()).unwrap();
    author.threads.lock().unwrap().clear();
    log.append(vec![entry(1), entry(2)]).unwrap();
    let (send, receive) = sync_channel(1);
    log.append_then(vec![entry(3)], Box::new(move |appended| send.send(appended).unwrap()));
    assert_eq!(receive.recv().unwrap().unwrap(), Appended { first: 3, count: 1 });
    let threads = author.threads.lock().unwrap().clone();
    let here = std::thread::current().id();
    assert_eq!(threads.iter().map(|thread| *thread == here).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn caller_who_waits_does_not_overtake_what_was_sent_before() {
    let place = Place::new();
    let (log, _) = place.open().unwrap();
    for n in 0..100u8 {
        let (send, receive) = sync_channel(1);
        log.append_then(vec![entry(2 * n)], Box::new(move |appended| send.send(appended).unwrap()));
        let after = log.append(vec![entry(2 * n + 1)]).unwrap();
        assert_eq!(receive.recv().unwrap().unwrap().first + 1, after.first);
    }
}

#[test]
fn append_on_its_callers_thread_is_waited_for_by_close() {
    let place = Place::new();
    let ((leave, leaves), (begins, begun)) = (sync_channel(9), sync_channel(9));
    leave.send(()).unwrap();
    let (log, _) = place.open_as(Watched::new(Some((leaves, begins)))).unwrap();
    begun.recv().unwrap();
    std::thread::scope(|scope| {
        let appended = scope.spawn(|| log.append(vec![entry(1)]));
        begun.recv().unwrap();
        let closed = scope.spawn(|| log.close());
        leave.send(()).unwrap();
        assert_eq!(appended.join().unwrap().unwrap(), Appended { first: 1, count: 1 });
        assert_eq!(closed.join().unwrap().unwrap().size, 2);
    });
    assert!(matches!(log.append(vec![entry(2)]), Err(LogError::Closed)));
    assert_eq!(place.verify().faults, []);
}

/// A key whose holder goes away when told to.
#[derive(Debug)]
struct Elsewhere {
    key: SecretKey,
    away: AtomicBool,
}

impl Signer for Elsewhere {
    fn public(&self) -> VerifyKey {
        self.key.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignFault> {
        if self.away.load(Ordering::Relaxed) {
            return Err(SignFault::Wrong { socket: "agent".to_owned() });
        }
        Ok(self.key.sign(message))
    }
}

#[test]
fn entry_that_is_not_signed_leaves_no_trace() {
    let place = Place::new();
    let author = Arc::new(Elsewhere { key: SecretKey::from_seed([2; 32]), away: AtomicBool::new(false) });
    let (log, _) = place.open_as(author.clone()).unwrap();
    assert_eq!(log.append(vec![entry(1)]).unwrap().first, 1);
    author.away.store(true, Ordering::Relaxed);
    let refused = log.append((2..60).map(entry).collect());
    assert!(matches!(refused, Err(LogError::Sign(SignFault::Wrong { socket })) if socket == "agent"));
    author.away.store(false, Ordering::Relaxed);
    assert_eq!(log.append(vec![entry(2)]).unwrap().first, 2);
    assert_eq!(log.close().unwrap().size, 3);
    assert_eq!(place.verify().faults, []);
}

//= spec/audit-log.md#recovery
//= type=test
//# After an error of `fdatasync` a writer MUST append and sign nothing more (`DurabilityLost`).
#[test]
fn unconfirmed_sync_ends_the_writer_and_the_next_start_recovers() {
    let place = Place::new();
    let (log, _) = place.open().unwrap();
    log.append(vec![entry(1)]).unwrap();
    let head = log.head();
    place.confirm_no_more();
    assert!(matches!(log.append(vec![entry(2)]), Err(LogError::DurabilityLost { .. })));
    place.disk.begin(None);
    // The disk works again, but what it holds is unknown: nothing more is taken and nothing is signed.
    assert!(matches!(log.append(vec![entry(3)]), Err(LogError::DurabilityLost { .. })));
    assert!(matches!(log.publish(), Err(LogError::DurabilityLost { .. })));
    assert_eq!(log.head(), head);
    assert!(matches!(log.close(), Err(LogError::DurabilityLost { .. })));
    let (log, opened) = place.open().unwrap();
    // The group's bytes had reached the file, so it counts; its caller was told that this is unknown.
    assert_eq!(opened.size, 3);
    assert_eq!(log.append(vec![entry(4)]).unwrap().first, 3);
    log.close().unwrap();
    assert_eq!(place.verify().faults, []);
}

#[test]
fn nothing_is_signed_before_its_state_is_durable() {
    let place = Place::new();
    let (log, _) = place.open().unwrap();
    let before = log.checkpoint();
    log.append(vec![entry(1)]).unwrap();
    place.confirm_no_more();
    assert!(matches!(log.publish(), Err(LogError::DurabilityLost { .. })));
    assert_eq!(log.checkpoint(), before);
    assert_eq!(std::fs::read_to_string(place.dir().join("checkpoint")).unwrap(), before);
    assert!(matches!(log.append(vec![entry(2)]), Err(LogError::DurabilityLost { .. })));
}

#[test]
fn publishing_waits_for_what_was_committed_before() {
    let place = Place::new();
    let (log, _) = place.open().unwrap();
    std::thread::scope(|scope| {
        for caller in 0..4u8 {
            let log = log.clone();
            scope.spawn(move || {
                for n in 0..20u8 {
                    let appended = log.append(vec![entry(caller * 20 + n)]).unwrap();
                    let note = log.publish().unwrap();
                    let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
                    assert!(size > appended.first, "{size} for entry {}", appended.first);
                }
            });
        }
    });
}
