//! Accidents that other sync tools had, and what whole passes of this one make of them: in virtual time, against the
//! simulated server without a socket.

#![allow(clippy::unwrap_used)]

#[path = "../support"]
mod support {
    pub(crate) mod mapping;
    #[allow(dead_code, reason = "each test uses a part")]
    pub(crate) mod simulated;
}

mod boundaries;
mod budgets;
mod clocks;
mod counterexamples;
mod desk;
mod paging;
mod poison;
mod state;
