"""Golden labeling function tables, by the definitions of snorkel.labeling.LFAnalysis 0.10 written out in NumPy.

    python3 lf_analysis.py PATH/TO/shared/data/weak-supervision > ../Golden/lf-analysis.json

For each set: row coverage, overlap and conflict, then a row a function: polarity, coverage, overlaps, conflicts, correct, incorrect,
empirical accuracy. Snorkel's accuracy is nan_to_num(0.5 * (sum of +1 for right, -1 for wrong, 0 for abstain over votes + 1)).
"""
import csv
import json
import sys

import numpy as np


def analysis(L, y):
    n, m = L.shape
    fired = L != -1
    overlap_rows = fired.sum(1) >= 2
    conflict_rows = np.array([len({v for v in row if v != -1}) > 1 for row in L])
    rows = []
    for j in range(m):
        f = fired[:, j]
        signs = np.where(~f, 0, np.where(L[:, j] == y, 1, -1))
        with np.errstate(invalid="ignore", divide="ignore"):
            accuracy = np.nan_to_num(0.5 * (signs.sum() / f.sum() + 1))
        rows.append([sorted({int(v) for v in L[f, j]}), f.sum() / n, (f & overlap_rows).sum() / n, (f & conflict_rows).sum() / n,
                     int((f & (L[:, j] == y)).sum()), int((f & (L[:, j] != y)).sum()), float(accuracy)])
    return {"coverage": float(fired.any(1).mean()), "overlap": float(overlap_rows.mean()), "conflict": float(conflict_rows.mean()), "rows": rows}


def main():
    root = sys.argv[1]
    out = {}
    for name in ("youtube", "sms", "trec"):
        for split in ("train", "valid", "test"):
            data = json.load(open(f"{root}/wrench-{name}/{split}.json"))
            items = [data[str(i)] for i in range(len(data))]
            out[f"{name}/{split}"] = analysis(np.array([d["weak_labels"] for d in items]), np.array([d["label"] for d in items]))
    rows = list(csv.reader(open(f"{root}/sst2-weak-signals/train.csv")))[1:]
    table = np.array([[int(float(v)) for v in row] for row in rows])
    out["sst2"] = analysis(table[:, 1:], table[:, 0])
    json.dump(out, sys.stdout, separators=(",", ":"))
    print()


main()
