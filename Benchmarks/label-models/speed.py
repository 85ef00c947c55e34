"""Label models and labeling functions beside Snorkel and crowd-kit, in one run on one machine.

    python3 Benchmarks/label-models/speed.py --amaf .build/release/amaf

needs an environment with snorkel 0.10, crowd-kit 1.4, torch, numpy and pandas. Every cell's matrix is planted once, saved, and given to
all: items of k equally likely classes; m functions that vote with probability 0.3, are right with accuracies evenly spread from 0.55 to
0.9, and otherwise name another class evenly. Seconds are those of fit and predict from the matrix in memory; reading and writing files are
printed apart for amaf and not counted for anybody. Each process uses one thread.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

WORDS = ("please can you tell me what the balance of my account is and transfer money to savings card lost stolen report travel flight book hotel "
         "weather today tomorrow alarm set timer play music song next what is exchange rate dollars euro pay bill due date recipe cook dinner "
         "translate spanish french how do i say joke tell fun fact meeting schedule calendar remind shopping list add order status credit limit "
         "score apply rewards points insurance oil change tire pressure gas mileage car rental uber traffic directions").split()
KEYWORDS = (("balance",), ("lost", "stolen"), ("flight", "hotel"), ("weather",), ("alarm", "timer"), ("translate",))
REGEXES = (r"\b(pay|due)\s+(bill|date)\b", r"\bexchange\s+rate\b|\b(dollars?|euros?)\b", r"(?:remind|schedule).{0,20}(?:meeting|calendar)",
           r"^(please|can)\b.*\b(song|music)\b")


def plant(n, m, k, seed=0):
    import numpy as np
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n, dtype=np.int32)
    votes = np.full((n, m), -1, dtype=np.int64)
    accuracies = np.linspace(0.55, 0.9, m)
    rng.shuffle(accuracies)
    for j in range(m):
        speaks = rng.random(n) < 0.3
        right = rng.random(n) < accuracies[j]
        wrong = (y + rng.integers(1, k, n, dtype=np.int32)) % k
        votes[:, j] = np.where(speaks, np.where(right, y, wrong), -1)
    return votes, y, accuracies


def peer(name, path, k):
    """One peer in a process of its own: seconds, peak memory in MiB, accuracy."""
    code = f"import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r}); import speed; speed.run_peer({name!r}, {path!r}, {k})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if found.returncode:
        return {"error": found.stderr.strip().splitlines()[-1][:100] if found.stderr.strip() else f"status {found.returncode}"}
    return json.loads(found.stdout.strip().splitlines()[-1])


def run_peer(name, path, k):
    import numpy as np
    import resource
    votes = np.load(path)
    y = np.load(path.replace(".npy", ".truth.npy"))
    rng = np.random.default_rng(1)
    if name == "snorkel":
        import torch
        torch.set_num_threads(1)
        from snorkel.labeling.model import LabelModel
        begin = time.perf_counter()
        model = LabelModel(cardinality=k, verbose=False)
        model.fit(votes, seed=0, progress_bar=False)
        predicted = model.predict_proba(votes).argmax(1)
        seconds = time.perf_counter() - begin
    elif name == "crowd-kit":
        import pandas as pd
        from crowdkit.aggregation import DawidSkene
        i, j = np.nonzero(votes >= 0)
        table = pd.DataFrame({"task": i, "worker": j, "label": votes[i, j]})
        begin = time.perf_counter()
        labels = DawidSkene(n_iter=100, tol=1e-5).fit_predict(table)
        seconds = time.perf_counter() - begin
        predicted = rng.integers(0, k, len(y))
        predicted[labels.index.to_numpy()] = labels.to_numpy()
    else:
        begin = time.perf_counter()
        predicted = np.empty(len(votes), np.int64)
        step = max(1, 4_000_000 // k)
        for s in range(0, len(votes), step):
            block = votes[s:s + step]
            key = np.where(block < 0, k, block) + np.arange(len(block))[:, None] * (k + 1)
            counts = np.bincount(key.ravel(), minlength=len(block) * (k + 1)).reshape(len(block), k + 1)[:, :k]
            predicted[s:s + step] = (counts + rng.random(counts.shape, dtype="f4") * 0.5).argmax(1)
        seconds = time.perf_counter() - begin
    silent = (votes < 0).all(1)
    predicted = np.where(silent, rng.integers(0, k, len(y)), predicted)
    print(json.dumps({"seconds": seconds, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "accuracy": float((predicted == y).mean())}))


def oracle(votes, y, accuracies, k):
    """Accuracy of the vote weighted by the planted accuracies: what no model that must learn them can beat."""
    import numpy as np
    rows = min(len(votes), 100_000)
    weight = np.log(accuracies * (k - 1) / (1 - accuracies))
    right = 0
    rng = np.random.default_rng(2)
    for s in range(0, rows, 20_000):
        block = votes[s:min(rows, s + 20_000)]
        key = np.where(block < 0, k, block) + np.arange(len(block))[:, None] * (k + 1)
        score = np.bincount(key.ravel(), np.broadcast_to(weight, block.shape).ravel(), minlength=len(block) * (k + 1)).reshape(len(block), k + 1)[:, :k]
        right += ((score + rng.random(score.shape) * 1e-9).argmax(1) == y[s:s + len(block)]).sum()
    return right / rows


def amaf(program, path, k, model, folder):
    out = subprocess.run([program, "label-model", "fit", path, "--classes", str(k), "--model", model, "--out", folder, "--json"], capture_output=True, text=True)
    if out.returncode:
        return {"error": out.stderr.strip()[:200]}
    report = json.loads(out.stdout)
    fit = report["fit"]
    import numpy as np
    p = np.load(f"{folder}/posteriors.npy", mmap_mode="r")
    y = np.load(path.replace(".npy", ".truth.npy"))
    rng = np.random.default_rng(3)
    right = 0
    for s in range(0, len(y), 50_000):
        block = np.array(p[s:s + 50_000])
        right += ((block + rng.random(block.shape, dtype="f4") * 1e-7).argmax(1) == y[s:s + 50_000]).sum()
    return {"seconds": fit["fitSeconds"] + fit["predictSeconds"], "io": fit["readSeconds"] + fit["writeSeconds"], "mib": report["peakMemoryBytes"] / 2**20,
            "accuracy": right / len(y), "kind": fit["kind"], "fit": fit["fitSeconds"]}


def label_models(a, scratch):
    import numpy as np
    print("| n x m x k | model | fit + predict s | ratio to Snorkel | accuracy % | peak MiB | files s |\n| --- | --- | --- | --- | --- | --- | --- |")
    for cell in a.grid.split(","):
        n, m, k = (int(v) for v in cell.split(":"))
        votes, y, accuracies = plant(n, m, k)
        path = f"{scratch}/votes.npy"
        np.save(path, votes)
        np.save(path.replace(".npy", ".truth.npy"), y)
        best = oracle(votes, y, accuracies, k)
        del votes
        rows = []
        small = n * k <= a.peer_limit
        for name in a.peers.split(",") if a.peers else []:
            if small or name == "majority" or (name != "majority" and k == 2):
                rows.append((name, peer(name, path, k)))
        for model in (["map-em", "log-linear"] if k <= 32 else ["log-linear"]) + ["auto"]:
            runs = [amaf(a.amaf, path, k, model, f"{scratch}/out") for _ in range(a.runs)]
            rows.append((f"amaf {model}", min(runs, key=lambda r: r.get("seconds", 1e9))))
        snorkel = dict(rows).get("snorkel", {}).get("seconds")
        for name, row in rows:
            if "error" in row:
                print(f"| {n} x {m} x {k} | {name} | {row['error']} | | | | |", flush=True)
                continue
            chosen = f" ({row['kind']})" if name == "amaf auto" else ""
            ratio = f"{snorkel / row['seconds']:.1f}" if snorkel else ""
            print(f"| {n} x {m} x {k} | {name}{chosen} | {row['seconds']:.3f} | {ratio} | {row['accuracy'] * 100:.2f} (oracle {best * 100:.2f}) | {row['mib']:.0f} | {row.get('io', float('nan')):.2f} |", flush=True)


def labeling_functions(a, scratch):
    from types import SimpleNamespace
    import re
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(5, 14))) for _ in range(a.texts)]
    with open(f"{scratch}/texts.jsonl", "w") as f:
        f.writelines(json.dumps({"text": t}) + "\n" for t in texts)
    lines = ["functions:"]
    for i, words in enumerate(KEYWORDS):
        lines.append(f"  - {{name: k{i}, kind: keywords, class: c{i}, terms: [{', '.join(words)}], word-boundaries: false}}")
    for i, pattern in enumerate(REGEXES):
        lines.append(f"  - {{name: r{i}, kind: regex, class: c{len(KEYWORDS) + i}, pattern: '{pattern}'}}")
    with open(f"{scratch}/functions.yaml", "w") as f:
        f.write("\n".join(lines) + "\n")
    print("\n| labeling functions, 10 over %d texts | rows/s |\n| --- | --- |" % a.texts)
    best = None
    for _ in range(a.runs):
        out = subprocess.run([a.amaf, "lf", "apply", f"{scratch}/functions.yaml", "--data", f"{scratch}/texts.jsonl", "--out", f"{scratch}/votes.npy", "--json"], capture_output=True, text=True)
        if out.returncode:
            print(f"| amaf | {out.stderr.strip()} |")
            return
        report = json.loads(out.stdout)
        best = report if best is None or report["functionSeconds"] < best["functionSeconds"] else best
    print(f"| amaf, functions | {a.texts / best['functionSeconds']:,.0f} |\n| amaf, whole command with reading and writing | {a.texts / best['totalSeconds']:,.0f} |", flush=True)
    if not a.peers:
        return
    from snorkel.labeling import LabelingFunction, LFApplier
    import numpy as np

    def keyword(i, words):
        return lambda x: i if any(w in x.text for w in words) else -1

    def regex(i, pattern):
        compiled = re.compile(pattern)
        return lambda x: i if compiled.search(x.text) else -1
    bodies = [keyword(i, w) for i, w in enumerate(KEYWORDS)] + [regex(i + len(KEYWORDS), r) for i, r in enumerate(REGEXES)]
    points = [SimpleNamespace(text=t) for t in texts]
    begin = time.perf_counter()
    votes = LFApplier([LabelingFunction(f"lf{i}", f) for i, f in enumerate(bodies)]).apply(points, progress_bar=False)
    seconds = time.perf_counter() - begin
    same = bool((votes == np.load(f"{scratch}/votes.npy")).all())
    print(f"| snorkel LFApplier | {a.texts / seconds:,.0f} |\n\nVotes equal in all cells: {same}.")


def cache(a, scratch):
    """One of fifty functions is edited: how much of the first run's time does the second take?"""
    rng = random.Random(1)
    with open(f"{scratch}/texts.jsonl", "w") as f:
        f.writelines(json.dumps({"text": " ".join(rng.choices(WORDS, k=rng.randint(20, 60)))}) + "\n" for _ in range(a.texts))

    def write(edited):
        lines = ["functions:"]
        for i in range(50):
            words = random.Random(i + (1000 if i == edited else 0)).sample(WORDS, 4)
            if i % 2:
                lines.append(f"  - {{name: f{i}, kind: keywords, class: c{i % 5}, terms: [{', '.join(words)}]}}")
            else:
                lines.append(f"  - {{name: f{i}, kind: regex, class: c{i % 5}, pattern: '(?i)\\b{words[0]}\\b.{{0,40}}\\b({words[1]}|{words[2]}s?)\\b|\\b{words[3]}\\w*\\s+{words[0]}'}}")
        with open(f"{scratch}/fifty.yaml", "w") as f:
            f.write("\n".join(lines) + "\n")

    def run():
        out = subprocess.run([a.amaf, "lf", "apply", f"{scratch}/fifty.yaml", "--data", f"{scratch}/texts.jsonl", "--out", f"{scratch}/fifty.npy", "--cache", f"{scratch}/cache", "--json"], capture_output=True, text=True)
        return json.loads(out.stdout)
    write(None)
    first = run()
    print("\n| 50 functions, %d texts | columns computed | functions s | cache s | reading s | whole command s |\n| --- | --- | --- | --- | --- | --- |" % a.texts)
    rows = [("first run", first)]
    for i in (7, 8):
        write(i)
        rows.append((f"one {'keyword' if i % 2 else 'regex'} function edited", run()))
    for name, r in rows:
        print(f"| {name} | {r['computedColumns']} of {r['computedColumns'] + r['cachedColumns']} | {r['functionSeconds']:.3f} | {r['cacheSeconds']:.3f} | {r['readSeconds']:.3f} | {r['totalSeconds']:.3f} |")
    for name, r in rows[1:]:
        print(f"\n{name}: functions {r['functionSeconds'] / first['functionSeconds'] * 100:.1f} % of the first run, with cache {(r['functionSeconds'] + r['cacheSeconds']) / (first['functionSeconds'] + first['cacheSeconds']) * 100:.1f} %, whole command {r['totalSeconds'] / first['totalSeconds'] * 100:.1f} %")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--amaf", default=".build/release/amaf")
    p.add_argument("--grid", default="100000:50:2,1000000:50:2,100000:10:150,1000000:10:150", help="n:m:k, separated by commas")
    p.add_argument("--peers", default="snorkel,crowd-kit,majority", help="empty for none")
    p.add_argument("--peer-limit", type=int, default=20_000_000, help="n x k beyond which peers run for k = 2 only")
    p.add_argument("--texts", type=int, default=100_000)
    p.add_argument("--runs", type=int, default=3, help="of amaf; the fastest counts")
    p.add_argument("--only", choices=("models", "functions", "cache"))
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if a.only in (None, "models"):
            label_models(a, scratch)
        if a.only in (None, "functions"):
            labeling_functions(a, scratch)
        if a.only in (None, "cache"):
            cache(a, scratch)


if __name__ == "__main__":
    main()
