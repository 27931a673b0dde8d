#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The names of one session: authority, SNI, Host, certificate. Nobody buys a bypass with a false one. Ends with
"names: N passed, M failed"."""
import ipaddress
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
from cryptography import x509  # noqa: E402
import client_hello as hello  # noqa: E402
import origins  # noqa: E402
from tls_site import (alone, Refused, Session, connect, context_of, ended, expect_page, main, opened, row, row_named,  # noqa: E402
                      run)

LONG = "l" * 60 + "." + "m" * 60 + ".test"                       # longer than a common name may be
LONGEST = ".".join(["n" * 63, "o" * 63, "p" * 63, "q" * 56, "test"])  # 253 bytes
RULES = """  - {name: by SNI, when: {to: "*.mapped.test"}, then: {access: allow, tls: bypass}}
  - {name: must match, when: {to: "*.match.test"}, then: {access: allow, tls: bypass, sni: must-match}}
  - {name: only opened if it matches, when: {to: "*.strict.test"}, then: {access: allow, sni: must-match}}
"""


def prepare(site):
    site.names("bypass.test", "denied.test", "a.match.test", "d.match.test", "b.strict.test", "pair-a.test", "pair-b.test", "a_b.web.test",
               "xn--bcher-kva.web.test", LONG, LONGEST, "c.mapped.test")
    web = site.web
    for names in (["bypass.test", "*.bypass.test"], ["denied.test"], ["a.match.test"], ["b.strict.test"],
                  ["pair-a.test", "pair-b.test", "denied.test"], [LONG], [LONGEST], ["c.mapped.test"]):
        made = web.site(*names)
        for name in names:
            site.origin.hosts.get(name) or site.origin.add(name, made)
    site.origin.add("a_b.web.test", web.site("a_b.web.test"))  # no wildcard covers it for OpenSSL
    site.five = site.keep(origins.TlsOrigin(site.folder_of("five"), "127.0.0.5"))
    site.five.add("default", web.site("127.0.0.5"))
    site.five.add("bypass.test", web.site("bypass.test"))
    site.six = site.keep(origins.TlsOrigin(site.folder_of("six"), "::1"))
    site.six.add("default", web.site("::1"))
    site.begin(rules=RULES)


def alternatives(certificate):
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


@row
def without_an_sni_the_authority_is_the_name(site):
    host = site.host()
    with site.session(host, sni="", check=False) as session:
        assert alternatives(session.leaf) == [x509.DNSName(host)]
        assert session.ask("GET", "/echo").json["sni"] == host
    assert "sni" not in site.connect_line(host)


@row
def a_denied_sni_gets_a_page_and_the_origin_no_hello(site):
    host, before = site.host(), len(site.origin.of("denied.test"))
    with site.session(host, sni="denied.test") as session:
        answer = session.ask("GET", "/echo")
        expect_page(answer, 403, "http_request_denied")
        assert b"denied" in answer.body and session.tls.recv(10) == b"", answer
    line = site.connect_line(host)
    assert line["sni"] == "denied.test" and line["decision"]["access"]["rule"] == "denied" and line["error"] == "policy_denied", line
    assert len(site.origin.of("denied.test")) == before


@row
def the_sni_of_a_bypassed_host_buys_nothing(site):
    host = site.host()
    with site.session(host, sni="bypass.test") as session:
        assert session.leaf.issuer == site.proxy.x.subject and alternatives(session.leaf) == [x509.DNSName("bypass.test")]
        assert session.ask("GET", "/echo", host="bypass.test").json["sni"] == "bypass.test"
    line = site.connect_line(host)
    assert opened(line) and line["sni"] == "bypass.test" and line["decision"]["tls"]["answer"] == "inspect", line


@row
def an_sni_that_must_match_and_does_not_is_denied(site):
    for host in ("d.match.test", "b.strict.test"):
        before = len(site.origin.seen)
        sock = connect(site.proxy, site.at(host))
        with sock:
            sock.sendall(hello.of_openssl("other.test"))
            ended(sock, 20)
        line = site.connect_line(host)
        assert line["error"] == "policy_denied" and line["sni"] == "other.test", line
        assert not [seen for seen in site.origin.seen[before:] if seen.sni in ("other.test", host)], "the origin was talked to"


@row
def an_sni_that_must_match_and_does_is_bypassed(site):
    with Session(site, site.at("a.match.test"), context=context_of(site.folder / "r.pem")) as session:
        assert session.ask("GET", "/echo").status == 200
    assert not opened(site.connect_line("a.match.test"))


@row
def an_address_with_the_sni_of_a_bypassed_host_is_opened(site):
    """Who names an address could put anybody behind it."""
    with Session(site, f"127.0.0.5:{site.five.port}", sni="bypass.test", context=context_of(site.proxy.ca_file)) as session:
        assert session.leaf.issuer == site.proxy.x.subject
        assert session.ask("GET", "/echo", host="bypass.test").status == 200
    lines = site.lines("127.0.0.5", lambda lines: any(line.get("sni") == "bypass.test" for line in lines))
    assert all(opened(line) for line in lines if line.get("sni") == "bypass.test" and line["method"] == "CONNECT"), lines


def literal(site, authority, address, origin):
    before = len(origin.seen)
    with Session(site, authority, sni=address, context=context_of(site.proxy.ca_file)) as session:
        assert alternatives(session.leaf) == [x509.IPAddress(ipaddress.ip_address(address))]
        assert session.ask("GET", "/echo").json["sni"] is None
    assert any(seen.sni is None and seen.requests for seen in origin.seen[before:]), "an address is no SNI (RFC 6066 section 3)"


row_named("an IPv4 address: in the leaf, verified at the origin, and no SNI",
          lambda site: literal(site, f"127.0.0.5:{site.five.port}", "127.0.0.5", site.five))
row_named("an IPv6 address: in the leaf, verified at the origin, and no SNI",
          lambda site: literal(site, f"[::1]:{site.six.port}", "::1", site.six))


@row
def an_address_in_the_sni_is_no_name(site):
    """OpenSSL sends it if told to; RFC 6066 has no such thing."""
    host = site.host()
    out = site.s_client(host, site.origin.port, "-ign_eof", "-verify_hostname", host, "-verify_return_error", sni="127.0.0.1",
                        text=f"GET /echo HTTP/1.1\r\nHost: {host}:{site.origin.port}\r\nConnection: close\r\n\r\n")
    assert f'"sni": "{host}"' in out and "Verify return code: 0" in out, out
    assert "sni" not in site.connect_line(host)


@alone
def forbidden_addresses_are_refused_before_anything_is_opened(site):
    """Another proxy, as it is shipped: nothing is permitted on loopback."""
    proxy = site.inspector(workers=1, more={"destinations": {"permit": []}})
    for address in ("127.0.0.1", "169.254.169.254", "10.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0", "[64:ff9b::7f00:1]", "0177.0.0.1",
                    "2130706433", "[::1]", site.host()):
        before = len(site.origin.seen)
        try:
            connect(proxy, f"{address}:{site.origin.port}").close()
        except Refused as refused:
            assert refused.status in (400, 403), (address, refused)
        else:
            raise AssertionError(f"{address} was let through")
        assert len(site.origin.seen) == before or address.startswith("h")


@row
def a_host_that_the_session_is_not_with_is_refused(site):
    host = site.host()
    with site.session(host) as session:
        expect_page(session.ask("GET", "/secret", host="other.example"), 403, "http_request_denied")
    line = site.request_line(host) if site.proxy.lines(host)[1:] else site.request_line("other.example")
    assert line["error"] == "inner_host" and line["status"] == 403, line
    assert all(not seen.requests for seen in site.origin.of(host))


@row
def a_host_that_the_certificate_covers_is_served_and_logged(site):
    with site.session("pair-a.test") as session:
        assert session.ask("GET", "/echo", host=f"pair-b.test:{site.origin.port}").status == 200
    line = site.request_line("pair-b.test")
    assert line["target"] == f"https://pair-b.test:{site.origin.port}/echo", line


@row
def a_host_that_the_certificate_covers_and_policy_denies_is_refused(site):
    with site.session("pair-a.test") as session:
        expect_page(session.ask("GET", "/secret", host=f"denied.test:{site.origin.port}"), 403, "http_request_denied")
    assert not any("/secret" in path for seen in site.origin.of("pair-a.test") for _, path, _ in seen.requests)


@row
def a_host_that_policy_bypasses_is_not_served_in_an_opened_session(site):
    """What is never to be touched is not read in a session with somebody else, though this one's certificate covers it."""
    host = site.host()
    with site.session(host) as session:
        assert session.ask("GET", "/secret", host=f"bypass.test:{site.origin.port}").status == 403
    assert all(not seen.requests for seen in site.origin.of(host))


BAD_NAMES = {"a path": b"../../etc/x", "a NUL byte": b"web.test\0.evil.test", "300 bytes": b"a" * 300, "spaces": b"web test",
             "a percent sign": b"web%00.test", "UTF-8": "bücher.test".encode(), "control characters": b"web\r\nX: y.test",
             "empty labels": b"web..test", "a quote": b"web\".test", "markup": b"<script>.test"}


def bad_name(site, name):
    host, before = site.host(), len(site.origin.seen)
    with connect(site.proxy, site.at(host)) as sock:
        sock.sendall(hello.records(hello.by_hand(name)))
        data, _ = ended(sock, 20)
    assert data[:1] in (b"", b"\x15"), data[:20]
    line = site.connect_line(host)
    assert line["error"] in ("hello_refused", "request_authority"), line
    assert b"\0" not in repr(line.get("sni", "")).encode()
    assert all(seen.sni != name.decode("latin-1") for seen in site.origin.seen[before:])


for what, bad in BAD_NAMES.items():
    row_named(f"an SNI with {what} is refused, and the origin not told", lambda site, bad=bad: bad_name(site, bad))


@row
def two_names_in_an_sni_are_refused(site):
    """As OpenSSL has it: what it would make of them is not for us to guess."""
    host = site.host()
    for names in (("web.test", "bypass.test"), ("bypass.test", host)):
        with connect(site.proxy, site.at(host)) as sock:
            sock.sendall(hello.records(hello.by_hand(*names)))
            assert ended(sock, 20)[0][:1] in (b"", b"\x15")
    assert site.connect_line(host)["error"] == "hello_refused"


@row
def a_name_longer_than_a_common_name_stands_in_the_alternatives_alone(site):
    for name in (LONG, LONGEST):
        with site.session(name) as session:
            extension = session.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            assert not session.leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
            assert len(session.leaf.subject.rdns) > 0 or extension.critical, "critical where there is no subject (RFC 5280 4.2.1.6)"
            assert list(extension.value) == [x509.DNSName(name)]
            assert session.ask("GET", "/echo").status == 200


@row
def underscores_and_a_labels_are_names(site):
    for name in ("a_b.web.test", "xn--bcher-kva.web.test"):
        with site.session(name) as session:
            assert session.ask("GET", "/echo").json["sni"] == name


@row
def an_sni_counts_without_regard_to_case_and_the_last_dot(site):
    for sni in ("DENIED.test", "denied.test."):
        host = site.host()
        out = site.s_client(host, site.origin.port, "-ign_eof", sni=sni, text="GET / HTTP/1.1\r\nHost: denied.test\r\nConnection: close\r\n\r\n")
        assert "HTTP/1.1 403" in out, out
        assert site.connect_line(host)["sni"] == "denied.test"


@row
def an_outer_sni_with_ech_gets_a_leaf_of_its_own(site):
    """RFC 9849: a client that sees a good certificate for the outer name goes on without ECH. Alert 121 is no pinning."""
    host = site.host()
    ech = hello.extension(hello.EXTENSION_ECH, b"\0\0\1\0\1\1", hello.vector(2, bytes(32)), hello.vector(2, bytes(100)))
    with connect(site.proxy, site.at(host)) as sock:
        sock.sendall(hello.records(hello.by_hand("h399.web.test", more=(ech,))))
        assert sock.recv(6)[0] == 22, "a ServerHello"
    assert site.connect_line(host)["sni"] == "h399.web.test"


@row
def explain_says_what_a_session_would_get(site):
    out = run([site.binary, "explain", "-c", site.proxy.config, "h1.web.test:443", "--sni", "denied.test"], status=None)
    assert "denied" in out, out
    out = run([site.binary, "explain", "-c", site.proxy.config, "h1.web.test:443", "--sni", "bypass.test"], status=None)
    assert "inspect" in out, out


if __name__ == "__main__":
    main("names", prepare)
