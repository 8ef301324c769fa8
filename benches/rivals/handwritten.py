"""A script written by hand for this task: httpx, orjson, `executemany`, four threads.

No retries, no change log, no watermark; values as the server sends them.
"""

import queue
import sqlite3
import threading

import httpx
import orjson

from common import CLIENT_ID, CLIENT_SECRET, DATABASE, QUERY, SCOPE, PAGE_SIZE, TOKEN_URL, URL, attributes

THREADS = 4
ROWS_PER_TRANSACTION = 1_000

COLUMNS = {"integer": "INTEGER", "real": "REAL", "boolean": "INTEGER"}


def authenticated_client():
    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "scope": SCOPE,
    }
    token = httpx.post(TOKEN_URL, data=form).json()["access_token"]
    return httpx.Client(base_url=URL, headers={"Authorization": f"Bearer {token}"}, timeout=60)


def main():
    client = authenticated_client()
    names = {row["id"]: row["name"] for row in client.get("/api/status").json()}
    mapping = attributes()
    fields = [field for _, field, _ in mapping]
    status = [name for name, _, _ in mapping].index("STATUS")

    def page(number):
        body = orjson.loads(client.get("/api/tickets", params={**QUERY, "page_no": number}).content)
        rows = []
        for ticket in body["tickets"]:
            row = list(map(ticket.get, fields))
            row[status] = names.get(row[status])
            rows.append(row)
        return body["record_count"], rows

    def fetch():
        while (number := next(numbers, None)) is not None:
            received.put(page(number)[1])

    total, rows = page(1)
    pages = -(-total // PAGE_SIZE)
    numbers = iter(range(2, pages + 1))
    received = queue.Queue(maxsize=4 * THREADS)
    threads = [threading.Thread(target=fetch) for _ in range(THREADS)]
    for thread in threads:
        thread.start()

    connection = sqlite3.connect(DATABASE, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    columns = [
        f'"{name}" INTEGER PRIMARY KEY' if name == "UID" else f'"{name}" {COLUMNS.get(kind, "TEXT")}'
        for name, _, kind in mapping
    ]
    connection.execute(f"CREATE TABLE tickets ({', '.join(columns)})")
    upsert = "INSERT INTO tickets VALUES ({}) ON CONFLICT (UID) DO UPDATE SET {}".format(
        ", ".join("?" * len(mapping)),
        ", ".join(f'"{name}" = excluded."{name}"' for name, _, _ in mapping if name != "UID"),
    )
    for remaining in range(pages - 1, -1, -1):
        if len(rows) >= ROWS_PER_TRANSACTION or remaining == 0:
            connection.execute("BEGIN")
            connection.executemany(upsert, rows)
            connection.execute("COMMIT")
            rows = []
        if remaining:
            rows += received.get()
    connection.close()


main()
