#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Real clients that trust our CA, each in its own way, and what they say if they do not. (wget2 1.99 is not among them: it
speaks TLS to the proxy's port instead of asking for a tunnel.) Ends with "clients: N passed, M failed"."""
import pathlib
import ssl
import sys
import threading
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
import origins  # noqa: E402
from tls_site import PATIENCE_S, connect, context_of, environment, main, opened, row, row_named, run, wait_for  # noqa: E402
from browser import Browser  # noqa: E402

HELLO = "hello through the wall\n"


def prepare(site):
    site.nginx = site.keep(origins.nginx(site.folder, site.web.site("*.web.test")))
    bare = site.folder / "pages/repo.git"
    run(["git", "init", "-q", "--bare", bare])
    run(["git", "-C", bare, "update-server-info"])
    (site.folder / "pages/page.html").write_text("""<!doctype html><title>t</title><body><p id=a>waiting</p><p id=b>waiting</p><script>
        fetch('hello').then(r => r.text()).then(t => document.getElementById('a').textContent = 'fetched ' + t);
        const ws = new WebSocket('wss://' + location.hostname + ':WSPORT/ws');
        ws.onopen = () => ws.send('ping');
        ws.onmessage = e => document.getElementById('b').textContent = 'socket ' + e.data;
        </script>""".replace("WSPORT", str(site.origin.port)))
    site.begin()
    site.java = site.folder_of("java")
    run(["javac", "-d", site.java, HERE.parent / "auth/Client.java"])
    run(["keytool", "-importcert", "-noprompt", "-alias", "x", "-file", site.proxy.ca_file, "-keystore", site.java / "trust", "-storepass",
         "changeit"])


def url(site, host, path="/hello"):
    return f"https://{host}:{site.nginx.port}{path}"


def trusts(client, function):
    """`function(site, host, ca)` fetches the page with what trusts `ca`, and returns what came."""
    def test(site):
        host = site.host()
        assert HELLO.strip() in function(site, host, site.proxy.ca_file), "not served"
        line = site.connect_line(host)
        assert opened(line) and "error" not in line, line
    row_named(f"{client} is served by who trusts our CA", test)


def refuses(client, function):
    """With the origin's root instead of ours."""
    def test(site):
        host = site.host()
        out = function(site, host, site.folder / "r.pem")
        assert HELLO.strip() not in out, out
        assert not any(host in line for line in (site.folder / "nginx.seen").read_text().splitlines())
        assert site.connect_line(host)["ended_by"] == "client", site.connect_line(host)
    row_named(f"{client} refuses what it does not trust", test)


def both(client, function):
    trusts(client, function)
    refuses(client, function)


both("curl (OpenSSL)", lambda site, host, ca: site.curl(url(site, host), ca=ca, status=None))
both("curl over HTTP/1.1", lambda site, host, ca: site.curl("--http1.1", url(site, host), ca=ca, status=None))
both("wget (GnuTLS)", lambda site, host, ca: run(["wget", "-q", "-t", "1", "-O", "-", f"--ca-certificate={ca}", url(site, host)], status=None,
                                                env=environment(https_proxy=site.proxy.url) | {"https_proxy": site.proxy.url}))
both("openssl s_client", lambda site, host, ca: site.s_client(
    host, site.nginx.port, "-quiet", "-verify_return_error", "-x509_strict", "-verify_hostname", host, ca=ca,
    text=f"GET /hello HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))


def git(site, host, ca):
    """Debian's git is built with the GnuTLS build of libcurl."""
    out = run(["git", "-c", f"http.proxy={site.proxy.url}", "ls-remote", url(site, host, "/repo.git")], status=None,
              env=environment(GIT_SSL_CAINFO=str(ca), GIT_TERMINAL_PROMPT="0", GIT_CONFIG_GLOBAL="/dev/null"))
    return out if "fatal" in out else HELLO


both("git (libcurl with GnuTLS)", git)


def gnutls(site, host, ca):
    """gnutls-cli knows no proxies: its connection is carried into a CONNECT."""
    def carry(sock, kept):
        with connect(site.proxy, f"{host}:{site.nginx.port}") as other:
            thread = threading.Thread(target=origins.Relay.copy, args=(other, sock, bytearray()), daemon=True)
            thread.start()
            origins.Relay.copy(sock, other, kept)
            thread.join()
    door = origins.RawOrigin(carry)
    try:
        return run(["gnutls-cli", "--x509cafile", ca, "--sni-hostname", host, "--verify-hostname", host, "-p", str(door.port), "127.0.0.1"],
                   status=None, text=f"GET /hello HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", env=environment())
    finally:
        door.close()


both("gnutls-cli", gnutls)


def python(site, host, ca):
    """As 3.13 verifies: strictly, against an anchor that may be an intermediate."""
    context = context_of(ca, alpn=())
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"https": site.proxy.url}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url(site, host), timeout=PATIENCE_S) as answer:
            return answer.read().decode()
    except OSError as error:
        return str(error)


both("Python, strictly", python)

NODE = """const https = require('https'), http = require('http'), [port, host, to] = process.argv.slice(1);
http.request({port, host: '127.0.0.1', method: 'CONNECT', path: `${host}:${to}`}).on('connect', (response, socket) => {
  https.get({host, port: to, path: '/hello', socket, agent: false, servername: host}, answer => {
    answer.on('data', data => process.stdout.write(data)); answer.on('end', () => process.exit(0));
  }).on('error', error => { console.log(error.code); process.exit(1); });
}).end();"""


def node(site, host, ca):
    return run(["node", "-e", NODE, str(site.proxy.port), host, str(site.nginx.port)], status=None, env=environment(NODE_EXTRA_CA_CERTS=str(ca)))


both("node with NODE_EXTRA_CA_CERTS", node)


def java(kind):
    def fetch(site, host, ca):
        if ca != site.proxy.ca_file:
            store = site.java / f"trust-{kind}"
            if not store.exists():
                run(["keytool", "-importcert", "-noprompt", "-alias", "r", "-file", ca, "-keystore", store, "-storepass", "changeit"])
        else:
            store = site.java / "trust"
        out = run(["java", "-XX:TieredStopAtLevel=1", "-cp", site.java, f"-Djavax.net.ssl.trustStore={store}",
                   "-Djavax.net.ssl.trustStorePassword=changeit", "Client", kind, url(site, host), "127.0.0.1", site.proxy.port, "", ""], status=None,
                  env=environment())
        return HELLO if "status 200" in out else out
    return fetch


both("Java HttpURLConnection", java("old"))
trusts("Java HttpClient", java("new"))


def visit(site, name, ca, page, wanted=""):
    """The text of a page in Chromium, when it has what is wanted; its home has a database of NSS with what it trusts."""
    home = site.folder_of(f"home-{name}")
    database = home / ".pki/nssdb"
    database.mkdir(parents=True)
    run(["certutil", "-d", f"sql:{database}", "-N", "--empty-password"])
    if ca:
        run(["certutil", "-d", f"sql:{database}", "-A", "-t", "C,,", "-n", "x", "-i", ca])
    chromium = Browser(site.proxy.url, env=environment(HOME=str(home)), verifies=True)
    try:
        chromium.open(page)
        if chromium.failed:
            return chromium.failed
        return wait_for(wanted, lambda: (lambda text: text if wanted in text else None)(chromium.text()))
    finally:
        chromium.close()


@row
def chromium_is_served_by_who_trusts_our_ca(site):
    """A page, what its script fetches, and its WebSocket; its own error page would show here if it disliked the leaf."""
    host = site.host()
    text = visit(site, "trusts", site.proxy.ca_file, url(site, host, "/page.html"), "socket ping")
    assert f"fetched {HELLO.strip()}" in text, text
    assert opened(site.lines(host)[0]), site.lines(host)


@row
def chromium_refuses_what_it_does_not_trust(site):
    host = site.host()
    assert visit(site, "refuses", None, url(site, host, "/page.html")) == "net::ERR_CERT_AUTHORITY_INVALID"
    assert not any(host in line for line in (site.folder / "nginx.seen").read_text().splitlines())


@row
def chromium_shows_the_page_about_a_bad_origin(site):
    host = "h390.web.test"
    site.origin.add(host, site.web.site(host, days=(-9, -3)))
    assert host in visit(site, "bad", site.proxy.ca_file, f"https://{host}:{site.origin.port}/", "expired")


if __name__ == "__main__":
    main("clients", prepare)
