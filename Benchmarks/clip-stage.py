"""CLIP's image tower as a cluster stage: images a second for one and two workers, beside the bare network in the same run.

    python Benchmarks/clip-stage.py [--amaf .build/release/amaf] [--images 5000] [--work FOLDER]

The network is ViT-B/32 at its full size with seeded weights: speed does not depend on them, and nothing is claimed of what it sees. The
pictures are JPEGs of 640 x 480 made here. Two figures are asked for: a worker reaches 0.9 of what `amaf bench networks` shows for as many
processes of one thread, and two workers 1.8 times of one. Needs numpy and Pillow.
"""
import argparse
import json
import os
import struct
import subprocess
import tempfile

import numpy as np
from PIL import Image

WIDTH, INNER, LAYERS, PATCH, SIDE, PROJECTION = 768, 3072, 12, 32, 224, 512


def weights(path: str) -> None:
    """Seeded weights in the public format and under the public names."""
    chance = np.random.default_rng(1)
    tensors = {}

    def normal(name, *shape):
        tensors[name] = (chance.standard_normal(shape) * 0.02).astype("<f4")

    def norm(name):
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = np.ones(WIDTH, "<f4"), np.zeros(WIDTH, "<f4")

    normal("vision_model.embeddings.class_embedding", WIDTH)
    normal("vision_model.embeddings.patch_embedding.weight", WIDTH, 3, PATCH, PATCH)
    normal("vision_model.embeddings.position_embedding.weight", (SIDE // PATCH) ** 2 + 1, WIDTH)
    norm("vision_model.pre_layrnorm")
    for i in range(LAYERS):
        layer = f"vision_model.encoder.layers.{i}"
        for part in ["q_proj", "k_proj", "v_proj", "out_proj"]:
            normal(f"{layer}.self_attn.{part}.weight", WIDTH, WIDTH)
            normal(f"{layer}.self_attn.{part}.bias", WIDTH)
        for part, rows, columns in [("fc1", INNER, WIDTH), ("fc2", WIDTH, INNER)]:
            normal(f"{layer}.mlp.{part}.weight", rows, columns)
            normal(f"{layer}.mlp.{part}.bias", rows)
        norm(f"{layer}.layer_norm1")
        norm(f"{layer}.layer_norm2")
    norm("vision_model.post_layernorm")
    normal("visual_projection.weight", PROJECTION, WIDTH)
    header, offset = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(values.tobytes())


def pictures(folder: str, count: int) -> None:
    chance = np.random.default_rng(2)
    for i in range(count):
        place = f"{folder}/{'even' if i % 2 == 0 else 'odd'}"
        os.makedirs(place, exist_ok=True)
        small = Image.fromarray(chance.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        small.resize((640, 480), Image.BILINEAR).save(f"{place}/{i:05}.jpg", quality=90)


def pipeline(path: str) -> None:
    open(path, "w").write(
        "name: clip-stage\ndataset: {format: image-folder, path: images, classes: [even, odd]}\n"
        "features: {images: {network: clip, model: model, components: 16}}\n"
        "review: {mode: simulated, budget: 40, initial: 20, rounds: 1}\ncontrol: none\nexport: [csv]\n")


def bench(amaf: str, processes: int) -> float:
    """Images a second of `processes` networks of one thread side by side."""
    out = subprocess.run(
        [amaf, "bench", "networks", "clip-vit-b32", "--processes", str(processes), "--lanes", str(processes), "--seconds", "8", "--json"],
        check=True, capture_output=True, text=True).stdout
    found = json.loads(out)
    return (found["rows"] if isinstance(found, dict) else found)[0]["itemsPerSecond"]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--amaf", default=".build/release/amaf")
    p.add_argument("--images", type=int, default=5000)
    p.add_argument("--work")
    a = p.parse_args()
    amaf = os.path.abspath(a.amaf)
    with tempfile.TemporaryDirectory() as scratch:
        work = a.work or scratch
        os.makedirs(f"{work}/model", exist_ok=True)
        json.dump(
            {"model_type": "clip", "projection_dim": PROJECTION, "text_config": {}, "vision_config": {"model_type": "clip_vision_model"}},
            open(f"{work}/model/config.json", "w"))
        weights(f"{work}/model/model.safetensors")
        if not os.path.isdir(f"{work}/images"):
            pictures(f"{work}/images", a.images)
        pipeline(f"{work}/clip.yaml")
        rates = {}
        for workers in [1, 2]:
            bare = bench(amaf, workers)
            out = f"{work}/out-{workers}"
            subprocess.run([amaf, "run", f"{work}/clip.yaml", "--workers", str(workers), "--output", out, "--quiet"], check=True)
            stages = {s["name"]: s for s in json.load(open(f"{out}/run.json"))["stages"]}
            stage = stages["extract-network-features"]
            if stage.get("cachedTasks"):
                raise SystemExit(f"{stage['cachedTasks']} tasks came from the cache of an earlier run: give another --work")
            rates[workers] = stage["rows"] / stage["wallSeconds"]
            print(
                f"{workers} workers: {stage['rows']} images in {stage['wallSeconds']:.1f} s, {rates[workers]:.2f}/s; the bare network "
                f"{bare:.2f}/s; {rates[workers] / bare:.3f} of it", flush=True)
        print(f"two workers against one: {rates[2] / rates[1]:.3f}")


if __name__ == "__main__":
    main()
