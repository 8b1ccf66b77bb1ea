"""The protobuf wire format itself: tags, numbers and sized bytes; nothing here knows what a message means."""

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
Value = int | bytes
_SMALL = [bytes([value]) for value in range(128)]


def varint(value: int) -> bytes:
    """A number that is not negative."""
    if value < 128:
        return _SMALL[value]
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def sized(number: int, payload: bytes) -> bytes:
    """A field of bytes: text, a message."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def read_fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Numbers and values in order. Raises ValueError, as all reading does here."""
    position = 0
    while position < len(data):
        tag, position = read_varint(data, position)
        wire_type = tag & 7
        if wire_type == _VARINT:
            value, position = read_varint(data, position)
            yield tag >> 3, value
            continue
        if wire_type == _BYTES:
            length, position = read_varint(data, position)
        elif wire_type in (_FIXED64, _FIXED32):
            length = 8 if wire_type == _FIXED64 else 4
        else:
            raise ValueError(f"proto: illegal wireType {wire_type}")
        if position + length > len(data):
            raise ValueError("unexpected EOF")
        yield tag >> 3, data[position : position + length]
        position += length


def by_number(data: bytes) -> dict[int, list[Value]]:
    """All values of each field."""
    found: dict[int, list[Value]] = {}
    for number, value in read_fields(data):
        found.setdefault(number, []).append(value)
    return found


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("proto: integer overflow" if shift > 63 else "unexpected EOF")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def signed(value: int) -> int:
    """A varint as the int64 it stands for."""
    return value - (1 << 64) if value >= 1 << 63 else value


def as_bytes(value: Value) -> bytes:
    """A value that must have a length."""
    if isinstance(value, int):
        raise ValueError("proto: wrong wireType = 0")
    return value


def last_bytes(fields: dict[int, list[Value]], number: int) -> bytes:
    """The value that counts of a field that may be there; b"" when it is not."""
    return as_bytes(fields[number][-1]) if number in fields else b""
