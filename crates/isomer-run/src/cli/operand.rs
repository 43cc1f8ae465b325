//! What `MODULE`, `DIR MODULE` or `FILE` on a command line names. In: the operand, and the store that the command works
//! on. Out: an [`Operand`]. Never here: what is done with it.

use super::store::Location;
use isomer_layout::{Layout, Module};
use isomer_terminal::Failure;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;

/// What an operand names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand<'a> {
    /// A module of the store.
    Installed(&'a str),
    /// A directory, which holds a release.
    Release(&'a Path),
    /// A path that is not a directory: an artifact, or nothing.
    File(&'a Path),
}

impl<'a> Operand<'a> {
    /// With `--store`, every operand is the name of an installed module. Without it, what an operand is depends on how it
    /// is written and never on the current directory, where another user may have created something of that name: a path
    /// has a `/` in it or ends in `.cwasm`.
    pub(crate) fn of(operand: &'a OsStr, store: &Location) -> Operand<'a> {
        let path = Path::new(operand);
        match operand.to_str() {
            Some(name) if store.is_given() || !is_path(name) => Operand::Installed(name),
            _ if path.is_dir() => Operand::Release(path),
            _ => Operand::File(path),
        }
    }

    /// Refuses a path that nothing can be run from, before anything in it is read.
    pub(crate) fn check_runnable(self) -> Result<(), Failure> {
        let (Operand::Release(path) | Operand::File(path)) = self else { return Ok(()) };
        let shown = path.display();
        let metadata = path.metadata().map_err(|error| {
            let missing = error.kind() == ErrorKind::NotFound;
            let hint = missing.then(|| "check the path; `isomer-run list` shows what is installed".to_owned());
            Failure::because(format!("cannot open `{shown}`"), &error).hint(hint)
        })?;
        if metadata.is_file() && path.extension().is_some_and(|it| it == "tar") {
            let failure = Failure::new(format!("`{shown}` is a tar file; expected a release's directory or a .cwasm"));
            return Err(failure.hint(format!("install a module from it: `isomer-run pull oci-archive:{shown}:NAME`")));
        }
        Ok(())
    }
}

/// What `MODULE`, `DIR` or `DIR MODULE` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named<'a> {
    /// A module of the store.
    Installed(&'a str),
    /// All of a release.
    Release(&'a Path),
    /// A module of a release.
    InRelease(&'a Path, &'a str),
}

impl<'a> Named<'a> {
    /// By one operand or two.
    pub(crate) fn of(operand: &'a Path, module: Option<&'a str>, store: &Location) -> Named<'a> {
        match (module, Operand::of(operand.as_os_str(), store)) {
            (Some(module), _) => Named::InRelease(operand, module),
            (None, Operand::Installed(name)) => Named::Installed(name),
            (None, Operand::Release(_) | Operand::File(_)) => Named::Release(operand),
        }
    }
}

fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".cwasm") || [".", ".."].contains(&name)
}

/// The release in `dir` and a module in it.
pub(crate) fn open_release(dir: &Path, module: &str) -> Result<(Layout, Module), Failure> {
    let layout = Layout::open(dir)?;
    let module = layout.module(module)?;
    Ok((layout, module))
}

/// That a release was named and no module in it.
pub(crate) fn which_module(dir: &Path, command: &str) -> Failure {
    let layout = match Layout::open(dir) {
        Ok(layout) => layout,
        Err(error) => return Failure::from(error),
    };
    let dir = dir.display();
    let names: Vec<_> = layout.modules().iter().map(|module| module.reference.as_str()).collect();
    let failure = Failure::new(format!("which module of `{dir}`? it holds {}", names.join(", ")));
    failure.hint(names.first().map(|name| format!("name it: `isomer-run {command} {dir} {name} …`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn names_are_installed_modules_and_paths_are_not() {
        let (default, given) = (Location::default(), Location::at(PathBuf::from("store")));
        let dir = env!("CARGO_MANIFEST_DIR");
        for (text, expected) in [
            ("resize", Operand::Installed("resize")),
            ("resize:1.4.0", Operand::Installed("resize:1.4.0")),
            ("resize.cwasm", Operand::File(Path::new("resize.cwasm"))),
            ("./resize", Operand::File(Path::new("./resize"))),
            (dir, Operand::Release(Path::new(dir))),
        ] {
            assert_eq!(Operand::of(text.as_ref(), &default), expected, "{text}");
            assert_eq!(Operand::of(text.as_ref(), &given), Operand::Installed(text), "{text}");
        }
    }

    #[test]
    fn a_second_operand_is_a_module_of_a_release() {
        let (default, path) = (Location::default(), Path::new("./dist"));
        assert_eq!(Named::of(path, None, &default), Named::Release(path));
        assert_eq!(Named::of(path, Some("resize"), &default), Named::InRelease(path, "resize"));
        assert_eq!(Named::of(Path::new("resize"), None, &default), Named::Installed("resize"));
        let given = Location::at(PathBuf::from("store"));
        assert_eq!(Named::of(path, None, &given), Named::Installed("./dist"));
    }
}
