//! Which kind of bucket the fleets of this run have.

use deploy::store::Gcs;
use deploy::store::gcs::Access;
use deploy::store::gcs::bucket::NewBucket;
use gcs_server::{Options, Server};
use serde_json::{Value, json};

use super::{APP, blocking};
use crate::engr::Place;

/// `gcs`: every fleet of the run has a bucket of Cloud Storage, on a server of its own. Unset: a
/// folder.
const VARIABLE: &str = "ENGR_TEST_STORE";

/// The bucket's name.
const NAME: &str = "shop-tests";

/// A fleet's bucket.
#[derive(Debug)]
pub(super) enum Bucket {
    /// A folder, where `engr` puts it.
    Folder,
    /// On a server of its own.
    Gcs(Server),
}

impl Bucket {
    /// The kind that this run is about, made for what runs in `place`.
    ///
    /// # Panics
    /// When it cannot be made, or the variable asks for a kind that there is not.
    pub(super) fn of_this_run(place: &mut Place) -> Self {
        match std::env::var(VARIABLE).as_deref() {
            Err(_) => return Self::Folder,
            Ok("gcs") => {}
            Ok(other) => panic!("{VARIABLE} is {other:?}, and may be `gcs`"),
        }
        Self::on_a_server(place)
    }

    /// One of Cloud Storage, made for what runs in `place`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub(super) fn on_a_server(place: &mut Place) -> Self {
        let server = Server::start(Options::new(place.root().join("gcs"))).expect("a server");
        place.set_endpoint(server.url());
        let location = "US-CENTRAL1".to_owned();
        let new = NewBucket { project: "local".to_owned(), app: APP.to_owned(), location };
        blocking(gcs(&server).create(&new)).expect("a bucket");
        Self::Gcs(server)
    }

    /// What `engr.json` says of it.
    pub(super) fn add_settings(&self, settings: &mut Value) {
        if let Self::Gcs(_) = self {
            settings["bucket"] = json!(format!("gs://{NAME}"));
            // What is published without a claim is seen at this interval.
            settings["poll-interval"] = json!("200ms");
        }
    }
}

/// The bucket on `server`.
///
/// # Panics
/// When its address is none.
pub(super) fn gcs(server: &Server) -> Gcs {
    Gcs::new(NAME, Access::anonymous(server.url())).expect("an address")
}
