// SPDX-License-Identifier: MIT OR Apache-2.0
//! The revision's directory, filled under another name: `<id>.new`.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bootsel::Slot;
use bootsel::manifest::{self, Manifest, RevisionId};
use sha2::{Digest, Sha256};

use crate::area::CHUNK;
use crate::error::{Error, Result, failed, refused};
use crate::gc;
use crate::root::{names, sync_directory};
use crate::say;
use crate::slot::{Depth, check_file, hash_file, read_manifest};
use crate::system::System;

/// Left free: directories, and what the running system writes meanwhile.
const SLACK: u64 = 4 << 20;

/// Where the files go, and where equal ones may be found.
#[derive(Debug)]
pub(super) struct Staged {
    revisions: PathBuf,
    new: PathBuf,
    id: RevisionId,
    /// Files that others have, by their hashes: linked if they still have them.
    equal: Vec<(manifest::File, PathBuf)>,
    /// Directories that go before there is room, once the slot cannot be booted.
    removed: Vec<String>,
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

    /// Bytes of files that nothing else has a name for.
    fn to_be_freed(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let directories = self.removed.iter().map(|name| self.revisions.join(name));
        let files =
            directories.flat_map(|path| names(&path).into_iter().map(move |name| path.join(name)));
        let alone = files.filter_map(|path| fs::symlink_metadata(path).ok());
        alone.filter(|meta| meta.nlink() == 1).map(|meta| meta.blocks().saturating_mul(512)).sum()
    }

    /// Makes room and the directory. The slot that named the old revision cannot be booted any more.
    pub(super) fn begin(&self) -> Result<()> {
        for name in &self.removed {
            gc::remove(&self.revisions, name)?;
            say(&format!("removed {name} of an earlier install"));
        }
        fs::create_dir(&self.new)
            .map_err(failed(format!("cannot create {}", self.new.display())))?;
        sync_directory(&self.revisions)
    }

    /// Takes one file from the stream: hashed as it comes, synced, and read back. One that is there already gets a
    /// second name instead.
    pub(super) fn file(&self, stream: &mut impl Read, file: &manifest::File) -> Result<()> {
        let path = self.new.join(&file.name);
        let cannot = || format!("cannot write {}", path.display());
        let equal = self.equal.iter().find(|(equal, _)| equal == file).map(|(_, path)| path);
        let mut out = match equal {
            Some(equal) => {
                fs::hard_link(equal, &path).map_err(failed(cannot()))?;
                None
            }
            None => Some(
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&path)
                    .map_err(failed(cannot()))?,
            ),
        };
        let (mut hash, mut buffer, mut left) = (Sha256::new(), vec![0; CHUNK], file.bytes);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let part = buffer.get_mut(..most).unwrap_or_default();
            stream.read_exact(part).map_err(failed("the bundle is cut short"))?;
            hash.update(&part);
            if let Some(out) = &mut out {
                out.write_all(part).map_err(failed(cannot()))?;
            }
            left -= part.len() as u64;
        }
        let found: [u8; 32] = hash.finalize().into();
        if found != file.sha256 {
            return Err(Error::Failed(format!("{} is not what the manifest says", file.name)));
        }
        if let Some(out) = out {
            out.sync_all().map_err(failed(cannot()))?;
        }
        check_file(&self.new, file, Depth::Hashed)
    }

    /// Gives the revision its name.
    pub(super) fn finish(&self, manifest: &[u8], signature: &[u8]) -> Result<()> {
        write_synced(&self.new.join(manifest::NAME), manifest)?;
        write_synced(&self.new.join(manifest::SIGNATURE), signature)?;
        sync_directory(&self.new)?;
        let to = self.revisions.join(self.id.as_str());
        fs::rename(&self.new, &to)
            .map_err(failed(format!("cannot rename {}", self.new.display())))?;
        sync_directory(&self.revisions)
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file =
        File::create_new(path).map_err(failed(format!("cannot write {}", path.display())))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(failed(format!("cannot write {}", path.display())))
}
