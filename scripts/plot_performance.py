#!/usr/bin/env python3
"""plot_performance.py RESULTS.jsonl OUT.svg [one|scaling]: step times of RESULTS (latest line of a figure wins) beside their
floors and beside vLLM 0.24.0 on the same kind of machine: on one GPU, or on one, two and four. Needs nothing but Python."""
import json
import sys
from html import escape

# figure -> (label, vLLM 0.24.0 in the figure's unit where it was measured)
ONE = {
    "8b_decode_bs1_ms": ("8B, 1", 4.98),
    "8b_decode_bs32_ms": ("8B, 32", 5.80),
    "8b_decode_bs128_ms": ("8B, 128", 8.52),
    "8b_decode_bs256_ms": ("8B, 256", 13.4),
    "8b_decode_bs32_16k_ms": ("8B, 32, 16k", 21.9),
    "0.6b_decode_bs1_ms": ("0.6B, 1", 2.33),
    "0.6b_decode_bs256_ms": ("0.6B, 256", 7.16),
}
SCALING = {
    "8b_decode_bs1_ms": ("8B, 1", 4.98),
    "8b_tp2_decode_bs1_ms": ("tp 2", None),
    "8b_tp4_decode_bs1_ms": ("tp 4", 2.70),
    "8b_decode_bs32_ms": ("8B, 32", 5.80),
    "8b_tp2_decode_bs32_ms": ("tp 2", None),
    "8b_tp4_decode_bs32_ms": ("tp 4", 3.06),
    "8b_decode_bs256_ms": ("8B, 256", 13.4),
    "8b_pp2_decode_bs256_ms": ("pp 2", None),
    "8b_tp2_decode_bs256_ms": ("tp 2", None),
    "8b_pp4_decode_bs256_ms": ("pp 4", None),
    "8b_tp4_decode_bs256_ms": ("tp 4", 5.70),
    "70b_tp4_decode_bs1_ms": ("70B, 1", 12.28),
    "70b_tp4_decode_bs128_ms": ("70B, 128", 17.6),
    "70b_tp4_decode_bs256_ms": ("70B, 256", 26.6),
}
PLOTS = {
    "one": ("Decode step on one H200, ms (model, sequences, context 512 where none is named)", ONE),
    "scaling": ("Decode step on 1, 2 and 4 H200s, ms (model, sequences, ranks; context 512; 70B: tp 4)", SCALING),
}
COLORS = {"floor": "#b8c4d0", "trireme": "#1f6feb", "vLLM 0.24.0": "#d9822b"}
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 900, 360, 50, 50, 40


def read(path, figures):
    latest = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                result = json.loads(line)
                latest[result["figure"]] = result
    return [(label, latest[name].get("floor"), latest[name]["value"], vllm)
            for name, (label, vllm) in figures.items() if name in latest]


def text(x, y, content, anchor="middle", size=12):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(content)}</text>'


def draw(rows, title):
    highest = max(max(v for v in row[1:] if v) for row in rows) * 1.1
    scale = (HEIGHT - TOP - BOTTOM) / highest
    group = (WIDTH - LEFT - 10) / len(rows)
    bar = group / 4
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             text(LEFT, 18, title, "start", 14)]
    for i, (name, color) in enumerate(COLORS.items()):
        parts.append(f'<rect x="{WIDTH - 300 + i * 100}" y="26" width="12" height="12" fill="{color}"/>')
        parts.append(text(WIDTH - 284 + i * 100, 36, name, "start"))
    step = max(1, round(highest / 6))
    for tick in range(0, int(highest) + 1, step):
        y = HEIGHT - BOTTOM - tick * scale
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e9ee"/>')
        parts.append(text(LEFT - 6, y + 4, str(tick), "end"))
    for i, (label, *values) in enumerate(rows):
        x = LEFT + i * group + bar / 2
        for j, (value, color) in enumerate(zip(values, COLORS.values())):
            if not value:
                continue
            height = value * scale
            y = HEIGHT - BOTTOM - height
            parts.append(f'<rect x="{x + j * bar:.1f}" y="{y:.1f}" width="{bar - 3:.1f}" height="{height:.1f}" '
                         f'fill="{color}"/>')
            parts.append(text(x + j * bar + bar / 2 - 1, y - 4, f"{value:.3g}", size=10))
        parts.append(text(x + bar * 1.5, HEIGHT - BOTTOM + 18, label))
    return "\n".join(parts + ["</svg>"]) + "\n"


def main():
    if len(sys.argv) not in (3, 4) or sys.argv[3:] and sys.argv[3] not in PLOTS:
        sys.exit(__doc__)
    title, figures = PLOTS[sys.argv[3] if len(sys.argv) > 3 else "one"]
    rows = read(sys.argv[1], figures)
    if not rows:
        sys.exit(f"{sys.argv[1]} has none of the figures that are plotted: {', '.join(figures)}")
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        out.write(draw(rows, title))


if __name__ == "__main__":
    main()
