"""Certificates and requests as DER, field by field, so that each field can be wrong by itself."""

from datetime import datetime, timezone

import blake3
from words import CA, NET, NIK, NODE, ROOT, T0, TLS, DAY, b32, domain, u64


def tlv(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    size = bytes([n]) if n < 128 else bytes([0x80 | (n.bit_length() + 7) // 8]) + n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([tag]) + size + body


def seq(*parts):
    return tlv(0x30, *parts)


def oid(text):
    arcs = [int(a) for a in text.split(".")]
    out = bytes([arcs[0] * 40 + arcs[1]])
    for arc in arcs[2:]:
        groups = [arc & 127]
        while arc := arc >> 7:
            groups.append(arc & 127 | 128)
        out += bytes(reversed(groups))
    return tlv(6, out)


ED25519 = seq(oid("1.3.101.112"))
KU, BASIC, SKI, AKI, EKU, SAN = "2.5.29.15", "2.5.29.19", "2.5.29.14", "2.5.29.35", "2.5.29.37", "2.5.29.17"
BINDING = "1.3.6.1.4.1.32473.1.1"
ROLE_NAMES = {2: "router", 3: "node"}


def extension(name, value, critical=False):
    return seq(oid(name), tlv(1, b"\xff") if critical else b"", tlv(4, value))


def name(text):
    return seq(tlv(0x31, seq(oid("2.5.4.3"), tlv(0x0C, text.encode())))) if text else seq()


def time(seconds):
    at = datetime.fromtimestamp(seconds, timezone.utc)
    return tlv(0x17, at.strftime("%y%m%d%H%M%SZ").encode()) if at.year < 2050 else tlv(0x18, at.strftime("%Y%m%d%H%M%SZ").encode())


def key_id(spki):
    return blake3.plain(spki)[:20]


def serial(text):
    raw = bytearray(blake3.plain(text.encode())[:16])
    raw[0] = raw[0] & 0x3F | 0x40
    return bytes(raw)


def certificate(
    *, signer, issuer, subject, spki, first, last, extensions, serial, version=2,
    algorithm=ED25519, inner=None, tail=b"", unique=b"", signature=None,
):
    head = tlv(0xA0, tlv(2, bytes([version]))) if version else b""
    tbs = seq(
        head, tlv(2, serial), inner or algorithm, issuer, seq(time(first), time(last)), subject, spki, unique,
        tlv(0xA3, seq(*extensions)) if extensions else b"",
    )
    return seq(tbs, algorithm, tlv(3, b"\0", signature or signer.sign(tbs))) + tail


ROOT_NAME = name(b32(NET))
CA_NAME = name("issuing CA")


def root(key=ROOT, first=T0 - 300, life=3652 * DAY, **changes):
    own = name(b32(key.net_id))
    fields = {
        "signer": key, "issuer": own, "subject": own, "spki": key.spki, "first": first, "last": first + life,
        "serial": serial("root"),
        "extensions": [
            extension(KU, bytes.fromhex("03020204"), True),
            extension(BASIC, bytes.fromhex("30060101ff020101"), True),
            extension(SKI, tlv(4, key_id(key.spki))),
        ],
    }
    return certificate(**{**fields, **changes})


def issuing_ca(key=CA, by=ROOT, first=T0 - 300, life=90 * DAY + 300, swap=None, drop=(), more=(), **changes):
    parts = {
        KU: extension(KU, bytes.fromhex("03020204"), True),
        BASIC: extension(BASIC, bytes.fromhex("30060101ff020100"), True),
        SKI: extension(SKI, tlv(4, key_id(key.spki))),
        AKI: extension(AKI, seq(tlv(0x80, key_id(by.spki)))),
    }
    parts.update(swap or {})
    fields = {
        "signer": by, "issuer": name(b32(by.net_id)), "subject": CA_NAME, "spki": key.spki, "first": first,
        "last": first + life, "serial": serial("ca"),
        "extensions": [v for k, v in parts.items() if k not in drop] + list(more),
    }
    return certificate(**{**fields, **changes})


def usages(role):
    return extension(EKU, seq(oid("1.3.6.1.5.5.7.3.1"), oid("1.3.6.1.5.5.7.3.2"), oid(f"1.3.6.1.4.1.32473.2.{role}")))


def spiffe(role, id_, net_id=NET):
    return f"spiffe://{b32(net_id)}/{ROLE_NAMES.get(role, role)}/{b32(id_)}"


def names(*uris, dns=(), critical=True):
    return extension(SAN, seq(*(tlv(0x86, u.encode()) for u in uris), *(tlv(0x82, d.encode()) for d in dns)), critical)


def binding_value(identity, role, spki, last, generation=1, net_id=NET, public=None, version=1):
    tls_hash = blake3.derive("counterfoil v1 tls-spki", spki)
    signed = domain("node-binding", net_id, bytes([role]), tls_hash, u64(generation), u64(last))
    return tlv(4, bytes([version]), public or identity.public, u64(generation), identity.sign(signed))


def leaf(
    identity=NIK, role=NODE, tls=TLS, ca=CA, first=T0 - 300, life=DAY + 300, swap=None, drop=(), more=(), **changes
):
    spki = changes.get("spki", tls.spki)
    last = first + life
    parts = {
        SAN: names(spiffe(role, identity.id)),
        KU: extension(KU, bytes.fromhex("03020780"), True),
        EKU: usages(role),
        BASIC: extension(BASIC, bytes.fromhex("3000"), True),
        AKI: extension(AKI, seq(tlv(0x80, key_id(ca.spki)))),
        SKI: extension(SKI, tlv(4, key_id(spki))),
        BINDING: extension(BINDING, binding_value(identity, role, spki, last)),
    }
    parts.update(swap or {})
    fields = {
        "signer": ca, "issuer": CA_NAME, "subject": name(""), "spki": spki, "first": first, "last": last,
        "serial": serial("leaf"),
        "extensions": [v for k, v in parts.items() if k not in drop] + list(more),
    }
    return certificate(**{**fields, **changes})


def request(tls=TLS, signer=None, tail=b"", spki=None):
    """PKCS#10 with an empty subject and no attributes."""
    inner = seq(tlv(2, b"\0"), name(""), spki or tls.spki, tlv(0xA0))
    return seq(inner, ED25519, tlv(3, b"\0", (signer or tls).sign(inner))) + tail
