"""singer-sdk: a tap on its `RESTStream`, piped into a target on its `SQLSink`."""

import sqlite3
import subprocess
import sys
from decimal import Decimal
from http import HTTPStatus

from singer_sdk import Tap
from singer_sdk import typing as th
from singer_sdk.authenticators import OAuthAuthenticator
from singer_sdk.pagination import BasePageNumberPaginator
from singer_sdk.sql import SQLConnector, SQLSink, SQLTarget
from singer_sdk.streams import RESTStream

from common import CLIENT_ID, CLIENT_SECRET, DATABASE, QUERY, SCOPE, PAGE_SIZE, TOKEN_URL, URL
from common import schema as ticket_schema


class TicketAuthenticator(OAuthAuthenticator):
    @property
    def oauth_request_body(self):
        return {
            "grant_type": "client_credentials",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "scope": SCOPE,
        }


class TicketPaginator(BasePageNumberPaginator):
    def has_more(self, response):
        return response.status_code == HTTPStatus.OK and len(response.json()["tickets"]) == PAGE_SIZE


class TicketStream(RESTStream):
    name = "tickets"
    path = "/api/tickets"
    url_base = URL
    primary_keys = ("id",)
    schema = ticket_schema()
    records_jsonpath = "$.tickets[*]"

    @property
    def authenticator(self):
        if not hasattr(self, "_authenticator"):
            self._authenticator = TicketAuthenticator(auth_endpoint=TOKEN_URL, oauth_scopes=SCOPE)
        return self._authenticator

    def get_new_paginator(self):
        return TicketPaginator(start_value=1)

    def get_url_params(self, context, next_page_token):
        return {**QUERY, "page_no": next_page_token}


class TapTickets(Tap):
    name = "tap-tickets"
    config_jsonschema = th.PropertiesList().to_dict()

    def discover_streams(self):
        return [TicketStream(self)]


class SqliteConnector(SQLConnector):
    allow_merge_upsert = False

    def get_sqlalchemy_url(self, config):
        return f"sqlite:///{DATABASE}"


class SqliteSink(SQLSink):
    connector_class = SqliteConnector
    max_size = 1_000


# The target reads numbers as Decimal, which Python's sqlite3 does not accept.
sqlite3.register_adapter(Decimal, float)


class TargetSqlite(SQLTarget):
    name = "target-sqlite"
    default_sink_class = SqliteSink
    config_jsonschema = th.PropertiesList().to_dict()


def main():
    role = sys.argv.pop() if len(sys.argv) > 5 else None
    if role == "tap":
        TapTickets(config={}).sync_all()
    elif role == "target":
        TargetSqlite(config={}).listen()
    else:
        command = [sys.executable, *sys.argv]
        tap = subprocess.Popen([*command, "tap"], stdout=subprocess.PIPE)
        target = subprocess.Popen([*command, "target"], stdin=tap.stdout, stdout=subprocess.DEVNULL)
        tap.stdout.close()
        sys.exit(tap.wait() or target.wait())


main()
