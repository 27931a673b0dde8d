# SPDX-License-Identifier: Apache-2.0
"""What doctor is tried against: STUN servers that behave and such that do not, HTTPS and WebSocket, name servers; each on a
port of its own, in threads of the test."""
import base64
import hashlib
import pathlib
import socket
import ssl
import struct
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tls")]
import certificates  # noqa: E402

COOKIE = b"\x21\x12\xa4\x42"
SUCCESS, ERROR = 0x0101, 0x0111


def attribute(kind, value):
    return struct.pack(">HH", kind, len(value)) + value + b"\0" * (-len(value) % 4)


def binding_answer(request, peer, kind=SUCCESS, wrong_id=False):
    """To a Binding request; None to anything else."""
    if len(request) < 20 or request[:2] != b"\x00\x01" or request[4:8] != COOKIE:
        return None
    ident = bytes(12) if wrong_id else request[8:20]
    if kind == ERROR:
        body = attribute(9, b"\0\0\x04\x01Unauthorized")
    else:
        raw = socket.inet_pton(socket.AF_INET6 if ":" in peer[0] else socket.AF_INET, peer[0])
        mask = COOKIE + ident
        body = attribute(0x20, struct.pack(">BBH", 0, 2 if len(raw) == 16 else 1, peer[1] ^ 0x2112) +
                         bytes(a ^ b for a, b in zip(raw, mask)))
    return struct.pack(">HH", kind, len(body)) + COOKIE + ident + body


class Server:
    """Serves in a thread until it is closed."""

    def __init__(self):
        self.is_open = True

    def begin(self):
        threading.Thread(target=self.run, daemon=True).start()
        return self

    def run(self):
        try:
            self.serve()
        except OSError:
            assert not self.is_open

    def serve(self):
        raise NotImplementedError

    def close(self):
        self.is_open = False
        try:
            self.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread
        except OSError:
            pass
        self.sock.close()

    @property
    def port(self):
        return self.sock.getsockname()[1]


class StunUdp(Server):
    """mode: good, silent, wrong (another id), noise, error, late (answers all but the first request of each client)"""

    def __init__(self, mode="good", host="127.0.0.1", port=0):
        super().__init__()
        self.mode = mode
        self.peers = set()
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, port))
        self.begin()

    def serve(self):
        while self.is_open:
            data, peer = self.sock.recvfrom(2048)
            if not data:
                continue
            is_first = peer not in self.peers
            self.peers.add(peer)
            if self.mode == "silent" or (self.mode == "late" and is_first):
                continue
            if self.mode == "noise":
                self.sock.sendto(b"\x80\x60 no STUN at all", peer)
                continue
            answer = binding_answer(data, peer, ERROR if self.mode == "error" else SUCCESS, self.mode == "wrong")
            if answer:
                self.sock.sendto(answer, peer)


class Tcp(Server):
    """Takes connections; talk() in a thread for each."""

    def __init__(self, host="127.0.0.1", port=0):
        super().__init__()
        self.kept = []
        self.sock = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.begin()

    def serve(self):
        while True:
            sock, peer = self.sock.accept()
            self.kept.append(sock)
            threading.Thread(target=self.guarded, args=(sock, peer), daemon=True).start()

    def guarded(self, sock, peer):
        try:
            self.talk(sock, peer)
        except (OSError, ValueError):
            sock.close()

    def talk(self, sock, peer):
        raise NotImplementedError

    def close(self):
        super().close()
        for sock in self.kept:
            sock.close()


class StunTcp(Tcp):
    """mode: framed (RFC 4571), drip (the same, a byte at a time), plain, silent, noise, close, huge"""

    def __init__(self, mode="framed", **how):
        self.mode = mode
        super().__init__(**how)

    def talk(self, sock, peer):
        if self.mode == "close":
            sock.recv(100)
            sock.close()
            return
        while True:
            data = sock.recv(2048)
            if not data:
                break
            framed = data[:2] == b"\0\x1c"
            if self.mode == "silent":
                continue
            if self.mode in ("noise", "huge"):
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" if self.mode == "noise" else b"\x7f\xff" + b"x" * 100)
                continue
            answer = binding_answer(data[2:] if framed else data, peer)
            if self.mode in ("framed", "drip") and answer:
                # Before the answer, a frame of media: it is stepped over.
                answer = b"\0\x0c" + b"\x80\x60" + bytes(10) + struct.pack(">H", len(answer)) + answer
            for part in ([answer] if self.mode != "drip" else [bytes([one]) for one in answer]):
                sock.sendall(part)
        sock.close()


class Web(Tcp):
    """TLS with a certificate: / is a page, /ws a WebSocket, /liar one with a wrong key, /mute never answers."""

    def __init__(self, made, folder, name, **how):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*made.write(folder, name))
        self.asked = []
        super().__init__(**how)

    def talk(self, sock, peer):
        with self.context.wrap_socket(sock, server_side=True) as tls:
            head = b""
            while b"\r\n\r\n" not in head:
                got = tls.recv(4096)
                if not got:
                    return
                head += got
            lines = head.decode().split("\r\n")
            fields = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines[1:]}
            path = lines[0].split()[1]
            self.asked.append((path, fields.get("host"), tls.version()))
            if path == "/mute":
                tls.recv(1)
            elif path in ("/ws", "/liar"):
                key = fields["sec-websocket-key"] + ("258EAFA5-E914-47DA-95CA-C5AB0DC85B11" if path == "/ws" else "")
                accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
                tls.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
                tls.recv(1)
            else:
                status = "200 OK" if path == "/" else "404 Not Found"
                tls.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok".encode())


class NameServer(Server):
    """names: {name: [addresses]}; a name that is not there is NXDOMAIN; None: no answer."""

    def __init__(self, names):
        super().__init__()
        self.names = names
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.begin()

    def serve(self):
        while self.is_open:
            data, peer = self.sock.recvfrom(2048)
            if not data:
                continue
            at, labels = 12, []
            while data[at]:
                labels.append(data[at + 1:at + 1 + data[at]].decode())
                at += 1 + data[at]
            question = data[12:at + 5]
            kind = struct.unpack(">H", data[at + 1:at + 3])[0]
            found = self.names.get(".".join(labels).lower(), [])
            if found is None:
                continue
            wanted = [one for one in found if (":" in one) == (kind == 28)] if kind in (1, 28) else []
            records = b""
            for one in wanted:
                raw = socket.inet_pton(socket.AF_INET6 if ":" in one else socket.AF_INET, one)
                records += struct.pack(">HHHIH", 0xC00C, kind, 1, 60, len(raw)) + raw
            flags = 0x8180 | (0 if found else 3)
            self.sock.sendto(data[:2] + struct.pack(">HHHHH", flags, 1, len(wanted), 0, 0) + question + records, peer)


class Certificates:
    """A root that is trusted, its child for some names, and one of a CA in between."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.root = certificates.root("Doctor Test Root")
        self.other = certificates.root("Snooping Gateway CA")
        (self.folder / "root.pem").write_text(self.root.pem)

    def good(self, *names):
        return certificates.issue(self.root, names[0], names)

    def snooped(self, *names):
        return certificates.issue(self.other, names[0], names)

    def expired(self, *names):
        return certificates.issue(self.root, names[0], names, days=(-9, -1))
