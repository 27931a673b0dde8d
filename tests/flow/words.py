# SPDX-License-Identifier: Apache-2.0
"""What every kind of section of a flow is made of."""
import functools
import random
import re

PATIENCE_S = 60.0  # longest wait for anything that must happen


class Wrong(Exception):
    """The conversation went otherwise than the flow says."""


def unescape(text):
    """The bytes of a "quoted" text with \\r \\n \\t \\0 \\xHH \\\\ \\" escapes."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        raise Wrong(f"expected a text in double quotes, not {text}")
    plain = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\", b'"': b'"'}

    def one(match):
        code = match.group(1)
        return bytes([int(code[1:], 16)]) if code[:1] == b"x" else plain[code]

    return re.sub(rb"\\(x[0-9a-fA-F]{2}|.)", one, text[1:-1].encode("utf-8"))


@functools.lru_cache(maxsize=16)
def pattern_bytes(count, seed):
    return random.Random(seed).randbytes(count)


def difference(got, want):
    """The first offset at which they differ."""
    low, high = 0, min(len(got), len(want))
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if got[low:middle + 1] == want[low:middle + 1] else (low, middle)
    return low
