"""Our networks beside PyTorch and ONNX Runtime, on the same processors in one run.

    python Benchmarks/networks.py [CASE ...] [--amaf .build/release/amaf] [--rounds 3] [--seconds 1] [--json FILE]

Needs torch, transformers, onnx, onnxscript and onnxruntime (Benchmarks/networks-requirements.txt); nothing of it is needed by
AMAF itself. Both sides take turns, every measurement in a fresh process: one process of two threads, then two processes
of one thread side by side, round after round. The best round counts, for us and for them: of two threads for training and
entropy, of the better arrangement for forward passes. The last columns divide items by the processor time of one thread,
which a busy neighbour changes least, and give the peak memory of one process of two threads.

Cases: training of variational autoencoders (batch 128, latent 128, Adam; theirs is PyTorch with fused Adam), forward passes
at batch 32 (theirs is ONNX Runtime fp32), and the entropy of a million rows of 150 (theirs is NumPy in cache-sized blocks).
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

# Case: (their engine, the ratio asked for)
CASES = {
    "vae-mlp28": ("torch", 1.5),
    "vae-conv28": ("torch", 1.2),
    "vae-conv64": ("torch", 1.0),
    "clip-vit-b32": ("onnxruntime", 1.0),
    "resnet50": ("onnxruntime", 0.85),
    "bert-base-seq32": ("onnxruntime", 1.0),
    "entropy-1Mx150": ("numpy", 2.4),
}


# ---- Their side, in child processes

def measure(step, items, seconds):
    """Warms up, repeats `step` for `seconds`; items per second, and per second of processor time."""
    step()
    step()
    count, start, processor = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        step()
        count += items
    return {"rate": count / (time.perf_counter() - start), "perProcessorSecond": count / (time.process_time() - processor)}


def train_vae(kind, threads, seconds):
    import torch
    import torch.nn.functional as F
    from torch import nn
    torch.set_num_threads(threads)
    torch.manual_seed(0)

    def relu_chain(*layers):
        return [part for layer in layers for part in (layer, nn.ReLU())]

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            def down(a, b): return nn.Conv2d(a, b, 4, 2, 1)
            def up(a, b): return nn.ConvTranspose2d(a, b, 4, 2, 1)
            if kind == "vae-mlp28":
                encoder = [nn.Flatten()] + relu_chain(nn.Linear(784, 512), nn.Linear(512, 256))
                width, decoder = 256, relu_chain(nn.Linear(128, 256), nn.Linear(256, 512)) + [nn.Linear(512, 784), nn.Unflatten(1, (1, 28, 28))]
            elif kind == "vae-conv28":
                encoder = relu_chain(down(1, 32), down(32, 64)) + [nn.Flatten()] + relu_chain(nn.Linear(3136, 256))
                decoder = relu_chain(nn.Linear(128, 256), nn.Linear(256, 3136)) + [nn.Unflatten(1, (64, 7, 7))] + relu_chain(up(64, 32)) + [up(32, 1)]
                width = 256
            else:
                encoder = relu_chain(down(1, 32), down(32, 64), down(64, 128), down(128, 256)) + [nn.Flatten()]
                decoder = relu_chain(nn.Linear(128, 4096)) + [nn.Unflatten(1, (256, 4, 4))]
                decoder += relu_chain(up(256, 128), up(128, 64), up(64, 32)) + [up(32, 1)]
                width = 4096
            self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)
            self.mean, self.log_variance = nn.Linear(width, 128), nn.Linear(width, 128)

        def loss(self, x):
            h = self.encoder(x)
            mean, v = self.mean(h), self.log_variance(h)
            out = self.decoder(mean + torch.randn_like(mean) * torch.exp(0.5 * v))
            rec = F.binary_cross_entropy_with_logits(out, x, reduction="sum")
            return (rec - 0.25 * torch.sum(1 + v - mean * mean - v.exp())) / x.shape[0]

    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    size = 64 if kind.endswith("64") else 28
    images = torch.rand(1280, 1, size, size)
    order = iter(lambda: torch.randint(0, 1280, (128,)), None)

    def step():
        loss = model.loss(images[next(order)])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        float(loss.detach())
    return measure(step, 128, seconds)


def tower(kind):
    """The network in PyTorch with random weights, its input names and an input of `b` items."""
    import torch
    import transformers as t
    torch.manual_seed(0)
    if kind == "clip-vit-b32":
        model, pick = t.CLIPVisionModelWithProjection(t.CLIPVisionConfig(projection_dim=512)), lambda m, x: m(pixel_values=x).image_embeds
    elif kind == "resnet50":
        model, pick = t.ResNetForImageClassification(t.ResNetConfig(num_labels=1000)), lambda m, x: m(pixel_values=x).logits
    else:
        model, pick = t.BertModel(t.BertConfig()), lambda m, ids, mask: m(input_ids=ids, attention_mask=mask).pooler_output

    class Tower(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *x):
            return pick(self.model, *x)
    if kind.startswith("bert"):
        return Tower().eval(), ["ids", "mask"], lambda b: (torch.randint(0, 30000, (b, 32)), torch.ones(b, 32, dtype=torch.long))
    return Tower().eval(), ["x"], lambda b: (torch.rand(b, 3, 224, 224),)


def export(kind, path):
    import torch
    model, names, make = tower(kind)
    batch = torch.export.Dim("b", min=1, max=256)
    shapes = (tuple({0: batch} for _ in names),)
    torch.onnx.export(model, make(2), path, input_names=names, output_names=["y"], dynamo=True, dynamic_shapes=shapes, external_data=False,
                      verbose=False)


def run_onnx(kind, path, threads, seconds):
    import numpy as np
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    if kind.startswith("bert"):
        feed = {"ids": rng.integers(0, 30000, (32, 32)), "mask": np.ones((32, 32), np.int64)}
    else:
        feed = {"x": rng.random((32, 3, 224, 224), dtype="f4")}
    return measure(lambda: session.run(None, feed), 32, seconds)


def entropy(seconds):
    import numpy as np
    rows, classes, block = 1_000_000, 150, 512
    p = np.full((rows, classes), 1 / classes, "f4")
    logs, out = np.empty((block, classes), "f4"), np.empty(rows, "f4")

    def step():
        for i in range(0, rows, block):
            part = p[i:i + block]
            np.log(part, out=logs[:len(part)])
            np.einsum("ij,ij->i", logs[:len(part)], part, out=out[i:i + block])
        np.negative(out, out=out)
    return measure(step, rows, seconds)


def child(kind, path, threads, seconds):
    if kind.startswith("vae"):
        return train_vae(kind, threads, seconds)
    if kind.startswith("entropy"):
        return entropy(seconds)
    return run_onnx(kind, path, threads, seconds)


# ---- The comparison

def run_together(commands, threads):
    """The commands side by side; what each printed as JSON, with its peak memory in MiB."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    env = {**os.environ, **{name: str(threads) for name in names}}
    started = [subprocess.Popen(c, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for c in commands]
    found = []
    for process in started:
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{' '.join(process.args)} ended with {process.returncode}: {out[:500]}")
        row = json.loads(out)
        row = row[0] if isinstance(row, list) else row
        found.append({**row, "rate": row.get("itemsPerSecond", row.get("rate")), "mib": usage.ru_maxrss / 1024})
    return found


def arrangements(kind, side, options, path):
    """One process of two threads and two of one, by name."""
    for threads, processes in ((2, 1), (1, 2)):
        if side == "amaf":
            command = [options.amaf, "bench", "networks", kind, "--json", "--rounds", "1", "--seconds", str(options.seconds), "--lanes",
                       str(threads)]
        else:
            command = [sys.executable, __file__, kind, "--child", path, "--threads", str(threads), "--seconds", str(options.seconds)]
        yield f"{processes} × {threads}", [command] * processes, threads


def compare(kind, options, folder):
    path = os.path.join(folder, kind + ".onnx")
    if CASES[kind][0] == "onnxruntime" and not os.path.exists(path):
        subprocess.run([sys.executable, __file__, kind, "--export", path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rounds = {"amaf": {}, "peer": {}}
    alone = {"amaf": [], "peer": []}
    memory = {"amaf": 0, "peer": 0}
    for _ in range(options.rounds):
        for side in ("amaf", "peer"):
            for name, commands, threads in arrangements(kind, side, options, path):
                found = run_together(commands, threads)
                rounds[side].setdefault(name, []).append(sum(row["rate"] for row in found))
                if threads == 1:
                    alone[side] += [row["perProcessorSecond"] for row in found]
                else:
                    memory[side] = max(memory[side], found[0]["mib"])
    counted = ("1 × 2", "2 × 1") if CASES[kind][0] == "onnxruntime" else ("1 × 2",)
    best = {side: max((max(rounds[side][name]), name) for name in counted) for side in rounds}
    return {
        "case": kind, "peer": CASES[kind][0], "asked": CASES[kind][1], "ours": best["amaf"][0], "oursAs": best["amaf"][1],
        "theirs": best["peer"][0], "theirsAs": best["peer"][1], "ratio": best["amaf"][0] / best["peer"][0],
        "oursPerProcessorSecond": max(alone["amaf"]), "theirsPerProcessorSecond": max(alone["peer"]),
        "oursMiB": memory["amaf"], "theirsMiB": memory["peer"], "rounds": rounds,
    }


def line(row):
    def n(value): return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    per = row["oursPerProcessorSecond"] / row["theirsPerProcessorSecond"]
    return (f"| {row['case']} | {n(row['ours'])} ({row['oursAs']}) | {row['peer']} {n(row['theirs'])} ({row['theirsAs']}) | **{row['ratio']:.2f}** | "
            f"{row['asked']} | {n(row['oursPerProcessorSecond'])} / {n(row['theirsPerProcessorSecond'])} = {per:.2f} | "
            f"{row['oursMiB']:.0f} / {row['theirsMiB']:.0f} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all by default")
    p.add_argument("--amaf", default=".build/release/amaf")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=1)
    p.add_argument("--onnx", help="folder that keeps the exported networks between runs")
    p.add_argument("--json", help="also write every round there")
    p.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    p.add_argument("--child", help=argparse.SUPPRESS)
    p.add_argument("--export", help=argparse.SUPPRESS)
    options = p.parse_args()
    unknown = [case for case in options.cases if case not in CASES]
    if unknown:
        sys.exit(f"unknown case {unknown[0]}; choose among {', '.join(CASES)}")
    if options.export:
        return export(options.cases[0], options.export)
    if options.child:
        return print(json.dumps(child(options.cases[0], options.child, options.threads, options.seconds)))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.onnx or temporary
        os.makedirs(folder, exist_ok=True)
        print("| case | ours, items/s (processes × threads) | theirs | ratio | asked | per processor second | peak MiB |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        rows = []
        for kind in options.cases or CASES:
            rows.append(compare(kind, options, folder))
            print(line(rows[-1]), flush=True)
    if options.json:
        with open(options.json, "w") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
