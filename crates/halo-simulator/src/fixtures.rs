//! Invented data of a service desk: statuses, ticket types, clients, people and texts.
//!
//! Addresses are under `example.com` and `example.org`. Ids are Halo's usual defaults where known (1 New, 2 In Progress,
//! 9 Closed, 28 On Hold: halo-api.md §4.1).

use crate::json;

/// A ticket status. The API has no open/closed flag; `closed` is internal to the server.
#[derive(Clone, Debug)]
pub(crate) struct TicketStatus {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) color: &'static str,
    pub(crate) closed: bool,
    /// Number of tickets in 1,000 initial open (or closed) tickets with this status.
    pub(crate) weight: u64,
}

pub(crate) const NEW: i32 = 1;
pub(crate) const CLOSED: i32 = 9;
pub(crate) const ON_HOLD: i32 = 28;

pub(crate) fn statuses() -> Vec<TicketStatus> {
    [
        (NEW, "New", "#a1c652", false, 170),
        (2, "In Progress", "#3f8ae0", false, 340),
        (3, "Awaiting User", "#e0a83f", false, 180),
        (4, "With Supplier", "#9b59b6", false, 90),
        (5, "Awaiting Approval", "#16a085", false, 60),
        (CLOSED, "Closed", "#7f8c8d", true, 940),
        (21, "Updated", "#2ecc71", false, 60),
        (22, "Reopened", "#c0392b", false, 40),
        (ON_HOLD, "On Hold", "#bdc3c7", false, 60),
        (30, "Cancelled", "#95a5a6", true, 60),
    ]
    .into_iter()
    .map(|(id, name, color, closed, weight)| TicketStatus {
        id,
        name: name.to_owned(),
        color,
        closed,
        weight,
    })
    .collect()
}

/// A ticket type, called request type in the API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TicketType {
    pub(crate) id: i32,
    /// Two names have leading or trailing spaces, as on real servers (halo-api.md §4.2).
    pub(crate) name: &'static str,
    /// 1 Incident, 2 Change, 3 Service Request, 4 Problem, 21 Advice.
    pub(crate) itil: i32,
    /// An inactive type is listed only with `showinactive`; old tickets still have it.
    pub(crate) active: bool,
    pub(crate) weight: u64,
}

pub(crate) const TICKET_TYPES: [TicketType; 8] = [
    TicketType { id: 1, name: "Incident", itil: 1, active: true, weight: 420 },
    TicketType { id: 3, name: "Service Request", itil: 3, active: true, weight: 270 },
    TicketType { id: 4, name: "Problem", itil: 4, active: true, weight: 30 },
    TicketType { id: 21, name: "Change Request ", itil: 2, active: true, weight: 70 },
    TicketType { id: 22, name: " Starter or Leaver", itil: 3, active: true, weight: 90 },
    TicketType { id: 33, name: "Access Request", itil: 3, active: true, weight: 60 },
    TicketType { id: 36, name: "General Purpose", itil: 21, active: true, weight: 40 },
    TicketType { id: 40, name: "Fault (old form)", itil: 1, active: false, weight: 20 },
];

/// A team and the department it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Team {
    pub(crate) id: i32,
    pub(crate) name: &'static str,
    pub(crate) department: i32,
}

pub(crate) const TEAMS: [Team; 6] = [
    Team { id: 1, name: "1st Line Support", department: 2 },
    Team { id: 4, name: "2nd Line Support", department: 2 },
    Team { id: 6, name: "Infrastructure", department: 3 },
    Team { id: 7, name: "Applications", department: 3 },
    Team { id: 9, name: "Workplace & Print", department: 2 },
    Team { id: 12, name: "Identity and Access", department: 4 },
];

/// `agent_id` 1 is "unassigned" (halo-api.md §5).
pub(crate) const UNASSIGNED: i32 = 1;
pub(crate) const AGENTS: [i32; 12] = [3, 4, 5, 7, 8, 9, 11, 12, 14, 17, 18, 23];

/// A client; `id` 1 is "Unknown", whose tickets have no user.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: i32,
    /// The name, escaped as the inside of a JSON string, because every row contains it twice.
    pub(crate) name_json: String,
    pub(crate) domain: &'static str,
    pub(crate) sites: &'static [&'static str],
}

pub(crate) fn clients() -> Vec<Client> {
    const ONE: &[&str] = &["Main office"];
    const TWO: &[&str] = &["Head Office", "Warehouse"];
    const FOUR: &[&str] = &["Harbour House", "North Campus", "Depot 7", "Remote workers"];
    [
        ("Unknown", "", ONE),
        ("Alder & Finch", "alderfinch.example.com", TWO),
        ("Bramblewick Foods", "bramblewick.example.com", FOUR),
        ("Copperline Rail", "copperline.example.org", FOUR),
        ("Dunmore Dental Group", "dunmore.example.com", TWO),
        ("Eastgate Borough Council", "eastgate.example.org", FOUR),
        ("Fernhill Schools Trust", "fernhill.example.org", FOUR),
        ("Greywater Utilities", "greywater.example.com", FOUR),
        ("Hartwell \"Hart\" Logistics", "hartwell.example.com", TWO),
        ("Inverness Timber", "invtimber.example.com", ONE),
        ("Juniper Care Homes", "junipercare.example.org", FOUR),
        ("Kestrel Aerospace", "kestrel.example.com", TWO),
        ("Larkspur Legal LLP", "larkspur.example.com", ONE),
        ("Mosscroft University", "mosscroft.example.org", FOUR),
        ("Niño & Sørensen Architects", "ninosorensen.example.com", ONE),
        ("Oakhaven Housing", "oakhaven.example.org", TWO),
        ("Penrose Media", "penrose.example.com", ONE),
        ("Quarry Bank Insurance", "quarrybank.example.com", TWO),
        ("Redwing Robotics", "redwing.example.com", TWO),
        ("Saltmarsh Hotels", "saltmarsh.example.com", FOUR),
    ]
    .into_iter()
    .zip(0..)
    .map(|((name, domain, sites), index)| Client {
        id: if index == 0 { 1 } else { 11 + index },
        name_json: json::escaped(name),
        domain,
        sites,
    })
    .collect()
}

pub(crate) const FIRST_NAMES: [&str; 24] = [
    "Amara", "Bill", "Chen", "Dilys", "Emeka", "Freya", "Grace", "Hassan", "Ines", "Jonah", "Kirsty", "Liam",
    "Mei", "Nadia", "Oscar", "Priya", "Quentin", "Rosa", "Sven", "Tariq", "Ursula", "Víctor", "Wanda", "Zoë",
];
pub(crate) const LAST_NAMES: [&str; 20] = [
    "Abbott",
    "Barlow",
    "Castellano",
    "Dunne",
    "Eriksen",
    "Falkner",
    "Gupta",
    "Holloway",
    "Ibrahim",
    "Jarvis",
    "Kowalski",
    "Lindqvist",
    "Mbeki",
    "Norris",
    "O'Brien",
    "Pettersson",
    "Quigley",
    "Rossi",
    "Silva",
    "Thackeray",
];

pub(crate) const CATEGORIES: [&str; 16] = [
    "Hardware>Laptop>Battery",
    "Hardware>Laptop>Screen",
    "Hardware>Printer>Paper jam",
    "Hardware>Phone",
    "Software>Email>Shared mailbox",
    "Software>Email>Calendar",
    "Software>Finance system",
    "Software>Browser",
    "Network>Wi-Fi",
    "Network>VPN",
    "Network>Shared drive",
    "Access>Password reset",
    "Access>New permission",
    "Administrative>Onboarding",
    "Administrative>Offboarding>Customer",
    "Security>Phishing report",
];
pub(crate) const SUB_CATEGORIES: [&str; 5] =
    ["User error", "Wear and tear", "Configuration", "Supplier fault", "Planned work"];
pub(crate) const TAGS: [&str; 6] =
    ["bug", "vip", "bug,regression", "training", "month end", "onsite,parts ordered"];

pub(crate) const SUMMARIES: [&str; 48] = [
    "Laptop will not start after the weekend",
    "Cannot open the shared mailbox",
    "Printer on the second floor jams on every page",
    "VPN drops every ten minutes",
    "New starter: account, laptop and badge",
    "Leaver: disable account on Friday",
    "Offboarding",
    "Password reset",
    "Locked out after changing the password",
    "Invoice export shows last month's figures",
    "Meeting room screen stays black",
    "Slow Wi-Fi in the canteen",
    "Request for a second monitor",
    "Teams call has no sound",
    "Calendar invitations arrive an hour early",
    "Suspicious e-mail about a parcel",
    "Shared drive S: is missing",
    "Access to the payroll folder",
    "Replace desk phone",
    "Scanner sends to the wrong person",
    "Finance system: error 0x80070005 when posting",
    "Please install the PDF editor",
    "Backup job failed overnight",
    "Certificate of the intranet expires next week",
    "Door reader at gate 3 does not beep",
    "Mobile phone lost on the train",
    "Disk space low on FILE02",
    "Database server restarts at 03:00",
    "Add Wanda to the distribution list",
    "Remove admin rights from the kiosk",
    "Keyboard layout keeps changing",
    "Label printer prints blank labels",
    "Browser shows an old version of the portal",
    "Change request: move DHCP to the new switch",
    "Till 4 cannot take card payments",
    "Question about the travel expenses form",
    "Update the out-of-office message for reception",
    "Projector bulb",
    "Monthly patching, group B",
    "Docking station flickers",
    "Cannot print labels/labels print twice",
    "Site survey for the new warehouse",
    "User reports \"access denied\" on the CRM",
    "Restore a deleted folder",
    "Headset request",
    "SIM card for a tablet",
    "Guest Wi-Fi voucher",
    "Recurring: check UPS batteries",
];

/// Texts that break careless text handling: quotes, line breaks, emoji, right-to-left text, formulas, markup.
pub(crate) const HOSTILE_SUMMARIES: [&str; 12] = [
    "=HYPERLINK(\"http://phish.example.org\",\"Invoice\")",
    "+44 20 7946 0000 does not ring",
    "-1 licences left, says the portal",
    "@everyone the lift is out of order",
    "He said \"it's broken\"; it isn't, 'quite'",
    "Line one\r\nLine two\rLine three\nLine four",
    "\u{202e}txet tfel-ot-thgir\u{202c} شكراً للمساعدة",
    "Monitor on fire 🔥🔥 please hurry 👩‍💻",
    "Robert'); DROP TABLE tickets;--",
    "<script>alert('ticket')</script> & \u{00a0}non-breaking",
    "Tab\there, back\\slash, semi;colon, com,ma",
    "  leading and trailing spaces  ",
];

pub(crate) const SENTENCES: [&str; 40] = [
    "Hello team, since this morning nothing works the way it did on Friday.",
    "I restarted twice and the message is still there.",
    "My colleague at the next desk sees the same, but only in the afternoon.",
    "The reference on the sticker is WS-4471 and the serial number starts with 5CG.",
    "Could somebody call me back before noon, I am in meetings after that.",
    "It says that the server is not available and that I should contact my administrator.",
    "This is the third time this month; the earlier tickets were closed without an answer.",
    "We have a delivery at four and cannot print the labels without it.",
    "Screenshot attached. The red part is what worries me.",
    "I tried from home over the VPN and from the office, both with the cable and over Wi-Fi.",
    "The person who usually does this is on leave until the 14th.",
    "Approved by my manager, see the e-mail below.",
    "Please treat as confidential, it concerns a member of staff who is leaving.",
    "When I press Save the window closes and the change is gone.",
    "The error only appears if the amount is above 1,000.00 and the currency is not GBP.",
    "Kind regards and thank you for the quick help last week!",
    "Remote session held: cleared the cache, signed out everywhere, signed in again; user confirms that it works.",
    "Passed to 2nd line, the log shows a timeout on port 8443 after 30 s.",
    "Supplier has been asked for a replacement part, expected in three working days.",
    "No answer by phone, left a voicemail and sent an e-mail with two proposed times.",
    "Rebooted the switch in cabinet B, ports 12-24 are back.",
    "The certificate had expired; renewed it and restarted the service at 07:45.",
    "Root cause: the scheduled task ran under an account whose password was changed in March.",
    "User has been given a temporary laptop until theirs is repaired.",
    "Waiting for the user's confirmation; will close in three days without an answer.",
    "Workaround: open the file from the portal, not from the shortcut on the desktop.",
    "Checked with the network team, no change was planned in that window.",
    "Restored the folder from last night's backup; two files from today are missing and the user knows.",
    "Added to the group, the change takes up to an hour; please sign out and in again.",
    "Duplicate of an earlier report, linked.",
    "The user's profile was full (49.8 of 50 GB), moved the archive to the shared drive.",
    "Tested with three other accounts on two machines, could not reproduce.",
    "Firmware updated to 4.2.1, the light is green again.",
    "Ticket raised with the building's landlord as well, their number is 20 7946 0812.",
    "I know that you are busy, but this blocks the whole department: twelve people.",
    "It works in the other browser, so this is not urgent any more.",
    "Sent from my phone, please excuse typos.",
    "From: reception / To: service desk / Subject: see above / Date: Tuesday.",
    "\"Request timed out\" appears at 40 %, then the bar starts again from the left.",
    "Résumé: the café's till needs a new cable – 3 m, not 2 m – and nothing else.",
];
