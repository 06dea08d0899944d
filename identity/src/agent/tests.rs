use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use super::*;
use crate::key::SecretKey;

/// An agent on a socket of its own that serves a number of connections, one after the other.
struct Agent {
    folder: tempfile::TempDir,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// Serves `connections` with what `reply` makes of a request; nothing closes the connection.
    fn start(connections: usize, reply: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("agent.sock")).unwrap();
        let thread = std::thread::spawn(move || {
            for _ in 0..connections {
                let (mut stream, _) = listener.accept().unwrap();
                while let Ok(Some(request)) = read_message(&mut stream) {
                    match reply(&request) {
                        Some(bytes) => stream.write_all(&bytes).unwrap(),
                        None => break,
                    }
                }
            }
        });
        Self { folder, thread: Some(thread) }
    }

    fn of(keys: Vec<(SecretKey, String)>) -> Self {
        Self::start(1, move |request| Some(answer(&keys, request)))
    }

    fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

fn signature_of(agent: &Agent, key: &SecretKey) -> Result<Signature, SignFault> {
    AgentKey::new(agent.socket(), key.public()).sign(b"words")
}

#[test]
fn agent_signs_as_the_key_would() {
    let agent = Agent::of(vec![(key(1), "one".to_owned()), (key(2), "two".to_owned())]);
    let held = AgentKey::new(agent.socket(), key(2).public());
    assert_eq!(held.sign(b"words"), Ok(key(2).sign(b"words")));
    assert_eq!(held.sign(b""), Ok(key(2).sign(b"")));
    drop(held);
    agent.join();
}

#[test]
fn key_that_the_agent_does_not_hold_is_declined() {
    let agent = Agent::of(vec![(key(1), "one".to_owned())]);
    let socket = show(&agent.socket());
    let want = SignFault::Declined { socket, key: key(2).public().wire().to_string() };
    assert_eq!(signature_of(&agent, &key(2)), Err(want));
}

#[test]
fn keys_of_an_agent_are_listed() {
    let agent = Agent::of(vec![(key(1), "one".to_owned()), (key(2), "two".to_owned())]);
    assert_eq!(keys(&agent.socket()), Ok(vec![key(1).public(), key(2).public()]));
}

#[test]
fn signature_by_another_key_is_not_passed_on() {
    let agent = Agent::start(1, |_| Some(wire::signed(&key(9).sign(b"words"))));
    let socket = show(&agent.socket());
    assert_eq!(signature_of(&agent, &key(1)), Err(SignFault::Wrong { socket }));
}

#[test]
fn answer_against_the_protocol_is_named() {
    for (bytes, what) in [
        (vec![0, 0, 0, 1, 12], "neither a signature nor a refusal"),
        (vec![0, 0, 0, 2, 14, 0], "a malformed answer"),
        (vec![0, 0, 0, 9, 14, 0, 0, 0, 4, 0, 0, 0, 0], "a signature of another kind of key"),
    ] {
        let agent = Agent::start(1, move |_| Some(bytes.clone()));
        let socket = show(&agent.socket());
        assert_eq!(signature_of(&agent, &key(1)), Err(SignFault::Protocol { socket, what }));
    }
}

#[test]
fn impossible_length_is_not_allocated() {
    let agent = Agent::start(1, |_| Some(vec![0xff, 0xff, 0xff, 0xff, 14]));
    let reason = "a message of an impossible length".to_owned();
    let socket = show(&agent.socket());
    assert_eq!(signature_of(&agent, &key(1)), Err(SignFault::Unreachable { socket, reason }));
}

#[test]
fn agent_that_was_started_anew_is_asked_again() {
    // One answer a connection: the second signature finds the first connection closed.
    let served = std::sync::atomic::AtomicBool::new(false);
    let agent = Agent::start(2, move |request| {
        let first_of_two = !served.fetch_xor(true, std::sync::atomic::Ordering::Relaxed);
        first_of_two.then(|| answer(&[(key(1), String::new())], request))
    });
    let held = AgentKey::new(agent.socket(), key(1).public());
    assert_eq!(held.sign(b"a"), Ok(key(1).sign(b"a")));
    assert_eq!(held.sign(b"b"), Ok(key(1).sign(b"b")));
}

#[test]
fn agent_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.sock");
    let fault = AgentKey::new(path.clone(), key(1).public()).sign(b"words").unwrap_err();
    let socket = show(&path);
    assert!(matches!(fault, SignFault::Unreachable { socket: named, .. } if named == socket));
}

#[test]
fn agent_refuses_what_it_does_not_do() {
    let keys = [(key(1), String::new())];
    let failure = vec![0, 0, 0, 1, 5];
    // Adding a key (17), removing all (19), nothing at all, and a signature with flags.
    for request in [vec![17], vec![19], vec![]] {
        assert_eq!(answer(&keys, &request), failure);
    }
    let good = wire::sign_request(&key(1).public().wire(), b"words").unwrap();
    assert_eq!(answer(&keys, &good[4..]), wire::signed(&key(1).sign(b"words")));
    let mut flagged = good[4..].to_vec();
    *flagged.last_mut().unwrap() = 2;
    assert_eq!(answer(&keys, &flagged), failure);
}
