//! In: `HOST[::GUEST][:ro|:rw]`. Out: a [`Directory`]. Never here: a guess at what an ambiguous text means.

use super::GrantError;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor, value::MapAccessDeserializer};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What a guest may do with a directory and all below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Access {
    /// Read.
    #[serde(alias = "ro")]
    ReadOnly,
    /// Read, write, create and remove.
    #[default]
    #[serde(alias = "rw")]
    ReadWrite,
}

/// A directory of this machine that a guest may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Its path on this machine.
    pub host: PathBuf,
    /// Its name in the guest.
    pub guest: String,
    /// What the guest may do with it.
    pub access: Access,
}

impl FromStr for Directory {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Directory, GrantError> {
        const EXPECTED: &str = "expected HOST[::GUEST][:ro|:rw]";
        let (paths, access) = match (text.strip_suffix(":ro"), text.strip_suffix(":rw")) {
            (Some(paths), _) => (paths, Access::ReadOnly),
            (_, Some(paths)) => (paths, Access::ReadWrite),
            _ => (text, Access::default()),
        };
        let (host, guest) = match paths.split_once("::") {
            Some((host, guest)) => (host, guest),
            None => (paths, paths),
        };
        if host.is_empty() || guest.is_empty() {
            return Err(GrantError::new(EXPECTED));
        }
        // Nothing that could have been meant as another separator is taken for a part of a name.
        if let Some((left, right)) = guest.split_once(':') {
            let error = GrantError::new(format!("`{text}` can be read in several ways; {EXPECTED}"));
            let hint = match right {
                "readonly" | "RO" | "r" => format!("read-only is `{left}:ro`"),
                _ if host == guest && right.starts_with('/') => {
                    format!("two colons separate the paths: `{left}::{right}`")
                }
                _ => "a path with a colon in it is stated in a file, as `{ host = \"…\", guest = \"…\" }`".to_owned(),
            };
            return Err(error.hint(hint));
        }
        Ok(Directory { host: PathBuf::from(host), guest: guest.to_owned(), access })
    }
}

/// The text, or a table in which paths may hold colons.
impl<'de> Deserialize<'de> for Directory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Directory, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        struct Table {
            host: PathBuf,
            guest: Option<String>,
            #[serde(default)]
            access: Access,
        }

        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Directory;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("HOST[::GUEST][:ro|:rw], or a table with `host`, `guest` and `access`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Directory, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Directory, A::Error> {
                let Table { host, guest, access } = Table::deserialize(MapAccessDeserializer::new(map))?;
                let same = || host.to_str().map(str::to_owned);
                let guest = guest.or_else(same).ok_or_else(|| A::Error::custom("the path is not UTF-8"))?;
                if guest.is_empty() || host.as_os_str().is_empty() {
                    return Err(A::Error::custom("an empty path"));
                }
                Ok(Directory { host, guest, access })
            }
        }

        deserializer.deserialize_any(Either)
    }
}
