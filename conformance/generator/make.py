"""Writes the vectors: python conformance/generator/make.py [--check]

Everything follows from spec/*.md and from fixed seeds and times, so that each run gives the same bytes; with --check
nothing is written, and files that would change are named. Needs `cbor2` and `cryptography`.
"""

import json
import sys
from pathlib import Path

import certificates
import consent
import denials
import enrolment
import frames
import grants
import keys
import receipts
import renewals
import settlement
import tlog

FOLDER = Path(__file__).resolve().parent.parent / "vectors"
FILES = {
    "keys": (keys, "Ed25519 keys when they are first met, and strict signatures"),
    "certificates": (certificates, "chains of certificates, as spec/identity.md checks a peer"),
    "enrolment": (enrolment, "join tokens, and the messages of enrolment as a router checks them"),
    "renewals": (renewals, "what a router answers a node that wants its next certificate"),
    "consent": (consent, "consent tokens, in the order of checks of spec/consent.md"),
    "denials": (denials, "deny lists of a router and of a root, as a node takes them one after the other"),
    "grants": (grants, "orders and grants under a consent token, as a node checks them"),
    "frames": (frames, "bytes on a fresh lane, as spec/session.md judges them"),
    "receipts": (receipts, "work receipts with both halves, as spec/consent.md checks them"),
    "quarters": (settlement, "quarters of small networks under both pool rules, as spec/settlement.md shares them"),
    "tlog": (tlog, "signed notes, cosignatures, proofs, policies and successions of logs, as spec/audit-log.md and C2SP have them"),
}


# No bytes that a command could be asked about: the ledger's tests play them.
ELSEWHERE = {"quarters": FOLDER.parent / "quarters.json"}


def document(name):
    module, about = FILES[name]
    groups = module.groups()
    number = 0
    for group in groups:
        for case in group["tests"]:
            number += 1
            case.update({"tcId": number, **{k: case.pop(k) for k in list(case)}})
    return {
        "algorithm": f"counterfoil-{name}", "numberOfTests": number,
        "header": [f"Counterfoil: {about}.", "Made by conformance/generator; byte strings are hexadecimal."],
        "notes": module.NOTES, "testGroups": groups,
    }


def written(document_):
    """One test a line, so that a change of one shows as one line."""
    groups = []
    for group in document_["testGroups"]:
        fields = {k: v for k, v in group.items() if k != "tests"}
        head = json.dumps(fields, ensure_ascii=False)[:-1]
        tests = ",\n".join("      " + json.dumps(t, ensure_ascii=False) for t in group["tests"])
        groups.append(f'    {head}, "tests": [\n{tests}\n    ]}}')
    head = json.dumps({k: v for k, v in document_.items() if k != "testGroups"}, ensure_ascii=False, indent=2)[:-2]
    return head + ',\n  "testGroups": [\n' + ",\n".join(groups) + "\n  ]\n}\n"


def main(check):
    differing = []
    for name in FILES:
        text, path = written(document(name)), ELSEWHERE.get(name, FOLDER / f"{name}.json")
        json.loads(text)
        if not path.exists() or path.read_text() != text:
            differing.append(path.name)
            if not check:
                FOLDER.mkdir(exist_ok=True)
                path.write_text(text)
    for name in differing:
        print(f"{name}: {'is not what the generator writes' if check else 'written'}")
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
