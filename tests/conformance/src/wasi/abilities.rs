//! In: `isomer-run`'s help. Out: which programs it has the options for. What it lacks is reported, not failed.

use super::Case;
use isomer_tests::isomer_run;

/// What programs may need of `isomer-run`.
pub(super) struct Abilities {
    serve: bool,
    sockets: bool,
    http: bool,
}

impl Abilities {
    pub(super) fn of_isomer_run() -> Abilities {
        let help = isomer_run().line("run --help").ok().stdout();
        Abilities {
            serve: isomer_run().line("serve --help").run().code() == 0,
            sockets: help.contains("--allow-net"),
            http: help.contains("--allow-http"),
        }
    }

    /// Whether they are all that the case needs.
    pub(super) fn suffice(&self, case: &Case) -> bool {
        match case.serves {
            true => self.serve,
            false => (self.sockets || !case.sockets) && (self.http || !case.http),
        }
    }
}
