"""JPEG decode and antialiased resize to 224 x 224, images a second on one thread: ours beside simplejpeg with torch's and OpenCV's resize.

    swift build -c release --product amaf-benchmarks
    python Benchmarks/images.py          # needs numpy, Pillow, simplejpeg, torch, opencv-python-headless

Both read the same files, 640 x 480 in 4:2:0, about 100 kB each, made here.
"""
import argparse
import os
import subprocess
import tempfile
import time


def make(folder: str, count: int) -> None:
    import io

    import numpy as np
    from PIL import Image
    for s in range(count):
        rng = np.random.default_rng(s)
        yy, xx = np.mgrid[0:480, 0:640].astype("f4")
        img = np.stack([128 + 80 * np.sin(xx / rng.uniform(15, 80) + yy / rng.uniform(15, 80) + c) for c in range(3)], 2)
        for _ in range(40):
            x, y, r = rng.uniform(0, 640), rng.uniform(0, 480), rng.uniform(8, 70)
            img[(xx - x) ** 2 + (yy - y) ** 2 < r * r] = rng.uniform(0, 255, 3)
        img = (img + rng.normal(0, 9, img.shape)).clip(0, 255).astype("u1")
        for quality in range(60, 99):
            b = io.BytesIO()
            Image.fromarray(img).save(b, "JPEG", quality=quality, subsampling=2)
            if len(b.getvalue()) >= 100_000:
                break
        open(os.path.join(folder, f"{s:04}.jpg"), "wb").write(b.getvalue())


def peers():
    import cv2
    import simplejpeg
    import torch
    import torch.nn.functional as F
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    def torch_resize(b):
        a = torch.from_numpy(simplejpeg.decode_jpeg(b, "RGB")).permute(2, 0, 1)[None]
        return F.interpolate(a, size=(224, 224), mode="bilinear", antialias=True)[0]

    def scaled(b):
        a = simplejpeg.decode_jpeg(b, "RGB", min_height=224, min_width=224, min_factor=1)
        return cv2.resize(a, (224, 224), interpolation=cv2.INTER_AREA)
    return {"simplejpeg + torch, all pixels": torch_resize, "simplejpeg shrunk in the DCT + OpenCV area": scaled}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--amaf-benchmarks", default=".build/release/amaf-benchmarks")
    p.add_argument("--images", type=int, default=32)
    p.add_argument("--rounds", type=int, default=3)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(folder, a.images)
        print(subprocess.run([a.amaf_benchmarks, "images", "--folder", folder, "--rounds", str(a.rounds)], check=True, capture_output=True, text=True).stdout)
        data = [open(os.path.join(folder, n), "rb").read() for n in sorted(os.listdir(folder))]
        for name, work in peers().items():
            work(data[0])
            rates = []
            for _ in range(a.rounds):
                n, start = 0, time.perf_counter()
                while time.perf_counter() - start < 1:
                    for b in data:
                        work(b)
                    n += len(data)
                rates.append(n / (time.perf_counter() - start))
            rates.sort()
            print(f"{name}: {rates[len(rates) // 2]:.0f} images/s ({rates[0]:.0f} to {rates[-1]:.0f})")


if __name__ == "__main__":
    main()
