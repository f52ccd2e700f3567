//! Calls of the JSON API, one attempt each.

use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::DATE;
use reqwest::{Client, Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::Timestamp;

use super::fault::{Done, Fault};
use super::{ANSWER_WITHIN, Gcs};

/// All but what RFC 3986 calls unreserved: an object's name is one segment of the path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One segment of a path.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A query's parameters.
pub(super) type Query<'a> = Vec<(&'a str, String)>;

/// A call.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Below `/storage/v1/`, encoded.
    pub(super) path: String,
    pub(super) query: Query<'a>,
    pub(super) body: Option<Value>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), body: None }
    }

    pub(super) fn query(mut self, name: &'a str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    pub(super) fn body(mut self, body: &impl Serialize) -> Done<Self> {
        self.body = Some(serde_json::to_value(body).map_err(|e| Fault::invalid(e.to_string()))?);
        Ok(self)
    }
}

/// An answer, whatever it was.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// How long it took.
    pub took: Duration,
    /// The service's clock, to the second.
    pub date: Option<Timestamp>,
}

pub(super) async fn probe(gcs: &Gcs) -> Done<Probe> {
    let url = format!("{}/storage/v1/b/{}?fields=name", gcs.endpoint(), segment(&gcs.bucket));
    // The first call opens the connection, which is not what an answer takes.
    let ask = async || {
        let request = gcs.http().await?.get(&url).headers(gcs.authorization().await?);
        request.send().await.map_err(Fault::request)
    };
    let asked = async {
        drop(ask().await?);
        let began = Instant::now();
        Ok::<_, Fault>((ask().await?, began.elapsed()))
    };
    let (answer, took) = match timeout(ANSWER_WITHIN, asked).await {
        Ok(done) => done?,
        Err(_) => return Err(Fault::no_answer(ANSWER_WITHIN)),
    };
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    Ok(Probe { took, date: date.map(|date| date.timestamp()) })
}

/// # Errors
/// When no call can be made to it.
pub(super) fn check_endpoint(endpoint: &str) -> Done<()> {
    let url = Url::parse(endpoint)
        .map_err(|error| Fault::invalid(format!("the endpoint {endpoint:?}: {error}")))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(()),
        _ => Err(Fault::invalid(format!(
            "the endpoint {endpoint:?} does not begin with http:// or https://"
        ))),
    }
}

impl Gcs {
    async fn http(&self) -> Done<&Client> {
        let client = async || {
            let client =
                Client::builder().user_agent(concat!("engineer/", env!("CARGO_PKG_VERSION")));
            client.build().map_err(Fault::request)
        };
        self.http.get_or_try_init(client).await
    }

    /// Makes a call and gives its answer's bytes.
    pub(super) async fn call(&self, call: Call<'_>) -> Done<Vec<u8>> {
        match timeout(ANSWER_WITHIN, self.send(call)).await {
            Ok(done) => done,
            Err(_) => Err(Fault::no_answer(ANSWER_WITHIN)),
        }
    }

    /// Makes a call and reads its answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, call: Call<'_>) -> Done<T> {
        let body = self.call(call).await?;
        serde_json::from_slice(&body).map_err(Fault::strange)
    }

    async fn send(&self, call: Call<'_>) -> Done<Vec<u8>> {
        let mut url = Url::parse(&format!("{}/storage/v1/{}", self.endpoint(), call.path))
            .map_err(|error| Fault::invalid(error.to_string()))?;
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = self.http().await?.request(call.method, url);
        request = request.headers(self.authorization().await?);
        if let Some(body) = call.body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(Fault::request)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(Fault::request)?;
        match status.is_success() {
            true => Ok(body.to_vec()),
            false => Err(Fault::answered(status.as_u16(), Some(&headers), &body)),
        }
    }

    /// What shows who asks.
    async fn authorization(&self) -> Done<reqwest::header::HeaderMap> {
        use google_cloud_auth::credentials::CacheableResource;
        match self.access.credentials.headers(Default::default()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            // Only said to those who have asked before, and named what they have.
            Ok(CacheableResource::NotModified) => Ok(Default::default()),
            Err(error) => Err(Fault::credentials(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment() {
        assert_eq!(segment("fleet/instances/a-1"), "fleet%2Finstances%2Fa-1");
        assert_eq!(segment("odd/.. ä?#%"), "odd%2F..%20%C3%A4%3F%23%25");
    }

    #[test]
    fn an_endpoint_is_a_url_of_http() {
        for good in ["http://127.0.0.1:9000", "https://storage.googleapis.com"] {
            assert!(check_endpoint(good).is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1:9000", "ftp://x", "localhost"] {
            assert!(check_endpoint(bad).is_err(), "{bad}");
        }
    }
}
