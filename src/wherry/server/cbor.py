"""CBOR in and out, for clients that ask for it (application/cbor; KEP-4222). filters/content.py calls this.

Text may come as byte strings, as Go's encoder writes it, and bytes that mean base64 in JSON come tagged.
"""

import base64
from typing import Any

import orjson

_SELF_DESCRIBED = b"\xd9\xd9\xf7"
_BASE64 = 22


def to_json(body: bytes) -> bytes:
    """CBOR as JSON. Raises ValueError."""
    import cbor2

    try:
        value = cbor2.loads(body)
    except (cbor2.CBORDecodeError, RecursionError) as error:
        raise ValueError(f"cbor: {error}") from error
    return orjson.dumps(_plain(value))


def from_json(data: bytes) -> bytes:
    """JSON as CBOR that says what it is."""
    import cbor2

    return _SELF_DESCRIBED + cbor2.dumps(orjson.loads(data))


def _plain(value: Any) -> Any:
    import cbor2

    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, cbor2.CBORTag):
        if value.tag == _BASE64 and isinstance(value.value, bytes):
            return base64.b64encode(value.value).decode()
        return _plain(value.value)
    return value
