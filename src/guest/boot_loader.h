// SPDX-License-Identifier: Apache-2.0
//
// Boot loaders, and what they say about the firmware a disk starts with.
//
// BIOS loaders are recognised by what their sectors hold, UEFI ones by the file that firmware
// starts without being told: \EFI\BOOT\BOOTX64.EFI. Entries of the firmware's own memory do not
// travel with a disk.

#pragma once

#include <span>

#include "base/result.h"
#include "guest/disk_reader.h"
#include "guest/guest_layout.h"

namespace vmferry::guest {

/// Fills boot_loaders and firmware of a layout whose partitions are known; `sector` is the disk's
/// first.
/// Errors: those of the disk.
Result<void> FindBootLoaders(DiskReader& disk, std::span<const std::byte> sector,
                             GuestLayout& layout);

}  // namespace vmferry::guest
