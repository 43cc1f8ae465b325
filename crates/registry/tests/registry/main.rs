//! The client against a real registry, directly and through a proxy that fails in every way there is. Each refusal is
//! kept as a person sees it (`INSTA_UPDATE=always` writes them anew).

mod login;
mod pull;
mod push;
mod stage;

// One copy of each serves these tests and the end-to-end ones.
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/src/proxy.rs"]
mod proxy;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/src/registry.rs"]
mod registry;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/src/skip.rs"]
mod skip;
