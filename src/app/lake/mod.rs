//! Ships packages to a lake, and says how that goes.
//!
//! A push makes a package as every export does, on disk, and then puts what lies there: first what the package will hold (its
//! *intent*), then its data, then its manifest. Every put creates an object or finds the same one; another one under
//! that name means that another copy ships under the same name, which ends the push before any data is put. An *epoch* begins
//! with everything. Its number is claimed in the lake itself, and readers are told when its first package is whole.

mod connection;
mod documents;
mod epoch;
mod push;
mod status;
mod verify;

pub(crate) use connection::open_lake;
pub use push::{EpochStart, LakePush, claim, push};
pub use status::{LakeStatus, lake_status};
pub use verify::verify_lake;
