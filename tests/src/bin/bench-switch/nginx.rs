//! nginx's configuration.

use std::path::Path;

use load::{TEST_CERT, TEST_KEY};

use crate::peer::{BEHIND, HTTP1, HTTP2, STAY_S, TLS};

/// It answers by itself, and passes the WebSocket on.
pub(crate) fn config(release: u64, folder: &Path) -> String {
    let folder = folder.display();
    let server = format!(
        "add_header X-Request-Id $http_x_request_id;
         location / {{ default_type application/json; return 200 '{{\"release\":{release}}}'; }}
         location /ws {{
             proxy_pass http://127.0.0.1:{BEHIND};
             proxy_http_version 1.1;
             proxy_set_header Upgrade $http_upgrade;
             proxy_set_header Connection upgrade;
         }}"
    );
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};\n"))
        .concat();
    format!(
        "daemon off;
         pid {folder}/nginx.pid;
         worker_processes 2;
         worker_shutdown_timeout {STAY_S}s;
         events {{ worker_connections 1024; }}
         http {{
             access_log off;
             keepalive_requests 1000000;
             {temporary}
             server {{ listen 0.0.0.0:{HTTP1}; {server} }}
             server {{ listen 0.0.0.0:{HTTP2} http2; {server} }}
             server {{
                 listen 0.0.0.0:{TLS} ssl http2;
                 ssl_certificate {TEST_CERT};
                 ssl_certificate_key {TEST_KEY};
                 {server}
             }}
         }}
"
    )
}
