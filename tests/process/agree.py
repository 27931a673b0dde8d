#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""explain and the running proxy agree: random policies, thousands of sessions through the real binary, and for each the
status, Proxy-Status, the page and every question in the access log against `explain --stdin --json` on the same facts."""
import argparse
import collections
import dataclasses
import datetime
import ipaddress
import json
import multiprocessing
import pathlib
import random
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE_S = 60.0
ALWAYS_LOGGED = ("access", "auth", "tls", "class", "route")
ORIGIN_ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "::1")
ORIGIN_PORTS = 4
CLIENTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.9", "127.0.1.4")
LISTENERS = ("main", "office", "six")
NAMES = ("corp.test", "www.corp.test", "a.b.corp.test", "shop.test", "www.shop.test", "cdn1.media.test", "cdn22.media.test",
         "x.cdn7.media.test", "xmcs2.call.test", "mcs.call.test", "a.mcs.call.test", "xn--bcher-kva.test", "deep.er.and.deep.er.test",
         "intranet", "login.corp.test", "evil.test", "notcorp.test", "ads.shop.test", "a" * 40 + "b.corp.test")  # the last makes an expression give up
# What nobody may dial: the guard refuses it.
FORBIDDEN = ("127.0.0.77", "10.9.8.7", "169.254.169.254", "192.168.3.4", "fd00::7", "::ffff:10.9.8.7", "64:ff9b::7f00:1", "0.0.0.0")
PATHS = ("/", "/index.html", "/admin", "/admin/users?id=3", "/a/../admin", "/%61dmin/", "//admin", "/x/./y", "/download?url=http://x/",
         "/API/v1/things", "/a%2fb", "/?admin")


# ---- origins, in a process of their own ----

def serve_origins(sockets):
    """Answer requests that have a head; everything else is a tunnel that its client ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    selector = selectors.DefaultSelector()
    for sock in sockets:
        selector.register(sock, selectors.EVENT_READ, None)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                connection = key.fileobj.accept()[0]
                selector.register(connection, selectors.EVENT_READ, bytearray())
            else:
                serve_bytes(selector, key.fileobj, key.data)


def serve_bytes(selector, connection, head):
    try:
        data = connection.recv(65536)
    except OSError:
        data = b""
    head += data
    try:
        if data and b"\r\n\r\n" in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
                               + (b"" if head.startswith(b"HEAD") else b"ok"))
            data = b""
    except OSError:
        data = b""
    if not data:
        selector.unregister(connection)
        connection.close()


def listen_on_all(port):
    sockets = []
    try:
        for address in ORIGIN_ADDRESSES:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sockets.append(socket.create_server((address, port), family=family, backlog=1000))
            port = port or sockets[0].getsockname()[1]
    except OSError:
        for sock in sockets:
            sock.close()
        return []
    return sockets


class Origins:
    """Listening on the same few ports of all origin addresses; one more port is closed."""

    def __init__(self):
        self.sockets, self.ports = [], []
        while len(self.ports) < ORIGIN_PORTS:
            sockets = listen_on_all(0)
            if sockets:
                self.sockets += sockets
                self.ports.append(sockets[0].getsockname()[1])
        self.closed = free_port()
        self.process = multiprocessing.get_context("fork").Process(target=serve_origins, args=(self.sockets,), daemon=True)
        self.process.start()

    def stop(self):
        self.process.kill()
        self.process.join()
        for sock in self.sockets:
            sock.close()


def free_port(address="127.0.0.1"):
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        return sock.getsockname()[1]


# ---- policies ----

class PolicyMaker:
    """One random policy: lists with all kinds of patterns, rules over all conditions that can be known, and some that cannot."""

    def __init__(self, seed, origins):
        self.random = random.Random(seed)
        self.ports = [*origins.ports, origins.closed]
        self.lists = {}

    def some(self, values, most=3):
        return self.random.sample(list(values), self.random.randint(1, min(most, len(values))))

    def pattern(self, networks=True):
        pick = self.random
        name = pick.choice(NAMES)
        above = name.split(".", 1)[-1]
        kinds = ["exact", "below", "suffix", "glob", "regex", "regex"] + ["network"] * (3 if networks else 0)
        kind = pick.choice(kinds)
        if kind == "exact":
            return name if "." in name else name + "."
        if kind == "below":
            return f"*.{above}" if "." in above else "*.corp.test"
        if kind == "suffix":
            return f".{above}"
        if kind == "glob":
            return pick.choice(["*mcs*.call.test", "cdn*.media.test", "*.*.corp.test", "w*w.shop.test"])
        if kind == "regex":
            return pick.choice([r"/^cdn\d+\.media\.test$/", r"/^(www|login)\.corp\.test$/", r"/^[a-z]+\.(shop|corp)\.test$/",
                                r"/^.*er\.test$/", r"/^x.*$/", r"/^(a+)+\.corp\.test$/"])
        return pick.choice(["127.0.0.2", "127.0.0.0/30", "127.0.0.0/8", "10.0.0.0/8", "[::1]", "[fd00::]/8", "169.254.0.0/16",
                            "192.168.0.0/16", "127.0.0.3"])

    def entry(self):
        pick = self.random
        text = self.pattern()
        if pick.random() < 0.3:
            text += " ports=" + ",".join(str(port) for port in self.some(self.ports, 2))
        if pick.random() < 0.25:
            text += " expires=" + pick.choice(["2020-01-01", "2021-12-31T18:00:00Z", "2099-12-31", "2098-01-01T00:00:00Z"])
        if pick.random() < 0.3:
            text += ' owner=net ticket=T-7 reason="it was asked for" added=2026-01-02'
        return text

    def time(self):
        """Hours that begin and end far from now, for the same answer on both sides."""
        now = datetime.datetime.now(datetime.timezone.utc)
        first = (now.hour + self.random.choice([-8, -6, -3, 2, 5])) % 24
        last = (first + self.random.choice([1, 4, 9])) % 24
        if last in (now.hour, (now.hour + 1) % 24):
            last = (last + 2) % 24
        return f"{self.random.choice(['mon-sun', 'mon-fri', 'sat-sun'])} {first:02}:00-{last:02}:00 UTC"

    def conditions(self, answers):
        pick = self.random
        when = {}
        if pick.random() < 0.75:
            when["to"] = self.some(self.lists, 2) if pick.random() < 0.6 else [self.pattern() for _ in range(pick.randint(1, 3))]
        if pick.random() < 0.3:
            when["from"] = self.some([*CLIENTS, "127.0.0.0/30", "::1", "10.0.0.0/8"])
        if pick.random() < 0.25:
            when["port"] = self.some(self.ports + ["1-1023"])
        if pick.random() < 0.25:
            when["method"] = self.some(["CONNECT", "GET", "POST", "HEAD"])
        if pick.random() < 0.2:
            when["listener"] = self.some(LISTENERS, 2)
        if pick.random() < 0.15:
            when["time"] = self.time()
        if "auth" not in answers and "to" in when and pick.random() < 0.35:
            when["resolved"] = True
        if not {"auth", "route"} & set(answers):
            if pick.random() < 0.15:
                when["url"] = self.some([f"http://{name}:{self.ports[0]}/a" for name in NAMES[:4]]
                                        + ["http://", "/admin/", "/^http://[^/]*corp.test[:/]/", "/\\?/"], 2)
            # Where the name in the ClientHello opens or closes the way, the status to a CONNECT says nothing of it yet.
            if pick.random() < 0.1 and not {"access", "tls", "sni"} & set(answers):
                when["sni"] = [self.pattern(networks=False)]
        if "auth" not in answers and pick.random() < 0.02:
            when[pick.choice(["user", "group"])] = ["jane"]
        # A PAC file knows no more.
        return when if "pac" not in answers else {key: when[key] for key in ("to", "port", "from") if key in when}

    def answers(self, strict):
        pick = self.random
        then = {}
        if pick.random() < 0.75:
            then["access"] = "allow" if pick.random() < (0.8 if strict else 0.55) else "deny"
        if pick.random() < 0.4:
            then["tls"] = "bypass" if pick.random() < 0.9 else "inspect"
        for question, values, chance in (("class", ["media", "normal", "bulk"], 0.3), ("log", ["full", "full", "brief", "none"], 0.12),
                                         ("opaque", ["deny", "tunnel"], 0.1), ("pac", ["proxy", "direct"], 0.1),
                                         ("client-certificate", ["ignore", "deny", "bypass"], 0.1), ("auth", ["exempt"], 0.1), ("sni", ["any", "must-match"], 0.06),
                                         ("route", [{"source": "127.0.0.4"}, "direct"], 0.12)):
            if pick.random() < chance:
                then[question] = pick.choice(values)
        return then or {"access": "allow"}

    def make(self, folder):
        """Write policy.yaml and its lists; the rules, for who wants to change one."""
        pick = self.random
        strict = pick.random() < 0.5
        for number in range(pick.randint(2, 4)):
            self.lists[f"list{number}"] = f"list{number}.list"
        for file in self.lists.values():
            lines = ["# made at random", *(self.entry() for _ in range(pick.randint(2, 12))), ""]
            (folder / file).write_text("\n".join(lines))
        rules = []
        for number in range(pick.randint(5, 16)):
            then = self.answers(strict)
            name = pick.choice(["rule", "say \"no\"", "b\u00fccher; and = more", "it's <b>"]) + f" {number}"
            rules.append({"name": name, "when": self.conditions(then), "then": then})
        # Some rule speaks for many, so that not everything is one default.
        rules.append({"name": "most", "when": {"to": [".corp.test", ".shop.test"]}, "then": {"access": "allow" if strict else "deny"}})
        policy = {"lists": self.lists, "rules": rules,
                  "defaults": {"access": "deny" if strict else "allow", "tls": "inspect" if pick.random() < 0.1 else "bypass",
                               "auth": "exempt", "ports": pick.sample(self.ports, pick.randint(2, len(self.ports))) + [80]
                               if pick.random() < 0.6 else ["1-65535"]}}
        write_policy(folder, policy)
        return policy


def write_policy(folder, policy):
    (folder / "policy.yaml").write_text(json.dumps(policy, indent=1, ensure_ascii=False) + "\n")


# ---- sessions ----

@dataclasses.dataclass
class Session:
    """What a client asks for, and what comes of it."""
    listener: str
    source: str
    method: str
    host: str
    port: int
    path: str = ""
    inner_host: str = ""
    at: str = ""
    client: str = ""
    status: int = 0
    proxy_status: str = ""
    page: str = ""

    def authority(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def request(self):
        target = self.authority() if self.method == "CONNECT" else f"http://{self.authority()}{self.path}"
        body = "x=1" if self.method == "POST" else ""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        return f"{self.method} {target} HTTP/1.1\r\nHost: {self.inner_host or self.authority()}\r\n{length}\r\n{body}".encode()

    def question(self, as_words):
        facts = {"from": self.source, "listener": self.listener, "method": self.method, "at": self.at}
        if self.method == "CONNECT":
            facts["host"] = self.authority()
            facts["sni"] = ""  # what is sent is no ClientHello
        else:
            facts["url"] = f"http://{self.authority()}{self.path}"
        if self.inner_host and self.method != "CONNECT":
            facts["inner-host"] = self.inner_host
        if not as_words:
            return json.dumps(facts)
        return " ".join([facts.pop("host", ""), *(f"--{key} '{value}'" for key, value in facts.items())]).strip()


def make_session(pick, origins, listeners):
    listener = pick.choice(LISTENERS)
    method = pick.choice(["CONNECT", "CONNECT", "CONNECT", "GET", "POST", "HEAD"])
    draw = pick.random()
    if draw < 0.78:
        host = pick.choice(NAMES)
        if pick.random() < 0.1:
            host = host.upper() + ("." if "." in host else "")
    elif draw < 0.92:
        host = pick.choice(ORIGIN_ADDRESSES)
    else:
        host = pick.choice(FORBIDDEN)
    port = pick.choice(origins.ports * 3 + [origins.closed])
    if pick.random() < 0.04:
        host, port = "127.0.0.1", pick.choice([listeners["main"], listeners["office"]])
    session = Session(listener, "::1" if listener == "six" else pick.choice(CLIENTS), method, host, port)
    if method != "CONNECT":
        session.path = pick.choice(PATHS)
        if pick.random() < 0.15:
            session.inner_host = pick.choice(NAMES)
    return session


def read_response(sock, head_only):
    data = b""
    while b"\r\n\r\n" not in data:
        got = sock.recv(65536)
        assert got, f"the proxy closed after {data!r}"
        data += got
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1)[:1] + line.split(": ", 1)[1:] for line in lines[1:])
    status = int(lines[0].split(" ")[1])
    length = 0 if head_only else int(fields.get("content-length", 0))
    while len(body) < length:
        got = sock.recv(65536)
        assert got, f"the proxy closed in the content of {data!r}"
        body += got
    return status, fields, body.decode()


def run_session(session, listeners, seen):
    address = "::1" if session.listener == "six" else "127.0.0.1"
    while True:
        sock = socket.create_connection((address, listeners[session.listener]), PATIENCE_S, (session.source, 0))
        local = sock.getsockname()
        session.client = f"[{local[0]}]:{local[1]}" if ":" in local[0] else f"{local[0]}:{local[1]}"
        if session.client not in seen:
            break
        sock.close()
    seen.add(session.client)
    session.at = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with sock:
        sock.sendall(session.request())
        session.status, fields, session.page = read_response(sock, session.method == "HEAD")
        if session.method == "CONNECT" and session.status == 200:
            sock.sendall(b"SSH-2.0-agree\r\n")
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
    session.proxy_status = fields.get("proxy-status", "")


# ---- what both say ----

def unquote(details):
    return re.sub(r"\\(.)", r"\1", details)


def sf_string(text):
    """As a string of RFC 8941 can hold it: bytes beyond ASCII are question marks."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7f else "?" for byte in text.encode())


def expected_line(session, told):
    """What the access log must say; None: no line."""
    log = (told["decision"]["log"] or {}).get("answer", "full")
    if log == "none":
        return None
    line = {key: told[key] for key in ("error", "why", "reason", "status") if key in told}
    if told["verdict"] != "refused":
        line["status"] = session.status
    if log == "brief":
        return line
    line["decision"] = decision = {}
    for question, answer in told["decision"].items():
        if answer is None or (question not in ALWAYS_LOGGED and answer["rule"] == "defaults"):
            continue
        decision[question] = {key: answer[key] for key in ("answer", "why", "rule", "rule_line") if key in answer}
        if "list" in answer:
            decision[question] |= {key: answer[key] for key in ("list", "file", "line")}
    return line


def expected_status(session, told, origins):
    if told["verdict"] == "refused":
        return told["status"]
    route = (told["decision"]["route"] or {}).get("answer")
    target = ipaddress.ip_address(told["dialled"])
    if route == "source" and target.version == 6:
        return 502  # no address of the family of the source
    return 502 if session.port == origins.closed else 200


def compare_refusal(session, told, wrong):
    """The header and the page say in explain's words what explain says."""
    match = re.fullmatch(r'sallyport; error=[a-z_]+; details="(.*); id ([0-9.-]+)"', session.proxy_status)
    if not match:
        wrong(f"Proxy-Status {session.proxy_status!r}")
        return
    parts = [told["error"] + (": " + told["reason"] if "reason" in told else "")]
    rows = {"Reason": told.get("reason"), "Why": told.get("why"), "Decided by": told.get("decided_by"),
            "Because of": told.get("because_of"), "Id": match[2]}
    if "decided_by" in told:
        parts.append("decided by " + told["decided_by"])
    if "because_of" in told:
        parts.append("because of " + told["because_of"])
    if "why" in told:
        parts.append("why " + told["why"])
    if unquote(match[1]) != sf_string("; ".join(parts)):
        wrong(f"Proxy-Status {unquote(match[1])!r}, explain {sf_string('; '.join(parts))!r}")
    if session.method == "HEAD":
        return
    lines = session.page.splitlines()
    if not lines[0].endswith(f": {told['text']}."):
        wrong(f"page {lines[0]!r}, explain {told['text']!r}")
    page = dict(line.split(": ", 1) for line in lines[1:])
    for row, text in rows.items():
        if page.get(row) != text:
            wrong(f"page {row}: {page.get(row)!r}, explain {text!r}")


def compare_line(session, told, line, wrong):
    expected = expected_line(session, told)
    if (line is None) != (expected is None):
        wrong(f"log {line}, explain {expected}")
    if line is None or expected is None:
        return 0
    for key in ("status", "error", "why", "reason", "decision"):
        # What came to nothing behind the decision (a closed port) is beyond explain.
        if key in ("error", "reason") and told["verdict"] != "refused":
            continue
        logged, said = line.get(key), expected.get(key)
        if key == "decision" and logged and said:
            for question in logged.keys() | said.keys():
                if logged.get(question) != said.get(question):
                    wrong(f"{question}: log {logged.get(question)}, explain {said.get(question)}")
        elif logged != said:
            wrong(f"{key}: log {logged!r}, explain {said!r}")
    return len(expected.get("decision", {}))


def check_rules(told, wrong):
    """What is told of each name's rules leads to that name's answers, and one of these is the answer of all."""
    for name in told["names"]:
        for question, alone in name["alone"].items():
            answers = [(rule["rule"], rule["answers"][question]) for rule in name["rules"]
                       if question in rule.get("answers", {})]
            decides = [(rule, one["answer"]) for rule, one in answers if one["state"] == "decides"]
            waits = any(one["state"] == "waits" for _, one in answers)
            want = None if alone is None else (alone["rule"], alone["answer"])
            if alone is None and not waits:
                wrong(f"{name['name']} {question}: open, and no rule waits")
            if alone is not None and decides != ([] if want[0] == "defaults" else [want]):
                wrong(f"{name['name']} {question}: {want}, and the rules say {decides}")
    for question, answer in told["decision"].items():
        parts = [(one["rule"], one["answer"]) for one in (name["alone"].get(question) for name in told["names"]) if one]
        if answer and (answer["rule"], answer["answer"]) not in parts:
            wrong(f"{question}: {answer['answer']} by {answer['rule']}, which no name has: {parts}")


class Run:
    """One policy: its sessions through the proxy, then the same questions to explain."""

    def __init__(self, binary, origins, seed, count):
        self.binary, self.origins, self.seed = binary, origins, seed
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-agree-"))
        self.folder.chmod(0o755)
        self.listeners = {name: free_port("::1" if name == "six" else "127.0.0.1") for name in LISTENERS}
        self.random = random.Random(seed)
        self.hosts = {name: self.random.choice(ORIGIN_ADDRESSES * 12 + FORBIDDEN) for name in NAMES}
        self.policy = PolicyMaker(seed, origins).make(self.folder)
        self.sessions = [make_session(self.random, origins, self.listeners) for _ in range(count)]
        self.write_config()
        self.lines, self.told = {}, []

    def write_config(self):
        listen = [{"name": name, "address": f"{'[::1]' if name == 'six' else '127.0.0.1'}:{port}"}
                  for name, port in self.listeners.items()]
        (self.folder / "sallyport.yaml").write_text(json.dumps({
            "listen": listen, "workers": 2, "policy": "policy.yaml", "control": "run/sallyport.sock",
            "dns": {"hosts": self.hosts}, "authentication": {"schemes": []},
            "destinations": {"permit": ["127.0.0.0/30", "::1/128"]},
            "log": {"access": {"path": "access.log"}, "events": {"path": "events.log"}}}))

    def run_proxy(self):
        command = [self.binary, "run", "-c", str(self.folder / "sallyport.yaml")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout.readline().startswith("ready "), process.stderr.read()
                seen = set()
                for session in self.sessions:
                    run_session(session, self.listeners, seen)
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE_S) == 0, "the proxy did not stop well"
            finally:
                if process.poll() is None:
                    process.kill()
        for text in (self.folder / "access.log").read_text().splitlines():
            line = json.loads(text)
            assert line["client"] not in self.lines, f"two lines of {line['client']}"
            self.lines[line["client"]] = line

    def ask(self):
        questions = "".join(session.question(as_words=number % 2) + "\n" for number, session in enumerate(self.sessions))
        done = subprocess.run([self.binary, "explain", "-c", str(self.folder / "sallyport.yaml"), "--stdin", "--json"],
                              input=questions, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        assert done.returncode == 0, f"explain: {done.returncode} {done.stderr} {done.stdout[-500:]}"
        self.told = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(self.told) == len(self.sessions)

    def compare(self):
        """How many questions were compared, and what differs."""
        questions, differences = 0, []
        for session, told in zip(self.sessions, self.told):
            def wrong(text, session=session):
                differences.append(f"policy {self.seed}: {session.question(as_words=True)}\n    {text}")

            check_rules(told, wrong)
            told["dialled"] = self.hosts.get(told["host"], told["host"])
            if told["verdict"] == "open":
                wrong("explain leaves it open")
                continue
            status = expected_status(session, told, self.origins)
            if session.status != status:
                wrong(f"status {session.status}, explain {told['verdict']} {status}; {session.proxy_status}")
            if told["verdict"] == "refused":
                compare_refusal(session, told, wrong)
            questions += compare_line(session, told, self.lines.pop(session.client, None), wrong)
        differences += [f"policy {self.seed}: a line that nobody asked for: {line}" for line in self.lines.values()]
        return questions, differences

    def change_a_rule(self):
        """Turn the access of the rule that decided most."""
        counts = collections.Counter(told["decision"]["access"]["rule"] for told in self.told if told["decision"]["access"])
        for name, _ in counts.most_common():
            for rule in self.policy["rules"]:
                if rule["name"] == name:
                    rule["then"]["access"] = "deny" if rule["then"]["access"] == "allow" else "allow"
                    write_policy(self.folder, self.policy)
                    return name
        return None

    def remove(self):
        shutil.rmtree(self.folder)


def run_policy(binary, origins, seed, count, report):
    run = Run(binary, origins, seed, count)
    try:
        run.run_proxy()
        lines = dict(run.lines)
        run.ask()
        questions, differences = run.compare()
        for difference in differences[:5]:
            print(difference)
        if len(differences) > 5:
            print(f"    and {len(differences) - 5} more differences")
        report.note(run.told)
        report["questions"] += questions
        changed = None if differences else run.change_a_rule()
        caught = True
        if changed:
            run.lines = lines
            run.ask()
            caught = len(run.compare()[1]) > 0
            report["changed"] += 1
            if not caught:
                print(f"policy {seed}: {changed!r} was turned round for explain alone, and nobody saw it")
        return not differences and caught
    finally:
        run.remove()


class Report(collections.Counter):
    """What was seen, for the last line."""

    def note(self, told):
        for one in told:
            self[one["verdict"]] += 1
            if "why" in one:
                self[f"[{one['why']}]"] += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sallyport", required=True)
    parser.add_argument("--sessions", type=int, default=10000)
    parser.add_argument("--policies", type=int, default=20)
    parser.add_argument("--seed", type=int, default=20261124)
    args = parser.parse_args()
    began = time.monotonic()
    origins, report = Origins(), Report()
    passed = 0
    try:
        for number in range(args.policies):
            passed += run_policy(args.sallyport, origins, args.seed + number, args.sessions // args.policies, report)
    finally:
        origins.stop()
    seen = ", ".join(f"{word} {count}" for word, count in sorted(report.items()) if word not in ("questions", "changed"))
    print(f"{args.sessions // args.policies * args.policies} sessions, {report['questions']} logged questions, "
          f"{report['changed']} changed rules found out, {time.monotonic() - began:.1f} s: {seen}")
    print(f"agree: {passed} passed, {args.policies - passed} failed")
    return 0 if passed == args.policies else 1


if __name__ == "__main__":
    sys.exit(main())
