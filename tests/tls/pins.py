#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Clients that pin: counted with the alert as evidence, told apart from clients that do not trust our CA at all, and proposed
for the bypass list; nothing is bypassed by itself. Clients are addresses of loopback. Ends with "pins: N passed, M failed"."""
import base64
import contextlib
import hashlib
import pathlib
import ssl
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
import certificates as c  # noqa: E402
from tls_site import Session, connects, context_of, main, opened, row, row_named, run, wait_for  # noqa: E402

ENOUGH = 4   # failures, of which facts 10 wants three strong ones over a second
APART_S = 0.4


def prepare(site):
    site.sources = iter(f"127.0.5.{number}" for number in range(1, 200))
    site.begin()


def suggested(site):
    return run([site.binary, "list", "suggest", "-c", site.proxy.config], status=None)


def trusted_elsewhere(site, source):
    """This client is served with our CA at another host: so it trusts it."""
    with Session(site, site.at(), source=source) as session:
        assert session.ask("GET", "/echo").status == 200


def distrusts(site, host, source, version):
    """A client that trusts the origin's root alone: alert 48."""
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        Session(site, site.at(host), source=source, context=context_of(site.folder / "r.pem", most=version)).tls.close()


def pinned(site, version):
    host, source = site.host(), next(site.sources)
    trusted_elsewhere(site, source)
    for _ in range(ENOUGH):
        distrusts(site, host, source, version)
        time.sleep(APART_S)
    lines = site.lines(host, lambda lines: len(connects(lines)) == ENOUGH)
    assert all(line["error"] == "client_tls" and "unknown" in line["reason"] for line in lines), lines
    wait_for("a proposal", lambda: host in suggested(site))
    assert host in site.proxy.events(), "an event proposes it, too"
    with Session(site, site.at(host), source=source) as session:
        assert session.leaf.issuer == site.proxy.x.subject, "nothing is bypassed by itself"


row_named("TLS 1.2: a client that refuses one host alone has that host proposed", lambda site: pinned(site, ssl.TLSVersion.TLSv1_2))
row_named("TLS 1.3: a client that refuses one host alone has that host proposed", lambda site: pinned(site, ssl.TLSVersion.TLSv1_3))


@row
def a_client_that_trusts_our_ca_nowhere_proposes_nothing(site):
    hosts, source = [site.host() for _ in range(4)], next(site.sources)
    for _ in range(ENOUGH):
        for host in hosts:
            distrusts(site, host, source, ssl.TLSVersion.TLSv1_3)
        time.sleep(APART_S)
    site.lines(hosts[-1], lambda lines: len(connects(lines)) == ENOUGH)
    out = suggested(site)
    assert not any(host in [word.strip(",;:()\"'") for word in out.split()] for host in hosts), out
    wait_for("its address is told", lambda: source in site.proxy.events() or source in suggested(site))


@row
def curl_with_a_pin_is_weak_evidence(site):
    """It ends the handshake, then closes without a byte."""
    host, key = site.host(), c.ec_key()
    other = key.public_key().public_bytes(c.DER, c.serialization.PublicFormat.SubjectPublicKeyInfo)
    pin = "sha256//" + base64.b64encode(hashlib.sha256(other).digest()).decode()
    site.curl("--pinnedpubkey", pin, f"https://{host}:{site.origin.port}/echo", status=90)
    line = site.connect_line(host)
    assert line["ended_by"] == "client" and not any(seen.requests for seen in site.origin.of(host)), line
    assert host not in suggested(site), "once is nothing"


@row
def curl_that_does_not_trust_us_is_strong_evidence(site):
    host = site.host()
    site.curl(f"https://{host}:{site.origin.port}/echo", ca=site.folder / "r.pem", status=60)
    line = site.connect_line(host)
    assert line["error"] == "client_tls" and "unknown" in line["reason"], line


@row
def sessions_that_are_opened_in_advance_and_not_used_propose_nothing(site):
    """As browsers do: some are used, so the client trusts us there."""
    host, source = site.host(), next(site.sources)
    trusted_elsewhere(site, source)
    for number in range(8):
        with Session(site, site.at(host), source=source) as session:
            if number % 4 == 3:
                assert session.ask("GET", "/echo").status == 200
        time.sleep(APART_S)
    site.lines(host, lambda lines: len(connects(lines)) == 8)
    assert host not in suggested(site)


@row
def an_attacker_buys_nothing_with_alerts(site):
    """However many, and for however many hosts."""
    source = next(site.sources)
    trusted_elsewhere(site, source)
    hosts = [site.host() for _ in range(20)]
    for host in hosts:
        for _ in range(3):
            distrusts(site, host, source, ssl.TLSVersion.TLSv1_3)
    for host in hosts[:3]:
        with Session(site, site.at(host), source=source) as session:
            assert session.leaf.issuer == site.proxy.x.subject
        assert opened([line for line in site.lines(host, lambda lines: len(connects(lines)) >= 4) if line["method"] == "CONNECT"][-1])


if __name__ == "__main__":
    main("pins", prepare)
