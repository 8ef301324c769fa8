//! The requests for reference tables.

use super::request::RequestSpec;
use super::{HaloClient, HaloError, HttpResponse, Resource};
use crate::reference::{ReferenceRow, ReferenceTable, STATUSES, parse_reference_list_and_search};
use crate::ticket::FieldSearch;
use crate::ticket::parse::ParsedItems;

/// The size of the pages that are asked for: more than 100 is known of no list (`halo-objects.md` §3.7).
const PAGE_SIZE: &str = "100";

impl HaloClient {
    /// Fetches a list that comes whole, and searches it for unmapped fields.
    pub async fn fetch_reference_list(
        &self,
        table: &'static ReferenceTable,
    ) -> Result<ParsedItems<ReferenceRow>, HaloError> {
        self.fetch_rows_of(table, &[], FieldSearch::On).await
    }

    /// Fetches a page of a list, from 1, in order of id. Only the first one is searched for unmapped fields.
    pub async fn fetch_reference_page(
        &self,
        table: &'static ReferenceTable,
        page: u32,
    ) -> Result<ParsedItems<ReferenceRow>, HaloError> {
        let search = if page == 1 { FieldSearch::On } else { FieldSearch::Off };
        let page = page.to_string();
        let paging = [
            ("pageinate", "true"),
            ("page_no", &page),
            ("page_size", PAGE_SIZE),
            ("order", "id"),
            ("orderdesc", "false"),
        ];
        self.fetch_rows_of(table, &paging, search).await
    }

    /// Fetches the statuses of open tickets only, a filter that a server may ignore (`halo-api.md` §4.1).
    pub async fn fetch_open_statuses(&self) -> Result<ParsedItems<ReferenceRow>, HaloError> {
        self.fetch_rows_of(STATUSES, &[("excludeclosed", "true")], FieldSearch::Off).await
    }

    async fn fetch_rows_of(
        &self,
        table: &'static ReferenceTable,
        parameters: &[(&str, &str)],
        search: FieldSearch,
    ) -> Result<ParsedItems<ReferenceRow>, HaloError> {
        let mut url = self.options.server.endpoint(table.endpoint);
        let all = table.parameters.iter().chain(parameters);
        if !(table.parameters.is_empty() && parameters.is_empty()) {
            url.query_pairs_mut().extend_pairs(all);
        }
        let spec = RequestSpec::new(Resource::Reference(table), &url, &[]);
        let parse =
            move |response: &HttpResponse| parse_reference_list_and_search(table, &response.body, search);
        let mut list = self.get(&spec, parse).await?.value;
        self.options.privacy.apply_to_list(table, &mut list);
        list.unmapped = list.unmapped.map(|fields| self.clean_names(&fields));
        Ok(list)
    }
}
