use super::*;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

type Build = tar::Builder<Vec<u8>>;

// Writes the raw name: the builder's own check would refuse hostile ones.
fn add(tar: &mut Build, kind: EntryType, name: &str, link: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_size(content.len() as u64);
    header.set_mode(0o640);
    header.set_uid(12);
    header.set_gid(34);
    header.set_mtime(1_000_000);
    if matches!(kind, EntryType::Char | EntryType::Block) {
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
    }
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn unpacked(tar: Build, limits: Limits) -> (tempfile::TempDir, Result<(Digest, Unpacked), ImageError>) {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("layer");
    std::fs::create_dir(&target).unwrap();
    let result = unpack(&tar.into_inner().unwrap()[..], &target, limits);
    (dir, result)
}

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: unpacking keeps owners, which needs root");
    }
    root
}

#[test]
fn files_keep_their_attributes() {
    if !root() {
        return;
    }
    let mut tar = Build::new(Vec::new());
    add(&mut tar, EntryType::Directory, "a/", "", b"");
    add(&mut tar, EntryType::Regular, "a/f", "", b"one");
    add(&mut tar, EntryType::Link, "hard", "a/f", b"");
    add(&mut tar, EntryType::Symlink, "soft", "/a/f", b"");
    add(&mut tar, EntryType::Regular, "a/f2", "", b"first");
    add(&mut tar, EntryType::Regular, "a/f2", "", b"second");
    add(&mut tar, EntryType::Regular, "a/.wh.gone", "", b"");
    add(&mut tar, EntryType::Regular, "a/.wh..wh..opq", "", b"");
    add(&mut tar, EntryType::Fifo, "pipe", "", b"");
    let (dir, result) = unpacked(tar, Limits::default());
    result.unwrap();
    let at = |name: &str| dir.path().join("layer").join(name);
    let file = std::fs::metadata(at("a/f")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mtime(), file.nlink()), (12, 34, 1_000_000, 2));
    assert_eq!(file.permissions().mode() & 0o7777, 0o640);
    assert_eq!(std::fs::metadata(at("a")).unwrap().mtime(), 1_000_000);
    assert_eq!(std::fs::read_link(at("soft")).unwrap(), Path::new("/a/f"));
    assert_eq!(std::fs::read(at("a/f2")).unwrap(), b"second");
    let gone = std::fs::symlink_metadata(at("a/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(at("a"), "trusted.overlay.opaque", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"y");
}

#[test]
fn nothing_is_written_outside() {
    if !root() {
        return;
    }
    let outside = tempfile::tempdir().unwrap();
    let out = outside.path().to_str().unwrap();
    let (_, refused) = {
        let mut tar = Build::new(Vec::new());
        add(&mut tar, EntryType::Regular, "../evil", "", b"x");
        unpacked(tar, Limits::default())
    };
    assert!(refused.unwrap_err().to_string().contains("leads out of the layer"));
    let mut tar = Build::new(Vec::new());
    add(&mut tar, EntryType::Symlink, "abs", out, b"");
    add(&mut tar, EntryType::Regular, "abs/evil", "", b"x");
    add(&mut tar, EntryType::Symlink, "up", "../../../../../../../../tmp", b"");
    add(&mut tar, EntryType::Regular, "up/windlass-evil", "", b"x");
    add(&mut tar, EntryType::Symlink, "etc", "/etc", b"");
    let (dir, result) = unpacked(tar, Limits::default());
    // The link's target does not exist inside: that is an error or stays inside, but never goes outside.
    drop(result);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(!Path::new("/tmp/windlass-evil").exists());
    drop(dir);
    let mut tar = Build::new(Vec::new());
    add(&mut tar, EntryType::Symlink, "etc", "/etc", b"");
    add(&mut tar, EntryType::Link, "stolen", "etc/shadow", b"");
    let (_dir, result) = unpacked(tar, Limits::default());
    result.unwrap_err();
    let mut tar = Build::new(Vec::new());
    add(&mut tar, EntryType::Regular, ".wh...", "", b"");
    assert!(unpacked(tar, Limits::default()).1.is_err());
}

#[test]
fn bombs_are_stopped() {
    if !root() {
        return;
    }
    let small = Limits { bytes: 1000, entries: 5, path: 50 };
    let mut tar = Build::new(Vec::new());
    add(&mut tar, EntryType::Regular, "big", "", &[0; 2000]);
    let error = unpacked(tar, small).1.unwrap_err().to_string();
    assert!(error.contains("more than 1000 bytes"), "{error}");
    let mut tar = Build::new(Vec::new());
    for n in 0..6 {
        add(&mut tar, EntryType::Regular, &format!("f{n}"), "", b"");
    }
    let error = unpacked(tar, small).1.unwrap_err().to_string();
    assert!(error.contains("more than 5 entries"), "{error}");
    let mut tar = Build::new(Vec::new());
    add(&mut tar, EntryType::Regular, &"d/".repeat(40), "", b"");
    unpacked(tar, small).1.unwrap_err();
    let mut tar = Build::new(Vec::new());
    add(&mut tar, EntryType::Char, "hide", "", b"");
    let error = unpacked(tar, small).1.unwrap_err().to_string();
    assert!(error.contains("0:0"), "{error}");
}

#[test]
fn compression_is_recognised_and_the_digest_is_of_the_content() {
    if !root() {
        return;
    }
    let mut tar = Build::new(Vec::new());
    add(&mut tar, EntryType::Regular, "f", "", b"text");
    let plain = tar.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let forms = [plain.clone(), gzip.finish().unwrap(), zstd::encode_all(&plain[..], 1).unwrap()];
    for form in forms {
        let dir = tempfile::tempdir().unwrap();
        let (digest, done) = unpack(&form[..], dir.path(), Limits::default()).unwrap();
        assert_eq!(digest, Digest::of(&plain));
        assert_eq!(done, Unpacked { bytes: 4, entries: 1 });
        assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"text");
    }
}

#[test]
fn names_and_attributes_do_not_fill_memory() {
    if !root() {
        return;
    }
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader]
    {
        let mut tar = Build::new(Vec::new());
        add(&mut tar, EntryType::Regular, "first", "", &[1; 700]);
        add(&mut tar, kind, "long", "", &vec![b'x'; 2 << 20]);
        add(&mut tar, EntryType::Regular, "f", "", b"");
        let error = unpacked(tar, Limits::default()).1.unwrap_err().to_string();
        assert!(error.contains("names and attributes"), "{kind:?}: {error}");
    }
    // Honest ones of every form pass, among them a size that only an extended header tells.
    let mut tar = Build::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    let long = "d/".repeat(100) + "name";
    tar.append_data(&mut header, &long, &b"one"[..]).unwrap();
    tar.append_pax_extensions([("size", &b"700"[..]), ("SCHILY.xattr.user.a", b"b")]).unwrap();
    add(&mut tar, EntryType::Regular, "sized", "", &[2; 700]);
    add(&mut tar, EntryType::Directory, "dir", "", b"");
    add(&mut tar, EntryType::Regular, "last", "", b"3");
    let (dir, result) = unpacked(tar, Limits::default());
    assert_eq!(result.unwrap().1.bytes, 704);
    assert_eq!(std::fs::read(dir.path().join("layer").join(long)).unwrap(), b"one");
    assert_eq!(std::fs::read(dir.path().join("layer/last")).unwrap(), b"3");
}
