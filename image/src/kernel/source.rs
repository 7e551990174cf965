// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds the parts of a kernel below a directory. Two shapes are known: what a distribution packages
//! (`boot/vmlinuz-<release>`, `lib/modules/<release>/`), and a checkout of raspberrypi/firmware
//! (`boot/kernel8.img`, `modules/<release>/`), which holds several kernels.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{file_name, image};
use crate::compress;
use crate::kconfig::Kconfig;
use crate::tree::{Node, Tree};

/// Where the parts are.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) release: String,
    pub(super) image: PathBuf,
    /// The directory of the release.
    pub(super) modules: PathBuf,
    /// None where no file has it.
    config: Option<PathBuf>,
    /// Directories that may hold device trees, and overlays in `overlays`.
    trees: Vec<PathBuf>,
}

/// File names and releases that belong together in raspberrypi/firmware: what follows the version.
const SUFFIXES: [(&str, &[&str]); 5] = [
    ("kernel.img", &["+"]),
    ("kernel7.img", &["-v7+"]),
    ("kernel7l.img", &["-v7l+"]),
    ("kernel8.img", &["-v8+"]),
    ("kernel_2712.img", &["-v8-16k+", "-v8_16k+", "-2712+", "-v8-2712+"]),
];

/// Finds the parts; `file` is the kernel's name where there are several.
pub(super) fn find(from: &Path, file: Option<&str>) -> Result<Parts> {
    let facts =
        fs::metadata(from).with_context(|| format!("cannot read directory {}", from.display()))?;
    ensure!(
        facts.is_dir(),
        "{} is a file, not a directory: a Debian package is given as package = \"...\"",
        from.display()
    );
    let checkout = from.join("modules");
    if checkout.is_dir() && from.join("boot").is_dir() {
        return in_checkout(from, &checkout, file);
    }
    let modules = ["lib/modules", "usr/lib/modules"].map(|place| from.join(place));
    let modules = modules.iter().find(|place| place.is_dir());
    let modules = modules.with_context(|| format!("{}: no lib/modules in it", from.display()))?;
    let release = only_release(modules, from)?;
    let modules = modules.join(&release);
    let boot = |name: &str| from.join("boot").join(name);
    let mut images = vec![boot(&format!("vmlinuz-{release}")), modules.join("vmlinuz")];
    images.extend(file.map(boot));
    let image = images.iter().find(|place| place.is_file()).cloned();
    let configs = [boot(&format!("config-{release}")), modules.join("config")];
    Ok(Parts {
        image: image.with_context(|| {
            format!("neither {} nor {}", images[0].display(), images[1].display())
        })?,
        config: configs.into_iter().find(|place| place.is_file()),
        trees: vec![
            from.join("usr/lib").join(format!("linux-image-{release}")),
            modules.join("dtb"),
            from.join("boot"),
        ],
        modules,
        release,
    })
}

fn in_checkout(from: &Path, modules: &Path, file: Option<&str>) -> Result<Parts> {
    let names: Vec<&str> = SUFFIXES.iter().map(|(name, _)| *name).collect();
    let there: Vec<&str> =
        names.into_iter().filter(|name| from.join("boot").join(name).is_file()).collect();
    let name = match (file, there.as_slice()) {
        (Some(file), _) => file,
        (None, [one]) => one,
        _ => bail!(
            "{}: expected file = \"...\" to say which kernel of boot: {}",
            from.display(),
            there.join(", ")
        ),
    };
    let image = from.join("boot").join(name);
    let bytes = fs::read(&image).with_context(|| format!("cannot read {}", image.display()))?;
    let release = match image::release(&image::plain(bytes)) {
        Some(release) => release,
        None => by_suffix(modules, name)?,
    };
    let modules = modules.join(&release);
    ensure!(modules.is_dir(), "{} is {release}, and {} is not there", name, modules.display());
    Ok(Parts { release, image, modules, config: None, trees: vec![from.join("boot")] })
}

/// The release whose end belongs to this file name.
fn by_suffix(modules: &Path, name: &str) -> Result<String> {
    let endings = SUFFIXES.iter().find(|(known, _)| *known == name).map_or(&[][..], |row| row.1);
    let after_version = |release: &str| {
        let version = |c: char| c.is_ascii_digit() || c == '.';
        endings.contains(&release.trim_start_matches(version))
    };
    let found: Vec<String> =
        releases(modules)?.into_iter().filter(|release| after_version(release)).collect();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        _ => bail!(
            "{name} does not say its release: expected one that ends in {} in {}, found {}",
            endings.join(" or "),
            modules.display(),
            if found.is_empty() { "none".to_owned() } else { found.join(", ") }
        ),
    }
}

fn releases(modules: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(modules).into_iter().flatten() {
        let entry = entry?;
        if entry.path().is_dir() {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found.sort();
    Ok(found)
}

/// The only release in a directory of releases.
pub(super) fn only_release(modules: &Path, origin: &Path) -> Result<String> {
    match releases(modules)?.as_slice() {
        [one] => {
            let known = bootsel::manifest::modules_image(one).is_some();
            ensure!(known, "{one:?} is no kernel release");
            Ok(one.clone())
        }
        [] => bail!("{}: no lib/modules/<release> in it", origin.display()),
        many => bail!("{}: more than one kernel release: {}", origin.display(), many.join(", ")),
    }
}

impl Parts {
    /// Text of the configuration: a file, or what the kernel or its module `configs` carries, or what is assumed.
    pub(super) fn config(&self) -> Result<String> {
        if let Some(file) = &self.config {
            let bytes =
                fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        let bytes = fs::read(&self.image)
            .with_context(|| format!("cannot read {}", self.image.display()))?;
        let carried = image::config(&image::plain(bytes)).or_else(|| self.config_in_module());
        Ok(carried.unwrap_or_else(|| Kconfig::assumed(&self.release)))
    }

    fn config_in_module(&self) -> Option<String> {
        let directory = self.modules.join("kernel/kernel");
        let read = |name: &&str| Some((**name).to_owned()).zip(fs::read(directory.join(name)).ok());
        let names = ["configs.ko", "configs.ko.xz", "configs.ko.zst", "configs.ko.gz"];
        let (name, packed) = names.iter().find_map(read)?;
        image::config(&compress::unpack(&name, &packed).ok()?)
    }

    /// Copies the Raspberry Pi's device trees to `<to>/dtbs` and overlays to `<to>/overlays`.
    pub(super) fn copy_trees(&self, to: &Path) -> Result<()> {
        for name in ["dtbs", "overlays"] {
            let directory = to.join(name);
            fs::create_dir_all(&directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        for from in self.trees.iter().filter(|directory| directory.is_dir()) {
            let mut tree = Tree::default();
            tree.add(from)?;
            for (path, node) in tree.iter() {
                let (Some(place), Node::File(source, ..)) = (place(path), node) else { continue };
                let to = to.join(place).join(file_name(path));
                if !to.exists() {
                    fs::copy(source, &to)
                        .with_context(|| format!("cannot copy {}", source.display()))?;
                }
            }
        }
        Ok(())
    }
}

/// Where a file of a kernel's trees goes; none for other boards' trees.
fn place(path: &Path) -> Option<&'static str> {
    let name = file_name(path);
    if path.components().any(|part| part.as_os_str() == "overlays") {
        // README says to the firmware that overlays are here where os_prefix is set
        return (name == "README" || name.ends_with(".dtbo") || name.ends_with(".dtb"))
            .then_some("overlays");
    }
    let of_a_pi = ["bcm27", "bcm28"].iter().any(|chip| name.starts_with(chip));
    (of_a_pi && name.ends_with(".dtb")).then_some("dtbs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        directory
    }

    const CHECKOUT: &[(&str, &[u8])] = &[
        ("boot/kernel.img", b"?"),
        ("boot/kernel7.img", b"..Linux version 6.6.31-v7+ (x)"),
        ("boot/kernel7l.img", b"..Linux version 6.6.32-v7l+ (x)"),
        ("boot/kernel_2712.img", b"?"),
        ("modules/6.6.31+/a", b""),
        ("modules/6.6.31-v7+/a", b""),
        ("modules/6.6.31-v8-16k+/a", b""),
    ];

    #[track_caller]
    fn check(file: Option<&str>, expected: Result<&str, &str>) {
        let checkout = directory(CHECKOUT);
        match (find(checkout.path(), file), expected) {
            (Ok(parts), Ok(release)) => assert_eq!(parts.release, release),
            (Err(error), Err(why)) => assert!(format!("{error:#}").contains(why), "{error:#}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn kernel_and_modules_of_a_checkout() {
        check(Some("kernel.img"), Ok("6.6.31+"));
        check(Some("kernel7.img"), Ok("6.6.31-v7+"));
        check(Some("kernel_2712.img"), Ok("6.6.31-v8-16k+"));
        check(Some("kernel7l.img"), Err("kernel7l.img is 6.6.32-v7l+, and "));
        check(Some("kernel8.img"), Err("cannot read "));
        check(None, Err("expected file = "));
    }

    #[test]
    fn configuration_in_a_module() {
        use std::io::Write;
        let mut packed =
            flate2::write::GzEncoder::new(b"ELF IKCFG_ST".to_vec(), flate2::Compression::fast());
        packed.write_all(b"CONFIG_ARM=y\n").unwrap();
        let module = packed.finish().unwrap();
        let files: &[(&str, &[u8])] =
            &[("boot/kernel8.img", b"?"), ("modules/6.6.31-v8+/kernel/kernel/configs.ko", &module)];
        let checkout = directory(files);
        let parts = find(checkout.path(), None).unwrap();
        assert_eq!(parts.config().unwrap(), "CONFIG_ARM=y\n");
        fs::remove_dir_all(parts.modules.join("kernel")).unwrap();
        assert!(Kconfig::parse(&parts.config().unwrap()).is_assumed());
    }

    #[test]
    fn trees_of_a_pi_alone() {
        for (path, expected) in [
            ("broadcom/bcm2712-rpi-5-b.dtb", Some("dtbs")),
            ("overlays/disable-bt.dtbo", Some("overlays")),
            ("overlays/overlay_map.dtb", Some("overlays")),
            ("overlays/README", Some("overlays")),
            ("sun50i.dtb", None),
            ("README", None),
        ] {
            assert_eq!(place(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let look = |path: &Path| format!("{:#}", find(path, None).unwrap_err());
        assert!(look(file.path()).contains("is a file, not a directory"), "{}", look(file.path()));
        assert!(look(Path::new("/no/such")).starts_with("cannot read directory /no/such: No such"));
    }
}
