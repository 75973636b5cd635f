// SPDX-License-Identifier: Apache-2.0
#include "region/vm/qemu.h"

#include <fmt/format.h>

#include <array>

namespace vmferry::region::vm {
namespace {

// Sizes as EC2 publishes them. Types that take imported Linux machines come first.
constexpr std::array kTypes = {
    InstanceType{"t2.nano", 512, 1},       InstanceType{"t2.micro", 1024, 1},
    InstanceType{"t2.small", 2048, 1},     InstanceType{"t2.medium", 4096, 2},
    InstanceType{"t2.large", 8192, 2},     InstanceType{"t3.nano", 512, 2},
    InstanceType{"t3.micro", 1024, 2},     InstanceType{"t3.small", 2048, 2},
    InstanceType{"t3.medium", 4096, 2},    InstanceType{"t3.large", 8192, 2},
    InstanceType{"t3.xlarge", 16384, 4},   InstanceType{"t3.2xlarge", 32768, 8},
    InstanceType{"t3a.micro", 1024, 2},    InstanceType{"t3a.small", 2048, 2},
    InstanceType{"t3a.medium", 4096, 2},   InstanceType{"m1.small", 1740, 1},
    InstanceType{"m1.medium", 3840, 1},    InstanceType{"m3.medium", 3840, 1},
    InstanceType{"m3.large", 7680, 2},     InstanceType{"m4.large", 8192, 2},
    InstanceType{"m4.xlarge", 16384, 4},   InstanceType{"m5.large", 8192, 2},
    InstanceType{"m5.xlarge", 16384, 4},   InstanceType{"m5.2xlarge", 32768, 8},
    InstanceType{"m5.4xlarge", 65536, 16}, InstanceType{"m6i.large", 8192, 2},
    InstanceType{"m6i.xlarge", 16384, 4},  InstanceType{"m7i.large", 8192, 2},
    InstanceType{"c4.large", 3840, 2},     InstanceType{"c5.large", 4096, 2},
    InstanceType{"c5.xlarge", 8192, 4},    InstanceType{"r5.large", 16384, 2},
    InstanceType{"r5.xlarge", 32768, 4},
};

// "vol-0123..." is "vol0123..." as serial number: 20 characters, all that NVMe has.
std::string SerialOf(std::string_view volume_id) {
  std::string serial(volume_id);
  std::erase(serial, '-');
  return serial.substr(0, 20);
}

}  // namespace

std::optional<InstanceType> FindInstanceType(std::string_view name) {
  for (const InstanceType& type : kTypes) {
    if (type.name == name) return type;
  }
  return std::nullopt;
}

std::vector<std::string> QemuCommand(const GuestPlan& plan) {
  std::vector<std::string> command = {"qemu-system-x86_64",
                                      "-name",
                                      plan.instance_id,
                                      "-nodefaults",
                                      "-no-user-config",
                                      "-display",
                                      "none",
                                      "-machine",
                                      "q35",
                                      "-cpu",
                                      "max"};
  // Both: a /dev/kvm that opens but does not work leaves the slow way.
  if (plan.kvm) command.insert(command.end(), {"-accel", "kvm"});
  command.insert(
      command.end(),
      {"-accel", "tcg,thread=multi,tb-size=256", "-m", std::to_string(plan.memory_mib), "-smp",
       std::to_string(plan.processors), "-rtc", "base=utc", "-sandbox",
       "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny", "-blockdev",
       fmt::format("driver=file,node-name=root-file,filename={},discard=unmap", plan.volume_file),
       "-blockdev", "driver=qcow2,node-name=root,file=root-file,discard=unmap", "-device",
       fmt::format("nvme,drive=root,serial={},bootindex=0", SerialOf(plan.volume_id)), "-chardev",
       fmt::format("file,id=console,path={}/console,append=on", plan.instance_id), "-serial",
       "chardev:console", "-qmp", fmt::format("unix:{}/qmp,server=on,wait=off", plan.instance_id),
       // restrict=on: the guest reaches neither the host nor the world.
       "-netdev",
       fmt::format("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{}-:22", plan.ssh_port),
       "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"});
  return command;
}

}  // namespace vmferry::region::vm
