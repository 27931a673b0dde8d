#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Real clients through the real binary with the shipped policy: curl, wget, git, apt, Chromium, ssh, openssl. Origins
are real servers on loopback (nginx with a CA of its own, sshd), started and stopped here."""
import argparse
import base64
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

PATIENCE_S = 60.0
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/auth"))
from browser import Browser  # noqa: E402
BIG_BYTES = 20_000_000


def run(*words, status=0, **options):
    """Run a client; its standard output as bytes."""
    done = subprocess.run([str(word) for word in words], capture_output=True, timeout=PATIENCE_S, check=False, **options)
    assert done.returncode == status, f"{words}: status {done.returncode}\n{done.stdout[-300:]}\n{done.stderr[-2000:]}"
    return done.stdout


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(what, check):
    limit = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < limit, f"in vain: {what}"
        time.sleep(0.05)


def wait_port(port):
    limit = time.monotonic() + PATIENCE_S
    while time.monotonic() < limit:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on {port}")


class Recorder(threading.Thread):
    """A relay to a port that keeps what came from the side that connected."""

    def __init__(self, to):
        super().__init__(daemon=True)
        self.to = to
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.up, self.down = b"", b""

    def run(self):
        client, _ = self.sock.accept()
        origin = socket.create_connection(("127.0.0.1", self.to))
        back = threading.Thread(target=self.copy, args=(origin, client, "down"), daemon=True)
        back.start()
        self.copy(client, origin, "up")
        back.join()
        client.close()
        origin.close()

    def copy(self, source, sink, name):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                setattr(self, name, getattr(self, name) + data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


class WebSocketOrigin(threading.Thread):
    """RFC 6455: answers the handshake, then echoes one text message."""

    def __init__(self):
        super().__init__(daemon=True)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]

    def run(self):
        while True:
            client, _ = self.sock.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        key = next(line.split(b":")[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        client.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        frame = client.recv(4096)
        if len(frame) < 6:
            return
        length, mask = frame[1] & 127, frame[2:6]
        text = bytes(byte ^ mask[i % 4] for i, byte in enumerate(frame[6:6 + length]))
        client.sendall(bytes([0x81, len(text)]) + text + b"\x88\x00")
        client.recv(100)
        client.close()


class Site:
    """The folder, the certificates, nginx, and the proxy in front of them."""

    def __init__(self, binary):
        self.binary = binary
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-e2e-"))
        self.folder.chmod(0o755)
        self.started = []
        self.http, self.https = free_port(), free_port()
        self.websocket = WebSocketOrigin()
        self.websocket.start()
        self.make_certificates()
        self.make_pages()
        self.start_nginx()
        self.recorder = Recorder(self.https)
        self.recorder.start()
        self.ssh_port = free_port()
        self.start_proxy()

    def make_certificates(self):
        ca, key = self.folder / "ca.pem", self.folder / "ca.key"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=Test CA", "-keyout", key, "-out", ca)
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=api.wbx2.com",
            "-keyout", self.folder / "site.key", "-out", self.folder / "site.csr")
        (self.folder / "names").write_text("subjectAltName=DNS:api.wbx2.com,DNS:origin.test\n")
        run("openssl", "x509", "-req", "-in", self.folder / "site.csr", "-CA", ca, "-CAkey", key, "-days", "2",
            "-extfile", self.folder / "names", "-out", self.folder / "site.pem")

    def make_pages(self):
        self.pages = self.folder / "pages"
        self.pages.mkdir()
        (self.pages / "hello.txt").write_text("hello through the wall\n")
        (self.pages / "big.bin").write_bytes(os.urandom(BIG_BYTES))
        (self.pages / "page.html").write_text(f"""<!doctype html><title>t</title><body><p id=a>waiting</p><p id=b>waiting</p><script>
fetch('hello.txt').then(r => r.text()).then(t => document.getElementById('a').textContent = 'fetched ' + t);
const ws = new WebSocket('wss://api.wbx2.com:{self.https}/ws');
ws.onopen = () => ws.send('ping');
ws.onmessage = e => document.getElementById('b').textContent = 'socket ' + e.data;
</script>""")

    def start_nginx(self):
        config = self.folder / "nginx.conf"
        places = "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in
                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        common = f"""root {self.pages}; server_name api.wbx2.com origin.test; client_max_body_size 100m;
            location /ws {{ proxy_pass http://127.0.0.1:{self.websocket.port}; proxy_http_version 1.1;
                proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}"""
        config.write_text(f"""daemon off; master_process off; pid {self.folder}/nginx.pid; error_log {self.folder}/nginx.err;
events {{}}
http {{ access_log off; {places}
  server {{ listen 127.0.0.1:{self.http}; {common} }}
  server {{ listen 127.0.0.1:{self.https} ssl http2; ssl_certificate {self.folder}/site.pem;
            ssl_certificate_key {self.folder}/site.key; {common} }} }}
""")
        self.start("/usr/sbin/nginx", "-c", config)
        wait_port(self.http)
        wait_port(self.https)

    def start(self, *words):
        process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE,
                                   stderr=open(self.folder / f"{pathlib.Path(str(words[0])).name}.err", "wb"))
        self.started.append(process)
        return process

    def start_proxy(self):
        """The default configuration with what a test on loopback needs: a port, names, a permit, two rules."""
        home = self.folder / "sallyport"
        shutil.copytree(ROOT / "conf/defaults", home)
        config = (home / "sallyport.yaml").read_text()
        for old, new in (("127.0.0.1:3128", "127.0.0.1:0"),
                         ("hosts: {} ", 'hosts: {api.wbx2.com: 127.0.0.1, origin.test: 127.0.0.1, ssh.test: 127.0.0.1} '),
                         ("permit: []", "permit: [127.0.0.0/8]")):
            assert old in config, old
            config = config.replace(old, new)
        (home / "sallyport.yaml").write_text(config)
        ports = f"{self.https}, {self.recorder.port}"
        rules = f"""rules:
  - name: no paste sites
    when: {{to: pastebin.com}}
    then: {{access: deny}}
  - name: ports of the tests
    when: {{to: [api.wbx2.com, origin.test], port: [{self.http}, {ports}]}}
    then: {{access: allow, tls: bypass}}
  - name: ssh of the tests
    when: {{to: ssh.test, port: {self.ssh_port}}}
    then: {{access: allow, tls: bypass}}
"""
        policy = (home / "policy.yaml").read_text()
        assert "\nrules:\n" in policy
        (home / "policy.yaml").write_text(policy.replace("\nrules:\n", "\n" + rules))
        self.home = home
        subprocess.run([self.binary, "ca", "init", "-c", home / "sallyport.yaml"], check=True, stdout=subprocess.DEVNULL)
        process = self.start(self.binary, "run", "-c", home / "sallyport.yaml")
        ready = process.stdout.readline().decode()
        assert ready.startswith("ready "), (self.folder / "sallyport.err").read_text()
        self.port = int(ready.strip().rsplit(":", 1)[1])
        self.proxy = f"http://127.0.0.1:{self.port}"

    def log_lines(self):
        time.sleep(0.3)  # the logger writes in batches
        return [json.loads(line) for line in (self.home / "access.log").read_text().splitlines()]

    def close(self):
        for process in reversed(self.started):
            process.terminate()
            process.wait(PATIENCE_S)
            process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def curl(self, *words, **options):
        return run("curl", "-sS", "--noproxy", "", "-x", self.proxy, "--cacert", self.folder / "ca.pem", "-m", "40", *words,
                   **options)


def test_curl_http(site):
    assert site.curl(f"http://origin.test:{site.http}/hello.txt") == b"hello through the wall\n"
    head = site.curl("-I", f"http://origin.test:{site.http}/hello.txt").decode()
    assert "200 OK" in head and "Via: 1.1 sallyport" in head, head


def test_curl_many_on_one_connection(site):
    urls = [f"http://origin.test:{site.http}/hello.txt"] * 20
    assert site.curl(*urls) == b"hello through the wall\n" * 20


def test_curl_https(site):
    assert site.curl("--http1.1", f"https://api.wbx2.com:{site.https}/hello.txt") == b"hello through the wall\n"


def test_curl_http2_in_a_tunnel(site):
    got = site.curl("--http2", "-w", "%{http_version}", f"https://api.wbx2.com:{site.https}/hello.txt")
    assert got == b"hello through the wall\n2", got


def test_curl_big_down_and_up(site):
    want = (site.pages / "big.bin").read_bytes()
    for url in (f"http://origin.test:{site.http}/big.bin", f"https://api.wbx2.com:{site.https}/big.bin"):
        assert site.curl(url) == want
        # nginx does not take it (405), but reads it all first or closes early: both must come back as an answer.
        status = site.curl("-o", "/dev/null", "-w", "%{http_code}", "-T", site.pages / "big.bin", url)
        assert status == b"405", status


def test_curl_websocket(site):
    """curl's own upgrade on plain http: 101 and then bytes, framed by hand."""
    with socket.create_connection(("127.0.0.1", site.port), PATIENCE_S) as sock:
        sock.sendall(f"GET http://origin.test:{site.http}/ws HTTP/1.1\r\nHost: origin.test:{site.http}\r\n"
                     "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        stream = sock.makefile("rb")
        assert b" 101 " in stream.readline()
        while stream.readline() not in (b"\r\n", b""):
            pass
        sock.sendall(b"\x81\x84\0\0\0\0ping")
        assert stream.read(6) == b"\x81\x04ping"
    status = site.curl("-o", "/dev/null", "-w", "%{http_code}", "-m", "2", "-H", "Upgrade: websocket", "-H", "Connection: Upgrade",
                       "-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                       f"http://origin.test:{site.http}/ws", status=28)
    assert status == b"101", status


def test_denied(site):
    """403 with the rule's name, for curl's user and for programs."""
    got = site.curl("-D", "-", "http://pastebin.com/x").decode()
    assert got.startswith("HTTP/1.1 403") and "no paste sites" in got and "proxy-status:" in got.lower(), got
    page = site.curl("-H", "Accept: text/html", "http://pastebin.com/x").decode()
    assert "<html" in page.lower() and "no paste sites" in page, page
    error = subprocess.run(["curl", "-sS", "-x", site.proxy, "https://pastebin.com/"], capture_output=True, text=True,
                           check=False)
    assert error.returncode == 56 and "403" in error.stderr, error


def test_byte_for_byte(site):
    """What the origin receives in a tunnel is what the client sent, ClientHello included, and back."""
    tap = Recorder(site.port)
    tap.start()
    out = run("curl", "-sS", "--noproxy", "", "-x", f"http://127.0.0.1:{tap.port}", "--cacert", site.folder / "ca.pem",
              f"https://api.wbx2.com:{site.recorder.port}/hello.txt")
    assert out == b"hello through the wall\n"
    tap.join(PATIENCE_S)
    site.recorder.join(PATIENCE_S)
    head, sent = tap.up.split(b"\r\n\r\n", 1)
    answer, received = tap.down.split(b"\r\n\r\n", 1)
    assert head.startswith(b"CONNECT api.wbx2.com:") and answer.startswith(b"HTTP/1.1 200"), (head, answer)
    assert sent[:3] in (b"\x16\x03\x01", b"\x16\x03\x03") and sent == site.recorder.up, "client to origin differs"
    assert received == site.recorder.down, "origin to client differs"
    line = [one for one in site.log_lines() if one.get("port") == site.recorder.port][-1]
    assert line["bytes_up"] == len(sent) and line["bytes_down"] == len(received), line
    assert line["decision"]["tls"]["answer"] == "bypass", line


def test_openssl_s_client(site):
    out = run("openssl", "s_client", "-proxy", f"127.0.0.1:{site.port}", "-connect", f"api.wbx2.com:{site.https}",
              "-servername", "api.wbx2.com", "-verify_return_error", "-CAfile", site.folder / "ca.pem", "-brief",
              input=b"", )
    assert out is not None


def test_wget(site):
    env = dict(os.environ, http_proxy=site.proxy, https_proxy=site.proxy, no_proxy="")
    got = run("wget", "-q", "-O", "-", f"http://origin.test:{site.http}/hello.txt", env=env)
    assert got == b"hello through the wall\n"
    got = run("wget", "-q", "-O", "-", f"--ca-certificate={site.folder}/ca.pem",
              f"https://api.wbx2.com:{site.https}/hello.txt", env=env)
    assert got == b"hello through the wall\n"


def test_git(site):
    work, bare = site.folder / "work", site.pages / "repo.git"
    run("git", "init", "-q", work)
    (work / "file").write_text("content\n")
    run("git", "-C", work, "add", "file")
    run("git", "-C", work, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "one")
    run("git", "clone", "-q", "--bare", work, bare)
    run("git", "-C", bare, "update-server-info")
    env = dict(os.environ, GIT_SSL_CAINFO=str(site.folder / "ca.pem"), GIT_CONFIG_GLOBAL="/dev/null", no_proxy="")
    run("git", "-c", f"http.proxy={site.proxy}", "clone", "-q", f"https://api.wbx2.com:{site.https}/repo.git",
        site.folder / "clone", env=env)
    assert (site.folder / "clone/file").read_text() == "content\n"


def test_apt(site):
    """apt-get update and download from a repository over http."""
    tree, repository, state = site.folder / "deb", site.pages / "apt", site.folder / "apt"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text("Package: through-the-wall\nVersion: 1\nArchitecture: all\nMaintainer: t <t@t>\nDescription: t\n")
    repository.mkdir()
    run("dpkg-deb", "--build", tree, repository / "through-the-wall_1_all.deb")
    (repository / "Packages").write_bytes(run("dpkg-scanpackages", "-m", ".", cwd=repository))
    for name in ("lists/partial", "cache/archives/partial", "empty"):
        (state / name).mkdir(parents=True)
    (state / "status").write_text("")
    (state / "sources").write_text(f"deb [trusted=yes] http://origin.test:{site.http}/apt ./\n")
    options = [word for option in (f"Dir::State={state}", f"Dir::State::status={state}/status", f"Dir::Cache={state}/cache",
                                   f"Dir::Etc::sourcelist={state}/sources", f"Dir::Etc::sourceparts={state}/empty",
                                   f"Acquire::http::Proxy={site.proxy}", "APT::Sandbox::User=root", "APT::Update::Error-Mode=any")
               for word in ("-o", option)]
    run("apt-get", *options, "update")
    run("apt-get", *options, "download", "through-the-wall", cwd=state)
    assert (state / "through-the-wall_1_all.deb").exists()


def test_chromium(site):
    """A page over a tunnel: its script fetches over HTTP/2 and talks over a WebSocket."""
    browser = Browser(site.proxy)
    try:
        browser.open(f"https://api.wbx2.com:{site.https}/page.html")
        wait_for("what the script of the page has to say",
                 lambda: all(text in browser.text() for text in ("fetched hello through the wall", "socket ping")))
    finally:
        browser.close()


def test_ssh(site):
    """ssh over CONNECT, by the way that its users take: a ProxyCommand."""
    folder = site.folder / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    shutil.copy(folder / "user.pub", folder / "authorized")
    (folder / "authorized").chmod(0o600)
    (folder / "config").write_text(f"""ListenAddress 127.0.0.1
Port {site.ssh_port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
StrictModes no
UsePAM no
PasswordAuthentication no
PidFile {folder}/pid
""")
    os.makedirs("/run/sshd", exist_ok=True)
    site.start("/usr/sbin/sshd", "-D", "-e", "-f", folder / "config")
    wait_port(site.ssh_port)
    who = run("id", "-un").decode().strip()
    got = run("ssh", "-F", "none", "-i", folder / "user", "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known",
              "-o", "LogLevel=ERROR", "-o", f"ProxyCommand=nc -X connect -x 127.0.0.1:{site.port} %h %p", "-p", site.ssh_port,
              f"{who}@ssh.test", "echo over ssh; head -c 3000000 /dev/zero | md5sum")
    assert got.decode().splitlines() == ["over ssh", f"{hashlib.md5(bytes(3000000)).hexdigest()}  -"], got


def test_status_and_log(site):
    """Afterwards everything is accounted for."""
    status = json.loads(run(site.binary, "status", "--json", "-c", site.home / "sallyport.yaml"))
    assert not any(one["restarts"] for one in status["roles"]), status["roles"]
    assert status["metrics"]["surprises_total"] == 0 and status["metrics"]["access_dropped_total"] == 0
    lines = site.log_lines()
    assert len(lines) == status["metrics"]["access_lines_total"], (len(lines), status["metrics"])
    assert len({one["id"] for one in lines}) == len(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sallyport", default="build/release/sallyport")
    parser.add_argument("tests", nargs="*", help="names; default: all")
    options = parser.parse_args()
    site = Site(str(pathlib.Path(options.sallyport).resolve()))
    names = options.tests or [name for name in globals() if name.startswith("test_")]
    failed = 0
    try:
        for name in names:
            try:
                globals()[name](site)
                print(f"ok   {name}")
            except Exception:
                failed += 1
                print(f"FAIL {name}\n{traceback.format_exc(limit=-3)}")
            sys.stdout.flush()
    finally:
        site.close()
    print(f"e2e: {len(names) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
