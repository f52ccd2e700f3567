//! The call that faults are asked for, and what can befall it.

use std::time::Duration;

use super::kind::Kind;
use crate::call::Call;
use crate::route::Route;

/// A call, before it is carried out.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) call: &'a Call,
    pub(crate) route: &'a Route,
    pub(crate) object: Option<String>,
    /// Whether a body comes that can be cut.
    pub(crate) has_body: bool,
}

/// What befalls a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    /// The rule that it is by.
    pub(crate) rule: u64,
    pub(crate) kind: Kind,
    pub(crate) delay: Duration,
    pub(crate) retry_after_secs: u64,
    /// For what else is left to chance.
    pub(crate) number: u64,
}

impl Subject<'_> {
    /// The same listing has the same text.
    pub(crate) fn listing(&self) -> String {
        format!("{}?{}", self.call.path, self.call.query)
    }

    pub(super) fn can_be_befallen_by(&self, kind: Kind, has_listing: bool) -> bool {
        match kind {
            Kind::LostPrecondition => {
                let params = &self.call.params;
                let expects = ["ifGenerationMatch", "ifMetagenerationMatch"];
                expects.iter().any(|name| params.peek(name).is_some())
                    && !matches!(self.route, Route::UploadPut { .. })
            }
            Kind::CutInUpload => self.has_body,
            Kind::StaleList => matches!(self.route, Route::ObjectList { .. }) && has_listing,
            Kind::ExpiredToken => self.route.permission().is_some(),
            Kind::FlippedByte => matches!(self.route, Route::ObjectMedia { .. }),
            // Too often is told of changes; it can come for anything.
            Kind::TooManyRequests
            | Kind::InternalError
            | Kind::UnavailableBefore
            | Kind::UnavailableAfter
            | Kind::CutBefore
            | Kind::CutAfter
            | Kind::CutInAnswer
            | Kind::Slow => true,
        }
    }
}
