#!/usr/bin/env python3
"""The port of a switch that carries one VLAN tagged and nothing else: trunk.py TAP VLAN OWN PEER

In: Ethernet frames of a virtual machine as UDP datagrams on port OWN. Out: those of the VLAN, without their tag, on TAP;
and what comes from TAP with the tag, to port PEER.
Promise: a frame without the tag, or with another one, goes nowhere (IEEE 802.1Q).
"""

import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
name, vlan, own, peer = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
wire.bind(("127.0.0.1", own))
print("ready", flush=True)
while True:
    for ready in select.select([tap, wire], [], [])[0]:
        if ready is wire:
            frame = wire.recv(65535)
            tag, info = struct.unpack("!HH", frame[12:16])
            if tag == 0x8100 and info & 0xFFF == vlan:
                try:
                    os.write(tap, frame[:12] + frame[16:])
                except OSError:
                    pass  # not up yet
        else:
            frame = os.read(tap, 65535)
            wire.sendto(frame[:12] + struct.pack("!HH", 0x8100, vlan) + frame[12:], ("127.0.0.1", peer))
