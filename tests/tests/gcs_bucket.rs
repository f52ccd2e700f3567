//! The app's bucket on Cloud Storage: how it is made, what of it `deploy` refuses, and what its
//! lifecycle removes.

use std::collections::BTreeSet;
use std::time::Duration;

use deploy::store::gcs::bucket::{NewBucket, Patch, Switch, flaws};
use deploy::store::gcs::{Access, Gcs};
use deploy::store::{Expect, Store};
use deploy::{Timestamp, layout};
use gcs_server::{Kind, Match, Options, Rule, Server};
use serde_json::json;
use tests::engr::{Place, Transcript, binary};
use tests::fleet::blocking;

/// A folder with an app in project `shop`, and a Cloud Storage of its own.
struct Bench {
    server: Server,
    place: Place,
}

impl Bench {
    fn new() -> Self {
        let mut place = Place::new();
        let server = Server::start(Options::new(place.root().join("gcs"))).expect("a server");
        place.set_endpoint(server.url());
        let app = json!({
            "project": "shop", "zone": "europe-west4-a", "server": false,
            "build": {"command": "true", "output": "app"},
        });
        place.write("engr.json", &json!({"apps": {"hello": app}}).to_string());
        let to = place.path().join("app");
        std::fs::copy(binary("plain-listen-fds"), to).expect("the executable is copied");
        Self { server, place }
    }

    fn gcs(&self) -> Gcs {
        Gcs::new("shop-hello", Access::anonymous(self.server.url())).expect("an address")
    }

    fn create(&self) {
        let location = "EUROPE-WEST4".to_owned();
        let new = NewBucket { project: "shop".to_owned(), app: "hello".to_owned(), location };
        blocking(self.gcs().create(&new)).expect("a bucket");
    }

    fn deploy(&self, args: &[&str]) -> Transcript {
        self.place.engr(&[&["hello", "deploy", "--detach"], args].concat())
    }

    /// Changes a setting of the bucket that our own client has no reason to.
    fn patch(&self, body: &serde_json::Value) {
        let mut curl = self.place.command("curl");
        let url = format!("{}/storage/v1/b/shop-hello", self.server.url());
        curl.args(["-sf", "-X", "PATCH", "-H", "content-type: application/json", "-d"]);
        let status = curl.arg(body.to_string()).arg(url).output().expect("curl runs").status;
        assert!(status.success());
    }
}

#[test]
fn a_missing_bucket_is_shown_and_made_only_if_somebody_says_so() {
    let bench = Bench::new();
    insta::with_settings!({filters => vec![(r"\d+\.\d+ s", "TIME"), (r"[0-9a-f]{12}, \d+\.\d MB", "ARTIFACT"), (r"amd64, \d+\.\d MB", "amd64, SIZE"), (r"upload    \d+\.\d MB", "upload    SIZE"), (r"tester@\S+", "tester@HOST")]}, {
        insta::assert_snapshot!(bench.deploy(&[]), @"
        $ engr hello deploy --detach
        The app has no bucket yet. This one will be made for it:
          bucket      gs://shop-hello
          project     shop
          location    EUROPE-WEST4
          versioning  on: older states are the history that a rollback goes back to
          access      uniform; public access prevented
          lifecycle   the newest 100 states stay, artifacts until `prune`
          soft delete 7 days
        ! engr: the bucket is missing, and nobody is there to confirm it
        !   → make it with `engr hello deploy --yes`
        (2)
        ");
        insta::assert_snapshot!(bench.deploy(&["--yes"]), @"
        $ engr hello deploy --detach --yes
        The app has no bucket yet. This one will be made for it:
          bucket      gs://shop-hello
          project     shop
          location    EUROPE-WEST4
          versioning  on: older states are the history that a rollback goes back to
          access      uniform; public access prevented
          lifecycle   the newest 100 states stay, artifacts until `prune`
          soft delete 7 days
        bucket    gs://shop-hello created  TIME
        claim     held by tester@HOST  TIME
        build     hello for amd64, SIZE  TIME
        archive   ARTIFACT  TIME
        upload    SIZE  TIME
        publish   v1  TIME
        v1 is published, and the fleet goes on by itself: follow it with `engr hello wait v1`
        (0)
        ");
        insta::assert_snapshot!(bench.deploy(&[]), @"
        $ engr hello deploy --detach
        claim     held by tester@HOST  TIME
        build     hello for amd64, SIZE  TIME
        archive   ARTIFACT  TIME
        upload    nothing to upload, the bucket has it  TIME
        publish   v2  TIME
        v2 is published, and the fleet goes on by itself: follow it with `engr hello wait v2`
        undo      engr hello rollback v1
        (0)
        ");
        insta::assert_snapshot!(bench.place.engr(&["hello", "sync"]), @"
        $ engr hello sync
        ! engr: this version of engr does not make machines, and hello runs in project shop
        !   → start `agentd launch` on each machine by its own means
        !   → or run hello here: `engr hello config:set project local`
        (2)
        ");
    });
    let bucket = blocking(bench.gcs().bucket()).expect("the bucket").expect("it is there");
    assert_eq!(flaws(&bucket), []);
    assert_eq!(bucket.location, "EUROPE-WEST4");
    assert_eq!(bucket.labels["engineer-app"], "hello");
}

/// The answer to the creation is lost, and the bucket is there: so be it.
#[test]
fn a_bucket_whose_creation_was_not_answered_is_taken_for_made() {
    let bench = Bench::new();
    let on = Match { call: Some("buckets.insert".to_owned()), ..Match::default() };
    bench.server.faults().add(Rule::new([Kind::CutAfter]).times(1).on(on));
    let done = bench.deploy(&["--yes"]);
    assert_eq!(done.code, Some(0), "{done}");
}

#[test]
fn a_name_that_is_somebody_elses_is_said_to_be() {
    let bench = Bench::new();
    bench.create();
    bench.server.faults().hide_buckets(["shop-hello".to_owned()]);
    insta::assert_snapshot!(bench.deploy(&["--yes"]), @"
    $ engr hello deploy --detach --yes
    The app has no bucket yet. This one will be made for it:
      bucket      gs://shop-hello
      project     shop
      location    EUROPE-WEST4
      versioning  on: older states are the history that a rollback goes back to
      access      uniform; public access prevented
      lifecycle   the newest 100 states stay, artifacts until `prune`
      soft delete 7 days
    ! engr: cannot create the bucket in gs://shop-hello: somebody else wrote it meanwhile: HTTP 409: Your previous request to create the named bucket succeeded and you already own it.
    !   → names of buckets are taken worldwide, and somebody else has this one
    !   → name another with `engr hello config:set bucket gs://…`
    (30)
    ");
}

#[test]
fn a_bucket_whose_settings_would_break_deploys_is_refused() {
    let bench = Bench::new();
    bench.create();
    bench.patch(&json!({"retentionPolicy": {"retentionPeriod": "60"}}));
    insta::assert_snapshot!(bench.deploy(&[]), @"
    $ engr hello deploy --detach
    ! engr: gs://shop-hello: a retention policy forbids overwriting for 60 s, so that state.json cannot be moved forward
    !   → remove the bucket's retention policy
    (2)
    ");
    bench.patch(&json!({"retentionPolicy": null}));
    let gcs = bench.gcs();
    let seen = blocking(gcs.bucket()).expect("the bucket").expect("it is there");
    let off = Patch { versioning: Some(Switch { enabled: false }), ..Patch::default() };
    blocking(gcs.patch(&off, &seen)).expect("changed");
    insta::assert_snapshot!(bench.deploy(&[]), @"
    $ engr hello deploy --detach
    ! engr: gs://shop-hello: versioning is off, so that there is no history and no rollback
    !   → mend it with `engr doctor hello --fix`
    (2)
    ");
    let fixed = bench.place.engr(&["doctor", "hello", "--fix"]);
    assert_eq!(fixed.code, Some(0), "{fixed}");
    assert_eq!(bench.deploy(&[]).code, Some(0));
}

/// What the bucket removes by itself: old states, reports of yesterday, what was pruned; and never
/// what is live, whatever its age.
#[test]
fn the_lifecycle_removes_what_is_old_and_nothing_that_is_needed() {
    let bench = Bench::new();
    bench.create();
    let gcs = bench.gcs();
    let artifact = "artifacts/aa";
    blocking(async {
        for number in 0..130_u8 {
            gcs.write(layout::STATE, &[number], Expect::Any).await.expect("written");
        }
        for name in [artifact, "artifacts/bb", "env/aa", "fleet/instances/a"] {
            gcs.write(name, b"1", Expect::Absent).await.expect("written");
        }
        gcs.write("fleet/instances/a", b"2", Expect::Any).await.expect("written");
        gcs.delete("artifacts/bb", Expect::Any).await.expect("pruned");
    });
    let count = |name: &str| blocking(gcs.versions(name)).expect("versions").len();
    let after = |days: u64| {
        let now = Timestamp::now() + Duration::from_secs(days * 24 * 3600 + 60);
        bench.server.apply_lifecycle("shop-hello", now).expect("applied");
        [layout::STATE, artifact, "artifacts/bb", "env/aa", "fleet/instances/a"].map(count)
    };
    assert_eq!(after(0), [130, 1, 1, 1, 2]);
    assert_eq!(after(2), [130, 1, 1, 1, 1]);
    assert_eq!(after(8), [130, 1, 0, 1, 1]);
    // The newest hundred, the live one among them.
    assert_eq!(after(91), [100, 1, 0, 1, 1]);
    assert_eq!(after(3_000), [100, 1, 0, 1, 1]);
    let live: BTreeSet<_> =
        blocking(gcs.list("")).expect("a list").into_iter().map(|stat| stat.name).collect();
    assert!(live.contains(artifact) && live.contains("env/aa"));
}
