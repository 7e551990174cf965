// SPDX-License-Identifier: MIT OR Apache-2.0
//! libkmod: what modprobe would insert, and what it takes for built in.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::ptr;

use kmod_sys as sys;

/// A libkmod context for one directory, without the machine's modprobe.d.
pub(crate) struct Kmod {
    context: *mut sys::kmod_ctx,
    directory: String,
}

thread_local! {
    /// What [`note`] was told: libkmod's callback has no argument of ours.
    static FILES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// libkmod's `print_action`: it would insert `module` now.
unsafe extern "C" fn note(module: *mut sys::kmod_module, _: bool, _: *const c_char) {
    // SAFETY: libkmod passes a live module; the string belongs to it, and is copied before the module can go.
    let path = unsafe {
        let path = sys::kmod_module_get_path(module);
        (!path.is_null()).then(|| CStr::from_ptr(path).to_str().unwrap().to_owned())
    };
    // Without a path it is built in. Another time is EEXIST for the kernel, and no line in our list.
    FILES.with_borrow_mut(|files| files.extend(path.filter(|path| !files.contains(path))));
}

impl Kmod {
    pub(crate) fn new(directory: &str, config: Option<&Path>) -> Kmod {
        let path = CString::new(directory).unwrap();
        let config = config.map(|path| CString::new(path.to_str().unwrap()).unwrap());
        let paths = [config.as_ref().map_or(ptr::null(), |path| path.as_ptr()), ptr::null()];
        // SAFETY: strings end in NUL, the list in NULL; libkmod copies what it keeps. The context is checked and used
        // by one thread.
        let context = unsafe {
            let context = sys::kmod_new(path.as_ptr(), paths.as_ptr());
            assert!(!context.is_null());
            assert_eq!(sys::kmod_load_resources(context), 0, "libkmod cannot open {directory}");
            context
        };
        Kmod { context, directory: directory.to_owned() }
    }

    /// Calls `visit` for each module that `name` stands for, and says how many there were.
    fn each(&self, name: &str, mut visit: impl FnMut(*mut sys::kmod_module)) -> usize {
        let name = CString::new(name).unwrap();
        let (mut list, mut count) = (ptr::null_mut(), 0);
        // SAFETY: the context lives as long as self; libkmod makes the list, each module got from it has a reference
        // of its own until it is given back, and the list is freed once.
        unsafe {
            // Fails for names that can be none, and leaves the list empty.
            sys::kmod_module_new_from_lookup(self.context, name.as_ptr(), &mut list);
            let mut entry = list;
            while !entry.is_null() {
                let module = sys::kmod_module_get_module(entry);
                visit(module);
                sys::kmod_module_unref(module);
                count += 1;
                entry = sys::kmod_list_next(list, entry);
            }
            sys::kmod_module_unref_list(list);
        }
        count
    }

    /// The files that modprobe would insert, relative to the directory; None for a name that stands for nothing.
    pub(crate) fn files(&self, name: &str) -> Option<Vec<String>> {
        let flags = sys::kmod_probe_KMOD_PROBE_DRY_RUN | sys::kmod_probe_KMOD_PROBE_IGNORE_LOADED;
        FILES.take();
        let count = self.each(name, |module| {
            // SAFETY: a live module; no options, no data, a dry run inserts nothing.
            let result = unsafe {
                sys::kmod_module_probe_insert_module(
                    module,
                    flags,
                    ptr::null(),
                    None,
                    ptr::null(),
                    Some(note),
                )
            };
            assert_eq!(result, 0, "libkmod cannot resolve {name}");
        });
        let relative =
            |path: String| path.strip_prefix(&format!("{}/", self.directory)).unwrap().to_owned();
        let files = FILES.take().into_iter().map(relative).collect();
        (count > 0).then_some(files)
    }

    /// Whether the module of that name is built in, or all that have the alias.
    pub(crate) fn is_builtin(&self, name: &str) -> bool {
        let builtin = |module| {
            // SAFETY: a live module.
            let state = unsafe { sys::kmod_module_get_initstate(module) };
            u32::try_from(state) == Ok(sys::kmod_module_initstate_KMOD_MODULE_BUILTIN)
        };
        let text = CString::new(name).unwrap();
        let mut module = ptr::null_mut();
        // SAFETY: the context lives as long as self; the module that libkmod makes is given back once.
        let by_name = unsafe {
            sys::kmod_module_new_from_name(self.context, text.as_ptr(), &mut module);
            let by_name = builtin(module);
            sys::kmod_module_unref(module);
            by_name
        };
        let mut all = true;
        let count = self.each(name, |module| all &= builtin(module));
        by_name || (count > 0 && all)
    }
}

impl Drop for Kmod {
    fn drop(&mut self) {
        // SAFETY: made in new, given back once.
        unsafe { sys::kmod_unref(self.context) };
    }
}
