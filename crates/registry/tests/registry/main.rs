//! The client against a real registry, directly and through a proxy that fails in every way there is. Each refusal is
//! kept as a person sees it (`INSTA_UPDATE=always` writes them anew).

mod login;
mod pull;
mod push;
mod stage;
