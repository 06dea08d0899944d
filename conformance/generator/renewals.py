"""What a router answers a node that wants its next certificate."""

import blake3
import x509
from keys import a_weak_key
from words import CA, DAY, NET, NIK, NODE, OTHER_NIK, ROUTER_KEY, SPKI, T0, TLS, Key, b32, cbor, domain, invalid, u64, valid

NOTES = {
    "E_GENERATION": "not the generation after the one whose certificate was used last",
    "E_RATE": "as many certificates of one generation as a router gives within 600 seconds, or before an eighth of the use of the last one",
}
EXPORTER = b"\x51" * 32
USED, ENDED, LATEST = 4, T0 + 600, T0 + DAY
LATE = ENDED + 30 * DAY


def renew(node=NIK.id, identity=NIK, binder=None, tls=TLS, csr=None, generation=USED + 1, end=LATEST, bound=None,
          router=ROUTER_KEY.id, exporter=EXPORTER, net_id=NET, purpose="renew-node"):
    csr = csr if csr is not None else x509.request(tls)
    data = router + exporter + u64(generation) + u64(end) + blake3.derive("counterfoil v1 csr", csr)
    bound_generation, bound_end = bound or (generation, end)
    binding = x509.binding_value(binder or identity, NODE, tls.spki, bound_end, bound_generation)[-64:]
    signature = identity.sign(domain(purpose, net_id, data))
    return cbor([4, [node, {1: csr, 2: generation, 3: end, 4: signature, 5: binding}]])


def asked(message=None, now=T0, **standing):
    base = {"key": NIK.public.hex(), "used": USED, "since": None, "ended": ENDED, "denied": False, "issued": 0, "latest": LATEST}
    return {"message": (message or renew()).hex(), "now": now, "standing": {**base, **standing}}


def proofs():
    yield valid("the next generation for a new key", **asked())
    yield invalid("E_PROOF", "a node that nobody enrolled", **asked(key=None))
    yield invalid("E_PROOF", "by another identity key than the one that enrolled", **asked(renew(identity=OTHER_NIK)))
    yield invalid("E_PROOF", "a binding by another key", **asked(renew(binder=OTHER_NIK)))
    yield invalid("E_PROOF", "a binding of another generation", **asked(renew(bound=(USED, LATEST))))
    yield invalid("E_PROOF", "a binding to another end", **asked(renew(bound=(USED + 1, LATEST + 1))))
    yield invalid("E_PROOF", "on another connection", **asked(renew(exporter=b"\x55" * 32)))
    yield invalid("E_PROOF", "for another router", **asked(renew(router=Key(0x15).id)))
    yield invalid("E_PROOF", "in another network", **asked(renew(net_id=Key(0x31).net_id)))
    yield invalid("E_PROOF", "under the purpose of an enrolment", **asked(renew(purpose="enrol-node")))
    yield invalid("E_CSR", "a request that another key signed", **asked(renew(csr=x509.request(signer=OTHER_NIK))))
    yield invalid("E_CSR", "bytes after the request", **asked(renew(csr=x509.request(tail=b"\0"))))
    yield invalid("E_CSR", "no request", **asked(renew(csr=b"")))
    yield invalid("E_CSR", "a request for the identity key", **asked(renew(tls=NIK)))
    yield invalid("C_WEAK_KEY", "a request for a weak key", **asked(renew(csr=x509.request(spki=SPKI + a_weak_key()))))
    yield invalid("E_SHAPE", "a byte after the message", **asked(renew() + b"\0"))
    yield invalid("E_SHAPE", "a byte short", **asked(renew()[:-1]))


def standings():
    yield valid("the last second of the thirtieth day after its certificate ended",
                **asked(renew(end=LATE + DAY), LATE, latest=LATE + DAY))
    yield invalid("E_LATE", "a second later", **asked(renew(end=LATE + DAY), LATE + 1, latest=LATE + DAY))
    yield invalid("C_DENIED", "a node on the deny list", **asked(denied=True))
    yield invalid("C_DENIED", "on the deny list, and late", **asked(renew(end=LATE + DAY), LATE + 1, denied=True, latest=LATE + DAY))
    yield invalid("E_PROOF", "on the deny list, and not proved", **asked(renew(identity=OTHER_NIK), denied=True))
    yield invalid("E_GENERATION", "the generation that was used last", **asked(renew(generation=USED)))
    yield invalid("E_GENERATION", "one generation is left out", **asked(renew(generation=USED + 2)))
    yield invalid("E_GENERATION", "the last generation that there is was used", **asked(renew(generation=0), used=2**64 - 1))
    yield valid("the fourth certificate of a generation", **asked(issued=3))
    yield invalid("E_RATE", "a fifth one", **asked(issued=4))
    yield valid("until the latest end that is allowed", **asked(latest=LATEST))
    yield invalid("C_LIFETIME", "a second longer", **asked(latest=LATEST - 1))
    yield valid("an eighth of its use is over", **asked(since=T0 - 100, ended=T0 + 700))
    yield invalid("E_RATE", "a second before that", **asked(since=T0 - 100, ended=T0 + 708))
    yield valid("used first at its very end", **asked(since=T0, ended=T0))
    yield valid("half as long as is allowed", **asked(renew(end=T0 + DAY // 2)))
    yield invalid("C_LIFETIME", "a second shorter", **asked(renew(end=T0 + DAY // 2 - 1)))
    yield invalid("C_LIFETIME", "for one more second", **asked(renew(end=T0 + 1)))
    yield valid("for one more second, where two are allowed", **asked(renew(end=T0 + 1), latest=T0 + 2))
    yield invalid("E_SHAPE", "an end that has come", **asked(renew(end=T0)))


def groups():
    place = {
        "netId": b32(NET), "routerId": b32(ROUTER_KEY.id), "root": x509.root().hex(), "ca": x509.issuing_ca().hex(),
        "caSeed": CA.seed.hex(), "exporter": EXPORTER.hex(),
    }
    return [{"type": "Renewal", "about": part.__name__, **place, "tests": list(part())} for part in (proofs, standings)]
