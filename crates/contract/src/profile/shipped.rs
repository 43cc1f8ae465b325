//! The shipped profiles: the files of `targets/`, compiled in.

use super::{ProfileText, parse};

macro_rules! shipped {
    ($($name:literal),+ $(,)?) => {
        /// Name and text of each shipped profile, weakest first within an architecture.
        pub const SHIPPED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../targets/", $name, ".toml")))),+];
    };
}

shipped![
    "x86-64-v1",
    "x86-64-v2",
    "x86-64-v3",
    "x86-64-v4",
    "icelake-server",
    "sapphire-rapids",
    "znver4",
    "aarch64",
    "neoverse-n1",
    "neoverse-v1",
    "neoverse-v2",
    "apple-m1",
    "riscv64gc",
    "rva22u64",
    "rva23u64",
    "z14",
    "z15",
    "z17",
    "pulley64",
    "pulley64be",
];

/// The names of the shipped profiles, in the order of [`SHIPPED`].
pub fn shipped_names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

fn shipped_path(name: &str) -> String {
    format!("targets/{name}.toml (shipped)")
}

/// Whether the text came from [`find_shipped`].
pub(super) fn is_shipped(text: &ProfileText) -> bool {
    text.path == shipped_path(&text.name)
}

/// The text of the shipped profile with that name or alias.
pub fn find_shipped(name: &str) -> Option<ProfileText> {
    let text = |(name, text): &(&str, &str)| ProfileText {
        name: (*name).to_owned(),
        path: shipped_path(name),
        text: (*text).to_owned(),
    };
    if let Some(entry) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
        return Some(text(entry));
    }
    SHIPPED.iter().map(text).find(|text| {
        let parsed = parse::parse(text);
        parsed.is_ok_and(|parsed| parsed.aliases.iter().any(|alias| alias == name))
    })
}
