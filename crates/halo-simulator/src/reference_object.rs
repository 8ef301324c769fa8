//! The JSON of reference objects, with the properties of a list (halo-objects.md §3). Null ones are left out.
//!
//! Some properties change all the time and say nothing about the object: when an agent was last online, and counts of
//! tickets.

use serde_json::{Value, json};

use crate::database::HaloDatabase;
use crate::directory::{self, API_AGENT, ReferenceRow, SALES_TEAM, SECOND_CATEGORIES};
use crate::fixtures::UNASSIGNED;
use crate::knob_values::{CategoryPath, ReferenceIds};
use crate::knobs::Knobs;
use crate::reference::guid;
use crate::reference_key::ReferenceKey;
use crate::timestamp::SqlDateTime;

const COLORS: [&str; 4] = ["#c0392b", "#e67e22", "#f1c40f", "#27ae60"];
const JOB_TITLES: [&str; 3] = ["Service Desk Analyst", "Systems Engineer", "Team Lead"];
const MANAGER: i64 = 3;

/// What the objects of one response have in common.
pub(crate) struct ReferenceWriter<'w> {
    pub(crate) database: &'w HaloDatabase,
    pub(crate) knobs: &'w Knobs,
    pub(crate) now: SqlDateTime,
    /// Whether SLAs contain their priorities.
    pub(crate) with_priorities: bool,
}

impl ReferenceWriter<'_> {
    /// Returns the JSON text of an object.
    pub(crate) fn to_json(&self, row: &ReferenceRow) -> Vec<u8> {
        self.object(row).to_string().into_bytes()
    }

    fn object(&self, row: &ReferenceRow) -> Value {
        let mut object = match row.key {
            ReferenceKey::Agent(id) => self.agent(id, row),
            ReferenceKey::Team(id) => self.team(id, row),
            ReferenceKey::Priority { sla, priority } => self.priority(sla, priority, row),
            ReferenceKey::Sla(id) => self.sla(id, row),
            ReferenceKey::Category(id) => self.category(id, row),
            ReferenceKey::Client(id) => self.client(id, row),
            ReferenceKey::Site(id) => self.site(id, row),
            ReferenceKey::User(id) => self.user(id, row),
        };
        if let Value::Object(properties) = &mut object {
            properties.retain(|_, value| !value.is_null());
            if self.knobs.reference_ids == ReferenceIds::Double {
                for (_, id) in properties.iter_mut().filter(|(name, _)| name.ends_with("id")) {
                    if let Some(number) = id.as_i64() {
                        *id = double(number);
                    }
                }
            }
        }
        object
    }

    fn guid(&self, kind: i64, id: i64) -> Value {
        guid(self.database, kind * 1_000_000_000 + id)
    }

    fn agent(&self, id: i64, row: &ReferenceRow) -> Value {
        let is_person = id != i64::from(UNASSIGNED) && id != API_AGENT;
        let initials: String = row.name.split(' ').filter_map(|word| word.chars().next()).collect();
        json!({
            "id": id,
            "name": row.name,
            "email": is_person.then(|| address(&row.name, "servicedesk.example.com")),
            "initials": is_person.then_some(initials),
            "jobtitle": is_person.then(|| JOB_TITLES[index(id, JOB_TITLES.len())]),
            "team": if is_person { self.team_of_agent(id) } else { "ALL".to_owned() },
            "isdisabled": row.inactive,
            "isapiagent": (id == API_AGENT).then_some(true),
            "linemanager": (is_person && id != MANAGER).then_some(MANAGER),
            "colour": is_person.then(|| COLORS[index(id, COLORS.len())]),
            "onlinestatus": is_person.then(|| index(id, 3)),
            "lastonline": (is_person && !row.inactive).then(|| text(self.now.whole_minute())),
            "ticket_count": self.moving_count(id),
        })
    }

    fn team_of_agent(&self, id: i64) -> String {
        let teams = directory::teams(self.database);
        let of_tickets: Vec<_> = teams.into_iter().filter(|team| !team.inactive).collect();
        of_tickets.get(index(id, of_tickets.len())).map_or_else(String::new, |team| team.name.clone())
    }

    fn team(&self, id: i64, row: &ReferenceRow) -> Value {
        let (department_id, department_name) = directory::department_of(id);
        json!({
            "id": id,
            "guid": self.guid(2, id),
            "name": row.name,
            "sequence": 10 * id,
            "department_id": department_id,
            "department_name": department_name,
            "inactive": row.inactive,
            "forrequests": id != SALES_TEAM,
            "foropps": id == SALES_TEAM,
            "forprojects": false,
            "ticket_count": self.moving_count(id),
        })
    }

    fn priority(&self, sla: i64, priority: i64, row: &ReferenceRow) -> Value {
        let place = index(priority - 1, COLORS.len());
        // As in the deadlines of tickets.
        let (response_hours, fix_time, fix_units) =
            [(0.25, 4.0, "H"), (0.5, 8.0, "H"), (0.75, 24.0, "H"), (1.0, 3.0, "D")][place];
        json!({
            "id": self.guid(if row.is_copy { 4 } else { 3 }, 1_000 * sla + priority),
            "slaid": sla,
            "priorityid": priority,
            "name": row.name,
            "colour": COLORS[place],
            "ishidden": row.inactive,
            "responsetime": response_hours,
            "responseunits": "H",
            "fixtime": fix_time,
            "fixunits": fix_units,
            "setfixtostartdate": false,
            "setfixtotargetdate": false,
            "workdaysoverride": -1,
        })
    }

    fn sla(&self, id: i64, row: &ReferenceRow) -> Value {
        let priorities = self.with_priorities.then(|| {
            let all = directory::priorities(self.database, self.knobs);
            let of_sla =
                all.iter().filter(|row| matches!(row.key, ReferenceKey::Priority { sla, .. } if sla == id));
            of_sla.map(|row| self.object(row)).collect::<Vec<_>>()
        });
        json!({
            "id": id,
            "guid": self.guid(5, id),
            "name": row.name,
            "workday_id": 1,
            "workday_name": "Office hours",
            "trackslaresponsetime": true,
            "trackslafixbytime": true,
            "slstatusafterfirstwarning": 0,
            "autoreleaselimit": 0,
            "priorities": priorities,
        })
    }

    fn category(&self, id: i64, row: &ReferenceRow) -> Value {
        let last_level = row.name.rsplit('>').next().unwrap_or("");
        let (value, category_name) = match self.knobs.category_path {
            CategoryPath::Value => (row.name.as_str(), last_level),
            CategoryPath::CategoryName => (last_level, row.name.as_str()),
        };
        json!({
            "id": id,
            "guid": self.guid(6, id),
            "value": value,
            "category_name": category_name,
            "type_id": if id < SECOND_CATEGORIES { 1 } else { 2 },
            "sla_id": 0,
            "priority_id": 0,
            "itilrequesttype": 0,
            "category_group_id": 0,
        })
    }

    fn client(&self, id: i64, row: &ReferenceRow) -> Value {
        json!({
            "id": id,
            "name": row.name,
            "toplevel_id": 1,
            "toplevel_name": "All customers",
            "inactive": row.inactive,
            "ref": (id % 3 == 0).then(|| format!("C-{id:05}")),
            "is_vip": id % 9 == 0,
            "customertype": 0,
            "accountmanagertech": 0,
            "colour": COLORS[index(id, COLORS.len())],
            "ticket_count": self.moving_count(id),
        })
    }

    fn site(&self, id: i64, row: &ReferenceRow) -> Value {
        let client_id = directory::client_of_site(id);
        let client_name = directory::client_name(self.database, client_id);
        json!({
            "id": id,
            "name": row.name,
            // A floating-point number on every server (halo-objects.md §3.8).
            "client_id": double(client_id),
            "client_name": client_name,
            "clientsite_name": format!("{client_name}/{}", row.name),
            "inactive": row.inactive,
            "sla_id": 1,
            "timezone": (id % 4 == 1).then_some("GMT Standard Time"),
            "isstocklocation": false,
        })
    }

    fn user(&self, id: i64, row: &ReferenceRow) -> Value {
        let (client_id, site_id) = directory::home_of_user(self.database, id);
        let is_person = row.name != "General User";
        let (first, last) = row.name.split_once(' ').unwrap_or((&row.name, ""));
        let email = is_person.then(|| address(&row.name, directory::domain_of(self.database, client_id)));
        json!({
            "id": id,
            "name": row.name,
            "firstname": first,
            "surname": last,
            "emailaddress": email,
            "login": email,
            "inactive": row.inactive,
            "isserviceaccount": false,
            "isimportantcontact": is_person && id % 11 == 0,
            "linked_agent_id": 0,
            "client_id": client_id,
            "client_name": directory::client_name(self.database, client_id),
            // A floating-point number, with an integer beside it (halo-objects.md §3.9).
            "site_id": double(site_id),
            "site_id_int": site_id,
            "site_name": directory::site_name(self.database, site_id),
            "title": (id % 5 == 0).then_some("Dr"),
        })
    }

    /// Returns a number that is another one every minute.
    fn moving_count(&self, id: i64) -> u64 {
        (self.now.steps() / 18_000 + id.unsigned_abs()) % 40
    }
}

fn index(number: i64, length: usize) -> usize {
    usize::try_from(number.unsigned_abs()).unwrap_or(0) % length.max(1)
}

fn double(number: i64) -> Value {
    i32::try_from(number).map_or_else(|_| json!(number), |number| json!(f64::from(number)))
}

/// Returns `first.last@domain` with ASCII letters only.
fn address(name: &str, domain: &str) -> String {
    let words = name.split(' ').map(|word| {
        word.chars().filter(char::is_ascii_alphabetic).map(|it| it.to_ascii_lowercase()).collect::<String>()
    });
    format!("{}@{domain}", words.collect::<Vec<_>>().join("."))
}

fn text(timestamp: SqlDateTime) -> String {
    let mut text = Vec::new();
    timestamp.write(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}
