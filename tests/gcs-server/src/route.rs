//! Which call a request is.

use hyper::Method;

use crate::call::Call;
use crate::problem::{Done, Problem};

/// A call that this server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    BucketInsert,
    BucketList,
    BucketGet { bucket: String },
    BucketPatch { bucket: String },
    BucketDelete { bucket: String },
    BucketTestPermissions { bucket: String },
    ObjectList { bucket: String },
    ObjectGet { bucket: String, name: String },
    ObjectMedia { bucket: String, name: String },
    ObjectPatch { bucket: String, name: String },
    ObjectDelete { bucket: String, name: String },
    UploadMedia { bucket: String },
    UploadMultipart { bucket: String },
    UploadStart { bucket: String },
    UploadPut { bucket: String, id: String },
    UploadCancel { bucket: String, id: String },
    Token,
    GenerateAccessToken,
    Metadata,
    Control(Control),
}

/// A call on this server as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    AddFault,
    Faults,
    ClearFaults,
    Stats,
    Lifecycle,
}

impl Route {
    /// Finds it. What there is none for is refused by its name.
    pub(crate) fn of(call: &Call) -> Done<Self> {
        let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        let found = match segments.as_slice() {
            ["storage", "v1", rest @ ..] => storage(call, rest),
            ["download", "storage", "v1", "b", bucket, "o", name] if is(call, "GET") => {
                Some(media(call, bucket, name)?)
            }
            // The API's discovery document has the second one for sessions; gcloud takes it.
            ["upload", "storage", "v1", "b", bucket, "o"]
            | ["resumable", "upload", "storage", "v1", "b", bucket, "o"] => upload(call, bucket),
            ["_engr", what] => control(call, what).map(Self::Control),
            ["token"] | ["v1", "token"] if is(call, "POST") => Some(Self::Token),
            ["v1", "projects", "-", "serviceAccounts", account] if is(call, "POST") => {
                account.ends_with(":generateAccessToken").then_some(Self::GenerateAccessToken)
            }
            ["computeMetadata", ..] | [""] if is(call, "GET") => Some(Self::Metadata),
            _ => None,
        };
        found.ok_or_else(|| Problem::unknown(format_args!("{} {}", call.method, call.path)))
    }

    /// The name in counts, after Google's names of the methods.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::BucketInsert => "buckets.insert",
            Self::BucketList => "buckets.list",
            Self::BucketGet { .. } => "buckets.get",
            Self::BucketPatch { .. } => "buckets.patch",
            Self::BucketDelete { .. } => "buckets.delete",
            Self::BucketTestPermissions { .. } => "buckets.testIamPermissions",
            Self::ObjectList { .. } => "objects.list",
            Self::ObjectGet { .. } => "objects.get",
            Self::ObjectMedia { .. } => "objects.get media",
            Self::ObjectPatch { .. } => "objects.patch",
            Self::ObjectDelete { .. } => "objects.delete",
            Self::UploadMedia { .. } => "objects.insert media",
            Self::UploadMultipart { .. } => "objects.insert multipart",
            Self::UploadStart { .. } => "objects.insert resumable",
            Self::UploadPut { .. } => "upload put",
            Self::UploadCancel { .. } => "upload cancel",
            Self::Token => "token",
            Self::GenerateAccessToken => "generateAccessToken",
            Self::Metadata => "metadata",
            Self::Control(_) => "control",
        }
    }

    /// The permission that it takes, and in which bucket, if in one. `None` where no token is
    /// asked for.
    pub(crate) fn permission(&self) -> Option<(&'static str, &str)> {
        Some(match self {
            Self::BucketInsert => ("storage.buckets.create", ""),
            Self::BucketList => ("storage.buckets.list", ""),
            Self::BucketGet { bucket } => ("storage.buckets.get", bucket),
            Self::BucketPatch { bucket } => ("storage.buckets.update", bucket),
            Self::BucketDelete { bucket } => ("storage.buckets.delete", bucket),
            // Whoever is let in at all may ask what it may do.
            Self::BucketTestPermissions { .. } => ("storage.buckets.testIamPermissions", ""),
            Self::ObjectList { bucket } => ("storage.objects.list", bucket),
            Self::ObjectGet { bucket, .. } | Self::ObjectMedia { bucket, .. } => {
                ("storage.objects.get", bucket)
            }
            Self::ObjectPatch { bucket, .. } => ("storage.objects.update", bucket),
            Self::ObjectDelete { bucket, .. } => ("storage.objects.delete", bucket),
            Self::UploadMedia { bucket }
            | Self::UploadMultipart { bucket }
            | Self::UploadStart { bucket } => ("storage.objects.create", bucket),
            Self::GenerateAccessToken => ("iam.serviceAccounts.getAccessToken", ""),
            // Who knows a session's address may send to it.
            Self::UploadPut { .. } | Self::UploadCancel { .. } => return None,
            Self::Token | Self::Metadata | Self::Control(_) => return None,
        })
    }

    /// The headers beyond the common ones that it takes.
    pub(crate) fn headers(&self) -> &'static [&'static str] {
        match self {
            Self::UploadStart { .. } => &["x-upload-content-type", "x-upload-content-length"],
            // Google's Python client says the type everywhere.
            Self::UploadMedia { .. } | Self::UploadMultipart { .. } | Self::UploadPut { .. } => {
                &["x-goog-hash", "x-upload-content-type"]
            }
            _ => &["x-upload-content-type"],
        }
    }

    /// Whether it is a call on storage, which is what faults befall.
    pub(crate) fn is_storage(&self) -> bool {
        !matches!(self, Self::Token | Self::GenerateAccessToken | Self::Metadata | Self::Control(_))
    }

    /// The bucket that it is about.
    pub(crate) fn bucket(&self) -> Option<&str> {
        match self {
            Self::UploadPut { bucket, .. } | Self::UploadCancel { bucket, .. } => Some(bucket),
            Self::BucketTestPermissions { bucket } => Some(bucket),
            _ => self.permission().map(|(_, bucket)| bucket).filter(|bucket| !bucket.is_empty()),
        }
    }

    /// The object that it is about, as far as the path says.
    pub(crate) fn object(&self) -> Option<&str> {
        match self {
            Self::ObjectGet { name, .. }
            | Self::ObjectMedia { name, .. }
            | Self::ObjectPatch { name, .. }
            | Self::ObjectDelete { name, .. } => Some(name),
            _ => None,
        }
    }
}

fn is(call: &Call, method: &str) -> bool {
    call.method.as_str() == method
}

fn storage(call: &Call, rest: &[&str]) -> Option<Route> {
    let bucket = || rest.get(1).map(|bucket| (*bucket).to_owned()).unwrap_or_default();
    Some(match (&call.method, rest) {
        (&Method::POST, ["b"]) => Route::BucketInsert,
        (&Method::GET, ["b"]) => Route::BucketList,
        (&Method::GET, ["b", _]) => Route::BucketGet { bucket: bucket() },
        (&Method::PATCH, ["b", _]) => Route::BucketPatch { bucket: bucket() },
        (&Method::DELETE, ["b", _]) => Route::BucketDelete { bucket: bucket() },
        (&Method::GET, ["b", _, "iam", "testPermissions"]) => {
            Route::BucketTestPermissions { bucket: bucket() }
        }
        (&Method::GET, ["b", _, "o"]) => Route::ObjectList { bucket: bucket() },
        (method, ["b", _, "o", name]) if !name.is_empty() => {
            let (bucket, name) = (bucket(), (*name).to_owned());
            match *method {
                Method::GET if call.params.peek("alt") == Some("media") => {
                    Route::ObjectMedia { bucket, name }
                }
                Method::GET => Route::ObjectGet { bucket, name },
                Method::PATCH => Route::ObjectPatch { bucket, name },
                Method::DELETE => Route::ObjectDelete { bucket, name },
                _ => return None,
            }
        }
        _ => return None,
    })
}

fn media(call: &Call, bucket: &str, name: &str) -> Done<Route> {
    if call.params.peek("alt") != Some("media") {
        return Err(Problem::unknown("/download without alt=media"));
    }
    Ok(Route::ObjectMedia { bucket: bucket.to_owned(), name: name.to_owned() })
}

fn upload(call: &Call, bucket: &str) -> Option<Route> {
    let bucket = bucket.to_owned();
    let id = call.params.peek("upload_id").map(str::to_owned);
    Some(match (&call.method, call.params.peek("uploadType"), id) {
        (&Method::POST, Some("media"), None) => Route::UploadMedia { bucket },
        (&Method::POST, Some("multipart"), None) => Route::UploadMultipart { bucket },
        (&Method::POST, Some("resumable"), None) => Route::UploadStart { bucket },
        (&Method::PUT, _, Some(id)) => Route::UploadPut { bucket, id },
        (&Method::DELETE, _, Some(id)) => Route::UploadCancel { bucket, id },
        _ => return None,
    })
}

fn control(call: &Call, what: &str) -> Option<Control> {
    Some(match (&call.method, what) {
        (&Method::POST, "faults") => Control::AddFault,
        (&Method::GET, "faults") => Control::Faults,
        (&Method::DELETE, "faults") => Control::ClearFaults,
        (&Method::GET, "stats") => Control::Stats,
        (&Method::POST, "lifecycle") => Control::Lifecycle,
        _ => return None,
    })
}
