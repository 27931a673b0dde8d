# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG: lines over a logarithmic axis, and dots. No library is needed to look at one figure."""
import math

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 44, 96
COLOURS = ("#0b6e4f", "#c8553d", "#2d5da1", "#8a6d00", "#7b3f98", "#555555")
SHORT = {3: "1,000", 4: "10,000", 5: "100,000", 6: "1,000,000", 2: "100", 1: "10", 0: "1"}


def number(value):
    """As few digits as say it."""
    return "{:,g}".format(float("%.3g" % value))


class Axis:
    def __init__(self, low, high, is_log, begin, end):
        self.is_log = is_log
        self.low, self.high = (math.log10(low), math.log10(high)) if is_log else (low, high)
        self.begin, self.end = begin, end

    def at(self, value):
        if self.is_log:
            value = math.log10(max(value, 10 ** self.low))
        return self.begin + (value - self.low) / ((self.high - self.low) or 1) * (self.end - self.begin)

    def ticks(self):
        if self.is_log:
            return [10.0 ** i for i in range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)]
        step = 10 ** math.floor(math.log10(self.high - self.low))
        while (self.high - self.low) / step < 4:
            step /= 2
        return [i * step for i in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]


def text(x, y, words, anchor="middle", more=""):
    return '<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>' % (x, y, anchor, more, words)


def short(value):
    return SHORT.get(round(math.log10(value)), number(value))


def grid(across, up, unit, label, words):
    parts = []
    for value in up.ticks():
        y = up.at(value)
        parts.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>' % (LEFT, WIDTH - RIGHT, y, y))
        parts.append(text(LEFT - 6, y + 4, number(value), "end"))
    for value in across.ticks():
        x = across.at(value)
        parts.append('<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#ddd"/>' % (x, x, TOP, HEIGHT - BOTTOM))
        parts.append(text(x, HEIGHT - BOTTOM + 16, words(value)))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 34, label))
    parts.append(text(16, (TOP + HEIGHT - BOTTOM) / 2, unit, "middle",
                      ' transform="rotate(-90 16 %d)"' % ((TOP + HEIGHT - BOTTOM) / 2)))
    return parts


def line(series, across, up, colour, dash):
    points = [(across.at(x), up.at(y)) for x, y in series]
    parts = ['<polyline fill="none" stroke="%s" stroke-width="2"%s points="%s"/>' % (
        colour, ' stroke-dasharray="6 4"' if dash else "", " ".join("%.1f,%.1f" % point for point in points))]
    parts += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (x, y, colour) for x, y in points]
    return parts


def begin(title):
    return ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">'
            % (WIDTH, HEIGHT), "<title>%s</title>" % title, '<rect width="100%" height="100%" fill="#fff"/>',
            text(WIDTH / 2, 24, title, "middle", ' font-size="15" font-weight="bold"')]


def log_range(values):
    return 10 ** math.floor(math.log10(max(min(values), 0.01))), 10 ** math.ceil(math.log10(max(values)))


def dots(title, label, unit, points, target):
    """`points`: (name, across, up), up on a logarithmic axis. `target`: (across, its name). The SVG as text."""
    across = Axis(0, max([x for _, x, _ in points] + [target[0]]) * 1.15, False, LEFT, WIDTH - RIGHT)
    up = Axis(*log_range([y for _, _, y in points]), True, HEIGHT - BOTTOM, TOP)
    x = across.at(target[0])
    parts = begin(title) + grid(across, up, unit, label, number)
    parts.append('<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#b00" stroke-dasharray="2 3"/>' % (x, x, TOP, HEIGHT - BOTTOM))
    parts.append(text(x - 4, TOP + 12, target[1], "end", ' fill="#b00"'))
    for at, (name, x, y) in enumerate(points):
        x, y, colour = across.at(x), up.at(y), COLOURS[at % len(COLOURS)]
        parts.append('<circle cx="%.1f" cy="%.1f" r="5" fill="%s"/>' % (x, y, colour))
        parts.append(text(x + 9, y + 4, name, "start", ' fill="%s"' % colour))
    return "\n".join(parts + ["</svg>", ""])


def plot(title, unit, lines, target=None, is_log=False, label="entries in the list", words=short):
    """`lines`: (name, [(entries, value)], dashed). `target`: (value, its name). `words`: of a tick. The SVG as text."""
    every = [y for _, series, _ in lines for _, y in series] + ([target[0]] if target else [])
    entries = [x for _, series, _ in lines for x, _ in series]
    low, high = log_range(every) if is_log else (0, max(every) * 1.1)
    across = Axis(min(entries), max(entries), True, LEFT + 20, WIDTH - RIGHT - 30)
    up = Axis(low, high, is_log, HEIGHT - BOTTOM, TOP)
    parts = begin(title) + grid(across, up, unit, label, words)
    if target:
        y = up.at(target[0])
        parts.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#b00" stroke-dasharray="2 3"/>' % (
            LEFT, WIDTH - RIGHT, y, y))
        parts.append(text(WIDTH - RIGHT - 4, y - 4, target[1], "end", ' fill="#b00"'))
    for at, (name, series, dash) in enumerate(lines):
        colour = COLOURS[at % len(COLOURS)]
        x, y = LEFT + at % 3 * 215, HEIGHT - 34 + at // 3 * 20
        parts += line(series, across, up, colour, dash)
        parts.append('<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" stroke-width="2"%s/>' % (
            x, x + 22, y - 4, y - 4, colour, ' stroke-dasharray="6 4"' if dash else ""))
        parts.append(text(x + 28, y, name, "start"))
    return "\n".join(parts + ["</svg>", ""])


BAR, GAP, NAMES = 22, 8, 190


def bars(title, unit, values, target=None):
    """`values`: (name, value), one bar each from the left, on a logarithmic axis. `target`: (value, its name). The SVG as text."""
    every = [value for _, value in values if value > 0] + ([target[0]] if target else [])
    low = 10 ** math.floor(math.log10(min(every)) - 1e-9)
    across = Axis(low, 10 ** math.ceil(math.log10(max(every)) + 1e-9), True, NAMES, WIDTH - 90)
    bottom = TOP + len(values) * (BAR + GAP)
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">'
             % (WIDTH, bottom + 56), "<title>%s</title>" % title, '<rect width="100%" height="100%" fill="#fff"/>',
             text(WIDTH / 2, 24, title, "middle", ' font-size="15" font-weight="bold"')]
    for value in across.ticks():
        parts.append('<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#ddd"/>' % (across.at(value), across.at(value), TOP, bottom))
        parts.append(text(across.at(value), bottom + 16, number(value)))
    for at, (name, value) in enumerate(values):
        y = TOP + at * (BAR + GAP) + GAP / 2
        end = max(across.at(value), NAMES + 1)
        parts.append('<rect x="%d" y="%.1f" width="%.1f" height="%d" fill="%s"/>' % (
            NAMES, y, end - NAMES, BAR, COLOURS[0 if name.startswith("sallyport") else 5]))
        parts.append(text(NAMES - 6, y + BAR / 2 + 4, name, "end"))
        parts.append(text(end + 6, y + BAR / 2 + 4, number(value), "start"))
    if target:
        parts.append('<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#b00" stroke-dasharray="2 3"/>' % (
            across.at(target[0]), across.at(target[0]), TOP, bottom))
        parts.append(text(across.at(target[0]), bottom + 30, target[1], "middle", ' fill="#b00"'))
    parts.append(text((NAMES + WIDTH - 90) / 2, bottom + 48, unit))
    return "\n".join(parts + ["</svg>", ""])
