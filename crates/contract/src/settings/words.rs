//! The settings whose values are words. In: a word in a profile or in an artifact's requirements, or wasmtime's own value.
//! Out: the word's meaning, and back.

use super::value::{EngineSetting, SettingType, Value};
use toml::de::DeValue;

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_meta])* $variant),+ }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const WORDS: &'static [(&'static str, $name)] = &[$(($word, $name::$variant)),+];

            /// The word that profiles use.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// The reverse of `word`.
            fn by_word(text: &str) -> Option<$name> {
                Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, variant)| *variant)
            }
        }

        impl SettingType for $name {
            fn expected() -> String {
                let words: Vec<_> = Self::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                words.join(" or ")
            }
            fn parse(value: &DeValue<'_>) -> Result<Self, String> {
                let DeValue::String(text) = value else { return Err(format!("a {}", value.type_str())) };
                Self::by_word(text).ok_or_else(|| format!("\"{text}\""))
            }
            fn value(self) -> Value {
                Value::Text(self.word().to_owned())
            }
            fn show(self) -> String {
                format!("\"{}\"", self.word())
            }
        }
    };
}

words! {
    /// How hard Cranelift optimises.
    OptLevel {
        /// No optimisation.
        None = "none",
        /// For speed.
        Speed = "speed",
        /// For speed, and smaller code where it costs none.
        SpeedAndSize = "speed-and-size",
    }
}
words! {
    /// How registers are assigned.
    RegallocAlgorithm {
        /// Slower to compile, faster code.
        Backtracking = "backtracking",
        /// Fast to compile, slower code.
        SinglePass = "single-pass",
    }
}
words! {
    /// Which calls between Wasm functions may be inlined.
    Inlining {
        /// None.
        No = "no",
        /// wasmtime's intrinsics only.
        Intrinsics = "intrinsics",
        /// Calls between the modules of a component.
        InterModule = "inter-module",
        /// Those, and calls inside modules that use GC.
        InterModuleAndIntraGc = "inter-module-and-intra-gc",
        /// All calls.
        Yes = "yes",
    }
}
words! {
    /// The code generator.
    Strategy {
        /// The optimising one.
        Cranelift = "cranelift",
    }
}
words! {
    /// The garbage collector that GC objects are laid out for. An artifact without GC types has none.
    Collector {
        /// Semi-space copying: what wasmtime 48 chooses when it is built with the feature `gc-copying`.
        Copying = "copying",
        /// Deferred reference counting.
        Drc = "drc",
        /// Never collects.
        Null = "null",
    }
}

/// `a, b or c`.
fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.collect();
    let (last, others) = words.split_last().expect("a setting has words");
    format!("{} or {last}", others.join(", "))
}

impl EngineSetting for Collector {
    type Engine = wasmtime::Collector;
    const ABSENT: Option<&'static str> = Some("none");

    fn possible() -> String {
        one_of(Self::WORDS.iter().map(|(word, _)| *word).chain(Self::ABSENT))
    }
    fn of_value(value: &Value) -> Option<Collector> {
        if let Value::Text(word) = value { Collector::by_word(word) } else { None }
    }
    fn engine(self) -> wasmtime::Collector {
        match self {
            Collector::Copying => wasmtime::Collector::Copying,
            Collector::Drc => wasmtime::Collector::DeferredReferenceCounting,
            Collector::Null => wasmtime::Collector::Null,
        }
    }
}

impl Collector {
    /// What requirements say of an artifact that was compiled for `collector`, or without one.
    pub(crate) fn value_of(collector: Option<wasmtime_environ::Collector>) -> Value {
        match collector {
            Some(wasmtime_environ::Collector::Copying) => Collector::Copying.value(),
            Some(wasmtime_environ::Collector::DeferredReferenceCounting) => Collector::Drc.value(),
            Some(wasmtime_environ::Collector::Null) => Collector::Null.value(),
            None => Collector::absent(),
        }
    }

    /// The same of an engine that has `collector`, or no proposal that requires one. `unknown` for a collector of a later
    /// wasmtime.
    pub fn value_of_engine(collector: Option<wasmtime::Collector>) -> Value {
        match collector {
            // `Auto` means the first of these that is compiled in, and this workspace compiles it in.
            Some(wasmtime::Collector::Auto | wasmtime::Collector::Copying) => Collector::Copying.value(),
            Some(wasmtime::Collector::DeferredReferenceCounting) => Collector::Drc.value(),
            Some(wasmtime::Collector::Null) => Collector::Null.value(),
            Some(_) => Value::Text("unknown".to_owned()),
            None => Collector::absent(),
        }
    }

    /// What requirements say of an artifact without garbage-collected objects.
    pub fn absent() -> Value {
        Value::Text(Self::ABSENT.expect("it is above").to_owned())
    }
}

impl EngineSetting for Inlining {
    type Engine = wasmtime::Inlining;

    fn possible() -> String {
        one_of(Self::WORDS.iter().map(|(word, _)| *word))
    }
    fn of_value(value: &Value) -> Option<Inlining> {
        if let Value::Text(word) = value { Inlining::by_word(word) } else { None }
    }
    fn engine(self) -> wasmtime::Inlining {
        match self {
            Inlining::No => wasmtime::Inlining::No,
            Inlining::Intrinsics => wasmtime::Inlining::Intrinsics,
            Inlining::InterModule => wasmtime::Inlining::InterModule,
            Inlining::InterModuleAndIntraGc => wasmtime::Inlining::InterModuleAndIntraGc,
            Inlining::Yes => wasmtime::Inlining::Yes,
        }
    }
}

impl Inlining {
    /// What requirements say of an artifact that was compiled with `inlining`, or of an engine that has it.
    pub fn value_of(inlining: wasmtime::Inlining) -> Value {
        let inlining = match inlining {
            wasmtime::Inlining::No => Inlining::No,
            wasmtime::Inlining::Intrinsics => Inlining::Intrinsics,
            wasmtime::Inlining::InterModule => Inlining::InterModule,
            wasmtime::Inlining::InterModuleAndIntraGc => Inlining::InterModuleAndIntraGc,
            wasmtime::Inlining::Yes => Inlining::Yes,
        };
        inlining.value()
    }
}
