//! A source that fails once. In: how. Out: a reader that goes on afterwards. Never here: a failure that stays.

use std::io::{self, ErrorKind, Read};

/// Reads as `ab`, fails once with `kind`, and reads as `c`: what takes an interruption for no end reads `abc`.
pub fn fails_once(kind: ErrorKind) -> impl Read {
    struct Failing(Option<ErrorKind>);

    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.0.take().map_or(Ok(0), |kind| Err(kind.into()))
        }
    }

    (&b"ab"[..]).chain(Failing(Some(kind))).chain(&b"c"[..])
}
