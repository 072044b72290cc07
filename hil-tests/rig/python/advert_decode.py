"""Decodes advertisements with other people's libraries: ruuvitag-sensor, bthome-ble, govee-ble.

One JSON object per line in, one per line out, in order:
  {"format", "address", "data": hex, "key": hex or absent}
  {"temperature", "humidity", "pressure", "battery_v", "battery_percent", "counter"}, each a number or absent,
  or {"error": text}.
"""

import json
import logging
import sys

from bluetooth_sensor_state_data import BluetoothServiceInfo
from bthome_ble import BTHomeBluetoothDeviceData
from govee_ble import GoveeBluetoothDeviceData
from ruuvitag_sensor.decoder import Df5Decoder, Df6Decoder

logging.disable(logging.CRITICAL)


def ruuvi(row):
    decoder = {"05": Df5Decoder, "06": Df6Decoder}[row["data"][:2]]()
    got = decoder.decode_data(row["data"])
    if got is None:
        return {"error": "not decoded"}
    return {
        "temperature": got["temperature"],
        "humidity": got["humidity"],
        "pressure": got["pressure"],
        "battery_v": None if got.get("battery") is None else got["battery"] / 1000,
        "counter": got["measurement_sequence_number"],
    }


class Heard(BluetoothServiceInfo):
    """bthome-ble asks for the time of hearing, which this type does not carry."""

    time = 0.0


def info(row, manufacturer, service):
    return Heard(
        name="sensor",
        address=row["address"],
        rssi=-60,
        manufacturer_data=manufacturer,
        service_data=service,
        service_uuids=[],
        source="",
    )


def values(update):
    found = {key.key: value.native_value for key, value in update.entity_values.items()}
    pick = lambda name: found.get(name, found.get(name + "_1"))
    return {
        "temperature": pick("temperature"),
        "humidity": pick("humidity"),
        "pressure": pick("pressure"),
        "battery_v": pick("voltage"),
        "battery_percent": pick("battery"),
        "counter": pick("packet_id"),
    }


def bthome(row):
    key = row.get("key")
    parser = BTHomeBluetoothDeviceData(bindkey=bytes.fromhex(key) if key else None)
    uuid = "0000fcd2-0000-1000-8000-00805f9b34fb"
    update = parser.update(info(row, {}, {uuid: bytes.fromhex(row["data"])}))
    if key and not parser.bindkey_verified:
        return {"error": "not opened"}
    return values(update)


def govee(row):
    parser = GoveeBluetoothDeviceData()
    return values(parser.update(info(row, {0xEC88: bytes.fromhex(row["data"])}, {})))


DECODERS = {"ruuvi": ruuvi, "bthome": bthome, "govee-h5075": govee}

for line in sys.stdin:
    row = json.loads(line)
    got = DECODERS[row["format"]](row)
    print(json.dumps({name: value for name, value in got.items() if value is not None}))
