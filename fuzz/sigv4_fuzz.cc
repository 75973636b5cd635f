// SPDX-License-Identifier: Apache-2.0
//
// Reads the Authorization header and the query of a pre-signed URL, as they come from any client,
// and computes the signature of what was read. What is accepted must obey the bounds that the
// server relies on, and a canonical form must be its own canonical form.
//
// Input: a line for the header, a line for the date, then path and query as in a request line.

#include <cstdint>
#include <span>

#include "base/byte_reader.h"
#include "base/check.h"
#include "sigv4/sign.h"
#include "sigv4/verify.h"

namespace {

using namespace vmferry;

void Check(const Result<sigv4::Claim>& claim, const sigv4::RequestView& request) {
  if (!claim) return;
  VMFERRY_CHECK(!claim->access_key_id.empty() && claim->signature.size() == 64);
  VMFERRY_CHECK(!claim->signed_headers.empty() &&
                claim->signed_headers.size() <= sigv4::kMaxSignedHeaders);
  VMFERRY_CHECK(claim->amz_date == sigv4::FormatAmzDate(claim->time) ||
                claim->amz_date.ends_with("60Z"));
  if (claim->query_form) {
    VMFERRY_CHECK(claim->expires.count() >= 1 && claim->expires <= sigv4::kMaxExpires);
  }
  const auto computed =
      sigv4::ComputeSignature(*claim, request, Secret("secret"), sigv4::S3Options());
  VMFERRY_CHECK(computed.signature.size() == 64);
}

std::string_view TakeLine(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text = AsText(std::as_bytes(std::span(data, size)));
  const std::string_view authorization = TakeLine(text);
  const std::string_view date = TakeLine(text);
  const std::size_t question = std::min(text.find('?'), text.size());
  const std::string_view path = text.substr(0, question);
  const std::string_view query = text.substr(std::min(question + 1, text.size()));
  const std::vector<sigv4::Header> headers = {{"Host", "h"},
                                              {"Authorization", std::string(authorization)},
                                              {"X-Amz-Date", std::string(date)}};
  const sigv4::RequestView request = {"GET", path, query, headers, sigv4::kUnsignedPayload};
  Check(sigv4::ParseAuthorization(authorization, date), request);
  Check(sigv4::ParsePresignedQuery(query), request);
  Check(sigv4::ParseClaim(request), request);

  const std::string canonical = sigv4::CanonicalQuery(query);
  VMFERRY_CHECK(sigv4::CanonicalQuery(canonical) == canonical);
  for (const bool normalize : {false, true}) {
    const sigv4::Options options{.normalize_path = normalize, .double_encode_path = false};
    const std::string once = sigv4::CanonicalPath(path, {.normalize_path = normalize});
    VMFERRY_CHECK(!once.empty());
    if (!normalize) {
      const std::string encoded = sigv4::CanonicalPath(path, options);
      VMFERRY_CHECK(sigv4::CanonicalPath(encoded, options) == encoded);
    }
  }
  VMFERRY_CHECK(sigv4::UriDecode(sigv4::UriEncode(text)) == text);
  return 0;
}
