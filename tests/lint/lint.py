#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the sources. Refuses includes against the arrows, banned calls, files without licence line, fuzz targets
without corpus; reports what is larger than it should be."""
import argparse
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

BANNED_EVERYWHERE = {
    "strcpy": "buf.h or arena_copy()", "strcat": "buf.h", "strncpy": "memcpy() with a length", "strncat": "buf.h",
    "stpcpy": "buf.h", "sprintf": "snprintf() or buf_printf()", "vsprintf": "buf_vprintf()", "gets": "getline()",
    "strtok": "span_split()", "atoi": "span_to_uint()", "atol": "span_to_uint()", "alloca": "an arena",
    "rand": "secret_random()", "random": "secret_random()", "system": "nothing", "popen": "nothing",
    "tmpnam": "nothing", "mktemp": "nothing",
}
# A worker has one thread and no files: these wait, or reach for what it has not.
BANNED_IN_WORKERS = {
    "getaddrinfo", "getnameinfo", "gethostbyname", "gethostbyaddr", "res_query", "open", "openat", "fopen", "freopen",
    "opendir", "stat", "lstat", "unlink", "rename", "sleep", "usleep", "nanosleep", "select", "poll", "ppoll", "flock",
    "fsync", "system", "popen", "fork", "execv", "execve", "execvp", "waitpid", "localtime", "localtime_r", "mktime",
    "syslog", "printf", "fprintf", "puts", "pthread_mutex_lock", "sem_wait",
}
WORKER_FOLDERS = ("proxy/net", "proxy/http", "proxy/session", "policy")
# Code in those folders that other roles run. Each with its role.
OTHER_ROLES = {
    "proxy/net/resolve_system.c": "parent",
    "proxy/net/socket.c": "parent (binds UNIX sockets); workers use socket_connect() alone",
}
# What runs in the compile role and in commands.
OTHER_FOLDERS = ("policy/compile/", "policy/lint/", "policy/pac/", "policy/explain/")
WORKER_FILES = ("proxy/process/worker.c", "proxy/process/acceptor.c", "proxy/process/generation.c",
                "proxy/process/places.c", "proxy/process/ring.c")

SIZES = {"lines of a source": 600, "lines of a header": 200, "lines of a function": 60, "lines of a flow": 40}


def sources():
    listed = subprocess.run(["git", "ls-files", "*.c", "*.h"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in listed.stdout.split()]


def strip(text):
    """Without comments and the insides of strings; lines stay."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    text = re.sub(r"/\*.*?\*/", blank, text, flags=re.DOTALL)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


def boxes():
    """{box: (folder, boxes that it may include)} from CMakeLists.txt, indirect ones too."""
    rows = {}
    for name, folder, rest in re.findall(r"^box\((\w+) ([^)\s]+)([^)]*)\)", (ROOT / "CMakeLists.txt").read_text(), re.M):
        rows[name] = (folder, {name} | {word for word in rest.split() if "::" not in word})
    for _ in rows:
        for folder, allowed in rows.values():
            for one in list(allowed):
                allowed |= rows.get(one, ("", set()))[1]
    return rows


def box_of(path, rows):
    for name, (folder, _) in rows.items():
        if ROOT / folder in (path.parent, path.parent.parent):
            return name
    return None


def check_includes(path, text, rows, wrong):
    box = box_of(path, rows)
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not match or box is None:
            continue
        target = match.group(1).split("/")[0]
        if "/" not in match.group(1) or target not in rows or target not in rows[box][1]:
            wrong(path, number, f'{box} may not include "{match.group(1)}"; the arrows are in CMakeLists.txt')


def check_calls(path, code, wrong):
    name = str(path.relative_to(ROOT))
    in_worker = (name.startswith(WORKER_FOLDERS) and not name.startswith(OTHER_FOLDERS) and name not in OTHER_ROLES) \
        or name in WORKER_FILES
    for number, line in enumerate(code.split("\n"), 1):
        for call in re.findall(r"(?<![\w.>])([a-z_0-9]+)\s*\(", line):
            if call in BANNED_EVERYWHERE:
                wrong(path, number, f"{call}() is banned; use {BANNED_EVERYWHERE[call]}")
            elif in_worker and call in BANNED_IN_WORKERS and not re.match(r"\s*(static|enum|int|void|bool)\b.*\)$", line):
                wrong(path, number, f"{call}() is banned in workers, who never wait and have no files")


def functions(code):
    """(name, first line, lines) of every function, by braces in the first column."""
    lines, begin = code.split("\n"), None
    for number, line in enumerate(lines, 1):
        if line == "{":
            begin = number
        elif line == "}" and begin:
            head = " ".join(lines[max(0, begin - 4):begin - 1])
            names = re.findall(r"(\w+)\s*\(", head)
            yield (names[-1] if names else "?"), begin, number - begin - 1
            begin = None


def report_sizes(path, text, code, report):
    count = text.count("\n")
    kind = "lines of a header" if path.suffix == ".h" else "lines of a source"
    if count > SIZES[kind]:
        report(path, 1, f"{count} {kind}, {SIZES[kind]} is what to aim at")
    for name, line, size in functions(code):
        if size > SIZES["lines of a function"]:
            report(path, line, f"{name}: {size} lines of a function, {SIZES['lines of a function']} is what to aim at")


def check_fuzz(wrong):
    for path in (ROOT / "tests/fuzz").glob("*_fuzz.c"):
        corpus = ROOT / "tests/fuzz/corpus" / path.stem.removesuffix("_fuzz")
        if not corpus.is_dir() or not any(corpus.iterdir()):
            wrong(path, 1, f"it needs a corpus in {corpus.relative_to(ROOT)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quiet", action="store_true", help="no reports, only what is refused")
    options = parser.parse_args()
    found, told = [], []

    def wrong(path, line, text):
        found.append(f"{path.relative_to(ROOT)}:{line}: {text}")

    def report(path, line, text):
        told.append(f"{path.relative_to(ROOT)}:{line}: {text}")

    rows = boxes()
    assert len(rows) > 5, "no boxes found in CMakeLists.txt"
    for path in sources():
        text = path.read_text(encoding="utf-8")
        code = strip(text)
        if not text.startswith("/* SPDX-License-Identifier: Apache-2.0 */\n"):
            wrong(path, 1, "the first line must be /* SPDX-License-Identifier: Apache-2.0 */")
        report_sizes(path, text, code, report)
        if "tests" not in path.parts:
            check_includes(path, text, rows, wrong)
            check_calls(path, code, wrong)
    for path in (ROOT / "tests/flow").glob("*.flow"):
        count = path.read_text(encoding="utf-8").count("\n")
        if count > SIZES["lines of a flow"]:
            report(path, 1, f"{count} lines of a flow, {SIZES['lines of a flow']} is what to aim at")
    check_fuzz(wrong)
    if told and not options.quiet:
        print("larger than it should be (a report, not a refusal):")
        print("\n".join(told))
    print("\n".join(found))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
