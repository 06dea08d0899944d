"""Deny lists of a router and of a root, as a node takes them one after the other."""

from words import NET, NIK, OTHER_NIK, OTHER_ROUTER, ROOT, ROUTER_KEY, T0, Key, b32, cbor, domain, invalid, valid

NOTES = {
    "C_DENY_LIST": "not what the router may sign, or not signed by it",
    "C_DENY_BACK": "an epoch below the one that is known, or the same with other names",
}
LOW, HIGH = sorted([NIK.id, OTHER_NIK.id])
SERIALS = [b"\x40" * 16, b"\x41" * 16]


def names(nodes=(), serials=(), consents=(), epochs=()):
    return {1: list(nodes), 2: list(serials), 3: list(consents), 4: [list(own) for own in epochs]}


def listed(epoch=1, issued=T0, next_update=None, of=None, key=ROUTER_KEY, net_id=NET, signed=None, raw=None):
    """A signed list; what is not said to differ is as it must be."""
    value = {1: epoch, 2: issued, 3: issued + 60 if next_update is None else next_update, 4: names() if of is None else of}
    sig = key.sign(domain("deny-list", net_id, cbor(value if signed is None else signed)))
    return cbor({1: value, 2: sig}) if raw is None else raw


def case(*lists, now=T0):
    return {"lists": [data.hex() for data in lists], "now": now}


def denied(**of):
    return case(listed(of=names(**of)))


def numbered(n, size):
    return n.to_bytes(size, "big")


def single():
    ok, no = valid, invalid
    yield ok("a list that names nothing", **case(listed(epoch=0)))
    yield ok("of each kind", **denied(nodes=[LOW, HIGH], serials=SERIALS, consents=SERIALS, epochs=[(LOW, 2), (HIGH, 1)]))
    yield no("C_DENY_LIST", "nodes that do not ascend", **denied(nodes=[HIGH, LOW]))
    yield no("C_DENY_LIST", "a node twice", **denied(nodes=[LOW, LOW]))
    yield no("C_DENY_LIST", "serial numbers that do not ascend", **denied(serials=SERIALS[::-1]))
    yield no("C_DENY_LIST", "consent ids that do not ascend", **denied(consents=SERIALS[::-1]))
    yield no("C_DENY_LIST", "two epochs of one node", **denied(epochs=[(LOW, 1), (LOW, 2)]))
    yield ok("256 serial numbers", **denied(serials=[numbered(n, 16) for n in range(256)]))
    yield no("C_DENY_LIST", "257 serial numbers", **denied(serials=[numbered(n, 16) for n in range(257)]))
    yield ok("128 epochs", **denied(epochs=[(numbered(n, 32), 1) for n in range(128)]))
    yield no("C_DENY_LIST", "129 epochs", **denied(epochs=[(numbered(n, 32), 1) for n in range(129)]))
    yield no("C_DENY_LIST", "signed by another router", **case(listed(key=OTHER_ROUTER)))
    yield no("C_DENY_LIST", "signed in another network", **case(listed(net_id=Key(0x31).net_id)))
    other = {1: 2, 2: T0, 3: T0 + 60, 4: names()}
    yield no("C_DENY_LIST", "another epoch than was signed", **case(listed(signed=other)))
    fewer = {1: 1, 2: T0, 3: T0 + 60, 4: names()}
    yield no("C_DENY_LIST", "other names than were signed", **case(listed(of=names(nodes=[LOW]), signed=fewer)))
    yield ok("issued 60 seconds ahead", **case(listed(issued=T0 + 60)))
    yield no("C_DENY_LIST", "issued 61 seconds ahead", **case(listed(issued=T0 + 61)))
    yield no("C_DENY_LIST", "good for 61 seconds", **case(listed(next_update=T0 + 61)))
    yield ok("good until its issue", **case(listed(next_update=T0)))
    yield no("C_DENY_LIST", "good until before its issue", **case(listed(next_update=T0 - 1)))
    yield ok("a year old, which is not fresh", **case(listed(issued=T0 - 31_536_000)))


def in_a_row():
    ok, no = valid, invalid
    one = names(nodes=[LOW])
    yield ok("the same again, signed later", **case(listed(1, of=one), listed(1, issued=T0 + 20, of=one)))
    yield ok("the same again, signed earlier", **case(listed(1, of=one), listed(1, issued=T0 - 20, of=one)))
    yield no("C_DENY_BACK", "the same epoch with other names", **case(listed(1, of=one), listed(1)))
    yield ok("the next epoch without a name", **case(listed(1, of=one), listed(2)))
    yield ok("an epoch was left out", **case(listed(1, of=one), listed(3)))
    yield no("C_DENY_BACK", "an epoch below", **case(listed(2), listed(1, of=one)))
    yield no("C_DENY_BACK", "an epoch below that was taken before", **case(listed(1, of=one), listed(2), listed(1, of=one)))
    forged = listed(1, key=OTHER_ROUTER)
    yield no("C_DENY_LIST", "an epoch below with a wrong signature: the signature comes first", **case(listed(2), forged))


ROUTERS = sorted([ROUTER_KEY.id, OTHER_ROUTER.id])


def said(epoch=1, issued=T0, routers=(), authorities=(), key=ROOT, net_id=NET, signed=None, purpose="root-deny-list"):
    """A list of the root; what is not said to differ is as it must be."""
    value = {1: epoch, 2: issued, 3: list(routers), 4: list(authorities)}
    sig = key.sign(domain(purpose, net_id, cbor(value if signed is None else signed)))
    return cbor({1: value, 2: sig})


def of_the_root():
    ok, no = valid, invalid
    both = {"routers": ROUTERS, "authorities": SERIALS}
    yield ok("a list that names nothing", **case(said()))
    yield ok("routers and issuing CAs", **case(said(**both)))
    yield no("C_DENY_LIST", "epoch 0", **case(said(0, **both)))
    yield no("C_DENY_LIST", "routers that do not ascend", **case(said(routers=ROUTERS[::-1])))
    yield no("C_DENY_LIST", "a router twice", **case(said(routers=ROUTERS[:1] * 2)))
    yield no("C_DENY_LIST", "issuing CAs that do not ascend", **case(said(authorities=SERIALS[::-1])))
    yield ok("256 of each", **case(said(routers=[numbered(n, 32) for n in range(256)], authorities=[numbered(n, 16) for n in range(256)])))
    yield no("C_DENY_LIST", "257 routers", **case(said(routers=[numbered(n, 32) for n in range(257)])))
    yield no("C_DENY_LIST", "257 issuing CAs", **case(said(authorities=[numbered(n, 16) for n in range(257)])))
    yield no("C_DENY_LIST", "signed by the router", **case(said(**both, key=ROUTER_KEY)))
    yield no("C_DENY_LIST", "signed in another network", **case(said(**both, net_id=Key(0x31).net_id)))
    yield no("C_DENY_LIST", "signed for the purpose of a router's list", **case(said(**both, purpose="deny-list")))
    fewer = {1: 1, 2: T0, 3: [], 4: []}
    yield no("C_DENY_LIST", "other names than were signed", **case(said(**both, signed=fewer)))
    yield ok("issued 60 seconds ahead", **case(said(issued=T0 + 60)))
    yield no("C_DENY_LIST", "issued 61 seconds ahead", **case(said(issued=T0 + 61)))
    yield ok("a year old, which holds", **case(said(issued=T0 - 31_536_000)))
    yield ok("the same again", **case(said(2, **both), said(2, **both)))
    yield no("C_DENY_BACK", "the same epoch with other names", **case(said(2, **both), said(2)))
    yield no("C_DENY_BACK", "the same epoch, issued later", **case(said(2, **both), said(2, T0 + 1, **both)))
    yield no("C_DENY_BACK", "an epoch below", **case(said(2), said(1, **both)))
    yield ok("the next epoch without a name", **case(said(1, **both), said(2)))
    yield ok("an epoch was left out", **case(said(1, **both), said(7, **both)))


def groups():
    parties = {"netId": b32(NET), "routerKey": ROUTER_KEY.public.hex()}
    root = {"rootKey": ROOT.public.hex(), "tests": [*of_the_root()]}
    return [{"type": "DenyList", **parties, "tests": [*single(), *in_a_row()]}, {"type": "RootDenyList", **root}]
