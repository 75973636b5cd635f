// SPDX-License-Identifier: Apache-2.0
//
// ReadPayloadText: the XML body of a request, whether it was spooled or not.

#pragma once

#include <string>

#include "region/s3/fault.h"

namespace vmferry::region::s3 {

/// Writes the payload to `out`. Bodies above 8 MiB (10,000 parts take 3) are MalformedXML.
MaybeFault ReadPayloadText(const Call& call, std::string& out);
/// The same for operations that demand a checksum, which is verified first.
MaybeFault ReadCheckedText(const Call& call, std::string& out);

}  // namespace vmferry::region::s3
