"""Is this LMDB file whole? Asked before LMDB maps it.

LMDB trusts its pages: reading past the end of a shortened file is a bus error, and a page that was lost (zeroed by the
file system, say) fails an assertion; both end the process without a word to the user. So the tree is walked here
first: each page must lie in the file, carry its own number and be of the kind its parent says. That costs a
microsecond a page. Checksums (wherry/store/lmdb_engine.py) then guard what the records hold.

Layout: LMDB 0.9's mdb.c on 64 bits, MDB_meta, MDB_page and MDB_node.
"""

import mmap
import struct
from pathlib import Path

from wherry.store.errors import CorruptStoreError

MAGIC = 0xBEEFC0DE
NO_PAGE = 2**64 - 1
BRANCH, LEAF = 1, 2
HEADER_BYTES = 16

_META = struct.Struct("<II16x")
_TREE = struct.Struct("<IHH32xQ")
_TAIL = struct.Struct("<QQ")
_PAGE = struct.Struct("<Q2xHHH")
_CHILD = struct.Struct("<HHHH")


def check_pages(path: Path) -> None:
    """Raises CorruptStoreError. A file that is no LMDB file at all is left for LMDB to refuse."""
    if not path.exists() or path.stat().st_size < 2 * 4096:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        first = _meta(data, 0)
        if first is None:
            return
        page_bytes = first[0]
        metas = [first, _meta(data, page_bytes)]
        page_bytes, roots, last_page, _ = max((meta for meta in metas if meta), key=lambda meta: meta[3])
        if (needed := (last_page + 1) * page_bytes) > len(data):
            raise CorruptStoreError(f"{path} is cut short: {len(data)} bytes where {needed} are in use")
        for root, depth in roots:
            if root != NO_PAGE and not _whole(data, page_bytes, last_page, root, depth):
                raise CorruptStoreError(f"{path} is damaged: a page of its tree is missing or not what it should be")


Meta = tuple[int, list[tuple[int, int]], int, int]


def _meta(data: mmap.mmap, start: int) -> Meta | None:
    """Page size, root and depth of both trees, last page and transaction of the meta page at `start`."""
    at = start + HEADER_BYTES
    if at + 136 > len(data) or _META.unpack_from(data, at)[0] != MAGIC:
        return None
    trees = [_TREE.unpack_from(data, at + _META.size + 48 * index) for index in (0, 1)]
    last_page, transaction = _TAIL.unpack_from(data, at + _META.size + 96)
    page_bytes = trees[0][0]
    if page_bytes < 512 or page_bytes & (page_bytes - 1):
        return None
    return page_bytes, [(tree[3], tree[2]) for tree in trees], last_page, transaction


def _whole(data: mmap.mmap, page_bytes: int, last_page: int, root: int, depth: int) -> bool:
    level = [root]
    for height in range(depth, 0, -1):
        below: list[int] = []
        for number in level:
            if not 2 <= number <= last_page:
                return False
            start = number * page_bytes
            itself, flags, lower, upper = _PAGE.unpack_from(data, start)
            kind = LEAF if height == 1 else BRANCH
            if itself != number or not flags & kind or not HEADER_BYTES < lower <= upper <= page_bytes:
                return False
            if kind == BRANCH:
                count = (lower - HEADER_BYTES) // 2
                for offset in struct.unpack_from(f"<{count}H", data, start + HEADER_BYTES):
                    if not upper <= offset <= page_bytes - _CHILD.size:
                        return False
                    low, middle, high, _ = _CHILD.unpack_from(data, start + offset)
                    below.append(low | middle << 16 | high << 32)
        level = below
    return True
