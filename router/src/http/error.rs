//! Error bodies in the form that OpenAI's clients read.
//!
//! ```text
//! { "error": { "message": text, "type": text, "param": text | null, "code": text | null } }
//! ```

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::desk::Unplanned;

/// What a client did or met, with all that its error body says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// OpenAI's class of error.
    pub(crate) class: &'static str,
    /// OpenAI's code, where there is one.
    pub(crate) code: Option<&'static str>,
    /// The parameter at fault, where there is one.
    pub(crate) param: Option<String>,
    /// What was wrong, where, and what to do next.
    pub(crate) message: String,
    /// When to try again, where that helps.
    pub(crate) retry_after_s: Option<u32>,
}

impl ApiError {
    fn new(status: StatusCode, class: &'static str, code: Option<&'static str>, message: String) -> Self {
        Self { status, class, code, param: None, message, retry_after_s: None }
    }

    /// 400: the request itself is wrong.
    #[must_use]
    pub(crate) fn invalid(param: &str, message: impl Into<String>) -> Self {
        let param = (!param.is_empty()).then(|| param.to_owned());
        Self { param, ..Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", None, message.into()) }
    }

    /// 400: the prompt does not fit the model's context.
    #[must_use]
    pub(crate) fn context_length(context: usize, prompt: usize) -> Self {
        let message = format!(
            "the prompt has {prompt} tokens and leaves no room in this model's context of {context}; shorten the messages"
        );
        Self {
            param: Some("messages".into()),
            ..Self::new(
                StatusCode::BAD_REQUEST,
                "invalid_request_error",
                Some("context_length_exceeded"),
                message,
            )
        }
    }

    /// 401: no key, or one that is not known.
    #[must_use]
    pub(crate) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", Some("invalid_api_key"), message.into())
    }

    /// 402: the balance does not cover it; trying again does not help.
    #[must_use]
    pub(crate) fn insufficient_quota(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::PAYMENT_REQUIRED,
            "insufficient_quota",
            Some("insufficient_quota"),
            message.into(),
        )
    }

    /// 402: the balance is held by requests that still run.
    #[must_use]
    pub(crate) fn in_flight(message: impl Into<String>) -> Self {
        Self {
            retry_after_s: Some(1),
            ..Self::new(
                StatusCode::PAYMENT_REQUIRED,
                "insufficient_quota",
                Some("in_flight_budget_exhausted"),
                message.into(),
            )
        }
    }

    /// 403: a key that may not do this.
    #[must_use]
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", None, message.into())
    }

    /// 503 where nobody hosts what is asked for; 403, with OpenAI's code for it, where nobody does for this caller's country.
    #[must_use]
    pub(crate) fn unplanned(why: &Unplanned) -> Self {
        match why {
            Unplanned::Uncovered(_) => Self::unavailable(why.to_string()),
            Unplanned::NotForCaller(_) => Self::new(
                StatusCode::FORBIDDEN,
                "request_forbidden",
                Some("unsupported_country_region_territory"),
                why.to_string(),
            ),
        }
    }

    /// 404: no such model or path.
    #[must_use]
    pub(crate) fn not_found(code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", code, message.into())
    }

    /// 413: a body over the limit.
    #[must_use]
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the request body is over the limit of {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", None, message)
    }

    /// 409: the request contradicts another one.
    #[must_use]
    pub(crate) fn conflict(code: &'static str, message: String, retry_after_s: Option<u32>) -> Self {
        let class = "invalid_request_error";
        Self { retry_after_s, ..Self::new(StatusCode::CONFLICT, class, Some(code), message) }
    }

    /// 429: too many requests at once.
    #[must_use]
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self {
            retry_after_s: Some(1),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                Some("rate_limit_exceeded"),
                message.into(),
            )
        }
    }

    /// 429: what nodes give in a day is used up.
    #[must_use]
    pub(crate) fn spent(message: impl Into<String>, left_s: u32) -> Self {
        Self { retry_after_s: Some(left_s), ..Self::busy(message) }
    }

    /// 503: the network cannot answer now.
    #[must_use]
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self {
            retry_after_s: Some(2),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", Some("unavailable"), message.into())
        }
    }

    /// 500: a fault of the router.
    #[must_use]
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", None, message.into())
    }

    /// The body, also sent as the last event of a stream that fails on the way.
    #[must_use]
    pub(crate) fn body(&self) -> serde_json::Value {
        json!({ "error": {
            "message": self.message, "type": self.class, "param": self.param, "code": self.code,
        } })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        // What is refused or not there now may be answered later.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
