//! Programs that are small, and pass for an `agentd` of any version.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use deploy::desired_agent::VERSION_MARK;

use crate::engr::{Place, binary};

/// Makes one of that version, called `name`, in the folder that commands are run in.
///
/// # Panics
/// When it cannot be written.
pub fn fake_agent(place: &Place, name: &str, version: &str) -> PathBuf {
    let mut content = fs::read(binary("fake-agentd")).expect("the program");
    content.extend_from_slice(format!("{VERSION_MARK}{version};").as_bytes());
    let path = place.path().join(name);
    fs::write(&path, content).expect("the program is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode is set");
    path
}
