#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Rate limits of a Release build: per client, user and rule, over both workers; what they never touch. Times have lower bounds alone."""
import base64
import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import threading
import time

import roles
from roles import PATIENCE_S, Proxy, wait_for

SECOND_BYTES = 1 << 20  # what the limits below let through in a second, and at once
CONFIG = """\
listen: [{{name: main, address: "127.0.0.1:{port}"}}]
workers: 2
policy: policy.yaml
control: run/sallyport.sock
destinations: {{permit: [127.0.0.0/8]}}
authentication: {{schemes: [basic], users: users}}
limits: {{rate_per_client: RATE, rate_per_user: 1M}}
log: {{access: {{path: access.log}}, events: {{path: events.log}}}}
"""
POLICY = """\
rules:
- {{name: who, when: {{from: [127.0.0.21, 127.0.0.22]}}, then: {{auth: required}}}}
- {{name: call, when: {{port: {media}}}, then: {{class: media, rate: none}}}}
- {{name: slow, when: {{port: {slow}}}, then: {{rate: 1M}}}}
- {{name: apart, when: {{port: {apart}}}, then: {{rate: {{each: client, rate: 1M}}}}}}
defaults: {{access: allow, tls: bypass, auth: exempt, ports: [1-65535]}}
"""


class Origin:
    """On each connection: so many bytes as its first line asks for; or what comes, counted, or sent back."""

    def __init__(self):
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                sock = self.sock.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.answer, args=(sock,), daemon=True).start()

    @staticmethod
    def answer(sock):
        try:
            lines = sock.makefile("rb", buffering=0)
            line = lines.readline().split()
            if line[0] == b"GET":
                while lines.readline().strip():
                    pass
                length = int(line[1].rsplit(b"/", 1)[1])
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % length + bytes(length))
            elif line[0] == b"send":
                sock.sendall(bytes(int(line[1])))
            elif line[0] == b"take":
                left = int(line[1])
                while left:
                    left -= len(sock.recv(min(left, 65536))) or left
                sock.sendall(b"done")
            while line[0] == b"echo" and (got := sock.recv(64)):
                sock.sendall(got)
        except (OSError, IndexError, ValueError):
            pass
        sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


def read_all(sock, length):
    left = length
    while left:
        got = sock.recv(min(left, 65536))
        assert got, f"{left} bytes of {length} are missing"
        left -= len(got)


class Client:
    """Has an address of its own, and so buckets."""

    def __init__(self, proxy, host, user=None):
        self.proxy, self.address = proxy, ("127.0.0.%d" % host, 0)
        self.fields = b"Proxy-Authorization: Basic " + base64.b64encode(user) + b"\r\n" if user else b""

    def connect(self):
        sock = socket.create_connection(("127.0.0.1", self.proxy.port), PATIENCE_S, self.address)
        sock.settimeout(PATIENCE_S)
        return sock

    def tunnel(self, port, first):
        sock = self.connect()
        sock.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n" % (port, port, self.fields))
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1)
        assert head.startswith(b"HTTP/1.1 200"), head
        sock.sendall(first)
        return sock

    def tunnels(self, port, count, first=b""):
        """So many, in both workers."""
        socks, rows = [], {}
        while len(socks) < count or len(set(rows.values())) < 2:
            assert len(socks) < 60, rows
            socks.append(self.tunnel(port, b""))
            if len(socks) >= count:
                listed = map(json.loads, self.proxy.command("status", "--sessions", "--json").splitlines())
                rows = {int(one["client"].rsplit(":", 1)[1]): one["id"][0] for one in listed}
        # The first and the last are of both: those between may be many.
        for one in socks[1:len(socks) - count + 1]:
            one.close()
        socks = socks[:1] + socks[len(socks) - count + 1:]
        for one in socks:
            one.sendall(first)
        return socks

    @staticmethod
    def finish(sock, length):
        with sock:
            sock.sendall(b"send %d\n" % length)
            read_all(sock, length)

    def download(self, port, length):
        self.finish(self.tunnel(port, b""), length)

    def upload(self, port, length):
        with self.tunnel(port, b"take %d\n" % length) as sock:
            sock.sendall(bytes(length))
            read_all(sock, 4)

    def fetch(self, port, length):
        with self.connect() as sock:
            sock.sendall(b"GET http://127.0.0.1:%d/%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n" % (port, length, port, self.fields))
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(1)
            assert head.startswith(b"HTTP/1.1 200"), head
            read_all(sock, length)


def timed(*works):
    """Do all of them at once; the seconds until the last is done."""
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(*work) for work in works]:
            done.result()
    return time.monotonic() - began


def lines_of(proxy, host):
    path = proxy.folder / "access.log"
    return [line for line in map(json.loads, path.read_text().splitlines()) if line["client"].startswith(f"127.0.0.{host}:")]


def start(media=1, slow=2, apart=3, rate="1M"):
    return Proxy(CONFIG.replace("RATE", rate), files={"policy.yaml": POLICY.format(media=media, slow=slow, apart=apart)})


def add_user(proxy):
    subprocess.run([roles.BINARY, "user", "add", "-c", str(proxy.config), "anna"], input="secret\n", text=True, check=True,
                   capture_output=True)


def test_limits_hold():
    """Three seconds' worth takes two seconds, whoever moves it and however; class media and its bytes are not counted."""
    with Origin() as plain, Origin() as media, Origin() as slow, Origin() as apart, \
         start(media.port, slow.port, apart.port) as proxy:
        add_user(proxy)
        proxy.command("reload")
        three, half = 3 * SECOND_BYTES, 3 * SECOND_BYTES // 2
        anna = b"anna:secret"

        def media_then_some():
            Client(proxy, 31).download(media.port, 8 * SECOND_BYTES)
            Client(proxy, 31).upload(media.port, 8 * SECOND_BYTES)
            Client(proxy, 31).download(plain.port, SECOND_BYTES // 2)

        works = {
            "client, down": [(Client(proxy, 11).download, plain.port, three)],
            "client, up": [(Client(proxy, 12).upload, plain.port, three)],
            "client, http": [(Client(proxy, 13).fetch, plain.port, three)],
            "client, both workers": [(Client.finish, sock, three // 6) for sock in Client(proxy, 14).tunnels(plain.port, 6)],
            "user": [(Client(proxy, host, anna).download, plain.port, half) for host in (21, 22)],
            "rule": [(Client(proxy, host).download, slow.port, half) for host in (15, 16)],
            "rule, each": [(Client(proxy, 17).download, apart.port, three)],
        }
        with concurrent.futures.ThreadPoolExecutor(len(works) + 1) as pool:
            calls = pool.submit(media_then_some)
            took = {name: pool.submit(timed, *work) for name, work in works.items()}
            for name, seconds in took.items():
                assert seconds.result() >= 1.8, (name, seconds.result())
            calls.result()
        wait_for("all lines", lambda: len((proxy.folder / "access.log").read_text().splitlines()) >= 17)
        for host, by in ((11, {"client"}), (12, {"client"}), (13, {"client"}), (17, {"client", "rule"})):
            rate = lines_of(proxy, host)[0]["rate"]
            assert rate["by"] in by and rate["waited_ms"] > 500, (host, rate)
        assert any(line.get("rate", {}).get("by") == "user" for host in (21, 22) for line in lines_of(proxy, host))
        assert any(line.get("rate", {}).get("by") == "rule" for host in (15, 16) for line in lines_of(proxy, host))
        calls = lines_of(proxy, 31)
        assert len(calls) == 3 and not any("rate" in line for line in calls), calls
        metrics = proxy.status()["metrics"]
        assert metrics["rate_waits_total"] > 10 and metrics["rate_waited_ms_total"] > 5000, metrics
        assert metrics["rate_shared_total"] == 0


def test_downloads_and_talk_share():
    """Four downloads of a client have alike, over both workers, and none keeps it from talking."""
    with Origin() as origin, start() as proxy:
        client = Client(proxy, 41)
        socks = client.tunnels(origin.port, 4, b"send %d\n" % (1 << 28))
        got = [0] * 4
        talk = client.tunnel(origin.port, b"echo\n")

        def read(i):
            try:
                while block := socks[i].recv(65536):
                    got[i] += len(block)
            except OSError:
                pass
        readers = [threading.Thread(target=read, args=(i,)) for i in range(4)]
        for one in readers:
            one.start()
        wait_for("the burst", lambda: sum(got) > 2 * SECOND_BYTES)
        before = list(got)
        talks = 0
        while sum(got) - sum(before) < 2 * SECOND_BYTES:
            talk.sendall(b"x" * 64)
            read_all(talk, 64)
            talks += 1
        shares = [(now - then) / (sum(got) - sum(before)) for now, then in zip(got, before)]
        assert talks >= 4 and min(shares) > 0.1, (talks, shares)
        for one in socks + [talk]:
            one.shutdown(socket.SHUT_RDWR)
            one.close()
        for one in readers:
            one.join()


def test_a_dead_worker_keeps_nothing():
    """What it had taken, for sessions that waited, is there again; those of the other worker go on."""
    with Origin() as origin, start() as proxy:
        client = Client(proxy, 51)
        socks = client.tunnels(origin.port, 12, b"send %d\n" % (1 << 28))
        rows = map(json.loads, proxy.command("status", "--sessions", "--json").splitlines())
        worker = {int(one["client"].rsplit(":", 1)[1]): one["id"][0] for one in rows}
        for one in socks:
            read_all(one, 4096)
        os.kill(proxy.roles()["worker0"], signal.SIGKILL)
        client.download(origin.port, SECOND_BYTES)
        for one in socks:
            if worker[one.getsockname()[1]] == "1":
                read_all(one, 100000)
            one.close()


def test_reload_changes_running_ones():
    """A tunnel that would take minutes is seen to wait, and is done when the limit is gone."""
    with Origin() as origin, start(rate="16K") as proxy:
        sock = Client(proxy, 61).tunnel(origin.port, b"send %d\n" % (4 * SECOND_BYTES))
        read_all(sock, 65536)

        def rows():
            return [json.loads(line) for line in proxy.command("status", "--sessions", "--json").splitlines()]
        wait_for("it waits", lambda: rows()[0].get("rate") == "client")
        proxy.config.write_text(proxy.config.read_text().replace("rate_per_client: 16K", "rate_per_client: 0"))
        proxy.command("reload")
        read_all(sock, 4 * SECOND_BYTES - 65536)
        sock.close()


if __name__ == "__main__":
    roles.run_tests("rates", dict(globals()), __doc__)
