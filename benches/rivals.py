#!/usr/bin/env python3
"""Measures the first pass of halosync beside other ways to get the same tickets into SQLite.

    cargo build --release && python3 benches/rivals.py [TICKETS] [RIVAL...]

Every rival is a script in `rivals/`, run in a Python environment of its own under `target/rivals`, which is
made on the first run. All ask the same simulator, one after another; CPU is user and system time of the
process and of the processes it starts, its start and imports included.
"""

import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile

# No compiled files beside the sources, here and in the rivals.
sys.dont_write_bytecode = True

import passes

HERE = pathlib.Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent / "target/rivals"

# Script, what it needs, and what it is told besides.
RIVALS = {
    "tight": ("tight.py", ["httpx==0.28.1", "orjson==3.13.0"], []),
    "dlt-append": ("dlt_rival.py", ["dlt[sqlalchemy]==1.31.0"], ["append"]),
    "dlt-merge": ("dlt_rival.py", ["dlt[sqlalchemy]==1.31.0"], ["merge"]),
    "PyAirbyte": ("airbyte_rival.py", ["airbyte==0.71.3"], []),
    "singer-sdk": ("singer_rival.py", ["singer-sdk==0.54.9"], []),
}

# Nobody is asked or told anything but the simulator.
SILENT = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "DO_NOT_TRACK": "1",
    "AIRBYTE_OFFLINE_MODE": "1",
}


class NotMeasured(Exception):
    pass


def environment(script, needs):
    """The interpreter of a rival, with what it needs installed."""
    folder = ENVIRONMENTS / script.removesuffix(".py")
    python, done = folder / "bin/python", folder / "needs.txt"
    if done.exists() and done.read_text().split() == needs:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *needs]
    installed = subprocess.run(install, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if installed.returncode:
        raise NotMeasured(f"cannot be installed: {installed.stderr.strip().splitlines()[-1]}")
    # Compiled beforehand, because the first start alone would pay for it.
    subprocess.run([python, "-m", "compileall", "-q", folder / "lib"], stdout=subprocess.DEVNULL)
    done.write_text("\n".join(needs))
    return python


def stored(database):
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT COUNT(*) FROM tickets").fetchone()[0]
    finally:
        connection.close()


def rival(base, server, name, tickets):
    script, needs, told = RIVALS[name]
    python = environment(script, needs)
    folder = base / name
    folder.mkdir()
    place = (server["url"], server["client_id"], server["client_secret"], folder)
    try:
        with open(base / f"{name}.log", "w") as log:
            used = passes.run(
                name,
                *(python, HERE / "rivals" / script, *place, *told),
                **{"stdout": log, "stderr": log, "cwd": folder},
                env={**os.environ, **SILENT, "AIRBYTE_LOGGING_ROOT": str(folder)},
            )
    except SystemExit as error:
        last = (base / f"{name}.log").read_text().strip().splitlines()[-1:]
        raise NotMeasured(f"{error}; {' '.join(last)}") from None
    count = stored(folder / "copy.db")
    if count != tickets:
        raise NotMeasured(f"stored {count} tickets of {tickets}")
    shutil.rmtree(folder)
    return passes.line(f"{name} ({', '.join(needs)})", used, tickets)


def main():
    tickets = int(sys.argv[1]) if len(sys.argv) > 1 else passes.STANDARD
    names = sys.argv[2:] or list(RIVALS)
    base = pathlib.Path(tempfile.mkdtemp(prefix="halosync-rivals-"))
    process, server = passes.simulator(tickets)
    ours, theirs = [], []
    try:
        print(f"load of the machine before: {os.getloadavg()[0]:.1f}", flush=True)
        for turn in range(3):
            folder = base / f"halosync-{turn}"
            ours.append(passes.run("halosync", passes.BINARY, "-c", passes.settings(folder, server), "sync"))
            if stored(folder / "halosync.db") != tickets:
                sys.exit("halosync did not store every ticket")
            shutil.rmtree(folder)
        ours = passes.line("halosync, the middle of three", passes.middle(ours), tickets)
        for name in names:
            try:
                theirs.append((name, rival(base, server, name, tickets)))
            except NotMeasured as error:
                print(f"{name:<46} not measured: {error}", flush=True)
        print(f"load of the machine after: {os.getloadavg()[0]:.1f}")
        print()
        for name, used in theirs:
            print(
                f"halosync against {name:<12} {used.cpu / ours.cpu:6.1f}x less CPU, "
                f"{used.wall / ours.wall:6.1f}x less time"
            )
    finally:
        passes.end(process)
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
