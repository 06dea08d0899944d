"""Checks of a real log by others: Go's x/mod, pymerkle, witness-log, and a verifier of our own in hashlib and cryptography.

Each check is given the home of a router that does not run and returns what it found in a line.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pymerkle
import witness_log
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from program import Program, free_port

GO_CODE = "/usr/share/gocode"


class Skipped(Exception):
    """What a check needs is not on this machine."""


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def log_vkey(program):
    return program.json("identity", "show")["log_vkey"]


def leaves(folder):
    """The leaves in the entry bundles."""
    out = []
    for path in sorted((folder / "tile/entries").rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            while data:
                length = int.from_bytes(data[:2], "big")
                out.append(data[2 : 2 + length])
                data = data[2 + length :]
    return out


def long_log(binary, folder):
    """A router's log of more than one tile, which no process writes."""
    program = Program(binary, Path(folder) / "long")
    program.json("identity", "init")
    while program.json("account", "create")["entry"] < 270:
        pass
    return program


def head(folder, name="checkpoint"):
    origin, size, root = (folder / name).read_text().split("\n")[:3]
    return origin, int(size), base64.b64decode(root)


def go_verifies(program, folder):
    """Checkpoint, tiles, entries and proofs by golang.org/x/mod, as Debian packages it."""
    if not (shutil.which("go") and Path(GO_CODE, "src/golang.org/x/mod/sumdb/tlog").is_dir()):
        raise Skipped("golang-go and golang-golang-x-mod-dev are not installed, so Go's x/mod looked at nothing")
    vkey, log = log_vkey(program), program.home / "log"
    _, size, _ = head(log)
    proofs = Path(folder, "go")
    indexes = sorted({0, size // 2, size - 1})
    program.json("audit", "prove", *indexes, "--out", proofs)
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": GO_CODE, "GOFLAGS": "", "GOCACHE": str(Path(folder, "go-cache"))}
    binary = Path(folder, "tlog")
    source = Path(__file__).with_name("tlog.go")
    subprocess.run(["go", "build", "-o", str(binary), str(source)], check=True, env=environment)

    def run(at):
        command = [str(binary), vkey, str(at), *map(str, sorted(proofs.iterdir()))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    code, said = run(log)
    assert (code, said) == (0, f"{size} entries and {len(indexes)} proofs\n"), said
    copy = Path(folder, "changed")
    shutil.copytree(log, copy)
    (tile,) = [p for p in (copy / "tile/entries").rglob("*") if p.is_file()][-1:]
    data = bytearray(tile.read_bytes())
    data[-1] ^= 1
    tile.write_bytes(data)
    code, said = run(copy)
    assert code != 0 and "is not the one in the tree" in said, said
    return f"Go's x/mod verifies checkpoint, tiles, {size} entries and {len(indexes)} proofs, and names a changed entry"


def pymerkle_agrees(program):
    """The root over the leaves, by pymerkle."""
    log = program.home / "log"
    _, size, root = head(log)
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    all_leaves = leaves(log)
    for leaf in all_leaves:
        tree.append_entry(leaf)
    assert (len(all_leaves), tree.get_state()) == (size, root), (size, root.hex())
    assert tree.get_state(size - 1) != root
    return f"pymerkle computes the signed root over {size} leaves"


def key_of(vkey, kind):
    name, ident, key = vkey.split("+", 2)
    key = base64.b64decode(key)
    assert key[:1] == kind and sha256(name.encode(), b"\n", key)[:4].hex() == ident, vkey
    return name, bytes.fromhex(ident), Ed25519PublicKey.from_public_bytes(key[1:])


def signature_of(note, name, ident):
    """The signature by a key, or None."""
    for line in note.split("\n\n")[-1].splitlines():
        dash, who, blob = line.split(" ")
        blob = base64.b64decode(blob)
        if (dash, who, blob[:4]) == ("\u2014", name, ident):
            return blob[4:]
    return None


def verify_proof(text, vkey, witness_vkeys=()):
    """Judges a proof with nothing of ours; gives index, leaf and when each witness cosigned."""
    top, text_, lines = text.split("\n\n")
    note = f"{text_}\n\n{lines}"
    first, *rest = top.split("\n")
    assert first == "c2sp.org/tlog-proof@v1"
    leaf = base64.b64decode(rest.pop(0).removeprefix("extra "))
    index = int(rest.pop(0).removeprefix("index "))
    name, ident, key = key_of(vkey, b"\1")
    origin, size, root = text_.split("\n")
    assert origin == name
    key.verify(signature_of(note, name, ident), f"{text_}\n".encode())
    # RFC 9162, section 2.1.3.2.
    at, last, digest = index, int(size) - 1, sha256(b"\0", leaf)
    assert at <= last
    for line in rest:
        sibling = base64.b64decode(line)
        assert last > 0
        if at & 1 or at == last:
            digest = sha256(b"\1", sibling, digest)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            digest = sha256(b"\1", digest, sibling)
        at, last = at >> 1, last >> 1
    assert (last, digest) == (0, base64.b64decode(root)), "the hashes lead to another root"
    times = {}
    for witness in witness_vkeys:
        name, ident, key = key_of(witness, b"\4")
        signature = signature_of(note, name, ident)
        if signature:
            time = int.from_bytes(signature[:8], "big")
            key.verify(signature[8:], f"cosignature/v1\ntime {time}\n{text_}\n".encode())
            times[name] = time
    return index, leaf, times


def proofs_verify(program):
    """Every entry's proof, by the verifier above."""
    vkey = log_vkey(program)
    _, size, _ = head(program.home / "log")
    all_leaves = leaves(program.home / "log")
    for index, made in enumerate(program.json("audit", "prove", *range(size))["proofs"]):
        assert verify_proof(made["proof"], vkey)[:2] == (index, all_leaves[index])
        try:
            verify_proof(made["proof"].replace(f"\nindex {index}\n", f"\nindex {index ^ 1}\n"), vkey)
        except (AssertionError, InvalidSignature):
            continue
        raise AssertionError(f"entry {index} is proved at {index ^ 1} too")
    return f"{size} proofs verify with hashlib and cryptography alone"


class Server:
    """A witness of the package witness-log, over HTTP."""

    def __init__(self, log, vkey):
        self.service = witness_log.WitnessService.new("foreign.example/w", b"\x07" * 32)
        assert self.service.add_log(log, vkey)
        self.answers = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802  (the name that http.server asks for)
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                assert self.path == "/add-checkpoint", self.path
                status, kind, answer = outer.service.handle_add_checkpoint_http(body)
                outer.answers.append(status)
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(answer.encode())))
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


def foreign_witness_cosigns(binary, folder):
    """The router has its checkpoints cosigned by a witness that others wrote."""
    program = Program(binary, Path(folder) / "witnessed")
    program.json("identity", "init")
    vkey = log_vkey(program)
    server = Server(vkey.split("+")[0], vkey)
    policy = Path(folder) / "policy"
    policy.write_text(f"log {vkey}\nwitness foreign {server.service.vkey()} {server.url}\nquorum foreign\n")
    try:
        for _ in range(2):
            program.start(
                "--listen", f"127.0.0.1:{free_port()}", "--witness-policy", policy, "--witness-every", 1, role="router")
            program.json("account", "create")
            while True:
                # Before the first round there is no cosignature, and that is a fault.
                _, out, _ = program.ask("audit", "verify", "--policy", policy, "--json")
                report = json.loads(out)
                if (report["witnessed"] or {}).get("size") == report["committed"]:
                    break
            program.interrupt()
    finally:
        program.kill_all()
    # The second run knows nothing of what the witness remembers, and is told.
    assert 409 in server.answers and server.answers[-1] == 200, server.answers
    size = report["committed"]
    (made,) = program.json("audit", "prove", size - 1)["proofs"]
    _, _, times = verify_proof(made["proof"], vkey, [server.service.vkey()])
    assert list(times) == ["foreign.example/w"], times
    return f"witness-log cosigned {size} entries ({len(server.answers)} requests); the proof of the last has its word"


def post(url, body):
    request = urllib.request.Request(f"{url}/add-checkpoint", data=body.encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers["content-type"], refused.read().decode()


def our_witness_cosigns(binary, folder):
    """A log that others wrote has its checkpoints cosigned by our witness, and is told what is wrong."""
    log = witness_log.WitnessLog.generate()
    origin = log.canonical_origin()
    vkey = log.c2sp_vkey(origin)
    program = Program(binary, Path(folder) / "witness")
    program.start("witness", "--name", "ours.example/w", "--log-vkey", vkey, "--listen", "127.0.0.1:0", role="audit")
    try:
        url = program.ready["url"]
        name, ident, key = key_of(program.ready["vkey"], b"\4")
        for n in range(5):
            log.append_intent(b"%d" % n)
        first = log.add_checkpoint_body(0)
        assert post(url, first)[0] == 200
        for n in range(20):
            log.append_result(b"%d" % n)
        size = log.tree_size()
        status, kind, said = post(url, log.add_checkpoint_body(0))
        assert (status, kind, said) == (409, "text/x.tlog.size", "5\n"), (status, kind, said)
        body = log.add_checkpoint_body(5)
        lines = body.split("\n")
        status, _, said = post(url, "\n".join([lines[0], base64.b64encode(bytes(32)).decode(), *lines[2:]]))
        assert status == 422, (status, said)
        # Letters in the middle of the signature, which leaves the form of the line alone.
        status, _, said = post(url, body.replace(lines[-2][-30:-10], lines[-2][-30:-10].swapcase()))
        assert status == 403, (status, said)
        status, _, said = post(url, body)
        assert status == 200, (status, said)
        text = body.split("\n\n")[1] + "\n"
        signature = signature_of(f"{text}\n{said}", name, ident)
        time = int.from_bytes(signature[:8], "big")
        key.verify(signature[8:], f"cosignature/v1\ntime {time}\n{text}".encode())
        stranger = witness_log.WitnessLog.generate()
        stranger.append_intent(b"x")
        assert post(url, stranger.add_checkpoint_body(0))[0] == 404
        assert post(url, "old\n")[0] == 400
        with urllib.request.urlopen(f"{url}/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint", timeout=30) as kept:
            assert said in kept.read().decode()
    finally:
        program.kill_all()
    return f"our witness answers a log of witness-log with 200, 400, 403, 404, 409 and 422, and cosigned {size} entries"
