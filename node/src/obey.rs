//! Carries out what the operator asks by commands, as far as it is the node's own to do.

use std::collections::BTreeSet;
use std::path::PathBuf;

use counterfoil_audit::NewEntry;
use counterfoil_identity::random;
use counterfoil_spec::claims::{Claims, Range};
use counterfoil_spec::ids::{ManifestId, Serial};
use counterfoil_spec::message::Terms;
use counterfoil_spec::payload::ConsentRevoked;

use crate::config::NodeError;
use crate::log::{self, Given};
use crate::node::Node;
use crate::orders::{self, OperatorOrder};

/// What was carried out, and is to be told to the router.
#[derive(Debug, Default)]
pub(crate) struct Obeyed {
    /// Consent tokens that do not hold any more.
    pub(crate) withdrawn: Vec<Serial>,
    /// Whether what the operator allows may be another now.
    pub(crate) terms: bool,
    /// The orders to ask for the next certificate now.
    pub(crate) renew: Vec<Serial>,
    /// The other orders, to be removed once the router was told.
    pub(crate) files: Vec<PathBuf>,
}

impl Node {
    /// Carries out the orders that wait: nothing more is signed for what was taken back, and the withdrawal stands in
    /// this node's log. Carrying one out twice changes nothing. Blocks while the log is written, which is rare.
    /// An order to ask for a certificate waits until the router has answered; those in `asked` are on their way.
    pub(crate) fn obey(&mut self, asked: &BTreeSet<Serial>) -> Result<Obeyed, NodeError> {
        let mut obeyed = Obeyed::default();
        let mut waiting = orders::waiting(&self.config.home);
        waiting.retain(|(file, order)| {
            *order != OperatorOrder::Renew || orders::serial(file).is_some_and(|own| !asked.contains(&own))
        });
        if waiting.is_empty() {
            return Ok(obeyed);
        }
        let home = self.config.home.clone();
        let kept = |source| NodeError::Io { path: home.clone(), source };
        let given = log::given(&home)?;
        let now = (self.config.now)().seconds();
        for (file, order) in waiting {
            tracing::info!(?order, "the operator asks");
            obeyed.terms |= order != OperatorOrder::Renew;
            match order {
                OperatorOrder::Revoke(cti) => match given.get(&cti) {
                    Some(token) => {
                        self.withheld.add(&token.models).map_err(kept)?;
                        self.withdraw(cti, token)?;
                        obeyed.withdrawn.push(cti);
                    }
                    None => tracing::warn!(%cti, "no consent token with this id was signed here"),
                },
                OperatorOrder::RevokeAll => {
                    self.withheld.add_all().map_err(kept)?;
                    let live = given.iter().filter(|(_, token)| token.expires > now);
                    let live: Vec<_> = live.collect();
                    if live.iter().any(|(_, token)| !token.withdrawn) {
                        self.config.epoch = self.config.epoch.saturating_add(1);
                        orders::keep_epoch(&home, self.config.epoch).map_err(kept)?;
                    }
                    for (cti, token) in live {
                        self.withdraw(*cti, token)?;
                        obeyed.withdrawn.push(*cti);
                    }
                }
                OperatorOrder::Allow(manifest) => {
                    self.withheld.allow(manifest).map_err(kept)?;
                    orders::answered(&home, &manifest);
                }
                OperatorOrder::Renew => {
                    obeyed.renew.extend(orders::serial(&file));
                    continue;
                }
            }
            obeyed.files.push(file);
        }
        Ok(obeyed)
    }

    /// Carries out at once, while there is no lane, what waits; the next lane begins with telling what was withdrawn. What
    /// only a lane can bring goes on waiting.
    pub(crate) fn obey_alone(&mut self) -> Result<(), NodeError> {
        let mut waiting = orders::waiting(&self.config.home);
        waiting.retain(|(_, order)| *order != OperatorOrder::Renew);
        if waiting.is_empty() {
            return Ok(());
        }
        self.obey(&BTreeSet::new())?;
        waiting.iter().for_each(|(file, _)| orders::done(file));
        Ok(())
    }

    /// Puts the policy into force that the operator has by now, while there is no lane; the router hears of what that
    /// withdraws when it is there.
    pub(crate) fn follow(&mut self) -> Result<(), NodeError> {
        let policy = self.policy.borrow_and_update().clone();
        if policy == self.config.policy {
            return Ok(());
        }
        self.config.policy = policy;
        self.withdraw_not_allowed().map(drop)
    }

    //= spec/consent.md#policy
    //# A node whose policy changes MUST withdraw the consent tokens that the new one does not allow, and signs anew for the others.
    /// Withdraws in the node's own log what the policy does not allow, on whichever lane it was given. Blocks while the
    /// log is written, which is rare.
    pub(crate) fn withdraw_not_allowed(&mut self) -> Result<Vec<Serial>, NodeError> {
        let over = self.outstanding.not(|claims| self.allows(claims));
        self.log_withdrawals(over)
    }

    //= spec/identity.md#the-roots-deny-list
    //# A node whose own router the list names MUST withdraw its consent tokens and stop.
    /// Why this node works no more, where the root denies its router: nothing that it signed stands then. Blocks while the
    /// log is written, which happens once.
    pub(crate) fn router_is_denied(&mut self) -> Result<Option<NodeError>, NodeError> {
        self.follow_root();
        let router = self.config.identity.router;
        if !self.root_denials.denies_router(&router) {
            return Ok(None);
        }
        self.withdraw_all()?;
        Ok(Some(NodeError::RouterDenied(router)))
    }

    /// Withdraws in the node's own log all that it signed and that is not over. Blocks while the log is written.
    pub(crate) fn withdraw_all(&mut self) -> Result<(), NodeError> {
        let all = self.outstanding.not(|_| false);
        self.log_withdrawals(all).map(drop)
    }

    /// Takes up what the operator was told by the root.
    pub(crate) fn follow_root(&mut self) {
        let now = (self.config.now)().seconds();
        self.root_denials.follow(self.config.identity.domain.root_key(), now);
    }

    /// Whether what a consent token says is still allowed: by the policy, and by what the operator said of its models.
    pub(crate) fn allows(&self, claims: &Claims) -> bool {
        let withheld = |range: &Range| self.withholds(&range.manifest);
        self.config.policy.still_allows(claims) && !claims.ranges.iter().any(withheld)
    }

    /// Whether nothing may be signed for a model before the operator says yes.
    pub(crate) fn withholds(&self, manifest: &ManifestId) -> bool {
        self.withheld.has(manifest, self.config.policy.ask)
    }

    /// Logs that consent tokens were withdrawn; gives those that stood. Blocks.
    pub(crate) fn log_withdrawals(&mut self, mut tokens: Vec<Serial>) -> Result<Vec<Serial>, NodeError> {
        tokens.retain(|cti| self.outstanding.remove(cti));
        self.log.append_all(tokens.iter().map(|cti| self.withdrawal(*cti)).collect())?;
        Ok(tokens)
    }

    /// What the log says of a consent token that is withdrawn.
    pub(crate) fn withdrawal(&self, cti: Serial) -> NewEntry {
        let node = self.config.identity.key.public().node_id();
        NewEntry::new(random::serial(), ConsentRevoked { node, cti, min_epoch: self.config.epoch })
    }

    /// What the router is told of what this node's operator allows.
    pub(crate) fn terms(&self) -> Terms {
        let policy = &self.config.policy;
        Terms { min_epoch: self.config.epoch, wants: policy.wants(), concurrent: policy.quota.concurrent }
    }

    fn withdraw(&mut self, cti: Serial, token: &Given) -> Result<(), NodeError> {
        self.outstanding.remove(&cti);
        if token.withdrawn {
            return Ok(());
        }
        Ok(self.log.append(self.withdrawal(cti))?)
    }
}
