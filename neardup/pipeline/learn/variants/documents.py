"""Sheets of paper: forms that are filled in, certificates."""

from __future__ import annotations

from collections.abc import Callable

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


@kind("scan")
def form(layout: Random, content: Content) -> Image.Image:
    """An official form: header, numbered sections of boxes, filled in by hand or machine; ticks, a signature."""
    width, height, margin = 1060, 1500, int(layout.integers(56, 90))
    page, pen = paper(width, height, (253, 253, 251))
    accent = hue(layout, 0.55, 0.5)
    by_hand, boxed, office = layout.random() < 0.65, layout.random() < 0.5, words.firm(layout)
    title = f"{pick(layout, ('Application for', 'Notification of', 'Declaration of', 'Claim for', 'Registration of'))} "
    title += words.topic(layout)
    ink = pick(layout, ((28, 42, 120), (20, 24, 60), (25, 25, 28)))
    pen.rectangle((margin, 50, margin + 58, 108), accent)
    write(pen, (margin + 29, 79), office[0], 40, (255, 255, 255), True, "mm")
    write(pen, (margin + 76, 52), office, 24, accent, True)
    write(pen, (margin + 76, 84), f"{words.address(layout)}, {words.city(layout)}", 17, GREY)
    write(
        pen, (width - margin, 52), f"Form {words.letters(layout, 1)} {words.digits(layout, 3)}", 19, GREY, anchor="ra"
    )
    write(pen, (width - margin, 80), f"No. {words.digits(content.field(), 8)}", 22, ink, anchor="ra")
    write(pen, (margin, 136), title, 34, bold=True)
    write(pen, (margin, 182), "Please complete in block letters and sign on the back page.", 17, GREY)
    y, labels = 222, list(layout.permutation(sorted(_VALUES)))
    sections = ("Personal data", "Address", "Request", "Payment", "Further information")
    for number, section in enumerate(sections[: int(layout.integers(3, 5))], 1):
        pen.rectangle((margin, y, width - margin, y + 30), tint(accent, 0.82))
        write(pen, (margin + 10, y + 5), f"{number}  {section}", 19, accent, True)
        y += 38
        for _ in range(int(layout.integers(2, 4))):
            cells = int(layout.integers(1, 4))
            edges = np.linspace(margin, width - margin, cells + 1)
            for left, right in zip(edges[:-1] + 3, edges[1:] - 3, strict=True):
                label = labels.pop() if labels else "Remarks"
                write(pen, (left + 4, y), label, 15, GREY)
                if boxed:
                    pen.rectangle((left, y + 20, right, y + 62), outline=(150, 152, 158), width=1)
                else:
                    pen.line((left, y + 62, right, y + 62), (110, 112, 118), 1)
                own = content.field()
                _fill(
                    page,
                    (left + 10, y + 26),
                    _VALUES.get(label, words.task)(own),
                    right - left - 20,
                    ink,
                    own if by_hand else None,
                )
            y += 76
        y += 12
    for line in (
        "I agree to the processing of my data",
        "A copy of an identity document is enclosed",
        "Payment in instalments",
    ):
        own, yes = content.field(), float(layout.random())
        pen.rectangle((margin, y, margin + 22, y + 22), outline=(60, 60, 64), width=2)
        if own.random() < 0.35 + 0.3 * yes:
            pen.line((margin + 4, y + 10, margin + 10, y + 18, margin + 24, y - 4), ink, 3)
        write(pen, (margin + 36, y + 2), line, 18)
        y += 38
    y = max(y + 70, 1340)
    for left, label in ((margin, "Place, date"), (width // 2 + 40, "Signature")):
        pen.line((left, y, left + width // 2 - margin - 60, y), (60, 60, 64), 1)
        write(pen, (left, y + 6), label, 15, GREY)
    own = content.field()
    _fill(page, (margin + 8, y - 38), f"{words.city(own)}, {words.date(own)}", 380, ink, own)
    sign(pen, (width // 2 + 60, y - 16), 66, ink, own)
    write(
        pen,
        (width / 2, height - 50),
        f"{office} - {title} - page 1 of {int(layout.integers(2, 6))}",
        14,
        GREY,
        anchor="ma",
    )
    return page


def _fill(page: Image.Image, at: tuple[float, float], said: str, room: float, ink: Colour, hand: Random | None) -> None:
    """Write a value that fits its box, by hand where a generator is given."""
    size = min(30.0, 30 * room / max(width_of(said, 30), 1))
    if hand is None:
        write(ImageDraw.Draw(page), (at[0], at[1] + 4), said, size * 0.85, (25, 25, 28))
    else:
        handwrite(page, at, said, size, ink, hand)


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
