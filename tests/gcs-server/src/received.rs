//! A request's body, as far as it comes.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// What came of a body, and whether that is all.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    pub(crate) is_whole: bool,
}

impl Received {
    /// Reads a body, up to about `cut_at` bytes of it if that is given.
    pub(crate) async fn read(mut body: Incoming, cut_at: Option<u64>) -> Self {
        let mut bytes = BytesMut::new();
        let is_whole = loop {
            if cut_at.is_some_and(|at| bytes.len() as u64 >= at) {
                break false;
            }
            match body.frame().await {
                None => break true,
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        bytes.extend_from_slice(data);
                    }
                }
                // The client is gone; what came may still count.
                Some(Err(_)) => break false,
            }
        };
        Self { bytes: bytes.freeze(), is_whole }
    }
}
