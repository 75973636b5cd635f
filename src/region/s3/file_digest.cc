// SPDX-License-Identifier: Apache-2.0
#include "region/s3/file_digest.h"

#include <fmt/format.h>

#include "base/units.h"
#include "codec/text_codec.h"
#include "region/s3/checksum.h"

namespace vmferry::region::s3 {
namespace {

std::string Text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string Raw(std::string_view base64) {
  return Text(codec::Base64Decode(base64).value_or(std::vector<std::byte>()));
}

std::string RawDigest(const std::vector<std::string>& raw_parts, ChecksumKind kind) {
  PayloadDigester digester;
  digester.Want(kind);
  for (const std::string& raw : raw_parts) digester.Update(std::as_bytes(std::span(raw)));
  return DigestOf(digester.Finish(), kind);
}

}  // namespace

Result<PayloadDigests> DigestFile(const sys::File& file, std::uint64_t offset_bytes,
                                  std::uint64_t length_bytes,
                                  std::initializer_list<ChecksumKind> kinds) {
  PayloadDigester digester;
  for (const ChecksumKind kind : kinds) digester.Want(kind);
  std::vector<std::byte> buffer(
      static_cast<std::size_t>(std::min<std::uint64_t>(length_bytes, kMiB)));
  while (length_bytes > 0) {
    const auto step = std::span(buffer).first(
        static_cast<std::size_t>(std::min<std::uint64_t>(length_bytes, buffer.size())));
    VMFERRY_RETURN_IF_ERROR(file.ReadAt(offset_bytes, step));
    digester.Update(step);
    offset_bytes += step.size();
    length_bytes -= step.size();
  }
  return digester.Finish();
}

std::string DigestText(const PayloadDigests& digests, ChecksumKind kind) {
  const std::string& raw = DigestOf(digests, kind);
  return raw.empty() ? std::string() : codec::Base64Encode(std::as_bytes(std::span(raw)));
}

std::string MultipartEtag(const std::vector<PartRecord>& parts) {
  std::vector<std::string> raw;
  for (const PartRecord& part : parts) {
    raw.push_back(Text(codec::HexDecode(part.etag).value_or(std::vector<std::byte>())));
  }
  const std::string digest = RawDigest(raw, ChecksumKind::kMd5);
  return fmt::format("{}-{}", codec::HexEncode(std::as_bytes(std::span(digest))), parts.size());
}

std::string CompositeChecksum(const std::vector<PartRecord>& parts, ChecksumKind kind) {
  std::vector<std::string> raw;
  for (const PartRecord& part : parts) raw.push_back(Raw(part.checksum.value));
  const std::string digest = RawDigest(raw, kind);
  return fmt::format("{}-{}", codec::Base64Encode(std::as_bytes(std::span(digest))), parts.size());
}

std::optional<std::string> CombinedChecksum(const std::vector<PartRecord>& parts,
                                            ChecksumKind kind) {
  std::string whole;
  for (const PartRecord& part : parts) {
    std::string value;
    if (part.checksum.algorithm == UpperCase(ChecksumName(kind))) value = part.checksum.value;
    if (value.empty() && kind == ChecksumKind::kCrc64nvme) value = part.crc64nvme;
    const std::string raw = Raw(value);
    if (raw.size() != ChecksumBytes(kind)) return std::nullopt;
    whole = whole.empty() ? raw : CombineCrc(kind, whole, raw, part.size_bytes);
    if (whole.empty()) return std::nullopt;  // no CRC
  }
  if (whole.empty()) return std::nullopt;
  return codec::Base64Encode(std::as_bytes(std::span(whole)));
}

}  // namespace vmferry::region::s3
