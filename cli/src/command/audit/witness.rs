//! `counterfoil audit witness`: a witness as C2SP tlog-witness has it, with its own key and memory in a home.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{self, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use counterfoil_audit::growth::MAX_GROWTH_BYTES;
use counterfoil_audit::note::WitnessSigner;
use counterfoil_audit::witness::{Answer, Witness, WitnessError, begin};
use counterfoil_identity::key_file;
use counterfoil_router::clock;
use serde_json::json;
use tokio::sync::Semaphore;

use super::trusted::pinned;
use crate::args::WitnessArgs;
use crate::exit::{Failure, Outcome};
use crate::keys::keyring;
use crate::output;
use crate::supervise::interrupted;

/// Runs until it is interrupted.
pub(super) async fn run(home: &Path, args: WitnessArgs, json: bool) -> Outcome {
    let stop = interrupted();
    let logs = args.log_vkey.iter().map(|key| pinned(key)).collect::<Result<Vec<_>, _>>()?;
    let identity = home.join("identity");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&identity)?;
    let (key, memory) = (identity.join("witness.key"), home.join("witness"));
    if !key_file::is_there(&key) {
        begin(&memory).map_err(Failure::store)?;
    }
    let key = keyring()?.signer_or_create(&key).map_err(Failure::store)?;
    let signer =
        WitnessSigner::new(&args.name, key).map_err(|e| Failure::wrong_use(format!("--name: {e}")))?;
    let vkey = signer.public().to_string();
    let witness = Witness::open(&memory, signer, logs).map_err(|e| match e {
        WitnessError::TooManyLogs(_) => Failure::wrong_use(e),
        e => Failure::store(e),
    })?;
    let listener = tokio::net::TcpListener::bind(args.listen).await.map_err(|e| {
        Failure::store(anyhow::anyhow!("cannot listen on {}: {e}; choose another with --listen", args.listen))
    })?;
    let url = format!("http://{}", listener.local_addr()?);
    if json {
        output::json(&json!({ "ready": "witness", "url": url, "vkey": vkey, "logs": args.log_vkey }));
    } else {
        output::line(&format!("Ready: logs submit to {url}/add-checkpoint"));
        output::line(&format!("  policy    witness NAME {vkey} {url}"));
    }
    let app = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{hash}/checkpoint", get(checkpoint))
        .with_state(Arc::new(Desk { witness: Arc::new(witness), places: Semaphore::new(MAX_AT_ONCE) }));
    axum::serve(listener, app).with_graceful_shutdown(stop).await.map_err(Failure::store)
}

/// Requests that are worked on at one time; each may wait for the disk.
const MAX_AT_ONCE: usize = 8;
/// How long a request may take to arrive.
const MAX_ARRIVAL: Duration = Duration::from_secs(10);

/// The witness and its places.
struct Desk {
    witness: Arc<Witness>,
    places: Semaphore,
}

async fn add_checkpoint(State(desk): State<Arc<Desk>>, body: Body) -> Response {
    let body = match tokio::time::timeout(MAX_ARRIVAL, axum::body::to_bytes(body, MAX_GROWTH_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return (StatusCode::BAD_REQUEST, "longer than such a request can be\n").into_response();
        }
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "it took too long to arrive\n").into_response(),
    };
    let Ok(_place) = desk.places.try_acquire() else {
        let again = [(header::RETRY_AFTER, "1")];
        return (StatusCode::TOO_MANY_REQUESTS, again, "too many at one time\n").into_response();
    };
    let (witness, now) = (Arc::clone(&desk.witness), clock::now().seconds());
    match tokio::task::spawn_blocking(move || witness.add_checkpoint(&body, now)).await {
        Ok(answer) => answered(answer),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn checkpoint(State(desk): State<Arc<Desk>>, extract::Path(hash): extract::Path<String>) -> Response {
    answered(desk.witness.checkpoint(&hash))
}

fn answered(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [(header::CONTENT_TYPE, answer.content_type), (header::CACHE_CONTROL, "no-cache")];
    (status, headers, answer.body).into_response()
}

#[cfg(test)]
mod tests {
    use counterfoil_identity::SecretKey;

    use super::*;

    #[tokio::test]
    async fn what_comes_while_all_places_are_taken_is_told_to_come_again() {
        let folder = tempfile::tempdir().unwrap();
        begin(folder.path()).unwrap();
        let signer = WitnessSigner::new("w.example", Arc::new(SecretKey::from_seed([1; 32]))).unwrap();
        let witness = Arc::new(Witness::open(folder.path(), signer, Vec::new()).unwrap());
        let desk = Arc::new(Desk { witness, places: Semaphore::new(1) });
        let asked = || add_checkpoint(State(Arc::clone(&desk)), Body::from("no checkpoint"));
        assert_eq!(asked().await.status(), StatusCode::BAD_REQUEST);
        let taken = desk.places.try_acquire().unwrap();
        let away = asked().await;
        assert_eq!(
            (away.status(), away.headers()[header::RETRY_AFTER].to_str().unwrap()),
            (StatusCode::TOO_MANY_REQUESTS, "1")
        );
        drop(taken);
        assert_eq!(asked().await.status(), StatusCode::BAD_REQUEST);
        let long = Body::from(vec![b'a'; MAX_GROWTH_BYTES + 1]);
        assert_eq!(add_checkpoint(State(desk), long).await.status(), StatusCode::BAD_REQUEST);
    }
}
