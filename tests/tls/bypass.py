#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is bypassed is never opened and never changed, not by a byte. Ends with "bypass: N passed, M failed"."""
import base64
import hashlib
import os
import pathlib
import socket
import struct
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
import certificates  # noqa: E402
import client_hello as hello  # noqa: E402
import origins  # noqa: E402
from tls_site import PATIENCE_S, connect, context_of, ended, environment, main, opened, row, run, Session  # noqa: E402

NAMES = ["bypass.test", "evilbypass.test", "bypass.test.evil.test", *[f"b{number}.bypass.test" for number in range(30)]]


def prepare(site):
    site.names(*NAMES)
    site.raw = site.keep(origins.RawOrigin())
    made = site.web.site("bypass.test", "*.bypass.test", "evilbypass.test", "bypass.test.evil.test")
    for name in ("*.bypass.test", *NAMES[:3]):
        site.origin.add(name, made)
    site.pinned, site.clients = made, certificates.root("Clients")
    me = certificates.issue(site.clients, "me", extended=(certificates.ExtendedKeyUsageOID.CLIENT_AUTH,))
    site.client = me.write(site.folder, "me")
    (site.folder / "clients.pem").write_text(site.clients.pem)
    # What stands between proxy and origin, and keeps both directions.
    site.relay = site.keep(origins.Relay(site.origin.port))
    site.begin()


def untouched(site, host):
    line = site.connect_line(host)
    assert line["decision"]["tls"]["answer"] == "bypass" and line["decision"]["tls"]["rule"] == "pinned", line
    assert not opened(line) and "version" not in line.get("tls", {}).get("client", {}), line
    return line


@row
def bytes_pass_as_they_are_a_client_hello_among_them(site):
    sent = hello.of_openssl("b0.bypass.test") + os.urandom(1 << 20)
    with connect(site.proxy, site.at("b0.bypass.test", site.raw.port)) as sock:
        got, at = b"", 0
        while len(got) < len(sent):
            if at < len(sent):
                sock.sendall(sent[at:at + 65536])
                at += 65536
            want = min(at, len(sent)) - len(got)
            got += sock.recv(want)
    assert got == sent
    kept = next(kept for kept in site.raw.seen if hello.sni_of(bytes(kept[:600])) == "b0.bypass.test")
    assert hashlib.sha256(kept).digest() == hashlib.sha256(sent).digest()
    line = untouched(site, "b0.bypass.test")
    assert line["bytes_up"] == line["bytes_down"] == len(sent), line


@row
def a_whole_session_passes_byte_for_byte(site):
    host = "b1.bypass.test"
    context = context_of(site.folder / "r.pem")
    with connect(site.proxy, site.at(host, site.relay.port)) as plain:
        tap_client, tap_proxy = socket.socketpair()
        up, down = bytearray(), bytearray()
        threads = [threading.Thread(target=origins.Relay.copy, args=pair, daemon=True)
                   for pair in ((tap_proxy, plain, up), (plain, tap_proxy, down))]
        for thread in threads:
            thread.start()
        with context.wrap_socket(tap_client, server_hostname=host) as tls:
            tls.sendall(b"GET /bytes/300000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            body = b""
            while data := tls.recv(65536):
                body += data
        for thread in threads:
            thread.join(PATIENCE_S)
    assert body.endswith(origins.content(300000))
    at = next(index for index, kept in enumerate(site.relay.seen) if hello.sni_of(bytes(kept)) == host)
    assert bytes(up) == bytes(site.relay.seen[at]) and up[:3] == b"\x16\x03\x01", "what the client sent, and what came"
    assert bytes(down) == bytes(site.relay.down[at]), "what the origin sent, and what came"
    untouched(site, host)


@row
def a_client_sees_the_certificate_of_the_origin(site):
    with Session(site, site.at("b2.bypass.test"), context=context_of(site.folder / "r.pem")) as session:
        assert session.leaf == site.pinned.certificate
        assert session.ask("GET", "/echo").status == 200
    untouched(site, "b2.bypass.test")


@row
def a_client_that_pins_the_key_of_the_origin_is_served(site):
    key = site.pinned.key.public_key().public_bytes(certificates.DER, certificates.serialization.PublicFormat.SubjectPublicKeyInfo)
    pin = "sha256//" + base64.b64encode(hashlib.sha256(key).digest()).decode()
    out = site.curl("--pinnedpubkey", pin, "-o", "/dev/null", "-w", "%{http_code}", f"https://b3.bypass.test:{site.origin.port}/",
                    ca=site.folder / "r.pem")
    assert out == "200", out
    untouched(site, "b3.bypass.test")


@row
def a_client_shows_its_own_certificate_to_the_origin(site):
    for number, flag in ((4, "-tls1_2"), (5, "-tls1_3")):
        host = f"b{number}.bypass.test"
        server = origins.s_server(site.folder, host, site.pinned, "-Verify", "1", "-CAfile", site.folder / "clients.pem", flag)
        try:
            out = site.curl("--cert", site.client[0], "--key", site.client[1], f"https://{host}:{server.port}/", ca=site.folder / "r.pem")
        finally:
            server.stop()
        assert "CN = me" in out or "CN=me" in out, out
        untouched(site, host)


@row
def sessions_are_resumed_from_end_to_end(site):
    for number, flag in ((6, "-tls1_2"), (7, "-tls1_3")):
        host, kept = f"b{number}.bypass.test", site.folder / f"session-{number}"
        request = f"GET /echo HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        first = site.s_client(host, site.origin.port, flag, "-ign_eof", "-sess_out", kept, ca=site.folder / "r.pem", text=request)
        second = site.s_client(host, site.origin.port, flag, "-ign_eof", "-sess_in", kept, ca=site.folder / "r.pem", text=request)
        assert "New, " in first and "Reused, " in second, (first, second)
        assert [seen.resumed for seen in site.origin.of(host)] == [False, True]
        untouched(site, host)


@row
def a_reset_of_the_origin_reaches_the_client(site):
    def reset(sock, kept):
        kept += sock.recv(65536)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    origin = site.keep(origins.RawOrigin(reset))
    with connect(site.proxy, site.at("b8.bypass.test", origin.port)) as sock:
        sock.sendall(hello.of_openssl("b8.bypass.test"))
        assert ended(sock) == (b"", "rst")
    line = site.connect_line("b8.bypass.test")
    assert line["ended_by"] == "origin" and line["how"] == "rst", line


@row
def framed_media_passes_without_a_wait_for_a_hello(site):
    """RFC 4571: STUN, then RTP. Nothing is waited for: neither side speaks TLS, and the origin speaks first in one of them."""
    stun = struct.pack(">HH", 1, 0) + bytes.fromhex("2112a442") + bytes(12)
    frames = [struct.pack(">H", len(one)) + one for one in (stun, b"\x80\x60" + bytes(170))]
    with connect(site.proxy, site.at("b9.bypass.test", site.raw.port)) as sock:
        for frame in frames * 20:
            began = time.monotonic()
            sock.sendall(frame)
            assert sock.recv(len(frame), socket.MSG_WAITALL) == frame
            assert time.monotonic() - began < 2, "as long as a time-out"
    banner = site.keep(origins.RawOrigin(lambda sock, kept: sock.sendall(b"220 first\r\n")))
    with connect(site.proxy, site.at("b10.bypass.test", banner.port)) as sock:
        assert sock.recv(100) == b"220 first\r\n"


@row
def a_hello_in_pieces_goes_on_in_pieces(site):
    """Nobody waits for its rest: the first byte is at the origin before the second one is sent."""
    first = hello.of_openssl("b11.bypass.test")
    with connect(site.proxy, site.at("b11.bypass.test", site.raw.port)) as sock:
        for at in range(0, 40):
            sock.sendall(first[at:at + 1])
            assert sock.recv(1) == first[at:at + 1]
    untouched(site, "b11.bypass.test")


@row
def a_hello_with_the_head_of_connect_goes_on_as_it_is(site):
    first = hello.of_openssl("b12.bypass.test")
    with connect(site.proxy, site.at("b12.bypass.test", site.raw.port), early=first) as sock:
        assert sock.recv(len(first), socket.MSG_WAITALL) == first
    untouched(site, "b12.bypass.test")


@row
def case_and_a_trailing_dot_do_not_matter(site):
    for authority in (f"B13.BYPASS.TEST:{site.origin.port}", f"b14.bypass.test.:{site.origin.port}"):
        host = authority.rpartition(":")[0].rstrip(".").lower()
        with Session(site, authority, sni=host, context=context_of(site.folder / "r.pem")) as session:
            assert session.ask("GET", "/echo").status == 200
        untouched(site, host)


@row
def names_that_only_look_alike_are_opened(site):
    for host in ("evilbypass.test", "bypass.test.evil.test"):
        with site.session(host) as session:
            assert session.leaf.issuer == site.proxy.x.subject
            assert session.ask("GET", "/echo").status == 200
        assert opened(site.connect_line(host)), host


@row
def any_version_and_cipher_of_the_origin_is_its_own_affair(site):
    """TLS 1.0 with the weakest of OpenSSL 3.0: we would not speak it."""
    server = origins.s_server(site.folder, "old", site.pinned, "-tls1", "-cipher", "ALL:@SECLEVEL=0")
    try:
        out = site.s_client("b15.bypass.test", server.port, "-tls1", "-cipher", "ALL:@SECLEVEL=0", ca=site.folder / "r.pem", text="Q\n")
    finally:
        server.stop()
    assert "Protocol  : TLSv1\n" in out and "Verify return code: 0" in out, out
    untouched(site, "b15.bypass.test")


@row
def what_is_no_tls_passes_too(site):
    for number, said in ((16, b"SSH-2.0-x\r\n"), (17, b"GET / HTTP/1.1\r\n\r\n"), (18, b"\x16\x03\x01\xff\xff garbage"), (19, bytes(64))):
        with connect(site.proxy, site.at(f"b{number}.bypass.test", site.raw.port)) as sock:
            sock.sendall(said)
            assert sock.recv(len(said), socket.MSG_WAITALL) == said
        untouched(site, f"b{number}.bypass.test")


@row
def a_bypassed_origin_may_have_any_certificate(site):
    """An expired one of nobody: that is for the client to judge."""
    bad = certificates.issue(None, "b20.bypass.test", ["b20.bypass.test"], days=(-9, -5))
    site.origin.add("b20.bypass.test", bad)
    out = run(["curl", "-sS", "-k", "-x", site.proxy.url, f"https://b20.bypass.test:{site.origin.port}/echo"], env=environment())
    assert '"sni": "b20.bypass.test"' in out, out


if __name__ == "__main__":
    main("bypass", prepare)
