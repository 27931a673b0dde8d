#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Clients that pin: counted with the alert as evidence, told apart from clients that do not trust our CA at all, and proposed
for the bypass list; nothing is bypassed by itself. Clients are addresses of loopback. Ends with "pins: N passed, M failed"."""
import base64
import contextlib
import hashlib
import json
import os
import pathlib
import re
import select
import signal
import socket
import ssl
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
from cryptography.hazmat.primitives import hashes  # noqa: E402
from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: E402
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand  # noqa: E402
import certificates as c  # noqa: E402
from tls_site import Session, connect, connects, context_of, environment, main, opened, row, row_named, run, wait_for  # noqa: E402

ENOUGH = 4   # failures, of which facts 10 wants three strong ones over a second
APART_S = 0.4
SPACED_S = 1.05  # closes without a word count once a second


def prepare(site):
    site.sources = iter(f"127.0.5.{number}" for number in range(1, 200))
    site.begin(workers=1)  # each worker has a table of its own


def suggested(site):
    return run([site.binary, "list", "suggest", "-c", site.proxy.config], status=None)


def proposal(site, host):
    """Of this host, as programs get it; None: there is none."""
    said = json.loads(run([site.binary, "list", "suggest", "-c", site.proxy.config, "--json"], status=None))
    return next((one for one in said["proposals"] if one["entry"] == host), None)


def event(site, name, word):
    """The only event of this name with this word, once it is there."""
    def found():
        return [line for line in site.proxy.events().splitlines() if f" {name} " in line and word in line]
    wait_for(f"the event {name} about {word}", found)
    lines = found()
    assert len(lines) == 1, lines
    return lines[0]


def evidence(line):
    return line["tls"].get("evidence")


def pin_of(key):
    spki = key.public_key().public_bytes(c.DER, c.serialization.PublicFormat.SubjectPublicKeyInfo)
    return "sha256//" + base64.b64encode(hashlib.sha256(spki).digest()).decode()


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
    assert all(evidence(line) == "alert-48" and not opened(line) for line in lines), lines
    wait_for("a proposal", lambda: host in suggested(site))
    said = event(site, "pin_suspected", host)
    assert f'entry="{host} ports={site.origin.port}"' in said and f"client={source}" in said, said
    assert "alerts unknown_ca (48)" in said and re.search(r"ja4=t1[23]d\w+_\w+_\w+", said), said
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
    said = event(site, "ca_not_trusted", f"client={source} ")
    assert "hosts=3 " in said, said
    assert f"    {source}: {4 * ENOUGH} alerts unknown_ca (48)" in out, out


@row
def curl_with_a_pin_is_weak_evidence(site):
    """It ends the handshake, then closes without a byte."""
    host, source = site.host(), next(site.sources)
    words = ["--interface", source, "--pinnedpubkey", pin_of(c.ec_key()), f"https://{host}:{site.origin.port}/echo"]
    site.curl(*words, status=90)
    line = site.connect_line(host)
    assert line["ended_by"] == "client" and not any(seen.requests for seen in site.origin.of(host)), line
    assert opened(line) and evidence(line) == "silent" and line["status"] == 200 and "error" not in line, line
    assert host not in suggested(site), "once is nothing"
    trusted_elsewhere(site, source)
    for _ in range(5):
        time.sleep(SPACED_S)
        site.curl(*words, status=90)
    site.lines(host, lambda lines: len(connects(lines)) == 6)
    assert "6 closed behind the handshake without a byte" in event(site, "pin_suspected", host)
    one = proposal(site, host)
    assert one["weak"] == 6 and one["strong"] == 0 and one["clients"] == [source], one


def s_client_refuses(site, version):
    """D01: it is told to break off."""
    host = site.host()
    site.s_client(host, site.origin.port, "-verify_return_error", version, ca=site.folder / "r.pem", text="Q\n")
    line = site.connect_line(host)
    assert line["error"] == "client_tls" and "(48)" in line["reason"] and evidence(line) == "alert-48", line


row_named("s_client over TLS 1.2 is strong evidence", lambda site: s_client_refuses(site, "-tls1_2"))
row_named("s_client over TLS 1.3 is strong evidence", lambda site: s_client_refuses(site, "-tls1_3"))


NODE = """
const http = require('http'), tls = require('tls'), fs = require('fs');
const [port, authority, host, ca] = process.argv.slice(1);
http.request({host: '127.0.0.1', port, method: 'CONNECT', path: authority, headers: {Host: authority}}).on('connect', (answer, socket) => {
  tls.connect({socket, servername: host, ca: fs.readFileSync(ca)}, () => process.exit(0)).on('error', error => {
    console.error(error.code); socket.destroy(); process.exitCode = 7;
  });
}).end();
"""


@row
def node_that_does_not_trust_us_is_evidence(site):
    """D04: it looks at the certificate when the handshake is done."""
    host = site.host()
    run(["node", "-e", NODE, site.proxy.port, site.at(host), host, site.folder / "r.pem"], status=7, env=environment())
    line = site.connect_line(host)
    assert evidence(line) in ("silent", "closed", "alert-48", "alert-46", "alert-42"), line


@row
def the_metrics_count_it(site):
    before = site.proxy.metrics()
    site.curl(f"https://{site.host()}:{site.origin.port}/echo", ca=site.folder / "r.pem", status=60)
    site.curl("--pinnedpubkey", pin_of(c.ec_key()), f"https://{site.host()}:{site.origin.port}/echo", status=90)

    def grew():
        after = site.proxy.metrics()
        return all(after[name] > before[name] for name in ("pin_failures_strong_total", "pin_failures_weak_total"))
    wait_for("both are counted", grew)
    assert "pins_suspected_total" in before


@row
def a_session_that_is_used_has_no_evidence(site):
    host = site.host()
    with site.session(host) as session:
        assert session.ask("GET", "/echo").status == 200
    line = site.connect_line(host)
    assert opened(line) and "evidence" not in line["tls"] and "ended_by" not in line, line
    assert "evidence" not in site.request_line(host)["tls"]


@row
def a_session_that_waited_before_it_was_closed_is_no_evidence(site):
    """As connections in stock are. The line tells how long the handshake took, not how long it waited."""
    host, began = site.host(), time.monotonic()
    with site.session(host):
        time.sleep(2.5)
    line, whole_ms = site.connect_line(host), (time.monotonic() - began) * 1000
    assert opened(line) and evidence(line) == "unused", line
    assert line["duration_ms"] < whole_ms - 1000, (line, whole_ms)


def expand(secret, label, length):
    """HKDF-Expand-Label of TLS_AES_128_GCM_SHA256 (RFC 8446 section 7.1)."""
    label = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return HKDFExpand(hashes.SHA256(), length, info).derive(secret)


def alert_behind_the_handshake(site, host, source, *alerts):
    """As Firefox on Android does: it finishes the handshake, then says what it thinks. Each alert is (level, description)."""
    context = context_of(site.proxy.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.keylog_filename = str(site.folder_of(f"keys-{source}-{time.monotonic_ns()}") / "keys")
    with Session(site, site.at(host), source=source, context=context) as session:
        assert session.tls.cipher()[0] == "TLS_AES_128_GCM_SHA256", session.tls.cipher()
        keys = pathlib.Path(context.keylog_filename).read_text()
        secret = bytes.fromhex(re.search(r"CLIENT_TRAFFIC_SECRET_0 \w+ (\w+)", keys)[1])
        key, iv = AESGCM(expand(secret, b"key", 16)), expand(secret, b"iv", 12)
        with socket.socket(fileno=os.dup(session.tls.fileno())) as plain:
            for number, alert in enumerate(alerts):
                nonce = bytes(a ^ b for a, b in zip(iv, number.to_bytes(12, "big")))
                head = b"\x17\x03\x03" + (3 + 16).to_bytes(2, "big")
                plain.sendall(head + key.encrypt(nonce, bytes(alert) + b"\x15", head))
            plain.shutdown(socket.SHUT_WR)


@row
def an_alert_behind_the_handshake_is_strong_evidence(site):
    host, source = site.host(), next(site.sources)
    alert_behind_the_handshake(site, host, source, (2, 46))
    line = site.connect_line(host)
    assert opened(line) and evidence(line) == "alert-46", line


@row
def alerts_about_something_else_are_no_evidence(site):
    """ech_required; and user_canceled, which close_notify follows."""
    for alerts in [((2, 121),), ((1, 90), (1, 0))]:
        host, source = site.host(), next(site.sources)
        trusted_elsewhere(site, source)
        for _ in range(7):
            alert_behind_the_handshake(site, host, source, *alerts)
            time.sleep(SPACED_S)
        lines = connects(site.lines(host, lambda lines: len(connects(lines)) == 7))
        assert all(evidence(line) == "unused" for line in lines), lines
        assert host not in suggested(site) and host not in site.proxy.events()


@row
def a_certificate_that_is_said_to_have_expired_may_be_a_wrong_clock(site):
    host, source = site.host(), next(site.sources)
    trusted_elsewhere(site, source)
    for _ in range(ENOUGH):
        alert_behind_the_handshake(site, host, source, (2, 45))
        time.sleep(APART_S)
    assert "clock may be wrong" in event(site, "pin_suspected", host)


@row
def a_session_that_ends_with_the_proxy_has_its_line(site):
    proxy = site.inspector(workers=1)
    host = site.host()
    with Session(site, site.at(host), proxy=proxy) as session:
        assert select.select([session.tls], [], [], 30)[0]  # tickets: its handshake is done on the other side, too
        proxy.process.send_signal(signal.SIGINT)
        line = site.connect_line(host, proxy)
    assert opened(line) and evidence(line) == "unused", line


@row
def a_connection_that_ends_before_our_certificate_is_no_evidence(site):
    host = site.host()
    connect(site.proxy, site.at(host)).close()
    line = site.connect_line(host)
    assert "evidence" not in line.get("tls", {}), line


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
