// SPDX-License-Identifier: Apache-2.0
#include "region/s3/conditions.h"

#include <algorithm>

#include "base/units.h"
#include "region/core/request_ids.h"
#include "text/xml.h"

namespace vmferry::region::s3 {
namespace {

/// True when a list such as "a", W/"b", * names the ETag.
bool ListNames(std::string_view list, std::string_view etag) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    std::string_view item = text::Trim(list.substr(0, comma));
    list.remove_prefix(std::min(comma + 1, list.size()));
    if (item == "*") return true;
    if (item.starts_with("W/")) item.remove_prefix(2);
    if (item.size() >= 2 && item.front() == '"' && item.back() == '"') {
      item = item.substr(1, item.size() - 2);
    }
    if (item == etag) return true;
  }
  return false;
}

std::optional<WallTime> DateIn(const Call& call, std::string_view name) {
  const std::string* value = call.FindHeader(name);
  return value == nullptr ? std::nullopt : ParseHttpDate(*value);
}

}  // namespace

std::optional<ByteRange> ReadRange(const std::string* header, std::uint64_t size_bytes,
                                   bool& partial) {
  const ByteRange whole = {0, size_bytes};
  partial = false;
  if (header == nullptr || !header->starts_with("bytes=")) return whole;
  const std::string_view spec = std::string_view(*header).substr(6);
  const std::size_t dash = spec.find('-');
  if (dash == spec.npos || spec.find(',') != spec.npos) return whole;
  const auto first = ParseUint(spec.substr(0, dash));
  const auto last = ParseUint(spec.substr(dash + 1));
  if (dash == 0) {
    if (!last) return whole;
    if (*last == 0 || size_bytes == 0) return std::nullopt;
    const std::uint64_t length = std::min(*last, size_bytes);
    partial = true;
    return ByteRange{size_bytes - length, length};
  }
  if (!first || (!last && dash + 1 != spec.size()) || (last && *last < *first)) return whole;
  if (*first >= size_bytes) return std::nullopt;
  partial = true;
  const std::uint64_t end = last ? std::min(*last, size_bytes - 1) : size_bytes - 1;
  return ByteRange{*first, end - *first + 1};
}

// RFC 9110, "Precedence of Preconditions": the dates count only without the ETag conditions.
ReadCondition CheckRead(const Call& call, const ObjectRecord& object, std::string& failed,
                        std::string_view prefix) {
  const auto named = [&](std::string_view name) { return std::string(prefix).append(name); };
  const WallTime modified = std::chrono::floor<std::chrono::seconds>(object.modified);
  if (const std::string* match = call.FindHeader(named("if-match"))) {
    failed = named("If-Match");
    if (!ListNames(*match, object.etag)) return ReadCondition::kFailed;
  } else if (const auto date = DateIn(call, named("if-unmodified-since"));
             date && modified > *date) {
    failed = named("If-Unmodified-Since");
    return ReadCondition::kFailed;
  }
  if (const std::string* none = call.FindHeader(named("if-none-match"))) {
    failed = named("If-None-Match");
    if (ListNames(*none, object.etag)) return ReadCondition::kNotModified;
  } else if (const auto date = DateIn(call, named("if-modified-since"));
             date && modified <= *date) {
    failed = named("If-Modified-Since");
    return ReadCondition::kNotModified;
  }
  return ReadCondition::kSend;
}

MaybeFault CheckWrite(const Call& call, std::string_view key,
                      const std::optional<ObjectRecord>& present) {
  if (const std::string* none = call.FindHeader("if-none-match")) {
    if (*none != "*") return NotImplemented("If-None-Match with an ETag");
    if (present) return PreconditionFailed("If-None-Match");
  }
  const std::string* match = call.FindHeader("if-match");
  return match == nullptr ? std::nullopt : CheckEtag(*match, key, present);
}

MaybeFault CheckEtag(std::string_view wanted, std::string_view key,
                     const std::optional<ObjectRecord>& present) {
  if (!present) return NoSuchKey(key);
  if (!ListNames(wanted, present->etag)) return PreconditionFailed("If-Match");
  return std::nullopt;
}

}  // namespace vmferry::region::s3
