// SPDX-License-Identifier: Apache-2.0
//
// The gate before qemu-img: what an uploaded disk may be.
//
// A VMDK can name other files as its extents or its parent, a VHD or VHDX its parent, and a
// converter would read them. So only files whose own header says that they contain everything get
// through. This is not a reader of formats: it looks at headers and at nothing behind them.

#pragma once

#include <string>

#include "base/result.h"
#include "region/import/manifest.h"
#include "sys/file.h"

namespace vmferry::region {

/// Errors: kInvalidArgument region.upload_refused; the message is the text AWS shows after
/// "ClientError: ".
Result<void> CheckUpload(const sys::File& file, ImageFormat format);

/// qemu-img's name of the format: "raw", "vmdk", "vpc", "vhdx"; "" for what it does not read.
std::string QemuFormat(ImageFormat format);

}  // namespace vmferry::region
