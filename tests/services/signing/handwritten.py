"""A name written by hand, as a phone records it."""

from itertools import pairwise

from services.signing.strokes import Handwriting

_SHAPES: dict[str, list[list[tuple[float, float]]]] = {
    "王": [
        [(70, 80), (130, 74), (192, 68), (226, 70)],
        [(84, 150), (140, 145), (206, 140)],
        [(147, 78), (150, 120), (149, 170), (148, 226)],
        [(48, 236), (110, 230), (190, 225), (252, 228)],
    ],
    "小": [
        [(150, 50), (152, 110), (151, 180), (149, 240), (142, 246), (124, 232)],
        [(104, 118), (92, 150), (72, 182), (52, 200)],
        [(196, 116), (216, 144), (238, 178), (246, 192)],
    ],
    "明": [
        [(64, 78), (66, 130), (66, 202)],
        [(64, 80), (98, 74), (124, 72), (124, 120), (122, 194)],
        [(68, 130), (96, 128), (120, 126)],
        [(68, 192), (96, 190), (120, 188)],
        [(168, 62), (168, 120), (162, 180), (146, 218), (124, 246)],
        [(168, 64), (204, 58), (232, 56), (234, 120), (232, 200), (230, 238), (222, 244), (200, 230)],
        [(172, 110), (200, 107), (228, 105)],
        [(170, 156), (200, 152), (228, 150)],
    ],
}


def written(name: str = "王小明") -> Handwriting:
    """The name in boxes of 300 × 300 pixels, sampled every 8 ms at a calm speed."""
    boxes: list[tuple[tuple[tuple[float, float, float, float], ...], ...]] = []
    clock = 0.0
    for character in name:
        strokes: list[tuple[tuple[float, float, float, float], ...]] = []
        for shape in _SHAPES[character]:
            points: list[tuple[float, float, float, float]] = []
            for (x0, y0), (x1, y1) in pairwise(shape):
                for step in range(6):
                    u = step / 6
                    points.append((x0 + (x1 - x0) * u, y0 + (y1 - y0) * u, clock, 0.5))
                    clock += 12 + 10 * abs(u - 0.5)
            points.append((*shape[-1], clock, 0.5))
            strokes.append(tuple(points))
            clock += 180
        boxes.append(tuple(strokes))
        clock += 600
    return Handwriting(width=300, height=300, boxes=tuple(boxes))
