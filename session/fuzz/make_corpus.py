"""Makes what the fuzzer begins with, out of the conformance vectors: python make_corpus.py FOLDER

One folder for each target, one file for each input that a vector has, named by its test. What a router says in an
enrolment, which no vector is about, is written here. Nothing but Python is needed.
"""

import json
import shutil
import sys
from pathlib import Path

VECTORS = Path(__file__).resolve().parents[2] / "conformance" / "vectors"
# One frame of a vector fills a megabyte; the fuzzer learns nothing from its length.
MAX_BYTES = 8192
PRESENT = 1_800_003_600
ROLES = {"node": b"\0", "router": b"\1"}


def tests(name, kind):
    for group in json.loads((VECTORS / f"{name}.json").read_text())["testGroups"]:
        if group["type"] == kind:
            yield from group["tests"]


def sized(part):
    return len(part).to_bytes(2, "big") + part


def consent_tokens():
    for test in tests("consent", "ConsentToken"):
        yield test["tcId"], bytes.fromhex(test["token"])


def join_tokens():
    for test in tests("enrolment", "JoinToken"):
        yield test["tcId"], test["text"].encode()
    yield "bytes", b"\1" + b"\x11" * 16 + b"\x22" * 32 + b"\x33" * 32 + PRESENT.to_bytes(8, "big")


def enrolments():
    for test in tests("enrolment", "Enrolment"):
        for number, attempt in enumerate(test["attempts"]):
            proof = bytes.fromhex(attempt.get("proof", ""))
            yield f"{test['tcId']}-{number}", sized(bytes.fromhex(attempt["hello"])) + proof
    for test in tests("enrolment", "Recovery"):
        yield test["tcId"], bytes.fromhex(test["message"])
    yield "challenge", cbor([1, [{1: b"\x53" * 32, 2: b"\x14" * 32, 3: PRESENT, 4: 1}]])
    yield "enrolled", cbor([2, [{1: b"leaf", 2: b"ca", 3: b"root", 4: 1, 5: PRESENT}]])
    yield "refused", cbor([3, [40, "no such join token"]])
    yield "denied", cbor([4, [7]])


def frames(to):
    for test in tests("frames", "Frames"):
        if test["to"] == to:
            yield test["tcId"], bytes.fromhex(test["stream"])


def certificates():
    for test in tests("certificates", "Certificate"):
        leaf, *rest = [bytes.fromhex(der) for der in test["chain"]] or [b""]
        yield test["tcId"], ROLES[test["role"]] + sized(leaf) + b"".join(rest[:1])
    for test in tests("certificates", "Root"):
        yield test["tcId"], b"\2" + bytes.fromhex(test["root"])


def deny_lists(kind):
    for test in tests("denials", kind):
        for number, signed in enumerate(test["lists"]):
            yield f"{test['tcId']}-{number}", bytes.fromhex(signed)


def cbor(value):
    """Shortest form; maps keep the order in which they are written."""
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    return head(5, len(value)) + b"".join(cbor(key) + cbor(member) for key, member in value.items())


def head(kind, number):
    if number < 24:
        return bytes([kind << 5 | number])
    power = next(p for p in range(4) if number < 1 << (8 << p))
    return bytes([kind << 5 | 24 + power]) + number.to_bytes(1 << power, "big")


TARGETS = {
    "consent_token": consent_tokens(), "join_token": join_tokens(), "enrolment": enrolments(),
    "frames_to_node": frames("node"), "frames_to_router": frames("router"), "certificate": certificates(),
    "deny_list": deny_lists("DenyList"), "root_deny_list": deny_lists("RootDenyList"),
}


def main():
    if len(sys.argv) != 2:
        sys.exit("use: python make_corpus.py FOLDER")
    for target, inputs in TARGETS.items():
        folder = Path(sys.argv[1]) / target
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in inputs:
            if len(content) <= MAX_BYTES:
                (folder / str(name)).write_bytes(content)


if __name__ == "__main__":
    main()
