//! A set of extras, such as those that a response carries.

use std::fmt;
use std::str::FromStr;

use super::attribute::{ATTRIBUTE_COUNT, EXTRA_COUNT, EXTRA_PREFIX, EXTRAS};

/// A set of extras.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtraSet(u8);

impl ExtraSet {
    /// All extras.
    pub const ALL: ExtraSet = ExtraSet((1 << EXTRA_COUNT) - 1);

    /// Those that change only with the status: `CLOSED_AT` and `RESPONDED_AT`.
    pub const OF_STATUS: ExtraSet = ExtraSet(0b0011);
    /// The one that changes only with the agent: `ASSIGNED_AT`.
    pub const OF_AGENT: ExtraSet = ExtraSet(0b0100);

    /// Adds the extra at a position of [`super::attribute::stored_attributes`]; an attribute is none.
    pub(super) fn insert(&mut self, position: usize) {
        if let Some(index) = position.checked_sub(ATTRIBUTE_COUNT) {
            self.0 |= 1 << index;
        }
    }

    /// Returns the extras of both sets.
    #[must_use]
    pub fn union(self, other: ExtraSet) -> ExtraSet {
        ExtraSet(self.0 | other.0)
    }

    /// Returns the extras that are not in `other`.
    #[must_use]
    pub fn without(self, other: ExtraSet) -> ExtraSet {
        ExtraSet(self.0 & !other.0)
    }

    /// Returns the extras that are in both sets.
    #[must_use]
    pub fn intersection(self, other: ExtraSet) -> ExtraSet {
        ExtraSet(self.0 & other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Iterates over the positions in [`super::attribute::stored_attributes`].
    pub fn positions(self) -> impl Iterator<Item = usize> {
        (0..EXTRA_COUNT).filter(move |index| self.0 & (1 << index) != 0).map(|index| ATTRIBUTE_COUNT + index)
    }

    /// Iterates over the columns of `ticket_extra`.
    pub fn columns(self) -> impl Iterator<Item = &'static str> {
        self.positions().map(|position| &EXTRAS[position - ATTRIBUTE_COUNT].name[EXTRA_PREFIX.len()..])
    }
}

/// The columns of `ticket_extra`, separated by commas.
impl fmt::Display for ExtraSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.columns().collect::<Vec<_>>().join(","))
    }
}

impl FromStr for ExtraSet {
    type Err = String;

    fn from_str(text: &str) -> Result<ExtraSet, String> {
        let mut set = ExtraSet::default();
        for name in text.split(',').filter(|name| !name.is_empty()) {
            let index = EXTRAS.iter().position(|extra| extra.name.strip_prefix(EXTRA_PREFIX) == Some(name));
            set.insert(ATTRIBUTE_COUNT + index.ok_or_else(|| format!("no extra is named {name:?}"))?);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_set_reads_back() {
        for bits in 0..=ExtraSet::ALL.0 {
            let set = ExtraSet(bits);
            assert_eq!(set.to_string().parse(), Ok(set));
        }
        assert_eq!("CLOSED_AT,PARENT_ID".parse::<ExtraSet>().unwrap().columns().count(), 2);
        assert_eq!(ExtraSet::OF_STATUS.to_string(), "CLOSED_AT,RESPONDED_AT");
        assert_eq!(ExtraSet::OF_AGENT.to_string(), "ASSIGNED_AT");
        assert!("CLOSED".parse::<ExtraSet>().is_err());
    }
}
