# SPDX-License-Identifier: Apache-2.0
"""The rows on media: calls by themselves, and beside saturating downloads.

The server alone on its core; downloads and their origin on the other one, calls and theirs there too, but ahead of them (real-time
priority): what is late is late in the server. See README.md for what is compared with what.
"""
import json
import os
import re
import select
import statistics
import subprocess
import time

import plots
import servers
from servers import Trouble

GIB = 1 << 30
STREAMS, RATE, SIZE, DOWNLOADS = 50, 50, 200, 4
SETTLE_SECONDS = 0.5
NOISY_US = 2000  # the generator was late itself
NOISY_PART = 0.05  # others had so much of a core
NAMES = ["media-alone", "media-beside-bulk"]
TITLES = {"media-alone": "calls, nothing beside them", "media-beside-bulk": "calls beside bulk"}
P50_TARGET, P99_TARGET, BULK_TARGET, PACKET_TARGET = 0.6, 1.0, 1.8, 1.15


class Named(servers.Sallyport):
    """One of several builds."""

    def __init__(self, binary, core, name):
        super().__init__(binary, core)
        self.name = name


class Sallyport(Named):
    """The port of the calls' origin is class media."""

    RULE = """\
rules:
  - {name: calls, when: {port: %d}, then: {class: media}}
"""

    def start(self, folder, origin):
        self.POLICY = self.RULE % origin["echo"] + servers.Sallyport.POLICY
        super().start(folder, origin)


class Direct(servers.Floor):
    """No proxy between the calls and their origin; the downloads beside them have the floor. What the rig itself does to calls."""

    name = "direct"
    direct = ("echo",)

    def start(self, folder, origin):
        super().start(folder, origin)
        self.addresses["echo"] = "%s:%d" % (servers.ORIGINS[0], origin["echo"])


def leads_by_itself(server, service):
    return server.is_plain or service in getattr(server, "direct", ())


# ---- generators ---------------------------------------------------------------------------------


class Talk:
    """A program of the bench that is told things on stdin and answers on stdout, line by line."""

    def __init__(self, bench, name, command):
        self.name = name
        self.process = subprocess.Popen([bench.tool(command[0])] + command[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, bufsize=1, preexec_fn=servers.pinned(bench.load_core))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def line(self, seconds=60):
        """The next line that it says."""
        text = self.process.stdout.readline() if select.select([self.process.stdout], [], [], seconds)[0] else ""
        if not text:
            self.process.kill()
            raise Trouble("%s: %s" % (self.name, self.process.communicate()[1].strip() or "the generator says nothing"))
        return text.strip()

    def wait_for(self, word, seconds=60):
        line = self.line(seconds)
        if line != word:
            raise Trouble('%s: the generator says "%s", not "%s"' % (self.name, line, word))

    def tell(self, word=""):
        self.process.stdin.write(word + "\n")

    def number(self):
        """What a program that counts has counted so far."""
        self.tell()
        return int(self.line())


class Origin(Talk):
    """It says "ready NAME PORT"."""

    def __init__(self, bench, *command):
        super().__init__(bench, command[0], list(command))
        self.port = int(self.line().split()[-1])


class Generator(Talk):
    def __init__(self, bench, server, command, service, port, *more):
        super().__init__(bench, server.name, command + ["--proxy", server.addresses[service], "--port", str(port), *more] + (
            ["--plain"] if leads_by_itself(server, service) else []))


class Bulk(Generator):
    def __init__(self, bench, server, origin):
        super().__init__(bench, server, ["bench_readers", "fast"], "source", origin.port, "--count", str(DOWNLOADS))
        self.wait_for("ready")
        if bench.options.real_time:  # of what calls leave, most
            for process in (self.process.pid, origin.process.pid):
                os.setpriority(os.PRIO_PROCESS, process, -15)


class Calls(Generator):
    def __init__(self, bench, server, origin, seconds):
        super().__init__(bench, server, ["bench_media", "streams"], "echo", origin.port, "--streams", str(STREAMS), "--rate", str(RATE),
                         "--size", str(SIZE), "--seconds", str(seconds))

    def finish(self):
        found = json.loads(self.line())
        if found["errors"]:
            raise Trouble("%s: %d packets: %s" % (self.name, found["errors"], found["first_error"]))
        return found


def come_first(server, real_time):
    """Nothing else that runs on this machine takes the server's core from it."""
    if real_time:
        for process in server.processes():
            for task in os.listdir("/proc/%d/task" % process):
                os.sched_setscheduler(int(task), os.SCHED_FIFO, os.sched_param(1))


class Mark:
    """What the server has spent and what has gone through it, at one moment; `ends`: what works for us on the other core."""

    def __init__(self, bench, server, ends, bulk=None):
        self.cpu, self.time, self.bytes = server.cpu_seconds(), time.monotonic(), bulk.number() if bulk else 0
        ours = sum(servers.cpu_seconds(end.process.pid) for end in ends)
        self.others = [core_seconds(bench.server_core) - self.cpu, core_seconds(bench.load_core) - ours]

    def per_gib(self, before):
        return (self.cpu - before.cpu) / (self.bytes - before.bytes) * GIB

    def gib_per_second(self, before):
        return (self.bytes - before.bytes) / (self.time - before.time) / GIB

    def noise(self, before):
        """The share that others had of either core."""
        return max(now - then for now, then in zip(self.others, before.others)) / (self.time - before.time)


def core_seconds(core):
    """How long it has worked for anybody."""
    user, nice, system, _, _, irq, softirq = map(int, re.search(
        r"^cpu%d (.*)$" % core, servers.read_file("/proc/stat"), re.M).group(1).split()[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


# ---- one measurement ----------------------------------------------------------------------------


class Bed:
    """The origins, and how calls are measured on a server."""

    def __init__(self, bench):
        self.bench = bench
        self.calls_origin, self.bulk_origin = Origin(bench, "bench_media", "origin"), Origin(bench, "bench_readers", "origin")
        # What leads to the services of bench_origin leads to these.
        self.origin = dict(bench.origin, echo=self.calls_origin.port, source=self.bulk_origin.port)
        self.bulk_seconds, self.seconds = (2, 3) if bench.options.quick else (4, 10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for origin in (self.calls_origin, self.bulk_origin):
            origin.__exit__()

    def calls(self, server, bulk=None):
        """One run of the streams: what they saw, and the marks around what counts."""
        with Calls(self.bench, server, self.calls_origin, self.seconds) as calls:
            ends = [calls, self.calls_origin] + ([bulk, self.bulk_origin] if bulk else [])
            calls.wait_for("measuring")
            before = Mark(self.bench, server, ends, bulk)
            calls.wait_for("measured")
            after = Mark(self.bench, server, ends, bulk)
            return dict(calls.finish(), others=after.noise(before)), before, after

    def alone(self, server):
        time.sleep(SETTLE_SECONDS)
        found, before, after = self.calls(server)
        return dict(found, packet_us=(after.cpu - before.cpu) / found["done"] * 1e6)

    def beside(self, server):
        with Bulk(self.bench, server, self.bulk_origin) as bulk:
            time.sleep(SETTLE_SECONDS)
            before = Mark(self.bench, server, [bulk, self.bulk_origin], bulk)
            time.sleep(self.bulk_seconds)
            after = Mark(self.bench, server, [bulk, self.bulk_origin], bulk)
            alone = {"bulk_alone_s": after.per_gib(before), "gib_alone": after.gib_per_second(before)}
            noise = after.noise(before)
            found, before, after = self.calls(server, bulk)
        return dict(found, **alone, bulk_s=after.per_gib(before), gib=after.gib_per_second(before), others=max(noise, found["others"]))

    def measure(self, name, server):
        if server.program is None:
            server.start(self.bench.new_folder(server.name), self.origin)
            server.pin()
            come_first(server, self.bench.options.real_time)
        processes = server.processes()
        found = (self.alone if name == "media-alone" else self.beside)(server)
        if server.processes() != processes:
            raise Trouble("%s: processes ended or were started during the measurement.%s" % (server.name, server.program.last_words()))
        return found


def told(name, found):
    text = "p50 %5.2f  p99 %5.2f  p99.9 %5.2f  max %5.2f ms   jitter %.2f ms   late %d" % (
        found["p50_us"] / 1000, found["p99_us"] / 1000, found["p999_us"] / 1000, found["max_us"] / 1000, found["jitter_us"] / 1000,
        found["late"])
    if name == "media-alone":
        text += "   %.1f us a packet" % found["packet_us"]
    else:
        text += "   bulk %.3f s/GiB, %.2f GiB/s (alone %.3f, %.2f)" % (found["bulk_s"], found["gib"], found["bulk_alone_s"], found["gib_alone"])
    if is_noisy(found):
        text += "   NOISY: the generator was late by %.1f ms at p99, others had %.0f %% of a core" % (
            found["late_sends_p99_us"] / 1000, found["others"] * 100)
    return text


def is_noisy(found):
    return found["late_sends_p99_us"] > NOISY_US or found["others"] > NOISY_PART


def choose_servers(bench, kind=Sallyport):
    """The floor, the builds of Sallyport, the peers."""
    options, core = bench.options, bench.server_core
    found = [servers.Floor(bench.tool("bench_floor"), core)]
    if not options.without_sallyport:
        found.append(kind(os.path.abspath(options.sallyport), core, "sallyport"))
    found += [kind(path, core, name) for name, path in options.also.items()]
    for name in options.peers:
        path = servers.find_peer(name)
        if path:
            found.append(servers.PEERS[name](path, core))
    return found


def measure_row(bench, everybody, once, told, say):
    """{server: its runs, one a round}; who fails is left out with a word, but not the floor."""
    runs = {server.name: [] for server in everybody}
    everybody = list(everybody)
    for number in range(bench.options.rounds):
        for server in list(everybody)[:: -1 if number % 2 else 1]:
            try:
                runs[server.name].append(once(server))
            except (Trouble, subprocess.TimeoutExpired) as trouble:
                if server.name == "floor":
                    raise
                say("  %s is left out here: %s" % (server.name, trouble))
                server.stop()
                everybody.remove(server)
                continue
            say("  round %d  %-13s %s" % (number + 1, server.name, told(runs[server.name][-1])))
    return {name: found for name, found in runs.items() if len(found) == bench.options.rounds}


def may_come_first():
    """Whether real-time priority is permitted; without it there is nothing to measure here."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


def measure(bench, names, say):
    if not may_come_first():
        say("left out: real-time priority is not permitted; become root, or raise ulimit -r")
        return {}
    os.sched_setaffinity(0, {bench.load_core})  # nothing but the server on its core
    found = {}
    everybody = choose_servers(bench)
    if not bench.options.quick:
        everybody.insert(1, Direct(bench.tool("bench_floor"), bench.server_core))
    try:
        with Bed(bench) as bed:
            for name in NAMES:
                if name in names:
                    say(TITLES[name])
                    found[name] = measure_row(bench, everybody, lambda server, name=name: bed.measure(name, server),
                                              lambda run, name=name: told(name, run), say)
    finally:
        for server in everybody:
            server.stop()
    return found


# ---- the tables ---------------------------------------------------------------------------------


def middle(runs, key):
    return statistics.median(run[key] for run in runs)


def ratios(runs, others, key, other_key=None):
    return [a[key] / b[other_key or key] for a, b in zip(runs, others)]


def best_ratios(runs, peers, key):
    """Against the best of the peers in the same round."""
    return [run[key] / min(others) for run, others in zip(runs, zip(*([other[key] for other in peer] for peer in peers)))]


def spread(values):
    return "%.2f (%.2f-%.2f)" % (statistics.median(values), min(values), max(values))


def judge(what, values, limit):
    reached = statistics.median(values) <= limit
    return "%s: %s, to reach <= %g: %s%s" % (what, spread(values), limit, "reached" if reached else "**missed**", "" if all(
        (value <= limit) == reached for value in values) else ", rounds disagree"), reached


LATENCY = (("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us"), ("longest", "max_us"), ("jitter", "jitter_us"))


def latency_cells(runs):
    return ["%.2f" % (middle(runs, key) / 1000) for _, key in LATENCY] + ["%d" % max(run["late"] for run in runs), "%d of %d" % (
        sum(is_noisy(run) for run in runs), len(runs))]


def alone_text(found):
    lines = ["| calls alone | %s | late | noisy runs | CPU a packet | times the floor (min-max) |" % " | ".join(name for name, _ in LATENCY),
             "|---" * (len(LATENCY) + 5) + "|"]
    for name, runs in found.items():
        lines.append("| %s |" % " | ".join([name] + latency_cells(runs) + [
            "%.1f us" % middle(runs, "packet_us"), spread(ratios(runs, found["floor"], "packet_us"))]))
    if "sallyport" not in found:
        return "\n".join(lines), True
    verdict, reached = judge("CPU a packet there and back, times the floor", ratios(found["sallyport"], found["floor"], "packet_us"), PACKET_TARGET)
    return "\n".join(lines + ["", verdict]), reached


def beside_text(found, plain):
    lines = ["| calls beside bulk | %s | late | noisy runs | bulk meanwhile: CPU a GiB | times the floor's alone (min-max) | GiB/s | bulk alone | GiB/s |"
             % " | ".join(name for name, _ in LATENCY), "|---" * (len(LATENCY) + 8) + "|"]
    for name, runs in found.items():
        lines.append("| %s |" % " | ".join([name] + latency_cells(runs) + [
            "%.3f s" % middle(runs, "bulk_s"), spread(ratios(runs, found["floor"], "bulk_s", "bulk_alone_s")), "%.2f" % middle(runs, "gib"),
            "%.3f s (%.2f)" % (middle(runs, "bulk_alone_s"), statistics.median(ratios(runs, found["floor"], "bulk_alone_s"))),
            "%.2f" % middle(runs, "gib_alone")]))
    lines.append("")
    ours, reached = found.get("sallyport"), True
    if not ours:
        return "\n".join(lines), True
    peers = [runs for name, runs in found.items() if name in servers.PEERS and name not in plain]
    checks = [("bulk meanwhile, times the floor's without media", ratios(ours, found["floor"], "bulk_s", "bulk_alone_s"), BULK_TARGET)]
    if peers:
        checks += [("p50, times the best proxy", best_ratios(ours, peers, "p50_us"), P50_TARGET),
                   ("p99, times the best proxy", best_ratios(ours, peers, "p99_us"), P99_TARGET)]
    for check in checks:
        verdict, well = judge(*check)
        lines.append("- " + verdict)
        reached = reached and well
    return "\n".join(lines), reached


def text(found):
    """All that was measured, and whether everything was reached."""
    if not found:
        return "Not measured: real-time priority was not permitted.\n", False
    parts, all_reached = ["Round trips in ms, median of the rounds; late: above 20 ms, in the worst round."], True
    plain = {name for name, peer in servers.PEERS.items() if peer.is_plain}
    if "media-alone" in found:
        part, reached = alone_text(found["media-alone"])
        parts.append(part)
        all_reached = all_reached and reached
    if "media-beside-bulk" in found:
        part, reached = beside_text(found["media-beside-bulk"], plain)
        parts.append(part)
        all_reached = all_reached and reached
        parts.append("![latency](plots/media-latency.svg) ![what it costs](plots/media-frontier.svg)")
    return "\n\n".join(parts) + "\n", all_reached


def distribution(runs):
    """Points of the share of packets that are slower, as 1 in so many, and of their round trip in ms."""
    shares = [share for share, _ in runs[0]["quantiles"]]
    times = [statistics.median(values) / 1000 for values in zip(*([time for _, time in run["quantiles"]] for run in runs))]
    return [(1 / (1 - share) if share < 1 else runs[0]["done"], time) for share, time in zip(shares, times)]


def write_plots(found):
    beside = found.get("media-beside-bulk")
    if not beside:
        return
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plots")
    with open(os.path.join(folder, "media-latency.svg"), "w", encoding="ascii") as file:
        file.write(plots.plot("Calls beside bulk: round trips", "ms", [(name, distribution(runs), name in ("floor", "direct"))
                                                                       for name, runs in beside.items()],
                              is_log=True, label="so many are faster", words=lambda value: "%g %%" % (100 - 100 / value)))
    with open(os.path.join(folder, "media-frontier.svg"), "w", encoding="ascii") as file:
        file.write(plots.dots("Calls beside bulk: what their p99 costs", "CPU of bulk meanwhile, times the floor's without calls", "p99, ms",
                              [(name, statistics.median(ratios(runs, beside["floor"], "bulk_s", "bulk_alone_s")), middle(runs, "p99_us") / 1000)
                               for name, runs in beside.items() if name != "direct"], (BULK_TARGET, "to reach")))
