//! Resumable uploads: a session that the bytes are sent to piece by piece.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use serde_json::Value;

use super::content_range::ContentRange;
use crate::answer::Answer;
use crate::buckets::projection;
use crate::call::Call;
use crate::checksums::Claimed;
use crate::objects::Draft;
use crate::preconditions::Preconditions;
use crate::problem::{Done, Problem};
use crate::service::Service;

/// Pieces but the last must be whole numbers of these, and of a request that was cut as many are
/// kept.
const QUANTUM: usize = 256 * 1024;

/// The uploads under way. They are in memory: a server that is started anew knows none of them.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    sessions: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Session>>>>,
    names: Mutex<HashMap<String, String>>,
}

#[derive(Debug)]
struct Session {
    bucket: String,
    name: String,
    draft: Draft,
    expected: Preconditions,
    received: BytesMut,
    total: Option<u64>,
    /// The object's JSON, once it is written.
    done: Option<Value>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<Session>>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which object a session is for.
    pub(crate) fn object_name(&self, id: &str) -> Option<String> {
        self.names().get(id).cloned()
    }

    fn begin(&self, session: Session) -> String {
        let id = deploy::id::Id::random().to_string();
        self.names().insert(id.clone(), session.name.clone());
        self.lock().insert(id.clone(), Arc::new(tokio::sync::Mutex::new(session)));
        id
    }

    fn find(&self, id: &str, bucket: &str) -> Done<Arc<tokio::sync::Mutex<Session>>> {
        let found = self.lock().get(id).cloned();
        match found {
            Some(session) if session.try_lock().map_or(true, |s| s.bucket == bucket) => Ok(session),
            _ if self.names().contains_key(id) => {
                Err(Problem::new(410, "uploadTerminated", "This upload was cancelled."))
            }
            _ => Err(Problem::new(404, "notFound", "Not Found")),
        }
    }
}

/// `POST …?uploadType=resumable`: begins a session, and tells where its bytes go.
pub(crate) fn start(service: &Service, mut call: Call, bucket: &str) -> Done<Answer> {
    let mut draft = Draft::parse(call.json()?, bucket)?;
    super::type_from_header(&call, "x-upload-content-type", &mut draft);
    let mut params = std::mem::take(&mut call.params);
    projection(&mut params)?;
    let name = super::name(&mut params, &draft)?;
    let expected = Preconditions::take(&mut params)?;
    params.finish()?;
    let total = call.header("x-upload-content-length").map(|length| {
        length.parse().map_err(|_| Problem::bad_parameter("x-upload-content-length", length))
    });
    let total = total.transpose()?;
    service.buckets.get(bucket)?.check_change(&name, expected)?;
    let session = Session {
        bucket: bucket.to_owned(),
        name,
        draft,
        expected,
        received: BytesMut::new(),
        total,
        done: None,
    };
    let id = service.sessions.begin(session);
    let base = &call.base;
    let location =
        format!("{base}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={id}");
    Ok(Answer::empty(200).with("location", location).with("x-guploader-uploadid", id))
}

/// `DELETE …?upload_id=`: gives a session up.
pub(crate) fn cancel(service: &Service, mut call: Call, bucket: &str, id: &str) -> Done<Answer> {
    let mut params = std::mem::take(&mut call.params);
    params.text("upload_id")?;
    params.finish()?;
    service.sessions.find(id, bucket)?;
    service.sessions.lock().remove(id);
    Ok(Answer::empty(499))
}

/// `PUT …?upload_id=`: bytes, or a question how many there are. `is_whole` says whether the body
/// came to its end.
pub(crate) async fn put(
    service: &Service,
    mut call: Call,
    bucket: &str,
    id: &str,
    is_whole: bool,
) -> Done<Answer> {
    let mut params = std::mem::take(&mut call.params);
    params.text("upload_id")?;
    // Clients repeat the query of the session's beginning, or leave it out.
    for name in ["name", "uploadType"].into_iter().chain(crate::preconditions::NAMES) {
        params.text(name)?;
    }
    params.finish()?;
    let range = ContentRange::parse(call.header("content-range"))?;
    let session = service.sessions.find(id, bucket)?;
    let mut session = session.lock().await;
    if let Some(done) = &session.done {
        return Ok(Answer::json(200, done, true));
    }
    session.take(range, &call, is_whole)?;
    let is_complete = session.total == Some(session.received.len() as u64);
    if !is_complete {
        return Ok(session.incomplete());
    }
    if let Some(header) = call.header("x-goog-hash") {
        let claimed = Claimed::from_header(header)?;
        claimed.check(&crate::checksums::Checksums::of(&session.received))?;
    }
    let Session { name, draft, expected, received, .. } = &*session;
    let written = service.buckets.get(bucket)?;
    let written = written.write(name, draft, received, *expected, call.now).await?;
    let json = written.resource(&call.base, bucket);
    session.done = Some(json.clone());
    session.received = BytesMut::new();
    Ok(Answer::json(200, &json, true))
}

impl Session {
    /// Takes in a request's bytes, and what it says of the whole.
    fn take(&mut self, range: ContentRange, call: &Call, is_whole: bool) -> Done<()> {
        let length = call.body.len() as u64;
        let Some(start) = range.start else {
            if length > 0 {
                return Err(Problem::invalid("A status check must not have a body."));
            }
            return self.agree_on_total(range.total);
        };
        if is_whole && range.end.is_some_and(|end| end - start != length) {
            return Err(Problem::invalid("The body is not as long as Content-Range says."));
        }
        let received = self.received.len() as u64;
        if start > received {
            let message = format!("The upload has {received} bytes, and {start} come next.");
            return Err(Problem::invalid(message));
        }
        if is_whole && !range.is_rest && !call.body.len().is_multiple_of(QUANTUM) {
            let message = "Every piece of an upload but the last must be a multiple of 256 KiB.";
            return Err(Problem::invalid(message));
        }
        let total = match (range.total, range.is_rest && is_whole) {
            (None, true) => Some(start + length),
            (total, _) => total,
        };
        self.agree_on_total(total)?;
        if self.total.is_some_and(|total| start + length > total) {
            return Err(Problem::invalid("The upload has more bytes than it said."));
        }
        // Bytes that came before may come again.
        let new = call.body.slice(((received - start) as usize).min(call.body.len())..);
        self.received.extend_from_slice(&new);
        if !is_whole {
            let kept = self.received.len() / QUANTUM * QUANTUM;
            self.received.truncate(kept.max(received as usize));
        }
        Ok(())
    }

    fn agree_on_total(&mut self, told: Option<u64>) -> Done<()> {
        match (self.total, told) {
            (Some(known), Some(told)) if known != told => {
                let message =
                    format!("The upload has {known} bytes by one request, {told} by another.");
                Err(Problem::invalid(message))
            }
            (known, told) => {
                self.total = known.or(told);
                Ok(())
            }
        }
    }

    fn incomplete(&self) -> Answer {
        let answer = Answer::empty(308);
        match self.received.len() {
            0 => answer,
            length => answer.with("range", format!("bytes=0-{}", length - 1)),
        }
    }
}
