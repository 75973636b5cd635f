// SPDX-License-Identifier: Apache-2.0
#include "region/s3/payload_text.h"

#include "base/units.h"
#include "region/s3/checksum.h"
#include "sys/file.h"

namespace vmferry::region::s3 {

MaybeFault ReadPayloadText(const Call& call, std::string& out) {
  constexpr std::uint64_t kBytesMax = 8 * kMiB;
  if (call.payload.spool_path.empty()) {
    out = call.payload.memory;
    return std::nullopt;
  }
  auto content = sys::ReadWholeFile(call.payload.spool_path, kBytesMax);
  if (content) {
    out = std::move(content).value();
    return std::nullopt;
  }
  if (content.error().code() == ErrorCode::kOutOfRange) return MalformedXml();
  return Internal(content.error());
}

MaybeFault ReadCheckedText(const Call& call, std::string& out) {
  Checksum checksum;
  if (auto fault = CheckPayload(call, checksum)) return fault;
  if (call.FindHeader("content-md5") == nullptr && checksum.algorithm.empty()) {
    return InvalidRequest(
        "Missing required header for this request: Content-MD5 OR x-amz-checksum-*");
  }
  return ReadPayloadText(call, out);
}

}  // namespace vmferry::region::s3
