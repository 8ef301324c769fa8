//! Names in place of numbers; pure.

use std::collections::BTreeMap;

use crate::store::ReportNames;

/// Stands for a name where the ticket has none: the copy cannot tell nobody from what is held back.
pub(super) const NOT_KNOWN: &str = "(not known)";

/// How numbers become names.
#[derive(Clone, Copy)]
pub(super) struct LabelOptions<'a> {
    pub(super) names: &'a ReportNames,
    pub(super) without_people: bool,
}

impl LabelOptions<'_> {
    pub(super) fn agent(self, id: Option<i64>) -> String {
        let id = match id {
            None => return NOT_KNOWN.into(),
            Some(1) => return "(unassigned)".into(),
            Some(id) => id,
        };
        let Some(name) = self.names.agents.get(&id).filter(|_| !self.without_people) else {
            return format!("agent {id}");
        };
        let namesakes = self.names.agents.values().filter(|it| *it == name).count();
        if 1 < namesakes { format!("{name} ({id})") } else { name.clone() }
    }

    pub(super) fn team(self, id: Option<i64>) -> String {
        let id = id.filter(|id| *id != 0);
        id.map_or_else(|| NOT_KNOWN.into(), |id| named(&self.names.teams, id, "team"))
    }

    pub(super) fn ticket_type(self, id: Option<i64>) -> String {
        id.map_or_else(|| NOT_KNOWN.into(), |id| named(&self.names.types, id, "type"))
    }

    /// As `ticket_overview` names it: by the service level agreement; without one, by the name that all of them give the number.
    pub(super) fn priority(self, (sla, priority): (Option<i64>, Option<i64>)) -> String {
        let Some(priority) = priority else { return NOT_KNOWN.into() };
        let all = &self.names.priorities;
        let name = if let Some(sla) = sla {
            all.get(&(sla, priority))
        } else {
            let mut names = all.iter().filter(|((_, it), _)| *it == priority).map(|(_, name)| name);
            let first = names.next();
            first.filter(|first| names.all(|name| name == *first))
        };
        name.map_or_else(|| format!("priority {priority}"), Clone::clone)
    }
}

fn named(names: &BTreeMap<i64, String>, id: i64, what: &str) -> String {
    names.get(&id).map_or_else(|| format!("{what} {id}"), Clone::clone)
}
