//! The two checksums that Google keeps of every object, and how clients tell theirs.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::problem::{Done, Problem};

/// Both checksums of some bytes, as they are written in JSON and in headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checksums {
    /// Of the four bytes, the highest first, in base64.
    pub(crate) crc32c: String,
    /// In base64.
    pub(crate) md5: String,
}

impl Checksums {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let crc32c = BASE64_STANDARD.encode(crc32c::crc32c(bytes).to_be_bytes());
        Self { crc32c, md5: BASE64_STANDARD.encode(md5::compute(bytes).0) }
    }

    /// The header `x-goog-hash`.
    pub(crate) fn header(&self) -> String {
        format!("crc32c={},md5={}", self.crc32c, self.md5)
    }
}

/// What a client says that the checksums are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) crc32c: Option<String>,
    pub(crate) md5: Option<String>,
}

impl Claimed {
    /// Reads the header `x-goog-hash`.
    pub(crate) fn from_header(header: &str) -> Done<Self> {
        let mut claimed = Self::default();
        for pair in header.split(',') {
            match pair.trim().split_once('=') {
                Some(("crc32c", value)) => claimed.crc32c = Some(value.to_owned()),
                Some(("md5", value)) => claimed.md5 = Some(value.to_owned()),
                _ => return Err(Problem::unknown(format_args!("the x-goog-hash {pair:?}"))),
            }
        }
        Ok(claimed)
    }

    /// Fails where the bytes are not those that the client meant to send.
    pub(crate) fn check(&self, found: &Checksums) -> Done<()> {
        let check = |name: &str, claimed: &Option<String>, found: &String| match claimed {
            Some(claimed) if claimed != found => Err(Problem::invalid(format!(
                "Provided {name} \"{claimed}\" doesn't match calculated {name} \"{found}\"."
            ))),
            _ => Ok(()),
        };
        check("CRC32C", &self.crc32c, &found.crc32c)?;
        check("MD5 hash", &self.md5, &found.md5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_written_as_google_writes_them() {
        let checksums = Checksums::of(b"The quick brown fox jumps over the lazy dog");
        assert_eq!(checksums.header(), "crc32c=ImIEBA==,md5=nhB9nTcrtoJr2B01QqQZ1g==");
        assert_eq!(Checksums::of(b"").header(), "crc32c=AAAAAA==,md5=1B2M2Y8AsgTpgAmY7PhCfg==");
    }

    #[test]
    fn a_wrong_claim_is_refused_by_its_name() {
        let found = Checksums::of(b"");
        Claimed::from_header(&found.header()).unwrap().check(&found).unwrap();
        let wrong = Claimed::from_header("md5=nhB9nTcrtoJr2B01QqQZ1g==").unwrap();
        let refused = wrong.check(&found).unwrap_err();
        assert_eq!(
            refused.text(),
            "Provided MD5 hash \"nhB9nTcrtoJr2B01QqQZ1g==\" doesn't match calculated MD5 hash \
             \"1B2M2Y8AsgTpgAmY7PhCfg==\"."
        );
        assert!(Claimed::from_header("sha1=x").is_err());
        assert!(Claimed::from_header("crc32c").is_err());
    }
}
