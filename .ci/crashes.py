"""What the log promises when the machine fails, asked of the program itself.

Usage: crashes.py PROGRAM rounds [--rounds N] [--seed S]    kill -9 of everything while clients are answered
       crashes.py PROGRAM calls [--at-most N] [--seed S]    every write, sync, rename, … of a command killed or refused

After each round and each call every log must verify and hold all that was acknowledged: an answer with status 200 or
[DONE], an account that was printed. Needs Python 3 alone, and strace for `calls`; where that may not trace, it says so and
ends with 0. The last line is one of figures, as JSON.
"""

import argparse
import http.client
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent))
from program import PATIENCE_S, Program  # noqa: E402

CLIENTS = 4
# The longest that a round lasts from its first acknowledged answer on, in seconds.
ROUND_S = 1.5

# What changes files, and what a system may answer to each. A name that is not there on this machine is never called.
REFUSALS = {
    "write": ["EIO", "ENOSPC"],
    "pwrite64": ["EIO", "ENOSPC"],
    "fdatasync": ["EIO"],
    "fsync": ["EIO"],
    "rename": ["EIO", "ENOSPC"],
    "renameat": ["EIO", "ENOSPC"],
    "renameat2": ["EIO", "ENOSPC"],
    "openat": ["EIO", "ENOSPC", "EMFILE"],
    "ftruncate": ["EIO"],
    "mkdir": ["EIO", "ENOSPC"],
    "unlink": ["EIO"],
    "unlinkat": ["EIO"],
}


def logs(home):
    """The logs of a home: the router's and those of its local nodes, as far as they were begun."""
    folders = [home / "log", *sorted(home.glob("nodes/*/log"))]
    return [folder for folder in folders if any(folder.glob("seg/*.log"))]


def verify(program):
    """Every log verifies. Returns the number of entries of the router's."""
    committed = 0
    for log in logs(program.home):
        report = program.json("audit", "verify", "--log-dir", log)
        assert report["ok"] and not report["faults"], f"{log}: {report}"
        if log == program.home / "log":
            committed = report["committed"]
    return committed


def payload(program, index):
    return program.json("audit", "show", index)["body"]["payload"]


class Client(threading.Thread):
    """Asks until the connection breaks; keeps what it was promised."""

    def __init__(self, url, number, first):
        super().__init__(daemon=True)
        self.url, self.number, self.first, self.kept, self.cut = url, number, first, [], 0
        self.wrong = None

    def run(self):
        try:
            while True:
                self.whole() if self.number % 2 else self.events()
                self.first.set()
        except (OSError, http.client.HTTPException):
            self.cut += 1
        except Exception as e:  # Whatever it is, the round is told: a thread that ends by itself tells nobody.
            self.wrong = e
            self.first.set()

    def ask(self, stream):
        connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=PATIENCE_S)
        body = {
            "model": "guide",
            "messages": [{"role": "user", "content": "What is a consent token?"}],
            "temperature": 0,
            "max_tokens": 3 + self.number,
            "stream": stream,
        }
        headers = {"content-type": "application/json", "authorization": "Bearer local"}
        while True:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            answer = connection.getresponse()
            if answer.status != 429:
                break
            # What a client asked that has just gone away still counts; nothing was promised here.
            answer.read()
        assert answer.status == 200, f"{answer.status} {answer.read()}"
        return answer

    def whole(self):
        answer = self.ask(stream=False)
        body = json.loads(answer.read())
        self.kept.append((int(answer.headers["x-counterfoil-entry"]), body["id"]))

    def events(self):
        own, name = None, None
        for line in self.ask(stream=True):
            if line.strip() == b"data: [DONE]":
                self.kept.append((int(own["entry"]), name))
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                own, name = event.get("counterfoil") or own, event.get("id") or name


def one_round(program, dice):
    """Starts the program, lets clients ask, kills everything. Returns (acknowledged, connections that broke)."""
    program.start()
    try:
        first = threading.Event()
        url = urlsplit(program.ready["url"])
        clients = [Client(url, number, first) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        assert first.wait(PATIENCE_S), f"no answer in {PATIENCE_S} s\n{program.complaints()}"
        # The moment of death; nothing is waited for.
        threading.Event().wait(dice.uniform(0, ROUND_S))
    finally:
        program.kill_all()
    for client in clients:
        client.join(PATIENCE_S)
        if client.wrong:
            raise client.wrong
    return [kept for client in clients for kept in client.kept], sum(client.cut for client in clients)


def rounds(program, arguments):
    dice = random.Random(arguments.seed)
    acknowledged, cut, torn, every = 0, 0, 0, []
    for number in range(arguments.rounds):
        kept, broke = one_round(program, dice)
        torn += sum(report_torn(program, log) for log in logs(program.home))
        committed = verify(program)
        for entry, request in kept:
            assert entry < committed, f"round {number}: entry {entry} was acknowledged, the log has {committed}"
            found = payload(program, entry)
            name = re.sub("^[a-z]*-", "", request)
            assert found["kind"] == "inference", f"round {number}: entry {entry} is {found}"
            assert name in json.dumps(program.json("audit", "show", entry)), f"round {number}: {request} is not {entry}"
        every += kept
        acknowledged += len(kept)
        cut += broke
    assert len({entry for entry, _ in every}) == len(every), "two answers have one entry"
    # Once more over all of them: a later start has changed nothing in what an earlier one left.
    for entry, request in dice.sample(every, min(50, len(every))):
        assert payload(program, entry)["kind"] == "inference", request
    program.start()
    assert program.interrupt() == 0
    entries = verify(program)
    assert acknowledged >= arguments.rounds and cut > 0
    return {
        "rounds": arguments.rounds, "seed": arguments.seed, "acknowledged": acknowledged, "lost": 0,
        "answers cut off": cut, "logs with a torn tail": torn, "entries": entries,
    }


def report_torn(program, log):
    return program.json("audit", "verify", "--log-dir", log)["torn_bytes"] > 0


def may_trace():
    try:
        probe = subprocess.run(
            ["strace", "-f", "-qq", "-e", "trace=rename", "-e", "inject=rename:error=EIO:when=1", "true"],
            capture_output=True, timeout=PATIENCE_S, check=False,
        )
        return probe.returncode == 0
    except OSError:
        return False


def places(program, trace):
    """The calls of a traced run that touch the home, as (name, number among the thread's calls of that name)."""
    counts, found = {}, set()
    for line in trace.read_text(errors="replace").splitlines():
        match = re.match(r"(\d+) +(\w+)\((.*)", line)
        if not match or match[2] not in REFUSALS:
            continue
        thread, name, rest = match.groups()
        counts[thread, name] = counts.get((thread, name), 0) + 1
        # Calls on an open file name it by number; what loads the program names other folders.
        if str(program.home) in rest or re.match(r"\d", rest):
            found.add((name, counts[thread, name]))
    return sorted(found)


def traced(program, trace, *injected):
    """`account create` under strace; returns (exit code, what it acknowledged)."""
    names = ",".join(f"?{name}" for name in REFUSALS)
    command = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={names}", *injected]
    command += [program.binary, "account", "create", "--home", str(program.home), "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, env=program.environment(), check=False
    )
    told = re.search(r"\{.*\}", done.stdout) if done.returncode == 0 else None
    return done, json.loads(told[0]) if told else None


def calls(program, arguments):
    if not may_trace():
        print("SKIPPED: strace is not here or may not trace; no call was made to fail")
        return {"cases": 0}
    program.json("identity", "init")
    trace = program.home.parent / "trace"
    done, told = traced(program, trace)
    assert told, done.stderr
    promised = [told]
    cases = []
    for name, number in places(program, trace):
        cases += [(name, number, f"error={error}") for error in REFUSALS[name]]
        cases += [(name, number, "signal=KILL")]
    everywhere = len(cases)
    dice = random.Random(arguments.seed)
    if len(cases) > arguments.at_most:
        cases = dice.sample(cases, arguments.at_most)
    ended = {"done": 0, "refused": 0, "killed": 0}
    for name, number, fault in cases:
        case = f"{name} number {number}, {fault}"
        done, told = traced(program, trace, "-e", f"inject={name}:{fault}:when={number}")
        if told:
            promised.append(told)
            ended["done"] += 1
        elif done.returncode in (-9, 137):
            ended["killed"] += 1
        else:
            # A failure of the disk is told as one, with the exit code that scripts know it by.
            last = done.stderr.strip().rpartition("\n")[2]
            assert done.returncode == 4 and json.loads(last)["exit_code"] == 4, f"{case}: {done}"
            ended["refused"] += 1
        committed = verify(program)
        assert promised[-1]["entry"] < committed, f"{case}: {promised[-1]} is not among {committed} entries"
    promised.append(program.json("account", "create"))
    verify(program)
    for told in promised:
        found = payload(program, told["entry"])
        assert told["account"] in json.dumps(found), f"entry {told['entry']} is {found}, not {told['account']}"
    assert ended["killed"] and ended["refused"], ended
    return {"cases": len(cases), "of": everywhere, "seed": arguments.seed, **ended, "acknowledged": len(promised), "lost": 0}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    kinds = parser.add_subparsers(dest="kind", required=True)
    kind = kinds.add_parser("rounds")
    kind.add_argument("--rounds", type=int, default=20)
    kind.add_argument("--seed", type=int, default=1)
    kind.set_defaults(run=rounds)
    kind = kinds.add_parser("calls")
    kind.add_argument("--at-most", type=int, default=1 << 30)
    kind.add_argument("--seed", type=int, default=1)
    kind.set_defaults(run=calls)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="counterfoil-crashes-"))
    figures = arguments.run(Program(arguments.program, folder / "home"), arguments)
    # What failed is left to be looked at.
    shutil.rmtree(folder)
    print(json.dumps({arguments.kind: figures}))


if __name__ == "__main__":
    main()
