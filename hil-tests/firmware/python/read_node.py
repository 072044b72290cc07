"""A Modbus master made of pymodbus alone: reads a node once and says what it read as one JSON line.

Arguments: serial port, unit.
"""
import json
import sys

from pymodbus.client import ModbusSerialClient

port, unit = sys.argv[1], int(sys.argv[2])
client = ModbusSerialClient(port, baudrate=19200, parity="N", stopbits=1, timeout=3, retries=2)
if not client.connect():
    sys.exit(f"cannot open {port}")


def words(read, address, count):
    answer = read(address, count=count, device_id=unit)
    if answer.isError():
        sys.exit(f"{address}: {answer}")
    return answer.registers


identity = client.read_device_information(read_code=1, object_id=0, device_id=unit)
if identity.isError():
    sys.exit(f"identification: {identity}")
refused = client.read_input_registers(60, count=1, device_id=unit)
print(json.dumps({
    "first": words(client.read_input_registers, 0, 9),
    "hundredths": words(client.read_input_registers, 16, 4),
    "quality": words(client.read_input_registers, 20, 4),
    "holding": words(client.read_holding_registers, 0, 7),
    "identity": [identity.information[key].decode() for key in (0, 1, 2)],
    "refusal": refused.exception_code if refused.isError() else None,
}))
client.close()
