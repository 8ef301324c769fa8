//! Tickets that are stored here and that a full scan did not show. Not being listed does not mean being deleted.
//!
//! [`decide`] is pure; `confirm_deletion` asks the server about each of them.

pub(super) mod confirm_deletion;
pub mod decide;
