"""What every rival is told: where the server is, which folder is its own, which attributes a ticket has."""

import csv
import pathlib
import sys

URL, CLIENT_ID, CLIENT_SECRET = sys.argv[1:4]
FOLDER = pathlib.Path(sys.argv[4])
DATABASE = FOLDER / "copy.db"
TICKETS_AT_ONCE = 100

# The query of a full walk, without the number of the page.
QUERY = {"pageinate": "true", "page_size": TICKETS_AT_ONCE, "order": "id"}
TOKEN_URL = f"{URL}/auth/token"
SCOPE = "read:tickets"

TABLE = pathlib.Path(__file__).resolve().parent.parent.parent / "fixtures/attributes.tsv"


def attributes():
    """Name, JSON property and kind of every attribute, in the order of the table."""
    with open(TABLE, newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row["attribute"], row["json_field"], row["kind"]) for row in rows]


JSON_TYPES = {"integer": "integer", "real": "number", "boolean": "boolean"}


def schema():
    """The attributes as a JSON schema of the server's rows. The name of the status is not in them."""
    properties = {
        field: {"type": [JSON_TYPES.get(kind, "string"), "null"]}
        for name, field, kind in attributes()
        if name != "STATUS"
    }
    return {"type": "object", "properties": {**properties, "id": {"type": "integer"}}}
