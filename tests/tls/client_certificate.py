#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Origins that ask for a certificate of the client, which it cannot show to them through us. Ends with
"clientcertificate: N passed, M failed"."""
import pathlib
import socket
import ssl
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
import certificates as c  # noqa: E402
import client_hello as hello  # noqa: E402
import origins  # noqa: E402
from tls_site import Session, connect, context_of, expect_page, main, opened, row, row_named  # noqa: E402

VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}
RULES = """  - {name: asked and denied, when: {to: "*.deny.test"}, then: {client-certificate: deny}}
  - {name: asked and bypassed, when: {to: "*.splice.test"}, then: {client-certificate: bypass}}
"""


def prepare(site):
    site.clients = c.root("Clients")
    me = c.issue(site.clients, "me", extended=(c.ExtendedKeyUsageOID.CLIENT_AUTH,))
    site.me = me
    site.client = me.write(site.folder, "me")
    (site.folder / "both.pem").write_text(site.web.root.pem)
    for zone in ("ask", "deny", "splice"):
        site.names(*[f"c{number}.{zone}.test" for number in range(20)])
    site.count = {zone: iter(range(20)) for zone in ("ask", "deny", "splice")}
    site.begin(rules=RULES)
    (site.folder / "both.pem").write_text(site.web.root.pem + site.proxy.x_pem)


def host_that(site, zone, version, demands=True, **how):
    """An origin that asks; a name of its own."""
    with site.lock:
        host = f"c{next(site.count[zone])}.{zone}.test"
    site.origin.add(host, site.web.site(host), clients=site.clients, demand=demands, least=version, most=version, **how)
    return host


def session(site, host, version):
    """A client that has a certificate, and trusts both the origin's root and our CA."""
    context = context_of(site.folder / "both.pem", strict=False, certificate=site.client, most=version)
    return Session(site, site.at(host), context=context)


def requests(site, host):
    return [request for seen in site.origin.of(host) for request in seen.requests]


def ignored_and_demanded(site, version):
    """The origin breaks off: the page says why."""
    host = host_that(site, "ask", version)
    with session(site, host, version) as one:
        assert one.leaf.issuer == site.proxy.x.subject
        answer = one.ask("GET", "/echo")
    assert answer.status == 502 and b"certificate" in answer.body.lower(), answer
    assert "error=tls_" in ", ".join(answer.all("Proxy-Status")), answer
    assert not requests(site, host)


def ignored_and_optional(site, version):
    """It goes on without one."""
    host = host_that(site, "ask", version, demands=False)
    with session(site, host, version) as one:
        assert one.leaf.issuer == site.proxy.x.subject
        assert one.ask("GET", "/echo").status == 200
    assert all(seen.certificate is None for seen in site.origin.of(host))
    assert opened(site.connect_line(host))


def denied(site, version):
    for demands in (True, False):
        host = host_that(site, "deny", version, demands)
        with session(site, host, version) as one:
            expect_page(one.ask("GET", "/secret"), 502, "tls_certificate_error", "certificate")
        lines = [site.connect_line(host), site.request_line(host)]
        assert any(line.get("error") == "client_certificate" for line in lines), lines
        assert lines[0]["decision"]["client-certificate"]["rule"] == "asked and denied", lines
        assert not requests(site, host)


def spliced(site, version):
    """The original hello on a fresh connection, before the client has seen a byte; remembered for the next one."""
    host = host_that(site, "splice", version)
    for _ in range(3):
        with session(site, host, version) as one:
            assert one.leaf.issuer == site.web.issuer.certificate.subject, "the origin's own certificate"
            assert one.ask("GET", "/echo").status == 200
    seen = site.origin.of(host)
    good = [one for one in seen if one.requests]
    assert len(good) == 3 and all(one.certificate == site.me.der for one in good)
    line = site.connect_line(host)
    assert not opened(line) and line["decision"]["client-certificate"]["answer"] == "bypass", line
    assert len(seen) <= 3 + 2, "each worker learns it once"


for name, version in VERSIONS.items():
    row_named(f"{name}: ignore, and the origin demands one", lambda site, version=version: ignored_and_demanded(site, version))
    row_named(f"{name}: ignore, and the origin can do without", lambda site, version=version: ignored_and_optional(site, version))
    row_named(f"{name}: deny shows a page", lambda site, version=version: denied(site, version))
    row_named(f"{name}: bypass lets the client's own certificate reach the origin", lambda site, version=version: spliced(site, version))


@row
def where_bypass_is_the_answer_others_are_opened(site):
    """An origin that asks for nothing buys nothing."""
    with site.lock:
        host = f"c{next(site.count['splice'])}.splice.test"
    site.origin.add(host, site.web.site(host))
    with session(site, host, ssl.TLSVersion.TLSv1_3) as one:
        assert one.leaf.issuer == site.proxy.x.subject and one.ask("GET", "/echo").status == 200
    assert opened(site.connect_line(host))


@row
def the_spliced_hello_is_the_clients_own(site):
    """Byte for byte: what the origin got on its second connection."""
    host = host_that(site, "splice", ssl.TLSVersion.TLSv1_3)
    relay = site.keep(origins.Relay(site.origin.port))
    context = context_of(site.folder / "both.pem", strict=False, certificate=site.client)
    up = bytearray()
    with connect(site.proxy, site.at(host, relay.port)) as plain:
        mine, theirs = socket.socketpair()
        threads = [threading.Thread(target=origins.Relay.copy, args=pair, daemon=True)
                   for pair in ((theirs, plain, up), (plain, theirs, bytearray()))]
        for thread in threads:
            thread.start()
        with context.wrap_socket(mine, server_hostname=host) as tls:
            tls.sendall(b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while tls.recv(65536):
                pass
    sent = [bytes(kept) for kept in relay.seen if kept]
    assert any(kept.startswith(bytes(up[:500])) for kept in sent), "the hello of the client is among what came"
    assert any(kept == bytes(up) for kept in sent), "and the rest behind it, as it was"


@row
def a_certificate_asked_for_after_the_handshake_is_never_shown(site):
    """TLS 1.3: we do not offer post_handshake_auth, so the origin may not ask."""
    host = site.host()
    assert site.get(host).status == 200
    assert 49 not in hello.fields_of(site.origin.of(host)[-1].hello)[3]


if __name__ == "__main__":
    main("clientcertificate", prepare)
