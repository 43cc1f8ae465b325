//! What an error has beside its message: what to do about it.

/// An error, or one of several reasons, with an instruction to the person who meets it.
///
/// A library's hint names no flags or commands: programs word those from the error's type.
pub trait Hinted {
    /// What to do about it, or none if nothing is known to help.
    fn hint(&self) -> Option<String>;
}
