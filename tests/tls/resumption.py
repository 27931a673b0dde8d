#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Short handshakes on both legs, and nobody else's. Ends with "resumption: N passed, M failed"."""
import contextlib
import pathlib
import re
import ssl
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
import certificates as c  # noqa: E402
from tls_site import Session, context_of, main, row, row_named  # noqa: E402

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def prepare(site):
    site.names("pair-a.test", "pair-b.test", "pair-c.test", "pair-d.test", "renewed.test")
    made = site.web.site("pair-a.test", "pair-b.test", "pair-c.test", "pair-d.test")
    for name in ("pair-a.test", "pair-b.test", "pair-c.test", "pair-d.test"):
        site.origin.add(name, made)
    site.begin()


def visit(site, host, context, session=None, proxy=None, sni=None, port=None):
    """(resumed, what to resume with, number of the worker)."""
    with Session(site, site.at(host, port), context=context, session=session, proxy=proxy, sni=sni) as one:
        assert one.ask("GET", "/echo", host=f"{sni or host}:{site.origin.port}").status == 200
        return one.tls.session_reused, one.tls.session


def contexts(site, version, proxy=None):
    return context_of((proxy or site.proxy).ca_file, least=version, most=version)


def resumed(site, version):
    host, context = site.host(), contexts(site, version)
    first, session = visit(site, host, context)
    second, _ = visit(site, host, context, session)
    assert not first and second
    lines = site.lines(host, lambda lines: sum(line.get("method") == "CONNECT" for line in lines) == 2)
    assert [line["tls"]["client"]["resumed"] for line in lines if line["method"] == "CONNECT"] == [False, True]


row_named("TLS 1.2: a client comes back with its ticket", lambda site: resumed(site, TLS12))
row_named("TLS 1.3: a client comes back with its ticket", lambda site: resumed(site, TLS13))


@row
def s_client_comes_back_with_its_ticket(site):
    for flag in ("-tls1_2", "-tls1_3"):
        host, kept = site.host(), site.folder / f"session{flag}"
        request = f"GET /echo HTTP/1.1\r\nHost: {host}:{site.origin.port}\r\nConnection: close\r\n\r\n"
        first = site.s_client(host, site.origin.port, flag, "-ign_eof", "-sess_out", kept, text=request)
        second = site.s_client(host, site.origin.port, flag, "-ign_eof", "-sess_in", kept, text=request)
        assert "New, " in first and "Reused, " in second and "HTTP/1.1 200" in second, (first, second)


def other_worker(site, version):
    """Sessions are held until the kernel gives the next one to the other worker."""
    host, context, held, seen = site.host(), contexts(site, version), [], set()
    _, session = visit(site, host, context)
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            one = stack.enter_context(Session(site, site.at(host), context=context, session=session))
            assert one.ask("GET", "/echo").status == 200
            held.append(one.tls.session_reused)
            session = one.tls.session if version == TLS13 else session
            seen = {line["id"].split("-")[0] for line in site.proxy.lines(host) if line.get("method") != "CONNECT"}
            if len(seen) > 1 and len(held) > 4:
                break
    assert len(seen) > 1, "one worker had all of them"
    assert all(held), held


row_named("TLS 1.2: a ticket is good at the other worker", lambda site: other_worker(site, TLS12))
row_named("TLS 1.3: a ticket is good at the other worker", lambda site: other_worker(site, TLS13))


@row
def a_ticket_is_good_after_a_reload_that_changes_nothing_of_it(site):
    proxy, host = site.inspector(), site.host()
    for version in (TLS12, TLS13):
        context = contexts(site, version, proxy)
        _, session = visit(site, host, context, proxy=proxy)
        proxy.command("reload")
        assert visit(site, host, context, session, proxy)[0], "reused"


def not_elsewhere(site, version):
    """RFC 6066 section 3: a session is resumed for its own name alone. Host and port count, too."""
    context = contexts(site, version)
    _, session = visit(site, "pair-a.test", context)
    assert not visit(site, "pair-b.test", context, session)[0], "another host"
    _, session = visit(site, "pair-a.test", context)
    assert not visit(site, "pair-a.test", context, session, sni="pair-b.test")[0], "another SNI"


row_named("TLS 1.2: a ticket of one host is no good for another", lambda site: not_elsewhere(site, TLS12))
row_named("TLS 1.3: a ticket of one host is no good for another", lambda site: not_elsewhere(site, TLS13))


@row
def a_ticket_of_another_proxy_is_no_good(site):
    other, host = site.inspector(workers=1), site.host()
    file = site.folder / "both.pem"
    file.write_text(site.proxy.x_pem + other.x_pem)
    for version in (TLS12, TLS13):
        context = context_of(file, least=version, most=version)
        _, session = visit(site, host, context, proxy=other)
        assert not visit(site, host, context, session)[0]


@row
def a_resumed_session_is_judged_as_any_other(site):
    """A policy that has come meanwhile: the ticket buys nothing."""
    proxy, host = site.inspector(), site.host()
    context = contexts(site, TLS13, proxy)
    _, session = visit(site, host, context, proxy=proxy)
    policy = proxy.folder / "policy.yaml"
    policy.write_text(policy.read_text().replace("rules:\n", f"rules:\n  - {{name: new, when: {{to: {host}}}, then: {{access: deny}}}}\n"))
    proxy.command("reload")
    try:
        visit(site, host, context, session, proxy)
    except (AssertionError, OSError, Exception) as error:  # noqa: B014
        assert "403" in str(error), error
    else:
        raise AssertionError("it was let in")


@row
def origins_are_resumed_too(site):
    """Each worker has its own memory: one that is asked often enough has it."""
    host = site.host()
    for _ in range(6):
        assert site.get(host).status == 200
    assert any(seen.resumed for seen in site.origin.of(host))
    lines = site.lines(host, lambda lines: sum(line.get("method") == "CONNECT" for line in lines) == 6)
    assert any(line["tls"]["origin"]["resumed"] for line in lines if line["method"] == "CONNECT"), lines


@row
def sessions_of_origins_are_for_their_names_alone(site):
    for _ in range(4):
        site.get("pair-c.test")
    before = len(site.origin.of("pair-d.test"))
    site.get("pair-d.test")
    assert not site.origin.of("pair-d.test")[before].resumed


@row
def an_origin_with_another_certificate_is_verified_again(site):
    """It has lost its tickets' keys with its certificate: a full handshake, and the new certificate is bad."""
    site.origin.add("renewed.test", site.web.site("renewed.test"))
    for _ in range(4):
        assert site.get("renewed.test").status == 200
    site.origin.add("renewed.test", site.web.site("renewed.test", days=(-9, -3)))
    for _ in range(4):
        assert site.get("renewed.test").status == 502


@row
def no_early_data_is_asked_for(site):
    out = site.s_client(site.host(), site.origin.port, "-tls1_3", "-ign_eof",
                        text="GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert re.findall(r"Max Early Data: (\d+)", out) and set(re.findall(r"Max Early Data: (\d+)", out)) == {"0"}, out


@row
def early_data_that_comes_all_the_same_is_refused_and_its_request_comes_once(site):
    """The session that s_client keeps is made to say that early data is welcome."""
    host, kept, data = site.host(), site.folder / "early.session", site.folder / "early.data"
    request = f"GET /early-echo HTTP/1.1\r\nHost: {host}:{site.origin.port}\r\nConnection: close\r\n\r\n"
    site.s_client(host, site.origin.port, "-tls1_3", "-ign_eof", "-sess_out", kept, text=request.replace("early-", ""))
    kept.write_text(with_early_data(kept.read_text(), 16384))
    data.write_text(request)
    out = site.s_client(host, site.origin.port, "-tls1_3", "-ign_eof", "-sess_in", kept, "-early_data", data, text=request)
    assert "Early data was rejected" in out and "HTTP/1.1 200" in out, out
    paths = [path for seen in site.origin.of(host) for _, path, _ in seen.requests]
    assert paths.count("/early-echo") == 1, paths


def with_early_data(pem, size):
    """SSL_SESSION (ssl_asn1.c): its field [15] is max_early_data."""
    import base64
    der = base64.b64decode("".join(pem.split("-----")[2].split()))
    at, fields = (4, []) if der[1] == 0x82 else (3, []) if der[1] == 0x81 else (2, [])
    while at < len(der):
        head = 2 if der[at + 1] < 128 else 2 + (der[at + 1] & 127)
        length = der[at + 1] if head == 2 else int.from_bytes(der[at + 2:at + head], "big")
        fields.append(der[at:at + head + length])
        at += head + length
    number = size.to_bytes(2, "big")
    fields = [one for one in fields if one[0] != 0xaf] + [bytes([0xaf, 2 + len(number), 2, len(number)]) + number]
    fields.sort(key=lambda one: one[0] if one[0] >= 0xa0 else 0)
    body = b"".join(fields)
    text = base64.encodebytes(b"\x30\x82" + len(body).to_bytes(2, "big") + body).decode()
    return f"-----BEGIN SSL SESSION PARAMETERS-----\n{text}-----END SSL SESSION PARAMETERS-----\n"


@row
def a_ticket_that_is_garbage_costs_a_full_handshake_and_no_more(site):
    host, kept = site.host(), site.folder / "garbage.session"
    request = f"GET /echo HTTP/1.1\r\nHost: {host}:{site.origin.port}\r\nConnection: close\r\n\r\n"
    site.s_client(host, site.origin.port, "-tls1_2", "-ign_eof", "-sess_out", kept, text=request)
    import base64
    pem = kept.read_text()
    der = bytearray(base64.b64decode("".join(pem.split("-----")[2].split())))
    at = re.search(rb"\xaa(\x81.|\x82..)\x04(\x81.|\x82..)", der, re.S).end()  # field [10], an octet string: the ticket
    der[at + 60:at + 80] = bytes(20)
    text = base64.encodebytes(bytes(der)).decode()
    kept.write_text(f"-----BEGIN SSL SESSION PARAMETERS-----\n{text}-----END SSL SESSION PARAMETERS-----\n")
    out = site.s_client(host, site.origin.port, "-tls1_2", "-ign_eof", "-sess_in", kept, text=request)
    assert "HTTP/1.1 200" in out and "New, " in out, out


if __name__ == "__main__":
    main("resumption", prepare)
