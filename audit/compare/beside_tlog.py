"""Verification beside Go's x/mod, in turns, on the same log of 300-byte leaves and the same single core.

Usage: beside_tlog.py VERIFIES [--entries N] [--repeats N] [--folder DIR] [--core N]

VERIFIES is the example `verifies` of counterfoil-audit, built for release; it writes the log. The other side is
`tlog.go` here, built with Go and Debian's golang-golang-x-mod-dev: it reads the published entries, builds the tree and
holds the hash tiles and the signed root against it. Ours reads segments and published entries, and follows chains, serials
and canonical forms besides; `plain` leaves out signatures on entries, which x/mod does not have. Both are bound to one core,
threads and all; `signed` and `bare` (as many signature checks and nothing else) are measured on one core and on all. Medians;
prints one line of JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

PROOFS = 1000


class Asked:
    """A program that answers a line with nanoseconds, on some cores."""

    def __init__(self, command, cores):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
            env={**os.environ, "GOMAXPROCS": str(len(cores))},
        )

    def line(self):
        return self.process.stdout.readline().strip()

    def ask(self, what):
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return int(self.line())

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


def built(folder):
    binary = folder / "tlog"
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "", "GOCACHE": str(folder / "cache")}
    subprocess.run(["go", "build", "-o", binary, Path(__file__).parent / "tlog.go"], check=True, env=env)
    return binary


def measure(verifies, log, go, entries, repeats, core):
    cores = os.sched_getaffinity(0)
    every = Asked([verifies, log, str(entries)], cores)
    key = every.line()
    one = Asked([verifies, log, str(entries)], {core})
    assert one.line() == key
    theirs = Asked([go, key, log], {core})
    asked = {
        "plain": (one, "plain"),
        "go": (theirs, "full"),
        "signed_one_core": (one, "signed"),
        "bare_one_core": (one, "bare"),
        "signed_all_cores": (every, "signed"),
        "bare_all_cores": (every, "bare"),
        "plain_all_cores": (every, "plain"),
        "proof": (one, "proof"),
        "go_proof": (theirs, "proof"),
    }
    took = {name: [] for name in asked}
    for _ in range(repeats):
        for name, (program, what) in asked.items():
            took[name].append(program.ask(what))
    for program in (every, one, theirs):
        program.close()
    median = {name: statistics.median(each) for name, each in took.items()}
    whole = {name: value for name, value in median.items() if "proof" not in name}
    return {
        "entries": entries,
        "repeats": repeats,
        "cores": len(cores),
        "per_second": {name: round(entries * 1e9 / value) for name, value in whole.items()},
        "plain_over_go": round(median["go"] / median["plain"], 2),
        "signed_over_bare_one_core": round(median["bare_one_core"] / median["signed_one_core"], 2),
        "signed_over_bare_all_cores": round(median["bare_all_cores"] / median["signed_all_cores"], 2),
        "signed_all_over_one_core": round(median["signed_one_core"] / median["signed_all_cores"], 2),
        "proof_us": round(median["proof"] / PROOFS / 1000, 2),
        "go_proof_us": round(median["go_proof"] / PROOFS / 1000, 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verifies_program")
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", default=".", help="on the disk to measure")
    parser.add_argument("--core", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path(arguments.folder).resolve()) as folder:
        folder = Path(folder)
        found = measure(
            arguments.verifies_program, folder / "log", built(folder), arguments.entries, arguments.repeats, arguments.core
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
