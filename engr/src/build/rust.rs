//! Rust programs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;

use super::cargo_flags::RustFlags;
use super::compiler::Compiler;
use super::failed;
use crate::config::Arch;
use crate::failure::{CommandResult, Exit, Failure, OrFail};

/// Builds the package in `folder`, or the one of that name in its workspace.
///
/// The executable is static, so that it runs on any image, and names the source, Cargo's home and
/// the toolchain by fixed paths, so that it is the same wherever it is built. `flags` take the
/// place of `--release` and of the stripping.
pub async fn build(
    compiler: &Compiler,
    folder: &Path,
    package: Option<&str>,
    flags: Option<&[String]>,
    arch: Arch,
) -> CommandResult<PathBuf> {
    let target = target(arch);
    let metadata = Metadata::of_build(compiler, folder).await?;
    let package = metadata.package(folder, package)?;
    let toolchain = Toolchain::of(compiler, folder, target).await?;
    let mut rust_flags = RustFlags::of(folder, target)?;
    if !rust_flags.mention("crt-static") {
        rust_flags.add("-Ctarget-feature=+crt-static");
    }
    if flags.is_none() {
        rust_flags.add("-Cstrip=symbols");
    }
    for (from, to) in toolchain.remapped(&metadata) {
        rust_flags.add(format!("--remap-path-prefix={}={to}", from.display()));
    }
    let mut command = compiler.command("cargo", folder)?;
    command.args(["build", "--package", &package.spec(), "--target", target]);
    command.arg("--message-format=json-render-diagnostics");
    match flags {
        Some(flags) => command.args(flags),
        None => command.arg("--release"),
    };
    rust_flags.apply(&mut command);
    command.stdout(Stdio::piped());
    let (status, messages) = compiler.output(command).await?;
    if !status.success() {
        return Err(failed(format_args!("cargo build failed ({status})"))
            .hint("the compiler's words are above; nothing was published"));
    }
    package.executable(&executables(&messages, package))
}

fn target(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "x86_64-unknown-linux-gnu",
        Arch::Arm64 => "aarch64-unknown-linux-gnu",
    }
}

/// What `cargo metadata` tells of a workspace.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

/// A package of it.
#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    default_run: Option<String>,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Target {
    fn is_binary(&self) -> bool {
        self.kind.iter().any(|kind| kind == "bin")
    }
}

const METADATA_ARGS: [&str; 4] = ["metadata", "--no-deps", "--format-version", "1"];

impl Metadata {
    /// The metadata of the workspace around `folder`.
    pub fn read(folder: &Path) -> CommandResult<Self> {
        let mut command = std::process::Command::new("cargo");
        command.args(METADATA_ARGS).current_dir(folder).stderr(Stdio::inherit());
        let output = command.output().or_fail(Exit::BuildFailed, "cannot run cargo")?;
        Self::parse(output.status.success(), &output.stdout, folder)
    }

    async fn of_build(compiler: &Compiler, folder: &Path) -> CommandResult<Self> {
        let mut command = compiler.command("cargo", folder)?;
        command.args(METADATA_ARGS).stdout(Stdio::piped());
        let (status, output) = compiler.output(command).await?;
        Self::parse(status.success(), &output, folder)
    }

    fn parse(success: bool, output: &[u8], folder: &Path) -> CommandResult<Self> {
        if !success {
            return Err(failed(format_args!(
                "cargo cannot read the workspace in {}",
                folder.display()
            ))
            .hint("what it said is above"));
        }
        serde_json::from_slice(output).or_fail(Exit::Internal, "cannot read what cargo tells")
    }

    /// The names of the packages that make programs.
    pub fn packages_with_binaries(&self) -> Vec<String> {
        let packages = self.packages.iter();
        let programs = packages.filter(|package| package.targets.iter().any(Target::is_binary));
        programs.map(|package| package.name.clone()).collect()
    }

    fn package(&self, folder: &Path, name: Option<&str>) -> CommandResult<&Package> {
        let manifest = folder.canonicalize().unwrap_or(folder.to_owned()).join("Cargo.toml");
        let found = self.packages.iter().find(|package| match name {
            Some(name) => package.name == name,
            None => package.manifest_path == manifest,
        });
        found.ok_or_else(|| {
            let what = name.map_or(format!("no package in {}", folder.display()), |name| {
                format!("no package {name} in {}", self.workspace_root.display())
            });
            failed(format_args!("there is {what}"))
                .hint(format!("its programs are {}", self.packages_with_binaries().join(", ")))
        })
    }
}

impl Package {
    /// How cargo's command line names it without doubt.
    fn spec(&self) -> String {
        self.name.clone()
    }

    /// The one to ship of the executables that were built: by name, the name and the path.
    fn executable(&self, built: &[(String, PathBuf)]) -> CommandResult<PathBuf> {
        let by_name = |name: &str| built.iter().find(|(built, _)| built == name);
        let chosen = match built {
            [only] => Some(only),
            _ => self.default_run.as_deref().and_then(by_name).or_else(|| by_name(&self.name)),
        };
        if let Some((_, path)) = chosen {
            return Ok(path.clone());
        }
        if built.is_empty() {
            return Err(failed(format_args!("the package {} makes no executable", self.name)));
        }
        let names: Vec<_> = built.iter().map(|(name, _)| name.as_str()).collect();
        Err(failed(format_args!("the package {} makes several executables: {}", self.name, names.join(", ")))
            .hint("set `default-run` in its Cargo.toml, or name one: `config:set build-flags -- --release --bin NAME`"))
    }
}

/// The package's executables, by name, as cargo's messages tell.
fn executables(messages: &[u8], package: &Package) -> Vec<(String, PathBuf)> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
        manifest_path: PathBuf,
        target: Target,
    }
    let lines = messages.split(|byte| *byte == b'\n');
    // Messages of other kinds have other fields.
    lines
        .filter_map(|line| serde_json::from_slice::<Message>(line).ok())
        .filter(|message| message.manifest_path == package.manifest_path)
        .filter(|message| message.target.is_binary())
        .filter_map(|message| Some((message.target.name, message.executable?)))
        .collect()
}

/// What is particular to this machine's Rust.
struct Toolchain {
    sysroot: PathBuf,
    commit: String,
}

impl Toolchain {
    /// The toolchain that builds in `folder`, if it can build for `target`.
    async fn of(compiler: &Compiler, folder: &Path, target: &str) -> CommandResult<Self> {
        let version = Self::ask(compiler, folder, &["--version", "--verbose"]).await?;
        let commit = version.iter().find_map(|line| line.strip_prefix("commit-hash: "));
        let where_is = ["--target", target, "--print", "sysroot", "--print", "target-libdir"];
        let paths = Self::ask(compiler, folder, &where_is).await?;
        let [sysroot, libraries] = &paths[..] else {
            return Err(failed(format_args!("rustc does not say where it is, but {paths:?}")));
        };
        let (sysroot, libraries) = (PathBuf::from(sysroot), Path::new(libraries));
        if !libraries.is_dir() {
            return Err(no_target(target));
        }
        Ok(Self { sysroot, commit: commit.unwrap_or("unknown").to_string() })
    }

    /// The lines that rustc answers.
    async fn ask(compiler: &Compiler, folder: &Path, args: &[&str]) -> CommandResult<Vec<String>> {
        let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
        let mut command = compiler.command(rustc, folder)?;
        command.args(args).stdout(Stdio::piped());
        let (status, output) = compiler.output(command).await?;
        match status.success() {
            true => Ok(String::from_utf8_lossy(&output).lines().map(str::to_owned).collect()),
            false => Err(failed(format_args!("rustc {} failed ({status})", args.join(" ")))),
        }
    }

    /// Paths of this machine that a compiler would write into the executable, and what it writes
    /// instead. Of two that fit, the compiler takes the later one.
    fn remapped(&self, metadata: &Metadata) -> Vec<(PathBuf, String)> {
        let cargo_home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(std::env::home_dir()?.join(".cargo")));
        let mut remapped = vec![(self.sysroot.clone(), "/rust".to_owned())];
        // As the compiler has it by itself where the library's source is not installed.
        let library = self.sysroot.join("lib/rustlib/src/rust");
        remapped.push((library, format!("/rustc/{}", self.commit)));
        remapped.extend(cargo_home.map(|home| (home, "/cargo".to_owned())));
        remapped.push((metadata.workspace_root.clone(), "/src".to_owned()));
        remapped.push((metadata.target_directory.clone(), "/target".to_owned()));
        remapped
    }
}

fn no_target(target: &str) -> Failure {
    failed(format_args!("this Rust toolchain cannot build for {target}"))
        .hint(format!("run `rustup target add {target}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(default_run: Option<&str>) -> Package {
        Package {
            name: "shop".to_owned(),
            manifest_path: "/w/Cargo.toml".into(),
            default_run: default_run.map(str::to_owned),
            targets: Vec::new(),
        }
    }

    #[test]
    fn the_executable_is_chosen_by_rule_and_never_by_chance() {
        let built = |names: &[&str]| -> Vec<(String, PathBuf)> {
            names.iter().map(|name| (name.to_string(), PathBuf::from(name))).collect()
        };
        let chosen = |run, names: &[&str]| package(run).executable(&built(names)).ok();
        assert_eq!(chosen(None, &["tool"]), Some("tool".into()));
        assert_eq!(chosen(None, &["tool", "shop"]), Some("shop".into()));
        assert_eq!(chosen(Some("tool"), &["tool", "shop"]), Some("tool".into()));
        assert_eq!(chosen(None, &["a", "b"]), None);
        assert_eq!(chosen(None, &[]), None);
    }

    #[test]
    fn executables_are_read_from_cargos_messages() {
        let messages = [
            r#"{"reason":"compiler-artifact","manifest_path":"/dep/Cargo.toml","target":{"name":"dep","kind":["bin"]},"executable":"/t/dep"}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/w/Cargo.toml","target":{"name":"shop","kind":["lib"]},"executable":null}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/w/Cargo.toml","target":{"name":"shop","kind":["bin"]},"executable":"/t/shop"}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "",
        ];
        let found = executables(messages.join("\n").as_bytes(), &package(None));
        assert_eq!(found, [("shop".to_owned(), PathBuf::from("/t/shop"))]);
    }
}
