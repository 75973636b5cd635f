// SPDX-License-Identifier: Apache-2.0
//
// An NBD export as a disk: what KVM hosts, nbdkit and backup tools offer without a file.
//
// Several threads read over up to four connections when the server allows it. A connection that
// breaks is made anew once for each call. Nothing is ever written.
//
// Source: NBD protocol ("proto.md"): base:allocation, block sizes, NBD_FLAG_CAN_MULTI_CONN.

#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"
#include "image/disk_image.h"
#include "image/nbd/connection.h"

namespace vmferry::image::nbd {

/// Opens the export at `uri` (uri.h). One connection is made; further ones when threads need them.
///
/// Errors: kInvalidArgument nbd.uri, image.empty, image.too_small; those of Connection::Open.
///         Later reads also: kFailedPrecondition nbd.changed when the export is another one after
///         the connection broke.
Result<std::unique_ptr<DiskImage>> Open(std::string_view uri, const Patience& patience = {});

}  // namespace vmferry::image::nbd
