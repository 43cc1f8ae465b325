//! Sessions as files: each `tests/sessions/NAME.trycmd` holds command lines with what they print and how they end, run in
//! a copy of `NAME.in`. A case is a line there. `TRYCMD=overwrite cargo test -p isomer-tests --test e2e sessions` writes
//! what comes out today; read the difference before it is committed.

use isomer_tests::{binaries, scratch};

#[test]
fn sessions_print_what_their_files_say() {
    let cache = scratch();
    let cases = trycmd::TestCases::new();
    for name in ["isomer", "isomer-run"] {
        cases.register_bin(name, binaries().join(name));
    }
    cases.env("ISOMER_CACHE", cache.path().to_str().expect("temporary directories have names in UTF-8"));
    // None, wherever the machine has one.
    cases.env("ISOMER_STORE", "store");
    cases.env("NO_COLOR", "1");
    cases.case("sessions/*.trycmd");
    cases.run();
}
