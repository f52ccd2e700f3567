//! Who `engr` asks Google as, and what it says when that does not work: over Google's own names,
//! with TLS, and nothing in the product that knows of a test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use std::net::{Ipv4Addr, SocketAddr};

use deploy::Timestamp;
use deploy::agent_config::{AgentConfig, InstanceDir, Listen};
use deploy::report::Version;
use deploy::store::gcs::bucket::NewBucket;
use serde_json::{Value, json};
use tests::agent::Agent;
use tests::engr::Transcript;
use tests::fleet::{until, within};
use tests::google::{Google, METADATA};

/// The bucket that `engr deploy` makes for the app.
fn bucket() -> Value {
    let location = "US-CENTRAL1".to_owned();
    let new = NewBucket { project: "shop".to_owned(), app: "web".to_owned(), location };
    new.to_json("shop-web")
}

/// Google with the app's bucket, and the app's settings.
fn google() -> Option<Google> {
    google_with(&[bucket()])
}

fn google_with(buckets: &[Value]) -> Option<Google> {
    let google = Google::for_this_thread(buckets)?;
    let app = json!({"project": "shop", "port": 8080, "build": {"command": "true", "output": "x"}});
    google.place.write("engr.json", &json!({"apps": {"web": app}}).to_string());
    google.service.tokens().require(true);
    Some(google)
}

/// The variables that name a file of credentials.
fn named(google: &Google, credentials: &Value) -> [(&'static str, String); 1] {
    google.place.write("credentials.json", &credentials.to_string());
    let path = google.place.path().join("credentials.json");
    [("GOOGLE_APPLICATION_CREDENTIALS", path.display().to_string())]
}

fn engr(google: &Google, line: &str, variables: &[(&'static str, String)]) -> Transcript {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    google.engr(line, &variables)
}

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"answers in \d+\.\d+ s", "answers in N s");
    settings.add_filter(r"clock is (\d+ s|59m \d+s)", "clock is N s");
    settings
}

macro_rules! assert_transcript {
    ($transcript:expr, @$expected:literal) => {
        settings().bind(|| insta::assert_snapshot!($transcript, @$expected));
    };
}

/// What both commands say of a bucket that has no state yet.
fn both(google: &Google, variables: &[(&'static str, String)]) -> String {
    let (status, doctor) =
        (engr(google, "web status", variables), engr(google, "doctor", variables));
    format!("{status}\n{doctor}")
}

fn service_account(google: &Google) -> Value {
    json!({
        "type": "service_account",
        "project_id": "shop",
        "private_key_id": "1",
        "private_key": google.private_key(),
        "client_email": "ci@shop.iam.gserviceaccount.com",
        "client_id": "2",
        "token_uri": "https://oauth2.googleapis.com/token",
        "universe_domain": "googleapis.com",
    })
}

fn user() -> Value {
    json!({
        "type": "authorized_user",
        "account": "",
        "client_id": "1.apps.googleusercontent.com",
        "client_secret": "s",
        "refresh_token": "1//r",
        "universe_domain": "googleapis.com",
    })
}

fn impersonated() -> Value {
    let url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/\
               deployer@shop.iam.gserviceaccount.com:generateAccessToken";
    json!({
        "type": "impersonated_service_account",
        "service_account_impersonation_url": url,
        "source_credentials": user(),
        "delegates": [],
    })
}

/// By the token of a CI system, in a file.
fn federated(google: &Google) -> Value {
    google.place.write("subject-token", "eyJ.of.ci");
    json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/providers/ci",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": google.place.path().join("subject-token")},
    })
}

#[test]
fn a_service_account_signs_by_itself() {
    let Some(google) = google() else { return };
    google.service.tokens().trust_issuer("ci@shop.iam.gserviceaccount.com");
    let variables = named(&google, &service_account(&google));
    assert_transcript!(both(&google, &variables), @"
    $ engr web status
    web has no release yet: `engr web deploy`

    no instances: start `agentd launch` on machines of shop: they take it from the bucket
    (0)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       service account ci@shop.iam.gserviceaccount.com, by WORK/credentials.json
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      ok    clock         right to the second
      ok    bucket        gs://shop-web in US-CENTRAL1: versioning on, uniform access on, 3 lifecycle rules, soft delete 7 days
      ok    settings      as they should be
      ok    permission    to read, publish and prune
      ok    state         no release yet
      ok    agents        none has reported yet
    (0)
    ");
    assert_eq!(google.calls("token"), 0);
    let taken: Vec<_> = google.service.tokens().taken().into_iter().collect();
    assert_eq!(taken, ["ci@shop.iam.gserviceaccount.com"]);
}

#[test]
fn a_login_gives_its_refresh_token() {
    let Some(google) = google() else { return };
    let path = ".config/gcloud/application_default_credentials.json";
    // The home is beside the folder.
    let mut user = user();
    user["quota_project_id"] = json!("shop");
    google.place.write(&format!("../home/{path}"), &user.to_string());
    assert_transcript!(both(&google, &[]), @"
    $ engr web status
    web has no release yet: `engr web deploy`

    no instances: start `agentd launch` on machines of shop: they take it from the bucket
    (0)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       a user's login, by ROOT/home/.config/gcloud/application_default_credentials.json
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      ok    clock         right to the second
      ok    bucket        gs://shop-web in US-CENTRAL1: versioning on, uniform access on, 3 lifecycle rules, soft delete 7 days
      ok    settings      as they should be
      ok    permission    to read, publish and prune
      ok    state         no release yet
      ok    agents        none has reported yet
    (0)
    ");
    assert_eq!(google.calls("token"), 2, "one for each command");
    assert_eq!(google.service.tokens().taken().len(), 2);
}

#[test]
fn a_service_account_is_impersonated() {
    let Some(google) = google() else { return };
    let variables = named(&google, &impersonated());
    assert_transcript!(both(&google, &variables), @"
    $ engr web status
    web has no release yet: `engr web deploy`

    no instances: start `agentd launch` on machines of shop: they take it from the bucket
    (0)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       service account deployer@shop.iam.gserviceaccount.com, impersonated, by WORK/credentials.json
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      ok    clock         right to the second
      ok    bucket        gs://shop-web in US-CENTRAL1: versioning on, uniform access on, 3 lifecycle rules, soft delete 7 days
      ok    settings      as they should be
      ok    permission    to read, publish and prune
      ok    state         no release yet
      ok    agents        none has reported yet
    (0)
    ");
    assert_eq!((google.calls("token"), google.calls("generateAccessToken")), (2, 2));
}

#[test]
fn another_providers_identity_is_exchanged() {
    let Some(google) = google() else { return };
    let variables = named(&google, &federated(&google));
    assert_transcript!(both(&google, &variables), @"
    $ engr web status
    web has no release yet: `engr web deploy`

    no instances: start `agentd launch` on machines of shop: they take it from the bucket
    (0)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       a federated identity, //iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/providers/ci, by WORK/credentials.json
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      ok    clock         right to the second
      ok    bucket        gs://shop-web in US-CENTRAL1: versioning on, uniform access on, 3 lifecycle rules, soft delete 7 days
      ok    settings      as they should be
      ok    permission    to read, publish and prune
      ok    state         no release yet
      ok    agents        none has reported yet
    (0)
    ");
    assert_eq!((google.calls("token"), google.calls("generateAccessToken")), (2, 0));
    assert_eq!(google.service.tokens().taken().len(), 2);
}

#[test]
fn a_machine_has_a_metadata_server() {
    let Some(google) = google() else { return };
    let named = [("GCE_METADATA_HOST", METADATA.to_owned())];
    assert_eq!(engr(&google, "web status", &named).code, Some(0));
    google.is_the_machines();
    assert_transcript!(both(&google, &[]), @"
    $ engr web status
    web has no release yet: `engr web deploy`

    no instances: start `agentd launch` on machines of shop: they take it from the bucket
    (0)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       this machine's service account, by its metadata server
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      ok    clock         right to the second
      ok    bucket        gs://shop-web in US-CENTRAL1: versioning on, uniform access on, 3 lifecycle rules, soft delete 7 days
      ok    settings      as they should be
      ok    permission    to read, publish and prune
      ok    state         no release yet
      ok    agents        none has reported yet
    (0)
    ");
    let counts = google.metadata.stats().counts();
    assert!(counts.of("metadata") >= 3, "{counts:?}");
    assert_eq!(google.service.tokens().taken().len(), 3);
    assert_eq!(google.calls("token"), 0);
}

/// A `gcloud` that says this.
fn gcloud(google: &Google, script: &str) {
    let path = google.programs().join("gcloud");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the program");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

#[test]
fn gcloud_is_asked_for_its_login() {
    let Some(google) = google() else { return };
    let answer = json!({
        "configuration": {
            "active_configuration": "default",
            "properties": {"core": {"account": "ann@example.com", "project": "shop"}},
        },
        "credential": {"access_token": "ya29.of-gcloud", "token_expiry": "2099-01-01T00:00:00Z"},
        "sentinels": {"config_sentinel": "/x"},
    });
    let args = "[ \"$*\" = 'config config-helper --format=json --quiet' ] || exit 9";
    gcloud(&google, &format!("{args}\necho '{answer}'"));
    google.service.tokens().add("ya29.of-gcloud");
    assert_transcript!(both(&google, &[]), @"
    $ engr web status
    web has no release yet: `engr web deploy`

    no instances: start `agentd launch` on machines of shop: they take it from the bucket
    (0)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       ann@example.com, by gcloud's login
      ok    project       shop, in gcloud's settings
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      ok    clock         right to the second
      ok    bucket        gs://shop-web in US-CENTRAL1: versioning on, uniform access on, 3 lifecycle rules, soft delete 7 days
      ok    settings      as they should be
      ok    permission    to read, publish and prune
      ok    state         no release yet
      ok    agents        none has reported yet
    (0)
    ");
    let taken: Vec<_> = google.service.tokens().taken().into_iter().collect();
    assert_eq!(taken, ["ya29.of-gcloud"]);
}

#[test]
fn without_credentials_it_says_how_to_get_some() {
    let Some(google) = google() else { return };
    assert_transcript!(both(&google, &[]), @"
    $ engr web status
    ! engr: there are no credentials for Google Cloud on this machine
    !   → run `gcloud auth application-default login` (gcloud is part of the Google Cloud CLI)
    !   → or let GOOGLE_APPLICATION_CREDENTIALS name a file of credentials, as in CI
    (30)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      bad   account       there are no credentials for Google Cloud on this machine
                          → run `gcloud auth application-default login` (gcloud is part of the Google Cloud CLI); or let GOOGLE_APPLICATION_CREDENTIALS name a file of credentials, as in CI
    (30)
    ");
}

#[test]
fn gcloud_without_a_login_is_told() {
    let Some(google) = google() else { return };
    let told = "ERROR: (gcloud.config.config-helper) You do not currently have an active account \
                selected.\nPlease run:\n\n  $ gcloud auth login\n\nto obtain new credentials.";
    gcloud(&google, &format!("echo '{told}' >&2; exit 1"));
    assert_transcript!(both(&google, &[]), @"
    $ engr web status
    ! engr: cannot read state.json in gs://shop-web: the credentials are not taken: gcloud gives no token: You do not currently have an active account selected
    !   → run `gcloud auth login`, or `gcloud auth application-default login`
    (30)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      bad   account       gcloud gives no token: You do not currently have an active account selected, and there are no application default credentials
                          → run `gcloud auth login`, or `gcloud auth application-default login`
    (30)
    ");
}

#[test]
fn a_file_that_is_no_key_is_named() {
    let Some(google) = google() else { return };
    let variables = named(&google, &Value::Null);
    let path = google.place.path().join("credentials.json");
    let mut told = Vec::new();
    for text in ["{\"type\": \"service_account\",", "{}", r#"{"type": "service_account"}"#] {
        fs::write(&path, text).expect("the file");
        told.push(engr(&google, "web status", &variables).to_string());
    }
    let mut broken = service_account(&google);
    broken["private_key"] = json!("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    fs::write(&path, broken.to_string()).expect("the file");
    told.push(engr(&google, "web status", &variables).to_string());
    told.push(engr(&google, "doctor", &variables).to_string());
    fs::remove_file(&path).expect("the file");
    told.push(engr(&google, "web status", &variables).to_string());
    assert_transcript!(told.join("\n"), @"
    $ engr web status
    ! engr: cannot use the credentials in WORK/credentials.json (GOOGLE_APPLICATION_CREDENTIALS): cannot parse the credentials file: EOF while parsing a value at line 1 column 27
    !   → let GOOGLE_APPLICATION_CREDENTIALS name a whole file of credentials
    (30)
    $ engr web status
    ! engr: cannot use the credentials in WORK/credentials.json (GOOGLE_APPLICATION_CREDENTIALS): cannot parse the credentials file: no `type` field found
    !   → let GOOGLE_APPLICATION_CREDENTIALS name a whole file of credentials
    (30)
    $ engr web status
    ! engr: cannot use the credentials in WORK/credentials.json (GOOGLE_APPLICATION_CREDENTIALS): cannot parse the credentials file: missing field `client_email`
    !   → let GOOGLE_APPLICATION_CREDENTIALS name a whole file of credentials
    (30)
    $ engr web status
    ! engr: cannot read state.json in gs://shop-web: the credentials are not taken: failed to parse private key as RSA, ECDSA, or EdDSA
    !   → put credentials that are good into WORK/credentials.json, or let GOOGLE_APPLICATION_CREDENTIALS name others
    (30)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       service account ci@shop.iam.gserviceaccount.com, by WORK/credentials.json
    web
      ok    project       shop
      bad   reach         cannot reach the service in gs://shop-web: the credentials are not taken: failed to parse private key as RSA, ECDSA, or EdDSA
                          → put credentials that are good into WORK/credentials.json, or let GOOGLE_APPLICATION_CREDENTIALS name others
    (30)
    $ engr web status
    ! engr: cannot use the credentials in WORK/credentials.json (GOOGLE_APPLICATION_CREDENTIALS): No such file or directory (os error 2)
    !   → let GOOGLE_APPLICATION_CREDENTIALS name a whole file of credentials
    (30)
    ");
}

#[test]
fn a_login_that_was_revoked_is_told() {
    let Some(google) = google() else { return };
    google.service.tokens().refuse_grants(Some("invalid_grant"));
    let variables = named(&google, &user());
    let user_told = both(&google, &variables);
    let others = [impersonated(), federated(&google)]
        .map(|other| engr(&google, "web status", &named(&google, &other)).to_string());
    assert_transcript!(format!("{user_told}\n{}", others.join("\n")), @"
    $ engr web status
    ! engr: cannot read state.json in gs://shop-web: the credentials are not taken: failed to refresh user access token: invalid_grant: Token has been expired or revoked
    !   → put credentials that are good into WORK/credentials.json, or let GOOGLE_APPLICATION_CREDENTIALS name others
    (30)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       a user's login, by WORK/credentials.json
    web
      ok    project       shop
      bad   reach         cannot reach the service in gs://shop-web: the credentials are not taken: failed to refresh user access token: invalid_grant: Token has been expired or revoked
                          → put credentials that are good into WORK/credentials.json, or let GOOGLE_APPLICATION_CREDENTIALS name others
    (30)
    $ engr web status
    ! engr: cannot read state.json in gs://shop-web: the credentials are not taken: failed to refresh user access token: invalid_grant: Token has been expired or revoked
    !   → put credentials that are good into WORK/credentials.json, or let GOOGLE_APPLICATION_CREDENTIALS name others
    (30)
    $ engr web status
    ! engr: cannot read state.json in gs://shop-web: the credentials are not taken: failed to exchange token: invalid_grant: Token has been expired or revoked
    !   → put credentials that are good into WORK/credentials.json, or let GOOGLE_APPLICATION_CREDENTIALS name others
    (30)
    ");
}

#[test]
fn a_token_of_ci_that_is_missing_is_told() {
    let Some(google) = google() else { return };
    let variables = named(&google, &federated(&google));
    fs::remove_file(google.place.path().join("subject-token")).expect("the token");
    assert_transcript!(engr(&google, "web status", &variables), @"
    $ engr web status
    ! engr: cannot use the credentials in WORK/credentials.json (GOOGLE_APPLICATION_CREDENTIALS): the token in WORK/subject-token cannot be read: No such file or directory (os error 2)
    !   → let GOOGLE_APPLICATION_CREDENTIALS name a whole file of credentials
    (30)
    ");
}

#[test]
fn a_machine_whose_metadata_server_is_away_is_told() {
    let Some(google) = google() else { return };
    google.metadata.faults().set_outage(gcs_server::Outage::Refuse);
    google.is_the_machines();
    assert_transcript!(engr(&google, "web status", &[]), @"
    $ engr web status
    ! engr: cannot read state.json in gs://shop-web: the bucket cannot be used at the moment: failed to fetch access token: Connection refused (os error 111)
    (1)
    ");
}

#[test]
fn a_machine_without_an_account_is_told() {
    let Some(google) = google() else { return };
    google.is_the_machines();
    google.metadata.tokens().refuse_grants(Some("no account"));
    assert_transcript!(both(&google, &[]), @"
    $ engr web status
    ! engr: cannot read state.json in gs://shop-web: the credentials are not taken: failed to fetch access token: HTTP 404: The service account was not found
    !   → see whether this machine has a service account, and whether it is enabled
    (30)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       this machine's service account, by its metadata server
    web
      ok    project       shop
      bad   reach         cannot reach the service in gs://shop-web: the credentials are not taken: failed to fetch access token: HTTP 404: The service account was not found
                          → see whether this machine has a service account, and whether it is enabled
    (30)
    ");
}

#[test]
fn a_token_that_is_not_taken_is_told() {
    let Some(google) = google() else { return };
    google.service.tokens().trust_issuer("somebody@else");
    let variables = named(&google, &service_account(&google));
    assert_transcript!(both(&google, &variables), @"
    $ engr web status
    ! engr: cannot read state.json in gs://shop-web: the credentials are not taken: HTTP 401: Invalid Credentials
    !   → put credentials that are good into WORK/credentials.json, or let GOOGLE_APPLICATION_CREDENTIALS name others
    (30)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       service account ci@shop.iam.gserviceaccount.com, by WORK/credentials.json
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      ok    clock         right to the second
      bad   bucket        cannot look at the bucket in gs://shop-web: the credentials are not taken: HTTP 401: Invalid Credentials
                          → put credentials that are good into WORK/credentials.json, or let GOOGLE_APPLICATION_CREDENTIALS name others
    (30)
    ");
}

#[test]
fn what_the_caller_may_not_do_is_named() {
    let Some(google) = google() else { return };
    let variables = named(&google, &user());
    google.service.tokens().deny_read("shop-web");
    google.service.tokens().deny_write("shop-web");
    let reading = both(&google, &variables);
    google.service.tokens().allow_all("shop-web");
    google.service.tokens().deny("shop-web", "storage.buckets.get");
    let looking = engr(&google, "doctor", &variables);
    assert_transcript!(format!("{reading}\n{looking}"), @"
    $ engr web status
    ! engr: cannot read state.json in gs://shop-web: permission denied: HTTP 403: The caller does not have storage.objects.get access to the Google Cloud Storage object. Permission 'storage.objects.get' denied on resource (or it may not exist).
    !   → `engr doctor` says who you are and what you may do
    (30)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       a user's login, by WORK/credentials.json
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      ok    clock         right to the second
      ok    bucket        gs://shop-web in US-CENTRAL1: versioning on, uniform access on, 3 lifecycle rules, soft delete 7 days
      ok    settings      as they should be
      bad   permission    you may not do all that a deploy does: storage.objects.get, storage.objects.create, storage.objects.delete, storage.objects.list missing
                          → have the role Storage Object Admin (roles/storage.objectAdmin) granted
    (30)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       a user's login, by WORK/credentials.json
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      ok    clock         right to the second
      bad   bucket        HTTP 403: The caller does not have storage.buckets.get access to the Google Cloud Storage object. Permission 'storage.buckets.get' denied on resource (or it may not exist).
                          → it may be somebody else's: name another with `config:set bucket gs://…`; or have storage.buckets.get granted
    (30)
    ");
}

#[test]
fn doctor_tells_of_a_bucket_that_is_missing() {
    let Some(google) = google_with(&[]) else { return };
    let variables = named(&google, &user());
    assert_transcript!(both(&google, &variables), @"
    $ engr web status
    ! engr: cannot read state.json in gs://shop-web: there is no such bucket
    !   → the first deploy makes it: `engr <app> deploy`
    (2)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       a user's login, by WORK/credentials.json
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      ok    clock         right to the second
      weak  bucket        gs://shop-web is not there yet
                          → the first deploy makes it: `engr web deploy`
    (0)
    ");
}

#[test]
fn doctor_finds_settings_that_break_us_and_mends_what_it_can() {
    let mut bucket = bucket();
    bucket["versioning"]["enabled"] = json!(false);
    bucket["retentionPolicy"] = json!({"retentionPeriod": "3600"});
    bucket["lifecycle"] = json!({"rule": []});
    let Some(google) = google_with(&[bucket]) else { return };
    let variables = named(&google, &user());
    let lines = ["doctor", "doctor web --fix", "doctor"];
    let told = lines.map(|line| engr(&google, line, &variables).to_string());
    assert_transcript!(told.join("\n"), @"
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       a user's login, by WORK/credentials.json
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      ok    clock         right to the second
      ok    bucket        gs://shop-web in US-CENTRAL1: versioning off, uniform access on, 0 lifecycle rules, soft delete 7 days
      bad   settings      a retention policy forbids overwriting for 3600 s, so that state.json cannot be moved forward
                          → remove the bucket's retention policy
      bad   settings      versioning is off, so that there is no history and no rollback
                          → `engr doctor web --fix` mends it
      weak  settings      the lifecycle rules that remove old states and reports are missing
                          → `engr doctor web --fix` mends it
      ok    permission    to read, publish and prune
    (2)
    $ engr doctor web --fix
    engr
      ok    version       engr 0.1.0
    account
      ok    account       a user's login, by WORK/credentials.json
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      ok    clock         right to the second
      ok    bucket        gs://shop-web in US-CENTRAL1: versioning off, uniform access on, 0 lifecycle rules, soft delete 7 days
      bad   settings      a retention policy forbids overwriting for 3600 s, so that state.json cannot be moved forward
                          → remove the bucket's retention policy
      ok    settings      mended: versioning is off, so that there is no history and no rollback; it holds for what is written 30 s from now
      ok    settings      mended: the lifecycle rules that remove old states and reports are missing
      ok    permission    to read, publish and prune
    (2)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       a user's login, by WORK/credentials.json
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      ok    clock         right to the second
      ok    bucket        gs://shop-web in US-CENTRAL1: versioning on, uniform access on, 3 lifecycle rules, soft delete 7 days
      bad   settings      a retention policy forbids overwriting for 3600 s, so that state.json cannot be moved forward
                          → remove the bucket's retention policy
      ok    permission    to read, publish and prune
    (2)
    ");
}

#[test]
fn doctor_sees_a_clock_that_is_wrong() {
    let Some(google) = google() else { return };
    let variables = named(&google, &user());
    // Clocks that are told by the second differ by up to one more.
    google.service.faults().set_clock_skew_secs(12);
    let some = engr(&google, "doctor", &variables);
    google.service.faults().set_clock_skew_secs(-3_600);
    let much = engr(&google, "doctor", &variables);
    assert_transcript!(format!("{some}\n{much}"), @"
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       a user's login, by WORK/credentials.json
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      weak  clock         this machine's clock is N s behind
                          → set this machine's clock, by NTP
      ok    bucket        gs://shop-web in US-CENTRAL1: versioning on, uniform access on, 3 lifecycle rules, soft delete 7 days
      ok    settings      as they should be
      ok    permission    to read, publish and prune
      ok    state         no release yet
      ok    agents        none has reported yet
    (0)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       a user's login, by WORK/credentials.json
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      bad   clock         this machine's clock is N s ahead
                          → set this machine's clock, by NTP
      ok    bucket        gs://shop-web in US-CENTRAL1: versioning on, uniform access on, 3 lifecycle rules, soft delete 7 days
      ok    settings      as they should be
      ok    permission    to read, publish and prune
    (1)
    ");
}

#[test]
fn doctor_tells_when_nothing_answers() {
    let Some(google) = google() else { return };
    google.service.tokens().trust_issuer("ci@shop.iam.gserviceaccount.com");
    let variables = named(&google, &service_account(&google));
    google.service.faults().set_outage(gcs_server::Outage::Refuse);
    let refused = engr(&google, "doctor", &variables);
    google.service.faults().set_outage(gcs_server::Outage::Status(503));
    let away = engr(&google, "doctor", &variables);
    google.service.faults().clear();
    let other = ("SSL_CERT_FILE", google.place.root().join("server.pem").display().to_string());
    let [credentials] = variables.clone();
    let untrusted = engr(&google, "doctor", &[credentials, other]);
    google.forget_the_names();
    let nameless = engr(&google, "doctor", &variables);
    assert_transcript!([refused, away, untrusted, nameless].map(|told| told.to_string()).join("\n"), @"
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       service account ci@shop.iam.gserviceaccount.com, by WORK/credentials.json
    web
      ok    project       shop
      bad   reach         cannot reach the service in gs://shop-web: the bucket cannot be used at the moment: Connection refused (os error 111)
                          → see whether this machine reaches https://storage.googleapis.com
    (1)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       service account ci@shop.iam.gserviceaccount.com, by WORK/credentials.json
    web
      ok    project       shop
      ok    reach         https://storage.googleapis.com answers in N s
      ok    clock         right to the second
      bad   bucket        cannot look at the bucket in gs://shop-web: the bucket cannot be used at the moment: HTTP 503: The service is away.
                          → see whether https://status.cloud.google.com knows of it
    (1)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       service account ci@shop.iam.gserviceaccount.com, by WORK/credentials.json
    web
      ok    project       shop
      bad   reach         cannot reach the service in gs://shop-web: the bucket cannot be used at the moment: invalid peer certificate: UnknownIssuer
                          → see whether this machine reaches https://storage.googleapis.com
    (1)
    $ engr doctor
    engr
      ok    version       engr 0.1.0
    account
      ok    account       service account ci@shop.iam.gserviceaccount.com, by WORK/credentials.json
    web
      ok    project       shop
      bad   reach         cannot reach the service in gs://shop-web: the bucket cannot be used at the moment: failed to lookup address information: Temporary failure in name resolution
                          → see whether this machine reaches https://storage.googleapis.com
    (1)
    ");
}

/// The app's agent on a machine with a metadata server.
fn agent(google: &Google) -> Agent {
    let config = AgentConfig {
        app: "web".to_owned(),
        project: "shop".to_owned(),
        instance: "web-1".to_owned(),
        bucket: "gs://shop-web".to_owned(),
        endpoint: None,
        listen: Listen::On(Ipv4Addr::LOCALHOST.into()),
        health: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9_000))),
        user: None,
    };
    let dir = InstanceDir(google.place.root().join("instance"));
    Agent::start(google.command("agentd"), &dir, &config)
}

/// Waits until the agent has heard from the bucket after this moment. Gives what serves there.
fn until_it_looks(agent: &Agent) -> Option<Version> {
    let now = Timestamp::now();
    let looks = || agent.report().filter(|report| report.looked.is_some_and(|at| at > now));
    // The longest pause between two looks, and another for new credentials.
    let heard = within(Duration::from_secs(90), looks);
    heard.unwrap_or_else(|| panic!("{:#?}", agent.report())).serving
}

#[test]
fn an_agent_goes_on_when_its_tokens_were_refused_and_given_up() {
    let Some(google) = google() else { return };
    let app = json!({
        "project": "shop", "server": false, "poll-interval": "100ms",
        "health-window": "100ms", "settle": "100ms",
        "build": {"command": "true", "output": "app"},
    });
    google.place.write("engr.json", &json!({"apps": {"web": app}}).to_string());
    google.place.write("app", "#!/bin/sh\nexec /bin/sleep 1000\n");
    let script = google.place.path().join("app");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).expect("its mode");
    let agent = agent(&google);
    until_it_looks(&agent);
    let [credentials] = named(&google, &user());
    // A build needs a shell.
    let path = ("PATH", std::env::var("PATH").expect("a path"));
    let deployed = engr(&google, "web deploy --detach", &[credentials, path]);
    assert_eq!(deployed.code, Some(0), "{deployed}");
    let serving = until("the app serves", || agent.report()?.serving);

    // A token that ends before its time.
    let end_tokens = || {
        google.service.tokens().expire_all();
        google.metadata.tokens().expire_all();
    };
    end_tokens();
    assert_eq!(until_it_looks(&agent), Some(serving.clone()));

    // And a machine whose account is taken away for a while: the library gives up for good.
    let (tokens, asked) = (google.metadata.tokens(), google.calls("metadata"));
    tokens.refuse_grants(Some("no account"));
    end_tokens();
    until("no token is given", || (google.calls("metadata") > asked).then_some(()));
    tokens.refuse_grants(None);
    assert_eq!(until_it_looks(&agent), Some(serving));
    assert_eq!(google.calls("token"), 1, "the deployer's alone");
}
