"""Sheets of paper: forms that are filled in, certificates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from neardup.pipeline.learn.variants import wording as words
from neardup.pipeline.learn.variants.canvas import (
    Colour,
    handwrite,
    hue,
    paper,
    sign,
    tint,
    width_of,
    write,
)
from neardup.pipeline.learn.variants.registry import Content, kind
from neardup.pipeline.learn.variants.wording import Random, pick

GREY: Colour = (120, 122, 126)
_VALUES: dict[str, Callable[[Random], str]] = {
    "Family name, first name": words.name,
    "Date of birth": words.date,
    "Street and number": words.address,
    "Postcode, city": lambda random: f"{words.digits(random, 5)} {words.city(random)}",
    "Telephone": lambda random: f"0{words.digits(random, 3)} {words.digits(random, 6)}",
    "E-mail": lambda random: f"{words.first_name(random).lower()}{words.digits(random, 2)}@mail.example",
    "Employer": words.firm,
    "Insurance number": lambda random: f"{words.letters(random, 2)}-{words.digits(random, 7)}",
    "Account number": lambda random: " ".join(words.digits(random, 4) for _ in range(4)),
    "Nationality": words.city,
    "Reason of the application": words.task,
    "Amount (EUR)": lambda random: f"{int(random.integers(20, 9000))}.{words.digits(random, 2)}",
    "Valid from": words.date,
    "Contact person": words.name,
    "Vehicle registration": lambda random: f"{words.letters(random, 2)} {words.digits(random, 4)}",
    "Number of persons": lambda random: str(int(random.integers(1, 9))),
}


@dataclass(frozen=True, slots=True)
class _Filling:
    """How a form is filled in: by hand or machine, with which ink."""

    page: Image.Image
    by_hand: bool
    ink: Colour

    def fill(self, at: tuple[float, float], said: str, room: float, own: Random) -> None:
        """Write a value that fits its box."""
        size = min(30.0, 30 * room / max(width_of(said, 30), 1))
        if self.by_hand:
            handwrite(self.page, at, said, size, self.ink, own)
        else:
            write(ImageDraw.Draw(self.page), (at[0], at[1] + 4), said, size * 0.85, (25, 25, 28))


@kind("scan")
def form(layout: Random, content: Content) -> Image.Image:
    """An official form: header, numbered sections of boxes, filled in by hand or machine; ticks, a signature."""
    width, height, margin = 1060, 1500, int(layout.integers(56, 90))
    page, pen = paper(width, height, (253, 253, 251))
    accent, boxed, office = hue(layout, 0.55, 0.5), layout.random() < 0.5, words.firm(layout)
    title = (
        f"{pick(layout, ('Application for', 'Notification of', 'Declaration of', 'Claim for'))} {words.topic(layout)}"
    )
    filling = _Filling(page, layout.random() < 0.65, pick(layout, ((28, 42, 120), (20, 24, 60), (25, 25, 28))))
    pen.rectangle((margin, 50, margin + 58, 108), accent)
    write(pen, (margin + 29, 79), office[0], 40, (255, 255, 255), True, "mm")
    write(pen, (margin + 76, 52), office, 24, accent, True)
    write(pen, (margin + 76, 84), f"{words.address(layout)}, {words.city(layout)}", 17, GREY)
    write(
        pen, (width - margin, 52), f"Form {words.letters(layout, 2)} {words.digits(layout, 3)}", 19, GREY, anchor="ra"
    )
    write(pen, (width - margin, 80), f"No. {words.digits(content.field(), 8)}", 22, filling.ink, anchor="ra")
    write(pen, (margin, 136), title, 34, bold=True)
    write(pen, (margin, 182), "Please complete in block letters and sign on the back page.", 17, GREY)
    y, labels = 222, [str(one) for one in layout.permutation(sorted(_VALUES))]
    for number, section in enumerate(_SECTIONS[: int(layout.integers(3, 5))], 1):
        pen.rectangle((margin, y, width - margin, y + 30), tint(accent, 0.82))
        write(pen, (margin + 10, y + 5), f"{number}  {section}", 19, accent, True)
        y += 38
        for _ in range(int(layout.integers(2, 4))):
            edges = np.linspace(margin, width - margin, int(layout.integers(2, 5))).tolist()
            for left, right in pairwise(edges):
                label = labels.pop() if labels else "Remarks"
                _draw_box(pen, (left + 3, y, right - 3), label, boxed)
                own = content.field()
                filling.fill((left + 13, y + 26), _VALUES.get(label, words.task)(own), right - left - 26, own)
            y += 76
        y += 12
    for line in _TICKS:
        _draw_tick(pen, (margin, y), line, filling.ink if content.field().random() < 0.5 else None)
        y += 38
    y = max(y + 70, 1340)
    for left, label in ((margin, "Place, date"), (width // 2 + 40, "Signature")):
        pen.line((left, y, left + width // 2 - margin - 60, y), (60, 60, 64), 1)
        write(pen, (left, y + 6), label, 15, GREY)
    own = content.field()
    _Filling(page, True, filling.ink).fill((margin + 8, y - 38), f"{words.city(own)}, {words.date(own)}", 380, own)
    sign(pen, (width // 2 + 60, y - 16), 66, filling.ink, own)
    foot = f"{office} - {title} - page 1 of {int(layout.integers(2, 6))}"
    write(pen, (width / 2, height - 50), foot, 14, GREY, anchor="ma")
    return page


_SECTIONS = "Personal data", "Address", "Request", "Payment"
_TICKS = (
    "I agree to the processing of my data",
    "A copy of an identity document is enclosed",
    "Payment in instalments",
)


def _draw_box(pen: ImageDraw.ImageDraw, at: tuple[float, int, float], label: str, boxed: bool) -> None:
    """Draw where a value goes, from left to right, below its label."""
    left, y, right = at
    write(pen, (left + 4, y), label, 15, GREY)
    if boxed:
        pen.rectangle((left, y + 20, right, y + 62), outline=(150, 152, 158), width=1)
    else:
        pen.line((left, y + 62, right, y + 62), (110, 112, 118), 1)


def _draw_tick(pen: ImageDraw.ImageDraw, at: tuple[int, int], label: str, ink: Colour | None) -> None:
    """Draw a box to tick, ticked where an ink is given."""
    x, y = at
    pen.rectangle((x, y, x + 22, y + 22), outline=(60, 60, 64), width=2)
    if ink is not None:
        pen.line((x + 4, y + 10, x + 10, y + 18, x + 24, y - 4), ink, 3)
    write(pen, (x + 36, y + 2), label, 18)


@kind("scan")
def certificate(layout: Random, content: Content) -> Image.Image:
    """A certificate: an ornamental border, a seal, a name, what for, when, two signatures."""
    width, height = 1400, 990
    accent, gold = hue(layout, 0.5, 0.4), (178, 142, 62)
    page, pen = paper(width, height, tint((252, 247, 232), float(layout.uniform(0, 0.7))))
    double, firm = layout.random() < 0.5, words.firm(layout)
    rank = pick(layout, ("Completion", "Achievement", "Participation", "Excellence"))
    for inset, thick, colour in ((26, 14, accent), (50, 3, gold), *(((62, 2, gold),) if double else ())):
        pen.rectangle((inset, inset, width - inset, height - inset), outline=colour, width=thick)
    step = float(layout.uniform(22, 40))
    for x in np.arange(66, width - 60, step):
        for y in (66, height - 66):
            pen.ellipse((x - 5, y - 5, x + 5, y + 5), outline=gold, width=2)
    write(pen, (width / 2, 140), firm.upper(), 28, GREY, anchor="ma")
    write(pen, (width / 2, 196), f"Certificate of {rank}", 72, accent, True, "ma")
    write(pen, (width / 2, 306), "This is to certify that", 26, anchor="ma")
    holder = content.field()
    write(pen, (width / 2, 356), words.name(holder), 78, (30, 30, 40), anchor="ma")
    pen.line((300, 452, width - 300, 452), gold, 2)
    write(pen, (width / 2, 474), "has successfully taken part in the course", 26, anchor="ma")
    write(pen, (width / 2, 520), f'"{words.task(content.field()).capitalize()}"', 38, accent, True, "ma")
    own = content.field()
    write(
        pen,
        (width / 2, 584),
        f"{int(own.integers(4, 90))} hours, {words.date(own)}, {words.city(own)}",
        25,
        anchor="ma",
    )
    middle = (width / 2, 760)
    for angle in np.arange(0, 360, 12):
        tip = (middle[0] + 92 * np.cos(np.radians(angle)), middle[1] + 92 * np.sin(np.radians(angle)))
        pen.line((*middle, float(tip[0]), float(tip[1])), gold, 9)
    pen.ellipse((middle[0] - 74, middle[1] - 74, middle[0] + 74, middle[1] + 74), tint(gold, 0.25), gold, 4)
    write(pen, middle, firm[0], 74, (255, 252, 240), True, "mm")
    for left in (190, width - 490):
        pen.line((left, 836, left + 300, 836), (90, 90, 94), 2)
        sign(pen, (left + 40, 808), 62, (30, 40, 110), holder)
        write(pen, (left + 150, 846), words.name(layout), 20, GREY, anchor="ma")
    return page
