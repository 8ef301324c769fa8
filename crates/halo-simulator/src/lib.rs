//! A simulated HaloITSM server for tests and demonstrations.
//!
//! It behaves as the real server is known to behave, has a setting wherever that is not known, and fails on request.
//! `halosync demo` runs against it, `halosync simulate` serves it, and the tests use it. It is an independent
//! implementation of the notes on the API (cited as `halo-api.md §…`) and shares no code with halosync: a client tested
//! against its own idea of the server would only prove that it agrees with itself.
//!
//! [`Server`] takes a request and the current time and returns an [`ApiResponse`]. It reads no clock, opens no socket
//! and draws random numbers from a seed. [`Simulator`] serves it over HTTP on a loopback address.
//!
//! A list request passes through these modules: `request_handler` finds the endpoint, applies matching faults and
//! checks the token; `list` takes a page of a `selection`; `row` writes each ticket, mostly from prepared text;
//! `row_defect` spoils it on request; `message` holds the response and how it is delivered; `serve` and `faulty_stream`
//! deliver it, and `generated` makes what would not fit into memory on the way.
//!
//! - Server behavior that is not established is a [`Knob`]; all knobs are in one table.
//! - A failure is a [`ServerFault`]; all effects are in one table. A row that is served wrongly has a [`RowDefect`].
//! - A recorded body is served as it is by a [`ReplayedResponse`].
//! - What users do on the server (edit, delete, merge, …) is a method of [`Server`].
//!
//! ```
//! use chrono::Utc;
//! use halo_simulator::{ApiRequest, Server, SimulatorSettings};
//!
//! let mut server = Server::new(SimulatorSettings { tickets: 10, ..SimulatorSettings::default() }, Utc::now());
//! let response = server.respond(&ApiRequest::get("/api/tickets", "a token that was never issued"), Utc::now());
//! assert_eq!(response.status, 401);
//! ```
//!
//! Not included on purpose: writing through the API, endpoints that halosync does not request, and TLS.
//! `docs/simulator.md` shows how to run it by hand.

mod auth;
mod bomb;
mod cache;
mod columns;
mod control;
mod custom_fields;
mod database;
mod derived_fields;
mod detail;
mod directory;
mod echo;
mod effect;
mod endpoint;
mod error_response;
mod faults;
mod faulty_stream;
mod field_changes;
mod field_definitions;
mod fixtures;
mod generated;
mod json;
mod knob_values;
mod knobs;
mod list;
mod log;
mod message;
mod mutations;
mod phrases;
mod query;
mod rate_limit;
mod reference;
mod reference_key;
mod reference_list;
mod reference_object;
mod replay;
mod request_handler;
mod rng;
mod row;
mod row_defect;
mod row_range;
mod secret_encoding;
mod seed;
mod selection;
mod serve;
mod server;
mod settings;
mod ticket;
mod timestamp;
mod uncommitted;

pub use bomb::{Bomb, BombItems};
pub use effect::{Effect, WrongCount, WrongTickets};
pub use endpoint::ApiEndpoint;
pub use faults::{FaultSpecError, ServerFault, Trigger};
pub use knob_values::{
    AgentList, Application, CategoryPath, ClockZero, DateFilterMode, DatePrecision, DefaultOrder, DeletedGet,
    DeletedInList, DisabledInList, ErrorBody, ExpiresIn, HiddenGet, ListEnvelope, ListedFields, PagePastEnd,
    ParameterSupport, PlainList, PriorityNames, ReferenceIds, ReferencePageCap, RetryAfter, RowExtras,
    RowShape, Switch, TenantPolicy, UnfilledFields, UnsetExtras,
};
pub use knobs::{Knob, KnobError, Knobs};
pub use log::{RequestLog, RequestLogEntry};
pub use message::{ApiRequest, ApiResponse, Delivery};
pub use reference_key::ReferenceKey;
pub use replay::ReplayedResponse;
pub use row_defect::{Places, RowDefect, RowDefectError, TextDefect, ValueForm};
pub use secret_encoding::SecretEncoding;
pub use serve::Simulator;
pub use server::Server;
pub use settings::SimulatorSettings;
pub use ticket::Edit;
pub use timestamp::SqlDateTime;
