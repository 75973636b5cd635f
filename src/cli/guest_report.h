// SPDX-License-Identifier: Apache-2.0
//
// What a disk holds, for people and for programs.

#pragma once

#include <string>

#include "guest/guest_layout.h"
#include "text/json.h"

namespace vmferry::cli {

/// Tables under headings, with an empty line in front of each: partitions, boot loaders, firmware.
std::string DescribeGuest(const guest::GuestLayout& layout);
text::Json GuestToJson(const guest::GuestLayout& layout);

}  // namespace vmferry::cli
