//! Carries out what the operator asks by commands, as far as it is the node's own to do.

use std::path::PathBuf;

use counterfoil_audit::NewEntry;
use counterfoil_identity::random;
use counterfoil_spec::ids::Serial;
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
    /// The orders, to be removed once the router was told.
    pub(crate) files: Vec<PathBuf>,
}

impl Node {
    /// Carries out the orders that wait: nothing more is signed for what was taken back, and the withdrawal stands in
    /// this node's log. Carrying one out twice changes nothing. Blocks while the log is written, which is rare.
    pub(crate) fn obey(&mut self) -> Result<Obeyed, NodeError> {
        let mut obeyed = Obeyed::default();
        let waiting = orders::waiting(&self.config.home);
        if waiting.is_empty() {
            return Ok(obeyed);
        }
        let home = self.config.home.clone();
        let kept = |source| NodeError::Io { path: home.clone(), source };
        let given = log::given(&home)?;
        let now = (self.config.now)().seconds();
        for (file, order) in waiting {
            tracing::info!(?order, "the operator asks");
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
            }
            obeyed.files.push(file);
        }
        Ok(obeyed)
    }

    /// What the router is told of what this node's operator allows.
    pub(crate) fn terms(&self) -> Terms {
        let policy = &self.config.policy;
        Terms { min_epoch: self.config.epoch, wants: policy.wants(), concurrent: policy.quota.concurrent }
    }

    fn withdraw(&self, cti: Serial, token: &Given) -> Result<(), NodeError> {
        if token.withdrawn {
            return Ok(());
        }
        let node = self.config.identity.key.public().node_id();
        let entry = ConsentRevoked { node, cti, min_epoch: self.config.epoch };
        Ok(self.log.append(NewEntry::new(random::serial(), entry))?)
    }
}
