#!/usr/bin/env python3
"""Holds every first-party #include against the map of layers (docs/design.md 2), and keeps CUDA, NCCL and MPI
where they belong. Prints file:line for each breach and exits 1.

usage: check_layers.py [ROOT]
"""
import os
import re
import sys

# Layer -> the layers it may include besides itself. "parallel/plan" is a layer of its own.
LAYERS = {
    "base": [],
    "checkpoint": ["base"],
    "protocol": ["base"],
    "text": ["base"],
    "kernels": ["base"],
    "parallel/plan": ["base"],
    "parallel": ["base", "parallel/plan"],
    "coordinator": ["base", "protocol", "parallel/plan", "text"],
    "runtime": ["base", "checkpoint", "kernels", "parallel", "parallel/plan"],
    "gateway": ["base", "checkpoint", "protocol", "text"],
    "launcher": ["base", "checkpoint", "protocol", "text", "kernels", "parallel", "parallel/plan", "coordinator",
                 "runtime", "gateway"],
}
ANYTHING = ["tests", "benchmarks"]     # may include every layer; no layer includes them

CUDA_PLACES = ["base/device", "base/cuda_check.h", "base/sampling_rule.h", "kernels/backend.h",
               "kernels/random_fill.h", "kernels/cuda/", "parallel/make_communicator", "benchmarks/gpu"]
NCCL_FILE = re.compile(r"^parallel/.*_nccl[^/]*$")
MPI_PLACES = ["parallel/", "tests/support/", "tests/launcher/fake_trireme.cpp"]

SUFFIXES = (".h", ".hpp", ".cpp", ".cu", ".cuh")
GENERATED = {"version.h", "generated/version.h", "generated/chat_page.h"}   # in the build tree
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
CUDA_SWITCH = re.compile(r"^\s*#\s*(?:if|ifdef|ifndef|elif|define|undef)\b"
                         r".*\b(?:TRIREME_WITH_CUDA|__CUDACC__|__CUDA_ARCH__)\b")
CUDA_HEADER = re.compile(r"^(?:cuda|cublas|cub/|curand|cooperative_groups|nccl|nvtx|thrust/|mma\.h)")


def layer_of(path):
    if path.startswith("parallel/plan/"):
        return "parallel/plan"
    return path.split("/", 1)[0] if "/" in path else ""


def in_places(path, places):
    return any(path.startswith(place) for place in places)


def check_include(path, included, quoted):
    """The complaint about one #include, or None."""
    layer, target = layer_of(path), layer_of(included)
    if included == "mpi.h" and not in_places(path, MPI_PLACES):
        return "mpi.h is included in parallel/ only"
    if included.startswith("nccl") and not NCCL_FILE.match(path):
        return f"{included} is included in parallel/*_nccl* only"
    if CUDA_HEADER.match(included) and not NCCL_FILE.match(path) and not in_places(path, CUDA_PLACES):
        return f"{included}: CUDA belongs to kernels/cuda/ and the seams in base/ and parallel/"
    if target not in LAYERS and target not in ANYTHING:
        if quoted and included not in GENERATED:
            return f'"{included}": include by path from the root, libraries with <>'
        return None
    if not quoted:
        return f"<{included}>: our own headers are included with quotes"
    if layer in ANYTHING or target == layer:
        return None
    if target not in LAYERS.get(layer, []):
        allowed = ", ".join(LAYERS.get(layer, [])) or "nothing"
        return f"{layer} may not include {target} ({included}); it may include {allowed}"
    return None


def check_file(root, path):
    complaints = []
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            include = INCLUDE.match(line)
            complaint = check_include(path, include.group(2), include.group(1) == '"') if include else None
            if CUDA_SWITCH.match(line) and not NCCL_FILE.match(path) and not in_places(path, CUDA_PLACES):
                complaint = "no switch on CUDA outside kernels/backend.h, base/device and parallel/make_communicator"
            if complaint:
                complaints.append(f"{path}:{number}: {complaint}")
    return complaints


def source_files(root):
    for top in sorted(list({layer.split("/")[0] for layer in LAYERS}) + ANYTHING):
        for folder, _, names in sorted(os.walk(os.path.join(root, top))):
            for name in sorted(names):
                if name.endswith(SUFFIXES):
                    yield os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    files = list(source_files(root))
    complaints = [complaint for path in files for complaint in check_file(root, path)]
    for complaint in complaints:
        print(complaint)
    if not files:
        print(f"no source files under {root}")
    if not complaints:
        print(f"{len(files)} files keep to their layers")
    return 1 if complaints or not files else 0


if __name__ == "__main__":
    sys.exit(main())
