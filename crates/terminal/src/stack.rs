//! The stack that a program's work has. In: the work. Out: what it returns. Never here: the stack of a guest, which has its
//! own.

use crate::Failure;
use rustix::process::{Resource, getrlimit};
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::thread;

/// The first thread's stack is used where its limit is not below this, in bytes.
const LIMIT_BYTES_MIN: u64 = 1 << 20;
/// What a thread gets instead: as much as the first one usually has, in bytes.
const STACK_SIZE_BYTES: usize = 8 << 20;

/// Does `work` on a stack that is large enough. A program whose first thread needs more than `ulimit -s` allows is ended
/// by the kernel, without a message; the limit does not hold for the stacks of other threads.
pub fn with_enough_stack(work: impl FnOnce() -> ExitCode + Send + 'static) -> ExitCode {
    let limit = match getrlimit(Resource::Stack).current {
        Some(limit) if limit < LIMIT_BYTES_MIN => limit,
        _ => return work(),
    };
    match thread::Builder::new().name("main".to_owned()).stack_size(STACK_SIZE_BYTES).spawn(work) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
        Err(error) => {
            let message = format!("stacks are limited to {limit} bytes, and no thread can be started that has more");
            let hint = "raise the limit on stacks to 1 MiB or more (`ulimit -s`), or the one on processes and threads \
                        (`pids.max`, `ulimit -u`)";
            Failure::because(message, &error).hint(hint.to_owned()).print();
            ExitCode::FAILURE
        }
    }
}
