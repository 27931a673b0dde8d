#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bench: what Sallyport costs on one core, beside the floor and beside peers (DESIGN 11).

CPU per unit of work is what is measured, never wall time: the machines are shared and noisy. All
servers of a row take turns, so that a slow minute hits all of them; medians are compared.
"""
import argparse
import contextlib
import datetime
import json
import os
import platform
import re
import resource
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import crowd
import inspection
import login
import many
import media
import profiling
import scale
import servers
import storm
import syscalls
from servers import Trouble

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.normpath(os.path.join(HERE, "../../build/release"))
RESULTS = os.path.join(HERE, "RESULTS.md")
GIB = 1 << 30
SETTLE_SECONDS = 0.3  # for what a server does behind the last byte: closing, logging


class Row:
    """One line of DESIGN 11 that is measured here."""

    def __init__(self, name, title, service, unit, target, per=None, **amount):
        self.name = name
        self.title = title
        self.service = service
        self.unit = unit
        self.target = target  # ("ratio", times the floor) or ("value", in the unit)
        self.per = per  # (CPU seconds, units of work done) -> value
        self.amount = amount  # options of bench_load


def per_item_us(cpu, load):
    return cpu / load["done"] * 1e6


def per_gib(cpu, load):
    return cpu / load["bytes"] * GIB


ROWS = [
    Row("connect", "CONNECT, 64-byte echo, close: CPU", "echo", "us", ("ratio", 1.15), per_item_us,
        count=20000, concurrency=16),
    Row("bulk-down", "bulk tunnel, 4 downloads: CPU per GiB", "source", "s", ("ratio", 1.05), per_gib,
        count=4, bytes=GIB),
    Row("bulk-up", "bulk tunnel, 4 uploads: CPU per GiB", "sink", "s", ("ratio", 1.05), per_gib,
        count=4, bytes=GIB),
    Row("idle", "idle tunnel: memory in user space", "echo", "KiB", ("value", 1.1), count=9000,
        concurrency=64),
    Row("get", "http:// GET of 1 kB, keep-alive: CPU", "http", "us", ("value", 20.0), per_item_us,
        count=100000, concurrency=32),
]
MODULES = {"syscalls": syscalls, "many": many, "storm": storm}  # rows beside peers, each with measure(), text() and figures()
SCALE_ROWS = ("policy", "listed", "reload", "login") + tuple(MODULES)  # scale.py, login.py
SHARED_ROWS = ("connect", "bulk-down", "bulk-up", "get")  # with --workers 2
NOT_HERE = ""  # rows of DESIGN 11 that this bench does not measure


failures = {}  # (row, server) -> why it was left out


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- running the load ---------------------------------------------------------------------------


class Bench:
    def __init__(self, options, folder, cores):
        self.options = options
        self.folder = folder
        self.server_core, self.load_core = cores
        self.origin_program = None
        self.origin = {}  # service -> port
        self.folders = 0

    def tool(self, name):
        path = os.path.join(self.options.tools, name)
        if not os.access(path, os.X_OK):
            raise Trouble("%s is missing: build it with ./tests/bench/run.sh (or cmake --build build/release "
                          "--target %s), or say with --tools in which folder it is" % (path, name))
        return path

    def new_folder(self, name):
        self.folders += 1
        path = os.path.join(self.folder, "%02d-%s" % (self.folders, name))
        os.mkdir(path)
        os.chmod(path, 0o755)
        return path

    def start_origin(self):
        self.origin_program = servers.Program([self.tool("bench_origin")], self.new_folder("origin"),
                                              self.load_core)
        words = self.origin_program.ready_line().split()[1:]
        self.origin = {name: int(port) for name, port in zip(words[::2], words[1::2])}

    def amount_of(self, row, part=1.0):
        """The row's amount of work, or a part of it for warming up."""
        amount = dict(row.amount)
        scale = part * (0.2 if self.options.quick else 1.0)
        key = "bytes" if "bytes" in amount else "count"
        amount[key] = max(64, int(amount[key] * scale))
        if row.name == "idle":
            amount["count"] = min(amount["count"], (servers.open_files() - 500) // 2)
        return amount

    def load_command(self, row, server, amount, mode=None):
        command = [self.tool("bench_load"), mode or row.name, "--proxy", server.addresses[row.service],
                   "--port", str(self.origin[row.service])]
        for name, value in amount.items():
            command += ["--" + name, str(value)]
        return command + (["--plain"] if server.is_plain else [])

    def load_result(self, server, code, out, errors):
        """What bench_load reported; Trouble if anything went wrong."""
        try:
            result = json.loads(out.strip().splitlines()[-1])
        except (IndexError, ValueError):
            raise Trouble("bench_load failed (%d): %s" % (code, errors.strip())) from None
        if code or result["errors"]:
            raise Trouble("%s: %d of %d failed, first: %s.%s" % (
                server.name, result["errors"], result["errors"] + result["done"], result["first_error"],
                server.program.last_words() if server.program else ""))
        return result

    def run_load(self, row, server, amount, mode=None):
        done = subprocess.run(self.load_command(row, server, amount, mode), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=600,
                              preexec_fn=servers.pinned(self.load_core), check=False)
        return self.load_result(server, done.returncode, done.stdout, done.stderr)

    # ---- one measurement each

    def cpu_of(self, row, server):
        """CPU of all processes of the server per unit of work."""
        time.sleep(SETTLE_SECONDS)
        processes, before = server.processes(), server.cpu_seconds()
        load = self.run_load(row, server, self.amount_of(row))
        time.sleep(SETTLE_SECONDS)
        cpu = server.cpu_seconds() - before
        if server.processes() != processes:
            raise Trouble("%s: processes ended or were started during the measurement.%s" % (
                server.name, server.program.last_words()))
        return row.per(cpu, load), load

    def memory_of(self, row, server):
        """Growth of the server's memory per idle tunnel; the server must be fresh."""
        self.run_load(row, server, {"count": 64, "concurrency": 16}, "connect")
        time.sleep(SETTLE_SECONDS)
        before = server.memory_bytes()
        amount = self.amount_of(row)
        with subprocess.Popen(self.load_command(row, server, amount), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              preexec_fn=servers.pinned(self.load_core)) as load:
            try:
                line = ""
                if select.select([load.stdout], [], [], 120)[0]:
                    line = load.stdout.readline()
                time.sleep(1.0)  # for what a server gives back once nothing moves
                after = server.memory_bytes()
                out, errors = load.communicate("\n", timeout=120)
            except (subprocess.TimeoutExpired, BrokenPipeError):
                load.kill()
                raise Trouble("%s: the idle tunnels did not end" % server.name) from None
        result = self.load_result(server, load.returncode, line + out, errors)
        if line.split() != ["ready", str(amount["count"])]:
            raise Trouble("%s: the tunnels were not all idle at once" % server.name)
        return (after - before) / amount["count"] / 1024, result


# ---- rows and rounds ----------------------------------------------------------------------------


def start(bench, server):
    server.start(bench.new_folder(server.name), bench.origin)
    server.pin()


def measure_once(bench, row, server):
    if row.name != "idle":
        return bench.cpu_of(row, server)
    server.stop()
    start(bench, server)
    return bench.memory_of(row, server)


def measure_row(bench, row, everybody):
    """Values of each server, one per round; `everybody` take turns, forwards and backwards."""
    everybody = [server for server in everybody if row.name not in server.cannot]
    values = {server.name: [] for server in everybody}
    rounds = min(bench.options.rounds, 3) if row.name == "idle" else bench.options.rounds
    if row.name != "idle":
        for server in list(everybody):
            with drop(row, server, everybody):
                if server.program is None or not server.program.is_running():
                    start(bench, server)
                bench.run_load(row, server, bench.amount_of(row, 0.2))
    for number in range(rounds):
        for server in list(everybody)[:: -1 if number % 2 else 1]:
            with drop(row, server, everybody):
                value, load = measure_once(bench, row, server)
                values[server.name].append(value)
                say("  %-9s round %d  %-13s %9.3f %s   (%.2f s, p50 %d us, p99 %d us)" % (
                    row.name, number + 1, server.name, value, row.unit, load["seconds"], load["p50_us"],
                    load["p99_us"]))
    if row.name == "idle":
        for server in everybody:
            server.stop()
    return {name: found for name, found in values.items() if len(found) == rounds}


@contextlib.contextmanager
def drop(row, server, everybody):
    """Who fails is left out of the row with a word; but without the floor there is no row."""
    try:
        yield
    except (Trouble, subprocess.TimeoutExpired) as trouble:
        if server.name == "floor":
            raise
        say("  %s is left out here: %s" % (server.name, trouble))
        failures[row.name, server.name] = str(trouble).splitlines()[0].removeprefix(server.name + ": ").rstrip(".")
        server.stop()
        everybody.remove(server)


# ---- the table ----------------------------------------------------------------------------------


def figure(values, unit):
    middle = statistics.median(values)
    form = "%.0f" if middle >= 100 else "%.1f" if middle >= 10 else "%.2f" if middle >= 1 else "%.3f"
    text = form % middle
    return "%s %s" % (text, unit)


def spread(values):
    return "%.2f (%.2f-%.2f)" % (statistics.median(values), min(values), max(values))


def verdict(row, values):
    """yes or no, from the median; and whether all rounds say the same."""
    kind, limit = row.target
    ours = values["sallyport"]
    judged = [a / b for a, b in zip(ours, values["floor"])] if kind == "ratio" else ours
    reached = statistics.median(judged) <= limit
    agreed = all((value <= limit) == reached for value in judged)
    return ("reached" if reached else "**missed**") + ("" if agreed else ", rounds disagree"), reached


def main_table(measured, is_ours_measured):
    lines = ["| work | floor | sallyport | sallyport / floor (min-max) | to reach | verdict |",
             "|---|---|---|---|---|---|"]
    all_reached = True
    for row, values in measured:
        floor, ours = values["floor"], values.get("sallyport")
        kind, limit = row.target
        target = "<= %.2f x floor" % limit if kind == "ratio" else "<= %g %s" % (limit, row.unit)
        cells = [row.title, figure(floor, row.unit), "-", "-", target, "not measured"]
        if ours:
            cells[2] = figure(ours, row.unit)
            cells[3] = spread([a / b for a, b in zip(ours, floor)])
            cells[5], reached = verdict(row, values)
            all_reached = all_reached and reached
        elif is_ours_measured:
            cells[5], all_reached = "**failed**", False
        lines.append("| %s |" % " | ".join(cells))
    return "\n".join(lines), all_reached


def peer_table(measured, peers):
    """Peers beside ours; in brackets how many times ours they cost."""
    lines = ["| work | sallyport | %s |" % " | ".join(peer.name for peer in peers),
             "|---|---|%s" % ("---|" * len(peers))]
    for row, values in measured:
        ours = values.get("sallyport")
        cells = [row.title, figure(ours, row.unit) if ours else "-"]
        for peer in peers:
            found = values.get(peer.name)
            cell = figure(found, row.unit) if found else "-"
            if found and ours:
                cell += " (%.1f x)" % (statistics.median(found) / statistics.median(ours))
            cells.append(cell)
        lines.append("| %s |" % " | ".join(cells))
    return "\n".join(lines + reasons(measured, peers))


def reasons(measured, peers):
    """Why a cell is empty: known before, or seen."""
    words = ["%s, %s: %s" % (peer.name, row.name, peer.cannot.get(row.name) or failures[row.name, peer.name])
             for row, values in measured for peer in peers
             if row.name in peer.cannot or (row.name, peer.name) in failures]
    return ["", "No figure: " + "; ".join(words) + "."] if words else []


def cpu_model():
    found = re.search(r"^model name\s*:\s*(.*)$", servers.read_file("/proc/cpuinfo"), re.M)
    return found.group(1) if found else platform.machine()


def steal_ticks():
    return int(servers.read_file("/proc/stat").split()[8])


def description(options, everybody, stolen, rounds=None):
    """`rounds`: where it is another number than what was asked for."""
    versions = ", ".join(server.version() for server in everybody)
    where = "server on one core, load and origin on another" if options.workers == 1 else (
        "%d workers (the floor has one thread); server, load and origin share the cores" % options.workers)
    return ("%s, Linux %s, %s, %d CPUs; %s. Median of %d rounds%s; %s, loopback. Stolen by the hypervisor "
            "meanwhile: %.1f s." % (
                datetime.date.today().isoformat(), platform.release(), cpu_model(), os.cpu_count(), versions,
                rounds or options.rounds, ", quick" if options.quick else "", where, stolen))


# ---- the command --------------------------------------------------------------------------------


def parse_command():
    names = [row.name for row in ROWS] + list(SCALE_ROWS) + inspection.NAMES + media.NAMES + crowd.NAMES
    parser = argparse.ArgumentParser(
        description="Measures what Sallyport costs on one core, beside the floor (the shortest CONNECT relay) "
                    "and beside peers. Exit status: 0 all targets reached, 1 one was missed or failed, 2 it did not work.")
    parser.add_argument("--sallyport", metavar="FILE", default=os.path.join(BUILD, "sallyport"),
                        help="the binary (%(default)s)")
    parser.add_argument("--also", metavar="NAME=FILE", action="append", default=[],
                        help="another Sallyport, measured in the same rounds under this name (may be given again)")
    parser.add_argument("--real-time", action="store_true",
                        help="calls, push, slow-readers: servers have real-time priority on their core. For machines where others work; "
                             "hides what a server's own processes do to each other")
    parser.add_argument("--without-sallyport", action="store_true", help="only the floor, and peers if asked for")
    parser.add_argument("--tools", metavar="FOLDER", default=os.path.join(BUILD, "tests/bench"),
                        help="where bench_load, bench_origin and bench_floor are (%(default)s)")
    parser.add_argument("--rows", metavar="ROW,...", default=",".join(names),
                        help="some of %s; the beginning of a name will do" % ", ".join(names))
    parser.add_argument("--rounds", metavar="N", type=int, help="5, or 3 with --quick")
    parser.add_argument("--quick", action="store_true", help="a fifth of the work: a first look, noisy")
    parser.add_argument("--peers", metavar="PEER,...", nargs="?", const=",".join(servers.PEERS), default="",
                        help="also those of %s that are installed" % ", ".join(servers.PEERS))
    parser.add_argument("--workers", metavar="N", type=int, choices=(1, 2), default=1,
                        help="2: Sallyport, and peers that can, with two workers on two cores, which load and origin share "
                             "with them; rows %s" % ", ".join(SHARED_ROWS))
    parser.add_argument("--write", action="store_true",
                        help="also write tests/bench/RESULTS.md (the parts that were measured) and its plots")
    parser.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    parser.add_argument("--profile", metavar="ROW", help="no table, but where the CPU of this row goes (perf), into profiles/")
    parser.add_argument("--keep", action="store_true", help="leave the servers' folders and logs in place")
    options = parser.parse_args()
    wanted = [name for name in (options.profile or options.rows).split(",") if name]
    for name in wanted:
        if not any(known.startswith(name) for known in names):
            parser.error("--rows: there is no row %s; there are %s" % (name, ", ".join(names)))
    options.rows = [row for row in ROWS if any(row.name.startswith(name) for name in wanted)]
    options.scale = [row for row in SCALE_ROWS if any(row.startswith(name) for name in wanted)]
    options.inspection = [row for row in inspection.NAMES if any(row.startswith(name) for name in wanted)]
    options.media = [row for row in media.NAMES if any(row.startswith(name) for name in wanted)]
    options.crowd = [row for row in crowd.NAMES if any(row.startswith(name) for name in wanted)]
    options.also = parse_also(parser, options.also)
    if options.workers > 1:
        options.rows = [row for row in options.rows if row.name in SHARED_ROWS]
        options.scale, options.inspection, options.media, options.crowd = [], [], [], []
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.peers = [name for name in options.peers.split(",") if name]
    for name in options.peers:
        if name not in servers.PEERS:
            parser.error("--peers: %s is not known; known are %s" % (name, ", ".join(servers.PEERS)))
    if options.profile and (options.scale or options.inspection or options.media or options.crowd or any(row.per is None for row in options.rows)):
        parser.error("--profile: one of %s" % ", ".join(row.name for row in ROWS if row.per))
    if options.rounds < 1 or not options.rows + options.scale + options.inspection + options.media + options.crowd:
        parser.error("at least one row and one round are needed")
    return options


def parse_also(parser, words):
    found = {}
    for word in words:
        name, _, path = word.partition("=")
        if not re.fullmatch(r"[a-z0-9._-]+", name) or name in ["floor", "sallyport", *found, *servers.PEERS] or not os.access(path, os.X_OK):
            parser.error("--also: %s is no NAME=FILE with a name of its own and a program" % word)
        found[name] = os.path.abspath(path)
    return found


def choose_cores(options):
    cores = sorted(os.sched_getaffinity(0))
    if options.workers > 1:
        return frozenset(cores[:options.workers]), frozenset(cores[:options.workers])
    if len(cores) < 2:
        say("warning: only one CPU: server and load share it, and figures will be too high")
    return cores[0], cores[-1]


def choose_servers(bench):
    """The floor and Sallyport, and the peers."""
    options = bench.options
    ours = [servers.Floor(bench.tool("bench_floor"), bench.server_core)]
    if not options.without_sallyport:
        if not os.access(options.sallyport, os.X_OK):
            raise Trouble("there is no Sallyport at %s: build it with ./tests/bench/run.sh, say where it is with "
                          "--sallyport FILE, or measure --without-sallyport" % options.sallyport)
        ours.append(servers.Sallyport(os.path.abspath(options.sallyport), bench.server_core, options.workers))
    peers = [media.Named(path, bench.server_core, name) for name, path in options.also.items()]
    for name in options.peers:
        path = servers.find_peer(name)
        if path:
            peers.append(servers.PEERS[name](path, bench.server_core, options.workers))
        else:
            say("%s is not installed and left out (apt-get install %s)" % (name, name))
    return ours, peers


def measure_path(bench):
    """The rows of ROWS: text, reached?, figures."""
    options = bench.options
    ours, peers = choose_servers(bench)
    measured = []
    began = steal_ticks()
    try:
        for row in options.rows:
            say("%s" % row.title)
            measured.append((row, measure_row(bench, row, ours + peers)))
    finally:
        for server in ours + peers:
            server.stop()
    stolen = (steal_ticks() - began) / os.sysconf("SC_CLK_TCK")
    table, all_reached = main_table(measured, not options.without_sallyport)
    text = "%s\n\n%s\n" % (description(options, ours + peers, stolen), table)
    if peers:
        text += "\nBeside peers; in brackets how many times Sallyport they cost:\n\n%s\n" % peer_table(measured, peers)
    return text, all_reached, {row.name: values for row, values in measured}


def measure_scale(bench, name):
    """One of SCALE_ROWS: text, reached?, figures."""
    began = steal_ticks()
    everybody = [servers.Sallyport(os.path.abspath(bench.options.sallyport), bench.server_core)]
    reached = True
    say({"policy": "look-ups", "listed": "denied requests beside peers", "reload": "a swap under load",
         "login": "authentication", "inspection": "inspection", "media": "calls", "crowd": "many tunnels at once"}.get(name, name))
    if name in MODULES:
        everybody = sum(choose_servers(bench), [])
        found = MODULES[name].measure(bench, everybody, say)
        text, reached = MODULES[name].text(found, everybody)
        if bench.options.write:
            MODULES[name].draw(found)
        found = MODULES[name].figures(found)
    elif name == "policy":
        found = scale.measure_policy(bench, say)
        text, reached = scale.policy_text(found)
    elif name == "listed":
        found = scale.measure_peers(bench, say)
        text = scale.peers_text(found)
        everybody += [server for server in (scale.listed_server(bench, peer, "suffixes") for peer in ("squid", "haproxy"))
                      if server]
    elif name == "login":
        found = login.measure(bench, say)
        text, reached = login.text(found)
    elif name == "inspection":
        found = inspection.measure(bench, bench.options.inspection, say)
        text, reached = inspection.text(found)
        everybody = inspection.measured_servers(bench)
    elif name in ("media", "crowd"):
        module = media if name == "media" else crowd
        found = module.measure(bench, getattr(bench.options, name), say)
        text, reached = module.text(found)
        everybody = media.choose_servers(bench)
    else:
        found = scale.measure_reload(bench, say)
        text, reached = scale.reload_text(found)
    if bench.options.write and name in ("policy", "listed"):
        (scale.policy_plots if name == "policy" else scale.peers_plots)(found)
    if bench.options.write and name == "media":
        media.write_plots(found)
    stolen = (steal_ticks() - began) / os.sysconf("SC_CLK_TCK")
    rounds = {"policy": min(bench.options.rounds, 3), "reload": 1}.get(name)
    return "%s\n\n%s" % (description(bench.options, everybody, stolen, rounds), text), reached, found


TITLES = {"path": "Data path", "path of two": "Data path, two workers", "policy": "Policy: look-ups", "listed": "Policy: beside peers",
          "reload": "Policy: a swap under load", "login": "Authentication", "inspection": "Inspection", "media": "Calls", "crowd": "Pushes and slow readers",
          "syscalls": "System calls", "many": "Many tunnels", "storm": "Storms"}


def write_results(parts):
    """Replaces the parts that were measured; the others stay as they are."""
    known = {}
    for part in re.split(r"^## ", servers.read_text(RESULTS), flags=re.M)[1:]:
        title, _, text = part.partition("\n")
        known[title] = text.strip()
    known.update((TITLES[name], text.strip()) for name, text in parts.items())
    text = "# Results\n\nWritten by `./tests/bench/run.sh --write`; `README.md` says how it measures.\n"
    for title in TITLES.values():
        if title in known:
            text += "\n## %s\n\n%s\n" % (title, known[title])
    with open(RESULTS, "w", encoding="utf-8") as file:
        file.write(text + ("\n## Not here\n\n%s\n" % NOT_HERE if NOT_HERE else ""))
    say("written to %s" % RESULTS)


def run(options, folder):
    bench = Bench(options, folder, choose_cores(options))
    parts, figures, all_reached = {}, {}, True
    try:
        bench.start_origin()
        if options.profile:
            for row in options.rows:
                profiling.measure(bench, row, sum(choose_servers(bench), []), say)
            return 0
        if options.rows:
            name = "path" if options.workers == 1 else "path of two"
            parts[name], all_reached, figures[name] = measure_path(bench)
        for name in options.scale + [name for name in ("inspection", "media", "crowd") if getattr(options, name)]:
            parts[name], reached, figures[name] = measure_scale(bench, name)
            all_reached = all_reached and reached
    finally:
        if bench.origin_program:
            bench.origin_program.stop()
    for name, text in parts.items():
        print("## %s\n\n%s" % (TITLES[name], text))
    if options.json:
        with open(options.json, "w", encoding="ascii") as file:
            json.dump(figures, file, indent=1)
    if options.write:
        write_results(parts)
    return 0 if all_reached else 1


def main():
    options = parse_command()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is stopped in this case, too
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # with what it has started
    folder = tempfile.mkdtemp(prefix="sallyport-bench-")
    os.chmod(folder, 0o755)  # servers that were started by root become other users
    try:
        return run(options, folder)
    except Trouble as trouble:
        say("bench: %s" % trouble)
        return 2
    except KeyboardInterrupt:
        say("bench: interrupted")
        return 2
    finally:
        if options.keep:
            say("kept: %s" % folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
