# SPDX-License-Identifier: Apache-2.0
"""The servers that the bench measures: how each is configured, started, watched and stopped.

A server lives in a folder of its own, in a session of its own (setsid), pinned to one core or to a set
of cores; what it costs is the sum over all processes of that session.
"""
import contextlib
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import time

SERVICES = ("echo", "sink", "source", "http")
ORIGINS = ["127.0.1.%d" % i for i in range(1, 17)]  # what bench_load asks for
READY_SECONDS = 20


class Trouble(Exception):
    """Something that the person at the keyboard has to know, in plain words."""


# ---- processes ----------------------------------------------------------------------------------


def read_file(path):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def read_text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def processes_of(session):
    """The processes of a session, as a sorted list; the dead that nobody has waited for are left out."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = read_file("/proc/%s/stat" % name).rpartition(")")[2].split()
            if len(fields) > 3 and int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(name))
    return sorted(found)


def cpu_seconds(process):
    """User and system time of all threads, also of those that have ended."""
    clock = ~process << 3 | 2  # clock_getcpuclockid(3)
    try:
        return time.clock_gettime(clock)
    except OSError:
        return 0.0


def memory_bytes(process):
    """Memory in user space that no file stands behind; shared pages count by their share."""
    rollup = read_file("/proc/%d/smaps_rollup" % process)
    kib = re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+) kB", rollup, re.M)
    if not kib:  # a process that is not dumpable shows only this to other users than root
        kib = re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", read_file("/proc/%d/status" % process), re.M)
    if not kib:
        raise Trouble("cannot read the memory of process %d: run the bench as root" % process)
    return 1024 * sum(int(number) for number in kib)


def cores_of(core):
    """`core`: the number of one, or a set of them."""
    return {core} if isinstance(core, int) else set(core)


def pinned(core):
    """What a child does between fork and exec."""
    return lambda: os.sched_setaffinity(0, cores_of(core))


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Program:
    """A running program whose stdout is read for its ready line; its stderr goes to a file."""

    def __init__(self, command, folder, core, env=None):
        self.name = os.path.basename(command[0])
        self.folder = folder
        self.errors = os.path.join(folder, self.name + ".stderr")
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                start_new_session=True, preexec_fn=pinned(core), env=env)

    def last_words(self):
        lines = read_file(self.errors).strip().splitlines()
        return "\n  ".join([""] + lines[-8:]) if lines else " It said nothing on stderr."

    def is_running(self):
        return self.process.poll() is None

    def ready_line(self):
        """The first line of stdout that begins with "ready"."""
        deadline = time.monotonic() + READY_SECONDS
        text = b""
        while time.monotonic() < deadline:
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                got = os.read(self.process.stdout.fileno(), 65536)
                text += got
                whole = re.search(rb"^ready\b.*\n", text, re.M)
                if whole:
                    return whole.group().decode("ascii", "replace").strip()
                if not got:
                    break
        self.stop()
        raise Trouble("%s did not say that it is ready.%s" % (self.name, self.last_words()))

    def wait_for_port(self, port):
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.is_running():
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        self.stop()
        raise Trouble("%s does not listen on port %d.%s" % (self.name, port, self.last_words()))

    def stop(self):
        """Ends the processes of its session, politely and then not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in processes_of(self.process.pid):
                try:
                    os.kill(process, number)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline:
                self.process.poll()
                if not processes_of(self.process.pid):
                    break
                time.sleep(0.02)
        self.process.wait()
        self.process.stdout.close()


# ---- the servers --------------------------------------------------------------------------------


class Server:
    """Base of all: start() makes `program` and fills `addresses` (service -> ADDRESS:PORT)."""

    name = ""
    is_plain = False  # leads to the origin by itself, without CONNECT
    cannot = {}  # row -> why this server has no figure there

    def __init__(self, binary, core, workers=1):
        self.binary = binary
        self.core = core
        self.workers = workers
        self.clients = (open_files() - 1000) // 2  # at once, where it has such a limit
        self.program = None
        self.addresses = {}

    def version(self):
        return self.name

    def start(self, folder, origin):
        raise NotImplementedError

    def stop(self):
        if self.program:
            self.program.stop()
            self.program = None

    def pin(self):
        """Again, for threads that chose a core for themselves when they started (Traffic Server's do)."""
        for process in self.processes():
            with contextlib.suppress(OSError):  # it may have ended meanwhile
                for task in os.listdir("/proc/%d/task" % process):
                    os.sched_setaffinity(int(task), cores_of(self.core))

    def processes(self):
        return processes_of(self.program.process.pid) if self.program else []

    def cpu_seconds(self):
        return sum(cpu_seconds(process) for process in self.processes())

    def memory_bytes(self):
        return sum(memory_bytes(process) for process in self.processes())

    def listens_on(self, port):
        self.addresses = dict.fromkeys(SERVICES, "127.0.0.1:%d" % port)

    def write(self, folder, name, text):
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path

    def version_in(self, option, pattern):
        """The server's name with the version that its program tells, if it does."""
        done = subprocess.run([self.binary, option], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=20, check=False)
        found = re.search(pattern, done.stdout)
        return "%s %s" % (self.name, found.group(1)) if found else self.name


class Floor(Server):
    """One thread, whatever the number of workers."""

    name = "floor"

    def start(self, folder, origin):
        self.program = Program([self.binary], folder, self.core)
        self.listens_on(port_in(self.program.ready_line()))


def port_in(line):
    found = re.search(r"127\.0\.0\.1:(\d+)", line)
    if not found:
        raise Trouble('the ready line names no 127.0.0.1:PORT: "%s"' % line)
    return int(found.group(1))


class Sallyport(Server):
    name = "sallyport"
    CONFIGURATION = """\
listen:
  - {name: bench, address: "127.0.0.1:0"}
workers: 1
policy: policy.yaml
control: run/sallyport.sock
destinations:
  permit: [127.0.0.0/8]
authentication: {schemes: []}
log:
  access: {path: log/access.log, format: json}
"""
    POLICY = """\
defaults: {access: allow, tls: bypass, auth: exempt, class: normal, ports: [1-65535]}
"""

    def start(self, folder, origin):
        path = self.write(folder, "sallyport.yaml", self.CONFIGURATION.replace(
            "workers: 1", "workers: %d" % self.workers))
        self.write(folder, "policy.yaml", self.POLICY)
        os.makedirs(os.path.join(folder, "log"))
        os.chmod(os.path.join(folder, "log"), 0o777)  # as root, the logger becomes another user
        self.program = Program([self.binary, "run", "-c", path], folder, self.core)
        self.listens_on(port_in(self.program.ready_line()))

    def command(self, core, *words):
        """What `sallyport WORDS` says about the one that runs; `core` is where it may run."""
        done = subprocess.run([self.binary, *words, "-c", os.path.join(self.program.folder, "sallyport.yaml")],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=60, preexec_fn=pinned(core), check=False)
        if done.returncode:
            raise Trouble("sallyport %s: %s" % (" ".join(words), done.stderr.strip()))
        return done.stdout

    def status(self, core):
        return json.loads(self.command(core, "status", "--json"))

    def version(self):
        return self.version_in("--version", r"(?i)sallyport (\d\S*)")


class Squid(Server):
    name = "squid"
    cannot = {"bulk-up": "closes a tunnel when the client half-closes it"}
    CONFIGURATION = """\
http_port 127.0.0.1:{port}
http_access allow all
cache deny all
cache_mem 8 MB
access_log stdio:{folder}/access.log
cache_log {folder}/cache.log
coredump_dir {folder}
pid_filename none
pinger_enable off
netdb_filename none
max_filedescriptors {files}
client_db off
shutdown_lifetime 0 seconds
workers {workers}
"""

    def start(self, folder, origin):
        port = free_port()
        os.chmod(folder, 0o777)  # as root, it becomes another user
        path = self.write(folder, "squid.conf", self.CONFIGURATION.format(
            port=port, folder=folder, files=open_files(), workers=self.workers))
        # Several workers are processes of their own, with a coordinator.
        self.program = Program([self.binary, "-N" if self.workers == 1 else "--foreground", "-f", path], folder,
                               self.core)
        self.program.wait_for_port(port)
        self.listens_on(port)

    def version(self):
        return self.version_in("-v", r"Version (\S+)")


class HAProxy(Server):
    """No CONNECT: a yardstick for bytes (mode tcp, splice) and for GET (mode http)."""

    name = "haproxy"
    is_plain = True
    CONFIGURATION = """\
global
  nbthread {workers}
  maxconn {clients}
  maxpipes 64
defaults
  mode tcp
  maxconn {clients}
  option splice-auto
  timeout connect 5s
  timeout client 1h
  timeout server 1h
"""

    def start(self, folder, origin):
        text = self.CONFIGURATION.format(clients=self.clients, workers=self.workers)
        for service in SERVICES:
            port = free_port()
            self.addresses[service] = "127.0.0.1:%d" % port
            text += "listen %s\n  bind 127.0.0.1:%d\n" % (service, port)
            if service == "http":
                text += "  mode http\n  http-reuse always\n"
            for number, address in enumerate(ORIGINS):
                text += "  server o%d %s:%d\n" % (number, address, origin[service])
        path = self.write(folder, "haproxy.cfg", text)
        self.program = Program([self.binary, "-db", "-f", path], folder, self.core)
        self.program.wait_for_port(port)

    def version(self):
        return self.version_in("-v", r"version (\S+)")


class TrafficServer(Server):
    name = "trafficserver"
    RUNROOT = """\
prefix: {folder}
exec_prefix: {folder}
bindir: /usr/bin
sbindir: /usr/sbin
sysconfdir: {folder}/etc
datadir: {folder}/share
includedir: {folder}/include
libdir: /usr/lib/trafficserver
libexecdir: /usr/lib/trafficserver/modules
localstatedir: {folder}/var
runtimedir: {folder}/run
logdir: {folder}/log
cachedir: {folder}/cache
"""
    RECORDS = """\
CONFIG proxy.config.http.server_ports STRING {port}:ip-in=127.0.0.1
CONFIG proxy.config.http.connect_ports STRING *
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT {workers}
CONFIG proxy.config.exec_thread.affinity INT 0
CONFIG proxy.config.accept_threads INT 0
CONFIG proxy.config.task_threads INT 1
CONFIG proxy.config.url_remap.remap_required INT 0
CONFIG proxy.config.reverse_proxy.enabled INT 0
CONFIG proxy.config.http.cache.http INT 0
CONFIG proxy.config.http.transaction_no_activity_timeout_in INT 3600
CONFIG proxy.config.http.transaction_no_activity_timeout_out INT 3600
CONFIG proxy.config.net.connections_throttle INT {files}
CONFIG proxy.config.log.logging_enabled INT 2
CONFIG proxy.config.admin.user_id STRING #-1
"""
    LOGGING = """\
logging:
  formats:
    - name: short
      format: '%<cqtq> %<ttms> %<chi> %<crc>/%<pssc> %<psql> %<cqhm> %<pquc> %<phr>'
  logs:
    - filename: access
      format: short
"""
    ALLOW = "ip_allow:\n  - {apply: in, ip_addrs: 0/0, action: allow, methods: ALL}\n"

    def start(self, folder, origin):
        port = free_port()
        for name in ("etc", "share", "var", "run", "log", "cache"):
            os.makedirs(os.path.join(folder, name))
        values = {"folder": folder, "port": port, "files": open_files() - 200, "workers": self.workers}
        root = self.write(folder, "runroot.yaml", self.RUNROOT.format(**values))
        self.write(folder, "etc/records.config", self.RECORDS.format(**values))
        self.write(folder, "etc/logging.yaml", self.LOGGING)
        self.write(folder, "etc/ip_allow.yaml", self.ALLOW)
        self.write(folder, "etc/storage.config", "cache 32M\n")
        for name in ("remap.config", "plugin.config", "hosting.config", "volume.config"):
            self.write(folder, "etc/" + name, "")
        self.program = Program([self.binary, "--run-root=" + root], folder, self.core)
        self.program.wait_for_port(port)
        self.listens_on(port)

    def version(self):
        return self.version_in("--version", r"Traffic Server (\d\S*)")


class Tinyproxy(Server):
    """A thread for each connection."""

    name = "tinyproxy"
    cannot = {"bulk-up": "closes a tunnel when the client half-closes it",
              "get": "closes after each reply without saying so"}
    CONFIGURATION = """\
Port {port}
Listen 127.0.0.1
Timeout 3600
MaxClients {clients}
LogFile "{folder}/tinyproxy.log"
LogLevel Connect
DisableViaHeader Yes
"""

    def start(self, folder, origin):
        port = free_port()
        path = self.write(folder, "tinyproxy.conf", self.CONFIGURATION.format(
            port=port, folder=folder, clients=self.clients))
        self.program = Program([self.binary, "-d", "-c", path], folder, self.core)
        self.program.wait_for_port(port)
        self.listens_on(port)

    def version(self):
        return self.version_in("-v", r"tinyproxy (\d\S*)")


class Nginx(Server):
    """No CONNECT: a yardstick for bytes (module stream) and for GET (module http)."""

    name = "nginx"
    is_plain = True
    MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"
    CONFIGURATION = """\
load_module {module};
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
worker_processes {workers};
worker_rlimit_nofile {files};
events {{ worker_connections {files}; }}
"""
    HTTP = """\
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream http {{ keepalive 64; keepalive_requests 1000000000; {servers} }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://http; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
    STREAM = """\
  upstream {service} {{ {servers} }}
  server {{ listen 127.0.0.1:{port}; proxy_pass {service}; proxy_timeout 1h; proxy_half_close on; }}
"""

    def start(self, folder, origin):
        if not os.path.exists(self.MODULE):
            raise Trouble("nginx has no module stream (apt-get install libnginx-mod-stream)")
        text = self.CONFIGURATION.format(module=self.MODULE, folder=folder, workers=self.workers, files=open_files())
        text += "stream {\n"
        for service in SERVICES:
            port = free_port()
            self.addresses[service] = "127.0.0.1:%d" % port
            values = {"port": port, "service": service, "folder": folder, "servers": " ".join(
                "server %s:%d;" % (address, origin[service]) for address in ORIGINS)}
            if service == "http":
                text += "}\n" + self.HTTP.format(**values)
            else:
                text += self.STREAM.format(**values)
        path = self.write(folder, "nginx.conf", text)
        self.program = Program([self.binary, "-c", path, "-p", folder], folder, self.core)
        self.program.wait_for_port(port)

    def version(self):
        return self.version_in("-v", r"nginx/(\d\S*)")


PEERS = {"squid": Squid, "trafficserver": TrafficServer, "haproxy": HAProxy, "tinyproxy": Tinyproxy, "nginx": Nginx}
PEER_BINARIES = {"squid": "squid", "trafficserver": "traffic_server", "haproxy": "haproxy", "tinyproxy": "tinyproxy",
                 "nginx": "nginx"}


def find_peer(name):
    """The path of a peer's program, or None."""
    return shutil.which(PEER_BINARIES[name], path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def open_files():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]
