//! Log files in the format of the CRI: one line `<time> <stream> <F|P> <text>` for each line of output, `P` where a
//! line goes on or never ended.

use linux::{Context, Result};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A longer line is written in parts of this many bytes.
const MAX_LINE: usize = 16 * 1024;

/// Which output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A log file and what has been read of lines that go on.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    partial: [Vec<u8>; 2],
    out: Vec<u8>,
}

impl Log {
    /// Opens the file at `path` to add to it, making it and its directory where missing.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), file: create(path)?, partial: Default::default(), out: Vec::new() })
    }

    /// Opens the path again: another file after a rotation.
    pub(crate) fn reopen(&mut self) -> Result<()> {
        self.file = create(&self.path)?;
        Ok(())
    }

    /// Adds output that was read at `now` (nanoseconds since the epoch). Errors of the disk lose lines, as nothing
    /// better can be done with them.
    pub(crate) fn add(&mut self, stream: Stream, mut bytes: &[u8], now: i64) {
        let mut partial = std::mem::take(&mut self.partial[stream as usize]);
        while !bytes.is_empty() {
            let room = MAX_LINE - partial.len();
            let window = &bytes[..bytes.len().min(room)];
            match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    partial.extend_from_slice(&window[..end]);
                    self.line(stream, 'F', &partial, now);
                    partial.clear();
                    bytes = &bytes[end + 1..];
                }
                None => {
                    partial.extend_from_slice(window);
                    bytes = &bytes[window.len()..];
                    // Exactly full: only more text makes it a part, a newline would end it whole.
                    if partial.len() == MAX_LINE && !bytes.is_empty() {
                        if bytes[0] == b'\n' {
                            self.line(stream, 'F', &partial, now);
                            bytes = &bytes[1..];
                        } else {
                            self.line(stream, 'P', &partial, now);
                        }
                        partial.clear();
                    } else if partial.len() == MAX_LINE {
                        self.line(stream, 'P', &partial, now);
                        partial.clear();
                    }
                }
            }
        }
        self.partial[stream as usize] = partial;
        self.flush();
    }

    /// Writes what is left of a line that never ended.
    pub(crate) fn end(&mut self, stream: Stream, now: i64) {
        let partial = std::mem::take(&mut self.partial[stream as usize]);
        if !partial.is_empty() {
            self.line(stream, 'P', &partial, now);
            self.flush();
        }
    }

    fn line(&mut self, stream: Stream, tag: char, text: &[u8], now: i64) {
        // Writing to memory cannot fail.
        let _ = write!(self.out, "{} {} {tag} ", Stamp(now), stream.name());
        self.out.extend_from_slice(text);
        self.out.push(b'\n');
    }

    fn flush(&mut self) {
        let _ = self.file.write_all(&self.out);
        self.out.clear();
        self.out.shrink_to(2 * MAX_LINE);
    }
}

fn create(path: &Path) -> Result<File> {
    let what = || format!("open log file {}", path.display());
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).context(what)?;
    }
    File::options().create(true).append(true).mode(0o640).open(path).context(what)
}

/// Nanoseconds since the epoch, printed as RFC 3339 in UTC with nine digits.
struct Stamp(i64);

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, nanos) = (self.0.div_euclid(1_000_000_000), self.0.rem_euclid(1_000_000_000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
    }
}

// Days since 1970-01-01 to a date of the proleptic Gregorian calendar, counting from March so that the leap day
// comes last in its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_across_leap_years() {
        for (nanos, shown) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_709_251_199_999_999_999, "2024-02-29T23:59:59.999999999Z"),
            (1_795_180_235_000_000_000, "2026-11-20T13:10:35.000000000Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(Stamp(nanos).to_string(), shown);
        }
    }

    #[test]
    fn lines_parts_and_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/0.log");
        let mut log = Log::open(&path).unwrap();
        log.add(Stream::Stdout, b"hel", 0);
        log.add(Stream::Stderr, b"oops\n", 0);
        log.add(Stream::Stdout, b"lo\n\nrest", 0);
        log.end(Stream::Stdout, 0);
        let old = dir.path().join("sub/old");
        std::fs::rename(&path, &old).unwrap();
        log.reopen().unwrap();
        log.add(Stream::Stdout, &[b'x'; MAX_LINE + 1], 0);
        log.add(Stream::Stdout, b"\n", 0);
        log.add(Stream::Stdout, &[&[b'y'; MAX_LINE][..], b"\n"].concat(), 0);
        let strip = |path: &Path| -> Vec<String> {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
        };
        assert_eq!(strip(&old), ["stderr F oops", "stdout F hello", "stdout F ", "stdout P rest"]);
        let new = strip(&path);
        assert_eq!(new[0].len(), "stdout P ".len() + MAX_LINE);
        assert_eq!(new[1], "stdout F x");
        assert!(new[2].starts_with("stdout F yyy") && new.len() == 3);
    }
}
