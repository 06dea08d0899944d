//! What the router's operator does: one list of commands, carried out here whether they come over the admin call of
//! a running router or from the program on a home where none runs.

mod accounts;
pub(crate) mod ca;
mod deny;
mod log_key;
mod providers;

use counterfoil_identity::digest::{self, context};
use counterfoil_identity::enrol::JoinToken;
use counterfoil_identity::random;
use counterfoil_spec::country::Country;
use counterfoil_spec::deny::DenyNames;
use counterfoil_spec::ids::{AccountId, Hash, ManifestId, NodeId, ProviderId, Serial};
use counterfoil_spec::payload::{
    AccountOpened, JoinToken as JoinTokenEntry, KeyCreated, KeyRevoked, KeyScope, Rail,
};
use counterfoil_spec::time::Seconds;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::home::{HomeError, RouterHome, fresh_api_key};
use crate::office::{Office, OfficeError, entry};
use crate::payout;
use crate::settlement::{self, RuleChange};
use crate::vault::VaultError;
use crate::vault::erasure::{self, Whose};

/// The longest that a join token may live: a week.
const MAX_JOIN_TOKEN_S: u64 = 7 * 86_400;
/// How long an auditor's key lives where nothing is said: 30 days; and at most: 400 days, for a year's audit.
const AUDITOR_KEY_S: u64 = 30 * 86_400;
const MAX_AUDITOR_KEY_S: u64 = 400 * 86_400;
/// Under which the account of keyless callers is derived from the router identity key.
const LOCAL_ACCOUNT: &str = "counterfoil v1 local-account";

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AdminCommand {
    /// Make a join token.
    JoinToken {
        /// Its life.
        expires_s: u64,
    },
    /// Open an account.
    AccountCreate {
        /// Where its callers are from; absent where that is not known.
        #[serde(default)]
        country: Option<Country>,
    },
    /// List the accounts.
    AccountList {},
    /// One account.
    AccountShow {
        /// Which.
        account: AccountId,
    },
    /// Grant one period of a plan.
    Subscribe {
        /// To whom.
        account: AccountId,
        /// The plan's name.
        plan: String,
        /// Whether its price was received.
        paid: bool,
    },
    /// Make an API key.
    KeyCreate {
        /// Whose.
        account: AccountId,
        /// Its life; absent for one without end, which an auditor's key never is.
        expires_s: Option<u64>,
        /// What it may be used for beyond requests of its account.
        #[serde(default)]
        purpose: KeyPurpose,
        /// Where who uses it is from, if it is not the account's country.
        #[serde(default)]
        country: Option<Country>,
    },
    /// Withdraw an API key.
    KeyRevoke {
        /// Which.
        key_id: Serial,
    },
    /// List the nodes that ever enrolled.
    NodeList {},
    /// Close a quarter.
    Settle {
        /// Such as 2026Q4.
        quarter: String,
        /// Whether to log nothing.
        dry_run: bool,
    },
    /// Log that a provider's share of a closed quarter is contested.
    Contest {
        /// Such as 2026Q4.
        quarter: String,
        /// Whose share.
        provider: ProviderId,
        /// What it should have been.
        claimed_cents: i64,
        /// Why; it stands in the log.
        reason: String,
    },
    /// Answer a dispute.
    Correct {
        /// Which.
        dispute: Serial,
        /// What is owed more, or less; nothing where the share stands.
        cents: i64,
        /// Why; it stands in the log.
        reason: String,
    },
    /// List the disputes.
    DisputeList {},
    /// Show the rules of money, or change them.
    Rules {
        /// What.
        change: RuleChange,
    },
    /// Log that a model may be asked for; its manifest lies in the home.
    ModelPublish {
        /// Which.
        manifest: ManifestId,
        /// What clients call it.
        name: String,
        /// `OWNER/REPO@COMMIT` where nodes may fetch it.
        source: Option<String>,
    },
    /// Put names on the deny list.
    Deny {
        /// Which.
        names: DenyNames,
        /// Why; it stands in the log.
        reason: String,
    },
    /// Take nodes and certificates off it.
    Allow {
        /// Which.
        names: DenyNames,
        /// Why; it stands in the log.
        reason: String,
    },
    /// Say what is denied.
    DenyList {},
    /// List the issuing CAs.
    CaList {},
    /// Make the next issuing CA and announce it, or say what its root is to be asked.
    CaNext {},
    /// Announce the next issuing CA with the certificate of a root elsewhere.
    CaAnnounce {
        /// PEM.
        certificate: String,
    },
    /// Let the next issuing CA take the place of the one in use.
    CaActivate {},
    /// Refuse the leaves of an issuing CA that is not in use any more before they end.
    CaRetire {
        /// Of its certificate.
        serial: Serial,
        /// Why; it stands in the log.
        reason: String,
    },
    /// List the keys of the log's heads.
    LogKeyList {},
    /// Make the key that is to follow the log's.
    LogKeyNext {},
    /// Let it sign beside the one in use.
    LogKeyActivate {},
    /// Let it sign alone.
    LogKeyRetire {},
    /// Erase salts, so that nobody can check what a request and its answer were.
    VaultErase {
        /// Whose.
        whose: Whose,
    },
    /// Record a payout identity.
    ProviderRegister {
        /// Its nodes.
        nodes: Vec<NodeId>,
        /// Accounts of the same owner.
        accounts: Vec<AccountId>,
        /// Whether the router's operator owns it too.
        affiliated: bool,
    },
    /// Say what is owed to providers and what was paid.
    ProviderStatus {
        /// One of them; all where it is absent.
        #[serde(default)]
        provider: Option<ProviderId>,
    },
    /// Let a provider go.
    ProviderOffboard {
        /// Which.
        provider: ProviderId,
    },
    /// Say where a provider's money goes, or ask whether it can.
    ProviderOnboarding {
        /// Whose.
        provider: ProviderId,
        /// By which service.
        rail: Rail,
        /// Of a PayPal account.
        #[serde(default)]
        address: Option<String>,
    },
    /// Pay all that is payable.
    ProviderPayouts {
        /// Whether to say only what would be paid.
        dry_run: bool,
    },
}

/// What a key is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPurpose {
    /// Requests.
    #[default]
    Requests,
    /// To read the log's entries.
    Audit,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The caller asked for what cannot be.
    #[error("{0}")]
    Caller(String),
    /// The home's files.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The record failed.
    #[error(transparent)]
    Office(#[from] OfficeError),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A payment service.
    #[error("{0}")]
    Service(String),
}

impl AdminError {
    pub(crate) fn caller(e: impl std::fmt::Display) -> Self {
        Self::Caller(e.to_string())
    }
}

/// Carries out a command and says what came of it.
///
/// # Errors
/// [`AdminError`]; then nothing was logged.
pub fn execute(office: &Office, home: &RouterHome, command: AdminCommand) -> Result<Value, AdminError> {
    // A key that signs for a CA may be an agent's, and slow: its commands keep others from deciding only while they decide.
    let command = match ca::execute(office, home, command) {
        Ok(done) => return done,
        Err(other) => other,
    };
    let _alone = office.decide();
    match command {
        AdminCommand::JoinToken { expires_s } => join_token(office, home, expires_s),
        AdminCommand::AccountCreate { country } => accounts::open(office, country),
        AdminCommand::AccountList {} => Ok(accounts::list(office)),
        AdminCommand::AccountShow { account } => accounts::show(office, &account),
        AdminCommand::Subscribe { account, plan, paid } => accounts::subscribe(office, account, &plan, paid),
        AdminCommand::KeyCreate { account, expires_s, purpose, country } => {
            create_key(office, account, expires_s, (purpose, country))
        }
        AdminCommand::KeyRevoke { key_id } => revoke_key(office, key_id),
        AdminCommand::NodeList {} => Ok(providers::nodes(office)),
        AdminCommand::Settle { quarter, dry_run } => settlement::settle(office, home, &quarter, dry_run),
        AdminCommand::Contest { quarter, provider, claimed_cents, reason } => {
            settlement::dispute::contest(office, (quarter, provider), claimed_cents, reason)
        }
        AdminCommand::Correct { dispute, cents, reason } => {
            settlement::dispute::correct(office, dispute, cents, reason)
        }
        AdminCommand::DisputeList {} => Ok(settlement::dispute::list(office)),
        AdminCommand::Rules { change } => settlement::rules(office, &change),
        AdminCommand::ModelPublish { manifest, name, source } => {
            crate::publish::publish(office, home, (manifest, name), source.as_deref())
        }
        AdminCommand::Deny { names, reason } => deny::deny(office, names, reason),
        AdminCommand::Allow { names, reason } => deny::allow(office, &names, reason),
        AdminCommand::DenyList {} => Ok(deny::list(office)),
        AdminCommand::CaList {} => Ok(ca::list(office)),
        AdminCommand::LogKeyList {} => log_key::list(office, home),
        AdminCommand::LogKeyNext {} => log_key::next(office, home),
        AdminCommand::LogKeyActivate {} => log_key::activate(office, home),
        AdminCommand::LogKeyRetire {} => log_key::retire(office, home),
        AdminCommand::VaultErase { whose } => {
            Ok(json!(erasure::erase(office, &home.path().join("vault"), whose)?))
        }
        AdminCommand::ProviderRegister { nodes, accounts, affiliated } => {
            providers::register(office, nodes, accounts, affiliated)
        }
        AdminCommand::ProviderStatus { provider } => payout::command::status(office, provider),
        AdminCommand::ProviderOffboard { provider } => payout::command::offboard(office, provider),
        AdminCommand::CaNext {}
        | AdminCommand::CaAnnounce { .. }
        | AdminCommand::CaActivate {}
        | AdminCommand::CaRetire { .. } => Err(AdminError::caller("no command of the issuing CA's")),
        AdminCommand::ProviderOnboarding { .. } | AdminCommand::ProviderPayouts { .. } => {
            Err(AdminError::caller(
                "a running router asks payment services; start it, with their keys, and say this again",
            ))
        }
    }
}

fn join_token(office: &Office, home: &RouterHome, expires_s: u64) -> Result<Value, AdminError> {
    if expires_s == 0 || expires_s > MAX_JOIN_TOKEN_S {
        return Err(AdminError::Caller(format!("a join token lives 1 to {MAX_JOIN_TOKEN_S} seconds")));
    }
    let expires = office.now().seconds().plus(expires_s);
    let token = JoinToken::generate(home.net_id(), expires);
    let token_id = token.token_id();
    let at = office.append_blocking(vec![entry(JoinTokenEntry {
        token_id,
        public_key: token.facts().key.wire(),
        expires,
    })])?;
    Ok(
        json!({ "join_token": token.to_secret_string().as_str(), "token_id": token_id, "expires": expires, "entry": at.first }),
    )
}

fn create_key(
    office: &Office,
    account: AccountId,
    expires_s: Option<u64>,
    (purpose, country): (KeyPurpose, Option<Country>),
) -> Result<Value, AdminError> {
    accounts::known(office, &account)?;
    let (scope, expires_s) = match purpose {
        KeyPurpose::Requests => (None, expires_s),
        KeyPurpose::Audit => (Some(KeyScope::Auditor), Some(expires_s.unwrap_or(AUDITOR_KEY_S))),
    };
    if scope.is_some() && expires_s.is_some_and(|s| s == 0 || s > MAX_AUDITOR_KEY_S) {
        return Err(AdminError::Caller(format!("an auditor's key lives 1 to {MAX_AUDITOR_KEY_S} seconds")));
    }
    let key = fresh_api_key();
    let key_id = random::serial();
    let expires: Option<Seconds> = expires_s.map(|s| office.now().seconds().plus(s));
    let key_hash = key_hash(&key);
    let created = KeyCreated { key_id, account, key_hash, expires, scope, country };
    let at = office.append_blocking(vec![entry(created)])?;
    let country = office.books().ledger.key_by_id(&key_id).and_then(|facts| facts.country);
    Ok(json!({
        "key": key, "key_id": key_id, "account": account, "expires": expires, "scope": scope,
        "country": country, "entry": at.first,
    }))
}

fn revoke_key(office: &Office, key_id: Serial) -> Result<Value, AdminError> {
    if office.books().ledger.key_by_id(&key_id).is_none() {
        return Err(AdminError::Caller(format!("there is no key {key_id}")));
    }
    let at = office.append_blocking(vec![entry(KeyRevoked { key_id })])?;
    Ok(json!({ "key_id": key_id, "revoked": true, "entry": at.first }))
}

/// What the log keeps of an API key.
#[must_use]
pub fn key_hash(key: &str) -> Hash {
    digest::derive(context::API_KEY, &[key.as_bytes()])
}

/// Opens the account of keyless callers on loopback, once.
///
/// # Errors
/// [`OfficeError`].
pub fn local_account(office: &Office) -> Result<AccountId, OfficeError> {
    let account = AccountId::from_bytes(
        *digest::derive(LOCAL_ACCOUNT, &[office.identity().public().wire().as_bytes()]).as_bytes(),
    );
    if office.books().ledger.account(&account).is_none() {
        office.append_blocking(vec![entry(AccountOpened { account, metered: false, country: None })])?;
    }
    Ok(account)
}
