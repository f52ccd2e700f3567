//! Engineer's own agent, under its launcher.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Context;
use tests::agent::Life;
use tests::engr::binary;
use tests::instance::{APP, Instance, Setup};

use crate::program::{self, App};
use crate::{Measured, kill};

/// How many switches go by between two looks at the memory.
const LOOK_EVERY: u64 = 1000;

fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn setup(program: &str, args: Vec<String>, is_worker: bool) -> anyhow::Result<Setup> {
    let ports = [free()?.port(), free()?.port()];
    Ok(Setup {
        program: binary(program),
        mode: "engineer".to_owned(),
        host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        ports,
        health: free()?,
        health_window: Duration::ZERO,
        settle: Duration::ZERO,
        life: Life::Launched,
        args,
        is_worker,
    })
}

pub(crate) fn measure(kills: u32) -> anyhow::Result<Measured> {
    let (mut back, mut pss) = (Vec::new(), 0);
    for _ in 0..kills {
        let folder = tempfile::tempdir()?;
        let app = App::new(folder.path());
        let args = vec![app.file.display().to_string()];
        // A second crash within a minute would wait for a second: each has an agent of its own.
        let instance = Instance::start(&setup("says-start", args, true)?)?;
        back.push(kill(&app)?);
        pss = program::pss(instance.launcher(), APP);
    }
    Ok(Measured { name: "Engineer (launcher and agent)", back, pss })
}

/// Prints the memory now and then while the agent switches.
pub(crate) fn grow(switches: u64) -> anyhow::Result<()> {
    let instance = Instance::start(&setup("test-app", Vec::new(), false)?)?;
    println!("\n| switches | PSS of launcher and agent |\n| --- | --- |");
    for switch in 0..=switches {
        if switch % LOOK_EVERY == 0 || switch == switches {
            instance.drained_to(0)?;
            let pss = program::pss(instance.launcher(), APP) as f64 / 1000.0;
            println!("| {switch} | {pss:.2} MB |");
        }
        let release = instance.publish()?;
        instance.switched(release)?;
        instance.drained_to(8).context("old versions stay")?;
    }
    Ok(())
}
