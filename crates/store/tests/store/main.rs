//! The store through its library: what is installed, active, kept, counted and trusted. In: releases of real artifacts,
//! signed by a key of the test. The commands on top of it, killed and attacked, are in `tests/tests/e2e/store/`.

mod farm;
mod machine;

mod activate;
mod collect;
mod counters;
mod open;
mod ownership;
mod pull;
mod transfer;
mod unreadable;
mod warnings;
