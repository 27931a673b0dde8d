# SPDX-License-Identifier: Apache-2.0
"""Origins: a TLS server in Python that keeps what it was sent (its certificate and manners are chosen by SNI), openssl's
s_server, nginx, nghttpd and node."""
import base64
import contextlib
import dataclasses
import hashlib
import http.server
import json
import pathlib
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "auth")]
from auth_site import PATIENCE_S, free_port, wait_for  # noqa: E402
import client_hello as hello  # noqa: E402


@dataclasses.dataclass
class Seen:
    """One connection as the origin had it."""
    sni: str
    hello: bytes
    alpn: str = None
    version: str = None
    resumed: bool = False
    certificate: bytes = None  # of the client
    data: bytearray = dataclasses.field(default_factory=bytearray)  # what came in the session, decrypted
    requests: list = dataclasses.field(default_factory=list)
    failed: str = None         # why the handshake did not end well
    done: bool = False


def content(size):
    """Bytes that are nowhere the same for long."""
    block = b"".join(struct.pack(">I", number) for number in range(16384))
    return (block * (size // len(block) + 1))[:size]


class Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "origin", ""
    wbufsize = -1

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def reply(self, body, status=200, **fields):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer(self):
        seen = self.server
        seen.requests.append((self.command, self.path, list(self.headers.items())))
        kind, _, rest = self.path.strip("/").partition("/")
        getattr(self, "page_" + kind.replace("-", "_").split("?")[0], self.page_echo)(rest)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = answer

    def page_echo(self, _):
        data = self.body()
        said = {"method": self.command, "path": self.path, "fields": list(self.headers.items()), "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(), "sni": self.server.sni}
        self.reply(json.dumps(said).encode(), Content_Type="application/json")

    def page_bytes(self, rest):
        self.reply(content(int(rest)))

    def page_chunked(self, rest):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Trailer", "X-Sum")
        self.end_headers()
        data = content(int(rest))
        for at in range(0, len(data), 10000):
            part = data[at:at + 10000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\nX-Sum: %s\r\n\r\n" % hashlib.sha256(data).hexdigest().encode())

    def page_close(self, rest):
        """Ends with the connection; "cut" leaves out the close_notify."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content(5000))
        self.wfile.flush()
        self.close_connection = True
        self.server.cut = rest == "cut"

    def page_early_hints(self, _):
        self.send_response_only(103)
        self.send_header("Link", "</a.css>; rel=preload")
        self.end_headers()
        self.reply(b"final\n")

    def page_too_large(self, _):
        """A final answer before the content is read, as to who waits for 100."""
        self.close_connection = True
        self.reply(b"too large\n", 413, Connection="close")

    def handle_expect_100(self):
        if not self.path.startswith("/too-large"):
            super().handle_expect_100()
            self.wfile.flush()
        return True

    def page_fields(self, _):
        self.reply(b"ok\n", Strict_Transport_Security="max-age=31536000", Content_Security_Policy="default-src 'self'",
                   Alt_Svc='h3=":443"', Set_Cookie="a=b; Secure")

    def page_picture(self, _):
        self.reply(b"\x89PNG\r\n\x1a\n" + bytes(100), Content_Type="image/png")

    def page_slow(self, _):
        time.sleep(0.3)
        self.reply(b"slow\n")

    def page_ws(self, _):
        if self.headers.get("Upgrade", "").lower() != "websocket":
            return self.reply(b"no upgrade\n", 400)
        key = self.headers["Sec-WebSocket-Key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response_only(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key).digest()).decode())
        if "permessage-deflate" in self.headers.get("Sec-WebSocket-Extensions", ""):
            self.send_header("Sec-WebSocket-Extensions", "permessage-deflate")
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        websocket_echo(self.rfile, self.wfile)

    def page_upgrade(self, _):
        """Another protocol after 101."""
        self.send_response_only(101)
        self.send_header("Upgrade", self.headers["Upgrade"])
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        while data := self.rfile.read1(65536):
            self.wfile.write(data.upper())
            self.wfile.flush()

    def log_message(self, *_):
        pass


def websocket_echo(rfile, wfile):
    """Frames come back as they are but for the mask: fragments, reserved bits and all. A close is answered with its code."""
    while True:
        head = rfile.read(2)
        if len(head) < 2:
            return
        size = head[1] & 127
        size = struct.unpack(">H", rfile.read(2))[0] if size == 126 else struct.unpack(">Q", rfile.read(8))[0] if size == 127 else size
        mask, data = rfile.read(4), bytearray(rfile.read(size))
        data = (int.from_bytes(data, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")).to_bytes(size, "big")
        opcode = head[0] & 15
        first = (head[0] & 0xf0) | (10 if opcode == 9 else opcode)
        wfile.write(websocket_frame(first, data))
        wfile.flush()
        if opcode == 8:
            return


def websocket_frame(first, data, mask=None):
    bit = 128 if mask else 0
    size = bytes([bit | len(data)]) if len(data) < 126 else struct.pack(">BH", bit | 126, len(data)) if len(data) < 65536 else \
        struct.pack(">BQ", bit | 127, len(data))
    if mask:
        data = (int.from_bytes(data, "big") ^ int.from_bytes((mask * (len(data) // 4 + 1))[:len(data)], "big")).to_bytes(len(data), "big")
    return bytes([first]) + size + (mask or b"") + data


@dataclasses.dataclass
class Manners:
    """How a name is served."""
    context: ssl.SSLContext
    handler: object = None  # function (tls socket, seen); None: Pages


class TlsOrigin:
    """Serves names with manners of their own; whom it does not know it serves as `default`."""

    def __init__(self, folder, address="127.0.0.1"):
        self.folder, self.hosts, self.seen, self.lock = folder, {}, [], threading.Lock()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sock = socket.create_server((address, 0), family=family, backlog=1024)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def add(self, name, made, ciphers=None, least=None, most=None, alpn=("http/1.1",), clients=None, demand=True, handler=None,
            prepare=None):
        """`clients`: a root (Made), whose certificates clients are asked for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if ciphers:
            context.set_ciphers(ciphers)
        if least or most:
            context.minimum_version, context.maximum_version = least or most, most or ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(*made.write(self.folder, f"origin-{len(self.hosts)}"))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if clients:
            context.load_verify_locations(cadata=clients.pem)
            context.verify_mode = ssl.CERT_REQUIRED if demand else ssl.CERT_OPTIONAL
        if prepare:
            prepare(context)
        self.hosts[name] = Manners(context, handler)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=(self.sock.accept()[0],), daemon=True).start()

    def manners(self, sni):
        while sni and sni not in self.hosts and "*." + sni.partition(".")[2] not in self.hosts:
            sni = None
        return self.hosts.get(sni) or self.hosts.get("*." + (sni or "").partition(".")[2]) or self.hosts["default"]

    def serve(self, sock):
        with contextlib.suppress(OSError, ValueError), sock:
            sock.settimeout(PATIENCE_S)
            raw = hello.peek(sock)
            seen = Seen(hello.sni_of(raw), raw)
            with self.lock:
                self.seen.append(seen)
            manners = self.manners(seen.sni)
            try:
                tls = manners.context.wrap_socket(sock, server_side=True)
            except OSError as error:
                seen.failed = str(error)
                return
            seen.alpn, seen.version, seen.resumed = tls.selected_alpn_protocol(), tls.version(), tls.session_reused
            seen.certificate = tls.getpeercert(True)
            try:
                (manners.handler or serve_pages)(tls, seen)
            finally:
                seen.done = True

    def of(self, name):
        """Connections with this SNI."""
        with self.lock:
            return [seen for seen in self.seen if seen.sni == name]

    def close(self):
        self.sock.close()


class Recording:
    """A file over a TLS socket that keeps what is read."""

    def __init__(self, tls, seen):
        self.file, self.seen = tls.makefile("rb"), seen

    def keep(self, data):
        self.seen.data += data
        return data

    def read(self, size=-1):
        return self.keep(self.file.read(size))

    def read1(self, size=-1):
        return self.keep(self.file.read1(size))

    def readline(self, size=-1):
        return self.keep(self.file.readline(size))

    def close(self):
        self.file.close()

    closed = False


class PagesOn(Pages):
    def setup(self):
        super().setup()
        self.rfile = Recording(self.connection, self.server)


def serve_pages(tls, seen):
    seen.cut = False
    with contextlib.suppress(OSError):
        PagesOn(tls, ("", 0), seen)
        if not seen.cut:
            tls.settimeout(5)
            tls.unwrap()


def read_only(tls, seen):
    """A handler that answers nothing: what comes is kept."""
    while data := tls.recv(65536):
        seen.data += data


class RawOrigin:
    """Plain TCP: `serve(sock, seen)` for each connection, in a thread. The default echoes."""

    def __init__(self, serve=None, address="127.0.0.1", port=0):
        self.serve_one = serve or echo
        self.sock = socket.create_server((address, port), backlog=512)
        self.port, self.seen = self.sock.getsockname()[1], []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.sock.accept()
                sock.settimeout(PATIENCE_S)
                kept = bytearray()
                self.seen.append(kept)
                threading.Thread(target=self.serve, args=(sock, kept), daemon=True).start()

    def serve(self, sock, kept):
        with contextlib.suppress(OSError), sock:
            self.serve_one(sock, kept)

    def close(self):
        self.sock.close()


def echo(sock, kept):
    while data := sock.recv(65536):
        kept += data
        sock.sendall(data)


class Relay(RawOrigin):
    """Between somebody and a port: keeps both directions."""

    def __init__(self, to, host="127.0.0.1"):
        self.to, self.host, self.down = to, host, []
        super().__init__(self.relay)

    def relay(self, sock, kept):
        back = bytearray()
        self.down.append(back)
        with socket.create_connection((self.host, self.to), PATIENCE_S) as other:
            thread = threading.Thread(target=self.copy, args=(other, sock, back), daemon=True)
            thread.start()
            self.copy(sock, other, kept)
            thread.join()

    @staticmethod
    def copy(source, sink, kept):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                kept += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


class Server:
    """A program that listens on `port` until stop()."""

    def __init__(self, words, port, log, cwd=None, address="127.0.0.1", stdin=None):
        self.port, self.path = port, pathlib.Path(log)
        with open(log, "wb") as file:
            self.process = subprocess.Popen([str(word) for word in words], stdout=file, stderr=file, cwd=cwd,
                                            stdin=stdin or subprocess.DEVNULL)
        try:
            wait_for(f"{words[0]}", lambda: self.process.poll() is None and is_listening(port, address))
        except AssertionError:
            self.stop()
            raise AssertionError(self.log()) from None

    def log(self):
        return self.path.read_text(errors="replace")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()


def is_listening(port, address="127.0.0.1"):
    """As the kernel says, so that nobody is bothered with a connection."""
    wanted = f":{port:04X} "
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if any(wanted in line.split("rem")[0][:60] and " 0A " in line and wanted.strip() in line.split()[1]
               for line in pathlib.Path(table).read_text().splitlines()[1:]):
            return True
    return False


def s_server(folder, name, made, *flags, page=True, stdin=None):
    """openssl s_server; `page`: it answers with -www, else its standard output is what it was sent."""
    certificate, key = made.write(folder, f"s_server-{name}")
    port = free_port()
    return Server(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", certificate, "-key", key, "-cert_chain", certificate,
                   *(["-www"] if page else ["-quiet"]), *flags], port, folder / f"s_server-{name}.log", stdin=stdin)


def nghttpd(folder, made, pages):
    certificate, key = made.write(folder, "nghttpd")
    port = free_port()
    return Server(["nghttpd", "-a", "127.0.0.1", "-d", pages, "--echo-upload", "--trailer", "x-trailer: last", str(port), key, certificate],
                  port, folder / "nghttpd.log")


def node(folder, script, made, *words):
    """A script of this folder that listens on the port that is its first word."""
    certificate, key = made.write(folder, script)
    port = free_port()
    return Server(["node", HERE / f"{script}.js", port, certificate, key, *words], port, folder / f"{script}.log")


def nginx(folder, made, more=""):
    certificate, key = made.write(folder, "nginx")
    port = free_port()
    temp = "".join(f"{kind}_temp_path {folder}/nginx-{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "pages").mkdir(exist_ok=True)
    (folder / "pages/hello").write_text("hello through the wall\n")
    (folder / "nginx.conf").write_text(f"""daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
        events {{}} http {{ access_log {folder}/nginx.seen; {temp} server {{ listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {certificate}; ssl_certificate_key {key}; root {folder}/pages; client_max_body_size 100m; {more}
        }} }}""")
    return Server(["/usr/sbin/nginx", "-c", folder / "nginx.conf"], port, folder / "nginx.log")


if __name__ == "__main__":
    sys.exit("this is no program")
