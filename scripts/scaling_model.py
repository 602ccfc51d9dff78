#!/usr/bin/env python3
"""Predicts decode and prefill rates of layouts tp x pp from rates measured on one machine: the table of docs/scaling.md.

    scaling_model.py [--check]      --check: nothing is printed; exit code 1 when docs/scaling.md holds other numbers

Formulas and inputs are explained there. Times are microseconds, sizes bytes, rates per microsecond."""

import bisect
import math
import os
import sys

BANDWIDTH = 4_668e3          # bytes / us: read-only stream of one H200, measured
FLOPS = 790e6                # bf16 flop / us: large matrix products, measured
NETWORK, NETWORK_LATENCY = 45e3, 15.0   # between nodes, for each GPU: 400 Gb/s at 90 %; assumed, not measured
FEEDBACK = 8.0               # ids from the last stage to the first, measured as a hop of few bytes
DECODE_REACHED, PREFILL_REACHED = 0.74, 0.78  # of the floor, by Trireme on one H200 (8B, batch 256; 16 x 2048)
PLAN_TOKENS = 64             # a plan costs these tokens' time besides its own

# NCCL all-reduce in CUDA graphs, the better of plain and symmetric, us by size; send and receive likewise.
ALL_REDUCE = {
    2: {8 << 10: 4.15, 64 << 10: 7.0, 256 << 10: 8.1, 1 << 20: 13.7, 8 << 20: 44, 256 << 20: 837},
    4: {8 << 10: 4.45, 16 << 10: 4.67, 64 << 10: 9.4, 256 << 10: 11.1, 1 << 20: 17.6, 8 << 20: 57, 64 << 20: 309,
        256 << 20: 1153},
}
HOP = {16 << 10: 7.6, 256 << 10: 10.9, 1 << 20: 17.0, 16 << 20: 80.9, 128 << 20: 533}


class Model:
    def __init__(self, layers, hidden, heads, kv_heads, head, ffn, vocab):
        self.layers, self.hidden = layers, hidden
        self.layer_parameters = hidden * head * (2 * heads + 2 * kv_heads) + 3 * hidden * ffn
        self.head_parameters = vocab * hidden
        self.kv_bytes = 2 * kv_heads * head * 2   # of a token and layer
        self.attention = 2 * heads * head         # flop of a prompt's token, layer and earlier token, causal


MODELS = {"8B": Model(32, 4096, 32, 8, 128, 14336, 128256), "70B": Model(80, 8192, 64, 8, 128, 28672, 128256)}


def interpolate(table, size):
    """Linear in the logarithms; beyond the ends the nearest rate goes on."""
    sizes = sorted(table)
    if size <= sizes[0]:
        return table[sizes[0]]
    at = min(bisect.bisect_left(sizes, size), len(sizes) - 1)
    low, high = sizes[at - 1], sizes[at]
    slope = math.log(table[high] / table[low]) / math.log(high / low)
    return table[low] * (size / low) ** slope


def fitted(ranks, size):
    """The speed-of-light model of an all-reduce: one shot or two."""
    start, rate = 3.0, 349e3
    return min(start + (ranks - 1) * size / rate, 2 * start + 2 * (ranks - 1) / ranks * size / rate)


def all_reduce(ranks, size):
    if ranks == 1:
        return 0.0
    if ranks in ALL_REDUCE:
        return interpolate(ALL_REDUCE[ranks], size)
    return interpolate(ALL_REDUCE[4], size) * fitted(ranks, size) / fitted(4, size)


def hop(size, between_nodes):
    return NETWORK_LATENCY + size / NETWORK if between_nodes else interpolate(HOP, size)


def split(model, pp):
    """Layers by stage as runtime/stage_split.cpp chooses them: by bytes, at 64 sequences of 1,024 tokens."""
    if pp == 1:
        return [model.layers]
    layer = 2 * model.layer_parameters + 64 * 1024 * model.kv_bytes
    output = 2 * model.head_parameters + 64 * 3 * 4 * model.head_parameters / model.hidden
    best = None
    for last in range(model.layers // pp, 0, -1):
        rest, others = model.layers - last, pp - 1
        layers = [rest // others + ((others - 1 if i == 0 else i - 1) < rest % others) for i in range(others)] + [last]
        longest = max(max(layers[:-1]) * layer, last * layer + output)
        if best is None or longest < best[0]:
            best = (longest, layers)
    return best[1]


def decode(model, tp, pp, batch, context, nodes=1):
    """Time between a sequence's tokens (ms) and tokens per second, at what is reached of the floor."""
    plans = min(pp, batch)
    rows, layers = math.ceil(batch / plans), split(model, pp)
    reduce = all_reduce(tp, rows * model.hidden * 2)

    def stage(layers, last):
        parameters = layers * model.layer_parameters + (model.head_parameters if last else 0)
        weights = max(parameters * 2 / tp / BANDWIDTH, 2 * parameters * rows / tp / FLOPS)
        cache = rows * context * layers * model.kv_bytes / tp / BANDWIDTH
        return (weights + cache) / DECODE_REACHED + 2 * layers * reduce

    stages = [stage(n, i == pp - 1) for i, n in enumerate(layers)]
    hops = [hop(rows * model.hidden * 2, nodes > 1 and i == pp // 2 - 1) for i in range(pp - 1)]
    back = 0 if pp == 1 else FEEDBACK + (NETWORK_LATENCY if nodes > 1 else 0)
    # A token waits for the longest stage's other plans, or for its own plan's way round.
    latency = max(plans * max(stages), sum(stages) + sum(hops) + back)
    return latency / 1e3, batch / latency * 1e6


def prefill(model, tp, pp, prompts, length, nodes=1):
    """Tokens per second of a burst of prompts, the pipeline's filling and draining counted."""
    tokens = prompts * length
    share = 8192 if pp == 1 else min(8192, max(256, int(math.sqrt(tokens * PLAN_TOKENS / (pp - 1)))))
    plans = max(pp, math.ceil(tokens / share))
    share, own = tokens / plans, PLAN_TOKENS if pp > 1 else 0   # one GPU's measured rate has it in it
    reduce = all_reduce(tp, share * model.hidden * 2)

    def stage(layers):
        flops = layers * (2 * model.layer_parameters + model.attention * length) * (share + own)
        return flops / tp / FLOPS / PREFILL_REACHED + 2 * layers * reduce

    longest = max(map(stage, split(model, pp)))
    hops = sum(hop(share * model.hidden * 2, nodes > 1 and i == pp // 2 - 1) for i in range(pp - 1))
    return tokens / ((plans + pp - 1) * longest + hops) * 1e6, plans


def rows():
    for name, model in MODELS.items():
        for tp, pp, nodes in ((1, 1, 1), (2, 1, 1), (1, 2, 1), (4, 1, 1), (8, 1, 1), (4, 2, 1), (2, 4, 1), (1, 8, 1),
                              (4, 2, 2), (2, 4, 2), (1, 8, 2)):
            if name == "70B" and tp * pp < 4:
                continue   # does not fit, or leaves no room for keys and values
            one = decode(model, tp, pp, 1, 512, nodes)[0]
            some, some_rate = decode(model, tp, pp, 64, 1024, nodes)
            many, many_rate = decode(model, tp, pp, 512, 1024, nodes)
            rate, plans = prefill(model, tp, pp, 16, 2048, nodes)
            layers = ", ".join(map(str, split(model, pp)))
            yield (f"| {name} | {tp} x {pp} | {nodes} | {one:.2f} | {some:.1f} / {some_rate:,.0f} | {many:.1f} / "
                   f"{many_rate:,.0f} | {rate / 1e3:,.1f}k | {plans} | {layers} |")


def main():
    lines = list(rows())
    if "--check" not in sys.argv[1:]:
        print("\n".join(lines))
        return 0
    page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "scaling.md")
    with open(page, encoding="utf-8") as file:
        text = file.read()
    missing = [line for line in lines if line not in text]
    for line in missing:
        print("docs/scaling.md lacks:", line)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
