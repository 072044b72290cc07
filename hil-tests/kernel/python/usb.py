"""USB devices that are this program, plugged into the kernel's virtual host controller (vhci_hcd) of the machine it runs on.

An I2C adapter (i2c-tiny-usb) with a Sensirion SHT4x and a 1-Wire bridge DS2482-100 with two DS18B20, and serial adapters
(FTDI FT232R) with a scale each. usb.py SOCKET: JSON lines come in on the socket, one answer each.

Sources: the kernel's usbip_protocol document and drivers i2c-tiny-usb.c, ds2482.c, w1_therm.c, ftdi_sio.c; data sheets SHT4x,
DS2482-100, DS18B20; the manuals of the scales as in the protocols of drivers/protocol.
"""

import json
import os
import socket
import struct
import sys
import threading

HOST = "/sys/devices/platform/vhci_hcd.0"
FULL_SPEED = 2
STALL, CUT = -32, -104


def crc8(data, polynomial, start, reflected):
    value = start
    for byte in data:
        value ^= byte
        for _ in range(8):
            if reflected:
                value = value >> 1 ^ (polynomial if value & 1 else 0)
            else:
                value = (value << 1 & 0xFF) ^ (polynomial if value & 0x80 else 0)
    return value


def crc_w1(data):
    return crc8(data, 0x8C, 0, True)


class Gone(Exception):
    """The kernel closed its end."""


class UsbDevice:
    """One device: its descriptors, its endpoints, and the conversation with the host controller."""

    endpoints = ()
    release = 0x0100

    def __init__(self, vendor, product, name, serial):
        self.vendor, self.product, self.strings = vendor, product, (None, "Steelyard rig", name, serial)
        self.port = None
        self.wire = None
        self.lock = threading.Lock()
        self.waiting = []  # bulk-in requests without an answer: (number, length)
        self.outgoing = bytearray()

    def plug(self):
        ours, theirs = socket.socketpair()
        with open(HOST + "/status") as status:
            rows = [line.split() for line in status][1:]
        self.port = next(int(row[1]) for row in rows if row[0] == "hs" and row[2] == "004")
        self.wire, self.waiting, self.outgoing = ours, [], bytearray()
        self.plugged()
        threading.Thread(target=self.converse, args=(ours,), daemon=True).start()
        with open(HOST + "/attach", "w") as attach:
            attach.write(f"{self.port} {theirs.fileno()} {self.port + 1} {FULL_SPEED}")
        theirs.close()

    def pull(self):
        with open(HOST + "/detach", "w") as detach:
            detach.write(str(self.port))

    def plugged(self):
        """Power came."""

    def converse(self, wire):
        try:
            while True:
                head = self.receive(wire, 48)
                command, number, _, inward, endpoint = struct.unpack(">5I", head[:20])
                if command == 1:
                    self.request(wire, number, inward, endpoint, head)
                elif command == 2:
                    self.withdraw(wire, number, struct.unpack(">I", head[20:24])[0])
        except (Gone, OSError):
            wire.close()

    @staticmethod
    def receive(wire, count):
        data = b""
        while len(data) < count:
            part = wire.recv(count - len(data))
            if not part:
                raise Gone
            data += part
        return data

    def request(self, wire, number, inward, endpoint, head):
        length = struct.unpack(">i", head[24:28])[0]
        data = b"" if inward else self.receive(wire, max(length, 0))
        if endpoint == 0:
            answer = self.control(*struct.unpack("<BBHHH", head[40:48]), data)
            if answer is None:
                self.answer(wire, number, STALL)
            elif inward:
                self.answer(wire, number, 0, answer[:length])
            else:
                self.answer(wire, number, 0, count=length)
        elif inward:
            with self.lock:
                self.waiting.append((number, length))
            self.deliver()
        else:
            self.answer(wire, number, 0, count=length)
            self.heard(data)

    def answer(self, wire, number, status, data=b"", count=None):
        count = len(data) if count is None else count
        head = struct.pack(">5I5i8x", 3, number, 0, 0, 0, status, count, 0, 0, 0)
        with self.lock:
            wire.sendall(head + data)

    def withdraw(self, wire, number, withdrawn):
        with self.lock:
            before = len(self.waiting)
            self.waiting = [request for request in self.waiting if request[0] != withdrawn]
            status = CUT if len(self.waiting) < before else 0
            wire.sendall(struct.pack(">5Ii24x", 4, number, 0, 0, 0, status))

    def control(self, kind, request, value, index, length, data):
        if kind & 0x60:
            return self.vendor_request(kind, request, value, index, length, data)
        if kind == 0x80 and request == 6:
            return self.descriptor(value >> 8, value & 0xFF)
        if kind == 0x80 and request == 0:
            return b"\0\0"
        return b"" if not kind & 0x80 else None

    def descriptor(self, kind, index):
        if kind == 1:
            return struct.pack(
                "<BBHBBBBHHHBBBB", 18, 1, 0x0200, 0xFF, 0, 0, 64, self.vendor, self.product, self.release, 1, 2, 3, 1
            )
        if kind == 2:
            parts = struct.pack("<9B", 9, 4, 0, 0, len(self.endpoints), 0xFF, 0, 0, 2)
            for address in self.endpoints:
                parts += struct.pack("<BBBBHB", 7, 5, address, 2, 64, 0)
            return struct.pack("<BBHBBBBB", 9, 2, 9 + len(parts), 1, 1, 0, 0x80, 45) + parts
        if kind == 3 and index == 0:
            return b"\x04\x03\x09\x04"
        if kind == 3 and index < len(self.strings):
            text = self.strings[index].encode("utf-16-le")
            return bytes([len(text) + 2, 3]) + text
        return None

    def packet(self):
        """The next bulk-in packet, or None."""
        return None

    def deliver(self):
        while True:
            with self.lock:
                packet = self.packet() if self.waiting else None
                if packet is None:
                    return
                number, _ = self.waiting.pop(0)
            self.answer(self.wire, number, 0, packet)

    def heard(self, data):
        """Bulk-out data came."""

    def vendor_request(self, kind, request, value, index, length, data):
        return None


class Nak(Exception):
    """Nobody acknowledges."""


class Sht4x:
    """Measure 0xFD, serial number 0x89, reset 0x94; a result is read once."""

    def __init__(self):
        self.temperature, self.humidity, self.result, self.harm = 0x6000, 0x8000, None, None

    def write(self, data):
        if self.harm == "nak":
            raise Nak
        if data[:1] in (b"\xfd", b"\xf6", b"\xe0"):
            self.result = (self.temperature, self.humidity)
        elif data[:1] == b"\x89":
            self.result = (0x0F0A, 0x1234)
        else:
            self.result = None

    def read(self, length):
        if self.harm == "nak" or self.result is None:
            raise Nak
        data = b""
        for word in self.result:
            pair = word.to_bytes(2, "big")
            data += pair + bytes([crc8(pair, 0x31, 0xFF, False) ^ (1 if self.harm == "crc" else 0)])
        self.result = None
        return data[:length]


class Ds18b20:
    """A sensor on the 1-Wire line, bit by bit. The line is low when any sensor pulls it."""

    def __init__(self, serial):
        code = b"\x28" + serial
        self.code = code + bytes([crc_w1(code)])
        self.sixteenths, self.gone, self.resets = 400, False, False
        self.registers = bytearray(b"\x4b\x46\x7f")
        self.raw = 0x0550
        self.reset()

    def reset(self):
        self.state, self.bits, self.answer, self.at, self.turn = "rom", [], [], 0, 0

    @staticmethod
    def spread(data):
        return [byte >> bit & 1 for byte in data for bit in range(8)]

    def scratchpad(self):
        data = self.raw.to_bytes(2, "little", signed=True) + bytes(self.registers) + b"\xff\x0c\x10"
        return data + bytes([crc_w1(data)])

    def read(self):
        if self.gone:
            return 1
        if self.state == "search":
            bit = self.spread(self.code)[self.at]
            self.turn += 1
            return bit if self.turn == 1 else 1 - bit
        return self.answer.pop(0) if self.answer else 1

    def write(self, bit):
        if self.gone or self.state == "asleep":
            return
        if self.state == "search":
            if bit != self.spread(self.code)[self.at]:
                self.state = "asleep"
                return
            self.at, self.turn = self.at + 1, 0
            if self.at == 64:
                self.state = "function"
            return
        self.bits.append(bit)
        wanted = {"match": 64, "registers": 24}.get(self.state, 8)
        if len(self.bits) < wanted:
            return
        bits, self.bits = self.bits, []
        if self.state == "match":
            self.state = "function" if bits == self.spread(self.code) else "asleep"
        elif self.state == "registers":
            octets = [bits[start : start + 8] for start in range(0, 24, 8)]
            self.registers = bytearray(sum(bit << at for at, bit in enumerate(octet)) for octet in octets)
            self.registers[2] = self.registers[2] & 0x60 | 0x1F
            self.state = "asleep"
        else:
            self.command(sum(bit << at for at, bit in enumerate(bits)))

    def command(self, code):
        if self.state == "rom":
            self.at = self.turn = 0
            self.state = {0xCC: "function", 0x55: "match", 0xF0: "search"}.get(code, "asleep")
        elif code == 0x44:
            undefined = 3 - (self.registers[2] >> 5 & 3)
            # One that loses its power while it converts is left with what it starts with.
            self.raw = 0x0550 if self.resets else self.sixteenths >> undefined << undefined
            self.answer = [1]
        elif code == 0xBE:
            self.answer = self.spread(self.scratchpad())
        elif code == 0x4E:
            self.state = "registers"
        elif code == 0xB4:
            self.answer = [1] * 8  # has its own supply


class Ds2482:
    """One-channel bridge: commands in, status or data out by the read pointer."""

    def __init__(self, sensors):
        self.sensors, self.status, self.data, self.settings, self.pointer = sensors, 0x18, 0, 0, 0xF0

    def line(self):
        return min(sensor.read() for sensor in self.sensors)

    def drive(self, bit):
        for sensor in self.sensors:
            sensor.write(bit)

    def write(self, data):
        command, value = data[0], data[1] if len(data) > 1 else 0
        if command == 0xC3:
            raise Nak  # selects a channel: the bridge with eight has that
        self.pointer = value if command == 0xE1 else 0xF0
        if command == 0xF0:
            self.status, self.settings = 0x18, 0
        elif command == 0xD2:
            self.settings, self.status, self.pointer = value & 0x0F, self.status & ~0x10, 0xC3
        elif command == 0xB4:
            for sensor in self.sensors:
                sensor.reset()
            present = any(not sensor.gone for sensor in self.sensors)
            self.status = self.status & ~0x02 | (0x02 if present else 0)
        elif command == 0x87:
            bit = self.line() if value & 0x80 else 0
            if not value & 0x80:
                self.drive(0)
            self.status = self.status & ~0x20 | bit << 5
        elif command == 0xA5:
            for bit in range(8):
                self.drive(value >> bit & 1)
        elif command == 0x96:
            self.data = sum(self.line() << bit for bit in range(8))
        elif command == 0x78:
            self.triplet(value >> 7)

    def triplet(self, wish):
        first, second = self.line(), self.line()
        direction = wish if (first, second) == (0, 0) else first
        if (first, second) != (1, 1):
            self.drive(direction)
        self.status = self.status & ~0xE0 | first << 5 | second << 6 | direction << 7

    def read(self, length):
        value = {0xF0: self.status, 0xE1: self.data, 0xC3: self.settings}.get(self.pointer, 0xFF)
        return bytes([value]) * length


class I2cAdapter(UsbDevice):
    """i2c-tiny-usb: every I2C message is a vendor request, whether it was acknowledged is asked for after it."""

    release = 0x0205

    def __init__(self):
        super().__init__(0x0403, 0xC631, "i2c-tiny-usb", "I2C00001")
        self.sht = Sht4x()
        self.sensors = [Ds18b20(bytes.fromhex("a1b2c3d4e501")), Ds18b20(bytes.fromhex("a1b2c3d4e502"))]
        self.chips = {0x44: self.sht, 0x18: Ds2482(self.sensors)}
        self.state = 0

    def vendor_request(self, kind, request, value, index, length, data):
        if request == 1:
            return struct.pack("<I", 0x0EFF0001)  # plain I2C, and SMBus made of it
        if request == 3:
            return bytes([self.state])
        if not request & 4:
            return b""
        try:
            if index not in self.chips:
                raise Nak
            self.state = 1
            if kind & 0x80:
                return self.chips[index].read(length)
            if data:
                self.chips[index].write(data)
            return b""
        except Nak:
            self.state = 2
            return bytes(length) if kind & 0x80 else b""


class Toledo8217:
    """Weight in kilograms between STX and CR on the letter W."""

    line = (9600, 7, "even", 1)

    def answer(self, byte, grams):
        if byte != b"W":
            return b""
        return b"\x02%06.3f\r" % (grams / 1000)


class MtSics:
    """SI or S and CR LF; the weight in grams."""

    line = (19200, 8, "odd", 2)

    def __init__(self):
        self.typed = b""

    def answer(self, byte, grams):
        self.typed += byte
        if not self.typed.endswith(b"\n"):
            return b""
        command, self.typed = self.typed.strip(), b""
        return b"S S %10.2f g\r\n" % grams if command in (b"S", b"SI") else b"ES\r\n"


class SerialScale(UsbDevice):
    """A scale behind an FT232R. It understands its own line settings only: with others it hears noise and stays silent."""

    endpoints = (0x81, 0x02)
    release = 0x0600
    EIGHTHS = {0: 0, 3: 1, 2: 2, 4: 3, 1: 4, 5: 5, 6: 6, 7: 7}

    def __init__(self, serial, scale):
        super().__init__(0x0403, 0x6001, "FT232R USB UART", serial)
        self.scale, self.grams, self.noise, self.settings = scale, 0, 0, []
        self.plugged()

    def plugged(self):
        self.baud, self.frame = None, None

    def seen(self):
        return None if self.baud is None or self.frame is None else (self.baud, *self.frame)

    def vendor_request(self, kind, request, value, index, length, data):
        if kind & 0x80:
            # Modem status with the transmitter empty; a latency of 16 ms; an empty memory.
            return {5: b"\x31\x60", 10: b"\x10"}.get(request, bytes(length))
        if request == 3:
            # Whole divisor of 3 MHz in 14 bits, its eighths scrambled into the three above.
            whole, part = value & 0x3FFF, value >> 14 | (index & 1) << 2
            if (whole, part) in ((0, 0), (1, 0)):
                self.baud = (3_000_000, 2_000_000)[whole]
            else:
                self.baud = round(3_000_000 / (whole + self.EIGHTHS[part] / 8))
        elif request == 4:
            parity = ("none", "odd", "even", "mark", "space")[value >> 8 & 7]
            self.frame = (value & 0xFF, parity, (1, 1.5, 2)[value >> 11 & 3])
        if request in (3, 4) and self.seen() and self.seen() not in self.settings:
            self.settings.append(self.seen())
        return b""

    def heard(self, data):
        for at in range(len(data)):
            if self.understands():
                answer = self.scale.answer(data[at : at + 1], self.grams)
                with self.lock:
                    self.outgoing += answer
            else:
                self.noise += 1
        self.deliver()

    def understands(self):
        if self.seen() is None:
            return False
        baud, *frame = self.seen()
        return abs(baud - self.scale.line[0]) * 50 < self.scale.line[0] and tuple(frame) == self.scale.line[1:]

    def packet(self):
        if not self.outgoing:
            return None
        data, self.outgoing = self.outgoing[:62], self.outgoing[62:]
        return b"\x31\x60" + bytes(data)


class Rig:
    def __init__(self):
        self.i2c = I2cAdapter()
        self.devices = {
            "i2c": self.i2c,
            "toledo": SerialScale("STEEL001", Toledo8217()),
            "mt-sics": SerialScale("STEEL002", MtSics()),
        }

    def plug(self, device):
        self.devices[device].plug()

    def pull(self, device):
        self.devices[device].pull()

    def climate(self, raw):
        self.i2c.sht.temperature = raw

    def harm(self, how):
        self.i2c.sht.harm = how

    def sensor(self, at, **changes):
        for name, value in changes.items():
            setattr(self.i2c.sensors[at], name, value)
        return {"registers": self.i2c.sensors[at].registers.hex()}

    def weigh(self, device, grams):
        self.devices[device].grams = grams

    def line(self, device):
        scale = self.devices[device]
        return {"now": scale.seen(), "all": scale.settings, "noise": scale.noise}

    def obey(self, text):
        order = json.loads(text)
        answer = getattr(self, order.pop("do"))(**order)
        return {"ok": True, **(answer or {})}


def serve(path, rig):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen()
    os.rename(path + ".new", path)
    while True:
        caller, _ = listener.accept()
        with caller, caller.makefile("r") as lines:
            for text in lines:
                try:
                    answer = rig.obey(text)
                except Exception as error:
                    answer = {"ok": False, "why": repr(error)}
                caller.sendall(json.dumps(answer).encode() + b"\n")


serve(sys.argv[1], Rig())
