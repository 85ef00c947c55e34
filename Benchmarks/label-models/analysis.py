"""`amaf label-model analyze` beside Snorkel's LFAnalysis on every shared set: every column, to 1e-9.

    python3 Benchmarks/label-models/analysis.py --amaf .build/release/amaf --data FOLDER

needs an environment with snorkel and numpy. FOLDER is as for accuracy.py, with sst2-weak-signals. Gold is given to
both where the set has it for all rows; where it is known of some rows only, to both for those (Snorkel counts an unknown label as wrong in its
accuracy, so accuracies are compared where gold is complete).
"""
import argparse
import csv
import json
import subprocess
import sys
import tempfile


def matrices(folder):
    import numpy as np
    for name in ("youtube", "sms", "trec"):
        for split in ("train", "valid", "test"):
            with open(f"{folder}/wrench-{name}/{split}.json") as f:
                rows = json.load(f)
            rows = [rows[key] for key in sorted(rows, key=int)]
            yield f"{name} {split}", np.array([r["weak_labels"] for r in rows]), np.array([r["label"] for r in rows])
    with open(f"{folder}/sst2-weak-signals/train.csv") as f:
        table = np.array([[int(v) for v in row] for row in list(csv.reader(f))[1:]])
    yield "sst2", table[:, 1:], table[:, 0]
    for name in ("adult-5", "cf", "dog", "fact-eval", "product", "sentiment", "sp", "web", "zencrowd-all", "zencrowd-in"):
        with open(f"{folder}/crowd/{name}/label.csv") as f:
            votes = list(csv.reader(f))[1:]
        with open(f"{folder}/crowd/{name}/truth.csv") as f:
            truth = dict(list(csv.reader(f))[1:])
        items, workers, labels = (sorted({v[i] for v in votes}) for i in range(3))
        where = [{v: i for i, v in enumerate(names)} for names in (items, workers, labels)]
        L = np.full((len(items), len(workers)), -1)
        for item, worker, label in votes:
            L[where[0][item], where[1][worker]] = where[2][label]
        yield name, L, np.array([where[2].get(truth.get(item), -1) for item in items])


def main():
    import numpy as np
    from snorkel.labeling import LFAnalysis
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--amaf", default=".build/release/amaf")
    p.add_argument("--data", required=True)
    a = p.parse_args()
    worst = 0.0
    print("| set | samples x functions | largest difference of any cell | gold |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        for name, L, y in matrices(a.data):
            np.save(f"{scratch}/L.npy", L)
            np.save(f"{scratch}/y.npy", y)
            done = subprocess.run([a.amaf, "label-model", "analyze", f"{scratch}/L.npy", "--gold", f"{scratch}/y.npy", "--classes",
                                   str(max(2, int(max(L.max(), y.max())) + 1)), "--json"], capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            ours = json.loads(done.stdout)
            complete = bool((y >= 0).all())
            theirs = LFAnalysis(L)
            difference = max(abs(ours["coverage"] - theirs.label_coverage()), abs(ours["overlap"] - theirs.label_overlap()), abs(ours["conflict"] - theirs.label_conflict()))
            table = theirs.lf_summary(Y=y)
            for row, (_, their) in zip(ours["functions"], table.iterrows()):
                assert [int(c) for c in row["polarity"]] == list(their["Polarity"]), (name, row, their)
                cells = [(row["coverage"], their["Coverage"]), (row["overlaps"], their["Overlaps"]), (row["conflicts"], their["Conflicts"]),
                         (row["correct"], their["Correct"]), (row["incorrect"], their["Incorrect"])]
                if complete:
                    cells.append((row.get("accuracy") or 0.0, their["Emp. Acc."]))
                difference = max([difference] + [abs(x - z) for x, z in cells])
            worst = max(worst, difference)
            print(f"| {name} | {L.shape[0]} x {L.shape[1]} | {difference:.1e} | {'all' if complete else f'{int((y >= 0).sum())} rows'} |", flush=True)
    print(f"\nLargest difference: {worst:.1e}")
    sys.exit(0 if worst < 1e-9 else 1)


if __name__ == "__main__":
    main()
