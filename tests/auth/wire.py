# SPDX-License-Identifier: Apache-2.0
"""A client of the proxy that is written byte by byte: a connection, and Basic, Digest (RFC 7616) and NTLMv2 (MS-NLMP) by hand,
so that tests can also do what no real client does. Run as a program it checks itself against the vectors of MS-NLMP 4.2."""
import base64
import contextlib
import hashlib
import hmac
import os
import re
import socket
import struct
import sys

PATIENCE_S = 60.0
NTLM_FLAGS = 0xa0088207  # Unicode, OEM, target, NTLM, always sign, extended security, 128, 56: as curl


# ---- a connection ----

class Response:
    def __init__(self, head, body):
        lines = head.decode("latin-1").split("\r\n")
        self.line, self.body = lines[0], body
        self.status = int(lines[0].split()[1])
        self.fields = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if line]

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name, default=None):
        values = self.all(name)
        assert len(values) <= 1, values
        return values[0] if values else default

    @property
    def challenges(self):
        return self.all("Proxy-Authenticate")

    @property
    def says_close(self):
        return "close" in ",".join(self.all("Connection") + self.all("Proxy-Connection")).lower()

    def token(self, scheme):
        """Of the one challenge of a talk that goes on."""
        values = [value.split(None, 1)[1] for value in self.challenges if value.startswith(scheme + " ")]
        assert len(values) == 1 and len(self.challenges) == 1, self.challenges
        return base64.b64decode(values[0], validate=True)

    def digest(self, algorithm="SHA-256"):
        """The parameters of the challenge with this algorithm."""
        for value in self.challenges:
            if value.startswith("Digest "):
                found = {name.lower(): text.strip('"') for name, text in re.findall(r'([\w*]+)=("[^"]*"|[^\s,]+)', value[7:])}
                if found["algorithm"] == algorithm:
                    return found
        raise AssertionError(f"no Digest with {algorithm}: {self.challenges}")

    def __repr__(self):
        return f"{self.line} {self.fields}"


class Ended(Exception):
    """The proxy has closed, where an answer should have come."""


class Wire:
    def __init__(self, port, source=None):
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S, (source, 0) if source else None)
        self.kept = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise Ended
        self.kept += data

    def read(self, count):
        while len(self.kept) < count:
            self.more()
        data, self.kept = self.kept[:count], self.kept[count:]
        return data

    def answer(self, method="GET"):
        while b"\r\n\r\n" not in self.kept:
            self.more()
        head, self.kept = self.kept.split(b"\r\n\r\n", 1)
        response = Response(head, b"")
        bare = method == "HEAD" or response.status in (204, 304) or response.status < 200
        if bare or (method == "CONNECT" and response.status < 300):
            return response
        length = response.one("Content-Length")
        assert length is not None, f"no Content-Length: {response}"
        response.body = self.read(int(length))
        return response

    def ask(self, method, target, credentials=None, body=None, fields=(), version="1.1", host=True):
        """One request and its answer. `credentials`: the value of Proxy-Authorization."""
        self.send(request(method, target, credentials, body, fields, version, host))
        return self.answer(method)

    def is_open(self):
        """Has the proxy not closed? It has had no reason to send anything."""
        self.sock.settimeout(0.05)
        try:
            return bool(self.kept) or self.sock.recv(1, socket.MSG_PEEK) != b""
        except (TimeoutError, BlockingIOError):
            return True
        except OSError:
            return False
        finally:
            self.sock.settimeout(PATIENCE_S)

    def wait_end(self):
        """Until the proxy has closed; what came meanwhile."""
        with contextlib.suppress(ConnectionError, Ended):
            while True:
                self.more()
        return self.kept


def request(method, target, credentials=None, body=None, fields=(), version="1.1", host=True):
    lines = [f"{method} {target} HTTP/{version}"]
    if host:
        lines.append("Host: " + re.sub(r"^http://|/.*$", "", target))
    if credentials is not None:
        lines.append(f"Proxy-Authorization: {credentials}")
    lines += fields
    if body is not None and not any(field.lower().startswith("transfer-encoding") for field in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + (body or b"")


def chunked(size, chunk=16384):
    """A chunked body that carries `size` bytes."""
    parts = [min(chunk, size - at) for at in range(0, size, chunk)]
    return b"".join(b"%x\r\n%s\r\n" % (part, b"c" * part) for part in parts) + b"0\r\n\r\n"


# ---- Basic ----

def basic(user, password):
    text = user + b":" + password if isinstance(user, bytes) else f"{user}:{password}".encode()
    return "Basic " + base64.b64encode(text).decode()


# ---- Digest ----

def quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Digest:
    """Answers to one challenge, with a count that goes up by itself."""

    def __init__(self, challenge, user, password, userhash=False, **changes):
        self.challenge, self.user, self.password = challenge, user, password
        self.userhash, self.changes, self.count, self.cnonce = userhash, changes, 0, os.urandom(8).hex()

    def hash(self, *parts):
        kind = hashlib.sha256 if self.challenge["algorithm"].upper().startswith("SHA-256") else hashlib.md5
        return kind(":".join(parts).encode()).hexdigest()

    def value(self, method, path, count=None, **changes):
        """The credentials. `changes`: parameters to be replaced after the proof was made; None: left out."""
        challenge, changes = self.challenge, {**self.changes, **changes}
        self.count = count = self.count + 1 if count is None else count
        nc = f"{count:08x}"
        a1 = self.hash(self.user, challenge["realm"], self.password)
        if challenge["algorithm"].lower().endswith("-sess"):
            a1 = self.hash(a1, challenge["nonce"], self.cnonce)
        response = self.hash(a1, challenge["nonce"], nc, self.cnonce, "auth", self.hash(method, path))
        user = self.hash(self.user, challenge["realm"]) if self.userhash else self.user
        values = {"username": quote(user), "realm": quote(challenge["realm"]), "nonce": quote(challenge["nonce"]), "uri": quote(path),
                  "algorithm": challenge["algorithm"], "qop": "auth", "nc": nc, "cnonce": quote(self.cnonce),
                  "response": quote(response), **({"userhash": "true"} if self.userhash else {}), **changes}
        return "Digest " + ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)

    def without_qop(self, method, uri):
        """As RFC 2069 had it, and rightly computed."""
        a1 = self.hash(self.user, self.challenge["realm"], self.password)
        response = self.hash(a1, self.challenge["nonce"], self.hash(method, uri))
        return self.value(method, uri, qop=None, nc=None, cnonce=None, response=quote(response))


# ---- NTLM ----

def md4(data):
    """RFC 1320: OpenSSL 3 has it no more."""
    def rotate(number, by):
        number &= 0xffffffff
        return (number << by | number >> (32 - by)) & 0xffffffff
    rounds = [  # function, constant, order of the words, shifts
        (lambda x, y, z: x & y | ~x & z, 0, list(range(16)), (3, 7, 11, 19)),
        (lambda x, y, z: x & y | x & z | y & z, 0x5a827999, [i % 4 * 4 + i // 4 for i in range(16)], (3, 5, 9, 13)),
        (lambda x, y, z: x ^ y ^ z, 0x6ed9eba1, [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15], (3, 9, 11, 15))]
    state = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476]
    data += b"\x80" + bytes((55 - len(data)) % 64) + struct.pack("<Q", 8 * len(data))
    for at in range(0, len(data), 64):
        words, (a, b, c, d) = struct.unpack_from("<16I", data, at), state
        for function, constant, order, shifts in rounds:
            for step, word in enumerate(order):
                a, b, c, d = d, rotate(a + function(b, c, d) + words[word] + constant, shifts[step % 4]), b, c
        state = [(old + new) & 0xffffffff for old, new in zip(state, (a, b, c, d))]
    return struct.pack("<4I", *state)


def hmac_md5(key, data):
    return hmac.new(key, data, "md5").digest()


def nt_hash(password):
    return md4(password.encode("utf-16-le"))


def ntlm_response(password, user, domain, challenge, temp):
    """NTProofStr and what it protects (MS-NLMP 3.3.2)."""
    key = hmac_md5(nt_hash(password), (user.upper() + domain).encode("utf-16-le"))
    return hmac_md5(key, challenge + temp) + temp


def ntlm_temp(filetime, client_challenge, target_info):
    return b"\1\1" + bytes(6) + filetime + client_challenge + bytes(4) + target_info + bytes(4)


def ntlm_negotiate(flags=NTLM_FLAGS):
    return b"NTLMSSP\0" + struct.pack("<II", 1, flags) + bytes(16)


def ntlm_read(challenge):
    """Server challenge, target info and its time."""
    assert challenge[:12] == b"NTLMSSP\0\2\0\0\0", challenge[:16]
    length, _, offset = struct.unpack_from("<HHI", challenge, 40)
    info = challenge[offset:offset + length]
    pairs, at = {}, 0
    while at + 4 <= len(info):
        kind, size = struct.unpack_from("<HH", info, at)
        pairs[kind] = info[at + 4:at + 4 + size]
        at += 4 + size
        if kind == 0:
            break
    return challenge[24:32], info, pairs[7]


def ntlm_message(lm, nt, domain, user, flags=NTLM_FLAGS):
    """The third message, laid out as curl's: its strings from byte 64."""
    texts = [lm, nt, *(text if isinstance(text, bytes) else text.encode("utf-16-le") for text in (domain, user, "WIRE")), b""]
    offset, fields = 64, b""
    for text in texts:
        fields += struct.pack("<HHI", len(text), len(text), offset)
        offset += len(text)
    return b"NTLMSSP\0" + struct.pack("<I", 3) + fields + struct.pack("<I", flags) + b"".join(texts)


def ntlm_authenticate(challenge, user, password, domain=""):
    server, info, filetime = ntlm_read(challenge)
    nt = ntlm_response(password, user, domain, server, ntlm_temp(filetime, os.urandom(8), info))
    return ntlm_message(bytes(24), nt, domain, user)


def token(scheme, data):
    return f"{scheme} {base64.b64encode(data).decode()}"


def ntlm_begin(wire, method, target, scheme="NTLM", **how):
    """The first message; the second one comes back."""
    response = wire.ask(method, target, token(scheme, ntlm_negotiate()), **how)
    assert response.status == 407, response
    return response.token(scheme)


def ntlm(wire, method, target, user, password, scheme="NTLM", **how):
    """All of the talk; what the last message is answered with."""
    challenge = ntlm_begin(wire, method, target, scheme)
    return wire.ask(method, target, token(scheme, ntlm_authenticate(challenge, user, password)), **how)


# ---- DER ----

def der(tag, *parts):
    content = b"".join(parts)
    length = bytes([len(content)]) if len(content) < 128 else b"\x82" + struct.pack(">H", len(content))
    return bytes([tag]) + length + content


def spnego_init(mech_token):
    """RFC 4178: NTLM alone is proposed."""
    mechs = der(0xa0, der(0x30, bytes.fromhex("060a2b06010401823702020a")))
    return der(0x60, bytes.fromhex("06062b0601050502"), der(0xa0, der(0x30, mechs, der(0xa2, der(0x04, mech_token)))))


def check():
    """MS-NLMP 4.2: the hashes and the proof that are printed there."""
    assert md4(b"") == bytes.fromhex("31d6cfe0d16ae931b73c59d7e0c089c0")  # RFC 1320 A.5
    assert md4(b"1234567890" * 8) == bytes.fromhex("e33b4ddc9c38f2199c3e7b164fcc0536")
    assert nt_hash("Password") == bytes.fromhex("a4f49c406510bdcab6824ee7c30fd852")  # 4.2.2.1.2
    key = hmac_md5(nt_hash("Password"), "USERDomain".encode("utf-16-le"))
    assert key == bytes.fromhex("0c868a403bfd7a93a3001ef22ef02e3f")  # 4.2.4.1.1
    info = b"".join(struct.pack("<HH", kind, 2 * len(text)) + text.encode("utf-16-le") for kind, text in ((2, "Domain"), (1, "Server")))
    nt = ntlm_response("Password", "User", "Domain", bytes.fromhex("0123456789abcdef"),
                       ntlm_temp(bytes(8), b"\xaa" * 8, info + bytes(4)))
    assert nt[:16] == bytes.fromhex("68cd0ab851e51c96aabc927bebef6a1c")  # 4.2.4.2.2


if __name__ == "__main__":
    check()
    sys.exit(0)
