//! Credentials that come back.
//!
//! `google-cloud-auth` gives up for good what was refused once (a login that was revoked, a machine
//! whose service account was taken away), and keeps a token until its end by this machine's clock,
//! whatever the service says of it meanwhile; a machine that slept counts too little. That does for
//! a command. A program that runs for months has to go on once somebody has mended the account. So
//! credentials that were refused are made anew at the next call, but not more often than every
//! [`RENEW_AFTER`].

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use google_cloud_auth::credentials::{CacheableResource, Credentials, CredentialsProvider};
use google_cloud_gax::error::CredentialsError;
use reqwest::header::HeaderMap;
use tokio::time::Instant;

use super::story::story;

/// The least time between two that are made.
const RENEW_AFTER: Duration = Duration::from_secs(10);

/// Why none can be made.
type Cause = Box<dyn Error + Send + Sync>;

/// A handle: clones are the same.
#[derive(Clone)]
pub struct Renewal(Arc<Inner>);

struct Inner {
    make: Box<dyn Fn() -> Result<Credentials, Cause> + Send + Sync>,
    state: Mutex<Option<Made>>,
}

struct Made {
    credentials: Credentials,
    at: Instant,
    is_refused: bool,
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewal")
    }
}

impl Renewal {
    /// Credentials that `make` makes, at the first call.
    pub fn new<E: Into<Cause>>(
        make: impl Fn() -> Result<Credentials, E> + Send + Sync + 'static,
    ) -> Self {
        let make = Box::new(move || make().map_err(Into::into));
        Self(Arc::new(Inner { make, state: Mutex::default() }))
    }

    /// These, and those that `make` makes once they were refused.
    pub fn starting_with<E: Into<Cause>>(
        credentials: Credentials,
        make: impl Fn() -> Result<Credentials, E> + Send + Sync + 'static,
    ) -> Self {
        let renewal = Self::new(make);
        let made = Made { credentials, at: Instant::now(), is_refused: false };
        *renewal.0.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        renewal
    }

    /// The service did not take them.
    pub(super) fn refused(&self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &mut *state {
            made.is_refused = true;
        }
    }

    fn current(&self) -> Result<Credentials, CredentialsError> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*state
            && (!made.is_refused || made.at.elapsed() < RENEW_AFTER)
        {
            return Ok(made.credentials.clone());
        }
        let made = (self.0.make)();
        let credentials =
            made.map_err(|cause| CredentialsError::from_msg(false, story(&*cause)))?;
        if state.is_some() {
            tracing::info!("the credentials were refused and are made anew");
        }
        let made = Made { credentials: credentials.clone(), at: Instant::now(), is_refused: false };
        *state = Some(made);
        Ok(credentials)
    }
}

impl CredentialsProvider for Renewal {
    async fn headers(
        &self,
        extensions: http::Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let headers = self.current()?.headers(extensions).await;
        if headers.as_ref().is_err_and(|error| !error.is_transient()) {
            self.refused();
        }
        headers
    }

    async fn universe_domain(&self) -> Option<String> {
        self.current().ok()?.universe_domain().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use google_cloud_auth::credentials::EntityTag;
    use reqwest::header::{AUTHORIZATION, HeaderValue};

    use super::*;

    /// Shows its number, or fails for good.
    #[derive(Debug)]
    struct Numbered(usize, bool);

    impl CredentialsProvider for Numbered {
        async fn headers(
            &self,
            _: http::Extensions,
        ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
            if !self.1 {
                return Err(CredentialsError::from_msg(false, "revoked"));
            }
            let data = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from(self.0))]);
            Ok(CacheableResource::New { entity_tag: EntityTag::new(), data })
        }

        async fn universe_domain(&self) -> Option<String> {
            None
        }
    }

    /// The first `bad` that are made fail for good.
    fn renewal(bad: usize) -> (Renewal, Arc<AtomicUsize>) {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let make = move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Cause>(Credentials::from(Numbered(number, number >= bad)))
        };
        (Renewal::new(make), made)
    }

    async fn shown(renewal: &Renewal) -> Option<String> {
        match renewal.headers(http::Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => {
                Some(data[AUTHORIZATION].to_str().unwrap().to_owned())
            }
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_made_anew_after_a_while() {
        let (renewal, made) = renewal(0);
        assert_eq!(shown(&renewal).await.as_deref(), Some("0"));
        renewal.refused();
        assert_eq!(shown(&renewal).await.as_deref(), Some("0"), "it is young");
        tokio::time::advance(RENEW_AFTER).await;
        assert_eq!(shown(&renewal).await.as_deref(), Some("1"));
        tokio::time::advance(RENEW_AFTER * 100).await;
        assert_eq!(shown(&renewal).await.as_deref(), Some("1"), "nobody has refused it");
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_failed_for_good_comes_back() {
        let (renewal, made) = renewal(3);
        let mut asked = 0;
        while shown(&renewal).await.is_none() {
            asked += 1;
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!((asked, made.load(Ordering::Relaxed)), (30, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_is_used_first() {
        let first = Credentials::from(Numbered(7, true));
        let next = || Ok::<_, Cause>(Credentials::from(Numbered(8, true)));
        let renewal = Renewal::starting_with(first, next);
        assert_eq!(shown(&renewal).await.as_deref(), Some("7"));
        renewal.refused();
        tokio::time::advance(RENEW_AFTER).await;
        assert_eq!(shown(&renewal).await.as_deref(), Some("8"));
    }

    #[tokio::test]
    async fn what_cannot_be_made_fails() {
        let renewal = Renewal::new(|| Err::<Credentials, _>(std::io::Error::other("no file")));
        let error = renewal.headers(http::Extensions::new()).await.unwrap_err();
        assert!(error.to_string().contains("no file"), "{error}");
    }
}
