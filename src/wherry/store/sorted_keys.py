"""Byte strings in order, cheap to insert into at a million entries.

One flat sorted list moves megabytes per insertion; a tree costs a Python object per node. Short sorted lists side by
side, with the last entry of each in an index, need two bisections and a move of at most a few kilobytes.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

CHUNK_KEYS = 1024
"""A chunk is split in two at twice this. At 8 bytes a pointer an insertion moves at most 16 KiB."""


class SortedKeys:
    """A sorted set. The caller sees to it that a key is added once and that what it removes is there."""

    def __init__(self, ordered: Iterable[bytes] = ()) -> None:
        keys = list(ordered)
        self._chunks = [keys[i : i + CHUNK_KEYS] for i in range(0, len(keys), CHUNK_KEYS)]
        self._last = [chunk[-1] for chunk in self._chunks]
        self._length = len(keys)

    def __len__(self) -> int:
        return self._length

    def add(self, key: bytes) -> None:
        self._length += 1
        last = self._last
        if not last:
            self._chunks.append([key])
            last.append(key)
            return
        if key > last[-1]:
            at = len(last) - 1
            chunk = self._chunks[at]
            chunk.append(key)
            last[at] = key
        else:
            at = bisect_left(last, key)
            chunk = self._chunks[at]
            insort(chunk, key)
        if len(chunk) >= 2 * CHUNK_KEYS:
            self._chunks[at : at + 1] = [chunk[:CHUNK_KEYS], chunk[CHUNK_KEYS:]]
            last.insert(at, chunk[CHUNK_KEYS - 1])

    def remove(self, key: bytes) -> None:
        at = bisect_left(self._last, key)
        chunk = self._chunks[at]
        del chunk[bisect_left(chunk, key)]
        self._length -= 1
        if not chunk:
            del self._chunks[at], self._last[at]
        else:
            self._last[at] = chunk[-1]

    def between(self, start: bytes, end: bytes | None) -> Iterator[bytes]:
        """The keys in [start, end); to the last one when `end` is None. Do not add or remove while iterating."""
        at = bisect_left(self._last, start)
        if at == len(self._last):
            return
        low = bisect_left(self._chunks[at], start)
        while at < len(self._chunks):
            chunk = self._chunks[at]
            if end is not None and self._last[at] >= end:
                yield from chunk[low : bisect_left(chunk, end)]
                return
            yield from chunk[low:] if low else chunk
            at, low = at + 1, 0
