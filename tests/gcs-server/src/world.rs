//! One call from its head to its end, with what befalls it on the way.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use deploy::Timestamp;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_LENGTH, DATE, HeaderValue};
use hyper::{Request, Response};

use crate::answer::Answer;
use crate::call::Call;
use crate::connection::Reply;
use crate::faults::{FaultSubject, Faults, Kind, Outage, Strike};
use crate::problem::Problem;
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

/// A request's body: what came of it, and whether that is all.
struct Received {
    bytes: Bytes,
    is_whole: bool,
}

impl World {
    /// Answers a request. An error cuts the connection.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> io::Result<Response<Reply>> {
        let (head, body) = request.into_parts();
        let (method, path) = (head.method.clone(), head.uri.to_string());
        let base = Arc::clone(&self.base);
        let now = self.faults.now();
        let call = Call::new(head.method, &head.uri, head.headers, base, now);
        let (mut reply, struck) = match call.and_then(|call| Ok((Route::of(&call)?, call))) {
            Ok((route, call)) => self.carry_out(&route, call, body).await,
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
            let status =
                reply.as_ref().map_or(0, |reply: &Response<Reply>| reply.status().as_u16());
            let fault = struck.map(|kind| format!(" {kind}")).unwrap_or_default();
            log.line(&format!("{method} {path} {status}{fault}"));
        }
        reply
    }

    async fn carry_out(
        self: &Arc<Self>,
        route: &Route,
        mut call: Call,
        body: Incoming,
    ) -> (io::Result<Response<Reply>>, Option<Kind>) {
        self.stats.count_call(call.method.as_str(), route.kind());
        if let Route::Control(control) = route {
            call.body = receive(body, None).await.bytes;
            return (Ok(self.control(*control, call).await.into()), None);
        }
        let outage = *self.faults.outage().borrow();
        if let Outage::Status(status) = outage
            && route.is_storage()
        {
            receive(body, None).await;
            let problem = Problem::new(status, "backendError", "The service is away.");
            return (Ok(Answer::of_problem(&problem, false).into()), None);
        }
        if route.bucket().is_some_and(|bucket| self.faults.hides(bucket)) {
            receive(body, None).await;
            return (Ok(refused(&Problem::no_bucket(), route)), None);
        }
        let length = call.header("content-length").and_then(|length| length.parse::<u64>().ok());
        let has_body = length.map_or(!body.is_end_stream(), |length| length > 1);
        let strike = |call: &Call| {
            let object = self.service.object_name(route, call);
            self.faults.strike(&FaultSubject { call, route, object, has_body })
        };
        // Where the body says which object it is about, it has to be read first.
        let says_later = self.service.object_name(route, &call).is_none() && has_body;
        let early = if says_later { None } else { strike(&call) };
        let cut_at = early
            .filter(|strike| strike.kind == Kind::CutInUpload)
            .map(|_| length.unwrap_or(2) / 2);
        let mut received = receive(body, cut_at).await;
        call.body = received.bytes.clone();
        let strike = if says_later { strike(&call) } else { early };
        if strike.is_some_and(|strike| strike.kind == Kind::CutInUpload) {
            received.is_whole = false;
        }
        let reply = self.befall(route, call, received.is_whole, strike).await;
        (reply, strike.map(|strike| strike.kind))
    }

    /// Carries a call out, or not, and answers it, or not.
    async fn befall(
        self: &Arc<Self>,
        route: &Route,
        call: Call,
        is_whole: bool,
        strike: Option<Strike>,
    ) -> io::Result<Response<Reply>> {
        let Some(strike) = strike else {
            let answer = self.handle(route, call, is_whole).await.0;
            return if is_whole { Ok(answer.into()) } else { Err(cut()) };
        };
        let refuse = |problem: Problem| Ok(refused(&problem, route));
        match strike.kind {
            Kind::LostPrecondition => return refuse(Problem::precondition()),
            Kind::TooManyRequests => {
                return refuse(Problem::too_many_requests(strike.retry_after_secs));
            }
            Kind::InternalError => return refuse(Problem::internal()),
            Kind::UnavailableBefore => return refuse(Problem::unavailable()),
            Kind::ExpiredToken => return refuse(Problem::bad_token()),
            Kind::CutBefore => return Err(cut()),
            Kind::Slow => tokio::time::sleep(strike.delay).await,
            Kind::UnavailableAfter
            | Kind::CutAfter
            | Kind::CutInAnswer
            | Kind::CutInUpload
            | Kind::StaleList
            | Kind::FlippedByte => {}
        }
        let (answer, before) = self.handle(route, call, is_whole).await;
        match strike.kind {
            Kind::UnavailableAfter => refuse(Problem::unavailable()),
            Kind::CutAfter | Kind::CutInUpload => Err(cut()),
            Kind::CutInAnswer if answer.body.len() > 1 => Ok(Reply::cut_in_body(answer)),
            Kind::CutInAnswer => Err(cut()),
            Kind::StaleList => Ok(before.unwrap_or(answer).into()),
            Kind::FlippedByte if (200..300).contains(&answer.status) && !answer.body.is_empty() => {
                Ok(flip_byte(answer, strike.number).into())
            }
            // There is no byte to flip: it waits for a call that has one.
            Kind::FlippedByte => {
                self.faults.give_back(&strike);
                Ok(answer.into())
            }
            _ => Ok(answer.into()),
        }
    }

    /// Carries a call out. Gives its answer, and of a listing the one before too.
    async fn handle(
        self: &Arc<Self>,
        route: &Route,
        call: Call,
        is_whole: bool,
    ) -> (Answer, Option<Answer>) {
        let listing = matches!(route, Route::ObjectList { .. })
            .then(|| FaultSubject { call: &call, route, object: None, has_body: false }.listing());
        // By itself, as a client that goes away would else end it half done.
        let (world, route) = (Arc::clone(self), route.clone());
        let handling =
            tokio::spawn(async move { world.service.handle(&route, call, is_whole).await });
        let answer = handling
            .await
            .unwrap_or_else(|error| Answer::of_problem(&Problem::broken(error), false));
        let before = listing
            .filter(|_| answer.status == 200)
            .and_then(|listing| self.faults.remember(listing, &answer));
        (answer, before)
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "cut on purpose")
}

/// Reads a body, up to about `cut_at` bytes of it if that is given.
async fn receive(mut body: Incoming, cut_at: Option<u64>) -> Received {
    let mut bytes = BytesMut::new();
    loop {
        if cut_at.is_some_and(|at| bytes.len() as u64 >= at) {
            return Received { bytes: bytes.freeze(), is_whole: false };
        }
        match body.frame().await {
            None => return Received { bytes: bytes.freeze(), is_whole: true },
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    bytes.extend_from_slice(data);
                }
            }
            // The client is gone; what came may still count.
            Some(Err(_)) => return Received { bytes: bytes.freeze(), is_whole: false },
        }
    }
}

fn flip_byte(mut answer: Answer, number: u64) -> Answer {
    let mut bytes = answer.body.to_vec();
    let at = number as usize % bytes.len();
    bytes[at] ^= 1 << (number % 8);
    answer.body = bytes.into();
    answer.headers.remove(CONTENT_LENGTH);
    answer
}

fn refused(problem: &Problem, route: &Route) -> Response<Reply> {
    Answer::of_problem(problem, matches!(route, Route::ObjectMedia { .. })).into()
}

fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
