//! Which credentials there are.

use std::path::{Path, PathBuf};

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The file that `GOOGLE_APPLICATION_CREDENTIALS` names.
    Named(PathBuf),
    /// The file that `gcloud auth application-default login` writes.
    Defaults(PathBuf),
    /// The metadata server of this machine.
    Machine,
    /// `gcloud`, by its path: its active account is asked for, if it has one.
    Gcloud(PathBuf),
    /// None.
    Nothing,
}

/// What names a file of credentials.
pub const NAMED_BY: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// What names another metadata server than the machine's own.
const METADATA_HOST: &str = "GCE_METADATA_HOST";

impl Found {
    /// Looks for them, without asking anybody.
    pub fn look() -> Self {
        let is_machine = is_google_machine(Path::new("/sys/class/dmi/id/product_name"));
        Self::among(|name| std::env::var_os(name).map(PathBuf::from), is_machine)
    }

    fn among(variable: impl Fn(&str) -> Option<PathBuf>, is_google_machine: bool) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.as_os_str().is_empty());
        if let Some(path) = variable(NAMED_BY) {
            return Self::Named(path);
        }
        let well_known = Path::new(".config/gcloud/application_default_credentials.json");
        if let Some(path) = variable("HOME").map(|home| home.join(well_known))
            && path.exists()
        {
            return Self::Defaults(path);
        }
        if is_google_machine || variable(METADATA_HOST).is_some() {
            return Self::Machine;
        }
        match variable("PATH").and_then(|path| find_gcloud(path.as_os_str())) {
            Some(path) => Self::Gcloud(path),
            None => Self::Nothing,
        }
    }
}

/// Google's own clients tell it so.
fn is_google_machine(product_name: &Path) -> bool {
    std::fs::read_to_string(product_name).is_ok_and(|name| name.starts_with("Google"))
}

fn find_gcloud(path: &std::ffi::OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join("gcloud")).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_first_that_there_is_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let bin = tempfile::tempdir().unwrap();
        let path = |path: &Path| path.to_owned();
        let mut variables = HashMap::from([
            ("HOME", path(home.path())),
            ("PATH", path(bin.path())),
            (NAMED_BY, PathBuf::new()),
        ]);
        let look = |variables: &HashMap<&str, PathBuf>, machine| {
            Found::among(|name| variables.get(name).cloned(), machine)
        };
        assert_eq!(look(&variables, false), Found::Nothing);
        let gcloud = bin.path().join("gcloud");
        std::fs::write(&gcloud, "").unwrap();
        assert_eq!(look(&variables, false), Found::Gcloud(gcloud));
        assert_eq!(look(&variables, true), Found::Machine);
        variables.insert(METADATA_HOST, "127.0.0.1:1".into());
        assert_eq!(look(&variables, false), Found::Machine);
        let defaults = home.path().join(".config/gcloud/application_default_credentials.json");
        std::fs::create_dir_all(defaults.parent().unwrap()).unwrap();
        std::fs::write(&defaults, "{}").unwrap();
        assert_eq!(look(&variables, true), Found::Defaults(defaults));
        variables.insert(NAMED_BY, "/a/key.json".into());
        assert_eq!(look(&variables, true), Found::Named("/a/key.json".into()));
    }
}
