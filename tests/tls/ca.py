#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The inspection CA with the real binary: made, shown, changed; what is refused and why; the role that signs; what clients
can fetch of it. openssl, curl and Python's ssl are the judges."""
import argparse
import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

PATIENCE_S = 30.0
BINARY = MINT_TRY = ""
CONFIG = """\
listen: [{{name: main, address: "127.0.0.1:0"}}]
workers: 2
policy: policy.yaml
control: run/sallyport.sock
destinations: {{permit: [127.0.0.0/8]}}
authentication: {{schemes: []}}
public: {{address: "127.0.0.1:0", url: "{url}"}}
inspection: {{ca: {{certificate: {ca}/ca.pem, key: {ca}/ca.key}}}}
timeouts: {{drain: 1s}}
log: {{access: {{path: access.log}}, events: {{path: events.log}}}}
"""
BYPASS = "defaults: {access: allow, tls: bypass, auth: exempt, ports: [1-65535]}\n"
INSPECT = "defaults: {access: allow, tls: inspect, auth: exempt, ports: [1-65535]}\n"
EMPTY = "[req]\ndistinguished_name=dn\n[dn]\n"
GOOD = ("basicConstraints=critical,CA:TRUE,pathlen:0", "keyUsage=critical,keyCertSign,cRLSign", "extendedKeyUsage=serverAuth",
        "subjectKeyIdentifier=hash")


def wait_for(what, check):
    """Until `check` gives something true, which is the result."""
    limit = time.monotonic() + PATIENCE_S
    while time.monotonic() < limit:
        got = check()
        if got:
            return got
        time.sleep(0.02)
    raise AssertionError(f"in vain: {what}")


def run(*words, status=0, text=None):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=PATIENCE_S,
                          input=text)
    assert status is None or done.returncode == status, f"{words}: {done.returncode} {done.stdout} {done.stderr}"
    return done


class Site:
    """A folder with a configuration, and perhaps a proxy that runs there."""

    def __init__(self, policy=BYPASS, url="http://ca.test:8080"):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-ca-"))
        self.folder.chmod(0o755)
        self.config = self.folder / "sallyport.yaml"
        self.config.write_text(CONFIG.format(url=url, ca="ca"))
        (self.folder / "policy.yaml").write_text(policy)
        self.pem, self.key = self.folder / "ca/ca.pem", self.folder / "ca/ca.key"
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder)

    def command(self, *words, status=0):
        return run(BINARY, words[0], *words[1:], "-c", self.config, status=status)

    def start(self):
        self.process = subprocess.Popen([BINARY, "run", "-c", str(self.config)], stdout=subprocess.PIPE,
                                        stderr=(self.folder / "stderr").open("w"), text=True)
        ready = self.process.stdout.readline()
        assert ready.startswith("ready "), (self.folder / "stderr").read_text()
        self.port, self.public = (int(re.search(name + r"=\S*:(\d+)", ready)[1]) for name in ("main", "public"))
        return self

    def stop(self):
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process = None

    def roles(self):
        return {one["role"]: one for one in json.loads(self.command("status", "--json").stdout)["roles"]}

    def events(self):
        return (self.folder / "events.log").read_text() + (self.folder / "stderr").read_text()

    def fetch(self, path, through=False):
        """(status, type, body) of a path under the public URL."""
        out = self.folder / "fetched"
        where = ["-x", f"http://127.0.0.1:{self.port}", f"http://ca.test:8080{path}"] if through \
            else [f"http://127.0.0.1:{self.public}{path}"]
        words = run("curl", "-sS", "-o", out, "-w", "%{http_code} %{content_type}", *where).stdout.split(" ", 1)
        return words[0], words[1], out.read_bytes()

    def openssl_ca(self, extensions=GOOD, key=("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"), days=3650, more=()):
        """A CA as somebody else would make it."""
        self.pem.parent.mkdir(exist_ok=True)
        for path in (self.pem, self.key):
            path.unlink(missing_ok=True)
        conf = self.folder / "openssl.cnf"
        conf.write_text(EMPTY)
        run("openssl", "genpkey", *key, "-out", self.key)
        self.key.chmod(0o600)
        words = [word for one in extensions for word in ("-addext", one)]
        run("openssl", "req", "-x509", "-new", "-config", conf, "-key", self.key, "-subj", "/O=Other/CN=Other CA", "-days", days,
            "-out", self.pem, *words, *more)


def openssl(*words, status=0):
    return run("openssl", *words, status=status).stdout


# ---- init ----

def test_init_makes_a_ca():
    with Site() as site:
        out = site.command("ca", "init").stdout
        assert os.stat(site.key).st_mode & 0o777 == 0o600
        assert os.stat(site.pem).st_mode & 0o777 == 0o644
        for word in ("update-ca-certificates", "update-ca-trust", "add-trusted-cert", "certutil -addstore", "keytool",
                     "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "policies.json", "http.sslCAInfo", "--cacert",
                     "http://ca.test:8080/ca", str(site.pem)):
            assert word in out, word
        text = openssl("x509", "-in", site.pem, "-noout", "-text")
        for want in ("ASN1 OID: prime256v1", "CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "TLS Web Server Authentication",
                     "X509v3 Subject Key Identifier"):
            assert want in text, text
        assert re.search(r"X509v3 Basic Constraints: critical", text) and re.search(r"X509v3 Key Usage: critical", text)
        serial = openssl("x509", "-in", site.pem, "-noout", "-serial").strip().split("=")[1]
        assert len(serial) == 32 and serial[0] in "4567", serial
        assert openssl("verify", "-x509_strict", "-CAfile", site.pem, site.pem).endswith("OK\n")
        site.command("check")


def test_two_installs_differ():
    with Site() as one, Site() as other:
        one.command("ca", "init")
        other.command("ca", "init")
        assert one.key.read_text() != other.key.read_text() and one.pem.read_text() != other.pem.read_text()


def test_init_never_overwrites():
    with Site() as site:
        site.command("ca", "init")
        before = site.key.read_bytes(), site.pem.read_bytes()
        assert "there already" in site.command("ca", "init", status=2).stderr
        assert "no --force" in site.command("ca", "init", "--force", status=2).stderr
        site.pem.unlink()
        assert "there already" in site.command("ca", "init", status=2).stderr
        assert site.key.read_bytes() == before[0] and not site.pem.exists()


def test_init_options():
    with Site() as site:
        site.command("ca", "init", "--name", "Example Inspection", "--days", "30")
        text = openssl("x509", "-in", site.pem, "-noout", "-subject", "-enddate")
        assert "CN = Example Inspection" in text, text
        assert openssl("x509", "-in", site.pem, "-noout", "-checkend", str(29 * 86400))
        run("openssl", "x509", "-in", site.pem, "-noout", "-checkend", str(31 * 86400), status=1)
    for words in (("--days", "0"), ("--days", "x"), ("--exclude", "a b"), ("--exclude", "10.0.0.1/8"), ("--name", "")):
        with Site() as site:
            site.command("ca", "init", *words, status=2)
            assert not site.key.exists() and not site.pem.exists(), words


def test_init_excludes():
    with Site() as site:
        done = site.command("ca", "init", "--exclude", "corp.example", "--exclude", "*.lab.example")
        assert "all addresses are excluded" in done.stderr
        text = openssl("x509", "-in", site.pem, "-noout", "-text")
        for want in ("Name Constraints: critical", "DNS:corp.example", "DNS:lab.example", "IP:0.0.0.0/0.0.0.0"):
            assert want in text, text
    with Site() as site:
        done = site.command("ca", "init", "--exclude", "corp.example", "--exclude", "10.0.0.0/8", "--exclude", "fd00::/8")
        assert "all addresses" not in done.stderr
        text = openssl("x509", "-in", site.pem, "-noout", "-text")
        assert "IP:10.0.0.0/255.0.0.0" in text and "0.0.0.0/0.0.0.0" not in text, text


def test_init_without_a_place():
    with Site() as site:
        site.config.write_text(site.config.read_text().replace("inspection: {ca: {certificate: ca/ca.pem, key: ca/ca.key}}\n", ""))
        assert "names no CA" in site.command("ca", "init", status=2).stderr


# ---- a corporate CA ----

def sign_request(site, request, root, extensions, days=365):
    path = site.folder / "ext.cnf"
    path.write_text(extensions)
    return openssl("x509", "-req", "-in", request, "-CA", root.pem, "-CAkey", root.key, "-CAcreateserial", "-days", days,
                   "-copy_extensions", "copyall", "-extfile", path)


def test_intermediate_of_a_corporate_root():
    with Site() as site, Site() as root:
        root.openssl_ca(extensions=("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign", "subjectKeyIdentifier=hash"))
        out = site.command("ca", "init", "--csr").stdout
        assert not site.pem.exists() and "Have your CA sign" in out
        request = site.folder / "ca/ca.pem.csr"
        text = openssl("req", "-in", request, "-noout", "-text", "-verify")
        assert "CA:TRUE, pathlen:0" in text
        signed = sign_request(site, request, root, "authorityKeyIdentifier=keyid\n")
        site.pem.write_text(signed)
        site.command("check")
        site.pem.write_text(signed + root.pem.read_text())
        site.command("check")
        shown = json.loads(site.command("ca", "show", "--json").stdout)[0]
        assert shown["sent"] == 1 and shown["ok"], shown
        # Clients that trust the root alone get what they need.
        handshake(site, "www.example.com", root.pem)
        # The root, and not what it has signed, is what clients are to trust.
        site.start()
        der = site.fetch("/ca.crt")[2]
        (site.folder / "x.der").write_bytes(der)
        assert "CN = Other CA" in openssl("x509", "-inform", "der", "-in", site.folder / "x.der", "-noout", "-subject")
        site.stop()
        site.pem.write_text(root.pem.read_text() + signed)
        assert "not the key of the certificate" in site.command("check", status=2).stderr
        site.pem.write_text(signed + signed)
        assert "did not issue" in site.command("check", status=2).stderr


# ---- what is refused ----

def test_check_refuses():
    rows = [
        ("no basicConstraints", GOOD[1:], {}, "no basicConstraints"),
        ("not critical", ("basicConstraints=CA:TRUE,pathlen:0", *GOOD[1:]), {}, "not critical"),
        ("no CA", ("basicConstraints=critical,CA:FALSE", *GOOD[1:]), {}, "CA:FALSE"),
        ("no keyUsage", (GOOD[0], *GOOD[2:]), {}, "no keyUsage"),
        ("no keyCertSign", (GOOD[0], "keyUsage=critical,digitalSignature", *GOOD[2:]), {}, "without keyCertSign"),
        ("for clients", (*GOOD[:2], "extendedKeyUsage=clientAuth", GOOD[3]), {}, "without serverAuth"),
        ("no SKI", (*GOOD[:3], "subjectKeyIdentifier=none"), {}, "no subjectKeyIdentifier"),
        ("small RSA", GOOD, {"key": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")}, "1024 bits"),
        ("small EC", GOOD, {"key": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp192k1")}, "192 bits"),
        ("Ed25519", GOOD, {"key": ("-algorithm", "ED25519")}, "ED25519"),
    ]
    for name, extensions, more, want in rows:
        with Site() as site:
            site.openssl_ca(extensions, **more)
            said = site.command("check", status=2).stderr
            assert want in said and "[bad-ca]" in said and str(site.pem) in said, (name, said)
            assert "not started" in run(BINARY, "run", "-c", site.config, status=2).stderr, name
            assert site.command("ca", "show", status=2).stdout.count("refused") == 1, name


def test_check_warns():
    rows = [
        ("RSA", GOOD, {"key": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")}, "P-256"),
        ("no pathlen", ("basicConstraints=critical,CA:TRUE", *GOOD[1:]), {}, "pathlen"),
        ("no cRLSign", (GOOD[0], "keyUsage=critical,keyCertSign", *GOOD[2:]), {}, "cRLSign"),
        ("ends soon", GOOD, {"days": 20}, "expires on"),
    ]
    for name, extensions, more, want in rows:
        with Site() as site:
            site.openssl_ca(extensions, **more)
            said = site.command("check", status=1).stderr
            assert want in said and "[doubtful-ca]" in said, (name, said)


def test_key_files():
    with Site() as site, Site() as other:
        site.command("ca", "init")
        other.command("ca", "init")
        for mode in (0o644, 0o640, 0o602):
            site.key.chmod(mode)
            said = site.command("check", status=2).stderr
            assert "chmod 600" in said and str(site.key) in said, said
            run(BINARY, "run", "-c", site.config, status=2)
        site.key.chmod(0o600)
        mine = site.key.read_bytes()
        for text, want in ((other.key.read_bytes(), "not the key of the certificate"), (b"", "no private key"), (b"junk\n" * 100, "no private key"),
                           (mine[:len(mine) // 2], "no private key"), (b"x" * (1 << 20), "too large")):
            site.key.write_bytes(text)
            said = site.command("check", status=2).stderr
            assert want in said, (text[:40], said)
        site.key.unlink()
        assert "no such file" in site.command("check", status=2).stderr
        run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes128", "-pass", "pass:x", "-out", site.key)
        assert "passphrase" in site.command("check", status=2).stderr
        site.key.write_bytes(mine)
        for text, want in ((b"", "no certificate in it"), (site.pem.read_bytes().replace(b"M", b"!"), "certificate")):
            site.pem.write_bytes(text)
            assert want in site.command("check", status=2).stderr
        if os.geteuid() == 0:
            site.pem.unlink()
            site.key.unlink()
            site.command("ca", "init")
            os.chown(site.key, 12345, 12345)
            assert "chown" in site.command("check", status=2).stderr


def test_expired():
    with Site() as site:
        site.openssl_ca(days=1)
        site.command("check", status=1)
        if shutil.which("faketime"):
            said = run("faketime", "+3 days", BINARY, "check", "-c", site.config, status=2).stderr
            assert "has expired" in said, said


def test_constraints_and_policy():
    with Site(policy=INSPECT) as site:
        site.command("ca", "init", "--exclude", "corp.example", "--exclude", "10.0.0.0/8")
        said = site.command("check", status=1).stderr
        assert "exclude corp.example" in said and "exclude 10.0.0.0/8" in said and "[constrained-ca]" in said, said
        (site.folder / "policy.yaml").write_text(
            INSPECT + 'rules:\n  - {name: ours, when: {to: [".corp.example", "10.0.0.0/8"]}, then: {tls: bypass}}\n')
        said = site.command("check", status=None).stderr
        assert "constrained-ca" not in said, said


def test_inspection_is_possible():
    """Without a CA `tls: inspect` is warned of, with one it is not."""
    with Site(policy=INSPECT) as site:
        site.command("ca", "init")
        assert "no-inspection" not in site.command("check").stderr
        site.config.write_text(site.config.read_text().replace("inspection: {ca: {certificate: ca/ca.pem, key: ca/ca.key}}\n", ""))
        assert "no-inspection" in site.command("check", status=1).stderr


# ---- show ----

def test_show():
    with Site() as site:
        site.command("ca", "init", "--exclude", "corp.example", "--exclude", "10.0.0.0/8")
        text = site.command("ca", "show").stdout
        for want in ("in force: ", "subject      O=Sallyport TLS inspection", "corp.example, 10.0.0.0/8", "strict checks: passed"):
            assert want in text, text
        shown = json.loads(site.command("ca", "show", "--json").stdout)
        assert len(shown) == 1 and shown[0]["excluded"] == ["corp.example", "10.0.0.0/8"] and shown[0]["ok"] is True
        digest = openssl("x509", "-in", site.pem, "-noout", "-fingerprint", "-sha256").strip().split("=")[1]
        assert shown[0]["sha256"] == digest.replace(":", "").lower()


# ---- rotate ----

def test_rotate():
    with Site() as site:
        assert "ca init" in site.command("ca", "rotate", status=2).stderr
        site.command("ca", "init")
        first = site.pem.read_bytes(), site.key.read_bytes()
        assert "no next CA" in site.command("ca", "rotate", "--activate", status=2).stderr
        out = site.command("ca", "rotate").stdout
        assert "ca.pem.next" in out and "update-ca-certificates" in out and "--activate" in out
        assert (site.pem.read_bytes(), site.key.read_bytes()) == first
        following = (site.folder / "ca/ca.pem.next").read_bytes()
        assert os.stat(site.folder / "ca/ca.key.next").st_mode & 0o777 == 0o600
        assert "there already" in site.command("ca", "rotate", status=2).stderr
        assert [one["which"] for one in json.loads(site.command("ca", "show", "--json").stdout)] == ["in force", "next"]
        site.start()
        before = site.fetch("/ca.pem")[2]
        assert before == first[0]
        assert "reload" in site.command("ca", "rotate", "--activate").stdout
        assert site.pem.read_bytes() == following and os.stat(site.key).st_mode & 0o777 == 0o600
        assert (site.folder / "ca/ca.pem.previous").read_bytes() == first[0]
        assert (site.folder / "ca/ca.key.previous").read_bytes() == first[1]
        pid = site.roles()["signer"]["pid"]
        site.command("reload")
        wait_for("the new one", lambda: site.fetch("/ca.pem")[2] == following)
        wait_for("its list", lambda: site.fetch("/ca.crl")[0] == "200" and crl_is_of(site, site.pem))
        # The same process: certificates that it has signed stay in use.
        assert site.roles()["signer"]["pid"] == pid
        wait_for("both events", lambda: site.events().count("ca_in_force") == 2)


def test_reload_refuses_a_bad_ca():
    with Site() as site:
        site.command("ca", "init")
        site.start()
        before = site.fetch("/ca.pem")[2]
        site.key.chmod(0o644)
        assert "chmod 600" in site.command("reload", status=2).stderr
        assert site.fetch("/ca.pem")[2] == before and site.roles()["signer"]["ready"]
        # Taken away, there is no signer any more; back again, there is.
        text = site.config.read_text()
        site.config.write_text(text.replace("inspection: {ca: {certificate: ca/ca.pem, key: ca/ca.key}}\n", ""))
        site.command("reload", status=None)
        wait_for("no signer", lambda: "signer" not in site.roles())
        wait_for("no page", lambda: site.fetch("/ca.pem")[0] == "404")
        site.key.chmod(0o600)
        site.config.write_text(text)
        site.command("reload", status=None)
        wait_for("a signer", lambda: site.roles().get("signer", {}).get("ready"))
        wait_for("the page", lambda: site.fetch("/ca.pem")[2] == before)


# ---- the role ----

def proc_status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_the_role():
    with Site() as site:
        site.command("ca", "init")
        site.start()
        one = site.roles()["signer"]
        assert one["ready"] and one["restarts"] == 0
        assert "signer 0, pid" in site.command("status").stdout
        key = "".join(site.key.read_text().split("\n")[1:-2])
        assert len(key) > 100
        names = [os.readlink(path) for path in pathlib.Path(f"/proc/{one['pid']}/fd").iterdir()]
        assert not any("memfd:" in name or "ca.key" in name for name in names), names
        status = proc_status(one["pid"])
        if status["Seccomp"].strip() == "2": # a Release build
            assert os.stat(f"/proc/{one['pid']}/mem").st_uid == 0
            assert int(status["VmLck"].split()[0]) >= 256, status["VmLck"]
        assert pathlib.Path(f"/proc/{one['pid']}/limits").read_text().count("Max core file size        0 ") == 1
        os.kill(one["pid"], signal.SIGKILL)
        again = wait_for("a new signer", lambda: (lambda now: now["ready"] and now["pid"] not in (0, one["pid"]) and now)(site.roles()["signer"]))
        assert again["restarts"] == 1, (again, site.events())
        wait_for("the event", lambda: "role_died" in site.events())
        roles = json.loads(site.command("status", "--json").stdout)["roles"]
        assert [one["restarts"] for one in roles if one["role"] in ("worker", "public")] == [0, 0, 0], roles


def steal(pid, fd):
    """A copy of another process's descriptor: what a worker that an attacker runs has in hands. Root only."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = libc.syscall(434, pid, 0)
    assert pidfd >= 0, "pidfd_open"
    got = libc.syscall(438, pidfd, fd, 0)
    os.close(pidfd)
    assert got >= 0, f"pidfd_getfd: {os.strerror(ctypes.get_errno())}"
    return socket.socket(fileno=got)


def mint(number, payload):
    text = (pathlib.Path(__file__).parents[2] / "proxy/process/ipc.h").read_text()
    kind = re.findall(r"^\tX\((\w+), ", text, re.M).index("MINT") + 1
    return struct.pack("<HHIQ", 1, kind, len(payload), number) + payload


def worker_channels(site, worker):
    """All of a worker's channels but that of the parent: one of them leads to the signer."""
    pid = next(one["pid"] for one in json.loads(site.command("status", "--json").stdout)["roles"]
               if one["role"] == "worker" and one["number"] == worker)
    fds = [int(path.name) for path in pathlib.Path(f"/proc/{pid}/fd").iterdir() if os.readlink(path).startswith("socket:")]
    socks = [steal(pid, fd) for fd in fds if fd != 3]
    return [sock for sock in socks if sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_SEQPACKET]


def test_hostile_worker():
    """Nonsense ends that worker's channel, with one line; nobody else is touched."""
    if os.geteuid() != 0:
        print("     not tested without root: a hostile worker")
        return
    for sent in (b"\0A.example", b"\0", b"\x07a.example", b"\0" + b"a" * 253, b"\0a.example:443", b"nonsense"):
        with Site() as site:
            site.command("ca", "init")
            site.start()
            pid = site.roles()["signer"]["pid"]
            for sock in worker_channels(site, 0):
                sock.send(mint(1, sent) if len(sent) > 1 and sent != b"nonsense" else sent)
                sock.close()
            wait_for(f"a line about {sent}", lambda: site.events().count("role=worker number=0 what=question") == 1)
            assert site.roles()["signer"]["pid"] == pid and site.roles()["signer"]["restarts"] == 0
            assert "number=1" not in "".join(line for line in site.events().splitlines() if "role_message" in line)
            assert [one["restarts"] for one in site.roles().values()] == [0] * len(site.roles())


def test_no_ca_no_role():
    with Site() as site:
        site.config.write_text(site.config.read_text().replace("inspection: {ca: {certificate: ca/ca.pem, key: ca/ca.key}}\n", ""))
        site.start()
        assert "signer" not in site.roles()
        assert site.fetch("/ca.pem")[0] == "404" and site.fetch("/ca.crl")[0] == "404"


# ---- what clients fetch ----

def crl_is_of(site, pem):
    path = site.folder / "x.crl"
    path.write_bytes(site.fetch("/ca.crl")[2])
    done = run("openssl", "crl", "-inform", "der", "-in", path, "-CAfile", pem, "-noout", "-text", status=None)
    return "verify OK" in done.stderr and "No Revoked Certificates" in done.stdout and "CRL Number" in done.stdout


def test_pages():
    with Site() as site:
        site.command("ca", "init")
        site.start()
        for through in (False, True):
            status, kind, body = site.fetch("/ca.pem", through)
            assert status == "200" and body == site.pem.read_bytes(), (through, status, kind)
            status, kind, body = site.fetch("/ca.crt", through)
            assert (status, kind) == ("200", "application/x-x509-ca-cert") and body == ssl.PEM_cert_to_DER_cert(site.pem.read_text())
            status, kind, body = wait_for("a list", lambda way=through: (lambda got: got[0] == "200" and got)(site.fetch("/ca.crl", way)))
            assert kind == "application/pkix-crl", kind
            (site.folder / "y.crl").write_bytes(body)
            assert "verify OK" in run("openssl", "crl", "-inform", "der", "-in", site.folder / "y.crl", "-CAfile", site.pem, "-noout").stderr
            status, kind, body = site.fetch("/ca", through)
            assert status == "200" and kind.startswith("text/html")
            for word in (b"update-ca-certificates", b"NODE_EXTRA_CA_CERTS", b"curl --cacert", b"</pre>"):
                assert word in body, word
            assert json.loads(site.command("ca", "show", "--json").stdout)[0]["sha256"].encode() in body
        assert crl_is_of(site, site.pem)
        # In origin form, too: asked of the proxy as of a server.
        assert run("curl", "-sS", f"http://127.0.0.1:{site.port}/ca.pem").stdout == site.pem.read_text()


# ---- strict clients ----

def handshake(site, host, trusted, *more, groups=None):
    """A client that is as strict as OpenSSL can be, with a server that shows what the signer would."""
    server_pem = site.folder / "server.pem"
    server_pem.write_text(run(MINT_TRY, site.pem, site.key, host, *more).stdout)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(server_pem)
    client = ssl.create_default_context(cafile=trusted)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    if groups:
        client.verify_flags |= groups
    ends = socket.socketpair()

    def serve():
        with server.wrap_socket(ends[0], server_side=True) as sock:
            sock.recv(10)
    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(ends[1], server_hostname=host) as sock:
        shown = sock.getpeercert()
        sock.sendall(b"x")
    thread.join()
    return shown


def test_strict_python():
    with Site() as site:
        site.command("ca", "init")
        shown = handshake(site, "www.example.com", site.pem)
        assert shown["subjectAltName"] == (("DNS", "www.example.com"),), shown
        assert shown["crlDistributionPoints"] == ("http://127.0.0.1:9/ca.crl",), shown
        handshake(site, "www.example.com", site.pem, "RSA")
        handshake(site, "127.0.0.1", site.pem)
        handshake(site, "x" * 60 + ".example.com", site.pem)
    with Site() as site:
        site.openssl_ca()
        handshake(site, "www.example.com", site.pem)


def test_openssl_verifies_strictly():
    with Site() as site:
        site.command("ca", "init", "--exclude", "corp.example", "--exclude", "10.0.0.0/8")
        leaf = site.folder / "leaf.pem"
        leaf.write_text(run(MINT_TRY, site.pem, site.key, "www.example.com").stdout)
        openssl("verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "www.example.com", "-CAfile", site.pem, leaf)
        site.start()
        crl = site.folder / "crl.pem"
        (site.folder / "crl.der").write_bytes(wait_for("a list", lambda: (lambda got: got[0] == "200" and got[2])(site.fetch("/ca.crl"))))
        openssl("crl", "-inform", "der", "-in", site.folder / "crl.der", "-out", crl)
        openssl("verify", "-x509_strict", "-crl_check", "-CRLfile", crl, "-CAfile", site.pem, leaf)
        for host, want in (("a.corp.example", "exclude corp.example"), ("10.1.2.3", "exclude 10.0.0.0/8")):
            assert want in run(MINT_TRY, site.pem, site.key, host, status=1).stderr, host


def main():
    global BINARY, MINT_TRY
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sallyport", default="build/release/sallyport")
    parser.add_argument("--mint-try", default="build/asan/tests/mint_try")
    parser.add_argument("names", nargs="*", help="only tests whose names have one of these in them")
    options = parser.parse_args()
    BINARY, MINT_TRY = os.path.abspath(options.sallyport), os.path.abspath(options.mint_try)
    passed = failed = 0
    for name, test in [(name, test) for name, test in globals().items() if name.startswith("test_")]:
        if options.names and not any(part in name for part in options.names):
            continue
        try:
            test()
            passed += 1
        except Exception:
            failed += 1
            print(f"FAILED {name}")
            traceback.print_exc()
    print(f"ca: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
