//! Where it is measured, and with what.

use std::fs;

use tests::engr::binary;

use crate::table;

pub(crate) fn described() -> String {
    let machine = tests::machine::described();
    format!(
        "{machine}. Links are a TUN relay between two networks of this machine; the server is \
         `engr-gcs-server`, on the same cores."
    )
}

/// The sizes of the programs that are measured.
pub(crate) fn binaries() -> anyhow::Result<()> {
    for name in ["agentd", "engr"] {
        let megabytes = fs::metadata(binary(name))?.len() as f64 / 1e6;
        table::row(&format!("size of `{name}`"), &format!("{megabytes:.1} MB"), 1, "", "");
    }
    Ok(())
}
