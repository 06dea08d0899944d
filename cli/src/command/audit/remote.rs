//! A log as a router publishes it over HTTP (C2SP tlog-tiles under `/log`), read by a verifier that trusts nothing of it: every answer
//! is bounded in size and time, no redirect is followed, and what is missing or too long is a fault of the log.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use counterfoil_audit::Published;
use counterfoil_audit::tile::{MAX_ENTRY_TILE_BYTES, MAX_HASH_TILE_BYTES};
use counterfoil_https::{AGENT, Address, Connection, Trust};
use http_body_util::{BodyExt, Empty};
use hyper::header::{AUTHORIZATION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::exit::Failure;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one file may take.
const FILE: Duration = Duration::from_secs(30);
/// Connections that are kept for the next file.
const MAX_IDLE: usize = 8;
/// Files that were asked for ahead and not taken.
const MAX_AHEAD: usize = 16;
/// What a router serves its log under.
const PREFIX: &str = "/log";

type Answer = io::Result<Option<Vec<u8>>>;

/// A router's published log.
pub(super) struct Remote {
    server: Arc<Server>,
    runtime: Handle,
    /// Guards what was asked for ahead; held to look up one of them.
    ahead: Mutex<HashMap<String, JoinHandle<Answer>>>,
}

struct Server {
    /// What its files lie below.
    at: Address,
    key: Option<String>,
    /// Guards connections that nobody uses; held to take or give back one.
    idle: Mutex<Vec<Connection<Empty<Bytes>>>>,
    /// What the server said when it gave no entries.
    refused: Mutex<Option<String>>,
}

impl Remote {
    /// The log at `https://HOST[:PORT][/PREFIX]` or `http://…`; without a prefix, where a router has it.
    pub(super) fn new(url: &str, key: Option<String>) -> Result<Self, Failure> {
        let at = crate::client::address(url.trim_end_matches('/'), key.as_deref())?;
        let at = if at.path() == "/" { at.below(PREFIX) } else { at };
        let (idle, refused) = (Mutex::default(), Mutex::default());
        let server = Arc::new(Server { at, key, idle, refused });
        Ok(Self { server, runtime: Handle::current(), ahead: Mutex::default() })
    }

    /// What the server said when it would not give something.
    pub(super) fn refused(&self) -> Option<String> {
        self.server.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ask(&self, name: &str, limit: usize) -> JoinHandle<Answer> {
        let (server, name) = (Arc::clone(&self.server), name.to_owned());
        self.runtime.spawn(async move { server.file(&name, limit).await })
    }
}

impl Published for Remote {
    fn read(&self, name: &str, limit: usize) -> Answer {
        let asked = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let answer = asked.unwrap_or_else(|| self.ask(name, limit));
        // A verifier runs beside the runtime's threads, not on one of them.
        let bytes = self.runtime.block_on(answer).map_err(io::Error::other)??;
        // What was asked for ahead was bounded by its kind.
        match bytes.as_ref().is_some_and(|bytes| bytes.len() > limit) {
            true => Err(too_long(limit)),
            false => Ok(bytes),
        }
    }

    fn name(&self) -> String {
        self.server.at.to_string()
    }

    fn expect(&self, names: &[String]) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if ahead.len() < MAX_AHEAD && !ahead.contains_key(name) {
                let entries = name.starts_with("tile/entries/");
                let limit = if entries { MAX_ENTRY_TILE_BYTES } else { MAX_HASH_TILE_BYTES };
                ahead.insert(name.clone(), self.ask(name, limit));
            }
        }
    }
}

impl Server {
    async fn file(&self, name: &str, limit: usize) -> Answer {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(connection) = kept {
            // A connection that was kept may have been closed meanwhile; then a new one is made.
            if let Ok(answer) = self.within(self.one(connection, name, limit)).await {
                return Ok(answer);
            }
        }
        self.within(async {
            let connection = self.connect().await?;
            self.one(connection, name, limit).await
        })
        .await
    }

    async fn within(&self, asked: impl Future<Output = Answer>) -> Answer {
        let late =
            || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", FILE.as_secs()));
        tokio::time::timeout(FILE, asked).await.map_err(|_| late())?
    }

    async fn connect(&self) -> io::Result<Connection<Empty<Bytes>>> {
        Connection::open(&self.at, &Trust::of_machine(), CONNECT).await.map_err(io::Error::other)
    }

    async fn one(&self, mut connection: Connection<Empty<Bytes>>, name: &str, limit: usize) -> Answer {
        let at = self.at.below(&format!("/{name}"));
        let mut request = Request::get(at.path()).header(HOST, at.authority()).header(USER_AGENT, AGENT);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request.body(Empty::new()).map_err(io::Error::other)?;
        let mut response = connection.ask(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let limit = if status == StatusCode::OK { limit } else { MAX_WORDS };
        let mut bytes = Vec::new();
        while let Some(frame) = response.body_mut().frame().await {
            let frame = frame.map_err(io::Error::other)?;
            let piece = frame.data_ref().map_or(&[][..], |piece| piece);
            if bytes.len() + piece.len() > limit {
                return Err(too_long(limit));
            }
            bytes.extend_from_slice(piece);
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        drop(idle);
        match status {
            StatusCode::OK => Ok(Some(bytes)),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let words = crate::client::words(&bytes);
                let refused = format!("{name}: {words}; give an auditor's key with --key");
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused.clone());
                Err(io::Error::new(io::ErrorKind::PermissionDenied, refused))
            }
            other => Err(io::Error::other(format!("the server answered {other}"))),
        }
    }
}

/// What is read of an answer that says why not.
const MAX_WORDS: usize = 16 * 1024;

fn too_long(limit: usize) -> io::Error {
    let text = format!("longer than the {limit} bytes that such a file can have");
    io::Error::new(io::ErrorKind::InvalidData, text)
}
