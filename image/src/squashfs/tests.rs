// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

fn config(options: &[&str]) -> Kconfig {
    let lines: String =
        options.iter().map(|option| format!("CONFIG_SQUASHFS{option}=y\n")).collect();
    Kconfig::parse(&lines)
}

#[test]
fn best_codec_of_all_kernels() {
    let new = config(&["", "_ZSTD", "_XZ", "_LZ4", "_ZLIB"]);
    let old = config(&["", "_XZ", "_ZLIB"]);
    let none = config(&["_ZSTD"]);
    let choose = |asked, kernels: &[(&str, &Kconfig)]| choose("root.squashfs", asked, kernels);
    assert_eq!(choose(None, &[("6.12", &new)]).unwrap(), Codec::Zstd);
    assert_eq!(choose(None, &[("6.12", &new), ("6.1-v6", &old)]).unwrap(), Codec::Xz);
    assert_eq!(choose(Some(Codec::Lz4), &[("6.12", &new)]).unwrap(), Codec::Lz4);
    let error = choose(Some(Codec::Zstd), &[("6.12", &new), ("6.1-v6", &old)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "root.squashfs: kernel 6.1-v6 cannot read zstd (it is without CONFIG_SQUASHFS_ZSTD)"
    );
    let error = choose(None, &[("5.4", &none)]).unwrap_err().to_string();
    assert!(error.contains("known to all of 5.4"), "{error}");
}

#[test]
fn codec_in_the_superblock() {
    let mut superblock = [0; 96];
    superblock[..4].copy_from_slice(b"hsqs");
    for (id, codec) in [(1, Some(Codec::Gzip)), (6, Some(Codec::Zstd)), (3, None), (0, None)] {
        superblock[20] = id;
        assert_eq!(Codec::of(&superblock), codec);
    }
    assert_eq!(Codec::of(b"hsqs"), None);
    assert_eq!(Codec::of(b""), None);
}

fn tree(directory: &Path) -> Tree {
    fs::create_dir_all(directory.join("kernel/fs")).unwrap();
    // duplicates: what makes backhand seek back
    for name in ["a.ko", "b.ko", "fs/c.ko", "fs/d.ko"] {
        let data: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8 ^ (i >> 9) as u8).collect();
        fs::write(directory.join("kernel").join(name), data).unwrap();
    }
    std::os::unix::fs::symlink("a.ko", directory.join("kernel/link")).unwrap();
    let mut tree = Tree::default();
    tree.add(directory).unwrap();
    tree
}

#[test]
fn written_twice_equal_and_not_too_long() {
    let directory = tempfile::tempdir().unwrap();
    let tree = tree(&directory.path().join("tree"));
    for codec in Codec::ALL {
        let options = Options { codec, level: 3, writer: Writer::Backhand };
        let outs = [directory.path().join("one"), directory.path().join("two")];
        for out in &outs {
            let length = write(&tree, options, out, &Cache::none(), Progress::Silent).unwrap();
            assert_eq!(length, fs::metadata(out).unwrap().len(), "{codec}");
            assert_eq!(codec_of(out).unwrap(), codec);
        }
        assert_eq!(fs::read(&outs[0]).unwrap(), fs::read(&outs[1]).unwrap(), "{codec}");
        let used = bytes_used(&fs::read(&outs[0]).unwrap()).unwrap();
        // padded to 4 KiB, no more
        assert_eq!(used.next_multiple_of(4096), fs::metadata(&outs[0]).unwrap().len());
    }
}

#[test]
fn content_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let tree = tree(&directory.path().join("tree"));
    let out = directory.path().join("out");
    let options = Options { codec: Codec::Zstd, level: 3, writer: Writer::Backhand };
    write(&tree, options, &out, &Cache::none(), Progress::Silent).unwrap();
    let reader = std::io::BufReader::new(File::open(&out).unwrap());
    let image = backhand::FilesystemReader::from_reader(reader).unwrap();
    let paths: Vec<_> = image.files().map(|node| node.fullpath.display().to_string()).collect();
    let expected = ["/", "/kernel", "/kernel/a.ko", "/kernel/b.ko", "/kernel/fs"];
    assert_eq!(paths[..5], expected);
    assert!(image.files().all(|node| node.header.uid == 0 && node.header.mtime == 0));
}

#[test]
fn cut_short_image_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let tree = tree(&directory.path().join("tree"));
    let (out, copy) = (directory.path().join("out"), directory.path().join("copy"));
    let options = Options { codec: Codec::Gzip, level: 3, writer: Writer::Backhand };
    let length = write(&tree, options, &out, &Cache::none(), Progress::Silent).unwrap();
    assert_eq!(take(&out, &copy).unwrap(), length);
    File::options().write(true).open(&out).unwrap().set_len(length / 2).unwrap();
    assert!(take(&out, &copy).unwrap_err().to_string().contains("is cut short"));
    fs::write(&out, "not a squashfs").unwrap();
    assert!(take(&out, &copy).unwrap_err().to_string().contains("not a squashfs"));
}

#[test]
fn second_time_from_the_cache() {
    let directory = tempfile::tempdir().unwrap();
    let tree = tree(&directory.path().join("tree"));
    let cache = Cache::new(Some(directory.path().join("cache")));
    let options = Options { codec: Codec::Lz4, level: 3, writer: Writer::Backhand };
    let outs = [directory.path().join("one"), directory.path().join("two")];
    for out in &outs {
        write(&tree, options, out, &cache, Progress::Silent).unwrap();
    }
    assert_eq!(fs::read_dir(directory.path().join("cache")).unwrap().count(), 1);
    assert_eq!(fs::read(&outs[0]).unwrap(), fs::read(&outs[1]).unwrap());
}
