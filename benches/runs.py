#!/usr/bin/env python3
"""Measures whole runs of the release binary against the simulator, each in a process of its own.

    cargo build --release && python3 benches/runs.py [TICKETS | exports | rest]

Prints one line per measurement: wall and CPU seconds, peak memory, and the same per ticket. Wall times
depend on the load of the machine; the ratios at the end compare figures of one execution.

Above 100,000 tickets it measures whatever may grow with the table, at 10,000, 100,000 and that many, and prints one table.

`rest` runs the service over 100,000 tickets at a one-minute interval, for five minutes after the first run.
"""

import collections
import json
import os
import pathlib
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

BINARY = pathlib.Path(__file__).resolve().parent.parent / "target/release/halosync"
STANDARD = 100_000
SMALL = 10_000
FORMATS = ("csv", "json", "parquet")

# Wall seconds, CPU seconds, peak memory in MB.
Used = collections.namedtuple("Used", "wall cpu memory")


def simulator(tickets, *knobs):
    """Starts a simulator and returns its process and address."""
    arguments = [BINARY, "simulate", "--json", "--listen", "127.0.0.1:0", "--tickets", str(tickets)]
    for knob in ("gzip=off", *knobs):
        arguments += ["--knob", knob]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    text = ""
    while not text.endswith("}\n"):
        line = process.stdout.readline()
        if not line:
            sys.exit("the simulator ended")
        text += line
    return process, json.loads(text)


def end(process):
    process.terminate()
    process.wait()


def settings(folder, server, parallel=4):
    folder.mkdir()
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_text(server["client_secret"])
    config = folder / "agent.toml"
    config.write_text(
        f'[halo]\nserver_url = "{server["url"]}"\nclient_id = "{server["client_id"]}"\n'
        f'client_secret_file = "secret"\nrate_limit = "1000000/1s"\nparallel_requests = {parallel}\n'
    )
    return config


def run(name, *arguments, **options):
    """Runs a command to its end and returns what it used, including its children."""
    since = time.monotonic()
    child = subprocess.Popen(arguments, **{"stdout": subprocess.DEVNULL, **options})
    _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - since
    if status:
        sys.exit(f"{name}: status {os.waitstatus_to_exitcode(status)}")
    return Used(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def line(name, used, rows=None):
    text = f"{name:<46} {used.wall:8.2f} s wall {used.cpu:8.2f} s CPU {used.memory:6.0f} MB"
    if rows:
        text += f" {rows / used.wall:9.0f} tickets/s {used.cpu / rows * 1e6:7.1f} us CPU a ticket"
    print(text, flush=True)
    return used


def measure(name, *arguments, rows=None, **options):
    return line(name, run(name, *arguments, **options), rows)


def median(measured):
    return Used(*(statistics.median(column) for column in zip(*measured)))


def control(server, command):
    urllib.request.urlopen(urllib.request.Request(f"{server['url']}/_sim/{command}", method="POST")).read()


def own_time(database):
    """Returns the duration of the last run by its own record, which excludes the start of the process."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    days = "julianday(ended_at) - julianday(started_at)"
    wall, requests = connection.execute(
        f"SELECT ({days}) * 86400, list_requests FROM runs ORDER BY run_id DESC LIMIT 1"
    ).fetchone()
    connection.close()
    return wall, requests


def server_time(server):
    """Measures how long the simulator takes for a token and the list request of a quiet run."""
    form = {
        "grant_type": "client_credentials",
        "client_id": server["client_id"],
        "client_secret": server["client_secret"],
        "scope": "read:tickets",
    }
    since = time.monotonic()
    body = urllib.request.urlopen(f"{server['url']}/auth/token", urllib.parse.urlencode(form).encode()).read()
    recently = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 600))
    query = f"pageinate=true&page_no=1&page_size=100&order=id&lastupdatefromdate={recently}"
    request = urllib.request.Request(f"{server['url']}/api/tickets?{query}")
    request.add_header("Authorization", f"Bearer {json.loads(body)['access_token']}")
    urllib.request.urlopen(request).read()
    return time.monotonic() - since


def incremental(halosync, server, database, tickets):
    """Measures quiet runs, then runs with a hundred changes; the median of three each."""
    quiet, own = [], []
    for _ in range(3):
        quiet.append(run("quiet run", *halosync, "sync"))
        own.append(own_time(database))
    quiet = line(f"quiet run at {tickets}", median(quiet))
    changed = []
    for _ in range(3):
        control(server, "edit?count=100")
        changed.append(run("changed tickets", *halosync, "sync"))
    return quiet, own, line(f"100 changed tickets of {tickets}", median(changed))


def exports(base, halosync, database, tickets):
    """Exports a whole table as CSV, as one JSON array, and as Parquet, alternating with the sqlite3 shell, which has no
    Parquet; the median of three."""
    pairs = []
    for name in FORMATS:
        ours, theirs = [], []
        for turn in range(3):
            consumer = ["--consumer", f"{name}-{turn}", "--out", base / "files"]
            ours.append(run("export delta", *halosync, "export", "delta", "--format", name, *consumer))
            shutil.rmtree(base / "files")
            if shutil.which("sqlite3") and name != "parquet":
                with open(base / "shell", "w") as out:
                    shell = ["sqlite3", f"-{name}", "-header", database, "SELECT * FROM tickets"]
                    theirs.append(run("sqlite3", *shell, stdout=out))
        ours = line(f"export delta of {tickets}, {name}", median(ours), tickets)
        theirs = line(f"sqlite3 -{name}", median(theirs), tickets) if theirs else None
        pairs.append((name, theirs, ours))
    return pairs


def own_memory(base, *arguments):
    """Returns the peak memory in MB as `time` reports it, which is small itself; None if it is not installed."""
    if not shutil.which("time"):
        return None
    output = base / "memory"
    subprocess.run(["time", "-f", "%M", "-o", output, *arguments], check=True, stdout=subprocess.DEVNULL)
    return int(output.read_text()) / 1024


def print_shell_ratios(pairs):
    for name, theirs, ours in pairs:
        if theirs:
            wall, cpu = theirs.wall / ours.wall, theirs.cpu / ours.cpu
            print(f"{name + ' against sqlite3 -' + name:<35} {wall:5.2f}x by wall, {cpu:5.2f}x by CPU")


def only_exports(base):
    """Measures only exports, of 50,000 and 500,000 tickets: their speed, and whether memory grows with the table."""
    found, memory = {}, {}
    for size in (50_000, 500_000):
        process, server = simulator(size)
        folder = base / f"of-{size}"
        try:
            halosync = [BINARY, "-c", settings(folder, server)]
            measure(f"initial load of {size}, 4 parallel", *halosync, "sync", rows=size)
        finally:
            end(process)
        found[size] = exports(base, halosync, folder / "halosync.db", size)
        for name in FORMATS:
            arguments = ["export", "delta", "--consumer", f"memory-{name}", "--format", name]
            memory[size, name] = own_memory(base, *halosync, *arguments)
        shutil.rmtree(folder)
    print()
    for size, pairs in found.items():
        print(f"of {size}:")
        print_shell_ratios(pairs)
    for name in FORMATS:
        small, large = memory[50_000, name], memory[500_000, name]
        if small:
            print(f"memory of {name}: {small:.1f} MB of 50000, {large:.1f} MB of 500000, {large / small:.2f}x")


def slow_server(base, tickets):
    """Measures the share of the rate that 50 ms a request would allow; the median of three."""
    process, server = simulator(tickets, "latency_ms=50")
    shares = []
    try:
        for parallel in (4, 16):
            measured = []
            for turn in range(3):
                folder = base / f"parallel-{parallel}-{turn}"
                name = f"initial load, 50 ms a request, {parallel} parallel"
                measured.append(run(name, BINARY, "-c", settings(folder, server, parallel), "sync"))
                shutil.rmtree(folder)
            used = line(name, median(measured), tickets)
            shares.append((parallel, tickets / used.wall / (parallel * 100 / 0.05)))
    finally:
        end(process)
    return shares


def standard(base, tickets):
    process, server = simulator(tickets)
    try:
        halosync = [BINARY, "-c", settings(base / "first", server)]
        database = base / "first/halosync.db"
        first = measure(f"initial load of {tickets}, 4 parallel", *halosync, "sync", rows=tickets)
        quiet, own, _ = incremental(halosync, server, database, tickets)
        asked = statistics.median(server_time(server) for _ in range(3))
        full = measure("full scan, nothing changed", *halosync, "sync", "--full", rows=tickets)
        pairs = exports(base, halosync, database, tickets)
    finally:
        end(process)
    shares = slow_server(base, tickets)
    print()
    print(f"full scan against initial load      {first.wall / full.wall:5.2f}x by wall, {first.cpu / full.cpu:5.2f}x by CPU")
    print_shell_ratios(pairs)
    for parallel, share in shares:
        print(f"share of the possible, {parallel:2} parallel      {share:5.2f}")
    print(
        f"quiet run: {own[0][1]} list request, {quiet.wall * 1000:.0f} ms as a process, "
        f"{statistics.median(wall for wall, _ in own) * 1000:.0f} ms by its own record, "
        f"the same two requests from here {asked * 1000:.0f} ms"
    )


QUERIES = (
    ("view `open_tickets`, counted", "SELECT COUNT(*) FROM open_tickets"),
    ("view `overdue_tickets`, counted", "SELECT COUNT(*) FROM overdue_tickets"),
    ("view `backlog_by_day`", "SELECT * FROM backlog_by_day"),
    ("view `status_intervals`, summed", "SELECT COUNT(*), SUM(hours) FROM status_intervals"),
    ("view `ticket_overview` by priority", "SELECT PRIORITY, COUNT(*) FROM ticket_overview GROUP BY PRIORITY"),
)


def measure_all(base, tickets):
    """Measures everything that may grow with the table; returns what each took, in the order of the table."""
    process, server = simulator(tickets)
    folder = base / f"of-{tickets}"
    database = folder / "halosync.db"
    took = {}
    try:
        halosync = [BINARY, "-c", settings(folder, server)]
        took["initial load"] = measure(f"initial load of {tickets}, 4 parallel", *halosync, "sync", rows=tickets)
        took["quiet run"], _, took["100 changed tickets"] = incremental(halosync, server, database, tickets)
        took["full scan, nothing changed"] = measure("full scan", *halosync, "sync", "--full", rows=tickets)
    finally:
        end(process)
    for name in FORMATS:
        command = ["export", "delta", "--format", name, "--consumer", name, "--out", base / "files"]
        took[f"first export, {name}"] = measure(f"export delta, {name}", *halosync, *command, rows=tickets)
        shutil.rmtree(base / "files")
    commands = (
        ("`status`", ["status"]),
        ("`history` of one ticket", ["history", str(first_id(database))]),
        ("`report`", ["report", "--out", base / "report.html"]),
    )
    for name, command in commands:
        took[name] = line(name, median([run(name, *halosync, *command) for _ in range(3)]))
    if shutil.which("sqlite3"):
        for name, query in QUERIES:
            took[name] = measure(name, "sqlite3", "-readonly", database, query)
    print(f"{'':<46} {database.stat().st_size / 1e6:8.0f} MB of database", flush=True)
    shutil.rmtree(folder)
    return took


def first_id(database):
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    (first,) = connection.execute("SELECT MIN(UID) FROM tickets").fetchone()
    connection.close()
    return first


def growth(base, tickets):
    """Measures what grows with the table at three sizes, and prints it as one table."""
    sizes = (SMALL, STANDARD, tickets)
    took = {size: measure_all(base, size) for size in sizes}
    print()
    print("| | " + " | ".join(f"{size:,}" for size in sizes) + f" | CPU a ticket, {tickets:,} against {STANDARD:,} |")
    print("|---" * (len(sizes) + 2) + "|")
    for name in took[tickets]:
        cells = (took[size][name] for size in sizes)
        cells = " | ".join(f"{it.wall:.2f} s, {it.cpu:.2f} s CPU, {it.memory:.0f} MB" for it in cells)
        share = (took[tickets][name].cpu / tickets) / (took[STANDARD][name].cpu / STANDARD)
        print(f"| {name} | {cells} | {share:.2f}x |")
    changed, small = (took[size]["100 changed tickets"] for size in (tickets, SMALL))
    print()
    print(
        f"100 changed, {tickets} against {SMALL}              {changed.wall / small.wall:5.2f}x by wall, "
        f"{changed.cpu / small.cpu:5.2f}x by CPU"
    )


def used_by(process):
    """Returns CPU seconds and resident memory in MB of a process so far."""
    words = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = os.sysconf("SC_CLK_TCK")
    pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return (int(words[11]) + int(words[12])) / ticks, pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def at_rest(base, minutes=5):
    """Measures the idle service: what its runs cost, and the memory that it keeps after the first one."""
    process, server = simulator(STANDARD)
    config = settings(base / "rest", server)
    config.write_text(config.read_text() + '[sync]\ninterval = "1m"\njitter = "0%"\n')
    service = subprocess.Popen([BINARY, "-c", config, "run"], stderr=subprocess.PIPE, text=True)
    runs = (text for text in service.stderr if " complete: " in text)
    next(runs)
    before, first = used_by(service)
    since = time.monotonic()
    for _ in range(minutes):
        next(runs)
    after, memory = used_by(service)
    share = (after - before) / (time.monotonic() - since)
    print(f"at rest {memory:5.1f} MB ({first:5.1f} MB after the first run) {share * 100:7.3f} % of a core", flush=True)
    end(service)
    end(process)


def main():
    wanted = sys.argv[1] if len(sys.argv) > 1 else str(STANDARD)
    base = pathlib.Path(tempfile.mkdtemp(prefix="halosync-bench-"))
    try:
        print(f"load of the machine before: {os.getloadavg()[0]:.1f}", flush=True)
        if wanted == "exports":
            only_exports(base)
        elif wanted == "rest":
            at_rest(base)
        else:
            (growth if int(wanted) > STANDARD else standard)(base, int(wanted))
        print(f"load of the machine after: {os.getloadavg()[0]:.1f}")
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
