#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the processes of a Release build can, cannot, and do: sandbox, users, restarts, signals, control socket."""
import argparse
import concurrent.futures
import ctypes
import json
import os
import pathlib
import pwd
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

PATIENCE_S = 20.0
BINARY = ""
CONFIG = """\
listen: [{{name: main, address: "127.0.0.1:{port}"}}]
workers: 2
policy: policy.yaml
control: run/sallyport.sock
destinations: {{permit: [127.0.0.0/8]}}
authentication: {{schemes: []}}
timeouts: {{drain: 5s}}
log: {{access: {{path: access.log}}, events: {{path: events.log}}}}
"""
POLICY = "defaults: {access: allow, tls: bypass, auth: exempt, ports: [1-65535]}\n"


def wait_for(what, check):
    """Until `check` gives something true, which is the result."""
    limit = time.monotonic() + PATIENCE_S
    while time.monotonic() < limit:
        got = check()
        if got:
            return got
        time.sleep(0.02)
    raise AssertionError(f"in vain: {what}")


class Proxy:
    """A running one in a folder of its own."""

    def __init__(self, config=CONFIG, port=0, prefix=(), new_session=False, files=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-roles-"))
        self.folder.chmod(0o755)
        self.config = self.folder / "sallyport.yaml"
        self.config.write_text(config.format(port=port))
        for name, text in {"policy.yaml": POLICY, **(files or {})}.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text)
        self.process = subprocess.Popen([*prefix, BINARY, "run", "-c", str(self.config)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, start_new_session=new_session)
        self.ready = self.process.stdout.readline()
        self.port = int(self.ready.rsplit(":", 1)[1]) if self.ready else 0

    def __enter__(self):
        assert self.ready.startswith("ready "), self.process.stderr.read()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        shutil.rmtree(self.folder)

    def command(self, *words, status=0):
        done = subprocess.run([BINARY, words[0], "-c", str(self.config), *words[1:]], capture_output=True,
                              text=True, check=False, timeout=PATIENCE_S)
        assert done.returncode == status, f"{words}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout

    def status(self):
        return json.loads(self.command("status", "--json"))

    def roles(self):
        return {f"{one['role']}{one['number']}": one["pid"] for one in self.status()["roles"]}

    def events(self):
        return (self.folder / "events.log").read_text()

    def client(self):
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)

    def tunnel(self, port):
        sock = self.client()
        sock.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (port, port))
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1000)
        assert head.startswith(b"HTTP/1.1 200"), head
        return sock


def echo_origin():
    """A listening socket; connections are taken by whoever calls accept()."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.settimeout(PATIENCE_S)
    return sock, sock.getsockname()[1]


def proc_status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_forbidden():
    """Every role is stopped at what it must not do, root or not."""
    for role in ("worker", "logger", "compile", "public", "admin", "signer"):
        names = subprocess.run([BINARY, "--role", role, "--forbidden", "list"], capture_output=True, text=True,
                               check=True).stdout.split()
        assert len(names) > 8, names
        for name in names:
            done = subprocess.run([BINARY, "--role", role, "--forbidden", name], check=False)
            assert done.returncode in (-signal.SIGSYS, 1), f"{role} could {name}: {done.returncode}"


def test_door_is_closed():
    """The hidden door takes nothing from strangers."""
    for words in ([], ["worker"], ["parent", "0"], ["worker", "x"], ["nobody", "0"]):
        done = subprocess.run([BINARY, "--role", *words], stderr=subprocess.DEVNULL, check=False)
        assert done.returncode == 2, words


def test_rights_in_force():
    """User, groups, capabilities, no-new-privs, seccomp of what runs, and none of it dumps core."""
    with Proxy() as proxy:
        for name, pid in proxy.roles().items():
            status = proc_status(pid)
            assert status["Seccomp"].strip() == "2", (name, status["Seccomp"])
            assert status["NoNewPrivs"].strip() == "1", name
            for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                assert int(status[kind], 16) == 0, (name, kind, status[kind])
            if os.geteuid() == 0:
                assert set(status["Uid"].split()) != {"0"}, name
                assert status["Groups"].strip() in ("", str(pwd.getpwuid(int(status["Uid"].split()[0])).pw_gid)), name
            # Its process is not readable by its own user: PR_SET_DUMPABLE.
            assert os.stat(f"/proc/{pid}/mem").st_uid == 0, name


def test_worker_restart():
    """A dead worker takes its own sessions only, its places come back, and it is started again."""
    origin, port = echo_origin()
    with Proxy() as proxy:
        tunnels = [proxy.tunnel(port) for _ in range(8)]
        peers = [origin.accept()[0] for _ in tunnels]
        before = proxy.roles()
        rows = {one["number"]: one["metrics"]["sessions"] for one in proxy.status()["roles"] if one["role"] == "worker"}
        assert sum(rows.values()) == 8, rows
        os.kill(before["worker0"], signal.SIGKILL)
        wait_for("a new worker", lambda: proxy.roles()["worker0"] not in (0, before["worker0"]) or None)
        after = wait_for("places given back", lambda: proxy.status()["metrics"]["sessions"] == rows[1] and proxy.roles())
        assert after["worker1"] == before["worker1"]
        alive = 0
        for tunnel, peer in zip(tunnels, peers):
            try:
                tunnel.sendall(b"ping")
                alive += peer.recv(4) == b"ping"
            except ConnectionError:
                pass
        assert alive == rows[1], (alive, rows)
        assert "role_died" in proxy.events()
        wait_for("both ready", lambda: all(one["ready"] for one in proxy.status()["roles"]))
        proxy.tunnel(port).close()
        for sock in tunnels + peers:
            sock.close()
    origin.close()


def pages_of(pid):
    """Resident bytes of a process, without what it shares."""
    text = pathlib.Path(f"/proc/{pid}/statm").read_text().split()
    return (int(text[1]) - int(text[2])) * os.sysconf("SC_PAGE_SIZE")


def test_receivers_that_never_read():
    """Tunnels whose clients read nothing: no more than limits.buffer is stored for each, however much is sent."""
    origin, port = echo_origin()
    buffer_bytes, count, slack_bytes = 65536, 20, 1 << 20
    with Proxy(CONFIG.replace("workers: 2", "workers: 1\nlimits: {{buffer: 64K}}")) as proxy:
        pid = proxy.roles()["worker0"]
        warm = proxy.tunnel(port)
        warm_peer = origin.accept()[0]
        warm_peer.sendall(bytes(100000))
        before = pages_of(pid)
        tunnels = []
        for _ in range(count):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", proxy.port))
            sock.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: a\r\n\r\n" % port)
            tunnels.append((sock, origin.accept()[0]))
        for _, peer in tunnels:
            peer.setblocking(False)
        sent, quiet = 0, 0
        while quiet < 5 and sent < count * 6000000:  # until nobody takes any more for a while
            moved = 0
            for _, peer in tunnels:
                try:
                    moved += peer.send(bytes(262144))
                except BlockingIOError:
                    pass
            sent += moved
            quiet = 0 if moved else quiet + 1
            time.sleep(0 if moved else 0.05)
        grown = pages_of(pid) - before
        assert grown <= count * buffer_bytes + slack_bytes, (grown, sent)
        for sock in [one for pair in tunnels for one in pair] + [warm, warm_peer]:
            sock.close()
        wait_for("an end of all", lambda: proxy.status()["metrics"]["sessions"] == 0)
    origin.close()


def test_backoff():
    """A role that dies at once again and again is started ever more rarely."""
    with Proxy() as proxy:
        began = time.monotonic()
        for _ in range(4):
            pid = wait_for("a worker", lambda: proxy.roles()["worker0"])
            os.kill(pid, signal.SIGKILL)
            wait_for("its death", lambda old=pid: proxy.roles()["worker0"] != old)
        wait_for("a worker", lambda: proxy.roles()["worker0"])
        assert time.monotonic() - began >= 0.1 + 0.2 + 0.4 + 0.8


def test_logger_restart():
    """Lines written while the logger was dead are not lost."""
    with Proxy() as proxy:
        os.kill(proxy.roles()["logger0"], signal.SIGKILL)
        with proxy.client() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while sock.recv(4096):
                pass
        path = proxy.folder / "access.log"
        wait_for("the line", lambda: path.read_text().count("\n") == 1)


def test_log_overflow_is_told():
    """A logger that does not keep up costs lines, which are counted and told, and no client."""
    with Proxy(CONFIG.replace("workers: 2", "workers: 1")) as proxy:
        logger = proxy.roles()["logger0"]
        os.kill(logger, signal.SIGSTOP)
        try:
            with proxy.client() as sock:
                for _ in range(5000):
                    sock.sendall(b"GET /" + b"x" * 300 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert sock.recv(65536).startswith(b"HTTP/1.1 404")
        finally:
            os.kill(logger, signal.SIGCONT)
        wait_for("the event", lambda: "log_dropped" in proxy.events())
        metrics = proxy.status()["metrics"]
        lines = (proxy.folder / "access.log").read_text().count("\n")
        assert metrics["access_dropped_total"] > 0 and lines + metrics["access_dropped_total"] == 5000, (lines, metrics)


def test_children_end_with_parent():
    """When the parent is killed, nothing is left behind."""
    with Proxy() as proxy:
        pids = proxy.roles().values()
        proxy.process.kill()
        proxy.process.wait()

        def gone(pid):
            try:
                return proc_status(pid)["State"].startswith("Z")
            except OSError:
                return True
        for pid in pids:
            wait_for(f"the end of {pid}", lambda one=pid: gone(one))


def test_spread():
    """Long-lived tunnels spread over the workers."""
    origin, port = echo_origin()
    with Proxy() as proxy:
        socks = []
        for _ in range(60):
            socks.append(proxy.tunnel(port))
            socks.append(origin.accept()[0])
        rows = [one["metrics"]["sessions"] for one in proxy.status()["roles"] if one["role"] == "worker"]
        assert min(rows) >= 10, rows
        for sock in socks:
            sock.close()
    origin.close()


def test_drain():
    """SIGTERM: no new clients, tunnels go on, and it stops when the last has ended."""
    origin, port = echo_origin()
    with Proxy() as proxy:
        tunnel = proxy.tunnel(port)
        peer = origin.accept()[0]
        proxy.process.send_signal(signal.SIGTERM)

        def refused():
            try:
                proxy.client().close()
            except ConnectionError:
                return True
        wait_for("no new clients", refused)
        tunnel.sendall(b"still")
        assert peer.recv(5) == b"still"
        assert proxy.process.poll() is None
        tunnel.close()
        peer.close()
        assert proxy.process.wait(PATIENCE_S) == 0
        assert not (proxy.folder / "run/sallyport.sock").exists()
    origin.close()


def test_terminal_interrupt():
    """Ctrl-C goes to the whole process group: it is a stop, not a crash of every role."""
    with Proxy(new_session=True) as proxy:
        os.killpg(proxy.process.pid, signal.SIGINT)
        assert proxy.process.wait(PATIENCE_S) == 0
        assert "role_died" not in proxy.events() and "stop notice" in proxy.events(), proxy.events()


def test_refused_reload_is_told():
    """SIGHUP with a broken file: what was in force stays, and status says that there was something."""
    with Proxy() as proxy:
        (proxy.folder / "policy.yaml").write_text("rules: 5\n")
        proxy.process.send_signal(signal.SIGHUP)
        wait_for("the refusal", lambda: proxy.status().get("refused", {}).get("errors"))
        assert "last reload" in proxy.command("status")
        (proxy.folder / "policy.yaml").write_text(POLICY)
        proxy.command("reload")
        assert "refused" not in proxy.status()


def test_drain_deadline():
    """A tunnel that does not end is ended at the deadline, and its line says why."""
    origin, port = echo_origin()
    with Proxy(CONFIG.replace("drain: 5s", "drain: 300ms")) as proxy:
        tunnel = proxy.tunnel(port)
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(PATIENCE_S) == 0
        line = json.loads((proxy.folder / "access.log").read_text() or proxy.events())
        assert line["error"] == "stopped" and line["ended_by"] == "proxy", line
        tunnel.close()
    origin.close()


def test_second_instance():
    """A second one with the same control socket or the same port says so and leaves the first alone."""
    with Proxy() as proxy:
        done = subprocess.run([BINARY, "run", "-c", str(proxy.config)], capture_output=True, text=True, check=False,
                              timeout=PATIENCE_S)
        assert done.returncode == 1 and "another sallyport uses it" in done.stderr, done
        other = Proxy(port=proxy.port)
        assert not other.ready and other.process.wait(PATIENCE_S) == 1
        assert "another program has this address" in other.process.stderr.read()
        other.__exit__()
        proxy.client().close()
        assert proxy.status()["state"] == "running"


def test_control_is_guarded():
    """Strangers are not heard, and noise on the socket harms nobody."""
    with Proxy() as proxy:
        path = str(proxy.folder / "run/sallyport.sock")
        assert os.stat(path).st_mode & 0o777 == 0o600
        for noise in (b"\n", b"{}\n", b"[1]\n", b'{"command": "dance"}\n', b"x" * 100000, b"\xff\x00\n"):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(path)
                try:
                    sock.sendall(noise)
                except ConnectionError:
                    pass
        many = [socket.socket(socket.AF_UNIX) for _ in range(40)]
        for sock in many:
            sock.connect(path)
        for sock in many:
            sock.close()
        wait_for("an answer", lambda: subprocess.run([BINARY, "status", "-c", str(proxy.config)], check=False,
                                                     capture_output=True).returncode == 0)
        if os.geteuid() == 0:
            os.chmod(path, 0o666)
            ask = (f"import socket;s=socket.socket(socket.AF_UNIX);s.connect({path!r});"
                   "s.sendall(b'{\"command\": \"drain\"}\\n');print(s.recv(100))")
            done = subprocess.run([sys.executable, "-c", ask], user="nobody", capture_output=True, text=True,
                                  check=False)
            assert "ok" not in done.stdout, done
            assert proxy.status()["state"] == "running"


def steal(pid, fd):
    """A copy of another process's descriptor: what a worker that an attacker runs has in hands. Root only."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = libc.syscall(434, pid, 0)
    assert pidfd >= 0, "pidfd_open"
    got = libc.syscall(438, pidfd, fd, 0)
    os.close(pidfd)
    assert got >= 0, f"pidfd_getfd: {os.strerror(ctypes.get_errno())}"
    return got


def ipc_types():
    """Numbers of messages, by the rows of ipc.h."""
    text = (pathlib.Path(__file__).parents[2] / "proxy/process/ipc.h").read_text()
    return {name: number for number, name in enumerate(re.findall(r"^\tX\((\w+), ", text, re.M), 1)}


def ipc(name, number, payload=b""):
    return struct.pack("<HHIQ", 1, ipc_types()[name], len(payload), number) + payload


def test_hostile_worker():
    """What a worker says on its channel costs the worker, not the parent."""
    if os.geteuid() != 0:
        print("     not tested without root: a hostile worker")
        return
    with Proxy() as proxy:
        before = proxy.roles()
        for sent in (ipc("SESSIONS_PAGE", 7, struct.pack("<QII", 1 << 60, 0x10000000, 0) + b"{}\n"),   # a page that nobody asked for
                     ipc("READY", 7, struct.pack("<QQ", 1 << 60, 1 << 60))):                    # ready with what it never got
            channel = socket.socket(fileno=steal(before["worker0"], 3))
            for _ in range(50):
                channel.send(sent)
            channel.close()
            assert proxy.roles()["worker1"] == before["worker1"]
        # Pages that lie about the end, in answer to a real question.
        os.kill(before["worker0"], signal.SIGSTOP)
        channel = socket.socket(fileno=steal(before["worker0"], 3))
        asking = subprocess.Popen([BINARY, "status", "--sessions", "-c", str(proxy.config)], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
        assert select.select([channel], [], [], PATIENCE_S)[0]
        question = channel.recv(65536)
        assert struct.unpack("<HHIQ", question[:16])[1] == ipc_types()["SESSIONS"], question
        channel.send(ipc("SESSIONS_PAGE", struct.unpack("<HHIQ", question[:16])[3],
                         struct.pack("<QII", 5, 0x10000000, 0)))
        assert asking.wait(PATIENCE_S) == 0, asking.stdout.read()
        asking.stdout.close()
        os.kill(before["worker0"], signal.SIGCONT)
        # Nonsense ends the one who sent it, and another takes its place.
        channel.send(b"nonsense")
        channel.close()
        wait_for("another worker", lambda: proxy.roles()["worker0"] not in (0, before["worker0"]) or None)
        assert proxy.roles()["worker1"] == before["worker1"] and "role_message" in proxy.events()
        assert proxy.process.poll() is None


def test_listeners_heal():
    """A worker shares its listening sockets with all: what it does to them is undone."""
    if os.geteuid() != 0:
        print("     not tested without root: listeners that a worker ends")
        return
    with Proxy() as proxy:
        pid = proxy.roles()["worker0"]
        for fd in range(4, 40):
            try:
                if not os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:"):
                    continue
                sock = socket.socket(fileno=steal(pid, fd))
            except (OSError, AssertionError):
                continue
            if sock.family == socket.AF_INET and sock.type == socket.SOCK_STREAM:
                sock.setblocking(True)
                sock.shutdown(socket.SHUT_RD)
            sock.close()

        def answers():
            try:
                with proxy.client() as sock:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    return sock.recv(12) == b"HTTP/1.1 200"
            except OSError:
                return False
        for _ in range(8):
            wait_for("clients are served again", answers)
        assert "listen_lost" in proxy.events()


def test_log_is_no_link():
    """The parent opens logs as root: it follows no link and waits for no reader of a pipe."""
    with Proxy() as proxy:
        path = proxy.folder / "access.log"
        for make in (lambda: path.symlink_to(proxy.folder / "elsewhere"), lambda: os.mkfifo(path)):
            path.unlink()
            make()
            proxy.process.send_signal(signal.SIGUSR1)
            proxy.command("reload", status=2)
            path.unlink()
            path.touch()
            assert not (proxy.folder / "elsewhere").exists()
        proxy.command("reload")


def test_reload_storm():
    """Fifty reloads, by signal and by command, while clients come: nothing is lost."""
    origin, port = echo_origin()
    with Proxy() as proxy:
        tunnel = proxy.tunnel(port)
        peer = origin.accept()[0]
        for i in range(50):
            if i % 5:
                proxy.process.send_signal(signal.SIGHUP)
            else:
                subprocess.run([BINARY, "reload", "-c", str(proxy.config)], check=False, capture_output=True)
            with proxy.client() as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                got = sock.recv(12)
                assert got.startswith(b"HTTP/1.1 "), (i, got, proxy.events())
        tunnel.sendall(b"alive")
        assert peer.recv(5) == b"alive"
        assert "role_died" not in proxy.events(), proxy.events()
        # Old generations are let go: descriptors do not grow with reloads.
        wait_for("few descriptors", lambda: all(len(os.listdir(f"/proc/{pid}/fd")) < 40
                                                for pid in list(proxy.roles().values()) + [proxy.process.pid]))
        tunnel.close()
        peer.close()
    origin.close()


def test_sessions_listing():
    """status --sessions lists every tunnel, over all workers and pages."""
    origin, port = echo_origin()
    with Proxy() as proxy:
        socks = []
        for _ in range(150):
            socks.append(proxy.tunnel(port))
            socks.append(origin.accept()[0])
        rows = [json.loads(line) for line in proxy.command("status", "--sessions", "--json").splitlines()]
        assert len(rows) == 150 and len({one["id"] for one in rows}) == 150, len(rows)
        assert all(one["target"] == f"127.0.0.1:{port}" for one in rows)
        for sock in socks:
            sock.close()
    origin.close()


STRICT = """\
rules: [{{name: "closed now", when: {{to: 127.0.0.1, port: {port}}}, then: {{access: deny}}}}]
defaults: {{access: allow, tls: bypass, auth: exempt, ports: [1-65535]}}
"""


def test_cut_is_told():
    """reload --cut ends more sessions than it can name, over all workers: those are counted; others live."""
    origin, port = echo_origin()
    other, other_port = echo_origin()
    with Proxy() as proxy:
        lives = proxy.tunnel(other_port)
        peer = other.accept()[0]
        socks = []
        for _ in range(1100):
            socks.append(proxy.tunnel(port))
            socks.append(origin.accept()[0])
        (proxy.folder / "policy.yaml").write_text(STRICT.format(port=port))
        said = json.loads(proxy.command("reload", "--cut", "--json"))
        named = said["sessions"]
        assert said["cut"] == 1100 and said["more"] == 100 and len(named) == 1000, (said["cut"], said["more"], len(named))
        assert len({one["id"] for one in named}) == 1000 and {one["id"][0] for one in named} == {"0", "1"}
        assert all(one["port"] == port and one["rule"] == "closed now" and one["rule_line"] == 1 for one in named)
        for sock in socks:  # an end or a reset, whichever the order of things makes of it
            try:
                assert sock.recv(1) == b""
            except ConnectionResetError:
                pass
            sock.close()
        lives.sendall(b"alive")
        assert peer.recv(5) == b"alive"
        wait_for("a line each", lambda: (proxy.folder / "access.log").read_text().count('"how":"cut"') == 1100)
        assert "role_died" not in proxy.events(), proxy.events()
        # Whoever asks a second time is told that there is nothing more to end.
        assert proxy.command("reload", "--cut") == "in force: generation 3, sessions ended: 0\n"
        for sock in (lives, peer):
            sock.close()
    for sock in (origin, other):
        sock.close()


def lie_about_cuts(proxy, pid, lies, *words):
    """What `reload --cut` says while one worker, stopped, has these pages written in its name."""
    os.kill(pid, signal.SIGSTOP)
    channel = socket.socket(fileno=steal(pid, 3))
    with subprocess.Popen([BINARY, "reload", "--cut", *words, "-c", str(proxy.config)], stdout=subprocess.PIPE,
                          text=True) as asking:
        assert select.select([channel], [], [], PATIENCE_S)[0]
        message, fds, *_ = socket.recv_fds(channel, 70000, 250)
        for fd in fds:
            os.close(fd)
        number = struct.unpack("<HHIQ", message[:16])[3]
        channel.setblocking(True)
        for lie in lies:
            channel.send(ipc("CUT_PAGE", number, lie))
            channel.send(ipc("CUT_PAGE", number + 1, b'{"id": "of another generation"}\n'))
        channel.send(ipc("READY", number, struct.pack("<QQ", number, 1 << 60)))
        channel.send(ipc("CUT_PAGE", number, b'{"id": "too late"}\n'))
        said = asking.stdout.read()
        assert asking.wait(PATIENCE_S) == 0
    channel.close()
    os.kill(pid, signal.SIGKILL)
    # Ready: one that still reads what it begins with would miss what is taken out of its channel.
    wait_for("another worker", lambda: any(one["role"] == "worker" and one["number"] == 0 and one["ready"] and one["pid"] != pid
                                           for one in proxy.status()["roles"]))
    return said


def test_hostile_cuts():
    """A worker that lies about what it cut makes neither the parent nor the answer grow, nor moves a cursor."""
    if os.geteuid() != 0:
        print("     not tested without root: a worker that lies about cuts")
        return
    small, large = b'{"id": "\\u001b[2J"}\n', b'{"id": "' + b"x" * 60000 + b'"}\n'
    wrong = [b"\x1b[2J\n", b"no object\n", b'{"id": "\x07"}\n', b"\n" * 100, b'{"no": end']
    with Proxy() as proxy:
        before = proxy.roles()
        said = json.loads(lie_about_cuts(proxy, before["worker0"], wrong + [small * 3000] * 40, "--json"))
        assert said["ok"] and said["more"] == (1 << 60) - 1000, said["more"]
        assert [one["id"] for one in said["sessions"]] == ["\x1b[2J"] * 1000, said["sessions"][:3]
        said = lie_about_cuts(proxy, proxy.roles()["worker0"], [large] * 40 + [small], "--json")
        assert (1 << 18) < len(said) < (1 << 20), len(said)
        assert json.loads(said)["sessions"][-1]["id"] == "\x1b[2J"
        said = lie_about_cuts(proxy, proxy.roles()["worker0"], [small, large, b'{"id": "\xc2\x9b2J"}\n'])
        assert "?[2J" in said and "?2J" in said and not any(c in said for c in "\x1b\x9b"), said[:200]
        rss = int(proc_status(proxy.process.pid)["VmRSS"].split()[0])
        assert rss < 64 << 10, rss
        assert proxy.roles()["worker1"] == before["worker1"] and proxy.process.poll() is None


def test_out_of_files():
    """Out of descriptors: clients are told with 503, and it recovers."""
    origin, port = echo_origin()
    config = CONFIG.replace("workers: 2", "workers: 1")
    proxy = Proxy(config, prefix=("sh", "-c", 'ulimit -n 64; exec "$0" "$@"'))
    with proxy:
        socks = []
        for _ in range(100):
            sock = proxy.client()
            sock.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (port, port))
            socks.append(sock)

        def answer(sock):
            try:
                return sock.recv(12)
            except ConnectionError:  # its request came after it was told and closed
                return b"reset"
        answers = [answer(sock) for sock in socks]
        assert b"HTTP/1.1 503" in answers and b"HTTP/1.1 200" in answers, answers
        assert set(answers) <= {b"HTTP/1.1 503", b"HTTP/1.1 200", b"reset"}, answers
        for sock in socks:
            sock.close()

        def works():
            try:
                proxy.tunnel(port).close()
                return True
            except (AssertionError, ConnectionError):
                return False
        wait_for("recovery", works)
    origin.close()


def test_refused_that_stay():
    """Clients beyond limits.sessions are told at once, and if they stay all the same, take no descriptors from others."""
    origin, port = echo_origin()
    config = CONFIG.replace("workers: 2", "workers: 1") + "limits: {{sessions: 1}}\n"
    with Proxy(config, prefix=("sh", "-c", 'ulimit -n 600; exec "$0" "$@"')) as proxy:
        first = proxy.client()
        first.sendall(b"GET http://127.0.0.1:%d/ HTTP/1.1\r\n" % port)
        wait_for("the first session", lambda: proxy.status()["metrics"]["sessions"] == 1)
        crowd = [proxy.client() for _ in range(800)]
        for sock in crowd:
            sock.settimeout(PATIENCE_S)
            assert sock.recv(12) == b"HTTP/1.1 503"
        worker = proxy.roles()["worker0"]
        files = len(os.listdir(f"/proc/{worker}/fd"))
        assert files < 300, files
        first.sendall(b"Host: 127.0.0.1:%d\r\n\r\n" % port)
        origin.accept()[0].close()
        assert first.recv(12) == b"HTTP/1.1 502"
        for sock in [first, *crowd]:
            sock.close()
    origin.close()


def test_syslog_and_journal():
    """Access log to the journal, events to syslog: real sockets in a mount namespace of its own."""
    if os.geteuid() != 0:
        print("     not tested without root: syslog and journal")
        return
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-logs-"))
    folder.chmod(0o755)
    socks = {}
    for name in ("log", "journal"):
        socks[name] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        socks[name].bind(str(folder / name))
        socks[name].settimeout(PATIENCE_S)
        os.chmod(folder / name, 0o666)
    config = CONFIG.replace("access: {{path: access.log}}, events: {{path: events.log}}",
                            "access: {{path: journald}}, events: {{path: syslog}}")
    world = (f"mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9 && "
             f"ln -s {folder}/log /dev/log && mount -t tmpfs none /run && mkdir -p /run/systemd/journal && "
             f'ln -s {folder}/journal /run/systemd/journal/socket && exec "$0" "$@"')
    with Proxy(config, prefix=("unshare", "-m", "sh", "-c", world)) as proxy:
        with proxy.client() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while sock.recv(4096):
                pass
        record = socks["journal"].recv(65536).decode()
        assert "SYSLOG_IDENTIFIER=sallyport" in record and '"method":"GET"' in record, record
        line = socks["log"].recv(65536).decode()
        assert "sallyport" in line and line.startswith("<"), line
        # syslog goes, and comes again: lines of the time between are lost, the logger is not.
        before = proxy.roles()["logger0"]
        socks["log"].close()
        (folder / "log").unlink()
        proxy.command("reload")
        socks["log"] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        socks["log"].bind(str(folder / "log"))
        os.chmod(folder / "log", 0o666)
        socks["log"].settimeout(PATIENCE_S)
        proxy.command("reload")
        while "reload" not in socks["log"].recv(65536).decode():
            pass
        assert proxy.roles()["logger0"] == before
    for sock in socks.values():
        sock.close()
    shutil.rmtree(folder)


def test_bad_configurations():
    """Each is refused before anything is started, with its place, and status 2."""
    for config, words in (("listen: [", "sallyport.yaml:"), ("", "listen"), (CONFIG + "nonsense: 1\n", "nonsense"),
                          (CONFIG.replace("policy: policy.yaml", "policy: none.yaml"), "none.yaml"),
                          (CONFIG + "user: no-such-user\n", "no-such-user")):
        if "user:" in config and os.geteuid() != 0:
            continue
        proxy = Proxy(config if "{{" in config else config.replace("{", "{{"))
        assert not proxy.ready and proxy.process.wait(PATIENCE_S) == 2, config
        text = proxy.process.stderr.read()
        assert words in text, (words, text)
        proxy.__exit__()


def run_tests(name, tests, about, programs=(), at_once=1):
    """Run the functions test_... among `tests`, or those named on the command line, so many at once; a line for each, and the
    exit status."""
    global BINARY
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--sallyport", default="build/release/sallyport")
    parser.add_argument("tests", nargs="*", help="names; default: all")
    options = parser.parse_args()
    BINARY = str(pathlib.Path(options.sallyport).resolve())
    for program in programs:
        if shutil.which(program) is None:
            sys.exit(f"{name}: there is no {program}; see packages_test in packaging/packages.sh")
    names = options.tests or [one for one in tests if one.startswith("test_")]
    def run_one(one):
        try:
            tests[one]()
            print(f"ok   {one}\n", end="", flush=True)
            return 0
        except Exception:
            print(f"FAIL {one}\n{traceback.format_exc(limit=-3)}\n", end="", flush=True)
            return 1

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        failed = sum(pool.map(run_one, names))
    print(f"{name}: {len(names) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    run_tests("roles", dict(globals()), __doc__)
