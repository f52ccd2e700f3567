//! Passes the bytes of one connection, both ways.

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tracing::debug;

/// Passes bytes until both sides have ended. One side's end is told to the other at once, which may
/// go on sending; a connection that is cut on one side is cut on the other, so that a client can
/// tell a short answer from a whole one.
pub(super) async fn pass(mut client: TcpStream, mut instance: TcpStream) {
    for stream in [&client, &instance] {
        // It only costs speed where it fails, as it does on a connection that is gone already.
        let _ = stream.set_nodelay(true);
    }
    if let Err(error) = copy_bidirectional(&mut client, &mut instance).await {
        debug!(%error, "a connection was cut");
        for stream in [&client, &instance] {
            // Fails only on the side that is gone already.
            let _ = stream.set_zero_linger();
        }
    }
}
