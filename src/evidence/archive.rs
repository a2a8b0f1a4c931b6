//! A failure bundle as a file: a tar archive, compressed with gzip. Written under another name and renamed, so that there
//! is never half of one; read without ever writing anything, and within bounds whatever the file says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tar::{Archive, Builder, EntryType, Header};

use super::{Evidence, FORMAT, MANIFEST, Manifest};
use crate::caller::Caller;

/// What its name ends with.
pub const EXTENSIONS: [&str; 2] = [".tar.gz", ".tgz"];
/// Most bytes of all parts together that are read.
const MOST: u64 = 256 << 20;
/// Most parts that are read.
const PARTS: usize = 4096;
/// The folder that `tar xf` makes.
const FOLDER: &str = "pactown-failure";

/// Why a file cannot be read as a failure bundle.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read, or is no archive, or a damaged one.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// An archive of something else.
    #[error("it has no `{MANIFEST}` of a failure bundle: it is another archive")]
    Another,
    /// Written by a pactown that does it in another way.
    #[error("it is a '{0}', which this pactown does not know")]
    Unknown(String),
    /// Something in it that none of ours has.
    #[error("it holds {0}, which no failure bundle does")]
    Suspicious(String),
}

/// Writes `evidence` to `path`, as the caller's own file. Replaces what is there.
///
/// # Errors
/// The folder or the disk does not take it; nothing is left then.
pub fn write(path: &Path, evidence: &Evidence, caller: &Caller) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(format!(".{}", std::process::id()));
    let partial = path.with_file_name(partial);
    let written = pack(&partial, evidence, caller).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

fn pack(path: &Path, evidence: &Evidence, caller: &Caller) -> io::Result<()> {
    // Logs are for those who may read the instance's: its caller. Never through a link that somebody has put there.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut archive = Builder::new(GzEncoder::new(&file, Compression::default()));
    let now = jiff::Timestamp::now().as_second();
    for (name, text) in &evidence.parts {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now).unwrap_or(0));
        archive.append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish()?.flush()?;
    fchown(&file, Some(caller.uid), Some(caller.gid))?;
    file.sync_all()
}

/// Reads a failure bundle into memory.
///
/// # Errors
/// See [`ReadError`].
pub fn read(path: &Path) -> Result<(Manifest, Evidence), ReadError> {
    unpack(File::open(path)?)
}

fn unpack(file: impl Read) -> Result<(Manifest, Evidence), ReadError> {
    // One byte more, by which too much is told from just enough.
    let mut archive = Archive::new(GzDecoder::new(file).take(MOST + 1));
    let (mut evidence, mut left) = (Evidence::default(), MOST);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = name_of(&entry.path_bytes())?;
        if entry.header().entry_type() != EntryType::Regular {
            return Err(ReadError::Suspicious(format!("'{name}', which is no file")));
        }
        if evidence.parts.len() == PARTS {
            return Err(ReadError::Suspicious(format!("more than {PARTS} files")));
        }
        let mut bytes = Vec::new();
        let count = (&mut entry).take(left + 1).read_to_end(&mut bytes)? as u64;
        left = left
            .checked_sub(count)
            .ok_or_else(|| ReadError::Suspicious(format!("more than {} MiB", MOST >> 20)))?;
        evidence.put(&name, String::from_utf8_lossy(&bytes).into_owned());
    }
    let manifest: serde_json::Value = evidence.json(MANIFEST).ok_or(ReadError::Another)?;
    match manifest["format"].as_str() {
        Some(FORMAT) => {}
        Some(other) if other.starts_with("pactown ") => return Err(ReadError::Unknown(other.to_owned())),
        _ => return Err(ReadError::Another),
    }
    let manifest = serde_json::from_value(manifest).map_err(|_| ReadError::Another)?;
    Ok((manifest, evidence))
}

/// The name of a part: below the one folder, of plain characters, and leading nowhere else.
fn name_of(path: &[u8]) -> Result<String, ReadError> {
    let shown = String::from_utf8_lossy(path).escape_default().to_string();
    let name = std::str::from_utf8(path)
        .ok()
        .and_then(|path| path.split_once('/'));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    match name {
        Some((folder, name))
            if !folder.is_empty() && !name.is_empty() && name.chars().all(plain) && !name.contains("..") =>
        {
            Ok(name.to_owned())
        }
        _ => Err(ReadError::Suspicious(format!("the name '{shown}'"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT.to_owned(),
            command: "up".into(),
            ecosystem: "shop".into(),
            instance: "shop-1".into(),
            written: "2026-01-31T12:00:00Z".into(),
            pactown: "0.1.0".into(),
            exit_code: 1,
            message: String::new(),
            left_out: vec![],
        }
    }

    fn gzip(fill: impl FnOnce(&mut Builder<GzEncoder<Vec<u8>>>)) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        fill(&mut builder);
        builder.into_inner().unwrap().finish().unwrap()
    }

    /// An entry with a name that no decent writer would let pass.
    fn raw(builder: &mut Builder<GzEncoder<Vec<u8>>>, name: &str, kind: EntryType, data: &[u8]) {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = std::env::temp_dir().join(format!("pactown-evidence-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("a.tar.gz");
        let caller = Caller {
            uid: nix::unistd::Uid::effective().as_raw(),
            gid: nix::unistd::Gid::effective().as_raw(),
            ..crate::desired::tests::empty().caller
        };
        let mut evidence = Evidence::default();
        evidence.add_json(MANIFEST, &manifest());
        evidence.add_text(&format!("logs/{}.ndjson", "long".repeat(30)), "text\n");
        write(&path, &evidence, &caller).unwrap();
        write(&path, &evidence, &caller).unwrap();
        let (read_manifest, read_evidence) = read(&path).unwrap();
        assert_eq!((read_manifest, read_evidence.parts), (manifest(), evidence.parts));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing beside it");
        assert!(write(&directory.join("no/a.tgz"), &Evidence::default(), &caller).is_err());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn hostile_archives_are_refused() {
        let text = serde_json::to_string(&manifest()).unwrap();
        let good =
            |builder: &mut Builder<_>| raw(builder, "x/manifest.json", EntryType::Regular, text.as_bytes());
        assert!(unpack(&gzip(good)[..]).is_ok());
        for (name, kind) in [
            ("x/../../etc/passwd", EntryType::Regular),
            ("/etc/passwd", EntryType::Regular),
            ("passwd", EntryType::Regular),
            ("x/a\u{1b}[2J", EntryType::Regular),
            ("x/link", EntryType::Symlink),
            ("x/link", EntryType::Link),
            ("x/node", EntryType::Char),
        ] {
            let bytes = gzip(|builder| {
                good(builder);
                raw(builder, name, kind, b"");
            });
            let refused = unpack(&bytes[..]);
            assert!(
                matches!(refused, Err(ReadError::Suspicious(_))),
                "{name} {kind:?}"
            );
        }
    }

    #[test]
    fn bombs_other_archives_and_halves_are_refused() {
        let bomb = gzip(|builder| raw(builder, "x/a", EntryType::Regular, &vec![0; (MOST + 1) as usize]));
        assert!(bomb.len() < 8 << 20);
        assert!(unpack(&bomb[..]).is_err());
        let empty = gzip(|builder| raw(builder, "x/a", EntryType::Regular, b""));
        assert!(matches!(unpack(&empty[..]), Err(ReadError::Another)));
        let newer = gzip(|builder| {
            let text = br#"{"format": "pactown failure bundle 9"}"#;
            raw(builder, "x/manifest.json", EntryType::Regular, text);
        });
        assert!(matches!(unpack(&newer[..]), Err(ReadError::Unknown(_))));
        let text = serde_json::to_string(&manifest()).unwrap();
        let whole = gzip(|builder| raw(builder, "x/manifest.json", EntryType::Regular, text.as_bytes()));
        assert!(unpack(&whole[..whole.len() / 2]).is_err());
        assert!(unpack(&b"no archive"[..]).is_err());
    }
}
