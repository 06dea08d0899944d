use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

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
        trusting(roots)
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

/// Answers one request with these bytes; gives its address and what it was asked.
async fn witness(
    tls: Option<TlsAcceptor>,
    answer: String,
) -> (String, tokio::task::JoinHandle<Option<String>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        match tls {
            Some(tls) => Some(serve(tls.accept(tcp).await.ok()?, &answer).await),
            None => Some(serve(tcp, &answer).await),
        }
    });
    (address, task)
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
    let mut asked = Vec::new();
    while !asked.ends_with(b"the body\n") {
        asked.push(stream.read_u8().await.unwrap());
    }
    // Whoever reads no further than a limit has gone away.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    String::from_utf8(asked).unwrap()
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn nobody() -> Trust {
    Err("nobody is trusted here".to_owned())
}

#[tokio::test]
async fn a_request_goes_below_the_prefix_and_its_answer_comes_back() {
    for prefix in ["", "/", "/w", "/w/"] {
        let (at, asked) = witness(None, answer("409 Conflict", "7\n")).await;
        let said = ask(&format!("http://{at}{prefix}"), "the body\n".to_owned(), nobody).await.unwrap();
        assert_eq!((said.status, said.body.as_str()), (409, "7\n"));
        let below = prefix.trim_end_matches('/');
        let asked = asked.await.unwrap().unwrap();
        assert!(asked.starts_with(&format!("POST {below}/add-checkpoint HTTP/1.1\r\n")), "{asked}");
        assert!(
            asked.contains(&format!("host: {at}\r\n")) && asked.ends_with("\r\n\r\nthe body\n"),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_and_a_url_that_is_none_are_refused() {
    let longest = "x".repeat(MAX_ANSWER_BYTES);
    let (at, _asked) = witness(None, answer("200 OK", &longest)).await;
    let said = ask(&format!("http://{at}"), "the body\n".to_owned(), nobody).await.unwrap();
    assert_eq!(said.body, longest);
    let (at, _asked) = witness(None, answer("200 OK", &format!("{longest}x"))).await;
    let refused = ask(&format!("http://{at}"), "the body\n".to_owned(), nobody).await;
    assert_eq!(refused.map(|said| said.status), Err("length limit exceeded".to_owned()));
    for (url, why) in [
        ("ftp://127.0.0.1:9", "not an http:// or https:// URL"),
        ("127.0.0.1", "not a URL: invalid uri character"),
        ("https://127.0.0.1:9 /", "not a URL: invalid uri character"),
    ] {
        let refused = ask(url, String::new(), nobody).await.map(|said| said.status);
        assert!(
            refused.clone().is_err_and(|e| e.starts_with(why.split(':').next().unwrap())),
            "{url}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn over_tls_the_certificate_must_be_trusted_and_be_the_hosts() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (at, _asked) = witness(Some(authority.acceptor("127.0.0.1")), answer("200 OK", "line\n")).await;
    let said = ask(&format!("https://{at}/w"), "the body\n".to_owned(), || authority.trust()).await.unwrap();
    assert_eq!((said.status, said.body.as_str()), (200, "line\n"));
    for (name, trusted, why) in [
        ("127.0.0.1", &other, "invalid peer certificate: "),
        ("w.example", &authority, "invalid peer certificate: certificate not valid for name \"127.0.0.1\""),
    ] {
        let (at, asked) = witness(Some(authority.acceptor(name)), answer("200 OK", "line\n")).await;
        let refused = ask(&format!("https://{at}/w"), "the body\n".to_owned(), || trusted.trust()).await;
        let refused = refused.map(|said| said.status).unwrap_err();
        assert!(refused.starts_with(why), "{refused}");
        assert_eq!(asked.await.unwrap(), None);
    }
}
