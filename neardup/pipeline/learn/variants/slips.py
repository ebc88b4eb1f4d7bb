"""Small papers, photographed: receipts, tickets, labels of parcels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from neardup.pipeline.learn.variants import wording as words
from neardup.pipeline.learn.variants.canvas import Colour, hue, paper, ramp, tint, write, write_columns
from neardup.pipeline.learn.variants.codes import draw_ean, qr
from neardup.pipeline.learn.variants.registry import Content, kind
from neardup.pipeline.learn.variants.wording import Random, pick

GREY: Colour = (110, 110, 114)
INK: Colour = (34, 34, 38)


@kind("photo")
def receipt(layout: Random, content: Content) -> Image.Image:
    """A till's receipt: the shop, items with prices, a sum, how it was paid, a code, thanks."""
    width, size = int(layout.integers(560, 660)), float(layout.uniform(21, 25))
    columns, line = int(width / (size * 0.58)) - 4, size * 1.32
    shop, vat = words.firm(layout), pick(layout, (7, 10, 19, 20, 22))
    place = f"{words.address(layout)}, {words.city(layout)}"
    tax = f"VAT ID {words.letters(layout, 2)}{words.digits(layout, 9)}"
    thanks = pick(layout, ("Thank you for your visit!", "Please come again!", "No refund without receipt"))
    page, pen = paper(width, 2200, (251, 250, 246))
    x, y = size * 1.2, 40.0
    write(pen, (width / 2, y), shop.upper(), size * 1.7, INK, True, "ma")
    y += size * 2.5
    for text in (place, tax, ""):
        write_columns(pen, (x + max(0, columns - len(text)) / 2 * size * 0.58, y), text, size, INK)
        y += line
    own = content.field()
    code = words.digits(own, 12)
    lines = [f"{words.date(own)} {words.hour(own)}".ljust(columns - 9) + f"#{words.digits(own, 7)}", "-" * columns]
    total = 0.0
    for _ in range(int(content.field().integers(6, 19))):
        own = content.field()
        item, price = words.goods(own)[: columns - 10], round(float(own.uniform(0.5, 19)), 2)
        if (count := int(own.integers(1, 5))) > 3:
            lines.append(f"  {count - 1} x {price:.2f}")
            price = round(price * (count - 1), 2)
        total += price
        lines.append(item.ljust(columns - 9) + f"{price:9.2f}")
    lines += ["-" * columns, "TOTAL EUR".ljust(columns - 9) + f"{total:9.2f}", "=" * columns]
    own = content.field()
    card = own.random() < 0.6
    given = total if card else float(np.ceil(total / 10) * 10)
    lines.append(f"CARD ****{words.digits(own, 4)}" if card else "CASH".ljust(columns - 9) + f"{given:9.2f}")
    lines += [] if card else ["CHANGE".ljust(columns - 9) + f"{given - total:9.2f}"]
    lines += ["", f"VAT {vat}%".ljust(columns - 9) + f"{total * vat / (100 + vat):9.2f}", ""]
    for text in lines:
        write_columns(pen, (x, y), text, size, INK)
        y += line
    draw_ean(pen, (width * 0.2, y + 6, width * 0.8, y + 90), code)
    y += 120
    write(pen, (width / 2, y), thanks, size, INK, anchor="ma")
    return page.crop((0, 0, width, round(y + size * 2.4)))


_ON_PASSES = ("Passenger", "Flight", "Date", "Gate", "Seat", "Boarding")
_ON_TICKETS = ("Name", "Order", "Date", "Entrance", "Seat", "Doors")
_VALUES: tuple[Callable[[Random], str], ...] = (
    words.name,
    lambda random: f"{words.letters(random, 2)} {words.digits(random, 4)}",
    words.date,
    lambda random: f"{words.letters(random, 1)}{int(random.integers(1, 60))}",
    lambda random: f"{int(random.integers(1, 40))}{words.letters(random, 1)}",
    words.hour,
)


@kind("photo")
def ticket(layout: Random, content: Content) -> Image.Image:
    """A ticket or boarding pass: a coloured band, fields, a stub behind a perforation, a code."""
    width, height = 1240, 480
    accent, pass_, issuer = hue(layout, 0.7, 0.55), layout.random() < 0.5, words.firm(layout)
    page, pen = paper(width, height, tint(accent, 0.94))
    page.paste(ramp(width, 92, accent, tint(accent, 0.3), 0), (0, 0))
    write(pen, (34, 46), issuer.upper(), 38, (255, 255, 255), True, "lm")
    write(pen, (width - 300, 46), "BOARDING PASS" if pass_ else "ADMIT ONE", 28, (255, 255, 255), True, "lm")
    title = content.field()
    what = f"{words.city(title)} - {words.city(title)}" if pass_ else f"{words.topic(title).title()} live"
    write(pen, (34, 118), what, 46, INK, True)
    labels = _ON_PASSES if pass_ else _ON_TICKETS
    found = [value(content.field()) for value in _VALUES]
    for number, (label, value) in enumerate(zip(labels, found, strict=True)):
        x, y = 34 + number % 3 * 265, 206 + number // 3 * 110
        write(pen, (x, y), label.upper(), 17, GREY)
        write(pen, (x, y + 24), value, 34 if number else 28, INK, True)
    write(pen, (34, height - 40), f"{words.address(layout)}, {words.city(layout)}. Not transferable.", 16, GREY)
    for y in range(0, height, 18):
        pen.ellipse((width - 328, y, width - 320, y + 8), (190, 190, 190))
    for number in (0, 2, 4):
        y = 116 + number * 48
        write(pen, (width - 296, y), labels[number].upper(), 15, GREY)
        write(pen, (width - 296, y + 20), found[number], 26, INK, True)
    code = qr(f"{issuer} {what} {' '.join(found)}"[:70].ljust(70), 3, 1)
    page.paste(code.resize((150, 150), Image.Resampling.NEAREST), (width - 170, height - 170))
    return page


@kind("photo")
def label(layout: Random, content: Content) -> Image.Image:
    """A parcel's label: carrier, sender, receiver, a routing code, weight, two codes."""
    width, height = 800, 1120
    page, pen = paper(width, height)
    carrier, accent, filled = words.firm(layout).split()[0].upper(), hue(layout, 0.8, 0.6), layout.random() < 0.5
    pen.rectangle((16, 16, width - 16, height - 16), outline=INK, width=4)
    if filled:
        pen.rectangle((18, 18, width - 18, 120), accent)
    write(pen, (40, 70), carrier, 62, (255, 255, 255) if filled else accent, True, "lm")
    write(
        pen,
        (width - 40, 70),
        pick(layout, ("EXPRESS", "STANDARD", "PARCEL", "PRIORITY")),
        30,
        (255, 255, 255) if filled else INK,
        True,
        "rm",
    )
    pen.line((16, 122, width - 16, 122), INK, 4)
    write(pen, (40, 138), "From", 18, GREY)
    sender = (words.firm(layout), words.address(layout), f"{words.digits(layout, 5)} {words.city(layout)}")
    for row, text in enumerate(sender):
        write(pen, (40, 164 + row * 30), text, 24, INK)
    pen.line((16, 268, width - 16, 268), INK, 4)
    write(pen, (40, 284), "To", 18, GREY)
    receiver = [words.name(content.field()), words.address(content.field())]
    own = content.field()
    receiver.append(f"{words.digits(own, 5)} {words.city(own)}".upper())
    for row, text in enumerate(receiver):
        write(pen, (80, 308 + row * 50), text, 40, INK, row == 2)
    pen.line((16, 480, width - 16, 480), INK, 4)
    own = content.field()
    write(
        pen,
        (40, 498),
        f"{words.letters(own, 2)}{words.digits(own, 1)} {words.letters(own, 1)}-{words.digits(own, 2)}",
        96,
        INK,
        True,
    )
    own = content.field()
    write(pen, (width - 40, 510), f"{own.uniform(0.2, 31):.1f} kg", 34, INK, anchor="ra")
    write(pen, (width - 40, 556), words.date(own), 28, INK, anchor="ra")
    pen.line((16, 630, width - 16, 630), INK, 4)
    tracking = words.digits(own, 12)
    draw_ean(pen, (90, 660, width - 90, 880), tracking)
    write(pen, (width / 2, 892), " ".join(tracking[i : i + 4] for i in range(0, 12, 4)), 34, INK, True, "ma")
    pen.line((16, 946, width - 16, 946), INK, 4)
    page.paste(
        qr(f"{carrier}{tracking}".ljust(24, "0")[:24], 6, 0).resize((130, 130), Image.Resampling.NEAREST), (40, 964)
    )
    write(pen, (200, 990), f"Customer service 0800 {words.digits(layout, 6)}", 22, GREY)
    write(pen, (200, 1026), f"Ref. {words.letters(layout, 3)}-{words.digits(layout, 4)}", 22, GREY)
    return page
