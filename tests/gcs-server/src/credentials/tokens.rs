//! Access tokens, and what their holders may do.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deploy::Timestamp;

use super::jwt;
use crate::problem::{Done, Problem};

/// The tokens that a server takes, and what is denied to all of them. A handle: clones are the
/// same.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    required: bool,
    /// Each with its end, if it has one.
    valid: HashMap<String, Option<Timestamp>>,
    issuers: HashSet<String>,
    /// Bucket and permission.
    denied: HashSet<(String, String)>,
    lifetime: Duration,
    refused_grants: Option<String>,
    /// Whose tokens are taken too.
    others: Vec<Tokens>,
    taken: BTreeSet<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            required: false,
            valid: HashMap::new(),
            issuers: HashSet::new(),
            denied: HashSet::new(),
            lifetime: Duration::from_secs(3599),
            refused_grants: None,
            others: Vec::new(),
            taken: BTreeSet::new(),
        }
    }
}

/// What changes objects.
const WRITE: [&str; 3] =
    ["storage.objects.create", "storage.objects.delete", "storage.objects.update"];

/// What reads them.
const READ: [&str; 2] = ["storage.objects.get", "storage.objects.list"];

impl Tokens {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes this token from now on. With the first one, calls without a token are refused.
    pub fn add(&self, token: impl Into<String>) {
        let mut state = self.lock();
        state.required = true;
        state.valid.insert(token.into(), None);
    }

    /// Refuses calls without a valid token, or takes all calls again.
    pub fn require(&self, required: bool) {
        self.lock().required = required;
    }

    /// Refuses this token from now on.
    pub fn expire(&self, token: &str) {
        self.lock().valid.remove(token);
    }

    /// Refuses every token that there is, so that clients have to get new ones.
    pub fn expire_all(&self) {
        self.lock().valid.clear();
    }

    /// How long the tokens live that are given out from now on.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.lock().lifetime = lifetime;
    }

    /// Makes the token endpoint refuse every grant with this OAuth2 error (`invalid_grant` for a
    /// login that was revoked), and the metadata server find no account; `None` makes both give
    /// tokens again.
    pub fn refuse_grants(&self, error: Option<&str>) {
        self.lock().refused_grants = error.map(str::to_owned);
    }

    /// Takes tokens that the service account of this address signs by itself. Their claims are
    /// looked at, and their signature is not.
    pub fn trust_issuer(&self, email: impl Into<String>) {
        let mut state = self.lock();
        state.required = true;
        state.issuers.insert(email.into());
    }

    /// Takes what another server gives out, too. Not in a circle.
    pub fn trust(&self, other: Self) {
        let mut state = self.lock();
        state.required = true;
        state.others.push(other);
    }

    /// The tokens that calls were let in with; of one that was signed by its holder, who that is.
    pub fn taken(&self) -> BTreeSet<String> {
        self.lock().taken.clone()
    }

    /// Whether this was given out, or added, and has not ended.
    fn holds(&self, token: &str, now: Timestamp) -> bool {
        let state = self.lock();
        match state.valid.get(token) {
            Some(end) => end.is_none_or(|end| now < end),
            None => state.others.iter().any(|other| other.holds(token, now)),
        }
    }

    /// Denies a permission (`storage.objects.create`) in a bucket to everybody.
    pub fn deny(&self, bucket: &str, permission: &str) {
        self.lock().denied.insert((bucket.to_owned(), permission.to_owned()));
    }

    /// Denies everybody to change objects in a bucket.
    pub fn deny_write(&self, bucket: &str) {
        WRITE.iter().for_each(|permission| self.deny(bucket, permission));
    }

    /// Denies everybody to read and list objects in a bucket.
    pub fn deny_read(&self, bucket: &str) {
        READ.iter().for_each(|permission| self.deny(bucket, permission));
    }

    /// Takes back all that was denied in a bucket.
    pub fn allow_all(&self, bucket: &str) {
        self.lock().denied.retain(|(denied, _)| denied != bucket);
    }

    /// Whether a permission is not denied.
    pub(crate) fn allows(&self, bucket: &str, permission: &str) -> bool {
        !self.lock().denied.contains(&(bucket.to_owned(), permission.to_owned()))
    }

    /// Makes a token. Gives it and how long it lives.
    pub(crate) fn issue(&self, now: Timestamp) -> (String, Duration) {
        let token = format!("ya29.test-{}", deploy::id::Id::random());
        let mut state = self.lock();
        let lifetime = state.lifetime;
        state.valid.insert(token.clone(), now.checked_add(lifetime).ok());
        (token, lifetime)
    }

    pub(crate) fn refused_grants(&self) -> Option<String> {
        self.lock().refused_grants.clone()
    }

    /// Fails where a call's `Authorization` does not let it in.
    pub(crate) fn check(
        &self,
        authorization: Option<&str>,
        permission: &str,
        now: Timestamp,
    ) -> Done<()> {
        if !self.lock().required {
            return Ok(());
        }
        let Some(authorization) = authorization else { return Err(Problem::anonymous(permission)) };
        let token = authorization.strip_prefix("Bearer ").ok_or_else(Problem::bad_token)?;
        let holder = match self.holds(token, now) {
            true => Some(token.to_owned()),
            false => jwt::issuer(token, now),
        };
        let mut state = self.lock();
        match holder.filter(|holder| holder == token || state.issuers.contains(holder)) {
            None => Err(Problem::bad_token()),
            Some(holder) => {
                state.taken.insert(holder);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn nobody_is_asked_until_there_is_a_token() {
        let tokens = Tokens::default();
        let check = |header: Option<&str>, second| {
            tokens.check(header, "storage.objects.get", at(second)).err().map(|p| p.status)
        };
        assert_eq!(check(None, 0), None);
        tokens.add("fixed");
        assert_eq!(check(None, 0), Some(401));
        assert_eq!(check(Some("fixed"), 0), Some(401));
        assert_eq!(check(Some("Bearer fixed"), 0), None);
        tokens.set_lifetime(Duration::from_secs(10));
        let bearer = format!("Bearer {}", tokens.issue(at(0)).0);
        assert_eq!(check(Some(&bearer), 9), None);
        assert_eq!(check(Some(&bearer), 10), Some(401));
        tokens.expire("fixed");
        assert_eq!(check(Some("Bearer fixed"), 0), Some(401));
        tokens.require(false);
        assert_eq!(check(None, 0), None);
    }

    #[test]
    fn anothers_tokens_are_taken_and_told() {
        let (tokens, other) = (Tokens::default(), Tokens::default());
        tokens.trust(other.clone());
        let token = other.issue(at(0)).0;
        let check = |second| {
            let header = format!("Bearer {token}");
            tokens.check(Some(&header), "storage.objects.get", at(second)).is_ok()
        };
        assert!(!check(4_000));
        assert!(tokens.taken().is_empty());
        assert!(check(0));
        assert_eq!(tokens.taken(), BTreeSet::from([token.clone()]));
        other.expire_all();
        assert!(!check(0));
    }

    #[test]
    fn what_is_denied_is_denied_in_that_bucket() {
        let tokens = Tokens::default();
        tokens.deny_write("a");
        assert!(!tokens.allows("a", "storage.objects.create"));
        assert!(tokens.allows("a", "storage.objects.get"));
        assert!(tokens.allows("b", "storage.objects.create"));
        tokens.allow_all("a");
        assert!(tokens.allows("a", "storage.objects.create"));
    }
}
