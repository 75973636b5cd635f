// SPDX-License-Identifier: Apache-2.0
#include "region/vm/instance_types.h"

#include <algorithm>
#include <array>

namespace vmferry::region::vm {
namespace {

// Sizes and facts as EC2 publishes them (DescribeInstanceTypes), by name. Types of other
// architectures, bare metal, and those with accelerators or disks of their own are left out.
// Name, MiB, processors, hypervisor, current generation, burstable, free tier, 32-bit.
constexpr std::array kTypes = {
    InstanceType{"c3.large", 3840, 2, Hypervisor::kXen, false, false, false, true},
    InstanceType{"c4.large", 3840, 2, Hypervisor::kXen},
    InstanceType{"c4.xlarge", 7680, 4, Hypervisor::kXen},
    InstanceType{"c5.2xlarge", 16384, 8},
    InstanceType{"c5.4xlarge", 32768, 16},
    InstanceType{"c5.large", 4096, 2},
    InstanceType{"c5.xlarge", 8192, 4},
    InstanceType{"c5a.2xlarge", 16384, 8},
    InstanceType{"c5a.4xlarge", 32768, 16},
    InstanceType{"c5a.large", 4096, 2},
    InstanceType{"c5a.xlarge", 8192, 4},
    InstanceType{"c6i.2xlarge", 16384, 8},
    InstanceType{"c6i.4xlarge", 32768, 16},
    InstanceType{"c6i.large", 4096, 2},
    InstanceType{"c6i.xlarge", 8192, 4},
    InstanceType{"c7i.2xlarge", 16384, 8},
    InstanceType{"c7i.4xlarge", 32768, 16},
    InstanceType{"c7i.large", 4096, 2},
    InstanceType{"c7i.xlarge", 8192, 4},
    InstanceType{"m1.large", 7680, 2, Hypervisor::kXen},
    InstanceType{"m1.medium", 3788, 1, Hypervisor::kXen, false, false, false, true},
    InstanceType{"m1.small", 1740, 1, Hypervisor::kXen, false, false, false, true},
    InstanceType{"m3.large", 7680, 2, Hypervisor::kXen},
    InstanceType{"m3.medium", 3840, 1, Hypervisor::kXen},
    InstanceType{"m4.2xlarge", 32768, 8, Hypervisor::kXen},
    InstanceType{"m4.large", 8192, 2, Hypervisor::kXen},
    InstanceType{"m4.xlarge", 16384, 4, Hypervisor::kXen},
    InstanceType{"m5.2xlarge", 32768, 8},
    InstanceType{"m5.4xlarge", 65536, 16},
    InstanceType{"m5.large", 8192, 2},
    InstanceType{"m5.xlarge", 16384, 4},
    InstanceType{"m5a.2xlarge", 32768, 8},
    InstanceType{"m5a.4xlarge", 65536, 16},
    InstanceType{"m5a.large", 8192, 2},
    InstanceType{"m5a.xlarge", 16384, 4},
    InstanceType{"m6a.2xlarge", 32768, 8},
    InstanceType{"m6a.4xlarge", 65536, 16},
    InstanceType{"m6a.large", 8192, 2},
    InstanceType{"m6a.xlarge", 16384, 4},
    InstanceType{"m6i.2xlarge", 32768, 8},
    InstanceType{"m6i.4xlarge", 65536, 16},
    InstanceType{"m6i.large", 8192, 2},
    InstanceType{"m6i.xlarge", 16384, 4},
    InstanceType{"m7i.2xlarge", 32768, 8},
    InstanceType{"m7i.4xlarge", 65536, 16},
    InstanceType{"m7i.large", 8192, 2},
    InstanceType{"m7i.xlarge", 16384, 4},
    InstanceType{"r4.large", 15616, 2, Hypervisor::kXen},
    InstanceType{"r5.2xlarge", 65536, 8},
    InstanceType{"r5.4xlarge", 131072, 16},
    InstanceType{"r5.large", 16384, 2},
    InstanceType{"r5.xlarge", 32768, 4},
    InstanceType{"r6i.2xlarge", 65536, 8},
    InstanceType{"r6i.4xlarge", 131072, 16},
    InstanceType{"r6i.large", 16384, 2},
    InstanceType{"r6i.xlarge", 32768, 4},
    InstanceType{"r7i.2xlarge", 65536, 8},
    InstanceType{"r7i.4xlarge", 131072, 16},
    InstanceType{"r7i.large", 16384, 2},
    InstanceType{"r7i.xlarge", 32768, 4},
    InstanceType{"t2.2xlarge", 32768, 8, Hypervisor::kXen, true, true},
    InstanceType{"t2.large", 8192, 2, Hypervisor::kXen, true, true},
    InstanceType{"t2.medium", 4096, 2, Hypervisor::kXen, true, true, false, true},
    InstanceType{"t2.micro", 1024, 1, Hypervisor::kXen, true, true, true, true},
    InstanceType{"t2.nano", 512, 1, Hypervisor::kXen, true, true, false, true},
    InstanceType{"t2.small", 2048, 1, Hypervisor::kXen, true, true, false, true},
    InstanceType{"t2.xlarge", 16384, 4, Hypervisor::kXen, true, true},
    InstanceType{"t3.2xlarge", 32768, 8, Hypervisor::kNitro, true, true},
    InstanceType{"t3.large", 8192, 2, Hypervisor::kNitro, true, true},
    InstanceType{"t3.medium", 4096, 2, Hypervisor::kNitro, true, true},
    InstanceType{"t3.micro", 1024, 2, Hypervisor::kNitro, true, true, true},
    InstanceType{"t3.nano", 512, 2, Hypervisor::kNitro, true, true},
    InstanceType{"t3.small", 2048, 2, Hypervisor::kNitro, true, true},
    InstanceType{"t3.xlarge", 16384, 4, Hypervisor::kNitro, true, true},
    InstanceType{"t3a.2xlarge", 32768, 8, Hypervisor::kNitro, true, true},
    InstanceType{"t3a.large", 8192, 2, Hypervisor::kNitro, true, true},
    InstanceType{"t3a.medium", 4096, 2, Hypervisor::kNitro, true, true},
    InstanceType{"t3a.micro", 1024, 2, Hypervisor::kNitro, true, true},
    InstanceType{"t3a.nano", 512, 2, Hypervisor::kNitro, true, true},
    InstanceType{"t3a.small", 2048, 2, Hypervisor::kNitro, true, true},
    InstanceType{"t3a.xlarge", 16384, 4, Hypervisor::kNitro, true, true},
};

}  // namespace

std::span<const InstanceType> InstanceTypes() { return kTypes; }

std::optional<InstanceType> FindInstanceType(std::string_view name) {
  const auto found = std::lower_bound(
      kTypes.begin(), kTypes.end(), name,
      [](const InstanceType& type, std::string_view wanted) { return type.name < wanted; });
  if (found == kTypes.end() || found->name != name) return std::nullopt;
  return *found;
}

}  // namespace vmferry::region::vm
