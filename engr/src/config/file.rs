//! The file itself: where it is, what it says, and how it is changed.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{AppConfig, check, edit, keys};
use crate::failure::{CommandResult, Exit, Failure, OrFail};

/// The file's name.
pub const FILE_NAME: &str = "engr.json";

/// An `engr.json`, read and known to be JSON with an object of apps.
#[derive(Clone, Debug)]
pub struct EngrFile {
    path: PathBuf,
    text: String,
    apps: Map<String, Value>,
}

impl EngrFile {
    /// Finds it in the current folder or the nearest parent that has one.
    pub fn find() -> CommandResult<Self> {
        let here = current_folder()?;
        Self::find_from(&here)?.ok_or_else(|| {
            Failure::usage(format!("there is no {FILE_NAME} in {} or above it", here.display()))
                .hint("`engr <app> create` makes one here")
        })
    }

    /// The same from `folder`; `None` when there is none.
    pub fn find_from(folder: &Path) -> CommandResult<Option<Self>> {
        for folder in folder.ancestors() {
            let path = folder.join(FILE_NAME);
            match fs::read_to_string(&path) {
                Ok(text) => return Self::parse(path, text).map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error)
                        .or_fail(Exit::Usage, format!("cannot read {}", path.display()));
                }
            }
        }
        Ok(None)
    }

    /// A file that is not there yet, for `folder`.
    pub fn new(folder: &Path) -> Self {
        let text = format!(
            "{{\n  \"$schema\": \"./{}\",\n  \"apps\": {{}}\n}}\n",
            super::schema::SCHEMA_FILE
        );
        Self { path: folder.join(FILE_NAME), text, apps: Map::new() }
    }

    fn parse(path: PathBuf, text: String) -> CommandResult<Self> {
        let shown = path.display();
        let json: Value = serde_json::from_str(&text).map_err(|error| {
            let at = format!("{shown}:{}:{}", error.line(), error.column());
            Failure::usage(format!("{at}: not valid JSON: {}", without_position(&error)))
        })?;
        let apps = match json.as_object().map(|top| top.get("apps")) {
            Some(Some(Value::Object(apps))) => apps.clone(),
            Some(None | Some(Value::Null)) => Map::new(),
            Some(Some(_)) => {
                return Err(Failure::usage(format!(
                    "{shown}: `apps` must be an object, by app name"
                )));
            }
            None => {
                return Err(Failure::usage(format!("{shown}: the file must hold a JSON object"))
                    .hint("it starts as {\"apps\": {}}"));
            }
        };
        edit::no_doubles(&text).map_err(|double| Failure::usage(format!("{shown}: {double}")))?;
        Ok(Self { path, text, apps })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that it lies in.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The apps' names, in the file's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.apps.keys().map(String::as_str)
    }

    /// Whether the file has the app, whatever its settings are.
    pub fn must_have(&self, name: &str) -> CommandResult<&Value> {
        self.apps.get(name).ok_or_else(|| self.unknown_app(name))
    }

    /// The settings of one app, checked.
    pub fn app(&self, name: &str) -> CommandResult<AppConfig> {
        let json = self.must_have(name)?;
        check_name(name).map_err(|failure| self.placed(name, failure))?;
        check::app(json).map_err(|failure| self.placed(name, failure))
    }

    /// The value that the file has under `key` (canonical, dotted) of an app.
    pub fn value(&self, app: &str, key: &str) -> Option<&Value> {
        let object = self.apps.get(app)?.as_object()?;
        key.split('.').try_fold(None, |at: Option<&Value>, part| {
            let object = at.map_or(Some(object), Value::as_object)?;
            let found = object.iter().find(|(name, _)| keys::canonical(name) == part)?;
            Some(Some(found.1).filter(|value| !value.is_null() && value.as_str() != Some("")))
        })?
    }

    /// The same file with the app `name` added. Nothing is written yet.
    pub fn with_app(&self, name: &str, settings: Map<String, Value>) -> CommandResult<Self> {
        self.edited(name, edit::add_app(&self.text, name, settings))
    }

    /// The same file with `value` under `key` of an app. Nothing is written yet.
    pub fn with_value(&self, app: &str, key: &str, value: &Value) -> CommandResult<Self> {
        self.edited(app, edit::set(&self.text, app, key, value))
    }

    /// The same file without `key` of an app. Nothing is written yet.
    pub fn without(&self, app: &str, key: &str) -> CommandResult<Self> {
        self.edited(app, edit::unset(&self.text, app, key))
    }

    fn edited(&self, app: &str, text: Result<String, edit::NotEditable>) -> CommandResult<Self> {
        let text = text.or_fail(Exit::Usage, format!("cannot change {}", self.path.display()))?;
        let file = Self::parse(self.path.clone(), text)?;
        file.app(app)?;
        Ok(file)
    }

    /// Writes it, whole or not at all, with the mode that it had, through a symbolic link.
    pub fn save(&self) -> CommandResult<()> {
        write_whole(&self.path, &self.text)
    }

    fn placed(&self, app: &str, mut failure: Failure) -> Failure {
        failure.error = anyhow::anyhow!("{}: app {app}: {}", self.path.display(), failure.error);
        failure
    }

    fn unknown_app(&self, name: &str) -> Failure {
        let failure = Failure::usage(format!("there is no app {name} in {}", self.path.display()));
        let names: Vec<&str> = self.names().collect();
        let failure = match keys::nearest(name, names.iter().copied()) {
            Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
            None => failure,
        };
        match names.is_empty() {
            true => failure.hint(format!("add it with `engr {name} create`")),
            false => failure.hint(format!("the file has {}", names.join(", "))),
        }
    }
}

/// Whether an app can have that name.
pub fn check_name(name: &str) -> Result<(), Failure> {
    if crate::cli::is_reserved(name) {
        return Err(Failure::usage(format!(
            "no app can be called {name}: it is a command of engr"
        )));
    }
    if !deploy::release::is_valid_app_name(name) {
        return Err(Failure::usage(format!("{name:?} cannot be an app's name")).hint(
            "a name has up to 40 small letters, digits and `-`, starts with a letter and does not end with `-`",
        ));
    }
    Ok(())
}

/// The folder that the command was given in.
pub fn current_folder() -> CommandResult<PathBuf> {
    std::env::current_dir().or_fail(Exit::Usage, "cannot tell the current folder")
}

/// Replaces the file at `path`, or makes it: a reader sees the old text or the new one.
pub fn write_whole(path: &Path, text: &str) -> CommandResult<()> {
    let failed = || format!("cannot write {}", path.display());
    let write = || -> io::Result<()> {
        // What a symbolic link names is replaced, not the link.
        let (target, mode) = match fs::canonicalize(path) {
            Ok(target) => {
                let mode = fs::metadata(&target)?.permissions().mode();
                (target, Some(mode))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), None),
            Err(error) => return Err(error),
        };
        let folder = target.parent().unwrap_or(Path::new("/"));
        let mut file = tempfile::Builder::new()
            .prefix(".engr-")
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        if let Some(mode) = mode {
            file.as_file().set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
        }
        file.as_file().sync_all()?;
        file.persist(&target)?;
        fs::File::open(folder)?.sync_all()
    };
    match write() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(error).or_fail(Exit::NotAllowed, failed())
        }
        result => result.or_fail(Exit::Internal, failed()),
    }
}

/// serde_json's message ends with the position, which is shown before it.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).map_or(text.clone(), str::to_owned)
}
