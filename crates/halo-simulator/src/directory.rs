//! The reference objects of the server: those that tickets name, and some that none names.
//!
//! People, teams, clients and sites are the fixtures that tickets draw from. Users are those of the tickets, so that a
//! small server has few of them, and one general user for each site.

use std::collections::BTreeSet;

use crate::database::HaloDatabase;
use crate::derived_fields;
use crate::fixtures::{
    AGENTS, CATEGORIES, Client, FIRST_NAMES, LAST_NAMES, SUB_CATEGORIES, TEAMS, UNASSIGNED,
};
use crate::knob_values::PriorityNames;
use crate::knobs::Knobs;
use crate::reference_key::ReferenceKey;

/// The names of [`AGENTS`].
const AGENT_NAMES: [&str; AGENTS.len()] = [
    "Helen Marsh",
    "Tom Ridley",
    "Aisha Karim",
    "Pavel Novák",
    "Lena Vogt",
    "Marcus Bell",
    "Yuki Tanaka",
    "Siân Pryce",
    "Diego Romero",
    "Nell Ashworth",
    "Olu Adeyemi",
    "Karin Holm",
];
/// An agent who left and whom no ticket names.
const FORMER_AGENT: (i64, &str) = (6, "Graham Poole");
/// An agent of an API application.
pub(crate) const API_AGENT: i64 = 40;
const INACTIVE_AGENTS: [i64; 3] = [FORMER_AGENT.0, 14, 23];

/// Teams that no ticket names, each with its department.
const OTHER_TEAMS: [(i64, &str, i64); 2] = [(CLOSED_TEAM, "Print Room", 2), (SALES_TEAM, "Renewals", 5)];
const CLOSED_TEAM: i64 = 3;
/// A team for opportunities, not for requests.
pub(crate) const SALES_TEAM: i64 = 20;

const INACTIVE_CLIENTS: [i64; 1] = [27];
const INACTIVE_SITES: [i64; 2] = [132, 270];

/// SLAs are listed although no ticket has them.
const SLAS_MIN: i64 = 3;
const SLA_NAMES: [&str; 3] = ["Standard", "Gold", "Projects"];
const PRIORITY_NAMES: [[&str; 4]; 3] = [
    ["Critical", "High", "Medium", "Low"],
    ["Immediate", "Urgent", "Planned", "Routine"],
    ["Blocker", "This sprint", "Next sprint", "Backlog"],
];
const PRIORITY_TWICE: ReferenceKey = ReferenceKey::Priority { sla: 1, priority: 3 };
pub(crate) const PRIORITIES: std::ops::RangeInclusive<i64> = 1..=4;

/// The first id of the clients without tickets.
const FIRST_OTHER_CLIENT: i64 = 101;
/// A general user's number within its client, plus the index of its site.
const GENERAL_USER: i64 = 900;

/// A row of a reference list, without the properties that follow from its key.
#[derive(Clone, Debug)]
pub(crate) struct ReferenceRow {
    pub(crate) key: ReferenceKey,
    pub(crate) name: String,
    /// Disabled, inactive or hidden, as the object calls it.
    pub(crate) inactive: bool,
    /// Whether it is a second row with the same key.
    pub(crate) is_copy: bool,
}

impl ReferenceRow {
    fn new(key: ReferenceKey, name: impl Into<String>, inactive: bool) -> ReferenceRow {
        ReferenceRow { key, name: name.into(), inactive, is_copy: false }
    }
}

/// Returns the agents in the order of their ids.
pub(crate) fn agents(database: &HaloDatabase) -> Vec<ReferenceRow> {
    let named = AGENTS.iter().zip(AGENT_NAMES).map(|(&id, name)| (i64::from(id), name));
    let mut agents: Vec<_> = named
        .chain([(UNASSIGNED.into(), "Unassigned"), FORMER_AGENT, (API_AGENT, "Monitoring Integration")])
        .collect();
    agents.sort_unstable();
    let row = |(id, name)| ReferenceRow::new(ReferenceKey::Agent(id), name, INACTIVE_AGENTS.contains(&id));
    edited(database, agents.into_iter().map(row), |key| matches!(key, ReferenceKey::Agent(_)))
}

/// Returns the teams in the order of their ids.
pub(crate) fn teams(database: &HaloDatabase) -> Vec<ReferenceRow> {
    let mut teams: Vec<_> = TEAMS.iter().map(|team| (i64::from(team.id), team.name)).collect();
    teams.extend(OTHER_TEAMS.map(|(id, name, _)| (id, name)));
    teams.sort_unstable();
    let row = |(id, name)| ReferenceRow::new(ReferenceKey::Team(id), name, id == CLOSED_TEAM);
    edited(database, teams.into_iter().map(row), |key| matches!(key, ReferenceKey::Team(_)))
}

/// Returns the department of a team.
pub(crate) fn department_of(team: i64) -> (i64, &'static str) {
    let of_tickets = TEAMS.iter().find(|known| i64::from(known.id) == team);
    let department = of_tickets.map(|known| i64::from(known.department));
    let other = OTHER_TEAMS.iter().find(|(id, ..)| *id == team);
    let id = department.or(other.map(|(_, _, department)| *department)).unwrap_or(2);
    (id, ["Service Desk", "Engineering", "Security", "Sales"][usize::try_from(id - 2).unwrap_or(0).min(3)])
}

/// Returns the SLAs.
pub(crate) fn slas(database: &HaloDatabase) -> Vec<ReferenceRow> {
    let row = |id| ReferenceRow::new(ReferenceKey::Sla(id), first_sla_name(id), false);
    edited(database, sla_ids(database).map(row), |key| matches!(key, ReferenceKey::Sla(_)))
}

/// Returns the name of an SLA.
pub(crate) fn sla_name(database: &HaloDatabase, id: i64) -> String {
    database.reference.name(ReferenceKey::Sla(id)).map_or_else(|| first_sla_name(id), str::to_owned)
}

fn first_sla_name(id: i64) -> String {
    let index = usize::try_from(id - 1).unwrap_or(usize::MAX);
    SLA_NAMES.get(index).map_or_else(|| format!("SLA {id}"), |name| (*name).to_owned())
}

fn sla_ids(database: &HaloDatabase) -> std::ops::RangeInclusive<i64> {
    1..=i64::from(database.slas).max(SLAS_MIN)
}

/// Returns the priorities of all SLAs; if a knob says so, one of them twice.
pub(crate) fn priorities(database: &HaloDatabase, knobs: &Knobs) -> Vec<ReferenceRow> {
    let keys = sla_ids(database).flat_map(|sla| PRIORITIES.map(move |priority| (sla, priority)));
    let rows = keys.map(|(sla, priority)| {
        let key = ReferenceKey::Priority { sla, priority };
        ReferenceRow::new(key, first_priority_name(knobs, sla, priority), false)
    });
    let mut rows = edited(database, rows, |key| matches!(key, ReferenceKey::Priority { .. }));
    if knobs.priority_twice.is_on() {
        let name = "Medium (before 2019)".to_owned();
        rows.insert(0, ReferenceRow { key: PRIORITY_TWICE, name, inactive: true, is_copy: true });
    }
    rows
}

/// Returns the name of a priority.
pub(crate) fn priority_name(database: &HaloDatabase, knobs: &Knobs, sla: i64, priority: i64) -> String {
    let edited = database.reference.name(ReferenceKey::Priority { sla, priority });
    edited.map_or_else(|| first_priority_name(knobs, sla, priority), str::to_owned)
}

fn first_priority_name(knobs: &Knobs, sla: i64, priority: i64) -> String {
    let sla = if knobs.priority_names == PriorityNames::Same { 1 } else { sla };
    let index = |number: i64| usize::try_from(number - 1).unwrap_or(usize::MAX);
    let known = PRIORITY_NAMES.get(index(sla)).and_then(|names| names.get(index(priority)));
    known.map_or_else(|| format!("Priority {priority} of SLA {sla}"), |name| (*name).to_owned())
}

/// Returns the categories: each level of each path of the first category, then the second categories.
pub(crate) fn categories(database: &HaloDatabase) -> Vec<ReferenceRow> {
    let mut paths = BTreeSet::new();
    for path in CATEGORIES {
        paths.extend(path.match_indices('>').map(|(end, _)| &path[..end]).chain([path]));
    }
    let first = (1..).zip(paths);
    let second = (SECOND_CATEGORIES..).zip(SUB_CATEGORIES);
    let rows =
        first.chain(second).map(|(id, path)| ReferenceRow::new(ReferenceKey::Category(id), path, false));
    edited(database, rows, |key| matches!(key, ReferenceKey::Category(_)))
}

/// The first id of the second categories.
pub(crate) const SECOND_CATEGORIES: i64 = 201;

/// Returns the clients.
pub(crate) fn clients(database: &HaloDatabase) -> Vec<ReferenceRow> {
    let rows = client_ids(database).map(|id| {
        ReferenceRow::new(ReferenceKey::Client(id), client_name(database, id), INACTIVE_CLIENTS.contains(&id))
    });
    edited(database, rows, |key| matches!(key, ReferenceKey::Client(_)))
}

fn client_ids(database: &HaloDatabase) -> impl Iterator<Item = i64> {
    let others = FIRST_OTHER_CLIENT..FIRST_OTHER_CLIENT + i64::from(database.more_clients);
    database.clients.iter().map(|client| i64::from(client.id)).chain(others)
}

/// Returns the name of a client.
pub(crate) fn client_name(database: &HaloDatabase, id: i64) -> String {
    if let Some(name) = database.reference.name(ReferenceKey::Client(id)) {
        return name.to_owned();
    }
    let known = client(database, id)
        .and_then(|client| serde_json::from_str(&format!("\"{}\"", client.name_json)).ok());
    known.unwrap_or_else(|| format!("Client {id}"))
}

fn client(database: &HaloDatabase, id: i64) -> Option<&Client> {
    database.clients.iter().find(|client| i64::from(client.id) == id)
}

/// Returns the domain of a client's addresses.
pub(crate) fn domain_of(database: &HaloDatabase, client_id: i64) -> &'static str {
    client(database, client_id)
        .map(|client| client.domain)
        .filter(|domain| !domain.is_empty())
        .unwrap_or("mail.example.com")
}

/// Returns the names of the sites of a client.
fn sites_of(database: &HaloDatabase, client_id: i64) -> &'static [&'static str] {
    client(database, client_id).map_or(&["Main office"], |client| client.sites)
}

/// Returns the sites.
pub(crate) fn sites(database: &HaloDatabase) -> Vec<ReferenceRow> {
    let rows = client_ids(database).flat_map(|client| {
        let sites = (10 * client..).zip(sites_of(database, client));
        sites.map(|(id, name)| ReferenceRow::new(ReferenceKey::Site(id), *name, INACTIVE_SITES.contains(&id)))
    });
    edited(database, rows, |key| matches!(key, ReferenceKey::Site(_)))
}

/// Returns the name of a site.
pub(crate) fn site_name(database: &HaloDatabase, id: i64) -> String {
    if let Some(name) = database.reference.name(ReferenceKey::Site(id)) {
        return name.to_owned();
    }
    let index = usize::try_from(id % 10).unwrap_or(0);
    sites_of(database, client_of_site(id)).get(index).map_or_else(String::new, |name| (*name).to_owned())
}

/// Returns the client of a site.
pub(crate) fn client_of_site(site_id: i64) -> i64 {
    site_id / 10
}

/// Returns the users with these ids, which [`UserIds`] has, and the general users.
pub(crate) fn users(database: &HaloDatabase, ids: &[i64]) -> Vec<ReferenceRow> {
    let general = client_ids(database).flat_map(|client| {
        let sites = i64::try_from(sites_of(database, client).len()).unwrap_or(0);
        (0..sites).map(move |site| if client == 1 { 1 } else { client * 1_000 + GENERAL_USER + site })
    });
    let rows = ids.iter().copied().chain(general).map(|id| {
        let number = id % 1_000;
        let left = number < GENERAL_USER && number % 13 == 5;
        ReferenceRow::new(ReferenceKey::User(id), first_user_name(id), left)
    });
    edited(database, rows, |key| matches!(key, ReferenceKey::User(_)))
}

/// Returns the name of a user.
pub(crate) fn user_name(database: &HaloDatabase, id: i64) -> String {
    database.reference.name(ReferenceKey::User(id)).map_or_else(|| first_user_name(id), str::to_owned)
}

fn first_user_name(id: i64) -> String {
    let number = usize::try_from(id % 1_000).unwrap_or(usize::MAX);
    match FIRST_NAMES.get(number / LAST_NAMES.len()) {
        Some(first) if id > 1 => format!("{first} {}", LAST_NAMES[number % LAST_NAMES.len()]),
        _ => "General User".to_owned(),
    }
}

/// Returns the client and the site of a user.
pub(crate) fn home_of_user(database: &HaloDatabase, id: i64) -> (i64, i64) {
    let client = if id < 1_000 { 1 } else { id / 1_000 };
    let sites = i64::try_from(sites_of(database, client).len()).unwrap_or(1).max(1);
    let number = id % 1_000;
    let site = if number < GENERAL_USER { number } else { number - GENERAL_USER } % sites;
    (client, client * 10 + if client == 1 { 0 } else { site })
}

/// The ids of the users whom tickets name. They follow from the ids of the tickets alone, and tickets are only added.
#[derive(Debug, Default)]
pub(crate) struct UserIds {
    tickets: usize,
    ids: Vec<i64>,
}

impl UserIds {
    pub(crate) fn get_or_compute(&mut self, database: &HaloDatabase) -> &[i64] {
        if self.tickets != database.ticket_count() {
            let named =
                database.tickets().filter_map(|(_, ticket)| derived_fields::user_of(database, ticket.id));
            self.ids = named.collect::<BTreeSet<_>>().into_iter().collect();
            self.tickets = database.ticket_count();
        }
        &self.ids
    }
}

/// Applies what users have changed to the rows of one list.
fn edited(
    database: &HaloDatabase,
    rows: impl Iterator<Item = ReferenceRow>,
    is_of_list: impl Fn(ReferenceKey) -> bool,
) -> Vec<ReferenceRow> {
    let edits = &database.reference;
    let mut rows: Vec<_> = rows.filter(|row| !edits.is_removed(row.key)).collect();
    let known: BTreeSet<_> = rows.iter().map(|row| row.key).collect();
    let added = edits.added().filter(|&key| is_of_list(key) && !known.contains(&key));
    rows.extend(added.map(|key| ReferenceRow::new(key, "", false)));
    for row in &mut rows {
        if let Some(name) = edits.name(row.key) {
            name.clone_into(&mut row.name);
        }
        if let Some(inactive) = edits.is_inactive(row.key) {
            row.inactive = inactive;
        }
    }
    rows
}
