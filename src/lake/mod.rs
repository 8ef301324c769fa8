//! Objects in a store of the lake: created once and never changed.
//!
//! No database and no export files here: content comes in as bytes. The one object that is replaced is the status.

#[cfg(feature = "lake")]
mod answer;
mod error;
mod layout;
#[cfg(feature = "lake")]
mod object_store;

pub use error::LakeError;
pub use layout::{ChainPlace, LakeLayout, epoch_in, epoch_of, server_of};
#[cfg(feature = "lake")]
pub use object_store::{ClientOfRoute, LakeStore, PutOutcome, StoreConnection};
