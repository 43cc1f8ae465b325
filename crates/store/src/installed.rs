//! In: a module's name, as a user typed it. Out: the installed module, and a variant of it, verified. Never here: a change
//! to the store, its lock.

mod check;

pub use check::Check;

use crate::directory::Directory;
use crate::documents::{Active, Record};
use crate::error::{Instead, io_error, unless_damaged};
use crate::files::Judged;
use crate::pull::{RECORD, layout_in};
use crate::weakness::Weakness;
use crate::{Store, StoreError, active_name};
use isomer_contract::name::ModuleName;
use isomer_contract::{Digest, one_line};
use isomer_layout::{Layout, Module, ModuleEntry, SparseLayout, nearest_module};
use isomer_runtime::{Trust, TrustedModule, trust};
use isomer_trust::Timestamp;

/// A module in a store.
#[derive(Debug)]
pub struct Installed {
    pub(crate) store: Store,
    pub(crate) layout: Layout,
    module: Module,
    record: Judged<Record>,
    pulled_at: Timestamp,
    active: Activity,
}

/// Whether a version is the active one of its module.
#[derive(Clone, Debug, Default)]
struct Activity {
    is_active: bool,
    /// By which weakness another user could have written the record of that.
    foreign: Option<Weakness>,
}

/// An installed index, and what is wrong with it.
pub type Damaged = (Digest, StoreError);

/// The name of an installed module, its name and version, and its index.
type Named = (String, String, Digest);

impl Store {
    /// The module called `name`: `NAME` is its active version, `NAME:VERSION` and `NAME@sha256:…` any that is installed,
    /// and so is its index's digest alone.
    ///
    /// # Errors
    /// When it is not installed, the name is ambiguous, or it is damaged.
    pub fn find(&self, name: &str) -> Result<Installed, StoreError> {
        if name.parse::<ModuleName>().is_ok() {
            // A record may name a damaged version that was removed.
            let active = self.active(name)?;
            if let Some(active) = &active
                && self.is_installed(active.value.index)?
            {
                let mut installed = self.installed_as(active.value.index, true)?;
                self.check_is_of(name, &installed.module.name)?;
                installed.active.foreign.clone_from(&active.foreign);
                return Ok(installed);
            }
            let (installed, damaged) = self.references()?;
            let of_name = |(module, _, _): &&Named| module == name;
            let installed: Vec<_> =
                installed.iter().filter(of_name).map(|(_, reference, _)| reference.clone()).collect();
            if !installed.is_empty() {
                warn_of(&damaged);
                let instead = self.instead(name, active.as_ref().map(|active| &active.value))?;
                let module = name.to_owned();
                return Err(StoreError::NotActive { module, dir: self.dir().to_owned(), installed, instead });
            }
        }
        self.find_any(name)
    }

    /// What activates a version of `module` if `active`, the last one, is not installed any more.
    fn instead(&self, module: &str, active: Option<&Active>) -> Result<Option<Instead>, StoreError> {
        let (all, _) = self.installed()?;
        let of_module = || all.iter().filter(|it| it.module.name == module);
        let earlier = active.map(|active| &active.earlier[..]).unwrap_or_default();
        if of_module().any(|it| earlier.contains(&it.module.digest)) {
            return Ok(Some(Instead::RollBack(module.to_owned())));
        }
        Ok(of_module().last().map(|it| Instead::Activate(it.module.reference.clone())))
    }

    /// Checks that the record of the active version of `module` names an index of that module.
    pub(crate) fn check_is_of(&self, module: &str, found: &str) -> Result<(), StoreError> {
        if found == module {
            return Ok(());
        }
        let reason = format!("it names an index of `{found}`, expected one of `{module}`");
        Err(StoreError::Malformed { file: self.active_path(module), reason })
    }

    fn is_installed(&self, index: Digest) -> Result<bool, StoreError> {
        match self.root.directory("installed")? {
            Some(installed) => Ok(installed.stat(index.hex())?.is_some()),
            None => Ok(false),
        }
    }

    /// As [`Store::find`], but a name without a version means the only installed version, active or not.
    pub(crate) fn find_any(&self, name: &str) -> Result<Installed, StoreError> {
        let (all, mut damaged) = self.references()?;
        let (called, digest) = match name.rsplit_once('@') {
            Some((called, digest)) => (Some(called), digest.parse::<Digest>().ok()),
            None => (None, name.parse::<Digest>().ok()),
        };
        let matches = |(module, reference, index): &&Named| match (called, digest) {
            (Some(called), Some(digest)) => (called == module || called == reference) && *index == digest,
            (None, Some(digest)) => *index == digest,
            _ => reference == name || module == name,
        };
        let found: Vec<_> = all.iter().filter(matches).collect();
        if found.is_empty() {
            let meant = damaged.iter().position(|(index, _)| {
                let declared = self.declared_by(*index);
                digest == Some(*index) || declared.is_some_and(|it| matches(&&(it.name, it.reference, *index)))
            });
            if let Some(meant) = meant {
                return Err(damaged.swap_remove(meant).1);
            }
        }
        warn_of(&damaged);
        match found[..] {
            [(module, _, index)] => {
                // A damaged record of the active version does not matter for a version that is named.
                let active = unless_damaged(self.active(module))?.flatten();
                let mut installed = self.installed_as(*index, false)?;
                installed.active = Activity::of(active, *index);
                Ok(installed)
            }
            [] => {
                let names = all.iter().map(|(module, reference, _)| (module.as_str(), reference.as_str()));
                // The name may be that of a damaged module.
                let nearest = if damaged.is_empty() { nearest_module(name, names).map(str::to_owned) } else { None };
                let installed = all.iter().map(|(_, reference, _)| reference.clone()).collect();
                let what = name.escape_debug().to_string();
                Err(StoreError::NotInstalled { what, dir: self.dir().to_owned(), nearest, installed })
            }
            _ => {
                let versions: Vec<_> = found.iter().map(|(_, reference, _)| reference).collect();
                let alike = versions.iter().any(|it| versions.iter().filter(|other| it == *other).count() > 1);
                let choice = |(module, reference, index): &&Named| {
                    if alike { format!("{module}@{index}") } else { reference.clone() }
                };
                let choices = found.iter().map(choice).collect();
                Err(StoreError::Ambiguous { what: name.to_owned(), choices })
            }
        }
    }

    /// All installed modules, by name and then by the time of their pull; and what is wrong with each damaged index.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn installed(&self) -> Result<(Vec<Installed>, Vec<Damaged>), StoreError> {
        let (mut whole, mut damaged) = (Vec::new(), Vec::new());
        for index in self.indexes()? {
            match self.installed_now(index) {
                Ok(installed) => whole.push(installed),
                Err(error @ StoreError::Damaged { .. }) => damaged.push((index, error)),
                Err(error) => return Err(error),
            }
        }
        whole.sort_by(|a: &Installed, b| (&a.module.name, a.pulled_at).cmp(&(&b.module.name, b.pulled_at)));
        Ok((whole, damaged))
    }

    fn installed_now(&self, index: Digest) -> Result<Installed, StoreError> {
        let mut installed = self.installed_as(index, false)?;
        installed.active = match self.active(&installed.module.name) {
            Ok(active) => Activity::of(active, index),
            // The installed version itself is not affected.
            Err(error) if error.is_damage() => {
                tracing::warn!(
                    "cannot determine whether {} is active: {}",
                    installed.module.reference,
                    one_line(&error)
                );
                Activity::default()
            }
            Err(error) => return Err(error),
        };
        Ok(installed)
    }

    pub(crate) fn active(&self, module: &str) -> Result<Option<Judged<Active>>, StoreError> {
        match self.root.directory("active")? {
            Some(active) => active.read(&active_name(module)),
            None => Ok(None),
        }
    }

    pub(crate) fn indexes(&self) -> Result<Vec<Digest>, StoreError> {
        let names = self.names_in("installed")?;
        Ok(names.iter().filter_map(|name| format!("sha256:{}", name.to_str()?).parse().ok()).collect())
    }

    /// The directory of an installed index.
    pub(crate) fn installed_dir(&self, index: Digest) -> Result<Directory, StoreError> {
        let dir = match self.root.directory("installed")? {
            Some(installed) => installed.directory(index.hex())?,
            None => None,
        };
        let missing = || std::io::Error::from_raw_os_error(libc::ENOENT);
        dir.ok_or_else(|| io_error("read", &self.installed_path(index))(missing()))
    }

    /// The directory of the blobs of an installed index, where there is one.
    pub(crate) fn blobs_of(&self, index: Digest) -> Result<Option<Directory>, StoreError> {
        match self.installed_dir(index)?.directory("blobs")? {
            Some(blobs) => blobs.directory("sha256"),
            None => Ok(None),
        }
    }

    pub(crate) fn layout_of(&self, index: Digest) -> Result<Layout, StoreError> {
        layout_in(&self.installed_dir(index)?)
    }

    /// The name, reference and index of all installed modules, and the damaged ones apart: they do not affect the others.
    pub(super) fn references(&self) -> Result<(Vec<Named>, Vec<Damaged>), StoreError> {
        let (mut references, mut damaged) = (Vec::new(), Vec::new());
        for index in self.indexes()? {
            match self.layout_of(index).and_then(|layout| entry_of(&layout, index).cloned()) {
                Ok(entry) => references.push((entry.name, entry.reference, index)),
                Err(error) if error.is_damage() => damaged.push((index, error.damages(index))),
                Err(error) => return Err(error),
            }
        }
        references.sort();
        Ok((references, damaged))
    }

    /// What a damaged index declares, if its own document can still be read.
    fn declared_by(&self, index: Digest) -> Option<SparseLayout> {
        let blobs = self.blobs_of(index).ok()??;
        let document: Judged<serde_json::Value> = blobs.read(&index.hex()).ok()??;
        SparseLayout::of(document.value.to_string().as_bytes(), &blobs.path_of(index.hex())).ok()
    }

    pub(crate) fn installed_as(&self, index: Digest, active: bool) -> Result<Installed, StoreError> {
        self.read_installed(index, active).map_err(|error| error.damages(index))
    }

    fn read_installed(&self, index: Digest, is_active: bool) -> Result<Installed, StoreError> {
        let dir = self.installed_dir(index)?;
        let layout = layout_in(&dir)?;
        let module = layout.module(&entry_of(&layout, index)?.reference)?;
        let missing = || io_error("read", &dir.path_of(RECORD))(std::io::Error::from_raw_os_error(libc::ENOENT));
        let record: Judged<Record> = dir.read(RECORD)?.ok_or_else(missing)?;
        let pulled_at = record.value.at.parse().map_err(|error| StoreError::Malformed {
            file: dir.path_of(RECORD),
            reason: format!("its time does not parse: {error}"),
        })?;
        let active = Activity { is_active, foreign: None };
        Ok(Installed { store: self.clone(), layout, module, record, pulled_at, active })
    }
}

impl Activity {
    /// That of `index`, if `active` is the record of the active version.
    fn of(active: Option<Judged<Active>>, index: Digest) -> Activity {
        let Some(Judged { value, foreign }) = active else { return Activity::default() };
        Activity { is_active: value.index == index, foreign }
    }
}

/// The entry of an installed layout for the index that it was installed for.
fn entry_of(layout: &Layout, index: Digest) -> Result<&ModuleEntry, StoreError> {
    let named = layout.modules().iter().find(|entry| entry.digest == index);
    named.ok_or_else(|| StoreError::Malformed {
        file: layout.dir().join("index.json"),
        reason: format!("it does not name the index {index}"),
    })
}

fn warn_of(damaged: &[Damaged]) {
    for (_, error) in damaged {
        tracing::warn!("{}", one_line(error));
    }
}

impl Installed {
    /// The module, with all variants that its index names.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// How it was installed.
    pub fn record(&self) -> &Record {
        &self.record.value
    }

    /// By which weakness another user could have written the record of its installation.
    pub(crate) fn installed_by(&self) -> Option<&Weakness> {
        self.record.foreign.as_ref()
    }

    pub(crate) fn check_installed_by_us(&self) -> Result<(), StoreError> {
        match self.installed_by() {
            None => Ok(()),
            Some(weakness) => {
                let (index, weakness) = (self.module.digest, weakness.clone());
                Err(StoreError::InstalledNotTrusted { index, weakness })
            }
        }
    }

    /// When it was pulled last.
    pub(crate) fn pulled_at(&self) -> Timestamp {
        self.pulled_at
    }

    /// Whether this version is the active one: the one that the module's name alone means.
    pub fn is_active(&self) -> bool {
        self.active.is_active
    }

    /// The module with its installed variants, if it is trusted: on the basis on which it was installed, or on `on`, for
    /// which its signatures are evaluated again. The store's counters do not matter here: an installed version may run
    /// again after a newer one, unless a policy's `[minimum-counter]` excludes it.
    ///
    /// # Errors
    /// When it is not trusted, or when its installation is no trust basis because another user can write the store.
    pub fn trust(&self, on: Option<&Trust>) -> Result<TrustedModule, StoreError> {
        let as_installed = Trust::Digest(self.module.digest);
        if on.is_none() {
            self.check_trusted()?;
        }
        let trusted = trust(&self.layout, self.module.clone(), on.unwrap_or(&as_installed))?;
        let here = self.here().map_err(|error| StoreError::Layout(error).damages(self.module.digest))?;
        Ok(trusted.only(|variant| here.contains(&variant)))
    }

    /// Checks that no other user could have written the records that this module is installed and active.
    fn check_trusted(&self) -> Result<(), StoreError> {
        let Installed { store, record, active, .. } = self;
        match [&store.foreign, &active.foreign, &record.foreign].into_iter().flatten().next() {
            None => Ok(()),
            Some(weakness) => Err(StoreError::NotTrusted { dir: store.dir().to_owned(), weakness: weakness.clone() }),
        }
    }
}
