"""Our resize beside Pillow's, byte by byte, on pictures of random sizes.

    python Tests/Parity/resize.py [--pictures 4000] [--cc clang]      (needs numpy, Pillow 13 and a compiler that knows target_clones)

Compiles Sources/CKernels/resample.c; the weights are computed here as ImagePreprocessor.taps does. Prints how many pictures differ.
"""
import argparse
import ctypes
import math
import os
import subprocess
import tempfile

import numpy as np
from PIL import Image

SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "Sources", "CKernels")


class Taps(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("weights", ctypes.c_void_p), ("count", ctypes.c_size_t)]


def kernel(x, bicubic):
    x = abs(x)
    if not bicubic:
        return max(0, 1 - x)
    a = -0.5
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0


def taps(side, to, bicubic):
    scale = side / to
    stretch = max(scale, 1)
    support = (2.0 if bicubic else 1.0) * stretch
    count = min(side, math.ceil(support) * 2 + 1)
    start, weights = [], []
    for i in range(to):
        centre = (i + 0.5) * scale
        first, last = max(0, int(centre - support + 0.5)), min(side, int(centre + support + 0.5))
        row = [kernel((j - centre + 0.5) * (1 / stretch), bicubic) for j in range(first, last)]
        total = 0.0
        for w in row:
            total += w
        begin = min(first, side - count)
        start.append(begin)
        for k in range(count):
            at = begin + k - first
            w = row[at] / total * (1 << 22) if 0 <= at < len(row) else 0
            weights.append(int(math.copysign(math.floor(abs(w) + 0.5), w)))
    start, weights = np.array(start, np.int32), np.array(weights, np.int32)
    return Taps(start.ctypes.data, weights.ctypes.data, count), start, weights


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pictures", type=int, default=4000)
    p.add_argument("--cc", default="clang")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        library = os.path.join(folder, "resample.so")
        subprocess.run([a.cc, "-O2", "-fPIC", "-shared", "-I", SOURCES + "/include", SOURCES + "/resample.c", "-o", library], check=True)
        c = ctypes.CDLL(library)
    c.amaf_resize_scratch.restype = ctypes.c_size_t
    c.amaf_resize_scratch.argtypes = [ctypes.c_size_t] * 5
    c.amaf_resize_bytes.argtypes = [ctypes.c_void_p] + [ctypes.c_size_t] * 3 + [ctypes.c_void_p] + [ctypes.c_size_t] * 2 + [Taps, Taps, ctypes.c_int, ctypes.c_void_p]
    rng, different = np.random.default_rng(1), 0
    for i in range(a.pictures):
        most = rng.choice([40, 200, 400])
        height, width, to_height, to_width = (int(x) for x in rng.integers(1, most, 4))
        channels, bicubic = int(rng.choice([1, 3, 4])), i % 2 == 1
        pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
        image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels, {1: "L", 3: "RGB", 4: "CMYK"}[channels])
        theirs = np.asarray(image.resize((to_width, to_height), Image.BICUBIC if bicubic else Image.BILINEAR)).reshape(to_height, to_width, channels)
        ours = np.empty_like(theirs)
        scratch = np.empty(c.amaf_resize_scratch(width, height, to_width, to_height, channels) // 4 + 1, np.int32)
        across, down = taps(width, to_width, bicubic), taps(height, to_height, bicubic)
        c.amaf_resize_bytes(pixels.ctypes.data, width, height, channels, ours.ctypes.data, to_width, to_height, across[0], down[0],
                            int(to_height < height and height - to_height > 2 * (width - to_width)), scratch.ctypes.data)
        different += not np.array_equal(ours, theirs)
    print(f"{different} of {a.pictures} pictures differ from Pillow's")


if __name__ == "__main__":
    main()
