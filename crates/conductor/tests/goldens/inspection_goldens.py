"""Asks upstream's own rule engine whether conditions hold; prints the table that rules_tests.rs compares with.

Needs a Python with upstream's service (PyPI `ironic` 39.0.0): python inspection_goldens.py > inspection_conditions.json
"""
import json
import sys
import types

from ironic.common.inspection_rules import engine
from ironic.conf import CONF

CONF([], project='ironic', default_config_files=[])
NODE = types.SimpleNamespace(
    uuid='00000000-0000-0000-0000-000000000007', driver='fake-hardware', name=None,
    driver_info={'ipmi_address': '192.0.2.5'}, extra={'list': ['a']}, properties={}, instance_info={})
TASK = types.SimpleNamespace(node=NODE)
INVENTORY = {
    'cpu': {'count': 8, 'architecture': 'x86_64'}, 'bmc_address': '192.0.2.5',
    'disks': [{'name': 'sda', 'size': 100}, {'name': 'sdb', 'size': 2000}],
    'secret': {'bmc_password': 'geheim99'}, 'none': None,
}
PLUGIN = {'a': {'b': 1}}

CONDITIONS = []


def c(op, args, **more):
    CONDITIONS.append(dict(op=op, args=args, **more))
    CONDITIONS.append(dict(op='!' + op, args=args, **more))


c('eq', {'values': [1, 1]})
c('eq', {'values': [1, 1.0]})
c('eq', {'values': [True, 1]})
c('eq', {'values': ['{inventory[cpu][count]}', 8]})
c('eq', {'values': ['{inventory[cpu][count]}', '8']})
c('eq', {'values': ['{inventory[cpu][count]}', 8], 'force_strings': True})
c('eq', {'values': ['{inventory[cpu][architecture]}', 'x86_64', 'x86_64']})
c('eq', {'values': ['{inventory[nosuch]}', 'x']})
c('eq', {'values': [[1, 2], [1, 2]]})
c('eq', {'values': ['only']})
c('eq', [['a', 'a']])
c('eq', {'values': 'text'})
c('lt', {'values': [1, 2, 3]})
c('lt', {'values': [1, 3, 2]})
c('lt', {'values': ['a', 'b']})
c('lt', {'values': ['{inventory[cpu][count]}', 9]})
c('lt', {'values': ['{inventory[cpu][count]}', 9], 'force_strings': True})
c('gt', {'values': [[2], [1, 5]]})
c('gt', {'values': [2.5, 1]})
c('gt', {'values': [None, 1]})
c('is-empty', {'value': ''})
c('is-empty', {'value': []})
c('is-empty', {'value': {}})
c('is-empty', {'value': None})
c('is-empty', {'value': 'x'})
c('is-empty', {'value': '{inventory[nosuch]}'})
c('is-empty', {'value': '{inventory[none]}'})
c('is-empty', {'value': 0})
c('is-none', {'value': None})
c('is-none', {'value': '{inventory[none]}'})
c('is-true', {'value': 'Yes'})
c('is-true', {'value': 'on'})
c('is-true', {'value': 2})
c('is-true', {'value': 0})
c('is-true', {'value': [1]})
c('is-false', {'value': None})
c('is-false', {'value': 'NO'})
c('is-false', {'value': ''})
c('is-false', {'value': 0.0})
c('one-of', {'value': 'a', 'values': ['a', 'b']})
c('one-of', {'value': '{inventory[cpu][count]}', 'values': ['8']})
c('one-of', {'value': '{inventory[cpu][count]}', 'values': [8]})
c('one-of', {'value': 1, 'values': [True]})
c('one-of', {'value': 'a'})
c('in-net', {'address': '{inventory[bmc_address]}', 'subnet': '192.0.2.0/24'})
c('in-net', {'address': '192.0.3.1', 'subnet': '192.0.2.0/24'})
c('in-net', {'address': 'fd00::5', 'subnet': 'fd00::/64'})
c('in-net', {'address': '192.0.2.7', 'subnet': '192.0.2.7'})
c('in-net', {'address': 'nonsense', 'subnet': '192.0.2.0/24'})
c('in-net', {'address': '192.0.2.7', 'subnet': 'nonsense'})
c('matches', {'value': 'abc', 'regex': 'ab'})
c('matches', {'value': 'abc', 'regex': 'ab.'})
c('matches', {'value': 'abc', 'regex': 'abc$'})
c('matches', {'value': '{inventory[cpu][count]}', 'regex': '[0-9]+'})
c('contains', {'value': 'abc', 'regex': 'b'})
c('contains', {'value': 'abc', 'regex': '^b'})
c('contains', {'value': 12, 'regex': '2'})
c('contains', {'value': 'abc', 'regex': '('})
c('eq', {'values': ['{node.driver_info[ipmi_address]}', '{inventory[bmc_address]}']})
c('eq', {'values': ['{inventory[secret][bmc_password]}', '***']})
c('eq', {'values': ['{plugin_data[a][b]}', '1']})
c('eq', {'values': ['{{x}}', '{x}']})
c('eq', {'values': ['{item}', 'a']}, loop=['b', 'a'])
c('eq', {'values': ['{item}', 'a']}, loop=['b', 'a'], multiple='all')
c('eq', {'values': ['{item}', 'a']}, loop=['b', 'a'], multiple='any')
c('eq', {'values': ['{item}', 'a']}, loop=['b', 'a'], multiple='first')
c('eq', {'values': ['{item}', 'a']}, loop=['b', 'a'], multiple='last')
c('eq', {'values': ['{item}', 8]}, loop=[8])
c('gt', {'values': ['{item[size]}', 50]}, loop=[{'size': 100}, {'size': 20}], multiple='all')
c('eq', {'values': ['{item[k]}', 'v']}, loop={'k': 'v'})
c('matches', {'value': 'sda', 'regex': '{item}'}, loop=['sd.', 'x'])
c('nosuch', {'value': 1})

TABLE = []
for condition in CONDITIONS:
    try:
        result = engine._check_rule(
            TASK, {'uuid': 'r', 'conditions': [json.loads(json.dumps(condition))]}, INVENTORY, PLUGIN) is not None
    except Exception:
        result = 'error'
    TABLE.append({'condition': condition, 'result': result})
json.dump(TABLE, sys.stdout, indent=1)
sys.stdout.write('\n')
