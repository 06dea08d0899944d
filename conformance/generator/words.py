"""What every group of vectors needs: keys from seeds, ids, signed bytes, CBOR, as spec/identity.md writes them."""

import base64

import blake3
import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SPKI = bytes.fromhex("302a300506032b6570032100")
ROUTER, NODE = 2, 3


class Key:
    """An Ed25519 key of a seed."""

    def __init__(self, seed):
        self.seed = bytes([seed]) * 32 if isinstance(seed, int) else seed
        self.secret = Ed25519PrivateKey.from_private_bytes(self.seed)
        self.public = self.secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, data):
        return self.secret.sign(data)

    @property
    def spki(self):
        return SPKI + self.public

    @property
    def id(self):
        return blake3.derive("counterfoil v1 node-id", self.spki)

    @property
    def net_id(self):
        return blake3.derive("counterfoil v1 network-id", self.spki)

    @property
    def kid(self):
        return blake3.derive("counterfoil v1 key-id", self.public)[:8]


def b32(data):
    return base64.b32encode(data).decode().lower().rstrip("=")


def domain(purpose, net_id, *parts):
    return b"counterfoil/" + purpose.encode() + b"/v1\0" + net_id + b"".join(parts)


def u64(n):
    return n.to_bytes(8, "big")


def cbor(value):
    """Shortest form; maps keep the order in which they are written, which is the canonical one."""
    return cbor2.dumps(value)


def valid(comment, **inputs):
    return {"comment": comment, "flags": [], **inputs, "result": "valid"}


def invalid(refusal, comment, **inputs):
    """An input that is refused; without a code where the specification names none."""
    case = {"comment": comment, "flags": [], **inputs, "result": "invalid"}
    if refusal:
        case["flags"] = [refusal]
        case["refusal"] = refusal
    return case


# Who is who in every group: the seeds of the specification's worked examples.
ROOT, CA, ROUTER_KEY, NIK, TLS = Key(1), Key(2), Key(0x14), Key(7), Key(8)
NET = ROOT.net_id
OTHER_NIK, OTHER_ROUTER = Key(9), Key(0x15)
T0 = 1_800_000_000
DAY = 86_400
