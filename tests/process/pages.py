#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The roles public and admin of a Release build: the PAC file (evaluated by JavaScript engines, compared with
`sallyport explain`), health and metrics (looked at by promtool), restarts, reloads."""
import email.utils
import ipaddress
import json
import os
import pathlib
import random
import re
import signal
import socket
import stat
import subprocess
import tempfile
import time

import roles
from roles import Proxy, echo_origin, wait_for

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = """\
listen:
  - {{name: main, address: "127.0.0.1:{port}"}}
  - {{name: six, address: "[::1]:0"}}
  - {{name: balanced, address: "127.0.0.1:0", proxy_protocol: 127.0.0.0/8, advertise: none}}
workers: 2
policy: policy.yaml
control: run/sallyport.sock
public: {{address: "127.0.0.1:0", url: "http://pac.test:8080", proxies: ["other.test:3128"]}}
admin: {{address: "127.0.0.1:0"}}
destinations: {{permit: [127.0.0.0/8, "::1/128"]}}
authentication: {{schemes: []}}
timeouts: {{drain: 5s}}
log: {{access: {{path: access.log}}, events: {{path: events.log}}}}
"""
POLICY = """\
lists: {inside: inside.list, office: office.list, some: some.list}
rules:
- {name: never, when: {to: [".proxied.inside.test", 10.9.0.0/16]}, then: {pac: proxy}}
- {name: inside, when: {to: [inside, some]}, then: {pac: direct}}
- {name: office, when: {to: office, from: [127.0.0.2, 127.1.0.0/16]}, then: {pac: direct}}
- {name: six, when: {from: ["::1"], port: "8000-8100,443"}, then: {pac: direct}}
- {name: ports, when: {to: some, port: [81, 5004-5010]}, then: {pac: proxy}}
- {name: guests, when: {from: 127.0.0.3}, then: {pac: direct}}
- {name: no, when: {to: denied.test}, then: {access: deny}}
defaults: {access: allow, tls: bypass, auth: exempt, ports: [1-65535], pac: proxy}
"""
LISTS = {
    "inside.list": """\
intranet
*.below.test
.both.test
exact.test
deep.very.both.test
constructor
.prototype
10.0.0.0/8
192.168.128.0/17
172.16.5.5
0.0.0.0/30
[fd00::]/8
[2001:db8:1:8000::]/49
[2001:db8::7]
*mcs*.x.test
*.*.two.test
*.cdn-*.y.test
/^cdn\\d+(-(eu|us)){0,2}\\.z\\.test$/
/^[a-f_]+[^0-9.]\\.(?!com)[a-z]{3}$/
gone.test expires=2020-01-01
""",
    "office.list": "printer.office.test\n*.office.test ports=443,8000-8100\n203.0.113.0/24 ports=443\n",
    "some.list": "ported.test ports=8443\n.ported.test ports=8000-8010\nplain.test\n",
}
# What explain and a browser are asked about; and what people have in mind who want to confuse.
HOSTS = ["intranet", "INTRANET", "intranet.", "x.intranet", "below.test", "a.below.test", "a.b.below.test", "xbelow.test",
         "both.test", "x.both.test", "xboth.test", "exact.test", "EXACT.Test", "a.exact.test", "deep.very.both.test", "constructor",
         "a.constructor", "prototype", "a.prototype", "__proto__", "hasownproperty", "tostring", "amcsb.x.test", "mcs.x.test",
         "a.mcs.x.test", "x.test", "two.test", "a.two.test", "a.b.two.test", "a.b.c.two.test", "cdn-1.y.test", "a.cdn-1.y.test",
         "a.b.cdn-.y.test", "cdn1.z.test", "cdn12-eu.z.test", "cdn12-eu-us.z.test", "cdn12-eu-us-eu.z.test", "cdn.z.test",
         "abc_f.net", "abc_f.com", "abc1.net", "gone.test", "proxied.inside.test", "a.proxied.inside.test", "denied.test",
         "printer.office.test", "other.office.test", "office.test", "ported.test", "a.ported.test", "plain.test", "a.plain.test",
         "localhost", "www.example.com", "xn--bcher-kva.example", "a" * 63 + ".both.test", ".".join(["a" * 9] * 25),
         "10.0.0.1", "10.255.255.255", "11.0.0.0", "9.255.255.255", "10.9.1.1", "192.168.128.0", "192.168.127.255",
         "192.168.255.255", "172.16.5.5", "172.16.5.4", "0.0.0.3", "0.0.0.4", "203.0.113.9", "255.255.255.255",
         "[fd00::1]", "[fdff:ffff::]", "[fe00::]", "[fc00::1]", "[2001:db8:1:8000::1]", "[2001:db8:1:7fff::1]",
         "[2001:db8:1:ffff:1:2:3:4]", "[2001:db8::7]", "[2001:DB8:0::7]", "[2001:db8:0:0:0:0:0:7]", "[::ffff:10.1.2.3]",
         "[::ffff:a01:203]", "[::ffff:8.8.8.8]", "[::]", "[::1]", "[1:2:3:4:5:6:7::]", "[::2:3:4:5:6:7:8]"]
CLIENTS = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.1.2.3"]


class Pages(Proxy):
    """With a policy and lists of its own, and a look at all addresses of the ready line."""

    def __init__(self, config=CONFIG, policy=POLICY):
        super().__init__(config, files={"policy.yaml": policy, **LISTS})
        self.addresses = dict(word.split("=", 1) for word in self.ready.split()[1:])
        self.port = int(self.addresses.get("main", ":0").rsplit(":", 1)[1])

    def ask(self, name, head, source=None, first=b""):
        """Connect to the listener, send, read to the end: status, fields, content."""
        host, _, port = self.addresses[name].rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), roles.PATIENCE_S, (source, 0) if source else None) as sock:
            sock.sendall(first + head.encode())
            data = b""
            while got := sock.recv(65536):
                data += got
        top, _, content = data.partition(b"\r\n\r\n")
        lines = top.decode().split("\r\n")
        fields = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines[1:]}
        return int(lines[0].split()[1]) if top else 0, fields, content

    def get(self, name, path, source=None, first=b"", **fields):
        more = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in fields.items())
        return self.ask(name, f"GET {path} HTTP/1.1\r\nHost: {'localhost' if name == 'admin' else 'any.test'}\r\nConnection: close\r\n{more}\r\n", source, first)

    def metrics(self):
        token = (self.folder / "run/admin.token").read_text().strip()
        status, fields, content = self.get("admin", "/metrics", Authorization=f"Bearer {token}")
        assert status == 200 and fields["content-type"].startswith("text/plain; version=0.0.4"), (status, fields)
        return content.decode()


def value_of(metrics, series):
    rows = [line.rsplit(" ", 1)[1] for line in metrics.splitlines() if line.rsplit(" ", 1)[0] == series]
    assert len(rows) == 1, (series, rows)
    return float(rows[0])


# ---- the PAC file ----

def make_cases(seed):
    """(url, host as a browser says it, HOST:PORT for explain)."""
    random.seed(seed)
    cases = []
    hosts = list(HOSTS)
    for network in ("10.0.0.0/8", "192.168.128.0/17", "203.0.113.0/24", "0.0.0.0/0"):
        base = ipaddress.ip_network(network)
        hosts += [str(base[random.randrange(base.num_addresses)]) for _ in range(8)]
    for network in ("fd00::/8", "2001:db8:1:8000::/49", "2001:db8::/32"):
        base = ipaddress.ip_network(network)
        hosts += [f"[{base[random.randrange(base.num_addresses)]}]" for _ in range(8)]
    for _ in range(60):
        hosts.append(".".join(random.choice(["a", "cdn-x", "mcs", "two", "both", "office", "below"]) for _ in range(random.randrange(1, 5)))
                     + random.choice([".x.test", ".two.test", ".y.test", ".both.test", ".office.test", ".below.test", ""]))
    for host in hosts:
        for scheme, port, shown in (("https", 443, ""), ("http", 80, ""),
                                    random.choice([("http", 8443, ":8443"), ("https", 8005, ":8005"), ("ws", 80, ""), ("wss", 443, ""),
                                                   ("http", 81, ":81"), ("https", 5007, ":5007"), ("http", 65535, ":65535")])):
            user = random.choice(["", "", "user@", "a:b@"])
            tail = random.choice(["/", "/path?a=:1@b", "?q", ""])
            bare = host.strip("[]") if random.random() < 0.5 else host
            cases.append((f"{scheme}://{user}{host}{shown}{tail}", bare, f"{host}:{port}"))
    return cases


def explain(proxy, targets, source):
    """What explain answers to pac for each HOST:PORT."""
    questions = "".join(f"{target} --from {source}\n" for target in targets)
    done = subprocess.run([roles.BINARY, "explain", "-c", str(proxy.config), "--stdin", "--json"], input=questions,
                          capture_output=True, text=True, check=True, timeout=roles.PATIENCE_S * 3)
    answers = [json.loads(line)["decision"]["pac"]["answer"] for line in done.stdout.splitlines()]
    assert len(answers) == len(targets)
    return answers


def run_engine(words, files, cases):
    done = subprocess.run(words, input=json.dumps({"files": files, "cases": cases}), capture_output=True, text=True,
                          check=False, timeout=roles.PATIENCE_S * 3)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def run_duktape(files, cases):
    """An engine without anything newer than ES5: one program for each file."""
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(files):
            path = pathlib.Path(folder, "pac.js")
            mine = [case[1:] for case in cases if case[0] == number]
            path.write_text(text + f"\nvar sp_cases = {json.dumps(mine)};\nfor (var sp_i = 0; sp_i < sp_cases.length; sp_i++)\n"
                            "  print(FindProxyForURL(sp_cases[sp_i][0], sp_cases[sp_i][1]));\n")
            done = subprocess.run(["duk", str(path)], capture_output=True, text=True, check=False, timeout=roles.PATIENCE_S * 3)
            assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
            answers += done.stdout.splitlines()
    return answers


def test_pac_agrees_with_explain():
    """Hundreds of hosts, ports and clients: two JavaScript engines answer from the served file what explain answers."""
    with Pages() as proxy:
        files, cases, expected = [], [], []
        for number, client in enumerate(CLIENTS):
            status, fields, content = proxy.get("public", "/proxy.pac", client)
            assert status == 200 and fields["content-type"] == "application/x-ns-proxy-autoconfig", fields
            files.append(content.decode("ascii"))
            made = make_cases(number)
            cases += [(number, url, host) for url, host, _ in made]
            expected += explain(proxy, [target for *_, target in made], client)
        # A client of IPv6 comes by the proxy port, as the public listener has no IPv6 here.
        status, _, content = proxy.get("six", "/wpad.dat")
        assert status == 200
        files.append(content.decode("ascii"))
        made = make_cases(99)
        cases += [(len(files) - 1, url, host) for url, host, _ in made]
        expected += explain(proxy, [target for *_, target in made], "::1")
        got = run_engine(["node", str(HERE / "pac.js")], files, cases)["answers"]
        for answers in (got, run_duktape(files, cases)):
            assert len(answers) == len(expected) > 1500, (len(answers), len(expected))
            wrong = [(case, answer, want) for case, answer, want in zip(cases, answers, expected)
                     if (answer == "DIRECT") != (want == "direct") or (want == "proxy") != answer.startswith("PROXY ")]
            assert not wrong, (len(wrong), wrong[:10])
        assert {"direct", "proxy"} == set(expected)
        assert expected.count("direct") > 300, expected.count("direct")
        # ES3: nothing that old engines do not know.
        for word in ("=>", "`", "let ", "const ", "class ", ".forEach", ",]", ".trim("):
            assert all(word not in text for text in files), word


def make_expression(depth=0):
    """Of what PCRE2 and JavaScript both have, and now and then of what is PCRE2's alone."""
    atoms = ["a", "b", "c", "-", r"\.", ".", r"\d", r"\w", "[a-c]", "[^a]", "[]a]", "[^]b-]", r"[a\-c]", r"[\d.]", r"\b", "x", "0", "_",
             r"\_", "[a-]", r"\x61", r"\D", r"\W", "[b-d0-2]", "}", "]", "A", "[A-C]", r"\B", r"\A", "(?>a)", "a++", r"\h"]
    text = ""
    for _ in range(random.randint(1, 4)):
        if random.random() < 0.25 and depth < 3:
            other = "|" + make_expression(depth + 1) if random.random() < 0.4 else ""
            text += random.choice(["(", "(?:", "(?=", "(?!"]) + make_expression(depth + 1) + other + ")"
        else:
            text += random.choice(atoms) if random.random() < 0.95 else random.choice("^$")
        if random.random() < 0.35:
            text += random.choice(["*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "+?", "??", "{1,3}?"])
    return text


def test_pac_has_the_same_expressions():
    """Expressions at random: refused, or the same in JavaScript as in PCRE2."""
    random.seed(5)
    hosts = sorted({"".join(random.choice("aabbcxd012-_") for _ in range(random.randint(1, 8))) + random.choice(["q", ".ab", ".x.cd"])
                    for _ in range(200)})
    files, expected = [], []
    policy = "lists: {inside: inside.list}\nrules:\n- {name: r, when: {to: inside}, then: {pac: direct}}\n" \
             "defaults: {access: allow, tls: bypass, auth: exempt}\n"
    with Pages(policy=policy) as proxy:
        refused = 0
        while len(files) < 60:
            (proxy.folder / "inside.list").write_text(f"/{make_expression()}/\n")
            done = subprocess.run([roles.BINARY, "reload", "-c", str(proxy.config)], capture_output=True, text=True, check=False)
            if done.returncode == 2:
                refused += 1
                assert re.search(r"inside\.list:1:\d+: error", done.stdout + done.stderr), done
                continue
            files.append(proxy.get("public", "/proxy.pac")[2].decode())
            expected += explain(proxy, [f"{host}:443" for host in hosts], "127.0.0.1")
    cases = [(number, f"https://{host}/", host) for number in range(len(files)) for host in hosts]
    answers = run_engine(["node", str(HERE / "pac.js")], files, cases)["answers"]
    wrong = [(case, answer, want) for case, answer, want in zip(cases, answers, expected)
             if (answer == "DIRECT") != (want == "direct")]
    assert not wrong and refused > 5, (refused, wrong[:5], [files[one[0][0]] for one in wrong[:1]])
    assert expected.count("direct") > 500, expected.count("direct")


def test_pac_names_all_proxies():
    """Every client gets all of them, beginning with its own; no DIRECT behind them; the same after a restart."""
    def firsts():
        with Pages() as proxy:
            found = {}
            own = {proxy.addresses["main"], proxy.addresses["six"]}
            names = own | {"other.test:3128"}
            for number in range(1, 40):
                client = f"127.0.0.{number}"
                text = proxy.get("public", "/proxy.pac", client)[2].decode()
                line = re.search(r'sp_answers = \["(.*)", "DIRECT"\];', text).group(1)
                proxies = [one.removeprefix("PROXY ") for one in line.split("; ")]
                assert set(proxies) == names and len(proxies) == 3, proxies
                order = sorted(names)
                assert proxies == order[order.index(proxies[0]):] + order[:order.index(proxies[0])], proxies
                found[client] = order.index(proxies[0])
            return found
    first, second = firsts(), firsts()
    assert set(first.values()) == {0, 1, 2}, first
    # Ports differ from run to run, their order among themselves may: what other.test is does not.
    assert len(first) == len(second)


def test_pac_on_the_proxy_port():
    """The same file there; the client's address is the one it connects from, whatever it says."""
    with Pages() as proxy:
        for client in CLIENTS:
            plain = proxy.get("public", "/proxy.pac", client)[2]
            for path in ("/proxy.pac", "/wpad.dat", "/wpad.dat?x=1", "http://pac.test:8080/proxy.pac"):
                status, fields, content = proxy.get("main", path, client)
                assert (status, content) == (200, plain), (path, client, status)
                assert fields["cache-control"] == "private, max-age=300"
            for liar in ({"X_Forwarded_For": "127.0.0.2"}, {"Forwarded": "for=127.0.0.2"}, {"X_Real_IP": "127.0.0.2"},
                         {"Client_IP": "127.0.0.2"}):
                assert proxy.get("main", "/proxy.pac", client, **liar)[2] == plain, liar
                assert proxy.get("public", "/proxy.pac", client, **liar)[2] == plain, liar
        files = {client: proxy.get("public", "/proxy.pac", client)[2] for client in CLIENTS}
        rules = {re.search(rb"sp_rules = \[.*?\];", text, re.S).group(0) for text in files.values()}
        assert len(rules) == 3, rules
        # A balancer is believed, and nobody else is.
        first = b"PROXY TCP4 127.0.0.2 127.0.0.1 1234 3128\r\n"
        assert proxy.get("balanced", "/proxy.pac", "127.0.0.1", first)[2] == files["127.0.0.2"]
        assert proxy.get("main", "/proxy.pac", "127.0.0.1", first)[0] == 400
        # What else is asked of the proxy itself stays what it is.
        assert proxy.get("main", "/other")[0] == 404 and b"This is a proxy" in proxy.get("main", "/")[2]
        assert proxy.get("main", "http://pac.test:8080/other")[0] == 404
        assert proxy.get("main", "http://pac.test:8081/proxy.pac")[0] == 502
        assert proxy.get("main", f"http://{proxy.addresses['public']}/proxy.pac")[0] == 403
        assert proxy.get("main", f"http://{proxy.addresses['admin']}/metrics")[0] == 403


def test_pac_is_not_too_large():
    """A policy whose file browsers would not take is refused, by check and by reload, and says which list it is."""
    big = "".join(f"host-{number}.of-some-department.example\n" for number in range(30000))
    with Pages() as proxy:
        before = proxy.get("public", "/proxy.pac")[2]
        (proxy.folder / "inside.list").write_text(big)
        done = subprocess.run([roles.BINARY, "check", "-c", str(proxy.config)], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "900 KiB" in done.stderr and "inside (" in done.stderr, done.stderr
        proxy.command("reload", status=2)
        assert proxy.get("public", "/proxy.pac")[2] == before
        # A file just below is served whole, by both ways.
        (proxy.folder / "inside.list").write_text(big[:880 * 1024].rpartition("\n")[0] + "\n")
        proxy.command("reload")
        served = proxy.get("public", "/proxy.pac")[2]
        assert 850 * 1024 < len(served) <= 900 * 1024, len(served)
        assert proxy.get("main", "/proxy.pac")[2] == served
        took = run_engine(["node", str(HERE / "pac.js")], [served.decode()],
                          [(0, f"https://host-{n}.of-some-department.example/", f"host-{n}.of-some-department.example")
                           for n in range(0, 20000, 7)])
        assert set(took["answers"]) == {"DIRECT"}
        print(f"     {len(served)} bytes, {took['us']:.1f} us for each question")


def test_pac_follows_a_reload():
    """New rules, a new address, none at all, and one again."""
    with Pages() as proxy:
        first = proxy.get("public", "/proxy.pac")
        again = proxy.get("public", "/proxy.pac", If_None_Match=first[1]["etag"])
        assert again[0] == 304 and again[2] == b"", again
        # The tag alone decides: a date says nothing of the network that one is in, nor of entries that expire.
        assert "last-modified" not in first[1], first[1]
        for seconds in range(-5, 6):
            date = email.utils.formatdate(time.time() + seconds, usegmt=True)
            assert proxy.get("public", "/proxy.pac", If_Modified_Since=date)[0] == 200, date
        (proxy.folder / "inside.list").write_text("quite.new.test\n")
        proxy.command("reload")
        second = proxy.get("public", "/proxy.pac", If_None_Match=first[1]["etag"])
        assert second[0] == 200 and b"quite.new.test" in second[2] and second[1]["etag"] != first[1]["etag"]
        old = proxy.addresses["public"]
        assert {"name": "public", "address": old} in proxy.status()["small_listeners"]
        assert f"public        http://{old}\n" in proxy.command("status")
        text = proxy.config.read_text()
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
        proxy.config.write_text(text.replace('public: {address: "127.0.0.1:0"', f'public: {{address: "127.0.0.1:{port}"'))
        pid = proxy.roles()["public0"]
        proxy.command("reload")
        proxy.addresses["public"] = f"127.0.0.1:{port}"
        assert proxy.get("public", "/proxy.pac")[2] == second[2] and proxy.roles()["public0"] == pid
        proxy.addresses["old"] = old
        try:
            proxy.get("old", "/proxy.pac")
            raise AssertionError("the old address still answers")
        except OSError:
            pass
        proxy.config.write_text(re.sub(r"public: .*\n", "", text))
        proxy.command("reload")
        wait_for("its end", lambda: "public0" not in proxy.roles())
        assert proxy.get("main", "/proxy.pac")[0] == 404
        proxy.config.write_text(text)
        proxy.command("reload")
        wait_for("a new one", lambda: proxy.roles().get("public0"))
        assert proxy.get("main", "/proxy.pac")[2] == second[2]
        assert "role_died" not in proxy.events(), proxy.events()


# ---- admin ----

def test_metrics_are_well_formed():
    """promtool finds nothing; the numbers are those of what was done."""
    origin, port = echo_origin()
    policy = POLICY.replace("name: no,", 'name: "quotes \\" and \\\\ and äöü",')
    with Pages(policy=policy) as proxy:
        tunnel = proxy.tunnel(port)
        peer = origin.accept()[0]
        for _ in range(3):
            assert proxy.get("main", "http://denied.test/")[0] == 403
        (proxy.folder / "policy.yaml").write_text("rules: 5\n")
        proxy.command("reload", status=2)
        (proxy.folder / "policy.yaml").write_text(policy)
        proxy.command("reload")
        text = proxy.metrics()
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and not done.stdout + done.stderr, done
        assert value_of(text, "sallyport_tunnels") == 1 and value_of(text, "sallyport_denied_total") == 3
        assert value_of(text, 'sallyport_errors_total{error="policy_denied"}') == 3
        assert value_of(text, 'sallyport_reloads_total{result="ok"}') == 1
        assert value_of(text, 'sallyport_reloads_total{result="refused"}') == 1
        assert value_of(text, "sallyport_policy_generation") == 2 and value_of(text, "sallyport_ready") == 1
        rule = 'rule="quotes \\" and \\\\ and äöü"'
        rows = [line for line in text.splitlines() if rule in line]
        assert len(rows) == 1 and 'question="access",answer="deny"' in rows[0] and rows[0].endswith(" 3"), rows
        assert value_of(text, 'sallyport_list_entries{list="inside"}') == LISTS["inside.list"].count("\n")
        assert 0 <= value_of(text, 'sallyport_list_age_seconds{list="inside"}') < 600
        assert value_of(text, 'sallyport_session_state_seconds_count{state="dial"}') >= 1
        assert value_of(text, 'sallyport_role_processes{role="worker"}') == 2
        tunnel.close()
        peer.close()
    origin.close()


def test_metrics_want_the_token():
    """Made by the parent, with 256 bits, for its owner alone; told in the event log; nothing without it."""
    with Pages() as proxy:
        path = proxy.folder / "run/admin.token"
        token = path.read_text()
        assert re.fullmatch(r"[0-9a-f]{64}\n", token) and stat.S_IMODE(path.stat().st_mode) == 0o600, token
        token = token.strip()
        wait_for("the event", lambda: "token_made notice" in proxy.events())
        for words in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer " + token[:-1]}, {"Authorization": f"Bearer {token}x"},
                      {"Authorization": f"Basic {token}"}, {"Authorization": token}, {"Authorization": "Bearer " + "0" * 64}):
            status, fields, content = proxy.get("admin", "/metrics", **words)
            assert status == 401 and fields["www-authenticate"].startswith("Bearer") and b"sallyport_" not in content, (words, status)
        assert proxy.get("admin", "/metrics", Authorization=f"bearer   {token}")[0] == 200
        for head in ("POST /metrics", "PUT /healthz", "DELETE /readyz"):
            assert proxy.ask("admin", f"{head} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                             "Content-Length: 0\r\n\r\n")[0] == 405, head
        assert proxy.get("admin", "/")[0] == 404 and proxy.get("admin", "/proxy.pac")[0] == 404
        path.chmod(0o644)
        done = subprocess.run([roles.BINARY, "check", "-c", str(proxy.config)], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "chmod 600" in done.stderr, done.stderr
        proxy.command("reload", status=2)
        path.chmod(0o600)
        path.write_text("another-token-of-twenty\n")
        proxy.command("reload")
        assert proxy.get("admin", "/metrics", Authorization="Bearer another-token-of-twenty")[0] == 200
        assert proxy.get("admin", "/metrics", Authorization=f"Bearer {token}")[0] == 401
        assert token not in proxy.events() and "another-token" not in proxy.events()


def call(proxy, port, source):
    """A tunnel that begins as calls do; both ends."""
    sock = socket.create_connection(("127.0.0.1", proxy.port), roles.PATIENCE_S, (source, 0))
    sock.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: a\r\n\r\n" % port)
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(1000)
    assert head.startswith(b"HTTP/1.1 200"), head
    sock.sendall(b"\0\1\0\0\x21\x12\xa4\x42" + b"x" * 12)
    return sock


def total_of(text, network):
    """Calls of a network since the start, of all workers."""
    counts = re.findall(r'^sallyport_media_tunnels_total\{network="%s",worker="\d+"\} (\d+)$' % re.escape(network), text, re.MULTILINE)
    assert counts, text
    return sum(map(int, counts))


def test_calls_are_told():
    """How many, from which networks, and what would help: in status, the metrics and on a page, over all workers; a worker that
    is killed takes its calls with it, and the numbers since the start stay."""
    origin, port = echo_origin()
    told = "this proxy as their last resort, from 127.0.1.0/24 (2) and 127.0.0.0/24 (1): open UDP 5004 to their media networks"
    with Pages(policy=POLICY.replace("tls: bypass,", "tls: bypass, class: auto,")) as proxy:
        assert proxy.get("admin", "/calls")[0] == 401
        token = {"Authorization": "Bearer " + (proxy.folder / "run/admin.token").read_text().strip()}
        assert proxy.get("admin", "/calls", **token)[2] == b"no call has gone through this proxy since it was started\n"
        assert "calls  " not in proxy.command("status") and "text" not in proxy.status()["media"]
        assert value_of(proxy.metrics(), 'sallyport_media_tunnels{network="others"}') == 0
        socks = [call(proxy, port, source) for source in ("127.0.1.1", "127.0.1.2", "127.0.0.9")]
        peers = [origin.accept()[0] for _ in socks]
        media = wait_for("all of them", lambda: [one for one in [proxy.status()["media"]] if one["tunnels"] == 3])[0]
        assert told in media["text"] and media["text"].startswith("3 calls"), media
        assert {one["network"]: (one["tunnels"], one["total"]) for one in media["networks"]} == {"127.0.1.0/24": (2, 2), "127.0.0.0/24": (1, 1)}
        assert f"calls         3 calls go through {told}" in proxy.command("status")
        assert told.encode() in proxy.get("admin", "/calls", **token)[2]
        text = proxy.metrics()
        assert value_of(text, 'sallyport_media_tunnels{network="127.0.1.0/24"}') == 2
        assert total_of(text, "127.0.0.0/24") == 1 and total_of(text, "others") == 0
        assert value_of(text, "sallyport_media_recognised_total") == 3 and value_of(text, "sallyport_media_packets_total") == 3
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and not done.stdout + done.stderr, done
        wait_for("the event", lambda: "media_last_resort warning" in proxy.events())
        assert proxy.events().count("media_last_resort") == 1, "once for all workers"
        before = proxy.roles()
        for number in (0, 1):
            os.kill(before[f"worker{number}"], signal.SIGKILL)
        wait_for("new workers", lambda: all(one["ready"] and one["pid"] not in before.values() for one in proxy.status()["roles"] if one["role"] == "worker"))
        media = proxy.status()["media"]
        assert (media["tunnels"], media["total"]) == (0, 3) and media["text"].startswith("no call goes through this proxy now; 3 did"), media
        for sock in socks + peers:
            sock.close()
        sock = call(proxy, port, "127.0.1.1")
        peer = origin.accept()[0]
        wait_for("one more", lambda: proxy.status()["media"]["tunnels"] == 1)
        sock.close()
        peer.close()
        wait_for("its end", lambda: proxy.status()["media"]["tunnels"] == 0)
        assert total_of(proxy.metrics(), "127.0.1.0/24") == 3
        assert proxy.events().count("media_last_resort") == 1, "not again so soon"
    origin.close()


def test_ready_and_healthy():
    """Ready is who has all workers and takes clients; alive is who answers."""
    origin, port = echo_origin()
    with Pages() as proxy:
        assert proxy.get("admin", "/readyz")[0] == 200 and proxy.get("admin", "/healthz")[0] == 200
        worker = proxy.roles()["worker0"]
        os.kill(worker, signal.SIGSTOP)  # it stays, and is not missed
        os.kill(worker, signal.SIGCONT)
        for _ in range(3):  # ever later restarts
            os.kill(wait_for("a worker", lambda: proxy.roles()["worker0"]), signal.SIGKILL)
            wait_for("its absence", lambda: proxy.get("admin", "/readyz")[0] == 503)
            assert proxy.get("admin", "/healthz")[0] == 200
            wait_for("all of them", lambda: proxy.get("admin", "/readyz")[0] == 200)
        tunnel = proxy.tunnel(port)
        peer = origin.accept()[0]
        proxy.process.send_signal(signal.SIGTERM)
        wait_for("draining", lambda: proxy.get("admin", "/readyz")[0] == 503)
        assert proxy.get("admin", "/healthz")[0] == 200 and proxy.get("public", "/proxy.pac")[0] == 200
        tunnel.close()
        peer.close()
        assert proxy.process.wait(roles.PATIENCE_S) == 0
    origin.close()


# ---- roles ----

def test_they_are_restarted():
    """kill -9 of either: it comes again, workers and tunnels do not notice, and whoever asked meanwhile is answered."""
    origin, port = echo_origin()
    with Pages() as proxy:
        tunnel = proxy.tunnel(port)
        peer = origin.accept()[0]
        before = proxy.roles()
        for name, path in (("public", "/proxy.pac"), ("admin", "/healthz")):
            os.kill(before[name + "0"], signal.SIGKILL)
            assert proxy.get(name, path)[0] == 200  # it waits in the listening socket
            if name == "public":
                os.kill(wait_for("the new one", lambda: proxy.roles()["public0"]), signal.SIGKILL)
                assert proxy.get("main", path)[0] == 200  # and in the worker's channel
        after = proxy.roles()
        assert all(after[name] == before[name] for name in ("worker0", "worker1", "logger0")), (before, after)
        assert after["public0"] != before["public0"] and after["admin0"] != before["admin0"]
        tunnel.sendall(b"ping")
        assert peer.recv(4) == b"ping"
        text = proxy.metrics()
        assert value_of(text, 'sallyport_role_restarts_total{role="public"}') == 2
        assert value_of(text, 'sallyport_role_restarts_total{role="admin"}') == 1
        # A new worker has a channel of its own.
        for number in (0, 1):
            os.kill(before[f"worker{number}"], signal.SIGKILL)
        wait_for("new workers", lambda: all(one["ready"] for one in proxy.status()["roles"]))
        for _ in range(8):
            assert proxy.get("main", "/proxy.pac")[0] == 200
        tunnel.close()
        peer.close()
    origin.close()


def descriptors(proxy):
    return {name: len(os.listdir(f"/proc/{pid}/fd")) for name, pid in proxy.roles().items()}


def ask_for_pages(proxy, count):
    socks = [socket.create_connection(("127.0.0.1", proxy.port), roles.PATIENCE_S) for _ in range(count)]
    for sock in socks:
        sock.sendall(b"GET /proxy.pac HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return socks


def answers_of(socks):
    """How many got which status; 0: none."""
    counts = {}
    for sock in socks:
        data = b""
        with sock:
            while got := sock.recv(65536):
                data += got
        status = int(data.split()[1]) if data else 0
        counts[status] = counts.get(status, 0) + 1
    return counts


def test_public_hangs():
    """SIGSTOP of public: workers go on, who waits is told in 10 s (timeouts.response is 120 s), who cannot be handed over at
    once; no descriptor is left. Then kill -9 with 50 requests under way: the next one answers them."""
    with Pages(CONFIG + "limits: {{sessions_per_client: 5000}}\n") as proxy:
        assert proxy.get("main", "/proxy.pac")[0] == 200
        before, public = descriptors(proxy), proxy.roles()["public0"]
        os.kill(public, signal.SIGSTOP)
        socks = ask_for_pages(proxy, 1200)  # more than the channels hold
        assert proxy.get("main", "http://denied.test/")[0] == 403 and proxy.get("main", "/")[0] == 200
        counts = answers_of(socks)
        assert set(counts) == {503, 504} and sum(counts.values()) == 1200, counts
        wait_for("no descriptor left", lambda: descriptors(proxy) == before)
        os.kill(public, signal.SIGCONT)
        # Those that wait are in front of whoever asks now.
        wait_for("pages", lambda: proxy.get("main", "/proxy.pac")[0] == 200)
        wait_for("no descriptor left", lambda: descriptors(proxy) == before)
        os.kill(public, signal.SIGSTOP)
        socks = ask_for_pages(proxy, 50)
        assert proxy.get("main", "/")[0] == 200
        os.kill(public, signal.SIGKILL)
        counts = answers_of(socks)
        assert set(counts) <= {200, 502} and counts.get(200, 0) > 0 and sum(counts.values()) == 50, counts
        assert proxy.get("main", "/proxy.pac")[0] == 200 and proxy.roles()["public0"] != public
        wait_for("no descriptor left", lambda: descriptors(proxy) == before)
        assert all(proxy.roles()[name] for name in ("worker0", "worker1")) and proxy.events().count("role_died") == 1


def test_rights_of_both():
    """As test_rights_in_force of roles.py; and no descriptor that leads out."""
    with Pages() as proxy:
        for name in ("public0", "admin0"):
            pid = proxy.roles()[name]
            status = roles.proc_status(pid)
            assert status["Seccomp"].strip() == "2" and status["NoNewPrivs"].strip() == "1", (name, status["Seccomp"])
            assert all(int(status[kind], 16) == 0 for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")), name
            if os.geteuid() == 0:
                assert set(status["Uid"].split()) != {"0"}, name
                names = [os.readlink(f"/proc/{pid}/fd/{one}") for one in os.listdir(f"/proc/{pid}/fd")]
                assert not [one for one in names if one.startswith("/") and one != "/dev/null"
                            and not one.startswith(("/memfd:", "/dev/pts"))], (name, names)


def test_crowd():
    """One address gets 64 connections at most (16 of admin), others are still served; noise is refused."""
    with Pages() as proxy:
        for name, path, limit in (("public", "/proxy.pac", 64), ("admin", "/healthz", 16)):
            host, _, port = proxy.addresses[name].rpartition(":")
            socks = [socket.create_connection((host, int(port)), roles.PATIENCE_S, ("127.0.0.7", 0)) for _ in range(limit + 16)]
            assert proxy.get(name, path, "127.0.0.8")[0] == 200
            ended = 0
            for sock in socks:
                sock.settimeout(0.05)
                try:
                    ended += sock.recv(1) == b""
                except socket.timeout:
                    pass
                except ConnectionError:
                    ended += 1
            assert ended == 16, (name, ended)
            for sock in socks:
                sock.close()
        host, _, port = proxy.addresses["public"].rpartition(":")
        for noise in (b"\x16\x03\x01\x00\xa5\x01\x00", b"GET\r\n\r\n", b"GET /proxy.pac HTTP/9.9\r\n\r\n", b"\x00" * 5000,
                      b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\n\r\n"):
            with socket.create_connection((host, int(port)), roles.PATIENCE_S) as sock:
                try:
                    sock.sendall(noise)
                    sock.shutdown(socket.SHUT_WR)
                    answer = sock.recv(65536)
                except OSError:
                    answer = b""
                assert not answer.startswith(b"HTTP/1.1 200"), (noise[:20], answer[:80])
        for path in ("/proxy%2epac", "//proxy.pac", "/./proxy.pac", "/proxy.pac/"):
            assert proxy.get("public", path)[0] == 404, path
        assert proxy.get("public", "/proxy.pac")[0] == 200
        assert "role_died" not in proxy.events()


if __name__ == "__main__":
    roles.run_tests("pages", dict(globals()), __doc__, ("node", "duk", "promtool"))
