"""Orders and grants under a consent token, and what was ordered before."""

import blake3
import consent
from consent import ALL, CTI, MODEL
from words import DAY, NET, NIK, OTHER_NIK, OTHER_ROUTER, ROUTER_KEY, T0, Key, b32, cbor, domain, invalid, valid

NOTES = {"R_BUSY": "more requests at once, or in a second, than the quota allows"}
NOW = (T0 + 3600) * 1000
REQUEST, SERIAL = b"\x32" * 16, b"\x3c" * 16
RANGES = [[MODEL, [0, 1], [0, 7]]]


def grant(**changes):
    values = {
        "slot": 7, "seq": 1, "request": REQUEST, "cti": CTI, "manifest": MODEL, "ranges": RANGES, "max_tokens": 500,
        "deadline": NOW + 60_000, "purpose": 1, "key": b"\x41" * 32,
    }
    assert set(changes) <= set(values)
    values.update(changes)
    return dict(zip(range(1, 11), values.values()))


def order(key=ROUTER_KEY, net_id=NET, grant_of=None, grant_hash=None, **changes):
    """A signed open; what is not said to differ is as it must be."""
    open_names = ("serial", "request_", "node", "router", "price", "allowed", "retention", "purpose_", "origin", "issued")
    of_open = {k: v for k, v in changes.items() if k in open_names}
    given = grant(**{k: v for k, v in changes.items() if k not in open_names})
    values = {
        "serial": SERIAL, "request_": given[3], "node": NIK.id, "router": ROUTER_KEY.id,
        "hash": grant_hash or blake3.derive("counterfoil v1 grant", cbor(given)), "price": 10_000, "allowed": True,
        "retention": 0, "purpose_": given[9], "origin": "router.example/log", "issued": NOW,
    }
    values.update(of_open)
    opened = dict(zip(range(1, 12), values.values()))
    sig = key.sign(domain("open", net_id, cbor(opened)))
    return cbor({1: opened, 2: sig, 3: grant_of or given})


def opened(data, now=NOW):
    return {"do": "open", "order": data.hex(), "now": now}


def nth(n, **changes):
    """An order that differs from the others by its serial, its request and its slot."""
    return order(serial=bytes([n]) * 16, request=bytes([n]) * 16, slot=n, **changes)


def case(data=None, now=NOW, before=(), token=None, checked_at=T0 + 3600, used_today=0, **changes):
    return {
        "token": (token or consent.token()).hex(), "checkedAt": checked_at, "usedToday": used_today,
        "steps": [*before, opened(data if data is not None else order(**changes), now)],
    }


def then(*steps, **fields):
    base = case(**fields)
    return {**base, "steps": base["steps"] + list(steps)}


def expert(layer=0, number=0, now=NOW, tokens=1, size=0, serial=SERIAL):
    return {"do": "expert", "serial": serial.hex(), "layer": layer, "expert": number, "now": now, "tokens": tokens, "bytes": size}


def agreement():
    ok, no = valid, invalid
    yield ok("an order within its token", **case())
    yield no("R_GRANT", "signed by another router", **case(key=OTHER_ROUTER))
    yield no("R_GRANT", "signed in another network", **case(net_id=Key(0x31).net_id))
    yield no("R_GRANT", "the hash of another grant", **case(grant_hash=bytes(32)))
    yield no("R_GRANT", "another grant behind the same order", **case(grant_of=grant(max_tokens=501)))
    yield no("R_GRANT", "for another node", **case(node=OTHER_NIK.id))
    yield no("R_GRANT", "of another router", **case(router=OTHER_ROUTER.id))
    yield no("R_GRANT", "under another token", **case(cti=b"\x02" * 16))
    yield no("R_GRANT", "another request", **case(request_=b"\x33" * 16))
    yield no("R_GRANT", "another purpose", **case(purpose_=2))
    yield ok("an origin of 200 bytes", **case(origin="o" * 200))
    yield no("R_GRANT", "an origin of 201 bytes", **case(origin="o" * 201))
    yield no("R_GRANT", "no origin", **case(origin=""))
    yield no("R_GRANT", "no range", **case(ranges=[]))
    yield no("R_GRANT", "a range the wrong way round", **case(ranges=[[MODEL, [1, 0], [0, 7]]]))


def subset():
    ok, no = valid, invalid
    yield ok("all that the token allows", **case(ranges=[[MODEL, [0, 3], [0, 7]]]))
    yield no("R_SCOPE", "one layer more", **case(ranges=[[MODEL, [0, 4], [0, 7]]]))
    yield no("R_SCOPE", "one expert more", **case(ranges=[[MODEL, [0, 3], [0, 8]]]))
    yield no("R_SCOPE", "all there are", **case(ranges=[[MODEL, [0, ALL], [0, ALL]]]))
    yield no("R_SCOPE", "another model", **case(manifest=b"\xab" * 32, ranges=[[b"\xab" * 32, [0, 1], [0, 7]]]))
    yield no("R_SCOPE", "a range of another model than the grant's", **case(manifest=b"\xab" * 32))
    yield ok("the other purpose of the token", **case(purpose=2))
    yield no("R_PURPOSE", "a purpose that the token does not have", **case(purpose=4))
    yield no("R_PURPOSE", "two purposes", **case(purpose=3))
    yield no("R_PURPOSE", "no purpose", **case(purpose=0))
    yield no("R_JURIS", "the caller is not allowed", **case(allowed=False))
    yield no("R_JURIS", "a retention that the token does not have", **case(retention=1))
    yield ok("a retention that the token has", **case(retention=60, token=consent.token(callers=[["DE"], 60])))
    yield ok("the price of the floor", **case(price=5000))
    yield no("R_PRICE", "a price below the floor", **case(price=4999))


def quotas():
    ok, no = valid, invalid
    yield ok("the tokens of a request", **case(max_tokens=1000))
    yield no("R_QUOTA", "a token more", **case(max_tokens=1001))
    yield ok("a lease that fills the day", **case(used_today=100_000 - 256))
    yield no("R_QUOTA", "a lease that passes the day by one", **case(used_today=100_000 - 255))
    one, two = opened(nth(1)), opened(nth(2))
    yield ok("the second of two requests at a time", **case(before=[one]))
    yield no("R_BUSY", "a third", **case(before=[one, two]))
    ended = {"do": "end", "serial": (b"\1" * 16).hex(), "now": NOW}
    yield ok("a third once one has ended", **case(before=[one, two, ended]))
    wide = consent.token(quota=[100_000, 9, 1000, 2, 10**6])
    yield no("R_BUSY", "the third within a second", **case(now=NOW + 999, before=[one, two], token=wide))
    yield ok("the third a second later", **case(now=NOW + 1000, before=[one, two], token=wide))
    yield ok("a request with no quota at all to keep", **case(token=consent.token(quota=[2**64 - 1, 2**32 - 1, 2**64 - 1, 2**32 - 1, 2**64 - 1])))
    yield no("R_QUOTA", "a quota of none", **case(token=consent.token(quota=[0, 2, 1000, 5, 10**6])))


def when():
    ok, no = valid, invalid
    yield ok("a millisecond before the deadline", **case(deadline=NOW + 1))
    yield no("R_DEADLINE", "at the deadline", **case(deadline=NOW))
    yield ok("issued 60 seconds ago", **case(issued=NOW - 60_000))
    yield no("R_DEADLINE", "issued longer ago", **case(issued=NOW - 60_001))
    yield ok("issued 60 seconds from now", **case(issued=NOW + 60_000))
    yield no("R_DEADLINE", "issued further from now", **case(issued=NOW + 60_001))
    end = (T0 + DAY + 60) * 1000
    late = {"deadline": end + 60_000, "issued": end - 1}
    yield ok("a millisecond before the token's end and the 60 seconds", **case(now=end - 1, **late))
    yield no("R_WITHDRAWN", "at the token's end and the 60 seconds", **case(now=end, **late))
    early = (T0 - 60) * 1000
    yield ok("60 seconds before the token begins", **case(now=early, issued=early))
    yield no("R_WITHDRAWN", "61 seconds before the token begins", **case(now=early - 1000, issued=early))
    again = [opened(order()), {"do": "end", "serial": SERIAL.hex(), "now": NOW}]
    yield ok("another order after the first", **case(nth(1), before=again))
    yield no("R_REPLAY", "the same order again", **case(before=again))
    owed = [{"do": "owe", "serial": bytes([n] * 16).hex(), "now": NOW} for n in range(20, 29)]
    yield ok("8 receipts are owed", **case(before=owed[:8]))
    yield no("R_UNSETTLED", "9 receipts are owed", **case(before=owed))
    yield ok("one receipt is owed for 10 seconds", **case(now=NOW + 10_000, before=owed[:1]))
    yield no("R_UNSETTLED", "one receipt is owed for longer", **case(now=NOW + 10_001, before=owed[:1]))
    settled = {"do": "settle", "serial": owed[0]["serial"], "now": NOW}
    yield ok("9 were owed and one was settled", **case(before=[*owed, settled]))


def dispatches():
    ok, no = valid, invalid
    yield ok("an expert of the grant", **then(expert(1, 7)))
    yield no("R_SCOPE", "a layer outside the grant", **then(expert(2, 0)))
    yield no("R_SCOPE", "an expert outside the grant", **then(expert(0, 8)))
    yield ok("a millisecond before the deadline", **then(expert(now=NOW + 59_999)))
    yield no("R_DEADLINE", "at the deadline", **then(expert(now=NOW + 60_000)))
    yield ok("as many tokens as were granted", **then(expert(tokens=500)))
    yield no("R_QUOTA", "a token more than was granted", **then(expert(tokens=501)))
    yield no("R_QUOTA", "a second lease that passes the day", **then(expert(tokens=257), used_today=100_000 - 256))
    yield ok("as many bytes as a second has", **then(expert(size=10**6)))
    yield no("R_QUOTA", "a byte more in the same second", **then(expert(size=10**6), expert(size=1, now=NOW + 999)))
    yield ok("a byte more in the next second", **then(expert(size=10**6), expert(size=1, now=NOW + 1000)))
    yield no("R_GRANT", "under an order that nobody opened", **then(expert(serial=b"\x77" * 16)))


def groups():
    parties = {**consent.parties(), "routerKey": ROUTER_KEY.public.hex()}
    return [
        {"type": "Grant", "about": part.__name__, **parties, "tests": list(part())}
        for part in (agreement, subset, quotas, when, dispatches)
    ]
