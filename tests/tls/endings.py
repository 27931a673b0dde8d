#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How opened sessions end: (client, origin) x (close_notify, FIN without it, reset, timeout) x (nothing, bytes in flight, nobody
reads), in WebSockets, HTTP/1.1 and HTTP/2. What was received arrives before the end does, what is cut never looks whole, and the
log says who it was. Both ends are in one script, and never block it. Ends with "endings: N passed, M failed"."""
import collections
import fcntl
import itertools
import pathlib
import random
import re
import select
import socket
import ssl
import struct
import sys
import termios
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "auth")]
import auth_site  # noqa: E402
from origins import content  # noqa: E402
from tls_site import connect, context_of, main, row, row_named  # noqa: E402

FIN = object()   # in a queue of bytes to be sent
STUCK_S = 0.15   # a queue that has not become shorter for so long
WINDOW = 131072   # of a socket whose owner does not read
MUCH = 12_000_000  # more than all buffers on the way hold
ENOUGH = 3_000_000
PATIENT = {"half_close": "30s", "exchange_idle": "30s", "tunnel_idle": "30s", "reply": "30s"}
# Either timeout alone is short, so that a row that waits for the other does not come to its end.
SHORT = {"half_close": "700ms", "exchange_idle": "1h", "tunnel_idle": "1h", "reply": "700ms"}
IDLE = {"half_close": "1h", "exchange_idle": "1s", "tunnel_idle": "1s", "reply": "700ms"}


def prepare(site):
    site.contexts = {}
    for name, alpn in (("http/1.1", ["http/1.1"]), ("h2", ["h2"])):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*site.web.site("*.web.test").write(site.folder, "endings-" + name.replace("/", "-")))
        context.set_alpn_protocols(alpn)
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        site.contexts[name] = context
    site.begin(more={"timeouts": PATIENT})
    site.short = site.inspector(more={"timeouts": SHORT})
    site.idle = site.inspector(more={"timeouts": IDLE})


# ---- both ends ----

class Peer:
    """One end of TLS, by hand: what is sent is known record by record, and it ends as it is told to."""

    def __init__(self, sock, context, host=None):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=host is None, server_hostname=host)
        self.queue, self.wire, self.queued = collections.deque(), 0, 0
        self.records, self.plain, self.acknowledged = [], 0, None  # (plain bytes so far, of the wire so far)
        self.data, self.ended = bytearray(), None                  # "notify", "cut", "rst"
        sock.settimeout(auth_site.PATIENCE_S)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.put()
                sock.sendall(b"".join(self.queue))
                self.wire += sum(map(len, self.queue))
                self.queue.clear()
                if not (came := sock.recv(65536)):
                    raise ConnectionError("ended in the handshake") from None
                self.incoming.write(came)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.put()
        self.push()

    def put(self):
        if wire := self.outgoing.read():
            self.queue.append(wire)
            self.queued += len(wire)

    def send(self, data):
        for at in range(0, len(data), 16384):
            piece = data[at:at + 16384]
            self.tls.write(piece)
            self.put()
            self.plain += len(piece)
            self.records.append((self.plain, self.queued))
            self.push()  # at once: to encrypt all of it takes longer than a tunnel may be idle

    def push(self):
        try:
            while self.queue and self.sock.fileno() >= 0:
                if self.queue[0] is FIN:
                    self.sock.shutdown(socket.SHUT_WR)
                    self.queue.popleft()
                    continue
                count = self.sock.send(self.queue[0])
                self.wire += count
                if count < len(self.queue[0]):
                    self.queue[0] = self.queue[0][count:]
                else:
                    self.queue.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self.queue.clear()

    def pull(self, most=1 << 18):
        try:
            came = self.sock.recv(most)
        except BlockingIOError:
            return
        except ConnectionError:
            self.ended = self.ended or "rst"
            return
        if came:
            self.incoming.write(came)
        else:
            self.incoming.write_eof()
        try:
            while True:
                if not (data := self.tls.read(1 << 20)):
                    self.ended = "notify"
                    return
                self.data += data
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = "notify"
        except ssl.SSLError:
            self.ended = "cut"

    # ---- how it ends ----

    def notify(self):
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass
        self.put()
        self.cut()

    def cut(self):
        self.queue.append(FIN)
        self.push()

    def rst(self):
        acknowledged = self.wire - struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, b"\0" * 4))[0]
        self.acknowledged = max([plain for plain, wire in self.records if wire <= acknowledged], default=0)
        self.queue.clear()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def end(self, how):
        getattr(self, how)()


class Talk:
    """One opened session: its client, and an origin of its own. `window`: of which side's socket it is small."""

    def __init__(self, site, proxy=None, protocol="http/1.1", window=None):
        self.site, self.proxy, self.host = site, proxy or site.proxy, site.host()
        listening = socket.socket()
        if window == "origin":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        listening.settimeout(auth_site.PATIENCE_S)
        self.authority = f"{self.host}:{listening.getsockname()[1]}"
        context = context_of(self.proxy.ca_file, alpn=(protocol,))
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # else an end without close_notify looks like one with it
        sock = connect(self.proxy, self.authority)
        if window == "client":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        made = []
        thread = threading.Thread(target=lambda: made.append(Peer(sock, context, self.host)), daemon=True)
        thread.start()
        self.origin = Peer(listening.accept()[0], site.contexts[protocol])
        thread.join()
        listening.close()
        self.client = made[0]
        assert self.client.tls.selected_alpn_protocol() == self.origin.tls.selected_alpn_protocol() == protocol

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.sock.close()
        self.origin.sock.close()

    def sides(self, who):
        return (self.client, self.origin) if who == "client" else (self.origin, self.client)

    def wait(self, is_done, readers, what, seconds=None):
        """Send what is queued, read at these ends, until it is done. False: not in `seconds`."""
        limit = time.monotonic() + (seconds or auth_site.PATIENCE_S)
        while not is_done():
            assert seconds or time.monotonic() < limit, f"in vain: {what}"
            if time.monotonic() >= limit:
                return False
            poll = select.poll()
            ends = {end.sock.fileno(): end for end in (self.client, self.origin) if end.sock.fileno() >= 0}
            for fd, end in ends.items():
                bits = (select.POLLOUT if end.queue else 0) | (select.POLLIN if end in readers and not end.ended else 0)
                if bits:
                    poll.register(fd, bits)
            for fd, bits in poll.poll(20):
                if ends[fd] in readers and bits & ~select.POLLOUT:
                    ends[fd].pull()
                ends[fd].push()
        return True

    def until_stuck(self, *ends):
        """Until nothing moves any more: all buffers on the way are full, or have taken all."""
        before = None
        while True:
            now = [(end.wire, struct.unpack("i", fcntl.ioctl(end.sock, termios.TIOCOUTQ, b"\0" * 4))[0]) for end in ends]
            if now == before:
                return
            before = now
            self.wait(lambda: False, (), "", STUCK_S)

    def until_end(self, end):
        self.wait(lambda: end.ended, (end,), f"the end of {'client' if end is self.client else 'origin'}")
        return end.ended

    def until(self, end, text):
        self.wait(lambda: text in end.data or end.ended, (end,), f"{text} in {bytes(end.data[:200])}")
        assert text in end.data, (end.ended, bytes(end.data[:300]))

    def line(self):
        return self.site.request_line(self.host, proxy=self.proxy)

    def expect_line(self, **wanted):
        """`None`: absent; a tuple: one of these."""
        line = self.line()
        for name, value in wanted.items():
            assert line.get(name) in value if isinstance(value, tuple) else line.get(name) == value, (name, value, line)
        return line


def expect_prefix(got, whole, least):
    assert whole.startswith(got), f"other bytes behind {next(at for at, (a, b) in enumerate(zip(got, whole)) if a != b)}"
    assert len(got) >= least, f"{len(got)} of {least} bytes that had been taken"


# ---- WebSockets, and whatever else is a tunnel inside ----

def upgrade(talk):
    talk.client.send(f"GET /ws HTTP/1.1\r\nHost: {talk.authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
    talk.until(talk.origin, b"\r\n\r\n")
    talk.origin.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
    talk.until(talk.client, b"\r\n\r\n")
    for end in (talk.client, talk.origin):
        end.data.clear()
        end.records.clear()
        end.plain = 0


def expect_end(talk, who, other, how):
    if how == "notify":
        assert talk.until_end(other) == "notify", other.ended
        other.notify()
        assert talk.until_end(talk.sides(who)[0]) == "notify"
        talk.expect_line(error=None, ended_by=who, how="fin", status=101)
    else:
        assert talk.until_end(other) in ("rst", "cut"), "it looks like an end in order"
        other.sock.close()
        talk.expect_line(ended_by=who, how="rst", status=101)


def websocket_ends_idle(site, who, how):
    with Talk(site) as talk:
        upgrade(talk)
        one, other = talk.sides(who)
        one.end(how)
        expect_end(talk, who, other, how)


def websocket_ends_in_flight(site, who, how):
    whole = content(ENOUGH)
    with Talk(site, window="origin" if who == "client" else "client") as talk:
        upgrade(talk)
        one, other = talk.sides(who)
        one.send(whole)
        talk.until_stuck(one)
        one.end(how)
        talk.until_end(other)
        expect_prefix(other.data, whole, one.acknowledged if how == "rst" else len(whole))
        expect_end(talk, who, other, how)


def websocket_ends_unread(site, who, how):
    whole = content(MUCH)
    with Talk(site, site.short if how == "rst" else site.idle, window="origin" if who == "client" else "client") as talk:
        upgrade(talk)
        one, other = talk.sides(who)
        one.send(whole)
        talk.until_stuck(one)
        one.end(how)
        if how == "rst":
            talk.expect_line(ended_by=who, how="rst", error=None)
        else:
            talk.expect_line(ended_by="proxy", how="timeout", error="idle_timeout")
        talk.until_end(other)
        expect_prefix(other.data, whole, 0)
        assert other.ended != "notify", "it looks like an end in order"


for who_, how_ in itertools.product(("client", "origin"), ("notify", "cut", "rst")):
    row_named(f"WebSocket: {who_} ends with {how_}, idle", lambda site, w=who_, h=how_: websocket_ends_idle(site, w, h))
    row_named(f"WebSocket: {who_} ends with {how_} behind bytes that are read late",
              lambda site, w=who_, h=how_: websocket_ends_in_flight(site, w, h))
    row_named(f"WebSocket: {who_} ends with {how_} behind bytes that nobody reads", lambda site, w=who_, h=how_: websocket_ends_unread(site, w, h))


@row
def a_websocket_where_nothing_moves_ends_by_itself(site):
    with Talk(site, site.idle) as talk:
        upgrade(talk)
        talk.client.send(b"question")
        talk.until(talk.origin, b"question")
        talk.expect_line(ended_by="proxy", how="timeout", error="idle_timeout", bytes_up=8)
        assert [talk.until_end(end) for end in (talk.client, talk.origin)] == ["notify", "notify"]


def websocket_half_closed(site, who):
    whole = content(ENOUGH)
    with Talk(site) as talk:
        upgrade(talk)
        one, other = talk.sides(who)
        one.send(b"question")
        one.notify()
        assert talk.until_end(other) == "notify" and other.data == b"question"
        other.send(whole)
        other.notify()
        assert talk.until_end(one) == "notify" and one.data == whole
        talk.expect_line(error=None, ended_by=who, how="fin")


for who_ in ("client", "origin"):
    row_named(f"WebSocket: {who_} says close_notify, and still gets what comes", lambda site, w=who_: websocket_half_closed(site, w))


def at_random(site, seed):
    """Both ends write, read late, and end, in any order. What must arrive follows from how each of them ended."""
    chance = random.Random(seed)
    hows = {who: chance.choice(("notify", "notify", "cut", "rst")) for who in ("client", "origin")}
    steps = {who: [("send", 1 + chance.randrange(chance.choice((100, 40_000, 700_000)))) for _ in range(chance.randrange(4))] + [("end", how)]
             for who, how in hows.items()}
    with Talk(site, window=chance.choice((None, "client", "origin"))) as talk:
        upgrade(talk)
        sent = dict.fromkeys(hows, 0)
        while left := [who for who in steps if steps[who]]:
            who = chance.choice(left)
            (word, value), one = steps[who].pop(0), talk.sides(who)[0]
            if word == "send" and one.ended in (None, "notify"):  # else TLS takes nothing more
                one.send(content(sent[who] + value)[sent[who]:])
                sent[who] += value
            elif word == "end":
                one.end(value)
            readers = [end for end in (talk.client, talk.origin) if chance.random() < 0.4]
            talk.wait(lambda: False, readers, "", chance.random() * 0.05)
        alive = [talk.sides(who)[0] for who in hows if hows[who] != "rst"]
        talk.wait(lambda: all(end.ended for end in alive), alive, f"the ends, seed {seed}: {hows} {sent}")
        for who, how in hows.items():
            one, other = talk.sides(who)
            others = hows["origin" if who == "client" else "client"]
            least = 0 if others != "notify" else one.acknowledged if how == "rst" else sent[who]
            if others != "rst":
                expect_prefix(other.data, content(sent[who]), least)
            if others == "notify":
                assert (other.ended == "notify") == (how == "notify"), (seed, hows, other.ended)
        talk.expect_line(how="fin" if set(hows.values()) == {"notify"} else "rst")


for first_ in range(0, 40, 10):
    def run_some(site, first=first_):
        for seed in range(first, first + 10):
            at_random(site, seed)
    row_named(f"WebSocket: both ends at random, seeds {first_} to {first_ + 9}", run_some)


# ---- HTTP/1.1 ----

def answer_of(data):
    """(body, is it whole?) of a response as it came, or of a request."""
    head, _, rest = bytes(data).partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        said = re.search(rb"content-length: (\d+)", head, re.I)
        return rest, bool(said) and len(rest) >= int(said[1])
    body = b""
    while match := re.match(rb"([0-9a-fA-F]+)\r\n", rest):
        size = int(match[1], 16)
        body += rest[match.end():match.end() + size]
        if size == 0:
            return body, rest[match.end():].startswith(b"\r\n")
        rest = rest[match.end() + size + 2:]
    return body, False


FRAMINGS = {"length": (b"Content-Length: 4000000\r\n\r\n", lambda part: part), "chunks": (b"Transfer-Encoding: chunked\r\n\r\n", lambda part: b"%x\r\n%s\r\n" % (len(part), part)),
            "close": (b"Connection: close\r\n\r\n", lambda part: part)}


def framed(framing, whole, size=10000):
    head, frame = FRAMINGS[framing]
    return head, b"".join(frame(whole[at:at + size]) for at in range(0, len(whole), size))


def ask(talk):
    talk.client.send(f"GET /big HTTP/1.1\r\nHost: {talk.authority}\r\n\r\n".encode())
    talk.until(talk.origin, b"\r\n\r\n")


def response_ends(site, framing, how, is_late):
    whole = content(ENOUGH)
    head, wire = framed(framing, whole)
    with Talk(site, window="client" if is_late else None) as talk:
        ask(talk)
        talk.origin.send(b"HTTP/1.1 200 OK\r\n" + head)
        talk.until(talk.client, b"\r\n\r\n")
        talk.origin.records.clear()
        talk.origin.plain = 0
        talk.origin.send(wire)
        if is_late:
            talk.until_stuck(talk.origin)
        else:
            talk.wait(lambda: not talk.origin.queue, (talk.client,), "that the client takes it")
        talk.origin.end(how)
        ended = talk.until_end(talk.client)
        body, is_whole = answer_of(talk.client.data)
        least = len(whole) if how != "rst" else talk.origin.acknowledged * len(whole) // len(wire) - 10000
        expect_prefix(body, whole, least)
        if framing == "close" and how == "notify":
            assert is_whole and ended == "notify", (is_whole, ended)
            talk.expect_line(error=None, bytes_down=len(whole))
        else:
            assert not is_whole, "it looks whole"
            talk.expect_line(error="response_incomplete", ended_by="origin", how="fin" if how == "notify" else "rst", bytes_down=len(body))


for framing_, how_, late_ in itertools.product(FRAMINGS, ("notify", "cut", "rst"), (False, True)):
    row_named(f"HTTP/1.1: a response with {framing_} that ends with {how_}, read {'late' if late_ else 'at once'}",
              lambda site, f=framing_, h=how_, late=late_: response_ends(site, f, h, late))


@row
def a_whole_response_is_whole_however_its_connection_ends(site):
    for how in ("notify", "cut", "rst"):
        with Talk(site) as talk:
            ask(talk)
            talk.origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + content(1000))
            talk.until_stuck(talk.origin)
            talk.origin.end(how)
            talk.until_end(talk.client)
            assert answer_of(talk.client.data) == (content(1000), True) and talk.client.ended == "notify", (how, talk.client.ended)
            talk.expect_line(error=None, bytes_down=1000)


@row
def a_kept_connection_that_ends_instead_of_an_answer_is_told_as_it_ends(site):
    for how, error in (("notify", "origin_closed"), ("rst", "origin_reset")):
        with Talk(site) as talk:
            ask(talk)
            talk.origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
            talk.until(talk.client, b"\r\n\r\nOK")
            talk.origin.data.clear()
            talk.client.send(f"GET /again HTTP/1.1\r\nHost: {talk.authority}\r\n\r\n".encode())
            talk.until(talk.origin, b"\r\n\r\n")
            talk.origin.end(how)
            talk.until_end(talk.client)
            line = site.request_line(talk.host, "/again", talk.proxy)
            assert (line.get("error"), line.get("ended_by")) == (error, "origin"), (how, line)


def response_unread(site, how):
    with Talk(site, site.short if how == "rst" else site.idle, window="client") as talk:
        ask(talk)
        talk.origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + content(MUCH))
        talk.until_stuck(talk.origin)
        talk.origin.end(how)
        if how == "rst":
            talk.expect_line(error="response_incomplete", ended_by="origin", how="rst")
        else:
            talk.expect_line(error="idle_timeout", ended_by="proxy", how="timeout")
        talk.until_end(talk.client)
        assert not answer_of(talk.client.data)[1] and talk.client.ended != "notify", talk.client.ended


for how_ in ("notify", "cut", "rst"):
    row_named(f"HTTP/1.1: a response that ends with {how_} and that nobody reads", lambda site, h=how_: response_unread(site, h))


@row
def a_response_that_stops_is_cut_behind_what_came(site):
    """Nothing comes any more; but a slow client gets what it has not read yet, as long as it reads."""
    whole = content(1_000_000)
    with Talk(site, site.idle, window="client") as talk:
        ask(talk)
        talk.origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + whole)
        while not talk.client.ended:
            talk.client.pull(65536)
            talk.wait(lambda: False, (), "", 0.15)
        body, is_whole = answer_of(talk.client.data)
        assert body == whole and not is_whole and talk.client.ended != "notify", (len(body), talk.client.ended)
        talk.expect_line(error="idle_timeout", ended_by="proxy", how="timeout")


def upload_ends(site, framing, how, is_late):
    whole = content(ENOUGH)
    head, wire = framed(framing, whole)
    with Talk(site, window="origin" if is_late else None) as talk:
        talk.client.send(f"POST /up HTTP/1.1\r\nHost: {talk.authority}\r\n".encode() + head)
        talk.until(talk.origin, b"\r\n\r\n")
        talk.client.records.clear()
        talk.client.plain = 0
        talk.client.send(wire)
        if is_late:
            talk.until_stuck(talk.client)
        else:
            talk.wait(lambda: not talk.client.queue, (talk.origin,), "that the origin takes it")
        talk.client.end(how)
        talk.until_end(talk.origin)
        body, is_whole = answer_of(talk.origin.data)
        assert not is_whole, "it looks whole"
        least = len(whole) if how != "rst" else talk.client.acknowledged * len(whole) // len(wire) - 10000
        expect_prefix(body, whole, least)
        talk.expect_line(error="client_closed" if how == "notify" else "client_reset", ended_by="client", how="fin" if how == "notify" else "rst")


for framing_, how_, late_ in itertools.product(("length", "chunks"), ("notify", "cut", "rst"), (False, True)):
    row_named(f"HTTP/1.1: an upload with {framing_} that ends with {how_}, read {'late' if late_ else 'at once'}",
              lambda site, f=framing_, h=how_, late=late_: upload_ends(site, f, h, late))


def answered_upload(site, head, how):
    """The origin answers before it has read the upload, which is lost on the way to it: (the answer, is it whole?) as the client gets it."""
    with Talk(site) as talk:
        talk.client.send(f"POST /up HTTP/1.1\r\nHost: {talk.authority}\r\nContent-Length: 50000000\r\n\r\n".encode() + content(MUCH))
        talk.until_stuck(talk.client)
        talk.origin.send(head + b"no!")
        talk.origin.queue or talk.origin.end(how)
        talk.origin.sock.close()  # a reset, for what it has not read
        talk.until(talk.client, b"\r\n\r\n")
        talk.until_end(talk.client)
        return answer_of(talk.client.data), talk.line()


@row
def an_answer_before_the_end_of_an_upload_arrives_however_its_connection_ends(site):
    for how in ("notify", "cut"):
        answer, line = answered_upload(site, b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\n", how)
        assert answer == (b"no!", True) and (line["status"], line.get("error")) == (413, None), (how, answer, line)


@row
def an_answer_that_is_cut_before_the_end_of_an_upload_never_looks_whole(site):
    for framing in (b"Content-Length: 4", b"Transfer-Encoding: chunked", b"Connection: close"):
        answer, line = answered_upload(site, b"HTTP/1.1 413 Too Large\r\n" + framing + b"\r\n\r\n" + (b"3\r\n" if b"chunked" in framing else b""), "cut")
        assert not answer[1] and line["error"] in ("response_incomplete", "response_framing"), (framing, answer, line)


@row
def a_client_that_says_close_notify_still_gets_its_response(site):
    whole = content(ENOUGH)
    with Talk(site, window="client") as talk:
        ask(talk)
        talk.client.notify()
        head, wire = framed("chunks", whole)
        talk.origin.send(b"HTTP/1.1 200 OK\r\n" + head + wire + b"0\r\n\r\n")
        talk.until_stuck(talk.origin)
        talk.until_end(talk.client)
        assert answer_of(talk.client.data) == (whole, True), talk.client.ended
        talk.expect_line(error=None, bytes_down=len(whole))


@row
def a_client_that_resets_in_its_response_is_named(site):
    with Talk(site) as talk:
        ask(talk)
        talk.origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + content(MUCH))
        talk.until(talk.client, b"\r\n\r\n")
        talk.client.rst()
        talk.until_end(talk.origin)
        talk.expect_line(error="client_reset", ended_by="client", how="rst")


# ---- HTTP/2 ----

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CANCEL = 8


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class H2:
    """HTTP/2 by hand over a Peer: frames as they come, and the windows of the other side."""

    def __init__(self, peer, is_client, window):
        self.peer, self.at, self.frames = peer, 0 if is_client else 24, []
        self.room = 65535          # of the connection
        self.stream_room = 65535   # of each stream, and what came for stream 1
        self.sent = 0
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if is_client else b""
        peer.send(preface + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, window)) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))

    def parse(self):
        data = self.peer.data
        while len(data) >= self.at + 9:
            size = int.from_bytes(data[self.at:self.at + 3], "big")
            if len(data) < self.at + 9 + size:
                break
            kind, flags = data[self.at + 3], data[self.at + 4]
            payload = bytes(data[self.at + 9:self.at + 9 + size])
            stream = int.from_bytes(data[self.at + 5:self.at + 9], "big")
            self.at += 9 + size
            self.frames.append((kind, flags, stream, payload))
            if kind == SETTINGS and not flags & ACK:
                for place in range(0, len(payload), 6):
                    name, value = struct.unpack(">HI", payload[place:place + 6])
                    if name == 4:
                        self.stream_room += value - 65535
                self.peer.send(frame(SETTINGS, ACK, 0, b""))
            elif kind == WINDOW_UPDATE and stream == 0:
                self.room += int.from_bytes(payload, "big")
            elif kind == WINDOW_UPDATE:
                self.stream_room += int.from_bytes(payload, "big")
        return self.frames

    def has(self, kind):
        return any(one[0] == kind for one in self.parse())

    def body(self):
        return b"".join(payload for kind, _, _, payload in self.parse() if kind == DATA)

    def is_whole(self):
        return any(kind in (DATA, HEADERS) and flags & END_STREAM for kind, flags, _, _ in self.parse())

    def send_data(self, data):
        """What the window lets through of it; how much that is."""
        self.parse()
        count = min(len(data), self.room, self.stream_room)
        for at in range(0, count, 16000):
            self.peer.send(frame(DATA, 0, 1, data[at:min(at + 16000, count)]))
        self.room -= count
        self.stream_room -= count
        self.sent += count
        return count


class Talk2(Talk):
    """With a request on stream 1. `client_window`: of the stream."""

    def __init__(self, site, proxy=None, window=None, client_window=1 << 24, origin_window=1 << 24, method=b"\x82", **how):
        super().__init__(site, proxy, "h2", window)
        authority = self.authority.encode()
        self.c, self.o = H2(self.client, True, client_window), H2(self.origin, False, origin_window)
        flags = END_HEADERS | (END_STREAM if method == b"\x82" else 0)
        self.client.send(frame(HEADERS, flags, 1, method + b"\x87\x84\x41" + bytes([len(authority)]) + authority))
        both = (self.client, self.origin)
        self.wait(lambda: self.o.has(HEADERS) and self.o.room > 65535 and self.c.has(SETTINGS), both, "the request")
        if method == b"\x82":
            self.origin.send(frame(HEADERS, END_HEADERS, 1, b"\x88"))
            self.wait(lambda: self.c.has(HEADERS), both, "the response")
        self.wait(lambda: self.c.room > 65535, both, "the windows")

    def until_cut(self, end, h2):
        """Until stream 1 is reset or the connection has ended."""
        self.wait(lambda: h2.has(RST_STREAM) or end.ended, (end,), "the end of the stream")


def h2_reset(h2):
    h2.peer.send(frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))


def h2_end(h2, how):
    if how == "rst_stream":
        h2_reset(h2)
        return
    if how == "goaway":
        h2.peer.send(frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0)))
        how = "notify"
    h2.peer.end(how)


H2_WAYS = ("rst_stream", "goaway", "notify", "cut", "rst")
SHUT = 10_000  # a window that holds most of it up


def h2_response_ends(site, how, reads):
    whole = content(200_000)
    with Talk2(site, window="client" if reads == "late" else None, client_window=SHUT if reads == "window" else 1 << 24) as talk:
        assert talk.o.send_data(whole) == len(whole)
        if reads == "late":
            talk.until_stuck(talk.origin)
        elif reads == "window":
            talk.wait(lambda: len(talk.c.body()) == SHUT, (talk.client,), "what the window lets through")
            talk.until_stuck(talk.origin)
        else:
            talk.wait(lambda: len(talk.c.body()) == len(whole), (talk.client,), "the content")
        h2_end(talk.o, how)
        if reads == "window":
            talk.wait(lambda: False, (talk.client,), "", STUCK_S)
            assert not talk.c.has(RST_STREAM), "reset before what had been received was delivered"
            talk.client.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1 << 24)))
        talk.until_cut(talk.client, talk.c)
        expect_prefix(talk.c.body(), whole, len(whole))
        assert not talk.c.is_whole() and talk.c.has(RST_STREAM), talk.client.ended
        code = next(payload for kind, _, _, payload in talk.c.frames if kind == RST_STREAM)
        assert code != bytes(4), "reset without an error"
        talk.client.notify()
        talk.expect_line(error="response_incomplete", ended_by="origin", how="rst" if how in ("rst", "cut", "rst_stream") else "fin",
                         bytes_down=len(whole))


for how_, reads_ in itertools.product(H2_WAYS, ("at once", "late", "window")):
    row_named(f"HTTP/2: a response that ends with {how_}, read {'when the window opens' if reads_ == 'window' else reads_}",
              lambda site, h=how_, r=reads_: h2_response_ends(site, h, r))


def h2_response_unread(site, how):
    """A window that stays shut: the stream is reset when the half-close timeout ends."""
    with Talk2(site, site.short, client_window=SHUT) as talk:
        assert talk.o.send_data(content(200_000)) == 200_000
        talk.wait(lambda: len(talk.c.body()) == SHUT, (talk.client,), "what the window lets through")
        talk.until_stuck(talk.origin)
        h2_end(talk.o, how)
        talk.until_cut(talk.client, talk.c)
        assert talk.c.has(RST_STREAM) and not talk.c.is_whole() and talk.client.ended in (None, "notify"), talk.client.ended
        talk.expect_line(error="response_incomplete", ended_by="origin")


for how_ in H2_WAYS:
    row_named(f"HTTP/2: a response that ends with {how_} and that nobody takes", lambda site, h=how_: h2_response_unread(site, h))


@row
def a_stream_that_was_reset_stays_so_when_its_connection_closes(site):
    with Talk2(site, client_window=SHUT) as talk:
        talk.o.send_data(content(200_000))
        talk.wait(lambda: len(talk.c.body()) == SHUT, (talk.client,), "what the window lets through")
        talk.until_stuck(talk.origin)
        h2_reset(talk.o)
        talk.until_stuck(talk.origin)
        talk.origin.notify()
        talk.wait(lambda: talk.origin.ended, (talk.origin,), "the end of the origin's connection")
        talk.client.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1 << 24)))
        talk.until_cut(talk.client, talk.c)
        talk.client.notify()
        talk.expect_line(error="response_incomplete", ended_by="origin", how="rst")


@row
def a_whole_response_that_is_not_taken_is_no_success(site):
    """The origin has said all, and wants no more of the upload."""
    with Talk2(site, site.short, method=b"\x83", client_window=SHUT) as talk:
        talk.origin.send(frame(HEADERS, END_HEADERS, 1, b"\x88"))
        talk.o.send_data(content(200_000))
        talk.origin.send(frame(DATA, END_STREAM, 1, b"") + frame(RST_STREAM, 0, 1, bytes(4)))
        talk.wait(lambda: len(talk.c.body()) == SHUT, (talk.client,), "what the window lets through")
        talk.until_cut(talk.client, talk.c)
        assert not talk.c.is_whole() and talk.c.has(RST_STREAM), talk.client.ended
        talk.expect_line(error="client_timeout", status=200)


@row
def a_stream_that_is_cut_does_not_wait_for_what_is_uploaded(site):
    """Nobody gets it: the half-close timeout is for what the client takes."""
    with Talk2(site, site.short, method=b"\x83", client_window=SHUT) as talk:
        talk.origin.send(frame(HEADERS, END_HEADERS, 1, b"\x88"))
        talk.o.send_data(content(200_000))
        h2_reset(talk.o)
        talk.wait(lambda: len(talk.c.body()) == SHUT, (talk.client,), "what the window lets through")
        limit = time.monotonic() + auth_site.PATIENCE_S
        while not talk.c.has(RST_STREAM) and not talk.client.ended:
            assert time.monotonic() < limit, "it is held as long as something is uploaded"
            talk.client.send(frame(DATA, 0, 1, b"x"))
            talk.wait(lambda: False, (talk.client,), "", 0.1)
        talk.expect_line(error="response_incomplete", ended_by="origin", how="rst")


@row
def a_response_over_http2_that_stops_is_cut_behind_what_came(site):
    with Talk2(site, site.idle, window="client") as talk:
        assert talk.o.send_data(content(200_000)) == 200_000
        talk.expect_line(error="idle_timeout", ended_by="proxy", how="timeout")
        talk.until_cut(talk.client, talk.c)
        assert talk.c.has(RST_STREAM) and not talk.c.is_whole()
        expect_prefix(talk.c.body(), content(200_000), 200_000)


@row
def a_slow_reader_over_http2_gets_all_when_the_origin_has_gone(site):
    """It reads on behind the time that its connection lingers, and says so with WINDOW_UPDATE."""
    whole = content(250_000)
    with Talk2(site, site.idle, window="client") as talk:
        assert talk.o.send_data(whole) == len(whole)
        talk.until_stuck(talk.origin)
        talk.origin.notify()
        talk.wait(lambda: talk.origin.ended, (talk.origin,), "the end of the origin's connection")
        while not talk.c.has(RST_STREAM) and not talk.client.ended:
            talk.client.pull(16384)
            talk.client.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)))
            talk.wait(lambda: False, (), "", 0.15)
        expect_prefix(talk.c.body(), whole, len(whole))
        assert talk.c.has(RST_STREAM) and not talk.c.is_whole(), talk.client.ended


def h2_upload_ends(site, how, reads):
    whole = content(60_000)
    with Talk2(site, method=b"\x83", window="origin" if reads == "late" else None, origin_window=SHUT if reads == "window" else 1 << 24) as talk:
        assert talk.c.send_data(whole) == len(whole)
        if reads == "at once":
            talk.wait(lambda: len(talk.o.body()) == len(whole), (talk.origin,), "the content")
        else:
            talk.until_stuck(talk.client)
        h2_end(talk.c, how)
        talk.wait(lambda: talk.o.has(RST_STREAM) or talk.origin.ended, (talk.origin,), "the end of the upload")
        assert not talk.o.is_whole(), "it looks whole"
        expect_prefix(talk.o.body(), whole, 0 if reads == "window" else len(whole))
        talk.expect_line(error="client_closed" if how == "notify" else "client_reset", ended_by="client")


for how_, reads_ in itertools.product(("rst_stream", "notify", "cut", "rst"), ("at once", "late", "window")):
    row_named(f"HTTP/2: an upload that ends with {how_}, read {'when the window opens' if reads_ == 'window' else reads_}",
              lambda site, h=how_, r=reads_: h2_upload_ends(site, h, r))


if __name__ == "__main__":
    main("endings", prepare, at_once=8)
