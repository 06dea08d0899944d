use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// Whoever signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn trust(&self) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Trust::of(roots)
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Answers requests of one connection with their paths; gives its address.
async fn server(tls: Option<TlsAcceptor>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        match tls {
            Some(tls) => {
                if let Ok(stream) = tls.accept(tcp).await {
                    serve(stream).await;
                }
            }
            None => serve(tcp).await,
        }
    });
    at
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    loop {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            asked.push(byte);
        }
        let asked = String::from_utf8(asked).unwrap();
        let path = asked.split(' ').nth(1).unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

async fn asked(connection: &mut Connection<Empty<Bytes>>, path: &str) -> Vec<u8> {
    let request = Request::get(path).header("host", "h").body(Empty::new()).unwrap();
    let answer = connection.ask(request).await.unwrap();
    answer.into_body().collect().await.unwrap().to_bytes().to_vec()
}

async fn open(at: &str, trust: &Trust) -> Result<Connection<Empty<Bytes>>, ConnectError> {
    Connection::open(&Address::parse(at).unwrap(), trust, PATIENCE).await
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection_in_plain_and_over_tls() {
    let authority = Authority::new();
    let nobody = Trust::of(RootCertStore::empty());
    let plain = format!("http://{}", server(None).await);
    let over_tls = format!("https://{}", server(Some(authority.acceptor("127.0.0.1"))).await);
    for (at, trust) in [(plain, nobody), (over_tls, authority.trust())] {
        let mut connection = open(&at, &trust).await.unwrap();
        for path in ["/a", "/b?c"] {
            assert_eq!(asked(&mut connection, path).await, path.as_bytes(), "{at}");
        }
        let request = Request::get("/last").header("host", "h").body(Empty::new()).unwrap();
        let last = connection.ask_last(request).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(last.to_bytes(), "/last");
    }
}

#[tokio::test]
async fn over_tls_the_certificate_must_be_trusted_and_be_the_hosts() {
    let (authority, other) = (Authority::new(), Authority::new());
    let nobody = Trust::of(RootCertStore::empty());
    for (name, trust, why) in [
        ("127.0.0.1", other.trust(), "invalid peer certificate: "),
        (
            "w.example",
            authority.trust(),
            "invalid peer certificate: certificate not valid for name \"127.0.0.1\"",
        ),
        ("127.0.0.1", nobody, "this machine lists no certificate authorities; install ca-certificates"),
    ] {
        let at = format!("https://{}", server(Some(authority.acceptor(name))).await);
        let refused = open(&at, &trust).await.unwrap_err().to_string();
        assert!(refused.starts_with(why), "{refused}");
    }
}

#[tokio::test]
async fn whoever_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = Address::parse(&format!("https://{}", silent.local_addr().unwrap())).unwrap();
    let patience = Duration::from_millis(1);
    let opened = Connection::<Empty<Bytes>>::open(&address, &Authority::new().trust(), patience).await;
    assert!(matches!(opened, Err(ConnectError::Late(late)) if late == patience), "{opened:?}");
}
