// SPDX-License-Identifier: Apache-2.0
#include "image/vhd/footer_pair.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/byte_reader.h"
#include "image/vhd/damage.h"

namespace vmferry::image::vhd {
namespace {

/// One of the places where a footer may be.
struct Place {
  std::uint64_t offset_bytes = 0;
  std::array<std::byte, kFooterBytes> bytes = {};  // an old footer is one byte shorter
  bool has_cookie = false;
  std::optional<Footer> footer;
  std::optional<Error> failure;
};

Result<Place> Look(const ByteSource& source, std::uint64_t offset_bytes, std::size_t length_bytes) {
  Place place = {.offset_bytes = offset_bytes};
  const auto bytes = std::span(place.bytes).first(length_bytes);
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(offset_bytes, bytes));
  place.has_cookie = AsText(bytes).starts_with(kFooterCookie);
  auto footer = ParseFooter(bytes);
  if (footer) {
    place.footer = *footer;
  } else {
    place.failure = std::move(footer).error();
  }
  return place;
}

Result<Place> LookAtEnd(const ByteSource& source) {
  const std::uint64_t end_bytes = source.SizeBytes();
  VMFERRY_ASSIGN_OR_RETURN(Place place, Look(source, end_bytes - kFooterBytes, kFooterBytes));
  if (place.has_cookie) return place;
  // VHD 1.0, "Hard Disk Footer Format": versions before Virtual PC 2004 wrote 511 bytes.
  VMFERRY_ASSIGN_OR_RETURN(Place old, Look(source, end_bytes - kOldFooterBytes, kOldFooterBytes));
  return old.has_cookie ? old : place;
}

FoundFooter UseEnd(const Place& front, const Place& end) {
  FoundFooter found = {.footer = *end.footer, .data_end_bytes = end.offset_bytes, .defects = {}};
  if (found.footer.type == DiskType::kFixed) return found;  // the front is the guest's
  if (!front.footer) {
    found.defects.push_back(fmt::format("the copy of the footer at the front is {}",
                                        front.has_cookie ? "damaged" : "missing"));
  } else if (front.bytes != end.bytes) {
    found.defects.push_back("its two footers are not identical: the one at the end was used");
  }
  return found;
}

FoundFooter UseFront(const ByteSource& source, const Place& front, const Place& end) {
  return {.footer = *front.footer,
          .data_end_bytes = end.has_cookie ? end.offset_bytes : source.SizeBytes(),
          .defects = {fmt::format("the footer at the end is {}: its copy at the front was used",
                                  end.has_cookie ? "damaged" : "missing")}};
}

}  // namespace

Result<FoundFooter> FindFooter(const ByteSource& source) {
  if (source.SizeBytes() < kFooterBytes) {
    return Damage("vhd.footer.missing",
                  fmt::format("a VHD has a footer of {} bytes, the file has {} in all",
                              kFooterBytes, source.SizeBytes()));
  }
  VMFERRY_ASSIGN_OR_RETURN(Place front, Look(source, 0, kFooterBytes));
  VMFERRY_ASSIGN_OR_RETURN(Place end, LookAtEnd(source));
  if (end.footer) return UseEnd(front, end);
  // Only dynamic and differencing disks have a copy; a fixed one's begins with the guest's bytes.
  if (front.footer && front.footer->type != DiskType::kFixed) return UseFront(source, front, end);
  if (!end.has_cookie && front.has_cookie && front.failure) return *std::move(front.failure);
  return *std::move(end.failure);
}

}  // namespace vmferry::image::vhd
