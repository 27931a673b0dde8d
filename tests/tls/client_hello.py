# SPDX-License-Identifier: Apache-2.0
"""ClientHellos: of a real client (OpenSSL by way of Python), made by hand, cut into records, and read."""
import os
import socket
import ssl
import struct
import sys

GREASE = 0x7a7a
TLS12, TLS13 = 0x0303, 0x0304
CIPHERS = (0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f)
SIGNATURES = (0x0403, 0x0804, 0x0401)
EXTENSION_SNI, EXTENSION_ALPN, EXTENSION_ECH = 0, 16, 0xfe0d


def of_openssl(sni, alpn=("http/1.1",), most=ssl.TLSVersion.TLSv1_3):
    """What a real client says first; the bytes of its record."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = most
    if alpn:
        context.set_alpn_protocols(list(alpn))
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=sni)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return out.read()
    raise AssertionError("it has said nothing")


def vector(width, *parts):
    data = b"".join(parts)
    return len(data).to_bytes(width, "big") + data


def numbers(values):
    return b"".join(struct.pack(">H", value) for value in values)


def extension(kind, *parts):
    return struct.pack(">H", kind) + vector(2, *parts)


def sni_extension(*names, kind=0):
    return extension(EXTENSION_SNI, vector(2, *[bytes([kind]) + vector(2, name if isinstance(name, bytes) else name.encode())
                                               for name in names]))


def by_hand(*snis, ciphers=CIPHERS, groups=(0x1d, 0x17), versions=(TLS13, TLS12), shares=(0x1d,), alpn=(), more=(), padding=0,
            signatures=SIGNATURES, session=32, legacy=TLS12):
    """A handshake message. `more`: extensions, made."""
    share = b"".join(struct.pack(">H", group) + vector(2, bytes([9]) + bytes(31) if group == 0x1d else bytes(1)) for group in shares)
    parts = [sni_extension(*snis)] if snis else []
    parts += [extension(10, vector(2, numbers(groups))), extension(11, vector(1, b"\0")), extension(13, vector(2, numbers(signatures))),
              extension(23), extension(0xff01, b"\0"), extension(43, vector(1, numbers(versions))), extension(45, vector(1, b"\1")),
              extension(51, vector(2, share))]
    if alpn:
        parts.append(extension(EXTENSION_ALPN, vector(2, *[vector(1, name.encode() if isinstance(name, str) else name) for name in alpn])))
    parts += more
    if padding:
        parts.append(extension(21, bytes(padding)))
    body = struct.pack(">H", legacy) + os.urandom(32) + vector(1, os.urandom(session)) + vector(2, numbers(ciphers)) + vector(1, b"\0")
    return b"\1" + vector(3, body + vector(2, *parts))


def records(message, size=16384, version=0x0301):
    """The message in records of at most so many bytes."""
    return b"".join(b"\x16" + struct.pack(">HH", version, len(message[at:at + size])) + message[at:at + size]
                    for at in range(0, len(message), size))


def message_of(raw):
    """The handshake message of whole records."""
    out = b""
    while len(raw) >= 5 and raw[0] == 22:
        size = struct.unpack(">H", raw[3:5])[0]
        out, raw = out + raw[5:5 + size], raw[5 + size:]
    return out


def fields_of(raw):
    """(client random, session id, ciphers, {extension: content}, order of extensions) of records."""
    data = message_of(raw)
    assert data[0] == 1, data[:8]
    at = 4 + 2
    random, at = data[at:at + 32], at + 32
    session, at = data[at + 1:at + 1 + data[at]], at + 1 + data[at]
    size = struct.unpack(">H", data[at:at + 2])[0]
    ciphers, at = struct.unpack(f">{size // 2}H", data[at + 2:at + 2 + size]), at + 2 + size
    at += 1 + data[at] + 2
    extensions = {}
    while at + 4 <= len(data):
        kind, size = struct.unpack(">HH", data[at:at + 4])
        extensions[kind], at = data[at + 4:at + 4 + size], at + 4 + size
    return random, session, ciphers, extensions


def sni_of(raw):
    """None: there is none, or the record is not all of the hello."""
    try:
        content = fields_of(raw)[3].get(EXTENSION_SNI)
    except (IndexError, AssertionError, struct.error):
        return None
    return content[5:].decode("latin-1") if content else None


def alpn_of(raw):
    content, names = fields_of(raw)[3].get(EXTENSION_ALPN, b"\0\0")[2:], []
    while content:
        names.append(content[1:1 + content[0]].decode("latin-1"))
        content = content[1 + content[0]:]
    return names


def list_of(raw, kind, width=2):
    """The numbers of a list in an extension."""
    content = fields_of(raw)[3].get(kind, b"")[width:]
    return struct.unpack(f">{len(content) // 2}H", content[:len(content) // 2 * 2])


def peek(sock):
    """The first record of a socket, left in it."""
    want = 5
    while True:
        data = sock.recv(want, socket.MSG_PEEK | socket.MSG_WAITALL)
        if not data:
            raise ConnectionError("closed before it said hello")
        if data[0] != 22:
            raise ValueError(f"no TLS: {data!r}")
        if len(data) >= 5 and want == 5:
            want = 5 + struct.unpack(">H", data[3:5])[0]
        if len(data) >= want:
            return data


if __name__ == "__main__":
    sys.exit("this is no program")
