#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Certificates that clients of opened sessions see, and who signs them. Ends with "leaf: N passed, M failed"."""
import concurrent.futures
import datetime
import ipaddress
import pathlib
import re
import ssl
import sys
import threading
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: E402
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID  # noqa: E402
import certificates as c  # noqa: E402
from tls_site import alone, Session, connect, context_of, environment, free_port, main, row, run  # noqa: E402

FIRST_SESSIONS = 500  # at once, to a host that nobody has asked for before
ECDSA = dict(least=ssl.TLSVersion.TLSv1_2, most=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
RSA = dict(least=ssl.TLSVersion.TLSv1_2, most=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-RSA-AES128-GCM-SHA256")


def prepare(site):
    site.begin()


def with_public(site):
    """A proxy that has the public role, too."""
    with site.public_lock:
        if site.public_proxy is None:
            port = free_port()
            site.public = f"http://127.0.0.1:{port}"
            site.public_proxy = site.inspector(workers=1, more={"public": {"address": f"127.0.0.1:{port}", "url": site.public}})
    return site.public_proxy


def spki(certificate):
    return certificate.public_key().public_bytes(c.DER, c.serialization.PublicFormat.SubjectPublicKeyInfo)


def leaf_of(site, host=None, **how):
    with site.session(host, **how) as session:
        return session.leaf


@row
def every_field_is_as_strict_clients_want_it(site):
    host, x = site.host(), site.proxy.x
    leaf = leaf_of(site, host)
    get = lambda kind: leaf.extensions.get_extension_for_class(kind)  # noqa: E731
    assert leaf.version == x509.Version.v3
    serial = leaf.serial_number.to_bytes(16, "big")
    assert 0x40 <= serial[0] < 0x80, f"16 bytes, positive: {serial.hex()}"
    assert leaf.issuer.public_bytes() == x.subject.public_bytes()
    now = datetime.datetime.utcnow()
    assert leaf.not_valid_before >= x.not_valid_before and leaf.not_valid_after <= x.not_valid_after
    assert leaf.not_valid_before <= max(now - datetime.timedelta(hours=47), x.not_valid_before), "clocks of clients are wrong"
    assert now + datetime.timedelta(days=1) <= leaf.not_valid_after <= now + datetime.timedelta(days=90, hours=1)
    assert [one.value for one in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [host]
    assert [one.value for one in leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["Sallyport TLS inspection"]
    assert list(get(x509.SubjectAlternativeName).value) == [x509.DNSName(host)]
    usage = get(x509.KeyUsage)
    assert usage.critical and usage.value == c.usages("digital_signature"), usage
    assert list(get(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert get(x509.BasicConstraints).value == x509.BasicConstraints(False, None)
    subject_id = x.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert get(x509.AuthorityKeyIdentifier).value.key_identifier == subject_id
    ids = [one.value.digest for one in leaf.extensions if one.oid == ExtensionOID.SUBJECT_KEY_IDENTIFIER]
    assert subject_id not in ids, "Windows would verify it against itself"
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey) and leaf.public_key().curve.name == "secp256r1"
    assert leaf.signature_hash_algorithm.name == "sha256"
    known = {ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE, ExtensionOID.BASIC_CONSTRAINTS,
             ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.SUBJECT_KEY_IDENTIFIER, ExtensionOID.CRL_DISTRIBUTION_POINTS}
    assert {one.oid for one in leaf.extensions} <= known, "nothing of the origin's: AIA, SCTs, policies, must-staple"
    assert spki(leaf) != spki(x) and spki(leaf) != spki(site.origin_certificate), "neither the CA's key nor the origin's"


@row
def openssl_takes_it_strictly(site):
    file = site.folder / "strict.pem"
    file.write_bytes(leaf_of(site).public_bytes(c.PEM))
    run(["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", site.proxy.ca_file, file])


@row
def only_the_leaf_is_sent_below_a_root(site):
    with site.session() as session:
        assert len(session.chain) == 1


@row
def a_host_has_one_certificate_in_all_workers(site):
    host, workers, leaves = site.host(), set(), set()
    held = []
    for _ in range(40):
        session = site.session(host)
        held.append(session)
        leaves.add(session.leaf.public_bytes(c.DER))
        workers = {line["id"].split("-")[0] for line in site.proxy.lines(host)}
        if len(held) >= 8 and len(workers) > 1:
            break
        if len(held) % 8 == 0:
            while held:
                held.pop().tls.close()
    for session in held:
        session.tls.close()
    assert len(leaves) == 1


@row
def serials_are_never_the_same(site):
    leaves = [leaf_of(site) for _ in range(30)]
    assert len({leaf.serial_number for leaf in leaves}) == 30
    assert len({spki(leaf) for leaf in leaves}) == 1, "one key for all of them: it need not be made again"


@row
def another_installation_has_keys_of_its_own(site):
    other = site.inspector(workers=1)
    host = site.host()
    with Session(site, site.at(host), proxy=other) as session:
        theirs = session.leaf
    ours = leaf_of(site, host)
    assert spki(theirs) != spki(ours) and spki(other.x) != spki(site.proxy.x) and theirs.serial_number != ours.serial_number
    assert other.x.subject != site.proxy.x.subject or other.x.serial_number != site.proxy.x.serial_number


@row
def a_client_without_ecdsa_sees_rsa(site):
    host = site.host()
    leaf = leaf_of(site, host, **RSA)
    assert isinstance(leaf.public_key(), rsa.RSAPublicKey) and leaf.public_key().key_size == 2048
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage == c.usages("digital_signature", "key_encipherment"), usage
    assert spki(leaf) != spki(leaf_of(site, **ECDSA))
    out = site.s_client(host, site.origin.port, "-tls1_2", "-sigalgs", "RSA+SHA256", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", text="Q\n")
    assert "Verify return code: 0" in out and "ECDHE-RSA-AES128-GCM-SHA256" in out, out


@row
def a_client_with_rsa_signatures_alone_sees_rsa_in_tls_13_too(site):
    out = site.s_client(site.host(), site.origin.port, "-tls1_3", "-sigalgs", "RSA-PSS+SHA256:RSA+SHA256", text="Q\n")
    assert "Verify return code: 0" in out or "unsupported" not in out, out
    assert "Peer signature type: RSA-PSS" in out, out


@row
def a_client_with_ecdsa_alone_sees_p256(site):
    leaf = leaf_of(site, **ECDSA)
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)
    out = site.s_client(site.host(), site.origin.port, "-sigalgs", "ECDSA+SHA256", text="Q\n")
    assert "Verify return code: 0" in out, out


@alone
def hundreds_of_first_sessions_cost_one_signature(site):
    """Nothing is known of the host; all of them ask at once; workers and signer ask and sign once."""
    host, before = site.host(), signatures(site)
    context = context_of(site.proxy.ca_file)

    def one(_):
        with Session(site, site.at(host), context=context) as session:
            return session.leaf.serial_number
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        serials = set(pool.map(one, range(FIRST_SESSIONS)))
    assert len(serials) == 1, f"{len(serials)} certificates"
    assert signatures(site) - before == 1, signatures(site) - before


def signatures(site):
    """That the signer has made so far. Workers tell once a second."""
    return site.proxy.metrics()["leaves_signed_total"]


@row
def its_revocation_list_is_where_it_says(site):
    """At the public role, and at the proxy port under the public URL."""
    proxy = with_public(site)
    points = leaf_of(site, proxy=proxy).extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    url = points[0].full_name[0].value
    assert url.startswith(site.public + "/"), url
    for words in (["--noproxy", "*"], ["--noproxy", "", "-x", proxy.url]):
        file = site.folder / "crl.der"
        run(["curl", "-sSf", *words, "-o", file, url], env=environment())
        crl = x509.load_der_x509_crl(file.read_bytes())
        assert crl.is_signature_valid(proxy.x.public_key()) and len(crl) == 0
        assert crl.last_update <= datetime.datetime.utcnow() and crl.next_update > datetime.datetime.utcnow() + datetime.timedelta(days=1)
        assert crl.issuer == proxy.x.subject
        assert crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == \
            proxy.x.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    (site.folder / "with-crl.pem").write_bytes(crl.public_bytes(c.PEM))
    (site.folder / "leaf-crl.pem").write_bytes(leaf_of(site, proxy=proxy).public_bytes(c.PEM))
    run(["openssl", "verify", "-x509_strict", "-crl_check", "-CRLfile", site.folder / "with-crl.pem", "-CAfile", proxy.ca_file,
         site.folder / "leaf-crl.pem"])


@row
def the_ca_is_served_to_who_has_to_trust_it(site):
    proxy = with_public(site)
    got = run(["curl", "-sSf", "--noproxy", "*", urllib.parse.urljoin(site.public, "/ca.pem")], env=environment())
    assert proxy.x_pem.split("-----")[2][:60] in got, got


@row
def a_corporate_intermediate_is_sent_with_the_leaf(site):
    """Clients trust the root alone, which is not sent."""
    corporate = c.root("Corporate Root")
    between = c.issue(corporate, "Corporate Issuer", ca=True, pathlen=0, more=[(x509.ExtendedKeyUsage(c.SERVER), False)])

    def bring(folder):
        (folder / "ca").mkdir()
        (folder / "ca/ca.pem").write_text(between.pem + corporate.pem)
        (folder / "ca/ca.key").write_text(between.key_pem)
        (folder / "ca/ca.key").chmod(0o600)
    proxy = site.inspector(workers=1, prepare=bring)
    (site.folder / "corporate.pem").write_text(corporate.pem)
    with Session(site, site.at(), proxy=proxy, context=context_of(site.folder / "corporate.pem")) as session:
        assert [one.subject for one in session.chain[1:]] == [between.certificate.subject]
        assert session.ask("GET", "/echo").status == 200


@row
def a_ca_with_rsa_signs_too(site):
    x = c.root("RSA Inspection CA", key=c.rsa_key(), pathlen=0)

    def bring(folder):
        (folder / "ca").mkdir()
        x.write(folder / "ca", "ca")
        (folder / "ca/ca.key").chmod(0o600)
    proxy = site.inspector(workers=1, prepare=bring)
    with Session(site, site.at(), proxy=proxy) as session:
        assert session.leaf.issuer == x.certificate.subject and session.ask("GET", "/echo").status == 200


@row
def names_that_the_ca_may_not_sign_for_are_refused(site):
    """Name constraints, by sallyport ca init: the company's own zones, and its networks."""
    excluded = x509.NameConstraints(None, [x509.DNSName("corp.test"), x509.IPAddress(ipaddress.ip_network("127.0.0.7/32"))])
    x = c.root("Constrained", pathlen=0, more=[(excluded, True)])
    site.origin.add("intra.corp.test", site.web.site("intra.corp.test"))
    site.hosts["intra.corp.test"] = "127.0.0.1"

    def bring(folder):
        (folder / "ca").mkdir()
        x.write(folder / "ca", "ca")
        (folder / "ca/ca.key").chmod(0o600)
    proxy = site.inspector(workers=1, prepare=bring)
    with Session(site, site.at(), proxy=proxy) as session:
        assert session.ask("GET", "/echo").status == 200
    try:
        with connect(proxy, site.at("intra.corp.test")) as sock:
            context_of(proxy.ca_file).wrap_socket(sock, server_hostname="intra.corp.test")
    except OSError:
        pass
    else:
        raise AssertionError("it was signed")
    assert site.connect_line("intra.corp.test", proxy)["error"] == "signer_refused"
    assert not any(seen.requests for seen in site.origin.of("intra.corp.test"))


@row
def a_leaf_that_is_forgotten_is_signed_again(site):
    """A small memory, more hosts than it holds: all of them are served."""
    proxy = site.inspector(workers=1, inspection={"leaves": 16})
    hosts = [site.host() for _ in range(40)]
    context = context_of(proxy.ca_file)
    for host in hosts + hosts[:5]:
        with Session(site, site.at(host), proxy=proxy, context=context) as session:
            assert session.leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == host


@row
def a_strict_go_like_client_finds_the_serial_positive(site):
    """Go refuses negative serials, openssl asn1parse shows the first byte."""
    file = site.folder / "serial.pem"
    file.write_bytes(leaf_of(site).public_bytes(c.PEM))
    serial = re.search(r"serial=([0-9A-F]+)", run(["openssl", "x509", "-noout", "-serial", "-in", file]))[1]
    assert len(serial) == 32 and int(serial[0], 16) < 8, serial


def bound(site):
    site.public_proxy, site.public_lock = None, threading.Lock()
    site.origin_certificate = x509.load_pem_x509_certificate((site.folder / "origin-0.pem").read_bytes())
    prepare(site)


if __name__ == "__main__":
    main("leaf", bound)
