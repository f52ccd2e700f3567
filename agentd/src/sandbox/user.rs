//! The user that an app runs as.
//!
//! It is looked for in the files of the machine: a program that is linked statically cannot ask other
//! sources (nsswitch.conf(5)), and a machine that runs one app needs none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A user with its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its own group.
    pub gid: u32,
    /// The other groups that it is in.
    pub groups: Vec<u32>,
    /// Its home.
    pub home: PathBuf,
}

/// Why a name is not that of a user that an app can run as.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is none.
    #[error("the app is to run as {name}, and {} has no such user; make it with `useradd --system {name}`", passwd.display())]
    Unknown {
        /// The name.
        name: String,
        /// Where it was looked for.
        passwd: PathBuf,
    },
    /// It is root, by whatever name.
    #[error(
        "the app is to run as {name}, who is root: an app gets a user of its own, or none is named"
    )]
    Root {
        /// The name.
        name: String,
    },
    /// The files cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl User {
    /// The user of this name on this machine.
    ///
    /// # Errors
    /// When there is none, or it is root.
    pub fn find(name: &str) -> Result<Self, UserError> {
        Self::find_in(name, Path::new("/etc/passwd"), Path::new("/etc/group"))
    }

    fn find_in(name: &str, passwd: &Path, group: &Path) -> Result<Self, UserError> {
        let user = parse_passwd(name, &read(passwd)?);
        let mut user = user.ok_or_else(|| UserError::Unknown {
            name: name.to_owned(),
            passwd: passwd.to_owned(),
        })?;
        if user.uid == 0 {
            return Err(UserError::Root { name: name.to_owned() });
        }
        user.groups = parse_groups(name, &read(group)?);
        user.groups.retain(|gid| *gid != user.gid);
        Ok(user)
    }
}

fn read(path: &Path) -> Result<String, UserError> {
    fs::read_to_string(path).map_err(|cause| UserError::Unreadable { path: path.to_owned(), cause })
}

/// `name:password:uid:gid:gecos:home:shell`: passwd(5).
fn parse_passwd(name: &str, text: &str) -> Option<User> {
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [found, _, uid, gid, _, home, ..] = fields[..] else { return None };
        (found == name).then_some(())?;
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        Some(User { name: name.to_owned(), uid, gid, groups: Vec::new(), home: home.into() })
    })
}

/// `group:password:gid:members`: group(5).
fn parse_groups(name: &str, text: &str) -> Vec<u32> {
    let of_line = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let gid = fields.next()?.parse().ok()?;
        fields.next()?.split(',').any(|member| member == name).then_some(gid)
    };
    text.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_comes_with_its_groups() {
        let folder = tempfile::tempdir().unwrap();
        let (passwd, group) = (folder.path().join("passwd"), folder.path().join("group"));
        let users = "root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/:/bin/sh\nbroken:x\n\
                     app:x:990:991:The app,,,:/var/lib/app:/usr/sbin/nologin\n";
        fs::write(&passwd, users).unwrap();
        fs::write(&group, "app:x:991:app\nvideo:x:44:ann,app\napps:x:45:apple\nx:y\n").unwrap();
        let find = |name| User::find_in(name, &passwd, &group);
        let app = find("app").unwrap();
        assert_eq!((app.uid, app.gid, &app.groups[..]), (990, 991, &[44][..]));
        assert_eq!(app.home, Path::new("/var/lib/app"));
        assert!(matches!(find("toor"), Err(UserError::Root { .. })));
        assert!(matches!(find("broken"), Err(UserError::Unknown { .. })));
        assert!(find("nobody").unwrap_err().to_string().contains("useradd --system nobody"));
    }
}
