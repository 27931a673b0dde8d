# SPDX-License-Identifier: Apache-2.0
"""Very many tunnels at once: memory in user space and in the kernel, CPU while nothing moves, a push to all, the end of all."""
import os
import re
import select
import subprocess
import time

import plots
import scale
import servers
from servers import Trouble

COUNT, WORKERS, WIDE_COUNT = 9000, 6, 50000
IDLE_SECONDS = 10
PUSH_BYTES = 100
SPARE_FILES = 1500  # of a process: what it needs besides tunnels
TARGET_KIB, TARGET_IDLE_PERCENT = 1.1, 1.0
CACHES = ("TCP", "sock_inode_cache", "filp", "eventpoll_epi", "eventpoll_pwq", "dentry", "tcp_bind_bucket", "tcp_bind2_bucket",
          "lsm_inode_cache", "skbuff_head_cache", "skbuff_small_head", "skbuff_fclone_cache")
ENDS_PER_TUNNEL = 4  # sockets: client, origin, and two of the proxy, which is half


class WideSallyport(servers.Sallyport):
    CONFIGURATION = servers.Sallyport.CONFIGURATION + "limits: {sessions: 200000, sessions_per_client: 0}\n"


class End:
    """A process of bench_many, which is told what to do line by line."""

    def __init__(self, bench, core, *words):
        self.process = subprocess.Popen([bench.tool("bench_many"), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, preexec_fn=servers.pinned(core))
        self.rest = b""

    def say(self, words):
        try:
            self.process.stdin.write(words.encode("ascii") + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Trouble("bench_many ended: %s" % self.process.communicate()[1].decode("ascii", "replace")) from None

    def line(self, begins, seconds):
        """The words behind `begins` of the next line."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self.rest:
            if not select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Trouble('bench_many did not say "%s" within %d s' % (begins, seconds))
            got = os.read(self.process.stdout.fileno(), 65536)
            if not got:
                raise Trouble("bench_many ended: %s" % self.process.communicate()[1].decode("ascii", "replace"))
            self.rest += got
        line, _, self.rest = self.rest.partition(b"\n")
        words = line.decode("ascii", "replace").split()
        if words[0] != begins:
            raise Trouble('bench_many said "%s" instead of "%s"' % (" ".join(words), begins))
        return words[1:]

    def ask(self, words, begins, seconds=60):
        self.say(words)
        return self.line(begins, seconds)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


# ---- what the kernel holds ----------------------------------------------------------------------


def slab_bytes():
    """Of the caches that sockets and their files are made of: memory of whole slabs."""
    found = 0
    for line in servers.read_file("/proc/slabinfo").splitlines():
        fields = line.split()
        if fields and fields[0] in CACHES:
            found += int(fields[-2]) * int(fields[5]) * os.sysconf("SC_PAGE_SIZE")
    return found


def slab_total_bytes():
    return 1024 * int(re.search(r"^Slab:\s+(\d+)", servers.read_file("/proc/meminfo"), re.M).group(1))


def available_bytes():
    return 1024 * int(re.search(r"^MemAvailable:\s+(\d+)", servers.read_file("/proc/meminfo"), re.M).group(1))


def socket_buffer_bytes():
    found = re.search(r"^TCP: .* mem (\d+)", servers.read_file("/proc/net/sockstat"), re.M)
    return int(found.group(1)) * os.sysconf("SC_PAGE_SIZE") if found else 0


def kernel_now():
    return {"slab": slab_bytes(), "all_slab": slab_total_bytes(), "available": available_bytes(),
            "buffers": socket_buffer_bytes()}


def open_files_of(server):
    """Of all processes of a server together."""
    found = 0
    for process in server.processes():
        try:
            found += len(os.listdir("/proc/%d/fd" % process))
        except OSError:
            pass
    return found


def longest_turn_ms(bench, server):
    """Of any worker since it started; only Sallyport knows it of itself."""
    if not isinstance(server, servers.Sallyport):
        return None
    return server.status(bench.load_core)["metrics"]["longest_turn_us"] / 1000


# ---- one run ------------------------------------------------------------------------------------


def spread(count, parts):
    return [count // parts + (number < count % parts) for number in range(parts)]


def parts_for(count):
    """How many processes the limit of open files asks for."""
    return -(-count // (servers.open_files() - SPARE_FILES))


def start_clients(bench, server, count, core, port):
    clients, first = [], 0
    for part in spread(count, parts_for(count)):
        clients.append(End(bench, core, "clients", "--proxy", server.addresses["echo"], "--port", str(port[len(clients)]),
                           "--count", str(part), "--first", str(first), *(["--plain"] if server.is_plain else [])))
        first += part
    return clients


def wait_for_all(ends, begins, seconds):
    return [end.line(begins, seconds) for end in ends]


def measure_push(clients, origins):
    """ms from the first byte of the first send to the median and the last tunnel."""
    for client in clients:
        client.ask("expect %d" % PUSH_BYTES, "expecting")
    for origin in origins:
        origin.say("push %d" % PUSH_BYTES)
    pushed = wait_for_all(origins, "pushed", 60)
    received = wait_for_all(clients, "received", 60)
    began = min(int(words[1]) for words in pushed)
    return {"pushed": sum(int(words[0]) for words in pushed), "received": sum(int(words[0]) for words in received),
            "sending_ms": (max(int(words[2]) for words in pushed) - began) / 1e6,
            "median_ms": max(int(words[2]) - began for words in received) / 1e6,
            "last_ms": max(int(words[3]) - began for words in received) / 1e6}


def measure_end(server, clients, files_before):
    """All clients close at once: seconds until the server has closed, too, and its CPU."""
    before, began = server.cpu_seconds(), time.monotonic()
    for client in clients:
        client.say("close")
    closed = sum(int(words[0]) for words in wait_for_all(clients, "closed", 60))
    while open_files_of(server) > files_before + 100 and time.monotonic() - began < 60:
        time.sleep(0.01)
    took = time.monotonic() - began
    time.sleep(0.5)
    return {"closed": closed, "end_s": took, "end_us": (server.cpu_seconds() - before) / max(1, closed) * 1e6,
            "files_left": open_files_of(server) - files_before}


def idle_percent(server, seconds):
    """Of one core."""
    before = server.cpu_seconds()
    time.sleep(seconds)
    return (server.cpu_seconds() - before) / seconds * 100


def measure_tunnels(bench, server, count, core, origins, ports):
    warm = start_clients(bench, server, 64, core, ports)
    wait_for_all(warm, "ready", 60)
    for client in warm:
        client.stop()
    time.sleep(1.0)
    seconds = IDLE_SECONDS / (5 if bench.options.quick else 1)
    empty_percent = idle_percent(server, seconds)
    memory, kernel, files = server.memory_bytes(), kernel_now(), open_files_of(server)
    before, began = server.cpu_seconds(), time.monotonic()
    clients = start_clients(bench, server, count, core, ports)
    try:
        opened = wait_for_all(clients, "ready", 120)
        found = {"tunnels": sum(int(words[0]) for words in opened), "open_s": time.monotonic() - began}
        if found["tunnels"] != count:
            raise Trouble("%s: %d of %d tunnels, %s" % (server.name, found["tunnels"], count, " ".join(opened[0][2:])))
        found["open_us"] = (server.cpu_seconds() - before) / count * 1e6
        time.sleep(2.0)  # for what is given back once nothing moves
        found["user_kib"] = (server.memory_bytes() - memory) / count / 1024
        after = kernel_now()
        for name in kernel:
            grown = after[name] - kernel[name]
            found[name + "_kib"] = (-grown if name == "available" else grown) / count / 1024
        found["idle_percent"], found["empty_percent"] = idle_percent(server, seconds), empty_percent
        found["turn_open_ms"] = longest_turn_ms(bench, server)
        found["push"] = measure_push(clients, origins)
        found["turn_push_ms"] = longest_turn_ms(bench, server)
        found["user_pushed_kib"] = (server.memory_bytes() - memory) / count / 1024
        found.update(measure_end(server, clients, files))
        found["turn_end_ms"] = longest_turn_ms(bench, server)
    finally:
        for client in clients:
            client.stop()
    return found


def measure_one(bench, server, count, core, say):
    origins = [End(bench, core, "origin", "--count", str(servers.open_files() - 100)) for _ in range(parts_for(count))]
    try:
        ports = [int(origin.line("ready", 20)[1]) for origin in origins]
        if server.is_plain:  # it leads to one origin by itself
            server.start(bench.new_folder(server.name), dict(bench.origin, echo=ports[0]))
        else:
            server.start(bench.new_folder(server.name), bench.origin)
        server.pin()
        found = measure_tunnels(bench, server, count, core, origins, ports)
    finally:
        server.stop()
        for origin in origins:
            origin.stop()
    say("  %-13s %6d tunnels %7.3f KiB, idle %.2f %%, push %.0f ms, end %.2f s" % (
        server.name, count, found["user_kib"], found["idle_percent"], found["push"]["last_ms"], found["end_s"]))
    return found


def measure(bench, everybody, say):
    """{(server, tunnels): figures}, one process or thread each; then Sallyport with many workers on all cores."""
    part = 5 if bench.options.quick else 1
    found = {}
    for server in everybody:
        count = min(COUNT, (servers.open_files() - SPARE_FILES) // 2) // part
        try:
            found["%s, one process" % server.name] = measure_one(bench, server, count, bench.load_core, say)
        except (Trouble, subprocess.TimeoutExpired) as trouble:
            say("  %s has no figure here: %s" % (server.name, trouble))
    if not bench.options.without_sallyport:
        cores = {bench.server_core, bench.load_core}
        wide = WideSallyport(os.path.abspath(bench.options.sallyport), cores, WORKERS)
        found["sallyport, %d workers" % WORKERS] = measure_one(bench, wide, WIDE_COUNT // part, cores, say)
    return found


# ---- the text -----------------------------------------------------------------------------------


def milliseconds(value):
    return "-" if value is None else "%.1f ms" % value


def row_of(name, run):
    return [name, "{:,}".format(run["tunnels"]), "%.2f KiB" % run["user_kib"],
            "%.1f KiB (the proxy's half: %.1f)" % (run["slab_kib"], run["slab_kib"] / 2), "%.1f KiB" % run["buffers_kib"],
            "%.2f %% (without tunnels: %.2f %%)" % (run["idle_percent"], run["empty_percent"]),
            "%.0f ms (median %.0f; the origins sent for %.0f)" % (run["push"]["last_ms"], run["push"]["median_ms"],
                                                                  run["push"]["sending_ms"]),
            "%.2f KiB" % run["user_pushed_kib"], "%.2f s, %.1f us" % (run["end_s"], run["end_us"]),
            " / ".join(milliseconds(run[key]) for key in ("turn_open_ms", "turn_push_ms", "turn_end_ms"))]


def on_paper(run):
    """What a hundred thousand tunnels ask for, from the figures of the widest run."""
    count = 100000
    user, slab = run["user_kib"] * count / 1024, run["slab_kib"] / 2 * count / 1024
    per_worker = (1048576 - SPARE_FILES) // 2
    return ("100,000 tunnels, on paper: user space 100,000 x %.2f KiB = %.0f MiB; sockets and their files in the kernel "
            "100,000 x %.1f KiB = %.0f MiB where client and origin are elsewhere; together %.2f GiB. Open files: two a tunnel, 200,000, "
            "which is one worker with LimitNOFILE=1048576 (%s tunnels each at most) or %d workers under a limit of 20,000. "
            "Local ports: about 28,000 to one origin address and port. Idle, what they add is %.2f %% of a core. "
            "A push of 100 bytes to all: %.1f s of one core at what a tunnel took here." % (
                run["user_kib"], user, run["slab_kib"] / 2, slab, (user + slab) / 1024, "{:,}".format(per_worker),
                -(-2 * count // (20000 - SPARE_FILES)),
                max(0, run["idle_percent"] - run["empty_percent"]) * count / run["tunnels"],
                run["push"]["last_ms"] / run["tunnels"] * count / 1000))


def text(found, everybody):
    reached = True
    rows = []
    for name, run in found.items():
        row = row_of(name, run)
        if name.startswith("sallyport"):
            good = (run["user_kib"] <= TARGET_KIB and run["idle_percent"] < TARGET_IDLE_PERCENT
                    and run["push"]["received"] == run["tunnels"])
            reached = reached and good
            row[0] += ": " + scale.verdict(good)
        rows.append(row)
    words = ("Tunnels in which 64 bytes went there and back, then nothing. Memory is what a tunnel adds: in user space (what no file "
             "stands behind), in the kernel's caches for sockets, their files and epoll (%d sockets a tunnel on this machine, of which two are "
             "the proxy's), in socket buffers. Idle: CPU of one core over %d s. Push: the origins send %d bytes into each tunnel; from the "
             "first send to the last byte at the clients. End: all clients close at once; until the server has closed, and its CPU a tunnel. "
             "The longest turn of a worker is since its start: after opening, after the push, after the end. To reach: <= %g KiB, < %g %% "
             "of a core, nothing lost. With %d workers everything shares the cores.\n\n" % (
                 ENDS_PER_TUNNEL, IDLE_SECONDS, PUSH_BYTES, TARGET_KIB, TARGET_IDLE_PERCENT, WORKERS))
    words += scale.table(["server", "tunnels", "user space", "kernel, all ends", "socket buffers", "idle", "push to all",
                          "user space after it", "end of all", "longest turn"], rows)
    wide = [run for name, run in found.items() if "workers" in name]
    words += "\n\n" + on_paper(wide[0]) if wide else ""
    return words + "\n\n![memory](plots/many-memory.svg) ![push](plots/many-push.svg)\n", reached


def draw(found):
    scale.write_plot("many-memory.svg", plots.bars("An idle tunnel: memory in user space", "KiB", [
        (name, run["user_kib"]) for name, run in found.items()], (TARGET_KIB, "to reach: %g" % TARGET_KIB)))
    scale.write_plot("many-push.svg", plots.bars("A push of %d bytes to all tunnels: a tunnel" % PUSH_BYTES, "us until the last byte, by tunnels", [
        (name, run["push"]["last_ms"] * 1000 / run["tunnels"]) for name, run in found.items()]))


def figures(found):
    return found
