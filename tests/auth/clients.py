#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Real clients, real authorities: client x scheme x backend, with the right password and a wrong one, over plain requests
and tunnels. Ends with "clients: N passed, M failed"; --table FILE writes the table."""
import argparse
import base64
import http.client
import itertools
import pathlib
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "rigs")]
import rigs  # noqa: E402
from auth_site import Origins, Proxy, environment, run, run_rows, wait_for, free_port  # noqa: E402
from browser import Browser  # noqa: E402

NUMBERS = itertools.count()
ROWS, TABLE = [], {}
MOST_407 = 6  # more for one request is a storm


class Place:
    """A proxy, its origins, and where clients run."""

    def __init__(self, name, proxy, origins, inside=(), env=None, user="alice", password="alicepw", known="alice", proxy_host="127.0.0.1",
                 careless=None):
        self.name, self.proxy, self.origins, self.inside = name, proxy, origins, list(inside)
        self.env = env or environment()
        self.user, self.password, self.known, self.proxy_host = user, password, known, proxy_host
        # Who gets the password wrong: where an account is locked after a few of these, not he whose right one has to work.
        self.careless = careless or user
        self.of_thread = threading.local()

    @property
    def url(self):
        return f"http://{self.proxy_host}:{self.proxy.port}"

    def new_host(self):
        self.of_thread.host = f"r{next(NUMBERS)}.origin.test"
        return self.of_thread.host

    @property
    def trace(self):
        """Where a client of the row that runs here may write down what it does."""
        return self.proxy.folder / f"{self.of_thread.host}.trace"

    def story(self):
        """Of a row that failed: what the proxy has logged, and what the client has seen."""
        yield from map(str, self.proxy.lines(self.of_thread.host))
        if self.trace.exists():
            yield from self.trace.read_text(errors="replace").splitlines()

    def http(self, host, path="/a"):
        return f"http://{host}:{self.origins.http}{path}"

    def https(self, host, path="/a"):
        return f"https://{host}:{self.origins.https}{path}"

    def run(self, words, status=None, text=None, **changes):
        return run([*self.inside, *words], status=status, text=text, env={**self.env, **changes})

    # what the log has to say of a host

    def expect_valid(self, host, scheme, mechanism=None, count=1):
        lines = self.proxy.wait_lines(host, lambda all_: sum(line.get("status") in (200, 206) for line in all_) >= count)
        good = [line for line in lines if line["status"] == 200]
        for line in good:
            assert line.get("user") == self.known and line.get("scheme") == scheme, line
            assert mechanism is None or line.get("mechanism") == mechanism, line
        assert sum(line["status"] == 407 for line in lines) <= MOST_407, lines
        return lines

    def expect_refused(self, host):
        lines = self.proxy.wait_lines(host, lambda all_: any(line.get("status") == 407 for line in all_))
        assert all(line["status"] == 407 and "user" not in line for line in lines), lines
        assert len(lines) <= MOST_407, lines
        return lines


def row(place, client, scheme, what, function):
    """One cell of the table may have several rows; it works if all of them do."""
    name = f"{place.name}: {client}, {scheme}, {what}"

    def tracked():
        TABLE.setdefault((client, scheme, place.name), {})[what] = False
        try:
            function()
        except Exception as error:
            error.add_note("\n".join(place.story()))
            raise
        TABLE[client, scheme, place.name][what] = True
    ROWS.append((name, tracked))


# ---- curl ----

def curl(place, host, flags, urls, *more, user=None):
    words = ["curl", "-s", "-v", "--stderr", place.trace, "-w", "%{http_connect} %{response_code}\\n", "-x", place.url, *flags, "--cacert",
             place.origins.folder / "ca.pem"]
    if user is not None:
        words += ["-U", user]
    for url in urls:
        words += ["-o", "/dev/null", url]
    return place.run([*words, *more])


def curl_rows(place, scheme, flags, mechanism=None, user=None, wrong=True, careless=None):
    right = f"{place.user}:{place.password}" if user is None else user
    label = " ".join(flag for flag in flags if flag.startswith("--proxy"))

    def works(kind):
        host = place.new_host()
        url = place.https(host) if kind == "CONNECT" else place.http(host)
        out = curl(place, host, flags, [url], user=right)
        assert out.split()[-1] == "200", out
        place.expect_valid(host, scheme, mechanism)

    def posts(bytes_):
        host = place.new_host()
        with tempfile.NamedTemporaryFile() as body:
            body.write(b"x" * bytes_)
            body.flush()
            out = curl(place, host, flags, [place.http(host, "/post")], "--data-binary", f"@{body.name}", user=right)
        assert out.split()[-1] == "200", out
        lines = place.expect_valid(host, scheme, mechanism)
        assert [line for line in lines if line["status"] == 200][-1]["bytes_up"] == bytes_, lines

    def several():
        host = place.new_host()
        out = curl(place, host, flags, [place.http(host, path) for path in ("/a", "/b", "/c")], user=right)
        assert out.split()[1::2] == ["200"] * 3, out
        place.expect_valid(host, scheme, mechanism, count=3)

    def fails(kind):
        host = place.new_host()
        url = place.https(host) if kind == "CONNECT" else place.http(host)
        out = curl(place, host, flags, [url], user=f"{careless or place.careless}:wrong{next(NUMBERS)}")
        assert "407" in out, out
        place.expect_refused(host)
    row(place, f"curl {label}", scheme, "GET", lambda: works("GET"))
    row(place, f"curl {label}", scheme, "CONNECT", lambda: works("CONNECT"))
    row(place, f"curl {label}", scheme, "POST 100", lambda: posts(100))
    row(place, f"curl {label}", scheme, "POST 200 kB", lambda: posts(200_000))
    row(place, f"curl {label}", scheme, "three URLs", several)
    if wrong:
        row(place, f"curl {label}", scheme, "wrong password, GET", lambda: fails("GET"))
        row(place, f"curl {label}", scheme, "wrong password, CONNECT", lambda: fails("CONNECT"))


# ---- others ----

def wget_rows(place, scheme="basic"):
    def with_password(password, path):
        host = place.new_host()
        out = place.run(["wget", "-q", "-O", "-", "-t", "1", "--ca-certificate", place.origins.folder / "ca.pem",
                         "-e", "use_proxy=yes", "-e", f"http_proxy={place.url}", "-e", f"https_proxy={place.url}",
                         f"--proxy-user={place.user}", f"--proxy-password={password}", path(host)])
        return host, out

    def works(path):
        host, out = with_password(place.password, path)
        assert out == "hello a\n", out
        place.expect_valid(host, scheme)
    row(place, "wget", scheme, "GET", lambda: works(place.http))
    row(place, "wget", scheme, "CONNECT", lambda: works(place.https))
    row(place, "wget", scheme, "wrong password", lambda: place.expect_refused(with_password("wrong", place.http)[0]))


def wget_unasked_row(place):
    """It sends Basic though only Digest is offered: what is not offered is refused, though it is right."""
    def refused():
        host = place.new_host()
        place.run(["wget", "-q", "-O", "-", "-t", "1", "-e", "use_proxy=yes", "-e", f"http_proxy={place.url}",
                   f"--proxy-user={place.user}", f"--proxy-password={place.password}", place.http(host)])
        lines = place.expect_refused(host)
        assert any("not offered" in line.get("reason", "") for line in lines), lines
    row(place, "wget", "basic, not offered", "refused", refused)


def wget2_row(place, scheme):
    def works():
        host = place.new_host()
        out = place.run(["wget2", "-v", "-O", "-", "--tries=2", f"--http-proxy-user={place.user}",
                         f"--http-proxy-password={place.password}", place.http(host)], http_proxy=place.url)
        # It leaves the port out of the request line, and so comes to port 80, where nobody listens: it was let in.
        assert "502" in out, out
        line = place.proxy.wait_lines(host, lambda lines: lines and lines[-1]["status"] == 502)[-1]
        assert line["user"] == place.known and line["scheme"] == scheme, line
    row(place, "wget2", scheme, "GET", works)


def git_rows(place, scheme):
    def clone(password):
        host, folder = place.new_host(), tempfile.mkdtemp(prefix="sallyport-git-")
        auth = f"{place.user}:{password}@" if scheme != "negotiate" else ":@"
        out = place.run(["git", "-c", f"http.proxy=http://{auth}{place.proxy_host}:{place.proxy.port}",
                         "-c", f"http.proxyAuthMethod={scheme}", "ls-remote", place.http(host, "/repo.git")], GIT_TERMINAL_PROMPT="0")
        shutil.rmtree(folder)
        return host, out

    def works():
        host, out = clone(place.password)
        assert "fatal" not in out, out
        place.expect_valid(host, scheme)
    row(place, "git", scheme, "ls-remote", works)
    if scheme != "negotiate":
        row(place, "git", scheme, "wrong password", lambda: place.expect_refused(clone("wrong")[0]))


def java_rows(place, folder, kind, scheme, tunnels=True, options=()):
    user, password = (place.user, place.password) if scheme != "negotiate" else ("", "")

    def client(url, password_):
        return place.run(["java", "-cp", folder, "-Djdk.http.auth.tunneling.disabledSchemes=", "-Djdk.http.auth.proxying.disabledSchemes=",
                          f"-Djavax.net.ssl.trustStore={folder}/trust", "-Djavax.net.ssl.trustStorePassword=changeit", *options,
                          "Client", kind, url, place.proxy_host, place.proxy.port, user, password_])

    def works(path):
        host = place.new_host()
        out = client(path(host), password)
        assert "status 200" in out, out
        place.expect_valid(host, scheme)

    def fails():
        host = place.new_host()
        out = client(place.http(host), "wrong")
        assert "status 200" not in out, out
        place.expect_refused(host)
    name = {"old": "Java HttpURLConnection", "new": "Java HttpClient"}[kind]
    row(place, name, scheme, "GET", lambda: works(place.http))
    if tunnels:
        row(place, name, scheme, "CONNECT", lambda: works(place.https))
    if scheme != "negotiate":
        row(place, name, scheme, "wrong password", fails)


def node_rows(place):
    def connect(password):
        host = place.new_host()
        target = f"{host}:{place.origins.http}"
        return host, place.run(["node", HERE / "client.js", place.proxy.port, target, f"{place.user}:{password}"])

    def works():
        host, out = connect(place.password)
        assert "connect 200" in out and "hello a" in out, out
        place.expect_valid(host, "basic")

    def fails():
        host, out = connect("wrong")
        assert "connect 407" in out, out
        place.expect_refused(host)
    row(place, "node CONNECT", "basic", "CONNECT", works)
    row(place, "node CONNECT", "basic", "wrong password", fails)


def python_rows(place):
    """http.client: CONNECT as HTTP/1.0, without Host."""
    def tunnel(password):
        host = place.new_host()
        context = ssl.create_default_context(cafile=str(place.origins.folder / "ca.pem"))
        connection = http.client.HTTPSConnection("127.0.0.1", place.proxy.port, context=context, timeout=30)
        token = base64.b64encode(f"{place.user}:{password}".encode()).decode()
        connection.set_tunnel(host, place.origins.https, {"Proxy-Authorization": "Basic " + token})
        try:
            connection.request("GET", "/a")
            return host, connection.getresponse().status
        except OSError as error:
            return host, str(error)
        finally:
            connection.close()

    def works():
        host, status = tunnel(place.password)
        assert status == 200, status
        place.expect_valid(host, "basic")

    def fails():
        host, status = tunnel("wrong")
        assert "407" in str(status), status
        place.expect_refused(host)
    row(place, "python http.client", "basic", "CONNECT", works)
    row(place, "python http.client", "basic", "wrong password", fails)


def chromium_rows(place, scheme, mechanism=None, credentials=True):
    def visit(path, given):
        host = place.new_host()
        with_browser = Browser(place.url, place.inside, place.env)
        try:
            return (host, *with_browser.open(path(host), given))
        finally:
            with_browser.close()

    def works(path):
        host, text, _ = visit(path, (place.user, place.password) if credentials else None)
        assert text.strip() == "hello a", text
        place.expect_valid(host, scheme, mechanism)

    def fails():
        host, text, asked = visit(place.http, (place.careless, "wrong"))
        assert "hello" not in text and asked >= 2, (text, asked)
        place.expect_refused(host)
    row(place, "Chromium", scheme, "GET", lambda: works(place.http))
    row(place, "Chromium", scheme, "CONNECT", lambda: works(place.https))
    if credentials:
        row(place, "Chromium", scheme, "wrong password", fails)


def cntlm_row(place, cleanup):
    port = free_port()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-cntlm-"))
    (folder / "cntlm.conf").write_text(f"Username {place.user}\nDomain LAB\nPassword {place.password}\nAuth NTLMv2\n"
                                       f"Proxy 127.0.0.1:{place.proxy.port}\nListen 127.0.0.1:{port}\n")
    process = subprocess.Popen(["cntlm", "-f", "-c", str(folder / "cntlm.conf"), "-P", str(folder / "pid")],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cleanup.append(lambda: (process.kill(), process.wait(), shutil.rmtree(folder)))

    def works(path):
        host = place.new_host()
        out = wait_for("cntlm", lambda: place.run(["curl", "-s", "-S", "-w", "%{response_code}", "-o", "/dev/null", "-x",
                                                   f"http://127.0.0.1:{port}", "--cacert", place.origins.folder / "ca.pem",
                                                   path(host)]))
        assert out.endswith("200"), out
        place.expect_valid(host, "ntlm", "ntlm")
    row(place, "curl behind cntlm", "ntlm", "GET", lambda: works(place.http))
    row(place, "curl behind cntlm", "ntlm", "CONNECT", lambda: works(place.https))


# ---- places ----

def make_java(origins):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-java-"))
    run(["javac", "-d", folder, HERE / "Client.java"])
    run(["keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", origins.folder / "ca.pem", "-keystore", folder / "trust",
         "-storepass", "changeit"])
    return folder


def user_file_rows(binary, origins, java, cleanup):
    def place(name, schemes, **auth):
        proxy = Proxy(binary, {"schemes": schemes, **auth})
        cleanup.append(proxy.stop)
        return Place(name, proxy, origins)
    basic, ntlm = place("user file, basic", ["basic"]), place("user file, ntlm", ["ntlm"])
    curl_rows(basic, "basic", ["--proxy-basic"])
    wget_rows(basic)
    git_rows(basic, "basic")
    node_rows(basic)
    python_rows(basic)
    java_rows(basic, java, "old", "basic")
    java_rows(basic, java, "new", "basic")
    chromium_rows(basic, "basic")
    wget2_row(basic, "basic")
    for algorithms in (["SHA-256", "MD5"], ["MD5"], ["SHA-256-sess"], ["MD5-sess"]):
        digest = place(f"user file, {' '.join(algorithms)}", ["digest"], digest={"algorithms": algorithms})
        curl_rows(digest, "digest", ["--proxy-digest"], wrong=len(algorithms) == 2)
        if algorithms == ["SHA-256", "MD5"]:
            git_rows(digest, "digest")
            wget_unasked_row(digest)
            chromium_rows(digest, "digest")
            java_rows(digest, java, "old", "digest")
            wget2_row(digest, "digest")
    curl_rows(ntlm, "ntlm", ["--proxy-ntlm"], "ntlm")
    git_rows(ntlm, "ntlm")
    chromium_rows(ntlm, "ntlm", "ntlm")
    java_rows(ntlm, java, "old", "ntlm")
    cntlm_row(ntlm, cleanup)
    every = place("user file, all schemes", ["ntlm", "digest", "basic"])
    curl_rows(every, "digest", ["--proxy-anyauth"], wrong=False)
    negotiate = place("user file, NTLM in Negotiate", ["negotiate"])
    plugin = Place(negotiate.name, negotiate.proxy, origins, env=environment(
        NTLM_USER_FILE=str(negotiate.proxy.folder / "ntlm-users"), KRB5_CONFIG=str(negotiate.proxy.folder / "no-realm.conf"),
        KRB5CCNAME="FILE:/nonexistent", GSS_MECH_CONFIG=None))
    (negotiate.proxy.folder / "ntlm-users").write_text("LAB:alice:alicepw\n")
    (negotiate.proxy.folder / "no-realm.conf").write_text("[libdefaults]\n dns_lookup_kdc = false\n")
    curl_rows(plugin, "negotiate", ["--proxy-negotiate"], "ntlm", user=":", wrong=False)


def kerberos_rows(binary, origins, kdc, java, cleanup):
    kdc.folder.chmod(0o711)  # the proxy's user reads krb5.conf
    kdc.kinit("alice", kdc.passwords["alice"])
    env = {**environment(**kdc.environment()), "GSS_MECH_CONFIG": "/dev/null"}
    auth = {"schemes": ["negotiate", "basic"], "negotiate": {"keytab": str(kdc.keytab())}, "domains": {kdc.realm: ""}}
    proxy = Proxy(binary, auth, env=env)
    cleanup.append(proxy.stop)
    place = Place("MIT KDC", proxy, origins, env=env, proxy_host="localhost")
    curl_rows(place, "negotiate", ["--proxy-negotiate"], "kerberos", user=":", wrong=False)
    git_rows(place, "negotiate")
    chromium_rows(place, "negotiate", "kerberos", credentials=False)
    login = java / "login.conf"
    login.write_text('com.sun.security.jgss.krb5.initiate { com.sun.security.auth.module.Krb5LoginModule required useTicketCache=true '
                     f'doNotPrompt=true ticketCache="{kdc.folder}/ccache"; }};\n')
    java_rows(place, java, "old", "negotiate", options=[
        "-Djavax.security.auth.useSubjectCredsOnly=false", f"-Djava.security.krb5.conf={kdc.folder}/krb5.conf",
        f"-Djava.security.auth.login.config={login}"])
    # The client has a ticket for localhost, and the keytab has no key for it: NTLM, in three legs, with MICs of the list.
    kdc.admin("addprinc -randkey HTTP/elsewhere.test", f"ktadd -k {kdc.folder}/elsewhere.keytab HTTP/elsewhere.test")
    auth = {**auth, "schemes": ["negotiate"], "negotiate": {"keytab": f"{kdc.folder}/elsewhere.keytab", "ntlm": True}}
    down = Proxy(binary, auth, env=env)
    cleanup.append(down.stop)
    (kdc.folder / "ntlm-users").write_text("LAB:alice:alicepw\n")
    both = {**env, "NTLM_USER_FILE": str(kdc.folder / "ntlm-users")}
    both.pop("GSS_MECH_CONFIG")
    place = Place("from a ticket to NTLM", down, origins, env=both, proxy_host="localhost")
    curl_rows(place, "negotiate", ["--proxy-negotiate"], "ntlm", user=":", wrong=False)


def domain_rows(binary, samba, cleanup):
    inside = samba.inside()
    origins = Origins(inside)
    cleanup.append(origins.stop)
    samba.folder.chmod(0o711)
    samba.kinit("alice", samba.passwords["alice"])
    env = environment(**samba.environment())
    auth = {"schemes": ["negotiate", "ntlm", "basic"], "ntlm": {"backend": "winbind"}, "domains": {samba.domain: "", samba.realm: ""},
            "negotiate": {"keytab": str(samba.keytab())}, "basic": {"backends": ["ldap"]},
            "ldap": {"servers": [samba.ldap_server], "ca": str(samba.ldap_ca), "template": "{user}@ad.test", "base": "dc=ad,dc=test",
                     "bind_dn": "svcproxy@ad.test", "password_file": "ldap.password", "groups": "nested"}}
    proxy = Proxy(binary, auth, inside=inside, env=env, users={}, files={"ldap.password": samba.passwords["svcproxy"] + "\n"},
                  policy="rules:\n  - {name: members, when: {group: proxy-all}, then: {access: allow}}\n"
                         "defaults: {access: deny, tls: bypass, auth: required, ports: [1-65535]}\n")
    cleanup.append(proxy.stop)
    place = Place("Active Directory", proxy, origins, inside=inside, env=env, password=samba.passwords["alice"], careless="carol")
    curl_rows(place, "ntlm", ["--proxy-ntlm"], "ntlm", user=f"ADTEST\\alice:{samba.passwords['alice']}")
    curl_rows(place, "basic", ["--proxy-basic"], careless="carlos")
    chromium_rows(place, "ntlm", "ntlm")
    ticket = Place("Active Directory", proxy, origins, inside=inside, env=env, proxy_host="localhost")
    curl_rows(ticket, "negotiate", ["--proxy-negotiate"], "kerberos", user=":", wrong=False)
    bob = Place("Active Directory", proxy, origins, inside=inside, env=env, user="bob", password=samba.passwords["bob"], known="bob")

    def outside(flags):
        host = bob.new_host()
        out = curl(bob, host, flags, [bob.http(host)], user=f"bob:{bob.password}")
        assert out.split()[-1] == "403", out
        line = proxy.wait_lines(host, lambda all_: any(line["status"] == 403 for line in all_))[-1]
        assert line["user"] == "bob" and line["error"] == "policy_denied", line
    row(bob, "curl --proxy-ntlm", "ntlm", "in no group of the rule", lambda: outside(["--proxy-ntlm"]))
    row(bob, "curl --proxy-basic", "basic", "in no group of the rule", lambda: outside(["--proxy-basic"]))


def write_table(path):
    places = sorted({place for _, _, place in TABLE})
    lines = ["| client | scheme | " + " | ".join(places) + " |", "|---" * (len(places) + 2) + "|"]
    for client, scheme in sorted({(client, scheme) for client, scheme, _ in TABLE}):
        cells = []
        for place in places:
            rows = TABLE.get((client, scheme, place))
            cells.append("" if rows is None else f"{sum(rows.values())} of {len(rows)}")
        lines.append(f"| {client} | {scheme} | " + " | ".join(cells) + " |")
    pathlib.Path(path).write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sallyport", default=str(HERE.parents[1] / "build/release/sallyport"))
    parser.add_argument("--only", default="")
    parser.add_argument("--table")
    parser.add_argument("--without", default="", help="authorities that are not brought up: kdc, samba")
    options = parser.parse_args()
    binary, cleanup = pathlib.Path(options.sallyport).resolve(), []
    try:
        origins = Origins()
        cleanup.append(origins.stop)
        java = make_java(origins)
        cleanup.append(lambda: shutil.rmtree(java))
        user_file_rows(binary, origins, java, cleanup)
        if "kdc" not in options.without:
            kdc = rigs.Kdc()
            cleanup.append(kdc.stop)
            kerberos_rows(binary, origins, kdc.start(), java, cleanup)
        if "samba" not in options.without:
            samba = rigs.Samba()
            cleanup.append(samba.stop)
            domain_rows(binary, samba.start(), cleanup)

        def no_leak():
            assert not origins.leaked(), origins.leaked()
        status = run_rows("clients", ROWS + [("no credentials reached an origin", no_leak)], options.only, at_once=3)
        if options.table:
            write_table(options.table)
    finally:
        for one in reversed(cleanup):
            one()
    sys.exit(status)


if __name__ == "__main__":
    main()
