#!/usr/bin/env python3
"""Records what upstream's own service says on its notification bus.

    record_notifications.py VENV VERSION     VENV: an environment with upstream's service, VERSION: of its package;
                                             rewrites goldens/notifications.json

Starts the service itself (fake-hardware, noauth, SQLite), with a notification driver of ours that writes every message to a
file exactly as oslo.messaging's notifier hands it to a transport. The story is a list of requests, each with the
notifications that followed from it until the node had settled.
"""
import datetime
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

VENV, RELEASE = pathlib.Path(sys.argv[1]), sys.argv[2]
GOLDENS = pathlib.Path(__file__).parent / "goldens"
NEW = "1.115"
DRIVER = '''
import json
import os

from oslo_messaging.notify import notifier


class Recorder(notifier.Driver):
    def notify(self, ctxt, message, priority, retry):
        line = json.dumps({"topics": self.topics, "priority": priority, "context": sorted(ctxt), "message": message})
        with open(os.environ["RECORDED"], "a") as out:
            out.write(line + "\\n")
'''
FAMILIES = ["bios", "boot", "console", "deploy", "firmware", "inspect", "management", "power", "raid", "rescue", "vendor"]


def uuid(n):
    return f"0000000b-0000-4000-8000-{n:012x}"


def settings(where, port):
    text = f"""[DEFAULT]
auth_strategy = noauth
host = localhost
my_ip = 127.0.0.1
rpc_transport = none
log_file = {where}/log
notification_level = debug
enabled_hardware_types = fake-hardware
enabled_network_interfaces = noop
default_network_interface = noop
enabled_storage_interfaces = noop,fake
tempdir = {where}
"""
    for family in FAMILIES:
        none = f",no-{family}" if family in ("bios", "console", "firmware", "inspect", "raid", "rescue", "vendor") else ""
        text += f"enabled_{family}_interfaces = fake{none}\ndefault_{family}_interface = fake\n"
    return text + f"""[api]
host_ip = 127.0.0.1
port = {port}
api_workers = 1
[conductor]
automated_clean = true
sync_power_state_interval = -1
[database]
connection = sqlite:///{where}/ironic.sqlite
[inventory]
data_backend = database
[fake]
power_delay = 1
deploy_delay = 1
inspect_delay = 1
rescue_delay = 1
[metrics]
backend = collector
[sensor_data]
send_sensor_data = true
interval = 5
enable_for_undeployed_nodes = true
[oslo_messaging_notifications]
driver = recorder
[service_catalog]
auth_type = none
endpoint_override = http://127.0.0.1:{port}
[deploy]
http_root = {where}
http_url = http://127.0.0.1:8088
[pxe]
tftp_root = {where}
images_path = {where}
instance_master_path = {where}
tftp_master_path = {where}
[oslo_concurrency]
lock_path = {where}
"""


class Service:
    def __init__(self, where):
        self.recorded = where / "recorded"
        self.recorded.touch()
        package = where / "python"
        info = package / "recorder-1.dist-info"
        info.mkdir(parents=True)
        (package / "recorder_driver.py").write_text(DRIVER)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: recorder\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[oslo.messaging.notify.drivers]\nrecorder = recorder_driver:Recorder\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        conf = where / "ironic.conf"
        conf.write_text(settings(where, port))
        environment = dict(os.environ, RECORDED=str(self.recorded), PYTHONPATH=str(package), XDG_CACHE_HOME=str(where))
        subprocess.run([VENV / "bin/ironic-dbsync", "--config-file", conf, "create_schema"], check=True, env=environment,
                       stderr=subprocess.DEVNULL)
        self.base = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([VENV / "bin/ironic", "--config-file", conf], env=environment,
                                        stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.time() + 180
        while True:
            try:
                if json.loads(self.call("GET", "/v1/drivers", None)[1])["drivers"]:
                    return
            except (OSError, KeyError, ValueError):
                pass
            if time.time() > deadline or self.process.poll() is not None:
                raise SystemExit("upstream's service does not start; see " + str(where / "log"))
            time.sleep(0.3)

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)

    def call(self, method, path, body):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method)
        request.add_header("X-OpenStack-Ironic-API-Version", NEW)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            answer = urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        return answer.status, answer.read().decode()


class Story:
    def __init__(self, service):
        self.service, self.steps, self.seen, self.sensors = service, [], 0, []

    def taken(self):
        lines = self.service.recorded.read_text().splitlines()
        new = [json.loads(line) for line in lines[self.seen:]]
        self.seen = len(lines)
        self.sensors += [m for m in new if m["topics"] == ["notifications"]]
        return [m for m in new if m["topics"] != ["notifications"]]

    def __call__(self, method, path, body=None, settles=None):
        """`settles`: the node that is then waited for, until nothing runs on it."""
        assert not self.taken(), path
        status, text = self.service.call(method, path, body)
        if settles:
            deadline = time.time() + 60
            while True:
                time.sleep(0.2)
                node = json.loads(self.service.call("GET", f"/v1/nodes/{settles}", None)[1])
                if not (node["reservation"] or node["target_power_state"] or node["provision_state"].endswith("ing")):
                    break
                if time.time() > deadline:
                    raise SystemExit(f"{settles} does not settle after {method} {path}")
        time.sleep(0.3)
        step = {"method": method, "path": path, "body": body, "status": status, "settles": settles}
        step["notifications"] = self.taken()
        self.steps.append(step)
        print(method, path, status, [m["message"]["event_type"] for m in step["notifications"]],
              text[:200] if status >= 400 else "")

    def save(self):
        document = {"recorded_from": f"ironic {RELEASE}", "recorded_at": datetime.date.today().isoformat(),
                    "steps": self.steps, "sensors": self.sensors[-1:]}
        (GOLDENS / "notifications.json").write_text(json.dumps(document, indent=1) + "\n")


def patch(path, value):
    if value is None:
        return [{"op": "remove", "path": path}]
    return [{"op": "add", "path": path, "value": value}]


def tell(s):
    chassis, node, port, group = uuid(1), uuid(2), uuid(3), uuid(4)
    connector, target, template, book, rule, allocation = (uuid(n) for n in range(5, 11))
    at = f"/v1/nodes/{node}"
    s("POST", "/v1/chassis", {"uuid": chassis, "description": "a rack", "extra": {"row": 1}})
    s("POST", "/v1/chassis", {"uuid": chassis})
    s("PATCH", f"/v1/chassis/{chassis}", patch("/description", "another rack"))
    s("POST", "/v1/nodes", {"uuid": node, "name": "one", "driver": "fake-hardware", "chassis_uuid": chassis,
                            "driver_info": {"ipmi_password": "secret12", "fake_member": "x"},
                            "instance_info": {"image_url": "http://images.example/i?signature=secret12", "token": "secret12"},
                            "properties": {"cpus": 4}, "extra": {"a": "b"}, "resource_class": "large"})
    s("POST", "/v1/nodes", {"uuid": uuid(20), "name": "one", "driver": "fake-hardware"})
    s("DELETE", f"/v1/chassis/{chassis}")
    s("PATCH", at, patch("/extra/c", "d"))
    s("PATCH", at, patch("/description", "for tests"))
    s("PUT", f"{at}/traits", {"traits": ["CUSTOM_TWO", "CUSTOM_ONE"]})
    s("PUT", f"{at}/traits/CUSTOM_THREE")
    s("DELETE", f"{at}/traits/CUSTOM_THREE")
    s("DELETE", f"{at}/traits/CUSTOM_NONE")
    s("PUT", f"{at}/maintenance", {"reason": "a new fan"})
    s("DELETE", f"{at}/maintenance")
    s("POST", "/v1/ports", {"uuid": port, "node_uuid": node, "address": "52:54:00:00:00:01", "extra": {"x": 1},
                            "physical_network": "physnet1",
                            "local_link_connection": {"switch_id": "0a:1b:2c:3d:4e:5f", "port_id": "Ethernet1/1"}})
    s("POST", "/v1/ports", {"uuid": uuid(21), "node_uuid": node, "address": "52:54:00:00:00:01"})
    s("PATCH", f"/v1/ports/{port}", patch("/name", "eth0"))
    s("POST", "/v1/portgroups", {"uuid": group, "node_uuid": node, "name": "bond", "address": "52:54:00:00:00:02",
                                 "mode": "802.3ad", "properties": {"miimon": 100}})
    s("PATCH", f"/v1/portgroups/{group}", patch("/extra/a", 1))
    s("PATCH", f"/v1/ports/{port}", patch("/portgroup_uuid", group))
    s("DELETE", f"/v1/portgroups/{group}")
    s("PATCH", f"/v1/ports/{port}", patch("/portgroup_uuid", None))
    s("DELETE", f"/v1/portgroups/{group}")
    s("PUT", f"{at}/states/provision", {"target": "manage"}, settles=node)
    s("PUT", f"{at}/states/power", {"target": "power off"}, settles=node)
    s("PUT", f"{at}/states/power", {"target": "power off"}, settles=node)
    s("POST", "/v1/volume/connectors", {"uuid": connector, "node_uuid": node, "type": "iqn",
                                        "connector_id": "iqn.2026-01.example:one", "extra": {"a": 1}})
    s("PATCH", f"/v1/volume/connectors/{connector}", patch("/connector_id", "iqn.2026-01.example:two"))
    s("POST", "/v1/volume/targets", {"uuid": target, "node_uuid": node, "volume_type": "iscsi", "boot_index": 0,
                                     "volume_id": "v1", "properties": {"auth_password": "secret12"}})
    s("PATCH", f"/v1/volume/targets/{target}", patch("/volume_id", "v2"))
    s("DELETE", f"/v1/volume/targets/{target}")
    s("DELETE", f"/v1/volume/connectors/{connector}")
    s("PUT", f"{at}/states/power", {"target": "power on"}, settles=node)
    s("PUT", f"{at}/states/power", {"target": "rebooting"}, settles=node)
    s("PUT", f"{at}/states/power", {"target": "soft power off"}, settles=node)
    s("PUT", f"{at}/states/console", {"enabled": True}, settles=node)
    s("PUT", f"{at}/states/console", {"enabled": False}, settles=node)
    s("PUT", f"{at}/states/provision", {"target": "inspect"}, settles=node)
    s("PUT", f"{at}/states/provision", {"target": "provide"}, settles=node)
    s("POST", "/v1/allocations", {"uuid": allocation, "name": "claim", "resource_class": "large",
                                  "candidate_nodes": [node], "extra": {"for": "tests"}}, settles=node)
    s("PATCH", f"/v1/allocations/{allocation}", patch("/extra/more", 1))
    s("DELETE", f"/v1/allocations/{allocation}")
    s("PUT", f"{at}/states/provision", {"target": "active"}, settles=node)
    s("PUT", f"{at}/states/provision", {"target": "rescue", "rescue_password": "secret12"}, settles=node)
    s("PUT", f"{at}/states/provision", {"target": "unrescue"}, settles=node)
    s("PUT", f"{at}/states/provision", {"target": "deleted"}, settles=node)
    s("PUT", f"{at}/states/provision", {"target": "manage"}, settles=node)
    s("PUT", f"{at}/states/provision", {"target": "adopt"}, settles=node)
    s("DELETE", at)
    s("PUT", f"{at}/states/provision", {"target": "deleted"}, settles=node)
    s("POST", "/v1/deploy_templates", {"uuid": template, "name": "CUSTOM_RAID", "extra": {"a": 1}, "steps": [
        {"interface": "raid", "step": "create_configuration", "args": {}, "priority": 10}]})
    s("POST", "/v1/deploy_templates", {"uuid": uuid(22), "name": "CUSTOM_RAID", "steps": [
        {"interface": "raid", "step": "create_configuration", "args": {}, "priority": 10}]})
    s("PATCH", f"/v1/deploy_templates/{template}", patch("/name", "CUSTOM_RAID1"))
    s("DELETE", f"/v1/deploy_templates/{template}")
    s("POST", "/v1/runbooks", {"uuid": book, "name": "CUSTOM_BOOK", "steps": [
        {"interface": "bios", "step": "apply_configuration", "args": {}, "order": 1}]})
    s("PATCH", f"/v1/runbooks/{book}", patch("/extra/a", 1))
    s("DELETE", f"/v1/runbooks/{book}")
    s("POST", "/v1/inspection_rules", {"uuid": rule, "description": "a rule", "priority": 5, "actions": [
        {"op": "set-attribute", "args": {"path": "/extra/a", "value": "secret12"}}],
        "conditions": [{"op": "is-true", "args": {"value": "{inventory[cpu]}"}}]})
    s("PATCH", f"/v1/inspection_rules/{rule}", patch("/sensitive", True))
    s("DELETE", f"/v1/inspection_rules/{rule}")
    s("DELETE", f"/v1/ports/{port}")
    s("PUT", f"{at}/states/provision", {"target": "manage"}, settles=node)
    s("DELETE", at)
    s("DELETE", f"/v1/chassis/{chassis}")


def main():
    with tempfile.TemporaryDirectory() as where:
        service = Service(pathlib.Path(where))
        try:
            story = Story(service)
            story.taken()
            tell(story)
            deadline = time.time() + 30
            while not story.sensors and time.time() < deadline:
                time.sleep(0.5)
                story.taken()
            story.save()
        finally:
            service.stop()


main()
