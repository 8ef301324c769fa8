"""What every rival is given: the server, a folder of its own, and the attributes of a ticket."""

import csv
import pathlib
import sys

URL, CLIENT_ID, CLIENT_SECRET = sys.argv[1:4]
FOLDER = pathlib.Path(sys.argv[4])
DATABASE = FOLDER / "tickets.db"
PAGE_SIZE = 100

# Query of a full scan, without the page number.
QUERY = {"pageinate": "true", "page_size": PAGE_SIZE, "order": "id"}
TOKEN_URL = f"{URL}/auth/token"
SCOPE = "read:tickets"

TABLE = pathlib.Path(__file__).resolve().parent.parent.parent / "fixtures/attributes.tsv"


def attributes():
    """Returns name, JSON property and kind of every attribute, in the order of the table."""
    with open(TABLE, newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row["attribute"], row["json_field"], row["kind"]) for row in rows]


JSON_TYPES = {"integer": "integer", "real": "number", "boolean": "boolean"}


def schema():
    """Returns a JSON schema of the server's rows, which do not hold the status name."""
    properties = {
        field: {"type": [JSON_TYPES.get(kind, "string"), "null"]}
        for name, field, kind in attributes()
        if name != "STATUS"
    }
    return {"type": "object", "properties": {**properties, "id": {"type": "integer"}}}
