//! The steps of a check, in their order.

/// What is looked at, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
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
    Calibration,
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
    Authorisation,
    /// There is a token.
    Token,
    /// The ticket types are known.
    TicketTypes,
    /// The plain list shows every ticket.
    Coverage,
    /// How long a page can be.
    PageCap,
    /// What a first pass takes.
    FirstPass,
    /// There is room for what comes, on a disk that locks can be kept on.
    Disk,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Step; 19] = [
        Step::Settings,
        Step::Secret,
        Step::Folder,
        Step::Lock,
        Step::Database,
        Step::Integrity,
        Step::Calibration,
        Step::Files,
        Step::RateLimit,
        Step::Server,
        Step::Certificate,
        Step::Clock,
        Step::Authorisation,
        Step::Token,
        Step::TicketTypes,
        Step::Coverage,
        Step::PageCap,
        Step::FirstPass,
        Step::Disk,
    ];

    /// Its name for people and programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Step::Settings => "settings",
            Step::Secret => "secret",
            Step::Folder => "folder",
            Step::Lock => "lock",
            Step::Database => "database",
            Step::Integrity => "integrity",
            Step::Calibration => "calibration",
            Step::Files => "files",
            Step::RateLimit => "rate limit",
            Step::Server => "server",
            Step::Certificate => "certificate",
            Step::Clock => "clock",
            Step::Authorisation => "authorisation",
            Step::Token => "token",
            Step::TicketTypes => "ticket types",
            Step::Coverage => "coverage",
            Step::PageCap => "page cap",
            Step::FirstPass => "first pass",
            Step::Disk => "disk",
        }
    }
}
