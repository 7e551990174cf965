// SPDX-License-Identifier: MIT OR Apache-2.0
use super::pe::tests::program as efi;
use super::*;

fn loader(version: &str) -> Loader {
    let version = Some(version.to_owned());
    Loader { grub: b"grub".to_vec(), shim: None, prefix: "/EFI/debian".to_owned(), version }
}

fn names(loader: &Loader) -> Vec<String> {
    loader.files().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn files_of_partition_1() {
    let mut loader = loader("2.06");
    let expected = ["grub.cfg", "grubenv", "EFI/BOOT/BOOTAA64.EFI", "EFI/debian/grub.cfg"];
    assert_eq!(names(&loader), expected);
    loader.shim = Some(b"shim".to_vec());
    loader.prefix = "/EFI/BOOT".to_owned();
    let expected = [
        "grub.cfg",
        "grubenv",
        "EFI/BOOT/BOOTAA64.EFI",
        "EFI/BOOT/grubaa64.efi",
        "EFI/BOOT/grub.cfg",
    ];
    assert_eq!(names(&loader), expected);
    let files = loader.files();
    let text = |index: usize| match &files[index].1 {
        Content::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Content::File(..) => panic!(),
    };
    assert_eq!((text(2).as_str(), text(3).as_str()), ("shim", "grub"));
    assert_eq!(text(1).len(), 1024);
    assert!(text(1).starts_with("# GRUB Environment Block\npivot_default=a\npivot_trial=\n##"));
}

#[test]
fn kernels() {
    let image = efi(0xaa64, 10, true, b"Linux version 6.12");
    let packed = {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut out, &image).unwrap();
        out.finish().unwrap()
    };
    assert_eq!(loader("2.06").kernel("6.12", packed).unwrap(), image);
    let mut zboot = image.clone();
    zboot[4..8].copy_from_slice(b"zimg");
    assert_eq!(loader("2.12~rc1").kernel("6.12", zboot.clone()).unwrap(), zboot);
    let refused = |version: &str, image: Vec<u8>| {
        format!("{:#}", loader(version).kernel("6.12", image).unwrap_err())
    };
    assert!(refused("2.06", zboot).contains("GRUB 2.06 does not start such ones"));
    assert!(refused("2.12", b"not MZ".to_vec()).contains("kernel 6.12 is no UEFI program"));
    assert!(refused("2.12", vec![0x1f, 0x8b, 8, 0]).contains("kernel 6.12"));
}

#[test]
fn which_kernel() {
    let arm64 = |page| Some(Kind::Arm64 { page, packed: true });
    assert_eq!(first(&[Some(Kind::Arm), arm64(16), arm64(4), arm64(4)]).unwrap(), 2);
    assert_eq!(first(&[None, arm64(16), Some(Kind::Zboot)]).unwrap(), 1);
    assert_eq!(first(&[Some(Kind::Zboot)]).unwrap(), 0);
    assert!(first(&[Some(Kind::Arm), None]).is_err());
}

#[test]
fn versions() {
    assert!(!starts_zboot("2.06") && starts_zboot("2.12~rc1") && starts_zboot("3"));
    assert!(!starts_zboot("x"));
}

#[test]
fn words_that_grub_does_not_pass_on() {
    assert!(is_plain("console=ttyAMA0,115200 root=/dev/vda*"));
    for words in ["a=\"b c\"", "a='b'", "a\\b", "a$b", "a\nb", "ä"] {
        assert!(!is_plain(words), "{words}");
    }
}

#[test]
fn what_bootsel_reads() {
    let line = "panic=5 gpt".to_owned();
    let Content::Bytes(text) = fragment("vmlinuz0", &["initrd", "early0"], line).unwrap() else {
        panic!()
    };
    let read = Fragment::parse(&String::from_utf8(text).unwrap()).unwrap();
    assert_eq!((read.kernel.as_str(), read.cmdline.as_str()), ("/vmlinuz0", "panic=5 gpt"));
    assert_eq!(read.initrds, ["/initrd", "/early0"]);
    assert!(fragment("vmlinuz0", &["initrd"], "pivot.slot=a".to_owned()).is_err());
    assert_eq!(Grubenv::parse(&environment()).unwrap(), Grubenv::new(Slot::A));
}
