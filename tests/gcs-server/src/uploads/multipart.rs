//! `multipart/related`: metadata, the bytes, and perhaps checksums that were not known before.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::checksums::Claimed;
use crate::problem::{Done, Problem};

/// The parts of an upload.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) metadata: Map<String, Value>,
    pub(super) content_type: Option<String>,
    pub(super) media: Bytes,
    pub(super) checksums: Claimed,
}

/// The name that an upload's metadata gives, if it can be made out.
pub(crate) fn object_name(content_type: Option<&str>, body: &Bytes) -> Option<String> {
    let parts = Parts::parse(content_type, body).ok()?;
    parts.metadata.get("name")?.as_str().map(str::to_owned)
}

impl Parts {
    /// Takes a body apart.
    pub(super) fn parse(content_type: Option<&str>, body: &Bytes) -> Done<Self> {
        let boundary = content_type.and_then(boundary).ok_or_else(|| {
            malformed("its Content-Type must be multipart/related with a boundary")
        })?;
        let mut parts = split(body, boundary)?.into_iter();
        let (Some(metadata), Some(media)) = (parts.next(), parts.next()) else {
            return Err(malformed("it must have a part of metadata and one of bytes"));
        };
        let checksums = parts.next();
        if parts.next().is_some() {
            return Err(malformed("it has more than three parts"));
        }
        Ok(Self {
            metadata: json(&metadata.body)?,
            content_type: media.content_type,
            media: media.body,
            checksums: checksums
                .map_or_else(|| Ok(Claimed::default()), |part| claimed(&part.body))?,
        })
    }
}

/// A part and what its headers say of it.
struct Part {
    content_type: Option<String>,
    body: Bytes,
}

fn malformed(why: &str) -> Problem {
    Problem::invalid(format!("Malformed multipart body: {why}."))
}

fn boundary(content_type: &str) -> Option<&str> {
    let mut pieces = content_type.split(';');
    if !pieces.next()?.trim().eq_ignore_ascii_case("multipart/related") {
        return None;
    }
    let boundary = pieces.find_map(|piece| {
        let (name, value) = piece.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    });
    boundary.filter(|boundary| !boundary.is_empty())
}

fn split(body: &Bytes, boundary: &str) -> Done<Vec<Part>> {
    let delimiter = format!("--{boundary}");
    let begins = body.starts_with(delimiter.as_bytes());
    let mut at = match begins {
        true => delimiter.len(),
        // What stands before the first part is for people.
        false => next(body, 0, &delimiter).ok_or_else(|| malformed("the boundary is missing"))?.1,
    };
    let mut parts = Vec::new();
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        let start = at
            + rest.iter().position(|b| *b == b'\n').ok_or_else(|| malformed("it is cut short"))?
            + 1;
        let (end, after) = next(body, start.saturating_sub(2), &delimiter)
            .ok_or_else(|| malformed("it is cut short"))?;
        parts.push(part(body.slice(start.min(end)..end))?);
        at = after;
    }
}

/// Where the next delimiter begins, with the line's end before it, and where it ends.
fn next(body: &[u8], from: usize, delimiter: &str) -> Option<(usize, usize)> {
    let line = [b"\r\n", delimiter.as_bytes()].concat();
    let found = find(body.get(from..)?, &line)?;
    Some((from + found, from + found + line.len()))
}

/// Jumps from one first byte to the next: bodies are megabytes.
fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = hay[from..].iter().position(|b| *b == first) {
        if hay[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

fn part(bytes: Bytes) -> Done<Part> {
    let (head, body) = if bytes.starts_with(b"\r\n") {
        (Bytes::new(), bytes.slice(2..))
    } else {
        let end = find(&bytes, b"\r\n\r\n").ok_or_else(|| malformed("a part has no headers"))?;
        (bytes.slice(..end), bytes.slice(end + 4..))
    };
    let head = std::str::from_utf8(&head).map_err(|_| malformed("a part's header is no text"))?;
    let mut content_type = None;
    for line in head.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) =
            line.split_once(':').ok_or_else(|| malformed("a part's header has no colon"))?;
        match name.trim().to_ascii_lowercase().as_str() {
            "content-type" => content_type = Some(value.trim().to_owned()),
            // What forms put there; and a value that means nothing.
            "content-disposition" | "mime-version" | "content-length" => {}
            "content-transfer-encoding" if value.trim().eq_ignore_ascii_case("binary") => {}
            other => return Err(Problem::unknown(format_args!("the header {other} of a part"))),
        }
    }
    Ok(Part { content_type, body })
}

fn json(part: &[u8]) -> Done<Map<String, Value>> {
    serde_json::from_slice(part)
        .map_err(|error| Problem::new(400, "parseError", format!("Parse Error: {error}")))
}

fn claimed(part: &[u8]) -> Done<Claimed> {
    let mut json = json(part)?;
    let mut text = |name| json.remove(name).and_then(|value| value.as_str().map(str::to_owned));
    let claimed = Claimed { crc32c: text("crc32c"), md5: text("md5Hash") };
    crate::objects::refuse_rest(&json)?;
    Ok(claimed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8]) -> Done<Parts> {
        let content_type = Some("multipart/related; boundary=\"==x==\"");
        Parts::parse(content_type, &Bytes::copy_from_slice(body))
    }

    #[test]
    fn two_parts_as_python_sends_them() {
        let parts = parse(
            b"--==x==\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n{\"name\": \"a\"}\r\n\
              --==x==\r\ncontent-type: text/plain\r\n\r\nsome\r\n--==x\nbytes\r\n\r\n--==x==--",
        );
        let parts = parts.unwrap();
        assert_eq!(parts.metadata["name"], "a");
        assert_eq!(parts.content_type.as_deref(), Some("text/plain"));
        assert_eq!(&parts.media[..], b"some\r\n--==x\nbytes\r\n");
        assert_eq!(parts.checksums, Claimed::default());
    }

    #[test]
    fn three_parts_as_rust_sends_them() {
        let parts = parse(
            b"--==x==\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\
              Content-Type: application/json\r\n\r\n{}\r\n\
              --==x==\r\nContent-Disposition: form-data; name=\"media\"\r\n\r\n\r\n\
              --==x==\r\n\r\n{\"crc32c\":\"AAAAAA==\"}\r\n--==x==--\r\n",
        );
        let parts = parts.unwrap();
        assert!(parts.metadata.is_empty() && parts.media.is_empty());
        assert_eq!(parts.content_type, None);
        assert_eq!(parts.checksums.crc32c.as_deref(), Some("AAAAAA=="));
    }

    #[test]
    fn what_is_cut_short_or_unknown_is_refused() {
        let whole = b"--==x==\r\n\r\n{}\r\n--==x==\r\n\r\nbytes\r\n--==x==--";
        assert_eq!(&parse(whole).unwrap().media[..], b"bytes");
        // The two dashes at the end are what says that it is whole.
        for size in 0..whole.len() - 1 {
            assert!(parse(&whole[..size]).is_err(), "cut to {size}");
        }
        assert!(parse(b"--==x==\r\nX-Odd: 1\r\n\r\n{}\r\n--==x==\r\n\r\n\r\n--==x==--").is_err());
        assert!(parse(b"--==x==\r\n\r\n{}\r\n--==x==--").is_err());
        let body = Bytes::from_static(whole);
        assert!(Parts::parse(None, &body).is_err());
        assert!(Parts::parse(Some("multipart/form-data; boundary=x"), &body).is_err());
        assert!(Parts::parse(Some("multipart/related"), &body).is_err());
    }
}
