"""Durable appends beside SQLite's, in turns: the same leaves, as many in a transaction as in a group.

Usage: beside_sqlite.py APPENDS [--batches 1,64,1024] [--appends N] [--folder DIR]

APPENDS is the example `appends` of counterfoil-audit, built for release. It answers each line that it reads with one durable
append and the nanoseconds that took: of entries that it signs, as a router does, and of entries whose signatures cost
nothing. SQLite is the one in Python: journal_mode WAL, synchronous FULL, a row of 300 bytes for each leaf under
its index. Each append, transaction and raw write with fdatasync has its turn after the one before, so that what else the
machine does falls on all of them; the medians are compared. Prints one line of JSON.
"""

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

LEAF_BYTES = 300


class Ours:
    """The log, asked for one append after another."""

    def __init__(self, bench, folder, batch):
        self.process = subprocess.Popen(
            [bench, str(folder), str(batch)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def append(self, what):
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


class Sqlite:
    def __init__(self, path, batch):
        self.base = sqlite3.connect(path, isolation_level=None)
        assert self.base.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        self.base.execute("PRAGMA synchronous=FULL")
        self.base.execute("CREATE TABLE log (at INTEGER PRIMARY KEY, leaf BLOB NOT NULL)")
        self.batch, self.next = batch, 0
        self.leaf = os.urandom(LEAF_BYTES)

    def append(self):
        rows = [(at, self.leaf) for at in range(self.next, self.next + self.batch)]
        self.next += self.batch
        begun = time.perf_counter_ns()
        self.base.execute("BEGIN")
        self.base.executemany("INSERT INTO log VALUES (?, ?)", rows)
        self.base.execute("COMMIT")
        return time.perf_counter_ns() - begun


class Raw:
    def __init__(self, path, batch):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self.bytes = os.urandom(batch * (LEAF_BYTES + 8) + 48)

    def append(self):
        begun = time.perf_counter_ns()
        assert os.write(self.file, self.bytes) == len(self.bytes)
        os.fdatasync(self.file)
        return time.perf_counter_ns() - begun


def measure(bench, folder, batch, appends):
    ours = Ours(bench, folder / "log", batch)
    sqlite, raw = Sqlite(folder / "base", batch), Raw(folder / "raw", batch)
    took = {"signing": [], "unsigned": [], "sqlite": [], "raw": []}
    for _ in range(appends):
        took["signing"].append(ours.append("signing"))
        took["sqlite"].append(sqlite.append())
        took["unsigned"].append(ours.append("unsigned"))
        took["raw"].append(raw.append())
    ours.close()
    medians = {name: statistics.median(each) for name, each in took.items()}
    rate = {name: round(batch * 1e9 / median) for name, median in medians.items()}
    return {
        "batch": batch,
        "appends": appends,
        "per_second": rate,
        "median_us": {name: round(median / 1000) for name, median in medians.items()},
        "signing_over_sqlite": round(medians["sqlite"] / medians["signing"], 2),
        "unsigned_over_sqlite": round(medians["sqlite"] / medians["unsigned"], 2),
        "commit_over_raw": round(medians["unsigned"] / medians["raw"], 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("appends_program")
    parser.add_argument("--batches", default="1,64,1024")
    parser.add_argument("--appends", type=int, default=200)
    parser.add_argument("--folder", default=".", help="on the disk to measure")
    arguments = parser.parse_args()
    found = []
    for batch in map(int, arguments.batches.split(",")):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            found.append(measure(arguments.appends_program, Path(folder), batch, arguments.appends))
    print(json.dumps({"sqlite": sqlite3.sqlite_version, "leaf_bytes": LEAF_BYTES, "batches": found}))


if __name__ == "__main__":
    main()
