"""The shares accepted over the limit, as a picture (SVG)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

KINDS = {
    "genuine, boxes": ("#1d6f42", "genuine"),
    "another name, boxes": ("#555555", "another name"),
    "surname replaced, boxes": ("#1f5fa8", "surname replaced"),
    "given name's character replaced, boxes": ("#b3261e", "given name replaced"),
    "… by a look-alike of all there are, boxes": ("#c77700", "by a look-alike"),
}
LEFT, RIGHT, TOP, BOTTOM = 60, 620, 40, 330
LOWEST, HIGHEST = -30, 0


def curve(points: Sequence[Mapping[str, float]], limits: Sequence[float]) -> str:
    """``points`` have a limit and the share of each kind; ``limits`` are those of the tries."""
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 380" font-family="sans-serif" font-size="13">',
        '<rect width="800" height="380" fill="white"/>',
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts += [
            f'<path d="M{LEFT} {_y(share)}H{RIGHT}" stroke="#ddd"/>',
            _text(LEFT - 8, _y(share) + 4, f"{share:.0%}", "end"),
        ]
    parts += [_text(_x(limit), BOTTOM + 20, str(limit)) for limit in range(LOWEST, HIGHEST + 1, 5)]
    for number, limit in enumerate(limits, 1):
        parts += [
            f'<path d="M{_x(limit)} {TOP}V{BOTTOM}" stroke="#999" stroke-dasharray="4 4"/>',
            _text(_x(limit), TOP - 8, f"try {number}"),
        ]
    for number, (kind, (colour, label)) in enumerate(KINDS.items()):
        path = " ".join(f"{_x(point['limit'])},{_y(point[kind])}" for point in points)
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>',
            _text(RIGHT + 20, TOP + 20 + 24 * number, label, "start", colour),
        ]
    parts += [_text((LEFT + RIGHT) // 2, BOTTOM + 42, "limit of the least character's score, points"), "</svg>"]
    return "\n".join(parts) + "\n"


def _x(limit: float) -> float:
    return round(LEFT + (limit - LOWEST) / (HIGHEST - LOWEST) * (RIGHT - LEFT), 1)


def _y(share: float) -> float:
    return round(BOTTOM - share * (BOTTOM - TOP), 1)


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = "#222") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{text}</text>'
