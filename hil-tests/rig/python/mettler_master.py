"""A master of MT-SICS that others wrote: PyPI mettler-toledo-device on a serial port.

One command per line on standard input, one JSON answer per line on standard output.
"""

import json
import sys

from mettler_toledo_device import MettlerToledoDevice

MettlerToledoDevice._RESET_DELAY = 0.0
scale = MettlerToledoDevice(port=sys.argv[1], timeout=1.0)
calls = {
    "weight": scale.get_weight,
    "stable": scale.get_weight_stable,
    "zero": scale.zero,
    "zero-stable": scale.zero_stable,
    "level": scale.get_mtsics_level,
    "data": scale.get_balance_data,
    "software": scale.get_software_version,
    "serial": scale.get_serial_number,
}
for line in sys.stdin:
    try:
        answer = {"ok": calls[line.strip()]()}
    except Exception as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
