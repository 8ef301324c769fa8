//! The steps of a check, in order.

use strum::VariantArray;

/// A step of a check; steps run in the order of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum CheckStep {
    /// The settings are valid.
    Settings,
    /// The client secret exists, and nobody else can read it.
    Secret,
    /// The folder of the database exists and is writable.
    Folder,
    /// No other process holds the writer's lock.
    Lock,
    /// The file is a halosync database of the configured server.
    Database,
    /// The database is not damaged.
    Integrity,
    /// No other program changed the schema of the database.
    Schema,
    /// No other program changed the stored tickets.
    #[strum(serialize = "local edits")]
    LocalEdits,
    /// What runs have measured about the server.
    #[strum(serialize = "server probes")]
    Probes,
    /// Which lists of names the server shows.
    Names,
    /// Which fields the server sends that are not stored.
    #[strum(serialize = "new fields")]
    NewFields,
    /// How late the server shows changes.
    Lateness,
    /// What is held back, and whether that is so in the database.
    Privacy,
    /// The database files belong to one user, and nobody else can write them.
    Files,
    /// Enough requests are left in the current window of the rate limit.
    #[strum(serialize = "rate limit")]
    RateLimit,
    /// The server responds.
    Server,
    /// The server's certificate: its names, issuer and expiry.
    Certificate,
    /// The server's clock.
    Clock,
    /// Where tokens are issued.
    Authorization,
    /// The server issues a token.
    Token,
    /// The configured ticket types exist.
    #[strum(serialize = "ticket types")]
    TicketTypes,
    /// The plain list shows every ticket.
    Coverage,
    /// How many rows a page can have.
    #[strum(serialize = "page cap")]
    PageCap,
    /// How many requests and how much time the initial load takes.
    #[strum(serialize = "initial load")]
    InitialLoad,
    /// The disk has enough space and supports SQLite's locks.
    Disk,
    /// The object store of the lake can be used, and takes each name once.
    Lake,
}

impl CheckStep {
    /// All steps, in order.
    pub const ALL: &'static [CheckStep] = CheckStep::VARIANTS;

    /// Returns its name for people and programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
