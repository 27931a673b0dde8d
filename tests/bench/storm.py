# SPDX-License-Identifier: Apache-2.0
"""Storms: thousands of clients connect in the same instant. What becomes of them, what those see whose tunnels stood before,
and whether all is as before when it has passed."""
import contextlib
import json
import os
import select
import subprocess
import time

import many
import plots
import scale
import servers
from servers import Trouble

COUNT = 8000  # more than the queue of a listening socket (net.core.somaxconn)
LIMIT = 1000  # of sessions, in the storm on the limit
PROBES, QUIET_SECONDS = 50, 2
STORM_SECONDS = 12  # then whoever still waits is counted
AFTER_SECONDS = 20
STORMS = (("echo", "all ask at once"), ("silent", "all connect, none says a word"),
          ("hold", "more come than may"))
ENDS = ("done", "opened", "connected", "refused", "reset", "closed", "strange", "waiting")


class Row:
    """What Bench.run_load() wants to know."""

    name, service = "connect", "echo"


class StormSallyport(servers.Sallyport):
    CONFIGURATION = servers.Sallyport.CONFIGURATION + "limits: {sessions: %d, sessions_per_client: 0}\n"

    def start(self, folder, origin):
        self.CONFIGURATION = type(self).CONFIGURATION % self.clients
        super().start(folder, origin)


def a_server_like(bench, server, kind):
    """A new one, with a low limit of clients where the storm is about that."""
    made = (StormSallyport if server.name == "sallyport" else type(server))(server.binary, bench.server_core)
    if kind == "hold":
        made.clients = LIMIT
    return made


class Ends(contextlib.ExitStack):
    """Processes of bench_storm; killed at the end."""

    def __init__(self, bench, server):
        super().__init__()
        self.bench, self.server = bench, server

    def begin(self, mode, service, port, *words):
        command = [self.bench.tool("bench_storm"), mode, "--proxy", self.server.addresses[service], "--port", str(port),
                   *words]
        process = self.enter_context(subprocess.Popen(
            command + (["--plain"] if self.server.is_plain else []), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, preexec_fn=servers.pinned(self.bench.load_core)))
        self.callback(process.kill)
        return process


@contextlib.contextmanager
def probed_origin(bench):
    """An origin for the probes alone, which waits for nobody: what they see is the proxy's doing. Its port."""
    program = servers.Program([bench.tool("bench_origin")], bench.new_folder("origin"), bench.load_core)
    try:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(program.process.pid, os.SCHED_FIFO, os.sched_param(10))
        yield int(program.ready_line().split()[2])
    finally:
        program.stop()


def line_of(process, seconds):
    if not select.select([process.stdout], [], [], seconds)[0]:
        raise Trouble("bench_storm said nothing within %d s" % seconds)
    line = process.stdout.readline()
    if not line:
        raise Trouble("bench_storm: %s" % process.communicate()[1].strip())
    return line


def ask(process):
    process.stdin.write("\n")
    process.stdin.flush()
    return json.loads(line_of(process, 30))


def is_as_before(bench, server, files):
    """Seconds until its files are closed again, and whether it works."""
    began = time.monotonic()
    while many.open_files_of(server) > files + 50 and time.monotonic() - began < AFTER_SECONDS:
        time.sleep(0.05)
    took, left = time.monotonic() - began, many.open_files_of(server) - files
    load = bench.run_load(Row, server, {"count": 500, "concurrency": 16})
    return {"seconds": took, "files_left": left, "p50_us": load["p50_us"]}


def new_clients(bench, server):
    """Whether others get through while silent ones sit there: their p50, or why not."""
    try:
        return "p50 %.1f ms" % (bench.run_load(Row, server, {"count": 200, "concurrency": 4})["p50_us"] / 1000)
    except Trouble as trouble:
        return str(trouble)


def measure_storm(bench, server, kind, count, port):
    bench.run_load(Row, server, {"count": 500, "concurrency": 16})
    time.sleep(0.5)
    with Ends(bench, server) as ends:
        probe = ends.begin("probe", "sink", port, "--count", str(PROBES))
        line_of(probe, 30)
        files = many.open_files_of(server)
        time.sleep(QUIET_SECONDS)
        quiet, before = ask(probe), server.cpu_seconds()
        storm = ends.begin(kind, "echo", bench.origin["echo"], "--count", str(count), "--seconds", str(STORM_SECONDS))
        outcome = json.loads(line_of(storm, STORM_SECONDS + 30))
        cpu = server.cpu_seconds() - before
        found = {"storm": outcome, "quiet": quiet, "meanwhile": ask(probe), "cpu_us": cpu / count * 1e6}
        if kind == "silent":
            found["others"] = new_clients(bench, server)
        if kind != "echo":
            ask_to_leave(storm)
        storm.wait(timeout=30)
        found["after"] = is_as_before(bench, server, files)
        found["afterwards"] = ask(probe)
    return found


def ask_to_leave(storm):
    with contextlib.suppress(BrokenPipeError):
        storm.stdin.write("\n")
        storm.stdin.flush()


def measure(bench, everybody, say):
    """{server: {kind: figures or why there are none}}."""
    found = {}
    count = COUNT // (4 if bench.options.quick else 1)
    for one in everybody:
        found[one.name] = {}
        for kind, _ in STORMS:
            server = a_server_like(bench, one, kind)
            try:
                with probed_origin(bench) as port:
                    # Whoever leads to one origin by itself has that of the probes in place of the sink.
                    server.start(bench.new_folder(server.name), dict(bench.origin, sink=port))
                    server.pin()
                    found[one.name][kind] = run = measure_storm(bench, server, kind, count, port)
                say("  %-7s %-13s %s, meanwhile p99 %.1f ms" % (
                    kind, server.name, ends_text(run["storm"]), round_trip(run["meanwhile"], "p99")))
            except (Trouble, subprocess.TimeoutExpired) as trouble:
                found[one.name][kind] = str(trouble).splitlines()[0]
                say("  %-7s %-13s no figure: %s" % (kind, server.name, trouble))
            finally:
                server.stop()
    return found


# ---- the text -----------------------------------------------------------------------------------


def round_trip(probes, which):
    """ms; a probe that has no answer at all is not in it."""
    return probes.get("round_trip", {}).get(which, float("nan")) / 1000


def ends_text(storm):
    return ", ".join("%d %s" % (storm[end]["count"], end) for end in ENDS if end in storm)


def times_text(storm):
    """Of the most telling end: median / p99 / longest, ms."""
    for end in ("refused", "done", "opened", "connected"):
        if end in storm:
            times = storm[end]
            return "%s: %.0f / %.0f / %.0f ms" % (end, times["median"] / 1000, times["p99"] / 1000, times["max"] / 1000)
    return "-"


def row_of(name, run):
    if isinstance(run, str):
        return [name, run] + ["-"] * 5
    lost = run["meanwhile"]["lost"] + run["afterwards"]["lost"]
    after = run["after"]
    return [name, ends_text(run["storm"]), times_text(run["storm"]), "%.1f us" % run["cpu_us"],
            "%.1f / %.1f (before: %.1f); lost: %d" % (round_trip(run["meanwhile"], "p99"), round_trip(run["meanwhile"], "max"),
                                                      round_trip(run["quiet"], "p99"), lost),
            run.get("others", "-"),
            "%.1f s, %d files left, p50 %.1f ms" % (after["seconds"], max(0, after["files_left"]), after["p50_us"] / 1000)]


def is_reached(run, kind):
    """Nobody is lost, reset or forgotten; beyond the limit everybody gets a 503."""
    if isinstance(run, str):
        return False
    storm = run["storm"]
    good = all(end not in storm for end in ("reset", "closed", "strange", "waiting"))
    good = good and run["meanwhile"]["lost"] == run["afterwards"]["lost"] == 0 and run["after"]["files_left"] <= 50
    return good and (kind != "hold" or storm.get("opened", {"count": 0})["count"] + PROBES <= LIMIT)


def text(found, everybody):
    reached, parts = True, []
    for kind, words in STORMS:
        rows = []
        for name, runs in found.items():
            row = row_of(name, runs[kind])
            if name == "sallyport":
                good = is_reached(runs[kind], kind)
                reached = reached and good
                row[0] += ": " + scale.verdict(good)
            rows.append(row)
        parts.append("%s:\n\n%s" % (words[0].upper() + words[1:], scale.table(
            ["server", "how it went for the clients", "median / p99 / longest", "CPU a client",
             "round trip of %d standing tunnels meanwhile: p99 / longest, ms" % PROBES, "new clients meanwhile", "as before after"],
            rows)))
    head = ("Clients that connect in one instant, more than the queue of a listening socket holds; who finds it full tries again after a second "
            "(the kernel's doing), which is in their times. The limit is %d clients, where a server has one. To reach: nobody is reset, forgotten "
            "or lost, beyond the limit everybody gets a 503, and then all is as before." % LIMIT)
    parts.append(" ".join("![%s](plots/storm-%s.svg)" % (words, kind) for kind, words in STORMS))
    return head + "\n\n" + "\n\n".join(parts) + "\n", reached


def draw(found):
    for kind, words in STORMS:
        runs = [(name, kinds[kind]) for name, kinds in found.items() if not isinstance(kinds[kind], str)]
        scale.write_plot("storm-%s.svg" % kind, plots.bars("Standing tunnels while %s" % words, "round trip, p99, ms", [
            (name, round_trip(run["meanwhile"], "p99")) for name, run in runs if "round_trip" in run["meanwhile"]]))


def figures(found):
    return found
