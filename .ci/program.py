"""The program under test as processes: start it, read what it prints, signal it, ask its other commands."""

import json
import os
import queue
import signal
import socket
import subprocess
import threading
from pathlib import Path

# How long anything may take before the test gives up on it, in seconds. Generous: it bounds a hang, not a speed.
PATIENCE_S = 120


def free_port():
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def processes():
    """Every process that can be seen, as {pid: (parent pid, command line)}."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # It ended while we looked.
        # The name in brackets may itself hold spaces and brackets; what follows the last one does not.
        state, parent = stat.rpartition(")")[2].split()[:2]
        if state != "Z":
            found[int(folder.name)] = (int(parent), line)
    return found


def descendants(pid):
    """The pids of all children, grandchildren and so on."""
    table = processes()
    tree, frontier = [], [pid]
    while frontier:
        frontier = [p for p, (parent, _) in table.items() if parent in frontier]
        tree += frontier
    return tree


class Program:
    """`counterfoil` on one home."""

    def __init__(self, binary, home):
        self.binary = str(Path(binary).resolve())
        self.home = Path(home)
        self.process = None
        self.ready = None

    def environment(self):
        """Ours without the variables that would set flags of the program."""
        return {k: v for k, v in os.environ.items() if not k.startswith("COUNTERFOIL_")}

    def ask(self, *arguments, home=True):
        """Runs one command to its end; returns (exit code, standard output, standard error)."""
        command = [self.binary, *map(str, arguments)]
        if home:
            command += ["--home", str(self.home)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, env=self.environment(), check=False
        )
        return done.returncode, done.stdout, done.stderr

    def json(self, *arguments, home=True, code=0):
        """Runs one command with --json; its exit code must be `code`."""
        got, out, err = self.ask(*arguments, "--json", home=home)
        assert got == code, f"{' '.join(map(str, arguments))}: exit {got}, expected {code}\n{out}\n{err}"
        return json.loads(out)

    def start(self, *flags, role="run"):
        """`counterfoil run`, or another command that stays, until its ready line."""
        command = [self.binary, role, "--home", str(self.home), "--json"] + ["--no-browser"] * (role == "run")
        command += [str(f) for f in flags] or ["--listen", f"127.0.0.1:{free_port()}"]
        self.errors = (self.home.parent / f"{self.home.name}.stderr").open("a+")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=self.environment()
        )
        lines = queue.Queue()
        threading.Thread(target=self._read, args=(self.process.stdout, lines), daemon=True).start()
        try:
            while True:
                line = lines.get(timeout=PATIENCE_S)
                assert line is not None, f"it ended before it was ready\n{self.complaints()}"
                if line.startswith("{") and "url" in json.loads(line):
                    self.ready = json.loads(line)
                    return self
        except queue.Empty:
            self.kill_all()
            raise AssertionError(f"no ready line in {PATIENCE_S} s\n{self.complaints()}") from None

    @staticmethod
    def _read(pipe, lines):
        for line in pipe:
            lines.put(line)
        lines.put(None)

    def complaints(self):
        """What it has written to standard error."""
        self.errors.seek(0)
        return self.errors.read()[-4000:]

    def nodes(self):
        """The pids of the local nodes."""
        table = processes()
        return sorted(p for p in descendants(self.process.pid) if " serve " in f"{table[p][1]} ")

    def interrupt(self):
        """What Ctrl-C does; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=PATIENCE_S)

    def kill_all(self):
        """kill -9 of the whole tree, the children first in the list so that none can be orphaned unseen."""
        if self.process is None or self.process.poll() is not None:
            return
        tree = descendants(self.process.pid)
        for pid in [self.process.pid, *tree]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(timeout=PATIENCE_S)

    def memory_mib(self):
        """The proportional set size of the whole tree."""
        total = 0
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        return total / 1024
