//! `engr.json`: found, read, checked and edited.
//!
//! ```text
//! file ──▶ check ──▶ AppConfig     text to settings: once, at the door
//!   │        └─▶ keys ◀─ schema    which keys there are, and what may stand under them
//!   └──▶ edit                      changes to the text that leave the rest alone
//! ```

mod app;
mod check;
mod edit;
mod file;
pub mod keys;
pub mod schema;

pub use app::{AppConfig, Arch, BuildCommand, Generate, RolloutRules};
pub use check::{SET_BUILD, key};
pub use file::{EngrFile, check_name, current_folder, write_whole};

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::keys::{KEYS, Kind};
    use super::schema;

    #[test]
    fn the_schema_has_every_key_with_its_description_and_no_other() {
        let schema: Value = serde_json::from_str(&schema::text()).unwrap();
        let properties = |of: &str| {
            schema
                .pointer(&format!("/definitions/{of}/properties"))
                .unwrap()
                .as_object()
                .unwrap()
                .clone()
        };
        let app = properties("AppConfig");
        assert!(app.keys().eq(KEYS.iter().map(|key| key.name)), "{:?}", app.keys());
        for (key, group) in [("health", "HealthCheck"), ("build", "BuildCommand")] {
            let key = KEYS.iter().find(|known| known.name == key).unwrap();
            let Kind::Group(keys) = &key.kind else { panic!("{key:?}") };
            assert!(properties(group).keys().eq(keys.iter().map(|key| key.name)));
        }
        for (name, property) in app.iter().chain(&properties("HealthCheck")) {
            assert!(property["description"].is_string(), "{name} has no description");
        }
        assert_eq!(app["settle"]["default"], "3s");
        assert_eq!(app["port"]["default"], 80);
    }
}
