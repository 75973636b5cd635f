// SPDX-License-Identifier: Apache-2.0
#include "region/vm/screen.h"

#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
// After <cstdio>, which it does not include itself.
#include <jpeglib.h>

#include "base/units.h"

namespace vmferry::region::vm {
namespace {

constexpr std::uint64_t kSideMax = 4096;
constexpr int kQuality = 85;

Error BadScreen(std::string_view what) {
  return Error(ErrorCode::kDataLoss, "region.bad_screen",
               "QEMU's picture of the screen cannot be read: " + std::string(what));
}

// The next field of the header: digits between blanks. Comments are not written by QEMU.
std::optional<std::uint64_t> NextNumber(std::string_view& rest) {
  const std::size_t end = rest.find_first_of(" \n\t\r");
  if (end == rest.npos || end > 5) return std::nullopt;
  const auto number = ParseUint(rest.substr(0, end));
  rest.remove_prefix(end + 1);
  return number;
}

// libjpeg ends the process on an error unless told otherwise.
struct ErrorManager {
  jpeg_error_mgr base;
  std::jmp_buf escape;
};

[[noreturn]] void Escape(j_common_ptr info) {
  std::longjmp(reinterpret_cast<ErrorManager*>(info->err)->escape, 1);
}
void Silent(j_common_ptr) {}

// Plain C between setjmp and longjmp: nothing here has a destructor.
bool Encode(const unsigned char* pixels, JDIMENSION width, JDIMENSION height, unsigned char** out,
            unsigned long* out_bytes) {
  jpeg_compress_struct info;
  ErrorManager errors;
  info.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = Escape;
  errors.base.output_message = Silent;
  if (setjmp(errors.escape) != 0) {
    jpeg_destroy_compress(&info);
    return false;
  }
  jpeg_create_compress(&info);
  jpeg_mem_dest(&info, out, out_bytes);
  info.image_width = width;
  info.image_height = height;
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, kQuality, TRUE);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < height) {
    auto* line = const_cast<unsigned char*>(pixels + static_cast<std::size_t>(info.next_scanline) *
                                                         width * 3);
    jpeg_write_scanlines(&info, &line, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  return true;
}

}  // namespace

Result<std::string> JpegOfPpm(std::string_view ppm) {
  if (!ppm.starts_with("P6") || ppm.size() < 3) return BadScreen("no binary PPM");
  std::string_view rest = ppm.substr(3);
  const auto width = NextNumber(rest);
  const auto height = NextNumber(rest);
  const auto levels = NextNumber(rest);
  if (!width || !height || *width == 0 || *height == 0 || *width > kSideMax || *height > kSideMax ||
      levels != 255U) {
    return BadScreen("its size or depth is out of range");
  }
  if (rest.size() != *width * *height * 3) return BadScreen("it is cut short");
  unsigned char* bytes = nullptr;
  unsigned long count = 0;
  const bool encoded =
      Encode(reinterpret_cast<const unsigned char*>(rest.data()), static_cast<JDIMENSION>(*width),
             static_cast<JDIMENSION>(*height), &bytes, &count);
  const std::unique_ptr<unsigned char, decltype(&std::free)> owner(bytes, &std::free);
  if (!encoded) return BadScreen("libjpeg refused it");
  return std::string(reinterpret_cast<const char*>(bytes), count);
}

}  // namespace vmferry::region::vm
