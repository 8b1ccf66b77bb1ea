"""SPDY/3.1 framing without I/O: bytes in, events out; calls in, bytes out. Both sides of a connection use it.

kubectl and containerd still speak SPDY for exec, attach and port-forward (through moby/spdystream, which knows no flow
control: windows are neither kept nor awaited here). Only what these peers send is understood: SYN_STREAM, SYN_REPLY,
RST_STREAM, PING, GOAWAY and data; everything else is skipped.

Source: The SPDY Protocol, draft 3.1. Header names travel in lower case.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
FLAG_FIN = 0x01
FRAME_MAX_BYTES = 16 * 1024 * 1024 - 1
DATA_MAX_BYTES = 32 * 1024
HEADERS_MAX_BYTES = 64 * 1024
RST_PROTOCOL_ERROR, RST_REFUSED, RST_CANCEL = 1, 3, 5

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in _WORDS.split(" "))
    + _TAIL.encode()
)
"""What both sides' compressors know from the start (draft, section 2.6.10.1)."""


class SpdyFailure(Exception):
    """The peer does not speak SPDY/3.1 as it should."""


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream."""

    stream: int
    headers: dict[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class StreamAccepted:
    """The peer answered our stream."""

    stream: int
    headers: dict[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes of a stream; with `fin` the last ones."""

    stream: int
    data: bytes
    fin: bool


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The peer gave a stream up."""

    stream: int
    code: int


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The peer opens no more streams."""


@dataclass(frozen=True, slots=True)
class PingReceived:
    """Answer with `reply`."""

    reply: bytes


Event = StreamOpened | StreamAccepted | DataReceived | StreamReset | GoneAway | PingReceived


@dataclass(slots=True)
class Framer:
    """One connection's codec. `next_stream`: 1 for the client's side, 2 for the server's."""

    next_stream: int
    _buffer: bytearray = field(default_factory=bytearray)
    _deflate: "zlib._Compress" = field(default_factory=lambda: zlib.compressobj(zdict=DICTIONARY))
    _inflate: "zlib._Decompress" = field(default_factory=lambda: zlib.decompressobj(zdict=DICTIONARY))

    # Bytes to events --------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> Iterator[Event]:
        """Events of all frames that are complete now. Raises SpdyFailure."""
        self._buffer += data
        while len(self._buffer) >= 8:
            head, tail = struct.unpack_from(">II", self._buffer)
            flags, length = tail >> 24, tail & 0xFFFFFF
            if len(self._buffer) < 8 + length:
                return
            body = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if head & 0x80000000:
                event = self._control(head, flags, body)
                if event is not None:
                    yield event
            else:
                yield DataReceived(head, body, bool(flags & FLAG_FIN))

    def _control(self, head: int, flags: int, body: bytes) -> Event | None:
        version, kind = (head >> 16) & 0x7FFF, head & 0xFFFF
        if version != 3:
            raise SpdyFailure(f"SPDY version {version} instead of 3")
        fin = bool(flags & FLAG_FIN)
        try:
            if kind == SYN_STREAM:
                return StreamOpened(struct.unpack_from(">I", body)[0] & 0x7FFFFFFF, self._headers(body[10:]), fin)
            if kind == SYN_REPLY:
                return StreamAccepted(struct.unpack_from(">I", body)[0] & 0x7FFFFFFF, self._headers(body[4:]), fin)
            if kind == RST_STREAM:
                stream, code = struct.unpack_from(">II", body)
                return StreamReset(stream & 0x7FFFFFFF, code)
            if kind == PING:
                return PingReceived(self._frame(PING, 0, body[:4]))
        except (struct.error, zlib.error) as error:
            raise SpdyFailure(f"malformed frame of type {kind}: {error}") from error
        return GoneAway() if kind == GOAWAY else None

    def _headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block, HEADERS_MAX_BYTES)
        if self._inflate.unconsumed_tail:
            raise SpdyFailure("headers are too long")
        (count,) = struct.unpack_from(">I", plain)
        at, words = 4, []
        for _ in range(2 * count):
            (length,) = struct.unpack_from(">I", plain, at)
            words.append(plain[at + 4 : at + 4 + length].decode(errors="replace"))
            at += 4 + length
        return {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=True)}

    # Calls to bytes ---------------------------------------------------------------------------------------------------

    def open(self, headers: Mapping[str, str], *, fin: bool = False) -> tuple[int, bytes]:
        """A new stream of ours: its number, and what to send."""
        stream = self.next_stream
        self.next_stream += 2
        body = struct.pack(">IIH", stream, 0, 0) + self._block(headers)
        return stream, self._frame(SYN_STREAM, FLAG_FIN if fin else 0, body)

    def accept(self, stream: int, headers: Mapping[str, str] | None = None) -> bytes:
        """Answer the peer's stream."""
        return self._frame(SYN_REPLY, 0, struct.pack(">I", stream) + self._block(headers or {}))

    def data(self, stream: int, data: bytes, *, fin: bool = False) -> bytes:
        """Bytes of a stream, in as many frames as it takes."""
        pieces = [data[at : at + DATA_MAX_BYTES] for at in range(0, len(data), DATA_MAX_BYTES)] or [b""]
        last = len(pieces) - 1
        return b"".join(
            struct.pack(">II", stream, (FLAG_FIN if fin and index == last else 0) << 24 | len(piece)) + piece
            for index, piece in enumerate(pieces)
        )

    def reset(self, stream: int, code: int) -> bytes:
        """Give a stream up."""
        return self._frame(RST_STREAM, 0, struct.pack(">II", stream, code))

    def go_away(self) -> bytes:
        """Open no more streams."""
        return self._frame(GOAWAY, 0, struct.pack(">II", 0, 0))

    def _frame(self, kind: int, flags: int, body: bytes) -> bytes:
        return struct.pack(">II", 0x80030000 | kind, flags << 24 | len(body)) + body

    def _block(self, headers: Mapping[str, str]) -> bytes:
        plain = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for word in (name.lower().encode(), value.encode()):
                plain += struct.pack(">I", len(word)) + word
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
