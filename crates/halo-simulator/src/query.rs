//! Request parameters, parsed as leniently as the server does.

use std::str::FromStr;

/// The name-value pairs of a query or form. Names are not case-sensitive; unknown ones are ignored (halo-api.md §2.5).
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// The message of a parameter whose value is invalid; the server responds with 400.
#[derive(Clone, Debug)]
pub(crate) struct InvalidParameter(pub(crate) String);

impl Query {
    pub(crate) fn parse(text: &[u8]) -> Query {
        let pairs = url::form_urlencoded::parse(text);
        Query(pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned())).collect())
    }

    /// Returns the first non-empty value of `name`, which must be in lower case.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, value)| known == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn number<N: FromStr>(&self, name: &str) -> Result<Option<N>, InvalidParameter> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| invalid_parameter(name, text))
    }

    /// Returns whether `name` is `true`, in any case: Python clients send `True` (halo-api.md §2).
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// Returns the integers of a comma-separated list; `None` if the parameter is absent.
    pub(crate) fn integers(&self, name: &str) -> Result<Option<Vec<i64>>, InvalidParameter> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let texts = text.trim_matches(['[', ']']).split(',').map(str::trim).filter(|part| !part.is_empty());
        texts.map(str::parse).collect::<Result<_, _>>().map(Some).map_err(|_| invalid_parameter(name, text))
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

pub(crate) fn invalid_parameter(name: &str, text: &str) -> InvalidParameter {
    InvalidParameter(format!("The value '{text}' is not valid for {name}."))
}
