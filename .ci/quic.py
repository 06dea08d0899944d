"""A node's first steps by aioquic: connect, show a certificate, say Hello, and tell how it ended."""

import asyncio
import ssl
import struct
from dataclasses import dataclass, field

import cbor2
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived, StreamReset

# How long a step may take before the test gives up on it, in seconds; it bounds a hang.
PATIENCE_S = 30
CONTROL = 1


def control(message):
    """A control frame: 40 bytes of header, of which all but length and kind are zero, and CBOR."""
    body = cbor2.dumps(message)
    return struct.pack("<IB", len(body), CONTROL).ljust(40, b"\0") + body


def hello(version=2, wants=(), max_weight_bytes=0):
    """A node that holds nothing and wants nothing, where nothing else is said."""
    return control([1, [{1: version, 2: max_weight_bytes, 3: 1, 4: [], 5: 0, 6: list(wants)}]])


@dataclass
class Seen:
    """What happened on a connection."""

    ended: tuple | None = None
    received: dict = field(default_factory=dict)
    resets: dict = field(default_factory=dict)
    completed: bool = False


class Client(QuicConnectionProtocol):
    """Notes what happens, and wakes whoever waits for it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen, self.news = Seen(), asyncio.Condition()

    def quic_event_received(self, event):
        seen = self.seen
        if isinstance(event, HandshakeCompleted):
            seen.completed = True
        elif isinstance(event, ConnectionTerminated):
            seen.ended = (event.error_code, event.reason_phrase or "")
        elif isinstance(event, StreamReset):
            seen.resets[event.stream_id] = event.error_code
        elif isinstance(event, StreamDataReceived):
            seen.received[event.stream_id] = seen.received.get(event.stream_id, b"") + event.data
        asyncio.ensure_future(self.tell())

    async def tell(self):
        async with self.news:
            self.news.notify_all()

    async def until(self, fact):
        """What `fact` gives once it is something."""
        async with self.news:
            await asyncio.wait_for(self.news.wait_for(lambda: fact(self.seen) is not None), PATIENCE_S)
        return fact(self.seen)

    def heard(self):
        """A node makes itself heard every second until the connection ends."""
        if self.seen.ended is None:
            self._quic.send_ping(0)
            self.transmit()
            asyncio.get_running_loop().call_later(1, self.heard)

    def say(self, data, stream=None, end=False):
        """Sends on a stream, or on a new one, and gives its number."""
        stream = self._quic.get_next_available_stream_id() if stream is None else stream
        self._quic.send_stream_data(stream, data, end)
        self.transmit()
        return stream

    def beyond_its_limits(self):
        """The connection, which from here on takes no notice of what the other side allows."""
        quic = self._quic
        quic._remote_max_streams_bidi = quic._remote_max_streams_uni = 2**20
        quic._remote_max_datagram_frame_size = 2**16 - 1
        return quic

    async def ending(self):
        """The error code and the reason with which the other side ended it."""
        return await self.until(lambda seen: seen.ended)

    async def frame(self, stream):
        """The next control message on a stream."""

        def whole(seen):
            data = seen.received.get(stream, b"")
            if len(data) < 40 or len(data) < 40 + struct.unpack_from("<I", data)[0]:
                return None if seen.ended is None else ("ended", seen.ended)
            return data[: 40 + struct.unpack_from("<I", data)[0]]

        frame = await self.until(whole)
        assert isinstance(frame, bytes), frame
        self.seen.received[stream] = self.seen.received[stream][len(frame) :]
        return cbor2.loads(frame[40:])

    def shown(self):
        """The server's certificates, leaf first, in DER."""
        tls = self._quic.tls
        from cryptography.hazmat.primitives.serialization import Encoding

        chain = [tls._peer_certificate, *(tls._peer_certificate_chain or [])]
        return [c.public_bytes(Encoding.DER) for c in chain]


async def connect(address, chain=None, key=None, alpn="counterfoil/1"):
    """Begins a connection without a server name. The router's certificate is for the caller to judge."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=[alpn], verify_mode=ssl.CERT_NONE)
    if chain:
        configuration.load_cert_chain(chain, key)
    host, port = address.rsplit(":", 1)
    loop = asyncio.get_running_loop()
    quic = QuicConnection(configuration=configuration)
    _, client = await loop.create_datagram_endpoint(lambda: Client(quic), local_addr=("127.0.0.1", 0))
    client.connect((host, int(port)))
    client.heard()
    await client.until(lambda seen: True if seen.completed or seen.ended else None)
    return client
