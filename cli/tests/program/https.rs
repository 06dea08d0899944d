//! Commands that ask a server over HTTPS: a certificate that this machine's authorities signed is taken and no other, and keys go
//! nowhere in plain.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::harness::{Ended, Home, ask, command};
use crate::http::{self, question};

/// A server on this machine whose certificate an authority of its own signed.
struct Server {
    url: String,
    /// What lists that authority.
    authorities: PathBuf,
}

impl Server {
    /// Answers with the files of a log's folder, until the test is over.
    fn of(log: PathBuf, beside: &Home) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let (chain, key) =
            (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()));
        let config = Arc::new(config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                answer(StreamOwned::new(tls, stream.unwrap()), &log);
            }
        });
        let authorities = beside.beside("authorities.pem");
        std::fs::write(&authorities, pem(authority.der())).unwrap();
        Self { url, authorities }
    }
}

fn pem(certificate: &[u8]) -> String {
    let encoded = data_encoding::BASE64.encode(certificate);
    let lines: Vec<_> = encoded.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// One answer; whoever does not take the certificate gets none.
fn answer(mut stream: impl Read + Write, log: &Path) {
    let mut lines = BufReader::new(&mut stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let _ = lines.take_while(|line| !line.is_empty()).count();
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match std::fs::read(log.join(path.trim_start_matches("/log/"))) {
        Ok(bytes) => ("200 OK", bytes),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(&[head.as_bytes(), &body].concat());
    let _ = stream.flush();
}

/// What a command says on a machine that takes these authorities alone.
fn trusting(authorities: &Path, args: &[&str]) -> Ended {
    let done = command(args).env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR").output().unwrap();
    Ended {
        code: done.status.code().unwrap(),
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
    }
}

#[test]
fn log_behind_a_tls_proxy_is_verified_where_its_certificate_is_taken() {
    let home = Home::new();
    let program = home.run(&[]);
    http::ask(program.address(), None, &question(&json!({})));
    let (vkey, net_id) = (program.said("log_vkey"), program.said("net_id"));
    program.stop();
    let log = home.path().join("log");
    let (server, other) = (Server::of(log.clone(), &home), Home::new());
    let other = Server::of(log, &other);
    let args = ["audit", "verify", "--log", &server.url, "--vkey", &vkey, "--net-id", &net_id, "--json"];
    let ended = trusting(&server.authorities, &args);
    assert_eq!(ended.code, 0, "{ended:?}");
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&report["ok"], &report["faults"]), (&json!(true), &json!([])));
    let ended = trusting(&other.authorities, &args);
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.err.contains("invalid peer certificate: "), "{}", ended.err);
}

#[test]
fn key_is_sent_over_tls_or_stays_on_this_machine() {
    let url = "http://router.example";
    for args in
        [&["audit", "verify", "--log", url][..], &["status", "--url", url], &["chat", "x", "--url", url]]
    {
        let ended = ask(&[args, &["--key", "cf-x"]].concat());
        assert_eq!(ended.code, 2, "{ended:?}");
        let why = "http:// is for this machine only; use https://router.example";
        assert!(ended.err.contains(why), "{}", ended.err);
    }
}
