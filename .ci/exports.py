"""Exports of a real network as their own readers see them: hledger, beancount, pyarrow, Python's csv and json, a JSON
schema of OCSF's API Activity, and DSSE with `cryptography` in the place of our code. Also looks for the run's own secrets in
everything that was logged and exported."""

import base64
import csv
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from decimal import Decimal
from pathlib import Path

import jsonschema
import pyarrow.parquet
from beancount import loader
from beancount.core import data
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from program import Program

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "conformance/generator"))
import blake3  # noqa: E402  (written from its specification, beside the vectors)

SCHEMA = Path(__file__).resolve().parent / "ocsf-api-activity.json"
MAIL = "quincy.adelgunde@mail.example"
BOOKED = {"lot", "payment", "refund", "inference", "statement"}


class Exported:
    """The exports of a network in which somebody paid, asked, and got some of the money's worth."""

    def __init__(self, binary, folder):
        self.home = Program(binary, Path(folder) / "home").start()
        account = self.home.json("account", "create")["account"]
        key = self.home.json("account", "key", "create", account)["key"]
        self.home.json("account", "subscribe", account, "builder", "--paid")
        self.secrets = {"key": key, "mail": MAIL, "address": "127.0.0.1"}
        for question in ("What is a consent token?", f"Who pays the nodes? Write to {MAIL}."):
            body = {"model": "guide", "messages": [{"role": "user", "content": question}], "temperature": 0, "user": MAIL}
            request = urllib.request.Request(
                self.home.ready["url"] + "/v1/chat/completions",
                json.dumps(body).encode(),
                {"authorization": f"Bearer {key}", "content-type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=120) as answer:
                assert answer.status == 200
                told = json.load(answer)["choices"][0]["message"]["content"]
            assert len(told) > 20, told
            self.secrets |= {f"prompt {question[:8]}": question, f"answer to {question[:8]}": told}
        self.vkey = self.home.ready["log_vkey"]
        assert self.home.interrupt() == 0
        self.folder = Path(folder)
        self.entries = [json.loads(line) for line in self.rows("jsonl").read_text().splitlines()]

    def rows(self, form, *flags):
        """The rows file of a fresh export, which must hold."""
        folder = self.folder / "-".join((form, *flags))
        written = self.home.json("audit", "export", "--format", form, "--out", folder, *flags)
        held = self.home.json("audit", "verify-export", folder, "--vkey", self.vkey, home=False)
        assert held["ok"] and held["rows"] == written["rows"] > 0, held
        return folder / written["file"]


def jsonl(exported):
    """Each leaf hash is SHA-256 over the leaf of the export, and the manifest's sum is the file's."""
    folder = exported.folder / "jsonl"
    leaves, at = (folder / "leaves.bin").read_bytes(), 0
    manifest = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    for entry, line in zip(exported.entries, manifest[1:-1], strict=True):
        length = int.from_bytes(leaves[at : at + 2], "big")
        leaf = leaves[at + 2 : at + 2 + length]
        at += 2 + length
        assert hashlib.sha256(b"\0" + leaf).hexdigest() == entry["leaf_hash"] == line["leaf_hash"]
        assert entry["bytes"] == length
    assert at == len(leaves)
    assert manifest[-1]["sha256"] == hashlib.sha256((folder / "entries.jsonl").read_bytes()).hexdigest()
    return f"{len(exported.entries)} rows of jsonl, each with the SHA-256 of its leaf"


def comma(exported):
    with exported.rows("csv").open(newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    agree(exported, rows, lambda row: json.loads(row["payload"]))
    paid = [row for row in rows if row["kind"] == "payment"]
    assert [row["amount_micro"] for row in paid] == ["20000000"], paid
    return f"{len(rows)} rows of csv with Python's own reader"


def parquet(exported):
    table = pyarrow.parquet.read_table(exported.rows("parquet"))
    rows = table.to_pylist()
    agree(exported, rows, lambda row: json.loads(row["payload"]))
    for row, entry in zip(rows, exported.entries, strict=True):
        assert int(row["time"].timestamp() * 1000 + 0.5) == entry["body"]["time"], row
        assert row["entry"] == entry["index"]
    counted = [row["completion_tokens"] for row in rows if row["kind"] == "inference"]
    assert len(counted) == 2 and all(n > 0 for n in counted), counted
    file = pyarrow.parquet.ParquetFile(exported.rows("parquet", "--from", "2"))
    assert file.metadata.num_rows == len(rows) - 2
    return f"{len(rows)} rows of parquet in {table.num_columns} columns with pyarrow {pyarrow.__version__}"


def agree(exported, rows, payload):
    for row, entry in zip(rows, exported.entries, strict=True):
        body = entry["body"]
        assert (row["leaf_hash"], row["kind"]) == (entry["leaf_hash"], body["payload"]["kind"])
        assert (row["author"], row["serial"]) == (body["author"], body["serial"])
        assert payload(row) == body["payload"]["payload"], row
        request = body["serial"] if row["kind"] == "inference" else body["payload"]["payload"].get("request")
        assert (row["request"] or None) == (request if row["kind"] in ("inference", "work") else None)


def ocsf(exported):
    schema = json.loads(SCHEMA.read_text())
    check = jsonschema.Draft202012Validator(schema)
    events = [json.loads(line) for line in exported.rows("ocsf").read_text().splitlines()]
    for event in events:
        check.validate(event)
    broken = dict(events[0], type_uid=1)
    assert not check.is_valid(broken) and not check.is_valid({**events[0], "class_uid": 6001})
    asked = [e for e in events if e["api"]["operation"] == "chat.completions"]
    assert len(asked) == 2 and all(e["type_uid"] == 600301 for e in asked)
    return f"{len(events)} events are API Activity by their schema"


def records(exported):
    first, *rest = (json.loads(line) for line in exported.rows("records").read_text().splitlines())
    assert first["record"] == "notice" and first["claims_compliance"] is False
    uses = [r for r in rest if r["record"] == "use"]
    works = {r["work"]: r for r in rest if r["record"] == "work"}
    consents = {r["cti"] for r in rest if r["record"] == "consent"}
    models = {r["manifest"] for r in rest if r["record"] == "model"}
    assert len(uses) == 2
    for use in uses:
        assert use["model"] in models and use["started"] <= use["ended"] and not use["error"]
        assert all(works[w]["request"] == use["request"] and works[w]["consent"] in consents for w in use["works"])
    return f"{len(rest)} records: each use leads to its model, its work and the consent for it"


def beancount(exported):
    path = exported.rows("beancount")
    entries, errors, _ = loader.load_file(str(path))
    assert not errors, errors
    booked = [e for e in exported.entries if e["body"]["payload"]["kind"] in BOOKED]
    transactions = [e for e in entries if isinstance(e, data.Transaction)]
    hashes = [t.meta["leaf"] for t in transactions]
    assert hashes == [e["leaf_hash"] for e in booked], (hashes, booked)
    assert sum(isinstance(e, data.Balance) for e in entries) >= 5
    # Whoever takes a millionth away is found out by the balances.
    text = path.read_text()
    edited = path.with_name("edited.beancount")
    for unit in ("USD", "TOKEN"):
        edited.write_text(moved(text, unit))
        assert loader.load_file(str(edited))[1], f"a millionth of {unit} was not missed"
    edited.unlink()
    part, errors, _ = loader.load_file(str(exported.rows("beancount", "--from", str(booked[-1]["index"]))))
    assert not errors, errors
    assert [t.narration for t in part if isinstance(t, data.Transaction)][0] == "opening balances"
    return f"{len(transactions)} transactions balance and end as the ledger does, with beancount"


def moved(text, unit):
    """The same text with a millionth more and less in the last transaction of a unit, which still balances."""
    blocks = text.split("\n\n")
    at = max(n for n, b in enumerate(blocks) if " balance " not in b and f" {unit}" in b and "  Liab" in b)
    lines = blocks[at].split("\n")
    ours = [n for n, line in enumerate(lines) if line.startswith("  ") and line.endswith(f" {unit}")]
    for n, change in ((ours[0], 1), (ours[1], -1)):
        account, amount, name = lines[n].split()
        lines[n] = f"  {account}  {Decimal(amount) + Decimal(change).scaleb(-6):f} {name}"
    return "\n\n".join((*blocks[:at], "\n".join(lines), *blocks[at + 1 :]))


def hledger(exported):
    path = exported.rows("hledger")

    def ask(*arguments):
        done = subprocess.run(
            ["hledger", "-f", str(path), *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout, done.stderr

    code, out, err = ask("check", "balancednoautoconversion", "ordereddates")
    assert code == 0, (out, err)
    code, out, err = ask("balance", "--no-total", "-O", "csv", "Assets", "Liabilities", "Income")
    assert code == 0, err
    balances = {row["account"]: row["balance"] for row in csv.DictReader(out.splitlines())}
    assert balances["Assets:Received"] == "20.000000 USD", balances
    booked = [e for e in exported.entries if e["body"]["payload"]["kind"] in BOOKED]
    code, out, err = ask("print", "-O", "json")
    assert code == 0, err
    tags = [dict(map(tuple, t["ttags"])) for t in json.loads(out)]
    assert [t["leaf"] for t in tags if "leaf" in t] == [e["leaf_hash"] for e in booked]
    text = path.read_text()
    path.write_text(text.replace("= 20.000000 USD", "= 20.000001 USD", 1))
    assert ask("check")[0] != 0
    path.write_text(text)
    part = exported.rows("hledger", "--from", str(booked[-1]["index"]))
    assert subprocess.run(["hledger", "-f", str(part), "check"], check=False).returncode == 0
    return f"{len(booked)} transactions with hledger, every balance asserted"


def statement(exported):
    envelope = json.loads(exported.rows("statement").read_text())
    payload = base64.b64decode(envelope["payload"], validate=True)
    genesis = exported.entries[0]["body"]["payload"]["payload"]
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(genesis["author_key"]))
    kind = envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    (signature,) = envelope["signatures"]
    key.verify(base64.b64decode(signature["sig"]), signed)
    try:
        key.verify(base64.b64decode(signature["sig"]), payload)
    except InvalidSignature:
        pass
    else:
        raise AssertionError("the signature is over the payload alone")
    said = json.loads(payload)
    note = said["predicate"]["checkpoint"]
    text = note.split("\n\n")[0] + "\n"
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["subject"][0]["digest"]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert said["predicate"]["size"] == len(exported.entries)
    root = base64.b64decode(text.split("\n")[2])
    assert said["predicate"]["root"] == root.hex()
    return "the statement's envelope verifies with `cryptography` under the key of the log's first entry"


def secrets(exported):
    """No log and no export of the run holds its prompts, answers, key, mail address or caller's address, nor a hash of one of
    them by which a guess could be confirmed."""
    needles = {}
    for name, text in exported.secrets.items():
        plain = text.encode()
        forms = {"": plain, "SHA-256 of ": hashlib.sha256(plain).digest(), "BLAKE3 of ": blake3.plain(plain)}
        for form, data in forms.items():
            needles |= {form + name: data, f"{form}{name}, hexadecimal": data.hex().encode()}
            needles |= {f"{form}{name}, base64": base64.b64encode(data).rstrip(b"=")}
    bare = exported.secrets["key"].removeprefix("cf-")
    needles |= {"the key's digits": bare.encode(), "the key's bytes": bytes.fromhex(bare)}
    logs = [exported.home.home / "log", *exported.home.home.glob("nodes/*/log")]
    assert len(logs) == 3, logs
    exports = [path for path in exported.folder.iterdir() if (path / "manifest.jsonl").is_file()]
    assert len(exports) >= 8, exports
    files = {p: p.read_bytes() for top in (*logs, *exports) for p in top.rglob("*") if p.is_file()}
    # The search finds what is there: the requests' serials, as bytes in the logs and as text in exports.
    asked = next(e for e in exported.entries if e["body"]["payload"]["kind"] == "inference")["body"]
    for there in (bytes.fromhex(asked["serial"]), asked["serial"].encode()):
        assert sum(there in data for data in files.values()) > 1
    for name, needle in needles.items():
        for path, data in files.items():
            assert needle not in data, f"{name} stands in {path}"
    return f"{len(needles)} forms of the run's own secrets stand in none of {len(files)} files of logs and exports"


def main(binary):
    started = time.monotonic()
    steps, skipped = [jsonl, comma, parquet, ocsf, records, beancount, statement], []
    if shutil.which("hledger"):
        steps.append(hledger)
    else:
        skipped.append("hledger")
    steps.append(secrets)
    with tempfile.TemporaryDirectory() as folder:
        exported = Exported(binary, folder)
        for step in steps:
            print(f"ok   {step(exported)}")
    for name in skipped:
        print(f"SKIPPED: {name} is not installed and could not be")
    print(f"{len(steps) - 1} formats read by others in {time.monotonic() - started:.0f} s, {len(skipped)} skipped")


if __name__ == "__main__":
    main(sys.argv[1])
