// SPDX-License-Identifier: Apache-2.0
//
// InspectGuest: the door of this module.

#pragma once

#include "base/result.h"
#include "guest/guest_layout.h"
#include "image/disk_image.h"

namespace vmferry::guest {

/// Finds out what a disk holds.
///
/// A disk that says nonsense is described with defects, not refused: people inspect what is broken.
/// Cost:   at most 600 reads of together 16 MiB, whatever the disk says; usually a few dozen. A
///         disk that would need more is described as far as that goes, with a finding.
/// Errors: those of disk.Read.
/// Source: docs/formats/partitions.md.
Result<GuestLayout> InspectGuest(const image::DiskImage& disk);

}  // namespace vmferry::guest
