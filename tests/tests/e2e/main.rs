//! Every end-to-end test, in one program: its tests share the example release and run beside each other, whichever file
//! they are in. A test's name begins with its file's: `cargo test -p isomer-tests --test e2e store::links`.

// What tests of several files need.
mod destinations;

// Modules and artifacts.
mod compile;
mod embed;
mod embedders;
mod guests;
mod imports;
mod incremental;
mod levels;
mod linkage;
mod profiling;
mod run;
mod upstream;

// Releases.
mod cache;
mod earlier_work;
mod farm;
mod merge;
mod release;
mod remote;
mod remote_poison;
mod remote_tls;
mod signing;
mod verifying;

// From farm to fleet.
mod fleet;
mod forms;
mod matrix;
mod pull;
mod registry;
mod select;
mod store;
mod tampering;
mod trust;

// Components that answer HTTP requests.
mod serve;

// Servers that are not like others.
mod first_process;
mod hardened;
mod limits;
mod no_proc;
mod serve_faults;

// What a person names, and what a person reads.
mod documents;
mod errors;
mod help;
mod operands;
mod outputs;
mod readme;
mod sessions;
mod terminal;
mod user_files;
