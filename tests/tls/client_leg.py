#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The leg between client and proxy, as scanners look at it, and clients that break off. Ends with "clientleg: N passed, M failed"."""
import contextlib
import os
import pathlib
import re
import socket
import ssl
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
import client_hello as hello  # noqa: E402
from tls_site import Session, connect, connects, context_of, ended, main, row, row_named, wait_for  # noqa: E402

WEAK = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"


def prepare(site):
    site.begin()


def alerted(what, *flags):
    def test(site):
        host = site.host()
        out = site.s_client(host, site.origin.port, *flags, text="Q\n")
        assert re.search("SSL alert number (40|70)", out) and "Cipher is (NONE)" in out, out
        assert not any(seen.requests for seen in site.origin.of(host))
    row_named(f"a client that has only {what} is told so by an alert", test)


alerted("TLS 1.0", "-tls1", "-cipher", WEAK)
alerted("TLS 1.1", "-tls1_1", "-cipher", WEAK)
alerted("NULL ciphers", "-tls1_2", "-cipher", "eNULL:@SECLEVEL=0")
alerted("anonymous ciphers", "-tls1_2", "-cipher", "aNULL:!eNULL:@SECLEVEL=0")
alerted("RSA key exchange", "-tls1_2", "-cipher", "kRSA:!eNULL:@SECLEVEL=0")
alerted("PSK", "-tls1_2", "-cipher", "PSK:@SECLEVEL=0", "-psk", "aabbcc")


@row
def a_version_fallen_back_to_is_refused(site):
    """RFC 7507: a client that could do TLS 1.3 and comes with 1.2 by way of a retry."""
    out = site.s_client(site.host(), site.origin.port, "-fallback_scsv", "-tls1_2", text="Q\n")
    assert "inappropriate fallback" in out, out


@row
def compression_is_not_taken(site):
    out = site.s_client(site.host(), site.origin.port, "-tls1_2", "-comp", text="Q\n")
    assert "Compression: NONE" in out and "Verify return code: 0" in out, out


@row
def renegotiation_by_the_client_is_refused(site):
    host = site.host()
    out = site.s_client(host, site.origin.port, "-tls1_2", "-ign_eof", text="R\n")
    assert "no renegotiation" in out or "RENEGOTIATING" in out and "handshake failure" in out or "no_renegotiation" in out, out[-2000:]
    assert site.get().status == 200


@row
def renegotiation_is_safe_where_it_is_announced(site):
    out = site.s_client(site.host(), site.origin.port, "-tls1_2", text="Q\n")
    assert "Secure Renegotiation IS supported" in out and "Extended master secret: yes" in out, out


@row
def the_best_that_both_have_is_taken(site):
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        with site.session(most=version) as session:
            assert session.tls.version() == name
            assert re.search("GCM|CHACHA", session.tls.cipher()[0]), session.tls.cipher()
            assert session.ask("GET", "/echo").status == 200


@row
def groups_are_as_browsers_have_them(site):
    for group in ("X25519", "P-256", "P-384"):
        out = site.s_client(site.host(), site.origin.port, "-tls1_3", "-groups", group, text="Q\n")
        assert "Verify return code: 0" in out, (group, out)


def garbled(what, data, after=True):
    def test(site):
        host = site.host()
        with Session(site, site.at(host)) as session:
            if after:
                assert session.ask("GET", "/echo").status == 200
            raw = socket.socket(fileno=os.dup(session.tls.fileno()))
            with raw:
                raw.sendall(data)
                assert ended(raw, 25)[1] in ("fin", "rst")
        assert site.get().status == 200
        assert len(connects(site.lines(host, lambda lines: connects(lines)))) == 1
    row_named(f"{what} ends that session alone", test)


garbled("a record that nobody can decrypt", b"\x17\3\3\0\x40" + bytes(64))
garbled("a record longer than records may be", b"\x17\3\3\x48\0" + bytes(0x4800))
garbled("a heartbeat", b"\x18\3\3\0\3\1\x40\0")
garbled("plain text", b"GET / HTTP/1.1\r\n\r\n")
garbled("a plain alert", b"\x15\3\3\0\2\2\x28")
garbled("a flood of ChangeCipherSpec", b"\x14\3\3\0\1\1" * 2000)


@row
def change_cipher_spec_of_middleboxes_is_ignored(site):
    """RFC 8446 D.4: OpenSSL's client sends it by itself."""
    with site.session(least=ssl.TLSVersion.TLSv1_3) as session:
        assert session.ask("GET", "/echo").status == 200


@row
def a_flood_of_change_cipher_spec_in_the_handshake_ends_it(site):
    host = site.host()
    with connect(site.proxy, site.at(host)) as sock:
        sock.sendall(hello.records(hello.by_hand(host)))
        with contextlib.suppress(OSError):
            sock.sendall(b"\x14\3\3\0\1\1" * 5000)
        assert ended(sock, 25)[1] in ("fin", "rst")
    assert site.get().status == 200


def gone(site, cut):
    """Clients that go while the origin is asked, while a leaf is signed, in the middle of the handshake."""
    for _ in range(20):
        host = site.host()
        raw = hello.of_openssl(host)
        with connect(site.proxy, site.at(host)) as sock:
            sock.sendall(raw)
            cut(sock)
    assert site.get().status == 200


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


row_named("a client that closes behind its hello leaves nothing", lambda site: gone(site, lambda sock: None))
row_named("a client that resets behind its hello leaves nothing", lambda site: gone(site, reset))
row_named("a client that closes behind the ServerHello leaves nothing", lambda site: gone(site, lambda sock: sock.recv(100)))


@row
def a_client_that_stays_silent_in_the_handshake_is_given_up(site):
    host = site.host()
    with connect(site.proxy, site.at(host)) as sock:
        sock.sendall(hello.of_openssl(host))
        assert ended(sock, 40)[1] in ("fin", "rst")
    assert site.connect_line(host)["error"] == "client_tls_timeout"


@row
def a_client_that_does_not_trust_us_says_so_in_the_log(site):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        host = site.host()
        try:
            Session(site, site.at(host), context=context_of(site.folder / "r.pem", most=version)).tls.close()
        except ssl.SSLCertVerificationError:
            pass
        else:
            raise AssertionError("it trusts us")
        line = site.connect_line(host)
        assert line["error"] == "client_tls" and "unknown" in line.get("reason", ""), line
        assert not any(seen.requests for seen in site.origin.of(host))


@row
def descriptors_come_back(site):
    pids = site.proxy.pids("worker")
    count = lambda: sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)  # noqa: E731
    before = count()
    for _ in range(40):
        assert site.get().status == 200
    wait_for("descriptors", lambda: count() <= before + 40)


if __name__ == "__main__":
    main("clientleg", prepare)
