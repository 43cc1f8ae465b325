//! A module for every WebAssembly operator. In: wasmparser's table of operators. Out: modules in the text format, and the
//! names of the operators that none of them uses. Never here: a compiler.

pub mod simple;
pub mod special;

/// A module that uses one operator, or a few that belong together.
#[derive(Clone, Debug)]
pub struct Case {
    /// The operator's name, or what the module is for.
    pub name: String,
    /// The module.
    pub text: String,
}
