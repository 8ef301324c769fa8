#!/usr/bin/env python3
"""Measures whole passes of the release binary against the simulator, each in a process of its own.

    cargo build --release && python3 benches/passes.py [TICKETS | exports | rest]

Prints one line a measurement: wall and CPU seconds, peak memory, and what they come to a ticket. The
machine's noise is in the wall times; the ratios at the end compare figures of one run.

Above 100,000 tickets it measures what grows with the table, beside tables of 10,000 and 100,000, and
leaves out the exports and the slow server, whose figures do not depend on it.

`rest` runs the service over 100,000 tickets with passes a minute apart, for five minutes after the first one.
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

# Wall seconds, CPU seconds, peak memory in MB.
Used = collections.namedtuple("Used", "wall cpu memory")


def simulator(tickets, *knobs):
    """Starts a simulator and gives it with its address."""
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


def run(name, *arguments, **options):
    """Runs a command to its end and gives what it used, its own children's share included."""
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


def middle(runs):
    return Used(*(statistics.median(column) for column in zip(*runs)))


def tell(server, what):
    urllib.request.urlopen(urllib.request.Request(f"{server['url']}/_sim/{what}", method="POST")).read()


def own_time(database):
    """How long the last pass was under way by its own record, without the start of the process."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    days = "julianday(ended_at) - julianday(started_at)"
    wall, requests = connection.execute(
        f"SELECT ({days}) * 86400, list_requests FROM runs ORDER BY run_id DESC LIMIT 1"
    ).fetchone()
    connection.close()
    return wall, requests


def server_time(server):
    """How long the simulator takes for a token and the list request of a quiet pass, asked from here."""
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


def follow(agent, server, database, tickets):
    """Quiet passes, then passes over a hundred changes; the median of three each."""
    quiet, own = [], []
    for _ in range(3):
        quiet.append(run("quiet pass", *agent, "sync"))
        own.append(own_time(database))
    quiet = line(f"quiet pass at {tickets}", middle(quiet))
    changed = []
    for _ in range(3):
        tell(server, "edit?count=100")
        changed.append(run("changed tickets", *agent, "sync"))
    return quiet, own, line(f"100 changed tickets of {tickets}", middle(changed))


def exports(base, agent, database, tickets):
    """A whole table as CSV and as one JSON array, beside the shell of SQLite; the median of three each, in turns."""
    pairs = []
    for name in ("csv", "json"):
        ours, theirs = [], []
        for turn in range(3):
            consumer = ["--consumer", f"{name}-{turn}", "--out", base / "files"]
            ours.append(run("export delta", *agent, "export", "delta", "--format", name, *consumer))
            shutil.rmtree(base / "files")
            if shutil.which("sqlite3"):
                with open(base / "shell", "w") as out:
                    shell = ["sqlite3", f"-{name}", "-header", database, "SELECT * FROM tickets"]
                    theirs.append(run("sqlite3", *shell, stdout=out))
        ours = line(f"export delta of {tickets}, {name}", middle(ours), tickets)
        theirs = line(f"sqlite3 -{name}", middle(theirs), tickets) if theirs else None
        pairs.append((name, theirs, ours))
    return pairs


def own_memory(base, *arguments):
    """Peak memory in MB as `time` sees it, which is small itself; None where it is not there."""
    if not shutil.which("time"):
        return None
    told = base / "memory"
    subprocess.run(["time", "-f", "%M", "-o", told, *arguments], check=True, stdout=subprocess.DEVNULL)
    return int(told.read_text()) / 1024


def against_the_shell(pairs):
    for name, theirs, ours in pairs:
        if theirs:
            wall, cpu = theirs.wall / ours.wall, theirs.cpu / ours.cpu
            print(f"{name + ' against sqlite3 -' + name:<35} {wall:5.2f}x by wall, {cpu:5.2f}x by CPU")


def only_exports(base):
    """The exports alone, of 50,000 and of 500,000: their speed, and whether memory grows with the table."""
    found, memory = {}, {}
    for size in (50_000, 500_000):
        process, server = simulator(size)
        folder = base / f"of-{size}"
        try:
            agent = [BINARY, "-c", settings(folder, server)]
            measure(f"first pass of {size}, 4 parallel", *agent, "sync", rows=size)
        finally:
            end(process)
        found[size] = exports(base, agent, folder / "halosync.db", size)
        for name in ("csv", "json"):
            arguments = ["export", "delta", "--consumer", f"memory-{name}", "--format", name]
            memory[size, name] = own_memory(base, *agent, *arguments)
        shutil.rmtree(folder)
    print()
    for size, pairs in found.items():
        print(f"of {size}:")
        against_the_shell(pairs)
    for name in ("csv", "json"):
        small, large = memory[50_000, name], memory[500_000, name]
        if small:
            print(f"memory of {name}: {small:.1f} MB of 50000, {large:.1f} MB of 500000, {large / small:.2f}x")


def slow_server(base, tickets):
    """The share of the rate that 50 ms a request would allow; the median of three."""
    process, server = simulator(tickets, "latency_ms=50")
    shares = []
    try:
        for lanes in (4, 16):
            runs = []
            for turn in range(3):
                folder = base / f"lanes-{lanes}-{turn}"
                name = f"first pass, 50 ms a request, {lanes} parallel"
                runs.append(run(name, BINARY, "-c", settings(folder, server, lanes), "sync"))
                shutil.rmtree(folder)
            used = line(name, middle(runs), tickets)
            shares.append((lanes, tickets / used.wall / (lanes * 100 / 0.05)))
    finally:
        end(process)
    return shares


def standard(base, tickets):
    process, server = simulator(tickets)
    try:
        agent = [BINARY, "-c", settings(base / "first", server)]
        database = base / "first/halosync.db"
        first = measure(f"first pass of {tickets}, 4 parallel", *agent, "sync", rows=tickets)
        quiet, own, _ = follow(agent, server, database, tickets)
        asked = statistics.median(server_time(server) for _ in range(3))
        full = measure("full walk, nothing changed", *agent, "sync", "--full", rows=tickets)
        pairs = exports(base, agent, database, tickets)
    finally:
        end(process)
    shares = slow_server(base, tickets)
    print()
    print(f"full walk against first pass        {first.wall / full.wall:5.2f}x by wall, {first.cpu / full.cpu:5.2f}x by CPU")
    against_the_shell(pairs)
    for lanes, share in shares:
        print(f"share of the possible, {lanes:2} parallel      {share:5.2f}")
    print(
        f"quiet pass: {own[0][1]} list request, {quiet.wall * 1000:.0f} ms as a process, "
        f"{statistics.median(wall for wall, _ in own) * 1000:.0f} ms by its own record, "
        f"the same two requests from here {asked * 1000:.0f} ms"
    )


def growth(base, tickets):
    rows = {}
    for size in (SMALL, STANDARD, tickets):
        process, server = simulator(size)
        folder = base / f"of-{size}"
        try:
            agent = [BINARY, "-c", settings(folder, server)]
            first = measure(f"first pass of {size}, 4 parallel", *agent, "sync", rows=size)
            _, _, changed = follow(agent, server, folder / "halosync.db", size)
            print(f"{'':<46} {(folder / 'halosync.db').stat().st_size / 1e6:8.0f} MB of database", flush=True)
            rows[size] = (first, changed)
        finally:
            end(process)
        shutil.rmtree(folder)
    (first, changed), (standard_first, _), (_, small) = rows[tickets], rows[STANDARD], rows[SMALL]
    share = (first.cpu / tickets) / (standard_first.cpu / STANDARD)
    print()
    print(f"peak memory of the first pass of {tickets}, 4 parallel   {first.memory:5.0f} MB")
    print(f"CPU a ticket, {tickets} against {STANDARD}            {share:5.2f}x")
    print(
        f"100 changed, {tickets} against {SMALL}              {changed.wall / small.wall:5.2f}x by wall, "
        f"{changed.cpu / small.cpu:5.2f}x by CPU"
    )


def used_by(process):
    """CPU seconds and resident memory in MB of a process so far."""
    words = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = os.sysconf("SC_CLK_TCK")
    pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return (int(words[11]) + int(words[12])) / ticks, pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def at_rest(base, minutes=5):
    """The service when nothing happens: what its passes cost, and what stays in memory after the first one."""
    process, server = simulator(STANDARD)
    for name, environment in (("as it is", {}), ("as the unit has it", {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"})):
        folder = base / name.replace(" ", "-")
        config = settings(folder, server)
        config.write_text(config.read_text() + '[sync]\ninterval = "1m"\njitter = "0%"\n')
        command = [BINARY, "-c", config, "run"]
        service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
        passes = (text for text in service.stderr if " complete: " in text)
        next(passes)
        before, first = used_by(service)
        since = time.monotonic()
        for _ in range(minutes):
            next(passes)
        after, memory = used_by(service)
        share = (after - before) / (time.monotonic() - since)
        print(
            f"at rest, {name:<20} {memory:5.1f} MB ({first:5.1f} MB when the first pass ended) "
            f"{share * 100:7.3f} % of a core",
            flush=True,
        )
        end(service)
        shutil.rmtree(folder)
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
