//! Where a new bucket is put.

use crate::config::AppConfig;

/// Where a bucket goes when nothing says where the app's machines are.
const DEFAULT: &str = "US-CENTRAL1";

/// The region of the app's machines: reads within it cost nothing and take the least time.
pub fn location(config: &AppConfig) -> String {
    let region = config.zone.as_deref().map(|zone| match zone.rsplit_once('-') {
        // `us-central1-a`; a region has no single letter at its end.
        Some((region, letter)) if letter.len() == 1 => region,
        _ => zone,
    });
    region.unwrap_or(DEFAULT).to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lies_in_the_region_of_its_machines() {
        let location = |zone: Option<&str>| {
            location(&AppConfig { zone: zone.map(str::to_owned), ..AppConfig::default() })
        };
        assert_eq!(location(Some("europe-west4-b")), "EUROPE-WEST4");
        assert_eq!(location(Some("us-central1")), "US-CENTRAL1");
        assert_eq!(location(None), "US-CENTRAL1");
    }
}
