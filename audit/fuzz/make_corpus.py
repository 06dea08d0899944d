"""Makes what the fuzzer begins with, out of the conformance vectors, and changes of files: python make_corpus.py FOLDER

One folder for each target, one file for each input of a vector, named by its test. Nothing but Python is needed.
"""

import itertools
import json
import shutil
import sys
from pathlib import Path

VECTORS = Path(__file__).resolve().parents[2] / "conformance" / "vectors" / "tlog.json"
# A note over its limit fills 17 KiB; the fuzzer learns nothing from its length.
MAX_BYTES = 8192
# At least as many as a log or an export has.
FILES = 16
MEMBERS = {
    "signed_note": ("note",), "proof": ("proof", "growth"), "policy": ("policy",), "add_checkpoint": ("growth",),
    "succession": ("succession",),
}


def main():
    if len(sys.argv) != 2:
        sys.exit("use: python make_corpus.py FOLDER")
    groups = json.loads(VECTORS.read_text())["testGroups"]
    for target, members in MEMBERS.items():
        folder = Path(sys.argv[1]) / target
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for test in (test for group in groups for test in group["tests"]):
            for member in members:
                content = bytes.fromhex(test.get(member, ""))
                if 0 < len(content) <= MAX_BYTES:
                    (folder / f"{test['tcId']}-{member}").write_bytes(content)
    for target in ("tampered_log", "tampered_export"):
        folder = Path(sys.argv[1]) / target
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # One byte of each file written over, put in and taken out: near its beginning, further on, and at its end.
        for number, (file, how, at) in enumerate(itertools.product(range(FILES), range(3), (0, 60, 400, 65535))):
            (folder / str(number)).write_bytes(bytes([file, how]) + at.to_bytes(2, "little") + b"\x7f")


if __name__ == "__main__":
    main()
