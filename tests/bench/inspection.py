# SPDX-License-Identifier: Apache-2.0
"""The rows on inspection: what it costs to open TLS, and not to open it, beside the shortest relay that does and beside Squid.

One host, whose certificates (its root, the CA of the inspection, the floor's ready-made leaf) are made for the run.
"""
import contextlib
import os
import pwd
import select
import ssl
import statistics
import subprocess
import time

import servers
from servers import Trouble

HOST, BYPASSED, ADDRESS = "origin.bench.test", "bypassed.bench.test", "127.0.1.1"
GIB = 1 << 30
SETTLE_SECONDS = 0.5
IDLE_SECONDS = 3.0  # until buffers of what is idle have been given back
CERTGEN = "/usr/lib/squid/security_file_certgen"


class Row:
    """`target`: (what, limit): "both floors", "floor", "plain" (nothing is opened), or "value" in the unit."""

    def __init__(self, name, title, mode, service, unit, target, **amount):
        self.name, self.title, self.mode, self.service = name, title, mode, service
        self.unit, self.target, self.amount = unit, target, amount

    def per(self, cpu, load):
        return cpu / load["bytes"] * GIB if self.unit == "s" else cpu / load["done"] * 1e6


CONNECT = Row("connect", "CONNECT, 64-byte echo, close: CPU", "connect", "echo", "us", None, count=20000, concurrency=16)
ROWS = [
    Row("inspect-full", "opened: CONNECT, full handshakes, GET of 1 kB, close: CPU", "full", "tls", "us", ("both floors", 1.10),
        count=2500, concurrency=16),
    Row("inspect-resumed", "opened: the same, resumed on both legs: CPU", "resumed", "tickets", "us", ("both floors", 1.10),
        count=6000, concurrency=16),
    Row("inspect-bulk", "opened: 4 downloads: CPU per GiB", "bulk", "tls", "s", ("floor", 1.15), count=4, bytes=GIB // 4),
    Row("inspect-idle", "opened, idle after one GET: memory in user space", "idle", "tls", "KiB", ("value", 40), count=2000,
        concurrency=16),
    Row("bypass-sni", "not opened: CONNECT, a hello there and back, close: CPU", "connect", "echo", "us", ("plain", 1.10),
        count=8000, concurrency=16),
]
NAMES = [row.name for row in ROWS]


# ---- certificates -------------------------------------------------------------------------------


def openssl(*words):
    done = subprocess.run(["openssl", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Trouble("openssl %s: %s" % (words[0], done.stdout.strip()))


def make_certificate(folder, name, subject, extensions, issuer=None):
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256", "-days", "30",
             "-subj", "/CN=" + subject, "-keyout", "%s/%s.key" % (folder, name), "-out", "%s/%s.pem" % (folder, name)]
    if issuer:
        words += ["-CA", "%s/%s.pem" % (folder, issuer), "-CAkey", "%s/%s.key" % (folder, issuer)]
    for extension in extensions:
        words += ["-addext", extension]
    openssl(*words)


def make_certificates(folder):
    issuing = ["keyUsage=critical,keyCertSign,cRLSign"]
    serving = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", "extendedKeyUsage=serverAuth",
               "subjectAltName=DNS:%s,DNS:%s" % (HOST, BYPASSED)]
    make_certificate(folder, "root", "Bench root", issuing)
    make_certificate(folder, "origin", HOST, serving, "root")
    make_certificate(folder, "ca", "Bench inspection",
                     ["basicConstraints=critical,CA:TRUE,pathlen:0", "extendedKeyUsage=serverAuth"] + issuing)
    make_certificate(folder, "leaf", HOST, serving, "ca")
    with open(os.path.join(folder, "hosts"), "w", encoding="ascii") as file:
        file.write("%s %s %s\n" % (ADDRESS, HOST, BYPASSED))
    with open(os.path.join(folder, "hello"), "wb") as file:
        file.write(hello())


def hello():
    """The first bytes of a client of the bypassed host."""
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(received, sent, server_hostname=BYPASSED)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


# ---- the servers --------------------------------------------------------------------------------


class Floor(servers.Server):
    """Opens everything, with a leaf made before."""

    name = "floor"

    def __init__(self, binary, core, certificates):
        super().__init__(binary, core)
        self.certificates = certificates

    def start(self, folder, origin):
        self.program = servers.Program([self.binary, self.certificates], folder, self.core)
        self.listens_on(servers.port_in(self.program.ready_line()))


class ConnectFloor(servers.Floor):
    name = "CONNECT floor"


class Sallyport(servers.Sallyport):
    """Opens everything but one host."""

    CONFIGURATION = servers.Sallyport.CONFIGURATION + """\
dns:
  hosts: {%s: %s, %s: %s}
inspection:
  ca: {certificate: "CERTIFICATES/ca.pem", key: "CERTIFICATES/ca.key"}
  trust: ["CERTIFICATES/root.pem"]
""" % (HOST, ADDRESS, BYPASSED, ADDRESS)
    POLICY = """\
rules:
  - {name: not opened, when: {to: %s}, then: {tls: bypass}}
defaults: {access: allow, tls: inspect, auth: exempt, class: normal, ports: [1-65535]}
""" % BYPASSED

    def __init__(self, binary, core, certificates):
        super().__init__(binary, core)
        self.CONFIGURATION = self.CONFIGURATION.replace("CERTIFICATES", certificates)


class Plain(Sallyport):
    """Opens nothing, so that hellos are bytes like others."""

    name = "plain"
    POLICY = servers.Sallyport.POLICY


class Squid(servers.Squid):
    """Peeks at the hello, then opens everything but one host."""

    CONFIGURATION = servers.Squid.CONFIGURATION.replace("http_port 127.0.0.1:{port}", """\
http_port 127.0.0.1:{port} ssl-bump generate-host-certificates=on tls-cert=CERTIFICATES/ca.pem tls-key=CERTIFICATES/ca.key
sslcrtd_program %s -s {folder}/leaves -M 4MB
sslcrtd_children 1 startup=1
tls_outgoing_options default-ca=off cafile=CERTIFICATES/root.pem
hosts_file CERTIFICATES/hosts
acl first at_step SslBump1
acl bypassed ssl::server_name %s
ssl_bump peek first
ssl_bump splice bypassed
ssl_bump bump all""" % (CERTGEN, BYPASSED))

    def __init__(self, binary, core, certificates):
        super().__init__(binary, core)
        self.CONFIGURATION = self.CONFIGURATION.replace("CERTIFICATES", certificates)

    def start(self, folder, origin):
        leaves = os.path.join(folder, "leaves")
        subprocess.run([CERTGEN, "-c", "-s", leaves, "-M", "4MB"], stdout=subprocess.DEVNULL, check=True)
        if os.geteuid() == 0:  # it becomes another user
            user = pwd.getpwnam("proxy")
            for path in [leaves] + [os.path.join(leaves, name) for name in os.listdir(leaves)]:
                os.chown(path, user.pw_uid, user.pw_gid)
        super().start(folder, origin)


# ---- one measurement ----------------------------------------------------------------------------


class Load:
    """A load that has made what it needs, and goes on when it is told to."""

    def __init__(self, bench, row, server, certificates, origin, amount):
        self.bench, self.server = bench, server
        command = [bench.tool("bench_load_tls"), row.mode, "--folder", certificates, "--proxy", server.addresses["echo"],
                   "--port", str(origin[row.service])]
        for name, value in amount.items():
            command += ["--" + name, str(value)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=servers.pinned(bench.load_core))

    def __enter__(self):
        if not select.select([self.process.stdout], [], [], 120)[0] or self.process.stdout.readline() != "ready\n":
            self.process.kill()
            raise Trouble("%s: the load does not get ready.%s" % (self.server.name, self.server.program.last_words()))
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def finish(self):
        out, errors = self.process.communicate("\n", timeout=300)
        return self.bench.load_result(self.server, self.process.returncode, out, errors)


class Bed:
    """Certificates, the origin, and how a row is measured on a server."""

    def __init__(self, bench):
        self.bench = bench
        self.folder = bench.new_folder("certificates")
        make_certificates(self.folder)
        self.program = servers.Program([bench.tool("bench_origin_tls"), self.folder], bench.new_folder("origin-tls"), bench.load_core)
        words = self.program.ready_line().split()[1:]
        self.origin = {name: int(port) for name, port in zip(words[::2], words[1::2])}

    def amount_of(self, row, part=1.0):
        amount = dict(row.amount)
        key = "bytes" if "bytes" in amount else "count"
        amount[key] = max(64, int(amount[key] * part * (0.2 if self.bench.options.quick else 1.0)))
        return amount

    def load(self, row, server, part=1.0):
        return Load(self.bench, row, server, self.folder, self.origin, self.amount_of(row, part))

    def connect(self, row, server, part=1.0):
        """A row of bench_load; of the hello, the servers with names are asked for the bypassed host."""
        command = [self.bench.tool("bench_load"), "connect", "--proxy", server.addresses["echo"], "--port",
                   str(self.bench.origin["echo"])]
        if row is not CONNECT:
            command += ["--say", os.path.join(self.folder, "hello")]
            command += [] if isinstance(server, ConnectFloor) else ["--host", BYPASSED]
        for name, value in self.amount_of(row, part).items():
            command += ["--" + name, str(value)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300,
                              preexec_fn=servers.pinned(self.bench.load_core), check=False)
        return self.bench.load_result(server, done.returncode, done.stdout, done.stderr)

    def cpu_of(self, row, server):
        if row.mode == "connect":
            time.sleep(SETTLE_SECONDS)
            before = server.cpu_seconds()
            found = self.connect(row, server)
            time.sleep(SETTLE_SECONDS)
            return row.per(server.cpu_seconds() - before, found), found
        with self.load(row, server) as load:
            time.sleep(SETTLE_SECONDS)
            before = server.cpu_seconds()
            found = load.finish()
            time.sleep(SETTLE_SECONDS)
            return row.per(server.cpu_seconds() - before, found), found

    def memory_of(self, row, server):
        """Growth per session; the server must be fresh, and has opened some before."""
        time.sleep(IDLE_SECONDS)
        before = server.memory_bytes()
        with self.load(row, server) as load:
            time.sleep(IDLE_SECONDS)
            after = server.memory_bytes()
            found = load.finish()
        return (after - before) / found["done"] / 1024, found

    def warm(self, row, server):
        if row.mode == "connect":
            self.connect(row, server, 0.2)
            return
        with self.load(row, server, 0.05) as load:
            load.finish()


def check_handshakes(row, server, found):
    """The origin must have seen what the row says; peers may do better or worse, which the table tells."""
    whole = {"full": found.get("origin_full"), "resumed": min(found.get("resumed", 0), found.get("origin_resumed", 0))}.get(row.mode)
    if whole is None or isinstance(server, Squid):
        return
    if whole < found["done"] * 0.99:
        raise Trouble("%s: only %d of %d handshakes were %s: %s" % (server.name, whole, found["done"], row.mode, found))


# ---- rows and rounds ----------------------------------------------------------------------------


def choose_servers(bench, bed, row):
    core = bench.server_core
    connect_floor, floor = ConnectFloor(bench.tool("bench_floor"), core), Floor(bench.tool("bench_floor_tls"), core, bed.folder)
    found = {"bypass-sni": [connect_floor], "inspect-full": [connect_floor, floor],
             "inspect-resumed": [connect_floor, floor]}.get(row.name, [floor])
    if not bench.options.without_sallyport:
        binary = os.path.abspath(bench.options.sallyport)
        found.append(Sallyport(binary, core, bed.folder))
        if row.target[0] == "plain":
            found.append(Plain(binary, core, bed.folder))
    squid = find_squid(bench)
    return found + ([Squid(squid, core, bed.folder)] if squid else [])


def find_squid(bench):
    """One that can bump, if it is asked for."""
    return servers.find_peer("squid") if "squid" in bench.options.peers and os.access(CERTGEN, os.X_OK) else None


def measured_servers(bench):
    """Whose versions the results name."""
    squid = find_squid(bench)
    ours = [] if bench.options.without_sallyport else [servers.Sallyport(os.path.abspath(bench.options.sallyport), bench.server_core)]
    return ours + ([servers.Squid(squid, bench.server_core)] if squid else [])


def measure_once(bench, bed, row, server):
    if row.mode == "idle":
        server.stop()
    if isinstance(server, ConnectFloor) and row.mode != "connect":
        row = CONNECT  # half of a yardstick
    if server.program is None:
        server.start(bench.new_folder(server.name.replace(" ", "-")), bench.origin)
        server.pin()
        bed.warm(row, server)
    value, found = (bed.memory_of if row.mode == "idle" else bed.cpu_of)(row, server)
    check_handshakes(row, server, found)
    return value, found


def measure_row(bench, bed, row, say):
    """{server: its values, one a round}; who fails is left out with a word, but not a floor."""
    everybody = choose_servers(bench, bed, row)
    values, loads = {server.name: [] for server in everybody}, {}
    rounds = min(bench.options.rounds, 3) if row.mode == "idle" else bench.options.rounds
    try:
        for number in range(rounds):
            for server in list(everybody)[:: -1 if number % 2 else 1]:
                try:
                    value, found = measure_once(bench, bed, row, server)
                except (Trouble, subprocess.TimeoutExpired) as trouble:
                    if "floor" in server.name:
                        raise
                    say("  %s is left out here: %s" % (server.name, trouble))
                    server.stop()
                    everybody.remove(server)
                    continue
                values[server.name].append(value)
                loads[server.name] = found
                say("  %-15s round %d  %-13s %9.3f %s   (%.2f s, p50 %d us, p99 %d us)" % (
                    row.name, number + 1, server.name, value, row.unit, found["seconds"], found["p50_us"], found["p99_us"]))
    finally:
        for server in everybody:
            server.stop()
    return {"values": {name: found for name, found in values.items() if len(found) == rounds}, "loads": loads, "tried": list(values)}


def measure(bench, names, say):
    bed = Bed(bench)
    found = {}
    if "squid" in bench.options.peers and not find_squid(bench):
        say("Squid is left out: there is no %s (apt-get install squid-openssl)" % CERTGEN)
    try:
        for row in ROWS:
            if row.name in names:
                say(row.title)
                found[row.name] = measure_row(bench, bed, row, say)
    finally:
        bed.program.stop()
    return found


# ---- the table ----------------------------------------------------------------------------------


def figure(values, unit):
    if not values:
        return "-"
    middle = statistics.median(values)
    return ("%.0f" if middle >= 100 else "%.1f" if middle >= 10 else "%.2f" if middle >= 1 else "%.3f") % middle + " " + unit


def yardstick(row, values):
    """What ours is divided by, one a round; None: it is a value."""
    if row.target[0] == "both floors":
        return [a + b for a, b in zip(values["floor"], values["CONNECT floor"])]
    return values.get({"floor": "floor", "plain": "plain"}.get(row.target[0]))


def shares(row, load):
    """What a peer did instead of the row's handshakes, where it did."""
    found = {"full": ("full with the origin", "origin_full"), "resumed": ("resumed with the origin", "origin_resumed")}.get(row.mode)
    if not load or found is None or load[found[1]] == load["done"]:
        return ""
    return "; %s: %.0f %%" % (found[0], load[found[1]] / load["done"] * 100) + (
        ", with the client: %.0f %%" % (load["resumed"] / load["done"] * 100) if row.mode == "resumed" else "")


def text(found):
    lines = ["| work | CONNECT floor | floor that opens TLS | sallyport | times the yardstick (min-max) | to reach | verdict | squid |",
             "|---|---|---|---|---|---|---|---|"]
    all_reached = True
    for row in (row for row in ROWS if row.name in found):
        values, what, limit = found[row.name]["values"], *row.target
        ours, other = values.get("sallyport"), yardstick(row, values)
        target = "<= %g %s" % (limit, row.unit) if what == "value" else "<= %.2f x %s" % (
            limit, {"both floors": "both floors together", "floor": "the floor", "plain": "nothing opened (%s)" % figure(other, row.unit)}[what])
        ratio, verdict = "-", "not measured"
        if not ours and "sallyport" in found[row.name]["tried"]:
            verdict, all_reached = "**failed**", False
        elif ours and (other or what == "value"):
            judged = ours if what == "value" else [a / b for a, b in zip(ours, other)]
            reached = statistics.median(judged) <= limit
            all_reached = all_reached and reached
            ratio = "-" if what == "value" else "%.2f (%.2f-%.2f)" % (statistics.median(judged), min(judged), max(judged))
            verdict = ("reached" if reached else "**missed**") + (
                "" if all((value <= limit) == reached for value in judged) else ", rounds disagree")
        squid = figure(values.get("squid"), row.unit)
        if values.get("squid") and ours:
            squid += " (%.1f x)" % (statistics.median(values["squid"]) / statistics.median(ours))
        lines.append("| %s |" % " | ".join([
            row.title, figure(values.get("CONNECT floor"), row.unit), figure(values.get("floor"), row.unit), figure(ours, row.unit), ratio,
            target, verdict, squid + shares(row, found[row.name]["loads"].get("squid"))]))
    return "\n".join(lines) + "\n", all_reached
