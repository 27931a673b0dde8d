#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Ways into the proxy that a change of its configuration might leave open. Ends with "attacks: N passed, M failed"."""
import argparse
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
import wire  # noqa: E402
from auth_site import Origins, run_rows  # noqa: E402
from connection_site import ALICE, ROWS, Site, expect_reason, reload_with, row, wait_line  # noqa: E402
from wire import Wire, der, ntlm, ntlm_authenticate, ntlm_negotiate, spnego_init, token  # noqa: E402

# A keytab that is not there yet is only warned of.
INSIDE = {"schemes": ["negotiate", "ntlm"], "negotiate": {"ntlm": True, "keytab": "missing.keytab"}}
OUTSIDE = {"ntlm": False, "keytab": "missing.keytab"}


def spnego_response(mech_token):
    return token("Negotiate", der(0xa1, der(0x30, der(0xa2, der(0x04, mech_token)))))


@row
def ntlm_inside_negotiate_that_is_switched_off_is_asked_anew(site):
    with site.proxy(INSIDE) as proxy, Wire(proxy.port) as one, Wire(proxy.port) as other:
        assert ntlm(one, "GET", site.host().url, *ALICE, scheme="Negotiate").status == 200
        assert ntlm(other, "GET", site.host().url, *ALICE).status == 200
        reload_with(proxy, negotiate=OUTSIDE)
        named = site.host()
        assert one.ask("GET", named.url).status == 407
        assert "user" not in wait_line(proxy, named, 407)
        assert other.ask("GET", site.host().url).status == 200


@row
def a_talk_inside_negotiate_does_not_outlive_its_switch(site):
    with site.proxy(INSIDE) as proxy, Wire(proxy.port) as late, Wire(proxy.port) as begun:
        challenge = late.ask("GET", site.asked().url, token("Negotiate", spnego_init(ntlm_negotiate()))).token("Negotiate")
        challenge = challenge[challenge.index(b"NTLMSSP\0"):]
        assert begun.ask("GET", site.asked().url, token("Negotiate", spnego_init(b""))).status == 407
        reload_with(proxy, negotiate=OUTSIDE)
        named = site.host()
        response = late.ask("GET", named.url, spnego_response(ntlm_authenticate(challenge, *ALICE)))
        assert response.status == 407, response
        expect_reason(proxy, named, "switched off")
        named = site.host()
        assert begun.ask("GET", named.url, spnego_response(ntlm_negotiate())).status == 407
        expect_reason(proxy, named, "switched off")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sallyport", default=str(HERE.parents[1] / "build/release/sallyport"))
    parser.add_argument("--only", default="", help="a regular expression of names")
    options = parser.parse_args()
    wire.check()
    origins = Origins()
    site = None
    try:
        site = Site(pathlib.Path(options.sallyport).resolve(), origins)
        status = run_rows("attacks", [(name, lambda test=test: test(site)) for name, test in ROWS], options.only)
    finally:
        if site:
            site.main.stop()
        origins.stop()
    sys.exit(status)


if __name__ == "__main__":
    main()
