//! The pass itself.

mod gone;

use std::sync::Arc;

use counterfoil_spec::ids::{Hash, NetId};
use counterfoil_spec::rule::{Fault, FaultKind, Rule, Seen};
use counterfoil_spec::time::Millis;

use super::bundles::{BundleCheck, Here};
use super::decode::{Batch, Decoded};
use super::entries::EntryCheck;
use super::feed::{EntryItem, Feed, Item};
use super::findings::{Findings, fault};
use super::heads::Heads;
use super::pool::{Domain, Done, InOrder, Pool};
use super::published::Bundles;
use super::remembered::Remembered;
use super::removed::{Missing, Pruned};
use super::serials::Serials;
use super::succeeded::{Told, Trust};
use super::supply::Supply;
use super::tree::TreeCheck;
use super::witnessed::{Cosigned, dated};
use super::{NOT_PROVED, Report, VerifyError, VerifyOptions, strays};
use crate::error::LogError;
use crate::kinds::KEY_ROTATION;
use crate::note::NoteVerifier;
use crate::scan::wide;
use crate::segment;
use crate::sorted::MAX_HELD_BYTES;
use crate::source::Files;
use crate::trust::TrustedKeys;

/// Batches between reading and rules, for each thread.
const BATCHES_PER_THREAD: usize = 4;

/// Judges a log. `rules` see every entry that could be read, in order, until damage hides one; `progress` is told
/// how many entries of how many are done.
///
/// # Errors
/// [`VerifyError`]: only where nothing could be judged. What is wrong with the log is in the report.
pub fn verify(
    options: &VerifyOptions,
    rules: &mut [&mut dyn Rule],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, VerifyError> {
    let files = match &options.published {
        Some(published) => Files::Published(published.clone()),
        None if options.dir.join(segment::FOLDER).is_dir() => Files::Folder(options.dir.clone()),
        None => return Err(VerifyError::NoLog(options.dir.display().to_string())),
    };
    let pinned = options.vkey.as_ref().map(|k| k.parse::<NoteVerifier>()).transpose();
    let pinned = pinned.map_err(VerifyError::BadPin)?.map(TrustedKeys::one).or_else(|| options.only_log());
    let mut findings = Findings::default();
    let cosigned = Cosigned::read(&files, &mut findings)?;
    //= spec/audit-log.md#what-a-verifier-does
    //# A verifier MUST read the checkpoint and `state/signed` before the segments, so that a log can be verified while it grows.
    let heads = Heads::read(&files, &mut findings)?;
    let told = Told::read(&files, &mut findings)?;
    let trusted = pinned.as_ref().map(|pinned| told.trusted(pinned, options.net_id));
    let supply = match &options.published {
        None => Supply::Segments(Feed::open(&options.dir)?),
        //= spec/audit-log.md#published-elsewhere
        //# A verifier to whom the log's key was given MUST NOT read entries under a checkpoint that neither this key signed nor one that
        //# the published [succession](#succession) proves to follow it.
        Some(published) => {
            Supply::Bundles(Bundles::new(published.clone(), heads.signed_by(trusted.as_ref())))
        }
    };
    let (checkpoint, state) =
        (heads.checkpoint.as_ref().map(|c| c.head), heads.state.as_ref().map(|c| c.head));
    let remembered = options.from.as_ref().map(Remembered::head);
    let mut pass = Pass {
        options,
        serials: Serials::new(MAX_HELD_BYTES),
        missing: Missing::new(MAX_HELD_BYTES),
        tree: TreeCheck::new(files.clone(), heads.published(), [checkpoint, state, remembered]),
        bundles: files.folder().map(|_| BundleCheck::new(files.clone(), heads.published())),
        files,
        entries: EntryCheck::new(pinned.as_ref(), options.net_id),
        findings,
        fallback_origin: heads.checkpoint.as_ref().or(heads.state.as_ref()).map(|c| c.origin.clone()),
        rules,
        progress,
        checked: 0,
        skipped: 0,
        rules_saw: 0,
        from_rules: Vec::new(),
        bound: cosigned.bound(options.policy.as_ref()),
        cosigned,
        supply,
        told,
    };
    pass.run()?;
    if let Some(bundles) = &mut pass.bundles {
        bundles.finish(&mut pass.findings)?;
    }
    let serials = std::mem::replace(&mut pass.serials, Serials::new(0));
    serials.finish(&mut pass.findings)?;
    let missing = std::mem::replace(&mut pass.missing, Missing::new(0));
    let removed = missing.count;
    let prunes = missing.finish(&pass.entries.prunes, pass.entries.lost, &mut pass.findings)?;
    pass.report(&heads, pinned, (removed, prunes))
}

struct Pass<'a, 'r> {
    options: &'a VerifyOptions,
    files: Files,
    supply: Supply,
    serials: Serials,
    missing: Missing,
    tree: TreeCheck,
    /// Where entries come from segments; otherwise there is nothing else to hold them against.
    bundles: Option<BundleCheck>,
    entries: EntryCheck,
    findings: Findings,
    /// Where genesis cannot be read and nothing is pinned.
    fallback_origin: Option<String>,
    rules: &'a mut [&'r mut dyn Rule],
    progress: &'a mut dyn FnMut(u64, u64),
    checked: u64,
    /// Signatures of entries that were verified earlier.
    skipped: u64,
    rules_saw: u64,
    from_rules: Vec<Fault>,
    cosigned: Cosigned,
    told: Told,
    /// From which entry on none may be dated before an instant, as witnesses have said.
    bound: Option<(u64, Millis)>,
}

impl Pass<'_, '_> {
    fn run(&mut self) -> Result<(), LogError> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = if self.options.threads == 0 { cores } else { self.options.threads };
        std::thread::scope(|scope| {
            let pool = Pool::start(scope, threads);
            let limit = threads * BATCHES_PER_THREAD;
            let (mut decoded, mut checked) = (InOrder::default(), InOrder::default());
            let mut spare: Vec<Box<Batch>> = Vec::new();
            let (mut number, mut in_flight, mut more) = (0, 0, true);
            loop {
                while more && in_flight < limit {
                    let mut batch = spare.pop().unwrap_or_default();
                    batch.clear();
                    batch.number = number;
                    more = self.supply.fill(&mut batch, &mut self.findings)?;
                    if more {
                        number += 1;
                        in_flight += 1;
                        pool.decode(batch);
                    }
                }
                if in_flight == 0 {
                    return Ok(());
                }
                match pool.next() {
                    Some(Done::Decoded(batch)) => decoded.put(batch),
                    Some(Done::Checked(batch)) => checked.put(batch),
                    None => return Ok(()),
                }
                while let Some(mut batch) = decoded.take() {
                    self.follow(&mut batch)?;
                    self.skip(&mut batch);
                    match self.domain().filter(|_| self.options.signatures && !batch.checks.is_empty()) {
                        Some(domain) => pool.check(batch, domain),
                        None => checked.put(batch),
                    }
                }
                while let Some(batch) = checked.take() {
                    self.judge(&batch);
                    in_flight -= 1;
                    spare.push(batch);
                }
            }
        })
    }

    fn domain(&self) -> Option<Domain> {
        let net_id = self.net_id()?;
        let origin = self.entries.origin.as_deref().or(self.fallback_origin.as_deref())?;
        Some(Domain { net_id, origin: Arc::from(origin) })
    }

    /// Entries are signed for the network that genesis names; where that is not the pinned one, one fault says so.
    fn net_id(&self) -> Option<NetId> {
        self.entries.genesis_net.or(self.options.net_id)
    }

    fn name(&self, segment: usize) -> String {
        self.supply.name(segment)
    }

    fn bundle(&mut self, leaf: Here<'_>, expected: Option<Hash>) -> Result<(), LogError> {
        match &mut self.bundles {
            Some(bundles) => bundles.push(leaf, expected, &mut self.findings),
            None => Ok(()),
        }
    }

    /// What must happen in order and needs no signature.
    fn follow(&mut self, batch: &mut Batch) -> Result<(), LogError> {
        let mut decoded = std::mem::take(&mut batch.decoded);
        let mut each = decoded.iter_mut();
        for item in &batch.items {
            match item {
                Item::Entry(entry) => {
                    let Some(decoded) = each.next() else { continue };
                    let leaf = batch.bytes.get(entry.span.clone()).unwrap_or_default();
                    let whole = self.place(entry, leaf, decoded)?;
                    decoded.sound = whole && !self.entries.lost;
                    let kind = decoded.entry.as_ref().map_or(0, |parsed| parsed.body.payload.kind());
                    if entry.index == 0 || kind == KEY_ROTATION {
                        self.told.see(entry.index, leaf);
                    }
                    if let (true, Ok(parsed)) = (whole, &decoded.entry) {
                        let signatures = batch.signatures.get(parsed.signatures.clone()).unwrap_or_default();
                        self.serials.add(parsed.body.payload.kind(), &parsed.body.serial, entry.index)?;
                        self.entries.entry(
                            entry.index,
                            parsed,
                            signatures,
                            &mut batch.checks,
                            &mut self.findings,
                        );
                    }
                }
                Item::Removed(item) => self.removed(item)?,
                Item::Commit { head, segment, offset } => {
                    let name = self.name(*segment);
                    self.tree.commit(head, &name, *offset);
                }
                Item::Lost { indexes } => self.lost(indexes.clone())?,
            }
        }
        batch.decoded = decoded;
        Ok(())
    }

    /// Holds a leaf against checksum, tree and form; whether what it says can be relied on.
    fn place(&mut self, entry: &EntryItem, leaf: &[u8], decoded: &Decoded) -> Result<bool, LogError> {
        let index = entry.index;
        let expected = self.tree.expected(index, &mut self.findings)?;
        self.tree.push(decoded.hash, expected, entry.segment, &mut self.findings)?;
        self.bundle(Here::Leaf(leaf), expected)?;
        let proved = expected == Some(decoded.hash);
        if !entry.intact && (proved || expected.is_none()) {
            let detail = format!("byte {}: the entry's checksum is wrong", entry.offset);
            self.findings.push(fault(FaultKind::Corrupt, Some(index), &self.name(entry.segment), detail));
        }
        if !entry.intact && !proved {
            self.entries.lose();
            return Ok(false);
        }
        if let Err(detail) = &decoded.entry {
            let name = self.name(entry.segment);
            self.findings.push(fault(FaultKind::NonCanonical, Some(index), &name, detail.clone()));
            self.entries.lose();
            return Ok(false);
        }
        Ok(true)
    }

    /// Leaves out the signatures of entries that a remembered checkpoint covers.
    fn skip(&mut self, batch: &mut Batch) {
        let Some(from) = &self.options.from else { return };
        let (before, size) = (batch.checks.len(), from.head().size);
        batch.checks.retain(|check| check.index >= size);
        self.skipped += wide(before - batch.checks.len());
    }

    /// What comes after signatures.
    fn judge(&mut self, batch: &Batch) {
        self.checked += if batch.checked { wide(batch.checks.len()) } else { 0 };
        for failed in batch.failed.iter().filter_map(|f| batch.checks.get(*f)) {
            let detail = format!(
                "the signature by {:?} {} does not verify",
                failed.signature.role, failed.signature.kid
            );
            self.findings.entry(FaultKind::BadEntrySignature, failed.index, detail);
        }
        let entries = batch.items.iter().filter_map(|i| match i {
            Item::Entry(entry) => Some(entry.index),
            _ => None,
        });
        let mut last = 0;
        for (index, decoded) in entries.zip(&batch.decoded) {
            last = index + 1;
            if let (true, Ok(parsed)) = (decoded.sound, &decoded.entry) {
                self.rules_saw += 1;
                if let Some(detail) = dated(self.bound, index, parsed.body.time) {
                    self.findings.entry(FaultKind::TimeOutOfBounds, index, detail);
                }
                for rule in self.rules.iter_mut() {
                    rule.entry(&Seen { index, body: &parsed.body }, &mut self.from_rules);
                }
                self.findings.extend(self.from_rules.drain(..));
            }
        }
        (self.progress)(last, self.supply.head().size);
    }

    fn report(
        mut self,
        heads: &Heads,
        pinned: Option<TrustedKeys>,
        (removed, prunes): (u64, Vec<Pruned>),
    ) -> Result<Report, VerifyError> {
        for rule in self.rules.iter_mut() {
            rule.finish(&mut self.from_rules);
        }
        self.findings.extend(self.from_rules.drain(..));
        let committed = self.supply.head();
        let origin = self.entries.origin.clone().or(self.fallback_origin.clone()).unwrap_or_default();
        let keys = self.entries.log_keys.take();
        let (lost, checked) = (self.entries.lost, self.options.signatures);
        let trust = Trust { pinned: pinned.as_ref(), keys: keys.as_ref(), lost, checked };
        let findings = &mut self.findings;
        segments(&self.supply, &origin, heads, findings);
        let held = if self.bundles.is_some() { committed.size } else { u64::MAX };
        heads.check(&trust, &origin, held, findings);
        let shown = heads.checkpoint.as_ref().map(|c| c.head);
        let succeeded = trust.judge(shown.map_or(committed.size, |h| h.size), findings);
        if !lost {
            self.told.check(heads.published(), findings);
        }
        if let Some(remembered) = &self.options.from {
            remembered.check((&trust, &origin), heads, findings);
        }
        let policy = self.options.policy.as_ref();
        let witnessed = self.cosigned.check(&self.files, heads, (&trust, &origin, policy), findings);
        let lock = self.files.folder().map(|dir| std::fs::metadata(dir.join(strays::LOCK)));
        if lock.is_some_and(|lock| lock.is_ok_and(|m| m.len() != 0)) {
            findings.file(FaultKind::Corrupt, strays::LOCK, "byte 0: the lock file is not empty");
        }
        let supply = &self.supply;
        let verdict = self.tree.finish(heads.arbiter(), committed, |s| supply.name(s));
        findings.extend(verdict.faults);
        gone::unread(self.rules_saw + removed, committed.size, findings);
        let strays = self.files.folder().map(|dir| strays::strays(dir, verdict.tree_size));
        findings.sort();
        Ok(Report {
            ok: findings.faults.is_empty(),
            size: shown.map_or(committed.size, |h| h.size),
            root: shown.map_or(verdict.root, |h| h.root),
            faults: std::mem::take(&mut findings.faults),
            faults_left_out: findings.left_out,
            unwitnessed: witnessed.is_none(),
            witnessed,
            vkey_pinned: pinned.is_some(),
            net_id_pinned: self.options.net_id.is_some(),
            origin,
            log_vkey: trust.vkey(shown.map_or(committed.size, |h| h.size)),
            log_keys: keys.clone(),
            succeeded,
            net_id: self.options.net_id.or(self.entries.genesis_net),
            committed: committed.size,
            torn_bytes: self.supply.torn_bytes(),
            signatures: self.checked,
            signatures_skipped: self.skipped,
            from: self.options.from.as_ref().map(Remembered::head),
            checkpoint: heads.text.clone(),
            rules_saw: self.rules_saw,
            removed,
            prunes,
            strays: strays.unwrap_or_default(),
            not_proved: NOT_PROVED,
        })
    }
}

/// Whose the segments are, and that they do not end within what was signed.
fn segments(supply: &Supply, origin: &str, heads: &Heads, findings: &mut Findings) {
    if supply.origin().is_some_and(|o| o != segment::origin_hash(origin)) {
        let detail = "the segments belong to another origin";
        findings.file(FaultKind::OriginNotPinned, &supply.name(0), detail);
    }
    let signed = heads.published().max(heads.state.as_ref().map_or(0, |s| s.head.size));
    if let Some((file, offset)) = supply.torn().filter(|_| signed > supply.head().size) {
        let detail = format!("byte {offset}: entries that were signed end without a commit frame");
        findings.file(FaultKind::Corrupt, file, detail);
    }
}
