//! What must change so that a fleet is what it should be. Pure.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;

use deploy::agent_config::{AgentConfig, Listen};
use deploy::local_fleet::{BalancedPort, LocalFleet, LocalInstance};

use super::found::{Found, FoundInstance};
use crate::fleet::Change;

/// A fleet as it should be.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The app.
    pub(super) app: String,
    /// The bucket's URL.
    pub(super) bucket: String,
    /// Where Cloud Storage is, if not where Google has it.
    pub(super) endpoint: Option<String>,
    /// How many instances.
    pub(super) count: u32,
    /// The app's ports, and where the balancer takes their connections.
    pub(super) listen: Vec<BalancedPort>,
}

impl Wanted {
    /// The names of the instances that should be there.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        (1..=self.count).map(|number| format!("{}-{number}", self.app))
    }

    /// The app's ports.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.listen.iter().map(|port| port.port)
    }

    /// Whether an agent with `config` can stay as it is. Ports that it has too many are no reason
    /// to start it anew: they are simply not used.
    pub(super) fn suits(&self, name: &str, config: &AgentConfig) -> bool {
        config.app == self.app
            && config.project == "local"
            && config.instance == name
            && config.bucket == self.bucket
            && config.endpoint == self.endpoint
            && config.health.is_some()
            && matches!(config.listen, Listen::Mapped(_))
            && self.ports().all(|port| config.listen.address(port).is_some())
    }

    /// The `fleet.json` over instances with these settings.
    pub(super) fn fleet<'a>(
        &self,
        configs: impl IntoIterator<Item = &'a AgentConfig>,
    ) -> LocalFleet {
        let instance = |config: &AgentConfig| {
            let addresses = self.ports().map(|port| config.listen.address(port));
            Some(LocalInstance {
                name: config.instance.clone(),
                health: config.health?,
                addresses: addresses.collect::<Option<_>>()?,
            })
        };
        LocalFleet {
            ports: self.listen.clone(),
            instances: configs.into_iter().filter_map(instance).collect(),
        }
    }
}

/// The changes that lead from `found` to `wanted`, in the order in which they are made; none when
/// the fleet is what it should be.
pub(super) fn changes(wanted: &Wanted, found: &Found) -> Vec<Change> {
    let mut changes: Vec<Change> = wanted
        .names()
        .filter_map(|name| match found.instance(&name) {
            None | Some(FoundInstance { config: None, agent_pid: None, .. }) => {
                Some(Change::Create(name))
            }
            Some(FoundInstance { agent_pid: None, .. }) => Some(Change::Start(name)),
            Some(FoundInstance { config: Some(config), .. }) if wanted.suits(&name, config) => None,
            Some(_) => Some(Change::Reconfigure(name)),
        })
        .collect();
    changes.extend(balancer_change(wanted, found, !changes.is_empty()));
    let surplus = |instance: &&FoundInstance| !wanted.names().any(|name| name == instance.name);
    changes.extend(
        found
            .instances
            .iter()
            .filter(surplus)
            .map(|instance| Change::Remove(instance.name.clone())),
    );
    changes
}

/// What must be done about the balancer. That instances come and go is told to it on the way, and
/// is no change of its own.
fn balancer_change(wanted: &Wanted, found: &Found, instances_change: bool) -> Option<Change> {
    let addresses: Vec<String> = wanted.listen.iter().map(|port| port.listen.to_string()).collect();
    let addresses = addresses.join(", ");
    match (found.balancer_pid, wanted.listen.is_empty()) {
        (None, true) => None,
        (Some(_), true) => Some(Change::Balancer("stop: the app has no ports".to_owned())),
        (None, false) => Some(Change::Balancer(format!("start at {addresses}"))),
        (Some(_), false) if found.fleet.ports != wanted.listen => {
            Some(Change::Balancer(format!("listen at {addresses}")))
        }
        (Some(_), false) => {
            let configs = wanted.names().filter_map(|name| found.instance(&name)?.config.as_ref());
            let known = wanted.fleet(configs) == found.fleet;
            let surplus = found.fleet.instances.len() > wanted.count as usize;
            (!known && !instances_change && !surplus)
                .then(|| Change::Balancer("tell it of the instances".to_owned()))
        }
    }
}

/// The ports of this machine that an instance has for itself.
pub(super) fn own_ports(config: &AgentConfig) -> Vec<u16> {
    let mapped = match &config.listen {
        Listen::Mapped(addresses) => addresses.values().map(SocketAddr::port).collect(),
        Listen::On(_) => Vec::new(),
    };
    mapped.into_iter().chain(config.health.map(|health| health.port())).collect()
}

/// The settings of instance `name`: those that it had, less what `keep` refuses, filled up with
/// what `pick` gives.
pub(super) fn config<E>(
    wanted: &Wanted,
    name: &str,
    had: Option<&AgentConfig>,
    keep: impl Fn(SocketAddr) -> bool,
    mut pick: impl FnMut() -> Result<SocketAddr, E>,
) -> Result<AgentConfig, E> {
    let mut mapped = match had.map(|had| &had.listen) {
        Some(Listen::Mapped(addresses)) => addresses.clone(),
        _ => BTreeMap::new(),
    };
    mapped.retain(|_, address| keep(*address));
    for port in wanted.ports() {
        if let Entry::Vacant(vacant) = mapped.entry(port) {
            vacant.insert(pick()?);
        }
    }
    let health = match had.and_then(|had| had.health).filter(|address| keep(*address)) {
        Some(health) => health,
        None => pick()?,
    };
    Ok(AgentConfig {
        app: wanted.app.clone(),
        project: "local".to_owned(),
        instance: name.to_owned(),
        bucket: wanted.bucket.clone(),
        endpoint: wanted.endpoint.clone(),
        listen: Listen::Mapped(mapped),
        health: Some(health),
        // A local app is its owner's own process; only somebody's own hand names another user.
        user: had.and_then(|had| had.user.clone()),
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn wanted(count: u32, ports: &[u16]) -> Wanted {
        let at = |port: &u16| BalancedPort { port: *port, listen: address(*port) };
        let listen = ports.iter().map(at).collect();
        Wanted { app: "hello".into(), bucket: "file:///b".into(), endpoint: None, count, listen }
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn picker(first: u16) -> impl FnMut() -> Result<SocketAddr, Infallible> {
        let mut next = first;
        move || {
            next += 1;
            Ok(address(next - 1))
        }
    }

    /// The fleet that `wanted` leads to, all of it running.
    fn made(wanted: &Wanted) -> Found {
        let mut pick = picker(20_000);
        let instances: Vec<FoundInstance> = wanted
            .names()
            .map(|name| {
                let config = config(wanted, &name, None, |_| true, &mut pick).unwrap();
                FoundInstance { name, config: Some(config), agent_pid: Some(7) }
            })
            .collect();
        let fleet = wanted.fleet(instances.iter().filter_map(|i| i.config.as_ref()));
        let balancer_pid = (!wanted.listen.is_empty()).then_some(8);
        Found { fleet, instances, balancer_pid }
    }

    fn create(name: &str) -> Change {
        Change::Create(name.into())
    }

    #[test]
    fn a_fleet_is_made_from_nothing_and_is_then_what_it_should_be() {
        for wanted in [wanted(2, &[8080]), wanted(1, &[80, 443]), wanted(3, &[])] {
            assert_eq!(changes(&wanted, &made(&wanted)), []);
        }
        assert_eq!(
            changes(&wanted(2, &[8080]), &Found::default()),
            [
                create("hello-1"),
                create("hello-2"),
                Change::Balancer("start at 127.0.0.1:8080".into())
            ]
        );
        assert_eq!(changes(&wanted(1, &[]), &Found::default()), [create("hello-1")]);
        assert_eq!(
            changes(&wanted(0, &[]), &made(&wanted(1, &[80])))[1],
            Change::Remove("hello-1".into())
        );
    }

    #[test]
    fn more_and_fewer_instances() {
        let three = made(&wanted(3, &[8080]));
        assert_eq!(
            changes(&wanted(1, &[8080]), &three),
            [Change::Remove("hello-2".into()), Change::Remove("hello-3".into())]
        );
        let two = made(&wanted(2, &[8080]));
        assert_eq!(changes(&wanted(3, &[8080]), &two), [create("hello-3")]);
    }

    #[test]
    fn what_does_not_run_is_started() {
        let wanted = wanted(2, &[8080]);
        let mut found = made(&wanted);
        found.instances[1].agent_pid = None;
        found.balancer_pid = None;
        assert_eq!(
            changes(&wanted, &found),
            [Change::Start("hello-2".into()), Change::Balancer("start at 127.0.0.1:8080".into())]
        );
        // A crash in the middle of making it: the folder is there, and nothing in it.
        found.instances[1].config = None;
        assert_eq!(changes(&wanted, &found)[0], create("hello-2"));
    }

    #[test]
    fn other_ports_reach_the_instances_and_the_balancer() {
        let found = made(&wanted(1, &[8080]));
        let more = wanted(1, &[8080, 9090]);
        assert_eq!(
            changes(&more, &found),
            [
                Change::Reconfigure("hello-1".into()),
                Change::Balancer("listen at 127.0.0.1:8080, 127.0.0.1:9090".into())
            ]
        );
        // A port less is none of the agents' business.
        let found = made(&more);
        assert_eq!(
            changes(&wanted(1, &[9090]), &found),
            [Change::Balancer("listen at 127.0.0.1:9090".into())]
        );
        assert_eq!(
            changes(&wanted(1, &[]), &found),
            [Change::Balancer("stop: the app has no ports".into())]
        );
    }

    #[test]
    fn a_balancer_that_was_not_told_is_told() {
        let wanted = wanted(2, &[8080]);
        let mut found = made(&wanted);
        found.fleet.instances.pop();
        assert_eq!(changes(&wanted, &found), [Change::Balancer("tell it of the instances".into())]);
    }

    #[test]
    fn an_instance_keeps_its_ports() {
        let had = config(&wanted(1, &[80]), "hello-1", None, |_| true, picker(20_000)).unwrap();
        let more = wanted(1, &[80, 443]);
        let now = config(&more, "hello-1", Some(&had), |_| true, picker(30_000)).unwrap();
        assert_eq!(now.listen.address(80), Some(address(20_000)));
        assert_eq!(now.listen.address(443), Some(address(30_000)));
        assert_eq!(now.health, Some(address(20_001)));
        assert!(more.suits("hello-1", &now) && !more.suits("hello-1", &had));
        assert!(!more.suits("hello-2", &now));

        let taken = |at: SocketAddr| at.port() != 20_000;
        let moved = config(&more, "hello-1", Some(&now), taken, picker(40_000)).unwrap();
        assert_eq!(moved.listen.address(80), Some(address(40_000)));
        assert_eq!(moved.listen.address(443), Some(address(30_000)));
        // Ports that the app has no more stay: a rollback may bring them back.
        let fewer =
            config(&wanted(1, &[]), "hello-1", Some(&now), |_| true, picker(50_000)).unwrap();
        assert_eq!(fewer.listen, now.listen);
    }
}
