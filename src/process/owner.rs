//! The user whom a directory belongs to, and becoming that user.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Why root could not become another user.
#[derive(Debug, thiserror::Error)]
#[error("root cannot become user {user}: {source}")]
pub struct OwnerError {
    /// The number of the user.
    pub user: u32,
    /// The system's word.
    pub source: std::io::Error,
}

/// A user, with its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    user: u32,
    group: u32,
    groups: Vec<u32>,
}

impl Owner {
    /// The user that a directory belongs to, if this process is root's and the directory is not.
    #[must_use]
    pub fn of(dir: &Path) -> Option<Owner> {
        let there = std::fs::metadata(dir).ok()?;
        if there.uid() == 0 || !geteuid().is_root() {
            return None;
        }
        // Users that are in no file (of a directory service) have the group of the directory alone.
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Some(Owner::among(there.uid(), there.gid(), &read("/etc/passwd"), &read("/etc/group")))
    }

    /// As the lines of passwd(5) and group(5) have it.
    fn among(user: u32, group_of_dir: u32, passwd: &str, group: &str) -> Owner {
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let number = |fields: &[String], at: usize| fields.get(at).and_then(|it| it.parse::<u32>().ok());
        let own = passwd.lines().map(fields).find(|fields| number(fields, 2) == Some(user));
        let name = own.as_ref().and_then(|fields| fields.first());
        let first = own.as_ref().and_then(|fields| number(fields, 3)).unwrap_or(group_of_dir);
        let member = |fields: &[String]| {
            let members = fields.get(3).map(String::as_str).unwrap_or_default();
            name.is_some_and(|name| members.split(',').any(|member| member == name))
        };
        let more = group.lines().map(fields).filter(|fields| member(fields));
        let mut groups: Vec<u32> = more.filter_map(|fields| number(&fields, 2)).collect();
        groups.retain(|number| *number != first);
        groups.insert(0, first);
        Owner { user, group: first, groups }
    }

    /// The number of the user.
    #[must_use]
    pub fn user(&self) -> u32 {
        self.user
    }

    /// The number of its first group.
    #[must_use]
    pub fn group(&self) -> u32 {
        self.group
    }

    /// Becomes this user for good: this thread, and those that it starts.
    ///
    /// # Errors
    /// The system's word; some of it may have been done then.
    pub fn become_it(&self) -> Result<(), OwnerError> {
        let change = || {
            let groups: Vec<Gid> = self.groups.iter().map(|group| Gid::from_raw(*group)).collect();
            let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
            set_thread_groups(&groups)?;
            set_thread_res_gid(group, group, group)?;
            // Last: it takes the right to do the others along, and every capability.
            set_thread_res_uid(user, user, user)
        };
        change().map_err(|error| OwnerError { user: self.user, source: error.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_the_files() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\ncmr-mail:x:990:980::/var/lib/cmr-mail:/usr/sbin/nologin\n";
        let group = "root:x:0:\nssl-cert:x:110:postgres,cmr-mail\ncmr-mail:x:980:cmr-mail\nx:x:9:cmr-mailx\n";
        let owner = |user, group, groups: &[u32]| Owner { user, group, groups: groups.to_vec() };
        assert_eq!(Owner::among(990, 5, passwd, group), owner(990, 980, &[980, 110]));
        assert_eq!(Owner::among(991, 5, passwd, group), owner(991, 5, &[5]), "in no file");
        assert_eq!(Owner::among(990, 5, "", "nonsense\n:::\n"), owner(990, 5, &[5]));
    }

    #[test]
    fn root_becomes_the_owner_and_cannot_go_back() {
        if !geteuid().is_root() {
            println!("not root: that root becomes another user is not tried");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Owner::of(dir.path()), None, "it is root's own");
        std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
        let owner = Owner::of(dir.path()).unwrap();
        let place = dir.path().to_owned();
        // In a thread of its own: the others stay who they are.
        let run = move || {
            owner.become_it().unwrap();
            assert_eq!(geteuid().as_raw(), 65534);
            assert!(set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_err());
            assert!(std::fs::write("/etc/cmr-mail-test", "").is_err());
            std::fs::write(place.join("file"), "").unwrap();
            // Nobody of 65534 may become 65533.
            let other = Owner { user: 65533, group: 65533, groups: vec![65533] };
            assert!(other.become_it().unwrap_err().to_string().starts_with("root cannot become user 65533"));
        };
        std::thread::spawn(run).join().unwrap();
        assert_eq!(std::fs::metadata(dir.path().join("file")).unwrap().uid(), 65534);
        assert!(geteuid().is_root());
    }
}
