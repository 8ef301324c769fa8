//! Definitions of custom fields.

/// The definition of a custom field.
#[derive(Clone, Debug)]
pub(crate) struct CustomFieldDef {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) field_type: CustomFieldType,
    /// Whether it was defined after the start: it is empty in existing tickets until they are edited.
    pub(crate) added_later: bool,
}

/// The type of a custom field; the discriminant is Halo's type code (halo-api.md §3.1).
#[derive(Clone, Copy, Debug)]
pub(crate) enum CustomFieldType {
    Text = 0,
    Memo = 1,
    Single = 2,
    Multiple = 3,
    Date = 4,
    Time = 5,
    Checkbox = 6,
    Table = 7,
    Rich = 10,
}

#[rustfmt::skip]
const INITIAL_FIELDS: [(i64, &str, &str, CustomFieldType); 9] = [
    (120, "CFService",        "Service",             CustomFieldType::Single),
    (121, "CFCostCentre",     "Cost centre",         CustomFieldType::Text),
    (122, "CFWorkaround",     "Workaround",          CustomFieldType::Memo),
    (123, "CFPlatforms",      "Platforms affected",  CustomFieldType::Multiple),
    (124, "CFVisitOn",        "Visit on",            CustomFieldType::Date),
    (125, "CFVisitAt",        "Visit at",            CustomFieldType::Time),
    (126, "CFUserConfirmed",  "Confirmed by user",   CustomFieldType::Checkbox),
    (127, "CFParts",          "Parts",               CustomFieldType::Table),
    // A repeated label, because labels are not unique.
    (131, "CFResolutionNote", "Workaround",          CustomFieldType::Rich),
];

/// Returns the fields that exist at the start, one of each type.
pub(crate) fn initial_fields() -> Vec<CustomFieldDef> {
    let field = |(id, name, label, field_type): (i64, &str, &str, CustomFieldType)| CustomFieldDef {
        id,
        name: name.to_owned(),
        label: label.to_owned(),
        field_type,
        added_later: false,
    };
    INITIAL_FIELDS.into_iter().map(field).collect()
}

impl CustomFieldDef {
    /// Creates a text field that is defined after the start.
    pub(crate) fn new_text(id: i64, name: &str, label: &str) -> CustomFieldDef {
        CustomFieldDef {
            id,
            name: name.to_owned(),
            label: label.to_owned(),
            field_type: CustomFieldType::Text,
            added_later: true,
        }
    }
}
