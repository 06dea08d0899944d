use std::path::Path;

use counterfoil_identity::enrol::{JoinToken, MemoryTokens};
use counterfoil_identity::key_file::Keyring;
use counterfoil_identity::{Refused, certificate_key};
use counterfoil_node::{EnrolError, HomeError, NodeIdentity, enrol};
use counterfoil_session::ConnectError;
use counterfoil_session::sandbox::{Sandbox, machine_clock};
use counterfoil_spec::refusal::Refusal;

struct Office {
    net: Sandbox,
    tokens: MemoryTokens,
}

impl Office {
    fn new() -> Self {
        Self { net: Sandbox::new(machine_clock()).unwrap(), tokens: MemoryTokens::new() }
    }

    fn token(&self) -> JoinToken {
        let token = JoinToken::generate(self.net.domain.net_id(), (self.net.now)().seconds().plus(60));
        self.tokens.add(token.facts());
        token
    }

    /// One exchange: what the router says, and what the node says.
    async fn enrol(
        &self,
        home: &Path,
        token: JoinToken,
    ) -> (Result<(), ConnectError>, Result<NodeIdentity, EnrolError>) {
        let endpoint = self.net.enrolling().unwrap();
        let addr = endpoint.local_addr().unwrap();
        let keys = Keyring::default();
        let (there, here) = tokio::join!(
            self.net.enrol(&endpoint, &self.tokens),
            enrol(home, &keys, token, addr, &self.net.now)
        );
        (there.map(drop), here)
    }
}

#[tokio::test]
async fn an_enrolled_node_finds_its_identity_again() {
    let (office, home) = (Office::new(), tempfile::tempdir().unwrap());
    let (there, here) = office.enrol(home.path(), office.token()).await;
    there.unwrap();
    let joined = here.unwrap();
    let loaded = NodeIdentity::load(home.path(), &Keyring::default()).unwrap();
    assert_eq!(loaded.key.public(), joined.key.public());
    assert_eq!(loaded.log_key.public(), joined.log_key.public());
    assert_eq!(loaded.credentials.chain(), joined.credentials.chain());
    assert_eq!(loaded.domain.net_id(), office.net.domain.net_id());
    assert_eq!(loaded.router, office.net.router_key.public().router_id());
}

//= spec/identity.md#keys
//= type=test
//# A TLS key MUST be made anew for each certificate.
#[tokio::test]
async fn a_node_that_enrols_again_is_certified_with_another_tls_key() {
    let (office, home) = (Office::new(), tempfile::tempdir().unwrap());
    let mut keys = Vec::new();
    for _ in 0..2 {
        office.enrol(home.path(), office.token()).await.1.unwrap();
        let loaded = NodeIdentity::load(home.path(), &Keyring::default()).unwrap();
        keys.push(certificate_key(&loaded.credentials.chain().leaf).unwrap());
    }
    assert_ne!(keys[0], keys[1]);
}

#[cfg(unix)]
#[tokio::test]
async fn keys_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (office, home) = (Office::new(), tempfile::tempdir().unwrap());
    office.enrol(home.path(), office.token()).await.1.unwrap();
    let folder = home.path().join("identity");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for key in ["node.key", "log.key", "tls.key", "recovery.key"] {
        assert_eq!(mode(&folder.join(key)), 0o600, "{key}");
    }
}

#[tokio::test]
async fn a_token_enrols_one_node() {
    let (office, home, other) = (Office::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let text = office.token().to_secret_string();
    let token = || text.parse::<JoinToken>().unwrap();
    office.enrol(home.path(), token()).await.1.unwrap();
    let (there, here) = office.enrol(other.path(), token()).await;
    let Err(ConnectError::Refused(Refused { refusal, .. })) = there else { panic!("{there:?}") };
    assert_eq!(refusal, Refusal::EnrolUsed);
    let Err(EnrolError::Connect(ConnectError::RefusedByPeer { refusal, .. })) = here else {
        panic!("not told")
    };
    assert_eq!(refusal, Refusal::EnrolUsed);
    let Err(HomeError::Key(_) | HomeError::Io { .. }) = NodeIdentity::load(other.path(), &Keyring::default())
    else {
        panic!("enrolled")
    };
}

#[tokio::test]
async fn a_node_refuses_a_router_of_another_network() {
    let (office, other, home) = (Office::new(), Office::new(), tempfile::tempdir().unwrap());
    let (there, here) = office.enrol(home.path(), other.token()).await;
    assert!(matches!(there, Err(ConnectError::Handshake(_))), "{there:?}");
    let Err(EnrolError::Connect(ConnectError::Refused(Refused { refusal, .. }))) = here else {
        panic!("not refused")
    };
    assert_eq!(refusal, Refusal::CertUntrusted);
}
