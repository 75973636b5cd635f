// SPDX-License-Identifier: Apache-2.0
#include "region/s3/checksum.h"

#include <fmt/format.h>

#include <algorithm>

#include "codec/text_codec.h"

namespace vmferry::region::s3 {
namespace {

constexpr std::string_view kPrefix = "x-amz-checksum-";

std::string Base64(std::string_view raw) {
  return codec::Base64Encode(std::as_bytes(std::span(raw)));
}

MaybeFault CheckMd5(const Call& call) {
  const std::string* sent = call.FindHeader("content-md5");
  if (sent == nullptr) return std::nullopt;
  const auto decoded = codec::Base64Decode(*sent);
  if (!decoded || decoded->size() != 16) {
    return S3Fault{400,
                   "InvalidDigest",
                   "The Content-MD5 you specified was invalid.",
                   {{"Content-MD5", *sent}}};
  }
  const std::string computed = Base64(call.payload.digests.md5);
  if (computed == *sent) return std::nullopt;
  return S3Fault{400,
                 "BadDigest",
                 "The Content-MD5 you specified did not match what we received.",
                 {{"ExpectedDigest", *sent}, {"CalculatedDigest", computed}}};
}

struct Sent {
  ChecksumKind kind;
  std::string value;
};

/// The checksums in headers and trailers.
MaybeFault FindSent(const Call& call, std::vector<Sent>& out) {
  for (const auto* list : {&call.headers, &call.payload.trailers}) {
    for (const auto& [name, value] : *list) {
      if (!name.starts_with(kPrefix)) continue;
      const std::string_view algorithm = std::string_view(name).substr(kPrefix.size());
      if (algorithm == "mode" || algorithm == "type" || algorithm == "algorithm") continue;
      const auto kind = ChecksumKindByName(algorithm);
      if (!kind) return NotImplemented(name);
      out.push_back({*kind, value});
    }
  }
  if (out.size() > 1) {
    return InvalidRequest(
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are "
        "not allowed.");
  }
  return std::nullopt;
}

}  // namespace

MaybeFault CheckPayload(const Call& call, Checksum& checksum) {
  if (auto fault = CheckMd5(call)) return fault;
  std::vector<Sent> sent;
  if (auto fault = FindSent(call, sent)) return fault;
  const std::string* trailer = call.FindHeader("x-amz-trailer");
  if (trailer != nullptr && trailer->starts_with(kPrefix) && call.payload.trailers.empty()) {
    return S3Fault{400,
                   "MalformedTrailerError",
                   "The request contained trailing data that was not well-formed or did not "
                   "conform to our published schema.",
                   {}};
  }
  const std::string* asked = call.FindHeader("x-amz-sdk-checksum-algorithm");
  if (sent.empty()) {
    if (asked == nullptr) return std::nullopt;
    const auto kind = KindOfAlgorithm(UpperCase(*asked));
    if (!kind) return NotImplemented(fmt::format("the checksum algorithm {}", *asked));
    return InvalidRequest(
        "x-amz-sdk-checksum-algorithm specified, but no corresponding "
        "x-amz-checksum-* or x-amz-trailer headers were found.");
  }
  const ChecksumKind kind = sent[0].kind;
  const std::string name(ChecksumName(kind));
  const auto decoded = codec::Base64Decode(sent[0].value);
  if (!decoded || decoded->size() != ChecksumBytes(kind)) {
    return InvalidRequest(fmt::format("Value for {}{} header is invalid.", kPrefix, name));
  }
  const std::string computed = Base64(DigestOf(call.payload.digests, kind));
  if (computed != sent[0].value) {
    return S3Fault{
        400,
        "BadDigest",
        fmt::format("The {} you specified did not match the calculated checksum.", UpperCase(name)),
        {}};
  }
  checksum = {UpperCase(name), computed, "FULL_OBJECT"};
  return std::nullopt;
}

void AddChecksumHeaders(const Checksum& checksum, std::vector<NameValue>& headers) {
  if (checksum.algorithm.empty()) return;
  headers.emplace_back(ChecksumHeader(checksum.algorithm), checksum.value);
  headers.emplace_back("x-amz-checksum-type", checksum.type);
}

std::string ChecksumHeader(std::string_view algorithm) {
  return std::string(kPrefix) + LowerCase(algorithm);
}

std::string ChecksumElement(std::string_view algorithm) {
  return "Checksum" + std::string(algorithm);
}

std::optional<ChecksumKind> KindOfAlgorithm(std::string_view algorithm) {
  return ChecksumKindByName(LowerCase(algorithm));
}

std::string UpperCase(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return out;
}

std::string LowerCase(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return out;
}

}  // namespace vmferry::region::s3
