# SPDX-License-Identifier: Apache-2.0
"""Sections `== tunnel` and `== pair`: both ends of one session in one script, whose steps happen in the order in which they stand.
What an end sends never blocks the script: it is queued, and goes out while a later step waits for something."""
import collections
import fcntl
import json
import re
import select
import socket
import struct
import termios
import threading
import time

from words import PATIENCE_S, Wrong, difference, pattern_bytes, unescape

FIN = object()  # in a queue of bytes to be sent
STUCK_S = 0.1   # a queue that has not become shorter for so long


class End:
    """One end: a socket that never blocks, what is queued for it, and what has come."""

    def __init__(self, sock, name):
        self.sock, self.name = sock, name
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.queue = collections.deque()
        self.parts, self.have = [], 0  # read and not yet expected
        self.got = self.sent = 0
        self.acknowledged = 0          # of what was sent, when it was reset
        self.ended = None              # "fin" or "rst", as it came from the other side
        self.was_reset = False

    def send_some(self):
        """Send what there is room for; true if that was something."""
        moved = False
        try:
            while self.queue:
                if self.queue[0] is FIN:
                    self.sock.shutdown(socket.SHUT_WR)
                    self.queue.popleft()
                    continue
                count = self.sock.send(self.queue[0][:1 << 20])
                self.sent += count
                moved = True
                if count < len(self.queue[0]):
                    self.queue[0] = self.queue[0][count:]
                else:
                    self.queue.popleft()
        except BlockingIOError:
            pass
        except OSError:  # told once: recv() would call it an orderly end
            self.was_reset = True
            self.queue.clear()
        return moved

    def receive(self):
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except ConnectionError:
            self.ended = "rst"
            return
        if not data:
            self.ended = "rst" if self.was_reset else "fin"
            return
        self.parts.append(data)
        self.have += len(data)
        self.got += len(data)

    def take(self, count):
        data = b"".join(self.parts)
        taken, rest = data[:count], data[count:]
        self.parts, self.have = [rest], len(rest)
        return taken

    def is_reset(self):
        poll = select.poll()
        poll.register(self.sock.fileno(), 0)
        self.was_reset = self.was_reset or any(bits & select.POLLERR for _, bits in poll.poll(0))
        return self.was_reset

    def unacknowledged(self):
        """Bytes that the kernel of the proxy has not got."""
        return struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, b"\0" * 4))[0]


class Tunnel(threading.Thread):
    """`== tunnel NAME [window BYTES] [to HOST...]`, for one of the hosts; a `== pair` does its own asking."""

    def __init__(self, run, kind, name, host, window, lines):
        super().__init__(daemon=True)
        self.run_state, self.kind, self.lines = run, kind, lines
        self.host, self.window = host, window
        self.name_of = f"{name} to {host}"
        self.wrong = None
        self.ends = {}
        self.listening = socket.socket()
        if window:
            self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.listening.bind(("127.0.0.1", 0))
        self.listening.listen(4)
        self.listening.settimeout(PATIENCE_S)
        self.port = self.listening.getsockname()[1]

    # ---- running ----

    def run(self):
        number = 0
        try:
            self.connect()
            if self.kind == "tunnel":
                self.open()
            for number, text in self.lines:
                line = text.split("  #", 1)[0].strip()
                if line and not line.startswith("#"):
                    self.line(line)
        except Wrong as error:
            self.wrong = f"line {number}: {error}"
        except Exception as error:  # the flow itself is wrong
            self.wrong = f"line {number}: {type(error).__name__}: {error}"
        finally:
            if self.wrong:
                self.run_state.fail()
            for end in self.ends.values():
                end.sock.close()
            self.listening.close()

    def connect(self):
        address, _, port = self.run_state.listeners["main"].rpartition(":")
        sock = socket.socket()
        if self.window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.window)
        sock.settimeout(PATIENCE_S)
        sock.connect((address, int(port)))
        self.ends["client"] = End(sock, "client")

    def accept(self):
        self.ends["origin"] = End(self.listening.accept()[0], "origin")

    def open(self):
        """CONNECT, 200, and the origin's connection."""
        client = self.ends["client"]
        client.queue.append(f"CONNECT {self.host}:{self.port} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        client.send_some()
        self.accept()
        self.expect_head(client, "HTTP/1.1 200 .*")
        client.got = client.have
        client.sent = 0

    def line(self, line):
        """`client STEP ; STEP`, `origin STEP ; STEP`, or a step that is of neither."""
        word, _, rest = line.partition(" ")
        if word not in ("client", "origin"):
            return self.common(word, rest)
        if word not in self.ends:
            self.accept()
        for step in rest.split(" ; "):
            name, _, arguments = step.strip().partition(" ")
            if name not in STEPS:
                raise Wrong(f"no such step of a tunnel: {name}")
            STEPS[name](self, self.ends[word], self.fill(arguments))
        return None

    def common(self, word, rest):
        actions = {"sync": self.run_state.sync, "sleep": self.sleep, "log": self.log, "!": self.run_state.command,
                   "said": self.run_state.expect_said, "signal": self.run_state.signal}
        if word not in actions:
            raise Wrong(f"no such step of a tunnel: {word}")
        actions[word](self.fill(rest))

    def fill(self, text):
        names = {"port": self.port, **{f"{name}.got": end.got for name, end in self.ends.items()}}
        for name, value in names.items():
            text = text.replace("{" + name + "}", str(value))
        return self.run_state.fill(text)

    def wait(self, is_done, readers, what, seconds=None):
        """Send what is queued, read at these ends, until it is done. False: not in `seconds`."""
        limit = time.monotonic() + (seconds or PATIENCE_S)
        while not is_done():
            left = limit - time.monotonic()
            if left <= 0 and seconds:
                return False
            if left <= 0 or self.run_state.failed.is_set():
                raise Wrong(f"in vain: {what}" if left <= 0 else "the others did not come")
            poll = select.poll()  # other flows may have more descriptors than select() knows
            ends = {end.sock.fileno(): end for end in self.ends.values() if end.sock.fileno() >= 0}
            for fd, end in ends.items():
                bits = (select.POLLOUT if end.queue else 0) | (select.POLLIN if end in readers and not end.ended else 0)
                if bits:
                    poll.register(fd, bits)
            for fd, bits in poll.poll(min(left, 0.02) * 1000):
                if bits & (select.POLLIN | select.POLLHUP | select.POLLERR) and ends[fd] in readers:
                    ends[fd].receive()
                if ends[fd].queue and bits & (select.POLLOUT | select.POLLHUP | select.POLLERR):
                    ends[fd].send_some()
        return True

    def other(self, end):
        return self.ends["origin" if end.name == "client" else "client"]

    # ---- steps of an end ----

    def send(self, end, text):
        end.queue.append(unescape(text))
        end.send_some()

    def send_bulk(self, end, rest):
        count, seed = rest.split()
        end.queue.append(pattern_bytes(int(count), seed))
        end.send_some()

    def send_urgent(self, end, text):
        """Its last byte is urgent."""
        self.wait(lambda: not end.queue, (), f"room at the {end.name}'s side")
        end.sent += end.sock.send(unescape(text), socket.MSG_OOB)

    def send_last(self, end, text):
        """The bytes and FIN in one segment."""
        self.wait(lambda: not end.queue, (), f"room at the {end.name}'s side")
        end.sent += end.sock.send(unescape(text), socket.MSG_MORE)
        end.sock.shutdown(socket.SHUT_WR)

    def shut(self, end, _):
        end.queue.append(FIN)
        end.send_some()

    def reset(self, end, _):
        end.acknowledged = end.sent - end.unacknowledged()
        end.queue.clear()
        end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.sock.close()

    def close(self, end, _):
        self.wait(lambda: not end.queue, (), f"room at the {end.name}'s side")
        end.sock.close()

    def taken(self, end, _):
        self.wait(lambda: not end.queue and end.unacknowledged() == 0, (), f"that the proxy takes what the {end.name} sends")

    def stuck(self, end, _):
        """Until nothing moves any more: all buffers on the way are full, or have taken it all."""
        before = None
        while True:
            now = sum(len(one) for one in end.queue if one is not FIN) + end.unacknowledged()
            if now in (0, before):
                return
            before = now
            self.wait(lambda: False, (), "", STUCK_S)

    def expect(self, end, want):
        self.wait(lambda: end.have >= len(want) or end.ended, (end,), f"{len(want)} bytes for the {end.name}")
        got = end.take(len(want))
        if got != want:
            at = difference(got, want)
            raise Wrong(f"{end.name}: {len(got)} of {len(want)} bytes, ended by {end.ended}; from offset {at}: "
                        f"{got[at:at + 60]!r}, not {want[at:at + 60]!r}")

    def expect_raw(self, end, text):
        self.expect(end, unescape(text))

    def expect_bulk(self, end, rest):
        count, seed = rest.split()
        self.expect(end, pattern_bytes(int(count), seed))

    def expect_prefix(self, end, rest):
        """The beginning of these bytes, at least what the proxy had acknowledged when the other side reset; and the end."""
        count, seed = rest.split()
        begun = end.got - end.have
        want = pattern_bytes(int(count), seed)[begun:]
        self.wait(lambda: end.ended, (end,), f"the end of what the {end.name} gets")
        got = end.take(end.have)
        if got != want[:len(got)]:
            raise Wrong(f"{end.name}: the bytes differ from offset {difference(got, want)}")
        if end.got < self.other(end).acknowledged:
            raise Wrong(f"{end.name}: {end.got} bytes came, the proxy had taken {self.other(end).acknowledged}")
        if end.ended == "fin" and len(got) < len(want):
            raise Wrong(f"{end.name}: an orderly end after {end.got} of {count} bytes")

    def expect_end(self, end, how):
        self.wait(lambda: end.ended or end.have, (end,), f"the end of what the {end.name} gets")
        if end.have:
            raise Wrong(f"{end.name}: unexpected bytes before the end: {end.take(200)!r}")
        if how == "rst" and end.ended == "fin":  # which it may still say behind its FIN
            self.wait(end.is_reset, (), f"a reset for the {end.name}")
        elif end.ended != how:
            raise Wrong(f"{end.name}: ended by {end.ended}, not by {how}")

    def expect_any_end(self, end, _):
        self.wait(lambda: end.ended, (end,), f"the end of what the {end.name} gets")
        end.take(end.have)

    def expect_head(self, end, regex):
        """A head of HTTP, and its first line."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            self.wait(lambda: end.have or end.ended, (end,), f"a head for the {end.name}")
            if not end.have:
                raise Wrong(f"{end.name}: ended by {end.ended} after {head!r}")
            head += end.take(1)
        if not re.fullmatch(regex or ".*", head.split(b"\r\n")[0].decode()):
            raise Wrong(f"{end.name}: no first line like {regex!r}: {head!r}")
        end.got = end.have
        if not self.other(end).queue:  # acknowledgements count from here on
            self.other(end).sent = 0

    def expect_nothing(self, end, seconds):
        if self.wait(lambda: end.have or end.ended, (end,), "", float(seconds or 0.2)):
            raise Wrong(f"{end.name}: expected nothing, got {end.take(200)!r}, {end.ended}")

    # ---- steps of neither ----

    def sleep(self, seconds):
        self.wait(lambda: False, (), "", float(seconds))

    def log(self, text):
        """The line of this tunnel in access.log has these fields."""
        found = []

        def look():
            for line in self.run_state.lines_in("access.log"):
                entry = json.loads(line)
                if entry.get("port") == self.port and entry.get("event") != "running":
                    found.append((entry, line))
            return bool(found)

        self.wait(look, (), "a line in the access log")
        self.run_state.check_object(json.loads(text), *found[0])


STEPS = {">>": Tunnel.send, "bulk": Tunnel.send_bulk, "urgent": Tunnel.send_urgent, "last": Tunnel.send_last,
         "shut": Tunnel.shut, "rst": Tunnel.reset, "close": Tunnel.close, "taken": Tunnel.taken, "stuck": Tunnel.stuck,
         "<<": Tunnel.expect_raw, "<*": Tunnel.expect_head, "<bulk": Tunnel.expect_bulk, "<prefix": Tunnel.expect_prefix,
         "<eof": lambda tunnel, end, _: tunnel.expect_end(end, "fin"),
         "<rst": lambda tunnel, end, _: tunnel.expect_end(end, "rst"),
         "<end": Tunnel.expect_any_end, "<none": Tunnel.expect_nothing}


def tunnels_of(run, kind, name, lines):
    """One for each host that the heading names."""
    words = name.split()
    title, window, hosts = words[0], 0, ["origin.test"]
    if "to" in words:
        hosts = words[words.index("to") + 1:]
    if "window" in words:
        window = int(words[words.index("window") + 1])
    return [Tunnel(run, kind, title, host, window, lines) for host in hosts]
