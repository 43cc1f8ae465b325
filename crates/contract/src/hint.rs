//! What an error says beside what is wrong: what would mend it.

/// An error, or one of several reasons, that may know what would mend it.
pub trait Hinted {
    /// What would mend it, in words for the person who met it; none where nothing is known to help.
    fn hint(&self) -> Option<String>;
}
