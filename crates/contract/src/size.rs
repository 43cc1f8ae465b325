//! In: `4GiB`, `32MiB`, `65536`. Out: bytes, and back.

use std::fmt;

/// A number of bytes, written with a binary unit or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

impl Size {
    /// A size of `n` MiB.
    pub const fn mib(n: u64) -> Size {
        Size(n << 20)
    }

    /// A size of `n` GiB.
    pub const fn gib(n: u64) -> Size {
        Size(n << 30)
    }

    /// More than any server can map: user space ends at 128 TiB on x86-64, and a memory shares it.
    pub const MAX: Size = Size(64 << 40);

    /// Reads `4GiB`, `64 KiB` or a plain number of bytes, up to [`Size::MAX`].
    ///
    /// # Errors
    /// What was found, in words that follow "found": ``found `4GB`, in the unknown unit `GB` ``.
    pub fn parse(text: &str) -> Result<Size, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 =
            number.replace('_', "").parse().map_err(|_| format!("`{text}`, which does not start with a number"))?;
        let unit = unit.trim();
        if unit.is_empty() {
            return Size(number).within_limit(text);
        }
        let Some((_, shift)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("`{text}`, in the unknown unit `{unit}`"));
        };
        Size(number.saturating_mul(1 << shift)).within_limit(text)
    }

    fn within_limit(self, text: &str) -> Result<Size, String> {
        if self <= Size::MAX { Ok(self) } else { Err(format!("`{text}`, more than a server can map")) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, shift)| self.0 != 0 && self.0.is_multiple_of(1 << shift));
        match exact {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => f.write_str("0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn reads_what_it_writes() {
        for (text, bytes) in [("0", 0), ("4GiB", 1 << 32), ("32MiB", 32 << 20), ("65537B", 65537), ("1TiB", 1 << 40)] {
            assert_eq!(Size::parse(text), Ok(Size(bytes)));
            assert_eq!(Size(bytes).to_string(), text);
        }
        assert_eq!(Size::parse("1_024"), Ok(Size(1024)));
    }

    #[test]
    fn refuses_what_could_be_misread() {
        for text in ["4GB", "4g", "-1", "", "GiB", "99999999999TiB", "65TiB", "70368744177665", "1.5GiB"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
    }
}
