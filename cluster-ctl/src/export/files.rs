//! Files that are there whole, or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::client::Failure;

/// A file under another name, until all of it is on disk. Dropped before, it goes away.
#[derive(Debug)]
pub struct Whole {
    path: PathBuf,
    temporary: PathBuf,
    out: Option<BufWriter<File>>,
}

impl Whole {
    /// Begins one that will be `path`, for nobody but its owner.
    pub fn create(path: &Path) -> Result<Whole, Failure> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let temporary = path.with_file_name(name);
        // Not one that somebody has laid there, and no link.
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&temporary).map_err(|error| wrong(&temporary, &error))?;
        Ok(Whole { path: path.to_owned(), temporary, out: Some(BufWriter::new(file)) })
    }

    /// What to write to.
    pub fn out(&mut self) -> io::Result<&mut dyn Write> {
        match &mut self.out {
            Some(out) => Ok(out),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Writes to it.
    pub fn write(
        &mut self,
        with: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        self.out().and_then(with).map_err(|error| wrong(&self.path, &error))
    }

    /// Puts it in its place.
    pub fn finish(mut self) -> Result<(), Failure> {
        let Some(out) = self.out.take() else { return Ok(()) };
        let placed = out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&self.temporary, &self.path))
            .and_then(|()| {
                File::open(
                    self.path
                        .parent()
                        .filter(|dir| *dir != Path::new(""))
                        .unwrap_or(Path::new(".")),
                )?
                .sync_all()
            });
        placed.map_err(|error| {
            let _ = std::fs::remove_file(&self.temporary);
            wrong(&self.path, &error)
        })
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if self.out.take().is_some() {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

fn wrong(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_whole_or_what_it_was() {
        let dir = std::env::temp_dir().join(format!("cluster-ctl-whole-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("file");
        std::fs::write(&path, "old").unwrap();
        let mut half = Whole::create(&path).unwrap();
        half.write(|out| out.write_all(b"half")).unwrap();
        drop(half);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        let mut whole = Whole::create(&path).unwrap();
        whole.write(|out| out.write_all(b"new")).unwrap();
        whole.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "nothing is left lying about");
        assert!(Whole::create(&dir.join("nowhere/file")).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
