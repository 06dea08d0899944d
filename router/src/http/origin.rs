//! Keeps web pages away from a router that serves callers without a key.
//!
//! A page that is open in a browser on this machine can send requests to loopback addresses, and with a host name of
//! its own that resolves to 127.0.0.1 it can read the answers too. So where no key is asked for, a request must name
//! this machine in `Host`, and an `Origin`, which browsers always send from other pages, must be this machine's.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::desk::Desk;
use crate::http::error::ApiError;

pub(crate) async fn local_only(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    if desk.keyless.is_none() || is_local(request.headers()) {
        return next.run(request).await;
    }
    let message = "this router answers without a key, so it answers only requests that name this machine: use \
                   127.0.0.1 or localhost, and no page of another site";
    ApiError { status: StatusCode::FORBIDDEN, ..ApiError::invalid("", message) }.into_response()
}

fn is_local(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    let host = text(header::HOST).is_some_and(names_this_machine);
    let origin =
        text(header::ORIGIN).is_none_or(|o| o.strip_prefix("http://").is_some_and(names_this_machine));
    host && origin
}

/// Whether `HOST[:PORT]` is a loopback address or `localhost`.
fn names_this_machine(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    };
    let digits = port.chars().all(|c| c.is_ascii_digit());
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    digits
        && (bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(pairs: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        is_local(&headers)
    }

    #[test]
    fn this_machine_by_any_of_its_names() {
        for host in ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000", "[::1]", "127.0.0.2"] {
            assert!(local(&[("host", host)]), "{host}");
        }
    }

    #[test]
    fn another_name_or_none_is_refused() {
        for host in [
            "evil.example:8000",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "",
            "127.0.0.1:x",
        ] {
            assert!(!local(&[("host", host)]), "{host}");
        }
        assert!(!local(&[]));
    }

    #[test]
    fn a_page_of_this_machine_may_and_another_may_not() {
        assert!(local(&[("host", "localhost:1"), ("origin", "http://localhost:1")]));
        for origin in ["http://evil.example", "https://evil.example", "null", "http://127.0.0.1.evil.example"]
        {
            assert!(!local(&[("host", "localhost:1"), ("origin", origin)]), "{origin}");
        }
    }
}
