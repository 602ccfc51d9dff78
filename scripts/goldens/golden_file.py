"""Writes golden data that C++ reads without a library: one JSON file beside one flat binary file.

NAME.json holds everything small, and under "arrays" a table of what NAME.bin holds:
    "arrays": {"last_logits/0": {"dtype": "f32", "shape": [515], "offset": 0}, ...}
NAME.bin is those arrays end to end, little-endian, row-major, no padding; offset and order count bytes from
the file's start. dtype is f32 or i32.
"""

import json
import pathlib

import numpy

_DTYPES = {numpy.dtype("<f4"): "f32", numpy.dtype("<i4"): "i32"}


class GoldenFile:
    def __init__(self):
        self._table = {}
        self._chunks = []
        self._bytes = 0

    def add(self, name, values, dtype="<f4"):
        """Appends an array and returns its name, for use as a reference in the JSON."""
        array = numpy.ascontiguousarray(numpy.asarray(values).astype(dtype))
        assert name not in self._table, name
        self._table[name] = {"dtype": _DTYPES[array.dtype], "shape": list(array.shape), "offset": self._bytes}
        self._chunks.append(array.tobytes())
        self._bytes += len(self._chunks[-1])
        return name

    def write(self, path: pathlib.Path, document: dict):
        """path: without suffix; writes path.json and path.bin."""
        bin_path = path.with_suffix(".bin")
        bin_path.write_bytes(b"".join(self._chunks))
        document = dict(document, file=bin_path.name, arrays=self._table)
        path.with_suffix(".json").write_text(compact_json(document) + "\n")


def compact_json(value, indent=0):
    """Objects one key per line, lists of scalars on one line: small files with readable diffs."""
    pad = "  " * (indent + 1)
    if isinstance(value, dict) and value:
        if indent >= 2 and all(not isinstance(item, dict) for item in value.values()):
            return json.dumps(value, ensure_ascii=False)
        body = ",\n".join(f"{pad}{json.dumps(key)}: {compact_json(item, indent + 1)}" for key, item in value.items())
        return "{\n" + body + "\n" + "  " * indent + "}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return "[\n" + ",\n".join(pad + compact_json(item, indent + 1) for item in value) + "\n" + "  " * indent + "]"
    return json.dumps(value, ensure_ascii=False)
