"""A Modbus server made of pymodbus alone: the independent far end for the bus owner's tests.

Arguments: "tcp" and a port on 127.0.0.1, or "rtu" and a serial device; then the units as JSON:
{"<unit>": {"coil|discrete|holding|input": {"<address>": value}}}. Units that are not named stay silent.
Says "listening" when it serves.
"""
import asyncio
import json
import sys

from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

TABLES = ("coil", "discrete", "holding", "input")


def block(rows, kind):
    """pymodbus refuses an empty table, so one that is not described holds one address far away."""
    rows = rows or {"65000": 0}
    ordered = sorted((int(address), value) for address, value in rows.items())
    if kind == DataType.BITS:
        return [SimData(address, values=bool(value), datatype=kind) for address, value in ordered]
    return [SimData(address, values=value, datatype=kind) for address, value in ordered]


def device(unit, tables):
    kinds = (DataType.BITS, DataType.BITS, DataType.REGISTERS, DataType.REGISTERS)
    return SimDevice(id=int(unit), simdata=tuple(block(tables.get(t), k) for t, k in zip(TABLES, kinds)))


async def main():
    wire, where, units = sys.argv[1:4]
    units = json.loads(units)
    devices = [device(unit, tables) for unit, tables in units.items()]
    unit_at = 6 if wire == "tcp" else 0

    def only_known(sending, packet):
        """pymodbus answers for an absent unit with an exception of its own; a real one says nothing."""
        if sending and len(packet) > unit_at and str(packet[unit_at]) not in units:
            return b""
        return packet

    if wire == "tcp":
        server = ModbusTcpServer(devices, address=("127.0.0.1", int(where)), trace_packet=only_known)
    else:
        server = ModbusSerialServer(
            devices, framer=FramerType.RTU, port=where, baudrate=19200, trace_packet=only_known
        )
    await server.serve_forever(background=True)
    print("listening", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
