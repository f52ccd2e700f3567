//! One call from its head to its end.

use std::io;
use std::sync::Arc;

use deploy::Timestamp;
use hyper::body::Incoming;
use hyper::header::{DATE, HeaderValue};
use hyper::{Request, Response};

use crate::answer::Answer;
use crate::call::Call;
use crate::connection::Reply;
use crate::faults::{Faults, Kind, Outage};
use crate::problem::Problem;
use crate::received::Received;
use crate::route::Route;
use crate::server::Log;
use crate::service::Service;
use crate::stats::Stats;

/// All that calls work on.
pub(crate) struct World {
    pub(crate) service: Service,
    pub(crate) faults: Faults,
    pub(crate) stats: Stats,
    pub(crate) base: Arc<str>,
    pub(crate) log: Option<Log>,
}

/// An answer to send, or an error that cuts the connection; and what befell the call.
pub(crate) type Ending = (io::Result<Response<Reply>>, Option<Kind>);

impl World {
    /// Answers a request. An error cuts the connection.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> io::Result<Response<Reply>> {
        // By itself, as a client that goes away would else end it half done.
        let answering = tokio::spawn(async move { self.live(request).await });
        answering
            .await
            .unwrap_or_else(|error| Ok(Answer::of_problem(&Problem::broken(error), false).into()))
    }

    async fn live(&self, request: Request<Incoming>) -> io::Result<Response<Reply>> {
        let (head, body) = request.into_parts();
        let (method, path) = (head.method.clone(), head.uri.to_string());
        let base = Arc::clone(&self.base);
        let now = self.faults.now();
        let call = Call::new(head.method, &head.uri, head.headers, base, now);
        let (mut reply, struck) = match call.and_then(|call| Ok((Route::of(&call)?, call))) {
            Ok((route, call)) => {
                self.stats.count_call(method.as_str(), route.kind());
                self.dispatch(&route, call, body).await
            }
            Err(problem) => {
                self.stats.count_call(method.as_str(), "unknown");
                (Ok(Answer::of_problem(&problem, false).into()), None)
            }
        };
        // The wire tells the right time by itself.
        if let Ok(reply) = &mut reply
            && self.faults.has_skewed_clock()
            && let Ok(date) = HeaderValue::from_str(&http_date(now))
        {
            reply.headers_mut().insert(DATE, date);
        }
        if let Some(log) = &self.log {
            let status = reply.as_ref().map_or(0, |reply| reply.status().as_u16());
            let fault = struck.map(|kind| format!(" {kind}")).unwrap_or_default();
            log.line(&format!("{method} {path} {status}{fault}"));
        }
        reply
    }

    async fn dispatch(&self, route: &Route, mut call: Call, body: Incoming) -> Ending {
        if let Route::Control(control) = route {
            call.body = Received::read(body, None).await.bytes;
            return (Ok(self.control(*control, call).await.into()), None);
        }
        if let Some(problem) = self.away(route) {
            Received::read(body, None).await;
            return (Ok(refused(&problem, route)), None);
        }
        self.carry_out(route, call, body).await
    }

    /// Whether the server, or the call's bucket, is away.
    fn away(&self, route: &Route) -> Option<Problem> {
        let outage = *self.faults.outage().borrow();
        match outage {
            Outage::Status(status) if route.is_storage() => {
                Some(Problem::new(status, "backendError", "The service is away."))
            }
            _ => {
                let is_hidden = route.bucket().is_some_and(|bucket| self.faults.hides(bucket));
                is_hidden.then(Problem::no_bucket)
            }
        }
    }
}

/// A failed call's answer.
pub(crate) fn refused(problem: &Problem, route: &Route) -> Response<Reply> {
    Answer::of_problem(problem, matches!(route, Route::ObjectMedia { .. })).into()
}

fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
