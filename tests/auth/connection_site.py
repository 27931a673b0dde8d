# SPDX-License-Identifier: Apache-2.0
"""What the rows of connection.py share: their proxies, names of hosts, and what the log has to say."""
import contextlib
import itertools
import json
import socket
import sys
import threading

import yaml

from auth_site import NAMES, Proxy, REALM, wait_for
from wire import Wire, basic, ntlm_negotiate, token

USERS = {"alice": ("alicepw-8f2c", ["staff", "it"]), "bob": ("bobpw-51d7", ["sales"]), "jürgen": ("jürgenpw-77", ["staff"])}
ALICE, BOB = ("alice", USERS["alice"][0]), ("bob", USERS["bob"][0])
PATIENT = {"per_client": 0, "per_user": 0}  # wrong passwords are what most rows are about
DRAIN_BYTES = 256 << 10
ROWS = []


def row(function):
    """A test; its name says what the proxy does."""
    ROWS.append((function.__name__.replace("_", " "), function))
    return function


def row_named(name, function):
    ROWS.append((name, function))


class Named:
    """A host of its own for a row, so that its lines in the log are known."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.authority = f"{host}:{port}"
        self.url = f"http://{host}:{port}/a"
        self.post = f"http://{host}:{port}/post"


class Site:
    def __init__(self, binary, origins):
        self.binary, self.origins = binary, origins
        self.numbers, self.asked_numbers, self.lock = itertools.count(), itertools.count(), threading.Lock()
        self.alive = self.host()
        second = [{"name": "main", "address": "127.0.0.1:0"}, {"name": "second", "address": "127.0.0.1:0"}]
        self.main = self.proxy(
            {"schemes": ["negotiate", "digest", "ntlm", "basic"],
             "digest": {"algorithms": ["SHA-256", "MD5", "SHA-256-sess", "MD5-sess"], "userhash": True},
             "networks": [{"from": "127.0.0.2/32", "schemes": ["digest"]}, {"listener": ["second"], "schemes": ["basic"]}]},
            listen=second, more={"limits": {"head": "128K"}})

    def proxy(self, auth, kind=Proxy, **how):
        proxy = kind(self.binary, {"failures": PATIENT, **auth}, **{"users": USERS, **how})
        if {"ntlm", "negotiate"} & set(auth["schemes"]):
            wait_for("the names that NTLM tells", lambda: first_message(proxy, self.asked()).status == 407)
        return proxy

    def host(self, port=None):
        with self.lock:
            number = next(self.numbers)
        assert number < NAMES, "more names are used than are known"
        return Named(f"r{number}.origin.test", port or self.origins.http)

    def asked(self):
        """A name that needs no address, as nobody gets there."""
        with self.lock:
            return Named(f"asked{next(self.asked_numbers)}.test", self.origins.http)

    def settled(self, proxy, host):
        """The lines of this host, all of them: the log of one worker has its lines in order, and a later one is there."""
        marker = self.asked()
        with Wire(proxy.port) as wire:
            wire.ask("GET", marker.url)
        proxy.wait_lines(marker.host, bool)
        return proxy.lines(host.host)


def first_message(proxy, named):
    """The answer to a first message of NTLM."""
    schemes = yaml.safe_load(proxy.config.read_text())["authentication"]["schemes"]
    with Wire(proxy.port) as wire:
        return wire.ask("GET", named.url, token("NTLM" if "ntlm" in schemes else "Negotiate", ntlm_negotiate()))


def asks_of(proxy):
    """Questions to the verifier so far."""
    return json.loads(proxy.command("status", "--json"))["metrics"]["auth"]["asks"]


def wait_line(proxy, named, status, count=1):
    """The last line of this host with this status, when there are so many."""
    return [line for line in proxy.wait_lines(named.host, lambda lines: sum(line.get("status") == status for line in lines) >= count)
            if line.get("status") == status][-1]


def expect_user(proxy, named, user, scheme, count=1):
    line = wait_line(proxy, named, 200, count)
    assert line.get("user") == user and line.get("scheme") == scheme, line
    return line


def expect_reason(proxy, named, part, status=407):
    line = wait_line(proxy, named, status)
    assert part in line.get("reason", "") and line.get("error") and "user" not in line, line
    return line


def reload_with(proxy, **authentication):
    settings = yaml.safe_load(proxy.config.read_text())
    settings["authentication"].update(authentication)
    proxy.config.write_text(yaml.safe_dump(settings, sort_keys=False))
    proxy.command("reload")


def gets(proxy, named, user, password, source=None):
    """The status of one request with Basic on a connection of its own."""
    with Wire(proxy.port, source) as wire:
        return wire.ask("GET", named.url, basic(user, password)).status


class Recorder:
    """An origin that keeps every byte it was sent."""

    def __init__(self):
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port, self.seen = self.sock.getsockname()[1], []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=(self.sock.accept()[0],), daemon=True).start()

    def serve(self, sock):
        data = b""
        with contextlib.suppress(OSError), sock:
            while (more := sock.recv(65536)):
                self.seen.append(more)
                data += more
                while b"\r\n\r\n" in data:
                    data = data.split(b"\r\n\r\n", 1)[1]
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    @property
    def text(self):
        return b"".join(self.seen).decode("latin-1")

    def close(self):
        self.sock.close()


__all__ = ["ALICE", "BOB", "DRAIN_BYTES", "Named", "PATIENT", "REALM", "ROWS", "Recorder", "Site", "USERS", "asks_of",
           "expect_reason", "expect_user", "first_message", "gets", "reload_with", "row", "row_named", "wait_for", "wait_line"]

if __name__ == "__main__":
    sys.exit("this is no program")
