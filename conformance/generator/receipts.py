"""Work receipts with both halves."""

import blake3
from consent import CTI, MODEL
from words import NET, NIK, OTHER_NIK, OTHER_ROUTER, ROUTER_KEY, T0, Key, b32, cbor, domain, invalid, u64, valid

NOTES = {}
OPENED = T0 * 1000


def body(**changes):
    values = {
        "serial": b"\x3c" * 16, "open": b"\x0b" * 32, "node": NIK.id, "router": ROUTER_KEY.id, "manifest": MODEL,
        "cti": CTI, "forwards": 80, "made": 90, "transcript": b"\x04" * 32, "opened": OPENED, "closed": OPENED + 2500,
        "compute": 1234,
    }
    assert set(changes) <= set(values)
    values.update(changes)
    return dict(zip(range(1, 13), values.values()))


def case(node=NIK, router=ROUTER_KEY, include_by=OPENED + 62_500, net_id=NET, raw=None, promised=None, **changes):
    data = raw if raw is not None else cbor(body(**changes))
    half = node.sign(domain("receipt", net_id, data))
    ack = domain("receipt-ack", net_id, blake3.plain(data + half), u64(include_by if promised is None else promised))
    return {"body": data.hex(), "nodeSig": half.hex(), "routerSig": router.sign(ack).hex(), "includeBy": include_by}


def halves():
    no = invalid
    yield valid("the specification's own", **case())
    yield no(None, "another node's half", **case(node=OTHER_NIK))
    yield no(None, "another router's half", **case(router=OTHER_ROUTER))
    yield no(None, "signed in another network", **case(net_id=Key(0x31).net_id))
    yield no(None, "another promise than was signed", **case(promised=OPENED + 62_499))
    yield valid("as many forwards as were made", **case(forwards=90))
    yield no(None, "one forward more than was made", **case(forwards=91))
    yield valid("closed as it opened", **case(closed=OPENED, include_by=OPENED))
    yield no(None, "closed before it opened", **case(closed=OPENED - 1, include_by=OPENED))
    yield no(None, "promised for a millisecond too late", **case(include_by=OPENED + 62_501))
    yield no(None, "names another node", **case(node=NIK, **{"made": 90}, raw=cbor({**body(), 3: OTHER_NIK.id})))
    yield no(None, "names another router", **case(raw=cbor({**body(), 4: OTHER_ROUTER.id})))
    yield no(None, "a byte after the body", **case(raw=cbor(body()) + b"\0"))
    loose = b"\xac\x18\x01" + cbor(body())[2:]
    yield no(None, "a key that is not in its shortest form", **case(raw=loose))
    turned = cbor(dict(reversed(body().items())))
    yield no(None, "members in another order", **case(raw=turned))
    yield no(None, "a member is missing", **case(raw=cbor({k: v for k, v in body().items() if k != 12})))


def groups():
    parties = {"netId": b32(NET), "nodeKey": NIK.public.hex(), "routerKey": ROUTER_KEY.public.hex()}
    return [{"type": "Receipt", **parties, "tests": list(halves())}]
