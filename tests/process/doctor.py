#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""sallyport doctor against servers that answer and firewalls that do not let them: STUN (coturn, and servers of the test's
own), HTTPS, WebSocket, this proxy as the proxy; the table, JSON, the exit status, and each sentence."""
import contextlib
import ctypes
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

import roles
from doctor_site import Certificates, NameServer, StunTcp, StunUdp, Tcp, Web
from roles import PATIENCE_S, wait_for

# For what answers, and for what does not: as long as a loaded machine may take, and as short as can be.
TIMEOUT = "4s"
OPEN_POLICY = """\
rules:
- {name: media, when: {port: "5004,33434"}, then: {class: media}}
defaults: {access: allow, tls: bypass, auth: exempt, ports: [1-65535]}
"""


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Site:
    """A folder, certificates, servers that are closed at the end, and a configuration for doctor."""

    def __init__(self):
        self.stack = contextlib.ExitStack()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-doctor-"))
        self.stack.callback(shutil.rmtree, self.folder)
        self.made = Certificates(self.folder)
        self.hosts = {"media.test": "127.0.0.1"}
        self.servers = "[system]"
        # Nothing listens there, and nobody else can.
        self.nobody = self.keep(socket.socket())
        self.nobody.bind(("127.0.0.1", 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def keep(self, server):
        self.stack.callback(server.close)
        return server

    def web(self, made=None, **how):
        return self.keep(Web(made or self.made.good("media.test", "127.0.0.1", "::1"), self.folder, f"web{time.monotonic_ns()}", **how))

    def config(self, targets="", more="", proxy=None, listen="127.0.0.1:0"):
        proxy = proxy or f"127.0.0.1:{self.nobody.getsockname()[1]}"
        hosts = ", ".join(f"{name}: \"{address}\"" for name, address in self.hosts.items())
        return f"""\
listen: [{{name: main, address: "{listen}"}}]
workers: 1
policy: policy.yaml
control: run/sallyport.sock
dns: {{servers: {self.servers}, hosts: {{{hosts}}}, tries: 1}}
destinations: {{permit: [127.0.0.0/8, 192.0.2.0/24, "::1/128", "2001:db8::/32"]}}
log: {{access: {{path: access.log}}, events: {{path: events.log}}}}
doctor:
  proxy: "{proxy if proxy != 'none' else ''}"
  targets: [{targets}]
{more or f'inspection: {{trust: [{self.folder / "root.pem"}]}}'}
"""

    def write(self, *words, policy=OPEN_POLICY, **how):
        path = self.folder / "sallyport.yaml"
        path.write_text(self.config(*words, **how))
        (self.folder / "policy.yaml").write_text(policy)
        return path

    def proxy(self, policy=OPEN_POLICY, more="", files=None):
        text = self.config(more=more).replace("{", "{{").replace("}", "}}")
        return self.stack.enter_context(roles.Proxy(text, files={"policy.yaml": policy, **(files or {})}))


def environment(**more):
    return {**os.environ, **more}


def doctor(config, *words, status, timeout=TIMEOUT, stdin=None, cwd=None):
    """Both answers: what JSON holds, and the table. Both runs go at once."""
    command = [roles.BINARY, "doctor", *(["-c", str(config)] if config else []), "--timeout", timeout, *words]
    runs = [subprocess.Popen([*command, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, cwd=cwd) for more in ([], ["--json"])]
    for run in runs:
        if stdin:
            run.stdin.write(stdin)
        run.stdin.close()
        run.stdin = None
    done = [(run.wait(timeout=60), run.stdout.read(), run.stderr.read()) for run in runs]
    for run in runs:
        run.stdout.close()
        run.stderr.close()
    assert all(one[0] == status for one in done), done
    return json.loads(done[1][1]), done[0][1]


def probe_of(target, path, way, port=None, address=None):
    found = [one for one in target["probes"] if (one["path"], one["way"]) == (path, way) and port in (None, one["port"])
             and (address is None or one.get("address", "").startswith(address))]
    assert len(found) == 1, (path, way, port, target["probes"])
    return found[0]


def results(target):
    return {(one["path"], one["way"], one["port"]): one["result"] for one in target["probes"]}


def one_target(answers):
    assert len(answers[0]["targets"]) == 1, answers[0]
    return answers[0]["targets"][0], answers[1]


# ---- what speaks, and what does not ----

def test_udp_that_answers():
    """Good, an error (which is an answer), and one whose first answer is lost."""
    with Site() as site:
        servers = [site.keep(StunUdp(mode)) for mode in ("good", "error", "late")]
        ports = [one.port for one in servers]
        config = site.write(f"{{host: media.test, udp: {ports}, tcp: [], https: none}}")
        target, table = one_target(doctor(config, status=0))
        good, error, late = (probe_of(target, "direct", "UDP", port) for port in ports)
        assert good["result"] == error["result"] == late["result"] == "open", target
        assert good["address"] == f"127.0.0.1:{ports[0]}" and good["rtt_ms"] > 0 and good["seen_as"].startswith("127.0.0.1:")
        assert error["text"] == "STUN answers with the error 401" and late["requests"] >= 2, (error, late)
        assert target["chosen"]["way"] == "UDP" and target["chosen"]["port"] == ports[0] and target["open"] == []
        assert target["advice"] == f"media goes over UDP {ports[0]}, which is best: nothing needs to be opened."
        assert re.search(rf"^  direct    UDP   {ports[0]}\s+127\.0\.0\.1\s+open\s+[0-9.]+ ms  STUN answers, and sees 127", table, re.M), table
        assert f"\n=> {target['advice']}\n" in table


def test_udp_that_does_not():
    """Silence, noise, answers to somebody else, and a port that is closed."""
    with Site() as site:
        silent, noise, wrong = (site.keep(StunUdp(mode)) for mode in ("silent", "noise", "wrong"))
        closed = free_port(socket.SOCK_DGRAM)
        config = site.write(f"{{host: media.test, udp: [{silent.port}, {noise.port}, {wrong.port}, {closed}], tcp: [], https: none}}")
        target, table = one_target(doctor(config, status=1))
        assert results(target) == {("direct", "UDP", silent.port): "no answer", ("direct", "UDP", noise.port): "no STUN",
                                   ("direct", "UDP", wrong.port): "no STUN", ("direct", "UDP", closed): "refused"}, target
        # RFC 8489 section 6.2.1: asked again, ever more rarely.
        assert 3 <= probe_of(target, "direct", "UDP", silent.port)["requests"] <= 5, target
        assert target["chosen"] is None and len(target["open"]) == 4
        assert target["advice"].startswith(f"media has no way out. Open UDP {silent.port}, {noise.port}, {wrong.port} and {closed} to "
                                           "media.test (127.0.0.1) in the firewall, and let the replies in"), target["advice"]
        assert any("is refused, not lost" in one for one in target["notes"]), target
        assert any("does not speak STUN" in one for one in target["notes"]), target
        assert all(f"   {one}\n" in table for one in target["notes"]), table


def test_second_udp_port():
    """Media goes, and the port that is preferred is named."""
    with Site() as site:
        silent, good = site.keep(StunUdp("silent")), site.keep(StunUdp())
        config = site.write(f"{{host: media.test, udp: [{silent.port}, {good.port}], tcp: [], https: none}}")
        target, _ = one_target(doctor(config, status=0))
        assert target["chosen"]["port"] == good.port and target["open"] == [{"protocol": "udp", "port": silent.port}]
        assert f"Open UDP {silent.port}, too, which apps prefer: to media.test (127.0.0.1), and the replies." in target["advice"]


def test_tcp_framed():
    """RFC 4571: with a frame of media in front, a byte at a time, and what is none of it: a connection alone proves nothing."""
    with Site() as site:
        modes = {mode: site.keep(StunTcp(mode)) for mode in ("framed", "drip", "plain", "silent", "noise", "close", "huge")}
        closed = site.nobody.getsockname()[1]
        ports = [one.port for one in modes.values()] + [closed]
        config = site.write(f"{{host: media.test, udp: [], tcp: {ports}, https: none}}")
        target, table = one_target(doctor(config, status=1))
        direct = {mode: probe_of(target, "direct", "TCP", server.port) for mode, server in modes.items()}
        assert direct["framed"]["result"] == direct["drip"]["result"] == "open", direct
        for mode in ("plain", "silent", "noise", "close", "huge"):
            assert direct[mode]["result"] == "no STUN" and direct[mode]["text"].startswith("connects, does not speak STUN: "), direct[mode]
        assert "framing: stun" in direct["plain"]["text"] and "silent in 4 s" in direct["silent"]["text"], direct
        assert "closes the connection" in direct["close"]["text"] and direct["silent"]["connect_ms"] > 0
        assert probe_of(target, "direct", "TCP", closed)["result"] == "refused"
        assert target["chosen"]["way"] == "TCP" and target["chosen"]["path"] == "direct"
        assert "where each lost packet stops sound and picture for a moment. Open UDP 5004 to media.test" in target["advice"]
        assert "no STUN" in table


def test_coturn():
    """A STUN server that people run: UDP, and TCP without the framing of RFC 4571; with it, the answer says which to set."""
    with Site() as site:
        port = free_port()
        server = subprocess.Popen(["turnserver", "-n", "-L", "127.0.0.1", "-p", str(port), "--no-tls", "--no-dtls", "--no-cli",
                                   "--no-auth", "--log-file", "stdout", "--pidfile", str(site.folder / "turn.pid"),
                                   "--userdb", str(site.folder / "turn.db")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        site.stack.callback(server.wait)
        site.stack.callback(server.kill)

        def up():
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True
            return False
        wait_for("coturn", up)
        config = site.write(f"{{name: plain, host: media.test, udp: [{port}], tcp: [{port}], framing: stun, https: none}},"
                            f"{{name: framed, host: 127.0.0.1, udp: [{port}], tcp: [{port}], https: none}}")
        answers, table = doctor(config, status=0)
        plain, framed = answers["targets"]
        assert probe_of(plain, "direct", "UDP")["result"] == probe_of(plain, "direct", "TCP")["result"] == "open", plain
        assert probe_of(plain, "direct", "UDP")["seen_as"].startswith("127.0.0.1:")
        assert probe_of(framed, "direct", "TCP")["result"] == "no STUN", framed
        assert "plain (media.test)\n" in table and "framed (127.0.0.1)\n" in table
        # One target, by its name.
        answers, _ = doctor(config, "--target", "framed", status=0)
        assert [one["name"] for one in answers["targets"]] == ["framed"]


def test_https_and_websocket():
    """A page, a WebSocket, and what is neither."""
    with Site() as site:
        web = site.web()
        plain, silent, closing = site.keep(StunTcp("noise")), site.keep(StunTcp("silent")), site.keep(StunTcp("close"))
        url = f"://media.test:{web.port}"
        rows = [("good", f"https{url}/", f"wss{url}/ws"), ("liar", f"https{url}/nothing-there", f"wss{url}/liar"),
                ("mute", f"https{url}/mute", f"wss{url}/no"), ("plain", f"https://media.test:{plain.port}/", "none"),
                ("silent", f"https://media.test:{silent.port}/", f"wss://media.test:{closing.port}/")]
        config = site.write(", ".join(f'{{name: {name}, host: media.test, udp: [], tcp: [], https: "{https}", wss: "{wss}"}}'
                                      for name, https, wss in rows))
        answers, table = doctor(config, status=1)
        got = {one["name"]: results(one) for one in answers["targets"]}
        texts = {(one["name"], row["way"]): row["text"] for one in answers["targets"] for row in one["probes"] if row["path"] == "direct"}
        flat = {(name, way): result for name, rows in got.items() for (path, way, _), result in rows.items() if path == "direct"}
        assert flat == {("good", "HTTPS"): "open", ("good", "WSS"): "open", ("liar", "HTTPS"): "open", ("liar", "WSS"): "no WebSocket",
                        ("mute", "HTTPS"): "no HTTP", ("mute", "WSS"): "no WebSocket", ("plain", "HTTPS"): "no TLS",
                        ("silent", "HTTPS"): "no TLS", ("silent", "WSS"): "no TLS"}, flat
        assert texts["good", "HTTPS"] == "the certificate is good; 200 OK" and texts["good", "WSS"] == "WebSocket stands", texts
        assert texts["liar", "HTTPS"].endswith("404 Not Found") and texts["liar", "WSS"] == "101 with a wrong Sec-WebSocket-Accept"
        assert texts["mute", "WSS"] == "the upgrade is answered with 404 in place of 101", texts
        assert "does not answer the ClientHello" in texts["silent", "HTTPS"] and "closed" in texts["silent", "WSS"], texts
        assert "issued by" not in table
        notes = {one["name"]: one["notes"] for one in answers["targets"]}
        assert "WSS to media.test has no way: calls and messages are not told of while they come in." in notes["liar"], notes
        assert "HTTPS to media.test has no way: nobody can log on or send a message there, whatever becomes of media." in notes["mute"]
        assert not any("has no way" in one for one in notes["good"]), notes
        good = probe_of(answers["targets"][0], "direct", "HTTPS")
        assert good["status"] == 200 and good["issuer"] == "CN=Doctor Test Root" and good["rtt_ms"] > 0, good
        assert ("/", f"media.test:{web.port}", "TLSv1.3") in web.asked, web.asked


def test_certificates():
    """Somebody else's CA, our own, one for another host, one that has expired: nothing is sent inside."""
    with Site() as site:
        ours = subprocess.run([roles.BINARY, "ca", "init", "-c", str(site.write(more="inspection: {ca: {certificate: ca.pem, key: ca.key}}"))],
                              capture_output=True, text=True, check=False)
        assert ours.returncode == 0, ours.stderr
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        import certificates
        ca = certificates.Made(x509.load_pem_x509_certificate((site.folder / "ca.pem").read_bytes()),
                               serialization.load_pem_private_key((site.folder / "ca.key").read_bytes(), None))
        webs = {"snooped": site.web(site.made.snooped("media.test")), "ours": site.web(certificates.issue(ca, "media.test", ["media.test"])),
                "other": site.web(site.made.good("other.test")), "expired": site.web(site.made.expired("media.test"))}
        config = site.write(", ".join(f'{{name: {name}, host: media.test, udp: [], tcp: [], https: "https://media.test:{web.port}/"}}'
                                      for name, web in webs.items()),
                            more=f"inspection: {{ca: {{certificate: ca.pem, key: ca.key}}, trust: [{site.folder / 'root.pem'}]}}")
        answers, table = doctor(config, status=1)
        rows = {one["name"]: probe_of(one, "direct", "HTTPS") for one in answers["targets"]}
        assert {row["result"] for row in rows.values()} == {"not trusted"}, rows
        assert {name: row["certificate"] for name, row in rows.items()} == {
            "snooped": "unknown-issuer", "ours": "own-ca", "other": "wrong-host", "expired": "expired"}, rows
        assert rows["snooped"]["text"] == "the certificate is issued by CN=Snooping Gateway CA, whom nobody trusts here"
        assert rows["ours"]["text"].startswith("opened by this proxy: the certificate is of its own CA")
        notes = {one["name"]: "\n".join(one["notes"]) for one in answers["targets"]}
        assert "something on the way opens TLS to media.test, with certificates of CN=Snooping Gateway CA" in notes["snooped"], notes
        assert "apps that pin certificates fail, so exempt it there." in notes["snooped"]
        assert "this proxy opens TLS to media.test; apps that pin certificates fail, so let a rule answer tls: bypass for it." in notes["ours"]
        assert all(f"   {line}\n" in table for one in notes.values() for line in one.splitlines())
        assert not any(web.asked for web in webs.values()), "a request went out to who is not trusted"


def test_names():
    """No such name, name servers that say nothing, and names with IPv6 alone or with both."""
    with Site() as site:
        names = site.keep(NameServer({"six.test": ["::1"], "both.test": ["127.0.0.1", "::1"], "mute.test": None, "proxy.test": ["127.0.0.1"]}))
        site.servers = f'["127.0.0.1:{names.port}"]'
        four, six = site.keep(StunUdp()), site.keep(StunUdp("good", "::1"))
        framed = site.keep(StunTcp(host="::1"))
        only_four, only_six = site.keep(StunUdp()), site.keep(StunUdp("good", "::1"))
        config = site.write(f"{{host: six.test, udp: [{six.port}], tcp: [{framed.port}], https: none}}, "
                            f"{{host: both.test, udp: [{only_four.port}], tcp: [], https: none}}, "
                            f"{{name: literal, host: \"[::1]\", udp: [{only_six.port}], tcp: [], https: none}}, "
                            f"{{host: nowhere.test, udp: [{four.port}], tcp: [5004], https: none}}, "
                            f"{{host: mute.test, udp: [{four.port}], tcp: [], https: none}}")
        answers, table = doctor(config, status=1)
        six_only, both, literal, nowhere, mute = answers["targets"]
        assert [one["address"] for one in six_only["probes"] if one["path"] == "direct"] == [f"[::1]:{six.port}", f"[::1]:{framed.port}"], six_only
        assert six_only["chosen"]["way"] == "UDP" and probe_of(six_only, "direct", "TCP")["result"] == "open"
        rows = [(one["address"], one["result"]) for one in both["probes"] if one["way"] == "UDP"]
        assert rows == [(f"127.0.0.1:{only_four.port}", "open"), (f"[::1]:{only_four.port}", "refused")], rows
        assert both["chosen"] and literal["chosen"], (both, literal)
        assert probe_of(nowhere, "direct", "UDP")["text"] == "nowhere.test: there is no such name", nowhere
        assert probe_of(mute, "direct", "UDP")["text"] == "mute.test: the name servers do not answer", mute
        assert nowhere["notes"][0] == "nowhere.test: there is no such name: nothing can go there directly before DNS knows it."
        assert f"  direct    UDP   {four.port}" in table and "no address" in table
        answers, _ = doctor(config, "--target", "six.test", "--proxy", "nobody.test:3128", status=0)
        assert answers["targets"][0]["probes"][-1]["text"] == "the proxy's name nobody.test: there is no such name", answers
        answers, _ = doctor(config, "--target", "six.test", "--proxy", f"proxy.test:{site.nobody.getsockname()[1]}", status=0)
        refused = answers["targets"][0]["probes"][-1]
        assert refused["text"] == "nothing listens there; does it run?" and refused["result"] == "no proxy", answers
        assert any(re.fullmatch(r"the proxy proxy\.test:\d+: nothing listens there; does it run\?", one)
                   for one in answers["targets"][0]["notes"]), answers
        # Of a proxy with several addresses, the next one is tried.
        proxy = site.keep(OddProxy(b"HTTP/1.1 403 Forbidden\r\n\r\n"))
        answers, _ = doctor(config, "--target", "six.test", "--proxy", f"both.test:{proxy.port}", status=0)
        assert (probe_of(answers["targets"][0], "proxy", "TCP")["result"], answers["proxy"]) == ("denied", f"both.test:{proxy.port}"), answers


def test_several_addresses():
    """Each is tried: one that is open is enough, and one that is closed beside it is named; the table has those that are alike once."""
    with Site() as site:
        names = site.keep(NameServer({"many.test": [f"127.0.0.{i}" for i in range(1, 7)] + ["::1"],
                                      "some.test": ["127.0.0.3", "127.0.0.2"], "same.test": ["127.0.0.1", "127.0.0.2"]}))
        site.servers = f'["127.0.0.1:{names.port}"]'
        first = site.keep(StunUdp("good"))
        second = site.keep(StunUdp("good", "127.0.0.2", first.port))
        framed = site.keep(StunTcp(host="127.0.0.2"))
        assert second.port == first.port
        config = site.write(f"{{host: many.test, udp: [{first.port}], tcp: [], https: none}}, "
                            f"{{host: some.test, udp: [{first.port}], tcp: [{framed.port}], https: none}}, "
                            f"{{host: same.test, udp: [{first.port}], tcp: [], https: none}}")
        answers, table = doctor(config, status=0)
        many, some, same = answers["targets"]
        # Four of each family, whatever name servers put first.
        tried = [one["address"] for one in many["probes"]]
        assert len([one for one in tried if one.startswith("127.")]) == 4 and f"[::1]:{first.port}" in tried and len(tried) == 5, many
        assert "of 6 IPv4 addresses of many.test the first 4 are tried." in many["notes"], many["notes"]
        assert probe_of(some, "direct", "UDP", first.port, "127.0.0.2")["result"] == "open", some
        assert probe_of(some, "direct", "UDP", first.port, "127.0.0.3")["result"] == "refused", some
        assert some["chosen"]["address"] == f"127.0.0.2:{first.port}" and some["open"] == [], some
        assert (f"UDP {first.port}, TCP {framed.port} is open to 127.0.0.2 and closed to 127.0.0.3, of the same name. Apps are given any "
                "address of some.test: is one missing in the firewall?") in some["notes"], some["notes"]
        assert len(same["probes"]) == 2 and same["notes"] == [], same
        assert len(re.findall(r"^  direct    UDP   \d+\s+127\.0\.0\.[12] \+1\s+open ", table.split("\nsame.test\n")[1],
                              re.M)) == 1, table
        assert table.endswith("\n=> of 3 targets media goes over UDP to 3 (many.test, some.test, same.test).\n"), table


def test_names_as_the_system_knows_them():
    """/etc/hosts is looked into, unless the configuration names name servers; dns.hosts comes before it."""
    with Site() as site:
        if os.geteuid() != 0:
            print("     test_names_as_the_system_knows_them: SKIPPED, it needs root", flush=True)
            return
        stun, names = site.keep(StunUdp()), site.keep(NameServer({}))
        hosts = site.folder / "hosts"
        hosts.write_text("127.0.0.1 localhost\n127.0.0.1\tother.lan Lan.Test lan # of the test\n127.0.0.9 media.test\n")
        row = "{{host: {}, udp: [%d], tcp: [], https: none}}" % stun.port

        def run(host, status):
            config = site.write(row.format(host), proxy="none")
            script = f"mount --bind {hosts} /etc/hosts && exec {roles.BINARY} doctor -c {config} --timeout {TIMEOUT} --json"
            done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
            assert done.returncode == status, done
            return json.loads(done.stdout)["targets"][0]
        for host in ("lan.test", "lan", "media.test"):
            assert run(host, 0)["chosen"]["address"] == f"127.0.0.1:{stun.port}", host
        site.servers = f'["127.0.0.1:{names.port}"]'
        assert probe_of(run("lan.test", 1), "direct", "UDP")["text"] == "lan.test: there is no such name"


# ---- through the proxy ----

def test_through_the_proxy():
    """What the proxy lets through is as good as direct; the rule, the class and the client's address are those of the session."""
    with Site() as site:
        framed, web, proxy = site.keep(StunTcp()), site.web(), site.proxy()
        silent = site.keep(StunUdp("silent"))
        target = (f"{{host: media.test, udp: [{silent.port}], tcp: [{site.nobody.getsockname()[1]}, {framed.port}], "
                  f"https: \"https://media.test:{web.port}/\", wss: \"wss://media.test:{web.port}/ws\"}}")
        config = site.write(target)
        target, table = one_target(doctor(config, "--proxy", f"127.0.0.1:{proxy.port}", status=1))
        assert results(target)["proxy", "TCP", framed.port] == "open" and results(target)["proxy", "HTTPS", web.port] == "open", target
        assert results(target)["proxy", "WSS", web.port] == "open", target
        refused = probe_of(target, "proxy", "TCP", site.nobody.getsockname()[1])
        assert refused["result"] == "proxy failed" and refused["status"] == 502 and refused["error"] == "connection_refused", refused
        assert any("let the proxy out through the firewall" in one for one in target["notes"]), target
        assert re.search(rf"^  proxy     TCP   {framed.port}\s+by its name\s+open\s+[0-9.]+ ms  STUN answers, and sees 127", table, re.M), table
        assert re.search(rf"^  policy    media\.test:{framed.port}\s+tunnelled, class normal by defaults", table, re.M), table
        verdicts = {one["port"]: one for one in target["policy"]}
        assert verdicts[web.port]["verdict"] == "tunnelled" and verdicts[web.port]["class"] == "normal", verdicts
        assert (f"the policy gives media.test:{framed.port} the class normal: with class: media it would go before bulk."
                in target["notes"]), target["notes"]
        lines = wait_for("the log", lambda: (proxy.folder / "access.log").read_text().count(f"media.test:{framed.port}") == 2
                         and (proxy.folder / "access.log").read_text().splitlines())
        assert all(json.loads(line)["method"] == "CONNECT" for line in lines)


def test_the_proxy_of_the_configuration():
    """The first listener, as it is reached: its address, a wildcard's loopback, or what it advertises."""
    with Site() as site:
        framed = site.keep(StunTcp())
        row = f"{{host: media.test, udp: [], tcp: [{framed.port}], https: none}}"
        for listen, said in (("127.0.0.1:{}", "127.0.0.1:{}"), ("0.0.0.0:{}", "127.0.0.1:{}"), ("[::]:{}", "[::1]:{}")):
            port = free_port()
            text = site.config(row, proxy="none", listen=listen.format(port)).replace("{", "{{").replace("}", "}}")
            with roles.Proxy(text, files={"policy.yaml": OPEN_POLICY}) as proxy:
                answers, _ = doctor(proxy.config, status=1)
                assert answers["proxy"] == said.format(port), answers["proxy"]
                assert probe_of(answers["targets"][0], "proxy", "TCP")["result"] == "open", answers
        config = site.write(row, proxy="none", listen="127.0.0.1:0")
        config.write_text(config.read_text().replace('"127.0.0.1:0"', '"127.0.0.1:0", advertise: "media.test:9"'))
        answers, _ = doctor(config, status=1)
        assert answers["proxy"] == "media.test:9", answers
        config.write_text(config.read_text().replace(', advertise: "media.test:9"', ""))
        answers, _ = doctor(config, status=1)
        assert "proxy" not in answers and len(answers["targets"][0]["probes"]) == 1, answers


def test_the_proxy_denies():
    """403 is said in words: the error of Proxy-Status, the rule, and a rule that would allow it."""
    with Site() as site:
        framed, web = site.keep(StunTcp("silent")), site.web()
        policy = ("rules:\n- {name: no media, when: {to: media.test, port: %d}, then: {access: deny}}\n"
                  "defaults: {access: allow, tls: bypass, auth: exempt, ports: [1-65535]}\n" % framed.port)
        proxy = site.proxy(policy)
        config = site.write(f"{{host: media.test, udp: [], tcp: [{framed.port}], https: \"https://media.test:{web.port}/\"}}", policy=policy)
        target, table = one_target(doctor(config, "--proxy", f"127.0.0.1:{proxy.port}", status=1))
        row = probe_of(target, "proxy", "TCP")
        assert row["result"] == "denied" and row["status"] == 403 and row["error"] == "http_request_denied", row
        assert row["text"].startswith("403 http_request_denied: policy_denied") and '"no media" (policy.yaml:2)' in row["text"], row
        assert any(one == f"the proxy denies TCP {framed.port} to media.test; a rule that allows it: {{when: {{to: \"media.test\", port: "
                          f"[{framed.port}]}}, then: {{access: allow, tls: bypass, class: media}}}}." for one in target["notes"]), target["notes"]
        assert re.search(r'policy    media\.test:\d+\s+refused: denied by policy, by rule "no media" \(policy\.yaml:2\)', table), table
        # All that is left: TLS on the port for HTTPS.
        assert target["chosen"]["path"] == "proxy" and target["chosen"]["way"] == "HTTPS", target["chosen"]
        assert target["advice"].startswith(f"media can only go through the proxy 127.0.0.1:{proxy.port}, over TLS on port {web.port}, "
                                           "if the app can do that at all. Open UDP 5004 to media.test (127.0.0.1)"), target["advice"]
        assert target["advice"].endswith(f"; if that cannot be, TCP {framed.port}."), target["advice"]


def test_the_proxy_asks_for_a_login():
    """407: said, and with --proxy-user tried; the password comes from standard input. More of it: tests/auth/doctor_login.py."""
    with Site() as site:
        framed = site.keep(StunTcp())
        policy = "defaults: {access: allow, tls: bypass, auth: required, ports: [1-65535]}\n"
        trust = f'inspection: {{trust: [{site.folder / "root.pem"}]}}\n'
        users = "authentication: {schemes: [digest, basic], users: users, basic: {backends: [users]}}\n"
        proxy = site.proxy(policy, trust + users)
        done = subprocess.run([roles.BINARY, "user", "add", "-c", str(proxy.config), "alice"], input="secret word\n", text=True,
                              capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        proxy.command("reload")
        config = site.write(f"{{host: media.test, udp: [], tcp: [{framed.port}], https: none}}")
        words = ["--proxy", f"127.0.0.1:{proxy.port}"]
        target, _ = one_target(doctor(config, *words, status=1))
        row = probe_of(target, "proxy", "TCP")
        assert row["result"] == "login" and row["status"] == 407 and row["text"] == "407: the proxy asks for a login (Digest, Basic)", row
        assert ("the proxy asks for a login, and offers Digest, Basic: with --proxy-user NAME doctor asks you for the password, and "
                "tries again.") in target["notes"], target["notes"]
        target, table = one_target(doctor(config, *words, "--proxy-user", "alice", stdin="secret word\n", status=1))
        assert probe_of(target, "proxy", "TCP")["result"] == "open", target
        assert "the proxy takes the login of alice with Digest." in target["notes"] and "secret word" not in table, target["notes"]


def test_the_proxy_inspects():
    """TLS through it comes with its own CA, and direct with the right one."""
    with Site() as site:
        web, framed = site.web(), site.keep(StunTcp())
        inspection = f'inspection: {{ca: {{certificate: {site.folder}/ca.pem, key: {site.folder}/ca.key}}, trust: [{site.folder / "root.pem"}]}}\n'
        config = site.write(more=inspection)
        done = subprocess.run([roles.BINARY, "ca", "init", "-c", str(config)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        policy = "defaults: {access: allow, tls: inspect, auth: exempt, ports: [1-65535]}\n"
        proxy = site.proxy(policy, inspection)
        row = f"{{host: media.test, udp: [], tcp: [{framed.port}], https: \"https://media.test:{web.port}/\"}}"
        config = site.write(row, more=inspection, policy=policy)
        target, table = one_target(doctor(config, "--proxy", f"127.0.0.1:{proxy.port}", status=1))
        assert probe_of(target, "direct", "HTTPS")["result"] == "open"
        assert probe_of(target, "proxy", "HTTPS")["certificate"] == "own-ca", target
        assert any(f"HTTPS {web.port}, through the proxy: this proxy opens TLS to media.test" in one for one in target["notes"]), target
        assert re.search(r"policy    media\.test:\d+\s+inspected", table), table
        # STUN is neither TLS nor HTTP: it is ended where TLS would be opened, and said why.
        assert results(target)["proxy", "TCP", framed.port] == "no STUN", target
        assert any(one.startswith(f"the policy opens TLS to media.test:{framed.port}, and ends what is no TLS") for one in target["notes"])
        # From where its CA is trusted: the issuers differ.
        config = site.write(row, more=f"inspection: {{trust: [{site.folder / 'root.pem'}, {site.folder / 'ca.pem'}]}}")
        target, _ = one_target(doctor(config, "--proxy", f"127.0.0.1:{proxy.port}", status=1))
        assert probe_of(target, "proxy", "HTTPS")["result"] == "open", target
        assert any("is issued by CN=Doctor Test Root directly, and by " in one for one in target["notes"]), target["notes"]


class OddProxy(Tcp):
    """Answers CONNECT with what it is given; None: not at all."""

    def __init__(self, answer):
        self.answer = answer
        super().__init__()

    def talk(self, sock, peer):
        sock.recv(4096)
        if self.answer is None:
            return
        sock.sendall(self.answer)
        sock.shutdown(socket.SHUT_WR)


def test_odd_proxies():
    """Other proxies, what is none, and such as mean harm."""
    rows = [
        (b"HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\nContent-Length: 0\r\n\r\n", "denied", "403 Forbidden"),
        (b"HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n", "login", "(Negotiate, NTLM)"),
        (b"HTTP/1.1 504 x\r\nProxy-Status: p; error=connection_timeout; details=\"a \\\"b\\\"; error=c\"\r\n\r\n", "proxy failed",
         '504 connection_timeout: a "b"; error=c'),
        (b"HTTP/1.1 403 x\r\nProxy-Status: p; error=\x1b[31m\r\n\r\n", "no proxy", "malformed"),
        (b"HTTP/1.1 403 \xff\xfe\x80\r\n\r\n", "denied", "403 ???"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no proxy", "does not speak HTTP"),
        (b"", "no proxy", "is it a proxy?"),
        (b"HTTP/1.1 200 OK\r\n", "no proxy", "is it a proxy?"),
        (b"HTTP/1.1 405 Method Not Allowed\r\n\r\n", "no proxy", "405 Method Not Allowed"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20000, "no proxy", ""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 500 + b"HTTP/1.1 200 OK\r\n\r\n", "no STUN", ""),
        (b"HTTP/1.1 200 OK\r\n\r\n\0\x0cxxxxxxxxxxxx", "no STUN", "closes the connection"),
        (None, "no answer", "the proxy does not answer CONNECT in 4 s"),
    ]
    with Site() as site:
        config = site.write("{host: media.test, udp: [], tcp: [5004], https: none}")
        for answer, result, text in rows:
            odd = site.keep(OddProxy(answer))
            target, table = one_target(doctor(config, "--proxy", f"127.0.0.1:{odd.port}", status=1))
            row = probe_of(target, "proxy", "TCP")
            assert row["result"] == result and text in row["text"], (answer and answer[:60], row)
            assert all(byte == "\n" or " " <= byte <= "~" for byte in table), table


# ---- a firewall ----

CLONE_NEWNET = 0x40000000


def in_namespace(function):
    """Run it in a network namespace of its own, in a child. Without the rights for that it is skipped, and says so."""
    def run():
        if os.geteuid() != 0 or shutil.which("nft") is None:
            print(f"     {function.__name__}: SKIPPED, it needs root and nft", flush=True)
            return
        child = os.fork()
        if child == 0:
            status = 1
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.unshare(CLONE_NEWNET) != 0:
                    print(f"     {function.__name__}: SKIPPED, no network namespace: {os.strerror(ctypes.get_errno())}", flush=True)
                else:
                    function()
                status = 0
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "see above"
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    return run


def sh(command):
    subprocess.run(command, shell=True, check=True)


def firewall(*rules, hook="input"):
    """Where it comes in, as if on the way; but not for what the proxy sends (workers have a user of their own)."""
    sh("nft flush ruleset")
    if rules:
        sh("nft 'add table inet fence; add chain inet fence out { type filter hook output priority -10; }; "
           f"add chain inet fence way {{ type filter hook {hook} priority 0; }}'")
        sh("nft 'add rule inet fence out meta skuid nobody meta mark set 7'")
        sh("nft 'add rule inet fence way meta mark 7 accept'")
        for rule in rules:
            sh(f"nft 'add rule inet fence way {rule}'")


DROP_UDP, DROP_TCP = "meta l4proto udp th dport 5004 drop", "tcp dport { 5004, 33434 } drop"


@in_namespace
def test_a_firewall_closes_one_after_the_other():
    """All open; UDP dropped; the preferred TCP port, too; all of TCP; the proxy denies; nothing. With the ports of real life."""
    sh("ip link set lo up && ip addr add 192.0.2.10/32 dev lo && ip addr add 2001:db8::10/128 dev lo nodad")
    with Site() as site:
        site.hosts = {"media.test": "192.0.2.10", "six.test": "2001:db8::10"}
        for host in ("192.0.2.10", "2001:db8::10"):
            site.keep(StunUdp("good", host, 5004))
            for port in (5004, 33434):
                site.keep(StunTcp(host=host, port=port))
            site.web(site.made.good("media.test", "six.test"), host=host, port=443)
        opens, denies = site.proxy(), site.proxy("rules:\n- {name: web alone, when: {port: \"5004,33434\"}, then: {access: deny}}\n"
                                                 "defaults: {access: allow, tls: bypass, auth: exempt, ports: [443]}\n")
        nothing = site.proxy("defaults: {access: deny, tls: bypass, auth: exempt}\n")
        config = site.write('{name: four, host: media.test, wss: "wss://media.test/ws"}, {name: six, host: six.test}')
        opening = "Open UDP 5004 to {host} ({address}) in the firewall, and let the replies in"
        rows = [
            ((), opens, ("direct", "UDP", 5004), "media goes over UDP 5004, which is best: nothing needs to be opened."),
            ((DROP_UDP,), opens, ("direct", "TCP", 5004), "media goes over TCP 5004, where each lost packet stops sound and picture "
             f"for a moment. {opening}."),
            ((DROP_UDP, "tcp dport 5004 drop"), opens, ("direct", "TCP", 33434), "media goes over TCP 33434, where each lost packet "
             f"stops sound and picture for a moment. {opening}."),
            ((DROP_UDP, DROP_TCP), opens, ("proxy", "TCP", 5004), "media goes through the proxy 127.0.0.1:{port}, over TCP 5004, its "
             f"last resort. {opening}; if that cannot be, TCP 5004 and 33434."),
            ((DROP_UDP, DROP_TCP), denies, ("proxy", "HTTPS", 443), "media can only go through the proxy 127.0.0.1:{port}, over TLS on "
             f"port 443, if the app can do that at all. {opening}; if that cannot be, TCP 5004 and 33434."),
            ((DROP_UDP, DROP_TCP, "tcp dport 443 drop"), nothing, None, f"media has no way out. {opening}; if that cannot be, TCP 5004 "
             "and 33434."),
            (("meta l4proto udp th dport 5004 reject with icmpx admin-prohibited",
              "tcp dport { 5004, 33434 } reject with icmpx admin-prohibited"), nothing, None, f"media has no way out. {opening}"),
        ]
        for rules, proxy, chosen, advice in rows:
            firewall(*rules)
            answers, table = doctor(config, "--proxy", f"127.0.0.1:{proxy.port}", status=1 if rules else 0)
            for target, host, address in zip(answers["targets"], ("media.test", "six.test"), ("192.0.2.10", "2001:db8::10")):
                got = target["chosen"] and (target["chosen"]["path"], target["chosen"]["way"], target["chosen"]["port"])
                assert got == chosen, (rules, target)
                want = advice.format(host=host, address=address, port=proxy.port)
                assert target["advice"].startswith(want), (target["advice"], want)
                assert f"=> {target['advice']}\n" in table
                udp = probe_of(target, "direct", "UDP")["result"]
                assert udp == ("open" if not rules else "no answer" if DROP_UDP in rules else "unreachable"), (rules, target)
                if DROP_TCP in rules:
                    assert probe_of(target, "direct", "TCP", 5004)["text"] == "nothing comes back in 4 s", target
                if proxy is denies:
                    assert results(target)["proxy", "TCP", 33434] == "denied", target
            assert answers["targets"][0]["policy"][0]["class"] == "media", answers["targets"][0]["policy"]
            if not rules:
                assert set(results(answers["targets"][0]).values()) == {"open"}, answers
        firewall()


# ---- the command itself ----

def plain(*words, cwd=None, status, **how):
    done = subprocess.run([roles.BINARY, "doctor", *words], capture_output=True, text=True, check=False, timeout=60, cwd=cwd, **how)
    assert done.returncode == status, (words, done)
    return done


def test_usage():
    """No target, a bad one, a bad time, a bad proxy, a broken configuration."""
    with Site() as site:
        config = str(site.write())
        done = plain("-c", config, status=2)
        assert "no target is known" in done.stderr and "targets:\n    - {host: HOST, udp: [5004], tcp: [5004, 33434]}" in done.stderr, done
        for words, said in ((["--target", "a b"], "no host name"), (["--target", "a.test:5004"], "without a port"),
                            (["--target", "a.test", "--timeout", "3"], "is no time from 100ms to 1m"),
                            (["--target", "a.test", "--timeout", "2m"], "is no time"), (["--target", "a.test", "--proxy", "x"], "no HOST:PORT"),
                            (["--target", "a.test", "--proxy-user", "a:b"], "without a colon"),
                            (["--target", "a.test", "--proxy-user", "a"], "password is empty"),
                            (["--target", "a.test", "--proxy-ntlm"], "--proxy-user NAME"),
                            (["--target", "a.test", "--proxy-user", "a", "--proxy-ntlm", "--proxy-basic"], "is enough"),
                            (["--target", "a.test", "--user", "a"], "does not take this option"),
                            (["word"], "what is")):
            done = plain("-c", config, *words, status=2, stdin=subprocess.DEVNULL)
            assert said in done.stderr and not done.stdout, (words, done)
        for row, said in (("{host: \"a b\"}", "no host name"), ("{host: a.test, udp: [0]}", "ports from 1 to 65535"),
                          ("{host: a.test, tcp: nothing}", "ports from 1 to 65535"), ("{host: a.test, wss: \"https://a.test\"}", "no URL such as wss://HOST/PATH"),
                          ("{host: a.test, framing: ice}", "rfc4571, stun"), ("{name: x}", "host is missing"),
                          ("{host: a.test, https: \"https://a.test/ b\"}", "no URL")):
            done = plain("-c", str(site.write(row)), status=2)
            assert said in done.stderr and "sallyport.yaml:" in done.stderr, (row, done)


def test_without_a_configuration():
    """On a client's machine: --target, and --proxy if there is one."""
    with Site() as site:
        odd = site.keep(OddProxy(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"))
        empty = site.folder / "empty"
        empty.mkdir()
        assert not os.path.exists("/etc/sallyport/sallyport.yaml")
        done = plain("--target", "127.0.0.1", "--timeout", "500ms", cwd=empty, status=1)
        assert "nothing is tried through the proxy" in done.stderr and "=> media has no way out." in done.stdout, done
        answers, table = doctor(None, "--target", "127.0.0.1", "--target", "::1", "--proxy", f"127.0.0.1:{odd.port}", cwd=empty, status=1)
        assert [one["name"] for one in answers["targets"]] == ["127.0.0.1", "[::1]"], answers
        assert results(answers["targets"][1])["proxy", "TCP", 5004] == "denied" and "policy" not in answers["targets"][0]
        assert "policy " not in table


def test_progress_and_ctrl_c():
    """On a terminal it says how far it is; Ctrl-C ends it as it ends others, and leaves nothing on the line."""
    with Site() as site:
        silent = site.keep(StunUdp("silent"))
        config = site.write(f"{{host: 127.0.0.1, udp: [{silent.port}], tcp: [], https: none}}")
        master, slave = pty.openpty()
        run = subprocess.Popen([roles.BINARY, "doctor", "-c", str(config), "--timeout", "60s"], stdin=slave, stdout=subprocess.PIPE, stderr=slave)
        os.close(slave)
        seen = b""
        while seen.count(b"of 1 probes") < 3:
            seen += os.read(master, 1000)
        assert b"\r\x1b[K0 of 1 probes, " in seen, seen
        run.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):
            while got := os.read(master, 1000):
                seen += got
        assert run.wait(PATIENCE_S) == -signal.SIGINT and seen.endswith(b"\r\x1b[K"), seen
        assert run.stdout.read() == b""
        run.stdout.close()
        os.close(master)
        # And no progress where nobody looks.
        assert plain("-c", str(config), "--timeout", "300ms", status=1).stderr == ""


def test_all_at_once():
    """Thirty targets that say nothing take as long as one."""
    with Site() as site:
        silent, mute = site.keep(StunUdp("silent")), site.keep(StunTcp("silent"))
        config = site.write(", ".join(f"{{name: t{i}, host: media.test, udp: [{silent.port}], tcp: [{mute.port}], https: none}}"
                                      for i in range(30)))
        began = time.monotonic()
        answers, _ = doctor(config, "--proxy", f"127.0.0.1:{mute.port}", status=1, timeout="3s")
        took = time.monotonic() - began
        assert len(answers["targets"]) == 30 and took < 45, took
        assert all(probe_of(one, "direct", "TCP")["result"] == "no STUN" for one in answers["targets"])
        assert len({one["probes"][0]["requests"] for one in answers["targets"]}) <= 2, answers


if __name__ == "__main__":
    roles.run_tests("doctor", dict(globals()), __doc__, ("turnserver", "nft"), at_once=4)
