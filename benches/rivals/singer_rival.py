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

from job import CLIENT_ID, CLIENT_SECRET, DATABASE, QUERY, SCOPE, PAGE_SIZE, TOKEN_URL, URL
from job import schema as ticket_schema


class TicketAuthenticator(OAuthAuthenticator):
    @property
    def oauth_request_body(self):
        return {
            "grant_type": "client_credentials",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "scope": SCOPE,
        }


class Pages(BasePageNumberPaginator):
    def has_more(self, response):
        return response.status_code == HTTPStatus.OK and len(response.json()["tickets"]) == PAGE_SIZE


class Tickets(RESTStream):
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
        return Pages(start_value=1)

    def get_url_params(self, context, next_page_token):
        return {**QUERY, "page_no": next_page_token}


class TapTickets(Tap):
    name = "tap-tickets"
    config_jsonschema = th.PropertiesList().to_dict()

    def discover_streams(self):
        return [Tickets(self)]


class Connector(SQLConnector):
    allow_merge_upsert = False

    def get_sqlalchemy_url(self, config):
        return f"sqlite:///{DATABASE}"


class Sink(SQLSink):
    connector_class = Connector
    max_size = 1_000


# The target reads numbers as Decimal, which Python's sqlite3 does not accept.
sqlite3.register_adapter(Decimal, float)


class TargetSqlite(SQLTarget):
    name = "target-sqlite"
    default_sink_class = Sink
    config_jsonschema = th.PropertiesList().to_dict()


def main():
    half = sys.argv.pop() if len(sys.argv) > 5 else None
    if half == "tap":
        TapTickets(config={}).sync_all()
    elif half == "target":
        TargetSqlite(config={}).listen()
    else:
        command = [sys.executable, *sys.argv]
        tap = subprocess.Popen([*command, "tap"], stdout=subprocess.PIPE)
        target = subprocess.Popen([*command, "target"], stdin=tap.stdout, stdout=subprocess.DEVNULL)
        tap.stdout.close()
        sys.exit(tap.wait() or target.wait())


main()
