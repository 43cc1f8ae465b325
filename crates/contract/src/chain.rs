//! The causes of an error. In: an error. Out: it and every error below it, the outermost first. Never here: what they mean.

use std::error::Error;
use std::io;

/// `error`, what caused it, what caused that, and so on, as [`Error::source`] gives them; and the error that an
/// [`io::Error`] wraps, which is not among its sources.
///
/// ```
/// use isomer_contract::chain;
/// use std::io::{self, ErrorKind};
///
/// let denied = io::Error::from(ErrorKind::PermissionDenied);
/// let wrapped = io::Error::other(denied);
/// let kinds = chain(&wrapped).filter_map(|error| error.downcast_ref()).map(io::Error::kind);
/// assert_eq!(kinds.collect::<Vec<_>>(), [ErrorKind::Other, ErrorKind::PermissionDenied]);
/// ```
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // Its `source` is the wrapped error's: that one alone would be left out.
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Step(&'static str, #[source] Option<Box<dyn Error + Send + Sync>>);

    fn shown(error: &(dyn Error + 'static)) -> Vec<String> {
        chain(error).map(ToString::to_string).collect()
    }

    #[test]
    fn each_error_comes_once_and_wrapped_ones_too() {
        let innermost = Step("c", None);
        assert_eq!(shown(&innermost), ["c"]);
        let wrapped = io::Error::other(Step("b", Some(innermost.into())));
        let outermost = Step("a", Some(wrapped.into()));
        // An `io::Error` shows what it wraps.
        assert_eq!(shown(&outermost), ["a", "b", "b", "c"]);
        assert_eq!(chain(&outermost).filter(|error| error.is::<Step>()).count(), 3);
        let number = io::Error::from_raw_os_error(2);
        assert_eq!(shown(&number).len(), 1);
    }
}
