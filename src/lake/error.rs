//! Why an object store cannot be used.

/// Why an object store cannot be used. Texts of the store have gone through the caller's filter for secrets.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case", prefix = "lake_")]
pub enum LakeError {
    /// The settings do not fit the store, or credentials cannot be used.
    #[error("cannot use the object store: {0}")]
    #[strum(serialize = "settings")]
    Settings(String),
    /// The store does not answer, or only with errors of its own.
    #[error("the object store does not answer: {0}")]
    Unavailable(String),
    /// The store refuses the credentials.
    #[error("the object store refuses access to {object}: {why}")]
    Refused {
        /// The object.
        object: String,
        /// The answer of the store.
        why: String,
    },
    /// There is no such bucket, container or object.
    #[error("the object store has no {object}: {why}")]
    NotFound {
        /// The object.
        object: String,
        /// The answer of the store.
        why: String,
    },
    /// The folder of a local lake does not exist.
    #[error("the folder of the lake does not exist: {0}")]
    NoFolder(String),
    /// The store takes a second object of the same name, which would overwrite the first.
    #[error("the object store accepts a second object of the name {object}")]
    AcceptsSecond {
        /// The object.
        object: String,
    },
    /// A file of a local lake, or a file to ship, cannot be read or written.
    #[error("cannot read or write {object}: {why}")]
    Io {
        /// The object or file.
        object: String,
        /// Why.
        why: String,
    },
    /// Shipping was stopped.
    #[error("shipping was stopped")]
    Stopped,
}
