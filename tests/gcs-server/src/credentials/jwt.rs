//! Tokens that service accounts sign by themselves.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use deploy::Timestamp;
use serde_json::Value;

/// Who issued a token that is not past its end. The signature is not looked at.
pub(super) fn issuer(token: &str, now: Timestamp) -> Option<String> {
    let mut parts = token.split('.');
    let (_head, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let is_alive = claims["exp"].as_i64()? > now.as_second();
    let issuer = claims["iss"].as_str().filter(|_| is_alive && parts.next().is_none());
    issuer.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read() {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"iss":"a@b","exp":10}"#);
        let token = format!("h.{claims}.s");
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(issuer(&token, at(9)).as_deref(), Some("a@b"));
        assert_eq!(issuer(&token, at(10)), None);
        for bad in ["", "a", "a.b", "a.b.c", &format!("h.{claims}.s.t")] {
            assert_eq!(issuer(bad, at(0)), None, "{bad}");
        }
    }
}
