#!/usr/bin/env python3
"""What scheduling a task costs: AMAF beside Dask, Ray and Python's process pool, on this machine and in the same minutes.

Each system gets two single-slot worker processes and no-op tasks:

  one by one  10,000 tasks, each submitted by itself, all gathered: tasks/s
  in lists    the same tasks in lists of 100: tasks/s
  latency     one task at a time, submit to result: median and 99th percentile in milliseconds

AMAF's results are durable (SQLite, synchronous = FULL, one fsync a group commit); those of the others live in memory. AMAF's "one by one"
commits one result a message, "in lists" is how its workers work by default. A system that is not installed is left out and said so.

  python3 Benchmarks/scheduling.py --amaf .build/release/amaf-benchmarks [--tasks 10000] [--repeats 3] [--systems amaf,dask,ray,pool]

Run it with the Python that has dask[distributed] and ray. Rounds alternate between the systems, so that a change of the machine's load
meets all of them; medians over the rounds are printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def percentile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def noop(x):
    return x


def noop_list(xs):
    return [noop(x) for x in xs]


def measured(tasks, single, lists, once):
    """The three figures of a system, given functions that do all tasks, all lists, and one task."""
    single(200)
    start = time.perf_counter()
    single(tasks)
    single_rate = tasks / (time.perf_counter() - start)
    start = time.perf_counter()
    lists(tasks)
    list_rate = tasks / (time.perf_counter() - start)
    times = []
    for i in range(330):
        start = time.perf_counter()
        once(i)
        times.append(time.perf_counter() - start)
    times = times[30:]
    return {
        "single": single_rate,
        "lists": list_rate,
        "p50_ms": 1e3 * statistics.median(times),
        "p99_ms": 1e3 * percentile(times, 0.99),
    }


def slices(tasks):
    return [list(range(i, min(tasks, i + 100))) for i in range(0, tasks, 100)]


def dask_round(tasks):
    import logging

    from dask.distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL) as cluster:
        with Client(cluster) as client:
            return measured(
                tasks,
                lambda n: client.gather(client.map(noop, range(n), pure=False)),
                lambda n: client.gather([client.submit(noop_list, part, pure=False) for part in slices(n)]),
                lambda i: client.submit(noop, i, pure=False).result(),
            )


def ray_round(tasks):
    import logging

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False, object_store_memory=1 << 28)
    one, many = ray.remote(noop), ray.remote(noop_list)
    try:
        return measured(
            tasks,
            lambda n: ray.get([one.remote(i) for i in range(n)]),
            lambda n: ray.get([many.remote(part) for part in slices(n)]),
            lambda i: ray.get(one.remote(i)),
        )
    finally:
        ray.shutdown()


def pool_round(tasks):
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(max_workers=2) as pool:
        return measured(
            tasks,
            lambda n: [future.result() for future in [pool.submit(noop, i) for i in range(n)]],
            lambda n: list(pool.map(noop, range(n), chunksize=100)),
            lambda i: pool.submit(noop, i).result(),
        )


def amaf_round(tasks, program):
    command = [program, "cluster", "--json", "--runs", "3", "--tasks", str(tasks)]
    for mode in ("lists", "single", "latency"):
        command += ["--mode", mode]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no output"])[-1])
    found = json.loads(lines[-1])
    for line in done.stderr.splitlines():
        print("    " + line, file=sys.stderr)
    return {
        "single": found["singlePerSecond"],
        "lists": found["listsPerSecond"],
        "p50_ms": found["latencyMicroseconds"] / 1e3,
        "p99_ms": found["latencyP99Microseconds"] / 1e3,
    }


PEERS = {"dask": dask_round, "ray": ray_round, "pool": pool_round}
DURABLE = {"amaf": "yes"}


def in_child(system, tasks):
    """A round in a process of its own, so that nothing of one system is left to the next."""
    command = [sys.executable, os.path.abspath(__file__), "--round", system, "--tasks", str(tasks)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no output"])[-1][:160])
    return json.loads(lines[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--amaf", default=".build/release/amaf-benchmarks")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--systems", default="amaf,dask,ray,pool")
    parser.add_argument("--round", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.round:
        print(json.dumps(PEERS[options.round](options.tasks)))
        return
    systems = options.systems.split(",")
    rounds = {system: [] for system in systems}
    missing = {}
    for repeat in range(options.repeats):
        for system in systems:
            if system in missing:
                continue
            try:
                found = amaf_round(options.tasks, options.amaf) if system == "amaf" else in_child(system, options.tasks)
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                missing[system] = str(error)
                continue
            rounds[system].append(found)
            print(f"round {repeat + 1}, {system}: {json.dumps(found)}", file=sys.stderr)
    load = os.getloadavg()[0]
    print(f"{options.tasks} no-op tasks, 2 worker processes, medians of {options.repeats} rounds, load {load:.1f}")
    print(f"{'system':8} {'durable':8} {'one by one/s':>13} {'in lists/s':>12} {'p50 ms':>8} {'p99 ms':>8}")
    for system in systems:
        if not rounds[system]:
            print(f"{system:8} left out: {missing.get(system, 'no round')}")
            continue
        row = {key: statistics.median(found[key] for found in rounds[system]) for key in rounds[system][0]}
        print(
            f"{system:8} {DURABLE.get(system, 'no'):8} {row['single']:13,.0f} {row['lists']:12,.0f} {row['p50_ms']:8.2f} {row['p99_ms']:8.2f}"
        )


if __name__ == "__main__":
    main()
