//! What the tests' loader is told and what it answers, in JSON. Here, because the tests that speak to the loader must not
//! link wasmtime. Never here: the loader.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What to do, one after the other: modules in one store, each component in a store of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// The steps.
    pub steps: Vec<Step>,
    /// The artifact of the module that components import from `host` as `simple-module`.
    #[serde(default)]
    pub simple_module: Option<PathBuf>,
}

/// One step. Instances are known by name; without one, the latest is meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Load the artifact and instantiate it. Every artifact of a script has the requirements of the first.
    Instantiate {
        /// The file.
        artifact: PathBuf,
        /// What to call the instance, also for those that import from it.
        name: Option<String>,
    },
    /// Give an instance another name to import from.
    Register {
        /// The instance.
        instance: Option<String>,
        /// The name.
        name: String,
    },
    /// Call an exported function.
    Invoke {
        /// The instance.
        instance: Option<String>,
        /// The export.
        function: String,
        /// What to call it with.
        arguments: Vec<Value>,
    },
    /// Read an exported global.
    Get {
        /// The instance.
        instance: Option<String>,
        /// The export.
        global: String,
    },
    /// Hash what the instance exports of memories and globals.
    State {
        /// The instance.
        instance: Option<String>,
    },
    /// Start a thread with a store of its own.
    Thread {
        /// What to call it.
        name: String,
        /// The registered instance whose shared memories it may import.
        shared: Option<String>,
        /// What it does.
        steps: Vec<Step>,
    },
    /// Wait for the thread with that name.
    Wait {
        /// The thread.
        thread: String,
    },
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Values.
    Values(Vec<Value>),
    /// It trapped: wasmtime's words for the trap.
    Trap(String),
    /// An exception that nothing caught.
    Exception,
    /// Anything else that went wrong: an import that is missing, a limit.
    Error(String),
    /// The digest of memories and globals.
    State(String),
    /// Of a thread, the outcome of each of its steps.
    Thread(Vec<Outcome>),
}

/// A WebAssembly value: every bit of a number, and of a reference what tests can see. Floats are their bits; a vector is
/// its 128 bits, lane 0 lowest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// `i32`
    I32(i32),
    /// `i64`
    I64(i64),
    /// `f32`
    F32(u32),
    /// `f64`
    F64(u64),
    /// `v128`, in hexadecimal
    V128(String),
    /// A null reference of some hierarchy: `func`, `extern`, `any`, `exn`
    Null(String),
    /// An external reference to a number that the test gave
    Extern(u32),
    /// A reference to a host's value in the hierarchy of `any`
    Host(u32),
    /// Some other reference, by its kind: `func`, `i31`, `struct`, `array`, `exn`, …
    Reference(String),
    /// A component's value
    Component(ComponentValue),
}

/// A value of the component model. Floats are their bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentValue {
    /// `bool`
    Bool(bool),
    /// `s8`
    S8(i8),
    /// `u8`
    U8(u8),
    /// `s16`
    S16(i16),
    /// `u16`
    U16(u16),
    /// `s32`
    S32(i32),
    /// `u32`
    U32(u32),
    /// `s64`
    S64(i64),
    /// `u64`
    U64(u64),
    /// `f32`
    F32(u32),
    /// `f64`
    F64(u64),
    /// `char`
    Char(char),
    /// `string`
    String(String),
    /// `list<T>`
    List(Vec<ComponentValue>),
    /// A record's fields
    Record(Vec<(String, ComponentValue)>),
    /// `tuple<…>`
    Tuple(Vec<ComponentValue>),
    /// A variant's case and its payload
    Variant(String, Option<Box<ComponentValue>>),
    /// An enumeration's case
    Enum(String),
    /// `option<T>`
    Option(Option<Box<ComponentValue>>),
    /// `result<T, E>`
    Result(Result<Option<Box<ComponentValue>>, Option<Box<ComponentValue>>>),
    /// The flags that are set
    Flags(Vec<String>),
    /// A value that scripts cannot write, by its kind: `resource`, `stream`, …
    Other(String),
}
