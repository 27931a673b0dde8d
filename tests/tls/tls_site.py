# SPDX-License-Identifier: Apache-2.0
"""What the tests of inspection share: a proxy that opens TLS, an origin in Python, clients, and what the log has to say.
R is the root that the proxy trusts for origins, X its own CA, which is all that clients trust."""
import argparse
import contextlib
import http.client
import itertools
import json
import pathlib
import re
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import threading

from cryptography import x509
import yaml

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "auth")]
import auth_site  # noqa: E402
from auth_site import PATIENCE_S, Proxy, environment, free_port, run, run_rows, wait_for  # noqa: E402,F401
from certificates import Web  # noqa: E402
from origins import TlsOrigin  # noqa: E402

HOSTS = 400  # h0.web.test ..: a row finds its lines in the log by its name
ROWS = []
ALONE = []
POLICY = """rules:
  - {name: pinned, when: {to: [bypass.test, "*.bypass.test"]}, then: {access: allow, tls: bypass}}
  - {name: denied, when: {to: [denied.test, "*.denied.test"]}, then: {access: deny}}
  - {name: not TLS, when: {to: "*.opaque.test"}, then: {opaque: tunnel, class: auto}}
MORE
defaults: {access: allow, tls: inspect, auth: exempt, ports: [1-65535]}
"""


def row(function):
    """A test; its name says what the proxy does. It is given the site."""
    ROWS.append((function.__name__.replace("_", " "), function))
    return function


def alone(function):
    """A row that runs when the others have ended: nothing goes on beside it."""
    ALONE.append((function.__name__.replace("_", " "), function))
    return function


def row_named(name, function):
    ROWS.append((name, function))


class Inspector(Proxy):
    """A running proxy with a CA of its own. `rules`: lines of YAML, in front of the others."""

    def __init__(self, binary, web, hosts, rules="", workers=2, inspection=None, more=None, policy=None, prepare=None, **how):
        self.x_pem = self.x_key = None
        more = dict(more or {})
        files = {"r.pem": web.root.pem, **how.pop("files", {})}
        inspection = {"ca": {"certificate": "ca/ca.pem", "key": "ca/ca.key"}, "trust": ["r.pem"], **(inspection or {})}
        permit = {"permit": ["127.0.0.0/8", "::1/128"]}
        super().__init__(binary, {"schemes": []}, policy=(policy or POLICY).replace("MORE\n", rules), users={}, user_file="", files=files,
                         workers=workers, prepare=lambda folder: self.make_ca(folder, prepare),
                         more={"dns": {"hosts": hosts}, "destinations": permit, "inspection": inspection, **more}, **how)

    def stop(self):
        """At once: sessions that rows have left open need not end by themselves."""
        self.process.send_signal(signal.SIGINT)
        super().stop()

    def make_ca(self, folder, prepare):
        if prepare:
            prepare(folder)
        if not (folder / "ca/ca.pem").exists():
            run([self.binary, "ca", "init", "-c", folder / "sallyport.yaml"])
        self.read_ca()

    def read_ca(self):
        self.x_pem = (self.folder / "ca/ca.pem").read_text()
        self.x_key = (self.folder / "ca/ca.key").read_text()

    @property
    def x(self):
        return x509.load_pem_x509_certificate(self.x_pem.encode())

    @property
    def ca_file(self):
        return self.folder / "ca/ca.pem"

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def metrics(self):
        return json.loads(self.command("status", "--json"))["metrics"]

    def reload(self, **inspection):
        """With other values in `inspection`."""
        settings = yaml.safe_load(self.config.read_text())
        settings["inspection"].update(inspection)
        self.config.write_text(yaml.safe_dump(settings, sort_keys=False))
        self.command("reload")


def context_of(cafile, alpn=("http/1.1",), strict=True, least=None, most=None, ciphers=None, certificate=None, check=True):
    """Of a client that trusts this alone, as Python 3.13 does it: strictly."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=str(cafile))
    if strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if least:
        context.minimum_version = least
    if most:
        context.maximum_version = most
    if ciphers:
        context.set_ciphers(ciphers)
    if certificate:
        context.load_cert_chain(*certificate)
    if not check:
        context.check_hostname = False
    return context


class Answer:
    def __init__(self, response, body, interim):
        self.status, self.fields, self.body, self.interim = response.status, response.getheaders(), body, interim

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name):
        values = self.all(name)
        assert len(values) <= 1, values
        return values[0] if values else None

    @property
    def json(self):
        assert self.status == 200, self
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.fields} {self.body[:300]}"


def read_answer(sock, method="GET"):
    """One final answer, and the interim ones before it."""
    interim = []
    while True:
        response = http.client.HTTPResponse(sock, method=method)
        response.fp.close()
        response.fp = ByteFile(sock)
        response.begin()
        if response.status >= 200 or response.status == 101:
            return Answer(response, b"" if response.status == 101 else response.read(), interim)
        interim.append((response.status, response.getheaders()))


class ByteFile:
    """Reads no more of a socket than it is asked for: what follows stays there."""

    def __init__(self, sock):
        self.sock, self.closed = sock, False

    def read(self, size=-1):
        parts, left = [], size
        while left:
            data = self.sock.recv(65536 if size < 0 else min(left, 65536))
            if not data:
                break
            parts.append(data)
            left -= len(data) if size > 0 else 0
        return b"".join(parts)

    def readinto(self, buffer):
        data = self.read(len(buffer))
        buffer[:len(data)] = data
        return len(data)

    def readline(self, limit=65537):
        line = b""
        while len(line) < limit and not line.endswith(b"\n"):
            byte = self.sock.recv(1)
            if not byte:
                break
            line += byte
        return line

    def flush(self):
        pass

    def close(self):
        self.closed = True


def connect(proxy, authority, early=b"", source=None):
    """A CONNECT; the socket behind 200. `early`: bytes in the segment of the head."""
    sock = socket.create_connection(("127.0.0.1", proxy.port), PATIENCE_S, (source, 0) if source else None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode() + early)
    line, fields = read_head(sock)
    if not line.startswith("HTTP/1.1 200"):
        body = b""
        with contextlib.suppress(OSError):
            body = sock.recv(65536)
        sock.close()
        raise Refused(int(line.split()[1]), line, fields, body)
    return sock


class Refused(Exception):
    """CONNECT was answered otherwise."""

    def __init__(self, status, *more):
        super().__init__(status, *more)
        self.status = status


def read_head(sock):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise ConnectionError(f"ended in the head: {head!r}")
        head += byte
    line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    return line, fields


class Session:
    """TLS through the proxy, and HTTP/1.1 in it."""

    def __init__(self, site, authority, sni=None, proxy=None, context=None, session=None, early=b"", source=None, **how):
        self.proxy = proxy or site.proxy
        self.host = authority.rpartition(":")[0].strip("[]")
        self.authority = authority
        context = context or context_of(self.proxy.ca_file, **how)
        sock = connect(self.proxy, authority, early, source)
        try:
            self.tls = context.wrap_socket(sock, server_hostname=self.host if sni is None else sni or None, session=session,
                                           suppress_ragged_eofs=False)
        except BaseException:
            sock.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tls.close()

    @property
    def leaf(self):
        return x509.load_der_x509_certificate(self.tls.getpeercert(True))

    @property
    def chain(self):
        """As sent."""
        return [x509.load_pem_x509_certificate(one.public_bytes().encode()) for one in self.tls._sslobj.get_unverified_chain()]

    def send(self, method, path, body=None, host=None, fields=()):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host or self.authority}", *fields]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.tls.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))

    def ask(self, method, path, body=None, host=None, fields=()):
        self.send(method, path, body, host, fields)
        return read_answer(self.tls, method)


class Site:
    """A web with an origin, and one proxy in front of it. Names: hN.web.test, and what the rows add before the proxy begins."""

    def __init__(self, binary):
        self.binary, self.numbers, self.lock = binary, itertools.count(), threading.Lock()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-tls-"))
        self.folder.chmod(0o755)
        self.ended, self.proxy, self.web = [], None, Web()
        self.hosts = {f"h{number}.web.test": "127.0.0.1" for number in range(HOSTS)}
        (self.folder / "r.pem").write_text(self.web.root.pem)
        self.origin = TlsOrigin(self.folder)
        self.ended.append(self.origin.close)
        self.origin.add("*.web.test", self.web.site("*.web.test"))
        self.origin.hosts["default"] = self.origin.hosts["*.web.test"]

    def begin(self, **how):
        self.proxy = self.inspector(**how)
        return self

    def inspector(self, **how):
        """Another proxy, ended with the site."""
        proxy = Inspector(self.binary, self.web, self.hosts, **how)
        self.ended.append(proxy.stop)
        return proxy

    def names(self, *names, address="127.0.0.1"):
        self.hosts.update({name: address for name in names})

    def host(self):
        """A name of its own for a row."""
        with self.lock:
            number = next(self.numbers)
        assert number < HOSTS, "more names are used than are known"
        return f"h{number}.web.test"

    def folder_of(self, name):
        (self.folder / name).mkdir()
        return self.folder / name

    def at(self, host=None, port=None):
        """host:port of the origin."""
        return f"{host or self.host()}:{port or self.origin.port}"

    def session(self, host=None, port=None, **how):
        return Session(self, self.at(host, port), **how)

    def get(self, host=None, path="/echo", port=None, **how):
        with self.session(host, port, **how) as session:
            return session.ask("GET", path)

    def keep(self, server):
        """A server that ends with the site."""
        self.ended.append(server.stop if hasattr(server, "stop") else server.close)
        return server

    def lines(self, host, check=bool, proxy=None):
        """The lines of this host, once they are as `check` wants them."""
        return (proxy or self.proxy).wait_lines(host, check)

    def connect_line(self, host, proxy=None, count=1):
        """The last line of a CONNECT to this host, when there are so many."""
        return [line for line in self.lines(host, lambda lines: len(connects(lines)) >= count, proxy) if line["method"] == "CONNECT"][-1]

    def request_line(self, host, path=None, proxy=None):
        """Of a request in an opened session."""
        def fits(line):
            return line.get("method") != "CONNECT" and (path is None or line.get("target", "").endswith(path))
        return [line for line in self.lines(host, lambda lines: any(map(fits, lines)), proxy) if fits(line)][-1]

    def end(self):
        trouble = []
        while self.ended:
            try:
                self.ended.pop()()
            except AssertionError as error:
                trouble.append(error)
        assert not trouble, trouble

    def remove(self):
        try:
            self.end()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def curl(self, *words, status=0, proxy=None, ca=None, **environment_changes):
        proxy = proxy or self.proxy
        return run(["curl", "-sS", "-m", "40", "--noproxy", "", "-x", proxy.url, "--cacert", ca or proxy.ca_file, *words],
                   status=status, env=environment(**environment_changes))

    def s_client(self, host, port, *flags, proxy=None, ca=None, sni=True, text="", status=None):
        proxy = proxy or self.proxy
        return run(["openssl", "s_client", "-proxy", proxy.address, "-connect", f"{host}:{port}", "-CAfile", ca or proxy.ca_file,
                    *(["-servername", host] if sni is True else ["-noservername"] if not sni else ["-servername", sni]), *flags],
                   status=status, text=text, env=environment())


def connects(lines):
    return [line for line in lines if line.get("method") == "CONNECT"]


def opened(line):
    """Was this session opened, as the log has it?"""
    return line.get("tls", {}).get("opened") is True


def expect_page(answer, status=502, token="tls_certificate_error", details=""):
    """A page of the proxy that says what is wrong, to people and to programs."""
    assert answer.status == status, answer
    said = ", ".join(answer.all("Proxy-Status"))
    assert f"error={token}" in said and re.search(details, said, re.I), (said, details)
    assert "no-store" in (answer.one("Cache-Control") or ""), answer
    return said


def ended(sock, timeout=PATIENCE_S):
    """Whatever comes until the other side is done; how it ended."""
    data = b""
    sock.settimeout(timeout)
    try:
        while more := sock.recv(65536):
            data += more
    except ConnectionResetError:
        return data, "rst"
    except TimeoutError:
        return data, "open"
    return data, "fin"


def main(title, prepare, at_once=4):
    """A program of rows: `prepare(site)` makes what they need and begins the proxy."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--sallyport", default=str(HERE.parents[1] / "build/release/sallyport"))
    parser.add_argument("--only", default="", help="a regular expression of names")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, help="seconds that a row waits for what has to come")
    options = parser.parse_args()
    auth_site.PATIENCE_S = options.patience
    site, status = Site(pathlib.Path(options.sallyport).resolve()), 1
    try:
        prepare(site)
        status = run_rows(title, [(name, lambda test=test: test(site)) for name, test in ROWS], options.only, at_once,
                          last=[(name, lambda test=test: test(site)) for name, test in ALONE if re.search(options.only, name)] + [
                              (f"{title}: every role lives to the end, and stops when told", site.end)])
    finally:
        site.remove()
    sys.exit(status)


if __name__ == "__main__":
    sys.exit("this is no program")
