//! `doctor`: looks at all that a deploy needs, says how it is, and what to do about what is not.
//!
//! ```text
//!   account ──▶ for each app:  bucket   reach, clock, settings, permissions
//!                              state    the release, the claim
//!                              fleet    the agents' versions, how fresh their view is
//! ```

mod account;
mod bucket;
mod finding;
mod fleet;

use serde_json::json;

use crate::cli::DoctorArgs;
use crate::config::EngrFile;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit};
use crate::output::{Style, print};

use finding::{Finding, Health, exit};

/// Looks, and tells. The exit code is that of the worst finding.
pub async fn run(args: DoctorArgs) -> CommandResult {
    let file = EngrFile::find()?;
    let names: Vec<String> = match args.apps.is_empty() {
        true => file.names().map(str::to_owned).collect(),
        false => args.apps,
    };
    let mut patients = vec![("engr".to_owned(), vec![own_version()])];
    let mut google_is_asked = false;
    let mut apps = Vec::new();
    for name in names {
        let app = AppContext { config: file.app(&name)?, name, file: file.clone() };
        google_is_asked |= crate::bucket::url(&app.name, &app.config)?.is_some();
        apps.push(app);
    }
    let mut can_ask = true;
    if google_is_asked {
        let findings = account::look().await;
        // Without credentials there is one trouble, not one for each app.
        can_ask = exit(&findings) == Exit::Done;
        patients.push(("account".to_owned(), findings));
    }
    for app in apps.iter().filter(|_| can_ask) {
        let mut findings = bucket::look(app, args.fix).await;
        if findings.iter().all(|finding| finding.health != Health::Bad) {
            findings.extend(fleet::look(app).await);
        }
        patients.push((app.name.clone(), findings));
    }
    match args.json {
        true => print_json(&patients),
        false => print_table(&patients),
    }
    Ok(exit(patients.iter().flat_map(|(_, findings)| findings)))
}

fn own_version() -> Finding {
    Finding::good("version", format!("engr {}", env!("CARGO_PKG_VERSION")))
}

fn print_table(patients: &[(String, Vec<Finding>)]) {
    for (patient, findings) in patients {
        print(format_args!("{}\n", Style::Bold.paint(patient)));
        for Finding { health, what, text, remedy, .. } in findings {
            let mark = match health {
                Health::Good => Style::Green.paint("ok  "),
                Health::Weak => Style::Yellow.paint("weak"),
                Health::Bad => Style::Red.paint("bad "),
            };
            print(format_args!("  {mark}  {what:<12}  {text}\n"));
            if let Some(remedy) = remedy {
                print(format_args!("{:22}{} {remedy}\n", "", Style::Bold.paint("→")));
            }
        }
    }
}

fn print_json(patients: &[(String, Vec<Finding>)]) {
    let all =
        patients.iter().map(|(patient, findings)| json!({"of": patient, "findings": findings}));
    let exit = exit(patients.iter().flat_map(|(_, findings)| findings));
    let healthy = exit == Exit::Done;
    print(format_args!("{}\n", json!({"healthy": healthy, "checked": all.collect::<Vec<_>>()})));
}
