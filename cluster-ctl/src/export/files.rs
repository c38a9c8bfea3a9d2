//! Files that are there whole, or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use leasehold::storage::Draft;

use crate::client::Failure;

/// A file under another name, until all of it is on disk. Dropped before, it goes away.
#[derive(Debug)]
pub struct Whole {
    /// As the operator named it.
    path: PathBuf,
    place: PathBuf,
    /// Whether the name must be free still.
    new: bool,
    out: BufWriter<File>,
    draft: Draft,
}

impl Whole {
    /// Begins one that will be `path`, for nobody but its owner, in the place of what is there.
    ///
    /// # Errors
    /// Those of [`place`], and when nothing can be written there.
    pub fn create(path: &Path) -> Result<Whole, Failure> {
        Whole::begin(path, place(path)?, false)
    }

    /// Begins one where nothing is, and where nothing may be when it is finished.
    ///
    /// # Errors
    /// As [`Whole::create`]; and when something is there.
    pub fn create_new(path: &Path) -> Result<Whole, Failure> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(wrong(path, &taken()));
        }
        Whole::begin(path, place(path)?, true)
    }

    fn begin(path: &Path, place: PathBuf, new: bool) -> Result<Whole, Failure> {
        let begun = Draft::begin(&place, 0o600).and_then(|mut draft| {
            let out = BufWriter::new(draft.file()?.try_clone()?);
            Ok(Whole { path: path.to_owned(), place, new, out, draft })
        });
        begun.map_err(|error| wrong(path, &error))
    }

    /// Writes to it.
    pub fn write(
        &mut self,
        with: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        with(&mut self.out).map_err(|error| wrong(&self.path, &error))
    }

    /// Puts it in its place.
    pub fn finish(self) -> Result<(), Failure> {
        let Whole { path, place, new, mut out, draft } = self;
        let published = out.flush().and_then(|()| match new {
            true => publish_new(draft, &place),
            false => draft.publish(),
        });
        published.map_err(|error| wrong(&path, &error))
    }
}

/// Puts a draft where nothing is: a second name is never laid over another file. Where a file has one name only
/// there is nothing better than to look first.
fn publish_new(mut draft: Draft, place: &Path) -> io::Result<()> {
    draft.file()?.sync_all()?;
    match fs::hard_link(draft.path(), place) {
        Ok(()) => {
            drop(draft);
            let parent = place.parent().filter(|dir| !dir.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        }
        Err(_) if fs::symlink_metadata(place).is_ok() => Err(taken()),
        Err(_) => draft.publish(),
    }
}

fn taken() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "this exists already; name another file")
}

/// Where a file named `path` goes: a link to a file stays, and the file that it leads to is replaced.
///
/// # Errors
/// When there is something that is no file, such as a pipe or a device: a file takes the place of what it is named
/// after, and that would be gone.
pub fn place(path: &Path) -> Result<PathBuf, Failure> {
    let refused = |why: &str| Failure::Usage(format!("{}: {why}", path.display()));
    if path.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(refused("this names no file"));
    }
    let link = match fs::symlink_metadata(path) {
        Ok(there) => there.is_symlink(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path.to_owned()),
        Err(error) => return Err(wrong(path, &error)),
    };
    let place = match fs::canonicalize(path) {
        // The link of an open file that has no name.
        Err(_) if fs::metadata(path).is_ok() => return Err(refused(NO_FILE)),
        Err(error) if link => {
            return Err(refused(&format!("this is a link that leads to no file: {error}")));
        }
        Err(error) => return Err(wrong(path, &error)),
        Ok(place) => place,
    };
    let there = fs::metadata(&place).map_err(|error| wrong(path, &error))?;
    if there.is_dir() {
        return Err(refused("this is a directory; name a file in it"));
    }
    if !there.is_file() {
        return Err(refused(NO_FILE));
    }
    // What is said of the file would go into the one that is replaced.
    let said_there = ["/dev/stdout", "/dev/stderr"].into_iter().any(|stream| {
        fs::metadata(stream)
            .is_ok_and(|other| (other.dev(), other.ino()) == (there.dev(), there.ino()))
    });
    if said_there { Err(refused(NO_FILE)) } else { Ok(place) }
}

const NO_FILE: &str = "a whole file is put in the place of what it is named after, so it cannot be a pipe, a device or \
                       where this program's own output goes. Name a file, and pass that on when it is done";

fn wrong(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A directory of a test, empty.
    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("cluster-ctl-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn put(path: &Path, text: &str) -> Result<(), Failure> {
        let mut file = Whole::create(path)?;
        file.write(|out| out.write_all(text.as_bytes()))?;
        file.finish()
    }

    #[test]
    fn a_file_is_whole_or_what_it_was() {
        let dir = dir("whole");
        let path = dir.join("file");
        fs::write(&path, "old").unwrap();
        let mut half = Whole::create(&path).unwrap();
        half.write(|out| out.write_all(b"half")).unwrap();
        drop(half);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        put(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left lying about");
        for nowhere in [dir.join("nowhere/file"), dir.join("later/"), dir.join(".."), dir.clone()] {
            assert!(Whole::create(&nowhere).is_err(), "{nowhere:?}");
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left lying about");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn links_and_what_is_no_file_stay_what_they_are() {
        let dir = dir("links");
        fs::create_dir(dir.join("there")).unwrap();
        fs::write(dir.join("there/file"), "old").unwrap();
        let link = |name: &str, to: &str| {
            symlink(to, dir.join(name)).unwrap();
            dir.join(name)
        };
        put(&link("good", "there/file"), "new").unwrap();
        assert!(fs::symlink_metadata(dir.join("good")).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(dir.join("there/file")).unwrap(), "new");
        assert_eq!(fs::read_dir(dir.join("there")).unwrap().count(), 1);
        let socket = dir.join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, told) in [
            (link("null", "/dev/null"), "a device"),
            (link("astray", "there/nothing"), "leads to no file"),
            (link("round", "round"), "leads to no file"),
            (link("directory", "there"), "a directory"),
            (socket, "a pipe"),
        ] {
            let kind = || fs::symlink_metadata(&path).unwrap().file_type();
            let before = kind();
            let refused = put(&path, "new").unwrap_err().to_string();
            assert!(refused.contains(told), "{path:?}: {refused}");
            assert_eq!(kind(), before, "{path:?}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_name_that_is_to_be_free_is_never_taken_from_another() {
        let dir = dir("free");
        let path = dir.join("file");
        let mut late = Whole::create_new(&path).unwrap();
        late.write(|out| out.write_all(b"late")).unwrap();
        Whole::create_new(&path).unwrap().finish().unwrap();
        assert!(Whole::create_new(&path).unwrap_err().to_string().contains("exists"));
        assert!(late.finish().unwrap_err().to_string().contains("exists"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left lying about");
        fs::remove_dir_all(&dir).unwrap();
    }
}
