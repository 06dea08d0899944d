//! One request over a connection of its own.

use bytes::Bytes;
use counterfoil_paysim::Simulator;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::Value;

/// What came back; the status 0 stands for a connection that broke.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) replayed: bool,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The text at a place of the JSON; empty where there is none.
    pub(crate) fn text(&self, at: &str) -> String {
        self.json().pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

pub(crate) async fn ask(
    simulator: &Simulator,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let base = simulator.base();
    let host = base.strip_prefix("http://").unwrap();
    let tcp = tokio::net::TcpStream::connect(host).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let answer = async {
        let response = sender.send_request(request).await.ok()?;
        let status = response.status().as_u16();
        let replayed = response.headers().contains_key("idempotent-replayed");
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some(Answer { status, replayed, body: String::from_utf8(body.to_vec()).ok()? })
    };
    let answer = answer.await.unwrap_or(Answer { status: 0, replayed: false, body: String::new() });
    driver.abort();
    answer
}
