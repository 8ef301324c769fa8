//! The requests for reference tables.

use super::request::RequestSpec;
use super::{HaloClient, HaloError, Resource};
use crate::reference::{ReferenceRow, ReferenceTable, STATUSES, parse_reference_list};
use crate::ticket::parse::ParsedItems;

/// The size of the pages that are asked for: more than 100 is known of no list (`halo-objects.md` §3.7).
const PAGE_SIZE: &str = "100";

impl HaloClient {
    /// Fetches a list that comes whole.
    pub async fn fetch_reference_list(
        &self,
        table: &'static ReferenceTable,
    ) -> Result<ParsedItems<ReferenceRow>, HaloError> {
        self.fetch_rows_of(table, &[]).await
    }

    /// Fetches a page of a list, from 1, in order of id.
    pub async fn fetch_reference_page(
        &self,
        table: &'static ReferenceTable,
        page: u32,
    ) -> Result<ParsedItems<ReferenceRow>, HaloError> {
        let page = page.to_string();
        let paging = [
            ("pageinate", "true"),
            ("page_no", &page),
            ("page_size", PAGE_SIZE),
            ("order", "id"),
            ("orderdesc", "false"),
        ];
        self.fetch_rows_of(table, &paging).await
    }

    /// Fetches the statuses of open tickets only, a filter that a server may ignore (`halo-api.md` §4.1).
    pub async fn fetch_open_statuses(&self) -> Result<ParsedItems<ReferenceRow>, HaloError> {
        self.fetch_rows_of(STATUSES, &[("excludeclosed", "true")]).await
    }

    async fn fetch_rows_of(
        &self,
        table: &'static ReferenceTable,
        parameters: &[(&str, &str)],
    ) -> Result<ParsedItems<ReferenceRow>, HaloError> {
        let mut url = self.options.server.endpoint(table.endpoint);
        let all = table.parameters.iter().chain(parameters);
        if !(table.parameters.is_empty() && parameters.is_empty()) {
            url.query_pairs_mut().extend_pairs(all);
        }
        let spec = RequestSpec::new(Resource::Reference(table), &url, &[]);
        let mut read = self.get(&spec, move |response| parse_reference_list(table, &response.body)).await?;
        self.options.privacy.apply_to_list(table, &mut read.value);
        Ok(read.value)
    }
}
