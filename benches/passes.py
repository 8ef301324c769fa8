#!/usr/bin/env python3
"""Measures whole passes of the release binary against the simulator, each in a process of its own.

    cargo build --release && python3 benches/passes.py [TICKETS]

Prints one line a measurement: wall and CPU seconds, peak memory, and what they come to a ticket. The
machine's noise is in the wall times; the ratios at the end compare figures of one run.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

BINARY = pathlib.Path(__file__).resolve().parent.parent / "target/release/halosync"
TICKETS = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000


def simulator(folder, *knobs):
    """Starts a simulator and gives it with its address."""
    arguments = [BINARY, "simulate", "--json", "--listen", "127.0.0.1:0", "--tickets", str(TICKETS)]
    for knob in ("gzip=off", *knobs):
        arguments += ["--knob", knob]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    text = ""
    while not text.endswith("}\n"):
        text += process.stdout.readline()
    return process, json.loads(text)


def settings(folder, server, lanes=4):
    folder.mkdir()
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_text(server["client_secret"])
    config = folder / "agent.toml"
    config.write_text(
        f'[halo]\nserver_url = "{server["url"]}"\nclient_id = "{server["client_id"]}"\n'
        f'client_secret_file = "secret"\nrate_limit = "1000000/1s"\nparallel_requests = {lanes}\n'
    )
    return config


def measure(name, *arguments, rows=None, stdout=subprocess.DEVNULL):
    """Runs a command and gives its wall seconds, CPU seconds and peak memory in MB."""
    since = time.monotonic()
    child = subprocess.Popen(arguments, stdout=stdout)
    _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - since
    if status:
        sys.exit(f"{name}: status {os.waitstatus_to_exitcode(status)}")
    cpu = used.ru_utime + used.ru_stime
    line = f"{name:<44} {wall:8.2f} s wall {cpu:8.2f} s CPU {used.ru_maxrss / 1024:6.0f} MB"
    if rows:
        line += f" {rows / wall:9.0f} tickets/s {cpu / rows * 1e6:6.1f} us CPU a ticket"
    print(line, flush=True)
    return wall, cpu


def tell(server, what):
    urllib.request.urlopen(urllib.request.Request(f"{server['url']}/_sim/{what}", method="POST")).read()


def main():
    base = pathlib.Path(tempfile.mkdtemp(prefix="halosync-bench-"))
    process, server = simulator(base)
    slow, late = None, None
    try:
        config = settings(base / "first", server)
        agent = [BINARY, "-c", config]
        first = measure(f"first pass of {TICKETS}, 4 parallel", *agent, "sync", rows=TICKETS)
        quiet = measure("quiet pass", *agent, "sync")
        tell(server, "edit?count=100")
        measure("100 changed tickets", *agent, "sync")
        full = measure("full walk, nothing changed", *agent, "sync", "--full", rows=TICKETS)
        database = base / "first/halosync.db"
        csv = measure("export delta, CSV", *agent, "export", "delta", "--consumer", "a", rows=TICKETS)
        jsonl = measure("export delta, JSON Lines", *agent, "export", "delta", "--consumer", "b", "--format", "jsonl")
        pairs = []
        if shutil.which("sqlite3"):
            with open(base / "shell", "w") as out:
                query = "SELECT * FROM tickets"
                their_csv = measure("sqlite3 -csv", "sqlite3", "-csv", "-header", database, query, stdout=out)
            with open(base / "shell", "w") as out:
                their_json = measure("sqlite3 -json", "sqlite3", "-json", database, query, stdout=out)
            pairs = [("CSV against sqlite3 -csv", their_csv, csv), ("JSON Lines against sqlite3 -json", their_json, jsonl)]
        slow, late = simulator(base, "latency_ms=50")
        shares = []
        for lanes in (4, 16):
            config = settings(base / f"lanes-{lanes}", late, lanes)
            wall, _ = measure(f"first pass, 50 ms a request, {lanes} parallel", BINARY, "-c", config, "sync", rows=TICKETS)
            shares.append((lanes, TICKETS / wall / (lanes * 100 / 0.05)))
        print()
        print(f"full walk against first pass        {first[0] / full[0]:5.2f}x by wall, {first[1] / full[1]:5.2f}x by CPU")
        for name, theirs, ours in pairs:
            print(f"{name:<35} {theirs[0] / ours[0]:5.2f}x by wall, {theirs[1] / ours[1]:5.2f}x by CPU")
        for lanes, share in shares:
            print(f"share of the possible, {lanes:2} parallel      {share:5.2f}")
        print(f"quiet pass, whole process           {quiet[0] * 1000:5.0f} ms")
    finally:
        for server_process in (process, slow):
            if server_process:
                server_process.terminate()
                server_process.wait()
        shutil.rmtree(base)


main()
