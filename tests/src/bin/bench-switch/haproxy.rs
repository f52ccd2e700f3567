//! HAProxy's configuration.

use std::path::Path;

use load::{TEST_CERT, TEST_KEY};

use crate::peer::{BEHIND, HTTP1, HTTP2, STAY_S, TLS};

/// It answers by itself, and passes the WebSocket on.
pub(crate) fn config(release: u64, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "global
    hard-stop-after {STAY_S}s
    stats socket {folder}/stats mode 600 expose-fd listeners level admin
    ssl-load-extra-files key
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend all
    bind 0.0.0.0:{HTTP1}
    bind 0.0.0.0:{HTTP2} proto h2
    bind 0.0.0.0:{TLS} ssl crt {TEST_CERT} alpn h2,http/1.1
    use_backend behind if {{ path /ws }}
    http-request return status 200 content-type application/json \
hdr X-Request-Id %[req.hdr(x-request-id)] string '{{\"release\":{release}}}' unless {{ path /ws }}
backend behind
    server app 127.0.0.1:{BEHIND}
"
    )
    .replace(TEST_CERT, &certificate(&folder.to_string()))
}

/// Certificate and key in one file, as HAProxy wants them.
fn certificate(folder: &str) -> String {
    let path = format!("{folder}/both.pem");
    let both = [TEST_CERT, TEST_KEY].map(|file| std::fs::read_to_string(file).unwrap_or_default());
    // A file that is missing or short is what HAProxy then complains of.
    let _ = std::fs::write(&path, both.concat());
    path
}
