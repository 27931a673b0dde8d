#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""sallyport doctor logs in at a proxy: at this one with a user file and with an MIT KDC, and at such as do it in other ways.
Ends with "doctor-login: N passed, M failed"."""
import argparse
import base64
import contextlib
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "rigs"), str(HERE.parent / "process")]
import rigs  # noqa: E402
from auth_site import PATIENCE_S, Proxy, environment, free_port, run_rows  # noqa: E402
from doctor_site import StunTcp, Tcp  # noqa: E402

BINARY = ""
TIMEOUT = "6s"
KDC = []  # the one of this run
CLEAR = "the password went in clear text, with Basic."


class Said:
    """One target's answer, of the table and of JSON."""

    def __init__(self, runs):
        self.table, self.errors = runs[0][1], "".join(one[2] for one in runs)
        self.target = json.loads(runs[1][1])["targets"][0]
        self.rows = [one for one in self.target["probes"] if one["path"] == "proxy"]

    def results(self):
        return {(one["result"], one.get("login")) for one in self.rows}

    def has(self, note):
        assert note in self.target["notes"] and f"   {note}\n" in self.table, (note, self.target["notes"])

    def has_some(self, *texts):
        assert any(all(text in one for text in texts) for one in self.target["notes"]), (texts, self.target["notes"])


def doctor(config, *words, password=None, env=None, timeout=TIMEOUT, status=1):
    command = [str(BINARY), "doctor", "-c", str(config), "--timeout", timeout, *words]
    runs = [subprocess.run([*command, *more], input=password and password + "\n", text=True, capture_output=True, check=False,
                           timeout=PATIENCE_S, env=env or environment(KRB5CCNAME="FILE:/nonexistent", KRB5_CONFIG="/dev/null"))
            for more in ([], ["--json"])]
    assert all(one.returncode == status for one in runs), runs
    said = Said([(one.returncode, one.stdout, one.stderr) for one in runs])
    assert password is None or password not in said.table + said.errors + json.dumps(said.target), "the password is told"
    return said


@contextlib.contextmanager
def site(auth, env=None, tcp=3, **options):
    """A proxy and its configuration, with a target of as many ports."""
    with contextlib.ExitStack() as stack:
        servers = [StunTcp() for _ in range(tcp)]
        for server in servers:
            stack.callback(server.close)
        target = {"host": "127.0.0.1", "name": "media", "udp": [], "tcp": [one.port for one in servers], "https": "none"}
        proxy = stack.enter_context(Proxy(BINARY, auth, env=env, more={"doctor": {"targets": [target]}}, **options))
        yield proxy, ("--proxy", f"localhost:{proxy.port}")


# ---- this proxy, with a user file ----

def each_scheme_of_the_user_file():
    """Forced or chosen; every probe logs in, and the session is of that scheme."""
    rows = [(["ntlm"], "NTLM", "--proxy-ntlm"), (["digest"], "Digest", "--proxy-digest"), (["basic"], "Basic", "--proxy-basic"),
            (["negotiate"], "Negotiate (NTLM)", "--proxy-negotiate"), (["negotiate", "digest", "ntlm", "basic"], "NTLM", None),
            (["digest", "basic"], "Digest", None), (["negotiate", "digest", "ntlm", "basic"], "Basic", "--proxy-basic"),
            (["negotiate", "digest", "ntlm", "basic"], "Digest", "--proxy-digest")]
    for schemes, label, forced in rows:
        more = {"negotiate": {"ntlm": True}} if "negotiate" in schemes else {}
        with site({"schemes": schemes, **more}) as (proxy, words):
            said = doctor(proxy.config, *words, "--proxy-user", "alice", *([forced] if forced else []), password="alicepw")
            assert said.results() == {("open", label)} and len(said.rows) == 3, (schemes, said.target)
            said.has(f"the proxy takes the login of alice with {label}.")
            assert (CLEAR in said.target["notes"]) == (label == "Basic"), said.target
            lines = proxy.wait_lines("127.0.0.1", lambda lines: len([one for one in lines if one["status"] == 200]) == 6)
            taken = [one for one in lines if one["status"] == 200]
            want = "negotiate" if label.startswith("Negotiate") else label.lower()
            assert {(one["user"], one["scheme"]) for one in taken} == {("alice", want)}, taken
            assert not [one for one in lines if one.get("error") == "auth_refused"], lines


def legs_stay_on_one_connection():
    """NTLM: the session in which the tunnel stands is the one in which its first message came."""
    with site({"schemes": ["ntlm"]}, tcp=1) as (proxy, words):
        doctor(proxy.config, *words, "--proxy-user", "alice", password="alicepw")
        lines = proxy.wait_lines("127.0.0.1", lambda lines: len([one for one in lines if one["status"] == 200]) == 2)
        for line in [one for one in lines if one["status"] == 200]:
            legs = [one["status"] for one in lines if one["client"] == line["client"]]
            assert legs == [407, 200], (legs, lines)


def digest_takes_the_strongest():
    for algorithms, want in ((["MD5", "SHA-256"], "SHA-256"), (["MD5"], "MD5"), (["SHA-256"], "SHA-256")):
        with site({"schemes": ["digest"], "digest": {"algorithms": algorithms}}, tcp=1) as (proxy, words):
            seen = Between(proxy.port)
            with contextlib.closing(seen):
                said = doctor(proxy.config, "--proxy", f"127.0.0.1:{seen.port}", "--proxy-user", "alice", password="alicepw")
                assert said.results() == {("open", "Digest")}, said.target
                assert re.findall(rb"algorithm=([^,]+), nonce=", seen.bytes) == [want.encode()] * 2, (algorithms, seen.bytes)


def users_beyond_ascii():
    for scheme in ("ntlm", "digest", "basic"):
        with site({"schemes": [scheme]}, tcp=1) as (proxy, words):
            said = doctor(proxy.config, *words, "--proxy-user", "jürgen", password="jürgenpw")
            assert said.rows[0]["result"] == "open", (scheme, said.target)


def a_wrong_password_is_sent_once():
    """Not by every probe, and not in a weaker scheme: that would lock accounts."""
    for schemes, label in ((["digest", "ntlm", "basic"], "NTLM"), (["digest", "basic"], "Digest"), (["basic"], "Basic")):
        with site({"schemes": schemes}) as (proxy, words):
            # A quarter of it is the time that the proxy has to say so.
            said = doctor(proxy.config, *words, "--proxy-user", "alice", password="not this", timeout="40s")
            assert {one["result"] for one in said.rows} == {"login"} and len(said.rows) == 3, said.target
            assert {one["text"] for one in said.rows} == {"407: the proxy does not take the login of alice"}, said.rows
            assert label in {one.get("login") for one in said.rows}, said.rows
            said.has_some("the proxy does not take the login of alice", "Is the password right", "It was sent once")
            said.has_some(*(one.capitalize() if one != "ntlm" else "NTLM" for one in schemes))
            assert (CLEAR in said.target["notes"]) == (label == "Basic"), said.target
            # Two runs, and each sent it once.
            lines = proxy.wait_lines("127.0.0.1", lambda lines: len(refusals(lines)) >= 2)
            assert len(refusals(lines)) == 2, lines


def refusals(lines):
    return [one for one in lines if one.get("error") == "auth_refused"]


def without_a_user():
    with site({"schemes": ["negotiate", "ntlm"], "negotiate": {"ntlm": True}}, tcp=1) as (proxy, words):
        said = doctor(proxy.config, *words)
        assert said.results() == {("login", None)}, said.target
        assert said.rows[0]["text"] == "407: the proxy asks for a login (Negotiate, NTLM)", said.rows
        said.has("the proxy asks for a login, and offers Negotiate, NTLM: with --proxy-user NAME doctor asks you for the password, and "
                 "tries again; or get a ticket with kinit before.")
        said.has_some("Negotiate (Kerberos): ")
        said = doctor(proxy.config, *words, "--proxy-user", "alice", "--proxy-digest", password="alicepw")
        said.has("the proxy asks for a login, and offers Negotiate, NTLM, not Digest: leave the option out, and what it offers is taken.")


# ---- other proxies ----

class Between(Tcp):
    """Gives on to a proxy, and keeps what the client says."""

    def __init__(self, to):
        self.to, self.bytes = to, b""
        super().__init__()

    def talk(self, sock, peer):
        self.give_on(sock, self.to)

    def give_on(self, sock, port):
        with socket.create_connection(("127.0.0.1", port)) as there:
            back = threading.Thread(target=self.copy, args=(there, sock, False), daemon=True)
            back.start()
            self.copy(sock, there, True)
            back.join()
        sock.close()

    def copy(self, source, sink, keep):
        with contextlib.suppress(OSError):
            while got := source.recv(65536):
                if keep:
                    self.bytes += got
                sink.sendall(got)
            sink.shutdown(socket.SHUT_WR)


class Dials(Between):
    """A proxy that answers credentials when it has dialled: nothing comes back for the ports that a firewall drops."""

    def __init__(self, scheme, dropped):
        self.scheme, self.dropped, self.asked = scheme, dropped, []
        super().__init__(None)

    def talk(self, sock, peer):
        data, legs = b"", 0
        while got := sock.recv(65536):
            data += got
            while b"\r\n\r\n" in data:
                head, _, data = data.partition(b"\r\n\r\n")
                has_login = b"\r\nProxy-Authorization: " in head
                legs += has_login
                if not has_login or legs < (2 if self.scheme == b"NTLM" else 1):
                    sock.sendall(asks(SECOND if has_login else self.scheme))
                    continue
                port = int(head.split()[1].rpartition(b":")[2])
                self.asked.append(port)
                if port not in self.dropped:
                    sock.sendall(STANDS)
                    self.give_on(sock, port)
                    return
        sock.close()


class Other(Tcp):
    """answer(head, number of the request on this connection): bytes; None: close."""

    def __init__(self, answer):
        self.answer, self.heads = answer, []
        super().__init__()

    def talk(self, sock, peer):
        data, number = b"", 0
        while got := sock.recv(65536):
            data += got
            while b"\r\n\r\n" in data:
                head, _, data = data.partition(b"\r\n\r\n")
                field = re.search(rb"Proxy-Authorization: (.*)", head)
                self.heads.append((number, field and field[1].rstrip(b"\r")))
                answer = self.answer(field and field[1].rstrip(b"\r"), number)
                number += 1
                if answer is None:
                    sock.close()
                    return
                sock.sendall(answer)
                if answer == STANDS:  # nobody waits for STUN there
                    sock.close()
                    return
        sock.close()


def asks(*fields, body=b"Content-Length: 0\r\n\r\n"):
    return b"HTTP/1.1 407 Proxy Authentication Required\r\n" + b"".join(b"Proxy-Authenticate: " + one + b"\r\n" for one in fields) + body


CHALLENGE = (b"NTLMSSP\0\2\0\0\0" + b"\x0c\0\x0c\0\x38\0\0\0" + (0xe2898215).to_bytes(4, "little") + b"01234567" + bytes(8)
             + b"\x04\0\x04\0\x44\0\0\0" + bytes(8) + "DOMAIN".encode("utf-16le") + bytes(4))
SECOND = b"NTLM " + base64.b64encode(CHALLENGE)
STANDS = b"HTTP/1.1 200 OK\r\n\r\n"
PAGE = b"<html>" + b"login, please " * 700 + b"</html>"


def chunked(page):
    return b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(page), page)


def ask_other(answer, *words, ports=1, timeout=TIMEOUT, password="alicepw"):
    other = Other(answer)
    with contextlib.closing(other):
        return ask(other.port, [free_port() for _ in range(ports)], *words, password=password, timeout=timeout), other.heads


def ask(port, targets, *words, **how):
    with tempfile.TemporaryDirectory(prefix="sallyport-doctor-") as folder:
        (pathlib.Path(folder) / "policy.yaml").write_text("defaults: {access: allow, tls: bypass}\n")
        config = pathlib.Path(folder) / "sallyport.yaml"
        config.write_text("listen: [{name: main, address: \"127.0.0.1:0\"}]\npolicy: policy.yaml\ndoctor:\n  targets:\n"
                          f"  - {{host: 127.0.0.1, udp: [], tcp: {targets}, https: none}}\n")
        return doctor(config, "--proxy", f"127.0.0.1:{port}", *words, **how)


def other_ways_to_ask():
    """Several challenges in one field, pages with a length or in chunks, an algorithm that nobody has, HTTP/1.0 and more."""
    alice = ("--proxy-user", "DOMAIN\\alice")

    def ntlm(body):
        return lambda field, number: (asks(b"NTLM", body=body) if field is None else asks(SECOND, body=body) if number == 0 else
                                      STANDS if number == 1 else asks(b"NTLM"))
    sized = b"Content-Length: %d\r\n\r\n%s" % (len(PAGE), PAGE)
    for body in (sized, chunked(PAGE), b"Content-Length: 0\r\n\r\n"):
        said, heads = ask_other(ntlm(body), *alice)
        assert said.rows[0]["login"] == "NTLM" and said.rows[0]["result"] == "no STUN", said.target
        third = base64.b64decode(heads[2][1].split()[1])
        assert heads[2][0] == 1 and third[8] == 3 and "alice".encode("utf-16le") in third and "DOMAIN".encode("utf-16le") in third, heads
        assert len(heads) == 6, heads
    digest = b'Digest realm="a, \\"b\\"", nonce="n", qop="auth", algorithm='
    for fields, want in (((b'Negotiate, NTLM, Basic realm="a, NTLM"',), b"NTLM "), ((digest + b'MD5, Basic realm="x"',), b"Digest "),
                         ((b'Basic realm="x", ' + digest + b"SHA-256",), b"Digest "), ((b"basic realm=x", b"Bearer x=y"), b"Basic "),
                         ((b"Bearer x=y", b"Basic realm=\"x\" , charset = \"UTF-8\""), b"Basic ")):
        said, heads = ask_other(lambda field, number, fields=fields: STANDS if field and not field.startswith(b"NTLM") else asks(*fields)
                                if field is None else asks(SECOND) if number == 0 else STANDS, *alice)
        assert heads[1][1].startswith(want), (fields, heads)
        assert said.rows[0]["result"] == "no STUN", said.target
    said, heads = ask_other(lambda field, number: asks(b"Bearer x=y"), *alice)
    assert all(field is None for _, field in heads), heads
    said.has("the proxy asks for a login, and offers Bearer: doctor can Negotiate, NTLM, Digest and Basic. Apps that cannot either need "
             "auth: exempt in the policy.")


def proxies_that_do_it_wrong():
    """Nothing goes round in circles, and each is told."""
    alice = ("--proxy-user", "alice")
    stale = b'Digest realm="r", nonce="n", qop="auth", stale=true'
    rows = [
        (lambda field, number: asks(stale), "login", "does not take the login", 3),
        (lambda field, number: asks(b"NTLM"), "login", "asks for a login (NTLM)", 2),
        (lambda field, number: asks(b"NTLM " + base64.b64encode(b"NTLMSSP\0\2\0\0\0")) if field else asks(b"NTLM"), "login",
         "asks for a login (NTLM)", 2),
        (lambda field, number: asks(b"NTLM !!!") if field else asks(b"NTLM"), "login", "asks for a login (NTLM)", 2),
        (lambda field, number: asks(SECOND, body=b"Connection: close\r\nContent-Length: 0\r\n\r\n") if field else asks(b"NTLM"), "login",
         "asks for a login (NTLM)", 2),
        (lambda field, number: None if number == 1 else asks(SECOND) if field else asks(b"NTLM"), "no proxy",
         "it closes the connection in the midst of the login (NTLM)", 3),
        (lambda field, number: asks(SECOND, body=b"Transfer-Encoding: chunked\r\n\r\nzz\r\n") if field else asks(b"NTLM"), "no proxy",
         "malformed", 2),
        (lambda field, number: asks(SECOND) if field else asks(b"NTLM"), "login", "does not take the login", 3),
        (lambda field, number: asks(b'Digest realm="r", nonce="n"'), "login", "asks for a login (Digest)", 1),
        (lambda field, number: asks(b"Basic", b"Digest " + b"x" * 9000), "login", "asks for a login (Basic, Digest)", 1),
        (lambda field, number: asks(), "login", "asks for a login ()", 1),
    ]
    for i, (answer, result, text, requests) in enumerate(rows):
        said, heads = ask_other(answer, *alice)
        assert said.rows[0]["result"] == result and text in said.rows[0]["text"], (i, said.rows)
        assert len(heads) == requests * 2, (i, heads)
        assert all(byte == "\n" or " " <= byte <= "~" for byte in said.table), said.table
    # The password went out and nothing came back: no other probe sends it once more.
    said, heads = ask_other(rows[5][0], *alice, ports=3, timeout="40s")
    assert sorted(one["text"] for one in said.rows) == ["407: the login came to nothing on another connection"] * 2 + [
        "it closes the connection in the midst of the login (NTLM)"], said.rows
    assert len([1 for number, field in heads if number == 1]) == 2, heads
    said.has_some("does not answer the one that was sent")
    # A page that never ends, and a second message that never comes.
    said, _ = ask_other(lambda field, number: asks(SECOND, body=b"Content-Length: 9\r\n\r\n") if field else asks(b"NTLM"), *alice, timeout="1s")
    assert said.rows[0]["text"] == "the proxy does not answer CONNECT in 1 s", said.rows


def a_password_in_clear_text():
    """Basic is no way out when what is stronger comes to nothing: a proxy that lies would get the password so."""
    alice, basic = ("--proxy-user", "alice"), b'Basic realm="x"'
    unknown = b'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-512-256'
    offers = [((b"NTLM", basic), (b"NTLM", basic)), ((b"NTLM", basic), (basic,)), ((unknown, basic), (basic,)),
              ((b"Negotiate", basic), (b"Negotiate", basic))]
    for before, after in offers:
        def lies(field, number, before=before, after=after):
            return asks(*after) if field else asks(*before)
        said, heads = ask_other(lies, *alice, ports=2)
        assert not [field for _, field in heads if field and field.startswith(b"Basic")], (before, heads)
        assert {one["result"] for one in said.rows} == {"login"} and CLEAR not in said.target["notes"], said.target
        said.has("it offers Basic, too, which would send the password in clear text: --proxy-basic does that.")
        said, heads = ask_other(lies, *alice, "--proxy-basic")
        assert [1 for _, field in heads if field and field.startswith(b"Basic")] == [1, 1], (before, heads)
        said.has(CLEAR)
    said, heads = ask_other(lambda field, number: STANDS if field else asks(basic), *alice)
    said.has(CLEAR)
    assert not any("--proxy-basic" in one for one in said.target["notes"]), said.target


def a_port_that_is_dropped():
    """The login there has no answer, and those of other ports do not wait for it: a refusal would have come at once."""
    for scheme, count in ((b"NTLM", 1), (b'Basic realm="x"', 2)):
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(contextlib.closing(StunTcp())) for _ in range(4)]
            ports = [one.port for one in servers]
            proxy = stack.enter_context(contextlib.closing(Dials(scheme, ports[:count])))
            said = ask(proxy.port, ports, "--proxy-user", "alice", password="alicepw")
            assert [one["result"] for one in said.rows] == ["no answer"] * count + ["open"] * (4 - count), said.rows
            assert sorted(proxy.asked) == sorted(ports * 2), (ports, proxy.asked)
            said.has(f"the proxy takes the login of alice with {scheme.split()[0].decode()}.")
    # None has an answer: the password goes out one at a time, and four times at most.
    ports = [free_port() for _ in range(7)]
    with contextlib.closing(Dials(b'Basic realm="x"', ports)) as proxy:
        said = ask(proxy.port, ports, "--proxy-user", "alice", password="alicepw", timeout="2s")
        assert {one["result"] for one in said.rows} == {"no answer", "login"}, said.rows
        assert len(proxy.asked) <= 8 and len(set(proxy.asked)) > 1, proxy.asked
        said.has_some("does not answer the login, which was sent ", " times")


# ---- Kerberos ----

def kerberos_site(**options):
    kdc = KDC[0]
    auth = {"schemes": ["negotiate", "digest"], "negotiate": {"keytab": str(kdc.keytab()), "ntlm": True}, **options}
    return site(auth, env=environment(**{**kdc.environment(), "KRB5RCACHENAME": "none:"}))


def ticket(cache):
    kdc = KDC[0]
    kdc.kinit("alice", kdc.passwords["alice"], cache)
    return environment(**kdc.environment(cache))


def a_ticket_is_taken():
    """Before everything else, and without a name; each probe has a token of its own."""
    with kerberos_site() as (proxy, words):
        for more in ((), ("--proxy-negotiate",)):
            said = doctor(proxy.config, *words, *more, env=ticket("doctor"))
            assert said.results() == {("open", "Negotiate (Kerberos)")} and len(said.rows) == 3, said.target
            said.has("the proxy takes the login of alice@PROXY.TEST with Negotiate (Kerberos).")
        lines = proxy.wait_lines("127.0.0.1", lambda lines: len([one for one in lines if one["status"] == 200]) == 12)
        assert {(one["user"], one["scheme"]) for one in lines if one["status"] == 200} == {("alice@proxy.test", "negotiate")}, lines
        assert not refusals(lines), lines
        # What the policy says is said for this user.
        assert {one["verdict"] for one in said.target["policy"]} == {"tunnelled"}, said.target["policy"]


def no_ticket():
    """Then what is inside Negotiate is NTLM, or the next scheme is taken; and why there is no ticket is said."""
    nothing = environment(**KDC[0].environment("nothing"))
    with kerberos_site() as (proxy, words):
        said = doctor(proxy.config, *words, env=nothing)
        assert said.results() == {("login", None)}, said.target
        said.has_some("or get a ticket with kinit before")
        said.has_some("Negotiate (Kerberos): ", "nothing")
        said = doctor(proxy.config, *words, "--proxy-user", "alice", password="alicepw", env=nothing)
        assert said.results() == {("open", "Negotiate (NTLM)")}, said.target
        said.has_some("Negotiate (Kerberos): ", "nothing")
        said = doctor(proxy.config, *words, "--proxy-user", "alice", "--proxy-digest", password="alicepw", env=nothing)
        assert said.results() == {("open", "Digest")} and not any("Kerberos" in one for one in said.target["notes"]), said.target


def a_ticket_that_helps_nothing():
    """For a name of the proxy that the KDC does not know, and for one whose key the proxy has not."""
    kdc, env = KDC[0], ticket("helpless")
    with kerberos_site() as (proxy, _):
        words = ("--proxy", f"127.0.0.1:{proxy.port}")
        said = doctor(proxy.config, *words, env=env)
        assert said.results() == {("login", None)}, said.target
        said.has_some("Negotiate (Kerberos): ", "127.0.0.1")
        said = doctor(proxy.config, *words, "--proxy-user", "alice", password="alicepw", env=env)
        assert said.results() == {("open", "Negotiate (NTLM)")}, said.target
    with kerberos_site(negotiate={"keytab": str(kdc.keytab("other")), "ntlm": False}) as (proxy, words):
        said = doctor(proxy.config, *words, "--proxy-negotiate", env=env)
        said.has_some("Negotiate (Kerberos): the proxy does not take the ticket of alice@PROXY.TEST for HTTP/localhost")
        said = doctor(proxy.config, *words, "--proxy-user", "alice", "--proxy-digest", password="alicepw", env=env)
        assert said.results() == {("open", "Digest")}, said.target


def a_kdc_that_is_silent():
    """It has half of the time, and then the next scheme its turn; what was waited for is said."""
    kdc = KDC[0]
    env = ticket("silent")
    with socket.socket(type=socket.SOCK_DGRAM) as packets, socket.create_server(("127.0.0.1", 0)) as stream:
        packets.bind(stream.getsockname())
        port = stream.getsockname()[1]
        (kdc.folder / "silent.conf").write_text(re.sub(r"kdc = .*", f"kdc = 127.0.0.1:{port}", (kdc.folder / "krb5.conf").read_text()))
        with kerberos_site() as (proxy, words):
            env["KRB5_CONFIG"] = str(kdc.folder / "silent.conf")
            said = doctor(proxy.config, *words, env=env, timeout="2s")
            assert {(one["result"], one["text"]) for one in said.rows} == {
                ("login", "407: the proxy asks for a login (Negotiate, Digest)")}, said.rows
            said.has("Negotiate (Kerberos): no ticket in 1 s; does the KDC answer?")
            said = doctor(proxy.config, *words, "--proxy-user", "alice", password="alicepw", env=env)
            assert said.results() == {("open", "Negotiate (NTLM)")}, said.target
            said.has("Negotiate (Kerberos): no ticket in 3 s; does the KDC answer?")


ROWS = [each_scheme_of_the_user_file, legs_stay_on_one_connection, digest_takes_the_strongest, users_beyond_ascii,
        a_wrong_password_is_sent_once, without_a_user, other_ways_to_ask, proxies_that_do_it_wrong,
        a_password_in_clear_text, a_port_that_is_dropped]
KERBEROS_ROWS = [a_ticket_is_taken, no_ticket, a_ticket_that_helps_nothing, a_kdc_that_is_silent]


def main():
    global BINARY
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sallyport", default=str(HERE.parents[1] / "build/release/sallyport"))
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    BINARY = pathlib.Path(options.sallyport).resolve()
    with rigs.Kdc() as kdc:
        KDC.append(kdc)
        rows = [(row.__name__.replace("_", " "), row) for row in ROWS + KERBEROS_ROWS]
        sys.exit(run_rows("doctor-login", rows, options.only, at_once=3))


if __name__ == "__main__":
    main()
