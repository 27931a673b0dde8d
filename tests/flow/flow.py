#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs conversations (*.flow) against the real binary. The language is explained in README.md."""
import argparse
import concurrent.futures
import contextlib
import copy
import fcntl
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

import yaml

import tunnels
from words import PATIENCE_S, Wrong, difference, pattern_bytes, unescape

HERE = pathlib.Path(__file__).resolve().parent

BASE_CONFIG = {
    "listen": [{"name": "main", "address": "127.0.0.1:0"}],
    "workers": 1,
    "policy": "policy.yaml",
    "control": "run/sallyport.sock",
    "dns": {"servers": ["127.0.0.1:{dnsport}"], "hosts": {"origin.test": "127.0.0.1", "six.test": "::1"}},
    "destinations": {"permit": ["127.0.0.0/8", "::1/128"]},
    "authentication": {"schemes": []},
    "log": {"access": {"path": "access.log"}, "events": {"path": "events.log", "level": "info"}},
}
BASE_POLICY = "defaults: {access: allow, tls: bypass, auth: exempt, ports: [1-65535]}\n"


STEPS_WITHOUT_PEER = ("connect", "refused", "accept", "sync", "!", "write", "signal", "sleep", "refuse", "full", "move",
                      "logged", "stopped", "said", "until", "noted", "asked")


def merge(base, over):
    """`over` into `base`, mappings member by member."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value
    return base


def parse_flow(path):
    """A list of (kind, name, [(line number, text)]) and the description."""
    sections, about = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.startswith("== "):
            kind, _, name = line[3:].strip().partition(" ")
            sections.append((kind, name.strip(), []))
        elif sections:
            sections[-1][2].append((number, line))
        elif line.startswith("#"):
            about.append(line[1:].strip())
    return sections, " ".join(about)


class Peer:
    """One TCP connection, buffered for reading."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(PATIENCE_S)
        self.data = b""
        self.ended = None  # "fin" or "rst"

    def more(self):
        if self.ended:
            return False
        try:
            got = self.sock.recv(65536)
        except ConnectionError:
            self.ended = "rst"
            return False
        except socket.timeout as error:
            raise Wrong(f"nothing came for {PATIENCE_S} s; unread: {self.data[:200]!r}") from error
        if not got:
            self.ended = "fin"
            return False
        self.data += got
        return True

    def take(self, count):
        parts, have = [], 0  # joined once: adding to one string again and again takes a minute for 60 MB
        while have + len(self.data) < count:
            parts.append(self.data)
            have += len(self.data)
            self.data = b""
            if not self.more():
                raise Wrong(f"ended by {self.ended} after {parts[-1][-200:]!r}, {count} bytes were expected")
        self.data = b"".join(parts) + self.data
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def line(self):
        while b"\n" not in self.data:
            if not self.more():
                raise Wrong(f"ended by {self.ended} in the middle of a line: {self.data[-200:]!r}")
        line, _, self.data = self.data.partition(b"\n")
        return line.rstrip(b"\r").decode("utf-8", "backslashreplace")

    def end(self):
        while self.more():
            pass
        if self.data:
            raise Wrong(f"unexpected bytes before the end: {self.data[:300]!r}")
        return self.ended

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class NameServer(threading.Thread):
    """A tiny DNS server: answers from `records` {name: {"A": [...], "AAAA": [...], "ttl": n}}."""

    def __init__(self, records, hold):
        super().__init__(daemon=True)
        self.records, self.hold = records, hold
        self.asked = []
        self.sock = None
        while self.sock is None:  # one port that is free for both
            self.listening = socket.create_server(("127.0.0.1", 0))
            self.port = self.listening.getsockname()[1]
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self.sock.bind(("127.0.0.1", self.port))
            except OSError:
                self.sock = None

    def run(self):
        threading.Thread(target=self.run_tcp, daemon=True).start()
        while True:
            try:
                question, peer = self.sock.recvfrom(4096)
            except OSError:
                return
            reply, held = self.answer(question, False), self.held(question)
            if reply and held:
                threading.Thread(target=self.send_held, args=(reply, peer, held), daemon=True).start()
            elif reply:
                self.sock.sendto(reply, peer)

    def send_held(self, reply, peer, name):
        self.hold(name)
        with contextlib.suppress(OSError):  # all is over
            self.sock.sendto(reply, peer)

    def held(self, question):
        """`held: NAME`: its answer waits until the scripts have come to `sync NAME`."""
        record = self.records.get(self.asked[-1][0])
        return record.get("held") if isinstance(record, dict) else None

    def run_tcp(self):
        with contextlib.suppress(OSError, struct.error):
            while True:
                sock = self.listening.accept()[0]
                with sock, contextlib.suppress(OSError, struct.error):
                    while True:
                        count = struct.unpack("!H", sock.recv(2, socket.MSG_WAITALL))[0]
                        reply = self.answer(sock.recv(count, socket.MSG_WAITALL), True)
                        sock.sendall(struct.pack("!H", len(reply)) + reply)

    def answer(self, question, tcp):
        at, labels = 12, []
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode("latin-1"))
            at += question[at] + 1
        kind = struct.unpack("!H", question[at + 1:at + 3])[0]
        name = ".".join(labels).lower()
        self.asked.append((name, {1: "A", 28: "AAAA"}.get(kind, str(kind))))
        record = self.records.get(name)
        echo = question[12:at + 5]
        wanted = {1: "A", 28: "AAAA"}.get(kind, str(kind))
        # From the second question of this kind on, `then` answers.
        if isinstance(record, dict) and "then" in record and self.asked.count((name, wanted)) > 1:
            record = record["then"]
        if record == "silent" or (isinstance(record, dict) and record.get(wanted) == "silent"):
            return None
        if record is None or record == "servfail":
            code = 2 if record == "servfail" else 3
            return question[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, 0, 0, 0) + echo
        if not tcp and record.get("tcp"):
            return question[:2] + struct.pack("!HHHHH", 0x8380, 1, 0, 0, 0) + echo
        count, body = self.rows(record, kind, wanted, b"\xc0\x0c")
        return question[:2] + struct.pack("!HHHHH", 0x8180, 1, count, 0, 0) + echo + body

    def rows(self, record, kind, wanted, owner):
        """Resource records of this kind; `CNAME: other` goes on at the other name."""
        ttl, body = record.get("ttl", 60), b""
        if "CNAME" in record:
            target = b"".join(bytes([len(label)]) + label.encode() for label in record["CNAME"].split(".")) + b"\0"
            count, body = self.rows(self.records[record["CNAME"]], kind, wanted, target)
            return count + 1, owner + struct.pack("!HHIH", 5, 1, ttl, len(target)) + target + body
        family = socket.AF_INET if kind == 1 else socket.AF_INET6
        for row in record.get(wanted, []):
            raw = socket.inet_pton(family, row)
            body += owner + struct.pack("!HHIH", kind, 1, ttl, len(raw)) + raw
        return len(record.get(wanted, [])), body


class Script(threading.Thread):
    """A client or an origin that does what its section says."""

    def __init__(self, run, kind, name, lines):
        super().__init__(daemon=True)
        self.run_state, self.kind, self.name_of, self.lines = run, kind, name, lines
        self.peer = None
        self.wrong = None
        if kind == "origin":
            family = socket.AF_INET6 if "six" in name else socket.AF_INET
            self.listening = socket.socket(family, socket.SOCK_STREAM)
            self.listening.bind(("::1" if "six" in name else "127.0.0.1", 0))
            self.listening.listen(64)
            self.listening.settimeout(PATIENCE_S)
            self.port = self.listening.getsockname()[1]

    def run(self):
        number = 0
        try:
            for number, text in self.lines:
                step = text.split("  #", 1)[0].strip()
                if step and not step.startswith("#"):
                    self.step(self.run_state.fill(step))
        except Wrong as error:
            self.wrong = f"line {number}: {error}"
        except Exception as error:  # the flow itself is wrong
            self.wrong = f"line {number}: {type(error).__name__}: {error}"
        finally:
            if self.wrong:
                self.run_state.fail()
            if self.peer:
                self.peer.sock.close()
            if self.kind == "origin":
                self.listening.close()

    def step(self, step):
        word, _, rest = step.partition(" ")
        actions = {">": self.send_line, ">>": self.send_raw, "<": self.expect_line, "<<": self.expect_raw,
                   "<~": self.expect_match, "<*": self.expect_head, "<eof": self.expect_eof,
                   "<rst": self.expect_reset, "<end": self.expect_end, "<none": self.expect_nothing,
                   "shut": lambda _: self.peer.sock.shutdown(socket.SHUT_WR),
                   "close": lambda _: self.close(), "rst": lambda _: self.peer.reset(),
                   "fill": self.send_fill, "bulk": self.send_bulk, "<bulk": self.expect_bulk, "<>bulk": self.exchange_bulk,
                   "acked": self.wait_acked, "peername": self.expect_peer_name, "connect": self.connect, "refused": self.expect_refused,
                   "accept": lambda _: self.accept(), "refuse": lambda _: self.listening.close(), "full": lambda _: self.fill_queue(),
                   "sync": self.run_state.sync, "!": self.run_state.command,
                   "write": self.run_state.write_section, "signal": self.run_state.signal,
                   "move": self.run_state.move, "logged": self.run_state.logged,
                   "stopped": self.run_state.wait_stopped, "said": self.run_state.expect_said,
                   "until": self.run_state.until, "noted": self.run_state.noted, "asked": self.run_state.asked,
                   "sleep": lambda seconds: time.sleep(float(seconds))}
        if word not in actions:
            raise Wrong(f"no such step: {word}")
        if self.peer is None and word not in STEPS_WITHOUT_PEER:
            if self.kind == "origin":
                self.accept()
            else:
                self.connect("main")
        actions[word](rest)

    def close(self):
        self.peer.sock.close()
        self.peer = None

    def accept(self):
        if self.peer:
            self.peer.sock.close()
        try:
            self.peer = Peer(self.listening.accept()[0])
        except socket.timeout as error:
            raise Wrong("nobody connected") from error

    def fill_queue(self):
        """From now on the kernel drops who wants to connect: a black hole."""
        self.listening.listen(0)
        self.waiting = [socket.socket(self.listening.family) for _ in range(3)]
        for sock in self.waiting:
            sock.setblocking(False)
            sock.connect_ex(self.listening.getsockname())

    def connect(self, rest):
        """`connect [LISTENER] [from ADDRESS]`; a listener that was not there at the start: unix:PATH"""
        if self.peer:
            self.peer.sock.close()
        name, _, source = rest.partition("from ")
        name = name.strip() or "main"
        address = name if name.startswith("unix:") else self.run_state.listeners[name]
        if address.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(address[5:])
        else:
            host, _, port = address.rpartition(":")
            sock = socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S,
                                            (source.strip(), 0) if source else None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer = Peer(sock)

    def expect_refused(self, rest):
        """Connecting must fail, at the latest soon: the proxy closes its listeners in its own time."""
        limit = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit:
            try:
                self.connect(rest)
            except OSError:
                self.peer = None
                return
            self.close()
            time.sleep(0.02)
        raise Wrong("connections are still accepted")

    def send_line(self, text):
        self.peer.sock.sendall(text.encode("utf-8") + b"\r\n")

    def send_raw(self, text):
        self.peer.sock.sendall(unescape(text))

    def send_fill(self, rest):
        """`fill N "bytes"`: N bytes, these again and again."""
        count, _, text = rest.partition(" ")
        piece = unescape(text)
        self.peer.sock.sendall((piece * (int(count) // len(piece) + 1))[:int(count)])

    def send_bulk(self, rest):
        count, seed = rest.split()
        self.peer.sock.sendall(pattern_bytes(int(count), seed))

    def expect_line(self, text):
        line = self.peer.line()
        if line != text:
            raise Wrong(f"expected the line {text!r}, got {line!r}")

    def expect_match(self, regex):
        line = self.peer.line()
        match = re.fullmatch(regex, line)
        if not match:
            raise Wrong(f"expected a line like {regex!r}, got {line!r}")
        self.run_state.names.update(match.groupdict())

    def expect_head(self, rest):
        """The rest of a head: each of `rest` (separated by ;;) must be a field in it, !Name must not."""
        lines = []
        while True:
            line = self.peer.line()
            if not line:
                break
            lines.append(line)
        for want in filter(None, (one.strip() for one in rest.split(";;"))):
            if want.startswith("!"):
                if any(line.lower().startswith(want[1:].lower() + ":") for line in lines):
                    raise Wrong(f"there is a field {want[1:]} among {lines}")
            elif not any(re.fullmatch(want, line, re.IGNORECASE) for line in lines):
                raise Wrong(f"no field like {want!r} among {lines}")

    def expect_raw(self, text):
        want = unescape(text)
        got = self.peer.take(len(want))
        if got != want:
            raise Wrong(f"expected {want!r}, got {got!r}")

    def expect_bulk(self, rest):
        count, seed = rest.split()
        want = pattern_bytes(int(count), seed)
        got = self.peer.take(int(count))
        if got != want:
            raise Wrong(f"bytes differ from offset {difference(got, want)} of {count}")

    def exchange_bulk(self, rest):
        """Send and expect at once: neither side may wait for the other."""
        count, seed, expected = rest.split()
        sender = threading.Thread(target=self.send_bulk, args=(f"{count} {seed}",), daemon=True)
        sender.start()
        self.expect_bulk(f"{count} {expected}")
        sender.join(PATIENCE_S)

    def wait_acked(self, _):
        """`acked`: wait until the other side's kernel has all that was sent."""
        def is_empty():
            return struct.unpack("i", fcntl.ioctl(self.peer.sock, termios.TIOCOUTQ, b"\0\0\0\0"))[0] == 0
        self.run_state.wait_for("an acknowledgement of what was sent", is_empty)

    def expect_peer_name(self, address):
        if self.peer.sock.getpeername()[0] != address:
            raise Wrong(f"the connection comes from {self.peer.sock.getpeername()[0]}, not {address}")

    def expect_eof(self, _):
        if self.peer.end() != "fin":
            raise Wrong("reset, where an orderly end was expected")

    def expect_reset(self, _):
        if self.peer.end() != "rst":
            raise Wrong("an orderly end, where a reset was expected")

    def expect_end(self, _):
        """Reads what is left, and does not mind what it is or how it ends."""
        while self.peer.more():
            pass
        self.peer.data = b""

    def expect_nothing(self, seconds):
        self.peer.sock.settimeout(float(seconds or 0.2))
        try:
            got = self.peer.data or self.peer.sock.recv(1000)
            raise Wrong(f"expected nothing, got {got!r}")
        except socket.timeout:
            self.peer.sock.settimeout(PATIENCE_S)


class Run:
    """One flow with its own proxy, folder and peers."""

    def __init__(self, path, binary):
        self.path, self.binary = path, binary
        self.sections, self.about = parse_flow(path)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-flow-"))
        self.folder.chmod(0o755)
        self.listeners, self.process, self.dns = {}, None, None
        self.names = {"dir": str(self.folder)}
        self.scripts = []
        self.marks, self.failed = {}, threading.Event()
        self.marks_lock = threading.Condition()
        self.stopped = False
        self.said = ""

    def lines_of(self, kind):
        return [(name, lines) for k, name, lines in self.sections if k == kind]

    def text_of(self, lines):
        return "\n".join(text for _, text in lines) + "\n"

    def fill(self, text):
        return re.sub(r"\{([a-z0-9.]+)\}", lambda m: str(self.names.get(m.group(1), m.group(0))), text)

    # ---- steps that are not about one connection ----

    def fail(self):
        self.failed.set()
        with self.marks_lock:
            self.marks_lock.notify_all()

    def sync(self, rest):
        """`sync NAME`: go on when every script that names it has come here."""
        name = rest.strip()
        parties = self.parties(name)
        with self.marks_lock:
            self.marks[name] = self.marks.get(name, 0) + 1
            self.marks_lock.notify_all()
            done = self.marks_lock.wait_for(
                lambda: self.marks[name] >= parties or self.failed.is_set(), PATIENCE_S)
        if not done or self.failed.is_set():
            raise Wrong(f"the others did not come to {name}")

    def hold(self, name):
        parties = self.parties(name)
        with self.marks_lock:
            self.marks_lock.wait_for(lambda: self.marks.get(name, 0) >= parties or self.failed.is_set(), PATIENCE_S)

    def parties(self, name):
        return sum(1 for one in self.scripts for _, text in one.lines if text.split("  #")[0].strip() == f"sync {name}")

    def command(self, rest):
        """`! STATUS COMMAND...`: sallyport COMMAND -c the configuration; its exit status must be that."""
        status, _, words = rest.partition(" ")
        words = shlex.split(words)
        done = subprocess.run([self.binary, words[0], "-c", str(self.folder / "sallyport.yaml"), *words[1:]],
                              capture_output=True, timeout=PATIENCE_S * 2, check=False, text=True)
        self.said = done.stdout + done.stderr
        if done.returncode != int(status):
            raise Wrong(f"{words}: exit status {done.returncode}: {self.said}")

    def expect_said(self, regex):
        """`said REGEX`: what the last command printed has this, in one line."""
        if not re.search(regex, self.said, re.MULTILINE):
            raise Wrong(f"nothing like {regex!r} was said:\n{self.said}")

    def write_section(self, rest):
        """`write FILE SECTION`: replace a file in the folder by the section `== file SECTION`."""
        name, section = rest.split()
        for key, lines in self.lines_of("file"):
            if key == section:
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / name).write_text(self.fill(self.text_of(lines)), encoding="utf-8")
                return
        raise Wrong(f"there is no section == file {section}")

    def signal(self, rest):
        self.process.send_signal(getattr(signal, "SIG" + rest.strip()))

    def move(self, rest):
        name, to = rest.split()
        (self.folder / name).rename(self.folder / to)

    def lines_in(self, name):
        path = self.folder / name
        return path.read_text(errors="backslashreplace").splitlines() if path.exists() else []

    def logged(self, rest):
        """`logged N [FILE]`: wait until a log has at least so many lines; 0: until it is there."""
        count, _, name = rest.partition(" ")
        if count == "0":
            self.wait_for(f"the file {name}", (self.folder / name).exists)
        limit = time.monotonic() + PATIENCE_S
        while len(self.lines_in(name or "access.log")) < int(count):
            if time.monotonic() > limit:
                raise Wrong(f"the log has only {self.lines_in(name or 'access.log')}")
            time.sleep(0.02)

    def wait_for(self, what, check):
        limit = time.monotonic() + PATIENCE_S
        while not check():
            if self.failed.is_set() or time.monotonic() > limit:
                raise Wrong(f"in vain: {what}")
            time.sleep(0.05)

    def until(self, rest):
        """`until "REGEX" COMMAND...`: sallyport COMMAND again and again, until it prints this in one of its lines."""
        regex, *words = shlex.split(rest)

        def says():
            self.command(shlex.join(["0", *words]))
            return re.search(regex, self.said, re.MULTILINE)
        self.wait_for(rest, says)

    def noted(self, regex):
        """`noted REGEX`: wait until the event log has a line like this."""
        self.wait_for(f"the event {regex}", lambda: re.search(regex, self.events()))

    def asked(self, rest):
        """`asked NAME [N]`: wait until the name server was asked for this so often (1), of whatever type."""
        name, _, count = rest.partition(" ")
        self.wait_for(f"questions for {rest}", lambda: [one for one, _ in self.dns.asked].count(name) >= int(count or 1))

    def wait_stopped(self, _):
        """The proxy ends by itself."""
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Wrong("the proxy does not end") from None

    # ---- the proxy ----

    def write_files(self):
        config = copy.deepcopy(BASE_CONFIG)
        for _, lines in self.lines_of("config"):
            merge(config, yaml.safe_load(self.fill(self.text_of(lines))) or {})
        (self.folder / "sallyport.yaml").write_text(
            self.fill(yaml.safe_dump(config, sort_keys=False)), encoding="utf-8")
        policy = self.lines_of("policy")
        (self.folder / "policy.yaml").write_text(
            self.fill(self.text_of(policy[0][1])) if policy else BASE_POLICY, encoding="utf-8")
        for name, lines in self.lines_of("list"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(self.fill(self.text_of(lines)), encoding="utf-8")

    def start(self):
        with open(self.folder / "stderr", "wb") as errors:
            self.process = subprocess.Popen(
                [self.binary, "run", "-c", str(self.folder / "sallyport.yaml")],
                stdout=subprocess.PIPE, stderr=errors, cwd=self.folder)
        line = self.process.stdout.readline().decode()
        if not line.startswith("ready "):
            raise Wrong("the proxy did not start:\n" + self.events())
        for word in line.split()[1:]:
            name, _, address = word.partition("=")
            self.listeners[name] = address
            self.names["proxy" if name == "main" else f"proxy.{name}"] = address
            if name == "main":
                self.names["proxy.port"] = address.rpartition(":")[2]

    def stop(self):
        if self.process is None or self.stopped:
            return
        self.stopped = True
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Wrong("the proxy did not stop") from None
        finally:
            self.process.stdout.close()
        if status != 0:
            raise Wrong(f"the proxy ended with status {status}")

    # ---- what is left behind ----

    def check_log(self):
        for name, lines in self.lines_of("log"):
            wanted = [json.loads(self.fill(text)) for _, text in lines if text.strip()]
            for want, line in zip(wanted, self.wait_lines(name or "access.log", len(wanted))):
                self.check_object(want, json.loads(line), line)
        for name, lines in self.lines_of("lines"):
            wanted = [self.fill(text) for _, text in lines if text.strip()]
            for want, line in zip(wanted, self.wait_lines(name or "access.log", len(wanted))):
                if not re.fullmatch(want, line):
                    raise Wrong(f"log: expected a line like {want!r}, got {line!r}")

    def wait_lines(self, name, count):
        limit = time.monotonic() + PATIENCE_S
        while len(self.lines_in(name)) < count and time.monotonic() < limit:
            time.sleep(0.02)
        got = self.lines_in(name)
        if len(got) != count:
            raise Wrong(f"{count} log lines were expected, there are {len(got)}:\n" + "\n".join(got))
        return got

    def check_object(self, want, got, line):
        for key, value in want.items():
            if value == "-":
                if key in got:
                    raise Wrong(f"log: {key} should be absent in {line}")
            elif key not in got:
                raise Wrong(f"log: {key} is missing in {line}")
            elif isinstance(value, dict):
                self.check_object(value, got[key], line)
            elif value != "*" and value != got[key] and not (
                    isinstance(value, str) and value.startswith("~") and re.fullmatch(value[1:], str(got[key]))):
                raise Wrong(f"log: {key} should be {value!r}, not {got[key]!r}, in {line}")

    def check_metrics(self):
        for _, lines in self.lines_of("metrics"):
            wanted = [text.split() for _, text in lines if text.strip()]
            limit = time.monotonic() + PATIENCE_S / 4
            while (wrong := self.wrong_metric(wanted)) and time.monotonic() < limit:
                time.sleep(0.05)  # sessions may still be ending
            if wrong:
                raise Wrong(wrong)

    def check_nothing_left(self):
        """All clients have gone, so all sessions must."""
        limit = time.monotonic() + PATIENCE_S
        gauges = [("sessions", "0"), ("tunnels", "0"), ("exchanges", "0")]
        with contextlib.suppress(subprocess.CalledProcessError):  # it is stopping, or has
            while wrong := self.wrong_metric(gauges):
                if time.monotonic() > limit:
                    raise Wrong(f"something is left: {wrong}")
                time.sleep(0.05)

    def wrong_metric(self, wanted):
        done = subprocess.run([self.binary, "status", "--json", "-c", str(self.folder / "sallyport.yaml")],
                              capture_output=True, timeout=PATIENCE_S, check=True)
        metrics = json.loads(done.stdout)["metrics"]
        for name, value in wanted:
            got = metrics["errors"].get(name[6:], 0) if name.startswith("error:") else metrics[name]
            if got != int(value):
                return f"metrics: {name} should be {value}, not {got}"
        return None

    def events(self):
        paths = [self.folder / "stderr", self.folder / "events.log"]
        return "".join(path.read_text(errors="replace") for path in paths if path.exists())

    def check_events(self):
        text = self.events()
        expected = [self.fill(t.strip()) for _, lines in self.lines_of("events") for _, t in lines if t.strip()]
        for want in expected:
            if not re.search(want, text):
                raise Wrong(f"no event like {want!r} in\n{text}")
        for bad in ("surprise", "Sanitizer", "runtime error", "role_died", "role_message", "assertion"):
            if bad in text and not any(bad in want for want in expected):
                raise Wrong(f"the event log has {bad!r}:\n{text}")

    def run_scripts(self, scripts):
        for script in scripts:
            script.start()
        for script in scripts:
            script.join(PATIENCE_S * 3)
            if script.is_alive():
                raise Wrong(f"{script.kind} {script.name_of} does not end")
        wrong = [f"{s.kind} {s.name_of}: {s.wrong}" for s in scripts if s.wrong]
        if wrong:
            # Those that only waited for the others are no news.
            real = [one for one in wrong if "the others did not come" not in one] or wrong
            raise Wrong("\n    ".join(real))

    def run(self):
        scripts = self.scripts
        try:
            records = {}
            for _, lines in self.lines_of("dns"):
                records = yaml.safe_load(self.text_of(lines))
            self.dns = NameServer(records, self.hold)
            self.dns.start()
            self.names["dnsport"] = self.dns.port
            for name, lines in self.lines_of("origin"):
                scripts.append(Script(self, "origin", name, lines))
                self.names[f"{name}.port" if name else "port"] = scripts[-1].port
            closed = socket.socket()
            closed.bind(("127.0.0.1", 0))
            self.names["closed"] = closed.getsockname()[1]  # bound, not listening: refuses
            self.write_files()
            self.start()
            scripts += [Script(self, "client", name, lines) for name, lines in self.lines_of("client")]
            for kind, name, lines in self.sections:
                if kind in ("tunnel", "pair"):
                    scripts += tunnels.tunnels_of(self, kind, name, lines)
            self.run_scripts(scripts)
            self.check_log()
            self.check_metrics()
            self.check_nothing_left()
            self.stop()
            self.check_events()
            closed.close()
            return None
        except (Wrong, subprocess.SubprocessError, OSError, ValueError, KeyError) as error:
            return f"{type(error).__name__}: {error}" if not isinstance(error, Wrong) else str(error)
        finally:
            if self.process and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if self.dns:
                self.dns.sock.close()
                self.dns.listening.close()
            shutil.rmtree(self.folder, ignore_errors=True)


def run_one(path, binary):
    began = time.monotonic()
    wrong = Run(path, binary).run()
    return path, wrong, time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("flows", nargs="*", type=pathlib.Path, help="files; default: all in this folder")
    parser.add_argument("--sallyport", default=os.environ.get("SALLYPORT", "build/asan/sallyport"))
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--quiet", action="store_true", help="say only what failed")
    options = parser.parse_args()
    binary = str(pathlib.Path(options.sallyport).resolve())
    if not os.access(binary, os.X_OK):
        sys.exit(f"flow.py: there is no program {binary}; build it, or name it with --sallyport")
    for path in options.flows:
        if not path.is_file():
            sys.exit(f"flow.py: there is no file {path}")
    flows = options.flows or sorted(HERE.glob("**/*.flow"))
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for path, wrong, took in pool.map(lambda one: run_one(one, binary), flows):
            if wrong:
                failed += 1
                print(f"FAIL {path.stem}\n    {wrong}")
            elif not options.quiet:
                print(f"ok   {path.stem} ({took:.1f} s)")
            sys.stdout.flush()
    print(f"flows: {len(flows) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
