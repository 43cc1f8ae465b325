//! What `isomer` and `isomer-run` show: results on standard output, in columns or as JSON; warnings, progress and what
//! failed on standard error; the options that both have ([`Connection`]), and the stack that both need
//! ([`with_enough_stack`]). In: text, some of it from files that others
//! wrote. Out: text that a terminal shows and never obeys. Never here: a decision, an option's name in a message.
//!
//! ```
//! use isomer_terminal::{Failure, Text, print};
//!
//! let mut text = Text::new();
//! text.push_head("sections").push("\n");
//! text.push_rows([vec!["  .text".to_owned(), "3.1 MiB".to_owned()]]);
//! print(text)?;
//! # Ok::<(), Failure>(())
//! ```
//!
//! Names and descriptions come from modules, profiles and releases that any user may have made. Everything that is
//! printed goes through [`escaped`] on its way: a table's cell ([`aligned`]), a text's line ([`Text`]), a message
//! ([`Failure`], [`warn`]) and a bar's label ([`JobProgress`]). JSON stays JSON ([`print_json`]).
//!
//! Colour is absent where no person looks: `anstream` reads NO_COLOR and CLICOLOR and asks whether the stream is a
//! terminal.
//!
//! # Phrase book
//! One situation has one wording, in both programs and in all libraries. A message names the file first, in backticks,
//! then what was expected and what was found. It begins in lower case and has no full stop. A hint is an instruction.
//!
//! | situation | words |
//! |---|---|
//! | the system refuses | cannot read \`PATH\`: REASON of the system |
//! | a value of the wrong kind | expected a duration such as \`90s\`, found \`5\` |
//! | a file of the wrong kind | \`PATH\` is a directory; expected a regular file |
//! | a file that is too large | \`PATH\` has N bytes; expected at most M |
//! | missing | \`PATH\` does not exist |
//! | an unknown name | unknown target \`x86-64-v9\`; hint: did you mean \`x86-64-v3\`? |
//! | a name that is not allowed | invalid module name \`My App\`: expected … |
//! | damaged | \`PATH\` is damaged: expected digest D, found E |
//! | made by another version | \`PATH\` requires wasmtime 47; this program contains wasmtime 48 |
//! | not permitted | \`PATH\` belongs to the user 1000; expected a file of this user |
//! | an instruction | hint: compile it again with \`--target pulley64\` |
//!
//! It is always *cannot*, never *can't* or *unable to*; *another user*, never *somebody*; *requires*, never *wants* or
//! *asks for*; *does not exist*, never *is not there*; *trusted*, never *believed*.

mod arguments;
mod connection;

mod escape;

mod failure;
mod output;
mod progress;
mod remark;
mod stack;
mod system_hint;
mod table;

pub use arguments::name_invalid_utf8;
pub use connection::Connection;
pub use escape::{escaped, escaped_json};
pub use failure::{Failure, Failures};
pub use output::{Text, print, print_json};
pub use progress::{JobProgress, TransferProgress};
pub use remark::{note, warn};
pub use stack::with_enough_stack;
pub use table::{aligned, bytes};
