//! What a node's operator asks of it by commands, whether it runs or not.
//!
//! ```text
//! orders/<serial>    canonical CBOR of [kind, [fields…]]: 1 revoke [consent id], 2 revoke all [], 3 allow [manifest], 4 renew []
//! withheld           what was said of models, a line each: a manifest id for which nothing is signed, or `yes` and one
//!                    that is allowed; `all`, where nothing is signed for any other
//! no-renewal         canonical CBOR of [[orders], refusal, words]: the orders of kind 4 that the router refused last
//! notices/<hash>     the words that a consent token was signed with, by the hash that it carries of them
//! asked/<manifest>   canonical CBOR of the last proposal that waits for the operator's yes
//! epoch              the consent epoch, decimal; only ever rising
//! ```
//!
//! A command writes a file and waits until it is gone: the node removes it once what it asks is done and durable, one of
//! kind 4 once the router has answered. A
//! node that runs looks several times a second, one that starts looks before anything else. Who can write into the
//! folder is who can read the node's keys.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use counterfoil_identity::random;
use counterfoil_spec::encode::{from_canonical, to_canonical};
use counterfoil_spec::ids::{Hash, ManifestId, Serial};
use counterfoil_spec::limits::MAX_CONTROL_BYTES;
use counterfoil_spec::message::Proposal;
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::text::shown;
use minicbor::{Decode, Encode};

/// Bytes of an order at most.
const MAX_ORDER_BYTES: usize = 128;
/// Orders that are taken at one time.
const MAX_ORDERS: usize = 256;
/// Bytes of a notice at most.
const MAX_WORDS_BYTES: usize = 64 * 1024;
/// Proposals that are kept for an answer.
const MAX_ASKED: usize = 64;
/// Models that can be withheld one by one; beyond that all are.
const MAX_WITHHELD: usize = 1024;

/// What an operator asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum OperatorOrder {
    /// Withdraw a consent token, and sign nothing for its models until they are allowed again.
    #[n(1)]
    Revoke(#[n(0)] Serial),
    /// Withdraw all consent tokens, raise the epoch, and sign nothing until it is allowed again.
    #[n(2)]
    RevokeAll,
    /// Sign again for a model, if the policy allows it.
    #[n(3)]
    Allow(#[n(0)] ManifestId),
    /// Ask for the next certificate now.
    #[n(4)]
    Renew,
}

/// Writes an order into a node's home; it is done once the file that is named is gone.
///
/// # Errors
/// Where the home cannot be written.
pub fn give_order(home: &Path, order: OperatorOrder) -> io::Result<PathBuf> {
    let dir = home.join("orders");
    make_private(&dir)?;
    let path = dir.join(random::serial().to_string());
    write_whole(&path, &to_canonical(&order))?;
    Ok(path)
}

/// A certificate that the operator wanted and the router does not give.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct NoRenewal {
    /// The orders that asked for it.
    #[n(0)]
    pub(crate) orders: Vec<Serial>,
    /// What the router said.
    #[n(1)]
    pub(crate) refusal: Refusal,
    /// In words.
    #[n(2)]
    pub(crate) words: String,
}

/// Tells whoever gave the orders. It takes the place of what was told before.
pub(crate) fn tell_no_renewal(home: &Path, said: &NoRenewal) -> io::Result<()> {
    write_whole(&home.join(NO_RENEWAL), &to_canonical(said))
}

/// What the router said to the node that asked for its next certificate by this [order](give_order), where it gives none.
#[must_use]
pub fn refused_renewal(home: &Path, order: &Path) -> Option<(Refusal, String)> {
    let bytes = read_limited(&home.join(NO_RENEWAL), MAX_CONTROL_BYTES)?;
    let said: NoRenewal = from_canonical(&bytes, MAX_CONTROL_BYTES).ok()?;
    said.orders.contains(&serial(order)?).then_some((said.refusal, said.words))
}

/// An order to ask for the next certificate was answered.
pub(crate) fn renewal_answered(home: &Path, order: &Serial) {
    done(&home.join("orders").join(order.to_string()));
}

/// The name of an order.
pub(crate) fn serial(order: &Path) -> Option<Serial> {
    order.file_name()?.to_str()?.parse().ok()
}

/// The orders that wait, with their files. What is no order is left alone.
pub(crate) fn waiting(home: &Path) -> Vec<(PathBuf, OperatorOrder)> {
    let Ok(files) = fs::read_dir(home.join("orders")) else { return Vec::new() };
    let mut found: Vec<PathBuf> = files.take(MAX_ORDERS).filter_map(|f| f.ok().map(|f| f.path())).collect();
    found.sort();
    let is_named = |path: &PathBuf| serial(path).is_some();
    let read = |path: PathBuf| {
        from_canonical(&read_limited(&path, MAX_ORDER_BYTES)?, MAX_ORDER_BYTES)
            .ok()
            .map(|order| (path, order))
    };
    found.into_iter().filter(is_named).filter_map(read).collect()
}

/// An order was carried out.
pub(crate) fn done(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::error!(path = %path.display(), %error, "an order that was carried out cannot be removed");
    }
}

/// What the operator said of models.
#[derive(Debug)]
pub(crate) struct Withheld {
    path: PathBuf,
    /// Whether nothing is signed for models of which nothing else was said.
    all: bool,
    /// Whether the operator said yes.
    models: BTreeMap<ManifestId, bool>,
}

impl Withheld {
    /// Reads what was said.
    pub(crate) fn open(home: &Path) -> io::Result<Self> {
        let path = home.join("withheld");
        let text = read_if_there(&path)?;
        let (mut all, mut models) = (false, BTreeMap::new());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (yes, name) = line.strip_prefix("yes ").map_or((false, line), |name| (true, name));
            match name.parse() {
                _ if line == "all" => all = true,
                Ok(model) => drop(models.insert(model, yes)),
                // What cannot be read is no permission.
                Err(_) => {
                    tracing::warn!(
                        file = %path.display(), line = shown(line),
                        "this line names no model, so nothing is signed for any: say yes to each again with \
                         `counterfoil consent issue MODEL`, or put the file of a copy of this home back"
                    );
                    return Ok(Self { path, all: true, models: BTreeMap::new() });
                }
            }
        }
        Ok(Self { path, all, models })
    }

    /// Whether nothing may be signed for a model; `ask` is whether the operator must be asked before.
    pub(crate) fn has(&self, manifest: &ManifestId, ask: bool) -> bool {
        let yes = self.models.get(manifest).copied();
        !yes.unwrap_or(!self.all && !ask)
    }

    pub(crate) fn add(&mut self, models: &[ManifestId]) -> io::Result<()> {
        self.models.extend(models.iter().map(|model| (*model, false)));
        if self.models.values().filter(|yes| !**yes).count() > MAX_WITHHELD {
            return self.add_all();
        }
        self.write()
    }

    pub(crate) fn add_all(&mut self) -> io::Result<()> {
        self.all = true;
        self.models.clear();
        self.write()
    }

    pub(crate) fn allow(&mut self, model: ManifestId) -> io::Result<()> {
        self.models.insert(model, true);
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let first = if self.all { "all\n" } else { "" };
        let line = |(model, yes): (&ManifestId, &bool)| {
            if *yes { format!("yes {model}\n") } else { format!("{model}\n") }
        };
        let text = std::iter::once(first.to_owned()).chain(self.models.iter().map(line)).collect::<String>();
        write_whole(&self.path, text.as_bytes())
    }
}

/// The models for which nothing is signed in a home because their consent was taken back.
#[must_use]
pub fn withheld(home: &Path) -> Vec<ManifestId> {
    let withheld = Withheld::open(home).map(|withheld| withheld.models).unwrap_or_default();
    withheld.into_iter().filter(|(_, yes)| !yes).map(|(model, _)| model).collect()
}

/// The words that a consent token was signed with here, by the hash that it carries of them.
#[must_use]
pub fn words(home: &Path, notice: &Hash) -> Option<String> {
    String::from_utf8(read_limited(&home.join("notices").join(notice.to_string()), MAX_WORDS_BYTES)?).ok()
}

/// Keeps the words that a consent token is signed with.
pub(crate) fn keep_words(home: &Path, notice: &Hash, words: &str) -> io::Result<()> {
    let dir = home.join("notices");
    make_private(&dir)?;
    let path = dir.join(notice.to_string());
    if path.exists() { Ok(()) } else { write_whole(&path, words.as_bytes()) }
}

/// The proposals that wait for the operator's yes, by model.
#[must_use]
pub fn asked(home: &Path) -> Vec<Proposal> {
    let Ok(files) = fs::read_dir(home.join("asked")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = files.take(MAX_ASKED).filter_map(|f| f.ok().map(|f| f.path())).collect();
    files.sort();
    let read =
        |path: &PathBuf| from_canonical(&read_limited(path, MAX_CONTROL_BYTES)?, MAX_CONTROL_BYTES).ok();
    files.iter().filter_map(read).collect()
}

/// Notes that a proposal waits.
pub(crate) fn ask(home: &Path, proposal: &Proposal) -> io::Result<()> {
    let dir = home.join("asked");
    make_private(&dir)?;
    let path = dir.join(proposal.manifest.to_string());
    if !path.exists() && fs::read_dir(&dir)?.count() >= MAX_ASKED {
        return Ok(());
    }
    write_whole(&path, &to_canonical(proposal))
}

/// A proposal does not wait any more.
pub(crate) fn answered(home: &Path, manifest: &ManifestId) {
    // That there is none is as well.
    let _ = fs::remove_file(home.join("asked").join(manifest.to_string()));
}

fn read_limited(path: &Path, limit: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    fs::File::open(path).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The consent epoch that a home has reached; 0 where none was kept.
pub(crate) fn epoch(home: &Path) -> io::Result<u64> {
    let text = read_if_there(&home.join("epoch"))?;
    match text.trim() {
        "" => Ok(0),
        text => text.parse().map_err(|_| {
            let words = format!(
                "\"{}\" stands there and is no epoch; write a number into it that is above the epoch of every consent token of this \
                 node (`counterfoil consent show ID` prints it), or put the file of a copy of this home back",
                shown(text)
            );
            io::Error::new(io::ErrorKind::InvalidData, words)
        }),
    }
}

pub(crate) fn keep_epoch(home: &Path, epoch: u64) -> io::Result<()> {
    write_whole(&home.join("epoch"), format!("{epoch}\n").as_bytes())
}

fn read_if_there(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

fn make_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Writes a file so that it is there whole or not at all, and durable.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = fs::File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    match path.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

const NO_RENEWAL: &str = "no-renewal";

#[cfg(test)]
mod tests;
