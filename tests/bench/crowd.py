# SPDX-License-Identifier: Apache-2.0
"""The rows on many tunnels at once: a push into all of them, and readers that are slower than what they read."""
import json
import os
import re
import statistics
import time

import media
import servers
from servers import Trouble

KIB = 1024
PUSHES, SETTLE_SECONDS, IDLE_SECONDS = 10, 0.5, 1.0
READERS, READ_BYTES, READ_EVERY_MS = 1000, 4096, 500
SEND_BUFFER = 32 * KIB  # of the origin, so that what is held is held by the proxy
BUFFER_KIB = 64  # limits.buffer, of one direction
SLOW_TARGET_KIB = BUFFER_KIB + 2
NAMES = ["push", "slow-readers"]
TITLES = {"push": "a push into idle tunnels", "slow-readers": "slow readers, fast senders"}


class Direct(media.Direct):
    """No proxy at all."""

    direct = servers.SERVICES

    def start(self, folder, origin):
        super().start(folder, origin)
        self.addresses = {name: "%s:%d" % (servers.ORIGINS[0], port) for name, port in origin.items()}


def memory_peak(server):
    """The most memory that its processes ever had, since forget_peak()."""
    return sum(1024 * int(number) for process in server.processes()
               for number in re.findall(r"^VmHWM:\s+(\d+) kB", servers.read_file("/proc/%d/status" % process), re.M))


def forget_peak(server):
    for process in server.processes():
        try:
            with open("/proc/%d/clear_refs" % process, "w", encoding="ascii") as file:
                file.write("5")
        except OSError as error:
            raise Trouble("%s: the peak of its memory cannot be set back: %s" % (server.name, error)) from None


def start(bench, server, origin):
    """Afresh: what it took for others before would hide what it takes for these."""
    server.stop()
    server.start(bench.new_folder(server.name), origin)
    server.pin()
    media.come_first(server, bench.options.real_time)


# ---- a push -------------------------------------------------------------------------------------


def count_of_tunnels(bench):
    return min(2000 if bench.options.quick else 9000, (servers.open_files() - 1000) // 2)


def measure_push(bench, origin, server):
    """Pushes into tunnels that are all idle: times, the proxy's CPU, and its memory above idle."""
    count = count_of_tunnels(bench)
    start(bench, server, dict(bench.origin, echo=origin.port))
    with media.Generator(bench, server, ["bench_push", "clients"], "echo", origin.port, "--count", str(count)) as clients:
        clients.wait_for("ready", 120)
        time.sleep(IDLE_SECONDS)
        forget_peak(server)
        idle, before, pushes = memory_peak(server), server.cpu_seconds(), []
        for _ in range(PUSHES):
            if origin.number() != count:
                raise Trouble("%s: not all of %d tunnels lead to the origin" % (server.name, count))
            pushes.append(json.loads(clients.line()))
            time.sleep(SETTLE_SECONDS / 5)
        time.sleep(SETTLE_SECONDS)
        found = {key: statistics.median(push[key] for push in pushes) for key in pushes[0]}
        return dict(found, count=count, cpu_us=(server.cpu_seconds() - before) / count / PUSHES * 1e6, idle_kib=idle / count / KIB,
                    peak_kib=(memory_peak(server) - idle) / count / KIB, peak_part=memory_peak(server) / idle if idle else 1)


def push_told(run):
    return "last %6.1f ms   p50 %6.1f  p99 %6.1f ms   CPU %5.1f us a message   memory %+.2f KiB a tunnel (x %.2f)" % (
        run["last_us"] / 1000, run["p50_us"] / 1000, run["p99_us"] / 1000, run["cpu_us"], run["peak_kib"], run["peak_part"])


def push_text(found):
    count = next(iter(found.values()))[0]["count"]
    lines = ["%d idle tunnels, 100 bytes into each at once, %d times. Time since the first was sent; memory of all processes, the most during "
             "pushes above idle." % (count, PUSHES), "",
             "| push | last byte | p50 | p99 | CPU a message | times the floor (min-max) | memory above idle, a tunnel |", "|---" * 7 + "|"]
    for name, runs in found.items():
        cells = ["%.1f ms" % (media.middle(runs, key) / 1000) for key in ("last_us", "p50_us", "p99_us")]
        if name != "direct":
            cells += ["%.1f us" % media.middle(runs, "cpu_us"), media.spread(media.ratios(runs, found["floor"], "cpu_us")), "%.2f KiB (%+.0f %%)" % (
                media.middle(runs, "peak_kib"), (media.middle(runs, "peak_part") - 1) * 100)]
        lines.append("| %s |" % " | ".join([name] + cells + [""] * (6 - len(cells))))
    return "\n".join(lines)


# ---- slow readers -------------------------------------------------------------------------------


def until_full(origin, before):
    """What senders have sent once they can send no more."""
    last, quiet = -1, 0
    for _ in range(300):
        sent = origin.number() - before
        quiet = quiet + 1 if sent == last else 0
        if quiet == 5:
            return sent
        last = sent
        time.sleep(0.1)
    raise Trouble("senders can send on and on, though nobody reads")


def measure_slow(bench, origin, server):
    """What a proxy stores for those who do not read, then for those who read a little now and then."""
    seconds = 2 if bench.options.quick else 6
    start(bench, server, dict(bench.origin, source=origin.port))
    sent_before = origin.number()
    time.sleep(SETTLE_SECONDS)
    memory = server.memory_bytes()
    with media.Generator(bench, server, ["bench_readers", "slow"], "source", origin.port, "--count", str(READERS), "--size", str(READ_BYTES),
                         "--every", str(READ_EVERY_MS), "--seconds", str(seconds)) as readers:
        readers.wait_for("ready", 120)
        sent = until_full(origin, sent_before)
        most, before, began = server.memory_bytes(), server.cpu_seconds(), time.monotonic()
        time.sleep(IDLE_SECONDS)
        stalled_cpu = (server.cpu_seconds() - before) / (time.monotonic() - began)
        readers.tell()
        began = time.monotonic()
        while time.monotonic() < began + seconds - 0.5:
            time.sleep(0.25)
            most = max(most, server.memory_bytes())
        read = json.loads(readers.line())
        held = max(sent, origin.number() - sent_before - read["bytes"])
    return {"kib": (most - memory) / READERS / KIB, "held_kib": held / READERS / KIB, "stalled_cpu": stalled_cpu,
            "nothing": read["nothing"] / read["reads"]}


def slow_told(run):
    return "memory %6.1f KiB a tunnel   on the way %6.0f KiB a tunnel   CPU while all stalls %.1f %%   reads with nothing there %.1f %%" % (
        run["kib"], run["held_kib"], run["stalled_cpu"] * 100, run["nothing"] * 100)


def slow_text(found):
    lines = ["%d tunnels whose origin sends as fast as it can; clients first read nothing, then %d bytes each %d ms, and check each. Memory in user "
             "space, the most of all that while. On the way: bytes that were sent and not yet read, in sockets, pipes and buffers of everybody "
             "together; `direct` is what both ends hold without a proxy." % (READERS, READ_BYTES, READ_EVERY_MS), "",
             "| slow readers | memory a tunnel | on the way, a tunnel | CPU while nobody reads | reads with nothing there |", "|---" * 5 + "|"]
    for name, runs in found.items():
        lines.append("| %s |" % " | ".join([name, "" if name == "direct" else "%.1f KiB" % media.middle(runs, "kib"),
                                            "%.0f KiB" % media.middle(runs, "held_kib"),
                                            "" if name == "direct" else "%.1f %%" % (media.middle(runs, "stalled_cpu") * 100),
                                            "%.1f %%" % (media.middle(runs, "nothing") * 100)]))
    if "sallyport" not in found:
        return "\n".join(lines), True
    verdict, reached = media.judge("memory in user space, KiB a tunnel (`limits.buffer` is %d KiB a direction)" % BUFFER_KIB,
                                   [run["kib"] for run in found["sallyport"]], SLOW_TARGET_KIB)
    return "\n".join(lines + ["", "- " + verdict]), reached


# ---- both ---------------------------------------------------------------------------------------


def measure(bench, names, say):
    os.sched_setaffinity(0, {bench.load_core})
    found = {}
    everybody = media.choose_servers(bench, media.Named)
    everybody.insert(1, Direct(bench.tool("bench_floor"), bench.server_core))
    try:
        if "push" in names:
            say(TITLES["push"])
            with media.Origin(bench, "bench_push", "origin", "--count", str(count_of_tunnels(bench))) as origin:
                found["push"] = media.measure_row(bench, everybody, lambda server: measure_push(bench, origin, server), push_told, say)
        if "slow-readers" in names:
            say(TITLES["slow-readers"])
            with media.Origin(bench, "bench_readers", "origin", "--send-buffer", str(SEND_BUFFER)) as origin:
                found["slow-readers"] = media.measure_row(bench, everybody, lambda server: measure_slow(bench, origin, server), slow_told, say)
    finally:
        for server in everybody:
            server.stop()
    return found


def text(found):
    parts, reached = [], True
    if "push" in found:
        parts.append(push_text(found["push"]))
    if "slow-readers" in found:
        part, reached = slow_text(found["slow-readers"])
        parts.append(part)
    return "\n\n".join(parts) + "\n", reached
