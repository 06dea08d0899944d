"""Chains held against the profile and the order of checks of spec/identity.md."""

import blake3
import x509
from keys import a_mixed_key, a_weak_key
from words import (
    CA, DAY, NET, NIK, NODE, OTHER_NIK, OTHER_ROUTER, ROOT, ROUTER, ROUTER_KEY, SPKI, T0, TLS, Key, b32, invalid, valid,
)

NOTES = {
    "C_UNTRUSTED": "the chain does not lead to the root that this side knows",
    "LAST_SECOND": "included, as RFC 5280 has it; OpenSSL counts it as past",
    "C_PROFILE": "a field or extension is other than the profile says",
}
NOW = T0 + 3600


def case(leaf=None, ca=None, chain=None, role="node", now=NOW, directory=None):
    chain = chain if chain is not None else [leaf or x509.leaf(), ca or x509.issuing_ca()]
    who = directory or {"enrolled": [b32(NIK.id)], "denied": [], "deniedSerials": []}
    return {"chain": [c.hex() for c in chain], "role": role, "now": now, "directory": who}


def pin(key):
    return {"pin": b32(key.id)}


def router_leaf(**fields):
    return x509.leaf(identity=ROUTER_KEY, role=ROUTER, **fields)


def order():
    """Each step of the order of checks, with its nearest accept before it."""
    ok, no = valid, invalid
    leaf, ca, root = x509.leaf(), x509.issuing_ca(), x509.root()
    stranger = Key(0x31)
    foreign_ca = x509.issuing_ca(by=stranger)
    yield ok("leaf and issuing CA", **case())
    yield ok("with the root behind them", **case(chain=[leaf, ca, root]))
    yield no("C_UNTRUSTED", "a leaf alone", **case(chain=[leaf]))
    yield no("C_UNTRUSTED", "no certificate", **case(chain=[]))
    yield no("C_UNTRUSTED", "another root behind them", **case(chain=[leaf, ca, x509.root(stranger)]))
    yield no("C_UNTRUSTED", "four certificates", **case(chain=[leaf, ca, root, root]))
    yield no("C_UNTRUSTED", "an issuing CA of another root", **case(ca=foreign_ca))
    yield no("C_UNTRUSTED", "a leaf that another key signed", **case(x509.leaf(signer=stranger)))
    yield no("C_UNTRUSTED", "leaf and issuing CA exchanged for each other's issuer", **case(x509.leaf(issuer=x509.name("other"))))
    yield ok("at its first second", **case(x509.leaf(first=T0), now=T0))
    yield no("C_EXPIRED", "a second before its first", **case(x509.leaf(first=T0), now=T0 - 1))
    last = T0 + DAY
    yield {**ok("at its last second", **case(now=last)), "flags": ["LAST_SECOND"]}
    yield no("C_EXPIRED", "a second after its last", **case(now=last + 1))
    yield no("C_EXPIRED", "the issuing CA has ended", **case(ca=x509.issuing_ca(first=T0 - 40 * DAY, life=40 * DAY)))
    yield no("C_EXPIRED", "before the root begins", **case(now=T0 - 301))
    yield ok("24 hours and the 300 seconds", **case(x509.leaf(life=DAY + 300)))
    yield no("C_LIFETIME", "a leaf of a second more", **case(x509.leaf(life=DAY + 301)))
    yield ok("an issuing CA of 90 days and the 300 seconds", **case(ca=x509.issuing_ca(life=90 * DAY + 300)))
    yield no("C_LIFETIME", "an issuing CA of a second more", **case(ca=x509.issuing_ca(life=90 * DAY + 301)))


def profile_of_leaf():
    no, ext = invalid, x509.extension
    leaf = x509.leaf
    code = "C_PROFILE"
    yield valid("the profile", **case())
    yield no(code, "a subject", **case(leaf(subject=x509.name("a node"))))
    yield no(code, "key usage that also signs certificates", **case(leaf(swap={x509.KU: ext(x509.KU, bytes.fromhex("03020284"), True)})))
    yield no(code, "key usage not critical", **case(leaf(swap={x509.KU: ext(x509.KU, bytes.fromhex("03020780"))})))
    yield no(code, "no key usage", **case(leaf(drop=(x509.KU,))))
    yield no(code, "a CA as a leaf", **case(leaf(swap={x509.BASIC: ext(x509.BASIC, bytes.fromhex("30030101ff"), True)})))
    yield no(code, "basic constraints not critical", **case(leaf(swap={x509.BASIC: ext(x509.BASIC, bytes.fromhex("3000"))})))
    yield no(code, "no basic constraints", **case(leaf(drop=(x509.BASIC,))))
    yield no(code, "no subject key identifier", **case(leaf(drop=(x509.SKI,))))
    short = ext(x509.SKI, x509.tlv(4, bytes(19)))
    yield no(code, "a subject key identifier of 19 bytes", **case(leaf(swap={x509.SKI: short})))
    wrong = ext(x509.AKI, x509.seq(x509.tlv(0x80, bytes(20))))
    yield no(code, "the authority key identifier of another", **case(leaf(swap={x509.AKI: wrong})))
    yield no(code, "no extended key usage", **case(leaf(drop=(x509.EKU,))))
    swapped = x509.seq(*(x509.oid(o) for o in ("1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1", "1.3.6.1.4.1.32473.2.3")))
    yield no(code, "extended key usages in another order", **case(leaf(swap={x509.EKU: ext(x509.EKU, swapped)})))
    yield no(code, "names not critical", **case(leaf(swap={x509.SAN: x509.names(x509.spiffe(NODE, NIK.id), critical=False)})))
    yield no(code, "an extension that the profile does not list", **case(leaf(more=[ext("2.5.29.32", x509.seq())])))
    twice = ext(x509.SKI, x509.tlv(4, x509.key_id(TLS.spki)))
    yield no(code, "one extension twice", **case(leaf(more=[twice])))
    yield no(code, "a serial of 15 bytes", **case(leaf(serial=x509.serial("leaf")[:15])))
    yield no(code, "a serial that begins with the bits 00", **case(leaf(serial=b"\x01" + bytes(15))))
    yield no(code, "bytes after it", **case(leaf(tail=b"\0")))
    long = x509.leaf(identity=ROUTER_KEY, role=ROUTER, swap={x509.SAN: x509.names(
        x509.spiffe(ROUTER, ROUTER_KEY.id), dns=["a" * 60 + "." + ("b" * 60 + ".") * 8 + f"{i}.example" for i in range(8)])})
    yield no(code, "longer than 4,096 bytes", **case(long, role="router", directory=pin(ROUTER_KEY)))
    yield no(code, "a unique identifier", **case(leaf(unique=x509.tlv(0x81, b"\0\1"))))


def names_and_binding():
    ok, no, leaf = valid, invalid, x509.leaf
    node_uri = x509.spiffe(NODE, NIK.id)

    def named(*uris, **more):
        return case(leaf(swap={x509.SAN: x509.names(*uris, **more)}))

    yield ok("one SPIFFE id of a node", **named(node_uri))
    yield no("C_NAME", "no names", **case(leaf(drop=(x509.SAN,))))
    yield no("C_NAME", "two URIs", **named(node_uri, node_uri))
    yield no("C_NAME", "a node with a DNS name", **named(node_uri, dns=["node.example"]))
    yield no("C_NAME", "another network", **named(x509.spiffe(NODE, NIK.id, Key(0x31).net_id)))
    yield no("C_NAME", "another scheme", **named("https" + node_uri[6:]))
    yield no("C_NAME", "capitals", **named("spiffe://" + node_uri[9:].upper()))
    yield no("C_NAME", "a path after it", **named(node_uri + "/x"))
    yield no("C_NAME", "no id", **named(node_uri.rsplit("/", 1)[0]))
    yield no("C_NAME", "a role that is none", **named(node_uri.replace("/node/", "/admin/")))
    router_uri = x509.spiffe(ROUTER, ROUTER_KEY.id)
    eight = [f"r{i}.example" for i in range(9)]
    router = {"role": "router", "directory": pin(ROUTER_KEY)}
    yield ok("a router with eight DNS names", **case(router_leaf(swap={x509.SAN: x509.names(router_uri, dns=eight[:8])}), **router))
    yield no("C_NAME", "a router with nine", **case(router_leaf(swap={x509.SAN: x509.names(router_uri, dns=eight)}), **router))
    yield ok("a router where a router is wanted", **case(router_leaf(), **router))
    yield no("C_ROLE", "a router where a node is wanted", **case(router_leaf()))
    yield no("C_ROLE", "a node where a router is wanted", **case(role="router", directory=pin(ROUTER_KEY)))
    yield no("C_ROLE", "a node's name with a router's usage", **case(leaf(swap={x509.EKU: x509.usages(ROUTER)})))
    yield no("C_ID", "the id of another key", **named(x509.spiffe(NODE, OTHER_NIK.id)))
    last = T0 + DAY
    ext = x509.extension

    def bound(value, critical=False):
        return case(leaf(swap={x509.BINDING: ext(x509.BINDING, value, critical)}))

    good = x509.binding_value(NIK, NODE, TLS.spki, last)
    yield ok("a binding of the tenth generation", **bound(x509.binding_value(NIK, NODE, TLS.spki, last, generation=10)))
    yield no("C_BINDING", "no binding", **case(leaf(drop=(x509.BINDING,))))
    yield no("C_BINDING", "a binding a byte short", **bound(x509.tlv(4, good[2:-1])))
    yield no("C_BINDING", "binding version 2", **bound(x509.binding_value(NIK, NODE, TLS.spki, last, version=2)))
    yield no("C_BINDING", "a binding for another TLS key", **bound(x509.binding_value(NIK, NODE, OTHER_NIK.spki, last)))
    yield no("C_BINDING", "a binding to another end", **bound(x509.binding_value(NIK, NODE, TLS.spki, last + 1)))
    yield no("C_BINDING", "a binding for a router", **bound(x509.binding_value(NIK, ROUTER, TLS.spki, last)))
    yield no("C_BINDING", "a binding in another network", **bound(x509.binding_value(NIK, NODE, TLS.spki, last, net_id=Key(0x31).net_id)))
    yield no("C_BINDING", "a binding that another key signed", **bound(x509.binding_value(OTHER_NIK, NODE, TLS.spki, last, public=NIK.public)))
    yield no("C_PROFILE", "a critical binding", **bound(good, critical=True))
    for weak, what in ((a_weak_key(), "a NIK of small order"), (a_mixed_key(), "a NIK of mixed order")):
        uri = x509.spiffe(NODE, blake3.derive("counterfoil v1 node-id", SPKI + weak))
        value = x509.binding_value(NIK, NODE, TLS.spki, last, public=weak)
        yield no("C_WEAK_KEY", what, **case(leaf(swap={x509.SAN: x509.names(uri), x509.BINDING: ext(x509.BINDING, value)})))
    spki = SPKI + a_mixed_key()
    yield no("C_WEAK_KEY", "a TLS key of mixed order", **case(leaf(spki=spki)))


def profile_of_ca():
    no, ext, ca = invalid, x509.extension, x509.issuing_ca
    yield valid("the profile", **case())
    yield no("C_PROFILE", "a path length of 1", **case(ca=ca(swap={x509.BASIC: ext(x509.BASIC, bytes.fromhex("30060101ff020101"), True)})))
    yield no("C_PROFILE", "key usage that also signs data", **case(ca=ca(swap={x509.KU: ext(x509.KU, bytes.fromhex("03020284"), True)})))
    wrong = ext(x509.AKI, x509.seq(x509.tlv(0x80, bytes(20))))
    yield no("C_PROFILE", "the authority key identifier of another", **case(ca=ca(swap={x509.AKI: wrong})))
    yield no("C_PROFILE", "an extension that the profile does not list", **case(ca=ca(more=[x509.names("spiffe://a/b")])))
    yield no("C_PROFILE", "no subject key identifier", **case(ca=ca(drop=(x509.SKI,))))
    yield no("C_PROFILE", "a serial of 15 bytes", **case(ca=ca(serial=x509.serial("ca")[:15])))
    yield no("C_PROFILE", "bytes after it", **case(ca=ca(tail=b"\0")))


def directory():
    known = {"enrolled": [b32(NIK.id)], "denied": [], "deniedSerials": []}
    yield valid("an id that is enrolled", **case(directory=known))
    yield invalid("C_UNKNOWN", "an id that no entry enrolled", **case(directory={**known, "enrolled": [b32(OTHER_NIK.id)]}))
    yield invalid("C_DENIED", "an id that is denied", **case(directory={**known, "denied": [b32(NIK.id)]}))
    yield invalid("C_DENIED", "a serial that is denied", **case(directory={**known, "deniedSerials": [x509.serial("leaf").hex()]}))
    yield invalid("C_DENIED", "an issuing CA whose serial is denied", **case(directory={**known, "deniedSerials": [x509.serial("ca").hex()]}))
    yield valid("another serial is denied", **case(directory={**known, "deniedSerials": [x509.serial("other").hex()]}))
    yield from phases(known)
    yield valid("the router that is pinned", **case(router_leaf(), role="router", directory=pin(ROUTER_KEY)))
    yield invalid("C_PIN", "another router", **case(router_leaf(), role="router", directory=pin(OTHER_ROUTER)))
    yield valid("any router where none is pinned", **case(router_leaf(), role="router", directory={"pin": None}))


def phases(known):
    """Issuing CAs as a log tells of them: [certificate, announced, put to use], in the order of the log."""
    begin = T0 - 10 * DAY
    ca = x509.issuing_ca(first=begin)
    other = x509.issuing_ca(key=Key(0x32), serial=x509.serial("another ca"), first=begin)

    def logged(*cas):
        of = [{"certificate": c.hex(), "announced": announced, "used": used} for c, announced, used in cas]
        return case(ca=ca, directory={**known, "issuingCas": of})

    def left(since):
        """The CA's place was taken so many seconds before the present."""
        return logged((ca, begin, begin), (other, begin, NOW - since))

    yield valid("an issuing CA in use", **logged((ca, T0, T0)))
    yield invalid("C_CA_UNKNOWN", "an issuing CA that no entry announced", **logged((other, T0, T0)))
    yield invalid("C_CA_UNKNOWN", "no issuing CA was announced", **logged())
    yield invalid("C_CA_UNKNOWN", "an issuing CA that is announced and not in use", **logged((other, T0, T0), (ca, T0, None)))
    yield valid("an issuing CA that took another's place", **logged((other, T0, T0), (ca, T0, NOW)))
    yield valid("an issuing CA whose place was taken just now", **left(0))
    yield valid("an issuing CA in the last second of its last leaf", **left(DAY + 60))
    yield invalid("C_CA_RETIRED", "an issuing CA a second later", **left(DAY + 61))
    unknown = {**known, "enrolled": [b32(OTHER_NIK.id)]}
    yield invalid("C_UNKNOWN", "an id that no entry enrolled, of an issuing CA that none announced", **case(
        directory={**unknown, "issuingCas": []}))
    denied = {**known, "denied": [b32(NIK.id)], "issuingCas": []}
    yield invalid("C_CA_UNKNOWN", "a denied id, of an issuing CA that no entry announced", **case(directory=denied))


def roots():
    root, ext, no = x509.root, x509.extension, invalid
    yield valid("a network root", root=root().hex())
    yield no("C_PROFILE", "bytes after it", root=root(tail=b"\0").hex())
    yield no("C_UNTRUSTED", "a root that another key signed", root=root(signer=CA).hex())
    yield no("C_PROFILE", "no extensions", root=root(extensions=[]).hex())
    path_0 = [
        ext(x509.KU, bytes.fromhex("03020204"), True), ext(x509.BASIC, bytes.fromhex("30060101ff020100"), True),
        ext(x509.SKI, x509.tlv(4, x509.key_id(ROOT.spki))),
    ]
    yield no("C_PROFILE", "a path length of 0", root=root(extensions=path_0).hex())
    yield no("C_WEAK_KEY", "a key of small order", root=root(spki=SPKI + a_weak_key()).hex())
    yield no("C_PROFILE", "version 1", root=root(version=0, extensions=[]).hex())
    yield no("C_PROFILE", "not a certificate", root="00")


def groups():
    chains = {"type": "Certificate", "root": x509.root().hex(), "netId": b32(NET)}
    parts = (order, profile_of_leaf, names_and_binding, profile_of_ca, directory)
    return [{**chains, "about": part.__name__.replace("_", " "), "tests": list(part())} for part in parts] + [
        {"type": "Root", "tests": list(roots())}
    ]
