//! Keys that an agent holds: a program that signs on request over a local socket and never gives a key away.
//!
//! The protocol is that of SSH agents (draft-ietf-sshm-ssh-agent), of which two requests are used, so that agents that
//! people run already, and the hardware behind them, can hold the keys of a network:
//!
//! ```text
//! message    = u32be length ‖ type(1) ‖ fields           string = u32be length ‖ bytes
//! list       = 11                                        -> 12 ‖ u32be n ‖ n × (string key blob ‖ string comment)
//! sign       = 13 ‖ string key blob ‖ string message ‖ u32be 0    -> 14 ‖ string (string "ssh-ed25519" ‖ string signature)
//! key blob   = string "ssh-ed25519" ‖ string key(32)
//! failure    = 5
//! ```
//!
//! An Ed25519 key signs the message as it is, so what comes back is the signature that the key itself would have made.
//! Everything signed here begins with a domain of ours, or is a certificate or a signed note; none of it can be taken
//! for the answer to an SSH challenge.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use counterfoil_spec::ids::{PublicKey, Signature};

use crate::key::VerifyKey;
use crate::signer::{SignFault, Signer};

mod serve;
mod wire;

pub use serve::answer;
pub use wire::MAX_AGENT_MESSAGE_BYTES;

/// How long an agent may take to answer; one that asks a person to touch something has that long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A key that an agent holds.
pub struct AgentKey {
    socket: PathBuf,
    key: VerifyKey,
    /// Guards the connection to the agent, so that requests and answers stay in step; held for one signature.
    connection: Mutex<Option<UnixStream>>,
}

impl AgentKey {
    /// The key behind a socket. The agent is asked when the first signature is wanted.
    #[must_use]
    pub const fn new(socket: PathBuf, key: VerifyKey) -> Self {
        Self { socket, key, connection: Mutex::new(None) }
    }

    fn ask(&self, request: &[u8]) -> Result<Vec<u8>, SignFault> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // An agent that was started anew since has closed the old connection.
        if let Some(mut open) = connection.take()
            && let Ok(answer) = exchange(&mut open, request)
        {
            *connection = Some(open);
            return Ok(answer);
        }
        let unreachable = |e: io::Error| unreachable(&self.socket, &e);
        let mut fresh = connect(&self.socket).map_err(unreachable)?;
        let answer = exchange(&mut fresh, request).map_err(unreachable)?;
        *connection = Some(fresh);
        Ok(answer)
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentKey({} behind {})", self.key.wire(), self.socket.display())
    }
}

impl Signer for AgentKey {
    fn public(&self) -> VerifyKey {
        self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignFault> {
        let socket = || show(&self.socket);
        let protocol = |what| SignFault::Protocol { socket: socket(), what };
        let request = wire::sign_request(&self.key.wire(), message).map_err(protocol)?;
        let answer = self.ask(&request)?;
        let signature = match wire::signature(&answer) {
            Ok(Some(signature)) => signature,
            Ok(None) => {
                return Err(SignFault::Declined { socket: socket(), key: self.key.wire().to_string() });
            }
            Err(what) => return Err(protocol(what)),
        };
        self.key.verify(message, &signature).map_err(|_| SignFault::Wrong { socket: socket() })?;
        Ok(signature)
    }
}

/// The Ed25519 keys that an agent holds; keys of other kinds, and weak ones, are left out.
///
/// # Errors
/// [`SignFault::Unreachable`] or [`SignFault::Protocol`].
pub fn keys(socket: &Path) -> Result<Vec<VerifyKey>, SignFault> {
    let mut stream = connect(socket).map_err(|e| unreachable(socket, &e))?;
    let answer = exchange(&mut stream, &wire::list_request()).map_err(|e| unreachable(socket, &e))?;
    let keys: Vec<PublicKey> =
        wire::keys(&answer).map_err(|what| SignFault::Protocol { socket: show(socket), what })?;
    Ok(keys.into_iter().filter_map(|key| VerifyKey::from_wire(key).ok()).collect())
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn exchange(stream: &mut UnixStream, request: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(request)?;
    read_message(stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Reads one message without its length; nothing where the other side is gone between two messages.
///
/// # Errors
/// Where it ends in the middle, or is empty or longer than [`MAX_AGENT_MESSAGE_BYTES`].
pub fn read_message(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    let [_, rest @ ..] = &mut length;
    stream.read_exact(rest)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(1..=MAX_AGENT_MESSAGE_BYTES).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of an impossible length"));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message)?;
    Ok(Some(message))
}

fn unreachable(socket: &Path, error: &io::Error) -> SignFault {
    SignFault::Unreachable { socket: show(socket), reason: error.to_string() }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
