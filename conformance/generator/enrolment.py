"""Join tokens, and what a router answers to the messages of enrolment."""

import base64

import blake3
import x509
from keys import a_mixed_key, a_weak_key
from words import (
    CA, DAY, NET, NIK, NODE, OTHER_NIK, ROOT, ROUTER_KEY, T0, TLS, Key, b32, cbor, domain, invalid, u64, valid,
)

NOTES = {
    "E_TOKEN": "no join token with this id was handed out",
    "E_USED": "another claim used the join token, or this one more than 600 seconds ago",
}
TOKEN_ID, TOKEN_KEY, LOG = b"\x11" * 16, Key(0x22), Key(0x0A)
EXPIRES = T0 + 3600
EXPORTER, HELLO_NONCE, NONCE = b"\x51" * 32, b"\x52" * 32, b"\x53" * 32
END, GENERATION = T0 + DAY, 1


def join_token(version=1, check=None, expires=EXPIRES):
    body = bytes([version]) + TOKEN_ID + TOKEN_KEY.seed + NET + u64(expires)
    check = check or blake3.derive("counterfoil v1 join-token", body)[:4]
    return "cfjoin1" + b32(body + check)


def join_tokens():
    good = join_token()
    yield valid("the specification's own", text=good)
    yield invalid(None, "one character short", text=good[:-1])
    yield invalid(None, "one character more", text=good + "a")
    yield invalid(None, "another prefix", text="cfjoin2" + good[7:])
    yield invalid(None, "capitals", text="cfjoin1" + good[7:].upper())
    changed = "b" if good[20] == "a" else "a"
    yield invalid(None, "one character changed", text=good[:20] + changed + good[21:])
    yield invalid(None, "version 2 with the right check", text=join_token(version=2))
    raw = base64.b32decode(good[7:].upper() + "=" * (-len(good[7:]) % 8))
    loose = good[:-1] + chr(ord(good[-1]) + 1)
    assert len(raw) == 93
    yield invalid(None, "a bit set behind the last byte", text=loose)


def vkey(public):
    raw = b"\x01" + public
    return f"node.example/log+0a0b0c0d+{base64.b64encode(raw).decode()}"


def hello_map(version=1, token_id=TOKEN_ID, identity=None, tls=None, log=None, nonce=HELLO_NONCE):
    return {
        1: version, 2: token_id, 3: identity or NIK.public, 4: tls or TLS.public, 5: b"\x54" * 32,
        6: log or vkey(LOG.public), 7: nonce,
    }


def hello(**fields):
    return cbor([1, [hello_map(**fields)]])


def proof(hello_fields=None, csr=None, identity=NIK, token_key=TOKEN_KEY, binding=None, router=None, exporter=EXPORTER,
          nonce=NONCE, net_id=NET, node_purpose="enrol-node"):
    fields = hello_map(**(hello_fields or {}))
    csr = csr if csr is not None else x509.request()
    t = (
        (router or ROUTER_KEY.id) + exporter + fields[7] + nonce + fields[2]
        + blake3.derive("counterfoil v1 csr", csr) + blake3.derive("counterfoil v1 enrol-hello", cbor(fields))
    )
    if binding is None:
        binding = x509.binding_value(identity, NODE, TLS.spki, END, GENERATION)[-64:]
    node = identity.sign(domain(node_purpose, net_id, t))
    token = token_key.sign(domain("enrol-token", net_id, t))
    return cbor([2, [{1: csr, 2: node, 3: token, 4: binding}]])


TOKEN = {"id": TOKEN_ID.hex(), "key": TOKEN_KEY.public.hex(), "expires": EXPIRES}


def attempt(hello_bytes=None, proof_bytes=None, now=T0):
    out = {"hello": (hello_bytes or hello()).hex(), "now": now}
    if proof_bytes is not None:
        out["proof"] = proof_bytes.hex()
    return out


def one(*args, enrolled=(), tokens=(TOKEN,), **fields):
    return {"attempts": [attempt(*args, **fields)], "tokens": list(tokens), "enrolledKids": [k.hex() for k in enrolled]}


def many(*attempts):
    return {"attempts": list(attempts), "tokens": [TOKEN], "enrolledKids": []}


def hellos():
    yield valid("a hello under a token that was handed out", **one())
    yield invalid("E_TOKEN", "no such token", **one(hello(token_id=b"\x12" * 16)))
    yield valid("the last second of the token", **one(now=EXPIRES - 1))
    yield invalid("E_EXPIRED", "the instant at which the token expires", **one(now=EXPIRES))
    yield invalid("E_SHAPE", "version 2", **one(hello(version=2)))
    yield invalid("C_WEAK_KEY", "a NIK of small order", **one(hello(identity=a_weak_key())))
    yield invalid("C_WEAK_KEY", "a TLS key of mixed order", **one(hello(tls=a_mixed_key())))
    yield invalid("C_WEAK_KEY", "a log key of small order", **one(hello(log=vkey(a_weak_key()))))
    yield invalid("E_SHAPE", "the NIK is the TLS key", **one(hello(tls=NIK.public)))
    yield invalid("E_SHAPE", "the NIK is the log key", **one(hello(log=vkey(NIK.public))))
    yield invalid("E_SHAPE", "the TLS key is the log key", **one(hello(log=vkey(TLS.public))))
    yield invalid("E_SHAPE", "a verifier key without a name", **one(hello(log="+0a0b0c0d+AQ==")))
    yield invalid("E_SHAPE", "a byte after the message", **one(hello() + b"\0"))
    yield invalid("E_SHAPE", "a byte short", **one(hello()[:-1]))
    long_form = b"\x82\x18\x01" + hello()[2:]
    yield invalid("E_SHAPE", "a number that is not in its shortest form", **one(long_form))
    turned = dict(reversed(hello_map().items()))
    yield invalid("E_SHAPE", "map keys in another order", **one(cbor([1, [turned]])))
    yield invalid("E_SHAPE", "longer than 16,384 bytes", **one(hello(log=vkey(LOG.public) + "a" * 16_384)))


def proofs():
    h = hello()
    csr = x509.request()
    yield valid("all three keys prove themselves", **one(h, proof()))
    yield invalid("E_PROOF", "the NIK's half by another key", **one(h, proof(identity=OTHER_NIK, binding=x509.binding_value(NIK, NODE, TLS.spki, END)[-64:])))
    yield invalid("E_PROOF", "the NIK's half under the token's purpose", **one(h, proof(node_purpose="enrol-token")))
    yield invalid("E_PROOF", "the token's half by another key", **one(h, proof(token_key=Key(0x23))))
    yield invalid("E_PROOF", "on another connection", **one(h, proof(exporter=b"\x55" * 32)))
    yield invalid("E_PROOF", "for another challenge", **one(h, proof(nonce=b"\x56" * 32)))
    yield invalid("E_PROOF", "for another hello", **one(h, proof({"nonce": b"\x57" * 32})))
    yield invalid("E_PROOF", "for another router", **one(h, proof(router=Key(0x15).id)))
    yield invalid("E_PROOF", "in another network", **one(h, proof(net_id=Key(0x31).net_id)))
    yield invalid("E_PROOF", "a binding to another end", **one(h, proof(binding=x509.binding_value(NIK, NODE, TLS.spki, END + 1)[-64:])))
    yield invalid("E_PROOF", "a binding of another generation", **one(h, proof(binding=x509.binding_value(NIK, NODE, TLS.spki, END, 2)[-64:])))
    yield invalid("E_CSR", "a request for another key", **one(h, proof(csr=x509.request(OTHER_NIK))))
    yield invalid("E_CSR", "a request that another key signed", **one(h, proof(csr=x509.request(signer=OTHER_NIK))))
    yield invalid("E_CSR", "bytes after the request", **one(h, proof(csr=x509.request(tail=b"\0"))))
    yield invalid("E_CSR", "no request", **one(h, proof(csr=b"")))
    yield invalid("E_SHAPE", "a proof with bytes after it", **one(h, proof() + b"\0"))
    yield invalid("E_EXPIRED", "the token expires between hello and proof", **{
        **one(h, proof(), now=EXPIRES - 1), "finishAt": EXPIRES})
    yield invalid("E_COLLISION", "a NIK whose kid is enrolled", **one(h, proof(), enrolled=[NIK.kid]))
    yield valid("the kid of another is enrolled", **one(h, proof(), enrolled=[OTHER_NIK.kid]))
    assert csr == x509.request()


def claims():
    h, p = hello(), proof()
    first = attempt(h, p)
    yield valid("the same NIK and csr again after 599 seconds", **many(first, attempt(h, p, T0 + 599)))
    yield invalid("E_USED", "the same again after 600 seconds", **many(first, attempt(h, p, T0 + 600)))
    fields = {"identity": OTHER_NIK.public}
    other = proof(fields, identity=OTHER_NIK)
    yield invalid("E_USED", "another NIK with the same token", **many(first, attempt(hello(**fields), other, T0 + 1)))
    again = {"tls": Key(0x18).public}
    tls = Key(0x18)
    binding = x509.binding_value(NIK, NODE, tls.spki, END)[-64:]
    p2 = proof(again, csr=x509.request(tls), binding=binding)
    yield invalid("E_USED", "the same NIK with another csr", **many(first, attempt(hello(**again), p2, T0 + 1)))
    bad = proof(token_key=Key(0x23))
    yield valid("a proof that was refused uses no token", **many(attempt(h, bad), attempt(h, p, T0 + 1)))


RECOVERY = Key(0x0c)


def recover(key=RECOVERY, node=NIK.id, signed_node=None, router=ROUTER_KEY.id, exporter=EXPORTER, net_id=NET, shown=None):
    data = domain("recover", net_id, router, exporter, signed_node or node)
    return cbor([3, [{1: node, 2: (shown or key).public, 3: key.sign(data)}]])


def recoveries():
    own = blake3.derive("counterfoil v1 recovery-key", RECOVERY.public).hex()
    other = blake3.derive("counterfoil v1 recovery-key", OTHER_NIK.public).hex()

    def no(comment, message, committed=own, code="E_RECOVERY"):
        return invalid(code, comment, message=message.hex(), committed=committed)

    yield valid("the key that the node committed to", message=recover().hex(), committed=own)
    yield no("a node that nobody enrolled", recover(), None)
    yield no("another key than the node committed to", recover(), other)
    yield no("another key that shows itself", recover(OTHER_NIK))
    yield no("signed by another key than it shows", recover(OTHER_NIK, shown=RECOVERY))
    yield no("signed for another node", recover(signed_node=OTHER_NIK.id))
    yield no("for another router", recover(router=Key(0x15).id))
    yield no("on another connection", recover(exporter=b"\x55" * 32))
    yield no("in another network", recover(net_id=Key(0x31).net_id))
    yield no("a weak key", cbor([3, [{1: NIK.id, 2: bytes(32), 3: bytes(64)}]]))
    yield no("bytes after it", recover() + b"\0", code="E_SHAPE")


def groups():
    network = {
        "netId": b32(NET), "routerId": b32(ROUTER_KEY.id), "root": x509.root().hex(), "ca": x509.issuing_ca().hex(),
        "caSeed": CA.seed.hex(), "exporter": EXPORTER.hex(), "nonce": NONCE.hex(), "notAfter": END,
        "generation": GENERATION,
    }
    assert ROOT.net_id == NET
    place = {"netId": b32(NET), "routerId": b32(ROUTER_KEY.id), "exporter": EXPORTER.hex()}
    return [{"type": "JoinToken", "tests": list(join_tokens())}] + [
        {"type": "Enrolment", "about": part.__name__, **network, "tests": list(part())} for part in (hellos, proofs, claims)
    ] + [{"type": "Recovery", **place, "tests": list(recoveries())}]
