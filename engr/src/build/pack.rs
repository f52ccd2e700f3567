//! The built executable and what ships beside it, as one archive.

use std::fs;
use std::path::{Component, Path, PathBuf};

use deploy::artifact::{Manifest, pack};
use deploy::release::Artifact;
use tempfile::NamedTempFile;

use super::Built;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure, OrFail};

/// A packed app, in a file that goes when this is dropped.
#[derive(Debug)]
pub struct Archive {
    /// Where it lies.
    pub file: NamedTempFile,
    /// Its digest and size.
    pub artifact: Artifact,
}

/// Packs what was built with what `include` names.
///
/// The executable is called as the app is, whatever the build called it: the folder that it was
/// built in must not show.
pub fn archive(app: &AppContext, built: &Built) -> CommandResult<Archive> {
    let mut files = included(&app.root(), &app.config.include)?;
    let executable = app.name.clone();
    let is_taken = |(path, _): &(String, PathBuf)| path.split('/').next() == Some(&executable);
    if files.iter().any(is_taken) {
        return Err(Failure::usage(format!(
            "`include` ships {executable:?}, and that is where the app's executable lies"
        ))
        .hint("rename what is included: it lies beside the executable"));
    }
    files.push((executable.clone(), built.executable.clone()));
    let file = tempfile::Builder::new()
        .prefix("engr-archive-")
        .tempfile()
        .or_fail(Exit::Internal, "cannot make a file for the archive")?;
    let manifest = Manifest { executable, arch: built.arch.name().to_owned() };
    let packed = pack(&manifest, &files, file.path())
        .or_fail(Exit::BuildFailed, format!("cannot pack {}", app.name))?;
    Ok(Archive { file, artifact: packed.artifact })
}

/// The files that `include` names, each with its path in the archive.
fn included(root: &Path, include: &[String]) -> CommandResult<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    if include.is_empty() {
        return Ok(files);
    }
    let real_root = fs::canonicalize(root).or_fail(Exit::Usage, "cannot find the app's folder")?;
    for path in include {
        // Whether it stays inside by its text is checked with the settings.
        let parts = Path::new(path).components();
        let path: PathBuf = parts.filter(|part| matches!(part, Component::Normal(_))).collect();
        add(root, &real_root, &path, &mut files)?;
    }
    files.sort();
    // A file may be named by itself and by its folder.
    files.dedup();
    Ok(files)
}

/// Adds the file at `path`, or all files under it.
fn add(
    root: &Path,
    real_root: &Path,
    path: &Path,
    files: &mut Vec<(String, PathBuf)>,
) -> CommandResult<()> {
    let source = root.join(path);
    let shown = source.display();
    let failed = || format!("cannot ship {shown}, which `include` names");
    let real = fs::canonicalize(&source).or_fail(Exit::Usage, failed())?;
    let is_link = fs::symlink_metadata(&source).or_fail(Exit::Usage, failed())?.is_symlink();
    if !real.starts_with(real_root) {
        return Err(Failure::usage(format!("{shown} leads out of the folder of engr.json")));
    }
    if real.is_dir() {
        // A link to a folder could lead in a circle, and hides what is shipped.
        if is_link {
            return Err(Failure::usage(format!("{shown} is a symbolic link to a folder"))
                .hint("name the folder itself in `include`"));
        }
        for entry in fs::read_dir(&source).or_fail(Exit::Usage, failed())? {
            let name = entry.or_fail(Exit::Usage, failed())?.file_name();
            add(root, real_root, &path.join(name), files)?;
        }
        return Ok(());
    }
    if !real.is_file() {
        return Err(Failure::usage(format!("{shown} is neither a file nor a folder")));
    }
    match path.to_str() {
        Some(path) => files.push((path.to_owned(), source)),
        None => return Err(Failure::usage(format!("the name of {shown} is not UTF-8"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn includes_are_whole_folders_and_single_files_in_one_order() {
        let root = tempfile::tempdir().unwrap();
        for file in ["web/b.css", "web/a/x.html", "LICENSE", "other"] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        symlink("../LICENSE", root.path().join("web/license")).unwrap();
        let named = |include: &[&str]| {
            let include: Vec<_> = include.iter().map(ToString::to_string).collect();
            included(root.path(), &include)
                .map(|files| files.into_iter().map(|(path, _)| path).collect::<Vec<_>>())
                .map_err(|failure| {
                    format!("{:#}", failure.error).replace(root.path().to_str().unwrap(), "ROOT")
                })
        };
        let web = ["LICENSE", "web/a/x.html", "web/b.css", "web/license"].map(str::to_owned);
        assert_eq!(named(&["web/", "./LICENSE", "web/b.css"]).unwrap(), web);
        assert_eq!(
            named(&["nothing"]).unwrap_err(),
            "cannot ship ROOT/nothing, which `include` names: No such file or directory (os error 2)"
        );
        symlink("/etc", root.path().join("etc")).unwrap();
        assert_eq!(named(&["etc"]).unwrap_err(), "ROOT/etc leads out of the folder of engr.json");
        symlink("web", root.path().join("again")).unwrap();
        assert_eq!(named(&["again"]).unwrap_err(), "ROOT/again is a symbolic link to a folder");
    }
}
