//! Carrying a call out, with what befalls it on the way.

use std::io;

use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_LENGTH;

use crate::answer::Answer;
use crate::call::Call;
use crate::connection::Reply;
use crate::faults::{FaultSubject, Kind, Strike};
use crate::problem::Problem;
use crate::received::Received;
use crate::route::Route;
use crate::world::{Ending, World, refused};

impl World {
    /// Reads a call's body, asks what befalls the call, and sees it to its end.
    pub(crate) async fn carry_out(&self, route: &Route, mut call: Call, body: Incoming) -> Ending {
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
        let mut received = Received::read(body, cut_at).await;
        call.body = received.bytes.clone();
        let strike = if says_later { strike(&call) } else { early };
        if strike.is_some_and(|strike| strike.kind == Kind::CutInUpload) {
            received.is_whole = false;
        }
        let reply = match strike {
            Some(strike) => self.befall(route, call, received.is_whole, strike).await,
            None => {
                let answer = self.handle(route, call, received.is_whole).await.0;
                if received.is_whole { Ok(answer.into()) } else { Err(cut()) }
            }
        };
        (reply, strike.map(|strike| strike.kind))
    }

    /// Carries a call out, or not, and answers it, or not.
    async fn befall(
        &self,
        route: &Route,
        call: Call,
        is_whole: bool,
        strike: Strike,
    ) -> io::Result<Response<Reply>> {
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
        if !is_whole {
            return Err(cut());
        }
        match strike.kind {
            Kind::UnavailableAfter => refuse(Problem::unavailable()),
            Kind::CutAfter => Err(cut()),
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

    /// Gives a call's answer, and of a listing the one before too.
    async fn handle(&self, route: &Route, call: Call, is_whole: bool) -> (Answer, Option<Answer>) {
        let listing = matches!(route, Route::ObjectList { .. })
            .then(|| FaultSubject { call: &call, route, object: None, has_body: false }.listing());
        let answer = self.service.handle(route, call, is_whole).await;
        let before = listing
            .filter(|_| answer.status == 200)
            .and_then(|listing| self.faults.remember(listing, &answer));
        (answer, before)
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "cut on purpose")
}

fn flip_byte(mut answer: Answer, number: u64) -> Answer {
    let mut bytes = answer.body.to_vec();
    let at = number as usize % bytes.len();
    bytes[at] ^= 1 << (number % 8);
    answer.body = bytes.into();
    answer.headers.remove(CONTENT_LENGTH);
    answer
}
