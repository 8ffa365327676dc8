"""A BMC out of pyghmi's server classes that speaks cipher suite 17 and nothing else.

pyghmi's server knows suite 3 only. Its handshake takes every hash from a module attribute, so
that attribute is exchanged for SHA-256; what is left are the algorithm numbers of the open session
response, the length of the check value in RAKP message 4 and of the code behind packets.

usage: pyghmi_bmc.py PORT     prints "listening" when it answers; power and boot device live in memory
"""
import hashlib
import hmac
import struct
import sys
import types

from pyghmi.ipmi import bmc
from pyghmi.ipmi.private import constants, serversession

serversession.hashlib = types.SimpleNamespace(sha1=hashlib.sha256)
AUTHENTICATION_AT, INTEGRITY_AT = 16, 24
RAKP_HMAC_SHA256, HMAC_SHA256_128 = 3, 4


class Sha256Session(serversession.ServerSession):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.currhashlib, self.currhashlen = hashlib.sha256, 16

    def create_open_session_response(self, request):
        response = bytearray(super().create_open_session_response(request))
        response[AUTHENTICATION_AT], response[INTEGRITY_AT] = RAKP_HMAC_SHA256, HMAC_SHA256_128
        return response

    def _send_rakp4(self, tag, status):
        signed = bytes(self.Rm + self.managedsessionid + self.uuiddata)
        check = hmac.new(self.sik, signed, hashlib.sha256).digest()[:16]
        answer = bytearray([tag, status, 0, 0]) + self.clientsessionid + check
        self.send_payload(answer, constants.payload_types['rakp4'], retry=False)
        self.confalgo, self.integrityalgo, self.sequencenumber = 'aes', 'sha256', 1
        (self.sessionid,) = struct.unpack('<I', bytes(self.clientsessionid))


serversession.ServerSession = Sha256Session


class MemoryBmc(bmc.Bmc):
    power, boot = 0, 'default'

    def get_power_state(self):
        return self.power

    def power_on(self):
        self.power = 1

    def power_off(self):
        self.power = 0

    power_shutdown = power_off

    def power_reset(self):
        return None if self.power else 0xd5

    power_cycle = power_reset

    def get_boot_device(self):
        return self.boot

    def set_boot_device(self, device):
        self.boot = device


server = MemoryBmc({'admin': 'secret12'}, port=int(sys.argv[1]), address='::ffff:127.0.0.1')
print('listening', flush=True)
server.listen()
