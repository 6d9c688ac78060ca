"""Whole numbers of a few bits to bytes and back, by Huffman's code.

The code is zlib's with ``Z_HUFFMAN_ONLY``: deflate without its search for repeats, which finds false ones in weights.
Its blocks carry their own codebooks, so that the length of the bytes counts all that a receiver needs.
"""

from __future__ import annotations

import zlib

import numpy as np

MOST_BITS = 16
CODED_BITS = 8  # of a symbol; the bits below them are as good as noise, and are packed as they are


def pack(symbols: np.ndarray, bits: int) -> bytes:
    """Return the bytes of symbols ``(n,)``, whole numbers from 0 to ``2^bits - 1``, with at most 16 bits each."""
    low = max(0, bits - CODED_BITS)
    head = _deflated((symbols >> low).astype(np.uint8).tobytes())
    if not low:
        return head
    digits = (symbols[:, None] >> np.arange(low)) & 1
    return len(head).to_bytes(8, "little") + head + np.packbits(digits.astype(np.uint8)).tobytes()


def unpack(data: bytes, count: int, bits: int) -> np.ndarray:
    """Return the symbols ``(count,)``, int64, that `pack` made bytes of."""
    low = max(0, bits - CODED_BITS)
    if not low:
        return np.frombuffer(zlib.decompress(data, wbits=-15), np.uint8).astype(np.int64)
    size = int.from_bytes(data[:8], "little")
    head = np.frombuffer(zlib.decompress(data[8 : 8 + size], wbits=-15), np.uint8).astype(np.int64)
    digits = np.unpackbits(np.frombuffer(data[8 + size :], np.uint8), count=count * low).reshape(count, low)
    return (head << low) + (digits.astype(np.int64) << np.arange(low)).sum(axis=1)


def entropy(symbols: np.ndarray) -> float:
    """Return the entropy of the symbols' histogram, in bits a symbol."""
    counts = np.unique(symbols, return_counts=True)[1]
    shares = counts / max(1, counts.sum())
    return float(max(0.0, -(shares * np.log2(shares)).sum()))


def _deflated(data: bytes) -> bytes:
    coder = zlib.compressobj(wbits=-15, memLevel=9, strategy=zlib.Z_HUFFMAN_ONLY)
    return coder.compress(data) + coder.flush()
