// SPDX-License-Identifier: Apache-2.0
#include "region/import/known_systems.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/units.h"

namespace vmferry::region {
namespace {

// Versions `first` to `last`; kernels by their beginnings, none: any of the system's own.
struct KnownSystem {
  std::string_view id;
  std::string_view first;
  std::string_view last;
  std::string_view kernels;
};

// Source: https://docs.aws.amazon.com/vm-import/latest/userguide/prerequisites.html, "Operating
// systems supported by VM Import/Export", Linux/Unix; compared on kKnownSystemsDate.
constexpr KnownSystem kSystems[] = {
    {"amzn", "2", "2", "4.14 4.19 5.4 5.10"},
    {"amzn", "2023", "2023", "6.1"},
    {"centos", "5.1", "5.11", "2.6.18"},
    {"centos", "6.1", "6.8", "2.6.32"},
    {"centos", "7.0", "7.9", "3.10"},
    {"centos", "8.0", "8.2", "4.18"},
    {"centos", "9", "9", "5.14"},
    {"debian", "6", "7", ""},
    {"debian", "10", "10", "4.19"},
    {"debian", "11", "11", "5.10"},
    {"debian", "12", "12", "6.1"},
    {"fedora", "18", "20", ""},
    {"fedora", "37", "39", ""},
    {"fedora", "40", "40", "6.8"},
    {"fedora", "41", "41", "6.11"},
    {"fedora", "42", "42", "6.14"},
    {"fedora", "43", "43", "6.17"},
    {"ol", "5.10", "5.11", ""},
    {"ol", "6.1", "6.10", ""},
    {"ol", "7.0", "7.6", ""},
    {"ol", "8.0", "8.9", ""},
    {"ol", "9.0", "9.7", ""},
    {"ol", "10.0", "10.1", ""},
    {"rhel", "5", "5", ""},
    {"rhel", "6", "6", ""},
    {"rhel", "7", "7", ""},
    {"rhel", "8.0", "8.9", "4.18"},
    {"rhel", "9.0", "9.7", "5.14"},
    {"rhel", "10.0", "10.1", "6.12"},
    {"rocky", "9.0", "9.7", ""},
    {"rocky", "10.0", "10.1", ""},
    {"sles", "11.1", "11.4", ""},
    {"sles", "12", "12", ""},
    {"sles", "15.0", "15.5", ""},
    {"sles", "15.6", "15.6", "6.4"},
    {"ubuntu", "12.04", "17.04", ""},
    {"ubuntu", "18.04", "18.04", "4.15 5.4"},
    {"ubuntu", "20.04", "20.04", "5.4"},
    {"ubuntu", "22.04", "22.04", "5.15"},
    {"ubuntu", "23.04", "23.04", "5.15"},
    {"ubuntu", "24.04", "24.04", "6.8 6.11"},
    {"ubuntu", "25.10", "25.10", "6.17"},
    {"ubuntu", "26.04", "26.04", "7.0"},
};
// RHEL 6 is known, but not with the kernel of its first release.
constexpr std::string_view kRefusedRhel6Kernel = "2.6.32-71";

struct Version {
  std::uint64_t major = 0;
  std::optional<std::uint64_t> minor;
};

std::optional<Version> ParseVersion(std::string_view text) {
  const std::size_t dot = text.find('.');
  const auto major = ParseUint(text.substr(0, dot));
  if (!major) return std::nullopt;
  Version version{.major = *major, .minor = std::nullopt};
  if (dot == text.npos) return version;
  text.remove_prefix(dot + 1);
  version.minor = ParseUint(text.substr(0, text.find('.')));
  if (!version.minor) return std::nullopt;
  return version;
}

// A side without a minor number is all of its major version.
bool NotBefore(const Version& version, const Version& first) {
  if (version.major != first.major) return version.major > first.major;
  return !version.minor || !first.minor || *version.minor >= *first.minor;
}

bool IsOf(const KnownSystem& system, std::string_view id, const Version& version) {
  const auto first = ParseVersion(system.first);
  const auto last = ParseVersion(system.last);
  return system.id == id && first && last && NotBefore(version, *first) &&
         NotBefore(*last, version);
}

// "6.1" begins "6.1.0-13-amd64" and "6.1-rc1", not "6.10.3".
bool Begins(std::string_view kernel, std::string_view family) {
  if (!kernel.starts_with(family)) return false;
  return kernel.size() == family.size() || kernel[family.size()] == '.' ||
         kernel[family.size()] == '-';
}

bool KnowsKernel(std::string_view families, std::string_view kernel) {
  if (families.empty()) return true;
  while (!families.empty()) {
    const std::size_t end = std::min(families.find(' '), families.size());
    if (Begins(kernel, families.substr(0, end))) return true;
    families.remove_prefix(std::min(end + 1, families.size()));
  }
  return false;
}

}  // namespace

SystemVerdict JudgeSystem(std::string_view id, std::string_view version_text,
                          std::string_view kernel) {
  const std::optional<Version> version = ParseVersion(version_text);
  if (!version) return SystemVerdict::kUnknownSystem;
  SystemVerdict verdict = SystemVerdict::kUnknownSystem;
  for (const KnownSystem& system : kSystems) {
    if (!IsOf(system, id, *version)) continue;
    if (id == "rhel" && version->major == 6 && kernel.starts_with(kRefusedRhel6Kernel)) {
      return SystemVerdict::kUnknownKernel;
    }
    if (KnowsKernel(system.kernels, kernel)) return SystemVerdict::kKnown;
    verdict = SystemVerdict::kUnknownKernel;
  }
  return verdict;
}

}  // namespace vmferry::region
