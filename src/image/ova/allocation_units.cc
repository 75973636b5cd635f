// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cctype>

#include "image/ova/ovf.h"
#include "text/xml.h"

namespace vmferry::image::ova {
namespace {

struct Word {
  std::string_view name;
  std::uint64_t factor;
};

constexpr Word kWords[] = {
    {"byte", 1},         {"bytes", 1},        {"b", 1},
    {"kb", kKiB},        {"kib", kKiB},       {"kilobyte", kKiB},
    {"kilobytes", kKiB}, {"mb", kMiB},        {"mib", kMiB},
    {"megabyte", kMiB},  {"megabytes", kMiB}, {"gb", kGiB},
    {"gib", kGiB},       {"gigabyte", kGiB},  {"gigabytes", kGiB},
    {"tb", kTiB},        {"tib", kTiB},       {"terabyte", kTiB},
    {"terabytes", kTiB},
};

std::optional<std::uint64_t> Power(std::uint64_t base, std::uint64_t exponent) {
  if (exponent > 63) return std::nullopt;
  std::uint64_t power = 1;
  for (std::uint64_t i = 0; i < exponent; ++i) {
    const auto next = CheckedMul(power, base);
    if (!next) return std::nullopt;
    power = *next;
  }
  return power;
}

/// A word, a number, or a power of two numbers.
std::optional<std::uint64_t> ParseFactor(std::string_view factor) {
  std::string word(factor);
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const Word& known : kWords) {
    if (known.name == word) return known.factor;
  }
  const std::size_t caret = factor.find('^');
  const auto base = ParseUint(text::Trim(factor.substr(0, caret)));
  if (!base || caret == factor.npos) return base;
  const auto exponent = ParseUint(text::Trim(factor.substr(caret + 1)));
  if (!exponent) return std::nullopt;
  return Power(*base, *exponent);
}

}  // namespace

std::optional<std::uint64_t> ParseAllocationUnits(std::string_view text) {
  // DSP0004, "Programmatic Units": base unit and modifiers, joined by asterisks.
  std::uint64_t product = 1;
  for (bool more = true; more;) {
    const std::size_t asterisk = text.find('*');
    const auto factor = ParseFactor(text::Trim(text.substr(0, asterisk)));
    if (!factor) return std::nullopt;
    const auto next = CheckedMul(product, *factor);
    if (!next || *next == 0) return std::nullopt;
    product = *next;
    more = asterisk != text.npos;
    if (more) text.remove_prefix(asterisk + 1);
  }
  return product;
}

}  // namespace vmferry::image::ova
