"""The air: a Bluetooth controller for the kernel it runs on (/dev/vhci), and what that controller hears and connects to.

A Gicisky tag (service FEF0), a label of the Bluetooth SIG (service 1857), a Ruuvi sensor (data format 5) and a BTHome v2 sensor.
air.py SOCKET: JSON lines come in on the socket, one answer each. The controllers and the radio between them are bumble's, with
three repairs.

Sources: the Bluetooth Core Specification for the repairs; Electronic Shelf Label Service 1.0; docs.ruuvi.com; bthome.io; the
Gicisky exchange as its public writers have it (see drivers/protocol, gicisky).
"""

import asyncio
import json
import os
import struct
import sys

from bumble import hci
from bumble.controller import Controller
from bumble.core import AdvertisingData, PhysicalTransport
from bumble.device import Device, DeviceConfiguration
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport import open_transport

INTERVAL_MS = 200
BLOCK_BYTES = 244


class Radio(LocalLink):
    """Data goes out under the address that its connection was made with. bumble takes the controller's random address, which
    BlueZ changes with every scan, so that the far end finds no such connection."""

    def send_acl_data(self, sender_controller, destination_address, transport, data):
        connection = sender_controller.le_connections.get(destination_address)
        receiver = self.find_le_controller(destination_address)
        if transport != PhysicalTransport.LE or connection is None or receiver is None:
            super().send_acl_data(sender_controller, destination_address, transport, data)
            return
        loop = asyncio.get_running_loop()
        loop.call_soon(receiver.on_link_acl_data, connection.self_address, transport, data)


class Chip(Controller):
    """A controller of Bluetooth 4: with extended advertising the kernel waits for an enhanced event of connections that bumble
    does not send. And a connect that is cancelled ends with the event that the specification asks for (Vol 4, Part E, 7.8.13)."""

    LATER = (
        hci.LeFeatureMask.LE_EXTENDED_ADVERTISING
        | hci.LeFeatureMask.LE_PERIODIC_ADVERTISING
        | hci.LeFeatureMask.LL_PRIVACY
    )
    le_features = Controller.le_features & ~LATER

    def on_hci_le_create_connection_cancel_command(self, _command):
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        event = hci.HCI_LE_Connection_Complete_Event(
            status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
            connection_handle=0,
            role=hci.Role.CENTRAL,
            peer_address_type=0,
            peer_address=hci.Address.ANY,
            connection_interval=0,
            peripheral_latency=0,
            supervision_timeout=0,
            central_clock_accuracy=0,
        )
        asyncio.get_running_loop().call_soon(self.send_hci_packet, event)
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)


def manufacturer(company, data):
    return (AdvertisingData.MANUFACTURER_SPECIFIC_DATA, struct.pack("<H", company) + data)


def service_data(number, data):
    return (AdvertisingData.SERVICE_DATA, struct.pack("<H", number) + data)


class Advertiser:
    """A peripheral with a controller of its own."""

    def __init__(self, radio, name, address, number):
        host = Host()
        host.controller = Chip(name, link=radio, public_address=f"AA:BB:CC:00:02:{number:02X}")
        configuration = DeviceConfiguration(name=name, address=hci.Address(address))
        self.device = Device(config=configuration, host=host)
        self.speaks = False

    def parts(self):
        raise NotImplementedError

    def advertisement(self):
        return bytes(AdvertisingData([(AdvertisingData.FLAGS, b"\x06"), *self.parts()]))

    async def speak(self):
        self.speaks = True
        await self.device.start_advertising(
            advertising_data=self.advertisement(),
            advertising_interval_min=INTERVAL_MS,
            advertising_interval_max=INTERVAL_MS,
        )

    async def renew(self):
        command = hci.HCI_LE_Set_Advertising_Data_Command(advertising_data=self.advertisement())
        await self.device.send_sync_command(command)

    async def hush(self):
        self.speaks = False
        await self.device.stop_advertising()


class Ruuvi(Advertiser):
    """Data format 5: big-endian, temperature in 0.005 degrees, humidity in 0.0025 %, a sequence number. A real one measures
    about once a second; here `set` measures."""

    temperature, sequence = 0, 0

    def parts(self):
        address = bytes.fromhex(str(self.device.random_address).split("/")[0].replace(":", ""))
        power = (2900 - 1600) << 5 | 22
        body = struct.pack(">BhHHhhhHBH", 5, self.temperature, 20000, 51325, 0, 0, 1000, power, 0, self.sequence)
        return [manufacturer(0x0499, body + address)]

    def set(self, raw):
        self.temperature, self.sequence = raw, self.sequence + 1


class BtHome(Advertiser):
    """Version 2, not encrypted: packet number, temperature in 0.01 degrees, little-endian."""

    temperature, packet = 0, 0

    def parts(self):
        return [service_data(0xFCD2, struct.pack("<BBBBh", 0x40, 0x00, self.packet, 0x02, self.temperature))]

    def set(self, raw):
        self.temperature, self.packet = raw, self.packet + 1 & 0xFF


class Tag(Advertiser):
    """A Gicisky tag of model 00B, 212x104 in black, white and red. It takes streams whose chunks are literal, one a line."""

    MODEL, LINE, LINES, PLANES = 0x000B, 13, 212, 2

    def __init__(self, radio, name, address, number):
        super().__init__(radio, name, address, number)
        kinds = Characteristic.Properties
        self.answers = Characteristic(
            "FEF1", kinds.WRITE | kinds.NOTIFY, Characteristic.WRITEABLE, CharacteristicValue(write=self.command)
        )
        blocks = Characteristic(
            "FEF2",
            kinds.WRITE | kinds.WRITE_WITHOUT_RESPONSE,
            Characteristic.WRITEABLE,
            CharacteristicValue(write=self.block),
        )
        self.device.add_service(Service("FEF0", [self.answers, blocks]))
        self.device.on("connection", self.connected)
        self.link = None
        self.size, self.stream, self.next, self.begun = 0, bytearray(), 0, False
        self.shown, self.completed, self.rejected, self.connections, self.drop_after = None, 0, 0, 0, None

    def parts(self):
        kind = self.MODEL
        data = bytes([kind & 0xFF, 29, 0x01, 0x01, kind >> 8])  # type, tenths of a volt, firmware, type
        return [(AdvertisingData.COMPLETE_LOCAL_NAME, b"PICKSMART"), manufacturer(0x5053, data)]

    def connected(self, link):
        self.link, self.begun = link, False
        self.connections += 1
        link.on("disconnection", self.disconnected)

    def disconnected(self, _reason):
        self.link, self.begun = None, False
        asyncio.ensure_future(self.speak())

    def notify(self, data):
        asyncio.ensure_future(self.device.notify_subscribers(self.answers, data))

    def ask(self):
        self.notify(b"\x05\x00" + struct.pack("<I", self.next))

    def command(self, _link, data):
        if data[0] == 1:
            self.notify(b"\x01" + struct.pack("<H", BLOCK_BYTES))
        elif data[0] == 2:
            size = struct.unpack("<I", data[1:5])[0]
            good = 0 < size <= 4 + self.PLANES * self.LINES * (self.LINE + 7)
            self.size, self.stream, self.next, self.begun = size if good else 0, bytearray(), 0, False
            self.notify(b"\x02" + (b"\x00" if good else b"\x01"))
        elif data[0] == 3 and self.size:
            self.begun = True
            self.ask()
        elif data[0] == 4:
            self.begun = False
            self.notify(b"\x04\x00")

    def block(self, _link, data):
        number, content = struct.unpack("<I", data[:4])[0], data[4:]
        if not self.begun:
            self.notify(b"\x05\x01" + bytes(4))
        elif number != self.next or len(content) != min(BLOCK_BYTES - 4, self.size - len(self.stream)):
            self.ask()
        elif self.drop_after is not None and self.next >= self.drop_after:
            self.drop_after, self.begun = None, False
            asyncio.ensure_future(self.link.disconnect())
        else:
            self.stream += content
            self.next += 1
            if len(self.stream) < self.size:
                self.ask()
            else:
                self.finish()

    def finish(self):
        self.begun = False
        try:
            planes = self.unpack(bytes(self.stream))
        except ValueError:
            self.rejected += 1
            self.notify(b"\x05\x02" + bytes(4))
            return
        self.completed += 1
        self.shown = {"stream": self.stream.hex(), "planes": [plane.hex() for plane in planes]}
        self.notify(b"\x05\x08" + bytes(4))

    def unpack(self, stream):
        """A count of four bytes, which writers disagree about; then per line 0x75, its length with this head, its own length,
        and a control word of four zero bytes before its bytes."""
        at, lines = 4, []
        while at < len(stream):
            head = stream[at : at + 7]
            if head != bytes([0x75, self.LINE + 7, self.LINE, 0, 0, 0, 0]):
                raise ValueError(f"no line at {at}")
            lines.append(stream[at + 7 : at + 7 + self.LINE])
            at += 7 + self.LINE
        if at != len(stream) or len(lines) != self.PLANES * self.LINES:
            raise ValueError(f"{len(lines)} lines")
        return [b"".join(lines[: self.LINES]), b"".join(lines[self.LINES :])]


class Label(Advertiser):
    """A label of the ESL service in connected mode, 296x128 with two images, a temperature and an LED. It says "try again" to
    the first command after `busy`. Its service is open: bluetoothd is given no agent to pair with."""

    WRITTEN = ("2BF6", "2BF7", "2BF8", "2BF9")
    SAID = {"2BFA": struct.pack("<HHB", 296, 128, 2), "2BFB": b"\x01", "2BFC": b"\x00\x54\x00", "2BFD": b"\x00"}
    INVALID_OPCODE, INVALID_IMAGE, INVALID_PARAMETERS, RETRY = 2, 4, 6, 10
    temperature = -1234  # hundredths of a degree

    def __init__(self, radio, name, address, number):
        super().__init__(radio, name, address, number)
        kinds = Characteristic.Properties
        self.values, self.leds, self.connections, self.busy, self.image = {}, [], 0, False, None
        parts = [self.writable(uuid) for uuid in self.WRITTEN]
        for uuid, value in self.SAID.items():
            parts.append(Characteristic(uuid, kinds.READ, Characteristic.READABLE, value))
        self.answers = Characteristic(
            "2BFE",
            kinds.WRITE | kinds.WRITE_WITHOUT_RESPONSE | kinds.NOTIFY,
            Characteristic.WRITEABLE,
            CharacteristicValue(write=self.command),
        )
        self.device.add_service(Service("1857", [*parts, self.answers]))
        self.device.on("connection", self.connected)

    def writable(self, uuid):
        def keep(_link, value):
            self.values[uuid] = bytes(value).hex()

        return Characteristic(uuid, Characteristic.Properties.WRITE, Characteristic.WRITEABLE, CharacteristicValue(write=keep))

    def parts(self):
        return [
            (AdvertisingData.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS, b"\x57\x18"),
            (AdvertisingData.COMPLETE_LOCAL_NAME, b"ESL"),
        ]

    def connected(self, link):
        self.connections += 1
        link.on("disconnection", self.disconnected)

    def disconnected(self, _reason):
        asyncio.ensure_future(self.speak())

    def command(self, _link, data):
        asyncio.ensure_future(self.device.notify_subscribers(self.answers, self.answer(bytes(data))))

    def answer(self, data):
        """Opcode (its upper half: bytes that follow, less one), label number, parameters."""
        whole = len(data) >= 2 and len(data) == (data[0] >> 4) + 2
        if not whole or data[1:2].hex() != self.values.get("2BF6", "")[:2]:
            return bytes([0x00, self.INVALID_PARAMETERS])
        if self.busy:
            self.busy = False
            return bytes([0x00, self.RETRY])
        if data[0] == 0xB0:
            lamp = data[3:]
            repeat = struct.unpack("<H", lamp[8:10])[0]
            colours = {name: lamp[0] >> shift & 3 for shift, name in ((0, "red"), (2, "green"), (4, "blue"))}
            self.leds.append({"led": data[2], **colours, "seconds": repeat >> 1 if repeat & 1 else 0})
            return bytes([0x01, data[2]])
        if data[0] == 0x20:
            if data[3] > 1:
                return bytes([0x00, self.INVALID_IMAGE])
            self.image = data[3]
            return bytes([0x11, *data[2:4]])
        if data[0] == 0x10:
            return bytes([0x2E, data[2]]) + struct.pack("<h", self.temperature)
        if data[0] == 0x00:
            return b"\x10" + struct.pack("<H", 0x0004 if self.leds else 0)  # an LED is lit
        return bytes([0x00, self.INVALID_OPCODE])


class Rig:
    def __init__(self, radio):
        self.tag_device = Tag(radio, "tag", "FF:FF:92:10:00:01", 1)
        self.who = {
            "tag": self.tag_device,
            "ruuvi": Ruuvi(radio, "ruuvi", "C4:7C:8D:00:00:05", 2),
            "bthome": BtHome(radio, "bthome", "E4:38:C1:00:00:06", 3),
            "label": Label(radio, "label", "D8:E5:1A:00:00:07", 4),
        }

    async def speak(self, who):
        await self.who[who].speak()

    async def hush(self, who):
        await self.who[who].hush()

    async def set(self, who, raw):
        self.who[who].set(raw)
        if self.who[who].speaks:
            await self.who[who].renew()

    async def tag(self):
        tag = self.tag_device
        names = ("shown", "completed", "rejected", "connections")
        return {name: getattr(tag, name) for name in names}

    async def label(self, busy=False):
        label = self.who["label"]
        label.busy |= busy
        return {name: getattr(label, name) for name in ("values", "leds", "connections", "image")}

    async def drop(self, after):
        self.tag_device.drop_after = after

    async def obey(self, text):
        order = json.loads(text)
        answer = await getattr(self, order.pop("do"))(**order)
        return {"ok": True, **(answer or {})}

    async def caller(self, reader, writer):
        while text := await reader.readline():
            try:
                answer = await self.obey(text)
            except Exception as error:
                answer = {"ok": False, "why": repr(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()


async def main(path):
    async with await open_transport("vhci") as kernel:
        radio = Radio()
        # A public address: with a random one only, bluetoothd would not take the controller.
        Chip("kernel", host_source=kernel.source, host_sink=kernel.sink, link=radio, public_address="AA:BB:CC:00:01:01")
        rig = Rig(radio)
        for who in rig.who.values():
            await who.device.power_on()
        await asyncio.start_unix_server(rig.caller, path + ".new")
        os.rename(path + ".new", path)
        await kernel.source.terminated


asyncio.run(main(sys.argv[1]))
