//! What the app answers.

use std::convert::Infallible;
use std::env;
use std::process;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde::Serialize;

use crate::websocket;

const REQUEST_ID: &str = "x-request-id";

/// Who answers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct App {
    pub(crate) app: String,
    /// Which build it is.
    pub(crate) version: String,
    pub(crate) release: u64,
    pub(crate) pid: u32,
    pub(crate) mode: String,
}

impl App {
    pub(crate) fn new(mode: &str) -> Self {
        Self {
            app: engineer::app_name().unwrap_or_default(),
            version: env::var("TEST_TAG").unwrap_or_else(|_| "untagged".to_owned()),
            release: engineer::version().unwrap_or_default(),
            pid: process::id(),
            mode: mode.to_owned(),
        }
    }
}

/// Answers a request, and gives its `X-Request-Id` back.
pub(crate) async fn answer(
    app: App,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/ws" {
        return Ok(websocket::accept(app, request));
    }
    let (status, body) = match request.uri().path() {
        "/" => (StatusCode::OK, serde_json::to_string(&app).expect("strings and numbers")),
        "/health" => health(),
        "/slow" => slow(request.uri().query()).await,
        "/env" => variable(request.uri().query()),
        "/eat" => eat(request.uri().query()),
        "/spin" => spin(request.uri().query()).await,
        path => (StatusCode::NOT_FOUND, format!("there is no {path}")),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    if let Some(id) = request.headers().get(REQUEST_ID) {
        response.headers_mut().insert(REQUEST_ID, id.clone());
    }
    Ok(response)
}

/// Until when it is well.
static WELL_UNTIL: OnceLock<Instant> = OnceLock::new();

/// From then on it says that it is not well, and answers all else.
pub(crate) fn be_well_for(time: Duration) {
    WELL_UNTIL.get_or_init(|| Instant::now() + time);
}

fn health() -> (StatusCode, String) {
    match WELL_UNTIL.get().is_some_and(|until| *until <= Instant::now()) {
        true => (StatusCode::INTERNAL_SERVER_ERROR, "not well".to_owned()),
        false => (StatusCode::OK, "ok".to_owned()),
    }
}

async fn slow(query: Option<&str>) -> (StatusCode, String) {
    match query.and_then(|query| query.strip_prefix("ms=")).map(str::parse) {
        Some(Ok(ms)) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            (StatusCode::OK, format!("after {ms} ms"))
        }
        _ => (StatusCode::BAD_REQUEST, "say /slow?ms=N".to_owned()),
    }
}

fn eat(query: Option<&str>) -> (StatusCode, String) {
    match query.and_then(|query| query.strip_prefix("mb=")).map(str::parse) {
        Some(Ok(mb)) => {
            keep_memory(mb);
            (StatusCode::OK, format!("{mb} MB more"))
        }
        _ => (StatusCode::BAD_REQUEST, "say /eat?mb=N".to_owned()),
    }
}

/// Has that much more memory from now on, all of it written to.
pub(crate) fn keep_memory(mb: usize) {
    std::mem::forget(std::hint::black_box(vec![1_u8; mb << 20]));
}

async fn spin(query: Option<&str>) -> (StatusCode, String) {
    let Some(Ok(ms)) = query.and_then(|query| query.strip_prefix("ms=")).map(str::parse) else {
        return (StatusCode::BAD_REQUEST, "say /spin?ms=N".to_owned());
    };
    let until = Instant::now() + Duration::from_millis(ms);
    let busy = tokio::task::spawn_blocking(move || {
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    });
    match busy.await {
        Ok(()) => (StatusCode::OK, format!("busy for {ms} ms")),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn variable(query: Option<&str>) -> (StatusCode, String) {
    match query.and_then(|query| query.strip_prefix("name=")) {
        Some(name) if name.starts_with("TEST_") => match env::var(name) {
            Ok(value) => (StatusCode::OK, value),
            Err(error) => (StatusCode::NOT_FOUND, format!("{name}: {error}")),
        },
        _ => (StatusCode::FORBIDDEN, "say /env?name=TEST_X".to_owned()),
    }
}
