//! What passes between the agent and an app: the names of the variables and the words of the
//! readiness protocol.
//!
//! Sockets are handed over as systemd does it (`sd_listen_fds(3)`), and readiness is told as
//! systemd expects it (`sd_notify(3)`), so that apps and libraries that know systemd need nothing
//! else.

/// The app's name.
pub const APP: &str = "ENGR_APP";

/// The release's number, in decimal.
pub const VERSION: &str = "ENGR_VERSION";

/// The project that the app belongs to; `local` on a local fleet.
pub const PROJECT: &str = "ENGR_PROJECT";

/// The instance that the app runs on.
pub const INSTANCE: &str = "ENGR_INSTANCE";

/// `1` where the app runs under `engr serve`, on a developer's machine.
pub const DEVELOPMENT: &str = "ENGR_DEVELOPMENT";

/// The first port to bind, in decimal, where no socket was handed over.
pub const PORT: &str = "PORT";

/// The process that the sockets are meant for, in decimal: its children inherit the variables, but
/// not the sockets.
pub const LISTEN_PID: &str = "LISTEN_PID";

/// How many sockets were handed over, in decimal.
pub const LISTEN_FDS: &str = "LISTEN_FDS";

/// The ports of the handed sockets, in decimal, in the order of the descriptors, joined by
/// [`LISTEN_FDNAMES_SEPARATOR`].
pub const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";

/// Stands between two names in [`LISTEN_FDNAMES`].
pub const LISTEN_FDNAMES_SEPARATOR: char = ':';

/// The first handed socket's descriptor; the others follow without gaps.
pub const LISTEN_FDS_START: i32 = 3;

/// Where the app says that it is ready: the path of a Unix datagram socket, or `@` and the name of
/// an abstract one.
pub const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The app listens: new connections may be sent to it.
pub const READY: &str = "READY=1";

/// The app has stopped accepting, and answers what it has accepted.
pub const STOPPING: &str = "STOPPING=1";
