#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Hostile peers at both ends of many tunnels at once: random sequences of writing, pausing, half-closing, closing and
resetting, and a simple model of what must arrive. The same seed gives the same sequences; a longer run: --count 20000."""
import argparse
import collections
import json
import os
import pathlib
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "flow"))
from tunnels import FIN, End  # noqa: E402

PATIENCE_S = 60.0
BLOCK = 65521  # a stream is a block of so many bytes, again and again, from a place of its own on
BEGINS_TLS = (0x16, 0x14)
HOSTS = {"normal.test": 6, "bulk.test": 2, "media.test": 2}
CONFIG = """\
listen: [{name: main, address: "127.0.0.1:0"}]
workers: 2
policy: policy.yaml
control: run/sallyport.sock
dns: {hosts: {normal.test: 127.0.0.1, bulk.test: 127.0.0.1, media.test: 127.0.0.1}}
destinations: {permit: [127.0.0.0/8]}
authentication: {schemes: []}
log: {access: {path: access.log}, events: {path: events.log}}
"""
POLICY = """\
rules:
  - {name: media, when: {to: media.test}, then: {class: media}}
  - {name: bulk, when: {to: bulk.test}, then: {class: bulk}}
defaults: {access: allow, tls: bypass, auth: exempt, ports: [1-65535]}
"""


class Wrong(Exception):
    """Something came, or did not come, that the model says otherwise."""


class Side:
    """What one end does, and has done."""

    def __init__(self, chance, block, start):
        self.end = None
        self.block, self.start = block, start
        while block[self.start] in BEGINS_TLS:  # of which nothing goes on before there is a whole ClientHello
            self.start += 1
        self.queued = 0          # bytes of its stream that were given to its queue
        self.steps = collections.deque(random_steps(chance))
        self.reads_from = 0.0    # time at which it reads on
        self.waits_until = 0.0
        self.has_shut = self.has_reset = self.has_closed = False

    def is_gone(self):
        return self.has_reset or self.has_closed

    def piece(self, offset, count):
        at = (self.start + offset) % BLOCK
        return (self.block[at:] + self.block * (count // BLOCK + 1))[:count]

    def is_done(self):
        return self.is_gone() or (not self.steps and self.end.ended and not self.end.queue)

    def step(self, now):
        """One of its steps, if it is time."""
        if self.is_gone() or now < self.waits_until or not self.steps:
            return
        word, value = self.steps.popleft()
        if word == "write" and not self.has_shut:
            self.end.queue.append(self.piece(self.queued, value))
            self.queued += value
        elif word == "pause":
            self.reads_from = now + value
        elif word == "wait":
            self.waits_until = now + value
        elif word == "shut" and not self.has_shut:
            self.end.queue.append(FIN)
            self.has_shut = True
        elif word == "reset":
            self.end.acknowledged = self.end.sent - self.end.unacknowledged()
            self.has_reset = True
            self.end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.end.sock.close()
        elif word == "close":
            self.has_closed = True
            self.end.sock.close()


def random_steps(chance):
    steps = []
    for _ in range(chance.randrange(7)):
        word = chance.choice(("write", "write", "write", "pause", "wait"))
        size = chance.choice((1, 100, 5000, 40000, 300000, 1000000))
        steps.append((word, 1 + chance.randrange(size) if word == "write" else chance.random() * 0.2))
    steps.append(chance.choices((("shut", 0), ("reset", 0), ("close", 0)), (60, 30, 10))[0])
    if steps[-1][0] == "shut" and chance.random() < 0.2:
        steps += [("wait", chance.random() * 0.1), (chance.choice(("reset", "close")), 0)]
    return steps


class Session:
    """A tunnel, from CONNECT on."""

    def __init__(self, number, seed, proxy, blocks):
        chance = random.Random(f"{seed}-{number}")
        self.name = f"--seed {seed}, session {number}"
        self.host = chance.choices(list(HOSTS), HOSTS.values())[0]
        self.began = time.monotonic()
        window = chance.choice((0, 0, 0, 4096, 65536))
        self.listening = socket.socket()
        self.sides = {name: Side(chance, blocks[name], chance.randrange(BLOCK - 100)) for name in ("client", "origin")}
        client = socket.socket()
        for sock in (client, self.listening):
            if window:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.listening.bind(("127.0.0.1", 0))
        self.listening.listen(1)
        self.listening.setblocking(False)
        self.port = self.listening.getsockname()[1]
        client.connect(proxy)
        self.client = self.sides["client"].end = End(client, "client")
        self.origin = None
        self.head = b""
        self.client.queue.append(f"CONNECT {self.host}:{self.port} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        self.client.send_some()
        self.head_bytes = self.client.sent
        self.received = {"client": 0, "origin": 0}

    def open(self):
        """True once both ends stand."""
        if self.origin is None:
            try:
                self.origin = self.sides["origin"].end = End(self.listening.accept()[0], "origin")
            except BlockingIOError:
                return False
        while not self.head.endswith(b"\r\n\r\n") and self.client.have:
            self.head += self.client.take(1)
        if not self.head.endswith(b"\r\n\r\n"):
            if self.client.ended:
                raise Wrong(f"{self.name}: {self.client.ended} after {self.head!r}")
            return False
        if not self.head.startswith(b"HTTP/1.1 200 "):
            raise Wrong(f"{self.name}: {self.head!r}")
        self.listening.close()
        self.client.sent = 0
        return True

    def check_bytes(self):
        """Whatever came is what the other side sent, from where it was."""
        for name, side in self.sides.items():
            sender = self.sides["origin" if name == "client" else "client"]
            got = side.end.take(side.end.have)
            if got != sender.piece(self.received[name], len(got)) or self.received[name] + len(got) > sender.queued:
                raise Wrong(f"{self.name}: the {name} has other bytes behind {self.received[name]}")
            self.received[name] += len(got)

    def check_ends(self):
        for name, side in self.sides.items():
            sender = self.sides["origin" if name == "client" else "client"]
            got, ended = self.received[name], side.end.ended
            if side.is_gone():
                continue
            if ended == "fin" and not sender.has_shut and not sender.has_closed:
                raise Wrong(f"{self.name}: FIN for the {name}, which nobody sent: {self}")
            if ended == "fin" and not sender.has_closed and got != sender.queued:
                raise Wrong(f"{self.name}: FIN for the {name} after {got} of {sender.queued} bytes")
            if ended == "rst" and not sender.is_gone():
                raise Wrong(f"{self.name}: a reset for the {name}, which nobody sent: {self}")
            if sender.has_reset and got < sender.end.acknowledged:
                raise Wrong(f"{self.name}: {got} bytes for the {name}, {sender.end.acknowledged} were taken before the reset")

    def check_log(self, entry):
        """The line says who it was, how, and how many bytes were delivered."""
        client, origin = self.sides["client"], self.sides["origin"]
        gone = [name for name, side in self.sides.items() if side.is_gone()]
        wanted = {"class": self.host.split(".")[0], "status": 200}
        if not gone:
            wanted |= {"how": "fin"}
        elif len(gone) == 1 and self.sides[gone[0]].has_reset and not (client.has_shut and origin.has_shut):
            wanted |= {"how": "rst", "ended_by": gone[0]}
        if not origin.is_gone():
            wanted["bytes_up"] = self.received["origin"]
        if not client.is_gone():
            wanted["bytes_down"] = self.received["client"]
        for key, value in wanted.items():
            if entry.get(key) != value:
                raise Wrong(f"{self.name}: {key} should be {value!r} in {entry}; {self}")

    def is_done(self):
        return all(side.is_done() for side in self.sides.values())

    def close(self):
        self.listening.close()
        for side in self.sides.values():
            if side.end:
                side.end.sock.close()

    def __str__(self):
        return "; ".join(f"{name} to send {side.queued}, got {self.received[name]}, ended {side.end and side.end.ended}, "
                         f"left {list(side.steps)}, shut {side.has_shut}, reset {side.has_reset}, closed {side.has_closed}, "
                         f"acknowledged {side.end and side.end.acknowledged}" for name, side in self.sides.items())


def serve(sessions, opened, now):
    """One turn over all sockets."""
    poll, ends = select.poll(), {}
    for session in sessions:
        for side in session.sides.values():
            end = side.end
            if end is None or side.is_gone():
                continue
            bits = (select.POLLOUT if end.queue else 0) | (
                select.POLLIN if not end.ended and (now >= side.reads_from or session not in opened) else 0)
            if bits:
                ends[end.sock.fileno()] = end
                poll.register(end.sock.fileno(), bits)
    for fd, bits in poll.poll(5):
        end = ends[fd]
        # A reset may stand behind bytes: they are read first, while this end reads at all.
        if bits & select.POLLIN:
            end.receive()
        elif bits & (select.POLLHUP | select.POLLERR) and not bits & select.POLLOUT:
            end.receive()
        if bits & select.POLLOUT and end.queue:
            end.send_some()


def run_sessions(proxy, count, seed, at_once):
    chance = random.Random(f"{seed}-blocks")
    blocks = {name: chance.randbytes(BLOCK) for name in ("client", "origin")}
    sessions, opened, done, number = [], set(), [], 0
    try:
        while number < count or sessions:
            while number < count and len(sessions) < at_once:
                sessions.append(Session(number, seed, proxy.address, blocks))
                number += 1
            now = time.monotonic()
            serve(sessions, opened, now)
            for session in list(sessions):
                if session not in opened:
                    if session.open():
                        opened.add(session)
                    if now > session.began + PATIENCE_S:
                        raise Wrong(f"{session.name}: CONNECT hangs")
                    continue
                for side in session.sides.values():
                    side.step(now)
                session.check_bytes()
                if session.is_done():
                    session.check_ends()
                    session.close()
                    sessions.remove(session)
                    opened.discard(session)
                    done.append(session)
                elif now > session.began + PATIENCE_S:
                    raise Wrong(f"{session.name} hangs: {session}")
    finally:
        for session in sessions:
            session.close()
    return done


class Proxy:
    """A running one in a folder of its own."""

    def __init__(self, binary):
        self.binary = binary
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-hostile-"))
        self.folder.chmod(0o755)
        self.config = self.folder / "sallyport.yaml"
        self.config.write_text(CONFIG)
        (self.folder / "policy.yaml").write_text(POLICY)
        with open(self.folder / "stderr", "wb") as errors:
            self.process = subprocess.Popen([binary, "run", "-c", str(self.config)], stdout=subprocess.PIPE, stderr=errors, text=True)
        ready = self.process.stdout.readline()
        if not ready.startswith("ready "):
            raise Wrong(f"it does not start: {self.said()}")
        self.address = ("127.0.0.1", int(ready.rsplit(":", 1)[1]))

    def status(self):
        done = subprocess.run([self.binary, "status", "--json", "-c", str(self.config)], capture_output=True, check=True,
                              timeout=PATIENCE_S)
        return json.loads(done.stdout)

    def wait_empty(self):
        limit = time.monotonic() + PATIENCE_S
        while True:
            metrics = self.status()["metrics"]
            left = {name: metrics[name] for name in ("sessions", "tunnels", "exchanges") if metrics[name]}
            if not left:
                return
            if time.monotonic() > limit:
                raise Wrong(f"something is left: {left}")
            time.sleep(0.05)

    def descriptors(self):
        """Open descriptors of each worker but for pooled pipes; None where they may not be looked at."""
        result = {}
        for role in self.status()["roles"]:
            if role["role"] != "worker":
                continue
            try:
                folder = f"/proc/{role['pid']}/fd"
                kinds = collections.Counter(os.readlink(f"{folder}/{fd}").split(":")[0] for fd in os.listdir(folder))
            except PermissionError:
                return None
            result[role["pid"]] = (sum(kinds.values()) - kinds["pipe"], kinds["pipe"])
        return result

    def entries(self, count):
        """The log by port, once it has so many lines."""
        limit = time.monotonic() + PATIENCE_S
        while len(lines := (self.folder / "access.log").read_text().splitlines()) < count and time.monotonic() < limit:
            time.sleep(0.05)
        if len(lines) != count:
            raise Wrong(f"{count} lines were expected in the log, there are {len(lines)}")
        by_port = collections.defaultdict(list)
        for line in lines:
            entry = json.loads(line)
            by_port[entry["port"]].append(entry)
        return by_port

    def said(self):
        return "".join(path.read_text(errors="replace") for path in (self.folder / "stderr", self.folder / "events.log") if path.exists())

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = "none in time"
        self.process.stdout.close()
        said = self.said()
        bad = [word for word in ("surprise", "Sanitizer", "runtime error", "role_died", "assertion") if word in said]
        shutil.rmtree(self.folder)
        if status or bad:
            raise Wrong(f"it ended with {status}: {said}")


def aborted_count():
    """Connections that this kernel has reset for want of memory, whosever they were."""
    lines = [line.split() for line in pathlib.Path("/proc/net/netstat").read_text().splitlines()]
    for names, values in zip(lines[::2], lines[1::2]):
        if "TCPAbortOnMemory" in names:
            return int(values[names.index("TCPAbortOnMemory")])
    return 0


def run(options):
    proxy = Proxy(options.sallyport)
    try:
        before = proxy.descriptors()
        done = run_sessions(proxy, options.count, options.seed, options.at_once)
        proxy.wait_empty()
        by_port = proxy.entries(len(done))
        for session in done:
            if len(by_port[session.port]) == 1:  # a port may have been an origin's twice
                session.check_log(by_port[session.port][0])
        after = proxy.descriptors()
        for pid in before or {}:
            if after[pid][0] != before[pid][0] or after[pid][1] % 2:
                raise Wrong(f"descriptors of a worker: {before[pid]} before, {after[pid]} now (others, pipes)")
    finally:
        proxy.stop()
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sallyport", default="build/asan/sallyport")
    parser.add_argument("--count", type=int, default=300, help="sessions")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=40)
    options = parser.parse_args()
    options.sallyport = str(pathlib.Path(options.sallyport).resolve())
    for _ in range(3):
        aborted = aborted_count()
        try:
            done = run(options)
            break
        except Wrong as error:
            if aborted == aborted_count():
                print(f"FAIL hostile\n    {error}\nhostile: 0 passed, 1 failed")
                sys.exit(1)
            print(f"hostile: once more, since the kernel has reset connections for want of memory ({error})")
    else:
        sys.exit("hostile: the kernel has not enough memory for TCP")
    ends = collections.Counter(word for session in done for side in session.sides.values()
                               for word in ("reset", "closed", "shut") if getattr(side, f"has_{word}"))
    print(f"ok   hostile ({len(done)} sessions, {sum(sum(s.received.values()) for s in done) >> 20} MiB, "
          f"{', '.join(f'{count} {word}' for word, count in sorted(ends.items()))})")
    print("hostile: 1 passed, 0 failed")


if __name__ == "__main__":
    main()
