#!/usr/bin/env python3
"""A consumer of notifications, written with oslo.messaging as Ironic's users write theirs.

    notify_consumer.py TRANSPORT_URL DURABLE OUT

Appends every notification to OUT, one JSON document a line, until it is ended.
"""
import json
import sys
import threading

from oslo_config import cfg
import oslo_messaging

URL, DURABLE, OUT = sys.argv[1:4]


class Endpoint:
    def __init__(self, out):
        self.out, self.lock = out, threading.Lock()

    def keep(self, priority, context, publisher_id, event_type, payload, metadata):
        line = json.dumps({"priority": priority, "context": context, "publisher_id": publisher_id, "event_type": event_type,
                           "payload": payload, "metadata": metadata}, default=str)
        with self.lock:
            self.out.write(line + "\n")
            self.out.flush()
        return oslo_messaging.NotificationResult.HANDLED

    def info(self, *args):
        return self.keep("info", *args)

    def error(self, *args):
        return self.keep("error", *args)


def main():
    conf = cfg.ConfigOpts()
    conf([], project="consumer")
    oslo_messaging.set_transport_defaults("ironic")
    transport = oslo_messaging.get_notification_transport(conf, url=URL)
    conf.set_override("amqp_durable_queues", DURABLE == "true", group="oslo_messaging_rabbit")
    transport = oslo_messaging.get_notification_transport(conf, url=URL)
    targets = [oslo_messaging.Target(topic="ironic_versioned_notifications"),
               oslo_messaging.Target(topic="notifications")]
    with open(OUT, "a") as out:
        server = oslo_messaging.get_notification_listener(transport, targets, [Endpoint(out)], executor="threading")
        # one thread: with more, oslo.messaging hands messages out of order
        server.start(override_pool_size=1)
        server.wait()


main()
