"""What a request costs because a node has its order on disk before it answers, in turns with nodes that do not wait.

Usage: cost_of_sync.py COUNTERFOIL [--requests N] [--tokens 1,16] [--folder DIR]

Two networks of a router and two nodes run at once, both under DIR (on a disk, not in memory). In one of them a library in
front of the C library answers each `fdatasync` of a node's journal of orders at once; every other sync stays. They are
asked in turns, and the medians are compared. Needs a C compiler. Prints one line of JSON for each number of tokens.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int fdatasync(int fd) {
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, sizeof path);
    if (bytes >= 6 && memcmp(path + bytes - 6, "/usage", 6) == 0) return 0;
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"""


class Network:
    """A network of its own, asked for one answer after another."""

    def __init__(self, program, home, port, **more):
        self.port = port
        run = [program, "run", "--no-browser", "--home", str(home), "--listen", f"127.0.0.1:{port}"]
        self.process = subprocess.Popen(run, env={**os.environ, **more}, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().startswith("Ready"), "the network did not come up"

    def ask(self, tokens):
        """Milliseconds until the whole answer was there."""
        messages = [{"role": "user", "content": "What is a consent token?"}]
        body = json.dumps({"model": "guide", "messages": messages, "max_tokens": tokens, "temperature": 0})
        start = time.perf_counter()
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        client.request("POST", "/v1/chat/completions", body, {"Authorization": "Bearer local", "Content-Type": "application/json"})
        answer = client.getresponse()
        said = answer.read()
        assert answer.status == 200, said
        return 1000 * (time.perf_counter() - start)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("counterfoil")
    ask.add_argument("--requests", type=int, default=300)
    ask.add_argument("--tokens", default="1,16")
    ask.add_argument("--folder", default=".")
    args = ask.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        folder = Path(folder)
        (folder / "shim.c").write_text(SHIM)
        shim = str(folder / "shim.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, folder / "shim.c", "-ldl"], check=True)
        synced = Network(args.counterfoil, folder / "synced", 18451)
        unsynced = Network(args.counterfoil, folder / "unsynced", 18452, LD_PRELOAD=shim)
        try:
            for tokens in map(int, args.tokens.split(",")):
                print(json.dumps({"tokens": tokens, **measured(synced, unsynced, tokens, args.requests)}))
        finally:
            synced.stop()
            unsynced.stop()


def measured(synced, unsynced, tokens, requests):
    """Medians of both in turns, and the median of the differences of neighbours."""
    took = {synced: [], unsynced: []}
    for network in took:
        network.ask(tokens)
    for turn in range(requests):
        for network in list(took)[:: 1 if turn % 2 else -1]:
            took[network].append(network.ask(tokens))
    ours, floor = (statistics.median(took[network]) for network in (synced, unsynced))
    more = statistics.median(a - b for a, b in zip(took[synced], took[unsynced]))
    return {
        "synced_ms": round(ours, 2),
        "unsynced_ms": round(floor, 2),
        "ratio": round(ours / floor, 3),
        "median_of_differences_ms": round(more, 2),
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
