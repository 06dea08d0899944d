"""Keys that a reader must not accept, and signatures that only a lax verifier accepts."""

import hashlib

import curve
from words import NIK, OTHER_NIK, Key, invalid, valid


def weak_keys():
    names = ("neutral", "order 8", "order 4", "order 8", "order 2", "order 8", "order 4", "order 8")
    cases = [valid("a key of prime order", key=NIK.public.hex()), valid("another", key=OTHER_NIK.public.hex())]
    points = curve.torsion()
    for name, point in zip(names, points):
        cases.append(invalid("C_WEAK_KEY", f"small order: {name}", key=curve.encode(point).hex()))
    own = curve.decode(NIK.public)
    for i, point in enumerate(points[1:], 1):
        mixed = curve.encode(curve.add(own, point)).hex()
        cases.append(invalid("C_WEAK_KEY", f"mixed order: a good key plus {i} × a point of order 8", key=mixed))
    for y, sign, what in (
        (1 + curve.P, 0, "y = 1 written as p + 1"),
        (curve.P, 0, "y = 0 written as p"),
        (curve.P, 1, "y = 0 written as p, sign 1"),
        (3 + curve.P, 0, "y = 3 written as p + 3"),
        (1, 1, "x = 0 with sign 1"),
        (curve.P - 1, 1, "x = 0 with sign 1, order 2"),
    ):
        key = (y | sign << 255).to_bytes(32, "little").hex()
        cases.append(invalid("C_WEAK_KEY", f"not canonical: {what}", key=key))
    off = next(y for y in range(2, 100) if curve.recover(y, 0) is None)
    cases.append(invalid("C_WEAK_KEY", "not on the curve", key=off.to_bytes(32, "little").hex()))
    return {"type": "Ed25519Key", "tests": cases}


def secret_scalar(key):
    digest = bytearray(hashlib.sha512(key.seed).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    return int.from_bytes(digest, "little")


def challenge(r, public, message):
    return int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % curve.L


def signatures():
    message = b"what is signed"
    good = NIK.sign(message)
    r, s = good[:32], int.from_bytes(good[32:], "little")
    group = {"type": "Ed25519Signature", "key": NIK.public.hex(), "message": message.hex()}
    small = curve.torsion()[1]
    cases = [valid("as RFC 8032 makes it", signature=good.hex())]
    cases.append(invalid(None, "S + L: the same residue, not reduced", signature=(r + (s + curve.L).to_bytes(32, "little")).hex()))
    cases.append(invalid(None, "another message", signature=NIK.sign(b"what is not").hex()))
    cases.append(invalid(None, "another key", signature=OTHER_NIK.sign(message).hex()))
    cases.append(invalid(None, "one bit of R", signature=(bytes([good[0] ^ 1]) + good[1:]).hex()))
    cases.append(invalid(None, "one bit of S", signature=(good[:32] + bytes([good[32] ^ 1]) + good[33:]).hex()))
    scalar = secret_scalar(NIK)
    # R of small order: S = k·a makes the equation hold up to the cofactor; R neutral makes it hold exactly.
    for point, what in ((curve.torsion()[0], "R is the neutral point"), (small, "R is of order 8")):
        encoded = curve.encode(point)
        k = challenge(encoded, NIK.public, message)
        forged = encoded + (k * scalar % curve.L).to_bytes(32, "little")
        cases.append(invalid(None, f"{what}; verifies where R may be of small order", signature=forged.hex()))
    # R with a component of small order: only a verifier that multiplies by the cofactor accepts.
    nonce = 12345
    mixed = curve.encode(curve.add(curve.times(nonce, curve.BASE), small))
    k = challenge(mixed, NIK.public, message)
    forged = mixed + ((nonce + k * scalar) % curve.L).to_bytes(32, "little")
    cases.append(invalid(None, "R is of mixed order; verifies with the cofactor alone", signature=forged.hex()))
    clean = curve.encode(curve.times(nonce, curve.BASE))
    k = challenge(clean, NIK.public, message)
    made = clean + ((nonce + k * scalar) % curve.L).to_bytes(32, "little")
    cases.append(valid("the same nonce without that component", signature=made.hex()))
    return {**group, "tests": cases}


NOTES = {"C_WEAK_KEY": "small-order, mixed-order, not canonical or not on the curve"}


def groups():
    return [weak_keys(), signatures()]


def a_weak_key():
    return curve.encode(curve.torsion()[1])


def a_mixed_key():
    return curve.encode(curve.add(curve.decode(Key(8).public), curve.torsion()[4]))
