"""PyAirbyte: a declarative source, read with `get_records`.

PyAirbyte has no SQLite cache (only DuckDB, Postgres and hosted ones), so the records are written to SQLite by
`executemany`. That is less work than a cache does, which also writes files and merges.
"""

import itertools
import sqlite3

import airbyte

from common import CLIENT_ID, CLIENT_SECRET, DATABASE, QUERY, SCOPE, PAGE_SIZE, TOKEN_URL, URL, schema

ROWS_PER_TRANSACTION = 1_000

manifest = {
    "version": "6.0.0",
    "type": "DeclarativeSource",
    "check": {"type": "CheckStream", "stream_names": ["tickets"]},
    "spec": {
        "type": "Spec",
        "connection_specification": {
            "type": "object",
            "properties": {"client_id": {"type": "string"}, "client_secret": {"type": "string"}},
        },
    },
    "streams": [
        {
            "type": "DeclarativeStream",
            "name": "tickets",
            "primary_key": ["id"],
            "schema_loader": {"type": "InlineSchemaLoader", "schema": schema()},
            "retriever": {
                "type": "SimpleRetriever",
                "requester": {
                    "type": "HttpRequester",
                    "url_base": URL,
                    "path": "/api/tickets",
                    "http_method": "GET",
                    "request_parameters": {key: str(value) for key, value in QUERY.items()},
                    "authenticator": {
                        "type": "OAuthAuthenticator",
                        "token_refresh_endpoint": TOKEN_URL,
                        "grant_type": "client_credentials",
                        "client_id": "{{ config['client_id'] }}",
                        "client_secret": "{{ config['client_secret'] }}",
                        "scopes": [SCOPE],
                        "refresh_request_body": {"scope": SCOPE},
                    },
                },
                "record_selector": {
                    "type": "RecordSelector",
                    "extractor": {"type": "DpathExtractor", "field_path": ["tickets"]},
                },
                "paginator": {
                    "type": "DefaultPaginator",
                    "page_token_option": {
                        "type": "RequestOption",
                        "inject_into": "request_parameter",
                        "field_name": "page_no",
                    },
                    "pagination_strategy": {
                        "type": "PageIncrement",
                        "page_size": PAGE_SIZE,
                        "start_from_page": 1,
                        "inject_on_first_request": True,
                    },
                },
            },
        }
    ],
}

source = airbyte.get_source(
    "source-tickets",
    config={"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
    source_manifest=manifest,
)
fields = list(schema()["properties"])
connection = sqlite3.connect(DATABASE, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = NORMAL")
columns = ", ".join(f'"{field}" INTEGER PRIMARY KEY' if field == "id" else f'"{field}"' for field in fields)
connection.execute(f"CREATE TABLE tickets ({columns})")
insert = f"INSERT OR REPLACE INTO tickets VALUES ({', '.join('?' * len(fields))})"
# Kept in a variable: the source stops when the dataset is garbage collected.
dataset = source.get_records("tickets")
records = iter(dataset)
while batch := list(itertools.islice(records, ROWS_PER_TRANSACTION)):
    connection.execute("BEGIN")
    connection.executemany(insert, ([record.get(field) for field in fields] for record in batch))
    connection.execute("COMMIT")
connection.close()
