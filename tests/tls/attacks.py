#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Clients and origins that mean harm, against sessions that are opened. Ends with "attacks: N passed, M failed"."""
import contextlib
import os
import pathlib
import signal
import socket
import struct
import sys
import threading
import time

from cryptography import x509

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
import certificates  # noqa: E402
import client_hello as hello  # noqa: E402
import origins  # noqa: E402
from tls_site import connect, ended, expect_page, main, read_answer, row, wait_for  # noqa: E402

ISSUER_HOST = "127.83.12.9"  # issuers are fetched from port 80 alone
RULES = """  - {name: no admin, when: {to: "*.sealed.test", url: "/^https?://[^/]*/admin/"}, then: {access: deny}}
  - {name: sealed, when: {to: "*.sealed.test"}, then: {opaque: tunnel, client-certificate: bypass}}
"""


def prepare(site):
    site.names("bypass.test", "denied.test", "a.opaque.test", *[f"s{number}.sealed.test" for number in range(20)])
    site.sealed_numbers = iter(range(20))
    site.raw = site.keep(origins.RawOrigin())
    site.quiet = site.keep(origins.TlsOrigin(site.folder_of("quiet")))
    site.quiet.add("default", site.web.site("*.web.test", "*.opaque.test", "*.sealed.test"), alpn=(), handler=origins.read_only)
    site.asking = site.keep(origins.TlsOrigin(site.folder_of("asking")))
    site.asking.add("default", site.web.site("*.sealed.test"), alpn=(), clients=certificates.root("Clients"), demand=False)
    add_late_issuer(site)
    site.begin(workers=1, rules=RULES)


def add_late_issuer(site):
    """A certificate whose issuer has to be fetched, from a server that waits until it is told."""
    issuer = certificates.issue(site.web.root, "Late Issuer", ca=True)
    where = x509.AuthorityInformationAccess([x509.AccessDescription(x509.oid.AuthorityInformationAccessOID.CA_ISSUERS,
                                                                   x509.UniformResourceIdentifier("http://late.pages.test/i.der"))])
    made = site.web.site("late.issuer.test", issuer=issuer, more=[(where, False)])
    made.chain = ()
    site.origin.add("late.issuer.test", made)
    site.names("late.issuer.test")
    site.names("late.pages.test", address=ISSUER_HOST)
    site.issuer_wanted, site.issuer_may_come, site.issuer_came = threading.Event(), threading.Event(), threading.Event()

    def page(sock, kept):
        sock.recv(65536)
        site.issuer_wanted.set()
        site.issuer_may_come.wait(8)
        sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(issuer.der)}\r\n\r\n".encode() + issuer.der)
        site.issuer_came.set()

    site.issuers = site.keep(origins.RawOrigin(page, ISSUER_HOST, 80))


def sealed(site):
    with site.lock:
        return f"s{next(site.sealed_numbers)}.sealed.test"


def got(server, host):
    return b"".join(seen.data for seen in server.of(host))


@row
def a_huge_hello_inside_does_not_stop_the_worker(site):
    """Longer than what is held of a session: nothing would ever be read again."""
    host = site.host()
    with site.session(host, site.quiet.port, alpn=()) as session:
        with contextlib.suppress(OSError):  # it may be refused before the last of it is sent
            session.tls.sendall(hello.records(b"\x01" + (131390).to_bytes(3, "big") + bytes(131390)))
        with site.session() as other:
            assert other.ask("GET", "/echo").status == 200
        with contextlib.suppress(OSError):
            assert ended(session.tls)[0] == b""
    assert [line for line in site.lines(host, lambda lines: len(lines) > 1) if line.get("error") == "opaque_denied"]


@row
def what_is_no_http_inside_does_not_pass_a_rule_on_requests(site):
    """Of what nobody can see, the strictest holds."""
    host = sealed(site)
    with site.session(host, site.quiet.port, alpn=()) as session:
        session.tls.sendall(b"SSH-2.0-attack\r\n")
        assert ended(session.tls)[0] == b""
    assert got(site.quiet, host) == b""
    line = site.lines(host, lambda lines: len(lines) > 1)[-1]
    assert line["error"] == "policy_denied" and line["decision"]["access"]["rule"] == "no admin", line


@row
def an_alpn_of_its_own_does_not_pass_a_rule_on_requests(site):
    host = sealed(site)
    with site.session(host, site.quiet.port, alpn=("attack",)) as session:
        assert session.leaf.issuer == site.proxy.x.subject
        session.tls.sendall(b"GET /admin/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"403" in ended(session.tls)[0]
    assert got(site.quiet, host) == b"" and site.connect_line(host)["error"] == "policy_denied"


@row
def an_origin_that_asks_for_a_certificate_does_not_pass_a_rule_on_requests(site):
    for _ in range(2):  # and is not remembered
        host = sealed(site)
        with site.session(host, site.asking.port, alpn=()) as session:
            assert session.leaf.issuer == site.proxy.x.subject
            expect_page(session.ask("GET", "/admin/"), 403, "http_request_denied")
        assert not [seen for seen in site.asking.of(host) if seen.requests]


@row
def plain_http_with_another_port_is_another_url(site):
    """A rule on a URL would not see it, and origins do not look at the port."""
    host = sealed(site)
    for name, status in ((f"{host}:{site.raw.port}", None), (host, None), (f"{host}:1", 403), (f"{host}:80", 403)):
        with connect(site.proxy, site.at(host, site.raw.port)) as sock:
            sock.sendall(f"GET /open HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            if status:
                assert read_answer(sock).status == status, name
            else:
                wait_for("a request at the origin", lambda: any(b"GET /open" in kept for kept in site.raw.seen))


def held_over(site, change, sni, **rules):
    """A session that has its 200 and says nothing, a policy that changes, and then its ClientHello: what is left of it, and its proxy."""
    proxy = site.inspector(workers=1, **rules)
    host = site.host()
    sock = connect(proxy, site.at(host))
    before = len(site.origin.of(sni or host))
    policy = proxy.folder / "policy.yaml"
    policy.write_text(policy.read_text().replace("rules:\n", f"rules:\n{change.replace('HOST', host)}", 1))
    proxy.command("reload", "--cut")
    with contextlib.suppress(OSError):
        sock.sendall(hello.of_openssl(sni or host))
    left = ended(sock, 4)
    sock.close()
    return left, len(site.origin.of(sni or host)) - before, proxy, host


@row
def an_empty_record_before_the_hello_hides_no_sni(site):
    """OpenSSL passes it over: so does who looks at the first bytes of a tunnel."""
    site_hello = hello.of_openssl("denied.test")
    for record in (b"\x14\x03\x03\0\0", b"\x16\x03\x03\0\0"):
        for together in (True, False):
            with connect(site.proxy, site.at("bypass.test")) as sock:
                with contextlib.suppress(OSError):
                    sock.sendall(record + (site_hello if together else b""))
                    time.sleep(0.05)
                    sock.sendall(b"" if together else site_hello)
                data, how = ended(sock, 4)
                assert how != "open" and not data.startswith(b"\x16"), (record, data[:20], how)
    lines = site.lines("bypass.test", lambda lines: len(lines) == 4)
    assert all(line.get("sni") == "denied.test" and line["error"] == "policy_denied" for line in lines), lines


@row
def a_session_that_holds_its_hello_back_is_cut(site):
    change = """  - {name: now denied, when: {to: HOST}, then: {access: deny}}\n"""
    (data, how), hellos, proxy, host = held_over(site, change, None)
    assert data == b"" and how != "open" and hellos == 0, (data, how, hellos)
    assert proxy.wait_lines(host, bool)[-1]["error"] == "cut"


@row
def a_hello_that_was_held_back_is_held_against_the_policy_in_force(site):
    """Of a session that is to be opened, and of a tunnel."""
    change = """  - {name: now denied, when: {to: secret.test}, then: {access: deny}}\n"""
    for rules in ("", """  - {name: all pass, when: {to: "*.web.test"}, then: {tls: bypass}}\n"""):
        (data, how), hellos, proxy, host = held_over(site, change, "secret.test", rules=rules)
        assert hellos == 0, (rules, data, how, hellos)
        line = proxy.wait_lines(host, bool)[-1]
        assert line["error"] in ("policy_denied", "client_tls"), line  # the page is inside, where this client does not come


@row
def a_session_that_ends_as_its_issuer_comes_harms_no_worker(site):
    """Both in one turn of the worker, the issuer first."""
    proxy = site.inspector(workers=1)
    pid, = proxy.pids("worker")
    site.issuer_wanted.clear()
    site.issuer_may_come.clear()
    sock = connect(proxy, site.at("late.issuer.test"))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.sendall(hello.of_openssl("late.issuer.test"))
    assert site.issuer_wanted.wait(8)
    os.kill(pid, signal.SIGSTOP)
    site.issuer_may_come.set()
    assert site.issuer_came.wait(8)
    sock.close()
    time.sleep(0.2)
    os.kill(pid, signal.SIGCONT)
    line = proxy.wait_lines("late.issuer.test", bool)[-1]
    assert line["error"] in ("client_reset", "client_tls"), line
    with site.session(proxy=proxy) as other:
        assert other.ask("GET", "/echo").status == 200
    assert proxy.pids("worker") == [pid]


@row
def an_origin_cannot_have_an_issuer_fetched_where_policy_forbids_it(site):
    """By its address: the name says nothing of it."""
    proxy = site.inspector(workers=1, rules=f"  - {{name: not there, when: {{to: {ISSUER_HOST}/32, resolved: true}}, then: {{access: deny}}}}\n")
    asked = len(site.issuers.seen)
    with site.session("late.issuer.test", proxy=proxy) as session:
        expect_page(session.ask("GET", "/"), 502, "tls_certificate_error", "issuer")
    assert len(site.issuers.seen) == asked


if __name__ == "__main__":
    main("attacks", prepare)
