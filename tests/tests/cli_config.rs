//! Transcripts of the commands about `engr.json`: what a person reads when they go well, and when
//! they do not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use insta::assert_snapshot;
use tests::engr::Place;

fn go_module() -> Place {
    let place = Place::new();
    place.write("go.mod", "module example.com/shop\n");
    place.write("main.go", "package main\n\nfunc main() {}\n");
    place
}

/// A file that somebody wrote by hand: an order, a spacing and a top-level key of its own.
fn hand_written() -> Place {
    let place = Place::new();
    place.write("engr.json", HAND_WRITTEN);
    place
}

const HAND_WRITTEN: &str = r#"{
    "team": "shop",
    "apps": {
        "web": {
            "project": "local", "package": "./cmd/web",
            "graceful_shutdown": true,
            "tags": ["http-server", "a"],
            "port": 8080
        },
        "jobs": {"package": "./cmd/jobs", "server": false, "project": "shop-123"}
    }
}
"#;

#[test]
fn create_guesses_what_it_can_and_writes_a_file_that_reads_well() {
    let place = go_module();
    assert_snapshot!(place.session(&[
        "web create --local",
        "worker create --project shop-123 --package ./jobs --worker --instances 2",
        "web2 create --local --health /up --build make --output bin/web",
        "apps",
    ]), @"
    $ engr web create --local
    added web to WORK/engr.json
    next: engr web deploy
    (0)
    $ engr worker create --project shop-123 --package ./jobs --worker --instances 2
    added worker to WORK/engr.json
    next: engr worker deploy
    (0)
    $ engr web2 create --local --health /up --build make --output bin/web
    added web2 to WORK/engr.json
    next: engr web2 deploy
    (0)
    $ engr apps
    NAME    PROJECT   BUILDS  PORTS   INSTANCES
    web     local     .       8080    1
    worker  shop-123  ./jobs  worker  2
    web2    local     `make`  8081    1
    (0)
    ");
    assert_snapshot!(place.read("engr.json"), @r#"
    {
      "$schema": "./engr.schema.json",
      "apps": {
        "web": {
          "project": "local",
          "package": ".",
          "port": 8080,
          "graceful-shutdown": true,
          "instance-count": 1
        },
        "worker": {
          "project": "shop-123",
          "package": "./jobs",
          "server": false,
          "graceful-shutdown": true,
          "instance-count": 2
        },
        "web2": {
          "project": "local",
          "build": {
            "command": "make",
            "output": "bin/web"
          },
          "port": 8081,
          "health": {
            "path": "/up"
          },
          "graceful-shutdown": true,
          "instance-count": 1
        }
      }
    }
    "#);
    let schema = place.engr(&["config-schema"]);
    assert_eq!(place.read("engr.schema.json"), schema.stdout);
    assert_eq!(
        fs::metadata(place.path().join("engr.json")).unwrap().permissions().mode() & 0o777,
        0o644
    );
}

#[test]
fn create_says_what_it_needs_where_nobody_can_be_asked() {
    let place = go_module();
    assert_snapshot!(place.session(&["web create", "web create --local --port 0"]), @r"
    $ engr web create
    ! engr: nothing says where the app runs
    !   → --local: on a fleet on this machine
    !   → --project ID: in that Google Cloud project
    (2)
    $ engr web create --local --port 0
    ! engr: WORK/engr.json: app web: `port` is 0, and must be a port, 1 to 65535
    (2)
    ");
    place.write("cmd/a/main.go", "package main\n");
    assert_snapshot!(place.session(&["web create --local"]), @r"
    $ engr web create --local
    ! engr: there are several programs here: ., ./cmd/a
    !   → name one with --package
    (2)
    ");
    assert_snapshot!(Place::new().session(&[
        "web create --local",
        "apps create --local",
        "Web create --local",
        "web create --local --worker --port 80",
    ]), @r#"
    $ engr web create --local
    ! engr: there is no program to build in WORK
    !   → --package NAME: a Go import path or folder, or a Cargo package
    !   → --build COMMAND --output PATH: anything else
    (2)
    $ engr apps create --local
    ! error: unexpected argument 'create' found
    !
    ! Usage: engr apps [OPTIONS]
    !
    ! For more information, try '--help'.
    (2)
    $ engr Web create --local
    ! engr: "Web" cannot be an app's name
    !   → a name has up to 40 small letters, digits and `-`, starts with a letter and does not end with `-`
    (2)
    $ engr web create --local --worker --port 80
    ! error: the argument '--worker' cannot be used with '--port <PORT>'
    !
    ! Usage: engr web create --local --worker
    !
    ! For more information, try '--help'.
    (2)
    "#);
    assert!(!place.path().join("engr.json").exists());
}

#[test]
fn create_finds_the_programs_of_a_cargo_workspace() {
    let place = Place::new();
    place.write(
        "Cargo.toml",
        "[workspace]\nmembers = [\"api\", \"jobs\", \"lib\"]\nresolver = \"3\"\n",
    );
    for (package, file) in [("api", "main"), ("jobs", "main"), ("lib", "lib")] {
        let manifest =
            format!("[package]\nname = \"{package}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        place.write(&format!("{package}/Cargo.toml"), &manifest);
        place.write(&format!("{package}/src/{file}.rs"), "");
    }
    assert_snapshot!(place.session(&["web create --local", "web create --local --package api"]), @r"
    $ engr web create --local
    ! engr: there are several programs here: api, jobs
    !   → name one with --package
    (2)
    $ engr web create --local --package api
    added web to WORK/engr.json
    next: engr web deploy
    (0)
    ");
}

#[test]
fn create_adds_to_the_file_of_a_parent_folder_and_never_over_an_app() {
    let place = hand_written();
    place.write("svc/mail/go.mod", "module example.com/mail\n");
    place.write("svc/mail/main.go", "package main\n");
    let created = place.engr_in("svc/mail", &["mail", "create", "--local"]);
    assert_snapshot!(created, @r"
    $ engr mail create --local
    added mail to WORK/engr.json
    next: engr mail deploy
    (0)
    ");
    let added = r#""project": "shop-123"},
        "mail": {
            "project": "local",
            "package": "./svc/mail",
            "port": 8081,
            "graceful-shutdown": true,
            "instance-count": 1
        }"#;
    assert_eq!(place.read("engr.json"), HAND_WRITTEN.replace("\"project\": \"shop-123\"}", added));
    assert_snapshot!(place.session(&["mail create --local"]), @r"
    $ engr mail create --local
    ! engr: the app mail is in WORK/engr.json already
    !   → `engr mail config` shows its settings
    (2)
    ");
}

#[test]
fn config_shows_what_is_set_and_what_holds_without() {
    assert_snapshot!(hand_written().session(&[
        "web config",
        "jobs config --json",
        "web config:get graceful-shutdown",
        "web config:get tags",
        "web config:get settle",
        "web config:get drain",
        "web config:get prot",
    ]), @r#"
    $ engr web config
    KEY                   VALUE
    project               local
    package               ./cmd/web
    arch                  amd64  (default)
    server                true  (default)
    port                  8080
    graceful-shutdown     true
    ready-within          1m  (default)
    health-window         200ms  (default)
    canary-share          0%  (default)
    settle                3s  (default)
    stop-timeout          5s  (default)
    shutdown-delay        10s  (default)
    shutdown-timeout      1m  (default)
    nofile                65536  (default)
    poll-interval         5s  (default)
    rollout.canary        1  (default)
    rollout.bake          10s  (default)
    rollout.max-failures  0  (default)
    rollout.watch-for     1m  (default)
    rollout.on-failure    revert  (default)
    rollout.stale-after   1m 30s  (default)
    instance-count        1  (default)
    tags                  http-server a
    (0)
    $ engr jobs config --json
    {"app":"jobs","file":"WORK/engr.json","set":{"project":"shop-123","package":"./cmd/jobs","server":false},"defaults":{"arch":"amd64","graceful-shutdown":true,"ready-within":"1m","health-window":"200ms","canary-share":"0%","settle":"3s","stop-timeout":"5s","shutdown-delay":"10s","shutdown-timeout":"1m","nofile":65536,"poll-interval":"5s","rollout.canary":1,"rollout.bake":"10s","rollout.max-failures":0,"rollout.watch-for":"1m","rollout.on-failure":"revert","rollout.stale-after":"1m 30s","instance-count":1}}
    (0)
    $ engr web config:get graceful-shutdown
    true
    (0)
    $ engr web config:get tags
    http-server
    a
    (0)
    $ engr web config:get settle
    3s
    (0)
    $ engr web config:get drain
    ! engr: `drain` is not set, and has no default
    !   → set it with `engr web config:set drain …`: a length of time (5s, 500ms, 2m, or a number of seconds)
    (2)
    $ engr web config:get prot
    ! engr: there is no key `prot`
    !   → did you mean `port`?
    (2)
    "#);
}

#[test]
fn config_set_changes_one_place_and_says_when_it_counts() {
    let place = hand_written();
    assert_snapshot!(place.session(&[
        "web config:set port 9000 --stage",
        "web config:set graceful-shutdown false",
        "web config:set health.path /up --stage",
        "web config:set drain 90 --stage",
        "web config:set instance-count 3",
        "web config:set package ./cmd/api",
        "web config:set zone europe-west1-b",
        "web config:set port 9000 --stage",
        "jobs config:set args --stage -- -v --level 3",
        "jobs config:unset server --stage",
        "jobs config:unset server --stage",
    ]), @r"
    $ engr web config:set port 9000 --stage
    port of web is now 9000 (was 8080)
    the next deploy takes it along: `engr web deploy`
    (0)
    $ engr web config:set graceful-shutdown false
    graceful-shutdown of web is now false (was true)
    web has no release yet: the first deploy takes it along
    (0)
    $ engr web config:set health.path /up --stage
    health.path of web is now /up (was not set)
    the next deploy takes it along: `engr web deploy`
    (0)
    $ engr web config:set drain 90 --stage
    drain of web is now 1m 30s (was not set)
    the next deploy takes it along: `engr web deploy`
    (0)
    $ engr web config:set instance-count 3
    instance-count of web is now 3 (was not set)
    `engr web sync` brings the fleet to it
    (0)
    $ engr web config:set package ./cmd/api
    package of web is now ./cmd/api (was ./cmd/web)
    the next deploy takes it along: `engr web deploy`
    (0)
    $ engr web config:set zone europe-west1-b
    zone of web is now europe-west1-b (was not set)
    (0)
    $ engr web config:set port 9000 --stage
    port of web is 9000 already
    (0)
    $ engr jobs config:set args --stage -- -v --level 3
    args of jobs is now -v --level 3 (was not set)
    the next deploy takes it along: `engr jobs deploy`
    (0)
    $ engr jobs config:unset server --stage
    server of jobs is no longer set, and true by default
    the next deploy takes it along: `engr jobs deploy`
    (0)
    $ engr jobs config:unset server --stage
    server of jobs is not set
    (0)
    ");
    assert_snapshot!(place.read("engr.json"), @r#"
    {
        "team": "shop",
        "apps": {
            "web": {
                "project": "local", "package": "./cmd/api",
                "graceful_shutdown": false,
                "tags": ["http-server", "a"],
                "port": 9000,
                "health": {
                    "path": "/up"
                },
                "drain": "1m 30s",
                "instance-count": 3,
                "zone": "europe-west1-b"
            },
            "jobs": {
                "package": "./cmd/jobs",
                "project": "shop-123",
                "args": ["-v", "--level", "3"]
            }
        }
    }
    "#);
}

#[test]
fn config_set_refuses_what_cannot_be_meant_and_leaves_the_file() {
    let place = hand_written();
    assert_snapshot!(place.session(&[
        "web config:set prot 80",
        "web config:set health.pth /",
        "web config:set port http",
        "web config:set ports 80 81",
        "web config:set health /up",
        "web config:set health.timeout 1s",
        "web config:set drain soon",
        "web config:set build make",
        "web config:set instance-count 101",
        "jobs config:set port 80",
        "wbe config:set port 80",
        "web config:set port",
    ]), @r#"
    $ engr web config:set prot 80
    ! engr: there is no key `prot`
    !   → did you mean `port`?
    (2)
    $ engr web config:set health.pth /
    ! engr: there is no key `health.pth`
    !   → did you mean `health.path`?
    (2)
    $ engr web config:set port http
    ! engr: `port` must be a port, 1 to 65535, and "http" is not
    (2)
    $ engr web config:set ports 80 81
    ! engr: WORK/engr.json: app web: `port` and `ports` are both set
    !   → unset one of them: `ports` takes several
    (2)
    $ engr web config:set health /up
    ! engr: `health` must be an object with `path` and `timeout`, and "/up" is not
    !   → set `health.path` or `health.timeout`
    (2)
    $ engr web config:set health.timeout 1s
    ! engr: WORK/engr.json: app web: `health` has no `path`
    !   → set it by `config:set health.path …`
    (2)
    $ engr web config:set drain soon
    ! engr: `drain` must be a length of time (5s, 500ms, 2m, or a number of seconds), and "soon" is not
    (2)
    $ engr web config:set build make
    ! engr: `build` must be an object with `command` and `output`, and "make" is not
    !   → set both keys at once: `config:set build '{"command": "make app", "output": "bin/app"}'`
    (2)
    $ engr web config:set instance-count 101
    ! engr: WORK/engr.json: app web: `instance-count` is 101, and a local fleet has at most 100
    (2)
    $ engr jobs config:set port 80
    ! engr: WORK/engr.json: app jobs: a worker (`server` is false) serves no ports, and one is set
    !   → unset `port` and `ports`, or set `server` to true
    (2)
    $ engr wbe config:set port 80
    ! engr: there is no app wbe in WORK/engr.json
    !   → did you mean `web`?
    !   → the file has web, jobs
    (2)
    $ engr web config:set port
    ! error: the following required arguments were not provided:
    !   <VALUES>...
    !
    ! Usage: engr web config:set <KEY> <VALUES>...
    !
    ! For more information, try '--help'.
    (2)
    "#);
    assert_eq!(place.read("engr.json"), HAND_WRITTEN);
}

#[test]
fn a_wrong_file_is_told_with_the_place_and_can_be_put_right() {
    let place = Place::new();
    assert_snapshot!(place.session(&["web config"]), @r"
    $ engr web config
    ! engr: there is no engr.json in WORK or above it
    !   → `engr <app> create` makes one here
    (2)
    ");
    let wrong = [
        "{\n  \"apps\": {\n    \"web\": {\"port\": 80,}\n  }\n}\n",
        "[]",
        r#"{"apps": {"web": {"port": 80, "port": 81}}}"#,
        r#"{"apps": {"web": {"Port": 80}}}"#,
    ];
    let told = wrong.map(|text| {
        place.write("engr.json", text);
        place.session(&["web config"])
    });
    assert_snapshot!(told.join("\n"), @r#"
    $ engr web config
    ! engr: WORK/engr.json:3:24: not valid JSON: trailing comma
    (2)
    $ engr web config
    ! engr: WORK/engr.json: the file must hold a JSON object
    !   → it starts as {"apps": {}}
    (2)
    $ engr web config
    ! engr: WORK/engr.json: "port" stands twice in one object
    (2)
    $ engr web config
    ! engr: WORK/engr.json: app web: there is no key `Port`
    !   → did you mean `port`?
    (2)
    "#);
    place.write("engr.json", r#"{"apps": {"Web": {}}}"#);
    assert_snapshot!(place.session(&["Web config"]), @r#"
    $ engr Web config
    ! engr: WORK/engr.json: app Web: "Web" cannot be an app's name
    !   → a name has up to 40 small letters, digits and `-`, starts with a letter and does not end with `-`
    (2)
    "#);
    place.write("engr.json", r#"{"apps": {"web": {"port": 80, "ports": [81]}}}"#);
    assert_snapshot!(place.session(&["web config", "web config:unset ports", "web config:get port"]), @r"
    $ engr web config
    ! engr: WORK/engr.json: app web: `port` and `ports` are both set
    !   → unset one of them: `ports` takes several
    (2)
    $ engr web config:unset ports
    ports of web is no longer set
    the next deploy takes it along: `engr web deploy`
    (0)
    $ engr web config:get port
    80
    (0)
    ");
}

#[test]
fn apps_are_listed_with_what_they_build_and_serve() {
    assert_snapshot!(hand_written().session(&["apps", "apps --json"]), @r#"
    $ engr apps
    NAME  PROJECT   BUILDS      PORTS   INSTANCES
    web   local     ./cmd/web   8080    1
    jobs  shop-123  ./cmd/jobs  worker  1
    (0)
    $ engr apps --json
    {"file":"WORK/engr.json","apps":[{"name":"web","project":"local","package":"./cmd/web","build":null,"ports":[8080],"instance_count":1},{"name":"jobs","project":"shop-123","package":"./cmd/jobs","build":null,"ports":[],"instance_count":1}]}
    (0)
    "#);
    let place = Place::new();
    place.write("engr.json", "{}");
    assert_snapshot!(place.session(&["apps", "web config"]), @r"
    $ engr apps
    no apps in WORK/engr.json yet: `engr <app> create` adds one
    (0)
    $ engr web config
    ! engr: there is no app web in WORK/engr.json
    !   → add it with `engr web create`
    (2)
    ");
}

#[test]
fn an_edit_keeps_the_mode_and_goes_through_a_link() {
    let place = hand_written();
    place.write("shared/engr.json", HAND_WRITTEN);
    let (link, file) = (place.path().join("engr.json"), place.path().join("shared/engr.json"));
    fs::remove_file(&link).unwrap();
    symlink("shared/engr.json", &link).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(place.engr(&["web", "config:set", "port", "9000", "--stage"]).code, Some(0));
    assert!(link.is_symlink());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_to_string(&file).unwrap(), HAND_WRITTEN.replace("8080", "9000"));
    assert_eq!(
        fs::read_dir(place.path().join("shared")).unwrap().count(),
        1,
        "nothing else is left"
    );
}

#[test]
fn completions_know_the_apps_in_reach() {
    let place = hand_written();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.engr(&["completions", shell]);
        assert_eq!(script.code, Some(0));
        assert!(script.stdout.contains("jobs") && script.stdout.contains("rollback"), "{shell}");
    }
}
