//! Small durable files, and framed ones that notice damage.
//!
//! A file is written beside its place, synced, renamed into it, and the directory synced: after a
//! power cut there is the old one or the new one, never a mixture.
//!
//! Frame: a magic word of eight bytes, then blocks of `length u32 | xxh3 u64 | data`, all little
//! endian, of at most [`BLOCK`] bytes, then a block of length 0 whose hash covers the hashes of all
//! the others, so that a file cut at a block boundary is noticed too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The largest block.
pub const BLOCK: usize = 1 << 20;

/// Makes names in `dir` durable.
///
/// # Errors
/// The system's.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes drafts that an earlier process left in `dir`.
///
/// # Errors
/// The system's.
pub fn remove_drafts(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// A file that becomes visible only when it is complete and durable. Dropped before that, it
/// disappears.
#[derive(Debug)]
pub struct Draft {
    temporary: PathBuf,
    place: PathBuf,
    file: Option<File>,
}

impl Draft {
    /// Begins to write what will become `place`. `mode` as in chmod.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(place: &Path, mode: u32) -> io::Result<Draft> {
        let mut name = place.file_name().unwrap_or_default().to_os_string();
        // Two drafts of one place may be under way, as when two leaders send a snapshot.
        name.push(format!(".{:016x}.tmp", getrandom::u64().map_err(io::Error::other)?));
        let temporary = place.with_file_name(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        Ok(Draft { temporary, place: place.to_path_buf(), file: Some(file) })
    }

    /// The file to write into.
    ///
    /// # Errors
    /// When the draft was finished.
    pub fn file(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().ok_or_else(|| io::Error::other("the draft is finished"))
    }

    /// Where it is written now.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Makes it durable and visible.
    ///
    /// # Errors
    /// The system's; the old file is in place then.
    pub fn publish(self) -> io::Result<()> {
        let place = self.place.clone();
        self.publish_as(&place)
    }

    /// As [`Draft::publish`], under another name in the same directory.
    ///
    /// # Errors
    /// The system's; the old file is in place then.
    pub fn publish_as(mut self, place: &Path) -> io::Result<()> {
        self.file()?.sync_all()?;
        fs::rename(&self.temporary, place)?;
        self.file = None;
        let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_dir(parent.unwrap_or(Path::new(".")))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Best effort: `remove_drafts` clears what stays at the next start.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes blocks with checksums.
#[derive(Debug)]
pub struct FramedWriter<W: Write> {
    out: BufWriter<W>,
    block: Vec<u8>,
    all: Xxh3Debug,
}

/// `Xxh3` prints nothing by itself.
struct Xxh3Debug(Xxh3);

impl std::fmt::Debug for Xxh3Debug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Xxh3")
    }
}

impl<W: Write> FramedWriter<W> {
    /// Begins with the magic word.
    ///
    /// # Errors
    /// The writer's.
    pub fn begin(out: W, magic: [u8; 8]) -> io::Result<FramedWriter<W>> {
        let mut out = BufWriter::new(out);
        out.write_all(&magic)?;
        Ok(FramedWriter { out, block: Vec::new(), all: Xxh3Debug(Xxh3::new()) })
    }

    /// Ends the block, so that what follows can be read on its own.
    ///
    /// # Errors
    /// The writer's.
    pub fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(self.block.len()).map_err(io::Error::other)?;
        let hash = xxh3_64(&self.block);
        self.all.0.update(&hash.to_le_bytes());
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&hash.to_le_bytes())?;
        self.out.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }

    /// Ends the file and gives the writer back.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_block()?;
        self.out.write_all(&0u32.to_le_bytes())?;
        self.out.write_all(&self.all.0.digest().to_le_bytes())?;
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl<W: Write> Write for FramedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK {
            self.end_block()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        // A block ends when it is full or when its writer says so; nobody reads before the end.
        Ok(())
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// Reads what [`FramedWriter`] wrote; every byte handed out has been checked.
#[derive(Debug)]
pub struct FramedReader<R: Read> {
    input: BufReader<R>,
    block: Vec<u8>,
    used: usize,
    ended: bool,
    all: Xxh3Debug,
}

impl<R: Read> FramedReader<R> {
    /// Checks the magic word.
    ///
    /// # Errors
    /// `InvalidData` for another kind of file.
    pub fn begin(input: R, magic: [u8; 8]) -> io::Result<FramedReader<R>> {
        let mut input = BufReader::new(input);
        let mut found = [0; 8];
        input.read_exact(&mut found)?;
        if found != magic {
            return Err(damaged("the file is of another kind or version"));
        }
        let all = Xxh3Debug(Xxh3::new());
        Ok(FramedReader { input, block: Vec::new(), used: 0, ended: false, all })
    }

    /// The next whole block; `None` at the end of the file, which has then been checked whole.
    ///
    /// # Errors
    /// `InvalidData` when a checksum is wrong, `UnexpectedEof` when the file is cut.
    pub fn next_block(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.used < self.block.len() {
            let rest = self.block.split_off(self.used);
            self.block.clear();
            self.used = 0;
            return Ok(Some(rest));
        }
        self.load()?;
        self.used = 0;
        if self.ended { Ok(None) } else { Ok(Some(std::mem::take(&mut self.block))) }
    }

    fn load(&mut self) -> io::Result<()> {
        self.block.clear();
        self.used = 0;
        if self.ended {
            return Ok(());
        }
        let mut head = [0; 12];
        self.input.read_exact(&mut head)?;
        let (length, hash) = head.split_at(4);
        let length = u32::from_le_bytes(length.try_into().map_err(io::Error::other)?) as usize;
        let hash = u64::from_le_bytes(hash.try_into().map_err(io::Error::other)?);
        if length == 0 {
            if hash != self.all.0.digest() {
                return Err(damaged("the file does not match its checksum"));
            }
            if self.input.read(&mut [0])? != 0 {
                return Err(damaged("something follows the end of the file"));
            }
            self.ended = true;
            return Ok(());
        }
        if length > BLOCK {
            return Err(damaged("a block's length is damaged"));
        }
        self.block.resize(length, 0);
        self.input.read_exact(&mut self.block)?;
        if xxh3_64(&self.block) != hash {
            return Err(damaged("a block does not match its checksum"));
        }
        self.all.0.update(&hash.to_le_bytes());
        Ok(())
    }
}

impl<R: Read> Read for FramedReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.used == self.block.len() {
            self.load()?;
        }
        let rest = &self.block[self.used..];
        let taken = rest.len().min(out.len());
        out[..taken].copy_from_slice(&rest[..taken]);
        self.used += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 8] = *b"LHTEST01";

    fn framed(data: &[u8]) -> Vec<u8> {
        let mut writer = FramedWriter::begin(Vec::new(), MAGIC).unwrap();
        writer.write_all(data).unwrap();
        writer.finish().unwrap()
    }

    fn unframed(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        FramedReader::begin(bytes, MAGIC)?.read_to_end(&mut data)?;
        Ok(data)
    }

    #[test]
    fn what_was_written_is_read() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
            let data: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
            assert_eq!(unframed(&framed(&data)).unwrap(), data, "{length}");
        }
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let bytes = framed(b"hello there");
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            assert!(unframed(&flipped).is_err(), "flip at {at}");
            assert!(unframed(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_draft_that_is_dropped_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("file");
        let mut draft = Draft::begin(&place, 0o600).unwrap();
        draft.file().unwrap().write_all(b"old").unwrap();
        draft.publish().unwrap();
        let mut draft = Draft::begin(&place, 0o600).unwrap();
        draft.file().unwrap().write_all(b"new").unwrap();
        drop(draft);
        assert_eq!(fs::read(&place).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
