//! The steps of a check, in their order.

/// What is looked at, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckStep {
    /// The settings can be used.
    Settings,
    /// The client secret is there, and nobody else can read it.
    Secret,
    /// The folder of the database can be used.
    Folder,
    /// Nobody else is at work.
    Lock,
    /// The database is one, and of this server.
    Database,
    /// The database is sound.
    Integrity,
    /// What passes found out about the server.
    Probes,
    /// Its files belong to one user, and nobody else can write there.
    Files,
    /// Requests are left in the present window.
    RateLimit,
    /// The server answers.
    Server,
    /// Whose certificate the server has, and for how long.
    Certificate,
    /// Its clock.
    Clock,
    /// Where tokens come from.
    Authorization,
    /// There is a token.
    Token,
    /// The ticket types are known.
    TicketTypes,
    /// The plain list shows every ticket.
    Coverage,
    /// How long a page can be.
    PageCap,
    /// What a first pass takes.
    InitialLoad,
    /// There is room for what comes, on a disk that locks can be kept on.
    Disk,
}

impl CheckStep {
    /// All of them, in their order.
    pub const ALL: [CheckStep; 19] = [
        CheckStep::Settings,
        CheckStep::Secret,
        CheckStep::Folder,
        CheckStep::Lock,
        CheckStep::Database,
        CheckStep::Integrity,
        CheckStep::Probes,
        CheckStep::Files,
        CheckStep::RateLimit,
        CheckStep::Server,
        CheckStep::Certificate,
        CheckStep::Clock,
        CheckStep::Authorization,
        CheckStep::Token,
        CheckStep::TicketTypes,
        CheckStep::Coverage,
        CheckStep::PageCap,
        CheckStep::InitialLoad,
        CheckStep::Disk,
    ];

    /// Its name for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            CheckStep::Settings => "settings",
            CheckStep::Secret => "secret",
            CheckStep::Folder => "folder",
            CheckStep::Lock => "lock",
            CheckStep::Database => "database",
            CheckStep::Integrity => "integrity",
            CheckStep::Probes => "calibration",
            CheckStep::Files => "files",
            CheckStep::RateLimit => "rate limit",
            CheckStep::Server => "server",
            CheckStep::Certificate => "certificate",
            CheckStep::Clock => "clock",
            CheckStep::Authorization => "authorisation",
            CheckStep::Token => "token",
            CheckStep::TicketTypes => "ticket types",
            CheckStep::Coverage => "coverage",
            CheckStep::PageCap => "page cap",
            CheckStep::InitialLoad => "first pass",
            CheckStep::Disk => "disk",
        }
    }
}
