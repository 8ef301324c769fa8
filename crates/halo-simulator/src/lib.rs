//! A simulated Halo server: faithful where the real one is known, adjustable where it is not, and able to fail.
//!
//! `halosync demo` runs against it, `halosync simulate` serves it, and the tests drive it. It is an independent reading
//! of what is known about the API (cited as `halo-api.md §…`) and uses nothing else of this crate: an agent that were
//! tested against its own idea of the server would only prove that it agrees with itself.
//!
//! [`Server`] is the whole of it: a request and a moment go in, an [`Answer`] comes out. It reads no clock, opens no
//! socket and draws its chance from a seed. [`Simulator`] puts a socket in front of it, on a loopback address.
//!
//! The way of a list request: [`server`](Server) finds the endpoint, the faults that strike and the pass of the
//! token → `list` cuts a page out of a `selection` → `row` writes each ticket, copying from prepared text → `message`
//! says how the answer travels → `serve` and `wire` let it travel.
//!
//! - What nobody has established is a [`Knob`]; one table makes them all.
//! - What goes wrong is a [`Fault`]; one table lists the effects.
//! - What people do meanwhile on the server (edit, delete, merge, …) are methods of [`Server`].
//!
//! ```
//! use chrono::Utc;
//! use halo_simulator::{ApiRequest, Server, SimulatorSettings};
//!
//! let mut server = Server::new(SimulatorSettings { tickets: 10, ..SimulatorSettings::default() }, Utc::now());
//! let response = server.respond(&ApiRequest::get("/api/tickets", "a token it never gave"), Utc::now());
//! assert_eq!(response.status, 401);
//! ```
//!
//! Deliberately absent: writing through the API, every endpoint that halosync does not ask, and TLS.
//! `docs/simulator.md` shows how to run it by hand.

mod auth;
mod columns;
mod control;
mod custom_fields;
mod derived_fields;
mod detail;
mod effect;
mod endpoint;
mod error_response;
mod faults;
mod faulty_stream;
mod fixtures;
mod json;
mod knob_values;
mod knobs;
mod list;
mod log;
mod message;
mod mutations;
mod query;
mod rate_limit;
mod reference;
mod rng;
mod row;
mod seed;
mod selection;
mod serve;
mod server;
mod settings;
mod ticket;
mod timestamp;
mod world;

pub use effect::{Effect, WrongCount, WrongTickets};
pub use endpoint::ApiEndpoint;
pub use faults::{FaultSpecError, ServerFault, Trigger};
pub use knob_values::{
    Application, ClockZero, DateFilterMode, DatePrecision, DefaultOrder, DeletedGet, DeletedInList,
    ErrorBody, ExpiresIn, HiddenGet, ListEnvelope, ListedFields, PagePastEnd, ParameterSupport, PlainList,
    RetryAfter, RowShape, Switch, TenantPolicy, UnfilledFields,
};
pub use knobs::{Knob, KnobError, Knobs};
pub use log::{RequestLog, RequestLogEntry};
pub use message::{ApiRequest, ApiResponse, Delivery};
pub use serve::Simulator;
pub use server::Server;
pub use settings::SimulatorSettings;
pub use ticket::Edit;
pub use timestamp::SqlDateTime;
