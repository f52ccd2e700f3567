//! A server and a client for one test.

use gcs_server::{Options, Server};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) http: Client,
    pub(crate) dir: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The generation of the object that this tells of.
    pub(crate) fn generation(&self) -> u64 {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["generation"].as_str().unwrap().parse().unwrap()
    }

    /// The reason that a failure gives.
    pub(crate) fn reason(&self) -> String {
        self.json()["error"]["errors"][0]["reason"].as_str().unwrap().to_owned()
    }
}

impl Bench {
    /// With a bucket `bench`, whose versioning is on.
    pub(crate) async fn new() -> Self {
        let bench = Self::empty();
        bench.bucket("bench", r#""versioning": {"enabled": true}"#).await;
        bench
    }

    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(Options::new(dir.path())).unwrap();
        Self { server, http: client(), dir }
    }

    pub(crate) async fn bucket(&self, name: &str, settings: &str) {
        let comma = if settings.is_empty() { "" } else { ", " };
        let body = format!(r#"{{"name": "{name}"{comma}{settings}}}"#);
        let made = self.call(Method::POST, "/storage/v1/b?project=p", body).await;
        assert_eq!(made.status, 200, "{}", made.text());
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.server.url()))
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: impl Into<String>) -> Answer {
        send(self.request(method, path).body(body.into())).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    /// Uploads to the bucket `bench`. `query` begins with `&` or is empty.
    pub(crate) async fn put(&self, name: &str, body: &str, query: &str) -> Answer {
        self.call(Method::POST, &upload(name, query), body).await
    }

    pub(crate) async fn read(&self, name: &str, query: &str) -> Answer {
        self.get(&format!("/storage/v1/b/bench/o/{name}?alt=media{query}")).await
    }
}

pub(crate) fn upload(name: &str, query: &str) -> String {
    format!("/upload/storage/v1/b/bench/o?uploadType=media&name={name}{query}")
}

pub(crate) fn client() -> Client {
    install_crypto();
    // No connection is used again behind a test's back.
    Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap()
}

/// The client wants a provider even where no TLS is spoken.
pub(crate) fn install_crypto() {
    // Whichever test is first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    try_send(request).await.unwrap()
}

/// The same where the connection may be cut.
pub(crate) async fn try_send(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
}
