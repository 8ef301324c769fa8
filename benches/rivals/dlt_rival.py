"""dlt: its `rest_api` source into its `sqlalchemy` destination, on SQLite.

`append` adds rows, the least that dlt can do; `merge` stores a ticket once however often it is read, as
halosync does. Nested values stay JSON instead of becoming tables of their own.
"""

import sys

import dlt
from dlt.sources.rest_api import rest_api_source

from common import CLIENT_ID, CLIENT_SECRET, DATABASE, FOLDER, QUERY, SCOPE, TOKEN_URL, URL

source = rest_api_source(
    {
        "client": {
            "base_url": f"{URL}/api/",
            "auth": {
                "type": "oauth2_client_credentials",
                "access_token_url": TOKEN_URL,
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
                "access_token_request_data": {"scope": SCOPE},
            },
            "paginator": {
                "type": "page_number",
                "base_page": 1,
                "page_param": "page_no",
                "total_path": None,
                "stop_after_empty_page": True,
            },
        },
        "resources": [
            {
                "name": "tickets",
                "primary_key": "id",
                "write_disposition": sys.argv[5],
                "max_table_nesting": 0,
                "endpoint": {"path": "tickets", "params": QUERY, "data_selector": "tickets"},
            }
        ],
    }
)

pipeline = dlt.pipeline(
    pipeline_name="tickets",
    pipelines_dir=str(FOLDER / "pipelines"),
    destination=dlt.destinations.sqlalchemy(f"sqlite:///{DATABASE}"),
    dataset_name="main",
)
pipeline.run(source).raise_on_failed_jobs()
