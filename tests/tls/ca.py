#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The inspection CA: made, brought, changed, refused, kept. Ends with "ca: N passed, M failed"."""
import contextlib
import datetime
import pathlib
import stat
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
from cryptography import x509  # noqa: E402
from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: E402
import certificates as c  # noqa: E402
from tls_site import Session, context_of, environment, main, row, row_named, run, wait_for  # noqa: E402

CONFIG = """listen: [{name: main, address: 127.0.0.1:0}]
policy: policy.yaml
authentication: {schemes: []}
inspection: {ca: {certificate: ca/ca.pem, key: ca/ca.key}, trust: [r.pem]}
log: {access: {path: access.log}, events: {path: events.log}}
"""


def prepare(site):
    site.begin(workers=1)


def place(site, name, config=CONFIG):
    """A folder with a configuration, and no CA yet."""
    folder = site.folder_of(name.replace(" ", "-"))
    (folder / "sallyport.yaml").write_text(config)
    (folder / "policy.yaml").write_text("defaults: {access: allow, tls: inspect, auth: exempt, ports: [1-65535]}\n")
    (folder / "r.pem").write_text(site.web.root.pem)
    return folder


def command(site, folder, *words, status=0, text=None):
    return run([site.binary, *words, "-c", folder / "sallyport.yaml"], status=status, text=text, env=environment())


@row
def init_makes_a_ca_as_strict_clients_want_it(site):
    folder = place(site, "init")
    out = command(site, folder, "ca", "init")
    assert str(folder / "ca/ca.pem") in out or "ca.pem" in out, out
    x = x509.load_pem_x509_certificate((folder / "ca/ca.pem").read_bytes())
    get = lambda kind: x.extensions.get_extension_for_class(kind)  # noqa: E731
    assert x.public_key().curve.name == "secp256r1" and x.version == x509.Version.v3
    assert get(x509.BasicConstraints).critical and get(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    assert get(x509.KeyUsage).critical and get(x509.KeyUsage).value == c.usages("key_cert_sign", "crl_sign")
    assert list(get(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert get(x509.SubjectKeyIdentifier).value.digest
    assert x.not_valid_after > datetime.datetime.utcnow() + datetime.timedelta(days=300)
    assert stat.S_IMODE((folder / "ca/ca.key").stat().st_mode) == 0o600
    run(["openssl", "verify", "-x509_strict", "-CAfile", folder / "ca/ca.pem", folder / "ca/ca.pem"])


@row
def init_does_not_overwrite_a_ca(site):
    folder = place(site, "twice")
    command(site, folder, "ca", "init")
    before = (folder / "ca/ca.pem").read_bytes(), (folder / "ca/ca.key").read_bytes()
    out = command(site, folder, "ca", "init", status=None)
    assert ((folder / "ca/ca.pem").read_bytes(), (folder / "ca/ca.key").read_bytes()) == before, out


@row
def every_installation_has_a_ca_of_its_own(site):
    made = []
    for name in ("one", "two"):
        folder = place(site, f"install-{name}")
        command(site, folder, "ca", "init")
        made.append(x509.load_pem_x509_certificate((folder / "ca/ca.pem").read_bytes()))
    assert made[0].public_key().public_numbers() != made[1].public_key().public_numbers()
    assert made[0].serial_number != made[1].serial_number


@row
def show_says_which_ca_it_is_and_no_secret(site):
    folder = place(site, "show")
    command(site, folder, "ca", "init")
    out = command(site, folder, "ca", "show")
    fingerprint = run(["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", folder / "ca/ca.pem"]).split("=")[1].strip()
    assert fingerprint.replace(":", "").lower() in out.replace(":", "").lower(), out
    assert "PRIVATE" not in out, out


@row
def init_with_name_constraints_has_them(site):
    folder = place(site, "constraints")
    out = command(site, folder, "ca", "init", "--exclude", "corp.test", "--exclude", "10.0.0.0/8", status=None)
    x = x509.load_pem_x509_certificate((folder / "ca/ca.pem").read_bytes())
    constraints = x.extensions.get_extension_for_class(x509.NameConstraints)
    said = {str(one.value) for one in constraints.value.excluded_subtrees}
    assert constraints.critical and "10.0.0.0/8" in said and {"corp.test", ".corp.test"} & said, (said, out)


def bad_ca(what, made, says, mode=0o600, key=None):
    """A CA of somebody's that could not issue what strict clients accept is refused before anything is served."""
    def test(site):
        folder = place(site, what)
        (folder / "ca").mkdir()
        x = made(site)
        x.write(folder / "ca", "ca")
        if key:
            (folder / "ca/ca.key").write_text(key())
        (folder / "ca/ca.key").chmod(mode)
        out = command(site, folder, "check", status=None)
        assert any(word in out.lower() for word in says), out
        done = command(site, folder, "run", status=2)
        assert any(word in done.lower() for word in says), done
    row_named(f"a CA {what} is refused at the start", test)


def without(*kinds, critical=True):
    """A CA that lacks these extensions."""
    key = c.ec_key()
    name = c.subject("Lacking")
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1 << 70)
    builder = builder.not_valid_before(c.NOW - c.DAY).not_valid_after(c.NOW + 300 * c.DAY)
    for extension, is_critical in ((x509.BasicConstraints(True, 0), critical), (c.usages("key_cert_sign", "crl_sign"), True),
                                   (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)):
        if not isinstance(extension, kinds):
            builder = builder.add_extension(extension, is_critical)
    return c.Made(builder.sign(key, c.hashes.SHA256()), key)


bad_ca("that says it is none", lambda site: c.issue(None, "None", ["x.test"]), ["basic constraints", "basicconstraints", "no ca", "not a ca"])
bad_ca("without basic constraints", lambda site: without(x509.BasicConstraints), ["basic constraints", "basicconstraints"])
bad_ca("whose basic constraints are not critical", lambda site: without(critical=False), ["critical"])
bad_ca("without key usage", lambda site: without(x509.KeyUsage), ["key usage", "keyusage"])
bad_ca("without a subject key identifier", lambda site: without(x509.SubjectKeyIdentifier), ["key identifier", "subjectkeyidentifier"])
bad_ca("that has expired", lambda site: c.root("Old", days=(-300, -3), pathlen=0), ["expired"])
bad_ca("whose key is of another", lambda site: c.root("Mine", pathlen=0), ["key"], key=lambda: c.root("Theirs").key_pem)
bad_ca("whose key others may read", lambda site: c.root("Open", pathlen=0), ["mode", "readable", "read by", "permission", "others"], mode=0o644)
bad_ca("with RSA of 1024 bits", lambda site: c.root("Small", key=c.rsa_key(1024), pathlen=0), ["weak", "1024", "bits", "small"])
bad_ca("for code alone", lambda site: c.root("Code", pathlen=0, more=[(x509.ExtendedKeyUsage(
    [ExtendedKeyUsageOID.CODE_SIGNING]), False)]), ["server", "purpose", "extended key usage"])


@row
def without_a_ca_nothing_starts_that_says_it_has_one(site):
    folder = place(site, "missing")
    assert "ca.pem" in command(site, folder, "run", status=2)
    assert "ca.pem" in command(site, folder, "check", status=None)


@row
def a_leaf_lives_no_longer_than_its_ca(site):
    short = c.root("Ends tomorrow", days=(-9, 1), pathlen=0)
    with Session(site, site.at(), proxy=site.inspector(workers=1, prepare=lambda folder: bring(folder, short))) as session:
        assert session.leaf.not_valid_after <= short.certificate.not_valid_after
        assert session.ask("GET", "/echo").status == 200


def bring(folder, made):
    (folder / "ca").mkdir(exist_ok=True)
    made.write(folder / "ca", "ca")
    (folder / "ca/ca.key").chmod(0o600)


@row
def a_ca_is_changed_by_reload_without_a_failed_handshake(site):
    """Clients that trust both; sessions all the while. Afterwards the new one signs, and tickets of before are no good."""
    first, second = c.root("First", pathlen=0), c.root("Second", pathlen=0)
    proxy = site.inspector(prepare=lambda folder: bring(folder, first))
    file, done, trouble, issuers = site.folder / "first-and-second.pem", threading.Event(), [], set()
    file.write_text(first.pem + second.pem)
    context, hosts = context_of(file), [site.host() for _ in range(6)]

    def load(number):
        while not done.is_set():
            try:
                with Session(site, site.at(hosts[number]), proxy=proxy, context=context) as session:
                    issuers.add(session.leaf.issuer)
                    assert session.ask("GET", "/echo").status == 200
            except Exception as error:  # noqa: B902
                trouble.append(repr(error))
    threads = [threading.Thread(target=load, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        while len(issuers) < 1 and not trouble:
            done.wait(0.05)
        bring(proxy.folder, second)
        proxy.command("reload")
        with Session(site, site.at(hosts[5]), proxy=proxy, context=context) as session:
            assert session.leaf.issuer == second.certificate.subject
        done.wait(1)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not trouble, trouble[:3]
    assert issuers == {first.certificate.subject, second.certificate.subject}
    with Session(site, site.at(hosts[0]), proxy=proxy, context=context) as session:
        assert session.leaf.issuer == second.certificate.subject


@row
def rotate_makes_a_new_ca_and_keeps_the_old_one_beside(site):
    folder = place(site, "rotate")
    command(site, folder, "ca", "init")
    before = (folder / "ca/ca.pem").read_bytes()
    command(site, folder, "ca", "rotate", status=None)
    files = {path.name: path.read_bytes() for path in (folder / "ca").iterdir()}
    certificates = [data for data in files.values() if b"BEGIN CERTIFICATE" in data]
    assert any(before in data for data in certificates) and len({data for data in certificates}) >= 2, sorted(files)
    assert all(stat.S_IMODE((folder / "ca" / name).stat().st_mode) == 0o600 for name, data in files.items() if b"PRIVATE" in data)


@row
def a_broken_ca_at_reload_changes_nothing(site):
    first = c.root("Good", pathlen=0)
    proxy = site.inspector(workers=1, prepare=lambda folder: bring(folder, first))
    (proxy.folder / "ca/ca.pem").write_text("garbage\n")
    out = proxy.command("reload", status=None)
    assert "ca.pem" in out, out
    (site.folder / "good.pem").write_text(first.pem)
    with Session(site, site.at(), proxy=proxy, context=context_of(site.folder / "good.pem")) as session:
        assert session.ask("GET", "/echo").status == 200


@row
def the_key_of_the_ca_is_in_the_signer_alone(site):
    """In the memory of no worker, and of no other role that strangers talk to."""
    x = c.serialization.load_pem_private_key(site.proxy.x_key.encode(), None)
    secret = x.private_numbers().private_value.to_bytes(32, "big")
    assert site.get().status == 200
    forms = (secret, secret[::-1])
    for role in ("worker", "logger", "admin", "public", "verifier"):
        for pid in site.proxy.pids(role):
            assert not any(form in memory for memory in memory_of(pid) for form in forms), f"{role} {pid} has it"
    assert any(form in memory for pid in site.proxy.pids("signer") for memory in memory_of(pid) for form in forms), "the search finds it"


def memory_of(pid):
    """All that can be read, part by part."""
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            begin, end = (int(part, 16) for part in span.split("-"))
            if rights.startswith("rw") and end - begin < 1 << 28:
                with contextlib.suppress(OSError, ValueError, OverflowError):
                    memory.seek(begin)
                    yield memory.read(end - begin)


@row
def secrets_of_sessions_are_written_nowhere_unless_told(site):
    """SSLKEYLOGFILE in the environment is not heard."""
    file = site.folder / "keys.log"
    proxy = site.inspector(workers=1, env=environment(SSLKEYLOGFILE=str(file)))
    with Session(site, site.at(), proxy=proxy) as session:
        assert session.ask("GET", "/echo").status == 200
    assert not file.exists()


@row
def secrets_of_sessions_are_written_where_told_with_a_warning(site):
    proxy = site.inspector(workers=1, inspection={"secrets": "keys.log"})
    with Session(site, site.at(), proxy=proxy) as session:
        assert session.ask("GET", "/echo").status == 200
    text = wait_for("the secrets", lambda: (proxy.folder / "keys.log").exists() and (proxy.folder / "keys.log").read_text())
    assert "CLIENT_TRAFFIC_SECRET_0" in text, text[:100]
    assert stat.S_IMODE((proxy.folder / "keys.log").stat().st_mode) & 0o077 == 0
    assert "secrets" in proxy.events() or "keys.log" in proxy.events(), proxy.events()


if __name__ == "__main__":
    main("ca", prepare)
