//! Custom fields, read with the list where possible, so that they cost no extra requests.
//!
//! [`source`] decides where they are read from and is pure; `discover` finds out which there are and whether the list
//! returns them; [`fetch`] reads those that the list does not return, ticket by ticket.

pub(super) mod discover;
pub mod fetch;
pub mod source;

pub use discover::SAMPLES_MAX;
