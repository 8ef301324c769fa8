#!/usr/bin/env python3
"""Measures the initial load of halosync beside other ways to get the same tickets into SQLite.

    cargo build --release && python3 benches/rivals.py [TICKETS] [RIVAL...]

Every rival is a script in `rivals/`, run in a Python environment of its own under `target/rivals`, which is
created the first time. All use the same simulator, one after another; CPU is user and system time of the
process and its children, including startup and imports.
"""

import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile

# No compiled files beside the sources, here or in the rivals.
sys.dont_write_bytecode = True

import runs

HERE = pathlib.Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent / "target/rivals"

# Of every figure the median of so many runs.
REPETITIONS = 3

# Script, its requirements, and its extra arguments.
RIVALS = {
    "handwritten": ("handwritten.py", ["httpx==0.28.1", "orjson==3.13.0"], []),
    "dlt-append": ("dlt_rival.py", ["dlt[sqlalchemy]==1.31.0"], ["append"]),
    "dlt-merge": ("dlt_rival.py", ["dlt[sqlalchemy]==1.31.0"], ["merge"]),
    "PyAirbyte": ("airbyte_rival.py", ["airbyte==0.71.3"], []),
    "singer-sdk": ("singer_rival.py", ["singer-sdk==0.54.9"], []),
}

# No telemetry and no other network requests.
OFFLINE = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "DO_NOT_TRACK": "1",
    "AIRBYTE_OFFLINE_MODE": "1",
}


class NotMeasured(Exception):
    pass


def environment(script, requirements):
    """Returns the interpreter of a rival, with its requirements installed."""
    folder = ENVIRONMENTS / script.removesuffix(".py")
    python, done = folder / "bin/python", folder / "requirements.txt"
    if done.exists() and done.read_text().split() == requirements:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements]
    installed = subprocess.run(install, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if installed.returncode:
        raise NotMeasured(f"cannot be installed: {installed.stderr.strip().splitlines()[-1]}")
    # Compiled beforehand, so that the measured start does not include it.
    subprocess.run([python, "-m", "compileall", "-q", folder / "lib"], stdout=subprocess.DEVNULL)
    done.write_text("\n".join(requirements))
    return python


def stored(database):
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT COUNT(*) FROM tickets").fetchone()[0]
    finally:
        connection.close()


def measure_once(base, server, name, tickets, python):
    script, _, arguments = RIVALS[name]
    folder = base / name
    folder.mkdir()
    connection = (server["url"], server["client_id"], server["client_secret"], folder)
    try:
        with open(base / f"{name}.log", "w") as log:
            used = runs.run(
                name,
                *(python, HERE / "rivals" / script, *connection, *arguments),
                **{"stdout": log, "stderr": log, "cwd": folder},
                env={**os.environ, **OFFLINE, "AIRBYTE_LOGGING_ROOT": str(folder)},
            )
    except SystemExit as error:
        last = (base / f"{name}.log").read_text().strip().splitlines()[-1:]
        raise NotMeasured(f"{error}; {' '.join(last)}") from None
    count = stored(folder / "tickets.db")
    if count != tickets:
        raise NotMeasured(f"stored {count} tickets of {tickets}")
    shutil.rmtree(folder)
    return used


def rival(base, server, name, tickets):
    script, requirements, _ = RIVALS[name]
    python = environment(script, requirements)
    used = runs.median([measure_once(base, server, name, tickets, python) for _ in range(REPETITIONS)])
    return runs.line(f"{name} ({', '.join(requirements)})", used, tickets)


def main():
    tickets = int(sys.argv[1]) if len(sys.argv) > 1 else runs.STANDARD
    names = sys.argv[2:] or list(RIVALS)
    base = pathlib.Path(tempfile.mkdtemp(prefix="halosync-rivals-"))
    process, server = runs.simulator(tickets)
    own_runs, measured = [], []
    try:
        print(f"load of the machine before: {os.getloadavg()[0]:.1f}", flush=True)
        for repetition in range(REPETITIONS):
            folder = base / f"halosync-{repetition}"
            own_runs.append(runs.run("halosync", runs.BINARY, "-c", runs.settings(folder, server), "sync"))
            if stored(folder / "halosync.db") != tickets:
                sys.exit("halosync did not store every ticket")
            shutil.rmtree(folder)
        own = runs.line("halosync", runs.median(own_runs), tickets)
        for name in names:
            try:
                measured.append((name, rival(base, server, name, tickets)))
            except NotMeasured as error:
                print(f"{name:<46} not measured: {error}", flush=True)
        print(f"load of the machine after: {os.getloadavg()[0]:.1f}")
        print()
        for name, used in measured:
            print(
                f"halosync against {name:<12} {used.cpu / own.cpu:6.1f}x less CPU, "
                f"{used.wall / own.wall:6.1f}x less time"
            )
    finally:
        runs.end(process)
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
