# SPDX-License-Identifier: Apache-2.0
"""Policy at scale (DESIGN 11): look-ups by themselves, beside peers on the same lists, and a swap under load."""
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import time

import plots
import servers
from servers import Trouble

HERE = os.path.dirname(os.path.abspath(__file__))
PLOTS = os.path.join(HERE, "plots")
SUFFIXES = (1000, 10000, 100000, 1000000)
SCANS = (100, 1000, 10000)
HOSTILE = (1, 100, 1000)
BATCH_SECONDS = 0.7  # of the server's CPU in one measurement beside peers
BATCH_MAX = 30000
RELOADS = 10
TUNNELS = 300
TARGET_NS, TARGET_P99_NS, TARGET_BYTES, TARGET_COMPILE_S, TARGET_SCAN_NS, TARGET_PAUSE_MS = 150, 300, 64, 2.0, 2000, 5.0


def median_of(runs):
    """The same object with the median of each number over all runs."""
    first = runs[0]
    if isinstance(first, dict):
        return {key: median_of([run[key] for run in runs]) for key in first}
    return statistics.median(runs)


def ns(value):
    return "%.0f ns" % value if value < 10000 else "%.0f us" % (value / 1000)


def table(head, rows):
    return "\n".join("| %s |" % " | ".join(row) for row in [head, ["---"] * len(head)] + rows)


def verdict(is_reached):
    return "reached" if is_reached else "**missed**"


def write_plot(name, svg):
    os.makedirs(PLOTS, exist_ok=True)
    with open(os.path.join(PLOTS, name), "w", encoding="ascii") as file:
        file.write(svg)


# ---- look-ups by themselves ---------------------------------------------------------------------


def measure_one(bench, mode, count):
    runs = []
    for _ in range(min(bench.options.rounds, 3)):
        folder = bench.new_folder("policy")
        done = subprocess.run([bench.tool("bench_policy"), mode, str(count), "--folder", folder, "--compiles", "1"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=300, preexec_fn=servers.pinned(bench.server_core), check=False)
        if done.returncode:
            raise Trouble("bench_policy failed: %s" % done.stderr.strip())
        runs.append(json.loads(done.stdout))
        shutil.rmtree(folder)
    return median_of(runs)


def measure_policy(bench, say):
    found = {}
    for mode, counts in (("suffixes", SUFFIXES), ("regexes", SCANS), ("globs", SCANS), ("hostile", HOSTILE),
                         ("deep", (1,))):
        found[mode] = {}
        for count in counts:
            found[mode][str(count)] = measure_one(bench, mode, count)
            say("  %-9s %8d entries" % (mode, count))
    return found


def bytes_of(run):
    return (run["image_bytes"] + run["counters_bytes"]) / run["entries"]


def three(summary):
    return "%.0f / %.0f / %.0f" % (summary["median"], summary["p90"], summary["p99"])


HEATS = (("swapped", "just after a swap", "floor_swapped"), ("cold", "flushed to memory", "floor"), ("warm", "warm", None))


def suffix_table(found):
    rows = []
    for heat, words, floor in HEATS:
        for count in SUFFIXES:
            run = found["suffixes"][str(count)]
            rows.append(["%s, %s" % ("{:,}".format(count), words), three(run[floor]) if floor else "-"] + [
                three(run["look_up"][asked][heat]) for asked in ("hit", "below", "miss")] + [
                    three(run["decide"]["hit"][heat])])
    return table(["suffixes", "floor", "hit", "name below an entry", "miss", "whole decision, hit"], rows)


def size_table(found):
    rows = []
    for mode, counts in (("suffixes", SUFFIXES), ("regexes", SCANS[-1:]), ("globs", SCANS[-1:])):
        for count in counts:
            run = found[mode][str(count)]
            rows.append(["{:,} {}".format(count, mode), "%.1f" % bytes_of(run), "%.3f s" % run["compile_s"],
                         "%.1f ms" % run["seal_ms"], "%.1f ms" % run["check_ms"], "%.1f us" % run["open_us"],
                         "%.0f x %.2f ms" % (run["slices"], run["longest_slice_ms"]), "%.2f ms" % run["longest_unmap_ms"]])
    return table(["list", "bytes an entry", "compile", "seal", "check (parent)", "open (worker)", "populate: slices",
                  "longest unmap of a slice"], rows)


def scan_table(found):
    rows = []
    for mode in ("regexes", "globs"):
        for count in SCANS:
            run = found[mode][str(count)]
            rows.append(["{:,} {}".format(count, mode)] + [
                "%s / %s" % (ns(run[key]["median"]), ns(run[key]["p99"])) for key in ("miss", "hit_first", "hit", "again")]
                + ["%.0f" % run["always_tried"], "%.0f us" % run["worst_name_us"]])
    return table(["list", "miss", "hit, first of its expression", "hit, name not asked before", "asked again",
                  "without a literal", "name made to cost most"], rows)


def policy_targets(found):
    """Rows of what is to be reached: text, what was found, the limit, reached?"""
    million = found["suffixes"]["1000000"]
    rows = []
    for heat, words, floor in HEATS[:2]:
        hit, least = million["look_up"]["hit"][heat], million[floor]
        for key, limit in (("median", TARGET_NS), ("p99", TARGET_P99_NS)):
            rows.append(("a hit among a million suffixes, %s: %s" % (words, key), "%.0f ns (%.1f x one read: %.0f ns)" % (
                hit[key], hit[key] / least[key], least[key]), "<= %d ns" % limit, hit[key] <= limit))
    rows.append(("a million suffixes: memory for all workers together, with counters", "%.1f bytes an entry" %
                 bytes_of(million), "<= %d" % TARGET_BYTES, bytes_of(million) <= TARGET_BYTES))
    rows.append(("a million suffixes: compile", "%.2f s" % million["compile_s"], "<= %g s" % TARGET_COMPILE_S,
                 million["compile_s"] <= TARGET_COMPILE_S))
    for mode in ("regexes", "globs"):
        miss = found[mode]["10000"]["miss"]
        rows.append(("10,000 %s: median of a miss" % mode, "%s (p99 %s)" % (ns(miss["median"]), ns(miss["p99"])),
                     "<= 2 us", miss["median"] <= TARGET_SCAN_NS))
    return rows


def policy_plots(found):
    runs = {count: found["suffixes"][str(count)] for count in SUFFIXES}

    def series(pick):
        return [(count, pick(runs[count])) for count in SUFFIXES]
    write_plot("look-up.svg", plots.plot("One look-up in a list of suffixes", "ns, median", [
        ("hit, just after a swap", series(lambda run: run["look_up"]["hit"]["swapped"]["median"]), False),
        ("miss, just after a swap", series(lambda run: run["look_up"]["miss"]["swapped"]["median"]), False),
        ("hit, flushed to memory", series(lambda run: run["look_up"]["hit"]["cold"]["median"]), False),
        ("one read, after a swap", series(lambda run: run["floor_swapped"]["median"]), True),
        ("hit, warm", series(lambda run: run["look_up"]["hit"]["warm"]["median"]), True),
        ("one read, flushed", series(lambda run: run["floor"]["median"]), True),
    ], (TARGET_NS, "to reach: %d ns" % TARGET_NS)))
    write_plot("compile.svg", plots.plot("Compiling a list of suffixes", "s", [
        ("compile", series(lambda run: run["compile_s"]), False)], (2, "to reach: 2 s"), True))
    write_plot("regexes.svg", plots.plot("Regular expressions and globs", "ns, median", [
        ("%s, %s" % (mode, label), [(count, found[mode][str(count)][key]["median"]) for count in SCANS], dash)
        for mode in ("regexes", "globs") for key, label, dash in (("miss", "miss", False), ("hit", "hit", False),
                                                                  ("again", "asked again", True))],
        (TARGET_SCAN_NS, "to reach: 2 us"), True))


def policy_text(found):
    hostile, deep = found["hostile"], found["deep"]["1"]["look_up"]
    targets = policy_targets(found)
    text = table(["work", "sallyport", "to reach", "verdict"], [[a, b, c, verdict(d)] for a, b, c, d in targets])
    text += ("\n\nNanoseconds, median / p90 / p99, names drawn at random. Just after a swap: this core has read nothing of the "
             "image, another one has checked it, as the parent does. Flushed: the image is in no cache of the machine. The floor "
             "is one read of the same memory in that state; a look-up makes several at once, and waits for the slowest.\n\n")
    text += suffix_table(found) + "\n\n" + size_table(found)
    text += ("\n\nRegular expressions and globs, median / p99. The first hit of an expression compiles it. "
             "A name that was asked for before costs one comparison (verdict cache).\n\n")
    text += scan_table(found)
    text += ("\n\nExpressions and names made to burn time (`^(a+)+...`), the worst of any name: %s. The longest name, each "
             "of whose 125 ends is an entry: %s.\n" % (", ".join("%s of them: %.0f us" % (count, hostile[str(count)][
                 "worst_us"]) for count in HOSTILE), ns(deep["median"])))
    text += "\n![look-up](plots/look-up.svg) ![expressions](plots/regexes.svg) ![compile](plots/compile.svg)\n"
    return text, all(row[3] for row in targets)


# ---- beside peers -------------------------------------------------------------------------------


class Listed:
    """A server with a list; what it denies it denies by that list or, for a miss, behind it."""

    def __init__(self, server, kind, count):
        self.server, self.kind, self.count = server, kind, count
        self.batch = {}
        self.asked = 1  # no name is asked for twice: peers keep what they found


class ListedSallyport(servers.Sallyport):
    POLICY = """\
lists: {bench: bench.list}
rules:
  - {name: in the list, when: {to: bench}, then: {access: deny}}
defaults: {access: deny, tls: bypass, auth: exempt, class: normal, ports: [1-65535]}
"""


class ListedSquid(servers.Squid):
    TYPES = {"suffixes": "dstdomain", "regexes": "dstdom_regex"}

    def for_kind(self, kind):
        self.CONFIGURATION = servers.Squid.CONFIGURATION.replace(
            "http_access allow all", "acl listed %s \"{folder}/bench.list\"\nhttp_access deny listed\nhttp_access deny all"
            % self.TYPES[kind])


class ListedHAProxy(servers.Server):
    name = "haproxy"
    TYPES = {"suffixes": "end", "regexes": "reg"}
    CONFIGURATION = """\
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend bench
  bind 127.0.0.1:{port}
  http-request deny if {{ req.hdr(host) -m {kind} -f {folder}/bench.list }}
  http-request deny
"""

    def for_kind(self, kind):
        self.kind = self.TYPES[kind]

    def start(self, folder, origin):
        port = servers.free_port()
        path = self.write(folder, "haproxy.cfg", self.CONFIGURATION.format(port=port, kind=self.kind, folder=folder))
        self.program = servers.Program([self.binary, "-db", "-f", path], folder, self.core)
        self.program.wait_for_port(port)
        self.listens_on(port)

    version = servers.HAProxy.version


def write_list(bench, folder, kind, count, form):
    path = os.path.join(folder, "bench.list")
    with open(path, "wb") as file:
        subprocess.run([bench.tool("bench_policy"), "list", kind, str(count), form], stdout=file, check=True, timeout=60)
    os.chmod(path, 0o644)
    return path


def listed_server(bench, name, kind):
    if name == "sallyport":
        return ListedSallyport(os.path.abspath(bench.options.sallyport), bench.server_core)
    binary = servers.find_peer(name)
    if binary is None:
        return None
    server = (ListedSquid if name == "squid" else ListedHAProxy)(binary, bench.server_core)
    server.for_kind(kind)
    return server


def start_listed(bench, name, kind, count, say):
    server = listed_server(bench, name, kind)
    if server is None:
        return None
    folder = bench.new_folder("%s-%s-%d" % (name, kind, count))
    write_list(bench, folder, kind, count, "sallyport" if name == "sallyport" else "plain")
    began = time.monotonic()
    server.start(folder, {})
    server.pin()
    say("  %-9s %8d %s loaded, %.1f s" % (name, count, kind, time.monotonic() - began))
    return Listed(server, kind, count)


def ask(bench, listed, kind_of_name, count, entries):
    """CPU seconds of the server for so many requests."""
    server = listed.server
    time.sleep(0.1)
    before = server.cpu_seconds()
    done = subprocess.run([bench.tool("bench_ask"), listed.kind, kind_of_name, str(entries), "--proxy",
                           server.addresses["http"], "--count", str(count), "--first", str(listed.asked)],
                          stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300,
                          preexec_fn=servers.pinned(bench.load_core), check=False)
    if done.returncode:
        raise Trouble("%s: %s%s" % (server.name, done.stderr.strip(), server.program.last_words()))
    listed.asked += count
    time.sleep(0.1)
    return server.cpu_seconds() - before


def ask_once(bench, listed, kind_of_name):
    if kind_of_name not in listed.batch:
        one = ask(bench, listed, kind_of_name, 64, listed.count) / 64
        listed.batch[kind_of_name] = max(64, min(BATCH_MAX, int(BATCH_SECONDS / max(one, 1e-6))))
        ask(bench, listed, kind_of_name, max(64, listed.batch[kind_of_name] // 4), listed.count)
    count = listed.batch[kind_of_name]
    return ask(bench, listed, kind_of_name, count, listed.count) / count * 1e6


def measure_kind(bench, kind, counts, asks, say):
    """us of CPU per request: [server][asked][entries] -> rounds. All with all lists run at once and take turns."""
    every, found = [], {}
    try:
        for name in ("sallyport", "squid", "haproxy"):
            for count in (1,) + counts:
                try:
                    listed = start_listed(bench, name, kind, count, say)
                except Trouble as trouble:
                    say("  %s with %d %s is left out: %s" % (name, count, kind, trouble))
                    continue
                if listed:
                    every.append(listed)
        for number in range(min(bench.options.rounds, 5)):
            for listed in every[:: -1 if number % 2 else 1]:
                for asked in asks:
                    cost = ask_once(bench, listed, asked)
                    found.setdefault(listed.server.name, {}).setdefault(asked, {}).setdefault(
                        str(listed.count), []).append(cost)
            say("  %s round %d" % (kind, number + 1))
    finally:
        for listed in every:
            listed.server.stop()
    return found


def measure_peers(bench, say):
    return {"suffixes": measure_kind(bench, "suffixes", SUFFIXES, ("below", "miss"), say),
            "regexes": measure_kind(bench, "regexes", SCANS, ("miss",), say)}


def above_one(rounds, one):
    """What a list costs: above the list of one entry, in each round; median and spread."""
    extra = [a - b for a, b in zip(rounds, one)]
    return statistics.median(extra), min(extra), max(extra)


def peers_text(found):
    text = ("CPU per denied `http://` request in us (median), and in brackets what is above the same proxy with a list of one "
            "entry: median, (min to max). Where the range holds 0, the look-up drowns in the noise of the rest.\n")
    for kind, title, counts in (("suffixes", "Suffixes (Squid: dstdomain; HAProxy: -m end)", SUFFIXES),
                                ("regexes", "Regular expressions (Squid: dstdom_regex; HAProxy: -m reg)", SCANS)):
        rows = []
        for name, asks in found[kind].items():
            for asked, costs in asks.items():
                cells = ["%s, %s" % (name, "name below an entry" if asked == "below" else asked)]
                cells.append("%.1f" % statistics.median(costs["1"]))
                for count in counts:
                    if str(count) not in costs:
                        cells.append("-")
                        continue
                    cells.append("%.1f [%+.1f (%+.1f to %+.1f)]" % (
                        (statistics.median(costs[str(count)]),) + above_one(costs[str(count)], costs["1"])))
                rows.append(cells)
        text += "\n%s\n\n" % title + table(["proxy", "1 entry"] + ["{:,}".format(count) for count in counts], rows) + "\n"
    return text + "\n![beside peers](plots/peers-suffixes.svg) ![beside peers](plots/peers-regexes.svg)\n"


def peers_plots(found):
    for kind, counts, asked in (("suffixes", SUFFIXES, "below"), ("regexes", SCANS, "miss")):
        lines = []
        for name, asks in found[kind].items():
            costs = asks[asked]
            lines.append((name, [(count, statistics.median(costs[str(count)])) for count in counts if str(count) in costs],
                          False))
        write_plot("peers-%s.svg" % kind, plots.plot("A request that is denied, by entries (%s)" % kind,
                                                     "us of CPU a request", lines, None, True))


# ---- a swap under load --------------------------------------------------------------------------


class SwappedSallyport(servers.Sallyport):
    CONFIGURATION = servers.Sallyport.CONFIGURATION + """\
limits: {sessions_per_client: 100000}
"""
    POLICY = """\
lists: {bench: bench.list}
rules:
  - {name: in the list, when: {to: bench}, then: {access: deny}}
defaults: {access: allow, tls: bypass, auth: exempt, class: normal, ports: [1-65535]}
"""


def memory_of(process):
    rollup = servers.read_file("/proc/%d/smaps_rollup" % process)
    found = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:] if line.endswith("kB")}
    return {"rss_mib": found.get("Rss", 0) / 1024, "pss_mib": found.get("Pss", 0) / 1024}


def reload_ten(bench, server, lists):
    """[begin, end] of each, and seconds to be in force."""
    times = []
    for number in range(RELOADS):
        path = os.path.join(server.program.folder, "bench.list")
        shutil.copyfile(lists[(number + 1) % 2], path + ".new")
        os.replace(path + ".new", path)
        time.sleep(1.0)
        began = time.monotonic()
        server.command(bench.load_core, "reload")
        times.append((began, time.monotonic()))
    return times


def longest_in(result, spans):
    """ms: in these spans of time, and outside of them."""
    inside = outside = 0.0
    for number, took_us in enumerate(result["windows_us"]):
        at = (result["began_ms"] + (number + 0.5) * result["window_ms"]) / 1000
        if any(begin - 0.02 <= at <= end + 0.8 for begin, end in spans):
            inside = max(inside, took_us / 1000)
        else:
            outside = max(outside, took_us / 1000)
    return inside, outside


def measure_swap(bench, server, lists, is_apart, say):
    roles = server.status(bench.load_core)["roles"]
    workers = [role["pid"] for role in roles if role["role"] == "worker"]
    if is_apart:  # the child that compiles is the parent's, and so is its core
        os.sched_setaffinity(server.program.process.pid, {bench.load_core})
        for worker in workers:
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(worker, os.SCHED_FIFO, os.sched_param(1))
    before = server.status(bench.load_core)["metrics"]["longest_turn_us"]
    seconds = 4 + RELOADS * 4
    with subprocess.Popen([bench.tool("bench_pause"), "--proxy", server.addresses["echo"], "--port",
                           str(bench.origin["echo"]), "--count", str(TUNNELS), "--seconds", str(seconds)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=servers.pinned(bench.load_core)) as pause:
        try:
            if pause.stdout.readline().strip() != "ready":
                raise Trouble("the tunnels did not open: %s" % pause.communicate(timeout=10)[1])
            time.sleep(3)
            quiet = server.status(bench.load_core)["metrics"]["longest_turn_us"]
            spans = reload_ten(bench, server, lists)
            memory = [memory_of(pid) for pid in workers]
            out, errors = pause.communicate(timeout=seconds + 60)
        finally:
            pause.kill()
    if pause.returncode:
        raise Trouble("bench_pause: %s" % errors.strip())
    result = json.loads(out.strip().splitlines()[-1])
    after = server.status(bench.load_core)
    inside, outside = longest_in(result, spans)
    taken = [end - begin for begin, end in spans]
    say("  longest turn %d -> %d -> %d us; longest round trip %.2f ms, without a reload %.2f ms; in force after %.2f s" % (
        before, quiet, after["metrics"]["longest_turn_us"], inside, outside, statistics.median(taken)))
    return {"turn_before_us": before, "turn_quiet_us": quiet, "turn_us": after["metrics"]["longest_turn_us"],
            "round_trip_ms": inside, "round_trip_quiet_ms": outside, "tunnels": result["tunnels"], "lost": result["lost"],
            "refused": result["refused"], "new": result["new"], "probes": result["probes"], "in_force_s": statistics.median(taken),
            "in_force_max_s": max(taken), "generation": after["policy"]["generation"], "entries": after["policy"]["entries"],
            "workers": memory, "all_pss_mib": sum(memory_of(pid)["pss_mib"] for pid in server.processes()),
            "per_tunnel_ms": result["longest_ms"]}


def measure_reload(bench, say):
    """Twice: with what compiles on the load's core, as where a core is free, and with all on one core."""
    found = {}
    with contextlib.suppress(PermissionError):  # the origin is not to wait for what compiles
        os.sched_setscheduler(bench.origin_program.process.pid, os.SCHED_FIFO, os.sched_param(10))
    for label, is_apart in (("nothing else on the workers' core", True), ("workers and compiling on one core", False)):
        folder = bench.new_folder("swap")
        lists = []
        for number, count in enumerate((1000000, 1001000)):
            path = write_list(bench, folder, "suffixes", count, "sallyport")
            lists.append(path + ".%d" % number)
            shutil.copyfile(path, lists[-1])
        shutil.copyfile(lists[0], path)
        server = SwappedSallyport(os.path.abspath(bench.options.sallyport), bench.server_core, workers=2)
        try:
            server.start(folder, bench.origin)
            server.pin()
            found[label] = measure_swap(bench, server, lists, is_apart, say)
        finally:
            with contextlib.suppress(Trouble):
                server.stop()
    return found


def reload_text(found):
    rows, all_reached = [], True
    for label, run in found.items():
        reached = run["turn_us"] / 1000 <= TARGET_PAUSE_MS and run["lost"] == 0 and run["refused"] == 0
        all_reached = all_reached and reached
        rows.append([label, "%.2f ms (before: %.2f)" % (run["turn_us"] / 1000, run["turn_quiet_us"] / 1000),
                     "%.2f ms (without a reload: %.2f)" % (run["round_trip_ms"], run["round_trip_quiet_ms"]),
                     "%d of %d; new ones refused: %d of %d" % (run["lost"], run["tunnels"], run["refused"], run["new"]),
                     "%.2f s (longest %.2f)" % (run["in_force_s"], run["in_force_max_s"]),
                     " / ".join("%.0f and %.0f" % (worker["rss_mib"], worker["pss_mib"]) for worker in run["workers"]),
                     "%.0f" % run["all_pss_mib"], verdict(reached)])
    text = ("Two workers, a million suffixes, %d tunnels (four echoes each millisecond, a new tunnel every 10 ms), %d reloads of "
            "a changed list. To reach: no turn of a worker above %g ms, no tunnel lost. The longest turn is the worker's own "
            "figure since its start; round trips are what clients saw, with all that the machine does beside. In the first row compiling "
            "has another core, and nothing takes the workers' core from them (real-time priority): what is seen is their own.\n\n" % (
                TUNNELS, RELOADS, TARGET_PAUSE_MS))
    text += table(["", "longest turn of a worker", "longest round trip", "tunnels lost", "`reload` to in force",
                   "worker MiB: RSS and PSS", "all processes, PSS MiB", "verdict"], rows)
    return text + "\n", all_reached
