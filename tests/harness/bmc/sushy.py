# sushy-tools' emulator (https://opendev.org/openstack/sushy-tools) with the fake driver's power and boot device bound to
# the script named by CHASSIS, the same that ipmi_sim calls.
import os
import subprocess
import sys

from sushy_tools.emulator.main import main
from sushy_tools.emulator.resources.systems import fakedriver

TO_SCRIPT = {"Pxe": "pxe", "UefiHttp": "pxe", "Cd": "cdrom", "Hdd": "default", "None": "default"}
FROM_SCRIPT = {"pxe": "Pxe", "cdrom": "Cd"}


def chassis(*words):
    return subprocess.run([os.environ["CHASSIS"], *words], capture_output=True, text=True, check=True).stdout.strip()


def get_power_state(self, identity):
    return "On" if chassis("get", "power") == "power:1" else "Off"


def set_power_state(self, identity, state):
    if state in ("GracefulShutdown", "PushPowerButton"):
        chassis("set", "shutdown", "1")
    elif state in ("On", "ForceOn"):
        chassis("set", "power", "1")
    elif state == "ForceOff":
        chassis("set", "power", "0")
    else:
        raise fakedriver.error.NotSupportedError(state)


def get_boot_device(self, identity):
    return FROM_SCRIPT.get(chassis("get", "boot").split(":")[1], "Hdd")


def set_boot_device(self, identity, device):
    chassis("set", "boot", TO_SCRIPT[device])


for function in (get_power_state, set_power_state, get_boot_device, set_boot_device):
    setattr(fakedriver.FakeDriver, function.__name__, function)

sys.exit(main())
