#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Origins that are not what they say, or speak TLS badly: the client gets a page that says why, and no byte of its request
leaves. Ends with "upstream: N passed, M failed"."""
import contextlib
import ipaddress
import pathlib
import re
import socket
import ssl
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509 import ocsp  # noqa: E402
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier  # noqa: E402
import certificates as c  # noqa: E402
import client_hello as hello  # noqa: E402
import origins  # noqa: E402
from tls_site import (PATIENCE_S, Session, connect, context_of, expect_page, main, opened, row, row_named, run,  # noqa: E402
                      wait_for)

WEAK = "ALL:@SECLEVEL=0"
AIA_HOST, AIA_PORT = "127.83.12.7", 80  # issuers are fetched from port 80 alone
BAD = {}  # name: (certificate, fault, what the page says, what OpenSSL says to a client of its own)
NAMES = ["good.test", "private.test", "pin.test", "legacy.test", "old.test", "revoked.test", "forgotten.test", "aia.test", "issuers.test",
         "own.test", "staple.test", "scts.test"]


def bad(host, made, fault, says, direct, **how):
    BAD[host] = (made, fault, says, direct, how)


def make(site):
    """Every bad certificate; all of them but for their own fault are as `site` makes them."""
    web, site_of = site.web, site.web.site
    ca = lambda name, issuer=None, **how: c.issue(issuer or web.root, name, ca=True, **how)  # noqa: E731
    by = lambda issuer, host, **how: site_of(host, issuer=issuer, **how)  # noqa: E731
    bad("expired.test", site_of("expired.test", days=(-40, -3)), "expired", "expired", "has expired")
    bad("early.test", site_of("early.test", days=(3, 40)), "not-yet-valid", "not valid yet|not yet", "not yet valid")
    bad("self.test", c.issue(None, "self.test", ["self.test"]), "self-signed", "itself", "self.signed")
    bad("nobody.test", by(ca("An Issuer", web.other), "nobody.test"), "unknown-issuer", "issue", "unable to get|self.signed")
    bad("other-host.test", site_of("elsewhere.test"), "wrong-host", "another host|not for", "mismatch")
    bad("names-do-not-say.test", site_of("elsewhere.test", subject="names-do-not-say.test"), "wrong-host", "another host", "mismatch")
    bad("no-names.test", site_of("no-names.test", names=()), "wrong-host", "another host", None)  # OpenSSL's clients may still read it
    bad("deep.below.wild.test", site_of("*.wild.test"), "wrong-host", "another host", "mismatch")
    bad("part.test", site_of("p*.test"), "wrong-host", "another host", "mismatch")
    not_ca = c.issue(web.root, "Not A CA", usage=("key_cert_sign",))
    bad("issuer-no-ca.test", by(not_ca, "issuer-no-ca.test"), "wrong-purpose", "", "invalid CA")
    bad("issuer-v1.test", by(c.version_1(web.root, "Old Issuer", site.folder), "issuer-v1.test"), "wrong-purpose", "", "invalid CA")
    deep = ca("Deep", ca("Shallow", pathlen=0))
    bad("too-deep.test", by(deep, "too-deep.test"), "constraint", "", "path length")
    permitted = x509.NameConstraints([x509.DNSName("permitted.test")], None)
    bad("constraint-name.test", by(ca("Permits", more=[(permitted, True)]), "constraint-name.test"), "constraint", "", "permitted subtree")
    excluded = x509.NameConstraints(None, [x509.DNSName("constraint-excluded.test"), x509.IPAddress(ipaddress.ip_network("127.0.0.0/8"))])
    excluding = ca("Excludes", more=[(excluded, True)])
    bad("constraint-excluded.test", by(excluding, "constraint-excluded.test"), "constraint", "", "excluded subtree")
    bad("constraint-address.test", by(excluding, "constraint-address.test", names=["constraint-address.test", "127.0.0.9"]), "constraint", "",
        "excluded subtree")
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4.5.6"), b"\4\1x")
    bad("critical.test", site_of("critical.test", more=[(unknown, True)]), None, "", "critical extension")
    bad("for-clients.test", site_of("for-clients.test", extended=(ExtendedKeyUsageOID.CLIENT_AUTH,)), "wrong-purpose", "", "purpose")
    coder = ca("Signs code", more=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)])
    bad("issuer-code.test", by(coder, "issuer-code.test"), "wrong-purpose", "", "purpose|invalid CA")
    bad("no-signing.test", site_of("no-signing.test", usage=("content_commitment",)), "wrong-purpose", "", "purpose")
    bad("issuer-no-signing.test", by(ca("Signs nothing", usage=("crl_sign",)), "issuer-no-signing.test"), "wrong-purpose", "", "")
    bad("sha1.test", site_of("sha1.test", digest=hashes.SHA1()), "weak", "weak", "too weak", ciphers=WEAK)
    rsa_issuer = ca("RSA Issuer", key=c.rsa_key())
    bad("md5.test", by(rsa_issuer, "md5.test", digest=hashes.MD5()), "weak", "weak", "too weak", ciphers=WEAK)
    bad("issuer-sha1.test", by(ca("Weakly signed", digest=hashes.SHA1()), "issuer-sha1.test"), "weak", "weak", "too weak", ciphers=WEAK)
    for bits in (512, 768, 1024):
        key = c.rsa_key(bits)
        bad(f"rsa{bits}.test", site_of(f"rsa{bits}.test", key=key), "weak", "weak", "too (weak|small)", ciphers=WEAK,
            most=ssl.TLSVersion.TLSv1_2)
        bad(f"issuer-rsa{bits}.test", by(ca(f"RSA {bits}", key=key), f"issuer-rsa{bits}.test"), "weak", "weak", "too (weak|small)",
            ciphers=WEAK)
    bad("issuer-p192.test", by(ca("P-192", key=c.ec_key(ec.SECP192R1)), "issuer-p192.test"), "weak", "weak", "too (weak|small)", ciphers=WEAK)
    bad("issuer-expired.test", by(ca("Expired", days=(-40, -3)), "issuer-expired.test"), "expired", "expired", "has expired")
    bad("root-expired.test", by(site.old_root, "root-expired.test"), "expired", "expired", "has expired")
    bad("nul.test", site_of("nul.test\0.evil.test", subject="nul.test"), None, "", "mismatch|invalid")
    bad("127.0.0.9", site_of("127.0.0.9", names=()), "wrong-host", "another host", "mismatch")
    bad("empty.test", c.issue(web.issuer, "", ["elsewhere.test"]), "wrong-host", "another host", "mismatch")
    bad("must-staple.test", site_of("must-staple.test", more=[(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)]),
        "bad-staple", "OCSP", None)
    bad("names10000.test", site_of("names10000.test", names=["names10000.test", *[f"n{n}.names.test" for n in range(9999)]]),
        "too-large", "large", "excessive")
    bad("revoked-list.test", site_of("revoked-list.test"), "revoked", "revoked", None)
    bad("revoked-crl.test", site_of("revoked-crl.test"), "revoked", "revoked", None)


def revocations(site):
    """A CRL of the issuer, and a line of our own."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(site.web.issuer.certificate.subject)
    builder = builder.last_update(c.NOW - c.DAY).next_update(c.NOW + 9 * c.DAY)
    one = x509.RevokedCertificateBuilder().serial_number(BAD["revoked-crl.test"][0].certificate.serial_number)
    builder = builder.add_revoked_certificate(one.revocation_date(c.NOW - c.DAY).build())
    crl = builder.sign(site.web.issuer.key, hashes.SHA256()).public_bytes(c.PEM).decode()
    return {"revoked.txt": f"sha256:{BAD['revoked-list.test'][0].fingerprint}\n", "revoked.crl": crl}


def prepare(site):
    site.old_root = c.root("Old Root", days=(-900, -3))
    make(site)
    (site.folder / "trusted.pem").write_text(site.web.root.pem + site.old_root.pem)
    for host, (made, *_, how) in BAD.items():
        site.origin.add(host, made, **how)
    site.nine = site.keep(origins.TlsOrigin(site.folder_of("nine"), "127.0.0.9"))
    site.nine.add("default", BAD["127.0.0.9"][0])
    site.names(*BAD, *NAMES, *[f"s{number}.staple.test" for number in range(9)])
    site.names("issuers.test", address=AIA_HOST)
    site.private = c.root("Private Root")
    site.pinned = c.issue(None, "pin.test", ["pin.test"])
    site.legacy = site.web.site("legacy.test", issuer=c.issue(site.web.root, "Legacy", ca=True, key=c.rsa_key()), key=c.rsa_key(1024),
                                digest=hashes.SHA1())
    hidden = c.issue(site.web.root, "Hidden Issuer", ca=True)
    site.forgotten = site.web.site("forgotten.test", issuer=hidden)
    site.forgotten.chain = ()
    elsewhere = c.issue(site.web.root, "Issuer Elsewhere", ca=True)
    where = x509.AuthorityInformationAccess([x509.AccessDescription(x509.oid.AuthorityInformationAccessOID.CA_ISSUERS,
                                                                   x509.UniformResourceIdentifier("http://issuers.test/issuer.der"))])
    site.aia = site.web.site("aia.test", issuer=elsewhere, more=[(where, False)])
    site.aia.chain = ()
    site.fetches = []
    site.keep(origins.RawOrigin(lambda sock, kept: issuer_page(site, sock, elsewhere.der), AIA_HOST, AIA_PORT))
    for host, made, how in (("good.test", site.web.site("good.test"), {}), ("private.test", c.issue(site.private, "private.test", ["private.test"]), {}),
                            ("pin.test", site.pinned, {}), ("legacy.test", site.legacy, {"ciphers": WEAK, "most": ssl.TLSVersion.TLSv1_2}),
                            ("old.test", site.web.site("old.test"), {"ciphers": WEAK, "least": ssl.TLSVersion.TLSv1, "most": ssl.TLSVersion.TLSv1}),
                            ("forgotten.test", site.forgotten, {}), ("aia.test", site.aia, {}),
                            ("names1000.test", site.web.site("names1000.test", names=["names1000.test", *[f"n{n}.names.test" for n in range(999)]]), {})):
        site.origin.add(host, made, **how)
    site.names("names1000.test")
    files = {"old-root.pem": site.old_root.pem, "private.pem": site.private.pem, "hidden.pem": hidden.pem, **revocations(site)}
    site.begin(files=files, inspection={
        "trust": ["r.pem", "old-root.pem"], "intermediates": ["hidden.pem"], "revocations": ["revoked.txt", "revoked.crl"],
        "exceptions": [{"to": "private.test", "trust": ["private.pem"]}, {"to": ["pin.test"], "pins": [f"sha256:{site.pinned.fingerprint}"]},
                       {"to": "legacy.test", "legacy": True}, {"to": "old.test", "least_version": "TLS1.0", "legacy": True}]})
    # Only now is there a CA of ours.
    x = c.Made(site.proxy.x, c.serialization.load_pem_private_key(site.proxy.x_key.encode(), None))
    for host in ("own.test",):
        made = c.issue(x, host, [host])
        made.chain = (site.proxy.x,)
        site.origin.add(host, made)


def issuer_page(site, sock, der):
    site.fetches.append(sock.recv(65536))
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/pkix-cert\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(der) + der)


# ---- bad certificates ----

def refuses_directly(site, host, says):
    """A client of OpenSSL that trusts what the proxy trusts: is this origin as bad as it should be?"""
    context = context_of(site.folder / "trusted.pem", strict=False)
    origin = site.nine if host == "127.0.0.9" else site.origin
    with contextlib.closing(socket.create_connection((host if host == "127.0.0.9" else "127.0.0.1", origin.port), PATIENCE_S)) as sock:
        try:
            context.wrap_socket(sock, server_hostname=host).close()
        except ssl.SSLError as error:
            assert says is not None and re.search(says, str(error), re.I), (host, str(error))
        else:
            assert says is None, f"{host}: OpenSSL takes it"


def requests_of(origin, host):
    return [seen for seen in origin.seen if seen.sni == (None if host == "127.0.0.9" else host) and seen.data]


def refused(site, host, fault, says):
    origin = site.nine if host == "127.0.0.9" else site.origin
    with Session(site, f"{host}:{origin.port}") as session:
        assert session.leaf.issuer == site.proxy.x.subject
        said = expect_page(session.ask("GET", "/secret", fields=("Cookie: secret=1",)), 502, "tls_certificate_error", says)
        assert "details=" in said, said
    line = site.connect_line(host)
    request = site.request_line(host)
    assert "origin_certificate" in (line.get("error"), request.get("error")), (line, request)
    verify = (line.get("tls", {}).get("origin") or request.get("tls", {}).get("origin"))["verify"]
    assert fault is None or verify == fault, (verify, fault)
    assert not requests_of(origin, host), "the origin was sent something"


def bad_row(host):
    def test(site):
        made, fault, says, direct, _ = BAD[host]
        refuses_directly(site, host, direct)
        refused(site, host, fault, says)
    return test


FAULTS = {"expired.test": "that has expired", "early.test": "that is not valid yet", "self.test": "signed by itself", "nobody.test": "of a root that nobody trusts",
          "other-host.test": "for another host", "names-do-not-say.test": "whose common name alone fits", "no-names.test": "without alternative names",
          "deep.below.wild.test": "whose wildcard would have to span labels", "part.test": "whose wildcard is part of a label",
          "issuer-no-ca.test": "whose issuer is no CA", "issuer-v1.test": "whose issuer is of X.509 v1", "too-deep.test": "in a path that is too long",
          "constraint-name.test": "outside the names that its issuer may issue for", "constraint-excluded.test": "among the names that its issuer may not issue for",
          "constraint-address.test": "with an address that its issuer may not issue for", "critical.test": "with a critical extension that nobody knows",
          "for-clients.test": "for clients", "issuer-code.test": "whose issuer is for code", "no-signing.test": "whose key may not sign",
          "issuer-no-signing.test": "whose issuer may not sign certificates", "sha1.test": "signed with SHA-1", "md5.test": "signed with MD5",
          "issuer-sha1.test": "whose issuer is signed with SHA-1", "rsa512.test": "with RSA of 512 bits", "rsa768.test": "with RSA of 768 bits",
          "rsa1024.test": "with RSA of 1024 bits", "issuer-rsa512.test": "whose issuer has RSA of 512 bits", "issuer-rsa768.test": "whose issuer has RSA of 768 bits",
          "issuer-rsa1024.test": "whose issuer has RSA of 1024 bits", "issuer-p192.test": "whose issuer has a P-192 key", "issuer-expired.test": "whose issuer has expired",
          "root-expired.test": "whose root has expired", "nul.test": "with a NUL byte in its name", "127.0.0.9": "with an address in its common name alone",
          "empty.test": "with an empty subject, for another host", "must-staple.test": "that must come with a staple, and comes without",
          "names10000.test": "with ten thousand names", "revoked-list.test": "that a list of ours revokes", "revoked-crl.test": "that a CRL revokes"}
for name, what in FAULTS.items():
    row_named(f"a certificate {what}", bad_row(name))


@row
def a_certificate_of_our_own_ca_is_not_taken_from_an_origin(site):
    refused(site, "own.test", "own-ca", "own CA")


@row
def the_verdict_does_not_depend_on_who_asks(site):
    """With and without a User-Agent, any method, WebSocket, HTTP/2."""
    host = "expired.test"
    for fields in ((), ("User-Agent: Mozilla/5.0",), ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                                                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")):
        with site.session(host) as session:
            assert session.ask("GET", "/secret", fields=fields).status == 502
    with site.session(host) as session:
        assert session.ask("POST", "/secret", body=b"secret").status == 502
    url = f"https://{host}:{site.origin.port}/secret"
    assert site.curl("--http2", "-o", "/dev/null", "-w", "%{http_code}", url) == "502"
    assert not requests_of(site.origin, host)


@row
def a_page_for_people_says_what_is_wrong(site):
    with site.session("expired.test") as session:
        answer = session.ask("GET", "/", fields=("Accept: text/html",))
    text = answer.body.decode()
    assert answer.status == 502 and "<html" in text.lower() and "expired" in text and "expired.test" in text, text


@row
def a_page_hides_nothing_and_escapes_what_the_origin_says(site):
    made = c.issue(None, "<script>alert(1)</script>", ["markup.test"])
    site.origin.add("h397.web.test", made)
    with site.session("h397.web.test") as session:
        answer = session.ask("GET", "/", fields=("Accept: text/html",))
    assert answer.status == 502 and b"<script>alert" not in answer.body, answer


# ---- good ones ----

def served(site, host, port=None):
    with site.session(host, port) as session:
        answer = session.ask("GET", "/echo")
        assert answer.status == 200, answer
        return session.leaf


row_named("a good certificate without SCTs is taken", lambda site: served(site, "good.test"))
row_named("a private CA is taken where an exception says so", lambda site: served(site, "private.test"))
row_named("a pinned certificate is taken where an exception says so", lambda site: served(site, "pin.test"))
row_named("a small key and SHA-1 are taken where an exception says so", lambda site: served(site, "legacy.test"))
row_named("TLS 1.0 is spoken where an exception says so", lambda site: served(site, "old.test"))
row_named("an intermediate that the configuration has need not be sent", lambda site: served(site, "forgotten.test"))


@row
def a_thousand_names_of_the_origin_do_not_make_the_leaf_large(site):
    assert len(served(site, "names1000.test").public_bytes(c.DER)) < 1200


@row
def a_private_ca_is_not_taken_elsewhere(site):
    site.origin.add("h396.web.test", c.issue(site.private, "h396", ["h396.web.test"]))
    refused(site, "h396.web.test", None, "")


@row
def an_exception_with_a_pin_takes_no_other_certificate(site):
    """A good one of R, but not the one that was named."""
    site.origin.add("pin.test", site.web.site("pin.test"))
    try:
        refused(site, "pin.test", "pin", "")
    finally:
        site.origin.add("pin.test", site.pinned)


@row
def an_issuer_that_was_not_sent_is_fetched_once(site):
    for _ in range(3):
        served(site, "aia.test")
    assert 1 <= len(site.fetches) <= 2, "once for each worker"
    assert site.fetches[0].startswith(b"GET /issuer.der HTTP/1.1\r\n") and b"Cookie" not in site.fetches[0]


@row
def an_issuer_is_not_fetched_from_where_nobody_may_go(site):
    """Its address is not permitted: no connection, and the certificate is refused."""
    where = x509.AuthorityInformationAccess([x509.AccessDescription(
        x509.oid.AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://169.254.169.254/latest/meta-data"))])
    made = site.web.site("h395.web.test", issuer=c.issue(site.web.root, "Unsent", ca=True), more=[(where, False)])
    made.chain = ()
    site.origin.add("h395.web.test", made)
    refused(site, "h395.web.test", "unknown-issuer", "")


# ---- stapled OCSP ----

def stapled(number, what, response, good):
    def test(site):
        host = f"s{number}.staple.test"
        made = site.web.site(host)
        file = site.folder / f"staple-{number}"
        file.write_bytes(response(site, made))
        server = origins.s_server(site.folder, host, made, "-status_file", file)
        try:
            with site.session(host, server.port) as session:
                answer = session.ask("GET", "/")
            if good:
                assert answer.status == 200, answer
            else:
                expect_page(answer, 502, "tls_certificate_error", "revoked|OCSP")
                assert "GET" not in server.log(), server.log()
        finally:
            server.stop()
    row_named(f"a stapled response that {what}", test)


stapled(0, "is good is taken", lambda site, made: c.staple(site.web.issuer, made), True)
stapled(1, "says revoked refuses", lambda site, made: c.staple(site.web.issuer, made, ocsp.OCSPCertStatus.REVOKED), False)
stapled(2, "is out of date refuses", lambda site, made: c.staple(site.web.issuer, made, days=(-9, -2)), False)
stapled(3, "somebody else signed refuses", lambda site, made: c.staple(site.web.issuer, made, signer=site.web.other), False)
stapled(4, "is for another certificate refuses", lambda site, made: c.staple(site.web.issuer, site.web.site("elsewhere.test")), False)
stapled(5, "is garbage refuses", lambda site, made: b"\x30\x03\x0a\x01\x07", False)


# ---- TLS that is too weak, or none ----

def weak_server(what, *flags, key=None, page=False):
    def test(site):
        host = site.host()
        server = origins.s_server(site.folder, host, site.web.site(host, key=key() if key else None), *flags, page=page)
        try:
            assert any(version in run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername", host, "-CAfile", site.folder / "r.pem",
                                       *[flag for flag in flags if flag.startswith("-tls")], "-cipher", WEAK], status=None, text="Q\n")
                       for version in ("Cipher is ",)), "it works for who wants it"
            with site.session(host, server.port) as session:
                answer = session.ask("GET", "/secret")
            assert answer.status == 502, answer
            said = ", ".join(answer.all("Proxy-Status"))
            assert re.search("error=(tls_protocol_error|tls_alert_received)", said), said
            assert "secret" not in server.log(), server.log()
        finally:
            server.stop()
        lines = [site.connect_line(host), site.request_line(host)]
        assert any(line.get("error") in ("origin_tls", "origin_alert") for line in lines), lines
    row_named(f"an origin that has only {what}", test)


weak_server("TLS 1.0", "-tls1", "-cipher", WEAK)
weak_server("TLS 1.1", "-tls1_1", "-cipher", WEAK)
weak_server("NULL ciphers", "-tls1_2", "-cipher", "eNULL:@SECLEVEL=0")
weak_server("anonymous ciphers", "-tls1_2", "-cipher", "aNULL:!eNULL:@SECLEVEL=0")
weak_server("RSA key exchange", "-tls1_2", "-cipher", "kRSA:!eNULL:@SECLEVEL=0", key=c.rsa_key)
weak_server("DHE of 1024 bits", "-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0", "-dhparam", str(HERE / "dh1024.pem"), key=c.rsa_key)


@row
def our_own_client_hello_is_as_the_profile_says(site):
    """Facts 7.1: AEAD with forward secrecy first, nothing that is broken; SHA-2 signatures; no compression; a fresh random."""
    host = site.host()
    client = hello.of_openssl(host)
    with site.session(host) as session:
        assert session.ask("GET", "/echo").status == 200
    seen = site.origin.of(host)[-1]
    random, session_id, ciphers, extensions = hello.fields_of(seen.hello)
    assert ciphers[:2] in ((0x1301, 0x1302), (0x1302, 0x1301)) or ciphers[0] in (0x1301, 0x1302, 0x1303), ciphers
    names = {number: name for number, name in cipher_names().items()}
    for number in ciphers:
        name = names.get(number, hex(number))
        assert not re.search("NULL|RC4|DES|EXP|MD5|PSK|SRP|DSS|CAMELLIA|ARIA|SEED|IDEA|ADH|AECDH", name), name
        assert number == 0xff or name.startswith(("TLS_", "ECDHE-")), f"no forward secrecy: {name}"
    aead = [bool(re.search("GCM|CHACHA|CCM|^TLS_", names.get(number, ""))) for number in ciphers if number != 0xff]
    assert aead == sorted(aead, reverse=True), "AEAD first"
    signatures = hello.list_of(seen.hello, 13)
    assert signatures and not set(signatures) & {0x0201, 0x0203, 0x0202, 0x0101, 0x0301, 0x0303}, [hex(one) for one in signatures]
    groups = hello.list_of(seen.hello, 10)
    assert groups[:2] == (0x1d, 0x17) and not set(groups) & {0x13, 0x15, 0x16}, groups
    assert set(hello.list_of(seen.hello, 43, 1)) == {0x0304, 0x0303}, "TLS 1.2 and 1.3"
    assert 5 in extensions, "status_request"
    assert 42 not in extensions and 49 not in extensions, "no early data, no authentication after the handshake"
    theirs = hello.fields_of(client)
    assert random != theirs[0] and session_id != theirs[1]


def cipher_names():
    """Of all that OpenSSL knows, by number."""
    out = run(["openssl", "ciphers", "-V", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"])
    return {int(line.split()[0].replace(",0x", ""), 16): line.split()[2] for line in out.splitlines() if line.strip()}


@row
def nothing_of_the_clients_hello_is_in_ours(site):
    """RFC 8446 section 9.3: our own parameters, a fresh random. What the client has and we do not know stays here."""
    host = site.host()
    marker = b"\xee" * 24
    with connect(site.proxy, site.at(host)) as sock:
        sock.sendall(hello.records(hello.by_hand(host, more=(hello.extension(0x4242, marker), hello.extension(0x3a3a, b"\0")))))
        assert sock.recv(1) == b"\x16"
    raw = site.origin.of(host)[-1].hello
    assert marker not in raw and 0x4242 not in hello.fields_of(raw)[3] and 0x3a3a not in hello.fields_of(raw)[3]


@row
def an_origin_that_is_no_tls_server(site):
    for said in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x50", b"garbage" * 100, b"\x16\x03\x03\x40\x00" + bytes(100), b""):
        host = site.host()
        origin = site.keep(origins.RawOrigin(lambda sock, kept, said=said: (sock.recv(1000), sock.sendall(said))))
        with site.session(host, origin.port) as session:
            answer = session.ask("GET", "/secret")
        assert answer.status == 502, (said, answer)
        assert site.request_line(host)["error"] in ("origin_tls", "origin_alert", "origin_closed", "origin_reset") or \
            site.connect_line(host)["error"] in ("origin_tls", "origin_alert", "origin_closed", "origin_reset")


@row
def every_alert_of_an_origin_is_told(site):
    """All codes of RFC 8446 and before; unknown ones too."""
    codes = [0, 10, 20, 21, 22, 30, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 60, 70, 71, 80, 86, 90, 100, 109, 112, 113, 116, 120, 121, 200]
    current = []

    def alert(sock, kept):
        code = current[0]
        sock.recv(2000)
        sock.sendall(bytes([21, 3, 3, 0, 2, 2, code]))
    origin = site.keep(origins.RawOrigin(alert))
    for code in codes:
        current[:] = [code]
        with site.session(None, origin.port) as session:
            answer = session.ask("GET", "/")
        assert answer.status == 502 and "error=tls_" in ", ".join(answer.all("Proxy-Status")) or code == 0, (code, answer)


@row
def an_origin_that_stays_silent_in_the_handshake_is_given_up(site):
    host = site.host()
    origin = site.keep(origins.RawOrigin(lambda sock, kept: sock.recv(1000) and sock.recv(1000)))
    with site.session(host, origin.port) as session:
        answer = session.ask("GET", "/")
    assert answer.status == 504, answer


@row
def a_request_to_renegotiate_is_not_followed(site):
    """s_server sends HelloRequest for "r": no second handshake, and the request before it has its answer."""
    host = site.host()
    server = origins.s_server(site.folder, host, site.web.site(host), "-tls1_2", page=False, stdin=subprocess.PIPE)
    try:
        with site.session(host, server.port) as session:
            session.send("GET", "/one")
            wait_for("the request", lambda: "GET /one" in server.log())
            server.process.stdin.write(b"r\n")
            server.process.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                server.process.stdin.write(b"HTTP/1.0 200 OK\r\n\r\nlate\n")
                server.process.stdin.flush()
            with contextlib.suppress(OSError):
                session.tls.recv(1000)
        assert site.get().status == 200
    finally:
        server.stop()


@row
def both_legs_are_in_the_log(site):
    host = site.host()
    with site.session(host) as session:
        session.ask("GET", "/echo")
        version, cipher = session.tls.version(), session.tls.cipher()[0]
    line = site.connect_line(host)
    client, origin = line["tls"]["client"], line["tls"]["origin"]
    seen = site.origin.of(host)[-1]
    same = lambda text: re.sub("[^0-9.]", "", text)  # noqa: E731
    assert same(client["version"]) == same(version) and client["cipher"] == cipher and client["alpn"] == "http/1.1", line
    assert same(origin["version"]) == same(seen.version) and origin["alpn"] == "http/1.1" and origin["verify"] in ("ok", "good"), line
    assert client["resumed"] is False and origin["resumed"] is False and opened(line), line
    assert re.fullmatch(r"t13d\d{4}h1_[0-9a-f]{12}_[0-9a-f]{12}", client["ja4"]), line


@row
def a_root_that_is_removed_counts_no_more_after_a_reload(site):
    """Verdicts and sessions of before are not used again."""
    host = "kept.test"
    site.hosts[host] = "127.0.0.1"
    site.origin.add(host, c.issue(site.web.other, host, [host]))
    proxy = site.inspector(files={"other.pem": site.web.other.pem}, inspection={"trust": ["r.pem", "other.pem"]})
    for _ in range(3):
        with Session(site, site.at(host), proxy=proxy) as session:
            assert session.ask("GET", "/echo").status == 200
    proxy.reload(trust=["r.pem"])
    for _ in range(3):
        with Session(site, site.at(host), proxy=proxy) as session:
            expect_page(session.ask("GET", "/echo"), 502, "tls_certificate_error")
    proxy.reload(trust=["r.pem", "other.pem"])
    with Session(site, site.at(host), proxy=proxy) as session:
        assert session.ask("GET", "/echo").status == 200


if __name__ == "__main__":
    main("upstream", prepare, at_once=6)
