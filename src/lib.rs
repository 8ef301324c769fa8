//! halosync keeps a complete, queryable, exportable copy of a HaloITSM server's tickets in one SQLite file.
//!
//! Data flows one way: [`halo`] fetches pages, [`ticket::parse`] makes tickets of them, [`store`] stores them with a
//! record of every change, and [`export`] passes the changes on as files. Only the watermark runs back: [`watermark`]
//! decides from where the next scan asks, and [`sync`] executes one run.
//!
//! | layer | modules |
//! |---|---|
//! | 0, pure | [`ticket`], [`mod@reference`], [`privacy`], [`scope`], [`watermark`], [`retry`], [`config`], [`content_digest`] |
//! | 1, the outside world | [`halo`] (network), [`store`] (SQLite), [`export`] (files), [`lake`] (object stores), `regular_file` |
//! | 2, one run | [`sync`] |
//! | 3, what one can ask for | [`app`], [`check`], [`demo`] |
//! | 4, the command line | [`cli`] |
//!
//! A page of the server's list becomes tickets with the 101 attributes of [`ticket::ATTRIBUTES`]:
//!
//! ```
//! use halosync::ticket::parse::ParsedPage;
//!
//! let page = ParsedPage::parse(br#"{"record_count": 1, "tickets": [{"id": 42, "summary": "Printer on fire"}]}"#)?;
//! assert_eq!(page.record_count, Some(1));
//! assert_eq!(page.tickets[0].id(), 42);
//! # Ok::<_, halosync::ticket::parse::ParseError>(())
//! ```

pub mod app;
pub mod check;
pub mod cli;
pub mod config;
pub mod content_digest;
pub mod demo;
pub mod export;
pub mod halo;
pub mod lake;
pub mod privacy;
pub mod reference;
mod regular_file;
pub mod retry;
pub mod scope;
pub mod snapshot_table;
pub mod store;
pub mod sync;
pub mod ticket;
pub mod watermark;
