//! `agent:update` and `agent:rollback`: another `agentd` for the fleet.
//!
//! ```text
//!   the program here ──▶ checked ──▶ uploaded ──▶ named in state.json ──▶ followed
//!   the history ──────▶ found ────▶ still there ──┘
//! ```
//!
//! The instances do the rest by themselves, one at a time; they go on when this command is gone.

mod binary;
mod ending;
mod follow;
mod view;

use std::collections::BTreeMap;

use deploy::Timestamp;
use deploy::desired_agent::{AgentBinary, DesiredAgent, Wish};
use deploy::history::History;
use deploy::id::Id;
use deploy::layout;
use deploy::publish::swap;
use deploy::state::State;

use crate::cli::{AgentRollbackArgs, AgentUpdateArgs, PublishArgs, artifact_matches};
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure};
use crate::output::events::{Event, Outcome, ResultEvent};
use crate::output::{Output, bytes};
use crate::publish::{NoStep, Publisher, ensure_whole, upload_agent};
use binary::Local;

type Binaries = BTreeMap<String, AgentBinary>;

/// Names a program of this machine as the fleet's agent.
pub async fn update(app: &AppContext, args: AgentUpdateArgs) -> CommandResult {
    let (output, publish) = (Output::new(args.named.json), PublishArgs::from(&args.named));
    let publisher = Publisher::open(app, &publish, &output)?;
    let arch = app.config.arch();
    let local = Local::find(args.binary.as_deref(), arch).await?;
    let AgentBinary { digest, size, version } = &local.binary;
    let (arch, short) = (arch.name(), digest.short());
    output.line(format_args!("agent     agentd {version} for {arch}, {short}, {}", bytes(*size)));
    let state = publisher.state().await?;
    let named = state.agent.as_ref().and_then(|agent| agent.binaries.get(arch));
    if let Some(agent) = state.agent.clone().filter(|_| named == Some(&local.binary) && !args.retry)
    {
        output.line("          it is what the fleet is to run already");
        return match args.plan || args.named.detach {
            true => Ok(end(&output, Exit::Done, Outcome::Unchanged, agent)),
            false => follow::follow(&publisher, &agent).await,
        };
    }
    if args.plan {
        let wish = wish(app, &args.named.message, args.retry);
        let planned = State { lock: None, ..state.clone() };
        let planned = planned.agent_set(arch, local.binary, wish, Timestamp::now());
        let agent = planned.ok().and_then(|state| state.agent).expect("nothing stands in its way");
        tell_change(&output, state.agent.as_ref(), &agent.binaries);
        return Ok(end(&output, Exit::Changes, Outcome::Changes, agent));
    }
    publisher.unfrozen().await?;
    upload_agent(&*publisher.store, &output, &state, &local.binary, &local.path).await?;
    local.ensure_same()?;
    let wish = wish(app, &args.named.message, args.retry);
    name(publisher, &state, |newest, now| {
        Ok(newest.agent_set(arch, local.binary.clone(), wish.clone(), now)?)
    })
    .await
}

/// Names what was named before.
pub async fn roll_back(app: &AppContext, args: AgentRollbackArgs) -> CommandResult {
    let (output, publish) = (Output::new(args.named.json), PublishArgs::from(&args.named));
    let publisher = Publisher::open(app, &publish, &output)?;
    let state = publisher.state().await?;
    let Some(current) = &state.agent else {
        let failure = Failure::usage(format_args!("no agent was ever named for {}", app.name));
        return Err(failure.hint(format_args!("name one with `engr {} agent:update`", app.name)));
    };
    publisher.unfrozen().await?;
    let history = History::read(&*publisher.store).await?;
    let target = earlier(&history.agents, current, args.to.as_deref(), &app.name)?;
    ensure_kept(&app.name, &state, &target)?;
    let objects: Vec<_> = target.values().map(|one| layout::agent(&one.digest)).collect();
    ensure_whole(&*publisher.store, &objects).await?;
    let (wish, id) = (wish(app, &args.named.message, false), current.id.clone());
    let expected = args.to.is_none().then_some(id);
    name(publisher, &state, |newest, now| {
        // Which was the one before was judged against this one.
        let is_same = expected
            .as_ref()
            .is_none_or(|id| newest.agent.as_ref().is_some_and(|agent| agent.id == *id));
        match is_same {
            true => Ok(newest.agent_rolled_back(target.clone(), wish.clone(), now)?),
            false => Err(NoStep::Moved),
        }
    })
    .await
}

fn wish(app: &AppContext, message: &Option<String>, retry: bool) -> Wish {
    Wish { id: Id::random(), by: app.actor(), message: message.clone(), retry }
}

/// Takes the step, and follows it. What was found in the bucket was so in `state`.
async fn name(
    publisher: Publisher<'_>,
    state: &State,
    step: impl Fn(State, Timestamp) -> Result<State, NoStep>,
) -> CommandResult {
    let (store, app) = (publisher.store.clone(), &publisher.app.name);
    let attempt = async || {
        swap(&*store, app, |newest| match newest.pruned == state.pruned {
            true => step(newest, Timestamp::now()),
            // It may have been removed since.
            false => Err(NoStep::Moved),
        })
        .await
    };
    let swapped = publisher.when_free(attempt).await?.ok_or_else(|| publisher.moved())?;
    publisher.told_of(swapped.damage);
    let agent = swapped.state.agent.expect("it was just named");
    tell_change(publisher.output, state.agent.as_ref(), &agent.binaries);
    publisher.output.event(&Event::Agent { agent: &agent });
    if publisher.args.follow.detach {
        publisher.output.line(format_args!(
            "it is named; see how the instances fare: engr {app} status --watch"
        ));
        return Ok(end(publisher.output, Exit::Done, Outcome::Detached, agent));
    }
    follow::follow(&publisher, &agent).await
}

fn tell_change(output: &Output, before: Option<&DesiredAgent>, after: &Binaries) {
    let none = Binaries::new();
    let before = before.map_or(&none, |agent| &agent.binaries);
    let shown = |binary: Option<&AgentBinary>| {
        binary.map_or_else(
            || "what each was made with".to_owned(),
            |binary| format!("{} ({})", binary.version, binary.digest.short()),
        )
    };
    let mut archs: Vec<_> = before.keys().chain(after.keys()).collect();
    archs.sort_unstable();
    archs.dedup();
    for arch in archs {
        let (old, new) = (before.get(arch), after.get(arch));
        if old != new {
            output.line(format_args!("{arch:<9} ~ {} → {}", shown(old), shown(new)));
        }
    }
}

fn end(output: &Output, exit: Exit, outcome: Outcome, agent: DesiredAgent) -> Exit {
    let result = ResultEvent {
        outcome,
        exit_code: exit as u8,
        agent: Some(agent),
        ..ResultEvent::default()
    };
    output.event(&Event::Result(&result));
    exit
}

/// What was named before `current`: the newest with other binaries, or the newest that has one of
/// this SHA-256 or version.
fn earlier(
    history: &[Option<DesiredAgent>],
    current: &DesiredAgent,
    wanted: Option<&str>,
    app: &str,
) -> CommandResult<Binaries> {
    let binaries = |agent: &Option<DesiredAgent>| {
        agent.as_ref().map(|agent| agent.binaries.clone()).unwrap_or_default()
    };
    let fits = |binaries: &Binaries| match wanted {
        None => true,
        Some(wanted) => binaries.values().any(|one| {
            one.version == wanted.trim_start_matches('v') || artifact_matches(wanted, &one.digest)
        }),
    };
    let others = history.iter().rev().map(binaries).filter(|one| *one != current.binaries);
    let found = others.clone().find(|one| fits(one));
    found.ok_or_else(|| {
        let mut known: Vec<_> =
            others.filter(|one| !one.is_empty()).map(|one| list(&one)).collect();
        known.dedup();
        let failure = Failure::usage(match wanted {
            Some(wanted) => format!("no other agent {wanted} was named for {app}"),
            None => format!("no agent was named for {app} before this one"),
        });
        match known.is_empty() {
            true => failure
                .hint(format_args!("bring another with `engr {app} agent:update --binary PATH`")),
            false => failure.hint(format_args!("there were {}", known.join(", "))),
        }
    })
}

fn list(binaries: &Binaries) -> String {
    let shown = |one: &AgentBinary| format!("{} ({})", one.version, one.digest.short());
    binaries.values().map(shown).collect::<Vec<_>>().join(" and ")
}

/// While a prune may still remove something, only what is named now is safe from it.
fn ensure_kept(app: &str, state: &State, target: &Binaries) -> CommandResult<()> {
    let named = state.agent.iter().flat_map(|agent| agent.binaries.values());
    let named: Vec<_> = named.map(|binary| binary.digest).collect();
    let is_kept = target.values().all(|binary| named.contains(&binary.digest));
    match state.prune_unfinished() {
        Some(_) if !is_kept => {
            let why = "has not come to its end and may still remove it";
            let error = anyhow::anyhow!("that agent cannot be named: a prune of {app} {why}");
            Err(Failure::new(Exit::Lost, error)
                .hint(format_args!("let it come to its end with `engr {app} prune`")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use deploy::Digest;

    use super::*;

    fn agent(id: &str, versions: &[&str]) -> Option<DesiredAgent> {
        let binary = |version: &&str| AgentBinary {
            digest: Digest::of(version.as_bytes()),
            size: 1,
            version: (*version).to_owned(),
        };
        let archs = ["amd64", "arm64"].map(str::to_owned).into_iter();
        Some(DesiredAgent {
            id: Id::fixed(id),
            by: "a@b".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            message: None,
            rollback: false,
            retry: false,
            binaries: archs.zip(versions.iter().map(binary)).collect(),
        })
    }

    #[test]
    fn the_one_before_is_the_newest_with_other_binaries() {
        let history = [None, agent("a", &["1"]), agent("b", &["2"]), agent("c", &["2"])];
        let back = |history: &[Option<DesiredAgent>], wanted| {
            let current = history.last().cloned().flatten().unwrap();
            earlier(history, &current, wanted, "hello").map(|binaries| list(&binaries))
        };
        assert_eq!(back(&history, None).unwrap(), "1 (6b86b273ff34)");
        assert_eq!(back(&history[..2], None).unwrap(), "", "what each was made with");
        assert_eq!(back(&history, Some("v1")).unwrap(), "1 (6b86b273ff34)");
        assert_eq!(back(&history, Some("6B86B2")).unwrap(), "1 (6b86b273ff34)");
        let failure = back(&history, Some("2")).unwrap_err();
        assert_eq!(failure.hints, ["there were 1 (6b86b273ff34)"]);
        // Its beginnings were pruned.
        let failure = back(&history[2..], None).unwrap_err();
        assert_eq!(failure.error.to_string(), "no agent was named for hello before this one");
        let mixed = [agent("a", &["1", "2"]), agent("b", &["3", "2"])];
        assert_eq!(back(&mixed, Some("1")).unwrap(), "1 (6b86b273ff34) and 2 (d4735e3a265e)");
    }
}
