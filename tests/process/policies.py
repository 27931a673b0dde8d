#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Policies on their way into a running Release build: bad ones, large ones, one while another comes, and what was counted."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import roles
from roles import CONFIG, PATIENCE_S, echo_origin, wait_for

STRICT = """\
lists: {strict: strict.list}
include: site
rules: [{name: strict, when: {to: strict}, then: {access: deny}}]
defaults: {access: allow, tls: bypass, auth: exempt, ports: [1-65535]}
"""
STRICT_FILES = {"strict.list": "strict.test\n",
                "site/10.yaml": "rules: [{name: site, when: {to: site.test}, then: {access: deny}}]\n"}
LARGE = "".join(f"host{n}.department{n % 977}.example.com\n" for n in range(400000))


class Proxy(roles.Proxy):
    """One that denies strict.test by a list, and site.test by a file of the folder `site`."""

    def __init__(self, config=CONFIG, files=None):
        super().__init__(config, files={"policy.yaml": STRICT, **STRICT_FILES, **(files or {})})
        self.told = ""  # by the last reload

    def write(self, files):
        """Files by name: text or bytes; None: remove it."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def reload(self, status=0):
        done = subprocess.run([roles.BINARY, "reload", "-c", str(self.config)], capture_output=True, text=True, check=False,
                              timeout=PATIENCE_S)
        self.told = done.stdout + done.stderr
        assert done.returncode == status, (done.returncode, self.told)

    def ask(self, host):
        """The status of a GET."""
        with self.client() as sock:
            sock.sendall(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return int(sock.recv(100).split()[1])

    def generation(self):
        return self.status()["policy"]["generation"]

    def metric(self, words):
        """The value of the line of /metrics that has all these words."""
        token = (self.folder / "secret").read_text().strip()
        port = int(re.search(r"admin=\S+:(\d+)", self.ready).group(1))
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock:
            sock.sendall(f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n".encode())
            text = b""
            while got := sock.recv(65536):
                text += got
        lines = [line for line in text.decode().splitlines() if line[:1] != "#" and all(word in line for word in words)]
        assert len(lines) == 1, (words, lines, text[:2000])
        return float(lines[0].rsplit(" ", 1)[1])


def test_bad_policies_change_nothing():
    """Each is refused with its place, by command and by signal; what was in force stays, and the event log says so."""
    large = "(?:" * 9 + "[a-z]{1,999}" + "){1,999}" * 9
    cases = {
        "a list half written": ({"strict.list": "strict.test\nother.test expires=2026-1"}, "strict.list:2:"),
        "a binary file": ({"strict.list": b"\x7fELF\x02\x01\x00\x00" + bytes(range(256)) * 40}, "strict.list:1:"),
        "a line of a million": ({"strict.list": "strict.test\n" + "x" * 1000000 + "\n"}, "strict.list:2:.*longer than"),
        "a list that is gone": ({"strict.list": None}, "strict.list.*cannot be read"),
        "a list that is a folder": ({"strict.list": None, "strict.list/x": ""}, "strict.list.*regular"),
        "no YAML": ({"site/20.yaml": "rules: [\n"}, "site/20.yaml:2:"),
        "an include of itself": ({"site/20.yaml": "include: ../policy.yaml\n"}, "site/20.yaml:1:.*includes itself"),
        "an expression that explodes": ({"strict.list": f"/{large}/\n"}, "strict.list:1:.*too large"),
        "several at once": ({"strict.list": "a b\n", "site/20.yaml": "rules: 5\n"}, "(?s)(?=.*strict.list:1:)(?=.*site/20.yaml:1:)"),
    }
    for name, (files, words) in cases.items():
        with Proxy() as proxy:
            assert (proxy.ask("strict.test"), proxy.ask("site.test")) == (403, 403)
            proxy.write(files)
            proxy.reload(status=2)
            assert re.search(words, proxy.told), (name, proxy.told)
            proxy.process.send_signal(signal.SIGHUP)
            wait_for("both refusals", lambda: proxy.events().count("what was in force stays") == 2)
            assert re.search(words, proxy.events()), (name, proxy.events())
            assert (proxy.ask("strict.test"), proxy.ask("site.test")) == (403, 403), name
            assert proxy.generation() == 1, name


def test_include_at_reload():
    """Under the sandbox, too, a folder is read at the start and at each reload; a list that goes after check is missed."""
    with Proxy() as proxy:
        assert proxy.ask("site.test") == 403
        proxy.write({"site/05.yaml": "lists: {new: ../more/new.list}\nrules: [{name: new, when: {to: new}, then: {access: deny}}]\n",
                     "more/new.list": "new.test\n", "site/10.yaml": None,
                     "site/15.yaml": "rules: [{name: zone, when: {to: zone.test, time: '00:00-24:00 Europe/Berlin'}, then: {access: deny}}]\n"})
        proxy.reload()
        assert proxy.ask("new.test") == 403 and proxy.ask("site.test") != 403 and proxy.ask("zone.test") == 403
        assert "site/05.yaml:2" in proxy.command("explain", "new.test", "--json")
        proxy.write({"more/new.list": "other.test\n"})
        proxy.command("check")
        proxy.write({"more/new.list": None})
        proxy.reload(status=2)
        assert "more/new.list" in proxy.told and proxy.ask("new.test") == 403 and proxy.ask("other.test") != 403


def test_answers_that_cannot_be_written():
    """A full disk behind the redirection is no good end."""
    for words in (["reference"], ["--version"], ["--help"], ["check", "--json", "-c", "conf/defaults/sallyport.yaml"],
                  ["list", "show", "spark-pinned", "-c", "conf/defaults/sallyport.yaml"]):
        with open("/dev/full", "wb") as full:
            ended = subprocess.run([roles.BINARY, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert ended.returncode == 2 and "No space left" in ended.stderr, (words, ended)


def test_reload_in_a_reload():
    """Commands and signals while one is on its way: each is answered, none is lost, the last state of the files holds."""
    with Proxy() as proxy:
        running = []
        for i in range(6):
            proxy.write({"strict.tmp": f"host{i}.test\n" + "".join(f"h{n}.test\n" for n in range(20000))})
            (proxy.folder / "strict.tmp").replace(proxy.folder / "strict.list")
            running.append(subprocess.Popen([roles.BINARY, "reload", "-c", str(proxy.config)], stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE, text=True))
            proxy.process.send_signal(signal.SIGHUP)
        for one in running:
            out, err = one.communicate(timeout=PATIENCE_S)
            assert one.returncode == 0 or "reload" in out + err, (one.returncode, out, err)
        wait_for("the last one", lambda: proxy.ask("host5.test") == 403 and proxy.ask("host0.test") != 403)
        assert "role_died" not in proxy.events(), proxy.events()


def test_counters_survive_reloads():
    """Hits of an entry and of a rule go on when lines move, rules are put in front, and the region grows."""
    with Proxy(CONFIG + 'admin: {{address: "127.0.0.1:0", token: secret}}\n') as proxy:
        proxy.port = int(re.search(r"main=\S+:(\d+)", proxy.ready).group(1))

        def hits(entry):
            shown = json.loads(proxy.command("list", "show", "strict", "--json"))
            return next(one["hits"] for one in shown["entries"] if one["pattern"] == entry)

        rule = ("decisions_total", 'question="access"', 'answer="deny"', 'rule="strict"')
        for _ in range(3):
            assert proxy.ask("strict.test") == 403
        wait_for("three hits", lambda: hits("strict.test") == 3)
        assert proxy.metric(rule) == 3
        more = "".join(f"h{n}.test\n" for n in range(5000))
        for number, text in enumerate(("# moved\n\nnew.test\nstrict.test expires=2099-01-01\n", more + "strict.test\n",
                                       "x.test\nstrict.test\n")):
            proxy.write({"strict.list": text, "site/00.yaml": "rules:\n" + "".join(
                f"- {{name: r{n}, when: {{to: r{n}.test}}, then: {{access: deny}}}}\n" for n in range(number + 1))})
            proxy.reload()
            assert proxy.ask("strict.test") == 403
            assert hits("strict.test") == 4 + number, (number, hits("strict.test"))
            assert proxy.metric(rule) == 4 + number, number
        # Gone and back again: it begins anew.
        proxy.write({"strict.list": "x.test\n"})
        proxy.reload()
        proxy.write({"strict.list": "x.test\nstrict.test\n"})
        proxy.reload()
        assert hits("strict.test") == 0


def mappings(pid):
    """How many images of policies a process has mapped."""
    return len(set(re.findall(r"\d+ +/memfd:sallyport-policy", pathlib.Path(f"/proc/{pid}/maps").read_text())))


def test_large_policy_comes_and_goes_in_slices():
    """One in force, one more on its way, and a worker that dies in between: nothing is lost, and nothing stays mapped."""
    origin, port = echo_origin()
    with Proxy(files={"strict.list": LARGE}) as proxy:
        tunnel = proxy.tunnel(port)
        peer = origin.accept()[0]
        for _ in range(2):
            proxy.process.send_signal(signal.SIGHUP)
            wait_for("a free moment", lambda: subprocess.run([roles.BINARY, "reload", "-c", str(proxy.config)], check=False,
                                                             capture_output=True).returncode == 0)
            assert proxy.ask("host7.department7.example.com") == 403
        workers = [pid for role, pid in proxy.roles().items() if role.startswith("worker")]
        # The first is still that of the tunnel.
        wait_for("those between to go", lambda: sorted(mappings(pid) for pid in workers) == [1, 2])
        tunnel.sendall(b"alive")
        assert peer.recv(5) == b"alive"
        tunnel.close()
        peer.close()
        wait_for("that of the tunnel to go", lambda: all(mappings(pid) == 1 for pid in workers))
        before = proxy.generation()
        proxy.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        killed = proxy.roles()["worker1"]
        os.kill(killed, signal.SIGKILL)
        wait_for("the next generation", lambda: proxy.generation() > before)
        wait_for("both workers", lambda: proxy.roles()["worker1"] not in (0, killed)
                 and all(one["ready"] for one in proxy.status()["roles"]))
        for _ in range(20):
            assert proxy.ask("host7.department7.example.com") == 403
        for one in ("worker0", "worker1"):
            wait_for("one image each", lambda pid=proxy.roles()[one]: mappings(pid) == 1)
    origin.close()


def test_large_policy_and_the_end():
    """Stop, drain and the death of the parent while a generation is on its way: all end, and well."""
    for delay_s, end in ((0.2, "TERM"), (0.7, "INT"), (1.0, "drain"), (0.4, "drain"), (0.5, "KILL")):
        with Proxy(files={"strict.list": LARGE}) as proxy:
            pids = list(proxy.roles().values())
            proxy.process.send_signal(signal.SIGHUP)
            time.sleep(delay_s)
            if end == "drain":
                proxy.command("drain")
            else:
                proxy.process.send_signal(getattr(signal, "SIG" + end))
            code = proxy.process.wait(PATIENCE_S)
            assert code == (-signal.SIGKILL if end == "KILL" else 0), (delay_s, end, code, proxy.process.stderr.read())
            wait_for("all roles to end", lambda pids=pids: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
            assert end == "KILL" or "role_died" not in proxy.events(), proxy.events()


if __name__ == "__main__":
    roles.run_tests("policies", dict(globals()), __doc__)
