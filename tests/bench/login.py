# SPDX-License-Identifier: Apache-2.0
"""The rows on authentication: what a CONNECT costs with each scheme, and what a slow authority does to others.

Authorities are real (a KDC of MIT, slapd behind a relay that holds each of its answers for 50 ms) and run on the load's core.
"""
import asyncio
import contextlib
import hashlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time

import servers
from servers import Trouble

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../rigs"))

REALM, PASSWORD = "bench", "pw"
DELAY_S = 0.05
SLOW_AT_ONCE = 8
TARGET_MS = 1.0
# scheme: what bench_login does; work: how many; target: times the CPU of a CONNECT without
ROWS = [
    ("none", "without", 20000, None),
    ("basic", "Basic, verified lately", 20000, 1.1),
    ("digest", "Digest SHA-256, user verified lately", 20000, 1.1),
    ("ntlm", "NTLM, two legs, user file", 6000, 2.5),
    ("kerberos", "Negotiate, a new Kerberos token each", 4000, None),
    ("basic-first", "Basic, first use of a user (yescrypt)", 150, None),
    ("digest-first", "Digest SHA-256, first use of a user", 6000, None),
]


class Asking(servers.Sallyport):
    """Everybody is asked who it is."""

    CONFIGURATION = servers.Sallyport.CONFIGURATION.replace("authentication: {schemes: []}", """authentication:
  realm: bench
  schemes: [negotiate, digest, ntlm, basic]
  users: users
  failures: {{per_user: 0, per_client: 0}}
  negotiate: {{keytab: "{keytab}", ntlm: false}}
  basic: {{backends: [{backends}]}}
  ldap: {{{ldap}}}""")
    POLICY = servers.Sallyport.POLICY.replace("auth: exempt", "auth: required")

    def __init__(self, binary, core, keytab, env, ldap=None):
        super().__init__(binary, core)
        self.text = self.CONFIGURATION.replace("{{", "{").replace("}}", "}").replace("{keytab}", str(keytab)).replace(
            "{backends}", "ldap" if ldap else "users").replace("{ldap}", ldap or "")
        self.env = env

    def start(self, folder, origin):
        path = self.write(folder, "sallyport.yaml", self.text)
        self.write(folder, "policy.yaml", self.POLICY)
        os.makedirs(os.path.join(folder, "log"))
        os.chmod(os.path.join(folder, "log"), 0o777)
        self.write_users(folder, path)
        self.program = servers.Program([self.binary, "run", "-c", path], folder, self.core, env=self.env)
        self.listens_on(servers.port_in(self.program.ready_line()))

    def write_users(self, folder, path):
        """alice by the command; u0, u1, .. with the same password, for first uses."""
        subprocess.run([self.binary, "user", "add", "-c", path, "alice"], input=PASSWORD + "\n", text=True, check=True,
                       stdout=subprocess.DEVNULL)
        users = os.path.join(folder, "users")
        line = servers.read_file(users).strip()
        crypt = "".join(field + ":" for field in line.split(":") if field.startswith("crypt="))
        with open(users, "a", encoding="ascii") as file:
            for number in range(8000):
                ha1 = hashlib.sha256(("u%d:%s:%s" % (number, REALM, PASSWORD)).encode()).hexdigest()
                file.write("u%d:%ssha256=%s:realm=%s\n" % (number, crypt, ha1, REALM))


class SlowRelay(threading.Thread):
    """TCP to `port`, whose answers come later."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.target, self.port, self.ready, self.loop = port, None, threading.Event(), asyncio.new_event_loop()

    async def carry(self, reader, writer, delay_s):
        async def send_later(data):
            await asyncio.sleep(delay_s)
            writer.write(data)
        while data := await reader.read(65536):
            if delay_s:
                asyncio.ensure_future(send_later(data))
            else:
                writer.write(data)
        writer.close()

    async def serve(self, reader, writer):
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(self.carry(reader, to_writer, 0), self.carry(to_reader, writer, DELAY_S), return_exceptions=True)

    async def begin(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.begin())
        self.loop.run_forever()

    def __enter__(self):
        self.start()
        self.ready.wait()
        return self

    def __exit__(self, *_):
        async def end():
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()
            self.loop.call_soon(self.loop.stop)
        asyncio.run_coroutine_threadsafe(end(), self.loop)
        self.join()


def command(bench, server, scheme, count, concurrency, user="alice"):
    return [bench.tool("bench_login"), scheme, "--proxy", server.addresses["echo"], "--port", str(bench.origin["echo"]),
            "--count", str(count), "--concurrency", str(concurrency), "--user", user, "--password", PASSWORD]


def come_first(pid=0):
    """Nothing else takes the load's core from this process, where that is allowed."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(10))


def load(bench, server, scheme, count, concurrency, env, first=False):
    def prepare():
        servers.pinned(bench.load_core)()
        if first:
            come_first()
    done = subprocess.run(command(bench, server, scheme, count, concurrency), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=300, env=env, preexec_fn=prepare, check=False)
    if done.returncode:
        raise Trouble("%s: %s%s%s" % (scheme, done.stdout.strip(), done.stderr, server.program.last_words()))
    return json.loads(done.stdout)


def count_of(bench, count):
    return max(64, count // 5) if bench.options.quick else count


def measure_cost(bench, plain, asking, rig, say):
    """CPU in us per CONNECT and scheme, one value per round; all take turns."""
    found = {scheme: [] for scheme, *_ in ROWS}
    env = rig.environment()
    for number in range(bench.options.rounds + 1):
        for scheme, _, count, _ in ROWS[::-1 if number % 2 else 1]:
            server = plain if scheme == "none" else asking
            first = scheme.endswith("-first")
            if number == 0 and first:
                continue  # nothing to warm
            if first:  # nobody is known
                server.stop()
            if server.program is None:
                server.start(bench.new_folder("login"), bench.origin)
                server.pin()
            if not first:
                load(bench, server, scheme, 500, 16, env)
            time.sleep(0.3)
            before = server.cpu_seconds()
            result = load(bench, server, scheme, count_of(bench, count), 16, env)
            time.sleep(0.3)
            value = (server.cpu_seconds() - before) / result["done"] * 1e6
            if number:
                found[scheme].append(value)
                say("  %-13s round %d %9.1f us   (p50 %d us, p99 %d us)" % (scheme, number, value, result["p50_us"], result["p99_us"]))
    return found


def measure_slow(bench, rig, say):
    """p99 of clients that are known, in ms: alone, and while others ask the slow authority all the time. One pair per round."""
    import slapd  # pylint: disable=import-outside-toplevel
    come_first(bench.origin_program.process.pid)  # with the measured clients: the authority, its clients and the relay share their core
    with slapd.Slapd() as directory, SlowRelay(directory.port) as relay:
        ldap = 'servers: ["ldap://127.0.0.1:%d"], template: "uid={user},ou=people,%s", base: "%s"' % (relay.port, slapd.BASE, slapd.BASE)
        server = Asking(os.path.abspath(bench.options.sallyport), bench.server_core, rig.keytab(), rig.environment(), ldap)
        try:
            server.start(bench.new_folder("slow"), bench.origin)
            server.pin()
            env = rig.environment()
            load(bench, server, "digest", 1000, 2, env)
            return [measure_pair(bench, server, env, number, say) for number in range(bench.options.rounds)]
        finally:
            server.stop()


def measure_pair(bench, server, env, number, say):
    count = count_of(bench, 10000)
    alone = load(bench, server, "digest", count, 2, env, True)
    with subprocess.Popen(command(bench, server, "basic-wrong", 1000000, SLOW_AT_ONCE, "bob"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          preexec_fn=servers.pinned(bench.load_core)) as others:
        time.sleep(1)
        beside = load(bench, server, "digest", count, 2, env, True)
        if others.poll() is not None:
            raise Trouble("the slow authority's clients have ended: %s" % others.communicate()[0].decode())
        others.kill()
    say("  slow          round %d   p99 %.2f ms alone, %.2f ms beside" % (number + 1, alone["p99_us"] / 1000, beside["p99_us"] / 1000))
    return alone["p99_us"] / 1000, beside["p99_us"] / 1000


def measure(bench, say):
    import rigs  # pylint: disable=import-outside-toplevel
    binary = os.path.abspath(bench.options.sallyport)
    os.sched_setaffinity(0, {bench.load_core})  # the authorities stay there, too
    with rigs.Kdc() as rig:
        rig.kinit("alice", rig.passwords["alice"])
        plain, asking = servers.Sallyport(binary, bench.server_core), Asking(binary, bench.server_core, rig.keytab(), rig.environment())
        try:
            cost = measure_cost(bench, plain, asking, rig, say)
        finally:
            plain.stop()
            asking.stop()
        return {"cost": cost, "slow": measure_slow(bench, rig, say)}


def text(found):
    cost, all_reached = found["cost"], True
    base = cost["none"]
    lines = ["| a CONNECT, 64-byte echo, close | CPU | times one without (min-max) | to reach | verdict |", "|---|---|---|---|---|"]
    for scheme, title, _, target in ROWS:
        ratios = [value / other for value, other in zip(cost[scheme], base)]
        middle = statistics.median(ratios)
        reached = target is None or middle <= target
        all_reached = all_reached and reached
        lines.append("| %s | %.1f us | %.2f (%.2f-%.2f) | %s | %s |" % (
            title, statistics.median(cost[scheme]), middle, min(ratios), max(ratios), "<= %g" % target if target else "",
            "" if target is None else "reached" if reached else "**missed**"))
    alone, beside = (statistics.median(pair[i] for pair in found["slow"]) for i in (0, 1))
    more = statistics.median(pair[1] - pair[0] for pair in found["slow"])
    all_reached = all_reached and more < TARGET_MS
    lines.append("")
    lines.append("A directory that holds each answer for %d ms, asked by %d clients all the time with wrong passwords: the p99 of a CONNECT of others "
                 "(Digest, 2 at once) is %.2f ms, without them %.2f ms; the difference, %.2f ms, is to be below %g ms: %s." % (
                     DELAY_S * 1000, SLOW_AT_ONCE, beside, alone, more, TARGET_MS, "reached" if more < TARGET_MS else "**missed**"))
    return "\n".join(lines) + "\n", all_reached
