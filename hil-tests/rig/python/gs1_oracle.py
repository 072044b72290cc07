"""biip as an oracle for GS1 codes: one question a line, one answer a line (JSON).

check DIGITS    -> the check digit that follows
verify FIELD    -> the verifier of a price or weight field of 4 or 5 digits
elements "CODE" -> [[ai, data, decimal or null], ...], or null when biip refuses the element string

biip reads a 13-digit number that begins with 0 as a GTIN-12, so whole in-store numbers are not asked about, only their digits.
"""

import json
import sys

import biip
from biip.checksums import gs1_price_weight_check_digit, gs1_standard_check_digit


def answer(kind, rest):
    if kind == "check":
        return gs1_standard_check_digit(rest)
    if kind == "verify":
        return gs1_price_weight_check_digit(rest)
    message = biip.parse(json.loads(rest)).gs1_message
    if message is None:
        return None
    return [
        [e.ai.ai, e.value, None if e.decimal is None else str(e.decimal)]
        for e in message.element_strings
    ]


for line in sys.stdin:
    kind, _, rest = line.rstrip("\n").partition(" ")
    try:
        print(json.dumps(answer(kind, rest)))
    except biip.ParseError:
        print("null")
