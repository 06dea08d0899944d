//! `counterfoil earnings statement`: what a closed quarter gave each provider, signed, each with its own leaf, its path and the
//! proof that the quarter's entry is in the log.

use std::path::Path;

use counterfoil_identity::VerifyKey;
use counterfoil_ledger::settle::{AsOf, Closed, Quarter, leaf_hash, paths};
use counterfoil_router::{clock, settlement};
use counterfoil_spec::amount::{Cents, MicroTokens, MicroUsd};
use counterfoil_spec::ids::{Hash, ProviderId};
use counterfoil_spec::payload::{Payload, Statement};
use counterfoil_spec::statement::ProviderLeaf;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::StatementArgs;
use crate::command::account::id;
use crate::command::audit;
use crate::dsse;
use crate::exit::{Failure, Outcome};
use crate::output;

/// The type of what is said.
pub(super) const PREDICATE_TYPE: &str = "https://counterfoil.example/earnings/v1";
/// What such a file is called.
const ENDING: &str = "dsse.json";

/// What a provider is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    pub(super) quarter: String,
    pub(super) provider: ProviderId,
    pub(super) onboarded: bool,
    pub(super) total_cents: Cents,
    pub(super) micro_tokens: MicroTokens,
    pub(super) weighted: MicroTokens,
    pub(super) uptime_s: u64,
    pub(super) salt: Hash,
    /// Where its leaf stands among so many.
    pub(super) place: u64,
    pub(super) providers: u64,
    pub(super) path: Vec<Hash>,
    pub(super) pool_cents: Cents,
    pub(super) revenue_micro: MicroUsd,
    pub(super) first_entry: u64,
    pub(super) end_entry: u64,
    /// The entry of the quarter's statement.
    pub(super) entry: u64,
    /// That entry and those that introduce the keys which signed it, each with its proof (C2SP tlog-proof).
    pub(super) proofs: Vec<String>,
}

impl Told {
    /// The leaf that the figures make.
    pub(super) const fn leaf(&self) -> ProviderLeaf {
        ProviderLeaf {
            salt: self.salt,
            provider: self.provider,
            onboarded: self.onboarded,
            cents: self.total_cents,
            micro_tokens: self.micro_tokens,
            weighted: self.weighted,
            uptime_s: self.uptime_s,
        }
    }
}

/// Writes the statements of a quarter.
pub(super) fn run(home: &Path, args: &StatementArgs, json: bool) -> Outcome {
    let quarter: Quarter = id(&args.quarter)?;
    let only: Option<ProviderId> = args.provider.as_deref().map(id).transpose()?;
    let folder = home.join("log");
    let reader = super::reader(home, &args.at)?;
    let found = settlement::recompute(&reader, quarter, AsOf::Final(clock::now().seconds()));
    let found = found.map_err(Failure::check)?;
    let Some((entry, booked)) = found.booked else {
        return Err(Failure::wrong_use(format!("{quarter} is not closed; `earnings settle` closes it")));
    };
    let Some(secret) = settlement::secret(home, quarter).map_err(Failure::store)? else {
        return Err(Failure::wrong_use(format!(
            "the secret of {quarter} is not in this home; the router that closed the quarter has it in vault/settlement"
        )));
    };
    if found.closed.statement(&secret) != booked {
        return Err(Failure::check(super::differs(&booked, &found.closed)));
    }
    let signer = audit::author(home)?;
    let folder = args.at.log_dir.as_deref().unwrap_or(&folder);
    let proofs = audit::with_keys(folder, entry)?;
    let key = author_of(&reader)?;
    let told = every(&found.closed, &booked, &secret, entry, &proofs);
    let told: Vec<_> = told.into_iter().filter(|t| only.is_none_or(|only| only == t.provider)).collect();
    if let (Some(only), true) = (only, told.is_empty()) {
        return Err(Failure::wrong_use(format!("provider {only} has no part in {quarter}")));
    }
    std::fs::create_dir_all(&args.out)?;
    let mut files = Vec::new();
    for told in &told {
        let payload = payload(told)?;
        let signed = dsse::pre_authentication(&payload);
        let signature = signer.sign(&signed).map_err(Failure::store)?;
        key.verify(&signed, &signature).map_err(|_| Failure::wrong_use(NOT_ITS_KEY))?;
        let file = args.out.join(format!("{quarter}-{}.{ENDING}", told.provider));
        let envelope = dsse::envelope(&payload, &key.kid(), &signature);
        std::fs::write(&file, format!("{envelope}\n"))?;
        files.push(file);
    }
    if json {
        output::json(&json!({ "quarter": quarter.to_string(), "entry": entry, "files": files }));
        return Ok(());
    }
    files.iter().for_each(|file| output::line(&file.display().to_string()));
    output::line("A provider checks its own with: counterfoil earnings verify FILE --vkey KEY");
    Ok(())
}

fn every(closed: &Closed, booked: &Statement, secret: &Hash, entry: u64, proofs: &[String]) -> Vec<Told> {
    let leaves = closed.leaves(secret);
    let hashes: Vec<_> = leaves.iter().map(leaf_hash).collect();
    let told = leaves.into_iter().zip(paths(&hashes)).zip(0..).map(|((leaf, path), place)| Told {
        quarter: booked.quarter.clone(),
        provider: leaf.provider,
        onboarded: leaf.onboarded,
        total_cents: leaf.cents,
        micro_tokens: leaf.micro_tokens,
        weighted: leaf.weighted,
        uptime_s: leaf.uptime_s,
        salt: leaf.salt,
        place,
        providers: booked.providers,
        path,
        pool_cents: booked.pool,
        revenue_micro: booked.revenue,
        first_entry: booked.first,
        end_entry: booked.end,
        entry,
        proofs: proofs.to_vec(),
    });
    told.collect()
}

fn payload(told: &Told) -> Result<Vec<u8>, Failure> {
    let statement = json!({
        "_type": dsse::STATEMENT_TYPE,
        "subject": [{
            "name": format!("{}/{}", told.quarter, told.provider),
            "digest": { "sha256": leaf_hash(&told.leaf()) },
        }],
        "predicateType": PREDICATE_TYPE,
        "predicate": told,
    });
    serde_json::to_vec(&statement).map_err(Failure::store)
}

/// The key that the log's first entry introduces as its author's.
fn author_of(reader: &counterfoil_audit::LogReader) -> Result<VerifyKey, Failure> {
    let (_, body) = reader.entry(0).map_err(Failure::store)?;
    let Payload::Genesis(genesis) = body.payload else {
        return Err(Failure::check("entry 0 is not the log's first; verify the log"));
    };
    VerifyKey::from_wire(genesis.author_key).map_err(Failure::check)
}

const NOT_ITS_KEY: &str =
    "the key of this home is not the one that writes the log; give the --home that it belongs to";
