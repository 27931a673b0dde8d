# SPDX-License-Identifier: Apache-2.0
"""Which system calls a unit of work costs, by name, counted in all processes of a server with strace.

Of each unit N and 2N are done; the difference counts, so that what happens once falls out. One client at a time: a wake-up
serves one event, which is the most that a unit can cost, and the same on each run.
"""
import collections
import os
import re
import select
import signal
import subprocess
import time

import plots
import scale
import servers
from servers import Trouble

MIB = 1 << 20
SETTLE_SECONDS = 0.5
IDLE_SECONDS = 5.0
ATTACH_SECONDS = 20
SHOWN_MIN = 0.05  # a call that is rarer than this is left out of the table: it belongs to time, not to work
WITHOUT_EFFECT = ("EAGAIN", "EINTR", "EALREADY", "EINPROGRESS")  # of these, a connect() that is under way has one
CALL = re.compile(r"^(\d+)\s+(?:<\.\.\. )?(\w+)(?:\(| resumed>).*\)\s+= (?:-?\w+|\?)(?: (E\w+))?", re.A)


class Unit:
    def __init__(self, name, title, mode, service, count, per=1, **amount):
        self.name, self.title, self.mode, self.service, self.count = name, title, mode, service, count
        self.per = per  # units of work in each of `count`
        self.amount = amount


UNITS = [
    Unit("connect", "a CONNECT: 64-byte echo, close", "connect", "echo", 200, concurrency=1),
    Unit("chunk", "a 64-byte echo in a standing tunnel", "chunk", "echo", 500, concurrency=1),
    Unit("bulk-down", "a MiB of a download", "bulk-down", "source", 96 * MIB, per=1 / MIB),
    Unit("bulk-up", "a MiB of an upload", "bulk-up", "sink", 96 * MIB, per=1 / MIB),
    Unit("get", "an http:// GET of 1 kB, keep-alive", "get", "http", 500, concurrency=1),
    Unit("idle", "an idle tunnel, in a second", "idle", "echo", 500, per=IDLE_SECONDS, concurrency=16),
]


class Trace:
    """strace on all processes of a server, between two lines of the program."""

    def __init__(self, server, folder):
        self.path = os.path.join(folder, "strace.txt")
        self.processes = server.processes()
        self.strace = None

    def __enter__(self):
        command = ["strace", "-f", "-s", "0", "-e", "raw=all", "-o", self.path]
        for process in self.processes:
            command += ["-p", str(process)]
        try:
            self.strace = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                           stderr=subprocess.PIPE, text=True)
        except FileNotFoundError:
            raise Trouble("strace is missing (apt-get install strace)") from None
        missing, text = set(self.processes), ""
        deadline = time.monotonic() + ATTACH_SECONDS
        while missing and time.monotonic() < deadline:
            if select.select([self.strace.stderr], [], [], 0.2)[0]:
                got = os.read(self.strace.stderr.fileno(), 65536).decode("ascii", "replace")
                text += got
                missing -= {int(number) for number in re.findall(r"Process (\d+) attached", text)}
                if not got:
                    break
        if missing:
            self.__exit__()
            raise Trouble("strace cannot attach: %s" % text.strip())
        return self

    def __exit__(self, *_):
        self.strace.send_signal(signal.SIGINT)
        try:
            self.strace.communicate(timeout=ATTACH_SECONDS)
        except subprocess.TimeoutExpired:
            self.strace.kill()
            self.strace.communicate()

    def counts(self, workers):
        """Counter of (in a worker?, name, is without effect?)."""
        found = collections.Counter()
        with open(self.path, encoding="ascii", errors="replace") as file:
            for line in file:
                call = CALL.match(line)
                if call:
                    is_worker = workers is None or int(call.group(1)) in workers
                    found[is_worker, call.group(2), call.group(3) in WITHOUT_EFFECT] += 1
        return found


def workers_of(bench, server):
    """The processes that relay; None: all threads of all processes are alike to us."""
    if not isinstance(server, servers.Sallyport):
        return None
    return {role["pid"] for role in server.status(bench.load_core)["roles"] if role["role"] == "worker"}


def count_idle(bench, unit, server, command, workers):
    """Tunnels are opened before the trace begins and go after it."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=servers.pinned(bench.load_core)) as load:
        try:
            if not select.select([load.stdout], [], [], 60)[0] or not load.stdout.readline().startswith("ready"):
                raise Trouble("%s: the tunnels were not all idle at once" % server.name)
            time.sleep(SETTLE_SECONDS)
            with Trace(server, bench.new_folder("trace")) as trace:
                time.sleep(IDLE_SECONDS)
            load.communicate("\n", timeout=60)
        finally:
            load.kill()
    return trace.counts(workers)


def count_calls(bench, unit, server, times, workers):
    amount = dict(unit.amount)
    number = unit.count * times
    amount.update({"count": 1, "bytes": number} if unit.mode.startswith("bulk") else {"count": number})
    command = bench.load_command(unit, server, amount, unit.mode)
    if unit.name == "idle":
        return count_idle(bench, unit, server, command, workers)
    with Trace(server, bench.new_folder("trace")) as trace:
        bench.run_load(unit, server, amount, unit.mode)
        time.sleep(SETTLE_SECONDS)
    return trace.counts(workers)


def measure_unit(bench, unit, server):
    """Calls of one unit: {(in a worker?, name, without effect?): how many}."""
    workers = workers_of(bench, server)
    once = count_calls(bench, unit, server, 1, workers)
    twice = count_calls(bench, unit, server, 2, workers)
    units = unit.count * unit.per
    return {key: (twice[key] - once[key]) / units for key in set(once) | set(twice)}


def measure(bench, everybody, say):
    """{unit: {server: calls}}; who cannot do a unit has none."""
    found = {unit.name: {} for unit in UNITS}
    for server in everybody:
        try:
            server.start(bench.new_folder(server.name), bench.origin)
            server.pin()
            for unit in UNITS:
                if unit.name in server.cannot:
                    continue
                try:
                    calls = measure_unit(bench, unit, server)
                except (Trouble, subprocess.TimeoutExpired) as trouble:
                    say("  %-9s %-13s no figure: %s" % (unit.name, server.name, trouble))
                    continue
                found[unit.name][server.name] = calls
                say("  %-9s %-13s %8.2f calls" % (unit.name, server.name, sum(calls.values())))
        finally:
            server.stop()
    return found


# ---- the text -----------------------------------------------------------------------------------


def total(calls, is_in=lambda key: True):
    return sum(value for key, value in calls.items() if is_in(key))


def figure(value):
    return "-" if abs(value) < SHOWN_MIN / 10 else "%.2f" % value


def unit_table(unit, found, names):
    head = ["system call"]
    columns = []
    for name in names:
        if name not in found:
            continue
        head.append(name)
        if name == "sallyport":
            head[-1] = "sallyport, worker"
            columns.append((name, lambda key: key[0]))
            head.append("of it without effect")
            columns.append((name, lambda key: key[0] and key[2]))
            head.append("its other processes")
            columns.append((name, lambda key: not key[0]))
        else:
            columns.append((name, lambda key: True))
    calls = {key[1] for name in found for key in found[name]}
    rows = []
    for call in calls:
        row = [total(found[name], lambda key, is_in=is_in: is_in(key) and key[1] == call) for name, is_in in columns]
        if max(abs(value) for value in row) >= SHOWN_MIN:
            rows.append((call, row))
    rows.sort(key=lambda row: (-row[1][min(1, len(row[1]) - 1)], row[0]))
    lines = ["| %s |" % " | ".join(head), "|%s" % ("---|" * len(head))]
    lines += ["| %s | %s |" % (call, " | ".join(figure(value) for value in row)) for call, row in rows]
    lines.append("| all | %s |" % " | ".join("**%s**" % figure(total(found[name], is_in)) for name, is_in in columns))
    return "%s:\n\n%s" % (unit.title[0].upper() + unit.title[1:], "\n".join(lines))


def text(found, everybody):
    names = [server.name for server in everybody]
    parts = ["System calls of one unit of work, one client at a time (strace; the difference between N and 2N units). Without "
             "effect: EAGAIN and the like; a connect() to an origin has to say EINPROGRESS once."]
    parts += [unit_table(unit, found[unit.name], names) for unit in UNITS if found[unit.name]]
    parts.append(" ".join("![%s](plots/syscalls-%s.svg)" % (unit.name, unit.name) for unit in UNITS
                          if unit.name != "idle" and found[unit.name]))
    return "\n\n".join(parts) + "\n", True


def draw(found):
    for unit in UNITS:
        if unit.name != "idle" and found[unit.name]:
            scale.write_plot("syscalls-%s.svg" % unit.name, plots.bars("System calls of %s" % unit.title, "calls", [
                (name, total(calls)) for name, calls in found[unit.name].items()]))


def figures(found):
    """For --json, whose keys are text."""
    return {unit: {name: {"%s %s%s" % ("worker" if key[0] else "other", key[1], " without effect" if key[2] else ""): value
                          for key, value in calls.items()} for name, calls in servers_found.items()}
            for unit, servers_found in found.items()}
