//! The store from outside: what captures, restores, operators and accidents do to it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod collect;
mod common;
mod crash;
mod damage;
mod model;
mod upload;
mod use_it;
