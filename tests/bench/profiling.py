# SPDX-License-Identifier: Apache-2.0
"""--profile ROW: where the CPU of a row goes, function by function, with perf: stacks in folded form (for any tool that makes
flame graphs) and tables, in profiles/."""
import collections
import os
import re
import signal
import subprocess
import time

import servers
from servers import Trouble

PROFILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "profiles")
PER_SECOND = 1999
SHOWN = 20


def record(bench, server, row, amount, path):
    """perf on all processes of the server while the load runs: (CPU seconds, what the load says)."""
    command = ["perf", "record", "-q", "-F", str(PER_SECOND), "-g", "-o", path, "-p",
               ",".join(str(process) for process in server.processes())]
    before = server.cpu_seconds()
    try:
        perf = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                text=True)
    except FileNotFoundError:
        raise Trouble("perf is missing (apt-get install linux-perf)") from None
    try:
        time.sleep(0.5)
        load = bench.run_load(row, server, amount)
        time.sleep(0.3)
    finally:
        perf.send_signal(signal.SIGINT)
        _, errors = perf.communicate(timeout=60)
    if not os.path.exists(path):
        raise Trouble("perf recorded nothing: %s" % errors.strip())
    return server.cpu_seconds() - before, load


def fold(path):
    """{(program, outermost function, ..., innermost): samples}."""
    done = subprocess.run(["perf", "script", "-i", path, "-F", "comm,ip,sym"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace", timeout=300,
                          check=True)
    stacks = collections.Counter()
    for sample in done.stdout.split("\n\n"):
        lines = sample.strip("\n").splitlines()
        if len(lines) < 2:
            continue
        frames = [re.sub(r"^\s*[0-9a-f]+ ", "", line).strip() or "?" for line in lines[1:]]
        stacks[(lines[0].strip().rstrip(":"),) + tuple(reversed(frames))] += 1
    return stacks


def shares(stacks, is_inclusive):
    """{function: part of all samples}."""
    whole = sum(stacks.values()) or 1
    found = collections.Counter()
    for stack, count in stacks.items():
        for function in set(stack[1:]) if is_inclusive else stack[-1:]:
            found[function] += count / whole
    return found


def write(name, lines):
    os.makedirs(PROFILES, exist_ok=True)
    with open(os.path.join(PROFILES, name), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def table(head, found, is_inclusive, unit):
    """`found`: {server: (stacks, cost of a unit)}. Sorted by what Sallyport (or the first one) has above the floor."""
    names = list(found)
    costs = {name: collections.Counter({function: share * found[name][1] for function, share in shares(
        found[name][0], is_inclusive).items()}) for name in names}
    ours = "sallyport" if "sallyport" in found else names[0]
    base = costs["floor"] if "floor" in found and ours != "floor" else collections.Counter()
    every = {function for cost in costs.values() for function in cost}
    functions = sorted(every, key=lambda function: -(costs[ours][function] - base[function]))
    lines = ["", head, "", "| function | %s | above the floor |" % " | ".join(names), "|---|%s" % ("---|" * (len(names) + 1))]
    for function in functions[:SHOWN]:
        lines.append("| `%s` | %s | %+.3f %s |" % (
            function, " | ".join("%.3f (%.1f %%)" % (costs[name][function], 100 * costs[name][function] / found[name][1])
                                 for name in names), costs[ours][function] - base[function], unit))
    return lines


def measure(bench, row, everybody, say):
    """Profiles of one row of each server, and the tables."""
    found = {}
    amount = bench.amount_of(row)
    for server in everybody:
        if row.name in server.cannot:
            continue
        server.start(bench.new_folder(server.name), bench.origin)
        server.pin()
        try:
            bench.run_load(row, server, bench.amount_of(row, 0.2))
            path = os.path.join(bench.new_folder("perf"), "perf.data")
            cpu, load = record(bench, server, row, amount, path)
            stacks = fold(path)
        finally:
            server.stop()
        found[server.name] = stacks, row.per(cpu, load)
        write("%s-%s.folded" % (row.name, server.name), ["%s %d" % (";".join(stack), count)
                                                         for stack, count in sorted(stacks.items())])
        say("  %-9s %-13s %9.3f %s, %d samples" % (row.name, server.name, found[server.name][1], row.unit,
                                                  sum(stacks.values())))
    lines = ["# Profile: %s" % row.title, "", "Cost of a unit while perf looked on, per server: %s." % ", ".join(
        "%s %.2f %s" % (name, cost, row.unit) for name, (_, cost) in found.items())]
    lines += table("By themselves:", found, False, row.unit)
    lines += table("With what they call:", found, True, row.unit)
    write("%s.md" % row.name, lines)
    say("written to %s/%s.md and *.folded" % (PROFILES, row.name))
