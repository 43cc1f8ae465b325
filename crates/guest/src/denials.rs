//! What guests tried and may not do, in the log. In: what was denied, and why. Out: a warning for some of it each second, and how
//! much else there was. Never here: a line as long as a guest likes, or one whose reason is cut off.

use crate::warnings::Warnings;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Room for the longest name that DNS has; a guest may choose longer ones.
const NAME_SIZE_BYTES_MAX: usize = 255;

/// What is denied to the guests of one route. Clones are the same.
#[derive(Clone)]
pub(crate) struct Denials(Arc<Warnings>);

impl Default for Denials {
    fn default() -> Denials {
        Denials::of_route(None)
    }
}

impl fmt::Debug for Denials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denials").finish_non_exhaustive()
    }
}

impl Denials {
    pub(crate) fn of_route(route: Option<&str>) -> Denials {
        Denials(Arc::new(Warnings::new(route.map(Arc::from), "denials")))
    }

    /// Logs that an action was denied, and why.
    pub(crate) fn report(&self, action: &str, reason: &str) {
        self.0.warn(format_args!("{action} was denied: {reason}"));
    }

    /// Logs that an action was denied that concerns what the guest names, and why.
    pub(crate) fn report_name(&self, action: &str, name: &str, reason: &str) {
        self.0.warn(format_args!("{action} `{}` was denied: {reason}", shortened(name)));
    }

    /// These warnings.
    pub(crate) fn warnings(&self) -> &Arc<Warnings> {
        &self.0
    }
}

/// As much of a guest's text as is logged.
fn shortened(name: &str) -> Cow<'_, str> {
    match name.get(..name.floor_char_boundary(NAME_SIZE_BYTES_MAX)) {
        Some(begin) if begin.len() < name.len() => Cow::Owned(format!("{begin}…")),
        _ => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(shortened("a.example"), "a.example");
        let longest = "x".repeat(NAME_SIZE_BYTES_MAX);
        assert_eq!(shortened(&longest), longest);
        let long = format!("{}üx", "x".repeat(NAME_SIZE_BYTES_MAX - 1));
        assert_eq!(shortened(&long), format!("{}…", "x".repeat(NAME_SIZE_BYTES_MAX - 1)));
    }
}
