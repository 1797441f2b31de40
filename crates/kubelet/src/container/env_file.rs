//! Files of environment variables that another container of the pod has written (`fileKeyRef`, KEP-3721).
//!
//! The format is a subset of the POSIX shell's: `NAME='value'`, the value literal between single quotes and over several
//! lines if need be; empty lines and lines that begin with `#` say nothing. The volume is the pod's to fill with traps, so
//! the file is looked up inside it and read up to a limit.

use linux::beneath::{self, Links};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Larger files are refused, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Variables by name; the last of a name counts.
pub(crate) type Variables = BTreeMap<String, String>;

/// Reads the variables of a text; errors name the line.
fn parse(text: &str) -> Result<Variables, String> {
    let mut found = Variables::new();
    let (mut rest, mut line) = (text, 1);
    while !rest.is_empty() {
        let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let first = rest[..end].trim();
        if first.is_empty() || first.starts_with('#') {
            line += 1;
            rest = &rest[end..];
            continue;
        }
        let begin = rest.trim_start();
        let wrong = |why: &str| format!("line {line}: {why}");
        let (name, value) = begin.split_once('=').ok_or_else(|| wrong("there is no \"=\""))?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong("what stands before \"=\" is no name of a variable"));
        }
        let value = value.strip_prefix('\'').ok_or_else(|| wrong("the value must be in single quotes"))?;
        let (value, tail) = value.split_once('\'').ok_or_else(|| wrong("the value's quote does not end"))?;
        let (after, next) = tail.split_once('\n').unwrap_or((tail, ""));
        if !(after.trim().is_empty() || after.starts_with([' ', '\t']) && after.trim_start().starts_with('#'))
        {
            return Err(wrong("nothing but a comment may follow the value"));
        }
        found.insert(name.to_owned(), value.to_owned());
        line += value.matches('\n').count() + 1;
        rest = next;
    }
    Ok(found)
}

/// The variables of the file `path` in the volume at `volume`; `None` when there is no such file.
pub(crate) fn read(volume: &Path, path: &str) -> Result<Option<Variables>, String> {
    let failed = |why: &dyn std::fmt::Display| format!("failed to parse environment file {path:?}: {why}");
    let root = File::open(volume).map_err(|error| failed(&error))?;
    // Not to wait for the other end of a pipe that somebody has put there.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let Ok(file) = beneath::open(&root, Path::new(path), flags, Mode::empty(), Links::Follow) else {
        return Ok(None);
    };
    let stat = fstat(&file).map_err(|error| failed(&error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(failed(&"it is not a regular file"));
    }
    let mut text = String::new();
    let read = File::from(file).take(MAX_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| failed(&error))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(failed(&format!("it is larger than {MAX_BYTES} bytes")));
    }
    parse(&text).map(Some).map_err(|why| failed(&why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_literal_between_quotes() {
        let text = "# comment\n\n  A='one'\nB='two $A \"x\" \\n'  # more\nKEY='-----BEGIN\nmiddle\n-----END'\nA='last'";
        let found = parse(text).unwrap();
        assert_eq!(found["A"], "last");
        assert_eq!(found["B"], "two $A \"x\" \\n");
        assert_eq!(found["KEY"], "-----BEGIN\nmiddle\n-----END");
        for (bad, why) in [
            ("A=one", "line 1: the value must be in single quotes"),
            ("A='a\nb'\nB=x", "line 3: "),
            ("A='open\n", "line 1: the value's quote does not end"),
            ("A='a'b", "line 1: nothing but a comment"),
            ("nonsense", "line 1: there is no \"=\""),
            ("A B='x'", "no name of a variable"),
            ("='x'", "no name of a variable"),
        ] {
            assert!(parse(bad).unwrap_err().contains(why), "{bad}");
        }
    }

    #[test]
    fn the_volume_is_not_left() {
        let dir = std::env::temp_dir().join(format!("windlass-env-file-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("good"), "A='1'").unwrap();
        std::fs::write(dir.join("large"), "#".repeat(70_000)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.join("out")).unwrap();
        assert_eq!(read(&dir, "good").unwrap().unwrap()["A"], "1");
        assert!(read(&dir, "absent").unwrap().is_none());
        // The root of the volume stands for the root of the file system.
        assert!(read(&dir, "out").unwrap().is_none());
        assert!(read(&dir, ".").unwrap_err().contains("not a regular file"));
        assert!(read(&dir, "large").unwrap_err().contains("larger than"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
