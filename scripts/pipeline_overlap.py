#!/usr/bin/env python3
"""How busy pipeline stages are at the same time, from a trace of --profile.    pipeline_overlap.py TRACE [TP]

A rank computes while an op (CPU) or a kernel (GPU) runs that is no communication; TP (1) ranks make a stage, and the
last stage comes first. Prints every stage's computing share of the time in which all of them were recorded, how long
how many stages computed at once, and the bubble: the share of all stages' time in which they did not compute."""

import collections
import json
import sys

_DEVICE_LANES = 2   # rows of the host's threads come before


def computing(events):
    """Disjoint intervals (begin, end) in microseconds."""
    spans = sorted((event["ts"], event["ts"] + event["dur"]) for event in events
                   if event["tid"] >= _DEVICE_LANES and event["cat"] not in ("communication", "host"))
    merged = []
    for begin, end in spans:
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    return merged


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        events = [event for event in json.load(file)["traceEvents"] if event.get("ph") == "X"]
    tp = int(sys.argv[2]) if len(sys.argv) == 3 else 1
    ranks = sorted({event["pid"] for event in events})[::tp]   # TP ranks run in step: a stage's first speaks for all
    stages = [computing([event for event in events if event["pid"] == rank]) for rank in reversed(ranks)]
    if not stages or not all(stages):
        sys.exit("the trace holds no device work of some stage")
    begin, end = max(spans[0][0] for spans in stages), min(spans[-1][1] for spans in stages)
    if end <= begin:
        sys.exit("the stages' recordings do not overlap: record more steps (--profile-steps)")
    changes = collections.Counter()
    for stage, spans in enumerate(stages):
        inside = [(max(one, begin), min(two, end)) for one, two in spans if two > begin and one < end]
        busy = sum(two - one for one, two in inside)
        print(f"stage {stage}: computes {busy / (end - begin):.1%} of {(end - begin) / 1e3:.1f} ms")
        for one, two in inside:
            changes[one] += 1
            changes[two] -= 1
    times, running, last = [0.0] * (len(stages) + 1), 0, begin
    for at in sorted(changes):
        times[running] += at - last
        running, last = running + changes[at], at
    times[running] += end - last
    print("stages computing at once: " + ", ".join(f"{n}: {time / (end - begin):.1%}" for n, time in enumerate(times)))
    used = sum(n * time for n, time in enumerate(times)) / (len(stages) * (end - begin))
    print(f"bubble: {1 - used:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
