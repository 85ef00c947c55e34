"""`amaf label-model` beside Snorkel on vote matrices with gold, in one run.

    python3 Benchmarks/label-models/accuracy.py --amaf .build/release/amaf --data FOLDER

FOLDER holds wrench-youtube, wrench-sms, wrench-trec (train, valid and test as JSON of rows with `label` and `weak_labels`) and crowd/NAME with label.csv and
truth.csv. WRENCH sets: votes of train and validation and the gold of validation are seen, test labels only by the score; Snorkel 0.10 is
fitted on train with its defaults and three seeds, with an even class balance and with the one of the validation gold. Crowds: nobody sees
any gold. Rows without votes count, with the class balance as their probabilities.
"""
import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")


def wrench(folder, name, split):
    with open(f"{folder}/wrench-{name}/{split}.json") as f:
        rows = json.load(f)
    rows = [rows[key] for key in sorted(rows, key=int)]
    return [r["weak_labels"] for r in rows], [r["label"] for r in rows]


def measures(p, y):
    """Accuracy with shared credit, F1 (class 1, or macro), mean negative log likelihood, ECE of ten bins; in %, the loss in nats."""
    import numpy as np
    p, y = np.asarray(p, float), np.asarray(y)
    best = p.max(1, keepdims=True)
    tied = p >= best - 1e-7
    credit = tied[np.arange(len(y)), y] / tied.sum(1)
    label = tied.argmax(1)
    f1 = []
    for c in range(p.shape[1]):
        both = ((label == c) & (y == c)).sum()
        f1.append(2 * both / max(1, (label == c).sum() + (y == c).sum()))
    loss = -np.log(np.maximum(1e-9, p[np.arange(len(y)), y])).mean()
    bins = np.minimum(9, (best[:, 0] * 10).astype(int))
    ece = sum(abs(credit[bins == b].sum() - best[bins == b, 0].sum()) for b in range(10)) / len(y)
    return credit.mean() * 100, (f1[1] if len(f1) == 2 else np.mean(f1)) * 100, loss, ece * 100


def majority(votes, k):
    import numpy as np
    votes = np.asarray(votes)
    counts = np.stack([(votes == c).sum(1) for c in range(k)], 1).astype(float)
    top = counts == counts.max(1, keepdims=True)
    return top / top.sum(1, keepdims=True)


def snorkel(train, test, k, balance, y):
    import numpy as np
    import torch
    torch.set_num_threads(1)
    from snorkel.labeling.model import LabelModel
    found = []
    for seed in range(3):
        model = LabelModel(cardinality=k, verbose=False)
        model.fit(np.asarray(train), seed=seed, progress_bar=False, class_balance=balance)
        found.append(measures(model.predict_proba(np.asarray(test)), y))
    return np.mean(found, 0)


def run(a, *arguments):
    done = subprocess.run([a.amaf, *arguments, "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def sets_with_validation(a, scratch):
    import numpy as np
    print("| set | majority acc / loss / ECE | Snorkel even balance: acc / loss / ECE | Snorkel valid. balance: acc / loss / ECE | auto acc / F1 / loss / ECE | chosen |\n| --- | --- | --- | --- | --- | --- |")
    for name in ("youtube", "sms-repaired", "sms", "trec"):
        base = name.split("-")[0]
        parts = {s: wrench(a.data, base, s) for s in ("train", "valid", "test")}
        if name == "sms-repaired":
            for split in ("valid", "test"):
                votes = [[-1] * len(row) for row in parts[split][0]]
                with open(f"{a.data}/wrench-sms/votes_reapplied_{split}.csv") as f:
                    for row in list(csv.reader(f))[1:]:
                        votes[int(row[0])][int(row[1])] = int(row[2])
                parts[split] = (votes, parts[split][1])
        k = 6 if base == "trec" else 2
        y = parts["test"][1]
        for split, (votes, gold) in parts.items():
            np.save(f"{scratch}/{split}.npy", np.asarray(votes, np.int64))
            np.save(f"{scratch}/{split}-gold.npy", np.asarray(gold, np.int64))
        fit = run(a, "label-model", "fit", f"{scratch}/train.npy", "--classes", str(k), "--valid", f"{scratch}/valid.npy", "--valid-gold", f"{scratch}/valid-gold.npy", "--apply", f"{scratch}/test.npy", "--out", f"{scratch}/out")
        score = run(a, "label-model", "score", f"{scratch}/out", "--gold", f"{scratch}/test-gold.npy")["all"]
        mine = (score["accuracy"] * 100, score["f1"] * 100, score["logLoss"], score["calibrationError"] * 100)
        chosen = next(r["name"] for r in fit["fit"]["evidence"]["rows"] if r["isChosen"])
        counts = np.bincount(parts["valid"][1], minlength=k) + 1.0
        mv = measures(majority(parts["test"][0], k), y)
        even = snorkel(parts["train"][0], parts["test"][0], k, None, y)
        given = snorkel(parts["train"][0], parts["test"][0], k, counts / counts.sum(), y)

        def show(m):
            return f"{m[0]:.1f} / {m[2]:.3f} / {m[3]:.1f}"
        print(f"| {name} | {show(mv)} | {show(even)} | {show(given)} | **{mine[0]:.1f}** / {mine[1]:.1f} / {mine[2]:.3f} / {mine[3]:.1f} | {chosen} |", flush=True)


# The best of majority vote, Dawid-Skene, Dawid-Skene with a diagonal prior and one-coin, each by its textbook form; less 0.5 points.
BARS = {"adult-5": 75.48, "cf": 88.17, "dog": 83.76, "fact-eval": 89.69, "product": 93.47, "sentiment": 95.5, "sp": 91.12, "web": 82.31,
        "zencrowd-all": 84.16, "zencrowd-in": 78.67}


def crowds(a, scratch):
    print("\n| crowd | bar | auto | majority | log-linear | one-coin | dawid-skene | dawid-skene-damped | subtypes | auto took |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, bar in BARS.items():
        folder = f"{a.data}/crowd/{name}"
        row = []
        took = ""
        for model in ("auto", "majority", "log-linear", "one-coin", "dawid-skene", "dawid-skene-damped", "subtypes"):
            fit = run(a, "label-model", "fit", f"{folder}/label.csv", "--model", model, "--out", f"{scratch}/crowd")
            row.append(run(a, "label-model", "score", f"{scratch}/crowd", "--gold", f"{folder}/truth.csv")["covered"]["accuracy"] * 100)
            if model == "auto":
                took = fit["fit"]["kind"]
        print(f"| {name} | {bar:.2f} | **{row[0]:.2f}** | " + " | ".join(f"{v:.2f}" for v in row[1:]) + f" | {took} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--amaf", default=".build/release/amaf")
    p.add_argument("--data", required=True)
    p.add_argument("--only", choices=("wrench", "crowd"))
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if a.only in (None, "wrench"):
            sets_with_validation(a, scratch)
        if a.only in (None, "crowd"):
            crowds(a, scratch)


if __name__ == "__main__":
    main()
