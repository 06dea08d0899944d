"""Checks by others on a real network: OpenSSL, aioquic, PyNaCl, cbor2, Go and others in the place of our own code."""

import asyncio
import base64
import json
import re
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import cbor2
import quic
import tlog
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey
from program import Program, free_port

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "conformance/generator"))
import blake3  # noqa: E402  (written from its specification, beside the vectors)

# TLS alerts as QUIC's error codes (RFC 9001 §4.8).
ALERT = 0x100
CERTIFICATE_REVOKED, CERTIFICATE_UNKNOWN = ALERT + 44, ALERT + 46
CERTIFICATE_REQUIRED, NO_APPLICATION_PROTOCOL = ALERT + 116, ALERT + 120
T_SIG = 214
S_LENGTH, S_SHAPE, S_VERSION, S_STREAM, S_IDLE, S_DRAIN = 403, 404, 405, 406, 407, 408
# QUIC's own errors (RFC 9000 §20.1).
STREAM_LIMIT_ERROR, PROTOCOL_VIOLATION = 4, 10
SPKI = bytes.fromhex("302a300506032b6570032100")


class Network:
    """A router without nodes, and homes of nodes that enrolled there and run nowhere."""

    def __init__(self, binary, folder, name):
        self.folder, self.binary = Path(folder) / name, binary
        self.program = Program(binary, self.folder)
        self.program.json("identity", "init")
        self.program.start("--listen", f"127.0.0.1:{free_port()}", role="router")
        self.nodes_at, self.enrol_at = self.program.ready["nodes"], self.program.ready["enrol"]
        self.root = pem((self.folder / "identity/root.der").read_bytes())

    def enrolled(self, name):
        """The identity folder of a fresh node."""
        token = self.program.json("identity", "join-token")["join_token"]
        home = self.folder.parent / f"{self.folder.name}-{name}"
        Program(self.binary, home).json("identity", "enroll", "--enrol", self.enrol_at, "--join-token", token)
        return home / "identity"


def credentials(identity):
    return {"chain": identity / "chain.pem", "key": identity / "tls.key"}


def certificates(path):
    return re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", path.read_text(), re.S)


def openssl(root, chain, purpose, folder, at=None):
    """Verifies a PEM chain, leaf first, with OpenSSL's strict checks; gives its exit code and what it says."""
    root_file, rest, leaf = (Path(folder) / n for n in ("root.pem", "rest.pem", "leaf.pem"))
    root_file.write_text(root)
    leaf.write_text(chain[0])
    rest.write_text("".join(chain[1:]))
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(root_file)]
    command += ["-attime", str(at)] if at is not None else []
    command += ["-untrusted", str(rest), str(leaf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def pem(der):
    return ssl.DER_cert_to_PEM_cert(der)


def chains_verify(home, other, folder):
    """OpenSSL accepts the chains of the nodes of a `run` under its root and under no other."""
    root = pem((home.home / "identity/root.der").read_bytes())
    paths = sorted(home.home.glob("nodes/*/identity/chain.pem"))
    assert len(paths) == 2, paths
    for path in paths:
        chain = certificates(path)[:2]
        code, said = openssl(root, chain, "sslclient", folder)
        assert code == 0, f"{path}: {said}"
        code, said = openssl(other.root, chain, "sslclient", folder)
        assert code != 0 and "unable to get" in said, f"{path} under another root: {said}"
    return "the chains of a run verify with -x509_strict, and not under another root"


def vectors_verify(folder):
    """OpenSSL agrees where a certificate vector is about path, signature or validity."""
    file = json.loads((Path(__file__).resolve().parent.parent / "conformance/vectors/certificates.json").read_text())
    accepted = refused = 0
    for group in file["testGroups"]:
        for test in group["tests"]:
            if group["type"] != "Certificate" or len(test["chain"]) != 2:
                continue
            # The vectors live at times of their own. OpenSSL counts the last second of a certificate as past.
            at = test["now"] - ("LAST_SECOND" in test["flags"])
            purpose = "sslserver" if test["role"] == "router" else "sslclient"
            chain = [pem(bytes.fromhex(c)) for c in test["chain"]]
            code, said = openssl(pem(bytes.fromhex(group["root"])), chain, purpose, folder, at)
            if test["result"] == "valid":
                assert code == 0, f"{test['tcId']} {test['comment']}: {said}"
                accepted += 1
            elif test["refusal"] in ("C_EXPIRED", "C_UNTRUSTED"):
                assert code != 0, f"{test['tcId']} {test['comment']}: OpenSSL accepts it"
                refused += 1
    assert accepted >= 15 and refused >= 6, (accepted, refused)
    return f"OpenSSL accepts {accepted} chains of the vectors and refuses {refused}"


async def accepted(network, folder):
    """aioquic with a good certificate gets the router's first control message, and the router's chain verifies."""
    client = await quic.connect(network.nodes_at, **credentials(network.enrolled("good")))
    code, said = openssl(network.root, [pem(c) for c in client.shown()], "sslserver", folder)
    assert code == 0, said
    lane = client.say(quic.hello())
    await denials(network, client, lane)
    message = await client.frame(lane)
    # A node that wants nothing is told that there is nothing to host (a Propose without ranges).
    assert message[0] == 1 and message[1][0][3] == [], message
    client.close()
    return "accepted with a good certificate, as far as the router's first message"


async def refused(network, other):
    """Each connection that must not be, with the error that it must end with."""
    good = credentials(network.enrolled("refused"))
    cases = (
        ("without a certificate", {}, CERTIFICATE_REQUIRED),
        ("with another protocol", {**good, "alpn": "h3"}, NO_APPLICATION_PROTOCOL),
        ("with a certificate of another root", credentials(other.enrolled("foreign")), CERTIFICATE_UNKNOWN),
    )
    for what, how, expected in cases:
        client = await quic.connect(network.nodes_at, **how)
        code, reason = await client.ending()
        assert code == expected, f"{what}: {code:#x} {reason!r}, expected {expected:#x}"
    return f"refused {', '.join(what for what, _, _ in cases)}"


async def session_rules(network):
    """What ends a lane or a stream with a code of its own."""
    good = credentials(network.enrolled("rules"))
    client = await quic.connect(network.nodes_at, **good)
    client.say(quic.hello(version=1))
    code, reason = await client.ending()
    assert code == S_VERSION, (code, reason)

    client = await quic.connect(network.nodes_at, **good)
    lane = client.say(quic.hello())
    await denials(network, client, lane)
    # A fetch stream on which nothing comes is reset after ten seconds; the lane stays.
    silent = client.say(b"\1")
    assert await client.until(lambda seen: seen.resets.get(silent)) == S_IDLE
    assert client.seen.ended is None
    client.say(b"\0" * 40, stream=lane)
    code, reason = await client.ending()
    assert code == S_SHAPE, (code, reason)
    return "S_VERSION, S_IDLE and S_SHAPE end what they must"


async def stubborn(network):
    """A peer that ignores what the router allows it: each connection ends with its code, and the router goes on."""
    good, before = credentials(network.enrolled("stubborn")), frames_refused(network)

    def one_way(client, _):
        client.say(b"1", stream=client.beyond_its_limits().get_next_available_stream_id(is_unidirectional=True))

    def too_many(client, _):
        client.beyond_its_limits()
        # The lane and four fetch streams may be open.
        for _ in range(5):
            client.say(b"\1")

    def datagram(client, _):
        client.beyond_its_limits().send_datagram_frame(b"1")
        client.transmit()

    def long_frame(length):
        return lambda client, lane: client.say(struct.pack("<IB", length, quic.CONTROL).ljust(40, b"\0"), stream=lane)

    cases = (
        ("a unidirectional stream", one_way, STREAM_LIMIT_ERROR),
        ("a sixth stream", too_many, STREAM_LIMIT_ERROR),
        ("a datagram", datagram, PROTOCOL_VIOLATION),
        ("a control frame of 65,537 bytes", long_frame(2**16 + 1), S_LENGTH),
        ("a control frame of 4 GiB", long_frame(2**32 - 1), S_LENGTH),
    )
    for what, act, expected in cases:
        client = await quic.connect(network.nodes_at, **good)
        lane = client.say(quic.hello())
        await denials(network, client, lane)
        act(client, lane)
        code, reason = await client.ending()
        assert code == expected, f"{what}: {code:#x} {reason!r}, expected {expected:#x}"

    # Half a Hello, and then nothing but signs of life.
    client = await quic.connect(network.nodes_at, **good)
    client.say(quic.hello()[:20])
    code, reason = await client.ending()
    assert code == S_IDLE, (code, reason)
    # A frame that does not come to its end keeps nobody else from anything.
    stalled = await quic.connect(network.nodes_at, **good)
    lane = stalled.say(quic.hello())
    await denials(network, stalled, lane)
    stalled.say(struct.pack("<IB", 2**16, quic.CONTROL).ljust(40, b"\0") + bytes(100), stream=lane)
    client = await quic.connect(network.nodes_at, **credentials(network.enrolled("patient")))
    await denials(network, client, client.say(quic.hello()))
    assert stalled.seen.ended is None
    want = {**before, **{code: before.get(code, 0) + more for code, more in (("S_STREAM", 2), ("S_SHAPE", 1), ("S_LENGTH", 2))}}
    await asyncio.wait_for(counted(network, want), quic.PATIENCE_S)
    stalled.close()
    client.close()
    return f"{', '.join(what for what, _, _ in cases)} and half a Hello end with their codes and are counted"


def frames_refused(network):
    """How often the router refused a frame, by code."""
    with urllib.request.urlopen(f"{network.program.ready['url']}/metrics") as answer:
        text = answer.read().decode()
    found = re.findall(r'counterfoil_refusals_total\{by="router",what="frame",code="(\w+)"\} (\d+)', text)
    return {code: int(times) for code, times in found}


async def counted(network, want):
    """Until the router has counted exactly these; the count comes a moment after the end."""
    while await asyncio.to_thread(frames_refused, network) != want:
        pass


async def consents(network):
    """A node that is a script signs a consent token which the router accepts, comes again, and is sent away."""
    identity = network.enrolled("signs")
    good = credentials(identity)
    key = seed_of(identity / "node.key")
    net_id = b32decode(network.program.ready["net_id"])

    async def welcomed():
        client = await quic.connect(network.nodes_at, **good)
        lane = client.say(quic.hello(wants=["guide"], max_weight_bytes=2**40))
        await denials(network, client, lane)
        kind, (proposal,) = await client.frame(lane)
        assert kind == 1 and proposal[3], proposal
        for cti, wrong in ((b"\1" * 16, True), (b"\2" * 16, False)):
            token = consent(key, network, net_id, proposal, cti, net_id[::-1] if wrong else net_id)
            client.say(quic.control([2, [token]]), stream=lane)
            kind, fields = await client.frame(lane)
            # The first one is signed for another network under this one's name.
            assert (kind, fields[0]) == (3, T_SIG) if wrong else (kind, fields[0][1]) == (2, cti), (kind, fields)
        client.say(quic.control([4, [cti]]), stream=lane)
        return client, lane

    client, lane = await welcomed()
    await asyncio.wait_for(ready(network), quic.PATIENCE_S)
    again = await quic.connect(network.nodes_at, **good)
    second = again.say(quic.hello())
    code, reason = await client.ending()
    assert code == S_STREAM, (code, reason)
    await again.frame(second)
    network.program.interrupt()
    code, reason = await again.ending()
    assert code == S_DRAIN, (code, reason)
    return "a consent token signed with cbor2 and PyNaCl is welcomed, a wrong one is T_SIG; S_STREAM and S_DRAIN end lanes"


async def issuing_cas(network, folder):
    """Another issuing CA takes over: chains of both verify with OpenSSL, and both are let in until the old CA is denied."""
    before = network.enrolled("before")
    network.program.json("identity", "ca", "next")
    said = network.program.json("identity", "ca", "activate")
    after = network.enrolled("after")
    authorities = set()
    for identity in (before, after):
        chain = certificates(identity / "chain.pem")[:2]
        code, words = openssl(network.root, chain, "sslclient", folder)
        assert code == 0, words
        authorities.add(chain[1].strip())
        client = await quic.connect(network.nodes_at, **credentials(identity))
        client.say(quic.hello())
        shown = [pem(c) for c in client.shown()]
        code, words = openssl(network.root, shown, "sslserver", folder)
        assert code == 0, words
        client.close()
    assert len(authorities) == 2 and shown[1].strip() in authorities
    network.program.json("identity", "ca", "retire", said["before"], "--reason", "for a test")
    client = await quic.connect(network.nodes_at, **credentials(before))
    code, reason = await client.ending()
    assert code == CERTIFICATE_REVOKED, f"{code:#x} {reason!r}"
    client = await quic.connect(network.nodes_at, **credentials(after))
    client.say(quic.hello())
    assert client.seen.ended is None
    client.close()
    return "chains of two issuing CAs verify with -x509_strict, and the old one's are refused once it is denied"


async def denials(network, client, lane):
    """A router's first message is its deny list, which verifies with cbor2 and PyNaCl alone."""
    kind, (signed_list,) = await client.frame(lane)
    assert kind == 9, kind
    identity = network.program.json("identity", "show")
    listed = signed_list[1]
    assert listed[1] == 0 and listed[3] == listed[2] + 60 and abs(listed[2] - time.time()) < 60, listed
    assert listed[4] == {1: [], 2: [], 3: [], 4: []}, listed
    data = b"counterfoil/deny-list/v1\0" + b32decode(identity["net_id"]) + cbor2.dumps(listed)
    VerifyKey(bytes.fromhex(identity["router_key"])).verify(data, signed_list[2])
    client.say(quic.control([13, [listed[1]]]), stream=lane)


async def ready(network):
    """Until the router counts a node that serves."""
    while not (await asyncio.to_thread(network.program.json, "status"))["health"]["nodes"]:
        pass


def consent(key, network, net_id, proposal, cti, signed_for):
    """A consent token for what was proposed."""
    now = int(time.time())
    node = b32(blake3.derive("counterfoil v1 node-id", SPKI + bytes(key.verify_key)))
    claims = cbor2.dumps({
        1: node, 3: network.program.ready["router_id"], 4: now + 3600, 5: now, 6: now, 7: cti, -70001: 1, -70002: net_id,
        -70003: proposal[3], -70004: [10**9, 8, 10**6, 1000, 10**9], -70005: [proposal[4], proposal[5]], -70006: 1,
        -70007: [[], 0], -70008: max(proposal[7], 1), -70009: 0, -70010: bytes(32), -70011: 1,
    })
    header = cbor2.dumps({1: -19, 4: b32decode(node), 16: "application/counterfoil-consent+cwt"})
    signature = key.sign(signed(header, signed_for, claims)).signature
    return cbor2.dumps(cbor2.CBORTag(18, [header, {}, claims, signature]))


def seed_of(path):
    """PKCS#8 version 1 of an Ed25519 key ends with its seed."""
    return SigningKey(ssl.PEM_cert_to_DER_cert(path.read_text().replace("PRIVATE KEY", "CERTIFICATE"))[-32:])


def b32(data):
    return base64.b32encode(data).decode().lower().rstrip("=")


def consent_token(home):
    """Each consent token of a `run`'s log verifies with cbor2 and PyNaCl alone, and in no other network."""
    net_id = b32decode(home.json("identity", "show")["net_id"])
    size = home.json("audit", "verify")["committed"]
    payloads = [home.json("audit", "show", i)["body"]["payload"] for i in range(size)]
    keys = {p["payload"]["node"]: p["payload"]["identity_key"] for p in payloads if p["kind"] == "node-enrolled"}
    granted = [p["payload"] for p in payloads if p["kind"] == "consent-granted"]
    assert len(granted) >= 2, payloads
    for payload in granted:
        key = VerifyKey(bytes.fromhex(keys[payload["node"]]))
        tagged = cbor2.loads(bytes.fromhex(payload["token"]))
        protected, unprotected, claims, signature = tagged.value
        assert (tagged.tag, len(unprotected)) == (18, 0)
        header, body = cbor2.loads(protected), cbor2.loads(claims)
        assert header == {1: -19, 4: b32decode(payload["node"]), 16: "application/counterfoil-consent+cwt"}
        assert (body[1], body[-70002], body[-70009]) == (payload["node"], net_id, 0)
        assert body[5] <= time.time() + 60 and body[4] > body[5] and body[-70003], body
        key.verify(signed(protected, net_id, claims), signature)
        for wrong in (signed(protected, net_id[::-1], claims), signed(protected, net_id, claims[:-1])):
            try:
                key.verify(wrong, signature)
            except BadSignatureError:
                continue
            raise AssertionError("a consent token verified over other bytes")
    return f"{len(granted)} consent tokens of a run's log verify with cbor2 and PyNaCl alone"


def signed(protected, net_id, claims):
    return cbor2.dumps(["Signature1", protected, b"counterfoil/consent/v1\0" + net_id, claims])


def b32decode(text):
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))


def main(binary):
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        running = []
        try:
            home = Program(binary, Path(folder) / "home").start()
            running.append(home)
            network, other = (Network(binary, folder, name) for name in ("network", "other"))
            running += [network.program, other.program]
            long = tlog.long_log(binary, folder)
            steps = (
                lambda: chains_verify(home, other, folder),
                lambda: vectors_verify(folder),
                lambda: asyncio.run(accepted(network, folder)),
                lambda: asyncio.run(refused(network, other)),
                lambda: asyncio.run(session_rules(network)),
                lambda: asyncio.run(stubborn(network)),
                lambda: consent_token(home),
                lambda: asyncio.run(consents(network)),
                lambda: tlog.foreign_witness_cosigns(binary, folder),
                lambda: tlog.our_witness_cosigns(binary, folder),
                lambda: tlog.go_verifies(long, folder),
                lambda: tlog.pymerkle_agrees(long),
                lambda: tlog.proofs_verify(long),
                lambda: asyncio.run(issuing_cas(other, folder)),
            )
            skipped = 0
            for step in steps:
                try:
                    print(f"ok   {step()}")
                except tlog.Skipped as missing:
                    skipped += 1
                    print(f"SKIP {missing}")
        finally:
            for program in running:
                program.kill_all()
    done = f"{len(steps) - skipped} checks by others passed in {time.monotonic() - started:.0f} s"
    print(done + (f", {skipped} SKIPPED" if skipped else ""))


if __name__ == "__main__":
    main(sys.argv[1])
