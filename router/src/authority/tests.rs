use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use counterfoil_audit::LogReader;
use counterfoil_identity::key_file::{self, Keyring};
use counterfoil_identity::{IssuedCa, SecretKey};
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::ids::Serial;
use counterfoil_spec::payload::Payload;
use counterfoil_spec::time::{Millis, Now};

use super::*;
use crate::CURRENCY;
use crate::admin::{AdminCommand, execute};

const DAY: u64 = 86_400;
const BEGIN: Seconds = Seconds(1_800_000_000);
/// Of a CA with 90 days and the 300 seconds, as of its `not_before`.
const TWO_THIRDS: u64 = (90 * DAY + 300) / 3 * 2;

fn known(announced: Seconds, since: Option<Seconds>) -> KnownCa {
    let key = SecretKey::from_seed([1; 32]).public();
    let (not_before, not_after) = (BEGIN, BEGIN.plus(90 * DAY + 300));
    let ca = IssuedCa { serial: Serial::from_bytes([1; 16]), key, not_before, not_after };
    KnownCa { ca, announced, since, replaced: None }
}

#[test]
fn next_is_due_at_two_thirds_of_the_life_where_the_root_is_here() {
    let own = known(BEGIN, Some(BEGIN));
    let at = |s, root| due(BEGIN.plus(s), &own, None, root);
    assert_eq!(at(TWO_THIRDS - 1, RootKey::Here), Due::Nothing);
    assert_eq!(at(TWO_THIRDS, RootKey::Here), Due::Next);
    assert_eq!(at(TWO_THIRDS, RootKey::Elsewhere), Due::Nothing);
    assert_eq!(at(89 * DAY, RootKey::Elsewhere), Due::Nothing);
}

#[test]
fn it_takes_over_a_day_after_it_was_announced_and_sooner_only_before_the_end() {
    let own = known(BEGIN, Some(BEGIN));
    let announced = BEGIN.plus(TWO_THIRDS);
    let next = known(announced, None);
    let at = |now: Seconds, next: &KnownCa| due(now, &own, Some(next), RootKey::Elsewhere);
    assert_eq!(at(announced.plus(DAY - 1), &next), Due::Nothing);
    assert_eq!(at(announced.plus(DAY), &next), Due::Activate);
    // One that an operator announced early waits for its time.
    let early = known(BEGIN, None);
    assert_eq!(at(BEGIN.plus(TWO_THIRDS - 1), &early), Due::Nothing);
    assert_eq!(at(BEGIN.plus(TWO_THIRDS), &early), Due::Activate);
    let end = own.ca.not_after;
    let late = known(Seconds(end.0 - DAY - 1), None);
    assert_eq!(at(Seconds(end.0 - DAY - 1), &late), Due::Nothing);
    assert_eq!(at(Seconds(end.0 - DAY), &late), Due::Activate);
}

#[test]
fn thirty_days_before_the_end_it_is_said_what_to_do() {
    let own = known(BEGIN, Some(BEGIN));
    let next = known(BEGIN, None);
    let end = own.ca.not_after;
    let says = |before: u64, next: Option<&KnownCa>, root| warning(Seconds(end.0 - before), &own, next, root);
    assert_eq!(says(30 * DAY + 1, None, RootKey::Elsewhere), None);
    let asks = says(30 * DAY, None, RootKey::Elsewhere).unwrap();
    assert!(asks.contains("ends in 30 days") && asks.contains("identity ca next"), "{asks}");
    assert!(says(DAY, Some(&next), RootKey::Elsewhere).unwrap().contains("identity ca activate"));
    assert!(says(DAY, None, RootKey::Here).unwrap().contains("should have been made"));
}

/// A home with a log, and a clock that the test turns.
struct Scene {
    folder: tempfile::TempDir,
    now_s: Arc<AtomicU64>,
}

impl Scene {
    fn new() -> Self {
        let now_s = Arc::new(AtomicU64::new(BEGIN.0));
        Self { folder: tempfile::tempdir().unwrap(), now_s }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn open(&self) -> (Office, RouterHome) {
        let now_s = Arc::clone(&self.now_s);
        let now: Now = Arc::new(move || Millis(now_s.load(Ordering::Relaxed) * 1000));
        let home = RouterHome::open_or_create(self.path(), &Keyring::default(), now().seconds()).unwrap();
        (Office::open(&home, CURRENCY, now).unwrap(), home)
    }

    fn later(&self, by_s: u64) {
        self.now_s.fetch_add(by_s, Ordering::Relaxed);
    }

    /// Which CAs the log announces and puts to use, by kind and serial number.
    fn logged(&self, home: &RouterHome) -> Vec<(&'static str, Serial)> {
        let root = home.domain().root_key();
        let mut all = Vec::new();
        LogReader::open(&self.path().join("log"))
            .unwrap()
            .for_each(0, |_, _, body| {
                let der = match &body.payload {
                    Payload::CaIssued(ca) => &ca.certificate,
                    Payload::KeyRotation(rotation) => &rotation.successor,
                    _ => return,
                };
                all.push((body.payload.name(), IssuedCa::read(der, root).unwrap().serial));
            })
            .unwrap();
        all
    }
}

#[test]
fn router_with_the_roots_key_rolls_over_by_itself_and_restarts_lose_nothing() {
    let scene = Scene::new();
    let (office, home) = scene.open();
    let first = home.ca().serial();
    assert!(!step(&office, &home).unwrap());
    scene.later(TWO_THIRDS);
    assert!(step(&office, &home).unwrap());
    let Some(crate::home::NextCa::Certified(next)) = home.next_ca().unwrap() else { panic!("no next CA") };
    assert!(!step(&office, &home).unwrap());
    assert_eq!(home.ca().serial(), first);
    office.close().unwrap();
    drop((office, home));
    scene.later(DAY);
    let (office, home) = scene.open();
    assert_eq!(home.ca().serial(), first);
    assert!(step(&office, &home).unwrap());
    assert_eq!(home.ca().serial(), next.serial());
    assert!(!step(&office, &home).unwrap());
    assert!(home.next_ca().unwrap().is_none());
    let want = [("ca-issued", first), ("ca-issued", next.serial()), ("key-rotation", next.serial())];
    assert_eq!(scene.logged(&home), want);
    office.close().unwrap();
    drop((office, home));
    // Nothing is said again by a router that starts anew.
    let (office, home) = scene.open();
    assert_eq!((home.ca().serial(), scene.logged(&home)), (next.serial(), want.to_vec()));
    office.close().unwrap();
}

#[test]
fn router_that_stood_still_past_the_end_of_its_ca_has_the_next_one_at_once() {
    let scene = Scene::new();
    let (office, home) = scene.open();
    let first = home.ca().serial();
    scene.later(400 * DAY);
    catch_up(&office, &home).unwrap();
    assert_ne!(home.ca().serial(), first);
    assert_eq!(home.ca().not_after(), BEGIN.plus(490 * DAY));
    office.close().unwrap();
}

#[test]
fn router_without_the_roots_key_asks_takes_the_answer_and_nothing_else() {
    let scene = Scene::new();
    let (office, home) = scene.open();
    office.close().unwrap();
    drop((office, home));
    let root = scene.path().join("identity/root.key");
    let signer = key_file::load(&root).unwrap();
    std::fs::remove_file(&root).unwrap();
    std::fs::remove_file(scene.path().join("identity/next-root.key")).unwrap();
    let (office, home) = scene.open();
    assert!(home.root().is_none() && !root.exists());
    let operate = |command| execute(&office, &home, command);
    use crate::admin::AdminCommand as Command;
    let refused = |command| operate(command).unwrap_err().to_string();
    let early = refused(Command::CaAnnounce { certificate: String::new() });
    assert!(early.contains("no certificate was asked for"), "{early}");
    let request = operate(Command::CaNext {}).unwrap()["request"].as_str().unwrap().to_owned();
    // Asked again it is the same key.
    let key = |pem: &str| {
        let blocks = counterfoil_identity::pem::decode("CERTIFICATE REQUEST", pem).unwrap();
        counterfoil_identity::requested_key(&blocks[0]).unwrap()
    };
    let again = operate(Command::CaNext {}).unwrap()["request"].as_str().unwrap().to_owned();
    assert_eq!(key(&request), key(&again));
    assert!(refused(Command::CaActivate {}).contains("no CA was announced"));

    let der = home.domain().root_der().to_vec();
    let root = counterfoil_identity::Root::from_parts(signer, der).unwrap();
    let answer = |key: &counterfoil_identity::VerifyKey| {
        let certificate = root.certify_ca(key, BEGIN).unwrap();
        counterfoil_identity::pem::encode("CERTIFICATE", &certificate).to_string()
    };
    let other = refused(Command::CaAnnounce { certificate: answer(&SecretKey::generate().public()) });
    assert!(other.contains("not of this key"), "{other}");
    let said = operate(Command::CaAnnounce { certificate: answer(&key(&request)) }).unwrap();
    assert_eq!(said["phase"], "announced");
    assert!(refused(Command::CaNext {}).contains("announced already"));
    let said = operate(Command::CaActivate {}).unwrap();
    assert_eq!(said["serial"], json!(home.ca().serial()));
    assert_eq!(home.ca().key().public(), key(&request));
    office.close().unwrap();
}

#[test]
fn ca_in_use_is_not_denied_and_one_that_is_denied_is_not_put_to_use() {
    let scene = Scene::new();
    let (office, home) = scene.open();
    let first = home.ca().serial();
    let deny = |serial: Serial| {
        let names = DenyNames { serials: vec![serial], ..DenyNames::default() };
        execute(&office, &home, AdminCommand::Deny { names, reason: "for a test".to_owned() })
    };
    let words = deny(first).unwrap_err().to_string();
    assert!(words.contains("every node would be out"), "{words}");
    execute(&office, &home, AdminCommand::CaNext {}).unwrap();
    let Some(crate::home::NextCa::Certified(next)) = home.next_ca().unwrap() else { panic!("no next CA") };
    deny(next.serial()).unwrap();
    let words = execute(&office, &home, AdminCommand::CaActivate {}).unwrap_err().to_string();
    assert!(words.contains("identity ca next"), "{words}");
    assert_eq!(home.ca().serial(), first);
    // It makes room for another, which may.
    execute(&office, &home, AdminCommand::CaNext {}).unwrap();
    execute(&office, &home, AdminCommand::CaActivate {}).unwrap();
    let now_used = home.ca().serial();
    assert!(now_used != first && now_used != next.serial());
    office.close().unwrap();
}

#[test]
fn router_that_stood_still_past_the_end_of_the_next_ca_as_well_has_another_one_at_once() {
    let scene = Scene::new();
    let (office, home) = scene.open();
    let first = home.ca().serial();
    execute(&office, &home, AdminCommand::CaNext {}).unwrap();
    let Some(crate::home::NextCa::Certified(next)) = home.next_ca().unwrap() else { panic!("no next CA") };
    scene.later(400 * DAY);
    catch_up(&office, &home).unwrap();
    let now_used = home.ca().serial();
    assert!(now_used != first && now_used != next.serial());
    office.close().unwrap();
}

#[test]
fn ca_that_left_its_place_is_not_put_back_by_files_from_a_backup() {
    let scene = Scene::new();
    let (office, home) = scene.open();
    let first = home.ca().serial();
    let files = ["ca.key", "ca.der"].map(|name| scene.path().join("identity").join(name));
    let backup = files.clone().map(|file| std::fs::read(file).unwrap());
    execute(&office, &home, AdminCommand::CaNext {}).unwrap();
    execute(&office, &home, AdminCommand::CaActivate {}).unwrap();
    let second = home.ca().serial();
    let logged = scene.logged(&home);
    begin(&office, &home).unwrap();
    office.close().unwrap();
    drop((office, home));
    for (file, bytes) in files.iter().zip(backup) {
        std::fs::write(file, bytes).unwrap();
    }
    let (office, home) = scene.open();
    assert_eq!((home.ca().serial(), scene.logged(&home)), (first, logged));
    let words = begin(&office, &home).unwrap_err();
    assert!(words.contains(&first.to_string()) && words.contains(&second.to_string()), "{words}");
    // What the words say to do helps.
    execute(&office, &home, AdminCommand::CaNext {}).unwrap();
    execute(&office, &home, AdminCommand::CaActivate {}).unwrap();
    begin(&office, &home).unwrap();
    office.close().unwrap();
}

#[test]
fn router_whose_ca_is_lost_has_another_from_its_root_that_takes_its_place() {
    let scene = Scene::new();
    let (office, home) = scene.open();
    let first = home.ca().serial();
    office.close().unwrap();
    drop((office, home));
    for name in ["ca.key", "ca.der"] {
        std::fs::remove_file(scene.path().join("identity").join(name)).unwrap();
    }
    let (office, home) = scene.open();
    begin(&office, &home).unwrap();
    let second = home.ca().serial();
    assert_ne!(first, second);
    let want = [("ca-issued", first), ("ca-issued", second), ("key-rotation", second)];
    assert_eq!(scene.logged(&home), want);
    office.close().unwrap();
}

/// An agent that was asked to sign, and what lets it go.
fn agent_in_the_place_of(key: &Path, socket: &Path) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let public = Keyring::default().load(key).unwrap().public();
    key_file::store_agent(key, socket, &public).unwrap();
    std::fs::remove_file(key).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    let ((tell, told), (go, going)) = (mpsc::channel(), mpsc::channel());
    std::thread::spawn(move || {
        let asked = listener.accept();
        let _ = tell.send(());
        let _ = going.recv();
        drop(asked);
    });
    (told, go)
}

/// The root signs the next CA, and the next CA its own request.
#[test]
fn nobody_waits_for_a_root_that_takes_its_time() {
    let scene = Scene::new();
    drop(scene.open());
    let root = scene.path().join("identity/root.key");
    let (asked, go) = agent_in_the_place_of(&root, &scene.path().join("agent"));
    let (office, home) = scene.open();
    let (office, home, before) = (&office, &home, office.log_size());
    // They bound a hang, not a speed.
    let patience = Duration::from_secs(60);
    std::thread::scope(|scope| {
        let making = scope.spawn(|| execute(office, home, AdminCommand::CaNext {}));
        asked.recv_timeout(patience).expect("the root was not asked");
        let (tell, told) = mpsc::channel();
        scope.spawn(move || {
            drop(office.decide());
            let _ = tell.send(());
        });
        let decides = told.recv_timeout(patience);
        // It gives no signature.
        drop(go);
        assert!(making.join().unwrap().is_err());
        assert_eq!(decides, Ok(()), "whoever decides waits for the root");
    });
    assert_eq!(office.log_size(), before);
}
