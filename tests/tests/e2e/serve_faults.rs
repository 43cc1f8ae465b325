//! `isomer-run serve` among guests, clients and systems that fail: it stays up, it says which request failed and why, and
//! its other clients are served meanwhile.

mod clients;
mod clock;
mod crowds;
mod files;
mod guests;
mod hoarding;
mod http2;
mod operations;
mod programs;
mod smuggling;
mod storage;
mod switches;
