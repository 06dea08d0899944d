//! Answers: a status and JSON, or a connection that breaks.

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// A status with JSON.
    Json(u16, Value),
    /// The same as was answered to this key before.
    Replayed(u16, Value),
    /// The connection breaks.
    Cut,
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let (status, body, replayed) = match self {
            Self::Json(status, body) => (status, body, false),
            Self::Replayed(status, body) => (status, body, true),
            Self::Cut => {
                let broken = futures_util::stream::once(async {
                    Err::<Bytes, std::io::Error>(std::io::ErrorKind::ConnectionReset.into())
                });
                return Response::new(Body::from_stream(broken));
            }
        };
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if replayed {
            let name = HeaderName::from_static("idempotent-replayed");
            response.headers_mut().insert(name, HeaderValue::from_static("true"));
        }
        response
    }
}
