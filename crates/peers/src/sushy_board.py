"""sushy-tools' emulator (PyPI `sushy-tools`) with its fake driver; arguments: port, directory, then key=value.

Its HTTP side, documents and virtual media are as they come. Behind them the fake driver gets what it lacks: BIOS settings,
processors and memory that are kept in a dictionary, volumes, and power that changes after a second instead of up to eleven.
"""
import os
import ssl
import sys

import bcrypt
from sushy_tools.emulator import main as emulator
from sushy_tools.emulator.resources.systems import fakedriver
from sushy_tools import error

PORT, DIRECTORY = int(sys.argv[1]), sys.argv[2]
OPTIONS = dict(pair.split("=", 1) for pair in sys.argv[3:])
UUID = fakedriver.DEFAULT_UUID
FACTORY = {"ProcTurboMode": "Enabled", "NicBoot1": "NetworkBoot", "QuietBoot": "true", "NumCores": 10}


class Board(fakedriver.FakeDriver):
    bios = dict(FACTORY)

    def get_bios(self, identity):
        return dict(Board.bios)

    def set_bios(self, identity, attributes):
        for name in attributes:
            if name not in Board.bios:
                raise error.BadRequest(f"no attribute {name}")
        Board.bios.update(attributes)

    def reset_bios(self, identity):
        Board.bios = dict(FACTORY)

    def get_versions(self, identity):
        return {"BiosVersion": "2.4.6"}

    def get_total_memory(self, identity):
        return 64

    def get_total_cpus(self, identity):
        return 16

    def get_processors(self, identity):
        return [{"id": "CPU0", "socket": "CPU 0", "vendor": "Acme", "model": "Quick 9000", "cores": 8, "threads": 16}]

    def get_simple_storage_collection(self, identity):
        return {"virtio": {"Id": "virtio", "Name": "virtio", "DeviceList": [{"Name": "vda", "CapacityBytes": 40 * 2 ** 30}]}}

    def find_or_create_storage_volume(self, data):
        return data["Id"]


class OneSecond:
    @staticmethod
    def randint(low, high):
        return 1


fakedriver.random = OneSecond
fakedriver.FakeDriver = Board
with open(os.path.join(DIRECTORY, "htpasswd"), "w") as file:
    file.write("admin:" + bcrypt.hashpw(b"secret12", bcrypt.gensalt(4)).decode() + "\n")
emulator.app.configure(extra_config={
    "SUSHY_EMULATOR_FAKE_DRIVER": True,
    "SUSHY_EMULATOR_STATE_DIR": DIRECTORY,
    "SUSHY_EMULATOR_AUTH_FILE": os.path.join(DIRECTORY, "htpasswd"),
    "SUSHY_EMULATOR_FAKE_SYSTEMS": [
        {"uuid": UUID, "name": "fake", "power_state": OPTIONS.get("power", "Off"),
         "nics": [{"mac": "00:5c:52:31:3a:9c", "ip": "172.22.0.100"}, {"mac": "00:5c:52:31:3a:9d", "ip": "172.22.0.101"}]}
    ],
    "SUSHY_EMULATOR_STORAGE": {
        UUID: [{"Id": "1", "Name": "RAID", "StorageControllers": [{"MemberId": "0", "Name": "Fast", "SpeedGbps": 12}],
                "Drives": ["D1", "D2", "D3"]}]
    },
    "SUSHY_EMULATOR_DRIVES": {
        (UUID, "1"): [{"Id": name, "Name": f"Drive {name}", "CapacityBytes": 899527000000, "Protocol": "SAS"} for name in ("D1", "D2", "D3")]
    },
    "SUSHY_EMULATOR_VOLUMES": {
        (UUID, "1"): [{"libvirtVolName": "one", "Id": "V1", "Name": "one", "VolumeType": "Mirrored", "CapacityBytes": 107374182400}]
    },
})
context = None
if "cert" in OPTIONS:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(OPTIONS["cert"], OPTIONS["key"])
emulator.app.run(host="127.0.0.1", port=PORT, ssl_context=context, threaded=True)
