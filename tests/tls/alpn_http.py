#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""HTTP inside opened sessions: ALPN as the origin has it, HTTP/1.1, HTTP/2, WebSocket, rules on requests and fields. Ends
with "http: N passed, M failed"."""
import hashlib
import json
import os
import pathlib
import socket
import ssl
import struct
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
import client_hello as hello  # noqa: E402
import origins  # noqa: E402
from tls_site import (ByteFile, Session, connect, ended, environment, expect_page, main, opened, read_answer, read_head, row,  # noqa: E402
                      row_named, run)

BIG = 20_000_000
RULES = """  - {name: no admin, when: {url: "/^https://h\\\\d+\\\\.(web|h2)\\\\.test:\\\\d+/admin/"}, then: {access: deny}}
  - {name: nobody deletes, when: {to: ["*.web.test", "*.h2.test"], method: DELETE}, then: {access: deny}}
  - {name: no pictures, when: {to: ["*.nopictures.test"], content-type: "image/*"}, then: {access: deny}}
  - {name: slow, when: {to: ["*.slow.test"]}, then: {rate: {each: rule, rate: 400K}}}
  - name: tenants
    when: {to: ["*.tenant.test"]}
    then:
      request-headers: {set: {Restrict-Access-To-Tenants: example.com}, remove: [X-Secret]}
      response-headers: {set: {X-Added: here}, remove: [Alt-Svc]}
"""


def prepare(site):
    web = site.web
    site.names(*[f"h{number}.h2.test" for number in range(80)], "a.nopictures.test", "b.nopictures.test", "a.tenant.test", "b.tenant.test",
               "a.slow.test", "b.slow.test", "one.both.test", "none.web.test", "h2only.web.test", *[f"n{number}.nghttpd.test" for number in range(9)],
               *[f"n{number}.nginx.test" for number in range(9)])
    site.h2_numbers = iter(range(80))
    made = web.site("*.h2.test", "*.nopictures.test", "*.tenant.test", "*.slow.test", "one.both.test")
    site.h2 = site.keep(origins.node(site.folder_of("h2"), "origin_h2", made, "websocket"))
    site.h2_plain = site.keep(origins.node(site.folder_of("h2-plain"), "origin_h2", made))
    site.both = site.keep(origins.node(site.folder_of("both"), "origin_h2", made, "both"))
    for name in ("*.nopictures.test", "*.tenant.test", "*.slow.test"):
        site.origin.add(name, made)
    site.origin.add("none.web.test", web.site("none.web.test"), alpn=())
    site.origin.add("h2only.web.test", web.site("h2only.web.test"), alpn=("h2",))
    pages = site.folder_of("pages")
    (pages / "hello").write_text("hello through the wall\n")
    (pages / "big").write_bytes(origins.content(BIG))
    (site.folder / "million").write_bytes(origins.content(1_000_000))
    site.nghttpd = site.keep(origins.nghttpd(site.folder, web.site("*.nghttpd.test"), pages))
    site.nginx = site.keep(origins.nginx(site.folder, web.site("*.nginx.test")))
    (site.folder / "big").write_bytes(origins.content(BIG))
    site.begin(rules=RULES)


def h2_host(site):
    with site.lock:
        return f"h{next(site.h2_numbers)}.h2.test"


def node(site, host, task, *words, port=None):
    said = run(["node", HERE / "client_h2.js", site.proxy.port, f"{host}:{port or site.h2.port}", site.proxy.ca_file, task, *words], env=environment())
    return json.loads(said.strip().splitlines()[-1])


# ---- ALPN ----

def alpn(site, offered, port=None, host=None):
    """(what the client got, what the origin was offered)"""
    host = host or site.host()
    with site.session(host, port, alpn=offered) as session:
        got = session.tls.selected_alpn_protocol()
        if got != "h2":
            assert session.ask("GET", "/echo").status == 200
    seen = site.origin.of(host)
    return got, hello.alpn_of(seen[-1].hello) if seen and hello.EXTENSION_ALPN in hello.fields_of(seen[-1].hello)[3] else None


@row
def alpn_h2_and_http1_where_the_origin_has_h2(site):
    assert alpn(site, ("h2", "http/1.1"), site.h2.port, h2_host(site))[0] == "h2"


@row
def alpn_h2_and_http1_where_the_origin_has_http1(site):
    assert alpn(site, ("h2", "http/1.1")) == ("http/1.1", ["h2", "http/1.1"])


@row
def alpn_h2_and_http1_where_the_origin_has_none(site):
    assert alpn(site, ("h2", "http/1.1"), host="none.web.test")[0] is None


@row
def alpn_http1_alone_is_all_that_the_origin_is_offered(site):
    assert alpn(site, ("http/1.1",)) == ("http/1.1", ["http/1.1"])


@row
def no_alpn_of_the_client_is_none_at_the_origin(site):
    got = alpn(site, ())
    assert got == (None, None), got


@row
def alpn_h2_alone_where_the_origin_has_h2(site):
    assert node(site, h2_host(site), "get", "/echo")["status"] == 200


@row
def alpn_of_another_protocol_is_denied(site):
    host = site.host()
    for offered in (("acme-tls/1",), ("imap", "xmpp-client")):
        with connect(site.proxy, site.at(host)) as sock:
            sock.sendall(hello.records(hello.by_hand(host, alpn=offered)))
            data, _ = ended(sock, 20)
        assert data[:1] != b"\x17" and (data[:1] in (b"", b"\x15", b"\x16")), data[:10]
    assert not any(seen.requests for seen in site.origin.of(host))


@row
def an_origin_that_answers_with_an_alpn_that_was_not_offered_is_refused(site):
    """OpenSSL's client takes what it did not offer for an error."""
    host = "h2only.web.test"
    with site.session(host, alpn=("http/1.1",)) as session:
        assert session.tls.selected_alpn_protocol() in ("http/1.1", None)
        assert session.ask("GET", "/echo", host=site.at(host)).status in (200, 502)


# ---- HTTP/1.1 ----

@row
def requests_follow_each_other_in_one_session(site):
    host = site.host()
    with site.session(host) as session:
        for number in range(20):
            answer = session.ask("GET", f"/echo/{number}").json
            assert answer["path"] == f"/echo/{number}"
    assert len(site.origin.of(host)) == 1, "one session with the origin"
    lines = site.lines(host, lambda lines: sum(line.get("method") == "GET" for line in lines) == 20)
    line = next(line for line in lines if line.get("method") == "GET")
    assert line["target"] == f"https://{host}:{site.origin.port}/echo/0" and line["status"] == 200, line


@row
def requests_pipelined_are_answered_in_order(site):
    with site.session() as session:
        for number in range(5):
            session.send("GET", f"/echo/{number}")
        assert [read_answer(session.tls).json["path"] for _ in range(5)] == [f"/echo/{number}" for number in range(5)]


@row
def fields_go_through_and_hop_by_hop_ones_do_not(site):
    with site.session() as session:
        said = session.ask("GET", "/echo", fields=("X-Mine: yes", "Cookie: a=b", "Proxy-Authorization: Basic eHg6eXk=", "Connection: X-Hop, keep-alive",
                                                  "X-Hop: no", "Authorization: Bearer t")).json
    fields = {name.lower(): value for name, value in said["fields"]}
    assert fields["x-mine"] == "yes" and fields["cookie"] == "a=b" and fields["authorization"] == "Bearer t", fields
    assert "proxy-authorization" not in fields and "x-hop" not in fields, fields


@row
def strict_transport_security_and_others_are_left_alone(site):
    with site.session() as session:
        answer = session.ask("GET", "/fields")
    assert answer.one("Strict-Transport-Security") == "max-age=31536000" and answer.one("Content-Security-Policy") == "default-src 'self'"
    assert answer.one("Set-Cookie") == "a=b; Secure", answer


@row
def content_comes_whole_however_it_is_framed(site):
    with site.session() as session:
        assert session.ask("GET", f"/bytes/{BIG}").body == origins.content(BIG)
        assert session.ask("GET", "/chunked/300000").body == origins.content(300000)
        assert session.ask("HEAD", "/bytes/1000").body == b""
        assert session.ask("GET", "/close").body == origins.content(5000)


@row
def content_goes_up_whole(site):
    body = origins.content(3_000_000)
    with site.session() as session:
        said = session.ask("POST", "/echo", body=body).json
        assert said["bytes"] == len(body) and said["sha256"] == hashlib.sha256(body).hexdigest()
    host = site.host()
    out = site.curl("-T", site.folder / "big", "-H", "Transfer-Encoding: chunked", f"https://{host}:{site.origin.port}/echo")
    assert json.loads(out)["sha256"] == hashlib.sha256(origins.content(BIG)).hexdigest()


@row
def content_that_is_cut_is_not_taken_for_whole(site):
    """The origin ends without close_notify where the end is all that says that the content is whole."""
    with site.session() as session:
        session.send("GET", "/close/cut")
        try:
            answer = read_answer(session.tls)
            rest = session.tls.recv(1)
        except (OSError, Exception):  # noqa: B014
            return
        assert answer.status == 502 or len(answer.body) < 5000 and rest == b"", "it looked whole"


@row
def a_connection_that_the_origin_closes_is_closed_to_the_client(site):
    with site.session() as session:
        answer = session.ask("GET", "/close")
        assert answer.status == 200 and session.tls.recv(1) == b"", "close_notify"


@row
def who_waits_for_100_gets_it(site):
    with site.session() as session:
        session.tls.sendall(f"POST /echo HTTP/1.1\r\nHost: {session.authority}\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n".encode())
        line, _ = read_head(session.tls)
        assert line.startswith("HTTP/1.1 100"), line
        session.tls.sendall(b"content")
        answer = read_answer(session.tls)
        assert answer.json["bytes"] == 7


@row
def who_waits_for_100_may_get_a_final_answer(site):
    with site.session() as session:
        session.tls.sendall(f"POST /too-large HTTP/1.1\r\nHost: {session.authority}\r\nExpect: 100-continue\r\nContent-Length: 70\r\n\r\n".encode())
        assert read_answer(session.tls).status == 413


@row
def interim_responses_go_through(site):
    with site.session() as session:
        answer = session.ask("GET", "/early-hints")
    assert answer.status == 200 and [status for status, _ in answer.interim] == [103], answer


@row
def framing_that_is_ambiguous_is_refused_inside_too(site):
    for bad in ("Content-Length: 5\r\nTransfer-Encoding: chunked", "Content-Length: 5\r\nContent-Length: 6", "Transfer-Encoding: chunked, identity"):
        host = site.host()
        with site.session(host) as session:
            session.tls.sendall(f"POST /secret HTTP/1.1\r\nHost: {session.authority}\r\n{bad}\r\n\r\n0\r\n\r\n".encode())
            assert read_answer(session.tls).status == 400
        assert not any(seen.requests for seen in site.origin.of(host))


@row
def a_client_that_goes_before_its_answer_harms_nobody(site):
    for _ in range(5):
        with site.session() as session:
            session.send("GET", "/slow")
    assert site.get().status == 200


# ---- rules ----

def expect_denied(site, host, port, method, path, rule):
    for flag in ("--http1.1", "--http2"):
        out = site.curl(flag, "-X", method, "-w", "%{http_code}", "-H", "Accept: text/plain", f"https://{host}:{port}{path}")
        assert out.endswith("403") and rule in out, out
    assert site.request_line(host)["decision"]["access"]["rule"] == rule
    assert site.curl("-o", "/dev/null", "-w", "%{http_code}", f"https://{host}:{port}/echo") == "200"


row_named("HTTP/1.1: a rule on a URL denies that one alone", lambda site: expect_denied(site, site.host(), site.origin.port, "GET", "/admin/x", "no admin"))
row_named("HTTP/2: a rule on a URL denies that one alone", lambda site: expect_denied(site, h2_host(site), site.both.port, "GET", "/admin/x", "no admin"))
row_named("HTTP/1.1: a rule on a method denies that one alone", lambda site: expect_denied(site, site.host(), site.origin.port, "DELETE", "/x", "nobody deletes"))
row_named("HTTP/2: a rule on a method denies that one alone", lambda site: expect_denied(site, h2_host(site), site.both.port, "DELETE", "/x", "nobody deletes"))


@row
def a_rule_on_the_type_of_the_response_denies_it(site):
    for host, port in (("a.nopictures.test", site.origin.port), ("b.nopictures.test", site.both.port)):
        out = site.curl("-w", "%{http_code}", "--output", site.folder / "picture", f"https://{host}:{port}/picture")
        out = (site.folder / "picture").read_bytes().decode("latin-1") + out
        assert out.endswith("403") and "PNG" not in out and "png\n" not in out, out
        assert site.curl("-o", "/dev/null", "-w", "%{http_code}", f"https://{host}:{port}/echo") == "200"


@row
def fields_are_set_and_removed_as_rules_say(site):
    said = json.loads(site.curl("-H", "X-Secret: 1", "-H", "restrict-access-to-tenants: mine", f"https://a.tenant.test:{site.origin.port}/echo"))
    fields = [(name.lower(), value) for name, value in said["fields"]]
    assert [value for name, value in fields if name == "restrict-access-to-tenants"] == ["example.com"], fields
    assert not [name for name, _ in fields if name == "x-secret"]
    out = site.curl("-D", "-", f"https://a.tenant.test:{site.origin.port}/fields").lower()
    assert "x-added: here" in out and "alt-svc" not in out and "strict-transport-security" in out, out


@row
def fields_are_set_and_removed_in_http2_as_rules_say(site):
    said = json.loads(site.curl("--http2", "-H", "X-Secret: 1", f"https://b.tenant.test:{site.h2.port}/echo"))["headers"]
    assert said["restrict-access-to-tenants"] == "example.com" and "x-secret" not in said, said
    out = site.curl("--http2", "-D", "-", f"https://b.tenant.test:{site.h2.port}/fields").lower()
    assert "x-added: here" in out and "alt-svc" not in out, out


# ---- WebSocket over HTTP/1.1 ----

def upgrade(session, path="/ws", *fields):
    session.send("GET", path, fields=("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *fields))
    answer = read_answer(session.tls)
    assert answer.status == 101 and answer.one("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", answer
    return ByteFile(session.tls)


def frame_from(file):
    head = file.read(2)
    size = head[1] & 127
    size = struct.unpack(">H", file.read(2))[0] if size == 126 else struct.unpack(">Q", file.read(8))[0] if size == 127 else size
    return head[0], file.read(size)


@row
def a_websocket_carries_frames_of_all_kinds(site):
    host = site.host()
    with site.session(host) as session:
        file = upgrade(session)
        for first, data in ((0x81, b"text"), (0x82, os.urandom(70000)), (0x01, b"frag"), (0x00, b"men"), (0x80, b"ts"), (0x82, b"")):
            session.tls.sendall(origins.websocket_frame(first, data, b"mask"))
            assert frame_from(file) == (first, data)
        session.tls.sendall(origins.websocket_frame(0x89, b"ping", b"mask"))
        assert frame_from(file) == (0x8a, b"ping")
        session.tls.sendall(origins.websocket_frame(0x88, struct.pack(">H", 4001) + b"why", b"mask"))
        assert frame_from(file) == (0x88, struct.pack(">H", 4001) + b"why")
    line = site.request_line(host, "/ws")
    assert line["status"] == 101 and line["bytes_down"] > 70000, line


@row
def a_websocket_carries_ten_megabytes(site):
    """Frame by frame: Python may not read and write one TLS session at the same time."""
    data = os.urandom(100_000)
    with site.session() as session:
        file = upgrade(session)
        for _ in range(100):
            session.tls.sendall(origins.websocket_frame(0x82, data, b"mask"))
            assert frame_from(file) == (0x82, data)


@row
def a_compressed_websocket_is_what_its_ends_agree_on(site):
    """permessage-deflate: the extension and its bit go through."""
    with site.session() as session:
        session.send("GET", "/ws", fields=("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                                           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Extensions: permessage-deflate"))
        answer = read_answer(session.tls)
        assert answer.status == 101
        if answer.all("Sec-WebSocket-Extensions"):
            session.tls.sendall(origins.websocket_frame(0xc1, b"\xf2H\xcd\xc9\xc9\x07\0", b"mask"))
            assert frame_from(ByteFile(session.tls)) == (0xc1, b"\xf2H\xcd\xc9\xc9\x07\0")


@row
def an_upgrade_to_what_nobody_knows_is_denied_inside(site):
    """Its bytes would be neither TLS nor HTTP, and policy wants them opened."""
    host = site.host()
    with site.session(host) as session:
        session.send("GET", "/upgrade", fields=("Upgrade: secret/1", "Connection: Upgrade"))
        answer = read_answer(session.tls)
    assert answer.status != 101, answer


# ---- HTTP/2 ----

@row
def curl_gets_and_posts_over_http2(site):
    host = h2_host(site)
    out = site.curl("--http2", "-w", "\n%{http_version}", f"https://{host}:{site.h2.port}/echo")
    said = json.loads(out.splitlines()[0])
    assert out.endswith("\n2") and said["headers"][":authority"] == f"{host}:{site.h2.port}" and said["headers"][":scheme"] == "https", out
    said = json.loads(site.curl("--http2", "--data-binary", f"@{site.folder}/big", f"https://{host}:{site.h2.port}/echo"))
    assert said["sha256"] == hashlib.sha256(origins.content(BIG)).hexdigest(), said
    line = site.request_line(host, "/echo")
    assert line["target"] == f"https://{host}:{site.h2.port}/echo" and line["status"] == 200, line
    assert site.connect_line(host)["tls"]["client"]["alpn"] == "h2"


@row
def large_content_comes_whole_over_http2(site):
    host = h2_host(site)
    file = site.folder / "got-h2"
    site.curl("--http2", "-o", file, f"https://{host}:{site.h2.port}/bytes/{BIG}")
    assert file.stat().st_size == BIG
    site.curl("--http2", "-o", file, f"https://n0.nghttpd.test:{site.nghttpd.port}/big")
    assert file.read_bytes() == origins.content(BIG)


@row
def nghttpd_is_an_origin_too(site):
    url = f"https://n1.nghttpd.test:{site.nghttpd.port}"
    assert site.curl("--http2", f"{url}/hello") == "hello through the wall\n"
    assert site.curl("--http2", "--data-binary", "x" * 100000, f"{url}/echo") == "x" * 100000
    said = node(site, "n2.nghttpd.test", "get", "/hello", port=site.nghttpd.port)
    assert said["status"] == 200 and said["trailers"]["x-trailer"] == "last", said


@row
def nginx_is_an_origin_too(site):
    for flag in ("--http1.1", "--http2"):
        assert site.curl(flag, f"https://n0.nginx.test:{site.nginx.port}/hello") == "hello through the wall\n"


@row
def trailers_go_both_ways_over_http2(site):
    said = node(site, h2_host(site), "get", "/trailers")
    assert said["status"] == 200 and said["trailers"]["x-sum"] == "abc" and said["body"] == "content\n", said
    said = node(site, h2_host(site), "trailers")
    assert json.loads(said["body"])["trailers"].get("x-mine") == "yes", said


@row
def messages_go_both_ways_at_once_as_grpc_has_it(site):
    said = node(site, h2_host(site), "grpc")
    assert said["bytes"] == 5000 and said["trailers"]["grpc-status"] == "0" and said["code"] == 0, said


@row
def a_hundred_streams_at_once(site):
    said = node(site, h2_host(site), "many", "/bytes/10000", "100")
    assert [one["status"] for one in said] == [200] * 100 and {one["bytes"] for one in said} == {10000}


@row
def one_session_of_a_client_is_one_session_with_the_origin(site):
    host = h2_host(site)
    node(site, host, "many", "/echo", "20")
    sessions = {line.rsplit(" ", 1)[1] for line in site.h2.log().splitlines() if host in line}
    assert len(sessions) == 1, sessions


@row
def who_waits_for_100_gets_it_over_http2(site):
    said = node(site, h2_host(site), "continue")
    assert said.get("continued") and json.loads(said["body"])["bytes"] == 7, said


@row
def interim_responses_go_through_over_http2(site):
    said = node(site, h2_host(site), "get", "/early-hints")
    assert said["status"] == 200 and 103 in said["interim"], said


@row
def http_11_required_reaches_the_client(site):
    said = node(site, h2_host(site), "get", "/http1")
    assert said["code"] == 13 and said["status"] is None, said


@row
def a_refused_stream_reaches_the_client_as_refused(site):
    said = node(site, h2_host(site), "get", "/refused")
    assert said["code"] == 7 and said["status"] is None, said


@row
def a_stream_that_the_origin_cuts_is_cut(site):
    said = node(site, h2_host(site), "get", "/cut")
    assert said["code"] != 0 or said["bytes"] < 1000 and said.get("error"), said
    assert said["body"] == "half", said


@row
def a_stream_that_the_client_cancels_is_alone_in_it(site):
    first, second = node(site, h2_host(site), "cancel")
    assert second["status"] == 200, (first, second)


@row
def goaway_lets_running_streams_end(site):
    said = node(site, h2_host(site), "goaway")
    assert [one["status"] for one in said["all"]] == [200, 200], said
    assert [one["body"] for one in said["all"]] == ["slow\n", "last\n"], said


@row
def an_authority_that_the_session_is_not_with_is_refused_over_http2(site):
    host = h2_host(site)
    said = node(site, host, "authority", "/secret", "other.example")
    assert said["status"] == 403, said
    assert "/secret" not in site.h2.log()


@row
def several_set_cookies_stay_several(site):
    said = node(site, h2_host(site), "get", "/fields")
    assert said["headers"]["set-cookie"] == ["a=1", "b=2"], said


@row
def a_websocket_over_http2_where_the_origin_has_it(site):
    said = node(site, h2_host(site), "websocket", "300000")
    assert said["offered"] and said["status"] == 200 and said["bytes"] == 300000, said


@row
def no_websocket_over_http2_is_offered_where_the_origin_has_none(site):
    assert node(site, h2_host(site), "websocket", "10", port=site.h2_plain.port) == {"offered": False}


@row
def a_bad_certificate_is_a_page_over_http2_too(site):
    host = "h394.web.test"
    site.origin.add(host, site.web.site(host, days=(-9, -3)), alpn=("h2", "http/1.1"))
    said = node(site, host, "get", "/secret", port=site.origin.port)
    assert said["status"] == 502 and "tls_certificate_error" in said["headers"]["proxy-status"], said
    assert not any(seen.data for seen in site.origin.of(host))


def hostile(site, frames, after=b""):
    """A client of HTTP/2 by hand: its preface, SETTINGS, then these bytes. What comes until the end."""
    host = h2_host(site)
    with Session(site, f"{host}:{site.h2.port}", alpn=("h2",)) as session:
        session.tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frames)
        session.tls.settimeout(20)
        data = b""
        try:
            while more := session.tls.recv(65536):
                data += more
        except (OSError, ssl.SSLError):
            pass
    return data


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def kinds_of(data):
    kinds = []
    while len(data) >= 9:
        size = int.from_bytes(data[:3], "big")
        kinds.append((data[3], data[9:9 + size]))
        data = data[9 + size:]
    return kinds


HOSTILE = {"a frame longer than was agreed": frame(0, 0, 1, bytes(20000)), "DATA on stream 0": frame(0, 0, 0, b"x"),
           "HEADERS that are no HPACK": frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff"), "a window that overflows": frame(8, 0, 0, b"\x7f\xff\xff\xff"),
           "SETTINGS of five bytes": frame(4, 0, 0, bytes(5)), "a stream with an even number": frame(1, 5, 2, b"\x82\x84\x87"),
           "CONTINUATION without HEADERS": frame(9, 4, 1, b"\x82"), "PUSH_PROMISE of a client": frame(5, 4, 1, bytes(4) + b"\x82")}
for what, bytes_ in HOSTILE.items():
    def refuses(site, bytes_=bytes_):
        kinds = kinds_of(hostile(site, bytes_))
        assert any(kind == 7 for kind, _ in kinds), f"no GOAWAY: {[kind for kind, _ in kinds]}"
    row_named(f"HTTP/2: {what} ends the session with GOAWAY", refuses)


@row
def a_flood_of_resets_ends_the_session(site):
    """CVE-2023-44487: streams that are opened and reset at once, more than anybody needs."""
    host = h2_host(site)
    headers = b"\x82\x87\x84\x41" + bytes([len(host)]) + host.encode()
    began = time.monotonic()
    with Session(site, f"{host}:{site.h2.port}", alpn=("h2",)) as session:
        session.tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        session.tls.settimeout(20)
        try:
            for stream in range(1, 60001, 2):
                session.tls.sendall(frame(1, 5, stream, headers) + frame(3, 0, stream, bytes([0, 0, 0, 8])))
        except (OSError, ssl.SSLError):
            pass
        else:
            raise AssertionError(f"thirty thousand were taken in {time.monotonic() - began:.1f} s")
    assert site.get().status == 200
    assert site.h2.log().count(host) < 15000, "and handed on"


@row
def rate_limits_hold_inside(site):
    """What is decrypted counts, in HTTP/1.1 and in HTTP/2, down and up; all of it arrives."""
    began = time.monotonic()
    assert site.get("a.slow.test", "/bytes/1000000").body == origins.content(1_000_000)
    said = json.loads(site.curl("--http2", "--data-binary", f"@{site.folder}/million", f"https://b.slow.test:{site.h2.port}/echo"))
    took = time.monotonic() - began
    assert said["bytes"] == 1_000_000, said
    # Each direction has 400K at once, then as much a second: at least 1.4 s each.
    assert took >= 2.5, took
    for host in ("a.slow.test", "b.slow.test"):
        line = site.request_line(host)
        assert line["rate"]["by"] == "rule" and line["rate"]["waited_ms"] > 500, line
        assert line["decision"]["rate"]["rule"] == "slow", line


@row
def an_idle_opened_session_is_closed_cleanly(site):
    """The client's close_notify is answered, and the log has one line for the CONNECT."""
    host = site.host()
    with site.session(host) as session:
        assert session.ask("GET", "/echo").status == 200
        session.tls.settimeout(20)
        session.tls.unwrap()
    line = site.connect_line(host)
    assert opened(line) and "error" not in line, line


if __name__ == "__main__":
    main("http", prepare)
