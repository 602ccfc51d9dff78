#!/usr/bin/env python3
"""Makes tests/runtime/golden/quants.{json,bin}: random blocks of every GGUF type and their values.

    python scripts/goldens/make_quant_goldens.py        (needs gguf, numpy, torch)

quants.json: {"formats": {"q4_k": {"blocks": COUNT, "bytes": array, "values": array}}}; layout of the arrays:
golden_file.py ("bytes" as i32, one byte each, would be large: they are packed four to an i32). All bytes are random,
but the f16 scales are drawn finite: ordinary ones, the largest, subnormals, both zeros. Arrays "f8_e4m3" and
"f8_e5m2": what the bytes 0 to 255 mean, as torch has it.
"""

import pathlib

import gguf
import numpy
import torch
from golden_file import GoldenFile

_FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "runtime" / "golden"
_BLOCKS = 12
_HALVES = {  # where the f16 scales of a block lie
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "Q2_K": (80, 82), "Q3_K": (108,),
    "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
}
_EXTREMES = [0x7BFF, 0xFBFF, 0x0001, 0x8001, 0x03FF, 0x0400, 0x0000, 0x8000]


def random_blocks(name, generator):
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]][1]
    blocks = generator.integers(0, 256, (_BLOCKS, size), dtype=numpy.uint8)
    for at in _HALVES[name]:
        halves = generator.normal(0, 0.01, _BLOCKS).astype(numpy.float16)
        extremes = numpy.array(_EXTREMES, dtype=numpy.uint16).view(numpy.float16)
        halves[: len(extremes)] = generator.permutation(extremes)
        blocks[:, at : at + 2] = halves.view(numpy.uint8).reshape(_BLOCKS, 2)
    return blocks


def main():
    _FOLDER.mkdir(parents=True, exist_ok=True)
    generator, goldens, formats = numpy.random.default_rng(11), GoldenFile(), {}
    for name in _HALVES:
        blocks = random_blocks(name, generator)
        values = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[name])
        assert numpy.isfinite(values).all(), name
        key = name.lower()
        raw = blocks.tobytes() + b"\0" * (-blocks.size % 4)
        formats[key] = {"blocks": _BLOCKS,
                        "bytes": goldens.add(f"{key}/bytes", numpy.frombuffer(raw, dtype="<i4"), "<i4"),
                        "values": goldens.add(f"{key}/values", values.ravel())}
    codes = torch.arange(256, dtype=torch.uint8)
    goldens.add("f8_e4m3", codes.view(torch.float8_e4m3fn).float().numpy())
    goldens.add("f8_e5m2", codes.view(torch.float8_e5m2).float().numpy())
    goldens.write(_FOLDER / "quants", {"formats": formats})


if __name__ == "__main__":
    main()
