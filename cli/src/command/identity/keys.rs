//! Keys under a passphrase, and keys that an agent holds.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use counterfoil_identity::key_file::{Keyring, Passphrase, store_agent, sweep};
use counterfoil_identity::{SecretKey, agent};
use serde_json::json;

use crate::alone;
use crate::exit::{Failure, Outcome};
use crate::keys::keyring;
use crate::output;

/// Keys that live long enough to be worth an agent. A TLS key is made anew for each certificate, and the admin key is no
/// signing key.
const LONG_LIVED: [&str; 8] = ["root", "next-root", "ca", "next-ca", "router", "node", "log", "next-log"];
/// Connections that an agent serves at one time.
const MAX_CLIENTS: usize = 64;

/// A home, and those of the local nodes of `run`.
fn homes(home: &Path) -> Vec<PathBuf> {
    let mut homes = vec![home.to_owned()];
    if let Ok(nodes) = std::fs::read_dir(home.join("nodes")) {
        homes.extend(nodes.flatten().map(|node| node.path()));
    }
    homes
}

/// The key files of a home, those of the local nodes of `run` included.
fn key_files(home: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folders: Vec<PathBuf> = homes(home).iter().map(|home| home.join("identity")).collect();
    let mut found = Vec::new();
    for folder in folders.iter().filter(|folder| folder.exists()) {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ext| ext == "key") {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() {
        let what = format!("{} holds no keys; `counterfoil identity init` makes them", home.display());
        return Err(Failure::wrong_use(what));
    }
    Ok(found)
}

/// Writes every key of a home again: under a new passphrase, or under none. Every key is opened before one is written: where
/// an earlier command was broken off, some with what it was to write. Nobody works on the home meanwhile, who would write
/// keys of his own under what held before.
pub(super) fn seal(home: &Path, fresh: Option<&Path>, json: bool) -> Outcome {
    let new = match fresh {
        Some(file) => Keyring::with(Passphrase::read(file).map_err(Failure::store)?),
        None => Keyring::default(),
    };
    let old = keyring()?;
    let mut held = Vec::new();
    for home in homes(home) {
        match alone::take(&home)? {
            alone::Home::Busy => {
                return Err(Failure::wrong_use(format!(
                    "a router or a node works on {}; end it first, and start it with the passphrase that holds then",
                    home.display()
                )));
            }
            alone => held.push(alone),
        }
        sweep(&home.join("identity")).map_err(Failure::store)?;
    }
    let files = key_files(home)?;
    let open = |path: &PathBuf| {
        let key = old.load(path).or_else(|fault| new.load(path).map_err(|_| fault));
        key.map(|key| (path.clone(), key)).map_err(Failure::store)
    };
    let opened: Vec<(PathBuf, SecretKey)> = files.iter().map(open).collect::<Result<_, _>>()?;
    for (path, key) in &opened {
        new.seal_again(path, key).map_err(Failure::store)?;
    }
    drop(held);
    if json {
        output::json(&json!({ "keys": files, "under_passphrase": fresh.is_some() }));
        return Ok(());
    }
    output::line(&format!("{} keys written again.", files.len()));
    output::line(if fresh.is_some() {
        "From now on every command that needs them wants --passphrase-file or COUNTERFOIL_PASSPHRASE_FILE. Without the passphrase nothing brings them back."
    } else {
        "They are under no passphrase now; file permissions alone protect them."
    });
    Ok(())
}

/// Says of every key that an agent holds too that the agent has it.
pub(super) fn use_agent(home: &Path, socket: &Path, json: bool) -> Outcome {
    let socket = std::path::absolute(socket)?;
    let held = agent::keys(&socket).map_err(Failure::store)?;
    let keys = keyring()?;
    let mut taken = Vec::new();
    for path in key_files(home)? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !LONG_LIVED.contains(&name.as_str()) {
            continue;
        }
        let public = keys.load(&path).map_err(Failure::store)?.public();
        if held.contains(&public) {
            store_agent(&path, &socket, &public).map_err(Failure::store)?;
            taken.push(path);
        }
    }
    if taken.is_empty() {
        let what =
            format!("the agent at {} holds none of this home's keys; add them to it first", socket.display());
        return Err(Failure::check(what));
    }
    if json {
        output::json(&json!({ "socket": socket, "keys": taken }));
        return Ok(());
    }
    output::line(&format!("The agent at {} holds:", socket.display()));
    for path in &taken {
        output::line(&format!("  {}", path.display()));
    }
    output::line(
        "Move these files to where only the agent reads them. Once they are gone from here, the agent signs.",
    );
    Ok(())
}

/// Holds the keys of a folder and signs for who can reach the socket, until it is told to end.
pub(super) async fn serve(folder: &Path, socket: &Path, json: bool) -> Outcome {
    let ring = keyring()?;
    let mut keys = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|ext| ext == "key") && LONG_LIVED.contains(&name.as_str()) {
            keys.insert(name, ring.load(&path).map_err(Failure::store)?);
        }
    }
    if keys.is_empty() {
        let what = format!("{} holds none of {}.key", folder.display(), LONG_LIVED.join(".key, "));
        return Err(Failure::wrong_use(what));
    }
    let names: Vec<String> = keys.keys().cloned().collect();
    let keys: Vec<(SecretKey, String)> = keys.into_iter().map(|(name, key)| (key, name)).collect();
    let listener = bind(socket)?;
    if json {
        output::json(&json!({ "socket": socket, "keys": names }));
    } else {
        output::line(&format!("Holds {}; signs at {}. Ctrl-C ends it.", names.join(", "), socket.display()));
    }
    let keys = Arc::new(keys);
    // Blocking reads on threads of their own: an agent has few clients, and they keep their connections.
    std::thread::spawn(move || accept(&listener, &keys));
    crate::supervise::interrupted().await;
    let _ = std::fs::remove_file(socket);
    Ok(())
}

/// Listens where nobody but the owner can connect.
fn bind(socket: &Path) -> Result<UnixListener, Failure> {
    if UnixStream::connect(socket).is_ok() {
        let what = format!("another agent answers at {}; choose another --socket", socket.display());
        return Err(Failure::wrong_use(what));
    }
    // What an agent that was killed left behind.
    if std::fs::symlink_metadata(socket)
        .is_ok_and(|facts| std::os::unix::fs::FileTypeExt::is_socket(&facts.file_type()))
    {
        std::fs::remove_file(socket)?;
    }
    let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = std::fs::metadata(folder)?.permissions().mode();
    if mode & 0o077 != 0 {
        let what = format!(
            "{} can be entered by others, and so could the socket be: chmod 700 it, or choose another --socket",
            folder.display()
        );
        return Err(Failure::wrong_use(what));
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn accept(listener: &UnixListener, keys: &Arc<Vec<(SecretKey, String)>>) {
    let clients = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming().flatten() {
        if clients.fetch_add(1, Ordering::Relaxed) >= MAX_CLIENTS {
            clients.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!("more than {MAX_CLIENTS} connections; one is refused");
            continue;
        }
        let (keys, clients) = (Arc::clone(keys), Arc::clone(&clients));
        std::thread::spawn(move || {
            if let Err(error) = answer(stream, &keys) {
                tracing::debug!(%error, "a connection ended");
            }
            clients.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn answer(mut stream: UnixStream, keys: &[(SecretKey, String)]) -> std::io::Result<()> {
    while let Some(request) = agent::read_message(&mut stream)? {
        stream.write_all(&agent::answer(keys, &request))?;
    }
    Ok(())
}
