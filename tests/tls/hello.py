#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The first bytes of a session that is to be opened: ClientHellos however they are cut, and what is none. Ends with
"hello: N passed, M failed"."""
import contextlib
import os
import pathlib
import random
import socket
import ssl
import struct
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
import client_hello as hello  # noqa: E402
import origins  # noqa: E402
from tls_site import Refused, connect, connects, context_of, ended, main, opened, read_answer, row, row_named, wait_for  # noqa: E402

HALF_OPEN = 1500  # half hellos at once
PATIENT_S = 25    # longer than any time-out here


def prepare(site):
    site.names(*[f"o{number}.opaque.test" for number in range(20)])
    site.raw = site.keep(origins.RawOrigin())
    site.greeter = site.keep(origins.RawOrigin(greet))
    site.silent = site.keep(origins.RawOrigin(lambda sock, kept: sock.recv(1)))
    site.begin()


def greet(sock, kept):
    sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    origins.echo(sock, kept)


class Memory:
    """A TLS client in memory, whose first flight is sent by hand."""

    def __init__(self, site, host, **how):
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context_of(site.proxy.ca_file, **how).wrap_bio(self.into, self.out, server_hostname=host)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.client.do_handshake()
        self.first = self.out.read()

    def go_on(self, sock):
        """The rest of the handshake; then one request."""
        self.drive(sock, self.client.do_handshake)
        self.client.write(f"GET /echo HTTP/1.1\r\nHost: {self.client.server_hostname}\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while True:
            more = self.drive(sock, lambda: self.client.read(65536))
            if not more:
                return data
            data += more

    def drive(self, sock, step):
        while True:
            try:
                got = step()
                sock.sendall(self.out.read())
                return got
            except ssl.SSLWantReadError:
                sock.sendall(self.out.read())
                data = sock.recv(65536)
                self.into.write(data) if data else self.into.write_eof()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""


def served(site, cut, host=None, **how):
    """A session whose first flight goes out as `cut(sock, bytes)` sends it."""
    host = host or site.host()
    memory = Memory(site, host, **how)
    with connect(site.proxy, site.at(host)) as sock:
        cut(sock, memory.first)
        data = memory.go_on(sock)
    assert data.startswith(b"HTTP/1.1 200") and f'"sni": "{host}"'.encode() in data, data
    return host


# ---- a hello, cut ----

@row
def one_byte_a_segment(site):
    def cut(sock, data):
        for at in range(len(data)):
            sock.sendall(data[at:at + 1])
    assert opened(site.connect_line(served(site, cut)))


@row
def two_segments_wherever_they_part(site):
    """Every offset of the first hundred, and some behind. The verdict is the same: a ServerHello comes."""
    raw = hello.of_openssl(site.host())
    for at in [*range(1, 100), *range(100, len(raw), 37)]:
        with connect(site.proxy, site.at()) as sock:
            sock.sendall(raw[:at])
            time.sleep(0.001)
            sock.sendall(raw[at:])
            assert sock.recv(1) == b"\x16", at


def in_records(size, per_segment=False):
    def cut(sock, data):
        parts = hello.records(hello.message_of(data), size)
        if not per_segment:
            sock.sendall(parts)
            return
        for at in range(0, len(parts), size + 5):
            sock.sendall(parts[at:at + size + 5])
    return cut


row_named("two records in one segment", lambda site: served(site, in_records(300)))
row_named("two records in two segments", lambda site: served(site, in_records(300, True)))
row_named("records of a few bytes", lambda site: served(site, in_records(7)))
row_named("records of a few bytes, each in a segment", lambda site: served(site, in_records(11, True)))
row_named("TLS 1.2 alone, in records", lambda site: served(site, in_records(50), most=ssl.TLSVersion.TLSv1_2))


def server_hello_for(site, *snis, chunk=16384, **how):
    """Is a hello made by hand answered with a ServerHello?"""
    host = snis[0] if snis else site.host()
    with connect(site.proxy, site.at(host)) as sock:
        sock.sendall(hello.records(hello.by_hand(host, **how), chunk))
        data = sock.recv(6, socket.MSG_WAITALL)
    assert data[:1] == b"\x16" and data[5] == 2, data


@row
def a_hello_of_the_size_that_post_quantum_keys_make(site):
    server_hello_for(site, site.host(), padding=1400)


@row
def a_hello_of_many_records_up_to_what_openssl_takes(site):
    server_hello_for(site, site.host(), padding=60000, chunk=16000)


@row
def a_hello_larger_than_openssl_takes_is_refused(site):
    host = site.host()
    body = hello.by_hand(host)
    message = b"\1" + (140000).to_bytes(3, "big") + body[4:] + bytes(140000 - len(body) + 4)
    with connect(site.proxy, site.at(host)) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(hello.records(message))
        assert ended(sock, PATIENT_S)[0][:1] in (b"", b"\x15")
    assert site.connect_line(host)["error"] == "hello_refused"
    assert not site.origin.of(host)


@row
def more_records_than_anybody_needs_are_refused(site):
    host = site.host()
    with connect(site.proxy, site.at(host)) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(hello.records(hello.by_hand(host, padding=3000), 4))
        assert ended(sock, PATIENT_S)[0][:1] in (b"", b"\x15")
    assert site.connect_line(host)["error"] == "hello_refused"


@row
def grease_is_ignored_wherever_it_stands(site):
    g = hello.GREASE
    more = (hello.extension(g, b"\0"), hello.extension(0x1a1a))
    server_hello_for(site, site.host(), ciphers=(g, *hello.CIPHERS), groups=(g, 0x1d, 0x17), versions=(0x9a9a, hello.TLS13, hello.TLS12),
                     shares=(g, 0x1d), alpn=(b"\x6a\x6a", "http/1.1"), signatures=(0x2a2a, *hello.SIGNATURES), more=more)


@row
def grease_for_ech_is_ignored(site):
    ech = hello.extension(hello.EXTENSION_ECH, b"\0\0\1\0\1\1", hello.vector(2, os.urandom(32)), hello.vector(2, os.urandom(144)))
    server_hello_for(site, site.host(), more=(ech,))


@row
def a_key_share_that_we_do_not_know_is_asked_for_again(site):
    """Post-quantum first, X25519 known too: a HelloRetryRequest, which is a ServerHello with a random of its own."""
    server_hello_for(site, site.host(), groups=(0x11ec, 0x1d), shares=(0x11ec,))


@row
def a_hello_in_the_segment_of_the_connect(site):
    host = site.host()
    memory = Memory(site, host)
    with connect(site.proxy, site.at(host), early=memory.first) as sock:
        assert memory.go_on(sock).startswith(b"HTTP/1.1 200")


@row
def half_of_a_hello_in_the_segment_of_the_connect(site):
    host = site.host()
    memory = Memory(site, host)
    with connect(site.proxy, site.at(host), early=memory.first[:3]) as sock:
        sock.sendall(memory.first[3:])
        assert memory.go_on(sock).startswith(b"HTTP/1.1 200")


# ---- what is wrong with a hello ----

def broken(name, change):
    def test(site):
        host = site.host()
        raw = change(bytearray(hello.records(hello.by_hand(host))))
        with connect(site.proxy, site.at(host)) as sock:
            with contextlib.suppress(OSError):
                sock.sendall(bytes(raw))
                sock.shutdown(socket.SHUT_WR)
            data, _ = ended(sock, PATIENT_S)
        assert data[:1] in (b"", b"\x15"), data[:20]
        line = site.connect_line(host)
        assert line["error"] in ("hello_refused", "opaque_denied", "hello_timeout", "client_tls", "client_closed"), line
        assert not site.origin.of(host), "the origin was talked to"
    row_named(f"a hello {name} is refused", test)


def replaced(at, data):
    def change(raw):
        raw[at:at + len(data)] = data
        return raw
    return change


broken("that ends in the middle", lambda raw: raw[:-20])
broken("that ends in its first record's head", lambda raw: raw[:4])
broken("whose record is longer than records may be", replaced(3, b"\xff\xff"))
broken("whose message is longer than it is", replaced(6, b"\0\xff\xff"))
broken("whose message is shorter than it is", replaced(6, b"\0\0\x20"))
broken("that is no ClientHello", replaced(5, b"\2"))
broken("with a session id that is too long", replaced(5 + 4 + 2 + 32, b"\xff"))
broken("with an alert between its records", lambda raw: hello.records(hello.message_of(bytes(raw)), 100)[:105] + b"\x15\3\1\0\2\1\0" +
       hello.records(hello.message_of(bytes(raw)), 100)[105:])


@row
def an_empty_record_before_a_hello_is_taken_as_openssl_takes_it(site):
    host = site.host()
    with connect(site.proxy, site.at(host)) as sock:
        sock.sendall(b"\x16\3\1\0\0" + hello.records(hello.by_hand(host)))
        assert sock.recv(6, socket.MSG_WAITALL)[5] == 2, "a ServerHello"


@row
def hellos_broken_at_random_harm_nobody(site):
    """Each is refused, or taken as OpenSSL takes it; the proxy serves on."""
    chance = random.Random(5)
    for _ in range(150):
        raw = bytearray(hello.records(hello.by_hand(site.host() if chance.random() < 0.05 else "h398.web.test")))
        for _ in range(chance.randint(1, 6)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        with connect(site.proxy, site.at("h398.web.test")) as sock, contextlib.suppress(OSError):
            sock.sendall(bytes(raw[:chance.randint(1, len(raw))] if chance.random() < 0.3 else raw))
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(PATIENT_S)
            sock.recv(1000)
    assert site.get().status == 200


@row
def a_hello_of_sslv2_is_refused(site):
    host = site.host()
    ciphers = bytes.fromhex("010080") + bytes.fromhex("00002f")
    message = b"\1\3\1" + struct.pack(">HHH", len(ciphers), 0, 16) + ciphers + bytes(16)
    with connect(site.proxy, site.at(host)) as sock:
        sock.sendall(struct.pack(">H", 0x8000 | len(message)) + message)
        assert ended(sock, PATIENT_S)[0][:1] in (b"", b"\x15")
    assert site.connect_line(host)["error"] in ("opaque_denied", "hello_refused")
    assert not site.origin.of(host)


# ---- what is no TLS ----

OTHERS = {"SSH": b"SSH-2.0-x\r\n", "DTLS": b"\x16\xfe\xfd" + bytes(8) + b"\0\x20\1" + bytes(31), "RDP": b"\x03\0\0\x13\x0e\xe0" + bytes(13),
          "BitTorrent": b"\x13BitTorrent protocol" + bytes(48), "SOCKS": b"\x05\1\0", "nothing known": b"\xde\xad\xbe\xef" * 8,
          "STUN": struct.pack(">HHI", 1, 0, 0x2112a442) + bytes(12)}


CALL = OTHERS["STUN"][:8]  # class: auto


def denied(site, said):
    host = site.host()
    mark = host.encode()  # other rows say the same at the same time
    with connect(site.proxy, site.at(host, site.raw.port)) as sock:
        sock.sendall(said + mark)
        assert ended(sock, PATIENT_S)[0] == b""
    line = site.connect_line(host)
    assert line["error"] == "opaque_denied", line
    assert not any(mark in bytes(kept) for kept in site.raw.seen), "it reached the origin"


for what, data in OTHERS.items():
    row_named(f"{what} where policy wants it opened is denied", lambda site, data=data: denied(site, data))


def tunnelled(site, number, said):
    host = f"o{number}.opaque.test"
    with connect(site.proxy, site.at(host, site.raw.port)) as sock:
        sock.sendall(said)
        assert sock.recv(len(said), socket.MSG_WAITALL) == said
    line = site.connect_line(host)
    assert line["decision"]["opaque"]["answer"] == "tunnel" and not opened(line) and "error" not in line, line
    assert line["class"] == ("media" if "media" in line else "normal") and ("media" in line) == said.startswith(CALL), line


for place, (what, data) in enumerate(OTHERS.items()):
    row_named(f"{what} where policy lets it pass is a tunnel", lambda site, place=place, data=data: tunnelled(site, place, data))


@row
def the_log_says_who_denied_what_is_no_tls(site):
    """As of every other question: also where it is the default that answers."""
    host = site.host()
    with connect(site.proxy, site.at(host, site.raw.port)) as sock:
        sock.sendall(OTHERS["SSH"])
        ended(sock, PATIENT_S)
    assert site.connect_line(host)["decision"]["opaque"]["answer"] == "deny", site.connect_line(host)


@row
def an_origin_that_speaks_first_is_denied_or_passes(site):
    with connect(site.proxy, site.at("o10.opaque.test", site.greeter.port)) as sock:
        assert sock.recv(21, socket.MSG_WAITALL) == b"SSH-2.0-OpenSSH_9.2\r\n"
        sock.sendall(b"SSH-2.0-client\r\n")
        assert sock.recv(16, socket.MSG_WAITALL) == b"SSH-2.0-client\r\n"
    host = site.host()
    with connect(site.proxy, site.at(host, site.greeter.port)) as sock:
        assert ended(sock, PATIENT_S)[0] == b""
    assert site.connect_line(host)["error"] == "opaque_denied"


@row
def silence_of_both_ends_in_time_with_one_line(site):
    host = site.host()
    with connect(site.proxy, site.at(host, site.silent.port)) as sock:
        data, how = ended(sock, PATIENT_S)
    assert data == b"" and how != "open"
    line = site.connect_line(host)
    assert line["error"] in ("hello_timeout", "opaque_denied"), line
    assert len(connects(site.proxy.lines(host))) == 1


@row
def a_hello_that_drips_is_ended_in_time(site):
    host = site.host()
    raw, began = hello.of_openssl(host), time.monotonic()
    with connect(site.proxy, site.at(host)) as sock:
        sock.settimeout(0.5)
        for at in range(len(raw)):
            try:
                sock.sendall(raw[at:at + 1])
                if sock.recv(10) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            raise AssertionError("it was waited for")
    assert time.monotonic() - began < 60
    assert site.connect_line(host)["error"] == "hello_timeout"


@row
def a_client_that_goes_before_its_hello_leaves_one_line(site):
    for said in (b"", b"\x16\x03"):
        host = site.host()
        with connect(site.proxy, site.at(host)) as sock:
            sock.sendall(said)
        line = site.connect_line(host)
        assert line["ended_by"] == "client" and not opened(line), line


# ---- HTTP without TLS in a CONNECT ----

@row
def plain_http_in_a_connect_is_served_as_http(site):
    plain = site.keep(origins.RawOrigin(lambda sock, kept: serve_plain(sock, kept)))
    host = site.host()
    with connect(site.proxy, site.at(host, plain.port)) as sock:
        for path in ("/one", "/two"):
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{plain.port}\r\n\r\n".encode())
            assert read_answer(sock).body == b"plain\n"
    line = site.request_line(host, "/two")
    assert line["status"] == 200 and line["target"] == f"http://{host}:{plain.port}/two", line


@row
def plain_http_in_a_connect_is_judged_by_its_host(site):
    plain = site.keep(origins.RawOrigin(lambda sock, kept: serve_plain(sock, kept)))
    host = site.host()
    with connect(site.proxy, site.at(host, plain.port)) as sock:
        sock.sendall(b"GET /secret HTTP/1.1\r\nHost: denied.test\r\n\r\n")
        assert read_answer(sock).status == 403
    assert not any(b"secret" in kept for kept in plain.seen)


def serve_plain(sock, kept):
    while data := sock.recv(65536):
        kept += data
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nplain\n")


@row
def http2_without_tls_is_denied_where_it_is_not_served(site):
    host = site.host()
    with connect(site.proxy, site.at(host, site.raw.port)) as sock:
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        data, _ = ended(sock, PATIENT_S)
    line = site.connect_line(host)
    assert line.get("error") == "opaque_denied" or data, line


# ---- floods ----

@row
def a_flood_of_half_hellos_is_bounded_and_harms_nobody(site):
    """Their memory is that of their bytes; their end comes in time; who comes meanwhile is served."""
    host = site.host()
    first = hello.records(hello.by_hand(host, padding=8000))
    socks = []
    try:
        before = resident(site)
        for _ in range(HALF_OPEN):
            sock = connect(site.proxy, site.at(host))
            sock.sendall(first[:-1])
            socks.append(sock)
        per_session = (resident(site) - before) / HALF_OPEN
        assert per_session < 64 << 10, f"{per_session} bytes each"
        assert site.get().status == 200
    except Refused as refused:
        assert refused.status == 503 and len(socks) > 200, refused
        assert site.get().status == 200
    finally:
        for sock in socks:
            sock.close()
    lines = site.lines(host, lambda lines: len(connects(lines)) >= len(socks))
    assert not any(opened(line) for line in lines)
    wait_for("their descriptors are closed", lambda: all(descriptors(pid) < 200 for pid in site.proxy.pids("worker")))


def resident(site):
    return sum(int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 for pid in site.proxy.pids("worker"))


def descriptors(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


if __name__ == "__main__":
    main("hello", prepare, at_once=8)
