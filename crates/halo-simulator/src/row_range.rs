//! The part of a list that a response holds.

use crate::effect::ListFault;
use crate::knob_values::PagePastEnd;
use crate::knobs::Knobs;
use crate::query::{InvalidParameter, Query};

/// The part of a selection that a response holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowRange {
    /// `pageinate` and `page_no` were both sent: only then is `record_count` a total (halo-api.md §2.1).
    Page { number: usize, size: usize },
    /// At most `rows` rows in one response, whose `record_count` is the number of rows sent.
    Unpaged { rows: usize },
}

impl RowRange {
    pub(crate) fn from_query(
        query: &Query,
        knobs: &Knobs,
        page_cap: usize,
    ) -> Result<RowRange, InvalidParameter> {
        let page_no = query.number::<i64>("page_no")?;
        let default_rows = length(knobs.default_rows.into());
        if let (true, Some(number)) = (query.flag("pageinate"), page_no) {
            let size = query.number::<i64>("page_size")?.filter(|&size| size > 0);
            let size = size.map_or(default_rows, length).min(page_cap);
            return Ok(RowRange::Page { number: length(number.max(1)), size });
        }
        let count = query.number::<i64>("count")?.filter(|&count| count > 0);
        let rows = count.map_or(default_rows, length).min(length(knobs.count_cap.into()));
        Ok(RowRange::Unpaged { rows })
    }

    pub(crate) fn is_paged(self) -> bool {
        matches!(self, RowRange::Page { .. })
    }

    /// Returns the start and end of the part among `total` rows.
    pub(crate) fn bounds(self, total: usize, knobs: &Knobs, list_fault: &ListFault) -> (usize, usize) {
        let (first, rows) = match self {
            RowRange::Unpaged { rows } => (0, rows),
            RowRange::Page { number, size } => {
                let last = total.div_ceil(size).max(1);
                let number = if knobs.page_past_end == PagePastEnd::Last { number.min(last) } else { number };
                // A page that begins too early repeats the end of the previous page.
                ((number - 1).saturating_mul(size).saturating_sub(list_fault.rows_repeated), size)
            }
        };
        let first = first.min(total);
        (first, first.saturating_add(rows).min(total))
    }
}

/// Converts a parameter to a length; values out of range become the nearest limit.
pub(crate) fn length(number: i64) -> usize {
    usize::try_from(number.max(0)).unwrap_or(usize::MAX)
}
