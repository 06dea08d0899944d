//! The repository over TLS: who is believed to be the endpoint, and what goes there.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;

/// Whoever signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// A certificate for one name, and its key.
    fn signs(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }
}

/// A server that shows a certificate for `name` that this authority signed.
async fn serve(lie: Lie, signer: &Authority, name: &str) -> Web {
    let (certificate, key) = signer.signs(name);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let asked = Arc::default();
    let shop = Shop { lie, asked: Arc::clone(&asked) };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, shop) = (acceptor.clone(), shop.clone());
            tokio::spawn(async move {
                // Whoever does not believe the certificate goes away.
                if let Ok(stream) = acceptor.accept(stream).await {
                    shop.sell(stream).await;
                }
            });
        }
    });
    Web { addr, asked }
}

/// The first bytes of the first part, asked for by whoever believes this authority alone.
async fn first_bytes(web: &Web, believed: &Authority) -> Result<Vec<u8>, HubError> {
    let endpoint = format!("https://{}", web.addr);
    let config = HubConfig { endpoint, token: Some(TOKEN.to_owned()), allow_branch: false };
    let hub = Hub { trust: Trust::of(believed.roots()), ..Hub::new(&config).unwrap() };
    let file = hub.file(&hub.repository(&web.repository()).unwrap(), "a.bin");
    let mut body = hub.range(&file, 10, 1000).await?;
    let mut out = Vec::new();
    while let Some(piece) = body.piece(1000).await? {
        out.extend(piece);
    }
    Ok(out)
}

fn file_url(web: &Web, before: &str) -> String {
    format!("https://{}{before}/owner/model-1.5/resolve/{COMMIT}/a.bin", web.addr)
}

#[tokio::test]
async fn a_range_comes_over_https_and_the_token_goes_there() {
    let authority = Authority::new("one");
    let web = serve(Lie::None, &authority, "127.0.0.1").await;
    assert_eq!(first_bytes(&web, &authority).await.unwrap(), bytes()[..1000]);
    let path = format!("/owner/model-1.5/resolve/{COMMIT}/a.bin");
    assert_eq!(web.asked(), [(path, "bytes=10-1009".to_owned(), true)]);
}

#[tokio::test]
async fn a_certificate_that_another_root_signed_is_refused_and_the_url_named() {
    // The name of the root is no matter, its key is.
    for (signer, why) in [("another", "UnknownIssuer"), ("one", "BadSignature")] {
        let web = serve(Lie::None, &Authority::new(signer), "127.0.0.1").await;
        let refused = first_bytes(&web, &Authority::new("one")).await.unwrap_err();
        let (url, why) = (file_url(&web, ""), format!("invalid peer certificate: {why}"));
        assert_eq!(refused, HubError::Broken { url, why, after_s: None });
        assert_eq!(web.asked(), []);
    }
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused_and_the_url_named() {
    let authority = Authority::new("one");
    let web = serve(Lie::None, &authority, "hub.example").await;
    let refused = first_bytes(&web, &authority).await.unwrap_err();
    let why = "invalid peer certificate: certificate not valid for name \"127.0.0.1\"; certificate is only valid for \
               DnsName(\"hub.example\")"
        .to_owned();
    assert_eq!(refused, HubError::Broken { url: file_url(&web, ""), why, after_s: None });
    assert_eq!(web.asked(), []);
}

#[tokio::test]
async fn a_redirect_away_from_https_is_not_followed() {
    let there = Web::serve(Lie::None).await;
    let authority = Authority::new("one");
    let web = serve(Lie::Elsewhere(there.addr), &authority, "127.0.0.1").await;
    let refused = first_bytes(&web, &authority).await.unwrap_err();
    let why = "a redirect: it leads away from https".to_owned();
    assert_eq!(refused, HubError::Answer { url: file_url(&web, "/cache"), why });
    assert_eq!(web.asked().len(), 2);
    assert_eq!(there.asked(), []);
}

#[test]
fn an_http_endpoint_that_is_not_on_this_machine_is_refused() {
    let hub = |endpoint: &str| Hub::new(&HubConfig { endpoint: endpoint.to_owned(), ..HubConfig::default() });
    for (endpoint, instead) in [
        ("http://hub.example", "https://hub.example"),
        ("http://192.0.2.1:8080/mirror", "https://192.0.2.1"),
        ("http://127.0.0.1.example", "https://127.0.0.1.example"),
    ] {
        let why = format!("http:// is for this machine only; use {instead}");
        assert_eq!(hub(endpoint).unwrap_err(), HubError::Endpoint { endpoint: endpoint.to_owned(), why });
    }
    assert_eq!(hub("http://127.0.0.1:9/").unwrap().endpoint.to_string(), "http://127.0.0.1:9");
}
