//! `engr`: deploys Go and Rust services to plain VMs, from a laptop or from CI.
//!
//! ```text
//! main ── cli ──▶ commands::* ──▶ config   engr.json
//!                     │     ├───▶ build    source to archive
//!                     │     ├───▶ publish  the claim, the uploads, the release
//!                     │     ├───▶ follow   the release's way through the fleet
//!                     │     ├───▶ fleet    the instances: made, listed, removed
//!                     │     └───▶ deploy   the bucket (a crate of its own)
//!                     ├─────────▶ bucket   the app's bucket: a folder, or of Cloud Storage
//!                     │             └────▶ google   who asks Google Cloud, and where it is
//!                     └─────────▶ output   what a person, a pipe or a program reads
//! ```

#![expect(
    unreachable_pub,
    reason = "nothing is outside of a program: `pub` is what a module offers"
)]

mod bucket;
mod build;
mod cli;
mod commands;
mod config;
mod context;
mod failure;
mod fleet;
mod follow;
mod google;
mod interrupt;
mod output;
mod publish;
mod rollout;

use std::process::ExitCode;

use failure::Exit;

fn main() -> ExitCode {
    let (cli, everywhere) = match cli::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => return error.print_and_exit(),
    };
    output::hear(everywhere.verbose);
    google::set_endpoint(everywhere.endpoint);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("engr: cannot start the runtime: {error}");
            return Exit::Internal.into();
        }
    };
    let json = cli.wants_json();
    match runtime.block_on(commands::run(cli)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::print_failure(&failure, json);
            failure.exit.into()
        }
    }
}
