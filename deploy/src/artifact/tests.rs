//! Packing and unpacking together, and archives that `pack` would not make.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use tar::{EntryType, Header};
use tempfile::TempDir;

use super::*;
use crate::Digest;
use crate::fixtures::Random;
use crate::release::Artifact;

/// A folder with an app's files, and room for what comes of them.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        bench.write("app", b"\x7fELF and so on", 0o700);
        bench.write("style.css", b"body {}", 0o600);
        bench.write("empty", b"", 0o664);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, data: &[u8], mode: u32) {
        fs::write(self.path(name), data).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn files(&self) -> Vec<(String, PathBuf)> {
        [("static/css/style.css", "style.css"), ("bin/app", "app"), ("empty", "empty")]
            .map(|(path, source)| (path.to_owned(), self.path(source)))
            .into()
    }

    fn pack(&self, files: &[(String, PathBuf)]) -> Result<Packed, PackError> {
        pack(&manifest("bin/app"), files, &self.path("archive"))
    }

    fn unpack(&self, expected: &Digest) -> Result<Manifest, UnpackError> {
        unpack(&self.path("archive"), expected, &self.path("to"))
    }

    /// Packs entries as they are, whatever they are, and unpacks that.
    fn unpack_made(&self, entries: &[Entry]) -> Result<Manifest, UnpackError> {
        let mut tar = tar::Builder::new(Vec::new());
        for entry in entries {
            tar.append(&entry.header, &entry.data[..]).unwrap();
        }
        let archive = zstd::encode_all(&tar.into_inner().unwrap()[..], 1).unwrap();
        fs::write(self.path("archive"), &archive).unwrap();
        self.unpack(&Digest::of(&archive))
    }
}

fn manifest(executable: &str) -> Manifest {
    Manifest { executable: executable.to_owned(), arch: "amd64".to_owned() }
}

#[derive(Clone)]
struct Entry {
    header: Header,
    data: Vec<u8>,
}

/// An entry whose path nobody checks.
fn entry(path: &str, data: &[u8], entry_type: EntryType) -> Entry {
    let mut header = Header::new_ustar();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(entry_type);
    header.set_mode(0o755);
    header.set_size(data.len() as u64);
    header.set_cksum();
    Entry { header, data: data.to_owned() }
}

fn file(path: &str) -> Entry {
    entry(path, b"data", EntryType::Regular)
}

fn manifest_entry() -> Entry {
    entry(MANIFEST_PATH, &serde_json::to_vec(&manifest("app")).unwrap(), EntryType::Regular)
}

#[test]
fn what_was_packed_is_unpacked() {
    let bench = Bench::new();
    let Packed { artifact, unpacked_size } = bench.pack(&bench.files()).unwrap();
    let archive = fs::read(bench.path("archive")).unwrap();
    assert_eq!(artifact, Artifact { digest: Digest::of(&archive), size: archive.len() as u64 });
    assert_eq!(unpacked_size, 21);
    assert_eq!(bench.unpack(&artifact.digest).unwrap(), manifest("bin/app"));

    let expected: [(&str, &[u8], u32); 6] = [
        ("to/bin/app", b"\x7fELF and so on", 0o100755),
        ("to/static/css/style.css", b"body {}", 0o100644),
        ("to/empty", b"", 0o100644),
        ("to/.engr/manifest.json", br#"{"executable":"bin/app","arch":"amd64"}"#, 0o100644),
        ("to/static/css", b"", 0o040755),
        ("to", b"", 0o040755),
    ];
    for (path, data, mode) in expected {
        let path = bench.path(path);
        assert_eq!(path.metadata().unwrap().permissions().mode(), mode, "{path:?}");
        assert!(path.is_dir() || fs::read(&path).unwrap() == data, "{path:?}");
    }
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let (one, other) = (Bench::new(), Bench::new());
    let mut files = other.files();
    files.reverse();
    let old = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    File::open(other.path("app")).unwrap().set_times(old).unwrap();
    fs::set_permissions(other.path("app"), fs::Permissions::from_mode(0o711)).unwrap();
    let packed = one.pack(&one.files()).unwrap();
    assert_eq!(packed, other.pack(&files).unwrap());
    // These bytes must not change by accident: each change makes every app upload anew.
    assert_eq!(
        packed.artifact.digest.to_string(),
        "1eed4c39495f0e91a888686e3329e51250681a9a2254f3b4df341714c696eb69",
    );

    other.write("app", b"\x7fELF and so on", 0o600);
    let (a, b) = (one.pack(&one.files()).unwrap(), other.pack(&files).unwrap());
    assert_ne!(a.artifact.digest, b.artifact.digest, "the executable bit counts");
}

#[test]
fn a_link_is_followed_and_what_is_no_file_is_refused() {
    let bench = Bench::new();
    symlink("style.css", bench.path("link")).unwrap();
    let mut files = bench.files();
    files.push(("linked.css".to_owned(), bench.path("link")));
    let packed = bench.pack(&files).unwrap();
    bench.unpack(&packed.artifact.digest).unwrap();
    let linked = bench.path("to/linked.css");
    assert!(linked.symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read(linked).unwrap(), b"body {}");

    files.push(("folder".to_owned(), bench.folder.path().to_owned()));
    assert!(matches!(bench.pack(&files), Err(PackError::NotAFile { .. })));
    files.pop();
    files.push(("gone".to_owned(), bench.path("gone")));
    assert!(matches!(bench.pack(&files), Err(PackError::Read { .. })));
}

#[test]
fn paths_that_no_archive_can_hold_are_refused() {
    let bench = Bench::new();
    let long = "x".repeat(101);
    let bad = [
        ("../out", BadPath::Unclean),
        ("/etc/passwd", BadPath::Unclean),
        (".engr/manifest.json", BadPath::Reserved),
        ("empty", BadPath::Twice),
        ("bin", BadPath::FileAndFolder),
        (&long, BadPath::TooLong),
    ];
    for (path, expected) in bad {
        let mut files = bench.files();
        files.push((path.to_owned(), bench.path("empty")));
        let error = bench.pack(&files).unwrap_err();
        assert!(matches!(error, PackError::Path { why, .. } if why == expected), "{error}");
    }
    let mut files = bench.files();
    files.push((format!("{}/{}", "d".repeat(155), "n".repeat(100)), bench.path("empty")));
    let packed = bench.pack(&files).unwrap();
    bench.unpack(&packed.artifact.digest).unwrap();
    let error = bench.pack(&files[..1]).unwrap_err();
    assert!(matches!(error, PackError::NoExecutable { .. }), "{error}");
}

#[test]
fn other_bytes_are_refused_and_leave_nothing() {
    let bench = Bench::new();
    bench.pack(&bench.files()).unwrap();
    let error = bench.unpack(&Digest::of(b"other")).unwrap_err();
    assert!(matches!(error, UnpackError::Digest { .. }), "{error}");
    assert!(!bench.path("to").exists());
}

#[test]
fn an_existing_folder_is_left_alone() {
    let bench = Bench::new();
    let packed = bench.pack(&bench.files()).unwrap();
    fs::create_dir(bench.path("to")).unwrap();
    let error = bench.unpack(&packed.artifact.digest).unwrap_err();
    assert!(matches!(error, UnpackError::Write { .. }), "{error}");
    assert!(bench.path("to").exists());
}

#[test]
fn made_up_archives_are_refused_and_leave_nothing() {
    let link = |entry_type| {
        let mut entry = entry("link", b"", entry_type);
        entry.header.set_link_name("/etc/passwd").unwrap();
        entry.header.set_cksum();
        entry
    };
    let (first, app) = (manifest_entry(), file("app"));
    let bench = Bench::new();
    bench.unpack_made(&[first.clone(), app.clone()]).unwrap();
    fs::remove_dir_all(bench.path("to")).unwrap();

    let cases: Vec<(&str, Vec<Entry>)> = vec![
        ("nothing", vec![]),
        ("no manifest", vec![app.clone()]),
        ("manifest second", vec![app.clone(), first.clone()]),
        ("manifest twice", vec![first.clone(), app.clone(), first.clone()]),
        ("no executable", vec![first.clone(), file("other")]),
        ("no JSON", vec![entry(MANIFEST_PATH, b"{", EntryType::Regular), app.clone()]),
        (
            "endless manifest",
            vec![entry(MANIFEST_PATH, &[b' '; 70_000], EntryType::Regular), app.clone()],
        ),
        ("absolute", vec![first.clone(), app.clone(), file("/tmp/escaped")]),
        ("dots", vec![first.clone(), app.clone(), file("a/../../escaped")]),
        ("a dot", vec![first.clone(), app.clone(), file("./app")]),
        ("twice", vec![first.clone(), app.clone(), app.clone()]),
        ("reserved", vec![first.clone(), app.clone(), file(".engr/other")]),
        ("a file as folder", vec![first.clone(), app.clone(), file("app/under")]),
        ("a folder as file", vec![first.clone(), app.clone(), file("a/b"), file("a")]),
        ("symbolic link", vec![first.clone(), app.clone(), link(EntryType::Symlink)]),
        ("hard link", vec![first.clone(), app.clone(), link(EntryType::Link)]),
        ("folder", vec![first.clone(), app.clone(), entry("d", b"", EntryType::Directory)]),
        ("device", vec![first.clone(), app.clone(), entry("d", b"", EntryType::Char)]),
        ("fifo", vec![first.clone(), app.clone(), entry("d", b"", EntryType::Fifo)]),
        ("long name", vec![first.clone(), entry("n", b"app", EntryType::GNULongName), app.clone()]),
        ("pax", vec![first.clone(), entry("x", b"12 path=app\n", EntryType::XHeader), app.clone()]),
    ];
    for (name, entries) in cases {
        let error = bench.unpack_made(&entries).expect_err(name);
        assert!(
            !matches!(error, UnpackError::Digest { .. } | UnpackError::Write { .. }),
            "{error}"
        );
        assert!(!bench.path("to").exists(), "{name}");
    }
}

#[test]
fn an_archive_that_ends_early_is_refused_though_its_digest_is_right() {
    let bench = Bench::new();
    bench.pack(&bench.files()).unwrap();
    let tar = zstd::decode_all(File::open(bench.path("archive")).unwrap()).unwrap();
    // In the middle of an entry, and in the middle of a header.
    for size in [tar.len() - 1024 - 510, 700, 100] {
        let archive = zstd::encode_all(&tar[..size], 1).unwrap();
        fs::write(bench.path("archive"), &archive).unwrap();
        let error = bench.unpack(&Digest::of(&archive)).unwrap_err();
        assert!(matches!(error, UnpackError::Form { .. }), "{size}: {error}");
        assert!(!bench.path("to").exists());
    }
}

#[test]
fn a_bomb_is_refused() {
    let bench = Bench::new();
    let archive = bench.path("archive");
    let encoder = zstd::Encoder::new(File::create(&archive).unwrap(), 1).unwrap();
    let mut tar = tar::Builder::new(encoder);
    for Entry { header, data } in [manifest_entry(), file("app")] {
        tar.append(&header, &data[..]).unwrap();
    }
    let Entry { mut header, .. } = file("bomb");
    header.set_size(UNPACKED_SIZE_MAX);
    header.set_cksum();
    // The header alone promises more than is taken: refused before a byte of it is read.
    tar.get_mut().write_all(header.as_bytes()).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    let digest = Digest::of_reader(File::open(&archive).unwrap()).unwrap();
    let error = bench.unpack(&digest).unwrap_err();
    assert!(matches!(error, UnpackError::TooLarge), "{error}");
    assert!(!bench.path("to").exists());
}

/// Damaged archives of all kinds: none is ever unpacked, and nothing is left behind.
#[test]
fn no_damaged_archive_is_unpacked() {
    let bench = Bench::new();
    let mut random = Random::new(1);
    let noise: Vec<u8> = (0..20_000).map(|_| random.next() as u8).collect();
    bench.write("app", &[&noise[..], &[0; 50_000]].concat(), 0o755);
    let digest = bench.pack(&bench.files()).unwrap().artifact.digest;
    let whole = fs::read(bench.path("archive")).unwrap();
    for round in 0..300 {
        let damaged = damage(&whole, &mut random);
        if damaged == whole {
            continue;
        }
        fs::write(bench.path("archive"), &damaged).unwrap();
        let error = bench.unpack(&digest).expect_err("damaged bytes");
        assert!(matches!(error, UnpackError::Digest { .. }), "round {round}: {error}");
        assert!(!bench.path("to").exists(), "round {round}");
        // The same bytes where their digest is the one asked for: whatever the readers make of
        // them, they end, and leave a whole folder or none.
        let unpacked = bench.unpack(&Digest::of(&damaged));
        assert_eq!(unpacked.is_ok(), bench.path("to").exists(), "round {round}");
        if unpacked.is_ok() {
            fs::remove_dir_all(bench.path("to")).unwrap();
        }
    }
}

fn damage(whole: &[u8], random: &mut Random) -> Vec<u8> {
    let mut damaged = whole.to_owned();
    match random.next() % 4 {
        0 => damaged.truncate(random.below(whole.len())),
        1 => damaged.extend_from_slice(&random.next().to_le_bytes()),
        2 => {
            let bit = random.below(whole.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
        _ => {
            let (from, to) = (random.below(whole.len()), random.below(whole.len()));
            let size = random.below(whole.len() - from.max(to)).min(500);
            damaged.copy_within(from..from + size, to);
        }
    }
    damaged
}
