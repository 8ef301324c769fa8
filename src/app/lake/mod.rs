//! Ships packages to a lake, and says how that goes.
//!
//! A push makes a package as every export does, on disk, and then puts what lies there: first what the package will hold (its
//! *intent*), then its data, then its manifest. Every put creates an object or finds the same one; another one under
//! that name means that another copy ships under the same name, which ends the push before any data is put. An *epoch* begins
//! with everything. Its number is claimed in the lake itself, and readers are told when its first package is whole.

#[cfg(feature = "lake")]
mod connection;
#[cfg(feature = "lake")]
mod documents;
#[cfg(feature = "lake")]
mod due;
#[cfg(feature = "lake")]
mod epoch;
#[cfg(feature = "lake")]
mod objects;
#[cfg(feature = "lake")]
mod ownership;
#[cfg(feature = "lake")]
mod probe;
#[cfg(feature = "lake")]
mod push;
mod status;
#[cfg(feature = "lake")]
mod verify;

#[cfg(feature = "lake")]
pub(crate) use connection::open_lake;
#[cfg(feature = "lake")]
pub(super) use due::{PushMoment, push_due};
#[cfg(feature = "lake")]
pub(crate) use probe::probe_lake;
#[cfg(feature = "lake")]
pub use push::{EpochStart, LakePush, claim, push};
pub use status::{LakeStatus, lake_status};
#[cfg(feature = "lake")]
pub use verify::verify_lake;
