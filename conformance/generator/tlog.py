"""Signed notes, cosignatures, proofs of entries and of growth, and policies, as C2SP and spec/audit-log.md have them."""

import base64
import hashlib

import blake3
from words import NET, ROOT, ROUTER_KEY, T0, Key, cbor, domain, invalid, valid

ORIGIN = "router.example/log"
LOG, OTHER_LOG = Key(0x41), Key(0x42)
WITNESSES = [Key(0x51 + n) for n in range(5)]
NOTES = {}
LOG_TYPE, WITNESS_TYPE = b"\1", b"\4"


def b64(data):
    return base64.b64encode(data).decode()


def key_id(name, kind, key):
    return hashlib.sha256(name.encode() + b"\n" + kind + key.public).digest()[:4]


def vkey(name, kind, key):
    return f"{name}+{key_id(name, kind, key).hex()}+{b64(kind + key.public)}"


def leaf_hash(leaf):
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def split(n):
    """The largest power of two below n."""
    return 1 << ((n - 1).bit_length() - 1)


def root(hashes):
    """MTH of RFC 6962, section 2.1."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = split(len(hashes))
    return node_hash(root(hashes[:k]), root(hashes[k:]))


def inclusion(index, hashes):
    """PATH of RFC 6962, section 2.1.1."""
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    if index < k:
        return inclusion(index, hashes[:k]) + [root(hashes[k:])]
    return inclusion(index - k, hashes[k:]) + [root(hashes[:k])]


def consistency(old, hashes, whole=True):
    """SUBPROOF of RFC 6962, section 2.1.2."""
    if old == len(hashes):
        return [] if whole else [root(hashes)]
    k = split(len(hashes))
    if old <= k:
        return consistency(old, hashes[:k], whole) + [root(hashes[k:])]
    return consistency(old - k, hashes[k:], False) + [root(hashes[:k])]


def text_of(size, head, origin=ORIGIN):
    return f"{origin}\n{size}\n{b64(head)}\n"


def line(name, ident, signature):
    return f"\u2014 {name} {b64(ident + signature)}\n"


def signed(text, key=LOG, name=ORIGIN):
    return f"{text}\n" + line(name, key_id(name, LOG_TYPE, key), key.sign(text.encode()))


def cosigned(text, witness=0, time=T0, key=None, name=None, of=None):
    key = key or WITNESSES[witness]
    name = name or f"w{witness + 1}.example"
    message = f"cosignature/v1\ntime {time}\n{of or text}".encode()
    return line(name, key_id(name, WITNESS_TYPE, key), time.to_bytes(8, "big") + key.sign(message))


LEAVES = [f"leaf {n}".encode() for n in range(300)]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]
OTHER_HASHES = HASHES[:5] + [leaf_hash(b"another past") for _ in HASHES[5:]]
TEXT = text_of(300, root(HASHES))
NOTE = signed(TEXT)


def hex_of(text):
    return text.encode().hex()


def notes():
    """A checkpoint under the log's one trusted key."""
    good = {"note": hex_of(NOTE)}
    yield valid("a checkpoint", **good)
    yield valid("of an empty log", note=hex_of(signed(text_of(0, root([])))))
    yield valid("with lines of others", note=hex_of(NOTE + cosigned(TEXT) + signed(TEXT, OTHER_LOG).split("\n\n")[1]))
    wrong = {
        "another key of that name": signed(TEXT, OTHER_LOG),
        "the name of another log": signed(TEXT, LOG, "other.example/log"),
        "a changed size": NOTE.replace("\n300\n", "\n301\n"),
        "a second line of the key that does not verify": NOTE + signed(text_of(1, HASHES[0])).split("\n\n")[1],
        "no signature": TEXT + "\n",
        "no empty line": NOTE.replace("\n\n", "\n"),
        "no newline at its end": NOTE[:-1],
        "a hyphen for the dash": NOTE.replace("\u2014", "-"),
        "two spaces": NOTE.replace(f" {ORIGIN} ", f" {ORIGIN}  "),
        "another origin than the key's name": signed(text_of(300, root(HASHES), "other.example/log")),
        "an extension line": signed(TEXT + "more\n"),
        "a size with a zero before it": signed(TEXT.replace("\n300\n", "\n0300\n")),
        "a size with a plus sign": signed(TEXT.replace("\n300\n", "\n+300\n")),
        "a root of 31 bytes": signed(text_of(300, root(HASHES)[:31])),
        "a root with loose bits at its end": signed(f"{ORIGIN}\n300\n{b64(root(HASHES))[:-2]}{'B' if b64(root(HASHES))[-2] != 'B' else 'C'}=\n"),
        "a carriage return": signed(TEXT.replace("\n300\n", "\r\n300\n")),
        "a tab": signed(TEXT.replace("\n300\n", "\t\n300\n")),
    }
    for comment, note in wrong.items():
        yield invalid(None, comment, note=hex_of(note))
    yield invalid(None, "not UTF-8", note=(b"\xff" + NOTE.encode()).hex())
    yield invalid(None, "a note of more than 16 KiB", note=hex_of(NOTE + cosigned(TEXT) * 140))


def cosignatures():
    """Witness one's word on a checkpoint."""
    yield valid("a cosignature", note=hex_of(NOTE + cosigned(TEXT)))
    yield valid("at the first instant there is", note=hex_of(NOTE + cosigned(TEXT, time=1)))
    yield valid("at the last instant there is", note=hex_of(NOTE + cosigned(TEXT, time=2**63 - 1)))
    yield valid("beside another's that does not verify", note=hex_of(NOTE + cosigned(TEXT, 1, of="x\n") + cosigned(TEXT)))
    wrong = {
        "none": "",
        "another's": cosigned(TEXT, 1),
        "by another key under its name": cosigned(TEXT, key=WITNESSES[1], name="w1.example"),
        "of another checkpoint": cosigned(TEXT, of=text_of(1, HASHES[0])),
        "at no time": cosigned(TEXT, time=0),
        "beyond the last instant": cosigned(TEXT, time=2**63),
        "one that verifies and one that does not": cosigned(TEXT) + cosigned(TEXT, of="x\n"),
        "of the text without its header": line(
            "w1.example", key_id("w1.example", WITNESS_TYPE, WITNESSES[0]),
            T0.to_bytes(8, "big") + WITNESSES[0].sign(TEXT.encode())),
        "a signature without its time": line(
            "w1.example", key_id("w1.example", WITNESS_TYPE, WITNESSES[0]), WITNESSES[0].sign(TEXT.encode())),
        "another time than was signed": line(
            "w1.example", key_id("w1.example", WITNESS_TYPE, WITNESSES[0]),
            (T0 + 1).to_bytes(8, "big") + WITNESSES[0].sign(f"cosignature/v1\ntime {T0}\n{TEXT}".encode())),
        "with the key id of a log's key": line(
            "w1.example", key_id("w1.example", LOG_TYPE, WITNESSES[0]),
            T0.to_bytes(8, "big") + WITNESSES[0].sign(f"cosignature/v1\ntime {T0}\n{TEXT}".encode())),
    }
    for comment, lines in wrong.items():
        yield invalid(None, comment, note=hex_of(NOTE + lines))


def proof(index, size=300, path=None, leaf=None, extra=True, note=None, number=None):
    path = inclusion(index, HASHES[:size]) if path is None else path
    note = note or signed(text_of(size, root(HASHES[:size])))
    leaf = LEAVES[index] if leaf is None else leaf
    lines = [f"extra {b64(leaf)}"] if extra else []
    lines += [f"index {index if number is None else number}"] + [b64(h) for h in path]
    return "c2sp.org/tlog-proof@v1\n" + "".join(f"{one}\n" for one in lines) + f"\n{note}"


def proofs():
    """That an entry is in the log."""
    for index, size in ((0, 1), (0, 2), (1, 2), (0, 300), (255, 300), (256, 300), (299, 300), (6, 7)):
        yield valid(f"entry {index} of {size}", proof=hex_of(proof(index, size)))
    path = inclusion(7, HASHES)
    wrong = {
        "another leaf": proof(7, leaf=LEAVES[8]),
        "another index": proof(7, number=6),
        "an index with a zero before it": proof(7, number="07"),
        "an index beyond the tree": proof(7, number=300),
        "no leaf": proof(7, extra=False),
        "a hash too few": proof(7, path=path[:-1]),
        "a hash too many": proof(7, path=path + [HASHES[0]]),
        "two hashes in the other order": proof(7, path=path[1::-1] + path[2:]),
        "a hash of 31 bytes": proof(7, path=[path[0][:31], *path[1:]]),
        "a hash for the root of one entry": proof(0, 1, path=[HASHES[0]]),
        "another log's checkpoint": proof(7, note=signed(TEXT, OTHER_LOG)),
        "another tree's checkpoint": proof(7, note=signed(text_of(300, root(OTHER_HASHES)))),
        "another version": proof(7).replace("@v1", "@v2"),
        "no empty line": proof(7).replace("\n\n", "\n", 1),
        "an inner node as a leaf": proof(0, 2, leaf=HASHES[0] + HASHES[1], path=[]),
    }
    for comment, one in wrong.items():
        yield invalid(None, comment, proof=hex_of(one))


def growth(old, size, hashes=None, path=None, number=None):
    hashes = hashes or HASHES
    path = (consistency(old, hashes[:size]) if 0 < old < size else []) if path is None else path
    lines = [f"old {old if number is None else number}"] + [b64(h) for h in path]
    return "".join(f"{one}\n" for one in lines) + "\n" + signed(text_of(size, root(hashes[:size])))


def growths():
    """That the log kept what it had."""
    def case(of, old):
        return {"growth": hex_of(of), "old": hex_of(signed(text_of(old, root(HASHES[:old]))))}

    for old, size in ((0, 5), (1, 2), (3, 7), (4, 7), (6, 7), (7, 7), (8, 8), (256, 300), (255, 300), (0, 0)):
        yield valid(f"from {old} to {size}", **case(growth(old, size), old))
    path = consistency(6, HASHES)
    wrong = {
        "another past": (growth(6, 300, OTHER_HASHES), 6),
        "another root for the same size": (growth(7, 7, OTHER_HASHES), 7),
        "a hash too few": (growth(6, 300, path=path[:-1]), 6),
        "a hash too many": (growth(6, 300, path=path + [HASHES[0]]), 6),
        "a proof where the sizes are the same": (growth(7, 7, path=[HASHES[0]]), 7),
        "a proof from nothing": (growth(0, 7, path=[HASHES[0]]), 0),
        "from another size than was trusted": (growth(6, 300), 5),
        "back": (growth(300, 7, path=[]), 300),
        "a size with a zero before it": (growth(6, 300, number="06"), 6),
        "64 hashes": (growth(6, 300, path=path[:1] * 64), 6),
    }
    for comment, (one, old) in wrong.items():
        yield invalid(None, comment, **case(one, old))


def policies():
    """Whether a policy takes a checkpoint with these cosignatures."""
    log = f"log {vkey(ORIGIN, LOG_TYPE, LOG)}\n"
    named = [f"witness W{n + 1} {vkey(f'w{n + 1}.example', WITNESS_TYPE, key)}\n" for n, key in enumerate(WITNESSES)]
    nested = log + "".join(named) + "group X 2 W1 W2 W3\ngroup Y any W4 W5\ngroup both all X Y\nquorum both\n"

    def case(policy, *who):
        return {"policy": hex_of(policy), "note": hex_of(NOTE + "".join(cosigned(TEXT, n - 1) for n in who))}

    yield valid("groups of groups", **case(nested, 1, 3, 5))
    yield valid("all of them", **case(nested, 1, 2, 3, 4, 5))
    yield invalid(None, "one too few", **case(nested, 1, 5))
    yield invalid(None, "nobody of one group", **case(nested, 1, 2, 3))
    yield valid("one witness", **case(named[1] + "quorum W2\n", 2))
    yield invalid(None, "another witness", **case(named[1] + "quorum W2\n", 1))
    yield invalid(None, "twice the same", **case("".join(named[:2]) + "group g 2 W1 W2\nquorum g\n", 1, 1))
    yield valid("none is asked for", **case("quorum none\n"))
    yield valid("comments, spaces, tabs, empty lines, a URL", **case(
        f"# who counts\n\n \t{named[0][:-1]} https://w1.example/x \n\tquorum\tW1\n", 1))
    wrong = {
        "no quorum": named[0],
        "two quorums": named[0] + "quorum W1\nquorum W1\n",
        "a quorum before its witness": "quorum W1\n" + named[0],
        "a threshold above the members": named[0] + "group g 2 W1\nquorum g\n",
        "a threshold of nothing": named[0] + "group g 0 W1\nquorum none\n",
        "a threshold with a zero before it": named[0] + "group g 01 W1\nquorum g\n",
        "a member of two groups": named[0] + "group g any W1\ngroup h any W1\nquorum g\n",
        "a name twice": named[0] + named[1].replace("W2", "W1") + "quorum W1\n",
        "a key twice": named[0] + named[0].replace("W1", "V1") + "quorum W1\n",
        "none as a name": named[0].replace("W1", "none") + "quorum none\n",
        "none as a member": "group g any none\nquorum none\n",
        "a log's key for a witness": f"witness W1 {vkey('w1.example', LOG_TYPE, WITNESSES[0])}\nquorum W1\n",
        "a witness's key for a log": f"log {vkey(ORIGIN, WITNESS_TYPE, LOG)}\nquorum none\n",
        "a key id of another name": named[0].replace("w1.example", "v1.example") + "quorum W1\n",
        "no newline at its end": named[0] + "quorum W1",
        "a carriage return": named[0] + "quorum W1\r\n",
        "another kind of line": named[0] + "quorum W1\nmirror W1\n",
    }
    for comment, policy in wrong.items():
        yield invalid(None, comment, **case(policy, 1))


ROOT_ROLE, ROUTER_ROLE, LOG_ROLE = 1, 2, 4
THIRD_LOG, LAST_LOG = Key(0x43), Key(0x44)
BY_AUTHOR = (ROUTER_ROLE, ROUTER_KEY)


def entry(kind, payload, signers, seq=0, origin=ORIGIN, net_id=NET, forged=()):
    """A leaf of the router's log, in base64 on a line; the signatures at `forged` places are of other bytes."""
    body = cbor({
        1: 1, 2: kind, 3: signers[0][1].kid, 4: seq, 5: bytes(32), 6: T0 * 1000, 7: bytes([kind, seq]) * 8, 8: payload,
    })
    signatures = []
    for at, (role, key) in enumerate(signers):
        data = len(origin).to_bytes(2, "big") + origin.encode() + bytes([role]) + key.kid + body
        signatures.append([role, key.kid, key.sign(domain("entry", net_id, data + (b"!" if at in forged else b"")))])
    return b64(cbor([body, signatures])) + "\n"


def genesis(log=LOG, name=ORIGIN, signers=(BY_AUTHOR, (ROOT_ROLE, ROOT)), role=ROUTER_ROLE, **more):
    return entry(1, {
        1: ROOT.spki, 3: ORIGIN, 4: vkey(name, LOG_TYPE, log), 5: "USD", 6: ROUTER_KEY.public,
        7: blake3.derive("counterfoil v1 node-id", ROUTER_KEY.spki), 8: role,
    }, list(signers), **more)


def follows(old, new, seq=1, signers=None, of=1, key=None, **more):
    signers = signers or [BY_AUTHOR, (LOG_ROLE, old), (LOG_ROLE, new)]
    return entry(3, {1: of, 2: new.public if key is None else key}, signers, seq, **more)


def successions():
    """That a key follows the one that is known."""
    def case(lines, key):
        return {"succession": hex_of(lines), "vkey": vkey(ORIGIN, LOG_TYPE, key)}

    first = genesis()
    second, third = follows(LOG, OTHER_LOG), follows(OTHER_LOG, THIRD_LOG, 2)
    yield valid("a key that follows", **case(first + second, OTHER_LOG))
    yield valid("the next but one", **case(first + second + third, THIRD_LOG))
    yield valid("one of several", **case(first + second + third, OTHER_LOG))
    before = genesis(LAST_LOG) + follows(LAST_LOG, LOG)
    yield valid("where the known key has followed another", **case(before + follows(LOG, OTHER_LOG, 2), OTHER_LOG))
    yield invalid(None, "a key that came before", **case(before + follows(LOG, OTHER_LOG, 2), LAST_LOG))
    yield invalid(None, "the known key itself", **case(first + second, LOG))
    yield invalid(None, "a key that it does not name", **case(first + second, THIRD_LOG))
    yield invalid(None, "of a log that never had the known key", **case(genesis(LAST_LOG) + follows(LAST_LOG, OTHER_LOG), OTHER_LOG))
    by = {
        "without the author": [(LOG_ROLE, LOG), (LOG_ROLE, OTHER_LOG)],
        "without the key before": [BY_AUTHOR, (LOG_ROLE, OTHER_LOG)],
        "without the key that follows": [BY_AUTHOR, (LOG_ROLE, LOG)],
        "the key before in another role": [BY_AUTHOR, (ROUTER_ROLE, LOG), (LOG_ROLE, OTHER_LOG)],
        "the key that follows in another role": [BY_AUTHOR, (LOG_ROLE, LOG), (ROOT_ROLE, OTHER_LOG)],
        "another author": [(ROUTER_ROLE, Key(0x15)), (LOG_ROLE, LOG), (LOG_ROLE, OTHER_LOG)],
    }
    for comment, signers in by.items():
        yield invalid(None, comment, **case(first + follows(LOG, OTHER_LOG, signers=signers), OTHER_LOG))
    for at, who in enumerate(["the author", "the key before", "the key that follows"]):
        comment = f"a signature of {who} that does not verify"
        yield invalid(None, comment, **case(first + follows(LOG, OTHER_LOG, forged=[at]), OTHER_LOG))
    wrong = {
        "signed for another network": first + follows(LOG, OTHER_LOG, net_id=Key(9).net_id),
        "signed for another log": first + follows(LOG, OTHER_LOG, origin="other.example/log"),
        "a rotation of an issuing CA": first + follows(LOG, OTHER_LOG, of=2),
        "a key of 31 bytes": first + follows(LOG, OTHER_LOG, key=OTHER_LOG.public[:31]),
        "a key that the log had before": first + second + follows(OTHER_LOG, LOG, 2),
        "a gap": first + third,
        "no genesis": second,
        "genesis twice": first + first + second,
        "a genesis that the root did not sign": genesis(signers=[BY_AUTHOR]) + second,
        "a genesis whose root's signature does not verify": genesis(forged=[1]) + second,
        "a genesis with a log key of another name": genesis(name="other.example/log") + second,
        "the log of a node": genesis(role=3, signers=[(3, ROUTER_KEY), (ROOT_ROLE, ROOT)]) + second,
        "no newline at its end": (first + second)[:-1],
        "an empty line": first + "\n" + second,
        "a carriage return": first + second.replace("\n", "\r\n"),
        "a line that is no entry": first + second + b64(b"\x82") + "\n",
        "nothing": "",
    }
    for comment, lines in wrong.items():
        yield invalid(None, comment, **case(lines, OTHER_LOG))
    weak = bytes([1]) + bytes(31)
    yield invalid(None, "a weak key", **case(first + follows(LOG, OTHER_LOG, key=weak), OTHER_LOG))
    yield invalid(None, "not UTF-8", **{**case(first + second, OTHER_LOG), "succession": hex_of(first + second) + "ff0a"})
    more = [Key(0x60 + n) for n in range(32)]
    chain = [LOG, *more]
    lines = [follows(old, new, n + 1) for n, (old, new) in enumerate(zip(chain, more))]
    yield valid("32 keys", **case(first + "".join(lines[:31]), more[30]))
    yield invalid(None, "33 keys", **case(first + "".join(lines), more[31]))


def groups():
    log = {"logVkey": vkey(ORIGIN, LOG_TYPE, LOG)}
    return [
        {"type": "Checkpoint", **log, "tests": list(notes())},
        {"type": "Cosignature", "witnessVkey": vkey("w1.example", WITNESS_TYPE, WITNESSES[0]), "tests": list(cosignatures())},
        {"type": "InclusionProof", **log, "tests": list(proofs())},
        {"type": "ConsistencyProof", **log, "tests": list(growths())},
        {"type": "Policy", "tests": list(policies())},
        {"type": "Succession", **log, "tests": list(successions())},
    ]
