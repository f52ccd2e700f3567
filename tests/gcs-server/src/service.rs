//! Calls in, answers out: all of the server but the wire and the faults.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::buckets::{self, Registry};
use crate::call::Call;
use crate::credentials::{self, Tokens};
use crate::fields::Fields;
use crate::objects;
use crate::problem::{Done, Problem};
use crate::route::Route;
use crate::uploads::{self, Sessions};

/// What the calls work on.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) buckets: Registry,
    pub(crate) sessions: Sessions,
    pub(crate) tokens: Tokens,
}

/// What a handler gives.
enum Outcome {
    Json(Value),
    Whole(Answer),
}

impl From<Value> for Outcome {
    fn from(value: Value) -> Self {
        Self::Json(value)
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self::Whole(answer)
    }
}

/// How an answer is to be written.
struct Form {
    fields: Option<Fields>,
    pretty: bool,
}

impl Service {
    pub(crate) async fn open(dir: &Path, tokens: Tokens) -> io::Result<Self> {
        let buckets = Registry::open(dir).await?;
        Ok(Self { buckets, sessions: Sessions::default(), tokens })
    }

    /// Answers a call. `is_whole` says whether its body came to its end: of one that did not,
    /// only a session's bytes are kept.
    pub(crate) async fn handle(&self, route: &Route, mut call: Call, is_whole: bool) -> Answer {
        let answered = match self.admit(route, &mut call) {
            Ok(form) => self.carry_out(route, call, is_whole).await.map(|out| (out, form)),
            Err(problem) => Err(problem),
        };
        match answered {
            Ok((Outcome::Whole(answer), _)) => answer,
            Ok((Outcome::Json(json), form)) => {
                let json = form.fields.map_or_else(|| json.clone(), |fields| fields.of(&json));
                Answer::json(200, &json, form.pretty)
            }
            Err(problem) => {
                Answer::of_problem(&problem, matches!(route, Route::ObjectMedia { .. }))
            }
        }
    }

    /// Checks what all calls have in common.
    fn admit(&self, route: &Route, call: &mut Call) -> Done<Form> {
        if let Some((permission, bucket)) = route.permission() {
            self.tokens.check(call.header("authorization"), permission, call.now)?;
            if !self.tokens.allows(bucket, permission) {
                return Err(Problem::forbidden(permission));
            }
        }
        if !route.is_storage() {
            return Ok(Form { fields: None, pretty: true });
        }
        call.check_headers(route.headers())?;
        let params = &mut call.params;
        match (params.text("alt")?.as_deref(), route) {
            (None | Some("json"), _) | (Some("media"), Route::ObjectMedia { .. }) => {}
            (Some(other), _) => return Err(Problem::unknown(format_args!("alt={other}"))),
        }
        let pretty = params.text("prettyPrint")?.as_deref() != Some("false");
        // For whom a call counts.
        params.text("quotaUser")?;
        if !matches!(route, Route::UploadPut { .. }) {
            params.text("uploadType")?;
        }
        // A session would have to keep them until its end, and a download has no fields.
        let has_fields = !matches!(
            route,
            Route::UploadStart { .. } | Route::UploadPut { .. } | Route::ObjectMedia { .. }
        );
        let fields = if has_fields { params.filled("fields")? } else { None };
        let fields = fields.map(|text| Fields::parse(&text)).transpose()?;
        if let Some(fields) = &fields {
            fields.check(&[&objects::FIELDS[..], &buckets::FIELDS[..]].concat())?;
        }
        Ok(Form { fields, pretty })
    }

    async fn carry_out(&self, route: &Route, mut call: Call, is_whole: bool) -> Done<Outcome> {
        if !is_whole && !matches!(route, Route::UploadPut { .. }) {
            return Err(Problem::invalid("The request's body was cut short."));
        }
        Ok(match route {
            Route::BucketInsert => buckets::insert(self, call).await?.into(),
            Route::BucketList => buckets::list(self, call)?.into(),
            Route::BucketGet { bucket } => buckets::get(self, call, bucket)?.into(),
            Route::BucketPatch { bucket } => buckets::patch(self, call, bucket)?.into(),
            Route::BucketDelete { bucket } => buckets::delete(self, call, bucket).await?.into(),
            Route::BucketTestPermissions { bucket } => {
                buckets::test_permissions(self, call, bucket)?.into()
            }
            Route::ObjectList { bucket } => objects::list(self, call, bucket)?.into(),
            Route::ObjectGet { bucket, name } => objects::get(self, call, bucket, name)?.into(),
            Route::ObjectMedia { bucket, name } => {
                objects::media(self, call, bucket, name).await?.into()
            }
            Route::ObjectPatch { bucket, name } => {
                objects::patch(self, call, bucket, name).await?.into()
            }
            Route::ObjectDelete { bucket, name } => {
                objects::delete(self, call, bucket, name).await?.into()
            }
            Route::UploadMedia { bucket } => uploads::media(self, call, bucket).await?.into(),
            Route::UploadMultipart { bucket } => {
                uploads::multipart(self, call, bucket).await?.into()
            }
            Route::UploadStart { bucket } => uploads::start(self, call, bucket)?.into(),
            Route::UploadPut { bucket, id } => {
                uploads::put(self, call, bucket, id, is_whole).await?.into()
            }
            Route::UploadCancel { bucket, id } => uploads::cancel(self, call, bucket, id)?.into(),
            Route::Token => credentials::token(&self.tokens, &call).into(),
            Route::GenerateAccessToken => {
                credentials::generate_access_token(&self.tokens, &call)?.into()
            }
            Route::Metadata => credentials::metadata(&self.tokens, &mut call)?.into(),
            Route::Control(_) => json!({}).into(),
        })
    }

    /// The object that a call is about, as far as it can be known.
    pub(crate) fn object_name(&self, route: &Route, call: &Call) -> Option<String> {
        match route {
            Route::UploadPut { id, .. } | Route::UploadCancel { id, .. } => {
                self.sessions.object_name(id)
            }
            Route::UploadMultipart { .. }
            | Route::UploadStart { .. }
            | Route::UploadMedia { .. } => {
                let in_query = call.params.peek("name").map(str::to_owned);
                in_query.or_else(|| match route {
                    Route::UploadMultipart { .. } => {
                        uploads::multipart_object_name(call.header("content-type"), &call.body)
                    }
                    _ => call.json().ok()?.get("name")?.as_str().map(str::to_owned),
                })
            }
            _ => route.object().map(str::to_owned),
        }
    }
}
