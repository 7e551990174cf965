// SPDX-License-Identifier: MIT OR Apache-2.0

//! A disk in memory.

use crate::{Disk, Fat, Table, Volume};

/// Path, lower case, and content.
#[derive(Debug, Default)]
pub(crate) struct Files(pub(crate) Vec<(String, Vec<u8>)>);

#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) table: Table,
    pub(crate) volumes: Vec<Option<Files>>,
}

impl Files {
    pub(crate) fn with(mut self, name: &str, text: &str) -> Self {
        self.0.retain(|(path, _)| path != name);
        self.0.push((name.to_owned(), text.as_bytes().to_vec()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        let before = self.0.len();
        self.0.retain(|(path, _)| path != name);
        assert!(self.0.len() < before, "{name}");
        self
    }
}

impl Volume for Files {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let same = |(name, _): &&(String, Vec<u8>)| name.eq_ignore_ascii_case(path);
        Ok(self.0.iter().find(same).map(|(_, bytes)| bytes.clone()))
    }

    fn exists(&self, path: &str) -> bool {
        self.read(path).unwrap().is_some()
    }

    fn fat(&self) -> Fat {
        Fat::Fat32
    }
}

impl Disk for Memory {
    fn table(&self) -> Table {
        self.table
    }

    fn volume(&self, number: u32) -> Option<&dyn Volume> {
        let files = self.volumes.get(number as usize - 1)?.as_ref()?;
        Some(files)
    }
}
