"""What a fresh lane says to the bytes that arrive on it."""

import struct

import blake3
import consent
from consent import CTI, MODEL
from words import NIK, NODE, ROUTER_KEY, T0, b32, cbor, invalid, valid

NOTES = {
    "S_LENGTH": "a body longer than its kind may be; judged before it arrives",
    "R_MAC": "the MAC of the header, which is checked before counter and body",
}
EXPORTER = b"\x51" * 32
TOKEN = consent.token()
MAC_KEY = blake3.derive("counterfoil v1 frame-mac", EXPORTER + consent.token_hash(TOKEN))
CONTROL, DISPATCH, COMBINE = 1, 2, 3


def header(size, kind, slot=0, counter=0, seq=0, mac=None, zero=0, reserved=0, key=MAC_KEY):
    covered = struct.pack("<IBBHQII", size, kind, zero, slot, counter, seq, reserved)
    if mac is None:
        mac = bytes(16) if kind == CONTROL else blake3.keyed(key, covered)[:16]
    return covered + mac


def control(message, size=None, **fields):
    body = message if isinstance(message, bytes) else cbor(message)
    return header(len(body) if size is None else size, CONTROL, **fields) + body


def dispatch(body=None, counter=1, seq=1, **fields):
    body = rows() if body is None else body
    return header(len(body), fields.pop("kind", DISPATCH), counter=counter, seq=seq, **fields) + body


def rows(layer=1, hidden=2, segments=((3, 1),), rows_=((4, 1, 1),), experts=((5, 0.5),), encoding=0, values=None, zero=0,
         counts=None, segment_zero=0, row_zero=0, expert_zero=0):
    counts = counts or (len(segments), len(rows_), len(experts))
    out = struct.pack("<IIHHHBB", layer, hidden, *counts, encoding, zero)
    out += b"".join(struct.pack("<IHH", slot, n, segment_zero) for slot, n in segments)
    out += b"".join(struct.pack("<IHBB", position, n, form, row_zero) for position, n, form in rows_)
    out += b"".join(struct.pack("<HHf", number, expert_zero, weight) for number, weight in experts)
    if values is None:
        values = struct.pack("<" + "f" * hidden, *([1.0] * hidden)) * len(rows_)
    return out + values


def int8(hidden=32, body=None, scale=0.25):
    body = body if body is not None else [127, -127, 1] + [0] * (hidden - 3)
    return struct.pack(f"<{hidden}b", *body) + struct.pack("<f", scale) * (hidden // 32)


PING, DRAIN = [7, [1]], [8, []]


def to_node(*frames):
    return {"to": "node", "stream": b"".join(frames).hex()}


def to_router(*frames):
    return {"to": "router", "stream": b"".join(frames).hex()}


def headers():
    ok, no = valid, invalid
    yield ok("the specification's ping", **to_node(control(PING)))
    yield ok("two messages", **to_node(control(PING), control(DRAIN)))
    yield no("S_SHAPE", "kind 0", **to_node(header(0, 0)))
    yield no("S_SHAPE", "kind 4", **to_node(header(0, 4)))
    yield no("S_SHAPE", "a byte marked zero", **to_node(control(PING, zero=1)))
    yield no("S_SHAPE", "four bytes marked zero", **to_node(control(PING, reserved=1)))
    yield no("S_SHAPE", "a control frame with a token slot", **to_node(control(PING, slot=1)))
    yield no("S_SHAPE", "a control frame with a counter", **to_node(control(PING, counter=1)))
    yield no("S_SHAPE", "a control frame with a seq", **to_node(control(PING, seq=1)))
    yield no("S_SHAPE", "a control frame with a mac", **to_node(control(PING, mac=b"\1" * 16)))
    yield no("S_LENGTH", "a control body of 65,537 bytes, of which none has come", **to_node(header(65_537, CONTROL)))
    yield no("S_LENGTH", "a dispatch of 16,777,177 bytes, of which none has come", **to_node(header(16_777_177, DISPATCH)))
    yield no("S_SHAPE", "a router sends a combine", **to_node(dispatch(kind=COMBINE)))
    yield no("S_SHAPE", "a message after its array", **to_node(control(cbor(PING) + b"\0")))
    yield no("S_SHAPE", "a message that is cut short", **to_node(control(cbor(PING)[:-1])))
    yield no("S_SHAPE", "a message of kind 99", **to_node(control([99, []])))
    yield no("S_SHAPE", "a number that is not in its shortest form", **to_node(control(bytes.fromhex("8207811801"))))
    yield no("S_SHAPE", "a float for a number", **to_node(control([7, [1.5]])))
    yield no("S_SHAPE", "nothing", **to_node(control(b"")))


def counters():
    ok, no = valid, invalid

    def seen(*numbers):
        return to_node(*(dispatch(counter=n, seq=i) for i, n in enumerate(numbers)))

    good = dispatch()
    yield ok("a dispatch under the first welcome", **to_node(good))
    yield no("S_ORDER", "a token slot that no welcome made", **to_node(dispatch(slot=1)))
    yield no("R_MAC", "one bit of the mac", **to_node(good[:24] + bytes([good[24] ^ 1]) + good[25:]))
    other = blake3.derive("counterfoil v1 frame-mac", bytes(32) + consent.token_hash(TOKEN))
    yield no("R_MAC", "the mac of another connection", **to_node(dispatch(key=other)))
    other = blake3.derive("counterfoil v1 frame-mac", EXPORTER + bytes(32))
    yield no("R_MAC", "the mac of another token", **to_node(dispatch(key=other)))
    moved = header(len(rows()), DISPATCH, counter=1, seq=1)
    moved = struct.pack("<IBBHQII", len(rows()), DISPATCH, 0, 0, 2, 1, 0) + moved[24:]
    yield no("R_MAC", "the counter was changed under its mac", **to_node(moved + rows()))
    yield no("R_MAC", "a bad mac on a counter that was seen: the mac comes first", **to_node(good, dispatch(mac=bytes(16))))
    yield ok("counters that rise", **seen(1, 2, 3))
    yield no("R_REPLAY", "a counter that was seen", **seen(1, 2, 1))
    yield ok("a counter that was left out", **seen(1, 3, 2))
    yield ok("1,023 below the highest", **seen(1024, 1))
    yield no("R_REPLAY", "1,024 below the highest", **seen(1025, 1))
    yield no("R_REPLAY", "a seen counter on a malformed body: the counter comes first", **to_node(good, dispatch(b"")))


def dispatches():
    ok = valid

    def no(comment, body):
        return invalid("S_SHAPE", comment, **to_node(dispatch(body)))

    yield ok("the specification's dispatch", **to_node(dispatch(rows(values=struct.pack("<ff", 1, -2)))))
    yield no("no bytes", b"")
    yield no("a byte short", rows()[:-1])
    yield no("a byte more", rows() + b"\0")
    yield no("no segment", rows(segments=()))
    yield no("no row", rows(segments=((3, 0),), rows_=(), experts=()))
    yield no("more segments than rows", rows(segments=((3, 1), (4, 0))))
    yield no("a segment with more rows than there are", rows(segments=((3, 2),)))
    yield no("a row with more experts than there are", rows(rows_=((4, 2, 1),)))
    yield no("a row without an expert", rows(rows_=((4, 0, 1),)))
    full = tuple((i, 1.0) for i in range(65))
    yield ok("a row of 64 experts", **to_node(dispatch(rows(rows_=((4, 64, 1),), experts=full[:64]))))
    yield no("a row of 65 experts", rows(rows_=((4, 65, 1),), experts=full))
    many = tuple((i, 1, 1) for i in range(513))
    yield ok("512 rows", **to_node(dispatch(rows(segments=((3, 512),), rows_=many[:512], experts=((5, 1.0),) * 512))))
    yield no("513 rows", rows(segments=((3, 513),), rows_=many, experts=((5, 1.0),) * 513))
    pair = {"segments": ((3, 2),), "experts": ((5, 0.5), (5, 0.5))}
    yield ok("positions that rise", **to_node(dispatch(rows(rows_=((4, 1, 1), (5, 1, 1)), **pair))))
    yield no("one position twice", rows(rows_=((4, 1, 1), (4, 1, 1)), **pair))
    yield no("positions that fall", rows(rows_=((5, 1, 1), (4, 1, 1)), **pair))
    two = {"rows_": ((4, 2, 0),)}
    yield ok("experts that rise", **to_node(dispatch(rows(experts=((5, 0.5), (6, 0.5)), **two))))
    yield no("one expert twice", rows(experts=((5, 0.5), (5, 0.5)), **two))
    yield no("experts that fall", rows(experts=((6, 0.5), (5, 0.5)), **two))
    yield no("form 2", rows(rows_=((4, 1, 2),)))
    yield no("encoding 3", rows(encoding=3))
    for field in ("zero", "segment_zero", "row_zero", "expert_zero"):
        yield no(f"{field.replace('_', ' ')}: a byte marked zero", rows(**{field: 1}))
    yield ok("the specification's int8", **to_node(dispatch(rows(hidden=32, encoding=1, values=int8()))))
    yield no("int8 rows of 33 values", rows(hidden=33, encoding=1, values=int8() + bytes(5)))
    yield no("a byte of -128", rows(hidden=32, encoding=1, values=int8(body=[-128] + [0] * 31)))
    yield no("a scale that is negative", rows(hidden=32, encoding=1, values=int8(scale=-0.25)))
    yield no("a scale of minus zero", rows(hidden=32, encoding=1, values=int8(scale=-0.0)))
    yield no("an infinite scale", rows(hidden=32, encoding=1, values=int8(scale=float("inf"))))
    yield ok("bf16", **to_node(dispatch(rows(encoding=2, values=bytes(4)))))
    yield no("bf16 a byte short", rows(encoding=2, values=bytes(3)))
    wide = 65_536
    huge = rows(hidden=wide, rows_=((4, 64, 0),), experts=full[:64], values=bytes(wide * 2), encoding=2)
    yield no("its answer does not fit into a frame", huge)


def hello_map(version=2):
    return {1: version, 2: 10**9, 3: 2, 4: [], 5: T0 * 1000}


def order_of_messages():
    ok, no = valid, invalid
    hello = control([1, [hello_map()]])
    yield ok("a hello", **to_router(hello))
    yield ok("a hello that names models", **to_router(control([1, [{**hello_map(), 6: ["chat"]}]])))
    yield no("S_VERSION", "version 1", **to_router(control([1, [hello_map(1)]])))
    yield no("S_VERSION", "version 3", **to_router(control([1, [hello_map(3)]])))
    yield no("S_ORDER", "a consent token first", **to_router(control([2, [TOKEN]])))
    yield no("S_ORDER", "a second hello", **to_router(hello, hello))
    yield no("S_SHAPE", "a dispatch of a node", **to_router(hello, dispatch()))
    yield ok("a consent token", **to_router(hello, control([2, [TOKEN]])))
    yield ok("a decline, a withdrawal, and leaving", **to_router(
        hello, control([3, [MODEL, "not now"]]), control([7, [CTI]]), control([9, []])))
    yield no("S_ORDER", "a pong that nobody waits for", **to_router(hello, control([8, [1]])))
    yield no("S_ORDER", "a refusal of a slot that is not open", **to_router(hello, control([6, [{1: 3, 2: 302, 3: "no", 4: NIK.id}]])))
    receipt = {1: 3, 2: b"", 3: bytes(64), 4: True}
    yield no("S_ORDER", "a receipt for a slot that nobody closed", **to_router(hello, control([5, [receipt]])))
    yield ok("a receipt of an earlier lane", **to_router(hello, control([5, [{**receipt, 1: 2**32 - 1}]])))
    yield no("S_SHAPE", "a refusal with a number that is none", **to_router(hello, control([6, [{1: 3, 2: 999, 3: "no", 4: NIK.id}]])))
    body = struct.pack("<IIHHI", 6, 2, 1, 1, 1) + struct.pack("<IHH", 3, 0, 1) + struct.pack("<HBB", 1, 1, 0) + bytes(8)
    yield no("S_ORDER", "a combine that answers no dispatch", **to_router(hello, dispatch(body, kind=COMBINE)))
    yield no("S_SHAPE", "a combine a byte short", **to_router(hello, dispatch(body[:-1], kind=COMBINE)))
    yield no("R_MAC", "a combine with another mac", **to_router(hello, dispatch(body, kind=COMBINE, mac=bytes(16))))
    yield no("S_LENGTH", "a hello of 65,537 bytes, of which none has come", **to_router(header(65_537, CONTROL)))
    assert NODE == 3 and b32(ROUTER_KEY.id)


def groups():
    lane = {**consent.parties(), "token": TOKEN.hex(), "checkedAt": T0 + 3600, "exporter": EXPORTER.hex()}
    return [
        {"type": "Frames", "about": part.__name__.replace("_", " "), **lane, "tests": list(part())}
        for part in (headers, counters, dispatches, order_of_messages)
    ]
