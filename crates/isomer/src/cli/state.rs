//! The user's state directory: the key that seals earlier work, and the records of what was released. In: ISOMER_STATE, or
//! the user's state directory by the XDG specification. Out: both, or a warning that earlier work is not taken over. Never
//! here: a directory that another user can write to.

use crate::warning::warn;
use etcetera::BaseStrategy as _;
use isomer_compile::records::Records;
use isomer_contract::{Hinted as _, one_line};
use isomer_terminal::Failure;
use std::path::PathBuf;

/// The variable that names another directory.
const VARIABLE: &str = "ISOMER_STATE";

fn path() -> Result<PathBuf, Failure> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let hint = || format!("name a directory of this user with {VARIABLE}");
    let base = etcetera::choose_base_strategy()
        .map_err(|error| Failure::because("no state directory is known", &error).hint(hint()))?;
    let state = base.state_dir().ok_or_else(|| Failure::new("no state directory is known").hint(hint()))?;
    Ok(state.join("isomer"))
}

/// The records, with the key that seals them; or a warning with the reason, after which no earlier work is reused and none
/// is kept.
pub(super) fn open_or_warn() -> Option<Records> {
    const CONSEQUENCE: &str = "everything is compiled, and nothing is kept for later";
    let path = path().map_err(|failure| warn(&failure, CONSEQUENCE)).ok()?;
    let warn_of = |error: isomer_compile::seal::SealError| {
        let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        warn(&one_line(&error), &format!("{CONSEQUENCE}{hint}"));
    };
    Records::open(&path).map_err(warn_of).ok()
}
