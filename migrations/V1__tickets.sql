-- The database of halosync. Readable by any sqlite3 >= 3.31: no STRICT, no JSONB, no newer SQL.
-- Frozen at the first tagged release; later changes are new migrations.

-- The tickets of the server as of the last run: the mapped attributes in the order of docs/attributes.md.
-- The constraints accept what `typeof` would, at less cost: storing a row takes a fifth less work. Numbers sort before texts,
-- texts before blobs, and `| 0` makes an integer of anything. (The real number -2^63 passes as the integer that it equals.)
CREATE TABLE tickets (
    AGENT_ID                       INTEGER CONSTRAINT "AGENT_ID is an integer" CHECK (AGENT_ID | 0 = AGENT_ID),
    APPOINTMENT_TYPE               INTEGER CONSTRAINT "APPOINTMENT_TYPE is an integer" CHECK (APPOINTMENT_TYPE | 0 = APPOINTMENT_TYPE),
    ATTACHMENT_COUNT               INTEGER CONSTRAINT "ATTACHMENT_COUNT is an integer" CHECK (ATTACHMENT_COUNT | 0 = ATTACHMENT_COUNT),
    CATEGORY_1                     TEXT    CONSTRAINT "CATEGORY_1 is a text" CHECK (CATEGORY_1 < x''),
    CATEGORY_1_DISPLAY             TEXT    CONSTRAINT "CATEGORY_1_DISPLAY is a text" CHECK (CATEGORY_1_DISPLAY < x''),
    CATEGORY_2                     TEXT    CONSTRAINT "CATEGORY_2 is a text" CHECK (CATEGORY_2 < x''),
    CATEGORY_2_DISPLAY             TEXT    CONSTRAINT "CATEGORY_2_DISPLAY is a text" CHECK (CATEGORY_2_DISPLAY < x''),
    CATEGORY_3                     TEXT    CONSTRAINT "CATEGORY_3 is a text" CHECK (CATEGORY_3 < x''),
    CATEGORY_3_DISPLAY             TEXT    CONSTRAINT "CATEGORY_3_DISPLAY is a text" CHECK (CATEGORY_3_DISPLAY < x''),
    CATEGORY_4                     TEXT    CONSTRAINT "CATEGORY_4 is a text" CHECK (CATEGORY_4 < x''),
    CATEGORY_4_DISPLAY             TEXT    CONSTRAINT "CATEGORY_4_DISPLAY is a text" CHECK (CATEGORY_4_DISPLAY < x''),
    CHILD_COUNT                    INTEGER CONSTRAINT "CHILD_COUNT is an integer" CHECK (CHILD_COUNT | 0 = CHILD_COUNT),
    CLIENT_ID                      INTEGER CONSTRAINT "CLIENT_ID is an integer" CHECK (CLIENT_ID | 0 = CLIENT_ID),
    CLIENT_NAME                    TEXT    CONSTRAINT "CLIENT_NAME is a text" CHECK (CLIENT_NAME < x''),
    COST                           REAL    CONSTRAINT "COST is a number" CHECK (COST < ''),
    CREATED_FROM_AUTOMATION_STD_ID INTEGER CONSTRAINT "CREATED_FROM_AUTOMATION_STD_ID is an integer" CHECK (CREATED_FROM_AUTOMATION_STD_ID | 0 = CREATED_FROM_AUTOMATION_STD_ID),
    SOURCE_CREATED_DATE            TEXT    CHECK (length(SOURCE_CREATED_DATE) = 24),
    DEADLINE_DATE                  TEXT    CHECK (length(DEADLINE_DATE) = 24),
    DEPARTMENT_ID                  INTEGER CONSTRAINT "DEPARTMENT_ID is an integer" CHECK (DEPARTMENT_ID | 0 = DEPARTMENT_ID),
    DESCRIPTION                    TEXT    CONSTRAINT "DESCRIPTION is a text" CHECK (DESCRIPTION < x''),
    EMAIL_TO_LIST                  TEXT    CONSTRAINT "EMAIL_TO_LIST is a text" CHECK (EMAIL_TO_LIST < x''),
    END_USER_STATUS                INTEGER CONSTRAINT "END_USER_STATUS is an integer" CHECK (END_USER_STATUS | 0 = END_USER_STATUS),
    ESTIMATE                       REAL    CONSTRAINT "ESTIMATE is a number" CHECK (ESTIMATE < ''),
    ESTIMATE_DAYS                  REAL    CONSTRAINT "ESTIMATE_DAYS is a number" CHECK (ESTIMATE_DAYS < ''),
    EXCLUDE_FROM_SLA               INTEGER CHECK (EXCLUDE_FROM_SLA IN (0, 1)),
    FIX_BY_DATE                    TEXT    CHECK (length(FIX_BY_DATE) = 24),
    FLAGGED                        INTEGER CHECK (FLAGGED IN (0, 1)),
    GUID                           TEXT    CONSTRAINT "GUID is a text" CHECK (GUID < x''),
    UID                            INTEGER PRIMARY KEY,
    ID_SUMMARY                     TEXT    CONSTRAINT "ID_SUMMARY is a text" CHECK (ID_SUMMARY < x''),
    IMPACT                         INTEGER CONSTRAINT "IMPACT is an integer" CHECK (IMPACT | 0 = IMPACT),
    IMPACT_LEVEL                   INTEGER CONSTRAINT "IMPACT_LEVEL is an integer" CHECK (IMPACT_LEVEL | 0 = IMPACT_LEVEL),
    INACTIVE                       INTEGER CHECK (INACTIVE IN (0, 1)),
    INVOICE_SEPERATELY_OVERRIDE    INTEGER CHECK (INVOICE_SEPERATELY_OVERRIDE IN (0, 1)),
    IS_IMPORTANT_CONTACT           INTEGER CHECK (IS_IMPORTANT_CONTACT IN (0, 1)),
    IS_VIP                         INTEGER CHECK (IS_VIP IN (0, 1)),
    ITIL_REQUEST_TYPE_ID           INTEGER CONSTRAINT "ITIL_REQUEST_TYPE_ID is an integer" CHECK (ITIL_REQUEST_TYPE_ID | 0 = ITIL_REQUEST_TYPE_ID),
    LAST_ACTION_DATE               TEXT    CHECK (length(LAST_ACTION_DATE) = 24),
    LAST_INCOMING_EMAIL            TEXT    CHECK (length(LAST_INCOMING_EMAIL) = 24),
    SOURCE_LAST_MODIFIED           TEXT    CHECK (length(SOURCE_LAST_MODIFIED) = 24),
    MATCHED_KB_ID                  INTEGER CONSTRAINT "MATCHED_KB_ID is an integer" CHECK (MATCHED_KB_ID | 0 = MATCHED_KB_ID),
    MAXIMUM_RESTRICTED_PRIORITY    INTEGER CONSTRAINT "MAXIMUM_RESTRICTED_PRIORITY is an integer" CHECK (MAXIMUM_RESTRICTED_PRIORITY | 0 = MAXIMUM_RESTRICTED_PRIORITY),
    MERGED_INTO_ID                 INTEGER CONSTRAINT "MERGED_INTO_ID is an integer" CHECK (MERGED_INTO_ID | 0 = MERGED_INTO_ID),
    NOT_USEFUL_COUNT               INTEGER CONSTRAINT "NOT_USEFUL_COUNT is an integer" CHECK (NOT_USEFUL_COUNT | 0 = NOT_USEFUL_COUNT),
    ON_HOLD                        INTEGER CHECK (ON_HOLD IN (0, 1)),
    OPEN_SEARCH_SCORE              REAL    CONSTRAINT "OPEN_SEARCH_SCORE is a number" CHECK (OPEN_SEARCH_SCORE < ''),
    OPP_COMPANY_NAME               TEXT    CONSTRAINT "OPP_COMPANY_NAME is a text" CHECK (OPP_COMPANY_NAME < x''),
    OPP_VALUE_ADJUSTED             REAL    CONSTRAINT "OPP_VALUE_ADJUSTED is a number" CHECK (OPP_VALUE_ADJUSTED < ''),
    ORGANISATION_ID                INTEGER CONSTRAINT "ORGANISATION_ID is an integer" CHECK (ORGANISATION_ID | 0 = ORGANISATION_ID),
    PIPELINE_STAGE_ID              INTEGER CONSTRAINT "PIPELINE_STAGE_ID is an integer" CHECK (PIPELINE_STAGE_ID | 0 = PIPELINE_STAGE_ID),
    PRIORITY_ID                    INTEGER CONSTRAINT "PRIORITY_ID is an integer" CHECK (PRIORITY_ID | 0 = PRIORITY_ID),
    PRODUCT_ID                     INTEGER CONSTRAINT "PRODUCT_ID is an integer" CHECK (PRODUCT_ID | 0 = PRODUCT_ID),
    PURCHASE_ORDER_NUMBER          TEXT    CONSTRAINT "PURCHASE_ORDER_NUMBER is a text" CHECK (PURCHASE_ORDER_NUMBER < x''),
    QUANTITY                       INTEGER CONSTRAINT "QUANTITY is an integer" CHECK (QUANTITY | 0 = QUANTITY),
    READ                           INTEGER CHECK (READ IN (0, 1)),
    RELEASE2_ID                    INTEGER CONSTRAINT "RELEASE2_ID is an integer" CHECK (RELEASE2_ID | 0 = RELEASE2_ID),
    RELEASE3_ID                    INTEGER CONSTRAINT "RELEASE3_ID is an integer" CHECK (RELEASE3_ID | 0 = RELEASE3_ID),
    RELEASE_ID                     INTEGER CONSTRAINT "RELEASE_ID is an integer" CHECK (RELEASE_ID | 0 = RELEASE_ID),
    RELEASE_IMPORTANT              INTEGER CHECK (RELEASE_IMPORTANT IN (0, 1)),
    RELEASE_NOTE_GROUP_ID          INTEGER CONSTRAINT "RELEASE_NOTE_GROUP_ID is an integer" CHECK (RELEASE_NOTE_GROUP_ID | 0 = RELEASE_NOTE_GROUP_ID),
    REPORTED_BY                    TEXT    CONSTRAINT "REPORTED_BY is a text" CHECK (REPORTED_BY < x''),
    RESPOND_BY_DATE                TEXT    CHECK (length(RESPOND_BY_DATE) = 24),
    REVIEWED                       INTEGER CHECK (REVIEWED IN (0, 1)),
    SECTION_TIMEZONE               TEXT    CONSTRAINT "SECTION_TIMEZONE is a text" CHECK (SECTION_TIMEZONE < x''),
    SERVICE_STATUS_NOTE            TEXT    CONSTRAINT "SERVICE_STATUS_NOTE is a text" CHECK (SERVICE_STATUS_NOTE < x''),
    SITE_ID                        INTEGER CONSTRAINT "SITE_ID is an integer" CHECK (SITE_ID | 0 = SITE_ID),
    SITE_NAME                      TEXT    CONSTRAINT "SITE_NAME is a text" CHECK (SITE_NAME < x''),
    SITE_TIMEZONE                  TEXT    CONSTRAINT "SITE_TIMEZONE is a text" CHECK (SITE_TIMEZONE < x''),
    SLA_HOLD_TIME                  REAL    CONSTRAINT "SLA_HOLD_TIME is a number" CHECK (SLA_HOLD_TIME < ''),
    SLA_ID                         INTEGER CONSTRAINT "SLA_ID is an integer" CHECK (SLA_ID | 0 = SLA_ID),
    SOURCE                         INTEGER CONSTRAINT "SOURCE is an integer" CHECK (SOURCE | 0 = SOURCE),
    START_TIME                     TEXT    CONSTRAINT "START_TIME is a text" CHECK (START_TIME < x''),
    START_TIME_SLOT                INTEGER CONSTRAINT "START_TIME_SLOT is an integer" CHECK (START_TIME_SLOT | 0 = START_TIME_SLOT),
    STATUS                         TEXT    CONSTRAINT "STATUS is a text" CHECK (STATUS < x''),
    STATUS_ID                      INTEGER CONSTRAINT "STATUS_ID is an integer" CHECK (STATUS_ID | 0 = STATUS_ID),
    NAME                           TEXT    CONSTRAINT "NAME is a text" CHECK (NAME < x''),
    SUPPLIER_STATUS                INTEGER CONSTRAINT "SUPPLIER_STATUS is an integer" CHECK (SUPPLIER_STATUS | 0 = SUPPLIER_STATUS),
    "TABLE"                        INTEGER CONSTRAINT "TABLE is an integer" CHECK ("TABLE" | 0 = "TABLE"),
    TARGET_DATE                    TEXT    CHECK (length(TARGET_DATE) = 24),
    TARGET_TIME                    TEXT    CONSTRAINT "TARGET_TIME is a text" CHECK (TARGET_TIME < x''),
    TARGET_TIME_SLOT               INTEGER CONSTRAINT "TARGET_TIME_SLOT is an integer" CHECK (TARGET_TIME_SLOT | 0 = TARGET_TIME_SLOT),
    TEAM                           TEXT    CONSTRAINT "TEAM is a text" CHECK (TEAM < x''),
    TEAM_ID                        INTEGER CONSTRAINT "TEAM_ID is an integer" CHECK (TEAM_ID | 0 = TEAM_ID),
    TICKET_AGE                     REAL    CONSTRAINT "TICKET_AGE is a number" CHECK (TICKET_AGE < ''),
    TICKET_TAGS                    TEXT    CONSTRAINT "TICKET_TAGS is a text" CHECK (TICKET_TAGS < x''),
    TICKET_TYPE_ID                 INTEGER CONSTRAINT "TICKET_TYPE_ID is an integer" CHECK (TICKET_TYPE_ID | 0 = TICKET_TYPE_ID),
    UPDATE_SERVICE_STATUS          INTEGER CHECK (UPDATE_SERVICE_STATUS IN (0, 1)),
    URGENCY                        INTEGER CONSTRAINT "URGENCY is an integer" CHECK (URGENCY | 0 = URGENCY),
    USE                            TEXT    CONSTRAINT "USE is a text" CHECK (USE < x''),
    USEFUL_COUNT                   INTEGER CONSTRAINT "USEFUL_COUNT is an integer" CHECK (USEFUL_COUNT | 0 = USEFUL_COUNT),
    USER_DEF_1                     TEXT    CONSTRAINT "USER_DEF_1 is a text" CHECK (USER_DEF_1 < x''),
    USER_DEF_2                     TEXT    CONSTRAINT "USER_DEF_2 is a text" CHECK (USER_DEF_2 < x''),
    USER_DEF_3                     TEXT    CONSTRAINT "USER_DEF_3 is a text" CHECK (USER_DEF_3 < x''),
    USER_DEF_4                     TEXT    CONSTRAINT "USER_DEF_4 is a text" CHECK (USER_DEF_4 < x''),
    USER_DEF_5                     TEXT    CONSTRAINT "USER_DEF_5 is a text" CHECK (USER_DEF_5 < x''),
    USER_EMAIL                     TEXT    CONSTRAINT "USER_EMAIL is a text" CHECK (USER_EMAIL < x''),
    USER_ID                        INTEGER CONSTRAINT "USER_ID is an integer" CHECK (USER_ID | 0 = USER_ID),
    USER_NAME                      TEXT    CONSTRAINT "USER_NAME is a text" CHECK (USER_NAME < x''),
    WORKFLOW_ID                    INTEGER CONSTRAINT "WORKFLOW_ID is an integer" CHECK (WORKFLOW_ID | 0 = WORKFLOW_ID),
    WORKFLOW_SEQ                   INTEGER CONSTRAINT "WORKFLOW_SEQ is an integer" CHECK (WORKFLOW_SEQ | 0 = WORKFLOW_SEQ),
    WORKFLOW_STEP                  INTEGER CONSTRAINT "WORKFLOW_STEP is an integer" CHECK (WORKFLOW_STEP | 0 = WORKFLOW_STEP)
);

-- What halosync keeps for each ticket besides the mapped attributes.
CREATE TABLE ticket_state (
    UID             INTEGER PRIMARY KEY,  -- ticket
    hash            INTEGER,           -- XXH3 of the attributes without the volatile ones; NULL: another
                                       -- program edited the row, the next full scan compares it
    request_no      INTEGER NOT NULL,  -- number of the request whose response was stored
    fields_hash     INTEGER,           -- XXH3 of its custom fields; NULL: not known, or not synchronized
    fields_no       INTEGER,           -- number of the request whose custom fields were stored; 0: another
                                       -- program edited them
    first_seen_at   TEXT NOT NULL,     -- by the local clock
    last_seen_at    TEXT NOT NULL,     -- when it was last written; later full scans have seen it too
    last_seq        INTEGER NOT NULL,  -- its newest change record
    rejected        TEXT,              -- what could not be read of it: names as in `rejects`, separated by commas
    received_hash   INTEGER,           -- XXH3 of the row as received, where it is not stored as received: values were
                                       -- rejected, or the list said nothing about stored extras
    fields_last_modified TEXT          -- the last_update of the version whose custom fields are stored, where it
                                       -- is later than that of the row
);

-- The custom fields of the tickets, if `include_custom_fields` is on. `ticket_custom_fields` shows them as people
-- read them.
CREATE TABLE custom_fields (
    UID       INTEGER NOT NULL,  -- ticket
    FIELD_ID  INTEGER NOT NULL,  -- number of the field; the key, because labels repeat
    NAME      TEXT,  -- name on the server, such as 'CFService'
    LABEL     TEXT,  -- label as people see it
    TYPE      INTEGER,  -- 0 text, 1 memo, 2 selection, 3 selections, 4 date, 5 time, 6 checkbox, 7 table, 10 rich text
    VALUE     TEXT,     -- text as received, every other JSON value as JSON text
    DISPLAY   TEXT,  -- value as people see it, in the language and format of the server's agent
    PRIMARY KEY (UID, FIELD_ID)
) WITHOUT ROWID;

-- What list rows carry beside the mapped attributes. Many servers do not; which columns they carry is the probe
-- 'list_extras'. A ticket that never had any of the values has no row.
CREATE TABLE ticket_extra (
    UID           INTEGER PRIMARY KEY,  -- ticket
    CLOSED_AT     TEXT    CHECK (length(CLOSED_AT) = 24),  -- when it was closed (`dateclosed`)
    RESPONDED_AT  TEXT    CHECK (length(RESPONDED_AT) = 24),  -- first response (`responsedate`)
    ASSIGNED_AT   TEXT    CHECK (length(ASSIGNED_AT) = 24),  -- when it was assigned (`dateassigned`)
    PARENT_ID     INTEGER CONSTRAINT "PARENT_ID is an integer" CHECK (PARENT_ID | 0 = PARENT_ID)  -- its parent ticket (`parent_id`)
);

-- Local edits: whoever writes a row empties its hash, so that the next full scan compares it with the server's.
-- halosync sets the hash again in the transaction of its own writes. REPLACE fires no delete trigger, therefore
-- there is one for inserts. Changing a UID touches two tickets.
CREATE TRIGGER tickets_insert_empties_hash AFTER INSERT ON tickets
BEGIN UPDATE ticket_state SET hash = NULL WHERE UID = new.UID AND hash IS NOT NULL; END;
CREATE TRIGGER tickets_update_empties_hash AFTER UPDATE ON tickets
BEGIN UPDATE ticket_state SET hash = NULL WHERE UID = old.UID AND hash IS NOT NULL; END;
CREATE TRIGGER tickets_new_uid_empties_hash AFTER UPDATE OF UID ON tickets
BEGIN UPDATE ticket_state SET hash = NULL WHERE UID = new.UID AND hash IS NOT NULL; END;
CREATE TRIGGER tickets_delete_empties_hash AFTER DELETE ON tickets
BEGIN UPDATE ticket_state SET hash = NULL WHERE UID = old.UID AND hash IS NOT NULL; END;
CREATE TRIGGER ticket_extra_insert_empties_hash AFTER INSERT ON ticket_extra
BEGIN UPDATE ticket_state SET hash = NULL WHERE UID = new.UID AND hash IS NOT NULL; END;
CREATE TRIGGER ticket_extra_update_empties_hash AFTER UPDATE ON ticket_extra
BEGIN UPDATE ticket_state SET hash = NULL WHERE UID = old.UID AND hash IS NOT NULL; END;
CREATE TRIGGER ticket_extra_new_uid_empties_hash AFTER UPDATE OF UID ON ticket_extra
BEGIN UPDATE ticket_state SET hash = NULL WHERE UID = new.UID AND hash IS NOT NULL; END;
CREATE TRIGGER ticket_extra_delete_empties_hash AFTER DELETE ON ticket_extra
BEGIN UPDATE ticket_state SET hash = NULL WHERE UID = old.UID AND hash IS NOT NULL; END;
CREATE TRIGGER custom_fields_insert_empties_hash AFTER INSERT ON custom_fields
BEGIN UPDATE ticket_state SET fields_hash = NULL, fields_no = 0 WHERE UID = new.UID AND fields_no <> 0; END;
CREATE TRIGGER custom_fields_update_empties_hash AFTER UPDATE ON custom_fields
BEGIN UPDATE ticket_state SET fields_hash = NULL, fields_no = 0 WHERE UID = old.UID AND fields_no <> 0; END;
CREATE TRIGGER custom_fields_new_uid_empties_hash AFTER UPDATE OF UID ON custom_fields
BEGIN UPDATE ticket_state SET fields_hash = NULL, fields_no = 0 WHERE UID = new.UID AND fields_no <> 0; END;
CREATE TRIGGER custom_fields_delete_empties_hash AFTER DELETE ON custom_fields
BEGIN UPDATE ticket_state SET fields_hash = NULL, fields_no = 0 WHERE UID = old.UID AND fields_no <> 0; END;

-- The known custom fields, which are requested with the list.
CREATE TABLE field_definitions (
    FIELD_ID  INTEGER PRIMARY KEY,  -- number of the field
    NAME      TEXT,  -- name on the server
    LABEL     TEXT,  -- label as people see it
    TYPE      INTEGER  -- as in `custom_fields`
);

-- Names of the statuses.
CREATE TABLE statuses (
    ID        INTEGER PRIMARY KEY,  -- `STATUS_ID` of tickets
    NAME      TEXT,  -- name; NULL where `[privacy]` holds it back
    TYPE      INTEGER,  -- 0 is a ticket status
    SEQUENCE  INTEGER,  -- order in which the server shows them
    COLOUR    TEXT,  -- such as '#a1c652'
    CLOSED    INTEGER CHECK (CLOSED IN (0, 1)),  -- 1: its tickets are closed; NULL: the server does not say
    PRESENT   INTEGER NOT NULL DEFAULT 1  -- 0: no longer listed; tickets may still name it
);

-- Names of the ticket types.
CREATE TABLE ticket_types (
    ID        INTEGER PRIMARY KEY,  -- `TICKET_TYPE_ID` of tickets
    NAME      TEXT,  -- name; NULL where `[privacy]` holds it back
    "USE"     TEXT,  -- what its tickets are used as, such as 'ticket'
    SEQUENCE  INTEGER,  -- order in which the server shows them
    PRESENT   INTEGER NOT NULL DEFAULT 1  -- 0: no longer listed; tickets may still name it
);

-- Who works on tickets. 1 is nobody: "Unassigned".
CREATE TABLE agents (
    ID         INTEGER PRIMARY KEY,  -- `AGENT_ID` of tickets
    NAME       TEXT,  -- name; NULL where `[privacy]` holds it back
    INITIALS   TEXT,  -- initials
    JOB_TITLE  TEXT,  -- job title
    TEAM       TEXT,  -- the name of the default team
    DISABLED   INTEGER CHECK (DISABLED IN (0, 1)),  -- 1: can no longer sign in; tickets may still name the agent
    API_AGENT  INTEGER CHECK (API_AGENT IN (0, 1)),  -- 1: a program and no person
    PRESENT    INTEGER NOT NULL DEFAULT 1  -- 0: no longer listed
);

-- Teams that tickets are assigned to.
CREATE TABLE teams (
    ID               INTEGER PRIMARY KEY,  -- `TEAM_ID` of tickets
    NAME             TEXT,  -- name; NULL where `[privacy]` holds it back
    SEQUENCE         INTEGER,  -- order in which the server shows them
    DEPARTMENT_ID    INTEGER,  -- department
    DEPARTMENT_NAME  TEXT,  -- name of the department
    INACTIVE         INTEGER CHECK (INACTIVE IN (0, 1)),  -- 1: no longer in use
    FOR_REQUESTS     INTEGER CHECK (FOR_REQUESTS IN (0, 1)),  -- 1: tickets can be assigned to it
    PRESENT          INTEGER NOT NULL DEFAULT 1  -- 0: no longer listed
);

-- Priority 3 of one SLA is not priority 3 of another: look one up by both numbers.
CREATE TABLE priorities (
    SLA_ID          INTEGER NOT NULL,  -- `SLA_ID` of tickets
    PRIORITY_ID     INTEGER NOT NULL,  -- `PRIORITY_ID` of tickets
    NAME            TEXT,  -- name; NULL where `[privacy]` holds it back
    GUID            TEXT,  -- id of the pair on the server
    COLOUR          TEXT,  -- such as '#a1c652'
    HIDDEN          INTEGER CHECK (HIDDEN IN (0, 1)),  -- 1: not offered any longer
    RESPONSE_TIME   REAL,  -- time until the first response is due
    RESPONSE_UNITS  TEXT,  -- such as 'H' for hours, 'D' for days
    FIX_TIME        REAL,  -- time until the fix is due
    FIX_UNITS       TEXT,  -- as `RESPONSE_UNITS`
    PRESENT         INTEGER NOT NULL DEFAULT 1,  -- 0: no longer listed
    PRIMARY KEY (SLA_ID, PRIORITY_ID)
) WITHOUT ROWID;

-- Service level agreements.
CREATE TABLE slas (
    ID              INTEGER PRIMARY KEY,  -- `SLA_ID` of tickets
    NAME            TEXT,  -- name; NULL where `[privacy]` holds it back
    WORKDAY_ID      INTEGER,  -- working hours that it counts
    WORKDAY_NAME    TEXT,  -- name of these
    TRACK_RESPONSE  INTEGER CHECK (TRACK_RESPONSE IN (0, 1)),  -- 1: it has a target for the first response
    TRACK_FIX       INTEGER CHECK (TRACK_FIX IN (0, 1)),  -- 1: it has a target for the fix
    PRESENT         INTEGER NOT NULL DEFAULT 1  -- 0: no longer listed
);

-- Tickets name the path of a category as text; which of the two texts here equals it differs between servers.
CREATE TABLE categories (
    ID                    INTEGER PRIMARY KEY,  -- number of the category
    VALUE                 TEXT,  -- the path as text; NULL where `[privacy]` holds it back
    NAME                  TEXT,  -- its name
    TYPE_ID               INTEGER,  -- the level, 1 to 4
    SLA_ID                INTEGER,  -- service level that it sets
    PRIORITY_ID           INTEGER,  -- priority that it sets
    ITIL_REQUEST_TYPE_ID  INTEGER,  -- ITIL kind that it belongs to
    PRESENT               INTEGER NOT NULL DEFAULT 1  -- 0: no longer listed
);

-- Customers. 1 is "Unknown".
CREATE TABLE clients (
    ID             INTEGER PRIMARY KEY,  -- `CLIENT_ID` of tickets
    NAME           TEXT,  -- name; NULL where `[privacy]` holds it back
    TOPLEVEL_ID    INTEGER,  -- the organization above it
    TOPLEVEL_NAME  TEXT,  -- name of that
    REF            TEXT,  -- reference
    CUSTOMER_TYPE  INTEGER,  -- kind of customer
    IS_VIP         INTEGER CHECK (IS_VIP IN (0, 1)),  -- 1: VIP
    INACTIVE       INTEGER CHECK (INACTIVE IN (0, 1)),  -- 1: no longer in use
    PRESENT        INTEGER NOT NULL DEFAULT 1  -- 0: no longer listed
);

-- Sites of the clients.
CREATE TABLE sites (
    ID           INTEGER PRIMARY KEY,  -- `SITE_ID` of tickets
    NAME         TEXT,  -- name; NULL where `[privacy]` holds it back
    CLIENT_ID    INTEGER,  -- client
    CLIENT_NAME  TEXT,  -- name of the client
    SLA_ID       INTEGER,  -- service level of the site
    TIMEZONE     TEXT,  -- a Windows zone name
    INACTIVE     INTEGER CHECK (INACTIVE IN (0, 1)),  -- 1: no longer in use
    PRESENT      INTEGER NOT NULL DEFAULT 1  -- 0: no longer listed
);

-- End users: personal data, only read where the settings say so.
CREATE TABLE users (
    ID                  INTEGER PRIMARY KEY,  -- `USER_ID` of tickets
    NAME                TEXT,  -- name; NULL where `[privacy]` holds it back
    EMAIL               TEXT,  -- e-mail address
    TITLE               TEXT,  -- title
    CLIENT_ID           INTEGER,  -- client
    CLIENT_NAME         TEXT,  -- name of the client
    SITE_ID             INTEGER,  -- site
    SITE_NAME           TEXT,  -- name of the site
    LINKED_AGENT_ID     INTEGER,  -- 0: none
    IS_SERVICE_ACCOUNT  INTEGER CHECK (IS_SERVICE_ACCOUNT IN (0, 1)),  -- 1: a program and no person
    INACTIVE            INTEGER CHECK (INACTIVE IN (0, 1)),  -- 1: no longer in use
    PRESENT             INTEGER NOT NULL DEFAULT 1  -- 0: no longer listed
);

-- Every change of `tickets`, in order and without gaps. Append-only; old records may be pruned.
CREATE TABLE changes (
    seq                   INTEGER PRIMARY KEY AUTOINCREMENT,  -- number of the record
    UID                   INTEGER NOT NULL,  -- ticket
    op                    TEXT NOT NULL CHECK (op IN ('c', 'u', 'd')),  -- 'c': created here, or returned; 'u': updated;
                    -- 'd': deleted
    reason                TEXT,  -- of 'd': 'vanished', 'deleted', 'merged', 'out_of_scope', 'erased'; of 'u': 'status_renamed',
                    -- 'repaired' (after an edit by another program), 'went_back' (the server was restored from a
                    -- backup), 'custom_fields', 'custom_fields_off'; else NULL
    observed_at           TEXT NOT NULL,  -- when halosync saw it, by the local clock
    not_before            TEXT CHECK (length(not_before) = 24),  -- by the same clock: the start of the newest verified
                    -- scan that would have
                                          -- shown the change; NULL where there was none
    source_last_modified  TEXT,  -- the ticket's last update on the server
    run_id                INTEGER NOT NULL,  -- the run that wrote it
    changed               TEXT,  -- for 'u': JSON, attribute, EXTRA.<NAME> or CUSTOM.<FIELD_ID> to [old, new]
    last_row              TEXT   -- for 'd': JSON, the last known row
);
CREATE INDEX changes_by_ticket ON changes (UID, seq);

-- Tickets that were erased with `halosync purge`. What the server still shows of them is not stored.
CREATE TABLE purged (
    UID        INTEGER PRIMARY KEY,  -- ticket
    purged_at  TEXT NOT NULL CHECK (length(purged_at) = 24),  -- by the local clock
    reason     TEXT NOT NULL  -- the reason given
);

-- The records of an erased ticket keep their numbers and lose what they say about it; nothing else is ever changed.
CREATE TRIGGER changes_append_only BEFORE UPDATE ON changes
WHEN NOT (new.changed IS NULL AND new.last_row IS NULL AND new.reason IS NULL
    AND EXISTS (SELECT 1 FROM purged WHERE UID = old.UID)
    AND new.seq IS old.seq AND new.UID IS old.UID AND new.op IS old.op AND new.observed_at IS old.observed_at
    AND new.not_before IS old.not_before AND new.source_last_modified IS old.source_last_modified
    AND new.run_id IS old.run_id)
BEGIN SELECT RAISE(ABORT, 'changes is append-only'); END;

-- One row: up to when the local copy is complete.
CREATE TABLE watermarks (
    one                 INTEGER PRIMARY KEY CHECK (one = 1),  -- always 1
    scope               TEXT NOT NULL,  -- JSON
    state               TEXT NOT NULL CHECK (state IN ('initial', 'incremental')),  -- 'initial' until the first full
                    -- scan is complete, then 'incremental'
    covered_until       TEXT CHECK (length(covered_until) = 24),  -- every ticket updated before this time is here, by
                    -- the server's clock
    newest_seen         TEXT CHECK (length(newest_seen) = 24),  -- the newest last update of any ticket received
    canary_id           INTEGER,  -- a ticket with `newest_seen` that the next incremental scan must return
    initial_started_at  TEXT CHECK (length(initial_started_at) = 24),  -- start of the initial load, by the server's
                    -- clock
    initial_last_id     INTEGER,  -- the greatest ticket id of the initial load so far
    CHECK (state = 'initial' OR covered_until IS NOT NULL)
);

-- Every move of the watermark, and why.
CREATE TABLE watermark_journal (
    move_id        INTEGER PRIMARY KEY AUTOINCREMENT,  -- number of the move
    moved_at       TEXT NOT NULL,  -- when, by the local clock
    covered_from   TEXT,  -- `watermarks.covered_until` before
    covered_until  TEXT,  -- and after
    reason         TEXT NOT NULL,  -- such as 'verified', 'unidentified_rows', 'accepted_shortfall', 'clock_stepped',
                    -- 'scope_changed', or the reason given to `halosync reset`
    run_id         INTEGER  -- the run; NULL: none
);

-- When each reference table was read last, and what came of it.
CREATE TABLE reference_lists (
    name         TEXT PRIMARY KEY,  -- of the table
    -- 'listed'; 'partial': not yet read to its end; 'forbidden'; 'missing': the server has no such list; or why the
    -- answer changed nothing: 'empty', 'shrunk': it has fewer than half of the rows, 'incomplete': its pages do not have
    -- all rows, 'unreadable'
    result       TEXT NOT NULL,
    details      TEXT,  -- why it could not be read
    read_at      TEXT NOT NULL CHECK (length(read_at) = 24),  -- by the local clock
    unknown_ids  TEXT,     -- numbers that were looked up in vain since then, separated by commas
    attempts     INTEGER NOT NULL DEFAULT 0,  -- answers in succession that changed nothing
    next_page    INTEGER,  -- of a partial list: the page to continue with
    unreadable   INTEGER,  -- of a partial list: elements on the pages before that could not be read
    seen         BLOB      -- of a partial list: the ids on the pages before, a serialized roaring bitmap
);

-- Facts about the server, and when something about it was last refreshed.
CREATE TABLE server_probes (
    probe      TEXT PRIMARY KEY,  -- what was measured, such as 'date_filter' or 'list_extras'
    result     TEXT NOT NULL,  -- the result, a word or a number
    details    TEXT,  -- how it was found; of 'token_url': the address
    probed_at  TEXT NOT NULL  -- when, by the local clock
);

-- Every run, as long as `keep_runs` says.
CREATE TABLE runs (
    run_id         INTEGER PRIMARY KEY AUTOINCREMENT,  -- number of the run
    kind           TEXT NOT NULL,     -- 'sync', 'dry_run', or 'check', whose requests count against the rate limit
    outcome        TEXT CHECK (outcome IN ('complete', 'incomplete', 'failed')),  -- 'complete',
                    -- 'incomplete' or 'failed'; NULL: running, or killed
    error          TEXT,  -- why it is incomplete or failed
    started_at     TEXT NOT NULL,  -- by the local clock
    ended_at       TEXT,  -- by the local clock; NULL: running, or killed
    requests       INTEGER NOT NULL DEFAULT 0,  -- HTTP requests, those for tokens included
    list_requests  INTEGER NOT NULL DEFAULT 0,  -- those of them for pages of the ticket list
    retries        INTEGER NOT NULL DEFAULT 0,  -- requests that were repeated
    received       INTEGER NOT NULL DEFAULT 0,  -- ticket rows
    created        INTEGER NOT NULL DEFAULT 0,  -- tickets created
    updated        INTEGER NOT NULL DEFAULT 0,  -- tickets updated
    deleted        INTEGER NOT NULL DEFAULT 0  -- tickets deleted
);

-- Every scan of the ticket list: a run has one or more.
CREATE TABLE scans (
    scan_id       INTEGER PRIMARY KEY AUTOINCREMENT,  -- number of the scan
    run_id        INTEGER NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,  -- its run
    kind          TEXT NOT NULL CHECK (kind IN ('full', 'incremental')),  -- 'full': the whole list; 'incremental': what
                    -- was updated since the watermark
    outcome       TEXT CHECK (outcome IN ('verified', 'confirmed', 'incomplete', 'count_mismatch', 'failed')),  -- how
                    -- it ended: proved complete, a second full scan agreed, something may be missing, the counts differ,
                    -- or a fault ended it; NULL: not ended
    pages         INTEGER NOT NULL DEFAULT 0,  -- pages received
    unique_ids    INTEGER NOT NULL DEFAULT 0,  -- different tickets received
    record_count  INTEGER,  -- how many tickets the server counted
    count_fell    INTEGER NOT NULL DEFAULT 0,  -- 1: that count was lower than before
    reads         INTEGER NOT NULL DEFAULT 1,  -- how many times the list was read
    updated_from  TEXT,                        -- the lower bound of an incremental scan
    is_initial    INTEGER NOT NULL DEFAULT 0,  -- the initial load of its scope
    accepted      INTEGER NOT NULL DEFAULT 0,  -- it moved the watermark although the counts did not agree
    resumed       INTEGER NOT NULL DEFAULT 0,  -- 1: it continued an interrupted one
    last_move_id  INTEGER NOT NULL,            -- the newest `watermark_journal.move_id` when it began
    started_at    TEXT NOT NULL,  -- by the local clock
    ended_at      TEXT  -- by the local clock
);

-- How late the server showed changes: the greatest lateness of each incremental scan that met a late one. More than a
-- day is not lateness.
CREATE TABLE lateness (
    scan_id      INTEGER PRIMARY KEY REFERENCES scans (scan_id) ON DELETE CASCADE,  -- its scan
    -- from the last update of a version to the start of the newest verified scan before it was first seen, by the
    -- server's clock: that scan should have shown it
    seconds      REAL NOT NULL CHECK (0 < seconds),
    measured_at  TEXT NOT NULL CHECK (length(measured_at) = 24)  -- by the local clock
);

-- Fields in the server's answers that no mapping knows: their names and JSON types, never a value. One page of each
-- scan is searched, one single ticket of each run, and each reference list (of those that come page by page the first
-- page). At most 1,000 of each object are kept.
CREATE TABLE unmapped_fields (
    object         TEXT NOT NULL,  -- 'tickets': a row of the list; 'ticket': a single ticket; else a reference table
    field          TEXT NOT NULL,  -- name of the property, without control characters, cut off after 64 characters
    -- type of its value; 'null' only where no other was seen
    json_type      TEXT NOT NULL CHECK (json_type IN ('null', 'boolean', 'number', 'string', 'array', 'object')),
    first_seen_at  TEXT NOT NULL CHECK (length(first_seen_at) = 24),  -- by the local clock; with the type 'null' before
                    -- another one was seen, too
    last_seen_at   TEXT NOT NULL CHECK (length(last_seen_at) = 24),  -- by the local clock
    PRIMARY KEY (object, field, json_type)
) WITHOUT ROWID;

-- When the answers of an object were searched for unmapped fields. What was there at the first time is not new.
CREATE TABLE field_searches (
    object             TEXT PRIMARY KEY,  -- as in unmapped_fields
    first_searched_at  TEXT NOT NULL CHECK (length(first_searched_at) = 24),  -- by the local clock
    last_searched_at   TEXT NOT NULL CHECK (length(last_searched_at) = 24)  -- by the local clock
) WITHOUT ROWID;

-- What `[privacy]` holds back in this database. It is compared with the settings before each run.
CREATE TABLE privacy_rules (
    name     TEXT PRIMARY KEY,  -- as in the settings: an attribute, EXTRA.<NAME>, CUSTOM.<FIELD_ID>, or table.COLUMN
    -- 'exclude': not stored; 'hash': stored as HMAC-SHA256
    rule     TEXT NOT NULL CHECK (rule IN ('exclude', 'hash')),
    key_id   TEXT,  -- of 'hash': tells whether the key is still the same
    since    TEXT NOT NULL CHECK (length(since) = 24),  -- when it was carried out, by the local clock
    -- where earlier values may be left: 0 nowhere, 1 in the -wal file, because a program was reading, 2 in the database file
    traces   INTEGER NOT NULL DEFAULT 2
) WITHOUT ROWID;

-- Where an interrupted full scan continues: one row for each of its commits.
CREATE TABLE scan_checkpoints (
    scan_id            INTEGER NOT NULL REFERENCES scans (scan_id) ON DELETE CASCADE,  -- its scan
    part               INTEGER NOT NULL,  -- index of the list being read, from 0
    cursor             INTEGER,           -- the greatest id committed
    server_started_at  TEXT,              -- the start of the scan by the server's clock
    ids                BLOB NOT NULL,     -- serialized roaring bitmap: the ids received
    older              BLOB NOT NULL,     -- the same: ids received in an older version than the stored one
    rejected_rows      TEXT               -- in the newest checkpoint of a list: its rows without an id so far, as
                                          -- JSON: page, the ticket before it, reason, text
);

-- What must still be requested ticket by ticket: tickets that are listed but could not be read, and custom fields.
CREATE TABLE pending_fetches (
    UID       INTEGER NOT NULL,  -- ticket
    kind      TEXT NOT NULL CHECK (kind IN ('ticket', 'custom_fields')),  -- 'ticket': the ticket itself;
                    -- 'custom_fields': its custom fields
    -- 'unread' before the first attempt, then why the last one failed: 'unreadable': the server refuses to show the
    -- ticket; 'not_understood': the answer could not be read; 'too_large'; 'unavailable'; 'stale': older than the row
    reason    TEXT NOT NULL,
    attempts  INTEGER NOT NULL DEFAULT 0,  -- failed attempts
    due_at    TEXT NOT NULL,  -- when it is requested next, by the local clock
    PRIMARY KEY (UID, kind)
) WITHOUT ROWID;

-- Every batch of rows looks for the few pending tickets, among custom fields that may be pending for all.
CREATE INDEX pending_tickets ON pending_fetches (UID, attempts) WHERE kind = 'ticket';

-- Tickets that the server no longer lists and that are not confirmed as deleted.
CREATE TABLE unlisted_tickets (
    UID              INTEGER PRIMARY KEY,  -- ticket
    status           TEXT NOT NULL,  -- what the server answered, or why it was not asked
    first_missed_at  TEXT NOT NULL,  -- when a scan first did not list it, by the local clock
    ask_again_at     TEXT NOT NULL  -- when the server is asked next, by the local clock
);

-- Values and rows that could not be stored as received, until they can be read again. Of a rejected value the last
-- good one stays in its table. More than 1,000 of one attribute are one row without `UID`.
CREATE TABLE rejects (
    reject_id  INTEGER PRIMARY KEY,  -- number of the row
    UID        INTEGER,  -- NULL: rows without a usable id, many values of one attribute, or a reference table
    attribute  TEXT,     -- as in `changes.changed`; 'customfields': elements without a usable id; the name of a
                         -- reference table: elements of it. NULL: a whole row, as the last full scan showed it
    reason     TEXT NOT NULL,  -- why it could not be stored
    raw        TEXT,                        -- the value as JSON, cut off after 1,000 characters; NULL where the settings
                                            -- have privacy rules
    after_id   INTEGER,                     -- of a whole row: the ticket before it on its page
    count      INTEGER NOT NULL DEFAULT 1,  -- values or rows that this row stands for
    seen_at    TEXT NOT NULL  -- when, by the local clock
);
CREATE UNIQUE INDEX rejects_by_ticket ON rejects (UID, attribute);
CREATE INDEX rejects_by_attribute ON rejects (attribute);

-- Who loads the export packages, and how far.
CREATE TABLE consumers (
    name          TEXT PRIMARY KEY,  -- name
    folder        TEXT NOT NULL,  -- of its packages; absolute
    exported_seq  INTEGER NOT NULL DEFAULT 0,  -- the last change record in its packages
    acked_seq     INTEGER NOT NULL DEFAULT 0,  -- the last change record that it has acknowledged
    exported_at   TEXT,  -- when its last package was written, by the local clock
    last_manifest TEXT,  -- `manifest_sha256` of its last package, whose row may have aged out
    previous_manifest TEXT,  -- the one before, where the last package has nothing but reference tables, so that both end at
                    -- the same change record
    reference_seq INTEGER  -- the last change record after which a package has nothing but reference tables
);

-- The reference tables as each consumer has them.
CREATE TABLE exported_reference (
    consumer    TEXT NOT NULL REFERENCES consumers (name) ON DELETE CASCADE,  -- its consumer
    table_name  TEXT NOT NULL,  -- the table
    hash        INTEGER NOT NULL,  -- XXH3 of its rows
    PRIMARY KEY (consumer, table_name)
) WITHOUT ROWID;

-- The export packages.
CREATE TABLE packages (
    consumer         TEXT NOT NULL REFERENCES consumers (name) ON DELETE CASCADE,  -- its consumer
    from_seq         INTEGER NOT NULL,  -- the change record before the first one in it
    to_seq           INTEGER NOT NULL CHECK (from_seq <= to_seq),  -- the last change record in it;
                    -- equal to `from_seq`: nothing but reference tables
    -- 'named' before its files have their names, so that what has another hash is never published; then 'published'
    state            TEXT NOT NULL CHECK (state IN ('named', 'published')),
    manifest         TEXT CHECK ((manifest IS NULL) = (state = 'published')),  -- the content of its manifest
    data_file        TEXT NOT NULL,  -- name of the file with the rows
    manifest_file    TEXT NOT NULL,  -- name of its manifest
    "rows"           INTEGER NOT NULL,  -- rows in the data file
    bytes            INTEGER NOT NULL,  -- size of the data file
    sha256           TEXT NOT NULL,  -- SHA-256 of the data file
    manifest_sha256  TEXT NOT NULL,  -- SHA-256 of the manifest
    created_at       TEXT NOT NULL,  -- by the local clock
    reference        TEXT NOT NULL DEFAULT '{}',  -- JSON: its reference tables with their hashes
    shipped_at       TEXT,  -- when all of it was in the lake, by the local clock; NULL if it is not for the lake
    PRIMARY KEY (consumer, to_seq, from_seq)
) WITHOUT ROWID;

-- The epochs that this copy has begun in the lake, each with everything; the newest row is the present one.
CREATE TABLE lake_epochs (
    id            INTEGER PRIMARY KEY,  -- ascending
    url           TEXT NOT NULL,  -- of the lake
    server        TEXT NOT NULL,  -- the name of this copy there
    epoch         INTEGER NOT NULL,  -- its number there
    lineage       TEXT NOT NULL,  -- the lineage of its packages
    token         TEXT NOT NULL,  -- random; stands in the claim, so that a retry knows its own
    reason        TEXT NOT NULL,  -- why it began
    begun_at      TEXT NOT NULL,  -- by the local clock
    claimed_at    TEXT,  -- when the lake had its claim
    announced_at  TEXT,  -- when its first package was in the lake, and readers were told
    end_reason    TEXT,  -- why the next push begins another one, if that is known already
    last_intent   TEXT,  -- the object that says what its last package holds; recorded before that is put
    last_manifest TEXT  -- the hash of that package's manifest
);

-- How shipping to the lake went; one row.
CREATE TABLE lake_pushes (
    id            INTEGER PRIMARY KEY CHECK (id = 1),  -- 1
    attempted_at  TEXT NOT NULL,  -- when the last push began, by the local clock
    succeeded_at  TEXT,  -- when the last one ended that shipped everything
    failures      INTEGER NOT NULL,  -- failed pushes since then
    error         TEXT  -- why the last one failed
);

-- The identity of this sequence of change records: the newest row is the present lineage, the others are
-- earlier ones. A restored backup starts a new one.
CREATE TABLE lineage (
    lineage         TEXT PRIMARY KEY,  -- a random UUID
    since           TEXT NOT NULL,  -- when it began, by the local clock
    reason          TEXT NOT NULL,  -- why it began, such as 'created' or 'an older copy was restored'
    complete_after  INTEGER NOT NULL DEFAULT 0  -- earlier change records aged out or were lost, no later one is missing
);

-- Counting and dating tickets by status reads this index alone; the rows of `tickets` are about 1 KB each.
CREATE INDEX tickets_by_status ON tickets (STATUS_ID, SOURCE_CREATED_DATE);

-- Every ticket once, with names for its numbers: the everyday columns first, then all other attributes. A name that is
-- not known is NULL; the number is still there. Names of what the server no longer lists are kept.
CREATE VIEW ticket_overview AS
SELECT
    t.UID, t.NAME, t.STATUS,
    -- Subqueries and no joins: no name can lose or double a ticket, and a name that is not asked for costs nothing.
    (SELECT n.NAME FROM ticket_types n WHERE n.ID = t.TICKET_TYPE_ID) AS TICKET_TYPE,  -- name of the ticket type
    CASE WHEN COALESCE(t.SLA_ID, 0) <> 0
        THEN (SELECT n.NAME FROM priorities n WHERE n.SLA_ID = t.SLA_ID AND n.PRIORITY_ID = t.PRIORITY_ID)
        ELSE (SELECT CASE WHEN MIN(n.NAME) = MAX(n.NAME) THEN MIN(n.NAME) END FROM priorities n
            WHERE n.PRIORITY_ID = t.PRIORITY_ID)
    END AS PRIORITY,  -- name of the priority in the ticket's SLA; without one, the name that all SLAs give the number,
                    -- else NULL
    (SELECT n.NAME FROM slas n WHERE n.ID = t.SLA_ID) AS SLA,  -- name of the service level agreement
    (SELECT n.NAME FROM agents n WHERE n.ID = t.AGENT_ID AND n.ID <> 1) AS AGENT,  -- name of the agent; NULL: nobody
                    -- (`AGENT_ID` 1), or an agent that the server does not list
    COALESCE(NULLIF(t.TEAM, ''), (SELECT n.NAME FROM teams n WHERE n.ID = t.TEAM_ID)) AS TEAM,  -- name of the team; by
                    -- `TEAM_ID` where the ticket does not name it
    t.CLIENT_NAME, t.SITE_NAME, t.USER_NAME, t.SOURCE_CREATED_DATE,
    t.CLOSED,  -- 1 if the status counts as closed, by `statuses.CLOSED`; if the server does not say, only status 9 does
    CASE WHEN t.CLOSED THEN (SELECT x.CLOSED_AT FROM ticket_extra x WHERE x.UID = t.UID) END AS CLOSED_AT,  -- when it was
                    -- closed; NULL: it is open, or the server does not say
    (SELECT x.RESPONDED_AT FROM ticket_extra x WHERE x.UID = t.UID) AS RESPONDED_AT,  -- first response; NULL: none, or
                    -- the server does not say
    (SELECT x.ASSIGNED_AT FROM ticket_extra x WHERE x.UID = t.UID) AS ASSIGNED_AT,  -- when it was assigned; NULL as above
    (SELECT NULLIF(x.PARENT_ID, 0) FROM ticket_extra x WHERE x.UID = t.UID) AS PARENT_ID,  -- its parent ticket; NULL as above
    ROUND(24 * (
        julianday(CASE WHEN t.CLOSED THEN (SELECT x.CLOSED_AT FROM ticket_extra x WHERE x.UID = t.UID) ELSE 'now' END)
        - julianday(t.SOURCE_CREATED_DATE)
    ), 2) AS AGE_HOURS,  -- hours from its creation until now, or until it was closed; computed when asked. NULL: it is
                    -- closed and the server does not say when
    t.SOURCE_LAST_MODIFIED, t.LAST_ACTION_DATE, t.FIX_BY_DATE, t.ON_HOLD, t.CATEGORY_1, t.DESCRIPTION,
    t.AGENT_ID, t.APPOINTMENT_TYPE, t.ATTACHMENT_COUNT, t.CATEGORY_1_DISPLAY, t.CATEGORY_2,
    t.CATEGORY_2_DISPLAY, t.CATEGORY_3, t.CATEGORY_3_DISPLAY, t.CATEGORY_4, t.CATEGORY_4_DISPLAY,
    t.CHILD_COUNT, t.CLIENT_ID, t.COST, t.CREATED_FROM_AUTOMATION_STD_ID, t.DEADLINE_DATE,
    t.DEPARTMENT_ID, t.EMAIL_TO_LIST, t.END_USER_STATUS, t.ESTIMATE, t.ESTIMATE_DAYS,
    t.EXCLUDE_FROM_SLA, t.FLAGGED, t.GUID, t.ID_SUMMARY, t.IMPACT, t.IMPACT_LEVEL, t.INACTIVE,
    t.INVOICE_SEPERATELY_OVERRIDE, t.IS_IMPORTANT_CONTACT, t.IS_VIP, t.ITIL_REQUEST_TYPE_ID,
    t.LAST_INCOMING_EMAIL, t.MATCHED_KB_ID, t.MAXIMUM_RESTRICTED_PRIORITY, t.MERGED_INTO_ID,
    t.NOT_USEFUL_COUNT, t.OPEN_SEARCH_SCORE, t.OPP_COMPANY_NAME, t.OPP_VALUE_ADJUSTED,
    t.ORGANISATION_ID, t.PIPELINE_STAGE_ID, t.PRIORITY_ID, t.PRODUCT_ID, t.PURCHASE_ORDER_NUMBER,
    t.QUANTITY, t.READ, t.RELEASE2_ID, t.RELEASE3_ID, t.RELEASE_ID, t.RELEASE_IMPORTANT,
    t.RELEASE_NOTE_GROUP_ID, t.REPORTED_BY, t.RESPOND_BY_DATE, t.REVIEWED, t.SECTION_TIMEZONE,
    t.SERVICE_STATUS_NOTE, t.SITE_ID, t.SITE_TIMEZONE, t.SLA_HOLD_TIME, t.SLA_ID, t.SOURCE,
    t.START_TIME, t.START_TIME_SLOT, t.STATUS_ID, t.SUPPLIER_STATUS, t."TABLE", t.TARGET_DATE,
    t.TARGET_TIME, t.TARGET_TIME_SLOT, t.TEAM_ID, t.TICKET_AGE, t.TICKET_TAGS, t.TICKET_TYPE_ID,
    t.UPDATE_SERVICE_STATUS, t.URGENCY, t.USE, t.USEFUL_COUNT, t.USER_DEF_1, t.USER_DEF_2,
    t.USER_DEF_3, t.USER_DEF_4, t.USER_DEF_5, t.USER_EMAIL, t.USER_ID, t.WORKFLOW_ID,
    t.WORKFLOW_SEQ, t.WORKFLOW_STEP
FROM (
    -- The list of closed statuses is made once for a query.
    SELECT *, COALESCE(STATUS_ID IN (
        SELECT ID FROM statuses WHERE CLOSED = 1
        UNION ALL
        SELECT 9 WHERE NOT EXISTS (SELECT 1 FROM statuses WHERE ID = 9 AND CLOSED IS NOT NULL)
    ), 0) AS CLOSED FROM tickets
) t;

-- Tickets whose status does not count as closed.
CREATE VIEW open_tickets AS SELECT * FROM ticket_overview WHERE CLOSED = 0;

-- Tickets whose status counts as closed.
CREATE VIEW closed_tickets AS SELECT * FROM ticket_overview WHERE CLOSED = 1;

-- Open tickets past their fix-by date, without those on hold and those that no service level applies to. `FIX_BY_DATE`
-- is the deadline that servers keep; they say of a stopped service-level clock by `ON_HOLD`.
CREATE VIEW overdue_tickets AS
SELECT *,
    ROUND(24 * (julianday('now') - julianday(FIX_BY_DATE)), 2) AS HOURS_OVERDUE  -- hours since the fix-by date; not
                    -- working hours
FROM open_tickets
WHERE FIX_BY_DATE < strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
    AND COALESCE(ON_HOLD, 0) = 0 AND COALESCE(EXCLUDE_FROM_SLA, 0) = 0;

-- Deleted tickets: why, when that was noticed, and the last known row, which is NULL where it was lost here before. A
-- deletion whose change record has aged out is not here.
CREATE VIEW deleted_tickets AS
SELECT c.UID,
    c.reason AS REASON,  -- 'vanished', 'deleted', 'merged', 'out_of_scope', or 'erased': then nothing else is known
    c.observed_at AS SEEN_AT,  -- when halosync noticed it, by the local clock
    json_extract(c.last_row, '$.NAME') AS NAME,
    json_extract(c.last_row, '$.STATUS') AS STATUS,
    json_extract(c.last_row, '$.TEAM') AS TEAM,
    json_extract(c.last_row, '$.AGENT_ID') AS AGENT_ID,
    (SELECT n.NAME FROM agents n
     WHERE n.ID = json_extract(c.last_row, '$.AGENT_ID') AND n.ID <> 1) AS AGENT,  -- name of the agent; NULL: nobody, or
                    -- an agent that the server does not list
    json_extract(c.last_row, '$.CLIENT_NAME') AS CLIENT_NAME,
    json_extract(c.last_row, '$.USER_NAME') AS USER_NAME,
    json_extract(c.last_row, '$.SOURCE_CREATED_DATE') AS SOURCE_CREATED_DATE,
    NULLIF(json_extract(c.last_row, '$.MERGED_INTO_ID'), 0) AS MERGED_INTO_ID,  -- the ticket that it was merged into;
                    -- NULL: none
    c.source_last_modified AS SOURCE_LAST_MODIFIED,
    c.last_row AS LAST_ROW  -- JSON: the last known attributes, and `_custom_fields` if there are any
FROM changes c
WHERE c.op = 'd'
    AND c.seq = (SELECT MAX(l.seq) FROM changes l WHERE l.UID = c.UID)
    AND NOT EXISTS (SELECT 1 FROM tickets t WHERE t.UID = c.UID);

-- One row for each changed attribute; a created or deleted ticket has one row without an attribute. Left out are the
-- second of two attributes that say the same (`STATUS_ID` where `STATUS` changed with it), and what moves with every edit
-- or request: `SOURCE_LAST_MODIFIED`, `LAST_ACTION_DATE`, `TICKET_AGE`, `OPEN_SEARCH_SCORE`. An edit that changed nothing
-- else, such as a note, has no row; `changes` has every record. What was repaired here after an edit by another program
-- is no event of the ticket.
CREATE VIEW ticket_history AS
SELECT c.UID, c.seq, c.op, c.reason, c.observed_at, c.not_before, c.source_last_modified, c.run_id,
    e.key AS attribute,  -- its name in `tickets`, `EXTRA.` and its name in `ticket_extra`, or `CUSTOM.` and the number of
                    -- a custom field
    json_extract(e.value, '$[0]') AS old_value,  -- before the change
    json_extract(e.value, '$[1]') AS new_value  -- after the change
FROM changes c
LEFT JOIN json_each(COALESCE(c.changed, '{}')) e ON 1
WHERE c.reason IS NOT 'repaired' AND CASE
    WHEN e.key IS NULL THEN c.op <> 'u'
    WHEN e.key IN ('SOURCE_LAST_MODIFIED', 'LAST_ACTION_DATE', 'TICKET_AGE', 'OPEN_SEARCH_SCORE') THEN 0
    WHEN e.key = 'STATUS_ID' THEN json_type(c.changed, '$.STATUS') IS NULL
    WHEN e.key = 'TEAM_ID' THEN json_type(c.changed, '$.TEAM') IS NULL
    WHEN e.key = 'CLIENT_ID' THEN json_type(c.changed, '$.CLIENT_NAME') IS NULL
    WHEN e.key = 'SITE_ID' THEN json_type(c.changed, '$.SITE_NAME') IS NULL
    WHEN e.key = 'USER_ID' THEN json_type(c.changed, '$.USER_NAME') IS NULL
    WHEN e.key = 'ID_SUMMARY' THEN json_type(c.changed, '$.NAME') IS NULL
    WHEN e.key = 'CATEGORY_1_DISPLAY' THEN json_type(c.changed, '$.CATEGORY_1') IS NULL
    WHEN e.key = 'CATEGORY_2_DISPLAY' THEN json_type(c.changed, '$.CATEGORY_2') IS NULL
    WHEN e.key = 'CATEGORY_3_DISPLAY' THEN json_type(c.changed, '$.CATEGORY_3') IS NULL
    WHEN e.key = 'CATEGORY_4_DISPLAY' THEN json_type(c.changed, '$.CATEGORY_4') IS NULL
    WHEN e.key GLOB 'CUSTOM.*.DISPLAY'
        THEN json_type(c.changed, '$."' || substr(e.key, 1, length(e.key) - 8) || '"') IS NULL
    ELSE 1
END;

-- One row for each stretch of time that a ticket had one status, as far as halosync knows it, also of deleted tickets.
-- Only a change that halosync has seen gives a stretch a beginning: the first one of each ticket, of one that came back,
-- and what records that aged out would tell, begin at an unknown time and have no length. Several edits may lie between
-- two sightings: then the last one gives `since`, and the change itself lies between `not_before` and `observed_at`. A
-- renamed status is no change.
CREATE VIEW status_intervals AS
WITH points AS (  -- where a stretch ends, and after a change of the status another begins
    SELECT UID, seq, op, reason, observed_at, not_before,
        CASE WHEN op = 'u' AND reason IS NOT 'went_back'
                AND json_type(changed, '$.SOURCE_LAST_MODIFIED') IS NOT NULL
            THEN COALESCE(source_last_modified, observed_at) ELSE observed_at
        END AS at,
        CASE op WHEN 'u' THEN json_extract(changed, '$.STATUS_ID[0]')
            ELSE json_extract(last_row, '$.STATUS_ID') END AS old_id,
        CASE op WHEN 'u' THEN json_extract(changed, '$.STATUS[0]')
            ELSE json_extract(last_row, '$.STATUS') END AS old_name,
        json_extract(changed, '$.STATUS_ID[1]') AS new_id,
        json_extract(changed, '$.STATUS[1]') AS new_name
    FROM changes
    WHERE op = 'd' OR (
        op = 'u' AND COALESCE(reason, '') NOT IN ('status_renamed', 'repaired')
        AND instr(changed, '"STATUS_ID"') AND json_type(changed, '$.STATUS_ID') IS NOT NULL)
    UNION ALL
    SELECT UID, 9223372036854775807, 'now', NULL, NULL, NULL, NULL, STATUS_ID, STATUS, NULL, NULL FROM tickets
), pairs AS (  -- each with the point before it; `begun` is the status that began there
    SELECT UID, op, reason, at, old_id, old_name,
        LAG(at) OVER of_ticket AS begun_at,
        LAG(new_id) OVER of_ticket AS begun, LAG(new_name) OVER of_ticket AS begun_name,
        LAG(observed_at) OVER of_ticket AS begun_observed_at, LAG(not_before) OVER of_ticket AS begun_not_before
    FROM points WINDOW of_ticket AS (PARTITION BY UID ORDER BY seq)
), stretches AS (
    -- The status that a change began, and the one that the next point found, should be the same. Where they are not,
    -- a change between them was not seen: then both are stretches, and neither has a length.
    SELECT UID, reason, op, unseen.is_lost,
        CASE WHEN unseen.is_lost THEN begun ELSE COALESCE(old_id, begun) END AS status_id,
        CASE WHEN unseen.is_lost OR old_id IS NULL THEN begun_name ELSE old_name END AS recorded_name,
        begun IS NOT NULL AND (unseen.is_lost OR old_id IS NULL OR old_id = begun) AS since_known,
        begun_at, begun_observed_at, begun_not_before,
        CASE WHEN unseen.is_lost THEN NULL ELSE at END AS until
    FROM pairs JOIN (SELECT 0 AS is_lost UNION ALL SELECT 1) unseen ON NOT unseen.is_lost OR old_id <> begun
)
SELECT
    UID,  -- ticket
    status_id AS STATUS_ID,  -- the status
    COALESCE((SELECT n.NAME FROM statuses n WHERE n.ID = status_id), recorded_name, status_id || '') AS STATUS,  -- its name
                    -- today
    COALESCE(status_id IN (
        SELECT ID FROM statuses WHERE CLOSED = 1
        UNION ALL
        SELECT 9 WHERE NOT EXISTS (SELECT 1 FROM statuses WHERE ID = 9 AND CLOSED IS NOT NULL)
    ), 0) AS CLOSED,  -- 1 if the status counts as closed, as in `ticket_overview`
    CASE WHEN since_known THEN begun_at END AS since,  -- when it began: the ticket's last update on the server where the
                    -- change moved it, else when halosync saw it. NULL: not known
    until,  -- when it ended, in the same way; NULL: it lasts, or `end_reason` is 'unseen'
    since_known,  -- 1 if halosync saw the change that began it
    CASE WHEN since_known AND NOT is_lost
        THEN ROUND(MAX(24 * (julianday(COALESCE(until, 'now')) - julianday(begun_at)), 0), 2)
    END AS hours,  -- its length, until now if it lasts; NULL where its beginning or its end is not known
    CASE WHEN since_known THEN begun_not_before END AS not_before,  -- the change that began it came after this time, by
                    -- the local clock; NULL: not known
    CASE WHEN since_known THEN begun_observed_at END AS observed_at,  -- and before this time, when halosync saw it
    CASE WHEN since_known
        THEN ROUND(24 * (julianday(begun_observed_at) - julianday(begun_not_before)), 2)
    END AS uncertain_hours,  -- hours between these two; NULL: not known
    CASE WHEN is_lost THEN 'unseen' WHEN op = 'u' THEN 'changed' WHEN op = 'd' THEN COALESCE(reason, 'deleted')
    END AS end_reason  -- 'changed'; why the ticket was deleted; 'unseen': another status was found without a change to it;
                    -- NULL: it lasts
FROM stretches
WHERE status_id IS NOT NULL;

-- Tickets opened, closed, and open at the end of each day (UTC), from the first ticket to today, computed from the dates of
-- the tickets, so that it is right before the copy began. Deleted tickets are not in it, on no day; merged
-- ones are, if the server still lists them. A ticket that was opened again counts as open all the time.
CREATE VIEW backlog_by_day AS
WITH RECURSIVE dated AS (  -- a ticket closed before it was opened, by its dates, was never open
    SELECT substr(SOURCE_CREATED_DATE, 1, 10) AS opened_on, CLOSED AS is_closed,
        CASE WHEN CLOSED THEN MAX(substr(CLOSED_AT, 1, 10), substr(SOURCE_CREATED_DATE, 1, 10)) END AS closed_on,
        COUNT(*) AS tickets
    FROM ticket_overview WHERE SOURCE_CREATED_DATE IS NOT NULL
    GROUP BY 1, 2, 3
), moves AS (  -- each group once on the day of opening and once on the day of closing
    SELECT CASE WHEN side.is_close THEN closed_on ELSE opened_on END AS day,
        SUM(CASE WHEN side.is_close THEN 0 ELSE tickets END) AS opened,
        SUM(CASE WHEN side.is_close THEN tickets ELSE 0 END) AS closed,
        SUM(CASE WHEN side.is_close OR NOT is_closed OR closed_on IS NOT NULL THEN 0 ELSE tickets END) AS unknown
    FROM dated JOIN (SELECT 0 AS is_close UNION ALL SELECT 1) side ON NOT side.is_close OR closed_on IS NOT NULL
    GROUP BY 1
), days (day) AS (
    SELECT day FROM (SELECT MIN(substr(SOURCE_CREATED_DATE, 1, 10)) AS day FROM tickets) WHERE day <= date('now')
    UNION ALL
    SELECT date(day, '+1 day') FROM days WHERE day < date('now')
)
SELECT days.day AS DAY,  -- such as 2026-11-22
    COALESCE(moves.opened, 0) AS OPENED,  -- tickets created on that day
    COALESCE(moves.closed, 0) AS CLOSED,  -- tickets closed on that day
    SUM(COALESCE(moves.opened - moves.closed - moves.unknown, 0)) OVER (ORDER BY days.day) AS BACKLOG,  -- open at its end
    SUM(COALESCE(moves.unknown, 0)) OVER (ORDER BY days.day) AS UNKNOWN  -- created up to then, and closed at a time that
                    -- the server does not say: not in `CLOSED` or `BACKLOG` of any day
FROM days LEFT JOIN moves ON moves.day = days.day
ORDER BY days.day;

-- The custom fields of the stored tickets.
CREATE VIEW ticket_custom_fields AS
SELECT f.UID,
    t.NAME AS TICKET,  -- summary of the ticket
    t.STATUS,  -- status of the ticket
    f.FIELD_ID, f.NAME, f.LABEL,
    CASE f.TYPE WHEN 0 THEN 'text' WHEN 1 THEN 'memo' WHEN 2 THEN 'selection' WHEN 3 THEN 'selections'
        WHEN 4 THEN 'date' WHEN 5 THEN 'time' WHEN 6 THEN 'checkbox' WHEN 7 THEN 'table'
        WHEN 10 THEN 'rich text' END AS KIND,  -- what `TYPE` means
    f.VALUE, f.DISPLAY,
    CASE
        -- A text may be '0' or '[]'.
        WHEN f.TYPE IN (0, 1, 10) THEN COALESCE(NULLIF(f.DISPLAY, ''), NULLIF(f.VALUE, ''))
        WHEN f.TYPE = 6 THEN CASE
            WHEN lower(f.VALUE) IN ('true', '1', 'yes') THEN 'yes'
            WHEN lower(f.VALUE) IN ('false', '0', 'no') THEN 'no'
            ELSE COALESCE(NULLIF(f.DISPLAY, ''), NULLIF(f.VALUE, '')) END
        -- "No date" and "no time" are a day of 1900 or before.
        WHEN f.VALUE GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' AND f.TYPE IS NOT 7
            AND julianday(f.VALUE) IS NOT NULL AND f.VALUE < '1900-01-02'
            THEN CASE WHEN f.TYPE = 5 THEN NULLIF(time(f.VALUE), '00:00:00') END
        WHEN f.TYPE IN (4, 5) AND f.VALUE GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
            AND julianday(f.VALUE) IS NOT NULL
            THEN CASE
                WHEN f.TYPE = 5 THEN time(f.VALUE)
                WHEN strftime('%H:%M:%f', f.VALUE) = '00:00:00.000' THEN date(f.VALUE)
                ELSE strftime('%Y-%m-%dT%H:%M:%fZ', f.VALUE) END
        WHEN f.TYPE = 5 THEN COALESCE(NULLIF(f.VALUE, ''), NULLIF(f.DISPLAY, ''))
        WHEN COALESCE(f.DISPLAY, '') NOT IN ('', '[]', '{}') AND COALESCE(f.VALUE, '') NOT IN ('0', '[]', '{}')
            THEN f.DISPLAY
        WHEN f.VALUE NOT IN ('', '0', '[]', '{}') THEN f.VALUE
    END AS TEXT  -- what people see: `DISPLAY`, else `VALUE`. Dates are 2026-11-22, or with a time
                    -- 2026-11-22T11:58:51.000Z; boxes are 'yes' or 'no'. NULL: the field is empty
FROM custom_fields f JOIN tickets t ON t.UID = f.UID;

-- One row: the state of the database, which `halosync status` and the metrics read from here.
CREATE VIEW sync_health AS
SELECT
    (SELECT state FROM watermarks) AS state,  -- 'initial' until the first full scan is complete, then 'incremental'
    (SELECT covered_until FROM watermarks) AS covered_until,  -- every ticket updated before this time is here
    (SELECT newest_seen FROM watermarks) AS newest_seen,  -- the newest last update of any ticket received
    (SELECT MAX(ended_at) FROM (
        SELECT ended_at FROM runs WHERE kind = 'sync' AND outcome = 'complete'
        UNION ALL
        -- A verified incremental scan counts also inside a full scan that takes hours, or fails.
        SELECT scans.ended_at FROM scans JOIN runs USING (run_id)
        WHERE scans.kind = 'incremental' AND scans.outcome = 'verified'
          AND (runs.outcome IS NULL OR runs.outcome = 'failed')
          AND (SELECT state FROM watermarks) = 'incremental'
    )) AS last_complete_at,  -- when a run, or an incremental scan within one, was last complete
    (SELECT ended_at FROM scans WHERE kind = 'full' AND (outcome IN ('verified', 'confirmed') OR accepted)
     ORDER BY scan_id DESC LIMIT 1) AS last_full_at,  -- when a full scan last showed every ticket
    (SELECT outcome FROM runs WHERE kind = 'sync' ORDER BY run_id DESC LIMIT 1) AS last_outcome,  -- of the last run; NULL: running, or killed
    (SELECT error FROM runs WHERE kind = 'sync' ORDER BY run_id DESC LIMIT 1) AS last_error,  -- why the last run was not complete
    -- `ticket_state` is much smaller than `tickets`, and `changes` may be pruned.
    (SELECT COUNT(*) FROM ticket_state) AS tickets,  -- stored tickets
    COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0) AS last_seq,  -- the number of the newest change record
    (SELECT COUNT(*) FROM pending_fetches WHERE kind = 'ticket') AS pending_tickets,  -- listed, but not readable so far
    (SELECT COUNT(*) FROM pending_fetches WHERE kind = 'ticket' OR reason <> 'unreadable') AS pending_fetches,  -- requests still to be made
    (SELECT COUNT(*) FROM pending_fetches WHERE kind = 'custom_fields' AND reason = 'unreadable') AS unreadable,  -- tickets whose custom fields the server refuses to show
    (SELECT COUNT(*) FROM unlisted_tickets) AS unlisted_tickets,  -- no longer listed, and not confirmed as deleted
    (SELECT COALESCE(SUM(count), 0) FROM rejects) AS rejects;  -- values and rows that could not be stored
