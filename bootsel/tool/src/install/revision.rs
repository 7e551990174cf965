// SPDX-License-Identifier: MIT OR Apache-2.0
//! The revision's directory, filled under another name: `<id>.new`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bootsel::Slot;
use bootsel::manifest::{self, Manifest, RevisionId};
use sha2::{Digest, Sha256};

use super::Progress;
use crate::area::CHUNK;
use crate::error::{Error, Result, failed, refused};
use crate::gc;
use crate::root::{Root, names, read};
use crate::say;
use crate::slot::{Depth, hash_file, read_manifest, uncached};
use crate::system::System;

/// Left free: directories, and what the running system writes meanwhile.
const SLACK: u64 = 4 << 20;
/// A file is written back after so many bytes: a slow card must not have a backlog of minutes at the end, nor a small
/// machine its memory full of it. A throttle and no barrier: nothing relies on it.
const BACKLOG: u64 = 16 << 20;

/// Where the files go, and where equal ones may be found.
#[derive(Debug)]
pub(super) struct Staged {
    root: Root,
    revisions: PathBuf,
    new: PathBuf,
    id: RevisionId,
    /// Files that others have, by their hashes: linked if they still have them.
    equal: Vec<(manifest::File, PathBuf)>,
    /// Directories that go before there is room, once the slot cannot be booted.
    removed: Vec<String>,
    /// Revisions that stay, whatever happens.
    kept: Vec<String>,
}

impl Staged {
    /// Finds out whether there is room; changes nothing.
    pub(super) fn plan(
        system: &System,
        manifest: &Manifest,
        id: &RevisionId,
        target: Slot,
    ) -> Result<Self> {
        let revisions = system.root.pivot("revisions");
        let kept = system.slot(target.other()).revision.clone().unwrap_or_default();
        let running = gc::running(&system.root);
        let mut removed: Vec<String> = Vec::new();
        let new_name = format!("{id}.new");
        for name in names(&revisions) {
            let needed = name == kept || running.contains(&name);
            // what an install left that did not end, and what this one takes the place of
            if !needed && (name.ends_with(".new") || name.starts_with('.') || name == id.as_str()) {
                removed.push(name);
            } else if needed && name == id.as_str() {
                return refused(format!("revision {id} is in use"));
            }
        }
        let mut staged = Self {
            root: system.root.clone(),
            kept: running.iter().chain([&kept]).cloned().collect(),
            new: revisions.join(new_name),
            revisions,
            id: id.clone(),
            equal: Vec::new(),
            removed,
        };
        staged.find_equal(system, manifest);
        let needed = staged.needed(manifest);
        if staged.free()? >= needed {
            return Ok(staged);
        }
        // the revision of the slot that is overwritten makes room
        let old = system.slot(target).revision.clone().filter(|old| {
            *old != kept && !running.contains(old) && staged.revisions.join(old).is_dir()
        });
        staged.removed.extend(old.filter(|old| old != id.as_str()));
        staged.removed.sort();
        staged.removed.dedup();
        staged.find_equal(system, manifest);
        let (needed, free) = (staged.needed(manifest), staged.free()? + staged.to_be_freed());
        if free >= needed {
            return Ok(staged);
        }
        refused(format!(
            "the revision needs {} MiB on the data partition and {} MiB can be freed; `bootsel gc` or a larger card \
             makes room",
            needed >> 20,
            free >> 20
        ))
    }

    /// Files of revisions that stay, which are equal by name of hash and length.
    fn find_equal(&mut self, system: &System, manifest: &Manifest) {
        self.equal.clear();
        for name in names(&self.revisions) {
            let Ok(id) = name.parse::<RevisionId>() else { continue };
            if self.removed.contains(&name) {
                continue;
            }
            let Ok(other) = read_manifest(&system.root, &id) else { continue };
            for file in manifest.images() {
                let same = |other: &&manifest::File| {
                    other.sha256 == file.sha256 && other.bytes == file.bytes
                };
                let known = self.equal.iter().any(|(known, _)| known == file);
                if let Some(found) = other.images().find(same).filter(|_| !known) {
                    let path = self.revisions.join(&name).join(&found.name);
                    self.equal.push((file.clone(), path));
                }
            }
        }
        // an equal file counts as one that takes no room: it must be what it is said to be
        self.equal.retain(|(file, path)| {
            let is_file = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
            is_file && hash_file(path).is_ok_and(|hash| hash == file.sha256)
        });
    }

    fn needed(&self, manifest: &Manifest) -> u64 {
        let linked = |file: &&manifest::File| self.equal.iter().any(|(equal, _)| equal == *file);
        let new = manifest.images().filter(|file| !linked(file));
        new.map(|file| file.bytes.next_multiple_of(4096)).sum::<u64>().saturating_add(SLACK)
    }

    fn free(&self) -> Result<u64> {
        let path = self.revisions.display();
        let stat = rustix::fs::statvfs(&self.revisions);
        let stat = stat.map_err(failed(format!("cannot ask {path} for its free space")))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Bytes of files that nothing else has a name for, and of what was written over them.
    fn to_be_freed(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let layers = self.removed.iter().map(|name| gc::layer_bytes(&self.root, name)).sum::<u64>();
        let directories = self.removed.iter().map(|name| self.revisions.join(name));
        let files =
            directories.flat_map(|path| names(&path).into_iter().map(move |name| path.join(name)));
        let alone = files.filter_map(|path| fs::symlink_metadata(path).ok());
        let alone = alone.filter(|meta| meta.nlink() == 1);
        alone.map(|meta| meta.blocks().saturating_mul(512)).sum::<u64>().saturating_add(layers)
    }

    /// Makes room and the directory. The slot that named the old revision cannot be booted any more.
    pub(super) fn begin(&self) -> Result<()> {
        for name in &self.removed {
            gc::remove(&self.revisions, name)?;
            say(&format!("removed {name} of an earlier install"));
        }
        // what is left of others is in nobody's way
        match gc::collect_layers(&self.root, &self.kept) {
            Err(why) if gc::has_layer(&self.root, self.id.as_str()) => return Err(why),
            Err(why) => say(&format!("warning: {why}")),
            Ok(()) => {}
        }
        fs::create_dir(&self.new).map_err(failed(format!("cannot create {}", self.new.display())))
    }

    /// Takes one file from the stream, hashed as it comes. One that is there already gets a second name instead.
    pub(super) fn file(&self, stream: &mut impl Read, file: &manifest::File) -> Result<()> {
        let path = self.new.join(&file.name);
        let cannot = || format!("cannot write {}", path.display());
        let mut out = match self.linked(&file.name) {
            Some(equal) => {
                fs::hard_link(equal, &path).map_err(failed(cannot()))?;
                None
            }
            None => Some(File::create_new(&path).map_err(failed(cannot()))?),
        };
        let mut progress = Progress::new(&file.name, file.bytes);
        let (mut hash, mut buffer, mut at) = (Sha256::new(), vec![0; CHUNK], 0);
        while at < file.bytes {
            let most = usize::try_from(file.bytes - at).unwrap_or(CHUNK).min(CHUNK);
            let part = buffer.get_mut(..most).unwrap_or_default();
            stream.read_exact(part).map_err(failed(&file.name))?;
            hash.update(&part);
            at += part.len() as u64;
            if let Some(out) = &mut out {
                let written = out.write_all(part);
                let full = at.is_multiple_of(BACKLOG);
                let written = written.and_then(|()| if full { out.sync_data() } else { Ok(()) });
                written.map_err(failed(cannot()))?;
            }
            progress.at(at);
        }
        let found: [u8; 32] = hash.finalize().into();
        if found == file.sha256 {
            return Ok(());
        }
        Err(Error::Failed(format!("{} is not what the manifest says", file.name)))
    }

    /// Gives the revision its name. It is on the disk after [`Staged::sync`], and until then anything of it may be.
    pub(super) fn finish(&self, manifest: &[u8], signature: &[u8]) -> Result<()> {
        for (name, bytes) in [(manifest::NAME, manifest), (manifest::SIGNATURE, signature)] {
            let path = self.new.join(name);
            fs::write(&path, bytes).map_err(failed(format!("cannot write {}", path.display())))?;
        }
        fs::rename(&self.new, self.directory())
            .map_err(failed(format!("cannot rename {}", self.new.display())))
    }

    /// The barrier: the data partition, and with it the cache of the disk that the slot lies on, too.
    pub(super) fn sync(&self) -> Result<()> {
        let cannot = || format!("cannot sync {}", self.revisions.display());
        let directory = File::open(&self.revisions).map_err(failed(cannot()))?;
        rustix::fs::syncfs(directory).map_err(failed(cannot()))
    }

    /// Reads the texts back; the images are compared with the manifest.
    pub(super) fn compare(&self, manifest: &[u8], signature: &[u8]) -> Result<()> {
        for (name, bytes) in [(manifest::NAME, manifest), (manifest::SIGNATURE, signature)] {
            let path = self.directory().join(name);
            drop(uncached(&path)?);
            if read(&path)? != bytes {
                return Err(Error::Failed(format!("{} reads back differently", path.display())));
            }
        }
        Ok(())
    }

    /// How much there is to be read of a file once more: one that was linked was hashed for that.
    pub(super) fn depth(&self, name: &str) -> Depth {
        if self.linked(name).is_some() { Depth::Quick } else { Depth::Hashed }
    }

    fn linked(&self, name: &str) -> Option<&Path> {
        let found = self.equal.iter().find(|(equal, _)| equal.name == name);
        found.map(|(_, path)| path.as_path())
    }

    /// A file of the revision that has its name.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    fn directory(&self) -> PathBuf {
        self.revisions.join(self.id.as_str())
    }
}
