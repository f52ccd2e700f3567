//! Where it is measured, and with what.

use std::fs;

use tests::engr::binary;

use crate::table;

pub(crate) fn described() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "{cores} cores ({model}), Linux {}, load {load} at the start. Links are a TUN relay between \
         two networks of this machine; the server is `engr-gcs-server`, on the same cores.",
        kernel.trim()
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
