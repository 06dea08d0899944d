"""Consent tokens, held against the order of checks of spec/consent.md."""

import blake3
import cbor2
from words import DAY, NET, NIK, OTHER_NIK, OTHER_ROUTER, ROUTER_KEY, T0, Key, b32, cbor, domain, invalid, valid

NOTES = {
    "T_CANON": "too long, not the structure, or not the one encoding",
    "T_STALE": "the deny list is too old to decide",
}
TYPE = "application/counterfoil-consent+cwt"
MODEL, ALL = b"\xaa" * 32, 2**32 - 1
CTI = b"\x01" * 16
KEYS = {
    "iss": 1, "aud": 3, "exp": 4, "nbf": 5, "iat": 6, "cti": 7, "version": -70001, "net": -70002, "ranges": -70003,
    "quota": -70004, "floor": -70005, "purposes": -70006, "callers": -70007, "epoch": -70008, "depth": -70009,
    "notice": -70010, "serving": -70011,
}


def claims(**changes):
    values = {
        "iss": b32(NIK.id), "aud": b32(ROUTER_KEY.id), "exp": T0 + DAY, "nbf": T0, "iat": T0, "cti": CTI, "version": 1,
        "net": NET, "ranges": [[MODEL, [0, 3], [0, 7]]], "quota": [100_000, 2, 1000, 5, 1_000_000],
        "floor": [5000, "USD"], "purposes": 3, "callers": [["DE", "FR"], 0], "epoch": 4, "depth": 0,
        "notice": b"\x06" * 32, "serving": 1,
    }
    unknown = set(changes) - set(values)
    assert not unknown, unknown
    values.update(changes)
    return {KEYS[k]: v for k, v in values.items()}


def header(alg=-19, kid=None, typ=TYPE):
    return {1: alg, 4: kid or NIK.id, 16: typ}


def sealed(protected, payload, key=NIK, net_id=NET, unprotected=None, tag=18, signature=None):
    signed = cbor(["Signature1", protected, domain("consent", net_id), payload])
    return cbor2.dumps(cbor2.CBORTag(tag, [protected, unprotected or {}, payload, signature or key.sign(signed)]))


def token(head=None, key=NIK, sign_net=NET, **changes):
    return sealed(cbor(head or header()), cbor(claims(**changes)), key, sign_net)


def token_hash(data):
    return blake3.derive("counterfoil v1 consent-token", data)


def case(data=None, now=T0 + 3600, deny_list_until=None, min_epoch=4, withdrawn=(), **changes):
    data = data if data is not None else token(**changes)
    return {
        "token": data.hex(), "now": now, "denyListUntil": deny_list_until, "minEpoch": min_epoch,
        "withdrawn": [w.hex() for w in withdrawn],
    }


def structure():
    no = invalid
    yield valid("the specification's own claims", **case())
    good = token()
    yield no("T_CANON", "a byte after it", **case(good + b"\0"))
    yield no("T_CANON", "a byte short", **case(good[:-1]))
    yield no("T_CANON", "nothing", **case(b""))
    yield no("T_CANON", "without its tag", **case(good[1:]))
    protected, payload = cbor(header()), cbor(claims())
    yield no("T_CANON", "tag 17", **case(sealed(protected, payload, tag=17)))
    yield no("T_CANON", "an unprotected header", **case(sealed(protected, payload, unprotected={4: NIK.id})))
    yield no("T_CANON", "a signature of 63 bytes", **case(sealed(protected, payload, signature=bytes(63))))
    tagged = b"\xd8\x12" + good[1:]
    yield no("T_CANON", "its tag in two bytes", **case(tagged))
    turned = cbor(dict(reversed(header().items())))
    yield no("T_CANON", "header keys in another order", **case(sealed(turned, payload)))
    turned = cbor(dict(reversed(claims().items())))
    yield no("T_CANON", "claims in another order", **case(sealed(protected, turned)))
    fewer = cbor({k: v for k, v in claims().items() if k != -70011})
    yield no("T_CANON", "a claim is missing", **case(sealed(protected, fewer)))
    more = cbor({**claims(), -70012: 0})
    yield no("T_CANON", "a claim more", **case(sealed(protected, more)))
    loose = payload.replace(bytes.fromhex("041a") + (T0 + DAY).to_bytes(4, "big"), bytes.fromhex("041b") + (T0 + DAY).to_bytes(8, "big"))
    assert loose != payload
    yield no("T_CANON", "a number that is not in its shortest form", **case(sealed(protected, loose)))
    yield no("T_CANON", "a float", **case(exp=float(T0 + DAY)))
    yield no("T_CANON", "a consent id of 15 bytes", **case(cti=b"\x01" * 15))
    yield no("T_CANON", "an issuer in capitals", **case(iss=b32(NIK.id).upper()))
    many = [[MODEL, [i, i], [0, 7]] for i in range(65)]
    yield valid("64 ranges", **case(ranges=many[:64]))
    yield no("T_CANON", "65 ranges", **case(ranges=many))
    wide = [chr(65 + i // 26) + chr(65 + i % 26) for i in range(676)]
    yield valid("close to 4,096 bytes", **case(callers=[wide, 0]))
    yield no("T_CANON", "longer than 4,096 bytes", **case(callers=[wide, 0], ranges=many[:64]))


def head_and_parties():
    no = invalid
    yield valid("alg, typ and kid as they must be", **case())
    yield no("T_ALG", "EdDSA, which is not fully specified", **case(head=header(alg=-8)))
    yield no("T_ALG", "an algorithm by name", **case(head=header(alg="Ed25519")))
    yield no("T_TYPE", "another type", **case(head=header(typ="application/cwt")))
    yield no("T_TYPE", "a type by number", **case(head=header(typ=61)))
    yield no("T_ALG", "both wrong: the algorithm comes first", **case(head=header(alg=-8, typ="application/cwt")))
    yield no("T_ISSUER", "the kid of another node", **case(head=header(kid=OTHER_NIK.id)))
    yield no("T_ISSUER", "a kid that is cut short", **case(head=header(kid=NIK.id[:31])))
    yield no("T_ISSUER", "the claims of another node", **case(iss=b32(OTHER_NIK.id)))
    yield no("T_ISSUER", "the whole token of another node", **case(head=header(kid=OTHER_NIK.id), iss=b32(OTHER_NIK.id), key=OTHER_NIK))
    yield no("T_VERSION", "claims version 2", **case(version=2))
    yield no("T_NET", "another network", **case(net=Key(0x31).net_id))
    yield no("T_AUD", "another router", **case(aud=b32(OTHER_ROUTER.id)))


def times():
    ok, no = valid, invalid
    end = T0 + DAY
    yield ok("59 seconds after its end", **case(now=end + 59))
    yield no("T_EXPIRED", "60 seconds after its end", **case(now=end + 60))
    yield ok("60 seconds before it begins", **case(now=T0 - 60))
    yield no("T_NOT_YET", "61 seconds before it begins", **case(now=T0 - 61))
    yield no("T_NOT_YET", "signed 61 seconds from now", **case(now=T0, iat=T0 + 61, nbf=T0 - 10))
    month = 30 * DAY
    yield ok("30 days", **case(exp=T0 + month))
    yield no("T_LIFETIME", "30 days and a second", **case(exp=T0 + month + 1))
    yield no("T_LIFETIME", "30 days from nbf, but signed a second before", **case(exp=T0 + month, iat=T0 - 1))
    yield no("T_LIFETIME", "ends as it begins", **case(now=T0, exp=T0, nbf=T0))
    now = T0 + 3600
    yield ok("the deny list ended 60 seconds ago", **case(deny_list_until=now - 60))
    yield no("T_STALE", "the deny list ended 61 seconds ago", **case(deny_list_until=now - 61))
    yield ok("another consent was withdrawn", **case(withdrawn=[b"\x02" * 16]))
    yield no("T_REVOKED", "withdrawn", **case(withdrawn=[CTI]))
    yield ok("of the lowest epoch accepted", **case(epoch=4))
    yield no("T_EPOCH", "of an epoch below it", **case(epoch=3))


def signature_and_scope():
    ok, no = valid, invalid
    yield ok("the NIK's signature", **case())
    yield no("T_SIG", "another key's signature", **case(key=OTHER_NIK))
    yield no("T_SIG", "signed in another network", **case(sign_net=Key(0x31).net_id))
    good = token()
    yield no("T_SIG", "one bit of it", **case(good[:-1] + bytes([good[-1] ^ 1])))
    bare = cbor(["Signature1", cbor(header()), b"", cbor(claims())])
    yield no("T_SIG", "without the external data", **case(sealed(cbor(header()), cbor(claims()), signature=NIK.sign(bare))))
    two = [[MODEL, [0, 1], [0, 7]], [MODEL, [2, 3], [0, 7]]]
    yield ok("two ranges side by side", **case(ranges=two))
    yield ok("all experts of all layers", **case(ranges=[[MODEL, [0, ALL], [0, ALL]]]))
    yield no("T_RANGE", "no range", **case(ranges=[]))
    yield no("T_RANGE", "two ranges in the other order", **case(ranges=two[::-1]))
    yield no("T_RANGE", "the same range twice", **case(ranges=[two[0], two[0]]))
    yield no("T_RANGE", "ranges that share an expert", **case(ranges=[[MODEL, [0, 2], [0, 7]], [MODEL, [2, 3], [7, 8]]]))
    yield no("T_RANGE", "layers the wrong way round", **case(ranges=[[MODEL, [3, 0], [0, 7]]]))
    yield no("T_RANGE", "experts the wrong way round", **case(ranges=[[MODEL, [0, 3], [7, 0]]]))
    yield no("T_MODEL", "a model that is not published", **case(ranges=[[b"\xab" * 32, [0, 3], [0, 7]]]))
    yield ok("every purpose", **case(purposes=31))
    yield no("T_PURPOSE", "no purpose", **case(purposes=0))
    yield no("T_PURPOSE", "a purpose without meaning", **case(purposes=32))
    yield no("T_VALUE", "a delegation depth of 1", **case(depth=1))
    yield ok("every way of serving", **case(serving=15))
    yield no("T_VALUE", "no way of serving", **case(serving=0))
    yield no("T_VALUE", "a way of serving without meaning", **case(serving=16))
    yield no("T_VALUE", "a currency in small letters", **case(floor=[5000, "usd"]))
    yield no("T_VALUE", "a currency of four letters", **case(floor=[5000, "USDT"]))
    yield ok("any country", **case(callers=[[], 0]))
    yield no("T_VALUE", "a country of three letters", **case(callers=[["DEU"], 0]))
    yield no("T_VALUE", "countries in another order", **case(callers=[["FR", "DE"], 0]))
    yield no("T_VALUE", "a country twice", **case(callers=[["DE", "DE"], 0]))


def parties():
    return {
        "netId": b32(NET), "peerKey": NIK.public.hex(), "audience": b32(ROUTER_KEY.id), "models": [MODEL.hex()],
    }


def groups():
    return [
        {"type": "ConsentToken", "about": part.__name__.replace("_", " "), **parties(), "tests": list(part())}
        for part in (structure, head_and_parties, times, signature_and_scope)
    ]
