#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Authentication as it is on the wire: what each connection is told and remembers, and what hostile or broken clients get.
Raw sockets against the real program. Ends with "connection: N passed, M failed"."""
import argparse
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
import connection_digest  # noqa: E402,F401
import connection_hostile  # noqa: E402,F401
import connection_talk  # noqa: E402,F401
import connection_users  # noqa: E402,F401
import wire  # noqa: E402
from auth_site import Origins, run_rows  # noqa: E402
from connection_site import ROWS, Site  # noqa: E402


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
        status = run_rows("connection", [(name, lambda test=test: test(site)) for name, test in ROWS], options.only)
    finally:
        if site:
            site.main.stop()
        origins.stop()
    sys.exit(status)


if __name__ == "__main__":
    main()
