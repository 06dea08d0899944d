//! `T`, the one input that binds a proof to this node, this router, this connection and this moment.

use counterfoil_spec::encode::{signing_input, to_canonical};
use counterfoil_spec::ids::{NetId, Signature};

use super::message::{Challenge, Hello};
use crate::digest::{self, context};
use crate::signer::{SignFault, Signer};

/// What both proof signatures cover; they differ by purpose.
pub(crate) struct Transcript<'a> {
    pub(crate) net_id: &'a NetId,
    pub(crate) hello: &'a Hello,
    pub(crate) challenge: &'a Challenge,
    pub(crate) exporter: &'a [u8; 32],
    pub(crate) csr: &'a [u8],
}

/// In which capacity a key signs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Node,
    Token,
}

impl Transcript<'_> {
    pub(crate) fn input(&self, purpose: Purpose) -> Vec<u8> {
        let purpose = match purpose {
            Purpose::Node => "enrol-node",
            Purpose::Token => "enrol-token",
        };
        signing_input(
            purpose,
            self.net_id,
            &[
                self.challenge.router_id.as_bytes(),
                self.exporter,
                self.hello.nonce.as_bytes(),
                self.challenge.nonce.as_bytes(),
                self.hello.token_id.as_bytes(),
                digest::derive(context::CSR, &[self.csr]).as_bytes(),
                digest::derive(context::ENROL_HELLO, &[&to_canonical(self.hello)]).as_bytes(),
            ],
        )
    }

    pub(crate) fn sign(&self, purpose: Purpose, key: &dyn Signer) -> Result<Signature, SignFault> {
        key.sign(&self.input(purpose))
    }
}
